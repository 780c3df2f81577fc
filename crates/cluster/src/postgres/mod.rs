//! A log in a table of PostgreSQL.
//!
//! ```sql
//! CREATE TABLE tributary_log (stream smallint, number bigint, entry bytea NOT NULL, PRIMARY KEY (stream, number))
//! ```
//!
//! An entry is appended by an insert of the next number, in a transaction of its own: who inserts a number that is taken is told so by
//! the primary key. A reader never steps over a missing number. Reads and appends share one connection, to the primary: a session of
//! [`Log`] is a session of PostgreSQL.
//!
//! PostgreSQL shows a commit that it has not sent to its standby as soon as the wait for that is cancelled, and says so by a notice. So
//! an insert that returns any notice is [`Appended::Unknown`].

mod error;
mod hosts;
mod settings;

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;
use tokio_postgres::{AsyncMessage, Client, Config, NoTls, Statement};
use tokio_postgres_rustls::MakeRustlsConnect;

use error::{disconnected, no_table};
use hosts::split_hosts;

use crate::log::{Appended, Log, LogError};

/// Maximum time until a connection is made and looked at.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum time for a read.
const READ_TIMEOUT: Duration = Duration::from_secs(10);
/// How often a reader looks for entries that nobody told of.
const POLL_EVERY: Duration = Duration::from_secs(1);
/// Maximum number of entries that one read returns.
const ENTRIES_PER_READ_MAX: i64 = 256;

const CREATE: &str = "
    CREATE TABLE IF NOT EXISTS tributary_log (
        stream smallint, number bigint, entry bytea NOT NULL, PRIMARY KEY (stream, number));
    ALTER TABLE tributary_log ALTER COLUMN entry SET STORAGE EXTERNAL";
const INSERT: &str = "
    WITH appended AS (INSERT INTO tributary_log (stream, number, entry) VALUES ($1, $2, $3) RETURNING number)
    SELECT pg_notify('tributary_log', '') FROM appended";
/// The size of an entry is told by PostgreSQL without reading the entry.
const SELECT: &str = "
    SELECT number, entry FROM (
        SELECT number, entry, sum(octet_length(entry)) OVER (ORDER BY number) AS bytes FROM (
            SELECT number, entry FROM tributary_log WHERE stream = $1 AND number >= $2 ORDER BY number LIMIT $3) AS next
    ) AS counted WHERE bytes <= $4 OR number = $2 ORDER BY number";
const CLOCK: &str = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000000)::bigint";

/// Where a log is, and what is asked of the server.
#[derive(Clone)]
pub struct Options {
    /// A connection string, as `libpq` has them: `postgresql://user@host:5432/database`. Of several hosts, the primary is used.
    pub url: String,
    /// Password, if the connection string has none.
    pub password: Option<String>,
    /// Whom to trust, for `sslmode=require`. Without it, connections are made without TLS.
    pub tls: Option<Arc<rustls::ClientConfig>>,
    /// Number of the stream: 0 for the journal.
    pub stream: i16,
    /// Whether a server without a synchronous standby will do: what it acknowledged is lost with its disk.
    pub allow_single_copy: bool,
}

/// A log in PostgreSQL.
pub struct PostgresLog {
    options: Options,
    /// One for each host.
    configs: Vec<Config>,
    runtime: Runtime,
    link: Option<Link>,
    sessions: u64,
}

struct Link {
    client: Client,
    unasked: mpsc::UnboundedReceiver<Unasked>,
    insert: Statement,
    select: Statement,
}

/// What the server sends without being asked.
enum Unasked {
    Notice(String),
    /// Somebody has appended an entry.
    Appended,
}

impl PostgresLog {
    /// Returns a log that connects when it is first used.
    ///
    /// # Errors
    /// [`LogError::Unfit`] if the connection string can't be read.
    pub fn new(options: Options) -> Result<PostgresLog, LogError> {
        let mut config: Config = options.url.parse().map_err(|error| {
            LogError::Unfit(format!("the url of PostgreSQL can't be read: {error}"))
        })?;
        if let (None, Some(password)) = (config.get_password(), &options.password) {
            config.password(password);
        }
        config.application_name("tributary");
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| LogError::Disconnected(error.to_string()))?;
        Ok(PostgresLog {
            options,
            configs: split_hosts(&config),
            runtime,
            link: None,
            sessions: 0,
        })
    }

    /// Makes the table, if there is none.
    ///
    /// # Errors
    /// If the server can't be reached, or does not allow that.
    pub fn create(&mut self) -> Result<(), LogError> {
        self.at_primary(|config, options| async move {
            let (client, _unasked) = connect(&config, &options).await?;
            client.batch_execute(CREATE).await.map_err(disconnected)
        })
    }

    /// Does something at all hosts at once, and returns what the primary answers first: a standby refuses it.
    fn at_primary<T, F>(&self, work: impl Fn(Config, Options) -> F) -> Result<T, LogError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, LogError>> + Send + 'static,
    {
        self.runtime.block_on(async {
            let mut working = JoinSet::new();
            for config in &self.configs {
                let work = work(config.clone(), self.options.clone());
                working.spawn(in_time(CONNECT_TIMEOUT, work));
            }
            let mut refused = Vec::new();
            while let Some(done) = working.join_next().await {
                match done.map_err(|error| LogError::Disconnected(error.to_string()))? {
                    Err(LogError::Disconnected(why)) => refused.push(why),
                    done => return done,
                }
            }
            refused.dedup();
            Err(LogError::Disconnected(refused.join("; ")))
        })
    }

    /// Does something with the connection, which is given up if that fails.
    fn with_link<T>(
        &mut self,
        work: impl AsyncFnOnce(&mut Link, &Options) -> Result<T, LogError>,
    ) -> Result<T, LogError> {
        let Some(link) = &mut self.link else {
            return Err(LogError::Disconnected("there is no session".to_owned()));
        };
        let done = self.runtime.block_on(work(link, &self.options));
        if matches!(done, Err(LogError::Disconnected(_))) {
            self.link = None;
        }
        done
    }
}

/// Connects, and listens to what is appended.
async fn connect(
    config: &Config,
    options: &Options,
) -> Result<(Client, mpsc::UnboundedReceiver<Unasked>), LogError> {
    let (sender, unasked) = mpsc::unbounded_channel();
    let client = match &options.tls {
        None => {
            let (client, connection) = config.connect(NoTls).await.map_err(disconnected)?;
            tokio::spawn(listen(connection, sender));
            client
        }
        Some(tls) => {
            let tls = MakeRustlsConnect::new(rustls::ClientConfig::clone(tls));
            let (client, connection) = config.connect(tls).await.map_err(disconnected)?;
            tokio::spawn(listen(connection, sender));
            client
        }
    };
    Ok((client, unasked))
}

/// Moves what comes over a connection, until it ends.
async fn listen<S, T>(
    mut connection: tokio_postgres::Connection<S, T>,
    sender: mpsc::UnboundedSender<Unasked>,
) where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    loop {
        let message = std::future::poll_fn(|context| connection.poll_message(context)).await;
        let unasked = match message {
            Some(Ok(AsyncMessage::Notice(notice))) => Unasked::Notice(notice.message().to_owned()),
            Some(Ok(AsyncMessage::Notification(_))) => Unasked::Appended,
            Some(Ok(_)) => continue,
            Some(Err(_)) | None => return,
        };
        if sender.send(unasked).is_err() {
            return;
        }
    }
}

async fn open(config: Config, options: Options) -> Result<Link, LogError> {
    let (client, unasked) = connect(&config, &options).await?;
    let set = client.batch_execute("SET synchronous_commit = on");
    set.await.map_err(disconnected)?;
    settings::check(&client, options.allow_single_copy).await?;
    let listen = client.batch_execute("LISTEN tributary_log");
    listen.await.map_err(disconnected)?;
    let insert = client.prepare(INSERT).await.map_err(no_table)?;
    let select = client.prepare(SELECT).await.map_err(no_table)?;
    Ok(Link {
        client,
        unasked,
        insert,
        select,
    })
}

async fn in_time<T>(
    limit: Duration,
    doing: impl Future<Output = Result<T, LogError>>,
) -> Result<T, LogError> {
    match tokio::time::timeout(limit, doing).await {
        Ok(done) => done,
        Err(_) => {
            let seconds = limit.as_secs();
            let text = format!("PostgreSQL did not answer within {seconds} s");
            Err(LogError::Disconnected(text))
        }
    }
}

impl Link {
    /// Takes what was sent unasked, and returns the last notice.
    fn drain(&mut self) -> Option<String> {
        let mut notice = None;
        while let Ok(unasked) = self.unasked.try_recv() {
            if let Unasked::Notice(text) = unasked {
                notice = Some(text);
            }
        }
        notice
    }

    async fn select(
        &mut self,
        stream: i16,
        offset: u64,
        bytes_max: usize,
        entries: &mut Vec<Vec<u8>>,
    ) -> Result<(), LogError> {
        let first = i64::try_from(offset).expect("a number of a row");
        let bytes_max = i64::try_from(bytes_max).unwrap_or(i64::MAX);
        let rows = self
            .client
            .query(
                &self.select,
                &[&stream, &first, &ENTRIES_PER_READ_MAX, &bytes_max],
            )
            .await
            .map_err(disconnected)?;
        for (row, number) in rows.iter().zip(first..) {
            if row.get::<_, i64>(0) != number {
                break;
            }
            entries.push(row.get(1));
        }
        Ok(())
    }

    /// Waits until somebody says to have appended an entry.
    async fn wait(&mut self, wait: Duration) -> Result<(), LogError> {
        let waiting = async {
            loop {
                match self.unasked.recv().await {
                    Some(Unasked::Appended) => return Ok(()),
                    Some(Unasked::Notice(_)) => {}
                    None => {
                        let text = "PostgreSQL closed the connection".to_owned();
                        return Err(LogError::Disconnected(text));
                    }
                }
            }
        };
        match tokio::time::timeout(wait, waiting).await {
            Ok(unasked) => unasked,
            Err(_) => Ok(()),
        }
    }
}

impl Log for PostgresLog {
    fn session(&mut self) -> Result<u64, LogError> {
        if self
            .link
            .as_ref()
            .is_none_or(|link| link.client.is_closed())
        {
            self.link = None;
            self.link = Some(self.at_primary(open)?);
            self.sessions += 1;
        }
        Ok(self.sessions)
    }

    fn read(
        &mut self,
        offset: u64,
        bytes_max: usize,
        wait: Duration,
        entries: &mut Vec<Vec<u8>>,
    ) -> Result<(), LogError> {
        self.with_link(async |link, options| {
            let ends = tokio::time::Instant::now() + wait;
            loop {
                link.drain();
                let selecting = link.select(options.stream, offset, bytes_max, entries);
                in_time(READ_TIMEOUT, selecting).await?;
                let left = ends.saturating_duration_since(tokio::time::Instant::now());
                if !entries.is_empty() || left.is_zero() {
                    return Ok(());
                }
                link.wait(left.min(POLL_EVERY)).await?;
            }
        })
    }

    fn append(&mut self, read: u64, entry: &[u8], patience: Duration) -> Appended {
        let number = i64::try_from(read).expect("a number of a row");
        let appending = self.with_link(async |link, options| {
            link.drain();
            let values: [&(dyn ToSql + Sync); 3] = [&options.stream, &number, &entry];
            let inserting = link.client.query(&link.insert, &values);
            let Ok(inserted) = tokio::time::timeout(patience, inserting).await else {
                // What is still on its way can't share the connection with what follows.
                return Err(LogError::Disconnected(
                    "PostgreSQL takes too long".to_owned(),
                ));
            };
            // The task that takes notices has run before the answer came here.
            let notice = link.drain();
            Ok(match inserted {
                Ok(_) if notice.is_none() => Appended::At(read),
                Ok(_) => Appended::Unknown,
                Err(error) if error.code() == Some(&SqlState::UNIQUE_VIOLATION) => Appended::Lost,
                Err(error) if error.is_closed() => return Err(disconnected(error)),
                Err(_) => Appended::Unknown,
            })
        });
        appending.unwrap_or(Appended::Unknown)
    }

    fn clock(&mut self) -> Result<Option<u64>, LogError> {
        self.with_link(async |link, _| {
            let asking = async {
                link.client
                    .query_one(CLOCK, &[])
                    .await
                    .map_err(disconnected)
            };
            let row = in_time(READ_TIMEOUT, asking).await?;
            Ok(u64::try_from(row.get::<_, i64>(0)).ok())
        })
    }

    fn check_settings(&mut self) -> Result<(), LogError> {
        self.with_link(async |link, options| {
            let checking = settings::check(&link.client, options.allow_single_copy);
            in_time(READ_TIMEOUT, checking).await
        })
    }
}
