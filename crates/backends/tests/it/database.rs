//! A schema of the real server for each test, dropped afterwards.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::SystemTime;

use ::postgres::{Client, NoTls};
use tributary_backends::postgres::{OpenError, Options, Postgres};
use tributary_engine::{Clock, JournalMeta};

const SKIPPED: &str = "\n*** SKIPPED: no PostgreSQL. Run scripts/services start, then eval \"$(scripts/services env)\" ***\n";

/// A schema that goes when the test ends, also when it fails.
pub(crate) struct Database {
    pub(crate) options: Options,
    admin: Client,
}

/// A schema of its own for the test, or none if there is no server and that is allowed.
pub(crate) fn database() -> Option<Database> {
    static COUNTER: AtomicU32 = AtomicU32::new(0);
    let Ok(url) = std::env::var("TRIBUTARY_TEST_POSTGRES") else {
        let all = ["TRIBUTARY_TEST_ALL", "TRIBUTARY_REQUIRE_TOOLS"]
            .iter()
            .any(|name| std::env::var(name).is_ok_and(|value| value == "1"));
        assert!(
            !all,
            "TRIBUTARY_TEST_POSTGRES is not set and nothing may be skipped"
        );
        // Straight to the stream, because what a passing test prints is hidden.
        let _unseen = std::io::stderr().write_all(SKIPPED.as_bytes());
        return None;
    };
    let number = COUNTER.fetch_add(1, Ordering::Relaxed);
    let schema = format!("test_{}_{number}", std::process::id());
    let mut admin = Client::connect(&url, NoTls).expect("the test server answers");
    admin
        .batch_execute(&format!(
            "DROP SCHEMA IF EXISTS {schema} CASCADE; SET search_path = {schema}"
        ))
        .expect("the test server lets us work");
    Some(Database {
        options: Options { url, schema },
        admin,
    })
}

impl Database {
    pub(crate) fn open(&self) -> Result<Postgres, OpenError> {
        self.open_by(TestClock::running())
    }

    /// With another clock to compare with the server's: one that stands is too far from it in the end.
    pub(crate) fn open_by(&self, clock: Arc<TestClock>) -> Result<Postgres, OpenError> {
        Postgres::open(&self.options, clock, &meta())
    }

    /// Runs SQL as somebody else would, with the test's schema in front.
    pub(crate) fn sql(&mut self, sql: &str) {
        self.admin.batch_execute(sql).expect(sql);
    }

    /// A single number.
    pub(crate) fn number(&mut self, sql: &str) -> i64 {
        self.admin.query_one(sql, &[]).expect(sql).get(0)
    }

    /// Ends the sessions of a role (`writer`, `reader`) and waits until they are gone; says how many there were.
    pub(crate) fn kill(&mut self, role: &str) -> usize {
        let name = format!("tributary {role} {}", self.options.schema);
        let killed = self
            .admin
            .query(
                "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE application_name = $1",
                &[&name],
            )
            .expect("sessions can be ended");
        killed.len()
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        self.kill("writer");
        self.kill("reader");
        let schema = &self.options.schema;
        if let Err(error) = self
            .admin
            .batch_execute(&format!("DROP SCHEMA IF EXISTS {schema} CASCADE"))
        {
            eprintln!("the schema {schema} could not be dropped: {error}");
        }
    }
}

/// The identity of every journal in these tests.
pub(crate) fn meta() -> JournalMeta {
    JournalMeta {
        cluster_id: [7; 16],
        id_key: [9; 16],
        epochs: vec![(1, 1)],
    }
}

/// What a [`TestClock`] is set to when it runs.
pub(crate) const RUNNING: u64 = 0;

/// A clock that can be stopped, so that two backends decide at the same time.
pub(crate) struct TestClock(AtomicU64);

fn real_now() -> u64 {
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .expect("it is after 1970");
    u64::try_from(now.as_nanos()).expect("it is before 2554")
}

impl TestClock {
    /// One that runs as the server's does, which refuses one that is far from its own.
    pub(crate) fn running() -> Arc<TestClock> {
        Arc::new(TestClock(AtomicU64::new(RUNNING)))
    }

    /// Moves on to what it really is, and stops there.
    pub(crate) fn tick(&self) {
        self.set(real_now());
    }

    pub(crate) fn set(&self, nanos: u64) {
        self.0.store(nanos, Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> u64 {
        match self.0.load(Ordering::SeqCst) {
            RUNNING => real_now(),
            stopped => stopped,
        }
    }
}
