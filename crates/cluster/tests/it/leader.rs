//! What a leader appends, in which order, and which of its frames count.

use std::time::Duration;

use tributary_cluster::entry::{Body, Entry, Genesis, HeadMark, Header, Mark};
use tributary_cluster::fold::Fold;
use tributary_cluster::log::Appended;
use tributary_cluster::node::{Event, Identity, Node};
use tributary_engine::{NEWEST, Versions};
use tributary_journal::FrameBuilder;

/// Versions in which the log begins.
const OLD: Versions = Versions {
    rules: NEWEST.rules - 1,
    ..NEWEST
};

/// Returns the only node of a log, which leads.
fn leader() -> Node {
    let identity = Identity {
        name: "node".to_owned(),
        url: String::new(),
        rank: 0,
        run: 7,
        is_moving: false,
    };
    let mut node = Node::new(identity, Fold::default(), Duration::ZERO);
    node.begin_session();
    let header = Header {
        log_id: [9; 16],
        term: 0,
        nonce: 0,
        settled: Mark::default(),
    };
    let genesis = Genesis {
        cluster_id: [1; 16],
        sandbox: true,
        master_key_id: 5,
        epochs: Vec::new(),
        sealed_id_key: vec![8; 44],
        head: HeadMark::default(),
        versions: OLD,
    };
    let genesis = Entry::encode(&header, &Body::Genesis(genesis));
    node.read(Duration::ZERO, genesis);
    node.reach_end(Duration::ZERO);
    assert_eq!(append(&mut node), Some("claim"));
    assert_eq!(node.next_event(), Some(Event::Leads));
    node
}

/// Offers a frame that follows the head, and returns its bytes.
fn offer(node: &mut Node, versions: Versions) -> Vec<u8> {
    let head = node.fold().head();
    let mut frame = FrameBuilder::new(head.position + 1, 1, versions);
    frame
        .push(|into| into.extend_from_slice(b"record"))
        .expect("there is room");
    let sealed = frame.seal(&head);
    let (bytes, hash) = (sealed.bytes().to_vec(), sealed.header().hash);
    node.offer(bytes.clone(), hash);
    bytes
}

/// Has the log take the next entry of the node, if there is one. Returns its kind.
fn append(node: &mut Node) -> Option<&'static str> {
    let entry = node.next_append(Duration::ZERO, true)?;
    node.appended(Duration::ZERO, Appended::At(node.next_offset()));
    let entry = Entry::parse(&entry).expect("a node writes what can be read");
    Some(match entry.body {
        Body::Claim { .. } => "claim",
        Body::Frame(_) => "frame",
        Body::Beside { .. } => "beside",
        Body::Barrier => "barrier",
        Body::Upgrade(_) => "upgrade",
        Body::Yield { .. } => "yield",
        other => panic!("{other:?}"),
    })
}

#[test]
fn own_frames_count_only_in_versions_that_the_log_knows() {
    let mut node = leader();
    offer(&mut node, NEWEST);
    assert_eq!(append(&mut node), Some("frame"));
    assert_eq!(node.next_event(), Some(Event::FrameRefused));
    assert_eq!(node.fold().head().position, 0);

    let is_own = true;
    let bytes = offer(&mut node, OLD);
    assert_eq!(append(&mut node), Some("frame"));
    assert_eq!(node.next_event(), Some(Event::Frame { bytes, is_own }));

    // Decided before the upgrade, and appended after it.
    let bytes = offer(&mut node, OLD);
    node.upgrade();
    assert_eq!(append(&mut node), Some("upgrade"));
    assert_eq!(append(&mut node), Some("frame"));
    assert_eq!(node.next_event(), Some(Event::Frame { bytes, is_own }));

    let bytes = offer(&mut node, NEWEST);
    assert_eq!(append(&mut node), Some("frame"));
    assert_eq!(node.next_event(), Some(Event::Frame { bytes, is_own }));
    assert_eq!(node.fold().head().position, 3);
}

#[test]
fn frames_barriers_and_the_log_beside_the_journal_take_turns() {
    let mut node = leader();
    let appended = [(); 6].map(|()| {
        if node.may_offer() {
            offer(&mut node, OLD);
        }
        if node.may_offer_beside() {
            node.offer_beside(vec![1]);
        }
        node.ask_for_barrier();
        append(&mut node).expect("there is always something")
    });
    let turn = ["beside", "frame", "barrier"];
    assert_eq!(appended, [turn, turn].concat()[..]);
}

#[test]
fn a_leader_that_is_asked_to_yield_takes_no_more_frames() {
    let mut node = leader();
    let bytes = offer(&mut node, OLD);
    node.yield_to("another");
    assert_eq!(append(&mut node), Some("frame"));
    let is_own = true;
    assert_eq!(node.next_event(), Some(Event::Frame { bytes, is_own }));
    assert!(!node.may_offer());
    assert_eq!(append(&mut node), Some("yield"));
    assert_eq!(node.next_event(), Some(Event::Follows));
}
