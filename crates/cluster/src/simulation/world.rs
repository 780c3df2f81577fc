//! The nodes, what they keep, their clients, and what must hold.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tributary_engine::NEWEST;
use tributary_journal::{Epoch, FrameBuilder, FrameRef, Versions};
use tributary_testkit::random::Random;

use super::log::{SimLog, Style, milliseconds};
use crate::bug::Bug;
use crate::entry::{Body, Entry, Genesis, HeadMark, Header, Mark};
use crate::fold::{Fold, Stop};
use crate::log::Appended;
use crate::node::{Event, Identity, Node};

const LOG_ID: [u8; 16] = [3; 16];
/// Nodes of a cluster.
const NODES: usize = 3;
/// Clients, each with one request at a time.
const CLIENTS: usize = 4;
/// How long things go wrong, and how long everything has then to come right.
const TROUBLE: Duration = Duration::from_secs(60);
const CALM: Duration = Duration::from_secs(60);
/// Records of a frame.
const RECORDS_MAX: usize = 3;

/// Counts of what happened.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Report {
    pub(super) failovers: u64,
    pub(super) crashes: u64,
    pub(super) unknown: u64,
    pub(super) leaders: u64,
    pub(super) answered: u64,
    pub(super) outward: u64,
    pub(super) went_back: u64,
    pub(super) closed: u64,
    pub(super) abandoned: u64,
    pub(super) besides: u64,
    pub(super) barriers: u64,
}

impl Report {
    pub(super) fn add(&mut self, other: &Report) {
        self.failovers += other.failovers;
        self.crashes += other.crashes;
        self.unknown += other.unknown;
        self.leaders += other.leaders;
        self.answered += other.answered;
        self.outward += other.outward;
        self.went_back += other.went_back;
        self.closed += other.closed;
        self.abandoned += other.abandoned;
        self.besides += other.besides;
        self.barriers += other.barriers;
    }
}

/// What a seed is about, beside crashes and failovers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scene {
    Trouble,
    GoesBack,
    TwoLeave,
}

/// What a node makes of the frames.
#[derive(Clone, Debug, Default)]
struct App {
    /// Position of each request.
    positions: BTreeMap<u64, u64>,
    /// Number of entries of the log beside the journal.
    beside: u64,
}

/// What survives a crash.
#[derive(Clone, Debug, Default)]
struct Disk {
    fold: Fold,
    app: App,
}

struct Member {
    name: String,
    rank: u32,
    runs: u32,
    disk: Disk,
    /// None while it is down.
    live: Option<Live>,
    stopped: Option<Stop>,
    /// Until then nobody does anything: as if the process stood still.
    paused_until: Duration,
    may_be_alone: bool,
}

struct Live {
    node: Node,
    app: App,
    /// Branch of the log to which the session leads.
    branch: Option<usize>,
    session_ends: Duration,
    append: Option<u64>,
    append_since: Duration,
    pending: Vec<(usize, u64)>,
    /// Requests in the frame that was offered.
    offered: Vec<(usize, u64)>,
    /// What was offered to the log beside the journal.
    beside: Option<u64>,
    /// Position that had been answered when the next barrier was asked for, and when the last was that is sent.
    barrier: (u64, u64),
    /// Whether an append of this leadership was unknown.
    has_doubt: bool,
    /// Term of the last claim.
    claimed: u64,
}

struct Client {
    request: u64,
    /// The node that was asked, and when.
    asked: Option<(usize, Duration)>,
    asks_at: Duration,
    /// Whether an attempt of this request may still count.
    may_count: bool,
}

pub(super) struct World {
    random: Random,
    now: Duration,
    log: SimLog,
    members: Vec<Member>,
    clients: Vec<Client>,
    requests: u64,
    /// Hash of the frame that begins at a position, as the first node had it.
    history: BTreeMap<u64, [u8; 32]>,
    acknowledged: BTreeMap<u64, u64>,
    abandoned: BTreeSet<u64>,
    /// What the log beside the journal has at each number, as the first node had it; and what never counts in it.
    beside: BTreeMap<u64, u64>,
    beside_refused: BTreeSet<u64>,
    besides: u64,
    outward: (u64, usize),
    scene: Scene,
    bug: Option<Bug>,
    report: Report,
}

type Checked = Result<(), String>;

macro_rules! promise {
    ($holds:expr, $($what:tt)*) => {
        if !$holds {
            return Err(format!($($what)*));
        }
    };
}

impl World {
    /// Plays one seed. The error says which promise was broken.
    pub(super) fn run(seed: u64, bug: Option<Bug>) -> Result<Report, String> {
        let mut random = Random::new(seed);
        let style = match random.chance(50) {
            true => Style::Table,
            false => Style::Partition,
        };
        let scene = match random.below(10) {
            0 => Scene::GoesBack,
            1 => Scene::TwoLeave,
            _ => Scene::Trouble,
        };
        let genesis = Genesis {
            cluster_id: [1; 16],
            sandbox: false,
            master_key_id: 7,
            epochs: vec![Epoch {
                number: 1,
                first_position: 1,
            }],
            sealed_id_key: vec![5; 60],
            head: HeadMark::default(),
            versions: Versions { rules: 0, ..NEWEST },
        };
        let header = Header {
            log_id: LOG_ID,
            term: 0,
            nonce: 0,
            settled: Mark::default(),
        };
        let genesis = Entry::encode(&header, &Body::Genesis(genesis));
        let member = |rank| Member {
            name: format!("node-{rank}"),
            rank,
            runs: 0,
            disk: Disk::default(),
            live: None,
            stopped: None,
            paused_until: Duration::ZERO,
            may_be_alone: false,
        };
        let mut world = World {
            now: Duration::from_secs(1),
            log: SimLog::new(style, genesis),
            members: (0..NODES as u32).map(member).collect(),
            clients: Vec::new(),
            requests: 0,
            history: BTreeMap::new(),
            acknowledged: BTreeMap::new(),
            abandoned: BTreeSet::new(),
            beside: BTreeMap::new(),
            beside_refused: BTreeSet::new(),
            besides: 0,
            outward: (0, 0),
            scene,
            bug,
            report: Report::default(),
            random,
        };
        for _ in 0..CLIENTS {
            let request = world.new_request();
            world.clients.push(Client {
                request,
                asked: None,
                asks_at: Duration::ZERO,
                may_count: false,
            });
        }
        world.play()?;
        world.report.failovers = world.log.failovers;
        Ok(world.report)
    }

    fn new_request(&mut self) -> u64 {
        self.requests += 1;
        self.requests
    }

    fn play(&mut self) -> Checked {
        let trouble_ends = self.now + TROUBLE;
        self.log.faults = self.random.below(12);
        let fault_every = 200 + self.random.below(3_000);
        while self.now < trouble_ends {
            self.step()?;
            if self.random.one_in(fault_every / 8) {
                self.make_trouble();
            }
        }
        match self.scene {
            Scene::Trouble => {}
            Scene::GoesBack => return self.go_back(),
            Scene::TwoLeave => return self.two_leave(),
        }
        self.log.faults = 0;
        self.calm_down();
        let calm_ends = self.now + CALM;
        while self.now < calm_ends {
            self.step()?;
        }
        self.check_end()
    }

    fn calm_down(&mut self) {
        for member in &mut self.members {
            member.paused_until = Duration::ZERO;
        }
    }

    fn step(&mut self) -> Checked {
        self.now += milliseconds(&mut self.random, 1, 15);
        self.log.work(&mut self.random, self.now);
        for index in 0..self.members.len() {
            self.step_member(index)?;
        }
        for client in 0..self.clients.len() {
            self.step_client(client);
        }
        Ok(())
    }

    fn make_trouble(&mut self) {
        let member = self.random.index(self.members.len());
        match self.random.below(10) {
            0..=2 => {
                if self.members[member].live.take().is_some() {
                    self.report.crashes += 1;
                }
            }
            3..=4 => self.fail_over(),
            5..=6 => {
                let pause = milliseconds(&mut self.random, 100, 8_000);
                self.members[member].paused_until = self.now + pause;
            }
            7 => {
                let to = match self.random.chance(50) {
                    true => String::new(),
                    false => self.members[self.random.index(NODES)].name.clone(),
                };
                if let Some(live) = &mut self.members[member].live {
                    live.node.yield_to(&to);
                }
            }
            _ => {
                if let Some(live) = &mut self.members[member].live {
                    live.session_ends = self.now;
                }
            }
        }
    }

    fn fail_over(&mut self) {
        self.log.fail_over(&mut self.random);
        for member in &mut self.members {
            if let Some(live) = &mut member.live {
                // Some stay with the old server for a while.
                let stays = match self.random.chance(50) {
                    true => Duration::ZERO,
                    false => milliseconds(&mut self.random, 0, 6_000),
                };
                live.session_ends = live.session_ends.min(self.now + stays);
            }
        }
    }

    fn step_member(&mut self, index: usize) -> Checked {
        if self.now < self.members[index].paused_until || self.members[index].stopped.is_some() {
            return Ok(());
        }
        if self.members[index].live.is_none() {
            if self.random.one_in(40) {
                self.start(index);
            }
            return Ok(());
        }
        let parts: [fn(&mut World, usize) -> Checked; 9] = [
            World::connect,
            World::take_answer,
            World::read,
            World::decide,
            World::upgrade,
            World::write_beside,
            World::ask_for_barrier,
            World::append,
            World::work_outward,
        ];
        for part in parts {
            if self.members[index].live.is_some() {
                part(self, index)?;
            }
        }
        let syncs = self.random.one_in(30);
        let member = &mut self.members[index];
        if let Some(live) = member.live.as_ref().filter(|_| syncs) {
            member.disk.fold = live.node.fold().clone();
            member.disk.app = live.app.clone();
        }
        Ok(())
    }

    fn start(&mut self, index: usize) {
        let member = &mut self.members[index];
        member.runs += 1;
        let identity = Identity {
            name: member.name.clone(),
            url: format!("http://{}", member.name),
            rank: member.rank,
            run: member.rank * 1_000_000 + member.runs,
            is_moving: false,
        };
        let mut fold = member.disk.fold.clone();
        fold.bug = self.bug;
        let mut node = Node::new(identity, fold, self.now);
        node.bug = self.bug;
        member.live = Some(Live {
            node,
            app: member.disk.app.clone(),
            branch: None,
            session_ends: Duration::MAX,
            append: None,
            append_since: self.now,
            pending: Vec::new(),
            offered: Vec::new(),
            beside: None,
            barrier: (0, 0),
            has_doubt: false,
            claimed: 0,
        });
    }

    fn live(&mut self, index: usize) -> &mut Live {
        self.members[index].live.as_mut().expect("it is up")
    }

    fn connect(&mut self, index: usize) -> Checked {
        let now = self.now;
        let newest = self.log.newest();
        let live = self.live(index);
        if live.branch.is_some() && now >= live.session_ends {
            live.branch = None;
            live.node.end_session();
            if live.append.take().is_some() {
                self.take_result(index, Appended::Unknown)?;
            }
        }
        if self.live(index).branch.is_none() && self.random.one_in(4) {
            // For a moment the way may lead to the old server.
            let branch = match newest > 0 && self.log.faults > 0 && self.random.one_in(10) {
                true => newest - 1,
                false => newest,
            };
            let ends = match branch == newest {
                true => Duration::MAX,
                false => now + milliseconds(&mut self.random, 10, 4_000),
            };
            let live = self.live(index);
            live.branch = Some(branch);
            live.session_ends = ends;
            live.node.begin_session();
        }
        Ok(())
    }

    fn take_answer(&mut self, index: usize) -> Checked {
        let now = self.now;
        let live = self.live(index);
        let Some(number) = live.append else {
            return Ok(());
        };
        // Whoever waits too long gives up, and keeps the connection.
        let is_late = now - live.append_since > Duration::from_secs(5);
        let answer = self.log.answer(now, number);
        let Some(answer) = answer.or(is_late.then_some(Appended::Unknown)) else {
            return Ok(());
        };
        self.live(index).append = None;
        self.take_result(index, answer)?;
        if answer == Appended::Unknown && self.random.chance(50) {
            self.live(index).session_ends = now;
        }
        Ok(())
    }

    fn take_result(&mut self, index: usize, answer: Appended) -> Checked {
        let now = self.now;
        self.report.unknown += u64::from(answer == Appended::Unknown);
        let live = self.live(index);
        live.has_doubt |= answer == Appended::Unknown;
        live.node.appended(now, answer);
        self.take_events(index)
    }

    fn read(&mut self, index: usize) -> Checked {
        let now = self.now;
        for _ in 0..self.random.below(6) {
            let live = self.members[index].live.as_mut().expect("it is up");
            let Some(branch) = live.branch else {
                return Ok(());
            };
            match self.log.entry(branch, live.node.next_offset()) {
                Some(entry) => live.node.read(now, entry.clone()),
                None => live.node.reach_end(now),
            }
            self.take_events(index)?;
            if self.members[index].live.is_none() {
                return Ok(());
            }
        }
        Ok(())
    }

    fn append(&mut self, index: usize) -> Checked {
        let Some(live) = &mut self.members[index].live else {
            return Ok(());
        };
        let (Some(branch), None) = (live.branch, live.append) else {
            return Ok(());
        };
        let leads = live.node.leads();
        let has_doubt = live.has_doubt;
        let wanted_barrier = live.node.wants_barrier();
        let Some(bytes) = live.node.next_append(self.now, true) else {
            return Ok(());
        };
        if wanted_barrier && !live.node.wants_barrier() {
            live.barrier.1 = live.barrier.0;
        }
        let read = live.node.next_offset();
        let bytes = Vec::clone(&bytes);
        let entry = Entry::parse(&bytes).expect("a node appends entries");
        let claimed = matches!(entry.body, Body::Claim { .. }).then_some(entry.header.term);
        promise!(
            claimed.is_none() || !leads || has_doubt,
            "a leader without a doubt claims again"
        );
        let number = self
            .log
            .send(&mut self.random, self.now, (branch, read), bytes);
        let now = self.now;
        let live = self.live(index);
        live.append = Some(number);
        live.claimed = claimed.unwrap_or(live.claimed);
        live.append_since = now;
        Ok(())
    }

    /// Decides what clients asked for.
    fn decide(&mut self, index: usize) -> Checked {
        let now = self.now;
        let follower_decides = self.bug == Some(Bug::FollowerDecides);
        let Some(live) = &mut self.members[index].live else {
            return Ok(());
        };
        if !(live.node.leads() || follower_decides) || !live.offered.is_empty() {
            return Ok(());
        }
        let mut answered = Vec::new();
        let mut wanted: Vec<(usize, u64)> = Vec::new();
        for (client, request) in std::mem::take(&mut live.pending) {
            match live.app.positions.get(&request) {
                Some(position) => answered.push((client, request, *position)),
                // A client that grew impatient asks again.
                None if wanted.contains(&(client, request)) => {}
                None if wanted.len() < RECORDS_MAX => wanted.push((client, request)),
                None => live.pending.push((client, request)),
            }
        }
        if !wanted.is_empty() {
            let head = live.node.fold().head();
            let time = u64::try_from(now.as_nanos()).expect("it is small");
            let versions = live.node.fold().versions();
            let mut frame =
                FrameBuilder::new(head.position + 1, time.max(head.timestamp), versions);
            for (_, request) in &wanted {
                let payload = request.to_le_bytes();
                frame
                    .push(|into| into.extend_from_slice(&payload))
                    .expect("there is room");
            }
            let sealed = frame.seal(&head);
            let hash = sealed.header().hash;
            live.node.offer(sealed.bytes().to_vec(), hash);
            live.offered = wanted;
        }
        for (client, request, position) in answered {
            self.answer(index, client, request, position)?;
        }
        Ok(())
    }

    /// Finalizes an upgrade.
    fn upgrade(&mut self, index: usize) -> Checked {
        if self.random.one_in(200) {
            self.live(index).node.upgrade();
        }
        Ok(())
    }

    /// Writes into the log beside the journal.
    fn write_beside(&mut self, index: usize) -> Checked {
        let writes = self.random.one_in(20);
        let besides = self.besides + 1;
        let live = self.live(index);
        if writes && live.node.may_offer_beside() {
            live.node.offer_beside(besides.to_le_bytes().to_vec());
            live.beside = Some(besides);
            self.besides = besides;
        }
        Ok(())
    }

    /// Has a node make sure that it has everything that was answered.
    fn ask_for_barrier(&mut self, index: usize) -> Checked {
        // Barriers of two nodes can be the same bytes: a log that loses one and gets the other loses nothing.
        if self.scene != Scene::GoesBack && self.random.one_in(50) {
            let answered = self.acknowledged.values().max().copied();
            let live = self.live(index);
            live.barrier.0 = answered.unwrap_or(0);
            live.node.ask_for_barrier();
        }
        Ok(())
    }

    fn take_beside(&mut self, index: usize, bytes: &[u8], is_own: bool) -> Checked {
        let what = u64::from_le_bytes(bytes.try_into().expect("eight bytes"));
        let live = self.live(index);
        live.app.beside += 1;
        let number = live.app.beside;
        let offered = live.beside.take_if(|_| is_own);
        promise!(
            offered.is_none_or(|offered| offered == what),
            "node {index} takes another's entry {what} beside the journal for its own"
        );
        let known = *self.beside.entry(number).or_insert(what);
        promise!(
            known == what,
            "node {index} has {what} beside the journal at {number}, and another node {known}"
        );
        promise!(
            !self.beside_refused.contains(&what),
            "{what} counts beside the journal although its writer was told that it never will"
        );
        self.report.besides += 1;
        Ok(())
    }

    fn take_events(&mut self, index: usize) -> Checked {
        while let Some(event) = self.live(index).node.next_event() {
            match event {
                Event::Frame { bytes, is_own } => self.apply(index, &bytes, is_own)?,
                Event::FrameRefused => {
                    let offered = std::mem::take(&mut self.live(index).offered);
                    offered.into_iter().for_each(|(client, request)| {
                        self.refuse(index, client, request);
                    });
                }
                Event::Beside { bytes, is_own } => self.take_beside(index, &bytes, is_own)?,
                Event::BesideRefused => {
                    let refused = self.live(index).beside.take();
                    self.beside_refused.extend(refused);
                }
                Event::Leads => {
                    self.report.leaders += 1;
                    let live = self.live(index);
                    // A later claim may still be in doubt.
                    live.has_doubt &= live.node.fold().term() < live.claimed;
                }
                Event::Follows => {
                    let pending = std::mem::take(&mut self.live(index).pending);
                    pending.into_iter().for_each(|(client, request)| {
                        self.refuse(index, client, request);
                    });
                }
                Event::Barrier => {
                    let live = self.live(index);
                    let (has, sent) = (live.node.fold().head().position, live.barrier.1);
                    promise!(has >= sent, "node {index} lacks records after its barrier");
                    self.report.barriers += 1;
                }
                Event::Closed { is_own } => {
                    promise!(self.scene == Scene::TwoLeave, "the log ended by itself");
                    self.report.closed += 1;
                    self.members[index].may_be_alone = is_own;
                }
                Event::EndSession => self.live(index).session_ends = self.now,
                Event::Stopped(why) => return self.stop(index, why),
            }
        }
        Ok(())
    }

    fn stop(&mut self, index: usize, why: Stop) -> Checked {
        let is_expected = self.scene == Scene::GoesBack && matches!(why, Stop::WentBack { .. });
        promise!(is_expected, "node {index} stopped: {why}");
        let member = &mut self.members[index];
        let live = member.live.take().expect("it is up");
        if self.bug == Some(Bug::CutsMirror) {
            member.disk = Disk::default();
            return Ok(());
        }
        member.disk.fold = live.node.fold().clone();
        member.stopped = Some(why);
        Ok(())
    }

    fn apply(&mut self, index: usize, bytes: &[u8], is_own: bool) -> Checked {
        let frame = FrameRef::parse(bytes).expect("a frame that counts");
        let first = frame.header().first_position;
        let hash = frame.header().hash;
        let known = *self.history.entry(first).or_insert(hash);
        promise!(
            known == hash,
            "node {index} has another frame at position {first}"
        );
        for record in frame.records() {
            let request = u64::from_le_bytes(record.payload().try_into().expect("eight bytes"));
            promise!(
                !self.abandoned.contains(&request),
                "request {request} counts although its client was told that it never will"
            );
            let positions = &mut self.live(index).app.positions;
            let before = positions.insert(request, record.position());
            promise!(before.is_none(), "request {request} was decided twice");
        }
        if is_own {
            let offered = std::mem::take(&mut self.live(index).offered);
            for ((client, request), record) in offered.into_iter().zip(frame.records()) {
                self.answer(index, client, request, record.position())?;
            }
        }
        Ok(())
    }

    fn answer(&mut self, _index: usize, client: usize, request: u64, position: u64) -> Checked {
        let before = self.acknowledged.insert(request, position);
        promise!(
            before.is_none_or(|before| before == position),
            "request {request} was answered with two positions"
        );
        self.report.answered += 1;
        if self.clients[client].request == request {
            self.go_on(client);
        }
        Ok(())
    }

    fn go_on(&mut self, client: usize) {
        let request = self.new_request();
        let pause = milliseconds(&mut self.random, 1, 100);
        self.clients[client] = Client {
            request,
            asked: None,
            asks_at: self.now + pause,
            may_count: false,
        };
    }

    /// A client is told that its request was certainly not decided.
    fn refuse(&mut self, index: usize, client: usize, request: u64) {
        let asking = &self.clients[client];
        let is_present =
            asking.request == request && asking.asked.is_some_and(|(asked, _)| asked == index);
        if !is_present {
            return;
        }
        if !asking.may_count && self.random.chance(30) {
            self.abandoned.insert(request);
            self.report.abandoned += 1;
            return self.go_on(client);
        }
        self.ask_later(client);
    }

    fn ask_later(&mut self, client: usize) {
        let pause = milliseconds(&mut self.random, 10, 300);
        self.clients[client].asked = None;
        self.clients[client].asks_at = self.now + pause;
    }

    fn step_client(&mut self, index: usize) {
        let client = &self.clients[index];
        if let Some((_, since)) = client.asked {
            if self.now - since > Duration::from_secs(4) {
                self.clients[index].may_count = true;
                self.ask_later(index);
            }
            return;
        }
        if self.now < client.asks_at {
            return;
        }
        let request = client.request;
        let node = self.random.index(NODES);
        let follower_decides = self.bug == Some(Bug::FollowerDecides);
        match &mut self.members[node].live {
            Some(live) if live.node.leads() || follower_decides => {
                live.pending.push((index, request));
                self.clients[index].asked = Some((node, self.now));
            }
            _ => self.ask_later(index),
        }
    }

    fn work_outward(&mut self, index: usize) -> Checked {
        let now = self.now;
        let Some(live) = &self.members[index].live else {
            return Ok(());
        };
        let window = live.node.outward_window();
        if window.is_some_and(|(from, until)| from <= now && now < until) {
            let term = live.node.fold().term();
            let (last, by) = self.outward;
            promise!(
                term > last || index == by,
                "node {index} works outwards in term {term} after node {by} did in term {last}"
            );
            self.outward = (term.max(last), index);
            self.report.outward += 1;
        }
        Ok(())
    }

    /// Everybody is well again: everything was decided once, and all agree.
    fn check_end(&mut self) -> Checked {
        for (index, member) in self.members.iter().enumerate() {
            let Some(live) = &member.live else {
                return Err(format!("node {index} did not come back"));
            };
            let first = self.members[0].live.as_ref().expect("checked before");
            let (mine, other) = (live.node.fold().head(), first.node.fold().head());
            let behind = mine.position.abs_diff(other.position);
            promise!(behind < 50, "node {index} is {behind} records behind");
            for (request, position) in &self.acknowledged {
                let has = live.app.positions.get(request);
                // The leader is one entry ahead.
                let is_ahead = *position > mine.position;
                promise!(
                    has == Some(position) || has.is_none() && is_ahead,
                    "request {request} was answered with {position}, and node {index} has it at {has:?}"
                );
            }
        }
        let leaders: Vec<&str> = self
            .members
            .iter()
            .filter(|member| member.live.as_ref().is_some_and(|live| live.node.leads()))
            .map(|member| &*member.name)
            .collect();
        promise!(leaders.len() == 1, "these lead: {leaders:?}");
        let oldest = self.clients.iter().map(|client| client.request).min();
        let waits = self.requests - oldest.expect("there are clients");
        promise!(
            waits < 100,
            "a client waits while {waits} others were answered"
        );
        Ok(())
    }

    /// The log loses what it had acknowledged: whoever had it stops, and changes nothing.
    fn go_back(&mut self) -> Checked {
        self.log.faults = 0;
        self.calm_down();
        for _ in 0..4_000 {
            self.step()?;
        }
        let entries = 1 + self.random.index(20);
        let left = self.log.go_back(entries);
        let had: Vec<u64> = self
            .members
            .iter()
            .map(|member| {
                let live = member.live.as_ref();
                live.map_or(0, |live| live.node.fold().mark().entries)
            })
            .collect();
        for member in &mut self.members {
            if let Some(live) = &mut member.live {
                live.session_ends = self.now;
            }
        }
        // A node that was behind can't know what was lost, and goes on: with another history.
        self.history.clear();
        self.acknowledged.clear();
        self.abandoned.clear();
        self.beside.clear();
        self.beside_refused.clear();
        for _ in 0..8_000 {
            self.step()?;
        }
        for (index, had) in had.into_iter().enumerate() {
            if had <= left as u64 {
                continue;
            }
            let member = &self.members[index];
            promise!(
                matches!(member.stopped, Some(Stop::WentBack { .. })),
                "node {index} goes on although the log lost {} entries that it had",
                had - left as u64
            );
            promise!(
                member.disk.fold.mark().entries >= had,
                "node {index} cut its mirror"
            );
            self.report.went_back += 1;
        }
        Ok(())
    }

    /// Two nodes want to go on alone: at most one may.
    fn two_leave(&mut self) -> Checked {
        self.log.faults = 0;
        self.calm_down();
        for _ in 0..2_000 {
            self.step()?;
        }
        for nonce in [1, 2] {
            let member = self.random.index(NODES);
            let nonce = u64::from(self.members[member].rank) * 10 + nonce;
            if let Some(live) = &mut self.members[member].live {
                live.node.leave(nonce);
            }
            for _ in 0..self.random.below(10) {
                self.step()?;
            }
        }
        for _ in 0..4_000 {
            self.step()?;
        }
        let alone = self.members.iter().filter(|member| member.may_be_alone);
        let alone = alone.count();
        promise!(alone <= 1, "{alone} nodes go on alone");
        promise!(alone == 1, "nobody could leave");
        let heads: BTreeSet<[u8; 32]> = self
            .members
            .iter()
            .filter_map(|member| member.live.as_ref())
            .map(|live| live.node.fold().head().hash)
            .collect();
        promise!(heads.len() == 1, "the nodes ended with other journals");
        Ok(())
    }
}
