//! The thread of a node: reads the log, appends what the node wants to append, and hands on what happens.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::log::{Appended, Log, LogError};
use crate::node::{BEAT_EVERY, Event, Node};

/// Maximum number of bytes of one read: one more entry than fits is read all the same.
const READ_BYTES_MAX: usize = 8 << 20;
/// How long a follower waits for an entry, and thus for what it is asked.
const FOLLOWER_WAIT: Duration = Duration::from_millis(50);
/// How long a leader waits for a command before it looks at the log.
const LEADER_WAIT: Duration = Duration::from_millis(100);
/// How long the log may take to acknowledge an entry.
const APPEND_PATIENCE: Duration = Duration::from_secs(5);
/// How long a leader that stops tries to hand over.
const YIELD_PATIENCE: Duration = Duration::from_secs(2);
/// How long to wait after a connection that failed.
const RECONNECT_AFTER: Duration = Duration::from_millis(100);
/// How often the log's clock and settings are looked at.
const CHECK_EVERY: Duration = Duration::from_secs(60);
/// How far this machine's clock may be from the log's for the node to become the leader.
const CLOCK_DIFFERENCE_MAX: Duration = Duration::from_secs(1);

/// How long a node that learns nothing of a leader waits before it makes sure that it has the end of the log.
const CONFIRM_EVERY: Duration = Duration::from_secs(3);
/// A read of fewer entries, of fewer bytes, reached the end of the log.
const LAST_ENTRIES_MAX: usize = 64;
/// See [`LAST_ENTRIES_MAX`].
const LAST_BYTES_MAX: usize = READ_BYTES_MAX / 4;

/// Called with the position of the head once the node has read everything that was settled before; with none if it ends before that.
pub type Confirmed = Box<dyn FnOnce(Option<u64>) + Send>;

/// What a node is asked to do.
pub enum Command {
    /// Look whether there is a frame to be offered.
    Wake,
    /// Hand the leadership over: [`Node::yield_to`].
    Yield(String),
    /// Go on in the newest versions: [`Node::upgrade`].
    Upgrade,
    /// End the log: [`Node::leave`].
    Leave(u64),
    /// Make sure that everything settled so far is read.
    Confirm(Confirmed),
    /// Hand the leadership over to any node, and end the thread.
    Stop,
}

/// What a node acts for: it gives frames and learns what happens. Called on the node's thread.
pub trait Listener {
    /// Returns the frame that is to be appended next, sealed on the head of the node's fold, and its hash. Asked while the node leads and
    /// no other frame is on its way.
    fn next_frame(&mut self, node: &Node) -> Option<(Vec<u8>, [u8; 32])>;

    /// Returns what is to be appended next to the log beside the journal. Asked while the node leads and nothing of it is on its way.
    fn next_beside(&mut self) -> Option<Vec<u8>>;

    /// Takes in what happened.
    fn handle(&mut self, node: &Node, event: Event);

    /// Takes in what became of an entry, and how long that took.
    fn count_append(&mut self, appended: Appended, took: Duration);

    /// Takes in how the node stands now.
    fn observe(&mut self, node: &Node, now: Now);

    /// Whether the node must end: what it is for is of no use any more.
    fn has_stopped(&self) -> bool;

    /// The log can't be used now, or at all: it is tried again.
    fn report_failure(&mut self, error: &LogError);
}

/// How a node stands, in the process's time.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// From when and until when the node may do outward work; none if not at all.
    pub window: Option<(Instant, Instant)>,
    /// When it knew last that it had the end of the log; none if it never did.
    pub confirmed: Option<Instant>,
}

/// What the node makes sure of.
#[derive(Default)]
struct Confirming {
    /// Those whose barrier is not sent.
    waiting: Vec<Confirmed>,
    /// Those whose barrier is sent.
    sent: Vec<Confirmed>,
    /// When the node knew last that it had the end of the log.
    at: Option<Instant>,
    asked: Option<Instant>,
    /// Whether it knew so in this session.
    in_session: bool,
    /// When something of a leader counted last, as the node said.
    leader_seen: Duration,
}

impl Confirming {
    fn begin_session(&mut self, node: &mut Node) {
        self.in_session = false;
        self.ask(node);
    }

    fn ask(&mut self, node: &mut Node) {
        node.ask_for_barrier();
        self.asked = Some(Instant::now());
    }

    /// The end of the log was read, as far as one read can tell.
    fn reach_end(&mut self, node: &mut Node) {
        let is_news = node.leader_seen() != self.leader_seen;
        self.leader_seen = node.leader_seen();
        if is_news && self.in_session {
            self.at = Some(Instant::now());
        }
        let is_old = |at: Option<Instant>| at.is_none_or(|at| at.elapsed() >= CONFIRM_EVERY);
        if is_old(self.at) && is_old(self.asked) {
            self.ask(node);
        }
    }

    /// An entry of the node was acknowledged, and everything before it was read.
    fn confirm(&mut self) {
        self.in_session = true;
        self.at = Some(Instant::now());
    }

    fn pass(&mut self, position: u64) {
        self.confirm();
        for confirmed in self.sent.drain(..) {
            confirmed(Some(position));
        }
    }
}

/// Running time, whether the clocks agree, and when the log was read.
struct Clocks {
    begun: Instant,
    checked: Option<Instant>,
    /// Whether this machine's clock agrees with the log's, as far as that is known.
    is_right: bool,
    /// Whether the log's clock was compared since the last check was due.
    is_compared: bool,
    /// When the log was read last.
    read: Instant,
}

/// Runs a node until its commands end, it stops, or the log ends. Returns the node.
pub fn run(
    node: Node,
    log: &mut dyn Log,
    commands: &Receiver<Command>,
    listener: &mut dyn Listener,
) -> Node {
    let clocks = Clocks {
        begun: Instant::now(),
        checked: None,
        is_right: false,
        is_compared: false,
        read: Instant::now(),
    };
    let mut running = Running {
        node,
        session: None,
        clocks,
        confirming: Confirming::default(),
    };
    running.run(log, commands, listener);
    running.node
}

/// Runs a node that offers nothing, until the log ends or the node stops: for whoever only ends a log.
///
/// # Errors
/// Why it stopped.
pub fn run_to_end(
    node: Node,
    log: &mut dyn Log,
    commands: &Receiver<Command>,
) -> Result<Node, String> {
    let mut idle = Idle::default();
    let node = run(node, log, commands, &mut idle);
    match idle.failed {
        Some(why) => Err(why),
        None => Ok(node),
    }
}

#[derive(Default)]
struct Idle {
    failed: Option<String>,
}

impl Listener for Idle {
    fn next_frame(&mut self, _node: &Node) -> Option<(Vec<u8>, [u8; 32])> {
        None
    }

    fn next_beside(&mut self) -> Option<Vec<u8>> {
        None
    }

    fn handle(&mut self, _node: &Node, event: Event) {
        if let Event::Stopped(why) = event {
            self.failed = Some(why.to_string());
        }
    }

    fn count_append(&mut self, _appended: Appended, _took: Duration) {}

    fn observe(&mut self, _node: &Node, _now: Now) {}

    fn has_stopped(&self) -> bool {
        self.failed.is_some()
    }

    fn report_failure(&mut self, error: &LogError) {
        if let LogError::Unfit(why) = error {
            self.failed = Some(why.clone());
        }
    }
}

struct Running {
    node: Node,
    session: Option<u64>,
    clocks: Clocks,
    confirming: Confirming,
}

impl Running {
    fn run(
        &mut self,
        log: &mut dyn Log,
        commands: &Receiver<Command>,
        listener: &mut dyn Listener,
    ) {
        let mut stops = None;
        loop {
            let wait = match self.node.leads() {
                true if self.offer(listener) => Duration::ZERO,
                true => self.node.wait_max(self.clocks.now()).min(LEADER_WAIT),
                false => Duration::ZERO,
            };
            let mut must_stop = listener.has_stopped();
            match commands.recv_timeout(wait) {
                Ok(Command::Wake) | Err(RecvTimeoutError::Timeout) => {}
                Ok(Command::Yield(to)) => self.node.yield_to(&to),
                Ok(Command::Upgrade) => self.node.upgrade(),
                Ok(Command::Leave(nonce)) => self.node.leave(nonce),
                Ok(Command::Confirm(confirmed)) => {
                    self.confirming.waiting.push(confirmed);
                    self.confirming.ask(&mut self.node);
                }
                Ok(Command::Stop) => must_stop = true,
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if must_stop && stops.is_none() {
                self.node.yield_to("");
                stops = Some(Instant::now() + YIELD_PATIENCE);
            }
            self.offer(listener);
            if let Err(error) = self.work(log, listener) {
                self.session = None;
                self.node.end_session();
                listener.report_failure(&error);
                std::thread::sleep(RECONNECT_AFTER);
            }
            if self.take_events(listener)
                || stops.is_some_and(|stops| !self.node.leads() || Instant::now() >= stops)
            {
                return;
            }
            let window = self.node.outward_window().filter(|_| stops.is_none());
            let begun = self.clocks.begun;
            let now = Now {
                window: window.map(|(from, until)| (begun + from, begun + until)),
                confirmed: self.confirming.at,
            };
            listener.observe(&self.node, now);
        }
    }

    /// Offers what is to be appended next. Whether there was something.
    fn offer(&mut self, listener: &mut dyn Listener) -> bool {
        let node = &mut self.node;
        let frame = node
            .may_offer()
            .then(|| listener.next_frame(node))
            .flatten();
        let beside = node.may_offer_beside().then(|| listener.next_beside());
        let beside = beside.flatten();
        let has_any = frame.is_some() || beside.is_some();
        if let Some((bytes, hash)) = frame {
            node.offer(bytes, hash);
        }
        if let Some(bytes) = beside {
            node.offer_beside(bytes);
        }
        has_any
    }

    /// Hands on what happened. Whether that is the end.
    fn take_events(&mut self, listener: &mut dyn Listener) -> bool {
        while let Some(event) = self.node.next_event() {
            let is_end = matches!(event, Event::Stopped(_) | Event::Closed { .. });
            match event {
                Event::EndSession => {
                    self.session = None;
                    std::thread::sleep(RECONNECT_AFTER);
                }
                Event::Barrier => self.confirming.pass(self.node.fold().head().position),
                _ => {}
            }
            listener.handle(&self.node, event);
            if is_end {
                return true;
            }
        }
        false
    }

    /// Appends what is to be appended, and reads what is there.
    fn work(&mut self, log: &mut dyn Log, listener: &mut dyn Listener) -> Result<(), LogError> {
        let node = &mut self.node;
        let present = log.session()?;
        if self.session != Some(present) {
            node.begin_session();
            self.session = Some(present);
            self.confirming.begin_session(node);
        }
        self.clocks.check(log)?;
        let wanted_barrier = node.wants_barrier();
        if let Some(bytes) = node.next_append(self.clocks.now(), self.clocks.is_right) {
            if wanted_barrier && !node.wants_barrier() {
                let waiting = self.confirming.waiting.drain(..);
                self.confirming.sent.extend(waiting);
            }
            let read = node.next_offset();
            let sent = Instant::now();
            let appended = log.append(read, &bytes, APPEND_PATIENCE);
            listener.count_append(appended, sent.elapsed());
            node.appended(self.clocks.now(), appended);
            // Whoever knows what is in its log, and where its entry went, need not read.
            let is_known = node.leads() && appended == Appended::At(read);
            if is_known {
                self.confirming.confirm();
            }
            if is_known && self.clocks.read.elapsed() < BEAT_EVERY {
                return Ok(());
            }
        }
        self.clocks.read = Instant::now();
        let wait = match node.leads() {
            true => Duration::ZERO,
            false => FOLLOWER_WAIT,
        };
        let mut entries = Vec::new();
        log.read(node.next_offset(), READ_BYTES_MAX, wait, &mut entries)?;
        if entries.is_empty() {
            node.reach_end(self.clocks.now());
        }
        let bytes: usize = entries.iter().map(Vec::len).sum();
        let is_end = entries.len() < LAST_ENTRIES_MAX && bytes < LAST_BYTES_MAX;
        for entry in entries {
            node.read(self.clocks.now(), entry);
        }
        if is_end {
            self.confirming.reach_end(node);
        }
        Ok(())
    }
}

impl Clocks {
    fn now(&self) -> Duration {
        self.begun.elapsed()
    }

    /// Looks at the log's clock and settings from time to time.
    fn check(&mut self, log: &mut dyn Log) -> Result<(), LogError> {
        let is_due = |checked: Instant| checked.elapsed() >= CHECK_EVERY;
        if self.checked.is_none_or(is_due) {
            log.check_settings()?;
            self.is_compared = false;
            self.checked = Some(Instant::now());
        }
        if self.is_compared {
            return Ok(());
        }
        match log.clock()? {
            Some(told) => {
                let here = SystemTime::now().duration_since(UNIX_EPOCH);
                let here = here.unwrap_or_default();
                self.is_right = here.abs_diff(Duration::from_nanos(told)) < CLOCK_DIFFERENCE_MAX;
                self.is_compared = true;
            }
            // Somebody must append the first entry that tells it. The log is asked again soon.
            None => self.is_right = true,
        }
        Ok(())
    }
}
