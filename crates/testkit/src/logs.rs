//! The log over which tests run: `TRIBUTARY_TEST_LOG` names it, and each journal of a test gets a new one.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use tributary_cluster::entry::{Body, Entry, Genesis, HeadMark, Header, Mark};
use tributary_cluster::log::{Appended, Log};
use tributary_cluster::memory::MemoryStore;
use tributary_engine::{NEWEST, Versions};
use tributary_journal::Meta;

/// Name of the variable that says over which log tests run: see [`Kind`].
const VARIABLE: &str = "TRIBUTARY_TEST_LOG";
/// Id of every log in these tests.
pub const LOG_ID: [u8; 16] = [6; 16];
/// Longest time that a test waits for a log: for slow machines, not for slow logs.
const PATIENCE: Duration = Duration::from_secs(120);

/// Where the journals of tests are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Where each test has it by itself: in memory, or in a directory. The variable is not set.
    Own,
    /// Always in a directory: `none`.
    Directory,
    /// On a log in memory: `memory`.
    Memory,
    /// On a log in PostgreSQL: its connection string, `postgresql://user:password@host:port/database`.
    #[cfg(feature = "postgres")]
    Postgres(String),
    /// On a log in Kafka: `kafka://host:port`.
    #[cfg(feature = "kafka")]
    Kafka(String),
}

/// Returns where the journals of tests are.
///
/// # Panics
/// If the variable is set to anything else than [`Kind`] says, or to a log without which this was built.
pub fn kind() -> &'static Kind {
    static KIND: OnceLock<Kind> = OnceLock::new();
    KIND.get_or_init(|| {
        let value = std::env::var(VARIABLE).unwrap_or_default();
        match value.split_once("://") {
            None if value.is_empty() => Kind::Own,
            None if value == "none" => Kind::Directory,
            None if value == "memory" => Kind::Memory,
            #[cfg(feature = "postgres")]
            Some(("postgresql", _)) => Kind::Postgres(value),
            #[cfg(feature = "kafka")]
            Some(("kafka", brokers)) => Kind::Kafka(brokers.to_owned()),
            _ => panic!(
                "{VARIABLE} must be none, memory, postgresql://… or kafka://… (the last two with --features full), \
                 and is {value:?}: see scripts/suites-on-logs --help"
            ),
        }
    })
}

/// Whether a test is left out because journals are on a log. Says so, with the reason.
pub fn is_left_out_on_logs(reason: &str) -> bool {
    let is_on_log = !matches!(kind(), Kind::Own | Kind::Directory);
    if is_on_log {
        let thread = std::thread::current();
        let test = thread.name().unwrap_or("a test");
        eprintln!("left out on a log: {test}: {reason}");
    }
    is_on_log
}

/// Makes connections to one log.
pub(crate) type Connect = Box<dyn Fn() -> Box<dyn Log> + Send + Sync>;

/// Returns a new log, which begins as that of a journal with this identity; none if journals are on none.
pub(crate) fn begin_new(meta: &Meta) -> Option<Connect> {
    match kind() {
        Kind::Own | Kind::Directory => None,
        Kind::Memory => {
            let store = MemoryStore::default();
            let connect: Connect = Box::new(move || Box::new(store.connect()));
            assert!(begin(&mut *connect(), meta, NEWEST), "it is new");
            Some(connect)
        }
        #[cfg(feature = "postgres")]
        Kind::Postgres(url) => Some(postgres::begin_new(url, meta)),
        #[cfg(feature = "kafka")]
        Kind::Kafka(brokers) => Some(kafka::begin_new(brokers, meta)),
    }
}

/// Begins a log as that of a journal with this identity, in these versions, if it is empty. Whether it was.
///
/// # Panics
/// If the log can't be used, or something goes wrong.
pub fn begin(log: &mut dyn Log, meta: &Meta, versions: Versions) -> bool {
    let header = Header {
        log_id: LOG_ID,
        term: 0,
        nonce: 0,
        settled: Mark::default(),
    };
    let genesis = Genesis::new(meta, 1, vec![0; 32], HeadMark::default(), versions);
    let entry = Entry::encode(&header, &Body::Genesis(genesis));
    in_time("a session of the log", || log.session().is_ok());
    match log.append(0, &entry, PATIENCE) {
        Appended::At(offset) => offset == 0,
        Appended::Lost => false,
        Appended::Unknown => panic!("nothing went wrong"),
    }
}

/// Waits until it holds.
///
/// # Panics
/// If it takes too long.
#[track_caller]
pub fn in_time(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[cfg(feature = "postgres")]
mod postgres {
    use std::sync::Once;
    use std::sync::atomic::{AtomicI16, Ordering};

    use tributary_cluster::postgres::{Options, PostgresLog};
    use tributary_engine::NEWEST;
    use tributary_journal::Meta;

    use super::{Connect, begin, in_time};

    /// A log is a stream of the one table.
    pub(super) fn begin_new(url: &str, meta: &Meta) -> Connect {
        static TABLE: Once = Once::new();
        static NEXT: AtomicI16 = AtomicI16::new(0);
        TABLE.call_once(|| {
            let mut log = connect(url, 0);
            in_time("the table is made", || log.create().is_ok());
        });
        loop {
            let stream = NEXT.fetch_add(1, Ordering::Relaxed);
            assert!(stream >= 0, "the server has no more streams: use a new one");
            // Another run of tests may have used it.
            if begin(&mut connect(url, stream), meta, NEWEST) {
                let url = url.to_owned();
                return Box::new(move || Box::new(connect(&url, stream)));
            }
        }
    }

    fn connect(url: &str, stream: i16) -> PostgresLog {
        let options = Options {
            url: url.to_owned(),
            password: None,
            tls: None,
            stream,
            allow_single_copy: true,
        };
        PostgresLog::new(options).expect("the url is fit")
    }
}

#[cfg(feature = "kafka")]
mod kafka {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::SystemTime;

    use tributary_cluster::kafka::{KafkaLog, Options};
    use tributary_engine::NEWEST;
    use tributary_journal::Meta;

    use super::{Connect, begin, in_time};

    /// A log is a topic of its own.
    pub(super) fn begin_new(brokers: &str, meta: &Meta) -> Connect {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let since = SystemTime::UNIX_EPOCH.elapsed().expect("after 1970");
        let topic = format!("test-{}-{number}", since.as_nanos());
        let mut log = connect(brokers, &topic);
        in_time("the topic is made", || log.create().is_ok());
        assert!(begin(&mut log, meta, NEWEST), "it is new");
        let brokers = brokers.to_owned();
        Box::new(move || Box::new(connect(&brokers, &topic)))
    }

    fn connect(brokers: &str, topic: &str) -> KafkaLog {
        let options = Options {
            brokers: vec![brokers.to_owned()],
            topic: topic.to_owned(),
            user: None,
            trusted_roots: None,
            allow_single_copy: true,
        };
        KafkaLog::new(options).expect("the options are fit")
    }
}
