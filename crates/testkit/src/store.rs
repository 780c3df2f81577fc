//! The store of a test: one journal, which is opened again and again, in memory, in a directory, or on a node over a log, as
//! `TRIBUTARY_TEST_LOG` says ([`crate::logs`]).
//!
//! On a log, the store is that of a node which leads, and its mirror is where the test's journal would be. When an engine ends, what it
//! showed is compared with its mirror, opened as a directory, and with a second node that has read the log from its beginning.

use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use tempfile::TempDir;
use tributary_cluster::backend::{Calls, Member, Prepared, prepare};
use tributary_cluster::fold::Fold;
use tributary_cluster::node::{Identity, Node};
use tributary_engine::{
    AlwaysGranted, Backend, Clock, Embedded, Engine, Fate, FileLog, FrameLog, Head, JournalMeta,
    Memory, Options, Permit, Ports, Reader, Stepper, SystemClock,
};
use tributary_journal::{self as journal, DirDisk, Disk, Meta, OpenError, SharedLog, lock};

use crate::backends::{BackendFactory, cluster_meta};
use crate::disk::SimDisk;
use crate::logs::{self, Connect, Kind, LOG_ID, in_time};

/// A store. Clones are handles to the same.
#[derive(Clone)]
pub struct TestStore(Arc<Place>);

struct Place {
    kind: PlaceKind,
    /// Removed with the store.
    _directory: Option<TempDir>,
}

enum PlaceKind {
    Memory(Memory),
    Directory(Files),
    Node(NodePlace),
}

/// A journal in files.
struct Files {
    disk: Mutex<Arc<dyn Disk>>,
    meta: Meta,
    options: journal::Options,
    /// Whether I/O has threads of its own.
    has_threads: bool,
}

/// A node over a log, which is started again and again.
struct NodePlace {
    connect: Connect,
    mirror: Files,
    running: Mutex<Option<RunningNode>>,
    runs: AtomicU32,
}

struct RunningNode {
    member: Member,
    permit: Arc<dyn Permit>,
    /// Until it is asked for.
    beside: Option<Box<dyn FrameLog>>,
}

impl TestStore {
    /// Returns an empty store that is in memory by itself.
    pub fn in_memory() -> TestStore {
        TestStore::in_memory_with(cluster_meta())
    }

    /// Returns an empty store with this identity that is in memory by itself.
    pub fn in_memory_with(meta: Meta) -> TestStore {
        match logs::kind() {
            Kind::Own => TestStore::always_in_memory(meta),
            _ => TestStore::in_files(SimDisk::new(1).disk(), meta, options(), true, None),
        }
    }

    /// Returns an empty store in memory, for an engine that a test gives the frames of another one.
    pub fn always_in_memory(meta: Meta) -> TestStore {
        let epochs = meta.epochs.iter();
        let memory = Memory::new(JournalMeta {
            cluster_id: meta.cluster_id,
            id_key: meta.id_key,
            sandbox: meta.sandbox,
            epochs: epochs
                .map(|epoch| (epoch.number, epoch.first_position))
                .collect(),
        });
        TestStore(Arc::new(Place {
            kind: PlaceKind::Memory(memory),
            _directory: None,
        }))
    }

    /// Returns an empty store in a directory of its own.
    pub fn in_directory(options: journal::Options) -> TestStore {
        let directory = tempfile::tempdir().expect("there is room");
        let disk = Arc::new(DirDisk::new(directory.path()));
        TestStore::in_files(disk, cluster_meta(), options, true, Some(directory))
    }

    /// Returns a store on this disk.
    pub fn on_disk(disk: Arc<dyn Disk>, options: journal::Options) -> TestStore {
        TestStore::in_files(disk, cluster_meta(), options, true, None)
    }

    /// Returns a store on this disk that does all work on the caller's thread, except on a log.
    pub fn inline(disk: Arc<dyn Disk>, options: journal::Options) -> TestStore {
        TestStore::in_files(disk, cluster_meta(), options, false, None)
    }

    fn in_files(
        disk: Arc<dyn Disk>,
        meta: Meta,
        options: journal::Options,
        has_threads: bool,
        directory: Option<TempDir>,
    ) -> TestStore {
        let connect = logs::begin_new(&meta);
        let files = Files {
            disk: Mutex::new(disk),
            meta,
            options,
            has_threads,
        };
        let kind = match connect {
            None => PlaceKind::Directory(files),
            Some(connect) => PlaceKind::Node(NodePlace {
                connect,
                mirror: files.into_mirror(),
                running: Mutex::default(),
                runs: AtomicU32::new(0),
            }),
        };
        TestStore(Arc::new(Place {
            kind,
            _directory: directory,
        }))
    }

    /// Opens the store, which is made if it is new. On a log, the node leads then. No engine may run over it any more.
    pub fn open(&self) -> Box<dyn Backend> {
        match &self.0.kind {
            PlaceKind::Memory(memory) => Box::new(memory.clone()),
            PlaceKind::Directory(files) => Box::new(files.open()),
            PlaceKind::Node(node) => node.open(),
        }
    }

    /// Goes on with another disk, as after a power failure.
    ///
    /// # Panics
    /// If the store has none.
    pub fn go_on_with(&self, disk: Arc<dyn Disk>) {
        match &self.0.kind {
            PlaceKind::Memory(_) => panic!("it is in memory"),
            PlaceKind::Directory(files) => *lock(&files.disk) = disk,
            PlaceKind::Node(node) => *lock(&node.mirror.disk) = disk,
        }
    }

    /// Returns the disk of the journal's files; none for a store in memory.
    pub fn disk(&self) -> Option<Arc<dyn Disk>> {
        match &self.0.kind {
            PlaceKind::Memory(_) => None,
            PlaceKind::Directory(files) => Some(lock(&files.disk).clone()),
            PlaceKind::Node(node) => Some(lock(&node.mirror.disk).clone()),
        }
    }

    /// Returns the permit for outward work of an engine over the store that was opened last.
    pub fn permit(&self) -> Arc<dyn Permit> {
        match &self.0.kind {
            PlaceKind::Node(node) => node.with_running(|running| running.permit.clone()),
            _ => Arc::new(AlwaysGranted),
        }
    }

    /// Returns the log beside the journal that the node keeps, once for each time that the store is opened; none without a node.
    ///
    /// # Panics
    /// If it was returned before.
    pub fn beside(&self) -> Option<Box<dyn FrameLog>> {
        match &self.0.kind {
            PlaceKind::Node(node) => {
                node.with_running(|running| Some(running.beside.take().expect("it is asked once")))
            }
            _ => None,
        }
    }

    /// Asks the node that runs over the store; none if none does.
    pub fn with_member<T>(&self, ask: impl FnOnce(&Member) -> T) -> Option<T> {
        let PlaceKind::Node(node) = &self.0.kind else {
            return None;
        };
        let running = lock(&node.running);
        running.as_ref().map(|running| ask(&running.member))
    }

    /// Opens the store, and starts an engine over it.
    pub fn start(&self, clock: Arc<dyn Clock>, options: Options) -> Tested<Engine> {
        self.start_over(self.open(), clock, options, Ports::default())
    }

    /// Starts an engine over what surrounds this store, which is open. On a log, the permit is that of the node.
    pub fn start_over(
        &self,
        backend: Box<dyn Backend>,
        clock: Arc<dyn Clock>,
        options: Options,
        ports: Ports,
    ) -> Tested<Engine> {
        let recovered = Engine::recover(backend, clock, options).expect("it is rebuilt");
        let ports = Ports {
            permit: self.permit(),
            ..ports
        };
        self.watch(recovered.start(ports).expect("it starts"))
    }

    /// Opens the store, and starts an engine without threads over it.
    pub fn stepper(&self, clock: Arc<dyn Clock>) -> Tested<Stepper> {
        self.stepper_over(self.open(), clock)
    }

    /// Starts an engine without threads over what surrounds this store, which is open.
    pub fn stepper_over(
        &self,
        backend: Box<dyn Backend>,
        clock: Arc<dyn Clock>,
    ) -> Tested<Stepper> {
        self.watch(Stepper::start(backend, clock).expect("it starts"))
    }

    /// Has what is stored compared with what `running` shows when that ends.
    pub fn watch<T: Ends>(&self, running: T) -> Tested<T> {
        Tested {
            running: Some(running),
            store: self.clone(),
        }
    }

    /// Compares what is stored with what an engine showed that has ended: the records, by the hash of the last frame, and the state, by its
    /// digest. A store in memory has nothing to be compared.
    ///
    /// # Panics
    /// If they differ.
    pub fn check(&self, live: &Reader) {
        match &self.0.kind {
            PlaceKind::Memory(_) => {}
            PlaceKind::Directory(_) if *logs::kind() == Kind::Own => {}
            PlaceKind::Directory(files) => check_directory(files, &Shown::of(live)),
            PlaceKind::Node(node) => node.check(&Shown::of(live)),
        }
    }

    fn is_compared(&self) -> bool {
        *logs::kind() != Kind::Own
    }
}

impl BackendFactory for TestStore {
    fn name(&self) -> String {
        format!("a store: {:?}", logs::kind())
    }

    fn open(&mut self) -> Box<dyn Backend> {
        TestStore::open(self)
    }

    fn checkpoint_disk(&self) -> Option<Arc<dyn Disk>> {
        self.disk()
    }
}

/// Segments that hold the largest frame, and not much more: each start looks through one.
fn options() -> journal::Options {
    journal::Options {
        segment_bytes: 5 << 20,
        reserve_bytes: 0,
        shared_log: None,
    }
}

impl Files {
    /// The same as the mirror of a log.
    fn into_mirror(mut self) -> Files {
        self.meta.shared_log = Some(SharedLog {
            id: LOG_ID,
            is_moving: false,
        });
        self.options.shared_log = Some(LOG_ID);
        self.has_threads = true;
        self
    }

    fn open(&self) -> Embedded {
        let disk = lock(&self.disk).clone();
        match journal::create(&disk, &self.options, &self.meta) {
            Ok(()) | Err(OpenError::AlreadyExists) => {}
            Err(error) => panic!("{error}"),
        }
        let opened = match self.has_threads {
            true => Embedded::open(disk, self.options.clone()),
            false => Embedded::open_inline(disk, self.options.clone()),
        };
        opened.expect("it is whole")
    }

    fn prepare(&self) -> (Box<dyn Backend>, Prepared) {
        let disk = lock(&self.disk).clone();
        let (store, prepared) = prepare(self.open(), FileLog::new(disk, "beside", 1));
        (Box::new(store), prepared)
    }
}

impl NodePlace {
    fn open(&self) -> Box<dyn Backend> {
        self.stop();
        let (mut store, prepared) = self.mirror.prepare();
        let (permit, beside) = (prepared.permit(), prepared.beside());
        let (frames, following) = mpsc::channel();
        let calls = Calls {
            follow: Box::new(move |frame, followed| {
                let _ended = frames.send((frame, followed));
            }),
            lead: Box::new(|_| {}),
        };
        let node = self.new_node("node");
        let member = prepared.start(node, (self.connect)(), calls);
        let member = member.expect("a thread can be started");
        in_time("the node leads", || {
            assert_eq!(member.why_stopped(), None);
            // What the log has and the mirror lacks, after a power failure.
            for (frame, followed) in following.try_iter() {
                let fate = store.follow(frame).wait();
                followed(matches!(fate, Fate::Durable(_)));
            }
            member.leads()
        });
        *lock(&self.running) = Some(RunningNode {
            member,
            permit,
            beside: Some(Box::new(beside)),
        });
        store
    }

    /// A node that reads the log from its first entry on.
    fn new_node(&self, name: &str) -> Node {
        let identity = Identity {
            name: name.to_owned(),
            url: String::new(),
            rank: 0,
            run: self.runs.fetch_add(1, Ordering::Relaxed),
            is_moving: false,
        };
        Node::new(identity, Fold::default(), Duration::ZERO)
    }

    fn with_running<T>(&self, look: impl FnOnce(&mut RunningNode) -> T) -> T {
        look(lock(&self.running).as_mut().expect("the store is open"))
    }

    fn stop(&self) {
        if let Some(running) = lock(&self.running).take() {
            running.member.stop();
        }
    }

    fn check(&self, shown: &Shown) {
        let running = lock(&self.running).take().expect("the store was open");
        assert_eq!(running.member.why_stopped(), None, "the node ran on");
        running.member.stop();
        check_directory(&self.mirror, shown);
        self.check_second_node(shown);
    }

    /// Starts another node with an empty mirror and an engine, and waits until it shows the same.
    fn check_second_node(&self, shown: &Shown) {
        let mirror = Files {
            disk: Mutex::new(SimDisk::new(2).disk()),
            meta: self.mirror.meta.clone(),
            options: self.mirror.options.clone(),
            has_threads: true,
        };
        let (store, prepared) = mirror.prepare();
        let ports = Ports {
            permit: prepared.permit(),
            ..Ports::default()
        };
        let engine = recover(store).start(ports).expect("it starts");
        let following = engine.clone();
        let calls = Calls {
            follow: Box::new(move |frame, followed| following.follow(frame, followed)),
            lead: Box::new(|_| {}),
        };
        let member = prepared.start(self.new_node("second"), (self.connect)(), calls);
        let member = member.expect("a thread can be started");
        let reader = engine.reader();
        in_time("the second node has read the log", || {
            assert_eq!(member.why_stopped(), None);
            reader.published() >= shown.head.position
        });
        assert_eq!(Shown::of(&reader), *shown, "a second node shows the same");
        member.stop();
        engine.shutdown();
    }
}

impl Drop for NodePlace {
    fn drop(&mut self) {
        self.stop();
    }
}

/// What an engine shows.
#[derive(Debug, PartialEq, Eq)]
struct Shown {
    /// Position and hash of the last frame.
    head: Head,
    published: u64,
    /// Digest of the state.
    digest: [u8; 32],
}

impl Shown {
    fn of(reader: &Reader) -> Shown {
        Shown {
            head: reader.head(),
            published: reader.published(),
            digest: reader.digest(),
        }
    }
}

fn recover(store: Box<dyn Backend>) -> tributary_engine::RecoveredEngine {
    let recovered = Engine::recover(store, Arc::new(SystemClock), Options::default());
    recovered.expect("it is rebuilt")
}

/// Opens a directory as one without a log, and compares.
fn check_directory(files: &Files, shown: &Shown) {
    let stored = recover(Box::new(files.open()));
    assert_eq!(
        Shown::of(&stored.reader()),
        *shown,
        "the directory has the same"
    );
}

/// What runs over a store until it is ended.
pub trait Ends {
    /// Returns the read side.
    fn reader(&self) -> Reader;

    /// Whether it stopped for good, by a failure.
    fn has_failed(&self) -> bool;

    /// Finishes what was taken, and closes the store.
    fn end(self);
}

impl Ends for Engine {
    fn reader(&self) -> Reader {
        Engine::reader(self)
    }

    fn has_failed(&self) -> bool {
        self.status().failed.is_some()
    }

    fn end(self) {
        self.shutdown();
    }
}

impl Ends for Stepper {
    fn reader(&self) -> Reader {
        Stepper::reader(self)
    }

    fn has_failed(&self) -> bool {
        self.failed().is_some()
    }

    fn end(self) {
        self.close();
    }
}

/// An engine over a [`TestStore`]. When it ends, what is stored is compared with what it showed, unless it failed.
pub struct Tested<T: Ends> {
    running: Option<T>,
    store: TestStore,
}

impl<T: Ends> Tested<T> {
    /// Ends it.
    pub fn close(mut self) {
        let running = self.running.take().expect("it runs");
        self.end(running);
    }

    fn end(&self, running: T) {
        let (reader, has_failed) = (running.reader(), running.has_failed());
        running.end();
        if !has_failed && !std::thread::panicking() {
            self.store.check(&reader);
        }
    }
}

impl<T: Ends> Deref for Tested<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.running.as_ref().expect("it runs")
    }
}

impl<T: Ends> DerefMut for Tested<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.running.as_mut().expect("it runs")
    }
}

impl<T: Ends> Drop for Tested<T> {
    fn drop(&mut self) {
        // By itself, one that is dropped ends as in a crash.
        if self.store.is_compared()
            && let Some(running) = self.running.take()
        {
            self.end(running);
        }
    }
}
