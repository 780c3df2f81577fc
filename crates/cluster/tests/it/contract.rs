//! What [`Log`] promises, line by line, against a log under test.

use std::collections::BTreeMap;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tributary_cluster::entry::ENTRY_BYTES_MAX;
use tributary_cluster::log::{Appended, Log, LogError};

/// Longest time that a test waits for what must happen: for slow machines, not for slow logs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// A log under test, and what a test does to it by other means.
pub(crate) trait Rig: Sync {
    /// A new connection to the log, as another node has one.
    fn connect(&self) -> Box<dyn Log>;

    /// Cuts every connection.
    fn cut(&self);

    /// Ends the server without notice, and starts it again on its data.
    fn kill(&self);
}

/// Passes every line of the contract.
pub(crate) fn pass(rig: &dyn Rig) {
    entries_are_read_as_they_were_appended(rig);
    a_reader_hears_of_an_entry_while_it_waits(rig);
    one_of_two_appends_at_the_same_place_comes_first(rig);
    a_large_entry_is_read_alone(rig);
    a_lost_connection_ends_the_session(rig);
    the_clock_is_that_of_the_world(rig);
    what_is_acknowledged_is_there_once_for_every_reader(rig, &|| {});
    let kill = || {
        thread::sleep(Duration::from_millis(200));
        rig.kill();
    };
    what_is_acknowledged_is_there_once_for_every_reader(rig, &kill);
}

/// Begins a session as soon as the log allows it.
pub(crate) fn begin(log: &mut dyn Log) -> u64 {
    let begun = Instant::now();
    loop {
        match log.session() {
            Ok(session) => return session,
            Err(LogError::Disconnected(why)) if begun.elapsed() < PATIENCE => {
                eprintln!("not yet: {why}");
                thread::sleep(Duration::from_millis(50));
            }
            Err(error) => panic!("{error}"),
        }
    }
}

fn read_some(log: &mut dyn Log, offset: u64, bytes_max: usize) -> Vec<Vec<u8>> {
    let mut entries = Vec::new();
    log.read(offset, bytes_max, Duration::ZERO, &mut entries)
        .expect("the session holds");
    entries
}

/// Reads everything from an offset on.
pub(crate) fn read_all(log: &mut dyn Log, from: u64) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    loop {
        let more = read_some(log, from + all.len() as u64, 1 << 20);
        if more.is_empty() {
            return all;
        }
        all.extend(more);
    }
}

fn end(log: &mut dyn Log) -> u64 {
    read_all(log, 0).len() as u64
}

#[track_caller]
fn append(log: &mut dyn Log, entry: &[u8]) -> u64 {
    let read = end(log);
    match log.append(read, entry, PATIENCE) {
        Appended::At(offset) => offset,
        other => panic!("{other:?}"),
    }
}

/// A log of a rig with a session.
fn open(rig: &dyn Rig) -> Box<dyn Log> {
    let mut log = rig.connect();
    begin(&mut *log);
    log.check_settings().expect("it is fit");
    log
}

fn entries_are_read_as_they_were_appended(rig: &dyn Rig) {
    let (mut writer, mut reader) = (open(rig), open(rig));
    let first = end(&mut *writer);
    assert_eq!(
        read_some(&mut *reader, first, 1 << 20),
        Vec::<Vec<u8>>::new()
    );
    let entries = [vec![0], vec![1; 300], vec![0xff, 0, 0xff], vec![7; 70_000]];
    for (entry, offset) in entries.iter().zip(first..) {
        assert_eq!(append(&mut *writer, entry), offset);
    }
    for (index, offset) in (0..entries.len()).zip(first..) {
        assert_eq!(read_all(&mut *reader, offset), entries[index..]);
        assert_eq!(read_all(&mut *writer, offset), entries[index..]);
    }
    // No more than asked for, but one at least.
    assert_eq!(read_some(&mut *reader, first, 1), entries[..1]);
    assert_eq!(read_some(&mut *reader, first, 301), entries[..2]);
}

fn a_reader_hears_of_an_entry_while_it_waits(rig: &dyn Rig) {
    let (mut writer, mut reader) = (open(rig), open(rig));
    let from = end(&mut *writer);
    thread::scope(|scope| {
        let reading = scope.spawn(move || {
            let mut entries = Vec::new();
            let read = reader.read(from, 1 << 20, PATIENCE, &mut entries);
            read.expect("the session holds");
            entries
        });
        thread::sleep(Duration::from_millis(100));
        append(&mut *writer, b"news");
        assert_eq!(reading.join().expect("no panic"), [b"news"]);
    });
}

fn one_of_two_appends_at_the_same_place_comes_first(rig: &dyn Rig) {
    let (mut one, mut other) = (open(rig), open(rig));
    let read = end(&mut *one);
    assert_eq!(one.append(read, b"one", PATIENCE), Appended::At(read));
    let second = other.append(read, b"other", PATIENCE);
    let there = read_all(&mut *one, read);
    match second {
        Appended::Lost => assert_eq!(there, [b"one".to_vec()]),
        Appended::At(offset) => {
            assert_eq!(offset, read + 1);
            assert_eq!(there, [b"one".to_vec(), b"other".to_vec()]);
        }
        Appended::Unknown => panic!("nothing went wrong"),
    }
}

fn a_large_entry_is_read_alone(rig: &dyn Rig) {
    let (mut writer, mut reader) = (open(rig), open(rig));
    // Bytes that can't be compressed.
    let large: Vec<u8> = (0_u64..)
        .flat_map(|number| number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes())
        .take(ENTRY_BYTES_MAX)
        .collect();
    let first = append(&mut *writer, &large);
    append(&mut *writer, &large);
    let there = read_some(&mut *reader, first, 1 << 20);
    assert!(there == [large.clone()], "one entry of {}", there.len());
    let there = read_all(&mut *reader, first + 1);
    assert!(there == [large], "one entry of {}", there.len());
}

fn a_lost_connection_ends_the_session(rig: &dyn Rig) {
    let mut log = open(rig);
    let before = begin(&mut *log);
    let offset = append(&mut *log, b"before");
    rig.cut();
    let begun = Instant::now();
    loop {
        let mut entries = Vec::new();
        match log.read(offset + 1, 1 << 20, Duration::ZERO, &mut entries) {
            Err(LogError::Disconnected(_)) => break,
            other => assert!(begun.elapsed() < PATIENCE, "{other:?}"),
        }
    }
    // Without a session nothing is read or appended.
    let mut entries = Vec::new();
    let read = log.read(offset, 1 << 20, Duration::ZERO, &mut entries);
    assert!(matches!(read, Err(LogError::Disconnected(_))), "{read:?}");
    let appended = log.append(offset + 1, b"lost", PATIENCE);
    assert!(!matches!(appended, Appended::At(_)), "{appended:?}");
    assert!(begin(&mut *log) != before, "another session");
    assert_eq!(read_all(&mut *log, offset)[0], b"before");
    append(&mut *log, b"after");
}

fn the_clock_is_that_of_the_world(rig: &dyn Rig) {
    let mut log = open(rig);
    let now = || {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .expect("after 1970")
    };
    // A log that can't be asked tells it with an acknowledgement.
    append(&mut *log, b"what time is it");
    let before = now();
    let told = log.clock().expect("the session holds");
    let told = Duration::from_nanos(told.expect("an entry of this session is there"));
    // The server is on this machine.
    let slack = Duration::from_secs(1);
    assert!(told + slack >= before && told <= now() + slack, "{told:?}");
}

/// Line 2, with writers that race and, perhaps, lose their connections.
fn what_is_acknowledged_is_there_once_for_every_reader(rig: &dyn Rig, trouble: &(dyn Fn() + Sync)) {
    const WRITERS: usize = 4;
    const ENTRIES: usize = 100;
    let mut first = open(rig);
    let from = end(&mut *first);
    let start = Barrier::new(WRITERS + 1);
    let write = |writer: usize| {
        let mut log = open(rig);
        let mut acknowledged = Vec::new();
        let mut read = from;
        start.wait();
        for number in 0..ENTRIES {
            // Each try has bytes of its own: one whose fate is unknown is not sent again.
            for attempt in 0.. {
                let entry = format!("{writer} {number} {attempt}").into_bytes();
                match log.append(read, &entry, PATIENCE) {
                    Appended::At(offset) => {
                        acknowledged.push((offset, entry));
                        read = offset + 1;
                        break;
                    }
                    Appended::Lost | Appended::Unknown => {
                        begin(&mut *log);
                        let mut entries = Vec::new();
                        if log
                            .read(read, 1 << 20, Duration::ZERO, &mut entries)
                            .is_ok()
                        {
                            read += entries.len() as u64;
                        }
                    }
                }
            }
        }
        acknowledged
    };
    let acknowledged: Vec<(u64, Vec<u8>)> = thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| scope.spawn(move || write(writer)))
            .collect();
        start.wait();
        trouble();
        let written = writers
            .into_iter()
            .flat_map(|one| one.join().expect("no panic"));
        written.collect()
    });
    let mut counts: BTreeMap<Vec<u8>, usize> = BTreeMap::new();
    let mut seen = Vec::new();
    for _reader in 0..2 {
        let mut log = rig.connect();
        begin(&mut *log);
        let there = read_all(&mut *log, from);
        assert!(seen.is_empty() || seen == there, "both read the same");
        seen = there;
    }
    for entry in &seen {
        *counts.entry(entry.clone()).or_default() += 1;
    }
    assert_eq!(acknowledged.len(), WRITERS * ENTRIES);
    for (offset, entry) in acknowledged {
        let index = usize::try_from(offset - from).expect("a small number");
        let text = String::from_utf8_lossy(&entry).into_owned();
        assert_eq!(seen.get(index), Some(&entry), "{text} at {offset}");
        assert_eq!(counts[&entry], 1, "{text} is there once");
    }
}
