//! Records in Redis, with the real server: it may end, stand still or lie, and no record that it gives is another one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tributary_connect::redis::{RecordStore, RecordStoreConfig};
use tributary_engine::{JournalMeta, RecordPlace, SharedRecords};
use tributary_testkit::engine::Engine;

use crate::PATIENCE;

/// Password of the user `default`: see `scripts/engines/redis/serve`.
const PASSWORD: &str = "only-for-the-file";
const META: JournalMeta = JournalMeta {
    cluster_id: [1; 16],
    id_key: [2; 16],
    sandbox: false,
    epochs: Vec::new(),
};

fn place(position: u64) -> RecordPlace {
    RecordPlace {
        epoch: 1,
        history: [3; 32],
        position,
    }
}

fn store(engine: &Engine, meta: &JournalMeta) -> Arc<dyn SharedRecords> {
    let url = format!("redis://{}", engine.address());
    let config = RecordStoreConfig::new(&url, Some(PASSWORD)).expect("it is a url");
    RecordStore::start(&config, meta)
}

/// On a busy machine an answer may come too late, which is a miss.
fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "{what} never came true");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Stores a record until it is found.
fn keep(store: &dyn SharedRecords, position: u64, payload: &[u8]) {
    eventually("a stored record is found", || {
        store.put(place(position), payload);
        store.get(&place(position)).as_deref() == Some(payload)
    });
}

/// Asks until the server has answered, one way or the other, and returns what it gave.
fn answer(store: &dyn SharedRecords, place: &RecordPlace) -> Option<Vec<u8>> {
    let mut found = None;
    let count = |store: &dyn SharedRecords| {
        let figures = store.figures();
        figures.hits + figures.misses + figures.forged
    };
    let before = count(store);
    eventually("the server answers", || {
        found = store.get(place);
        count(store) > before
    });
    found
}

#[test]
fn a_record_is_found_by_each_node_of_its_log_and_by_nobody_else() {
    let Some(engine) = Engine::find("redis") else {
        return;
    };
    engine.start();
    let here = store(&engine, &META);
    let payloads = [b"".to_vec(), b"a".to_vec(), vec![7; 100_000]];
    for (payload, position) in payloads.iter().zip(1..) {
        keep(&*here, position, payload);
        let other_node = store(&engine, &META);
        assert_eq!(
            answer(&*other_node, &place(position)).as_ref(),
            Some(payload)
        );
    }
    let elsewhere = [
        RecordPlace {
            epoch: 2,
            ..place(2)
        },
        RecordPlace {
            history: [4; 32],
            ..place(2)
        },
        place(4),
    ];
    for place in &elsewhere {
        assert_eq!(answer(&*here, place), None);
    }
    let other_log = JournalMeta {
        cluster_id: [9; 16],
        ..META
    };
    let other_key = JournalMeta {
        id_key: [9; 16],
        ..META
    };
    for meta in [other_log, other_key] {
        assert_eq!(answer(&*store(&engine, &meta), &place(2)), None);
    }
}

#[test]
fn bytes_that_no_node_stored_are_refused() {
    let Some(engine) = Engine::find("redis") else {
        return;
    };
    engine.start();
    let store = store(&engine, &META);
    keep(&*store, 1, b"one record");
    keep(&*store, 2, b"two record");
    let client = redis::Client::open(format!("redis://:{PASSWORD}@{}", engine.address()));
    let mut attacker = client
        .and_then(|it| it.get_connection())
        .expect("it answers");
    let mut list = |command: &redis::Cmd| -> Vec<Vec<u8>> {
        command.query(&mut attacker).expect("it answers")
    };
    let mut keys = list(redis::cmd("KEYS").arg("*"));
    // The position is the end of a key.
    keys.sort();
    let values = list(redis::cmd("MGET").arg(&keys));
    let ([first, _], [one, two]) = (&keys[..], &values[..]) else {
        panic!("there are two: {keys:?}");
    };
    let flipped = (0..one.len()).map(|at| {
        let mut wrong = one.clone();
        wrong[at] ^= 1;
        wrong
    });
    let longer = [one.as_slice(), b"x"].concat();
    let others = [
        two.clone(),
        longer,
        one[..one.len() - 1].to_vec(),
        one[..20].to_vec(),
        Vec::new(),
    ];
    for wrong in flipped.chain(others) {
        let old: Vec<u8> = redis::cmd("GETSET")
            .arg(first)
            .arg(&wrong)
            .query(&mut attacker)
            .expect("it answers");
        assert_ne!(old, wrong);
        assert_eq!(answer(&*store, &place(1)), None, "{wrong:?}");
    }
    assert!(store.figures().forged >= one.len() as u64);
    keep(&*store, 1, b"one record");
}

#[test]
fn a_server_that_ends_or_stands_still_is_left_alone_and_tried_again() {
    let Some(engine) = Engine::find("redis") else {
        return;
    };
    engine.start();
    let store = store(&engine, &META);
    keep(&*store, 1, b"a record");
    let fails = |what: &str| {
        let before = store.figures();
        eventually(what, || {
            assert_eq!(store.get(&place(1)), None);
            let now = store.figures();
            now.failures >= before.failures + 3 && now.skipped > before.skipped
        });
    };
    engine.freeze(true);
    fails("a server that stands still is left alone");
    engine.freeze(false);
    keep(&*store, 1, b"a record");
    engine.kill();
    fails("a server that ended is left alone");
    engine.start();
    keep(&*store, 1, b"a record");
}
