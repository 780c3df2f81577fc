//! A slow receiver delays only itself.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tributary_connect::webhooks::{AttemptError, Endpoint, Outcome, Settings};

use crate::receiver::{Receiver, Reply, Seen, status};
use crate::{PATIENCE, Sending, endpoint, job, open};

const ENDPOINTS: usize = 1_000;
const EACH: usize = 3;
/// Fewer than the receivers that hang or are slow: they could take every place.
const UNDER_WAY_MAX: usize = 40;
const PER_HOST_MAX: usize = 2;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Healthy,
    Hanging,
    Slow,
    Failing,
    Closing,
}

/// One in ten is bad.
fn kind(index: usize) -> Kind {
    match index % 40 {
        0 => Kind::Hanging,
        10 => Kind::Slow,
        20 => Kind::Failing,
        30 => Kind::Closing,
        _ => Kind::Healthy,
    }
}

fn index(seen: &Seen) -> usize {
    let digits: String = seen.host.chars().filter(char::is_ascii_digit).collect();
    // h17.test:8080
    let port = seen.host.rsplit(':').next().expect("a port");
    digits[..digits.len() - port.len()]
        .parse()
        .expect("an index")
}

/// With fewer places than bad receivers, and not one of these done, every webhook of a healthy one arrives. On a machine that stands still
/// a good one may look slow: then it, too, makes way and comes again.
#[test]
fn of_a_thousand_receivers_one_in_ten_hangs_and_the_others_get_all_of_theirs_meanwhile() {
    let (open_gate, gate) = watch::channel(false);
    let (end_hanging, hanging) = watch::channel(false);
    let receiver = Receiver::start(move |seen| match kind(index(seen)) {
        Kind::Healthy => status(200),
        Kind::Hanging => Reply::AtGate(hanging.clone()),
        Kind::Slow => Reply::AtGate(gate.clone()),
        Kind::Failing => status(500),
        Kind::Closing => Reply::Close,
    });
    let sending = Sending::start(Settings {
        // None of those that hang comes to its end by this in the time that the test takes.
        timeout: 10 * PATIENCE,
        slow_after: Duration::from_millis(20),
        under_way_max: UNDER_WAY_MAX,
        per_host_max: PER_HOST_MAX,
        ..open()
    });
    let endpoints: Vec<Arc<Endpoint>> = (0..ENDPOINTS)
        .map(|index| endpoint(&format!("http://h{index}.test:{}/", receiver.addr.port())))
        .collect();
    for event in 0..EACH {
        for (index, endpoint) in endpoints.iter().enumerate() {
            sending.offer(job(endpoint, index * EACH + event));
        }
    }
    let healthy = (0..ENDPOINTS).filter(|index| kind(*index) == Kind::Healthy);
    let mut missing: BTreeSet<usize> = healthy
        .flat_map(|index| (0..EACH).map(move |event| index * EACH + event))
        .collect();
    let mut again = Vec::new();
    while !missing.is_empty() {
        let (job, attempt) = sending.next();
        assert!(sending.sender.figures().under_way <= UNDER_WAY_MAX);
        let event: usize = job.event_id[4..].parse().expect("a number");
        let cut = attempt.error == Some(AttemptError::CutShort);
        match kind(event / EACH) {
            Kind::Healthy if cut => sending.offer(job),
            Kind::Slow if cut => again.push(job),
            Kind::Failing | Kind::Closing | Kind::Hanging if cut => {}
            Kind::Healthy => {
                assert_eq!(attempt.outcome, Outcome::Delivered, "{attempt:?}");
                assert!(missing.remove(&event), "{event} arrived twice");
            }
            Kind::Failing => assert_eq!(attempt.status, Some(500)),
            Kind::Closing => {
                let error = attempt.error.expect("no answer");
                assert_eq!(error.code(), "connection_failed", "{error}");
            }
            Kind::Slow | Kind::Hanging => panic!("it neither answers nor fails: {attempt:?}"),
        }
    }

    // The slow ones were not given up for it: they get theirs when they answer.
    drop(end_hanging);
    open_gate.send(true).expect("it listens");
    let mut slow: BTreeMap<usize, usize> = BTreeMap::new();
    let expected = ENDPOINTS / 40;
    for job in again {
        sending.offer(job);
    }
    while slow.len() < expected || slow.values().any(|arrived| *arrived < EACH) {
        let (job, attempt) = sending.next();
        let event: usize = job.event_id[4..].parse().expect("a number");
        if kind(event / EACH) != Kind::Slow {
            continue;
        }
        if attempt.outcome == Outcome::Delivered {
            *slow.entry(event / EACH).or_default() += 1;
        } else {
            sending.offer(job);
        }
    }
}

/// As many are asked at once as the bounds allow, and never more.
#[test]
fn of_one_host_and_of_all_only_so_many_are_asked_at_once() {
    let (open_gate, gate) = watch::channel(false);
    let receiver = Receiver::start(move |seen| match seen.header("webhook-id") {
        "evt_0" => status(200),
        _ => Reply::AtGate(gate.clone()),
    });
    let sending = Sending::start(Settings {
        under_way_max: 5,
        per_host_max: 2,
        // Nobody makes way for another.
        slow_after: PATIENCE,
        ..open()
    });
    let endpoints: [_; 4] = std::array::from_fn(|host| {
        endpoint(&format!("http://h{host}.test:{}/", receiver.addr.port()))
    });
    for endpoint in &endpoints {
        // More than one at a time are for those that have answered once.
        assert_eq!(sending.send(job(endpoint, 0)).outcome, Outcome::Delivered);
    }
    for event in 1..=16 {
        sending.offer(job(&endpoints[event % 4], event));
    }
    while receiver.book().most_of_all < 5 {
        std::thread::sleep(Duration::from_millis(1));
    }
    open_gate.send(true).expect("it listens");
    for _ in 0..16 {
        assert_eq!(sending.next().1.outcome, Outcome::Delivered);
    }
    let book = receiver.book();
    assert_eq!((book.most_of_one, book.most_of_all), (2, 5));
}

/// What waits for one host has a bound of its own: a full queue refuses jobs for that host, and for no other.
#[test]
fn a_full_queue_of_one_host_refuses_its_jobs_only() {
    let receiver = Receiver::start(|seen| match seen.host.starts_with("bad") {
        true => Reply::Hang,
        false => status(200),
    });
    let sending = Sending::start(Settings {
        waiting_per_host_max: 5,
        ..open()
    });
    let [bad, good] = ["bad", "good"]
        .map(|name| endpoint(&format!("http://{name}.test:{}/", receiver.addr.port())));
    sending.offer(job(&bad, 0));
    while receiver.book().seen.is_empty() {
        std::thread::sleep(Duration::from_millis(1));
    }
    for event in 1..=5 {
        sending.offer(job(&bad, event));
    }
    let refused = sending.sender.offer(job(&bad, 6)).expect_err("it is full");
    assert_eq!(refused.event_id, "evt_6");
    let figures = sending.sender.figures();
    assert_eq!((figures.waiting, figures.under_way), (5, 1));
    assert_eq!(sending.send(job(&good, 7)).outcome, Outcome::Delivered);
}
