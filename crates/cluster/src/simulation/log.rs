//! A simulated log with failovers: what was confirmed stays; what was only visible may go, or come late, or twice.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use tributary_testkit::random::Random;

use crate::log::Appended;

type Bytes = Rc<Vec<u8>>;

/// How a log gives entries their places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// A row with the next number is inserted, as in PostgreSQL: another entry with that number makes it fail.
    Table,
    /// Whatever arrives is the next, as in Kafka.
    Partition,
}

/// A server's copy of the log.
#[derive(Clone, Debug, Default)]
struct Branch {
    visible: Vec<Bytes>,
    /// Number of entries that every copy has.
    confirmed: usize,
    /// Rows whose number is beyond the next one. Nobody reads them before the gap is closed.
    beyond: BTreeMap<usize, Bytes>,
}

impl Branch {
    fn push(&mut self, entry: Bytes) {
        self.visible.push(entry);
        while let Some(next) = self.beyond.remove(&self.visible.len()) {
            self.visible.push(next);
        }
    }
}

/// An entry on its way.
#[derive(Debug)]
struct Request {
    number: u64,
    branch: usize,
    read: u64,
    entry: Bytes,
    arrives: Duration,
    /// Whether the log answers: else it ends after it has arrived.
    is_answered: bool,
}

/// An entry that is visible and waits for its confirmation.
#[derive(Debug)]
struct Unconfirmed {
    number: Option<u64>,
    branch: usize,
    offset: usize,
    confirmed: Duration,
}

/// The log, and everything that is on its way to it.
pub(super) struct SimLog {
    style: Style,
    branches: Vec<Branch>,
    requests: Vec<Request>,
    unconfirmed: Vec<Unconfirmed>,
    answers: BTreeMap<u64, (Duration, Appended)>,
    numbers: u64,
    /// How often something goes wrong, percent.
    pub(super) faults: u64,
    pub(super) failovers: u64,
}

impl SimLog {
    pub(super) fn new(style: Style, genesis: Vec<u8>) -> SimLog {
        let branch = Branch {
            visible: vec![Rc::new(genesis)],
            confirmed: 1,
            beyond: BTreeMap::new(),
        };
        SimLog {
            style,
            branches: vec![branch],
            requests: Vec::new(),
            unconfirmed: Vec::new(),
            answers: BTreeMap::new(),
            numbers: 0,
            faults: 0,
            failovers: 0,
        }
    }

    /// The branch that confirms.
    pub(super) fn newest(&self) -> usize {
        self.branches.len() - 1
    }

    pub(super) fn entry(&self, branch: usize, offset: u64) -> Option<&Vec<u8>> {
        let offset = usize::try_from(offset).expect("entries in memory");
        self.branches[branch]
            .visible
            .get(offset)
            .map(|entry| &**entry)
    }

    /// Sends an entry, and returns by which number its answer is asked for.
    pub(super) fn send(
        &mut self,
        random: &mut Random,
        now: Duration,
        (branch, read): (usize, u64),
        entry: Vec<u8>,
    ) -> u64 {
        self.numbers += 1;
        let number = self.numbers;
        let request = |arrives, is_answered, entry| Request {
            number,
            branch,
            read,
            entry,
            arrives,
            is_answered,
        };
        let entry = Rc::new(entry);
        let soon = now + milliseconds(random, 1, 10);
        let fault = random.below(100);
        if fault >= self.faults {
            self.requests.push(request(soon, true, entry));
            return number;
        }
        let late = now + milliseconds(random, 10, 8_000);
        // How long it takes until the sender learns that it won't learn more.
        let given_up = now + milliseconds(random, 5, 3_000);
        match fault % 5 {
            // Nothing arrives.
            0 => {}
            // It arrives after the sender has given up, perhaps.
            1 => self.requests.push(request(late, false, entry)),
            // It arrives twice.
            2 => {
                self.requests.push(request(soon, false, entry.clone()));
                self.requests.push(request(late, false, entry));
            }
            // Its answer is lost, or the wait for its confirmation is cancelled.
            _ => self.requests.push(request(soon, false, entry)),
        }
        self.answers.insert(number, (given_up, Appended::Unknown));
        number
    }

    /// What became of an entry, if that is known now.
    pub(super) fn answer(&mut self, now: Duration, number: u64) -> Option<Appended> {
        match self.answers.get(&number) {
            Some((at, _)) if *at <= now => self.answers.remove(&number).map(|(_, answer)| answer),
            _ => None,
        }
    }

    /// Lets arrive and be confirmed what is due.
    pub(super) fn work(&mut self, random: &mut Random, now: Duration) {
        let is_due = |request: &mut Request| request.arrives <= now;
        for request in self.requests.extract_if(.., is_due).collect::<Vec<_>>() {
            self.take(random, now, request);
        }
        let newest = self.newest();
        let is_due = |one: &mut Unconfirmed| one.confirmed <= now;
        for one in self.unconfirmed.extract_if(.., is_due).collect::<Vec<_>>() {
            if one.branch != newest {
                continue;
            }
            let branch = &mut self.branches[newest];
            branch.confirmed = branch.confirmed.max(one.offset + 1);
            if let Some(number) = one.number {
                let at = now + milliseconds(random, 0, 5);
                let offset = one.offset as u64;
                self.answers.insert(number, (at, Appended::At(offset)));
            }
        }
    }

    fn take(&mut self, random: &mut Random, now: Duration, request: Request) {
        let style = self.style;
        let branch = &mut self.branches[request.branch];
        let wanted = usize::try_from(request.read).expect("entries in memory");
        let offset = match style {
            Style::Partition => branch.visible.len(),
            Style::Table
                if wanted < branch.visible.len() || branch.beyond.contains_key(&wanted) =>
            {
                if request.is_answered {
                    self.answers.insert(request.number, (now, Appended::Lost));
                }
                return;
            }
            Style::Table => wanted,
        };
        if offset > branch.visible.len() {
            branch.beyond.insert(offset, request.entry);
            return;
        }
        branch.push(request.entry);
        // Without an answer, the next one that is confirmed may be the first to say that it stays.
        let wait = match request.is_answered {
            true => milliseconds(random, 1, 10),
            false => milliseconds(random, 1, 20_000),
        };
        self.unconfirmed.push(Unconfirmed {
            number: request.is_answered.then_some(request.number),
            branch: request.branch,
            offset,
            confirmed: now + wait,
        });
    }

    /// Another server takes over. It has what is confirmed, and some of what was only visible.
    pub(super) fn fail_over(&mut self, random: &mut Random) {
        let mut next = self.branches[self.newest()].clone();
        let unconfirmed = next.visible.len() - next.confirmed;
        let kept = next.confirmed + random.index(unconfirmed + 1);
        next.visible.truncate(kept);
        next.beyond.clear();
        self.branches.push(next);
        self.failovers += 1;
    }

    /// The log goes back: entries vanish although they were confirmed. Returns how many are left.
    pub(super) fn go_back(&mut self, entries: usize) -> usize {
        let mut next = self.branches[self.newest()].clone();
        let left = next.confirmed.saturating_sub(entries).max(1);
        next.visible.truncate(left);
        next.beyond.clear();
        next.confirmed = left;
        self.branches.push(next);
        left
    }
}

pub(super) fn milliseconds(random: &mut Random, from: u64, below: u64) -> Duration {
    Duration::from_millis(from + random.below(below - from))
}
