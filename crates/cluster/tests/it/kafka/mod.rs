//! The log in Kafka: the contract, what is refused, and what several brokers keep.

mod broker;
mod figures;
mod several;
#[cfg(feature = "kafka-tls")]
mod tls;

use std::time::Duration;

use rdkafka::admin::AdminOptions;
use rdkafka::producer::{FutureProducer, FutureRecord, Producer as _};
use rdkafka::{Offset, TopicPartitionList};
use tributary_cluster::entry::ENTRY_BYTES_MAX;
use tributary_cluster::log::{Appended, Log, LogError};

use crate::contract::{self, PATIENCE, begin, read_all};
use crate::members::in_time;
use crate::{lockstep, members};
use broker::{Broker, BrokerRig, TOPIC, block_on};

/// The settings of a topic that is fit, but for the number of its copies.
const FIT: [(&str, &str); 7] = [
    ("cleanup.policy", "delete"),
    ("retention.ms", "-1"),
    ("retention.bytes", "-1"),
    ("message.timestamp.type", "LogAppendTime"),
    ("unclean.leader.election.enable", "false"),
    ("max.message.bytes", "8388608"),
    ("min.insync.replicas", "2"),
];

#[test]
fn kafka_keeps_the_contract() {
    if let Some(broker) = Broker::start() {
        let rig = BrokerRig(broker);
        contract::pass(&rig);
        topics_are_apart(&rig);
    }
}

#[test]
fn a_node_over_kafka_agrees_with_the_model() {
    if let Some(broker) = Broker::start() {
        let connect = move || -> Box<dyn Log> { Box::new(broker.log(TOPIC)) };
        lockstep::check(connect, 7, 200);
    }
}

#[test]
fn nodes_over_kafka_pay_once_whoever_leads() {
    if let Some(broker) = Broker::start() {
        members::play(&BrokerRig(broker));
    }
}

#[test]
fn what_a_topic_does_not_keep_is_found() {
    let Some(broker) = Broker::start() else {
        return;
    };
    a_topic_that_may_lose_entries_is_refused(&broker);
    deleted_entries_are_found(&broker);
    a_transaction_of_somebody_else_is_found(&broker);
    an_entry_that_is_too_large_is_not_sent(&broker);
    the_clock_is_learned_from_what_comes_in(&broker);
    what_a_broker_that_stands_still_was_given_is_unknown(&broker);
}

#[test]
fn brokers_without_eligible_leader_replicas_are_refused() {
    let Some(broker) = Broker::find() else {
        return;
    };
    let features = "eligible.leader.replicas.version=0\n";
    broker.engine.write("features", features);
    broker.engine.start();
    broker.create("fit", 1, &FIT);
    check_refused(
        &broker,
        "fit",
        false,
        "eligible.leader.replicas.version is off",
    );
}

fn topics_are_apart(rig: &BrokerRig) {
    let mut other = rig.0.log("deliveries");
    begin(&mut other);
    assert_eq!(other.append(0, b"first", PATIENCE), Appended::At(0));
    assert_eq!(read_all(&mut other, 0), [b"first"]);
}

/// Begins a session, which is refused.
#[track_caller]
fn check_refused(broker: &Broker, topic: &str, allow_single_copy: bool, part: &str) {
    let mut log = broker.open(topic, allow_single_copy);
    loop {
        match log.session() {
            Err(LogError::Unfit(why)) => return assert!(why.contains(part), "{why}"),
            Err(LogError::Disconnected(why)) => eprintln!("not yet: {why}"),
            Ok(_) => panic!("{part} is not refused"),
        }
    }
}

fn a_topic_that_may_lose_entries_is_refused(broker: &Broker) {
    for _ in 0..2 {
        // Asking for it does not make it.
        check_refused(broker, "missing", true, "`tributary cluster init` makes it");
    }
    broker.create("parted", 2, &FIT);
    check_refused(broker, "parted", true, "2 partitions");
    let wrong = [
        ("cleanup.policy", "compact"),
        ("retention.ms", "604800000"),
        ("retention.bytes", "1073741824"),
        ("message.timestamp.type", "CreateTime"),
        ("unclean.leader.election.enable", "true"),
        ("max.message.bytes", "1048588"),
    ];
    for (name, value) in wrong {
        let settings = FIT.map(|fit| if fit.0 == name { (name, value) } else { fit });
        let topic = format!("wrong-{name}");
        broker.create(&topic, 1, &settings);
        for allow_single_copy in [false, true] {
            let part = format!("{name} = {value}");
            check_refused(broker, &topic, allow_single_copy, &part);
        }
    }
    let settings = FIT.map(|(name, value)| match name {
        "min.insync.replicas" => (name, "1"),
        _ => (name, value),
    });
    broker.create("one-in-sync", 1, &settings);
    check_refused(broker, "one-in-sync", false, "min.insync.replicas = 1");
    begin(&mut broker.open("one-in-sync", true));
    broker.create("one-copy", 1, &FIT);
    check_refused(broker, "one-copy", false, "replication factor 1");
    begin(&mut broker.open("one-copy", true));
}

fn append_all(log: &mut dyn Log, entries: &[&[u8]]) {
    for (entry, offset) in entries.iter().zip(0..) {
        assert_eq!(log.append(offset, entry, PATIENCE), Appended::At(offset));
    }
}

#[track_caller]
fn check_gap(log: &mut dyn Log, offset: u64) {
    let mut entries = Vec::new();
    match log.read(offset, 1 << 20, Duration::ZERO, &mut entries) {
        Err(LogError::Unfit(why)) => {
            let part = format!("no entry at offset {offset}");
            assert!(why.contains(&part), "{why}");
        }
        other => panic!("{other:?}: {entries:?}"),
    }
}

fn deleted_entries_are_found(broker: &Broker) {
    let mut log = broker.log("deleted");
    begin(&mut log);
    append_all(&mut log, &[b"zero", b"one", b"two"]);
    let mut before = TopicPartitionList::new();
    let added = before.add_partition_offset("deleted", 0, Offset::Offset(2));
    added.expect("it is an offset");
    let deleted = block_on(broker.admin().delete_records(&before, &AdminOptions::new()));
    deleted.expect("an administrator may delete");
    check_gap(&mut log, 0);
    check_gap(&mut log, 1);
    assert_eq!(read_all(&mut log, 2), [b"two"]);
    // Beyond the end there is nothing to be missing.
    assert_eq!(read_all(&mut log, 7), Vec::<Vec<u8>>::new());
}

fn a_transaction_of_somebody_else_is_found(broker: &Broker) {
    let mut log = broker.log("transaction");
    begin(&mut log);
    append_all(&mut log, &[b"zero"]);
    let mut config = broker.config();
    let other: FutureProducer = config
        .set("transactional.id", "other")
        .create()
        .expect("the settings are fit");
    other.init_transactions(PATIENCE).expect("it may do that");
    other.begin_transaction().expect("it may do that");
    block_on(async {
        let record = FutureRecord::<(), _>::to("transaction").payload("other");
        other.send(record, PATIENCE).await.expect("it is sent");
    });
    // What is not committed does not hold back anything.
    assert_eq!(read_all(&mut log, 0), [&b"zero"[..], b"other"]);
    other.commit_transaction(PATIENCE).expect("it may do that");
    // The mark of the commit takes the place of an entry, as soon as it is written.
    let mut read = 2;
    in_time("the mark is found", || {
        let appended = log.append(read, b"after", PATIENCE);
        assert!(matches!(appended, Appended::At(_)), "{appended:?}");
        let mut entries = Vec::new();
        match log.read(read, 1 << 20, Duration::ZERO, &mut entries) {
            Err(LogError::Unfit(why)) => {
                let part = format!("no entry at offset {read}");
                assert!(why.contains(&part), "{why}");
                true
            }
            // A broker that is slow to send may stand still, for all that the log knows.
            Err(LogError::Disconnected(why)) => {
                eprintln!("not yet: {why}");
                begin(&mut log);
                false
            }
            Ok(_) => {
                read += entries.len() as u64;
                false
            }
        }
    });
    // What comes before is read as ever.
    let mut entries = Vec::new();
    let before = log.read(0, 1 << 20, Duration::ZERO, &mut entries);
    before.expect("the session holds");
    assert_eq!(entries.len() as u64, read);
}

fn an_entry_that_is_too_large_is_not_sent(broker: &Broker) {
    let mut log = broker.log("large");
    begin(&mut log);
    let too_large = vec![7; ENTRY_BYTES_MAX + 1024];
    assert_eq!(log.append(0, &too_large, PATIENCE), Appended::Lost);
    begin(&mut log);
    let largest = vec![7; ENTRY_BYTES_MAX];
    assert_eq!(log.append(0, &largest, PATIENCE), Appended::At(0));
    assert!(read_all(&mut log, 0) == [largest], "one entry");
}

fn the_clock_is_learned_from_what_comes_in(broker: &Broker) {
    let (mut writer, mut reader) = (broker.log("clock"), broker.log("clock"));
    begin(&mut writer);
    append_all(&mut writer, &[b"zero"]);
    begin(&mut reader);
    assert_eq!(reader.clock(), Ok(None));
    assert_eq!(read_all(&mut reader, 0), [b"zero"]);
    assert_eq!(reader.clock(), Ok(None), "nobody knows how old it is");
    // A machine that is too slow learns it from a later one.
    for offset in 1..50 {
        std::thread::scope(|scope| {
            let reading = scope.spawn(|| {
                let mut entries = Vec::new();
                while entries.is_empty() {
                    let wait = Duration::from_millis(50);
                    let read = reader.read(offset, 1 << 20, wait, &mut entries);
                    read.expect("the session holds");
                }
            });
            std::thread::sleep(Duration::from_millis(100));
            assert_eq!(
                writer.append(offset, b"news", PATIENCE),
                Appended::At(offset)
            );
            reading.join().expect("no panic");
        });
        if let Some(told) = reader.clock().expect("the session holds") {
            let now = std::time::SystemTime::UNIX_EPOCH
                .elapsed()
                .expect("after 1970");
            let difference = now.abs_diff(Duration::from_nanos(told));
            return assert!(difference < Duration::from_secs(1), "{difference:?}");
        }
    }
    panic!("the clock is not learned");
}

fn what_a_broker_that_stands_still_was_given_is_unknown(broker: &Broker) {
    let mut log = broker.log("still");
    let session = begin(&mut log);
    append_all(&mut log, &[b"zero"]);
    broker.engine.freeze(true);
    let appended = log.append(1, b"one", Duration::from_millis(300));
    assert_eq!(appended, Appended::Unknown);
    // There is no session that could send anything any more.
    assert_eq!(log.append(1, b"two", PATIENCE), Appended::Lost);
    broker.engine.freeze(false);
    assert_ne!(begin(&mut log), session);
    let there = read_all(&mut log, 0);
    assert!(there.len() <= 2, "{there:?}");
    let offset = there.len() as u64;
    match log.append(offset, b"three", PATIENCE) {
        Appended::At(at) => assert_eq!(read_all(&mut log, at), [b"three"]),
        other => panic!("{other:?}"),
    }
}
