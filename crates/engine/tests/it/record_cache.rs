//! Promises of the cache of records: it changes how fast an answer is, and never which one.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use proptest::prelude::*;
use tributary_engine::{
    CachePolicy, Engine, Options, Page, Reader, RecordCacheOptions, RecordPlace, Reply,
    SharedFigures, SharedRecords, SystemClock,
};
use tributary_ledger::{
    Access, AccountId, Body, Capture, Command, CreateApiKey, OwnerId, OwnerName, Pay, PayeeAmounts,
    PaymentId, Reference, ReferenceSpace, Refund,
};
use tributary_testkit::store::{TestStore, Tested};

use crate::support::{command, hold, in_directory, open, pay, pay_with_reference};

/// So small that entries leave all the time.
const SMALL_BYTES: u64 = 8_000;
const LARGE_BYTES: u64 = 8_000_000;

fn start(store: &TestStore, record_cache: RecordCacheOptions) -> Tested<Engine> {
    let options = Options {
        record_cache,
        ..Options::default()
    };
    let engine = store.start(Arc::new(SystemClock), options);
    execute(&engine, vec![open("a", "platform"), open("b", "shop")]);
    engine
}

fn cache(bytes_max: u64, policy: CachePolicy) -> RecordCacheOptions {
    RecordCacheOptions {
        bytes_max,
        policy,
        shared: None,
    }
}

/// Positions of the records of the commands.
fn execute(engine: &Engine, commands: Vec<Command>) -> Vec<u64> {
    let replies = engine.execute_blocking(commands).expect("it is taken");
    let positions = replies.iter().map(|reply| match reply {
        Reply::Done { record, .. } => record.ctx.position,
        other => panic!("{other:?}"),
    });
    positions.collect()
}

fn refund(payment: u64, amount: u64) -> Body {
    Body::Refund(Refund {
        payment: PaymentId(payment),
        amount: Some(amount),
        refund_fee: false,
        splits: PayeeAmounts::default(),
    })
}

/// Compares everything that the cache takes part in.
fn assert_alike(cached: &Reader, references: u64) {
    let uncached = cached.without_record_cache();
    // Twice: what the first read leaves in the cache answers the second one.
    for _ in 0..2 {
        for position in 0..=uncached.published() + 1 {
            let id = PaymentId(position);
            let record = cached.record(position).expect("it reads");
            assert_eq!(record, uncached.record(position).expect("it reads"));
            let payment = cached.payment(id).expect("it reads");
            assert_eq!(payment, uncached.payment(id).expect("it reads"));
            let refunds = |reader: &Reader| {
                let found = reader.refunds(id, Page::newest(10)).expect("it reads");
                (found.items, found.next)
            };
            assert_eq!(refunds(cached), refunds(&uncached));
        }
        for number in 0..references + 2 {
            let name = Reference::new(&format!("order-{number}")).expect("a reference");
            let space = ReferenceSpace::new(OwnerId::PLATFORM, None);
            let find = |reader: &Reader| {
                let found = reader.payment_by_reference(space, &name);
                found.expect("it reads")
            };
            assert_eq!(find(cached), find(&uncached));
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Pay,
    Hold,
    Capture(prop::sample::Index),
    Refund(prop::sample::Index, u64),
    Compare,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        Just(Step::Pay),
        Just(Step::Hold),
        any::<prop::sample::Index>().prop_map(Step::Capture),
        (any::<prop::sample::Index>(), 1..60_u64).prop_map(|(of, amount)| Step::Refund(of, amount)),
        Just(Step::Compare),
    ];
    prop::collection::vec(step, 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn cached_and_uncached_reads_are_alike(
        steps in steps(),
        bytes_max in prop_oneof![Just(SMALL_BYTES), Just(LARGE_BYTES)],
        policy in prop_oneof![Just(CachePolicy::TinyLfu), Just(CachePolicy::Lru)],
    ) {
        let engine = start(&in_directory(), cache(bytes_max, policy));
        let reader = engine.reader();
        let (mut payments, mut references) = (vec![3], 0);
        execute(&engine, vec![command("first", Body::Pay(pay(1, 2, 100)))]);
        for (number, step) in steps.iter().enumerate() {
            let of = |index: &prop::sample::Index| *index.get(&payments);
            let body = match step {
                Step::Pay => {
                    references += 1;
                    pay_with_reference(1, 2, &format!("order-{references}"))
                }
                Step::Hold => hold(1, 2, 70, u64::MAX / 2),
                Step::Capture(index) => Body::Capture(Capture {
                    payment: PaymentId(of(index)),
                    amount: None,
                    is_final: true,
                    splits: PayeeAmounts::default(),
                }),
                Step::Refund(index, amount) => refund(of(index), *amount),
                Step::Compare => {
                    assert_alike(&reader, references);
                    continue;
                }
            };
            let made = matches!(body, Body::Pay(_));
            let positions = execute(&engine, vec![command(&format!("step-{number}"), body)]);
            if made {
                payments.extend(positions);
            }
        }
        assert_alike(&reader, references);
        engine.shutdown();
    }
}

/// Refunds of closed payments, which leave the view, while others read them.
#[test]
fn no_reader_sees_less_than_what_was_answered_or_seen_before() {
    const PAYMENTS: u64 = 4;
    const REFUNDS: u64 = 300;
    for policy in [CachePolicy::TinyLfu, CachePolicy::Lru] {
        let engine = start(&in_directory(), cache(SMALL_BYTES, policy));
        let payments = (0..PAYMENTS).map(|at| {
            let payment = Body::Pay(pay(1, 2, REFUNDS));
            execute(&engine, vec![command(&format!("pay-{at}"), payment)])[0]
        });
        let payments: Vec<(u64, AtomicU64)> = payments.map(|id| (id, AtomicU64::new(0))).collect();
        let refunded = |reader: &Reader, id| {
            let payment = reader.payment(PaymentId(id)).expect("it reads");
            payment.expect("it is there").refunded
        };
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let writers: Vec<_> = payments
                .iter()
                .map(|(id, answered)| {
                    let (engine, reader) = (&engine, engine.reader());
                    scope.spawn(move || {
                        for count in 1..=REFUNDS {
                            let key = format!("refund-{id}-{count}");
                            execute(engine, vec![command(&key, refund(*id, 1))]);
                            answered.store(count, Ordering::SeqCst);
                            assert_eq!(refunded(&reader, *id), count, "it reads what it wrote");
                        }
                    })
                })
                .collect();
            for _ in 0..3 {
                let (reader, payments, done) = (engine.reader(), &payments, &done);
                scope.spawn(move || {
                    let mut seen = vec![0; payments.len()];
                    while !done.load(Ordering::SeqCst) {
                        for ((id, answered), seen) in payments.iter().zip(&mut seen) {
                            let least = answered.load(Ordering::SeqCst).max(*seen);
                            *seen = refunded(&reader, *id);
                            assert!(*seen >= least, "{seen} after {least}");
                        }
                    }
                });
            }
            let ended: Vec<_> = writers.into_iter().map(|writer| writer.join()).collect();
            done.store(true, Ordering::SeqCst);
            assert!(ended.iter().all(Result::is_ok));
        });
        let figures = engine.reader().record_cache_figures().records;
        assert!(figures.hits > 0 && figures.misses > 0, "{figures:?}");
        engine.shutdown();
    }
}

#[test]
fn what_does_not_exist_is_refused_and_not_cached() {
    let engine = start(
        &TestStore::in_memory(),
        cache(LARGE_BYTES, CachePolicy::TinyLfu),
    );
    let reader = engine.reader();
    let name = Reference::new("order-1").expect("a reference");
    let space = ReferenceSpace::new(OwnerId::PLATFORM, None);
    let by_name = || reader.payment_by_reference(space, &name).expect("it reads");
    assert_eq!(by_name(), None);
    assert_eq!(reader.record(0).expect("it reads"), None);
    assert_eq!(reader.record(1 << 40).expect("it reads"), None);
    let made_up = "pay_00000000000000000000000000";
    assert_eq!(
        reader
            .ids()
            .decode(tributary_engine::IdKind::Payment, made_up),
        None
    );
    let figures = reader.record_cache_figures();
    assert_eq!((figures.refused, figures.records.misses), (4, 0));
    let paid = execute(
        &engine,
        vec![command("pay", pay_with_reference(1, 2, "order-1"))],
    );
    assert_eq!(
        by_name().expect("it is there at once").id,
        PaymentId(paid[0])
    );
    engine.shutdown();
}

/// A second level as an attacker would have it: it gives whatever it was told to give.
#[derive(Default)]
struct Hostile {
    stored: Mutex<HashMap<RecordPlace, Vec<u8>>>,
    gives: Mutex<Option<Vec<u8>>>,
}

impl SharedRecords for Hostile {
    fn get(&self, place: &RecordPlace) -> Option<Vec<u8>> {
        let gives = self.gives.lock().expect("nobody panics").clone();
        gives.or_else(|| {
            self.stored
                .lock()
                .expect("nobody panics")
                .get(place)
                .cloned()
        })
    }

    fn put(&self, place: RecordPlace, payload: &[u8]) {
        let mut stored = self.stored.lock().expect("nobody panics");
        stored.insert(place, payload.to_vec());
    }

    fn figures(&self) -> SharedFigures {
        SharedFigures::default()
    }
}

fn key_of(name: &str) -> Command {
    let create = CreateApiKey {
        owner: OwnerName::new("shop").expect("a name"),
        access: Access::Write,
        secret_hash: [7; 32],
        label: None,
    };
    command(name, Body::CreateApiKey(create))
}

#[test]
fn the_second_level_gets_no_secret_and_what_it_gives_for_another_record_is_not_taken() {
    const RECORDS: u64 = (1 << 16) + 2_000;
    let hostile = Arc::new(Hostile::default());
    let shared = hostile.clone();
    let options = RecordCacheOptions {
        shared: Some(Arc::new(move |_| shared.clone() as Arc<dyn SharedRecords>)),
        // So small that no record stays.
        ..cache(1, CachePolicy::Lru)
    };
    let engine = start(&TestStore::in_memory(), options);
    let secret = execute(&engine, vec![key_of("key")])[0];
    let plain = |number: u64| command(&number.to_string(), Body::Pay(pay(1, 2, 1 + number)));
    for first in (0..RECORDS).step_by(1_000) {
        execute(&engine, (first..first + 1_000).map(plain).collect());
    }
    let reader = engine.reader();
    let uncached = reader.without_record_cache();
    let head = reader.published();
    let check = |position| {
        let record = reader.record(position).expect("it reads");
        assert_eq!(record, uncached.record(position).expect("it reads"));
    };
    [secret, 10, 11, head].into_iter().for_each(check);
    let stored = |position| {
        let stored = hostile.stored.lock().expect("nobody panics");
        let mut found = stored
            .iter()
            .filter(|(place, _)| place.position == position);
        found.next().map(|(_, payload)| payload.clone())
    };
    assert!(stored(10).is_some() && stored(11).is_some());
    assert_eq!(
        stored(secret),
        None,
        "the record of a key holds the hash of its secret"
    );
    assert_eq!(stored(head), None, "its history has no name yet");
    let gives = |payload| *hostile.gives.lock().expect("nobody panics") = payload;
    for wrong in [stored(10), Some(Vec::new()), Some(vec![0xff; 300])] {
        gives(wrong);
        [secret, 11, 12, head].into_iter().for_each(check);
    }
    engine.shutdown();
}

/// A copy of a journal that was put back by hand, and went on in another way, must not find the records of the other history.
#[test]
fn histories_that_part_have_no_place_in_common() {
    let hostile = Arc::new(Hostile::default());
    let places = [1, 2].map(|amount| {
        let shared = hostile.clone();
        let options = RecordCacheOptions {
            shared: Some(Arc::new(move |_| shared.clone() as Arc<dyn SharedRecords>)),
            ..cache(1, CachePolicy::Lru)
        };
        let engine = start(&TestStore::in_memory(), options);
        let plain = |number: u64| {
            command(
                &number.to_string(),
                Body::Pay(Pay {
                    source: AccountId(1),
                    ..pay(1, 2, amount)
                }),
            )
        };
        for first in (0..1 << 16).step_by(1_024) {
            execute(&engine, (first..first + 1_024).map(plain).collect());
        }
        let found = engine
            .reader()
            .record(100)
            .expect("it reads")
            .expect("it is there");
        engine.shutdown();
        found
    });
    assert_ne!(places[0], places[1]);
    assert_eq!(hostile.stored.lock().expect("nobody panics").len(), 2);
}
