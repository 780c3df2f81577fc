//! Messages from one stream, by a consumer of a group.
//!
//! One task reads, on a connection of its own, since a command that waits keeps others waiting. Another one acknowledges, as many
//! entries with one command as have come together. What they share with the source is [`Shared`].

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use redis::{Cmd, Value};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::link::Link;
use super::message::{Entry, from_entry};
use super::names::{Key, Name, Names};
use super::streams;
use crate::port::{Binding, Doing, Message, Source, Trouble, TroubleKind};

/// How long Redis waits for a new entry before it answers that there is none: as long as a binding may take to stop.
const BLOCK: Duration = Duration::from_millis(250);
/// Time after which an entry that nobody works on is given to another consumer.
const IDLE_MAX: Duration = Duration::from_secs(10);
/// How often a source says that it works on what it holds, and looks for what others left.
const LOOK_EVERY: Duration = Duration::from_secs(3);
/// Idle time of an entry that was given back: nobody needs to wait before taking it.
const GIVEN_BACK: Duration = Duration::from_secs(24 * 3600);
/// Bytes of entries that are read at once, as far as the sizes of those before tell.
const READ_BYTES: usize = 8 * 1024 * 1024;
/// Size that an entry is taken for before any was seen, in bytes.
const ENTRY_BYTES: usize = 64 * 1024;
/// Maximum number of entries in one command.
const ENTRIES_MAX: usize = 1_000;
/// Maximum number of acknowledgements that Redis has not confirmed.
const UNCONFIRMED_MAX: usize = 1_024;
/// Maximum time for the confirmations that are missing when a source is closed.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// A consumer of a group.
pub(super) struct RedisSource {
    shared: Arc<Shared>,
    reader: JoinHandle<()>,
    acknowledger: JoinHandle<()>,
    names: Arc<Names>,
    key: Key,
}

/// What the tasks of a source share.
struct Shared {
    link: Link,
    stream: String,
    group: String,
    consumer: String,
    prefetch: usize,
    state: Mutex<State>,
    /// A message came, or the source ended.
    came: Notify,
    /// There is room for more messages, or the source is closed.
    left: Notify,
    /// There is something to acknowledge.
    acknowledged: Notify,
    /// Redis has confirmed acknowledgements, or the source ended.
    confirmed: Notify,
}

#[derive(Default)]
struct State {
    /// Messages that nobody has received, and whether each was delivered before.
    waiting: VecDeque<(Entry, bool)>,
    /// Entries that were received and not acknowledged, by token.
    held: BTreeMap<u64, String>,
    /// Entries that were acknowledged, but Redis has not confirmed that.
    unconfirmed: Vec<String>,
    /// Every entry of these three.
    known: HashSet<String>,
    next_token: u64,
    is_closing: bool,
    end: Option<Trouble>,
}

impl State {
    /// Entries that this consumer works on.
    fn open(&self) -> Vec<String> {
        let waiting = self.waiting.iter().map(|(entry, _)| entry.id.clone());
        self.held.values().cloned().chain(waiting).collect()
    }
}

impl RedisSource {
    /// Begins to read, after Redis has taken the acknowledgements that the last source of this consumer could not bring. `reading` is
    /// a connection of its own.
    pub(super) async fn open(
        link: Link,
        reading: Link,
        binding: &Binding,
        names: Arc<Names>,
        key: Key,
    ) -> Result<RedisSource, Trouble> {
        let Name { name, acknowledged } = names.take(&key)?;
        let shared = Arc::new(Shared {
            link,
            stream: binding.destination.clone(),
            group: binding.group.clone(),
            consumer: name,
            prefetch: usize::from(binding.prefetch),
            state: Mutex::default(),
            came: Notify::new(),
            left: Notify::new(),
            acknowledged: Notify::new(),
            confirmed: Notify::new(),
        });
        if let Err(trouble) = shared.tell_acknowledged(&acknowledged).await {
            let name = shared.consumer.clone();
            names.put(key, Name { name, acknowledged });
            return Err(trouble);
        }
        Ok(RedisSource {
            reader: tokio::spawn(shared.clone().read(reading)),
            acknowledger: tokio::spawn(shared.clone().acknowledge()),
            shared,
            names,
            key,
        })
    }

    /// Waits until Redis has confirmed all but so many acknowledgements.
    async fn wait_for_confirmations(&self, left_max: usize) -> Result<(), Trouble> {
        loop {
            let confirmed = self.shared.confirmed.notified();
            {
                let state = self.shared.state();
                if let Some(trouble) = &state.end {
                    return Err(trouble.clone());
                }
                if state.unconfirmed.len() <= left_max {
                    return Ok(());
                }
            }
            confirmed.await;
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the source. The first reason stands.
    fn end(&self, trouble: Trouble) {
        self.state().end.get_or_insert(trouble);
        self.came.notify_one();
        self.confirmed.notify_one();
    }

    /// A command about the group, with the words before the stream.
    fn command(&self, name: &str) -> Cmd {
        let mut command = redis::cmd(name);
        command.arg(&self.stream).arg(&self.group);
        command
    }

    /// Acknowledges until the source ends.
    async fn acknowledge(self: Arc<Self>) {
        loop {
            let mut ids = self.state().unconfirmed.clone();
            ids.truncate(ENTRIES_MAX);
            if ids.is_empty() {
                self.acknowledged.notified().await;
                continue;
            }
            if let Err(trouble) = self.tell_acknowledged(&ids).await {
                return self.end(trouble);
            }
            let mut state = self.state();
            // What was acknowledged meanwhile stands after these.
            state.unconfirmed.drain(..ids.len());
            for id in &ids {
                state.known.remove(id);
            }
            drop(state);
            self.confirmed.notify_one();
        }
    }

    async fn tell_acknowledged(&self, ids: &[String]) -> Result<(), Trouble> {
        for ids in ids.chunks(ENTRIES_MAX) {
            let mut command = self.command("XACK");
            command.arg(ids);
            let what = format!("take acknowledgements of the stream {}", self.stream);
            self.link.ask(&what, command).await?;
        }
        Ok(())
    }

    /// Reads until the source is closed or ends.
    async fn read(self: Arc<Self>, link: Link) {
        if let Err(trouble) = self.read_with(&link).await {
            self.end(trouble);
        }
    }

    async fn read_with(&self, link: &Link) -> Result<(), Trouble> {
        // What the consumer of this name held before comes first; the last entry of it that was read.
        let mut before = Some("0-0".to_owned());
        // Where the search for what others left goes on.
        let mut search = "0-0".to_owned();
        let mut looked: Option<Instant> = None;
        let mut entry_bytes = ENTRY_BYTES;
        loop {
            let is_due = looked.is_none_or(|looked| looked.elapsed() >= LOOK_EVERY);
            let (open, room) = {
                let state = self.state();
                if state.is_closing {
                    return Ok(());
                }
                let count = state.held.len() + state.waiting.len();
                let room = self.prefetch.saturating_sub(count).min(ENTRIES_MAX);
                let room = room.min((READ_BYTES / entry_bytes).max(1));
                (is_due.then(|| state.open()), room)
            };
            if let Some(open) = open {
                looked = Some(Instant::now());
                self.say_at_work(link, &open).await?;
                if room > 0 && before.is_none() {
                    let found = self.take_from_others(link, &search, room).await?;
                    search = found.0;
                    entry_bytes = self.put(found.1, true, entry_bytes);
                    continue;
                }
            }
            if room == 0 {
                let _quiet = tokio::time::timeout(LOOK_EVERY, self.left.notified()).await;
                continue;
            }
            let entries = self.take(link, before.as_deref(), room).await?;
            if let Some(last) = &mut before {
                match entries.last() {
                    None => {
                        before = None;
                        // Then what others left, before anything new.
                        looked = None;
                    }
                    Some(entry) => last.clone_from(&entry.id),
                }
            }
            let was_delivered = before.is_some();
            entry_bytes = self.put(entries, was_delivered, entry_bytes);
        }
    }

    /// Takes entries: what this consumer held after `before`, or new ones.
    async fn take(
        &self,
        link: &Link,
        before: Option<&str>,
        room: usize,
    ) -> Result<Vec<Entry>, Trouble> {
        let mut command = redis::cmd("XREADGROUP");
        command.arg("GROUP").arg(&self.group).arg(&self.consumer);
        command.arg("COUNT").arg(room);
        if before.is_none() {
            command.arg("BLOCK").arg(BLOCK.as_millis() as u64);
        }
        command
            .arg("STREAMS")
            .arg(&self.stream)
            .arg(before.unwrap_or(">"));
        let what = format!("read the stream {}", self.stream);
        let answer = link.ask(&what, command).await?;
        // One stream was asked for: its name and its entries.
        let entries = match answer {
            Value::Nil => Some(Vec::new()),
            Value::Array(mut streams) => match streams.pop() {
                Some(Value::Array(mut parts)) => parts.pop().and_then(Entry::parse_all),
                _ => None,
            },
            _ => None,
        };
        entries.ok_or_else(|| self.garbled())
    }

    fn garbled(&self) -> Trouble {
        let text = format!(
            "{} answered something else than entries of the stream {}",
            self.link.place(),
            self.stream
        );
        Trouble::new(TroubleKind::Refused, text)
    }

    /// Takes entries that consumers hold which do not work on them. Returns where the search goes on, too.
    async fn take_from_others(
        &self,
        link: &Link,
        search: &str,
        room: usize,
    ) -> Result<(String, Vec<Entry>), Trouble> {
        let mut command = self.command("XAUTOCLAIM");
        command
            .arg(&self.consumer)
            .arg(IDLE_MAX.as_millis() as u64)
            .arg(search);
        command.arg("COUNT").arg(room);
        let what = format!("take over what others left of the stream {}", self.stream);
        let Value::Array(parts) = link.ask(&what, command).await? else {
            return Err(self.garbled());
        };
        let mut parts = parts.into_iter();
        let Some(Value::BulkString(next)) = parts.next() else {
            return Err(self.garbled());
        };
        let entries = parts.next().and_then(Entry::parse_all);
        if let Some(Value::Array(deleted)) = parts.next()
            && !deleted.is_empty()
        {
            self.tell_deleted(deleted.len());
        }
        let next = String::from_utf8_lossy(&next).into_owned();
        Ok((next, entries.ok_or_else(|| self.garbled())?))
    }

    fn tell_deleted(&self, count: usize) {
        let (stream, place) = (&self.stream, self.link.place());
        tracing::error!(
            stream,
            place,
            count,
            "messages were deleted from a stream before they were decided"
        );
    }

    /// Says that this consumer works on entries, so that no other one takes them.
    async fn say_at_work(&self, link: &Link, ids: &[String]) -> Result<(), Trouble> {
        self.set_idle(link, ids, Duration::ZERO).await
    }

    async fn set_idle(&self, link: &Link, ids: &[String], idle: Duration) -> Result<(), Trouble> {
        for ids in ids.chunks(ENTRIES_MAX) {
            let mut command = self.command("XCLAIM");
            command.arg(&self.consumer).arg(0).arg(ids);
            command
                .arg("IDLE")
                .arg(idle.as_millis() as u64)
                .arg("JUSTID");
            let what = format!("keep messages of the stream {}", self.stream);
            link.ask(&what, command).await?;
        }
        Ok(())
    }

    /// Puts entries where they can be received. Returns what an entry is taken for from now on, in bytes.
    fn put(&self, entries: Vec<Entry>, was_delivered: bool, entry_bytes: usize) -> usize {
        if entries.is_empty() {
            return entry_bytes;
        }
        let largest = entries.iter().map(Entry::size).max().unwrap_or(0);
        let mut deleted = 0;
        let mut state = self.state();
        for entry in entries {
            if entry.fields.is_none() {
                // It was deleted; acknowledged, it is forgotten.
                deleted += 1;
                state.unconfirmed.push(entry.id);
            } else if state.known.insert(entry.id.clone()) {
                state.waiting.push_back((entry, was_delivered));
            }
        }
        drop(state);
        if deleted > 0 {
            self.tell_deleted(deleted);
            self.acknowledged.notify_one();
        }
        self.came.notify_one();
        largest.max(entry_bytes / 2).max(1)
    }

    /// Returns the next message if it has come.
    fn next(&self) -> Result<Option<Message>, Trouble> {
        let mut state = self.state();
        if let Some(trouble) = &state.end {
            return Err(trouble.clone());
        }
        let Some((entry, was_delivered)) = state.waiting.pop_front() else {
            return Ok(None);
        };
        state.next_token += 1;
        let token = state.next_token;
        state.held.insert(token, entry.id.clone());
        Ok(Some(from_entry(token, &self.stream, entry, was_delivered)))
    }
}

impl Source for RedisSource {
    fn receive(&mut self) -> Doing<'_, Result<Message, Trouble>> {
        Box::pin(async move {
            loop {
                // Whoever is told and gives up leaves it to the next one.
                let came = self.shared.came.notified();
                if let Some(message) = self.shared.next()? {
                    return Ok(message);
                }
                came.await;
            }
        })
    }

    fn acknowledge(&mut self, token: u64) -> Doing<'_, Result<(), Trouble>> {
        Box::pin(async move {
            {
                let mut state = self.shared.state();
                if let Some(id) = state.held.remove(&token) {
                    // If the connection is lost, the next source tells Redis.
                    state.unconfirmed.push(id);
                }
            }
            self.shared.left.notify_one();
            self.shared.acknowledged.notify_one();
            self.wait_for_confirmations(UNCONFIRMED_MAX).await
        })
    }

    fn backlog(&mut self) -> Doing<'_, Option<u64>> {
        let Shared {
            link,
            stream,
            group,
            ..
        } = &*self.shared;
        Box::pin(streams::waiting(link, stream, group))
    }

    fn close(mut self: Box<Self>) -> Doing<'static, ()> {
        Box::pin(async move {
            self.shared.state().is_closing = true;
            self.shared.left.notify_one();
            let closing = async {
                let _ended = (&mut self.reader).await;
                self.wait_for_confirmations(0).await?;
                // For other processes: the next source of this one finds it under the consumer's name.
                let open = self.shared.state().open();
                self.shared
                    .set_idle(&self.shared.link, &open, GIVEN_BACK)
                    .await
            };
            // If it fails, the connection is lost, and what is open is taken over later.
            let _ = tokio::time::timeout(CLOSE_TIMEOUT, closing).await;
        })
    }
}

impl Drop for RedisSource {
    fn drop(&mut self) {
        self.reader.abort();
        self.acknowledger.abort();
        let name = Name {
            name: self.shared.consumer.clone(),
            acknowledged: self.shared.state().unconfirmed.clone(),
        };
        self.names.put(self.key.clone(), name);
    }
}
