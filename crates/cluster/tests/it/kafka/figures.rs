//! How long an append takes, beside what the same broker needs for a message without the log.

use std::sync::Mutex;
use std::sync::mpsc::{self, Sender};
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseRecord, ProducerContext, ThreadedProducer};
use tributary_cluster::kafka::{KafkaLog, Options};
use tributary_cluster::log::{Appended, Log};

use super::FIT;
use super::broker::Broker;
use super::several::Several;
use crate::contract::{PATIENCE, begin};

/// Entries of each size, bytes and number.
const SIZES: [(usize, usize); 2] = [(1 << 10, 1_000), (1 << 20, 100)];
/// Appends before those that are measured.
const WARM_UP: usize = 20;

/// Says when a message is acknowledged.
struct Acknowledged(Mutex<Sender<()>>);

impl ClientContext for Acknowledged {}

impl ProducerContext for Acknowledged {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        assert!(result.is_ok(), "nothing is in the way");
        let sender = self.0.lock().expect("no panic");
        sender.send(()).expect("the test waits");
    }
}

/// Prints what one kind of append took.
fn print(what: &str, bytes: usize, mut took: Vec<Duration>) {
    let total: Duration = took.iter().sum();
    took.sort_unstable();
    let at = |percent: usize| took[(took.len() - 1) * percent / 100].as_secs_f64() * 1e3;
    let per_second = took.len() as f64 / total.as_secs_f64();
    let mib_per_second = per_second * bytes as f64 / f64::from(1 << 20);
    eprintln!(
        "{what:<34} {bytes:>8} {:>9.2} {:>9.2} {per_second:>9.0} {mib_per_second:>9.1}",
        at(50),
        at(99)
    );
}

fn measure(name: &str, servers: &[String], topic: &str) {
    let mut log = KafkaLog::new(Options {
        brokers: servers.to_vec(),
        topic: topic.to_owned(),
        user: None,
        trusted_roots: None,
        allow_single_copy: true,
    })
    .expect("the options are fit");
    begin(&mut log);
    let (sender, acknowledged) = mpsc::channel();
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", servers.join(","))
        .set("acks", "all")
        .set("linger.ms", "0")
        .set("socket.nagle.disable", "true")
        .set("message.max.bytes", "8388608");
    let context = Acknowledged(Mutex::new(sender));
    let bare: ThreadedProducer<Acknowledged> =
        config.create_with_context(context).expect("it is fit");
    for (bytes, count) in SIZES {
        let entry = vec![7; bytes];
        let (mut appends, mut produces) = (Vec::new(), Vec::new());
        for _ in 0..count + WARM_UP {
            let begun = Instant::now();
            let appended = log.append(0, &entry, PATIENCE);
            assert!(matches!(appended, Appended::At(_)), "{appended:?}");
            appends.push(begun.elapsed());
            let begun = Instant::now();
            let record: BaseRecord<'_, (), [u8]> = BaseRecord::to(topic);
            let sent = bare.send(record.partition(0).payload(&entry));
            assert!(sent.is_ok(), "there is room");
            acknowledged
                .recv_timeout(PATIENCE)
                .expect("it is acknowledged");
            produces.push(begun.elapsed());
        }
        print(&format!("{name}, log"), bytes, appends.split_off(WARM_UP));
        print(&format!("{name}, bare"), bytes, produces.split_off(WARM_UP));
    }
}

fn print_head() {
    eprintln!(
        "{:<34} {:>8} {:>9} {:>9} {:>9} {:>9}",
        "", "bytes", "p50 ms", "p99 ms", "per s", "MiB/s"
    );
}

#[test]
#[ignore = "prints figures: run it alone, with --nocapture"]
fn appends_beside_bare_messages_with_one_broker() {
    let Some(broker) = Broker::start() else {
        return;
    };
    let servers = [broker.engine.address().to_string()];
    let mut flushed = FIT.to_vec();
    for setting in &mut flushed {
        if setting.0 == "min.insync.replicas" {
            setting.1 = "1";
        }
    }
    broker.create("cached", 1, &flushed);
    flushed.push(("flush.messages", "1"));
    broker.create("flushed", 1, &flushed);
    print_head();
    measure("one broker", &servers, "cached");
    measure("one broker, flush.messages=1", &servers, "flushed");
}

#[test]
#[ignore = "prints figures: run it alone, with --nocapture"]
fn appends_beside_bare_messages_with_three_brokers() {
    let Some(several) = Several::start() else {
        return;
    };
    let servers = several
        .brokers
        .iter()
        .map(|one| one.engine.address().to_string());
    let servers: Vec<String> = servers.collect();
    several.create_with("cached", &[]);
    several.create_with("flushed", &[("flush.messages", "1")]);
    print_head();
    measure("three brokers", &servers, "cached");
    measure("three brokers, flush.messages=1", &servers, "flushed");
}
