//! Moving a journal onto a log, and comparing the two.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tempfile::TempDir;
use tributary_cluster::entry::{Genesis, HeadMark};
use tributary_cluster::log::Log;
use tributary_cluster::memory::MemoryStore;
use tributary_cluster::moving::{MoveError, Source, compare, move_journal, read_genesis};
use tributary_cluster::node::Identity;
use tributary_engine::NEWEST;
use tributary_engine::{Backend, Embedded};
use tributary_journal::{DirDisk, Disk};
use tributary_testkit::backends::{cluster_meta, small_segments};
use tributary_testkit::commands::open;

use crate::contract::begin;
use crate::members::{Running, alone, begin_log, in_time};

const LOG_ID: [u8; 16] = [5; 16];
const ACCOUNTS: usize = 30;

/// A journal of some records, in as many frames.
fn journal() -> TempDir {
    alone((0..ACCOUNTS).map(|number| {
        let name = format!("account-{number}");
        open(&name, &name)
    }))
}

fn opened(folder: &TempDir) -> Embedded {
    let disk: Arc<dyn Disk> = Arc::new(DirDisk::new(folder.path()));
    Embedded::open(disk, small_segments()).expect("it is whole")
}

fn identity() -> Identity {
    static RUNS: AtomicU32 = AtomicU32::new(70);

    Identity {
        name: "mover".into(),
        url: "http://mover".into(),
        rank: 0,
        run: RUNS.fetch_add(1, Ordering::Relaxed),
        is_moving: true,
    }
}

fn genesis(journal: &Embedded) -> Genesis {
    let head = Backend::reader(journal).head();
    let head = HeadMark {
        position: head.position,
        hash: head.hash,
    };
    Genesis::new(&cluster_meta(), 1, vec![0; 32], head, NEWEST)
}

fn moves(log: &mut dyn Log, folder: &TempDir, log_id: [u8; 16]) -> Result<u64, MoveError> {
    let journal = opened(folder);
    let mut last = 0;
    let source = Source {
        log_id,
        genesis: genesis(&journal),
        reader: Backend::reader(&journal),
        beside: Vec::new(),
        progress: &mut |position| last = position,
    };
    move_journal(log, identity(), source)?;
    Ok(last)
}

#[test]
fn a_journal_is_moved_once_and_a_node_goes_on_with_it() {
    let store = MemoryStore::default();
    let folder = journal();
    assert_eq!(read_genesis(&mut store.connect()), Ok(None));
    let moved = moves(&mut store.connect(), &folder, LOG_ID);
    assert_eq!(moved, Ok(ACCOUNTS as u64));
    let found = read_genesis(&mut store.connect()).expect("it is there");
    assert_eq!(found.map(|(id, _)| id), Some(LOG_ID));
    // Again changes nothing that counts.
    let again = moves(&mut store.connect(), &folder, LOG_ID);
    assert_eq!(again, Ok(ACCOUNTS as u64));
    let other = moves(&mut store.connect(), &folder, [6; 16]);
    assert_eq!(other, Err(MoveError::Taken(LOG_ID)));
    let reader = Backend::reader(&opened(&folder));
    let compared = compare(&mut store.connect(), &*reader, &mut |_| {}).expect("they agree");
    assert_eq!(compared.position, ACCOUNTS as u64);
    let empty = tempfile::tempdir().expect("there is room");
    let (source, joined) = (
        Running::start(&folder, 0, 1, Box::new(store.connect())),
        Running::start(&empty, 1, 1, Box::new(store.connect())),
    );
    in_time("somebody leads", || {
        source.member.leads() || joined.member.leads()
    });
    let leader = if source.member.leads() {
        &source
    } else {
        &joined
    };
    let done = leader.engine.execute_blocking(vec![open("new", "new")]);
    done.expect("it leads");
    in_time("both have it", || {
        let heads = [&source, &joined].map(|node| node.engine.reader().head());
        heads[0] == heads[1] && heads[0].position == ACCOUNTS as u64 + 1
    });
    source.stop(true);
    joined.stop(true);
}

#[test]
fn nobody_leads_before_the_whole_journal_is_on_the_log_and_moving_goes_on() {
    let store = MemoryStore::default();
    let folder = journal();
    moves(&mut store.connect(), &folder, LOG_ID).expect("the log is empty");
    let mut log = store.connect();
    begin(&mut log);
    let mut entries = Vec::new();
    log.read(0, usize::MAX, crate::contract::PATIENCE, &mut entries)
        .expect("it is there");
    // As if moving had been broken off.
    let half = MemoryStore::default();
    let mut log = half.connect();
    begin(&mut log);
    for (number, entry) in entries[..20].iter().enumerate() {
        log.append(number as u64, entry, crate::contract::PATIENCE);
    }
    let empty = tempfile::tempdir().expect("there is room");
    let waiting = Running::start(&empty, 0, 9, Box::new(half.connect()));
    in_time("it has read all", || {
        waiting.member.standing().entries >= 20 && waiting.member.standing().confirmed.is_some()
    });
    // Longer than anybody waits for a leader.
    std::thread::sleep(std::time::Duration::from_secs(5));
    assert!(!waiting.member.leads());
    let moved = moves(&mut half.connect(), &folder, LOG_ID);
    assert_eq!(moved, Ok(ACCOUNTS as u64));
    in_time("it leads now", || waiting.member.leads());
    let reader = Backend::reader(&opened(&folder));
    assert_eq!(waiting.engine.reader().head(), reader.head());
    waiting.stop(true);
}

#[test]
fn a_log_with_other_records_is_told() {
    let store = MemoryStore::default();
    begin_log(&mut store.connect());
    let folder = journal();
    let reader = Backend::reader(&opened(&folder));
    let error = compare(&mut store.connect(), &*reader, &mut |_| {}).expect_err("it is empty");
    assert!(
        error.to_string().contains("the log has 0 records"),
        "{error}"
    );
    let other = tempfile::tempdir().expect("there is room");
    let node = Running::start(&other, 0, 0, Box::new(store.connect()));
    in_time("it leads", || node.member.leads());
    let done = node.engine.execute_blocking(vec![open("other", "other")]);
    done.expect("it leads");
    node.stop(true);
    let error = compare(&mut store.connect(), &*reader, &mut |_| {}).expect_err("it is another");
    assert!(error.to_string().contains("another frame"), "{error}");
}
