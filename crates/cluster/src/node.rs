//! A node: what it reads, when it leads, and what it appends next. It owns no thread, no clock and no connection, so that a simulator can
//! drive it step by step.
//!
//! # What is settled
//! An entry is settled when the log has acknowledged it, or a later one, in the session in which it was read; the node that learned so
//! says it in the entries that it appends, with a hash of everything before ([`Mark`]). A node folds settled entries only, so nothing
//! that it shows, answers or delivers can be undone by a failover.
//!
//! # An append whose result is unknown
//! The entry may be there, may come later, or never. The leader claims again, under a greater term, until a claim is acknowledged: once
//! that is folded, an entry of an earlier term either counted before it or never will.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tributary_engine::NEWEST;

use crate::bug::Bug;
use crate::entry::{Body, Entry, Header, Mark};
use crate::fold::{Fold, Known, Step, Stop};
pub use crate::identity::Identity;
use crate::log::Appended;

/// How often a leader appends something.
pub const BEAT_EVERY: Duration = Duration::from_secs(1);
/// How long a leader waits for the next frame before it says by a beat that the last one is settled.
pub const NEWS_AFTER: Duration = Duration::from_millis(1);
/// How long a node that has read everything waits for a sign of the leader before it claims: so long, and [`RANK_STEP`] for each rank.
pub const CANDIDATE_AFTER: Duration = Duration::from_secs(3);
/// What each rank adds to [`CANDIDATE_AFTER`], so that not all nodes claim at once.
pub const RANK_STEP: Duration = Duration::from_millis(500);
/// How long after a leader has sent an entry that counted it may do outward work, and how long a new leader waits with it.
pub const OUTWARD_WINDOW: Duration = Duration::from_secs(2);
/// How long a node looks for what it has read before, if the log does not have it, before it stops: after a failover a connection may
/// lead to the old server for a moment.
pub const BEHIND_MAX: Duration = Duration::from_secs(10);

/// What happened to a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A frame counts: it is durable, and the journal of every node has it.
    Frame {
        /// Bytes of the frame.
        bytes: Vec<u8>,
        /// Whether it is the one that [`Node::offer`] was given.
        is_own: bool,
    },
    /// The frame that [`Node::offer`] was given does not count, and never will.
    FrameRefused,
    /// The log beside the journal grew.
    Beside {
        /// What the leader wrote.
        bytes: Vec<u8>,
        /// Whether it is what [`Node::offer_beside`] was given.
        is_own: bool,
    },
    /// What [`Node::offer_beside`] was given does not count, and never will.
    BesideRefused,
    /// The node leads: it decides what follows the head.
    Leads,
    /// Another node leads, or nobody.
    Follows,
    /// A barrier of this node is folded: everything that was settled when it was asked for is, too.
    Barrier,
    /// The log has ended. Whether this node goes on alone.
    Closed {
        /// Whether it is this node, by the request of [`Node::leave`], that goes on.
        is_own: bool,
    },
    /// The session is of no use: end it, and begin another.
    EndSession,
    /// The node must stop.
    Stopped(Stop),
}

/// What is being appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Claim,
    Frame,
    Beat,
    Yield,
    Barrier,
    Closed,
    Beside,
    Upgrade,
}

struct InFlight {
    kind: Kind,
    term: u64,
    bytes: Arc<Vec<u8>>,
    sent: Duration,
    /// Number of entries that were read before it was sent.
    read: u64,
}

/// An entry that was read and is not folded.
struct Unsettled {
    bytes: Arc<Vec<u8>>,
    known: Known,
    read: Duration,
}

/// An entry of this node that the log has acknowledged.
struct Acknowledged {
    kind: Kind,
    offset: u64,
    sent: Duration,
}

/// The frame that waits to count.
struct Offered {
    bytes: Vec<u8>,
    hash: [u8; 32],
    is_sent: bool,
}

/// What waits to count in the log beside the journal.
struct OfferedBeside {
    bytes: Vec<u8>,
    is_sent: bool,
}

/// A node of a cluster.
pub struct Node {
    identity: Identity,
    fold: Fold,
    /// Entries that were read in this session after those that are folded.
    unsettled: VecDeque<Unsettled>,
    /// Number of entries, from the log's first on, that are settled.
    settled: u64,
    /// How far the present session has read; none without a session.
    session: Option<Session>,
    /// Since when the log lacks what was read before.
    behind_since: Option<Duration>,
    in_flight: Option<InFlight>,
    acknowledged: Option<Acknowledged>,
    /// The result of an append was unknown: it can count until a claim counts whose term is at least this one.
    doubt: Option<u64>,
    /// Number of claims so far, and the greatest term that was tried.
    claims: u32,
    term_tried: u64,
    leads: bool,
    offered: Option<Offered>,
    beside: Option<OfferedBeside>,
    /// What was appended last.
    last: Kind,
    /// When something of a leader counted last.
    leader_seen: Duration,
    /// When the last entry was read that counted, or that the present leader wrote: a sign of it, also before that is settled.
    leader_read: Duration,
    claims_now: bool,
    yields_to: Option<String>,
    /// Whom the yield names that was sent last.
    yielding: Option<String>,
    leaves: Option<u64>,
    /// Whether frames are to be of the newest versions that this node knows.
    upgrades: bool,
    wants_barrier: bool,
    /// What the last entry of this node said to be settled, and when it was sent.
    announced: u64,
    sent: Duration,
    /// Number of entries up to the last claim or frame that counted.
    news_end: u64,
    /// Number of entries that this node folded and that did not count.
    ignored: u64,
    /// When outward work may begin, and when it must end.
    outward: (Duration, Duration),
    stopped: bool,
    events: VecDeque<Event>,
    #[cfg(test)]
    pub(crate) bug: Option<Bug>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Session {
    /// The last entry that was folded is to be read again.
    Checking,
    /// Entries are read.
    Reading,
    /// There were no more.
    AtEnd,
}

impl Node {
    /// Returns a node that goes on after `fold`, without a session. `now` is running time, as in all other calls.
    #[must_use]
    pub fn new(identity: Identity, fold: Fold, now: Duration) -> Node {
        Node {
            identity,
            settled: fold.mark().entries,
            announced: 0,
            news_end: 0,
            ignored: 0,
            term_tried: fold.term(),
            fold,
            unsettled: VecDeque::new(),
            session: None,
            behind_since: None,
            in_flight: None,
            acknowledged: None,
            doubt: None,
            claims: 0,
            leads: false,
            offered: None,
            beside: None,
            last: Kind::Barrier,
            leader_seen: now,
            leader_read: now,
            claims_now: false,
            yields_to: None,
            yielding: None,
            leaves: None,
            upgrades: false,
            wants_barrier: false,
            sent: now,
            outward: (Duration::MAX, Duration::ZERO),
            stopped: false,
            events: VecDeque::new(),
            #[cfg(test)]
            bug: None,
        }
    }

    /// Returns what is settled and folded.
    #[must_use]
    pub fn fold(&self) -> &Fold {
        &self.fold
    }

    /// Whether the node leads, and may offer a frame that follows the head.
    #[must_use]
    pub fn leads(&self) -> bool {
        self.leads
    }

    /// Returns from when and until when the node may do outward work, if nothing changes: deliver, run timers, take messages. None if
    /// it does not lead.
    #[must_use]
    pub fn outward_window(&self) -> Option<(Duration, Duration)> {
        let (from, until) = match self.has(Bug::WorksAfterWindow) {
            true => (self.outward.0, Duration::MAX),
            false => self.outward,
        };
        self.leads.then_some((from, until))
    }

    /// Returns how long a leader may wait before [`Node::next_append`] has something, unless something happens before.
    #[must_use]
    pub fn wait_max(&self, now: Duration) -> Duration {
        let beat = (self.sent + BEAT_EVERY).saturating_sub(now);
        // Perhaps the next frame, which says it too, comes at once.
        match self.announced < self.news_end {
            true => beat.min(NEWS_AFTER),
            false => beat,
        }
    }

    /// Returns the next event.
    pub fn next_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Begins a session. What was read before and is not settled is forgotten: the log may have lost it. An append in flight must have
    /// been told to be unknown before.
    ///
    /// # Panics
    /// If an append is in flight.
    pub fn begin_session(&mut self) {
        assert!(self.in_flight.is_none(), "the result is told first");
        if !self.has(Bug::KeepsBuffer) {
            self.unsettled.clear();
            self.settled = self.fold.mark().entries;
            let own = self.acknowledged.take();
            // Nobody can tell any more where it is.
            self.wants_barrier |= own.is_some_and(|own| own.kind == Kind::Barrier);
        }
        if self.leads && self.has(Bug::ClaimsOnReconnect) {
            self.doubt = Some(self.fold.term() + 1);
        }
        self.session = Some(match self.fold.mark().entries {
            0 => Session::Reading,
            _ => Session::Checking,
        });
    }

    /// Ends the session.
    pub fn end_session(&mut self) {
        self.session = None;
    }

    /// Returns the offset of the entry that the node wants to read next.
    #[must_use]
    pub fn next_offset(&self) -> u64 {
        match self.session {
            Some(Session::Checking) => self.fold.mark().entries - 1,
            _ => self.read_entries(),
        }
    }

    /// Number of entries, from the log's first on, that were read.
    fn read_entries(&self) -> u64 {
        self.fold.mark().entries + self.unsettled.len() as u64
    }

    /// Takes in the entry at [`Node::next_offset`].
    pub fn read(&mut self, now: Duration, bytes: Vec<u8>) {
        match self.session {
            Some(Session::Checking) if self.fold.is_last_entry(&bytes) => {
                self.session = Some(Session::Reading);
            }
            Some(Session::Checking) => self.is_behind(now),
            Some(_) => {
                self.session = Some(Session::Reading);
                self.push(now, Arc::new(bytes), false);
                self.advance(now);
            }
            None => {}
        }
    }

    /// Takes in that the log has no entry at [`Node::next_offset`].
    pub fn reach_end(&mut self, now: Duration) {
        match self.session {
            Some(Session::Checking) => self.is_behind(now),
            Some(_) => {
                self.behind_since = None;
                self.session = Some(Session::AtEnd);
            }
            None => {}
        }
    }

    /// Returns what is to be appended now, if anything. Its result is told by [`Node::appended`]. `is_clock_right`: whether this node's
    /// clock is within a second of the log's.
    pub fn next_append(&mut self, now: Duration, is_clock_right: bool) -> Option<Arc<Vec<u8>>> {
        let is_ready = matches!(self.session, Some(Session::Reading | Session::AtEnd));
        if self.stopped || !is_ready || self.in_flight.is_some() || self.fold.closed().is_some() {
            return None;
        }
        let (kind, bytes) = self.choose(now, is_clock_right)?;
        let bytes = Arc::new(bytes);
        self.last = kind;
        self.sent = now;
        self.announced = self.fold.mark().entries;
        self.in_flight = Some(InFlight {
            kind,
            term: self.term_of(kind),
            bytes: bytes.clone(),
            sent: now,
            read: self.read_entries(),
        });
        Some(bytes)
    }

    /// Takes in what became of the append in flight.
    ///
    /// # Panics
    /// If none is.
    pub fn appended(&mut self, now: Duration, result: Appended) {
        let sent = self.in_flight.take().expect("an append is in flight");
        // A claim that is lost, perhaps to a barrier, is tried again as soon as no leader is found in what took its place.
        if sent.kind == Kind::Claim && result != Appended::Lost {
            self.leader_read = now;
            self.claims_now = false;
        }
        match result {
            Appended::At(offset) => {
                if offset < sent.read {
                    return self.stop(Stop::WentBack { offset });
                }
                if sent.kind == Kind::Claim {
                    self.doubt = None;
                    if self.has(Bug::DecidesBeforeClaimIsRead) {
                        self.take_lead(now);
                    }
                }
                if offset == self.read_entries() {
                    self.push(now, sent.bytes, true);
                }
                // It may have been read, and even be settled, before.
                if offset >= self.fold.mark().entries {
                    self.acknowledged = Some(Acknowledged {
                        kind: sent.kind,
                        offset,
                        sent: sent.sent,
                    });
                }
            }
            Appended::Lost => self.forget_sent(&sent),
            Appended::Unknown if self.has(Bug::TakesUnknownForLost) => {
                self.forget_sent(&sent);
            }
            Appended::Unknown => match sent.kind {
                Kind::Barrier => self.wants_barrier = true,
                Kind::Claim => self.doubt = Some(sent.term),
                // It is sent again, under the same nonce.
                Kind::Closed => {}
                Kind::Frame | Kind::Beside | Kind::Beat | Kind::Yield | Kind::Upgrade => {
                    self.doubt = Some(sent.term + 1)
                }
            },
        }
        self.advance(now);
    }

    /// Whether the node leads, has no frame on its way, and is not asked to give the lead up.
    #[must_use]
    pub fn may_offer(&self) -> bool {
        let is_asked_to_end = self.yields_to.is_some() || self.leaves.is_some();
        self.leads && self.offered.is_none() && !is_asked_to_end
    }

    /// Offers a frame that is sealed on the head. One [`Event::Frame`] with `is_own`, or one [`Event::FrameRefused`], follows.
    ///
    /// # Panics
    /// If the node does not lead, or if a frame was offered before whose event did not come yet.
    pub fn offer(&mut self, bytes: Vec<u8>, hash: [u8; 32]) {
        let may_decide = self.leads || self.has(Bug::FollowerDecides);
        assert!(may_decide, "only a leader decides");
        assert!(self.offered.is_none(), "one frame at a time");
        self.offered = Some(Offered {
            bytes,
            hash,
            is_sent: false,
        });
    }

    /// Whether the node leads and has nothing of the log beside the journal on its way.
    #[must_use]
    pub fn may_offer_beside(&self) -> bool {
        self.leads && self.beside.is_none()
    }

    /// Offers an entry of the log beside the journal, whose bytes and what surrounds them fit into an entry. One [`Event::Beside`] with
    /// `is_own`, or one [`Event::BesideRefused`], follows.
    ///
    /// # Panics
    /// If the node does not lead, or if another was offered before whose event did not come yet.
    pub fn offer_beside(&mut self, bytes: Vec<u8>) {
        assert!(self.leads, "only a leader writes");
        assert!(self.beside.is_none(), "one entry at a time");
        self.beside = Some(OfferedBeside {
            bytes,
            is_sent: false,
        });
    }

    /// Returns when something of a leader counted last.
    #[must_use]
    pub fn leader_seen(&self) -> Duration {
        self.leader_seen
    }

    /// Returns the number of entries that this node folded and that did not count.
    #[must_use]
    pub fn ignored(&self) -> u64 {
        self.ignored
    }

    /// Whether a barrier was asked for that is not sent.
    #[must_use]
    pub fn wants_barrier(&self) -> bool {
        self.wants_barrier
    }

    /// Asks for the next leader: the node of this name, or any if the name is empty. Nothing happens if this node does not lead.
    pub fn yield_to(&mut self, name: &str) {
        self.yields_to = self.leads.then(|| name.to_owned());
    }

    /// Asks for frames of the newest versions that this node knows, from which on no older node can go on. Nothing happens if this node
    /// does not lead.
    pub fn upgrade(&mut self) {
        self.upgrades = self.leads;
    }

    /// Asks for the end of the log, after which this node goes on alone. Asking again changes nothing.
    pub fn leave(&mut self, nonce: u64) {
        self.leaves.get_or_insert(nonce);
    }

    /// Asks for a barrier.
    pub fn ask_for_barrier(&mut self) {
        self.wants_barrier = true;
    }

    /// Puts an entry behind those that were read, and learns from it what is settled. `is_own`: these are the bytes that this node sent.
    fn push(&mut self, now: Duration, bytes: Arc<Vec<u8>>, is_own: bool) {
        let before = self.read_mark();
        // What can't be read is told when it is folded.
        let header = Entry::read(&bytes, is_own).ok().map(|entry| entry.header);
        let known = Known {
            after: before.after(&bytes),
            is_checked: header.is_some(),
            is_own,
        };
        let header = header.filter(|header| header.log_id == self.log_id());
        self.unsettled.push_back(Unsettled {
            bytes,
            known,
            read: now,
        });
        let Some(Header {
            settled,
            term,
            nonce,
            ..
        }) = header
        else {
            return;
        };
        let leader = self.fold.leader().map(|leader| leader.nonce);
        if term == self.fold.term() && leader == Some(nonce) {
            self.leader_read = now;
        }
        if settled.entries > before.entries {
            return self.is_behind(now);
        }
        let folded = self.fold.mark();
        let here = match settled.entries.checked_sub(folded.entries) {
            None => return,
            Some(0) => folded,
            Some(after) => {
                let index = usize::try_from(after - 1).expect("they are in memory");
                self.unsettled[index].known.after
            }
        };
        if here == settled || self.has(Bug::KeepsBuffer) {
            self.settled = self.settled.max(settled.entries);
        } else {
            // Entries that were read here are not those that the writer knows to be settled.
            self.is_behind(now);
        }
    }

    /// Id of the log, also while its first entry is only read: whatever this node appends then settles that, or is of another log.
    fn log_id(&self) -> [u8; 16] {
        let is_new = self.fold.mark().entries == 0;
        let first = self.unsettled.front().filter(|_| is_new);
        let entry = first.and_then(|first| Entry::parse(&first.bytes).ok());
        entry.map_or(self.fold.log_id(), |entry| entry.header.log_id)
    }

    fn read_mark(&self) -> Mark {
        let last = self.unsettled.back();
        last.map_or(self.fold.mark(), |last| last.known.after)
    }

    /// The log lacks what was settled: the session leads to a server that was left behind, or the log went back.
    fn is_behind(&mut self, now: Duration) {
        let since = *self.behind_since.get_or_insert(now);
        if now.saturating_sub(since) >= BEHIND_MAX {
            let offset = self.fold.mark().entries;
            return self.stop(Stop::WentBack { offset });
        }
        self.session = None;
        self.events.push_back(Event::EndSession);
    }

    fn stop(&mut self, why: Stop) {
        self.stopped = true;
        self.leads = false;
        self.events.push_back(Event::Stopped(why));
    }

    /// Folds what is settled.
    fn advance(&mut self, now: Duration) {
        if let Some(acknowledged) = &self.acknowledged
            && acknowledged.offset < self.read_entries()
        {
            self.settled = self.settled.max(acknowledged.offset + 1);
        }
        let folds_all = self.has(Bug::AnswersBeforeSettled);
        while (self.fold.mark().entries < self.settled || folds_all)
            && !self.stopped
            && let Some(Unsettled { bytes, known, read }) = self.unsettled.pop_front()
        {
            let offset = self.fold.mark().entries;
            // Taken out for the borrow of what it returns.
            let mut fold = std::mem::take(&mut self.fold);
            let step = fold.step_known(&bytes, known);
            self.fold = fold;
            self.behind_since = None;
            match step {
                Ok(step) => self.take(now, read, offset, step),
                Err(why) => return self.stop(why),
            }
            if !self.stopped {
                self.forget_acknowledged(offset);
            }
        }
    }

    /// Takes in what a settled entry did.
    fn take(&mut self, now: Duration, read: Duration, offset: u64, step: Step<'_>) {
        if !matches!(step, Step::Ignored(_) | Step::Barrier | Step::Genesis) {
            self.leader_seen = now;
            self.leader_read = self.leader_read.max(read);
        }
        match step {
            Step::Genesis | Step::Upgrade => {}
            Step::Ignored(_) => self.ignored += 1,
            Step::Claim => {
                self.news_end = offset + 1;
                self.take_claim(now);
            }
            Step::Frame(frame) => {
                self.news_end = offset + 1;
                let hash = frame.header().hash;
                let offered = self.offered.as_ref();
                let is_own = offered.is_some_and(|offered| offered.is_sent && offered.hash == hash);
                let own = self.offered.take_if(|_| is_own);
                if own.is_none() && self.leads {
                    let position = frame.header().first_position;
                    return self.stop(Stop::Impostor { position });
                }
                let bytes = own.map_or_else(|| frame.bytes().to_vec(), |own| own.bytes);
                self.events.push_back(Event::Frame { bytes, is_own });
            }
            Step::Beat => {}
            Step::Beside(bytes) => {
                let is_own = self.leads && self.beside.as_ref().is_some_and(|own| own.is_sent);
                if is_own {
                    self.beside = None;
                }
                let bytes = bytes.to_vec();
                self.events.push_back(Event::Beside { bytes, is_own });
            }
            Step::Barrier => {
                let is_own = |own: &Acknowledged| own.kind == Kind::Barrier && own.offset == offset;
                if self.acknowledged.as_ref().is_some_and(is_own) {
                    self.events.push_back(Event::Barrier);
                }
            }
            Step::Yield { to } => {
                self.claims_now = to == self.identity.name || to.is_empty() && !self.leads;
                // So that others learn at once that it is settled.
                self.wants_barrier |= self.leads;
                self.follow();
            }
            Step::Closed => {
                let nonce = self.fold.closed().expect("it was closed now").nonce;
                let is_own =
                    self.leaves == Some(nonce) || self.leaves.is_some() && self.has(Bug::BothLeave);
                self.follow();
                self.events.push_back(Event::Closed { is_own });
            }
        }
        if let Some(own) = &self.acknowledged
            && own.offset == offset
            && self.leads
        {
            self.outward.1 = self.outward.1.max(own.sent + OUTWARD_WINDOW);
        }
    }

    fn take_claim(&mut self, now: Duration) {
        if self.doubt.is_some_and(|term| self.fold.term() >= term) {
            self.doubt = None;
        }
        self.claims_now = false;
        let leader = self.fold.leader().expect("it was claimed now");
        let run = u32::try_from(leader.nonce >> 32).expect("it is half of it");
        let is_own = leader.node == self.identity.name && run == self.identity.run;
        // A frame of an earlier term that did not count before never will.
        if self.offered.as_ref().is_some_and(|offered| offered.is_sent) {
            self.offered = None;
            self.events.push_back(Event::FrameRefused);
        }
        if self.beside.as_ref().is_some_and(|beside| beside.is_sent) {
            self.beside = None;
            self.events.push_back(Event::BesideRefused);
        }
        match (is_own, self.leads) {
            (true, true) => {}
            (true, false) => self.take_lead(now),
            (false, _) => self.follow(),
        }
    }

    fn take_lead(&mut self, now: Duration) {
        self.leads = true;
        self.outward = (now + OUTWARD_WINDOW, Duration::ZERO);
        self.events.push_back(Event::Leads);
    }

    fn follow(&mut self) {
        self.yields_to = None;
        self.upgrades = false;
        if !std::mem::take(&mut self.leads) {
            return;
        }
        // Sent or not: the term in which it could count has ended.
        if self.offered.take().is_some() {
            self.events.push_back(Event::FrameRefused);
        }
        if self.beside.take().is_some() {
            self.events.push_back(Event::BesideRefused);
        }
        self.events.push_back(Event::Follows);
    }

    fn forget_acknowledged(&mut self, offset: u64) {
        if self
            .acknowledged
            .as_ref()
            .is_none_or(|own| own.offset != offset)
        {
            return;
        }
        let own = self.acknowledged.take().expect("it is there");
        let is_refused = self.offered.as_ref().is_some_and(|offered| offered.is_sent);
        if own.kind == Kind::Frame && is_refused {
            self.offered = None;
            self.events.push_back(Event::FrameRefused);
        }
        let is_refused = self.beside.as_ref().is_some_and(|beside| beside.is_sent);
        if own.kind == Kind::Beside && is_refused {
            self.beside = None;
            self.events.push_back(Event::BesideRefused);
        }
    }

    /// What was sent is certainly absent: it is sent again.
    fn forget_sent(&mut self, sent: &InFlight) {
        match sent.kind {
            Kind::Frame => {
                if let Some(offered) = &mut self.offered {
                    offered.is_sent = false;
                }
            }
            Kind::Beside => {
                if let Some(beside) = &mut self.beside {
                    beside.is_sent = false;
                }
            }
            Kind::Barrier => self.wants_barrier = true,
            Kind::Yield => self.yields_to = self.yields_to.take().or(self.yielding.take()),
            Kind::Claim | Kind::Beat | Kind::Closed | Kind::Upgrade => {}
        }
    }

    fn term_of(&self, kind: Kind) -> u64 {
        match kind {
            Kind::Claim => self.term_tried,
            _ => self.fold.term(),
        }
    }

    fn choose(&mut self, now: Duration, is_clock_right: bool) -> Option<(Kind, Vec<u8>)> {
        let head = self.fold.head_mark();
        let name = self.identity.name.clone();
        // Only what is folded can be followed: what was acknowledged is folded as soon as it is read.
        if self.acknowledged.is_some() {
            return None;
        }
        if let Some(nonce) = self.leaves {
            let is_at_end = self.session == Some(Session::AtEnd);
            let is_free = self.offered.is_none() && self.fold.term() > 0;
            let body = Body::Closed { head, node: &name };
            return (is_at_end && is_free).then(|| self.encode(Kind::Closed, nonce, &body));
        }
        if self.leads && self.doubt.is_some() {
            return Some(self.claim());
        }
        if self.leads || self.has(Bug::FollowerDecides) {
            let nonce = self.fold.leader().map_or(0, |leader| leader.nonce);
            let is_free = self.offered.is_none();
            if let Some(to) = self.yields_to.clone()
                && is_free
            {
                self.yielding = self.yields_to.take();
                return Some(self.encode(Kind::Yield, nonce, &Body::Yield { to: &to }));
            }
            self.upgrades &= self.fold.versions() != NEWEST;
            if self.upgrades {
                return Some(self.encode(Kind::Upgrade, nonce, &Body::Upgrade(NEWEST)));
            }
            // Of barriers and the two logs, none keeps another waiting.
            if self.last == Kind::Frame && std::mem::take(&mut self.wants_barrier) {
                return Some(self.encode(Kind::Barrier, 0, &Body::Barrier));
            }
            if self.last != Kind::Beside
                && let Some(entry) = self.next_beside(nonce)
            {
                return Some(entry);
            }
            if let Some(mut offered) = self.offered.take_if(|offered| !offered.is_sent) {
                offered.is_sent = true;
                let entry = self.encode(Kind::Frame, nonce, &Body::Frame(&offered.bytes));
                self.offered = Some(offered);
                return Some(entry);
            }
            if let Some(entry) = self.next_beside(nonce) {
                return Some(entry);
            }
            let is_due = now.saturating_sub(self.sent) >= BEAT_EVERY;
            // So that others learn that the last frame, or the claim, is settled.
            let is_news = is_free && self.announced < self.news_end;
            if self.leads && (is_due || is_news) {
                return Some(self.encode(Kind::Beat, nonce, &Body::Beat { head }));
            }
        } else if self.is_candidate(now, is_clock_right) {
            return Some(self.claim());
        }
        if self.read_entries() > 0 && std::mem::take(&mut self.wants_barrier) {
            return Some(self.encode(Kind::Barrier, 0, &Body::Barrier));
        }
        None
    }

    /// Returns the entry of the log beside the journal that is to be sent, if there is one.
    fn next_beside(&mut self, nonce: u64) -> Option<(Kind, Vec<u8>)> {
        let beside = self.beside.as_mut().filter(|beside| !beside.is_sent)?;
        beside.is_sent = true;
        let bytes = beside.bytes.clone();
        let body = Body::Beside {
            number: self.fold.beside() + 1,
            bytes: &bytes,
        };
        Some(self.encode(Kind::Beside, nonce, &body))
    }

    fn is_candidate(&self, now: Duration, is_clock_right: bool) -> bool {
        let wait = match self.doubt {
            // Nobody has led yet.
            None if self.fold.term() == 0 => RANK_STEP * self.identity.rank,
            None => CANDIDATE_AFTER + RANK_STEP * self.identity.rank,
            // Perhaps this node leads already, and only another claim can tell.
            Some(_) => RANK_STEP * (self.identity.rank + 1),
        };
        let is_silent = now.saturating_sub(self.leader_read) >= wait;
        let is_at_end = self.session == Some(Session::AtEnd);
        // Before its first entry is folded, the log does not say what was moved onto it.
        let may_lead = self.identity.is_moving || self.is_moved();
        may_lead
            && is_at_end
            && (is_silent || self.claims_now)
            && is_clock_right
            && self.read_entries() > 0
    }

    /// Whether the journal that was moved onto the log is there, also while the log's first entry is only read.
    fn is_moved(&self) -> bool {
        if self.fold.genesis().is_some() {
            return self.fold.is_moved();
        }
        let first = self.unsettled.front();
        let entry = first.and_then(|first| Entry::parse(&first.bytes).ok());
        entry.is_some_and(|entry| match entry.body {
            Body::Genesis(genesis) => genesis.head.position == 0,
            _ => false,
        })
    }

    fn claim(&mut self) -> (Kind, Vec<u8>) {
        let read = self.unsettled.iter().filter_map(|entry| {
            let entry = Entry::parse(&entry.bytes).ok()?;
            matches!(entry.body, Body::Claim { .. }).then_some(entry.header.term)
        });
        let seen = read.max().unwrap_or(0);
        self.term_tried = self.term_tried.max(self.fold.term()).max(seen) + 1;
        self.claims += 1;
        let nonce = u64::from(self.identity.run) << 32 | u64::from(self.claims);
        let identity = self.identity.clone();
        let body = Body::Claim {
            head: self.fold.head_mark(),
            node: &identity.name,
            url: &identity.url,
        };
        self.encode(Kind::Claim, nonce, &body)
    }

    /// Whether the node has a deliberate bug, which only those of the simulator have.
    fn has(&self, bug: Bug) -> bool {
        #[cfg(test)]
        let has = self.bug == Some(bug);
        #[cfg(not(test))]
        let has = {
            let _ = bug;
            false
        };
        has
    }

    fn encode(&self, kind: Kind, nonce: u64, body: &Body<'_>) -> (Kind, Vec<u8>) {
        let header = Header {
            log_id: self.log_id(),
            term: self.term_of(kind),
            nonce,
            settled: self.fold.mark(),
        };
        (kind, Entry::encode(&header, body))
    }
}
