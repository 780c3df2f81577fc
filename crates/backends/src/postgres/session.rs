//! Connections, each on a thread of its own, so that they can be used from any thread, also from an async one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use ::postgres::error::SqlState;
use ::postgres::{Client, Config, NoTls, Statement};
use tributary_engine::Failure;

use super::{OpenError, Options, SERVER_VERSION_MIN};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long bytes may stay unacknowledged by the server's machine before the connection counts as lost.
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(20);
/// How long the lock of a node that just ended is waited for.
const LOCK_WAIT_MAX: Duration = Duration::from_secs(3);
const LOCK_TRIED_EVERY: Duration = Duration::from_millis(50);
const SCHEMA_NAME_BYTES_MAX: usize = 48;

/// First half of the advisory lock's number; the second is the oid of the head table.
const LOCK_CLASS: i64 = 0x5452_4942;

/// Of every session. The keepalives let the server notice that a node is gone, and free its lock.
const SETTINGS: &str = "SET TIME ZONE 'UTC'; SET lock_timeout = '10s'; SET tcp_keepalives_idle = 10; \
    SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3";

/// The connection settings, checked.
pub(super) fn config(options: &Options) -> Result<Config, OpenError> {
    let name = &options.schema;
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    let sound = !name.is_empty()
        && name.len() <= SCHEMA_NAME_BYTES_MAX
        && name.bytes().all(plain)
        && !name.as_bytes()[0].is_ascii_digit();
    if !sound {
        return Err(OpenError::Config(
            "a schema's name has 1 to 48 of a-z, 0-9 and _ and does not begin with a digit".into(),
        ));
    }
    let mut config: Config = options
        .url
        .parse()
        .map_err(|error: ::postgres::Error| OpenError::Config(error.to_string()))?;
    config
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_user_timeout(TCP_USER_TIMEOUT)
        .keepalives_idle(Duration::from_secs(10))
        .keepalives_interval(Duration::from_secs(5))
        .keepalives_retries(3);
    Ok(config)
}

/// What a database error says, for logs and internal messages.
pub(super) fn describe(error: &::postgres::Error) -> String {
    match error.as_db_error() {
        Some(db) => format!("{} {}: {}", db.severity(), db.code().code(), db.message()),
        None => error.to_string(),
    }
}

pub(super) fn failure(error: ::postgres::Error) -> Failure {
    if error.code() == Some(&SqlState::DISK_FULL) {
        return Failure::StorageFull;
    }
    Failure::Unavailable(describe(&error))
}

pub(super) fn unavailable(error: ::postgres::Error) -> OpenError {
    OpenError::Unavailable(describe(&error))
}

/// How a thread gets its connection; it may keep what the session before was, to end it.
pub(super) type Connect = Arc<dyn Fn(&mut Option<Seen>) -> Result<Client, OpenError> + Send + Sync>;

/// A session as the server knows it.
#[derive(Clone, Copy)]
pub(super) struct Seen {
    pid: i32,
    since: SystemTime,
}

/// Connects, with the tables' schema in front.
pub(super) fn connect(config: &Config, schema: &str, role: &str) -> Result<Client, OpenError> {
    let mut config = config.clone();
    config.application_name(&format!("tributary {role} {schema}"));
    let mut client = config.connect(NoTls).map_err(unavailable)?;
    client
        .batch_execute(&format!("SET search_path = \"{schema}\"; {SETTINGS}"))
        .map_err(unavailable)?;
    Ok(client)
}

/// Connections that only read.
pub(super) fn reading(config: &Config, schema: &str) -> Connect {
    let (config, schema) = (config.clone(), schema.to_owned());
    Arc::new(move |_| {
        let mut client = connect(&config, &schema, "reader")?;
        client
            .batch_execute("SET default_transaction_read_only = on")
            .map_err(unavailable)?;
        Ok(client)
    })
}

/// Connections that write: the server is checked, and the journal's lock is taken.
pub(super) fn writing(config: &Config, schema: &str) -> Connect {
    let (config, schema) = (config.clone(), schema.to_owned());
    Arc::new(move |before| {
        let mut client = connect(&config, &schema, "writer")?;
        check_server(&mut client)?;
        take_lock(&mut client, before, &schema)?;
        Ok(client)
    })
}

/// Refuses a server that is too old or could forget what it has committed.
pub(super) fn check_server(client: &mut Client) -> Result<(), OpenError> {
    let row = client
        .query_one(
            "SELECT current_setting('server_version_num')::int4, current_setting('synchronous_commit'), \
             current_setting('fsync'), current_setting('full_page_writes')",
            &[],
        )
        .map_err(unavailable)?;
    check_version(row.get(0))?;
    check_synchronous_commit(row.get(1))?;
    for (column, name) in [(2, "fsync"), (3, "full_page_writes")] {
        if row.get::<_, &str>(column) == "off" {
            tracing::warn!(
                "PostgreSQL runs with {name}=off: a crash of its machine can lose or spoil payments"
            );
        }
    }
    Ok(())
}

fn check_version(version: i32) -> Result<(), OpenError> {
    if version < SERVER_VERSION_MIN {
        return Err(OpenError::Unsafe(format!(
            "its version is {}, and {} or later is needed",
            version / 10_000,
            SERVER_VERSION_MIN / 10_000
        )));
    }
    Ok(())
}

/// With `off`, a commit is answered before it is durable.
pub(super) fn check_synchronous_commit(setting: &str) -> Result<(), OpenError> {
    if setting == "off" {
        return Err(OpenError::Unsafe(
            "synchronous_commit is off, so it answers before a payment is durable".into(),
        ));
    }
    Ok(())
}

fn seen(client: &mut Client) -> Result<Seen, ::postgres::Error> {
    let row = client.query_one(
        "SELECT pid, backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()",
        &[],
    )?;
    Ok(Seen {
        pid: row.get(0),
        since: row.get(1),
    })
}

/// Takes the session lock that keeps other nodes out. This node's session `before` may live on after its connection was lost,
/// and hold the lock: it is ended first, and remembered until it has gone. Only then the new one asks for the lock, remembered
/// before it does: wherever this fails, at most one session of this node can hold the lock, and it is known.
fn take_lock(
    client: &mut Client,
    before: &mut Option<Seen>,
    schema: &str,
) -> Result<(), OpenError> {
    let oid: u32 = client
        .query_one("SELECT 'head'::regclass::oid", &[])
        .map_err(unavailable)?
        .get(0);
    let number = LOCK_CLASS << 32 | i64::from(oid);
    let give_up = Instant::now() + LOCK_WAIT_MAX;
    while let Some(session) = before {
        if end(client, session).map_err(unavailable)? {
            *before = None;
        } else if Instant::now() >= give_up {
            return Err(OpenError::Unavailable(
                "the session before has not ended yet".into(),
            ));
        } else {
            std::thread::sleep(LOCK_TRIED_EVERY);
        }
    }
    *before = Some(seen(client).map_err(unavailable)?);
    loop {
        let taken: bool = client
            .query_one("SELECT pg_try_advisory_lock($1)", &[&number])
            .map_err(unavailable)?
            .get(0);
        if taken {
            return Ok(());
        }
        if Instant::now() >= give_up {
            return Err(OpenError::Locked {
                schema: schema.to_owned(),
            });
        }
        std::thread::sleep(LOCK_TRIED_EVERY);
    }
}

/// Tells a session to end; says whether it has gone, and its locks with it.
fn end(client: &mut Client, session: &Seen) -> Result<bool, ::postgres::Error> {
    let told = client.query(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = $1 AND backend_start = $2",
        &[&session.pid, &session.since],
    )?;
    Ok(told.is_empty())
}

/// A thread's connection: made when it is needed, thrown away when it fails.
pub(super) struct Link {
    connect: Connect,
    /// The session that may hold the journal's lock: of the open connection, or of one that was lost.
    before: Option<Seen>,
    open: Option<Open>,
}

struct Open {
    client: Client,
    statements: HashMap<&'static str, Statement>,
}

impl Link {
    /// The connection, made anew if there is none.
    pub(super) fn client(&mut self) -> Result<&mut Client, OpenError> {
        if self
            .open
            .as_ref()
            .is_none_or(|open| open.client.is_closed())
        {
            self.open = None;
            let client = (self.connect)(&mut self.before)?;
            self.open = Some(Open {
                client,
                statements: HashMap::new(),
            });
        }
        Ok(&mut self.open.as_mut().expect("just made").client)
    }

    /// The connection as it is, and the statement prepared on it; never a new connection, so a transaction can't be continued
    /// outside of itself.
    pub(super) fn prepared(
        &mut self,
        sql: &'static str,
    ) -> Result<(&mut Client, Statement), Failure> {
        let Some(open) = &mut self.open else {
            return Err(Failure::Unavailable("the connection was lost".into()));
        };
        let statement = match open.statements.get(sql) {
            Some(statement) => statement.clone(),
            None => {
                let statement = open.client.prepare(sql).map_err(failure)?;
                open.statements.insert(sql, statement.clone());
                statement
            }
        };
        Ok((&mut open.client, statement))
    }

    /// The connection as it is; never a new one.
    pub(super) fn client_in_turn(&mut self) -> Result<&mut Client, Failure> {
        match &mut self.open {
            Some(open) => Ok(&mut open.client),
            None => Err(Failure::Unavailable("the connection was lost".into())),
        }
    }

    /// Ends the transaction, if there is one, without effect.
    pub(super) fn rollback(&mut self) {
        if let Some(open) = &mut self.open
            && open.client.batch_execute("ROLLBACK").is_err()
        {
            self.open = None;
        }
    }

    /// Throws the connection away.
    pub(super) fn discard(&mut self) {
        self.open = None;
    }

    pub(super) fn is_lost(&self) -> bool {
        self.open
            .as_ref()
            .is_none_or(|open| open.client.is_closed())
    }
}

type Job = Box<dyn FnOnce(&mut Link) + Send>;

/// Threads with one connection each, which take turns at what is asked of them.
pub(super) struct Sessions {
    jobs: Mutex<Option<mpsc::Sender<Job>>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Sessions {
    pub(super) fn start(name: &str, count: usize, connect: Connect) -> std::io::Result<Sessions> {
        let (jobs, inbox) = mpsc::channel::<Job>();
        let inbox = Arc::new(Mutex::new(inbox));
        let mut threads = Vec::with_capacity(count);
        for _ in 0..count {
            let inbox = inbox.clone();
            let mut link = Link {
                connect: connect.clone(),
                before: None,
                open: None,
            };
            threads.push(
                std::thread::Builder::new()
                    .name(name.into())
                    .spawn(move || {
                        loop {
                            let job = inbox.lock().unwrap_or_else(PoisonError::into_inner).recv();
                            match job {
                                Ok(job) => job(&mut link),
                                Err(_) => return,
                            }
                        }
                    })?,
            );
        }
        Ok(Sessions {
            jobs: Mutex::new(Some(jobs)),
            threads: Mutex::new(threads),
        })
    }

    /// Runs `job` on one of the threads and waits for it.
    pub(super) fn run<R, E>(
        &self,
        job: impl FnOnce(&mut Link) -> Result<R, E> + Send + 'static,
    ) -> Result<R, E>
    where
        R: Send + 'static,
        E: From<Gone> + Send + 'static,
    {
        let (done, result) = mpsc::sync_channel(1);
        let job: Job = Box::new(move |link| {
            let _nobody_waits = done.send(job(link));
        });
        let jobs = self
            .jobs
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let sent = jobs.is_some_and(|jobs| jobs.send(job).is_ok());
        match result.recv() {
            Ok(result) if sent => result,
            _ => Err(Gone.into()),
        }
    }

    /// Closes the connections.
    pub(super) fn stop(&self) {
        drop(
            self.jobs
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take(),
        );
        let threads =
            std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            let _panicked = thread.join();
        }
    }
}

impl Drop for Sessions {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The threads of the connections have ended.
pub(super) struct Gone;

impl From<Gone> for Failure {
    fn from(_: Gone) -> Failure {
        Failure::Unavailable("the connections are closed".into())
    }
}

impl From<Gone> for OpenError {
    fn from(_: Gone) -> OpenError {
        OpenError::Unavailable("the connections are closed".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_is_too_old_is_refused() {
        for (version, accepted) in [
            (90_624, false),
            (129_999, false),
            (130_000, true),
            (180_001, true),
        ] {
            assert_eq!(check_version(version).is_ok(), accepted, "{version}");
        }
    }

    #[test]
    fn only_plain_schema_names_are_taken() {
        let long = "x".repeat(SCHEMA_NAME_BYTES_MAX + 1);
        for (name, accepted) in [
            ("tributary", true),
            ("t_1", true),
            ("", false),
            ("1t", false),
            ("T", false),
            ("a\"b", false),
            ("a b", false),
            (long.as_str(), false),
        ] {
            let options = Options {
                url: "postgres://127.0.0.1/x".into(),
                schema: name.into(),
            };
            assert_eq!(config(&options).is_ok(), accepted, "{name:?}");
        }
    }
}
