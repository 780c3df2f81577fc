//! The sender: a thread of its own that makes attempts, many at once.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use hyper::StatusCode;
use tokio::sync::Notify;
use tokio::time::{MissedTickBehavior, interval, sleep};
use tributary_engine::Clock;

use super::exchange::{Answer, AttemptError, Client, Progress};
use super::job::Job;
use super::retry_after::retry_after;
use super::schedule::{AttemptNumber, Bounds, Next, Schedule, Served};
use super::settings::Settings;
use crate::trust;

/// The longest event id, in bytes.
const EVENT_ID_BYTES_MAX: usize = 128;
/// Threads for looking names up. Hosts that are held back use at most half of them.
const LOOKUP_THREADS_MAX: usize = 64;
/// Maximum number of times that the patience with a host doubles: 32 times a second is longer than any attempt may take.
const DOUBLINGS_MAX: u32 = 5;
/// How often connections and hosts that nobody needs are looked for.
const SWEEP: Duration = Duration::from_secs(5);

/// Result of an attempt to send a webhook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// When it began, nanoseconds since 1970. It is the time that was signed, in whole seconds.
    pub started: u64,
    /// From then to the answer's end, or to the error.
    pub took: Duration,
    /// HTTP status of the answer; none if there was none.
    pub status: Option<u16>,
    /// Why nothing was answered.
    pub error: Option<AttemptError>,
    /// Request line and headers as they were sent, at most 4 KiB; empty if the URL was refused.
    pub request_head: String,
    /// Status line and headers of the answer, at most 4 KiB.
    pub response_head: String,
    /// From the beginning to a new connection, with TLS; none if there was none, or one was used again.
    pub connected: Option<Duration>,
    /// From the beginning to the head of the answer.
    pub answered: Option<Duration>,
    /// What the feed does next with the event.
    pub outcome: Outcome,
}

/// What the feed does with an event after an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The receiver answered with 2xx: the event is delivered.
    Delivered,
    /// Try again later, if there are attempts left.
    Retry {
        /// Wait that the receiver asked for, at most 24 hours.
        after: Option<Duration>,
    },
    /// The receiver answered with 410: the endpoint wants no more webhooks.
    Gone,
}

/// Work of a sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Figures {
    /// Jobs that wait for their host.
    pub waiting: usize,
    /// Attempts under way.
    pub under_way: usize,
    /// Hosts (with port) that have something to do, or a connection that is kept.
    pub hosts: usize,
}

/// Why a sender did not start.
#[derive(Debug, thiserror::Error)]
pub enum SenderError {
    /// The certificates to trust can't be read.
    #[error("certificates for webhooks: {0}")]
    Trust(String),
    /// Its thread could not be started.
    #[error("cannot start the thread for webhooks: {0}")]
    Thread(#[from] io::Error),
}

/// Checks that webhooks can be sent with these settings.
///
/// # Errors
/// If the certificates to trust can't be read.
pub(super) fn check_settings(settings: &Settings) -> Result<(), SenderError> {
    match trust::connector(settings.ca_file.as_deref()) {
        Ok(_connector) => Ok(()),
        Err(why) => Err(SenderError::Trust(why)),
    }
}

/// Called with every attempt, on the sender's thread: the function must not block.
type Done = Box<dyn Fn(Job, Attempt) + Send + Sync>;

struct Shared {
    schedule: Mutex<Schedule<Job>>,
    /// Something changed: look what can start.
    changed: Notify,
    /// Tells an overdue attempt to end.
    cuts: Mutex<HashMap<AttemptNumber, Arc<Notify>>>,
    /// No job is taken any more.
    closing: AtomicBool,
    /// The thread ends.
    stopped: AtomicBool,
    client: Client,
    clock: Arc<dyn Clock>,
    slow_after: Duration,
    done: Done,
}

/// Sends webhooks, on a thread of its own. Dropped, it stops at once: attempts under way are cut off.
pub struct Sender {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Sender {
    /// Starts the thread. `done` hears of every attempt that was made, on that thread: it must not block. It may offer jobs.
    ///
    /// # Panics
    /// If a bound in the settings is 0, or `under_way_max` less than 4.
    pub fn start(
        settings: Settings,
        clock: Arc<dyn Clock>,
        done: impl Fn(Job, Attempt) + Send + Sync + 'static,
    ) -> Result<Sender, SenderError> {
        let tls = trust::connector(settings.ca_file.as_deref()).map_err(SenderError::Trust)?;
        let shared = Arc::new(Shared {
            schedule: Mutex::new(Schedule::new(Bounds {
                under_way_max: settings.under_way_max,
                per_host_max: settings.per_host_max,
                waiting_per_host_max: settings.waiting_per_host_max,
            })),
            changed: Notify::new(),
            cuts: Mutex::default(),
            closing: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
            client: Client::new(&settings, tls, LOOKUP_THREADS_MAX / 2),
            clock,
            slow_after: settings.slow_after,
            done: Box::new(done),
        });
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(LOOKUP_THREADS_MAX)
            .build()?;
        let running = shared.clone();
        let thread = std::thread::Builder::new()
            .name("webhooks".to_owned())
            .spawn(move || {
                runtime.block_on(run(&running));
                // A look-up may hang for long: nobody waits for it.
                runtime.shutdown_background();
            })?;
        Ok(Sender {
            shared,
            thread: Some(thread),
        })
    }

    /// Takes a job: it is started when its host's turn comes. Gives it back if too many wait for this host already (there is room
    /// again after one of the host's jobs is done) or if the sender stops.
    ///
    /// # Panics
    /// If the event's id is not as [`Job::event_id`] says.
    pub fn offer(&self, job: Job) -> Result<(), Job> {
        assert!(
            (1..=EVENT_ID_BYTES_MAX).contains(&job.event_id.len())
                && job
                    .event_id
                    .bytes()
                    .all(|byte| byte.is_ascii_graphic() && byte != b'.'),
            "an event id goes into a header and is signed with full stops around it"
        );
        let host = job.endpoint.url.origin().clone();
        let mut schedule = self.shared.schedule();
        if self.shared.closing.load(Ordering::SeqCst) {
            return Err(job);
        }
        schedule.offer(&host, job)?;
        drop(schedule);
        self.shared.changed.notify_one();
        Ok(())
    }

    /// Work of a sender.
    pub fn figures(&self) -> Figures {
        let (waiting, under_way, hosts) = self.shared.schedule().numbers();
        Figures {
            waiting,
            under_way,
            hosts,
        }
    }

    /// Starts nothing more, and waits up to `patience` for what is under way. Of what waits, and of what is under way after that,
    /// nobody hears any more.
    pub fn stop(self, patience: Duration) {
        self.shared.close();
        let until = Instant::now() + patience;
        while self.figures().under_way > 0 && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.shared.close();
        self.shared.stopped.store(true, Ordering::SeqCst);
        self.shared.changed.notify_one();
        if let Some(thread) = self.thread.take() {
            // It has nothing to tell: a panic on it is in the log by way of the panic hook.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn schedule(&self) -> MutexGuard<'_, Schedule<Job>> {
        self.schedule.lock().expect("no holder of the lock panics")
    }

    fn cuts(&self) -> MutexGuard<'_, HashMap<AttemptNumber, Arc<Notify>>> {
        self.cuts.lock().expect("no holder of the lock panics")
    }

    fn close(&self) {
        let mut schedule = self.schedule();
        self.closing.store(true, Ordering::SeqCst);
        schedule.clear();
    }

    /// Starts all that may start.
    fn start_all(self: &Arc<Shared>) {
        loop {
            let next = self.schedule().next();
            match next {
                Next::Start {
                    attempt: number,
                    job,
                    held_back,
                    cuts,
                } => {
                    let place = Place {
                        shared: self.clone(),
                        number,
                        served: Served::No,
                    };
                    let patience = self.slow_after * (1 << cuts.min(DOUBLINGS_MAX));
                    tokio::spawn(attempt(place, job, held_back, patience));
                }
                Next::CutShort(number) => {
                    if let Some(cut) = self.cuts().get(&number) {
                        cut.notify_one();
                    }
                }
                Next::Wait => return,
            }
        }
    }
}

async fn run(shared: &Arc<Shared>) {
    let mut sweep = interval(SWEEP);
    sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !shared.stopped.load(Ordering::SeqCst) {
        shared.start_all();
        tokio::select! {
            () = shared.changed.notified() => {}
            _ = sweep.tick() => {
                shared.client.close_idle();
                shared.schedule().forget_idle(|host| shared.client.keeps(host));
            }
        }
    }
}

/// The place of an attempt; given back when this is dropped, whatever became of it.
struct Place {
    shared: Arc<Shared>,
    number: AttemptNumber,
    served: Served,
}

impl Drop for Place {
    fn drop(&mut self) {
        // The schedule first: it may name the attempt until it has finished.
        let mut schedule = self.shared.schedule();
        schedule.finished(self.number, self.served);
        self.shared.cuts().remove(&self.number);
        drop(schedule);
        self.shared.changed.notify_one();
    }
}

/// `patience` is the time after which the attempt is overdue.
async fn attempt(mut place: Place, job: Job, held_back: bool, patience: Duration) {
    let shared = place.shared.clone();
    let (started, begun) = (shared.clock.wall(), Instant::now());
    let mut progress = Progress::default();
    let answer = answer(&place, &job, started, held_back, patience, &mut progress).await;
    let took = begun.elapsed();
    place.served = served(&answer);
    // The place first: whoever hears of the attempt finds room for the next one.
    drop(place);
    let mut attempt = Attempt {
        started,
        took,
        status: None,
        error: None,
        request_head: progress.request_head,
        response_head: String::new(),
        connected: progress.connected,
        answered: progress.answered,
        outcome: Outcome::Retry { after: None },
    };
    match answer {
        Ok(answer) => {
            attempt.status = Some(answer.status.as_u16());
            attempt.outcome = outcome(&answer, shared.clock.wall());
            attempt.response_head = answer.head;
        }
        Err(error) => attempt.error = Some(error),
    }
    (shared.done)(job, attempt);
}

/// Asks, and says so when it takes long.
async fn answer(
    place: &Place,
    job: &Job,
    started: u64,
    held_back: bool,
    patience: Duration,
    progress: &mut Progress,
) -> Result<Answer, AttemptError> {
    let shared = place.shared.clone();
    let now = shared.clock.now();
    let mut asked = std::pin::pin!(shared.client.post(job, started, now, held_back, progress));
    tokio::select! {
        answer = &mut asked => return answer,
        () = sleep(patience) => {}
    }
    let cut = Arc::new(Notify::new());
    shared.cuts().insert(place.number, cut.clone());
    shared.schedule().overdue(place.number);
    shared.changed.notify_one();
    tokio::select! {
        answer = asked => answer,
        () = cut.notified() => Err(AttemptError::CutShort),
    }
}

fn served(answer: &Result<Answer, AttemptError>) -> Served {
    const OVERLOADED: [StatusCode; 4] = [
        StatusCode::TOO_MANY_REQUESTS,
        StatusCode::BAD_GATEWAY,
        StatusCode::SERVICE_UNAVAILABLE,
        StatusCode::GATEWAY_TIMEOUT,
    ];
    match answer {
        Ok(answer) if OVERLOADED.contains(&answer.status) => Served::No,
        Ok(_) => Served::Yes,
        Err(AttemptError::Refused(_)) => Served::NotTried,
        Err(_) => Served::No,
    }
}

fn outcome(answer: &Answer, now: u64) -> Outcome {
    match answer.status {
        status if status.is_success() => Outcome::Delivered,
        StatusCode::GONE => Outcome::Gone,
        _ => Outcome::Retry {
            after: answer
                .retry_after
                .as_deref()
                .and_then(|value| retry_after(value, now)),
        },
    }
}
