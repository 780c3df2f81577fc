//! Engines on three nodes over one log: whoever leads, every payment is made once, and all have the same journal.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tributary_cluster::backend::{Calls, Member, prepare};
use tributary_cluster::beside::ClusterLog;
use tributary_cluster::entry::{Body, Entry, HeadMark, Header, Mark};
use tributary_cluster::log::{Appended, Log, LogError};
use tributary_cluster::memory::{MemoryLog, MemoryStore};
use tributary_cluster::node::{Identity, Node};
use tributary_cluster::resume;
use tributary_engine::{
    Embedded, Engine, FileLog, FrameRef, NEWEST, Options, Ports, Reply, SystemClock, Versions,
};
use tributary_journal::{DirDisk, Disk, Options as JournalOptions, create};
use tributary_ledger::{AccountId, Body as Action, Command};
use tributary_testkit::backends::{cluster_meta, small_segments};
use tributary_testkit::commands::{command, open, pay};
use tributary_testkit::logs::begin;
pub(crate) use tributary_testkit::logs::in_time;

use crate::contract::{PATIENCE, Rig};

const NODES: usize = 3;
const CLIENTS: usize = 3;
const PAYMENTS: usize = 60;

/// Begins a log.
pub(crate) fn begin_log(log: &mut dyn Log) {
    assert!(begin(log, &cluster_meta(), NEWEST), "it is new");
}

/// A node, with its engine and its mirror.
pub(crate) struct Running {
    pub(crate) engine: Engine,
    pub(crate) member: Member,
    /// The log beside the journal.
    pub(crate) beside: ClusterLog,
}

impl Running {
    pub(crate) fn start(folder: &TempDir, rank: u32, run: u32, log: Box<dyn Log>) -> Running {
        Running::start_with(folder, rank, run, log, small_segments())
    }

    fn start_with(
        folder: &TempDir,
        rank: u32,
        run: u32,
        log: Box<dyn Log>,
        journal: JournalOptions,
    ) -> Running {
        let disk: Arc<dyn Disk> = Arc::new(DirDisk::new(folder.path()));
        let _exists = create(&disk, &journal, &cluster_meta());
        let fold = resume::load(&*disk)
            .expect("it can be read")
            .unwrap_or_default();
        let mirror = Embedded::open(disk.clone(), journal).expect("the mirror is whole");
        let (store, prepared) = prepare(mirror, FileLog::new(disk, "beside", 1));
        let clock = Arc::new(SystemClock);
        let engine = Engine::recover(Box::new(store), clock, Options::default());
        let ports = Ports {
            permit: prepared.permit(),
            ..Ports::default()
        };
        let engine = engine.expect("the mirror is whole").start(ports);
        let engine = engine.expect("threads can be started");
        let identity = Identity {
            name: format!("node-{rank}"),
            url: String::new(),
            rank,
            run: rank * 1_000 + run,
            is_moving: false,
        };
        let node = Node::new(identity, fold, Duration::ZERO);
        let following = engine.clone();
        let calls = Calls {
            follow: Box::new(move |frame, followed| following.follow(frame, followed)),
            lead: Box::new(|_| {}),
        };
        let mut beside = prepared.beside();
        crate::beside::read(&mut beside).expect("it can be read");
        let member = prepared.start(node, log, calls);
        Running {
            beside,
            member: member.expect("a thread can be started"),
            engine,
        }
    }

    /// Stops it as `SIGTERM` does, or so that what is on its way is given up.
    pub(crate) fn stop(self, is_kind: bool) {
        let Running { engine, member, .. } = self;
        if is_kind {
            engine.shutdown();
        }
        member.stop();
        engine.shutdown();
    }
}

/// Has a command decided by whoever leads, as a client does that repeats it under its key.
fn execute(engines: &[std::sync::RwLock<Option<Engine>>], command: &Command) -> Reply {
    let begun = Instant::now();
    for attempt in 0.. {
        assert!(
            begun.elapsed() < PATIENCE,
            "nobody decides {:?}",
            command.key
        );
        let engine = engines[attempt % engines.len()]
            .read()
            .expect("no panic")
            .clone();
        if let Some(Ok(mut replies)) =
            engine.map(|engine| engine.execute_blocking(vec![command.clone()]))
        {
            return replies.pop().expect("a reply for each command");
        }
        thread::sleep(Duration::from_millis(20));
    }
    unreachable!()
}

fn position(reply: &Reply) -> u64 {
    match reply {
        Reply::Done { record, .. } => {
            assert_eq!(record.outcome.rejection, None);
            record.ctx.position
        }
        other => panic!("{other:?}"),
    }
}

/// Plays: clients pay all the time, while the leader hands over, is stopped and started again, and the log is in trouble.
pub(crate) fn play(rig: &dyn Rig) {
    begin_log(&mut *rig.connect());
    let folders: Vec<TempDir> = (0..NODES)
        .map(|_| tempfile::tempdir().expect("there is room"))
        .collect();
    let start = |rank: usize, run: u32| {
        Running::start(
            &folders[rank],
            u32::try_from(rank).expect("a few"),
            run,
            rig.connect(),
        )
    };
    let mut nodes: Vec<Option<Running>> = (0..NODES).map(|rank| Some(start(rank, 0))).collect();
    let engines: Vec<std::sync::RwLock<Option<Engine>>> = nodes
        .iter()
        .map(|node| std::sync::RwLock::new(node.as_ref().map(|node| node.engine.clone())))
        .collect();
    for account in ["payer", "payee"] {
        position(&execute(&engines, &open(account, account)));
    }
    let is_done = AtomicBool::new(false);
    let answered: Vec<u64> = thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let engines = &engines;
                scope.spawn(move || -> Vec<u64> {
                    (0..PAYMENTS)
                        .map(|number| {
                            let key = format!("{client} {number}");
                            let paying = command(&key, Action::Pay(pay(1, 2, 1)));
                            thread::sleep(Duration::from_millis(20));
                            position(&execute(engines, &paying))
                        })
                        .collect()
                })
            })
            .collect();
        let trouble = scope.spawn(|| {
            for round in 1.. {
                thread::sleep(Duration::from_millis(700));
                if is_done.load(Ordering::Relaxed) {
                    return;
                }
                let leads =
                    |node: &Option<Running>| node.as_ref().is_some_and(|node| node.member.leads());
                let Some(leader) = nodes.iter().position(leads) else {
                    continue;
                };
                match round % 4 {
                    0 => rig.cut(),
                    1 => {
                        let node = nodes[leader].as_ref().expect("it leads");
                        node.member
                            .hand_over(&format!("node-{}", (leader + 1) % NODES));
                    }
                    2 => {
                        *engines[leader].write().expect("no panic") = None;
                        nodes[leader].take().expect("it leads").stop(round % 8 == 2);
                        let node = start(leader, round);
                        *engines[leader].write().expect("no panic") = Some(node.engine.clone());
                        nodes[leader] = Some(node);
                    }
                    _ => rig.kill(),
                }
            }
        });
        let answered = clients
            .into_iter()
            .flat_map(|client| client.join().expect("no panic"))
            .collect();
        is_done.store(true, Ordering::Relaxed);
        trouble.join().expect("no panic");
        answered
    });
    drop(engines);
    check(&nodes, &answered);
    let digest = nodes[0].as_ref().map(|node| node.engine.reader().digest());
    let nodes = nodes.into_iter().flatten();
    nodes.for_each(|node| node.stop(true));
    // A mirror is a directory like any other.
    let disk: Arc<dyn Disk> = Arc::new(DirDisk::new(folders[1].path()));
    let mirror = Embedded::open(disk, small_segments()).expect("the mirror is whole");
    let clock = Arc::new(SystemClock);
    let alone = Engine::recover(Box::new(mirror), clock, Options::default());
    let alone = alone.expect("the mirror is whole").reader().digest();
    assert_eq!(Some(alone), digest);
}

fn check(nodes: &[Option<Running>], answered: &[u64]) {
    let nodes: Vec<&Running> = nodes
        .iter()
        .map(|node| node.as_ref().expect("all run"))
        .collect();
    for node in &nodes {
        assert_eq!(node.member.why_stopped(), None);
    }
    let heads = || -> Vec<_> {
        let head = |node: &&Running| node.engine.reader().head();
        nodes.iter().map(head).collect()
    };
    in_time("all have the same journal", || {
        let heads = heads();
        heads.iter().all(|head| *head == heads[0])
    });
    let payments = (CLIENTS * PAYMENTS) as u64;
    assert_eq!(heads()[0].position, payments + 2, "each once");
    let mut positions = answered.to_vec();
    positions.sort_unstable();
    let expected: Vec<u64> = (3..payments + 3).collect();
    assert_eq!(positions, expected);
    in_time("all have the same state", || {
        let digest = |node: &&Running| node.engine.reader().digest();
        let digests: Vec<_> = nodes.iter().map(digest).collect();
        digests.iter().all(|digest| *digest == digests[0])
    });
    for node in nodes {
        let payee = node
            .engine
            .reader()
            .account(AccountId(2))
            .expect("it is open");
        assert_eq!(
            payee.posted,
            i64::try_from(payments).expect("a small number")
        );
    }
}

#[test]
fn nodes_over_a_log_in_memory_pay_once_whoever_leads() {
    play(&MemoryStore::default());
}

#[test]
fn records_are_of_the_old_versions_until_the_upgrade_is_finalized_whoever_leads() {
    let old = Versions {
        rules: NEWEST.rules - 1,
        ..NEWEST
    };
    let store = MemoryStore::default();
    assert!(
        begin(&mut store.connect(), &cluster_meta(), old),
        "it is new"
    );
    let folders = [(); 2].map(|()| tempfile::tempdir().expect("there is room"));
    let nodes = [0, 1]
        .map(|rank| Running::start(&folders[rank], rank as u32, 0, Box::new(store.connect())));
    let engines = nodes
        .each_ref()
        .map(|node| std::sync::RwLock::new(Some(node.engine.clone())));
    let written_in = |name: &str| {
        let position = position(&execute(&engines, &open(name, name)));
        nodes.each_ref().map(|node| {
            let reader = node.engine.reader();
            in_time("it has the record", || reader.published() >= position);
            let frame = reader.frame(position).expect("it can be read");
            let frame = frame.expect("it is there");
            FrameRef::parse(&frame)
                .expect("it is whole")
                .header()
                .versions()
        })
    };
    let leader = || nodes.iter().position(|node| node.member.leads());
    let hand_over = || {
        in_time("a node leads", || leader().is_some());
        let before = leader().expect("one leads");
        nodes[before].member.hand_over("");
        in_time("another leads", || nodes[1 - before].member.leads());
    };
    assert_eq!(written_in("first"), [old; 2]);
    let follower = nodes.iter().find(|node| !node.member.leads());
    follower.expect("one leads").member.finalize_upgrade();
    hand_over();
    assert_eq!(written_in("second"), [old; 2], "only a leader finalizes");
    let leading = leader().expect("one leads");
    nodes[leading].member.finalize_upgrade();
    for node in &nodes {
        in_time("it is finalized", || {
            node.member.standing().versions == NEWEST
        });
    }
    assert_eq!(written_in("third"), [NEWEST; 2]);
    hand_over();
    assert_eq!(written_in("fourth"), [NEWEST; 2]);
    drop(engines);
    nodes.into_iter().for_each(|node| node.stop(true));
}

/// Decides commands one after another on a single node, and returns its directory.
pub(crate) fn alone(commands: impl IntoIterator<Item = Command>) -> TempDir {
    let folder = tempfile::tempdir().expect("there is room");
    let disk: Arc<dyn Disk> = Arc::new(DirDisk::new(folder.path()));
    create(&disk, &small_segments(), &cluster_meta()).expect("there is room");
    let alone = Embedded::open(disk, small_segments()).expect("it is new");
    let engine = Engine::start(Box::new(alone), Arc::new(SystemClock), Options::default());
    let engine = engine.expect("threads can be started");
    for command in commands {
        let done = engine.execute_blocking(vec![command]);
        position(&done.expect("nothing is in the way")[0]);
    }
    engine.shutdown();
    folder
}

#[test]
fn a_node_whose_mirror_is_not_of_the_log_stops_and_another_leads() {
    for (is_log_ahead, why) in [(true, "another frame"), (false, "the log only 0")] {
        let store = MemoryStore::default();
        begin_log(&mut store.connect());
        let (beside, folder) = (
            alone([open("beside", "beside")]),
            tempfile::tempdir().expect("there is room"),
        );
        let start_other = || Running::start(&folder, 1, 0, Box::new(store.connect()));
        let mut other = is_log_ahead.then(start_other);
        if let Some(other) = &other {
            let engines = [std::sync::RwLock::new(Some(other.engine.clone()))];
            position(&execute(&engines, &open("first", "first")));
        }
        let stopping = Running::start(&beside, 0, 0, Box::new(store.connect()));
        let before = stopping.engine.reader().head();
        in_time("it stops", || stopping.member.why_stopped().is_some());
        let told = stopping.member.why_stopped().expect("it has stopped");
        assert!(told.contains(why), "{told}");
        let other = other.take().unwrap_or_else(start_other);
        in_time("the other leads", || other.member.leads());
        assert_eq!(
            stopping.engine.reader().head(),
            before,
            "nothing was changed"
        );
        stopping.stop(true);
        other.stop(true);
    }
}

/// A log in memory that tells another time.
struct OtherClock {
    log: MemoryLog,
    told: Option<u64>,
}

impl Log for OtherClock {
    fn session(&mut self) -> Result<u64, LogError> {
        self.log.session()
    }

    fn read(
        &mut self,
        offset: u64,
        bytes_max: usize,
        wait: Duration,
        entries: &mut Vec<Vec<u8>>,
    ) -> Result<(), LogError> {
        self.log.read(offset, bytes_max, wait, entries)
    }

    fn append(&mut self, read: u64, entry: &[u8], patience: Duration) -> Appended {
        self.log.append(read, entry, patience)
    }

    fn clock(&mut self) -> Result<Option<u64>, LogError> {
        Ok(self.told)
    }

    fn check_settings(&mut self) -> Result<(), LogError> {
        self.log.check_settings()
    }
}

#[test]
fn a_node_leads_unless_it_knows_that_its_clock_is_wrong() {
    for (told, may_lead) in [(None, true), (Some(0), false)] {
        let store = MemoryStore::default();
        begin_log(&mut store.connect());
        let folder = tempfile::tempdir().expect("there is room");
        let log = store.connect();
        let node = Running::start(&folder, 0, 0, Box::new(OtherClock { log, told }));
        match may_lead {
            true => in_time("it leads", || node.member.leads()),
            false => {
                // Nobody else claims, and it could do so at once.
                thread::sleep(Duration::from_secs(1));
                assert!(!node.member.leads());
            }
        }
        node.stop(true);
    }
}

/// A log in memory that lets no frame through while its gate is shut.
pub(crate) struct Gated {
    log: MemoryLog,
    gate: Arc<Gate>,
}

#[derive(Default)]
pub(crate) struct Gate {
    is_shut: AtomicBool,
    /// Whether a frame waits.
    is_waited_for: AtomicBool,
}

impl Gate {
    pub(crate) fn shut(&self) {
        self.is_shut.store(true, Ordering::SeqCst);
    }

    pub(crate) fn open(&self) {
        self.is_shut.store(false, Ordering::SeqCst);
    }

    pub(crate) fn is_waited_for(&self) -> bool {
        self.is_waited_for.load(Ordering::SeqCst)
    }
}

impl Gated {
    pub(crate) fn new(log: MemoryLog, gate: Arc<Gate>) -> Gated {
        Gated { log, gate }
    }
}

impl Log for Gated {
    fn session(&mut self) -> Result<u64, LogError> {
        self.log.session()
    }

    fn read(
        &mut self,
        offset: u64,
        bytes_max: usize,
        wait: Duration,
        entries: &mut Vec<Vec<u8>>,
    ) -> Result<(), LogError> {
        self.log.read(offset, bytes_max, wait, entries)
    }

    fn append(&mut self, read: u64, entry: &[u8], patience: Duration) -> Appended {
        let parsed = Entry::parse(entry).expect("a node appends entries");
        while matches!(parsed.body, Body::Frame(_)) && self.gate.is_shut.load(Ordering::SeqCst) {
            self.gate.is_waited_for.store(true, Ordering::SeqCst);
            thread::sleep(Duration::from_millis(1));
        }
        self.log.append(read, entry, patience)
    }

    fn clock(&mut self) -> Result<Option<u64>, LogError> {
        self.log.clock()
    }

    fn check_settings(&mut self) -> Result<(), LogError> {
        self.log.check_settings()
    }
}

/// Appends the claim of a node that does nothing else.
pub(crate) fn claim(log: &mut dyn Log, term: u64) {
    log.session().expect("it can be reached");
    let mut entries = Vec::new();
    let read = log.read(0, usize::MAX, Duration::ZERO, &mut entries);
    read.expect("it can be read");
    let header = Header {
        log_id: [6; 16],
        term,
        nonce: 1,
        settled: Mark::default(),
    };
    let body = Body::Claim {
        head: HeadMark::default(),
        node: "another",
        url: "",
    };
    let at = entries.len() as u64;
    let appended = log.append(at, &Entry::encode(&header, &body), PATIENCE);
    assert_eq!(appended, Appended::At(at));
}

#[test]
fn a_leader_that_is_replaced_refuses_every_batch_on_its_way_and_leads_again() {
    let store = MemoryStore::default();
    begin_log(&mut store.connect());
    let folder = tempfile::tempdir().expect("there is room");
    let gate = Arc::new(Gate::default());
    let gated = Gated::new(store.connect(), gate.clone());
    let journal = JournalOptions {
        segment_bytes: 16 << 20,
        ..small_segments()
    };
    let node = Running::start_with(&folder, 0, 0, Box::new(gated), journal);
    let engines = [std::sync::RwLock::new(Some(node.engine.clone()))];
    for account in ["payer", "payee"] {
        position(&execute(&engines, &open(account, account)));
    }
    gate.shut();
    // No two of them fit into one frame.
    let payments = |client: u32| -> Vec<Command> {
        let key = |number| format!("{client} {number}");
        let payment = |number| command(&key(number), Action::Pay(pay(1, 2, 1)));
        (0..5_000).map(payment).collect()
    };
    let answer = thread::scope(|scope| {
        let first = scope.spawn(|| node.engine.execute_blocking(payments(0)));
        in_time("a frame is on its way", || gate.is_waited_for());
        for client in 1..4 {
            let submitted = node.engine.submit_unwatched(payments(client));
            submitted.expect("it takes commands");
        }
        // The last is decided once the two before are behind the first.
        in_time("all are decided", || node.engine.status().queued == 0);
        claim(&mut store.connect(), node.member.standing().term + 1);
        gate.open();
        first.join().expect("no panic")
    });
    let told = answer.expect_err("another node leads").to_string();
    assert!(told.contains("lead"), "{told}");
    let paying = command("after", Action::Pay(pay(1, 2, 1)));
    let position = position(&execute(&engines, &paying));
    assert_eq!(position, 3, "nothing else counts");
    assert_eq!(node.member.why_stopped(), None);
    node.stop(true);
}
