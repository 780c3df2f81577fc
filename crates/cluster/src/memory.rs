//! The log in memory: the reference of what [`Log`] asks for, for tests. Its sessions end when told so, and it loses nothing.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tributary_journal::lock;

use crate::log::{Appended, Log, LogError};

#[derive(Debug, Default)]
struct Store {
    entries: Vec<Vec<u8>>,
    /// Number of times that all connections were cut.
    cuts: u64,
    is_away: bool,
}

/// The entries, which all connections share.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore(Arc<(Mutex<Store>, Condvar)>);

impl MemoryStore {
    /// Returns a new connection to the entries.
    #[must_use]
    pub fn connect(&self) -> MemoryLog {
        MemoryLog {
            store: self.clone(),
            session: None,
            sessions: 0,
        }
    }

    /// Ends all sessions.
    pub fn cut(&self) {
        lock(&self.0.0).cuts += 1;
        self.0.1.notify_all();
    }

    /// Sets whether nobody can connect. Ends all sessions, too.
    pub fn set_away(&self, is_away: bool) {
        lock(&self.0.0).is_away = is_away;
        self.cut();
    }
}

/// One connection to a [`MemoryStore`].
#[derive(Debug)]
pub struct MemoryLog {
    store: MemoryStore,
    /// Number of cuts when the session began.
    session: Option<u64>,
    sessions: u64,
}

impl MemoryLog {
    fn disconnected() -> LogError {
        LogError::Disconnected("it was cut".to_owned())
    }

    /// Ends the session if the connection was cut since it began.
    fn check(&mut self) -> Result<(), LogError> {
        let store = lock(&self.store.0.0);
        if self.session == Some(store.cuts) && !store.is_away {
            return Ok(());
        }
        drop(store);
        self.session = None;
        Err(MemoryLog::disconnected())
    }
}

impl Log for MemoryLog {
    fn session(&mut self) -> Result<u64, LogError> {
        if self.check().is_err() {
            let store = lock(&self.store.0.0);
            if store.is_away {
                return Err(MemoryLog::disconnected());
            }
            self.session = Some(store.cuts);
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
        self.check()?;
        let from = usize::try_from(offset).expect("entries in memory");
        let (store, changed) = &*self.store.0;
        let cuts = self.session;
        let waiting = |store: &mut Store| store.entries.len() <= from && Some(store.cuts) == cuts;
        let waited = changed.wait_timeout_while(lock(store), wait, waiting);
        let (store, _timed_out) = waited.unwrap_or_else(PoisonError::into_inner);
        let mut bytes = 0;
        for entry in store.entries.iter().skip(from) {
            if bytes > 0 && bytes + entry.len() > bytes_max {
                break;
            }
            bytes += entry.len();
            entries.push(entry.clone());
        }
        drop(store);
        self.check()
    }

    fn append(&mut self, read: u64, entry: &[u8], _patience: Duration) -> Appended {
        if self.check().is_err() {
            return Appended::Lost;
        }
        let mut store = lock(&self.store.0.0);
        if store.entries.len() as u64 != read {
            return Appended::Lost;
        }
        store.entries.push(entry.to_vec());
        self.store.0.1.notify_all();
        Appended::At(read)
    }

    fn clock(&mut self) -> Result<Option<u64>, LogError> {
        self.check()?;
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        Ok(since
            .ok()
            .and_then(|since| u64::try_from(since.as_nanos()).ok()))
    }

    fn check_settings(&mut self) -> Result<(), LogError> {
        self.check()
    }
}
