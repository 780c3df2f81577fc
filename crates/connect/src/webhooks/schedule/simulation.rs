//! The promise of the schedule on a simulated clock: how long a host waits for its next attempt.
//!
//! A host that works waits at most ⌈hosts in its line / places that its group always has⌉ × the patience of an attempt of that
//! group, and the time that a connection may take; and so does one that failed once by accident.

use std::collections::BTreeMap;

use super::*;

/// Patience with an attempt of a host that was not cut short, in milliseconds.
const PATIENCE: u64 = 1_000;
/// Time after which an attempt fails, whatever its patience, in milliseconds.
const TIMEOUT: u64 = 15 * PATIENCE;
/// Time that a connection may take, in milliseconds.
const CONNECT_TIMEOUT: u64 = 5 * PATIENCE;
/// As the sender has it.
const DOUBLINGS_MAX: u32 = 5;
const SEEDS: u64 = 16;

/// A small generator of pseudo-random numbers (xorshift).
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(super) fn below(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 33) as usize % below
    }
}

/// How the host at an address behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Behaviour {
    /// Answers within the patience, but for one attempt in `accident` that hangs: the network stood still.
    Works { accident: usize },
    /// Hangs once, and works ever after.
    OneAccident,
    /// Never answers.
    Hangs,
    /// Fails at once.
    Fails,
    /// Answers after three times the patience.
    AnswersLate,
    /// Works and hangs in turn.
    Changes,
}

/// What happens at a time.
#[derive(Debug)]
enum Happening {
    Offer(usize),
    Overdue(AttemptNumber),
    End(AttemptNumber, Served),
}

/// A host that waits for its turn.
#[derive(Debug, Clone, Copy)]
struct Waits {
    since: u64,
    group: Group,
    /// Hosts of the group that waited then, and this one.
    line: u64,
}

struct Simulation {
    random: Random,
    bounds: Bounds,
    schedule: Schedule<usize>,
    hosts: Vec<(Arc<str>, Behaviour)>,
    /// Attempts of each host so far.
    attempts: Vec<usize>,
    served: Vec<usize>,
    waits: Vec<Option<Waits>>,
    now: u64,
    /// By time and number.
    happenings: BTreeMap<(u64, u64), Happening>,
    number: u64,
    /// Host of each attempt under way.
    under_way: BTreeMap<AttemptNumber, usize>,
    /// Longest wait in percent of what is promised, by group.
    longest: [u64; 3],
}

impl Simulation {
    fn new(seed: u64, bounds: Bounds, hosts: Vec<Behaviour>) -> Simulation {
        let count = hosts.len();
        let name = |(number, behaviour)| (format!("h{number}").into(), behaviour);
        Simulation {
            random: Random::new(seed),
            bounds,
            schedule: Schedule::new(bounds),
            hosts: hosts.into_iter().enumerate().map(name).collect(),
            attempts: vec![0; count],
            served: vec![0; count],
            waits: vec![None; count],
            now: 0,
            happenings: BTreeMap::new(),
            number: 0,
            under_way: BTreeMap::new(),
            longest: [0; 3],
        }
    }

    fn after(&mut self, delay: u64, happening: Happening) {
        self.number += 1;
        self.happenings
            .insert((self.now + delay, self.number), happening);
    }

    /// Maximum wait in milliseconds, and the places that the group always has.
    fn promise(&self, waits: Waits) -> u64 {
        let (failed, repeatedly) = (
            self.bounds.failed_max(),
            self.bounds.failed_repeatedly_max(),
        );
        let (places, patience) = match waits.group {
            Free => (self.bounds.under_way_max - failed, PATIENCE),
            FailedOnce => (failed - repeatedly, 2 * PATIENCE),
            FailedRepeatedly => (repeatedly, TIMEOUT),
        };
        waits.line.div_ceil(places as u64) * patience + CONNECT_TIMEOUT
    }

    /// Notes who waits now and since when, and checks that nobody has waited too long.
    fn watch(&mut self) {
        let group_of = |index: usize| {
            let host = self.schedule.hosts.get(&self.hosts[index].0)?;
            host.may_start(&self.bounds).then(|| host.group())
        };
        let groups: Vec<Option<Group>> = (0..self.hosts.len()).map(group_of).collect();
        for (index, group) in groups.iter().enumerate() {
            let waits = match (*group, self.waits[index]) {
                (None, _) => None,
                (Some(group), Some(waits)) if waits.group == group => Some(waits),
                (Some(group), _) => {
                    let line = groups.iter().filter(|other| **other == Some(group));
                    Some(Waits {
                        since: self.now,
                        group,
                        line: line.count() as u64,
                    })
                }
            };
            self.waits[index] = waits;
            if let Some(waits) = waits {
                self.check(index, waits);
            }
        }
    }

    fn check(&mut self, index: usize, waits: Waits) {
        let (waited, promise) = (self.now - waits.since, self.promise(waits));
        let longest = &mut self.longest[waits.group as usize];
        *longest = (*longest).max(waited * 100 / promise);
        assert!(
            waited <= promise,
            "host {index} ({:?}) waits for {waited} ms, more than {promise} ms: {waits:?}",
            self.hosts[index].1,
        );
    }

    /// Starts and cuts short as the schedule says.
    fn follow(&mut self) {
        loop {
            match self.schedule.next() {
                Next::Wait => return,
                Next::CutShort(attempt) => self.end(attempt, Served::No),
                Next::Start {
                    attempt,
                    job: index,
                    cuts,
                    ..
                } => {
                    if let Some(waits) = self.waits[index].take() {
                        self.check(index, waits);
                    }
                    self.under_way.insert(attempt, index);
                    self.begin(attempt, index, cuts);
                }
            }
        }
    }

    fn begin(&mut self, attempt: AttemptNumber, index: usize, cuts: u32) {
        self.attempts[index] += 1;
        let quick = 1 + self.random.below(PATIENCE as usize - 1) as u64;
        let behaviour = self.hosts[index].1;
        let (takes, served) = match behaviour {
            Behaviour::Works { accident } if self.random.below(accident) > 0 => {
                (quick, Served::Yes)
            }
            Behaviour::Changes if self.attempts[index].is_multiple_of(2) => (quick, Served::Yes),
            Behaviour::OneAccident if self.attempts[index] > 1 => (quick, Served::Yes),
            Behaviour::Works { .. }
            | Behaviour::OneAccident
            | Behaviour::Changes
            | Behaviour::Hangs => (TIMEOUT, Served::No),
            Behaviour::Fails => (1 + quick / 100, Served::No),
            Behaviour::AnswersLate => (3 * PATIENCE, Served::Yes),
        };
        let patience = PATIENCE << cuts.min(DOUBLINGS_MAX);
        if patience < takes {
            self.after(patience, Happening::Overdue(attempt));
        }
        self.after(takes, Happening::End(attempt, served));
    }

    fn end(&mut self, attempt: AttemptNumber, served: Served) {
        // It may have been cut short before.
        let Some(index) = self.under_way.remove(&attempt) else {
            return;
        };
        self.served[index] += usize::from(served == Served::Yes);
        self.schedule.finished(attempt, served);
        // What failed comes again.
        let delay = self.random.below(2 * PATIENCE as usize) as u64;
        self.after(delay, Happening::Offer(index));
    }

    /// Lets each host have `jobs` jobs at all times, until the time `until`.
    fn run(&mut self, jobs: usize, until: u64) {
        for index in 0..self.hosts.len() {
            for _ in 0..jobs {
                let delay = self.random.below(PATIENCE as usize) as u64;
                self.after(delay, Happening::Offer(index));
            }
        }
        while let Some(((now, _), happening)) = self.happenings.pop_first() {
            self.now = now;
            if now > until {
                return;
            }
            match happening {
                Happening::Offer(index) => {
                    let host = self.hosts[index].0.clone();
                    self.schedule.offer(&host, index).expect("room");
                }
                Happening::Overdue(attempt) => {
                    if self.under_way.contains_key(&attempt) {
                        self.schedule.overdue(attempt);
                    }
                }
                Happening::End(attempt, served) => self.end(attempt, served),
            }
            // The time of a wait begins before the schedule is asked.
            self.watch();
            self.follow();
        }
    }
}

fn bounds(under_way_max: usize) -> Bounds {
    Bounds {
        under_way_max,
        per_host_max: 3,
        waiting_per_host_max: 100,
    }
}

#[test]
fn a_host_that_works_waits_at_most_its_turn_however_many_hosts_hang() {
    let mut longest = [0; 3];
    for seed in 0..SEEDS {
        let mut random = Random::new(seed ^ 0x5eed);
        let places = [4, 5, 8, 16, 40][random.below(5)];
        let count = 2 + random.below(4 * places);
        let behaviour = |_| match random.below(8) {
            0 | 1 => Behaviour::Hangs,
            2 => Behaviour::Fails,
            3 => Behaviour::AnswersLate,
            4 => Behaviour::Changes,
            5 => Behaviour::Works { accident: 5 },
            _ => Behaviour::Works { accident: 50 },
        };
        let hosts: Vec<Behaviour> = (0..count).map(behaviour).collect();
        let mut simulation = Simulation::new(seed, bounds(places), hosts);
        simulation.run(1 + seed as usize % 4, 120 * PATIENCE);
        for (index, served) in simulation.served.iter().enumerate() {
            let (_, behaviour) = simulation.hosts[index];
            let never = [Behaviour::Hangs, Behaviour::Fails].contains(&behaviour);
            assert!(never || *served > 0, "seed {seed}: {index} {behaviour:?}");
        }
        for (longest, new) in longest.iter_mut().zip(simulation.longest) {
            *longest = (*longest).max(new);
        }
    }
    assert!(
        longest.iter().all(|percent| *percent >= 20),
        "the runs come near what is promised: {longest:?}"
    );
}

/// The run of the fault: all others hang for as long as the test lasts, and the host was cut short once by accident.
#[test]
fn a_host_that_was_cut_short_once_does_not_wait_for_ever() {
    for seed in 0..SEEDS {
        let mut hosts = vec![Behaviour::Hangs; 100];
        hosts[4 * seed as usize] = Behaviour::OneAccident;
        let mut simulation = Simulation::new(seed, bounds(40), hosts);
        simulation.run(1, 300 * PATIENCE);
        assert!(simulation.served[4 * seed as usize] >= 60, "seed {seed}");
    }
}
