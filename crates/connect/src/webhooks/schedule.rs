//! Which job is sent next: one queue per host, so that a slow receiver delays only itself. No I/O, no clock.
//!
//! - A host that has not yet served an attempt, or did not serve its last one, has one attempt under way at a time; others up to
//!   [`Bounds::per_host_max`]. Hosts of a group take turns.
//! - Hosts form three groups. **Free** hosts served their last attempt, or were never asked. Hosts that failed **once** since, or have
//!   an attempt that is overdue, may be healthy: the machine or the network may have stood still. Hosts that failed **repeatedly** are
//!   probably down.
//! - Each group has places that the others cannot take. Hosts that failed have at most half of all places together, and those that
//!   failed repeatedly at most half of that half.
//! - An attempt is **overdue** when it has taken longer than its patience. While the half of the failed hosts has room, an overdue
//!   attempt of a free host moves there. An overdue attempt is cut short, the one that has been overdue for longest first, when a host
//!   waits for a place that its group has a right to.
//! - Each cut in a row doubles the patience of the host's next attempt, so that a host which answers late is served in the end.
//!
//! So a host waits at most as long as the hosts in line before it, divided by the places of its group, times the patience of the
//! attempts in that group.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

/// Minimum of [`Bounds::under_way_max`]: each group needs a place of its own.
const UNDER_WAY_MIN: usize = 4;

/// Bounds of the schedule.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// Attempts under way at once, of all hosts.
    pub(super) under_way_max: usize,
    /// Attempts under way at once, of one host.
    pub(super) per_host_max: usize,
    /// Jobs that wait, of one host.
    pub(super) waiting_per_host_max: usize,
}

impl Bounds {
    /// Maximum number of attempts under way at once, of all hosts that failed.
    fn failed_max(&self) -> usize {
        self.under_way_max / 2
    }

    /// Maximum number of attempts under way at once, of all hosts that failed repeatedly.
    fn failed_repeatedly_max(&self) -> usize {
        self.failed_max() / 2
    }
}

/// How a host took an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Served {
    /// The host answered in time, with any status.
    Yes,
    /// The host could not be reached, took too long or said that it is overloaded.
    No,
    /// The host was not asked.
    NotTried,
}

/// Number of an attempt under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct AttemptNumber(u64);

/// Next step of the sender.
#[derive(Debug)]
pub(super) enum Next<J> {
    /// Start this one.
    Start {
        /// Number of the attempt.
        attempt: AttemptNumber,
        /// The job to send.
        job: J,
        /// Whether the host failed its last attempt, or has an attempt that is overdue.
        held_back: bool,
        /// Attempts of the host that were cut short since one of them came to its own end.
        cuts: u32,
    },
    /// Cut this attempt short, and ask again when it has finished.
    CutShort(AttemptNumber),
    /// Nothing for now.
    Wait,
}

/// Group of hosts that share places.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Group {
    Free,
    FailedOnce,
    FailedRepeatedly,
}

use Group::{FailedOnce, FailedRepeatedly, Free};

struct Host<J> {
    waiting: VecDeque<J>,
    under_way: usize,
    /// Those of them that are overdue.
    overdue: usize,
    served: bool,
    /// Failed attempts in a row. Attempts that were under way together count once.
    failures: u32,
    /// Attempts cut short in a row, counted likewise.
    cuts: u32,
    /// Whether the host stands in the line of each group.
    in_line: [bool; 3],
}

impl<J> Default for Host<J> {
    fn default() -> Self {
        Host {
            waiting: VecDeque::new(),
            under_way: 0,
            overdue: 0,
            served: false,
            failures: 0,
            cuts: 0,
            in_line: [false; 3],
        }
    }
}

impl<J> Host<J> {
    fn group(&self) -> Group {
        match self.failures {
            0 if self.overdue == 0 => Free,
            0 | 1 => FailedOnce,
            _ => FailedRepeatedly,
        }
    }

    fn may_start(&self, bounds: &Bounds) -> bool {
        let limit = if self.served { bounds.per_host_max } else { 1 };
        !self.waiting.is_empty() && self.under_way < limit
    }
}

/// An attempt under way.
struct Attempt {
    host: Arc<str>,
    /// The group whose place the attempt has.
    group: Group,
    /// [`Host::failures`] at the start.
    failures: u32,
    /// [`Host::cuts`] at the start.
    cuts: u32,
    /// Key in the list of overdue attempts.
    overdue: Option<u64>,
    /// Whether the attempt was told to end.
    cut: bool,
}

/// The queues of all hosts.
pub(super) struct Schedule<J> {
    bounds: Bounds,
    hosts: HashMap<Arc<str>, Host<J>>,
    attempts: HashMap<AttemptNumber, Attempt>,
    /// Attempts that have a place of the group, by group.
    taken: [usize; 3],
    /// Attempts that are overdue and not told to end, by group, in the order in which they became overdue.
    overdue: [BTreeMap<u64, AttemptNumber>; 3],
    /// Hosts that may start one, by group, in the order of their turns. An entry whose host has changed its group since is passed over.
    lines: [VecDeque<Arc<str>>; 3],
    /// Whether it is the turn of the free hosts, when others could go too.
    free_next: bool,
    /// Whether it is the turn of the hosts that failed repeatedly, when those that failed once could go too.
    repeated_next: bool,
    /// Attempts that were told to end and have not yet.
    cut: usize,
    waiting: usize,
    /// Number of the next attempt, or of the next one that becomes overdue.
    next_number: u64,
}

impl<J> Schedule<J> {
    /// # Panics
    /// If a bound is zero or there are fewer than [`UNDER_WAY_MIN`] places.
    pub(super) fn new(bounds: Bounds) -> Schedule<J> {
        assert!(
            bounds.under_way_max >= UNDER_WAY_MIN,
            "a place for each group"
        );
        assert!(bounds.per_host_max >= 1 && bounds.waiting_per_host_max >= 1);
        Schedule {
            bounds,
            hosts: HashMap::new(),
            attempts: HashMap::new(),
            taken: [0; 3],
            overdue: Default::default(),
            lines: Default::default(),
            free_next: true,
            repeated_next: false,
            cut: 0,
            waiting: 0,
            next_number: 0,
        }
    }

    /// Puts a job into its host's queue; gives it back if that is full.
    pub(super) fn offer(&mut self, host: &Arc<str>, job: J) -> Result<(), J> {
        let entry = self.hosts.entry(host.clone()).or_default();
        if entry.waiting.len() >= self.bounds.waiting_per_host_max {
            return Err(job);
        }
        entry.waiting.push_back(job);
        self.waiting += 1;
        self.line_up(host);
        Ok(())
    }

    /// Returns the next step. Call until the answer is [`Next::Wait`], and again after every change.
    pub(super) fn next(&mut self) -> Next<J> {
        let [first, second] = match self.repeated_next {
            true => [FailedRepeatedly, FailedOnce],
            false => [FailedOnce, FailedRepeatedly],
        };
        let turns = match self.free_next {
            true => [Free, first, second],
            false => [first, second, Free],
        };
        for group in turns {
            if self.has_place(group) && self.has_waiting(group) {
                return self.start(group);
            }
        }
        if self.cut > 0 {
            return Next::Wait;
        }
        for group in [Free, FailedOnce, FailedRepeatedly] {
            if self.has_waiting(group)
                && let Some(attempt) = self.attempt_in_the_way(group)
            {
                self.cut_short(attempt);
                return Next::CutShort(attempt);
            }
        }
        Next::Wait
    }

    /// Attempts of hosts that failed.
    fn taken_by_failed(&self) -> usize {
        self.taken[FailedOnce as usize] + self.taken[FailedRepeatedly as usize]
    }

    /// Whether there is a place that a host of the group may take.
    fn has_place(&self, group: Group) -> bool {
        let failed = self.taken_by_failed() < self.bounds.failed_max();
        let repeated = self.taken[FailedRepeatedly as usize] < self.bounds.failed_repeatedly_max();
        let of_group = match group {
            Free => true,
            FailedOnce => failed,
            FailedRepeatedly => failed && repeated,
        };
        of_group && self.attempts.len() < self.bounds.under_way_max
    }

    /// The attempt to be cut short, if there is one, so that a host of the group gets a place.
    fn attempt_in_the_way(&mut self, group: Group) -> Option<AttemptNumber> {
        let failed_full = self.taken_by_failed() >= self.bounds.failed_max();
        let repeated_full =
            self.taken[FailedRepeatedly as usize] >= self.bounds.failed_repeatedly_max();
        let from = match group {
            Free => {
                self.move_overdue();
                Free
            }
            FailedRepeatedly if repeated_full => FailedRepeatedly,
            FailedOnce | FailedRepeatedly if failed_full => FailedOnce,
            // Free hosts have more than their half.
            FailedOnce | FailedRepeatedly => Free,
        };
        let first = self.overdue[from as usize].first_key_value();
        first.map(|(_, attempt)| *attempt)
    }

    /// Moves overdue attempts of free hosts to the places of hosts that failed, as far as there is room.
    fn move_overdue(&mut self) {
        while self.taken_by_failed() < self.bounds.failed_max()
            && let Some((key, number)) = self.overdue[Free as usize].pop_first()
        {
            self.overdue[FailedOnce as usize].insert(key, number);
            self.attempt(number).group = FailedOnce;
            self.taken[Free as usize] -= 1;
            self.taken[FailedOnce as usize] += 1;
        }
    }

    fn cut_short(&mut self, number: AttemptNumber) {
        self.cut += 1;
        let attempt = self.attempt(number);
        attempt.cut = true;
        let (group, key) = (attempt.group, attempt.overdue);
        let key = key.expect("only an overdue attempt is cut short");
        self.overdue[group as usize].remove(&key);
    }

    /// Whether a host of the group waits for a place. Removes entries from the line that do not belong there any more.
    fn has_waiting(&mut self, group: Group) -> bool {
        while let Some(name) = self.lines[group as usize].front().cloned() {
            let bounds = self.bounds;
            let host = self.host(&name);
            if host.group() == group && host.may_start(&bounds) {
                return true;
            }
            host.in_line[group as usize] = false;
            self.lines[group as usize].pop_front();
        }
        false
    }

    /// Starts a job of the first host in line.
    fn start(&mut self, group: Group) -> Next<J> {
        let line = self.lines[group as usize].pop_front();
        let name = line.expect("a host of the group waits");
        self.free_next = group != Free;
        if group != Free {
            self.repeated_next = group == FailedOnce;
        }
        let host = self.host(&name);
        host.in_line[group as usize] = false;
        let job = host.waiting.pop_front();
        let job = job.expect("a host that may start one has one");
        host.under_way += 1;
        let (failures, cuts) = (host.failures, host.cuts);
        self.waiting -= 1;
        self.taken[group as usize] += 1;
        let number = AttemptNumber(self.number());
        let attempt = Attempt {
            host: name.clone(),
            group,
            failures,
            cuts,
            overdue: None,
            cut: false,
        };
        self.attempts.insert(number, attempt);
        assert!(self.attempts.len() <= self.bounds.under_way_max);
        assert!(self.taken_by_failed() <= self.bounds.failed_max());
        self.line_up(&name);
        Next::Start {
            attempt: number,
            job,
            held_back: group != Free,
            cuts,
        }
    }

    /// The attempt has taken longer than its patience.
    pub(super) fn overdue(&mut self, number: AttemptNumber) {
        let key = self.number();
        let attempt = self.attempt(number);
        assert_eq!(attempt.overdue, None, "it is told once");
        attempt.overdue = Some(key);
        let (name, group) = (attempt.host.clone(), attempt.group);
        self.overdue[group as usize].insert(key, number);
        self.host(&name).overdue += 1;
        self.move_overdue();
        self.line_up(&name);
    }

    /// An attempt has ended.
    pub(super) fn finished(&mut self, number: AttemptNumber, served: Served) {
        let attempt = self.attempts.remove(&number);
        let attempt = attempt.expect("an attempt ends once");
        self.taken[attempt.group as usize] -= 1;
        self.cut -= usize::from(attempt.cut);
        if let Some(key) = attempt.overdue {
            self.overdue[attempt.group as usize].remove(&key);
        }
        let host = self.host(&attempt.host);
        host.under_way -= 1;
        host.overdue -= usize::from(attempt.overdue.is_some());
        // It may have come to its own end just then.
        host.cuts = match attempt.cut && served == Served::No {
            true => host.cuts.max(attempt.cuts + 1),
            false => 0,
        };
        match served {
            Served::Yes => (host.served, host.failures) = (true, 0),
            Served::No => {
                host.served = false;
                host.failures = host.failures.max(attempt.failures + 1);
            }
            Served::NotTried => {}
        }
        self.line_up(&attempt.host);
    }

    /// Forgets hosts that have nothing to do, but for those that `keep` names: what it knew of them was for the time being.
    pub(super) fn forget_idle(&mut self, keep: impl Fn(&str) -> bool) {
        self.hosts.retain(|name, host| {
            let idle = host.waiting.is_empty() && host.under_way == 0;
            !idle || host.in_line != [false; 3] || keep(name)
        });
    }

    /// Drops all that waits.
    pub(super) fn clear(&mut self) {
        for host in self.hosts.values_mut() {
            host.waiting.clear();
        }
        self.waiting = 0;
    }

    /// Jobs that wait, attempts under way, hosts known.
    pub(super) fn numbers(&self) -> (usize, usize, usize) {
        (self.waiting, self.attempts.len(), self.hosts.len())
    }

    fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    fn attempt(&mut self, number: AttemptNumber) -> &mut Attempt {
        let attempt = self.attempts.get_mut(&number);
        attempt.expect("an attempt is known until it ends")
    }

    fn host(&mut self, name: &Arc<str>) -> &mut Host<J> {
        self.hosts
            .get_mut(name)
            .expect("a host with something to do is known")
    }

    /// Puts the host into the line of its group, if it may start one.
    fn line_up(&mut self, name: &Arc<str>) {
        let bounds = self.bounds;
        let host = self.host(name);
        let group = host.group();
        if host.may_start(&bounds) && !host.in_line[group as usize] {
            host.in_line[group as usize] = true;
            self.lines[group as usize].push_back(name.clone());
        }
    }
}
