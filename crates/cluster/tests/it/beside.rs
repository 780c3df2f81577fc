//! The log beside the journal: what a leader wrote, the next one reads.

use std::io;

use tempfile::TempDir;
use tributary_cluster::beside::ClusterLog;
use tributary_cluster::memory::MemoryStore;
use tributary_engine::{Basis, Fate, FrameLog, LogVisitor, Standing, Visited};

use crate::members::{Running, begin_log, in_time};

/// Takes in whole snapshots only: the last record of one is `whole`.
#[derive(Default)]
struct Reading {
    records: Vec<Vec<u8>>,
}

impl LogVisitor for Reading {
    fn begin(&mut self) {
        self.records.clear();
    }

    fn record(&mut self, payload: &[u8]) -> Visited {
        self.records.push(payload.to_vec());
        Visited::Taken
    }

    fn end(&mut self) -> bool {
        self.records.iter().any(|record| record == b"whole")
    }
}

pub(crate) fn read(log: &mut ClusterLog) -> io::Result<Vec<String>> {
    let mut reading = Reading::default();
    let set_aside = log.read(&mut |_| Ok(Standing::Known), &mut reading)?;
    assert_eq!(set_aside, Vec::<String>::new());
    let text = |record: Vec<u8>| String::from_utf8(record).expect("the tests write texts");
    Ok(reading.records.into_iter().map(text).collect())
}

fn records(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

fn append(node: &mut Running, texts: &[&str]) {
    let ticket = node.beside.append(&records(texts), Basis::default(), 1);
    let fate = ticket.wait();
    assert!(matches!(fate, Fate::Durable(_)), "{fate:?}");
}

/// Waits until a follower has what the leader has, which is an entry ahead and says so within a second.
fn reads_everything(node: &Running, leader: &Running) {
    let ahead = leader.member.standing().entries;
    in_time("it has read everything", || {
        node.member.standing().entries >= ahead
    });
}

fn hand_over(from: &Running, to: &Running, name: &str) {
    from.member.hand_over(name);
    in_time("it is handed over", || {
        to.member.leads() && !from.member.leads()
    });
}

#[test]
fn the_next_leader_reads_what_the_one_before_wrote() {
    let store = MemoryStore::default();
    begin_log(&mut store.connect());
    let folders = [(); 2].map(|()| tempfile::tempdir().expect("there is room"));
    let start = |rank: u32, run| {
        let folder: &TempDir = &folders[rank as usize];
        Running::start(folder, rank, run, Box::new(store.connect()))
    };
    let mut first = start(0, 0);
    in_time("the first leads", || first.member.leads());
    let second = start(1, 0);
    let snapshot = records(&["a", "whole"]);
    let written = first.beside.begin(&snapshot, Basis::default(), 1).wait();
    assert!(matches!(written, Fate::Durable(_)), "{written:?}");
    append(&mut first, &["b"]);
    // A follower that is started again goes on at its place, with the snapshot that it has.
    reads_everything(&second, &first);
    second.stop(true);
    append(&mut first, &["c"]);
    let mut second = start(1, 1);
    reads_everything(&second, &first);
    append(&mut first, &["d", "e"]);
    // Who does not lead writes nothing.
    let refused = second.beside.append(&records(&["no"]), Basis::default(), 1);
    assert!(matches!(refused.wait(), Fate::Refused(_)));
    hand_over(&first, &second, "node-1");
    let expected = ["a", "whole", "b", "c", "d", "e"];
    assert_eq!(read(&mut second.beside).expect("it can be read"), expected);
    // A snapshot of many pieces replaces everything at once.
    let mut large: Vec<Vec<u8>> = (0..400).map(|_| vec![b'x'; 10_000]).collect();
    large.push(b"whole".to_vec());
    let written = second.beside.begin(&large, Basis::default(), 2).wait();
    assert!(matches!(written, Fate::Durable(_)), "{written:?}");
    append(&mut second, &["f"]);
    hand_over(&second, &first, "node-0");
    let found = read(&mut first.beside).expect("it can be read");
    assert_eq!(found.len(), 402);
    assert_eq!(found[400..], ["whole", "f"]);
    first.stop(true);
    second.stop(true);
}
