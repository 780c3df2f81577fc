//! Which job is sent next: one queue per host, so that a slow receiver delays only itself. No I/O, no clock.
//!
//! - A host that has not yet served an attempt, or did not serve its last one, has one attempt under way at a time; others up to
//!   [`Bounds::per_host_max`]. Hosts take turns.
//! - A host is **held back** while its last attempt was not served or one of its attempts has been under way for long. All hosts
//!   that are held back start attempts only while these have less than half of all places; so the others always have the other half.
//! - Attempts that turn slow may come to have more than half; then the oldest of them is cut short when another host waits for a place.
//! - A host whose attempt was cut short may have been healthy: while it waits for a place in the half of those held back, the oldest
//!   slow attempt there is cut short for it. Each cut in a row doubles how long the host's next attempt may take before it counts
//!   as slow, so that a host which answers late is served in the end.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

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

/// Next step of the sender.
#[derive(Debug)]
pub(super) enum Next<J> {
    /// Start this one.
    Start {
        /// Host of the job.
        host: Arc<str>,
        /// The job to send.
        job: J,
        /// Whether the host is held back.
        held_back: bool,
        /// Attempts of the host that were cut short since one of them came to its own end.
        cuts: u32,
    },
    /// Cut the oldest slow attempt short, and ask again when it has finished.
    CutOneShort,
    /// Nothing for now.
    Wait,
}

struct Host<J> {
    waiting: VecDeque<J>,
    under_way: usize,
    /// Those of them that have been so for long.
    slow: usize,
    served: bool,
    failed: bool,
    /// Attempts that were cut short since one came to its own end.
    cuts: u32,
    /// Whether it stands in the line of its group: the free hosts, and those held back.
    in_line: [bool; 2],
}

impl<J> Default for Host<J> {
    fn default() -> Self {
        Host {
            waiting: VecDeque::new(),
            under_way: 0,
            slow: 0,
            served: false,
            failed: false,
            cuts: 0,
            in_line: [false; 2],
        }
    }
}

impl<J> Host<J> {
    fn held_back(&self) -> bool {
        self.failed || self.slow > 0
    }

    fn may_start(&self, bounds: &Bounds) -> bool {
        let limit = if self.served { bounds.per_host_max } else { 1 };
        !self.waiting.is_empty() && self.under_way < limit
    }
}

const FREE: usize = 0;
const HELD_BACK: usize = 1;

/// The queues of all hosts.
pub(super) struct Schedule<J> {
    bounds: Bounds,
    hosts: HashMap<Arc<str>, Host<J>>,
    /// Hosts that may start one, by group, in the order of their turns. An entry whose host has changed its group since is passed over.
    lines: [VecDeque<Arc<str>>; 2],
    /// The group whose turn it is, when both could go.
    turn: usize,
    under_way: usize,
    held_back_under_way: usize,
    slow: usize,
    /// Attempts that have been told to end and have not yet.
    cut: usize,
    waiting: usize,
}

impl<J> Schedule<J> {
    /// # Panics
    /// If a bound is zero or there are fewer than two places.
    pub(super) fn new(bounds: Bounds) -> Schedule<J> {
        assert!(bounds.under_way_max >= 2, "a place for each group");
        assert!(bounds.per_host_max >= 1 && bounds.waiting_per_host_max >= 1);
        Schedule {
            bounds,
            hosts: HashMap::new(),
            lines: [VecDeque::new(), VecDeque::new()],
            turn: FREE,
            under_way: 0,
            held_back_under_way: 0,
            slow: 0,
            cut: 0,
            waiting: 0,
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
        if self.under_way >= self.bounds.under_way_max {
            return self.make_room();
        }
        for group in [self.turn, 1 - self.turn] {
            let half = self.bounds.under_way_max / 2;
            if group == HELD_BACK && self.held_back_under_way >= half {
                continue;
            }
            if let Some(host) = self.first_in_line(group) {
                self.turn = 1 - group;
                let job = self.start(&host);
                let held_back = group == HELD_BACK;
                let cuts = self.host(&host).cuts;
                return Next::Start {
                    host,
                    job,
                    held_back,
                    cuts,
                };
            }
        }
        if self.makes_way_in_half() {
            self.cut += 1;
            return Next::CutOneShort;
        }
        Next::Wait
    }

    /// Whether a slow attempt is to be cut short because a host whose own attempt was cut short waits for a place among those
    /// held back.
    fn makes_way_in_half(&self) -> bool {
        let was_cut = |name: &Arc<str>| {
            let host = &self.hosts[name];
            host.cuts > 0 && host.held_back() && host.may_start(&self.bounds)
        };
        self.cut == 0 && self.slow > 0 && self.lines[HELD_BACK].iter().any(was_cut)
    }

    /// All places are taken: by too many slow ones, while another host could go?
    fn make_room(&mut self) -> Next<J> {
        let slow_left = self.slow - self.cut;
        if slow_left <= self.bounds.under_way_max / 2 || self.cut > 0 {
            return Next::Wait;
        }
        let Some(host) = self.first_in_line(FREE) else {
            return Next::Wait;
        };
        self.lines[FREE].push_front(host.clone());
        self.host(&host).in_line[FREE] = true;
        self.cut += 1;
        Next::CutOneShort
    }

    /// Takes the first host out of the line that belongs there and may start one.
    fn first_in_line(&mut self, group: usize) -> Option<Arc<str>> {
        while let Some(name) = self.lines[group].pop_front() {
            let bounds = self.bounds;
            let host = self.host(&name);
            host.in_line[group] = false;
            if usize::from(host.held_back()) == group && host.may_start(&bounds) {
                return Some(name);
            }
        }
        None
    }

    fn start(&mut self, name: &Arc<str>) -> J {
        let job = self.change(name, |host| {
            let job = host.waiting.pop_front();
            host.under_way += 1;
            job.expect("a host that may start one has one")
        });
        self.waiting -= 1;
        self.under_way += 1;
        assert!(self.under_way <= self.bounds.under_way_max);
        job
    }

    /// One of the host's attempts has been under way for long.
    pub(super) fn slow(&mut self, name: &Arc<str>) {
        self.slow += 1;
        self.change(name, |host| host.slow += 1);
    }

    /// One of the host's attempts has ended; `was_slow` if [`Schedule::slow`] was told of it, `was_cut` if it was cut short.
    pub(super) fn finished(
        &mut self,
        name: &Arc<str>,
        served: Served,
        was_slow: bool,
        was_cut: bool,
    ) {
        self.under_way -= 1;
        self.slow -= usize::from(was_slow);
        self.cut -= usize::from(was_cut);
        self.change(name, |host| {
            host.under_way -= 1;
            host.slow -= usize::from(was_slow);
            host.cuts = if was_cut { host.cuts + 1 } else { 0 };
            match served {
                Served::Yes => (host.served, host.failed) = (true, false),
                Served::No => (host.served, host.failed) = (false, true),
                Served::NotTried => {}
            }
        });
    }

    /// Forgets hosts that have nothing to do, but for those that `keep` names: what it knew of them was for the time being.
    pub(super) fn forget_idle(&mut self, keep: impl Fn(&str) -> bool) {
        self.hosts.retain(|name, host| {
            let idle = host.waiting.is_empty() && host.under_way == 0;
            !idle || host.in_line != [false; 2] || keep(name)
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
        (self.waiting, self.under_way, self.hosts.len())
    }

    fn host(&mut self, name: &Arc<str>) -> &mut Host<J> {
        self.hosts
            .get_mut(name)
            .expect("a host with something to do is known")
    }

    /// Changes a host, and what is counted of it and where it stands with it.
    fn change<R>(&mut self, name: &Arc<str>, change: impl FnOnce(&mut Host<J>) -> R) -> R {
        let counted = |host: &Host<J>| if host.held_back() { host.under_way } else { 0 };
        let host = self.host(name);
        let before = counted(host);
        let result = change(host);
        let after = counted(host);
        self.held_back_under_way = self.held_back_under_way - before + after;
        self.line_up(name);
        result
    }

    fn line_up(&mut self, name: &Arc<str>) {
        let bounds = self.bounds;
        let host = self.host(name);
        let group = usize::from(host.held_back());
        if host.may_start(&bounds) && !host.in_line[group] {
            host.in_line[group] = true;
            self.lines[group].push_back(name.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds {
        under_way_max: 8,
        per_host_max: 3,
        waiting_per_host_max: 100,
    };

    struct Run {
        schedule: Schedule<u32>,
        hosts: HashMap<&'static str, Arc<str>>,
    }

    impl Run {
        fn new() -> Run {
            Run {
                schedule: Schedule::new(BOUNDS),
                hosts: HashMap::new(),
            }
        }

        fn host(&mut self, name: &'static str) -> Arc<str> {
            self.hosts
                .entry(name)
                .or_insert_with(|| name.into())
                .clone()
        }

        fn offer(&mut self, name: &'static str, jobs: u32) {
            let host = self.host(name);
            for job in 0..jobs {
                self.schedule.offer(&host, job).expect("room");
            }
        }

        /// Starts all that may start, and tells whose they are; `cut` where one is to be cut short.
        fn started(&mut self) -> Vec<String> {
            let mut started = Vec::new();
            loop {
                match self.schedule.next() {
                    Next::Start { host, .. } => started.push(host.to_string()),
                    Next::CutOneShort => started.push("cut".to_owned()),
                    Next::Wait => return started,
                }
            }
        }

        fn finish(&mut self, name: &'static str, served: Served) {
            let host = self.host(name);
            self.schedule.finished(&host, served, false, false);
        }

        fn finish_cut(&mut self, name: &'static str) {
            let host = self.host(name);
            self.schedule.finished(&host, Served::No, true, true);
        }

        fn slow(&mut self, name: &'static str) {
            let host = self.host(name);
            self.schedule.slow(&host);
        }

        /// Lets a host serve one, so that it may have more than one.
        fn prove(&mut self, name: &'static str) {
            self.offer(name, 1);
            assert_eq!(self.started(), [name]);
            self.finish(name, Served::Yes);
        }
    }

    #[test]
    fn a_host_has_one_attempt_until_it_has_served_one_then_its_full_share_and_hosts_take_turns() {
        let mut run = Run::new();
        run.offer("a", 5);
        run.offer("b", 5);
        assert_eq!(run.started(), ["a", "b"]);
        run.finish("a", Served::Yes);
        run.finish("b", Served::Yes);
        assert_eq!(run.started(), ["a", "b", "a", "b", "a", "b"]);
        run.finish("a", Served::No);
        assert_eq!(
            run.started(),
            Vec::<String>::new(),
            "two of a are under way"
        );
        run.finish("a", Served::No);
        run.finish("a", Served::No);
        assert_eq!(run.started(), ["a"]);
        run.finish("a", Served::NotTried);
        assert_eq!(run.started(), Vec::<String>::new(), "no job is left");
    }

    #[test]
    fn the_jobs_of_a_host_start_in_order_and_its_queue_is_bounded() {
        let mut run = Run::new();
        run.offer("a", 100);
        let host = run.host("a");
        assert_eq!(run.schedule.offer(&host, 100), Err(100));
        let mut seen = Vec::new();
        while let Next::Start { job, host, .. } = run.schedule.next() {
            seen.push(job);
            run.schedule.finished(&host, Served::Yes, false, false);
        }
        assert_eq!(seen, (0..100).collect::<Vec<_>>());
        assert_eq!(run.schedule.numbers(), (0, 0, 1));
        run.schedule.forget_idle(|_| true);
        assert_eq!(run.schedule.numbers().2, 1);
        run.schedule.forget_idle(|_| false);
        assert_eq!(run.schedule.numbers().2, 0);
    }

    #[test]
    fn hosts_that_fail_have_half_of_the_places_together_and_no_more() {
        let mut run = Run::new();
        let bad = ["b0", "b1", "b2", "b3", "b4", "b5"];
        for name in bad {
            run.offer(name, 1);
            run.started();
            run.finish(name, Served::No);
        }
        for name in bad {
            run.offer(name, 9);
        }
        assert_eq!(run.started(), ["b0", "b1", "b2", "b3"], "half of eight");
        run.offer("good", 9);
        assert_eq!(run.started(), ["good"]);
        run.finish("good", Served::Yes);
        assert_eq!(run.started(), ["good", "good", "good"]);
        run.finish("good", Served::Yes);
        run.finish("b0", Served::No);
        let mut started = run.started();
        started.sort();
        assert_eq!(started, ["b4", "good"], "one place each");
        // One that recovers is free at once.
        run.finish("b1", Served::Yes);
        let mut started = run.started();
        started.sort();
        assert_eq!(started, ["b1", "b5"], "and leaves its place in the half");
        run.finish("good", Served::Yes);
        let started = run.started();
        assert!(["b1", "good"].contains(&started[0].as_str()), "{started:?}");
    }

    #[test]
    fn a_host_that_turns_slow_gives_way_and_keeps_its_share_of_the_half() {
        let mut run = Run::new();
        run.prove("s");
        run.offer("s", 9);
        assert_eq!(run.started(), ["s", "s", "s"]);
        run.slow("s");
        let host = run.host("s");
        run.schedule.finished(&host, Served::Yes, true, false);
        assert_eq!(run.started(), ["s"], "free again");
        for _ in 0..3 {
            run.slow("s");
        }
        assert_eq!(run.schedule.held_back_under_way, 3);
        run.schedule.finished(&host, Served::Yes, true, false);
        assert_eq!(run.started(), ["s"], "slow, but it serves");
        assert_eq!(run.schedule.held_back_under_way, 3);
    }

    #[test]
    fn slow_attempts_that_hold_more_than_half_are_cut_short_for_others_one_by_one() {
        let mut run = Run::new();
        let slow = ["s0", "s1", "s2", "s3", "s4", "s5", "s6", "s7"];
        for name in slow {
            run.offer(name, 2);
        }
        assert_eq!(run.started().len(), 8, "nobody knows yet");
        for name in slow {
            run.slow(name);
        }
        let none: [&str; 0] = [];
        assert_eq!(run.started(), none, "nobody else waits");
        run.offer("good", 20);
        assert_eq!(run.started(), ["cut"], "one at a time");
        run.finish_cut("s0");
        assert_eq!(run.started(), ["good"]);
        run.finish("good", Served::Yes);
        assert_eq!(run.started(), ["good", "cut"]);
        run.finish_cut("s1");
        assert_eq!(run.started(), ["good", "cut"]);
        run.finish_cut("s2");
        assert_eq!(run.started(), ["good"], "three for one host");
        run.offer("other", 1);
        assert_eq!(run.started(), ["cut"]);
        run.finish_cut("s3");
        assert_eq!(run.started(), ["other"]);
        run.offer("third", 1);
        assert_eq!(run.started(), none, "half is theirs");
    }

    #[test]
    fn a_host_that_was_cut_short_gets_its_turn_while_others_hang() {
        let mut run = Run::new();
        let hanging = ["s0", "s1", "s2", "s3", "s4", "s5", "s6"];
        for name in hanging {
            run.offer(name, 9);
        }
        run.offer("good", 2);
        assert_eq!(run.started().len(), 8);
        for name in hanging {
            run.slow(name);
        }
        run.slow("good");
        run.offer("other", 1);
        // The oldest that is cut is the good one, by bad luck.
        assert_eq!(run.started(), ["cut"]);
        run.finish_cut("good");
        assert_eq!(run.started(), ["other"]);
        run.finish("other", Served::Yes);
        // Nobody else wants a place, and attempts that never end hold more than the half of those held back.
        for name in ["s0", "s1", "s2"] {
            assert_eq!(run.started(), ["cut"], "{name} makes way");
            run.finish_cut(name);
        }
        assert_eq!(run.started(), ["cut"]);
        run.finish_cut("s3");
        let started = run.started();
        assert_eq!(started[0], "good", "first in line: {started:?}");
        run.finish("good", Served::Yes);
        assert_eq!(run.schedule.host(&"good".into()).cuts, 0);
    }

    /// Random runs: nothing is lost, the bounds hold, and while a free host waits, no place is kept from it.
    #[test]
    fn no_job_is_lost_and_no_bound_broken_whatever_happens() {
        for seed in 0..200_u64 {
            let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
            let mut random = move |below: usize| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                (state >> 33) as usize % below
            };
            let hosts: Vec<Arc<str>> = (0..12).map(|host| format!("h{host}").into()).collect();
            let mut schedule = Schedule::new(BOUNDS);
            // Host, whether it is slow, whether it is to be cut.
            let mut under_way: Vec<(Arc<str>, bool, bool)> = Vec::new();
            let (mut offered, mut started, mut steps) = (0, 0, 0);
            while steps < 600 || schedule.numbers().0 + under_way.len() > 0 {
                steps += 1;
                assert!(steps < 20_000, "seed {seed}: it stands still");
                match random(3) {
                    0 if steps < 600 => {
                        let host = &hosts[random(hosts.len())];
                        offered += usize::from(schedule.offer(host, ()).is_ok());
                    }
                    1 if !under_way.is_empty() => {
                        let at = random(under_way.len());
                        if !under_way[at].1 {
                            under_way[at].1 = true;
                            schedule.slow(&under_way[at].0);
                        }
                    }
                    _ if !under_way.is_empty() => {
                        let (host, slow, cut) = under_way.swap_remove(random(under_way.len()));
                        let served = [Served::Yes, Served::No, Served::NotTried][random(3)];
                        schedule.finished(&host, served, slow, cut);
                    }
                    _ => schedule.forget_idle(|_| false),
                }
                loop {
                    match schedule.next() {
                        Next::Start { host, .. } => {
                            started += 1;
                            under_way.push((host, false, false));
                        }
                        Next::CutOneShort => {
                            let oldest = under_way.iter_mut().find(|one| one.1 && !one.2);
                            oldest.expect("there is a slow one").2 = true;
                        }
                        Next::Wait => break,
                    }
                }
                assert_eq!(schedule.numbers().1, under_way.len());
                assert!(under_way.len() <= BOUNDS.under_way_max);
                for host in &hosts {
                    let own = under_way.iter().filter(|one| one.0 == *host).count();
                    assert!(own <= BOUNDS.per_host_max);
                }
                let of_held_back: usize = schedule
                    .hosts
                    .values()
                    .filter(|host| host.held_back())
                    .map(|host| host.under_way)
                    .sum();
                assert_eq!(of_held_back, schedule.held_back_under_way);
                if under_way.len() < BOUNDS.under_way_max {
                    let mut free = schedule.hosts.values().filter(|host| !host.held_back());
                    assert!(free.all(|host| !host.may_start(&BOUNDS)), "seed {seed}");
                }
            }
            assert_eq!(offered, started, "seed {seed}");
        }
    }
}
