//! A set that holds only what `missing_lookups` returned for decides like one that holds everything.

use crate::dice::{Dice, command, prelude, rolls};
use crate::world::{World, eur, owner, plain_pay};
use proptest::prelude::*;
use std::collections::BTreeMap;
use tributary_ledger::chain::Chain;
use tributary_ledger::codec::{decode_owner_ref, encode_owner};
use tributary_ledger::*;

/// Brings what the set lacks from storage, and says that the rest is absent.
fn load(storage: &WorkingSet, commands: &[Command], set: &mut WorkingSet) {
    for stage in 0.. {
        let wanted = missing_lookups(commands, set);
        if wanted.is_empty() {
            break;
        }
        assert!(stage < LOADING_STAGES_MAX, "too many stages: {wanted:?}");
        wanted
            .payments
            .iter()
            .filter_map(|id| storage.payment(*id))
            .for_each(|payment| set.load_payment(payment.clone()));
        for (space, reference) in &wanted.references {
            if let Some(payment) = storage.reference(*space, reference) {
                set.load_reference(*space, reference.clone(), payment);
            }
        }
        for (owner, external) in &wanted.externals {
            if let Some(account) = storage.external(*owner, external) {
                set.load_external(*owner, external.clone(), account);
            }
        }
        set.mark_absent(&wanted);
    }
}

fn play(rolls: &[Dice], lag: usize) {
    let mut world = World::new();
    let mut set = WorkingSet::new(Residency::Accounts);
    // States as of the end of each batch: what is durable is `lag` batches behind.
    let mut states = vec![(0, world.set.clone())];
    for batch in std::iter::once(&[][..]).chain(rolls.chunks(9)) {
        let (durable, storage) = &states[states.len().saturating_sub(1 + lag)];
        set.evict_through(*durable);
        let rolled = batch
            .iter()
            .zip(1..)
            .map(|(dice, at)| command(&world, dice, world.position + at));
        let commands: Vec<Command> = if batch.is_empty() {
            prelude()
        } else {
            rolled.collect()
        };
        load(storage, &commands, &mut set);
        for command in &commands {
            step(&mut world, &mut set, command);
        }
        let queue = |set: &WorkingSet| {
            let counts: BTreeMap<_, _> = set.queued_by_owner().collect();
            (set.queue(), set.queued(), counts)
        };
        assert_eq!(queue(&set), queue(&world.set), "the queue");
        states.push((world.position, world.set.clone()));
    }
    assert_eq!(set.digest(), world.set.digest());
    set.evict_through(world.position);
    assert!(
        set.payments().all(Payment::is_open),
        "only open payments stay"
    );
    assert_eq!(set.digest(), world.set.digest());
    assert_eq!(
        set.digest(),
        set.digest_all(),
        "no reference or external id stays"
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_set_of_accounts_and_open_payments_decides_like_one_of_everything(rolls in rolls(150), lag in 0..3_usize) {
        play(&rolls, lag);
    }
}

#[test]
fn nothing_is_asked_of_a_set_of_everything() {
    let world = World::new();
    let command = command(&world, &[9; 12], 1);
    assert!(missing_lookups(&[command], &world.set).is_empty());
}

/// The owner of a payment to a new account is not known before its batch is decided; the name space of the reference is.
#[test]
fn a_reference_is_not_free_because_the_batch_itself_opens_the_account() {
    let mut world = World::new();
    let mut set = WorkingSet::new(Residency::Accounts);
    let pay_under = |reference: &str, payee, amount| {
        let reference = Some(Reference::new(reference).unwrap());
        Body::Pay(Pay {
            reference,
            ..plain_pay(AccountId(1), payee, amount)
        })
    };
    let open = |name: &str, kind, overdraft| {
        let (owner, currency) = (owner(name), eur());
        Body::OpenAccount(OpenAccount {
            owner,
            currency,
            kind,
            overdraft,
            external_id: None,
        })
    };
    let batches = [
        vec![
            open("platform", AccountKind::External, Overdraft::UNLIMITED),
            open("a", AccountKind::Wallet, Overdraft::NONE),
        ],
        vec![pay_under("r", AccountId(2), 5)],
        vec![
            open("a", AccountKind::Wallet, Overdraft::NONE),
            pay_under("r", AccountId(4), 5),
            pay_under("s", AccountId(4), 5),
        ],
    ];
    let mut last = Vec::new();
    for bodies in batches {
        let storage = world.set.clone();
        set.evict_through(world.position);
        let commands: Vec<Command> = bodies
            .into_iter()
            .map(|body| crate::world::command(Actor::SYSTEM, body))
            .collect();
        load(&storage, &commands, &mut set);
        last = commands
            .iter()
            .map(|command| step(&mut world, &mut set, command))
            .collect();
    }
    assert_eq!(last, [None, Some(Rejection::ReferenceInUse), None]);
}

/// The order that had the reference is durable and forgotten, the reference is still in the set.
#[test]
fn a_reference_is_free_again_after_its_order_failed_and_was_forgotten() {
    let mut world = World::new();
    let mut set = WorkingSet::new(Residency::Accounts);
    let open = |name: &str, kind, overdraft| {
        Body::OpenAccount(OpenAccount {
            owner: owner(name),
            currency: eur(),
            kind,
            overdraft,
            external_id: None,
        })
    };
    let under_r = |amount, queue: Option<Box<Queue>>| {
        Body::Pay(Pay {
            reference: Some(Reference::new("r").unwrap()),
            queue,
            ..plain_pay(AccountId(2), AccountId(1), amount)
        })
    };
    let queue = Queue {
        terms: QueueTerms::default(),
        correlation_id: None,
    };
    let mut states = vec![(0, world.set.clone())];
    let batches = [
        vec![
            open("platform", AccountKind::External, Overdraft::UNLIMITED),
            open("a", AccountKind::Wallet, Overdraft::NONE),
        ],
        vec![under_r(5, Some(Box::new(queue)))],
        vec![Body::Run(PaymentId(3))],
        // Asks for the reference while only the order is durable, and is refused.
        vec![under_r(0, None)],
        vec![Body::Pay(plain_pay(AccountId(1), AccountId(2), 9))],
        vec![under_r(5, None)],
    ];
    let mut last = Vec::new();
    for bodies in batches {
        // One batch is on its way while the next is decided.
        let (durable, storage) = &states[states.len().saturating_sub(2)];
        set.evict_through(*durable);
        let commands: Vec<Command> = bodies
            .into_iter()
            .map(|body| crate::world::command(Actor::SYSTEM, body))
            .collect();
        load(storage, &commands, &mut set);
        last = commands
            .iter()
            .map(|command| step(&mut world, &mut set, command))
            .collect();
        states.push((world.position, world.set.clone()));
    }
    assert_eq!(last, [None]);
}

fn step(world: &mut World, set: &mut WorkingSet, command: &Command) -> Option<Rejection> {
    let ctx = world.next();
    let outcome = decide(set, command, ctx);
    apply(set, command, &outcome, ctx);
    assert_eq!(world.run(command), outcome);
    outcome.rejection
}

/// More than are indexed at once, so that tables grow on the way and are filled region by region.
#[test]
fn whatever_is_loaded_is_found_in_whatever_order_it_comes_and_the_newest_stays() {
    const OBJECTS: u64 = 280_000;
    let owner = |id: u64, last: u64| Owner {
        id: OwnerId(id),
        name: OwnerName::new(&format!("somebody-with-a-longer-name-{id}")).unwrap(),
        last_account: (last > 0).then_some(AccountId(last)),
        changed_at: id.max(last),
    };
    let account = |id: u64, last: u64| Account {
        id: AccountId(id),
        owner: OwnerId(id),
        owner_prev: None.into(),
        posted: last as i64,
        held: 0,
        overdraft: Overdraft::NONE,
        opened_at: id,
        chain: Chain::from_parts(last, 1, [0; 4]),
        currency: Currency::from_code("EUR").unwrap(),
        kind: AccountKind::Wallet,
        status: AccountStatus::Open,
    };
    let in_order: Vec<u64> = (1..=OBJECTS).map(|number| number * 3).collect();
    let reversed: Vec<u64> = in_order.iter().rev().copied().collect();
    let mut mixed = in_order.clone();
    mixed.swap(5, 270_000);
    for (ids, again) in [(in_order, 0), (mixed, 7), (reversed[..5_000].to_vec(), 1)] {
        let mut set = WorkingSet::new(Residency::Accounts);
        let loaded = ids.iter().copied().chain(ids.iter().copied().take(again));
        let owners: Vec<Vec<u8>> = loaded
            .clone()
            .map(|id| {
                let mut bytes = Vec::new();
                encode_owner(&owner(id, 0), &mut bytes);
                bytes
            })
            .collect();
        let load = |put: &mut dyn FnMut(OwnerRef<'_>)| {
            let mut owners = owners.iter();
            owners.try_for_each(|bytes| decode_owner_ref(bytes, FORMAT_VERSION).map(&mut *put))
        };
        set.load_owners(load).unwrap();
        loaded.for_each(|id| set.load_account(account(id, id)));
        let newer = OBJECTS * 4;
        set.load_owner(&owner(ids[3], newer));
        set.load_owner(&owner(ids[3], 0));
        set.load_account(account(ids[4], newer));
        set.load_account(account(ids[4], ids[4]));
        assert_eq!(set.account_count(), ids.len());
        assert_eq!(set.owner_count(), ids.len() + 1);
        for &id in &ids {
            let last = if id == ids[3] { newer } else { 0 };
            let expected = owner(id, last);
            assert_eq!(set.owner_by_name(&expected.name), Some(expected.clone()));
            assert_eq!(set.owner(OwnerId(id)), Some(expected));
            let last = if id == ids[4] { newer } else { id };
            assert_eq!(set.account(AccountId(id)), Some(&account(id, last)));
            assert_eq!(set.account(AccountId(id + 1)), None);
        }
        let stranger = OwnerName::new("somebody-with-a-longer-name-1").unwrap();
        assert_eq!(set.owner_by_name(&stranger), None);
        let digest = set.digest();
        let set = set.sorted_by_id();
        assert_eq!(set.digest(), digest);
        let mut sorted = ids.clone();
        sorted.sort_unstable();
        for (slot, &id) in sorted.iter().enumerate() {
            assert_eq!(
                set.account_in_slot(slot).map(|account| account.id.0),
                Some(id)
            );
            assert_eq!(set.account_slot_from(id), slot);
            assert_eq!(set.account_slot_from(id + 1), slot + 1);
            // The platform is the first.
            let owner = set.owner_in_slot(slot + 1).map(OwnerRef::to_owner);
            assert_eq!(owner, set.owner(OwnerId(id)));
        }
        assert_eq!(set.account_slots(), ids.len());
        assert_eq!(set.owner_slots(), ids.len() + 1);
    }
}
