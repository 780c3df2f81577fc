//! Single situations.

use super::*;

const BOUNDS: Bounds = Bounds {
    under_way_max: 8,
    per_host_max: 3,
    waiting_per_host_max: 100,
};

struct Run {
    schedule: Schedule<u32>,
    hosts: HashMap<&'static str, Arc<str>>,
    /// Attempts under way, in the order of their starts.
    under_way: Vec<(AttemptNumber, Arc<str>)>,
}

impl Run {
    fn new() -> Run {
        Run {
            schedule: Schedule::new(BOUNDS),
            hosts: HashMap::new(),
            under_way: Vec::new(),
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

    /// Starts all that may start, and returns their hosts; `cut` and the host where one is to be cut short.
    fn started(&mut self) -> Vec<String> {
        let mut started = Vec::new();
        loop {
            match self.schedule.next() {
                Next::Start { attempt, .. } => {
                    let host = self.schedule.attempts[&attempt].host.clone();
                    started.push(host.to_string());
                    self.under_way.push((attempt, host));
                }
                Next::CutShort(attempt) => {
                    let mut under_way = self.under_way.iter();
                    let found = under_way.find(|(number, _)| *number == attempt);
                    started.push(format!("cut {}", found.expect("it is under way").1));
                }
                Next::Wait => return started,
            }
        }
    }

    /// The oldest attempt of a host that is not overdue if `timely`.
    fn oldest(&mut self, name: &str, timely: bool) -> AttemptNumber {
        let attempts = &self.schedule.attempts;
        let mut under_way = self.under_way.iter();
        let found = under_way.find(|(number, host)| {
            **host == *name && !(timely && attempts[number].overdue.is_some())
        });
        found.expect("it is under way").0
    }

    fn finish(&mut self, name: &str, served: Served) {
        let number = self.oldest(name, false);
        self.under_way.retain(|(other, _)| *other != number);
        self.schedule.finished(number, served);
    }

    fn overdue(&mut self, name: &str) {
        let number = self.oldest(name, true);
        self.schedule.overdue(number);
    }

    /// Lets a host serve one, so that it may have more than one.
    fn prove(&mut self, name: &'static str) {
        self.offer(name, 1);
        assert_eq!(self.started(), [name]);
        self.finish(name, Served::Yes);
    }
}

const NONE: [&str; 0] = [];

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
    assert_eq!(run.started(), NONE, "two of a are under way");
    run.finish("a", Served::No);
    run.finish("a", Served::No);
    assert_eq!(run.started(), ["a"]);
    run.finish("a", Served::NotTried);
    assert_eq!(run.started(), NONE, "no job is left");
}

#[test]
fn the_jobs_of_a_host_start_in_order_and_its_queue_is_bounded() {
    let mut run = Run::new();
    run.offer("a", 100);
    let host = run.host("a");
    assert_eq!(run.schedule.offer(&host, 100), Err(100));
    let mut seen = Vec::new();
    while let Next::Start { job, attempt, .. } = run.schedule.next() {
        seen.push(job);
        run.schedule.finished(attempt, Served::Yes);
    }
    assert_eq!(seen, (0..100).collect::<Vec<_>>());
    assert_eq!(run.schedule.numbers(), (0, 0, 1));
    run.schedule.forget_idle(|_| true);
    assert_eq!(run.schedule.numbers().2, 1);
    run.schedule.forget_idle(|_| false);
    assert_eq!(run.schedule.numbers().2, 0);
}

#[test]
fn hosts_that_failed_have_half_of_the_places_together_and_no_more() {
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
    // It may be the same one: only this one has failed twice.
    assert_eq!(started, ["b0", "good"], "one place each");
    // One that recovers is free at once.
    run.finish("b1", Served::Yes);
    let mut started = run.started();
    started.sort();
    assert_eq!(started, ["b1", "b4"], "and leaves its place in the half");
    run.finish("good", Served::Yes);
    let started = run.started();
    assert!(["b1", "good"].contains(&started[0].as_str()), "{started:?}");
}

#[test]
fn hosts_that_failed_twice_leave_half_of_the_half_to_those_that_failed_once() {
    let mut run = Run::new();
    for name in ["b0", "b1", "b2", "b3"] {
        run.offer(name, 9);
    }
    for _ in 0..2 {
        run.started();
        for name in ["b0", "b1", "b2", "b3"] {
            run.finish(name, Served::No);
        }
        assert_eq!(run.under_way.len(), 0);
    }
    assert_eq!(run.started().len(), 2, "a quarter of eight");
    run.offer("unlucky", 2);
    assert_eq!(run.started(), ["unlucky"]);
    run.finish("unlucky", Served::No);
    assert_eq!(run.started(), ["unlucky"], "its own quarter");
    run.finish("unlucky", Served::Yes);
    assert_eq!(run.started(), NONE);
}

#[test]
fn attempts_that_fail_together_count_as_one_failure() {
    let mut run = Run::new();
    run.prove("good");
    run.offer("good", 9);
    assert_eq!(run.started().len(), 3);
    for _ in 0..3 {
        run.finish("good", Served::No);
    }
    let good = run.host("good");
    assert_eq!(run.schedule.host(&good).group(), FailedOnce);
    assert_eq!(run.started(), ["good"]);
    run.finish("good", Served::No);
    assert_eq!(run.schedule.host(&good).group(), FailedRepeatedly);
    assert_eq!(run.started(), ["good"]);
    run.finish("good", Served::Yes);
    assert_eq!(run.schedule.host(&good).group(), Free);
}

#[test]
fn an_overdue_attempt_moves_to_the_failed_half_while_that_has_room() {
    let mut run = Run::new();
    run.prove("s");
    run.offer("s", 9);
    assert_eq!(run.started(), ["s", "s", "s"]);
    run.overdue("s");
    assert_eq!(run.schedule.taken, [2, 1, 0]);
    run.finish("s", Served::Yes);
    assert_eq!(run.started(), ["s"], "free again");
    assert_eq!(run.schedule.taken, [3, 0, 0]);
    for _ in 0..3 {
        run.overdue("s");
    }
    assert_eq!(run.schedule.taken, [0, 3, 0]);
    run.finish("s", Served::Yes);
    assert_eq!(run.started(), ["s"], "slow, but it serves");
    assert_eq!(run.schedule.taken, [0, 3, 0]);
}

#[test]
fn overdue_attempts_that_hold_more_than_half_are_cut_short_for_others_one_by_one() {
    let mut run = Run::new();
    let slow = ["s0", "s1", "s2", "s3", "s4", "s5", "s6", "s7"];
    for name in slow {
        run.offer(name, 1);
    }
    assert_eq!(run.started().len(), 8, "nobody knows yet");
    for name in slow {
        run.overdue(name);
    }
    assert_eq!(run.started(), NONE, "nobody else waits");
    run.offer("good", 20);
    // The first four have moved to the half of those that failed.
    assert_eq!(run.started(), ["cut s4"], "one at a time");
    run.finish("s4", Served::No);
    assert_eq!(run.started(), ["good"]);
    run.finish("good", Served::Yes);
    assert_eq!(run.started(), ["good", "cut s5"]);
    run.finish("s5", Served::No);
    assert_eq!(run.started(), ["good", "cut s6"]);
    run.finish("s6", Served::No);
    assert_eq!(run.started(), ["good"], "three for one host");
    run.offer("other", 1);
    assert_eq!(run.started(), ["cut s7"]);
    run.finish("s7", Served::No);
    assert_eq!(run.started(), ["other"]);
    run.offer("third", 1);
    assert_eq!(run.started(), NONE, "half is theirs");
}

#[test]
fn a_host_that_was_cut_short_gets_its_turn_while_others_hang() {
    let mut run = Run::new();
    let hanging = ["s0", "s1", "s2", "s3", "s4", "s5", "s6"];
    for name in &hanging[..4] {
        run.offer(name, 9);
    }
    run.offer("good", 2);
    for name in &hanging[4..] {
        run.offer(name, 9);
    }
    assert_eq!(run.started().len(), 8);
    for name in &hanging[..4] {
        run.overdue(name);
    }
    run.overdue("good");
    run.offer("other", 1);
    // The first attempt that is cut is the good one, by bad luck.
    assert_eq!(run.started(), ["cut good"]);
    run.finish("good", Served::No);
    // The host that is not known to fail is first; then an attempt that never ends makes way for the good one.
    assert_eq!(run.started(), ["other", "cut s0"]);
    run.finish("s0", Served::No);
    assert_eq!(run.started()[0], "good");
    let good = run.host("good");
    assert_eq!(run.schedule.host(&good).cuts, 1);
    run.finish("good", Served::Yes);
    assert_eq!(run.schedule.host(&good).cuts, 0);
}

/// Random runs: nothing is lost, the bounds hold, and while a host waits that is not known to fail, no place is kept from it.
#[test]
fn no_job_is_lost_and_no_bound_broken_whatever_happens() {
    for seed in 0..200_u64 {
        let mut random = simulation::Random::new(seed);
        let hosts: Vec<Arc<str>> = (0..12).map(|host| format!("h{host}").into()).collect();
        let mut schedule = Schedule::new(BOUNDS);
        // Attempt, host, whether it is overdue, whether it is to be cut.
        let mut under_way: Vec<(AttemptNumber, Arc<str>, bool, bool)> = Vec::new();
        let (mut offered, mut started, mut steps) = (0, 0, 0);
        while steps < 600 || schedule.numbers().0 + under_way.len() > 0 {
            steps += 1;
            assert!(steps < 20_000, "seed {seed}: it stands still");
            match random.below(3) {
                0 if steps < 600 => {
                    let host = &hosts[random.below(hosts.len())];
                    offered += usize::from(schedule.offer(host, ()).is_ok());
                }
                1 if !under_way.is_empty() => {
                    let at = random.below(under_way.len());
                    if !under_way[at].2 {
                        under_way[at].2 = true;
                        schedule.overdue(under_way[at].0);
                    }
                }
                _ if !under_way.is_empty() => {
                    let at = random.below(under_way.len());
                    let (attempt, ..) = under_way.swap_remove(at);
                    let served = [Served::Yes, Served::No, Served::NotTried][random.below(3)];
                    schedule.finished(attempt, served);
                }
                _ => schedule.forget_idle(|_| false),
            }
            loop {
                match schedule.next() {
                    Next::Start { attempt, .. } => {
                        let host = schedule.attempts[&attempt].host.clone();
                        started += 1;
                        under_way.push((attempt, host, false, false));
                    }
                    Next::CutShort(attempt) => {
                        let found = under_way.iter_mut().find(|one| one.0 == attempt);
                        let found = found.expect("it is under way");
                        assert!(found.2 && !found.3, "overdue, and told once");
                        found.3 = true;
                    }
                    Next::Wait => break,
                }
            }
            assert_eq!(schedule.numbers().1, under_way.len());
            assert!(under_way.len() <= BOUNDS.under_way_max);
            for host in &hosts {
                let own = under_way.iter().filter(|one| one.1 == *host).count();
                assert!(own <= BOUNDS.per_host_max);
            }
            let failed = schedule.taken[1] + schedule.taken[2];
            assert_eq!(schedule.taken[0] + failed, under_way.len());
            assert!(failed <= BOUNDS.failed_max());
            assert!(schedule.taken[2] <= BOUNDS.failed_repeatedly_max());
            if under_way.len() < BOUNDS.under_way_max {
                let mut free = schedule.hosts.values().filter(|host| host.group() == Free);
                assert!(free.all(|host| !host.may_start(&BOUNDS)), "seed {seed}");
            }
        }
        assert_eq!(offered, started, "seed {seed}");
    }
}
