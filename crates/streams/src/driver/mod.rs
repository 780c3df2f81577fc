//! The driver of streams: committed records in, rows and events out.
//!
//! A stream is a setting. Its versions ([`slot`]) read the journal from its beginning, each at its own pace, on one thread that never
//! keeps a payment waiting. Every node of a cluster computes every stream for itself; the one that may work outwards publishes. What is
//! published has the id of its result as its key, so that it happens once, whoever does it and how often it is computed again.

mod action;
mod checkpoint;
pub(crate) mod definition;
mod feed;
pub(crate) mod fields;
mod follow;
mod outwards;
mod publish;
mod risk;
mod runner;
#[cfg(test)]
mod simulation;
mod slot;

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use tokio::sync::watch;
use tributary_api::error::ApiError;
use tributary_api::failures::read_error;
use tributary_api::streaming::{
    DeadLetters, Preview, StreamFigures, StreamRow, StreamTerms, Streaming,
};
use tributary_engine::{BriefReply, Engine, Judge, Permit, Reader, Refused, lock};
use tributary_ledger::SettingId;

use checkpoint::Checkpoints;
use fields::OwnerNames;
use follow::{Follower, feed};
use outwards::{Asked, COMMANDS_AT_ONCE};
pub use risk::Rules;
use runner::Runner;
use slot::{Slot, Slots, Version};

/// How often the streams look around when nothing happens.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How often results are published while records come without a pause.
const OUTWARDS_EVERY: Duration = Duration::from_millis(20);
/// Shortest time between two barriers: windows that end at many different times are ended together.
const BARRIER_EVERY: Duration = Duration::from_millis(200);
/// Wait after the engine refused commands.
const REFUSED_WAIT: Duration = Duration::from_secs(1);
/// Rows of each list of a preview.
const PREVIEW_ROWS_MAX: usize = 100;

/// The streams of a server, and the rules that look at their figures. Dropped, the streams stop.
pub struct Streams {
    reader: Reader,
    slots: Arc<Slots>,
    rules: Arc<Rules>,
    stop: watch::Sender<bool>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Streams {
    /// The streams of a journal, of which none runs yet.
    pub fn new(reader: Reader) -> Arc<Streams> {
        let slots: Arc<Slots> = Arc::default();
        Arc::new(Streams {
            rules: Rules::new(reader.clone(), slots.clone()),
            reader,
            slots,
            stop: watch::Sender::new(false),
            thread: Mutex::new(None),
        })
    }

    /// Starts what the settings say, and follows their changes. Checkpoints are kept in `folder`; without one, each start computes the
    /// streams from the journal. `dead_letters` are those that streams may have delivered again.
    ///
    /// # Errors
    /// If the folder can't be made, or a thread can't be started.
    pub fn start(
        &self,
        engine: Engine,
        permit: Arc<dyn Permit>,
        folder: Option<&Path>,
        dead_letters: Option<Arc<dyn DeadLetters>>,
    ) -> io::Result<()> {
        let checkpoints = folder.map(Checkpoints::open).transpose()?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()?;
        let work = Work {
            follower: Follower {
                reader: engine.reader(),
                slots: self.slots.clone(),
                checkpoints,
            },
            engine,
            permit,
            dead_letters,
            rules: self.rules.clone(),
            is_first: true,
            last_barrier: None,
            refused_until: None,
        };
        let stopped = self.stop.subscribe();
        let thread = std::thread::Builder::new()
            .name("streams".to_owned())
            .spawn(move || work.run_at_its_priority(&runtime, &stopped))?;
        *lock(&self.thread) = Some(thread);
        Ok(())
    }

    /// Stops, and keeps checkpoints.
    pub fn stop(&self) {
        self.stop.send_replace(true);
        if let Some(thread) = lock(&self.thread).take() {
            let _panicked = thread.join();
        }
    }

    /// The rules that look at figures of these streams.
    pub fn rules(&self) -> Arc<Rules> {
        self.rules.clone()
    }

    fn shown<T>(&self, stream: SettingId, look: impl FnOnce(&Runner) -> T) -> Option<T> {
        let slot = self.slots.get(stream)?;
        let slot = lock(&slot);
        slot.shown().map(look)
    }
}

impl Drop for Streams {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Streaming for Streams {
    fn check(&self, terms: &StreamTerms) -> Result<(), ApiError> {
        let ready = definition::ready(String::from("stream"), terms);
        ready.map(drop).map_err(|error| definition::refused(&error))
    }

    fn figures(&self, stream: SettingId) -> Option<StreamFigures> {
        let slot = self.slots.get(stream)?;
        let slot = lock(&slot);
        let mut figures = slot.figures(self.reader.published())?;
        let newest = slot.versions.last()?;
        if figures.why.is_none()
            && let Some(act) = &newest.runner.terms.act
        {
            figures.why = action::missing(&self.reader, act);
        }
        Some(figures)
    }

    fn rows(&self, stream: SettingId, before: Option<u64>, limit: usize) -> Option<Vec<StreamRow>> {
        self.shown(stream, |runner| runner.final_rows(before, limit))
    }

    fn open_rows(
        &self,
        stream: SettingId,
        after: u64,
        limit: usize,
    ) -> Option<Result<Vec<StreamRow>, String>> {
        self.shown(stream, |runner| runner.open_rows(after, limit))
    }

    fn preview(&self, terms: &StreamTerms, records: u64) -> Result<Preview, ApiError> {
        let head = self.reader.published();
        let first = head.saturating_sub(records);
        let name = String::from("preview");
        let runner = Runner::new(name, terms.clone(), u64::MAX, first)
            .map_err(|error| definition::refused(&error))?;
        let owners = OwnerNames::new(&self.reader);
        let mut slot = Slot::new(SettingId(0));
        slot.versions.push(Version::new(runner, None));
        loop {
            let runner = &slot.versions[0].runner;
            let next = runner.position + 1;
            if next > head || runner.is_over() {
                break;
            }
            feed(&self.reader, &owners, next, head, &mut [&mut slot]).map_err(read_error)?;
        }
        let runner = &slot.versions[0].runner;
        Ok(Preview {
            first: if head > 0 { first + 1 } else { 0 },
            last: runner.position,
            events: runner.events,
            results: runner.results,
            rows: runner.final_rows(None, PREVIEW_ROWS_MAX),
            open_rows: runner.open_rows(0, PREVIEW_ROWS_MAX).unwrap_or_default(),
            late_events: runner.ready.stream.late_events(),
            stopped: runner.why_stopped(),
        })
    }
}

/// How much the thread of the streams gives way to others, as `nice(1)` counts: while threads that take part in payments want all
/// processors, it gets about a hundredth of one.
#[cfg(target_os = "linux")]
const NICE: i32 = 19;

/// Has the calling thread give way to those that take part in payments. Streams are behind for a while then.
fn yield_to_payments() {
    // Elsewhere it would be the whole process.
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::nice(NICE) {
        tracing::debug!(%error, "the streams work at the priority of payments");
    }
}

/// The thread of the streams.
struct Work {
    engine: Engine,
    follower: Follower,
    permit: Arc<dyn Permit>,
    dead_letters: Option<Arc<dyn DeadLetters>>,
    rules: Arc<Rules>,
    /// Whether it has not looked at the settings yet.
    is_first: bool,
    last_barrier: Option<Instant>,
    /// Until when the engine is left alone, after it refused commands.
    refused_until: Option<Instant>,
}

impl Work {
    /// Runs until it is stopped: while rules look at figures, at the priority of payments, which wait for the figures; else below it. A
    /// thread can lower its priority and not raise it again, so the lower one is that of a thread of its own.
    fn run_at_its_priority(mut self, runtime: &Runtime, stopped: &watch::Receiver<bool>) {
        while !*stopped.borrow() {
            match self.rules.is_needed() {
                true => runtime.block_on(self.run(true, stopped.clone())),
                false => std::thread::scope(|scope| {
                    scope.spawn(|| {
                        yield_to_payments();
                        runtime.block_on(self.run(false, stopped.clone()));
                    });
                }),
            }
        }
        self.follower.keep(&self.follower.slots.all(), true);
    }

    /// Runs until it is stopped, or rules begin or cease to look at figures.
    async fn run(&mut self, for_rules: bool, mut stop: watch::Receiver<bool>) {
        let reader = self.follower.reader.clone();
        let owners = OwnerNames::new(&reader);
        while !*stop.borrow_and_update() && self.rules.is_needed() == for_rules {
            // Taken before the settings are read, so that no change is missed.
            let seen = reader.published();
            let is_first = std::mem::take(&mut self.is_first);
            self.follower.define(is_first);
            let mut changed = std::pin::pin!(reader.settings_changed_after(seen));
            let mut worked = Instant::now();
            loop {
                let slots = self.follower.slots.all();
                // Taken before the records are read, so that none is missed.
                let head = reader.published();
                let done = match self.follower.step(&owners, &slots) {
                    Ok(done) => done,
                    Err(failure) => {
                        tracing::error!(%failure, "the streams can't read the journal; it will be tried again");
                        true
                    }
                };
                let wait = match done || worked.elapsed() >= OUTWARDS_EVERY {
                    false => Duration::ZERO,
                    true => {
                        worked = Instant::now();
                        self.work_outwards(&slots).await
                    }
                };
                self.follower.keep(&slots, false);
                let wait = if done { wait } else { Duration::ZERO };
                tokio::select! {
                    biased;
                    () = &mut changed => break,
                    _ = stop.changed() => break,
                    () = reader.published_after(head), if done && !slots.is_empty() => {}
                    () = tokio::time::sleep(wait) => {}
                }
            }
        }
    }

    /// Publishes what waits, and ends windows that are over. Returns how long there is nothing more to do.
    async fn work_outwards(&mut self, slots: &[Arc<Mutex<Slot>>]) -> Duration {
        let now = Instant::now();
        if !self.permit.is_granted() || self.refused_until.is_some_and(|until| now < until) {
            return LOOK_EVERY;
        }
        let dead_letters = self.dead_letters.as_deref();
        let asked = outwards::due(
            &self.follower.reader,
            slots,
            self.engine.now(),
            dead_letters,
        );
        let is_more = asked.len() >= COMMANDS_AT_ONCE;
        if !asked.is_empty() {
            let commands = asked.iter().map(|asked| asked.command.clone()).collect();
            let replies = self.engine.submit(commands).await;
            self.settle(asked, replies);
        }
        let wait = self.end_windows(slots).await;
        match is_more {
            true => Duration::ZERO,
            false => wait,
        }
    }

    fn settle(&mut self, asked: Vec<Asked>, replies: Result<Vec<BriefReply>, Refused>) {
        let replies = match replies {
            Ok(replies) => replies,
            Err(refused) => {
                self.refused_until = Some(Instant::now() + REFUSED_WAIT);
                for asked in asked {
                    lock(&asked.slot).fault = Some(format!("nothing is published: {refused}"));
                }
                return;
            }
        };
        let now = self.engine.now();
        for (asked, reply) in asked.into_iter().zip(replies) {
            asked.settle(reply, now);
        }
    }

    /// Appends a barrier if a window is over and nothing that is recorded says so. Returns how long no window ends.
    async fn end_windows(&mut self, slots: &[Arc<Mutex<Slot>>]) -> Duration {
        let Some(deadline) = self.follower.next_deadline(slots) else {
            return LOOK_EVERY;
        };
        let now = self.engine.now();
        let left = u64::try_from(deadline).unwrap_or(0).saturating_sub(now);
        let rest = self.last_barrier.map_or(Duration::ZERO, |last| {
            BARRIER_EVERY.saturating_sub(last.elapsed())
        });
        let left = Duration::from_nanos(left).max(rest);
        if !left.is_zero() {
            return left.min(LOOK_EVERY);
        }
        self.last_barrier = Some(Instant::now());
        if let Err(refused) = self
            .engine
            .submit(vec![publish::barrier(deadline, now)])
            .await
        {
            tracing::debug!(%refused, "a barrier was refused");
            self.refused_until = Some(Instant::now() + REFUSED_WAIT);
        }
        LOOK_EVERY
    }
}
