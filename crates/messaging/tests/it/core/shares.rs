//! Memory that the subscriptions of all owners share.

use std::collections::BTreeMap;

use tributary_ledger::{Actor, OwnerId};
use tributary_messaging::{Core, Matched, Policy, SubscriptionId, WINDOWS_IN_ALL_MAX};

use super::{BEGIN, empty_core, subscription};

/// Many subscriptions of one owner whose receivers refuse everything stop taking events together; those of others go on.
#[test]
fn the_dead_letters_of_an_owner_have_a_share_of_the_memory_for_all() {
    const BYTES_MAX: usize = 400_000;
    let policy = Policy {
        attempts_max: 1,
        ..Policy::default()
    };
    let mut core = empty_core().with_letter_bytes_max(BYTES_MAX);
    let [first, second, other, platform] = [1, 2, 3, 4].map(SubscriptionId);
    for (id, owner) in [(first, 50), (second, 50), (other, 60), (platform, 0)] {
        let mut subscription = subscription(id, policy.clone());
        subscription.scope = OwnerId(owner);
        core.put(subscription, 0, 0, BEGIN);
    }
    let mut position = 0;
    let mut refuse = |core: &mut Core, id: SubscriptionId| {
        position += 1;
        let event = Matched {
            position,
            time: BEGIN,
            object: 0,
        };
        let matches = BTreeMap::from([(id, vec![event])]);
        core.offer(position, position, &matches, BEGIN);
        for one in core.take(id, 10, None, BEGIN, BEGIN).expect("it is there") {
            let nacked = core.nack(id, one.receipt, None, "a reason to refuse it", BEGIN);
            nacked.expect("it is out");
        }
        core.drain(false);
        core.written();
    };
    let mut dead = 0;
    while core.stalled(first).is_none() {
        refuse(&mut core, if dead % 2 == 0 { first } else { second });
        dead += 1;
        assert!(dead < 10_000, "it never has too many");
    }
    assert!(core.stalled(second).is_some(), "they share");
    assert!(dead * 224 <= BYTES_MAX / 4 + 1_000, "{dead} dead letters");
    for id in [other, platform] {
        assert_eq!(core.stalled(id), None);
        refuse(&mut core, id);
    }
    // What is dropped, or deleted, makes room.
    core.drop_dead(first, None, Actor::SYSTEM, BEGIN)
        .expect("it is there");
    assert_eq!(core.stalled(second), None);
    while core.stalled(second).is_none() {
        refuse(&mut core, second);
    }
    core.delete(second);
    assert_eq!(core.stalled(first), None);
}

/// A thousand subscriptions behind a long journal take no more memory than a few.
#[test]
fn the_windows_of_many_subscriptions_share_a_bound() {
    const COUNT: u64 = 1_000;
    let mut core = empty_core();
    for number in 1..=COUNT {
        let mut subscription = subscription(SubscriptionId(number), Policy::default());
        subscription.scope = OwnerId(1_000 + number % 2);
        core.put(subscription, 0, 0, BEGIN);
    }
    let event = |position| Matched {
        position,
        time: BEGIN,
        object: 0,
    };
    let all: Vec<Matched> = (1..=2_000).map(event).collect();
    let matches = (1..=COUNT).map(|number| (SubscriptionId(number), all.clone()));
    core.offer(1, 2_000, &matches.collect(), BEGIN);
    let waiting = |core: &Core, number| {
        let figures = core.figures(SubscriptionId(number), BEGIN);
        figures.expect("it is there").waiting as usize
    };
    let sum: usize = (1..=COUNT).map(|number| waiting(&core, number)).sum();
    let bound = WINDOWS_IN_ALL_MAX / 2;
    assert!(sum <= bound, "{sum} events in memory, {bound} allowed");
    // Fewer subscriptions have more each.
    for number in 5..=COUNT {
        core.delete(SubscriptionId(number));
    }
    let (_, wanted) = core.wanted(None, 2_000).expect("there is room");
    core.found(
        SubscriptionId(1),
        core.rewinds(),
        &wanted,
        2_000,
        &all[wanted.from as usize - 1..],
        BEGIN,
    );
    assert_eq!(waiting(&core, 1), 2_000);
}

fn matched(position: u64) -> Matched {
    Matched {
        position,
        time: BEGIN,
        object: 0,
    }
}

/// A core with two subscriptions of an owner, one of another owner and one of the platform, each with `events` events in its window.
fn four_subscriptions(core: Core, policy: &Policy, events: u64) -> (Core, [SubscriptionId; 4]) {
    let mut core = core;
    let ids = [1, 2, 3, 4].map(SubscriptionId);
    for (id, owner) in ids.into_iter().zip([50, 50, 60, 0]) {
        let mut subscription = subscription(id, policy.clone());
        subscription.scope = OwnerId(owner);
        core.put(subscription, 0, 0, BEGIN);
    }
    let all: Vec<Matched> = (1..=events).map(matched).collect();
    let matches = ids.into_iter().map(|id| (id, all.clone()));
    core.offer(1, events, &matches.collect(), BEGIN);
    (core, ids)
}

/// Receivers that take events and never answer hold a share of what all receivers may hold, however large `in_flight_max` is.
#[test]
fn the_events_in_the_hands_of_an_owners_receivers_have_a_share() {
    let policy = Policy {
        in_flight_max: 10_000,
        ..Policy::default()
    };
    let core = empty_core().with_in_flight_in_all_max(400);
    let (mut core, [first, second, other, platform]) = four_subscriptions(core, &policy, 1_000);
    let take = |core: &mut Core, id| {
        let taken = core.take(id, 1_000, None, BEGIN, BEGIN);
        taken.expect("it is there")
    };
    let taken = take(&mut core, first);
    assert_eq!(taken.len(), 100);
    assert_eq!(take(&mut core, second).len(), 0);
    assert!(core.stalled(second).is_some());
    assert_eq!(core.stalled(other), None);
    assert_eq!(take(&mut core, other).len(), 100);
    assert_eq!(take(&mut core, platform).len(), 200);
    // A receiver that waits in vain is not called until there is room.
    core.woken();
    core.tick(BEGIN, BEGIN);
    assert_eq!(core.woken(), []);
    let receipts: Vec<_> = taken.iter().map(|one| one.receipt).collect();
    core.ack(first, &receipts[..30], BEGIN)
        .expect("it is there");
    core.tick(BEGIN, BEGIN);
    assert!(core.woken().contains(&second));
    assert_eq!(take(&mut core, second).len(), 30);
    // What timed out, and what a deleted subscription held, is given back.
    core.delete(first);
    assert_eq!(take(&mut core, second).len(), 70);
    let later = BEGIN + 3_600 * 1_000_000_000;
    while core.tick(later, later) {}
    let taken = core.take(second, 1_000, None, later, later);
    assert_eq!(taken.expect("it is there").len(), 100);
}

/// Events that failed and wait for another attempt take a share of the memory, as dead letters do.
#[test]
fn the_events_of_an_owner_that_wait_for_another_attempt_have_a_share_of_the_memory() {
    const BYTES_MAX: usize = 400_000;
    let error = "e".repeat(200);
    let core = empty_core().with_letter_bytes_max(BYTES_MAX);
    let (mut core, [first, second, other, platform]) =
        four_subscriptions(core, &Policy::default(), 900);
    let refuse_all = |core: &mut Core, id, now| {
        let taken = core.take(id, 1_000, None, now, now).expect("it is there");
        for one in &taken {
            let nacked = core.nack(id, one.receipt, Some(0), &error, now);
            nacked.expect("it is out");
        }
        taken.len()
    };
    assert_eq!(refuse_all(&mut core, first, BEGIN), 900);
    assert!(core.stalled(first).is_some() && core.stalled(second).is_some());
    let scanned = |core: &Core, id| core.figures(id, BEGIN).expect("it is there").scanned;
    let later = (901..=1_000).map(matched).collect::<Vec<_>>();
    let matches = [first, second, other, platform].map(|id| (id, later.clone()));
    core.offer(901, 1_000, &BTreeMap::from(matches), BEGIN);
    let all = [first, second, other, platform].map(|id| scanned(&core, id));
    assert_eq!(all, [900, 900, 1_000, 1_000]);
    // Further failures replace the error, so that memory does not grow with attempts.
    let letters = |core: &Core, id| {
        let image = &core.images().images[&id];
        let errors = image.named.values().flat_map(|letter| &letter.history);
        errors.map(|attempt| attempt.error.len()).sum::<usize>()
    };
    let before = letters(&core, first);
    for second in 1..4 {
        let now = BEGIN + second * 1_000_000_000;
        assert_eq!(refuse_all(&mut core, first, now), 900);
    }
    assert_eq!(letters(&core, first), before);
    // What is done makes room.
    let now = BEGIN + 10_000_000_000;
    let taken = core.take(first, 1_000, None, now, now);
    let receipts = taken.expect("it is there").into_iter();
    let receipts: Vec<_> = receipts.map(|one| one.receipt).collect();
    core.ack(first, &receipts, now).expect("it is there");
    assert_eq!((core.stalled(first), core.stalled(second)), (None, None));
}
