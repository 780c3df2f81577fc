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
    let mut core = empty_core().with_dead_bytes_max(BYTES_MAX);
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
    assert!(dead * 96 <= BYTES_MAX / 4 + 1_000, "{dead} dead letters");
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
    let in_flight = Policy::default().in_flight_max as usize;
    let sum: usize = (1..=COUNT).map(|number| waiting(&core, number)).sum();
    let bound = WINDOWS_IN_ALL_MAX / 2 + COUNT as usize * in_flight;
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
