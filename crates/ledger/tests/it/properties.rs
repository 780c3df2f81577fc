//! Whatever is asked in whatever order, the books stay right.

use crate::dice::{Dice, command, prelude, rolls};
use crate::world::World;
use proptest::prelude::*;
use tributary_ledger::codec::decode;
use tributary_ledger::*;

/// Runs commands one by one, some of them in groups.
fn play(world: &mut World, rolls: &[Dice]) {
    if world.position == 0 {
        prelude().iter().for_each(|command| _ = world.run(command));
    }
    let mut rest = rolls;
    while let Some(dice) = rest.first() {
        let size = if dice[3] % 6 == 0 {
            usize::from(dice[3] / 6 % 4) + 1
        } else {
            1
        };
        let (now, later) = rest.split_at(size.min(rest.len()));
        rest = later;
        if now.len() == 1 {
            let next = command(world, dice, world.position + 1);
            world.run(&next);
        } else {
            play_group(world, now);
        }
        world.check();
    }
}

/// A group that is refused leaves exactly what refusing each of its commands leaves.
fn play_group(world: &mut World, rolls: &[Dice]) {
    let commands: Vec<Command> = rolls
        .iter()
        .zip(1..)
        .map(|(dice, ahead)| Command {
            linked: true,
            ..command(world, dice, world.position + ahead)
        })
        .collect();
    let (before, first) = (world.set.clone(), world.next());
    let outcomes = world.run_group(&commands);
    assert_eq!(outcomes.len(), commands.len());
    let refused = outcomes
        .iter()
        .filter(|outcome| !outcome.is_accepted())
        .count();
    assert!(refused == 0 || refused == commands.len());
    let mut expected = before;
    for (at, (command, outcome)) in commands.iter().zip(&outcomes).enumerate() {
        let ctx = Context {
            position: first.position + at as u64,
            timestamp: first.timestamp,
        };
        let alone = match outcome.rejection {
            None => decide(&expected, command, ctx),
            Some(rejection) => Outcome {
                // What the group had done until then counts, and is undone in `expected`.
                short_of_funds: outcome.short_of_funds,
                limits: outcome.limits.clone(),
                ..refuse(&expected, command, rejection, ctx)
            },
        };
        assert_eq!(alone, *outcome);
        apply(&mut expected, command, &alone, ctx);
    }
    assert_eq!(world.set.digest_all(), expected.digest_all());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_commands_keep_the_books_right_and_their_records_rebuild_the_state(rolls in rolls(120)) {
        let mut world = World::new();
        play(&mut world, &rolls);
        world.check_mirror();
    }

    #[test]
    fn records_applied_over_a_checkpoint_taken_meanwhile_lead_to_the_same_state(rolls in rolls(120), picks in any::<u64>()) {
        let mut world = World::new();
        let third = rolls.len() / 3;
        play(&mut world, &rolls[..third]);
        let through = world.records.len();
        let mut snapshots = vec![world.set.clone()];
        for dice in &rolls[third..2 * third] {
            play(&mut world, std::slice::from_ref(dice));
            snapshots.push(world.set.clone());
        }
        play(&mut world, &rolls[2 * third..]);
        let mut set = fuzzy(&snapshots, picks);
        for bytes in &world.records[through..] {
            let record = decode(bytes, FORMAT_VERSION).unwrap();
            apply(&mut set, &record.command, &record.outcome, record.ctx);
        }
        prop_assert_eq!(set.digest(), world.set.digest());
        for details in world.set.all_details() {
            let profile = details.profile.as_deref();
            if let Some(external_id) = profile.and_then(|profile| profile.external_id.as_ref()) {
                let holder = set.owner_by_external_id(external_id);
                prop_assert_eq!(holder.map(ObjectId::Owner), Some(details.object));
            }
        }
    }

    #[test]
    fn a_refund_gives_back_all_that_was_captured_and_no_more(
        amount in 1..=AMOUNT_MAX / 4,
        flat in 0..3_u64,
        points in 0..=9_000_u16,
        captures in prop::collection::vec(1..=AMOUNT_MAX / 4, 0..4),
        refunds in prop::collection::vec((1..=AMOUNT_MAX / 4, any::<bool>()), 0..8),
    ) {
        capture_and_refund(amount, flat, points, &captures, &refunds);
    }
}

/// Each object as of some moment while the checkpoint was taken.
fn fuzzy(snapshots: &[WorkingSet], mut picks: u64) -> WorkingSet {
    let mut set = WorkingSet::new(Residency::Accounts);
    let mut pick = || {
        picks = picks
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        &snapshots[(picks >> 33) as usize % snapshots.len()]
    };
    for slot in 0..snapshots.last().unwrap().account_slots() {
        pick()
            .account_in_slot(slot)
            .into_iter()
            .for_each(|account| set.load_account(account.clone()));
    }
    for slot in 0..snapshots.last().unwrap().owner_slots() {
        pick()
            .owner_in_slot(slot)
            .into_iter()
            .for_each(|owner| set.load_owner(&owner.to_owner()));
    }
    for slot in 0..snapshots.last().unwrap().api_key_slots() {
        pick()
            .api_key_in_slot(slot)
            .into_iter()
            .for_each(|key| set.load_api_key(key.clone()));
    }
    for slot in 0..snapshots.last().unwrap().payment_slots() {
        let payment = pick()
            .payment_in_slot(slot)
            .filter(|payment| payment.is_open());
        payment
            .into_iter()
            .for_each(|payment| set.load_payment(payment.clone()));
    }
    let ids: std::collections::BTreeSet<SettingId> = snapshots
        .iter()
        .flat_map(|snapshot| snapshot.settings().map(|setting| setting.id))
        .collect();
    for id in ids {
        let from = pick();
        if let Some(setting) = from.setting(id).cloned() {
            set.load_setting(setting);
        }
        if let Some(limit) = from.limit(id) {
            set.load_limit(&limit.counts());
        }
    }
    for slot in 0..snapshots.last().unwrap().details_slots() {
        let details = pick().details_in_slot(slot).cloned();
        details
            .into_iter()
            .for_each(|details| set.load_details(details));
    }
    set.load_queue(pick().queue());
    set.load_time_offset(pick().time_offset());
    set
}

fn capture_and_refund(
    amount: u64,
    flat: u64,
    points: u16,
    captures: &[u64],
    refunds: &[(u64, bool)],
) {
    use crate::world::{fees, plain_pay, split};
    let mut world = World::new();
    let buyer = world.funded("buyer", amount);
    let (a, b) = (
        world.funded("a", AMOUNT_MAX / 2),
        world.funded("b", AMOUNT_MAX / 2),
    );
    let fee = world.open("platform", AccountKind::Fee, Overdraft::NONE);
    let destination = split(&[
        (a, Part::BasisPoints(points + 1)),
        (b, Part::BasisPoints(9_999 - points)),
    ]);
    let list = fees(&[(fee, flat + 1, points)]);
    let pay = Pay {
        destination,
        fees: list,
        hold: Some(Hold {
            expires_at: u64::MAX,
        }),
        ..plain_pay(buyer, a, amount)
    };
    let outcome = world.submit(Actor::SYSTEM, Body::Pay(pay));
    if outcome.rejection == Some(Rejection::FeesExceedAmount) {
        return;
    }
    let payment = outcome.payment.unwrap().id;
    let mut captured = 0;
    for wanted in captures {
        let outcome = world.capture(payment, Some(*wanted));
        assert_eq!(
            outcome.is_accepted(),
            captured + wanted <= amount && captured < amount
        );
        captured += if outcome.is_accepted() { *wanted } else { 0 };
    }
    if captured == 0 {
        assert!(world.capture(payment, None).is_accepted());
        captured = amount;
    }
    let mut refunded = 0;
    for (wanted, refund_fee) in refunds {
        let body = Body::Refund(Refund {
            payment,
            amount: Some(*wanted),
            refund_fee: *refund_fee,
            splits: PayeeAmounts::default(),
        });
        let outcome = world.submit(Actor::SYSTEM, body);
        assert_eq!(
            outcome.is_accepted(),
            refunded + wanted <= captured,
            "{:?}",
            outcome.rejection
        );
        refunded += if outcome.is_accepted() { *wanted } else { 0 };
        world.check();
    }
    if refunded < captured {
        assert!(world.refund(payment, None).is_accepted());
    }
    assert_eq!(world.payment(payment).refunded, captured);
    assert_eq!(world.posted(buyer), i64::try_from(amount).unwrap());
    assert_eq!(world.payment(payment).is_open(), captured < amount);
    world.check();
    world.check_mirror();
}

/// Else the properties would hold of nothing.
#[test]
fn the_dice_reach_every_operation_done_and_refused() {
    let mut state = 1_u64;
    let mut die = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as u16
    };
    let mut done = std::collections::BTreeMap::<_, usize>::new();
    let mut rejections = std::collections::BTreeMap::<_, usize>::new();
    for _ in 0..150 {
        let mut world = World::new();
        let rolls: Vec<Dice> = (0..100).map(|_| std::array::from_fn(|_| die())).collect();
        play(&mut world, &rolls);
        for bytes in &world.records {
            let record = decode(bytes, FORMAT_VERSION).unwrap();
            let operation = codec::Operation::from_body(&record.command.body);
            *done
                .entry((operation, record.outcome.is_accepted()))
                .or_default() += 1;
            if let Some(rejection) = record.outcome.rejection {
                *rejections.entry(rejection).or_default() += 1;
            }
        }
    }
    for operation in codec::Operation::ALL {
        for accepted in [true, false] {
            let times = done.get(&(operation, accepted)).copied().unwrap_or(0);
            assert!(times >= 5, "{operation:?} {accepted}: {times}; {done:?}");
        }
    }
    assert!(rejections.len() >= 25, "{rejections:?}");
}
