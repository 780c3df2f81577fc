//! When a node claims.

use std::time::Duration;

use tributary_cluster::entry::{Body, Entry, Genesis, HeadMark, Header, Mark};
use tributary_cluster::fold::Fold;
use tributary_cluster::log::Appended;
use tributary_cluster::node::{Identity, Node};

/// A log, and a node that has read all of it.
struct Scene {
    node: Node,
    /// After everything that the log has.
    mark: Mark,
    now: Duration,
}

impl Scene {
    /// A log in which another node leads, whose last entry was read at 0 s.
    fn new() -> Scene {
        let identity = Identity {
            name: "node-1".to_owned(),
            url: "url".to_owned(),
            rank: 1,
            run: 7,
            is_moving: false,
        };
        let mut node = Node::new(identity, Fold::default(), Duration::ZERO);
        node.begin_session();
        let (mark, now) = (Mark::default(), Duration::ZERO);
        let mut scene = Scene { node, mark, now };
        let head = HeadMark::default();
        scene.read(0, &Body::Genesis(genesis()));
        let (node, url) = ("node-0", "url");
        scene.read(1, &Body::Claim { head, node, url });
        scene.read(1, &Body::Beat { head });
        scene
    }

    /// Has the node read an entry, whose writer knows that everything before is settled.
    fn read(&mut self, term: u64, body: &Body<'_>) {
        let header = Header {
            log_id: [9; 16],
            term,
            // A barrier is in nobody's name.
            nonce: if *body == Body::Barrier { 0 } else { term },
            settled: self.mark,
        };
        let entry = Entry::encode(&header, body);
        self.mark = self.mark.after(&entry);
        self.node.read(self.now, entry);
        self.node.reach_end(self.now);
    }

    /// Whether the node claims now; the claim loses its place.
    fn claims(&mut self) -> bool {
        let Some(bytes) = self.node.next_append(self.now, true) else {
            return false;
        };
        self.node.appended(self.now, Appended::Lost);
        let entry = Entry::parse(&bytes).expect("a node writes what can be read");
        matches!(entry.body, Body::Claim { .. })
    }
}

fn genesis() -> Genesis {
    Genesis {
        cluster_id: [1; 16],
        sandbox: true,
        master_key_id: 5,
        epochs: Vec::new(),
        sealed_id_key: vec![8; 44],
        head: HeadMark::default(),
        versions: tributary_engine::NEWEST,
    }
}

#[test]
fn a_claim_that_loses_its_place_to_a_barrier_is_tried_again_at_once() {
    let mut scene = Scene::new();
    scene.now = Duration::from_secs(10);
    assert!(scene.claims());
    scene.read(1, &Body::Barrier);
    assert!(scene.claims(), "nobody leads");
}

/// The last entry of a leader is known to be settled only when another node makes sure of that.
#[test]
fn the_silence_of_a_leader_begins_when_its_last_entry_was_read() {
    let mut scene = Scene::new();
    scene.now = Duration::from_millis(3_400);
    scene.read(1, &Body::Barrier);
    assert!(!scene.claims(), "the leader may only be slow");
    scene.now = Duration::from_millis(3_500);
    assert!(scene.claims());
}

#[test]
fn an_entry_of_the_leader_is_a_sign_of_it_before_it_is_settled() {
    let mut scene = Scene::new();
    scene.now = Duration::from_millis(3_400);
    let head = HeadMark::default();
    scene.read(1, &Body::Beat { head });
    scene.now = Duration::from_millis(6_800);
    assert!(!scene.claims());
    scene.now = Duration::from_millis(6_900);
    assert!(scene.claims());
}
