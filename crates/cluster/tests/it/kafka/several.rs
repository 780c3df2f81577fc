//! Three brokers, of which the one that leads the partition is killed again and again.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminOptions, NewTopic, TopicReplication};
use tributary_cluster::kafka::KafkaLog;
use tributary_cluster::log::{Appended, Log, LogError};
use tributary_testkit::brokers;

use super::FIT;
use super::broker::{Broker, TOPIC, block_on, options};
use crate::contract::{self, PATIENCE, Rig, begin, read_all};
use crate::members::{self, in_time};

const BROKERS: usize = 3;
/// How often the leader of the partition is killed.
const KILLS: usize = 4;
/// How long a node waits for an acknowledgement.
const APPEND_PATIENCE: Duration = Duration::from_secs(5);

/// Brokers that know each other.
pub(super) struct Several {
    pub(super) brokers: [Broker; BROKERS],
}

impl Several {
    /// Starts brokers; none if they are not installed.
    pub(super) fn start() -> Option<Several> {
        let brokers = brokers::Broker::start_three()?.map(Broker::from);
        let several = Several { brokers };
        let mut log = several.log();
        in_time("the topic is made", || match log.create() {
            Ok(()) => true,
            Err(why) => {
                eprintln!("not yet: {why}");
                false
            }
        });
        Some(several)
    }

    /// Makes a topic with three copies that is fit, with more settings.
    pub(super) fn create_with(&self, topic: &str, settings: &[(&str, &str)]) {
        let copies = TopicReplication::Fixed(3);
        let mut new = NewTopic::new(topic, 1, copies);
        new.config = [&FIT[..], settings].concat();
        let admin = self.brokers[0].admin();
        in_time("a topic is made", || {
            let created = block_on(admin.create_topics([&new], &AdminOptions::new()));
            matches!(created.as_deref(), Ok([Ok(_)]))
        });
    }

    fn log(&self) -> KafkaLog {
        let brokers: Vec<&Broker> = self.brokers.iter().collect();
        let options = options(&brokers, TOPIC, false);
        KafkaLog::new(options).expect("the options are fit")
    }

    /// Returns which broker leads the partition.
    fn leader(&self) -> usize {
        let addresses = self.brokers.each_ref().map(|one| one.engine.address());
        let mut leader = 0;
        in_time("somebody leads", || {
            let found = brokers::find_partition(&addresses, TOPIC);
            leader = found.map_or(0, |partition| partition.leader);
            found.is_some()
        });
        leader
    }

    /// Kills the leader of the partition, and starts it again when another one leads.
    fn kill_leader(&self) {
        let leader = self.leader();
        self.brokers[leader].engine.kill();
        in_time("another one leads", || self.leader() != leader);
        thread::sleep(Duration::from_millis(500));
        self.brokers[leader].engine.start();
    }
}

impl Rig for Several {
    fn connect(&self) -> Box<dyn Log> {
        Box::new(self.log())
    }

    fn cut(&self) {
        self.brokers.iter().for_each(|broker| broker.proxy.cut());
    }

    fn kill(&self) {
        self.kill_leader();
    }
}

/// What a node that reads and appends has learned.
#[derive(Default)]
struct Learned {
    acknowledged: Vec<(u64, Vec<u8>)>,
    /// Entries from the first one on that stay: they were read in a session in which they, or later ones, were acknowledged.
    settled: Vec<Vec<u8>>,
    sessions: usize,
    unknown: usize,
    /// The longest time between two acknowledgements.
    longest: Duration,
}

/// Reads and appends until `is_done`, as a node does.
fn take_part(log: &mut dyn Log, name: &str, is_done: &AtomicBool) -> Learned {
    let mut learned = Learned::default();
    let mut session = None;
    let mut read: Vec<Vec<u8>> = Vec::new();
    let mut last = Instant::now();
    for number in 0.. {
        if is_done.load(Ordering::Relaxed) {
            break;
        }
        let present = begin(log);
        if session != Some(present) {
            session = Some(present);
            learned.sessions += 1;
            read = learned.settled.clone();
        }
        let mut entries = Vec::new();
        let wait = Duration::from_millis(5);
        match log.read(read.len() as u64, 1 << 20, wait, &mut entries) {
            Ok(()) => read.extend(entries),
            Err(LogError::Disconnected(why)) => {
                eprintln!("{name}: {why}");
                continue;
            }
            Err(error) => panic!("{error}"),
        }
        let entry = format!("{name} {number}").into_bytes();
        match log.append(read.len() as u64, &entry, APPEND_PATIENCE) {
            Appended::At(offset) => {
                learned.acknowledged.push((offset, entry));
                learned.longest = learned.longest.max(last.elapsed());
                last = Instant::now();
                let settled = usize::try_from(offset).expect("a few");
                if settled <= read.len() {
                    let settled = read[..settled].to_vec();
                    assert!(settled.starts_with(&learned.settled), "it stays");
                    learned.settled = settled;
                }
            }
            Appended::Lost => {}
            Appended::Unknown => learned.unknown += 1,
        }
    }
    learned
}

#[test]
#[ignore = "takes minutes: scripts/engines-test kafka"]
fn what_is_acknowledged_stays_whichever_broker_falls() {
    let Some(several) = Several::start() else {
        return;
    };
    let is_done = AtomicBool::new(false);
    let learned: Vec<Learned> = thread::scope(|scope| {
        let nodes: Vec<_> = ["one", "two"]
            .map(|name| {
                let (mut log, is_done) = (several.log(), &is_done);
                scope.spawn(move || take_part(&mut log, name, is_done))
            })
            .into_iter()
            .collect();
        for _ in 0..KILLS {
            thread::sleep(Duration::from_secs(3));
            several.kill_leader();
        }
        thread::sleep(Duration::from_secs(3));
        is_done.store(true, Ordering::Relaxed);
        let nodes = nodes.into_iter();
        nodes.map(|node| node.join().expect("no panic")).collect()
    });
    let mut log = several.log();
    begin(&mut log);
    let there = read_all(&mut log, 0);
    for learned in learned {
        eprintln!(
            "{} acknowledged, {} settled of {}, {} sessions, {} unknown, longest wait {:?}",
            learned.acknowledged.len(),
            learned.settled.len(),
            there.len(),
            learned.sessions,
            learned.unknown,
            learned.longest
        );
        assert!(learned.sessions > KILLS / 2, "connections were lost");
        assert!(learned.longest < PATIENCE);
        assert!(
            there.starts_with(&learned.settled),
            "what was settled stays"
        );
        for (offset, entry) in learned.acknowledged {
            let index = usize::try_from(offset).expect("a few");
            let text = String::from_utf8_lossy(&entry).into_owned();
            assert_eq!(there.get(index), Some(&entry), "{text} at {offset}");
        }
    }
}

#[test]
#[ignore = "takes a minute: scripts/engines-test kafka"]
fn three_brokers_keep_the_contract() {
    if let Some(several) = Several::start() {
        contract::pass(&several);
    }
}

#[test]
#[ignore = "takes minutes: scripts/engines-test kafka"]
fn nodes_over_three_brokers_pay_once_whichever_falls() {
    if let Some(several) = Several::start() {
        members::play(&several);
    }
}

#[test]
#[ignore = "takes a minute: scripts/engines-test kafka"]
fn only_a_connection_that_was_there_ends_the_session() {
    let Some(several) = Several::start() else {
        return;
    };
    let leader = several.leader();
    // The proxy of a broker that is away takes connections and drops them, and is named first.
    let away = (leader + 1) % BROKERS;
    several.brokers[away].engine.kill();
    let mut brokers: Vec<&Broker> = several.brokers.iter().collect();
    brokers.swap(0, away);
    let options = options(&brokers, TOPIC, false);
    let mut log = KafkaLog::new(options).expect("the options are fit");
    in_time("two brokers go on", || {
        begin(&mut log);
        matches!(log.append(0, b"two", APPEND_PATIENCE), Appended::At(_))
    });
    let session = begin(&mut log);
    let mut read = read_all(&mut log, 0).len() as u64;
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(20) {
        let mut entries = Vec::new();
        let wait = Duration::from_millis(50);
        log.read(read, 1 << 20, wait, &mut entries)
            .expect("the session holds");
        read += entries.len() as u64;
        let appended = log.append(read, b"entry", APPEND_PATIENCE);
        assert_eq!(appended, Appended::At(read));
    }
    assert_eq!(begin(&mut log), session);
    several.brokers[leader].proxy.cut();
    in_time("the loss is found", || {
        let wait = Duration::from_millis(50);
        let lost = log.read(read, 1 << 20, wait, &mut Vec::new());
        matches!(lost, Err(LogError::Disconnected(_)))
    });
    assert_ne!(begin(&mut log), session);
}
