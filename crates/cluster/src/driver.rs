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

/// What a node is asked to do.
#[derive(Debug)]
pub enum Command {
    /// Look whether there is a frame to be offered.
    Wake,
    /// Hand the leadership over: [`Node::yield_to`].
    Yield(String),
    /// End the log: [`Node::leave`].
    Leave(u64),
    /// Pass a barrier: [`Node::ask_for_barrier`].
    Barrier,
    /// Hand the leadership over to any node, and end the thread.
    Stop,
}

/// What a node acts for: it gives frames and learns what happens. Called on the node's thread.
pub trait Listener {
    /// Returns the frame that is to be appended next, sealed on the head, and its hash. Asked while the node leads and no other frame
    /// is on its way.
    fn next_frame(&mut self) -> Option<(Vec<u8>, [u8; 32])>;

    /// Takes in what happened.
    fn handle(&mut self, node: &Node, event: Event);

    /// Sets from when and until when the node may do outward work; none if not at all.
    fn set_window(&mut self, window: Option<(Instant, Instant)>);

    /// Whether the node must end: what it is for is of no use any more.
    fn has_stopped(&self) -> bool;

    /// The log can't be used now, or at all: it is tried again.
    fn report_failure(&mut self, error: &LogError);
}

/// Running time, whether the clocks agree, and when the log was read.
struct Clocks {
    begun: Instant,
    checked: Option<Instant>,
    is_right: bool,
    /// When the log was read last.
    read: Instant,
}

/// Runs a node until its commands end, it stops, or the log ends. Returns the node.
pub fn run(
    mut node: Node,
    log: &mut dyn Log,
    commands: &Receiver<Command>,
    listener: &mut dyn Listener,
) -> Node {
    let mut clocks = Clocks {
        begun: Instant::now(),
        checked: None,
        is_right: false,
        read: Instant::now(),
    };
    let mut session = None;
    let mut stops = None;
    loop {
        let wait = match node.leads() {
            true => node.wait_max(clocks.now()).min(LEADER_WAIT),
            false => Duration::ZERO,
        };
        let mut must_stop = listener.has_stopped();
        match commands.recv_timeout(wait) {
            Ok(Command::Wake) | Err(RecvTimeoutError::Timeout) => {}
            Ok(Command::Yield(to)) => node.yield_to(&to),
            Ok(Command::Leave(nonce)) => node.leave(nonce),
            Ok(Command::Barrier) => node.ask_for_barrier(),
            Ok(Command::Stop) => must_stop = true,
            Err(RecvTimeoutError::Disconnected) => return node,
        }
        if must_stop && stops.is_none() {
            node.yield_to("");
            stops = Some(Instant::now() + YIELD_PATIENCE);
        }
        if node.may_offer()
            && let Some((bytes, hash)) = listener.next_frame()
        {
            node.offer(bytes, hash);
        }
        if let Err(error) = work(&mut node, log, &mut session, &mut clocks) {
            session = None;
            node.end_session();
            listener.report_failure(&error);
            std::thread::sleep(RECONNECT_AFTER);
        }
        while let Some(event) = node.next_event() {
            let is_end = matches!(event, Event::Stopped(_) | Event::Closed { .. });
            if event == Event::EndSession {
                session = None;
                std::thread::sleep(RECONNECT_AFTER);
            }
            listener.handle(&node, event);
            if is_end {
                return node;
            }
        }
        if stops.is_some_and(|stops| !node.leads() || Instant::now() >= stops) {
            return node;
        }
        let window = node.outward_window().filter(|_| stops.is_none());
        listener
            .set_window(window.map(|(from, until)| (clocks.begun + from, clocks.begun + until)));
    }
}

/// Appends what is to be appended, and reads what is there.
fn work(
    node: &mut Node,
    log: &mut dyn Log,
    session: &mut Option<u64>,
    clocks: &mut Clocks,
) -> Result<(), LogError> {
    let present = log.session()?;
    if *session != Some(present) {
        node.begin_session();
        *session = Some(present);
    }
    clocks.check(log)?;
    if let Some(bytes) = node.next_append(clocks.now(), clocks.is_right) {
        let read = node.next_offset();
        let appended = log.append(read, &bytes, APPEND_PATIENCE);
        node.appended(clocks.now(), appended);
        // Whoever knows what is in its log, and where its entry went, need not read.
        if node.leads() && appended == Appended::At(read) && clocks.read.elapsed() < BEAT_EVERY {
            return Ok(());
        }
    }
    clocks.read = Instant::now();
    let wait = match node.leads() {
        true => Duration::ZERO,
        false => FOLLOWER_WAIT,
    };
    let mut entries = Vec::new();
    log.read(node.next_offset(), READ_BYTES_MAX, wait, &mut entries)?;
    if entries.is_empty() {
        node.reach_end(clocks.now());
    }
    for entry in entries {
        node.read(clocks.now(), entry);
    }
    Ok(())
}

impl Clocks {
    fn now(&self) -> Duration {
        self.begun.elapsed()
    }

    /// Looks at the log's clock and settings from time to time.
    fn check(&mut self, log: &mut dyn Log) -> Result<(), LogError> {
        let is_due = |checked: Instant| checked.elapsed() >= CHECK_EVERY;
        if !self.checked.is_none_or(is_due) {
            return Ok(());
        }
        log.check_settings()?;
        let told = Duration::from_nanos(log.clock()?);
        let here = SystemTime::now().duration_since(UNIX_EPOCH);
        let here = here.unwrap_or_default();
        self.is_right = here.abs_diff(told) < CLOCK_DIFFERENCE_MAX;
        self.checked = Some(Instant::now());
        Ok(())
    }
}
