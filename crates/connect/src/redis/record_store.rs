//! Records in Redis, which several nodes share: the second level behind the engine's cache.
//!
//! Redis is trusted with speed and with nothing else. A value is a MAC and a record; the MAC, under a key that is derived from the
//! journal's id key, covers the place too, so that nothing but what a node stored for that very place is taken. Values never change
//! and places are never used again, so nobody need be told of changes (no client tracking). Commands travel on threads of their own:
//! a reader waits for [`ANSWER_TIMEOUT`] at most, whatever the server does.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use redis::{
    Client, Connection, ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _, ProtocolVersion,
    RedisConnectionInfo, RedisError,
};
use tributary_engine::{JournalMeta, RecordPlace, SharedFigures, SharedRecords};

use super::server;
use crate::port::Unfit;

/// Maximum time that a reader waits for a record, connecting included.
pub const ANSWER_TIMEOUT: Duration = Duration::from_millis(20);
/// Maximum time for one read or write of a connection's thread, which nobody waits for.
const SOCKET_TIMEOUT: Duration = Duration::from_secs(1);
/// Number of connections.
const CONNECTIONS: usize = 2;
/// Maximum number of commands that wait for a connection.
const COMMANDS_MAX: usize = 64;
/// Failures in a row after which the server is left alone for a while.
const FAILURES_MAX: u32 = 3;
/// Shortest and longest time that the server is left alone.
const PAUSE_MIN: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// Time after which the server may forget a record, in seconds.
const KEPT_SECONDS: u64 = 7 * 24 * 60 * 60;
const MAC_BYTES: usize = 32;
/// Domain of the key of the MAC.
const MAC_CONTEXT: &str = "tributary 2026 shared record cache mac v1";

/// Records in Redis.
pub struct RecordStore {
    commands: SyncSender<Command>,
    log: [u8; 16],
    mac_key: [u8; 32],
    breaker: Mutex<Breaker>,
    hits: AtomicU64,
    misses: AtomicU64,
    failures: AtomicU64,
    skipped: AtomicU64,
    forged: AtomicU64,
}

/// Where the server is, and how to log in.
#[derive(Clone)]
pub struct RecordStoreConfig {
    info: ConnectionInfo,
}

impl std::fmt::Debug for RecordStoreConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RecordStoreConfig(…)")
    }
}

impl RecordStoreConfig {
    /// Reads `redis://host:port/database`.
    ///
    /// # Errors
    /// What the url must be.
    pub fn new(url: &str, password: Option<&str>) -> Result<RecordStoreConfig, Unfit> {
        let (server, database) = server::read(url)?;
        if server.is_tls {
            let what = "must begin with redis://: records in the cache are proved, not encrypted";
            return Err(Unfit::new("url", what));
        }
        let mut login = RedisConnectionInfo::default()
            .set_db(i64::from(database))
            .set_protocol(ProtocolVersion::RESP3)
            .set_skip_set_lib_name();
        if let Some(password) = password {
            login = login.set_password(password);
        }
        let address = ConnectionAddr::Tcp(server.host.clone(), server.port);
        let info = address
            .into_connection_info()
            .map_err(|_| Unfit::new("url", "names no server"))?
            .set_redis_settings(login);
        Ok(RecordStoreConfig { info })
    }
}

enum Command {
    Get(Vec<u8>, SyncSender<Answer>),
    Put(Vec<u8>, Vec<u8>),
}

type Answer = Result<Option<Vec<u8>>, RedisError>;

impl RecordStore {
    /// Starts the threads for the journal with these ids and keys. They connect when they are first used.
    pub fn start(config: &RecordStoreConfig, meta: &JournalMeta) -> Arc<dyn SharedRecords> {
        let (commands, waiting) = sync_channel(COMMANDS_MAX);
        let waiting = Arc::new(Mutex::new(waiting));
        for number in 0..CONNECTIONS {
            let (waiting, info) = (Arc::clone(&waiting), config.info.clone());
            let thread = std::thread::Builder::new().name(format!("redis-cache-{number}"));
            if let Err(error) = thread.spawn(move || serve(&waiting, &info)) {
                // Without any thread nothing is answered, and the breaker opens.
                tracing::warn!(%error, "a thread of the Redis cache can't be started");
            }
        }
        Arc::new(RecordStore {
            commands,
            log: meta.cluster_id,
            mac_key: blake3::derive_key(MAC_CONTEXT, &meta.id_key),
            breaker: Mutex::default(),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            skipped: AtomicU64::new(0),
            forged: AtomicU64::new(0),
        })
    }

    /// The key of a record: its log, epoch, history and position.
    fn key(&self, place: &RecordPlace) -> Vec<u8> {
        let mut key = b"tributary:record:".to_vec();
        key.extend_from_slice(&self.log);
        key.extend_from_slice(&place.epoch.to_be_bytes());
        key.extend_from_slice(&place.history);
        key.extend_from_slice(&place.position.to_be_bytes());
        key
    }

    fn mac(&self, key: &[u8], payload: &[u8]) -> blake3::Hash {
        // All keys are of one length, so that no other key and payload make the same bytes.
        let mut hasher = blake3::Hasher::new_keyed(&self.mac_key);
        hasher.update(key).update(payload);
        hasher.finalize()
    }

    fn breaker(&self) -> std::sync::MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fail(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
        self.breaker().fail(Instant::now());
    }

    /// Asks the server. None if there is no answer in time.
    fn ask(&self, key: &[u8]) -> Option<Answer> {
        let begun = Instant::now();
        if !self.breaker().may_try(begun) {
            self.skipped.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        let (answer, answered) = sync_channel(1);
        let sent = self.commands.try_send(Command::Get(key.to_vec(), answer));
        if sent.is_err() {
            self.skipped.fetch_add(1, Ordering::Relaxed);
            // It stands for the commands that wait: if those go through, they say so.
            self.breaker().give_back();
            return None;
        }
        let answer = answered.recv_timeout(ANSWER_TIMEOUT).ok();
        match &answer {
            Some(Ok(_)) => self.breaker().succeed(),
            Some(Err(_)) | None => self.fail(),
        }
        answer
    }
}

impl SharedRecords for RecordStore {
    fn get(&self, place: &RecordPlace) -> Option<Vec<u8>> {
        let key = self.key(place);
        let Some(mut value) = self.ask(&key)?.ok()? else {
            self.misses.fetch_add(1, Ordering::Relaxed);
            return None;
        };
        let proved = value
            .split_first_chunk::<MAC_BYTES>()
            // Compared in constant time.
            .is_some_and(|(mac, payload)| self.mac(&key, payload) == *mac);
        if !proved {
            self.forged.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        self.hits.fetch_add(1, Ordering::Relaxed);
        value.drain(..MAC_BYTES);
        Some(value)
    }

    fn put(&self, place: RecordPlace, payload: &[u8]) {
        if !self.breaker().is_closed() {
            self.skipped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let key = self.key(&place);
        let mut value = self.mac(&key, payload).as_bytes().to_vec();
        value.extend_from_slice(payload);
        if let Err(TrySendError::Full(_)) = self.commands.try_send(Command::Put(key, value)) {
            self.skipped.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn figures(&self) -> SharedFigures {
        SharedFigures {
            hits: self.hits.load(Ordering::Relaxed),
            misses: self.misses.load(Ordering::Relaxed),
            failures: self.failures.load(Ordering::Relaxed),
            skipped: self.skipped.load(Ordering::Relaxed),
            forged: self.forged.load(Ordering::Relaxed),
        }
    }
}

/// Sends what waits, over one connection, until nobody can send any more.
fn serve(waiting: &Mutex<Receiver<Command>>, info: &ConnectionInfo) {
    let mut connection = None;
    loop {
        let next = waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .recv();
        let Ok(command) = next else {
            return;
        };
        match command {
            Command::Get(key, answer) => {
                let found = send(&mut connection, info, redis::cmd("GET").arg(&key));
                // Who asked may have gone on without it.
                let _ = answer.try_send(found);
            }
            Command::Put(key, value) => {
                let mut set = redis::cmd("SET");
                set.arg(&key).arg(&value).arg("EX").arg(KEPT_SECONDS);
                // Without it a later read misses.
                let _: Result<(), _> = send(&mut connection, info, &set);
            }
        }
    }
}

/// Sends a command over the connection, which is made if there is none, and dropped if anything fails.
fn send<T: redis::FromRedisValue>(
    connection: &mut Option<Connection>,
    info: &ConnectionInfo,
    command: &redis::Cmd,
) -> Result<T, RedisError> {
    let mut open = match connection.take() {
        Some(open) => open,
        None => {
            let open = Client::open(info.clone())?.get_connection_with_timeout(SOCKET_TIMEOUT)?;
            open.set_read_timeout(Some(SOCKET_TIMEOUT))?;
            open.set_write_timeout(Some(SOCKET_TIMEOUT))?;
            open
        }
    };
    let answer = command.query(&mut open)?;
    *connection = Some(open);
    Ok(answer)
}

/// Leaves a server alone that failed several times: for a while, then for one trial, then for longer.
#[derive(Debug, Default)]
struct Breaker {
    failures: u32,
    /// Until when nothing is sent; none while the server answers.
    paused_until: Option<Instant>,
    pause: Duration,
    is_trying: bool,
}

impl Breaker {
    fn is_closed(&self) -> bool {
        self.paused_until.is_none()
    }

    fn may_try(&mut self, now: Instant) -> bool {
        match self.paused_until {
            None => true,
            Some(until) if now < until || self.is_trying => false,
            Some(_) => {
                self.is_trying = true;
                true
            }
        }
    }

    /// Takes back a trial that was not made.
    fn give_back(&mut self) {
        self.is_trying = false;
    }

    fn succeed(&mut self) {
        *self = Breaker::default();
    }

    fn fail(&mut self, now: Instant) {
        self.failures = self.failures.saturating_add(1);
        self.is_trying = false;
        if self.failures >= FAILURES_MAX {
            self.pause = (self.pause * 2).clamp(PAUSE_MIN, PAUSE_MAX);
            self.paused_until = Some(now + self.pause);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_breaker_opens_tries_once_and_waits_longer_each_time() {
        let (mut breaker, begun) = (Breaker::default(), Instant::now());
        for _ in 0..FAILURES_MAX {
            assert!(breaker.may_try(begun) && breaker.is_closed());
            breaker.fail(begun);
        }
        assert!(!breaker.may_try(begun) && !breaker.is_closed());
        let later = begun + PAUSE_MIN;
        assert!(breaker.may_try(later), "one trial");
        assert!(!breaker.may_try(later), "and no other meanwhile");
        breaker.fail(later);
        assert!(!breaker.may_try(later + PAUSE_MIN));
        assert!(breaker.may_try(later + 2 * PAUSE_MIN));
        breaker.give_back();
        assert!(breaker.may_try(later + 2 * PAUSE_MIN));
        breaker.succeed();
        assert!(breaker.may_try(begun) && breaker.is_closed());
        for _ in 0..100 {
            breaker.fail(begun);
        }
        assert!(breaker.may_try(begun + PAUSE_MAX));
    }
}
