//! Records as bytes.

use crate::dice::{command as roll, prelude, rolls};
use crate::world::{DAY, World, by, command, eur, fees, owner, plain_pay, split};
use proptest::prelude::*;
use std::fmt::Write;
use tributary_ledger::chain::{Chain, SEQ_MAX};
use tributary_ledger::codec::{
    Record, RecordRef, decode, encode, encode_account, encode_api_key, encode_owner, encode_payment,
};
use tributary_ledger::codec::{
    decode_account, decode_api_key, decode_details, decode_owner, decode_payment, decode_setting,
    encode_details, encode_setting,
};
use tributary_ledger::codec::{decode_accounts, decode_owners, encode_accounts, encode_owners};
use tributary_ledger::*;

#[test]
fn a_plain_payment_takes_at_most_216_bytes() {
    let mut world = World::new();
    let (a, b) = (world.funded("a", 5), world.wallet("b"));
    world.pay(plain_pay(a, b, 5));
    assert_eq!(world.records.last().unwrap().len(), 216);
}

#[test]
fn another_format_version_is_refused() {
    let mut world = World::new();
    world.wallet("a");
    for version in [0, FORMAT_VERSION + 1, u16::MAX] {
        assert!(decode(&world.records[0], version).is_err());
        assert!(decode_owner(&[0; 64], version).is_err());
    }
}

/// A record is found again by each of its names; a refused one by its key and as something that was refused to a payment.
#[test]
fn records_are_indexed_by_key_reference_payment_and_external_id() {
    let mut world = World::new();
    let external = ExternalId::new("42").unwrap();
    let open = OpenAccount {
        owner: owner("shop"),
        currency: eur(),
        kind: AccountKind::Merchant,
        overdraft: Overdraft::NONE,
        external_id: Some(external.clone()),
    };
    let check = |world: &World, expected: &[u64]| {
        let mut found = Vec::new();
        index_keys(world.records.last().unwrap(), &mut |hash| found.push(hash)).unwrap();
        assert_eq!(found, expected);
    };
    let key = hash::hash_key(
        OwnerId::PLATFORM,
        &Key::from_bytes(b"0123456789abcdef").unwrap(),
    );
    let shop = world.must(Body::OpenAccount(open.clone())).account.unwrap();
    check(&world, &[key, hash::hash_external(shop.owner, &external)]);
    world.submit(Actor::SYSTEM, Body::OpenAccount(open));
    check(&world, &[key]);
    let buyer = world.funded("buyer", 100);
    let reference = Reference::new("order-1").unwrap();
    let payment = world.pay(Pay {
        reference: Some(reference.clone()),
        reason: Some(Reason::new("why").unwrap()),
        ..plain_pay(buyer, shop.id, 9)
    });
    let space = ReferenceSpace::new(OwnerId::PLATFORM, None);
    check(&world, &[key, hash::hash_reference(space, &reference)]);
    world.pay(Pay {
        reference: Some(reference.clone()),
        reference_scope: Some(shop.owner),
        ..plain_pay(buyer, shop.id, 9)
    });
    let space = ReferenceSpace::new(OwnerId::PLATFORM, Some(shop.owner));
    check(&world, &[key, hash::hash_reference(space, &reference)]);
    world.refund(payment, Some(10));
    check(&world, &[key, hash::hash_refused(payment)]);
    world.refund(payment, Some(9));
    check(&world, &[key, hash::hash_payment(payment)]);
    world.submit(by(shop.owner), Body::Void(payment));
    check(
        &world,
        &[
            hash::hash_key(shop.owner, &Key::from_bytes(b"0123456789abcdef").unwrap()),
            hash::hash_refused(payment),
            hash::hash_audience(shop.owner),
        ],
    );
    // What has no legs is found by the owners whom it is about.
    let update = |object| crate::details::update(object, true, false);
    world.must(update(Updated::Payment(payment)));
    let mut owners = [world.owner_of(buyer), shop.owner];
    owners.sort_unstable();
    let [first, second] = owners.map(hash::hash_audience);
    check(&world, &[key, hash::hash_payment(payment), first, second]);
    world.must(update(Updated::Account(shop.id)));
    let change = hash::hash_change(ObjectId::Account(shop.id));
    check(&world, &[key, change, hash::hash_audience(shop.owner)]);
    world.must(update(Updated::Owner(shop.owner, ProfileChange::default())));
    let change = hash::hash_change(ObjectId::Owner(shop.owner));
    check(&world, &[key, change, hash::hash_audience(shop.owner)]);
    let created = world.must(crate::details::create("company", None));
    let company = created.owner.unwrap().id;
    check(&world, &[key, hash::hash_audience(company)]);
    // The chain of the account leads to what has a leg there.
    world.must(Body::FreezeAccount(shop.id));
    let change = hash::hash_change(ObjectId::Account(shop.id));
    check(&world, &[key, change]);
}

fn objects_round_trip(set: &WorkingSet) {
    fn check<T: PartialEq + std::fmt::Debug>(
        object: &T,
        encode: fn(&T, &mut Vec<u8>),
        decode: fn(&[u8], u16) -> Result<T, tributary_ledger::codec::Corrupt>,
    ) {
        let mut bytes = Vec::new();
        encode(object, &mut bytes);
        assert_eq!(decode(&bytes, FORMAT_VERSION).as_ref(), Ok(object));
        for len in 0..bytes.len() {
            assert!(decode(&bytes[..len], FORMAT_VERSION).is_err());
        }
        bytes.push(0);
        assert!(decode(&bytes, FORMAT_VERSION).is_err());
    }
    set.accounts()
        .for_each(|account| check(account, encode_account, decode_account));
    set.owners()
        .for_each(|owner| check(&owner, encode_owner, decode_owner));
    runs_round_trip(
        &set.accounts().cloned().collect::<Vec<_>>(),
        &set.owners().collect::<Vec<_>>(),
    );
    set.payments()
        .for_each(|payment| check(payment, encode_payment, decode_payment));
    set.api_keys()
        .for_each(|key| check(key, encode_api_key, decode_api_key));
    set.all_details()
        .for_each(|details| check(details, encode_details, decode_details));
    // Every beginning of a large one would be read.
    set.settings()
        .filter(|setting| setting.body.as_bytes().len() < 1_000)
        .for_each(|setting| check(setting, encode_setting, decode_setting));
}

/// As runs, which give what was put in, and of a beginning what is whole in it; gives their bytes.
fn runs_round_trip(accounts: &[Account], owners: &[Owner]) -> [Vec<u8>; 2] {
    fn check<T: PartialEq + std::fmt::Debug>(
        objects: &[T],
        bytes: &[u8],
        decode: impl Fn(&[u8], &mut Vec<T>) -> Result<(), tributary_ledger::codec::Corrupt>,
    ) {
        let mut whole = 0;
        for len in 0..=bytes.len() {
            let mut found = Vec::new();
            let sound = decode(&bytes[..len], &mut found).is_ok();
            assert_eq!(found, objects[..found.len()]);
            assert_eq!(sound, len == 0 || found.len() > whole);
            whole = found.len();
        }
        assert_eq!(whole, objects.len());
    }
    let (mut account_bytes, mut owner_bytes) = (Vec::new(), Vec::new());
    encode_accounts(accounts, &mut account_bytes);
    check(accounts, &account_bytes, |bytes, found| {
        decode_accounts(bytes, FORMAT_VERSION, |account| found.push(account))
    });
    // Only a set gives owners whose names lie elsewhere.
    let mut set = WorkingSet::new(Residency::Accounts);
    owners.iter().for_each(|owner| set.load_owner(owner));
    let set = set.sorted_by_id();
    let in_place = (0..set.owner_slots()).map_while(|slot| set.owner_in_slot(slot));
    encode_owners(in_place, &mut owner_bytes);
    let in_order: Vec<Owner> = set.owners().collect();
    check(&in_order, &owner_bytes, |bytes, found| {
        decode_owners(bytes, FORMAT_VERSION, |owner| found.push(owner.to_owner()))
    });
    [account_bytes, owner_bytes]
}

#[test]
fn runs_of_accounts_and_owners_keep_every_value_and_their_bytes_never_change() {
    let account = |id: u64, owner: u64, prev: Option<u64>, posted: i64| Account {
        id: AccountId(id),
        owner: OwnerId(owner),
        owner_prev: prev.map(AccountId).into(),
        posted,
        held: 0,
        overdraft: Overdraft::NONE,
        opened_at: id,
        chain: Chain::from_parts(id, 1, [0; 4]),
        currency: eur(),
        kind: AccountKind::Wallet,
        status: AccountStatus::Open,
    };
    let far = Account {
        held: AMOUNT_MAX,
        overdraft: Overdraft::UNLIMITED,
        opened_at: 0,
        chain: Chain::from_parts(u64::MAX, SEQ_MAX, [1, u64::MAX, 3, 0]),
        kind: AccountKind::Suspense,
        status: AccountStatus::Closed,
        ..account(u64::MAX - 1, 0, Some(7), -(AMOUNT_MAX as i64))
    };
    let limited = Account {
        overdraft: Overdraft::limited(AMOUNT_MAX),
        opened_at: u64::MAX,
        ..account(9, 5, Some(7), AMOUNT_MAX as i64)
    };
    let somebody = |id: u64, last: Option<u64>, name: &str| Owner {
        id: OwnerId(id),
        name: owner(name),
        last_account: last.map(AccountId),
        changed_at: last.map_or(id, |last| last.max(id)),
    };
    let longest = "a".repeat(OwnerName::BYTES_MAX);
    let accounts = [
        account(7, 5, None, 300),
        account(8, 8, None, -1),
        limited,
        far,
    ];
    let owners = [
        somebody(0, Some(1 << 40), "platform"),
        somebody(5, Some(9), "a"),
        somebody(8, Some(8), &longest),
        somebody(u64::MAX, None, "z"),
    ];
    runs_round_trip(&accounts, &owners);
    let [accounts, owners] = runs_round_trip(&accounts[..2], &owners[..2]);
    assert_eq!(
        hex::encode(accounts),
        "070200d80400010e0001d203010100010000010001020001d203010100"
    );
    assert_eq!(
        hex::encode(owners),
        "0080808080804008706c6174666f726d05080161"
    );
}

/// Reads whatever can be read; what is read in full must be what the bytes say and nothing else.
fn read_all(bytes: &[u8]) {
    if let Ok(view) = RecordRef::parse(bytes, FORMAT_VERSION) {
        let _ = (
            view.context(),
            view.operation(),
            view.rejection(),
            view.actor(),
            view.key(),
            view.digest(),
            view.linked(),
        );
        let _ = (
            view.effective_at(),
            view.text(),
            view.payment(),
            view.payment_kind(),
            view.payment_owner(),
            view.amount(),
        );
        let _ = (
            view.reference(),
            view.reference_scope(),
            view.external_id(),
            view.account_owner(),
            view.is_hold(),
            view.is_queued(),
            view.changes_payment(),
            event_type(&view),
            view.topic(),
            view.order_key(),
            view.data(),
            view.setting(),
            view.setting_change(),
            view.subject(),
            view.origin().map(|origin| origin.to_origin()),
        );
        view.legs().for_each(|leg| {
            assert!(view.find_leg(leg.account).is_some() && !leg.currency.code().is_empty())
        });
    }
    if let Ok(record) = decode(bytes, FORMAT_VERSION) {
        let mut again = Vec::new();
        encode(
            &record.command,
            &record.digest,
            &record.outcome,
            record.ctx,
            FORMAT_VERSION,
            &mut again,
        );
        assert_eq!(again, bytes, "a record has one form only");
    }
    let _ = (
        decode_account(bytes, 1),
        decode_owner(bytes, 1),
        decode_payment(bytes, 1),
        decode_api_key(bytes, 1),
        decode_details(bytes, 1),
        decode_setting(bytes, 1),
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        read_all(&bytes);
    }

    #[test]
    fn damaged_records_are_read_without_panic(rolls in rolls(60), damage in prop::collection::vec(any::<(u16, u8, u16)>(), 1..40)) {
        let mut world = World::new();
        prelude().iter().for_each(|command| _ = world.run(command));
        for dice in &rolls {
            let next = roll(&world, dice, world.position + 1);
            world.run(&next);
        }
        objects_round_trip(&world.set);
        for (at, byte, other) in damage {
            let record = &world.records[usize::from(at) % world.records.len()];
            let mut flipped = record.clone();
            // Mostly the fixed part, where lengths and tags are.
            let place = usize::from(other) % if other % 2 == 0 { record.len().min(100) } else { record.len() };
            flipped[place] = byte;
            read_all(&flipped);
            read_all(&record[..usize::from(other) % record.len()]);
            flipped.push(byte);
            read_all(&flipped);
        }
    }
}

/// One record of every shape. Never to be changed: new shapes are added at the end.
fn golden_world() -> World {
    let mut world = World::new();
    let hold = Some(Hold {
        expires_at: world.timestamp + 1_000_000,
    });
    let bank = world.open("platform", AccountKind::External, Overdraft::UNLIMITED);
    let open = OpenAccount {
        owner: owner("alice"),
        currency: eur(),
        kind: AccountKind::Wallet,
        overdraft: Overdraft::limited(500),
        external_id: Some(ExternalId::new("konto-ä").unwrap()),
    };
    let alice = world
        .must(Body::OpenAccount(open.clone()))
        .account
        .unwrap()
        .id;
    world.submit(Actor::SYSTEM, Body::OpenAccount(open));
    let (shop, fee) = (
        world.wallet("shop"),
        world.open("platform", AccountKind::Fee, Overdraft::NONE),
    );
    world.pay(Pay {
        kind: PaymentKind::TopUp,
        ..plain_pay(bank, alice, 10_000)
    });
    let text = Some(Text::new(Text::PLAIN, b"{\"description\":\"coffee\"}").unwrap());
    let reference = Some(Reference::new("order-1").unwrap());
    let full = Pay {
        fees: fees(&[(fee, 30, 290)]),
        reference,
        ..plain_pay(alice, shop, 1_000)
    };
    let full = Command {
        text,
        effective_at: Some(Date(8_400)),
        ..command(by(world.owner_of(alice)), Body::Pay(full))
    };
    let paid = world.run(&full).payment.unwrap().id;
    world.run(&full);
    world.refund(paid, Some(100));
    // The shop bore 6 of the fee, which it needs again to give back the rest.
    world.pay(Pay {
        kind: PaymentKind::TopUp,
        ..plain_pay(bank, shop, 6)
    });
    world.must(Body::Refund(Refund {
        payment: paid,
        amount: None,
        refund_fee: true,
        splits: PayeeAmounts::default(),
    }));
    let parts = split(&[(shop, Part::Amount(7)), (bank, Part::BasisPoints(10_000))]);
    let held = world.pay(Pay {
        kind: PaymentKind::Transfer,
        destination: parts,
        hold,
        ..plain_pay(alice, shop, 300)
    });
    world.capture(held, Some(100));
    world.must(Body::Capture(Capture {
        payment: held,
        amount: Some(50),
        is_final: true,
        splits: PayeeAmounts::default(),
    }));
    let voided = world.pay(Pay {
        hold,
        ..plain_pay(alice, shop, 5)
    });
    world.must(Body::Void(voided));
    world.submit(Actor::SYSTEM, Body::Void(voided));
    let expired = world.pay(Pay {
        kind: PaymentKind::Transfer,
        hold,
        ..plain_pay(alice, shop, 5)
    });
    world.timestamp += 2_000_000;
    world.must(Body::Expire(expired));
    let reason = Some(Reason::new("counted wrongly").unwrap());
    world.pay(Pay {
        kind: PaymentKind::Adjustment,
        reason,
        ..plain_pay(bank, alice, 1)
    });
    let create = CreateApiKey {
        owner: owner("shop"),
        access: Access::Write,
        secret_hash: [9; 32],
        label: Some(Label::new("till").unwrap()),
    };
    let key = world.must(Body::CreateApiKey(create)).api_key.unwrap();
    for (secret, overlap) in [(8, 0), (7, DAY), (6, u64::MAX)] {
        world.must(Body::RotateApiKey {
            api_key: key.id,
            secret_hash: [secret; 32],
            overlap,
        });
    }
    let actor = Actor {
        owner: key.owner,
        api_key: key.id,
    };
    world.submit(actor, Body::FreezeAccount(shop));
    world.must(Body::RevokeApiKey(key.id));
    world.api_key("new-owner", Access::Read);
    let empty = world.wallet("alice");
    world.must(Body::FreezeAccount(empty));
    world.must(Body::UnfreezeAccount(empty));
    world.must(Body::CloseAccount(empty));
    let linked = |amount| Command {
        linked: true,
        ..command(Actor::SYSTEM, Body::Pay(plain_pay(alice, shop, amount)))
    };
    world.run_group(&[
        linked(1),
        Command {
            linked: false,
            ..linked(1_000_000)
        },
    ]);
    (0..40).for_each(|_| _ = world.pay(plain_pay(alice, shop, 1)));
    for (key, data) in [(Some("order-1"), &b"{\"parcels\":2}"[..]), (None, b"null")] {
        world.must(Body::Publish(Publish {
            topic: Topic::new("app.order.shipped").unwrap(),
            key: key.map(|key| OrderKey::new(key).unwrap()),
            data: Data::new(Data::PLAIN, data).unwrap(),
        }));
    }
    queued_records(&mut world, alice, shop);
    for mode in QueueMode::ALL {
        world.must(Body::SetQueue(mode));
    }
    world.must(Body::SetQueue(QueueMode::Paused));
    setting_records(&mut world, shop);
    details_records(&mut world, alice, shop);
    world.must(Body::AdvanceTime(AdvanceTime::By(5_000)));
    world.must(Body::AdvanceTime(AdvanceTime::To(world.timestamp + 7)));
    world.submit(Actor::SYSTEM, Body::AdvanceTime(AdvanceTime::By(0)));
    payout_records(&mut world, alice, bank);
    exact_records(&mut world, alice, shop, fee);
    poor_records(&mut world, alice, shop, bank);
    origin_records(&mut world, alice, shop);
    limited_records(&mut world, alice, shop);
    assessed_records(&mut world, alice, shop);
    reviewed_records(&mut world, alice, shop);
    world
}

/// A refund and the return of a payout, each refused because an account lacks funds.
fn poor_records(world: &mut World, alice: AccountId, shop: AccountId, bank: AccountId) {
    let paid = world.pay(plain_pay(alice, shop, 1));
    let left = world.posted(shop).unsigned_abs();
    world.pay(plain_pay(shop, alice, left));
    let refused = world.refund(paid, None);
    assert_eq!(refused.short_of_funds, Some(shop));
    let outside = world.wallet("outside");
    let payout = world.pay(Pay {
        kind: PaymentKind::Payout,
        ..plain_pay(alice, outside, 1)
    });
    world.pay(plain_pay(outside, bank, 1));
    let give = Body::ReturnPayout(ReturnPayout {
        payout,
        amount: None,
        reason: None,
    });
    let refused = world.submit(Actor::SYSTEM, give);
    assert_eq!(refused.short_of_funds, Some(outside));
}

/// Commands that came as messages: accepted and refused, with a text, with and without a reply.
fn origin_records(world: &mut World, alice: AccountId, shop: AccountId) {
    let replies = [
        None,
        ReplyAddress::new("replies", None).ok(),
        ReplyAddress::new("réponses", Some("order-7")).ok(),
    ];
    for (hops, reply) in (1..).zip(replies) {
        let origin = Origin::new(SettingId(0x0123_4567_89ab_cdef), 3, [0xb3; 32], hops, reply);
        let paid = Command {
            text: Text::new(Text::PLAIN, b"{\"description\":\"a message\"}").ok(),
            origin: origin.map(Box::new),
            ..command(Actor::SYSTEM, Body::Pay(plain_pay(alice, shop, 1)))
        };
        assert!(world.run(&paid).is_accepted());
        let refused = Command {
            body: Body::Void(PaymentId(9_999)),
            ..paid
        };
        assert!(!world.run(&refused).is_accepted());
    }
}

/// The system adds the origin: what a caller sent stays the same request.
#[test]
fn a_digest_does_not_cover_the_origin() {
    let plain = command(
        Actor::SYSTEM,
        Body::Pay(plain_pay(AccountId(1), AccountId(2), 3)),
    );
    let reply = ReplyAddress::new("replies", Some("order-7")).ok();
    let origin = Origin::new(SettingId(7), 1, [1; 32], 1, reply);
    let from_message = Command {
        origin: origin.map(Box::new),
        ..plain.clone()
    };
    assert!(from_message.origin.is_some());
    assert_eq!(from_message.digest(), plain.digest());
}

/// Bytes of an origin that no constructor makes are damage, not a panic.
#[test]
fn an_unsound_origin_is_refused() {
    let mut world = World::new();
    let reply = ReplyAddress::new("to", Some("id")).ok();
    let origin = Origin::new(SettingId(7), 1, [1; 32], 1, reply);
    let message = Command {
        origin: origin.map(Box::new),
        ..command(Actor::SYSTEM, Body::Void(PaymentId(9_999)))
    };
    world.run(&message);
    let record = world.records.last().unwrap();
    let (from, hops) = (record.len() - 57, record.len() - 9);
    let (to_len, to) = (hops + 1, record.len() - 4);
    for (name, bytes) in [
        ("no setting", &[(from, 0)][..]),
        ("no revision", &[(from + 8, 0)]),
        ("no hop", &[(hops, 0)]),
        ("too many hops", &[(hops, Origin::HOPS_MAX + 1)]),
        ("another length", &[(to_len, 3)]),
        (
            "a correlation id without an address",
            &[(to_len, 0), (to_len + 2, 4)],
        ),
        ("not UTF-8", &[(to, 0xff)]),
    ] {
        let mut damaged = record.clone();
        bytes
            .iter()
            .for_each(|&(place, byte)| damaged[place] = byte);
        assert!(
            RecordRef::parse(&damaged, FORMAT_VERSION).is_err(),
            "{name}"
        );
    }
    assert!(RecordRef::parse(record, FORMAT_VERSION).is_ok());
}

/// Owners that are created and updated, texts of an account and a payment, and an account that is frozen after an update.
fn details_records(world: &mut World, alice: AccountId, shop: AccountId) {
    let text = |body| Command {
        text: Text::new(Text::PLAIN, b"{\"description\":\"a text\"}").ok(),
        ..command(Actor::SYSTEM, body)
    };
    let created = world.run(&text(crate::details::create("company", Some("crm-1"))));
    let company = created.owner.unwrap().id;
    world.submit(Actor::SYSTEM, crate::details::create("company", None));
    world.must(crate::details::rename(company, None));
    let change = ProfileChange {
        kind: Some(OwnerKind::Person),
        status: Some(OwnerStatus::Inactive),
        external_id: Some(ExternalId::new("crm-2").ok()),
    };
    let updated = Updated::Owner(company, change);
    world.run(&text(crate::details::update(updated, true, false)));
    world.run(&text(crate::details::update(
        Updated::Account(alice),
        true,
        true,
    )));
    world.must(Body::FreezeAccount(alice));
    world.must(Body::UnfreezeAccount(alice));
    let payment = world.pay(plain_pay(alice, shop, 1));
    let updated = Updated::Payment(payment);
    world.run(&text(crate::details::update(updated.clone(), true, false)));
    world.must(crate::details::update(updated, false, true));
    world.refund(payment, None);
    let stranger = by(OwnerId(77));
    let updated = Updated::Account(shop);
    world.submit(stranger, crate::details::update(updated, true, true));
}

/// Payouts: one that is paid and comes back in two parts, one that fails, one that is paid at once, one that is refused.
fn payout_records(world: &mut World, alice: AccountId, bank: AccountId) {
    let payout = |amount, hold| Pay {
        kind: PaymentKind::Payout,
        hold,
        ..plain_pay(alice, bank, amount)
    };
    let reason = |text| Some(Reason::new(text).unwrap());
    let settle = |payout, failure| Body::SettlePayout(SettlePayout { payout, failure });
    let give_back = |payout, amount, reason| {
        Body::ReturnPayout(ReturnPayout {
            payout,
            amount,
            reason,
        })
    };
    let paid = world.pay(payout(20, Some(Hold::OF_PAYOUT)));
    world.must(settle(paid, None));
    world.must(give_back(paid, Some(5), reason("account unknown")));
    world.must(give_back(paid, None, None));
    world.submit(Actor::SYSTEM, give_back(paid, None, None));
    let failed = world.pay(payout(20, Some(Hold::OF_PAYOUT)));
    world.must(settle(failed, reason("account closed")));
    world.submit(Actor::SYSTEM, settle(failed, None));
    world.pay(payout(3, None));
    world.submit(
        Actor::SYSTEM,
        Body::Pay(payout(1_000_000, Some(Hold::OF_PAYOUT))),
    );
}

/// A reference with a scope, and a capture and a refund of exact amounts per payee.
fn exact_records(world: &mut World, alice: AccountId, shop: AccountId, fee: AccountId) {
    let other = world.wallet("other");
    let scope = world.owner_of(shop);
    let two = world.pay(Pay {
        destination: split(&[(shop, Part::Amount(50)), (other, Part::Amount(30))]),
        fees: fees(&[(fee, 20, 0)]),
        hold: Some(Hold {
            expires_at: world.timestamp + 1_000_000,
        }),
        reference: Reference::new("order-3").ok(),
        reference_scope: Some(scope),
        ..plain_pay(alice, shop, 100)
    });
    let some = |account, amount| PayeeAmounts::new(vec![PayeeAmount { account, amount }]).unwrap();
    world.must(Body::Capture(Capture {
        payment: two,
        amount: None,
        is_final: true,
        splits: some(shop, 40),
    }));
    world.must(Body::Refund(Refund {
        payment: two,
        amount: None,
        refund_fee: true,
        splits: some(shop, 20),
    }));
}

/// A setting that is made, changed by the platform, refused for each party and deleted; one of a kind of a later version stays.
fn setting_records(world: &mut World, shop: AccountId) {
    let actor = by(world.owner_of(shop));
    let put = |replaces, body: &[u8]| {
        Body::PutSetting(Box::new(PutSetting {
            id: SettingId(0x0123_4567_89ab_cdef),
            kind: SettingKind::SUBSCRIPTION,
            slug: Slug::new("orders.eu").unwrap(),
            managed_by: Some(ManagedBy::new("deploy/ä").unwrap()),
            replaces,
            body: SettingBody::new(body).unwrap(),
            request: [0x5e; 16],
        }))
    };
    let delete = Body::DeleteSetting(DeleteSetting {
        id: SettingId(0x0123_4567_89ab_cdef),
        kind: SettingKind::SUBSCRIPTION,
        replaces: 2,
    });
    world.submit(actor, put(0, b"{\"first\":true}"));
    world.submit(actor, put(0, b"again"));
    world.must(put(1, b"second"));
    world.submit(by(OwnerId(77)), delete.clone());
    world.must(delete);
    let ctx = world.next();
    let later = PutSetting {
        id: SettingId(9),
        kind: SettingKind(999),
        slug: Slug::new("later").unwrap(),
        managed_by: None,
        replaces: 0,
        body: SettingBody::new(b"of a later version").unwrap(),
        request: [1; 16],
    };
    let change = SettingChange {
        revision: 1,
        owner: OwnerId::PLATFORM,
        created: ctx,
        prev: 0,
    };
    let outcome = Outcome {
        setting: Some(Box::new(change)),
        ..Outcome::default()
    };
    let later = command(Actor::SYSTEM, Body::PutSetting(Box::new(later)));
    world.take(&later, &outcome);
}

/// A limit, two payments that use it, and two that it refuses: one of them when it runs.
fn limited_records(world: &mut World, alice: AccountId, shop: AccountId) {
    let terms = crate::limits::terms(LimitSubject::Account(alice), Some(2), Some(500));
    let pay = Body::Pay(plain_pay(alice, shop, 1));
    let queued = world.pay(Pay {
        queue: Some(Box::default()),
        ..plain_pay(alice, shop, 1)
    });
    world.must(crate::limits::put_limit(44, &terms.to_body()));
    world.must(pay.clone());
    world.must(pay.clone());
    let refused = world.submit(Actor::SYSTEM, pay);
    assert_eq!(refused.rejection, Some(Rejection::LimitExceeded));
    // The queue was paused before.
    world.must(Body::SetQueue(QueueMode::Active));
    let failed = world.submit(Actor::SYSTEM, Body::Run(queued));
    assert_eq!(failed.rejection, Some(Rejection::LimitExceeded));
}

/// Payments that were assessed: one that is made, one that is blocked, and one that is blocked when it runs.
fn assessed_records(world: &mut World, alice: AccountId, shop: AccountId) {
    let mut run = |effect, body, rejection| {
        let command = crate::assessments::assessed(effect, body);
        assert_eq!(world.run(&command).rejection, rejection);
    };
    let pay = plain_pay(shop, alice, 1);
    let queued = Pay {
        queue: Some(Box::default()),
        ..pay.clone()
    };
    let blocked = Some(Rejection::PaymentBlocked);
    run(Effect::Allow, Body::Pay(pay.clone()), None);
    run(Effect::Block, Body::Pay(pay), blocked);
    run(Effect::Allow, Body::Pay(queued), None);
    let queued = PaymentId(world.position);
    let run_it = crate::assessments::assessed(Effect::Block, Body::Run(queued));
    assert_eq!(world.run(&run_it).rejection, blocked);
}

/// Payments in review: one that is approved, one that is confirmed, one that is declined, and what was found out about the first.
fn reviewed_records(world: &mut World, alice: AccountId, shop: AccountId) {
    let mut held = |kind, pay| {
        let effect = crate::reviews::held(kind);
        let command = crate::assessments::assessed(effect, Body::Pay(pay));
        assert_eq!(world.run(&command).rejection, None);
        PaymentId(world.position)
    };
    let hold = Pay {
        hold: Some(Hold {
            expires_at: u64::MAX,
        }),
        ..plain_pay(shop, alice, 1)
    };
    let approved = held(ReviewKind::Review, plain_pay(shop, alice, 1));
    let confirmed = held(ReviewKind::Challenge, hold.clone());
    let declined = held(ReviewKind::Challenge, hold);
    world.must(Body::Investigate(Box::new(Investigate {
        investigating: Some(true),
        assignee: Some(Label::new("fraud team").ok()),
        ..crate::reviews::note(approved, None)
    })));
    world.must(crate::reviews::approve(approved, false));
    world.must(crate::reviews::approve(confirmed, true));
    world.must(Body::Void(declined));
    world.submit(Actor::SYSTEM, crate::reviews::approve(declined, false));
    let found = crate::reviews::note(approved, Some(RiskLabel::Genuine));
    world.must(Body::Investigate(Box::new(found)));
}

/// Queued payments: one that is captured, one that is held, one that fails, one that is taken back, one that is too early.
fn queued_records(world: &mut World, alice: AccountId, shop: AccountId) {
    let queued = |amount, terms| Pay {
        queue: Some(Box::new(Queue {
            terms: QueueTerms {
                reply_to: ReplyTo::new(77),
                ..terms
            },
            correlation_id: CorrelationId::new("basket-7").ok(),
        })),
        ..plain_pay(alice, shop, amount)
    };
    let terms = QueueTerms {
        priority: Priority::MAX,
        not_before: world.timestamp + 5,
        expires_at: world.timestamp + 1_000_000,
        reply_to: None,
    };
    let early = world.pay(queued(1, terms));
    world.submit(Actor::SYSTEM, Body::Run(early));
    world.timestamp += 1_000;
    world.must(Body::Run(early));
    let hold = Some(Hold {
        expires_at: world.timestamp + 1_000_000,
    });
    let held = world.pay(Pay {
        hold,
        reference: Reference::new("order-2").ok(),
        ..queued(2, QueueTerms::default())
    });
    world.must(Body::Run(held));
    let failing = world.pay(queued(1_000_000, QueueTerms::default()));
    world.submit(Actor::SYSTEM, Body::Run(failing));
    let taken_back = world.pay(queued(1, QueueTerms::default()));
    world.must(Body::Void(taken_back));
    world.pay(queued(3, QueueTerms::default()));
}

/// `UPDATE_GOLDEN=1` writes the file anew; only for records added at its end.
#[test]
fn records_of_format_1_are_written_and_read_as_ever() {
    let world = golden_world();
    let mut text =
        String::from("# One record per line, then the digest of the state after all of them.\n");
    world
        .records
        .iter()
        .for_each(|record| writeln!(text, "{}", hex::encode(record)).unwrap());
    writeln!(text, "state {}", hex::encode(world.set.digest_all())).unwrap();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/format-1.hex");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(path, &text).unwrap();
    }
    let golden = std::fs::read_to_string(path).unwrap();
    assert!(text == golden, "the bytes of a released format changed");
    let mut set = WorkingSet::new(Residency::Everything);
    let mut operations = Vec::new();
    for line in golden.lines().skip(1) {
        if let Some(digest) = line.strip_prefix("state ") {
            assert_eq!(hex::encode(set.digest_all()), digest);
            continue;
        }
        let Record {
            ctx,
            command,
            outcome,
            ..
        } = decode(&hex::decode(line).unwrap(), 1).unwrap();
        operations.push((
            codec::Operation::from_body(&command.body),
            outcome.is_accepted(),
        ));
        apply(&mut set, &command, &outcome, ctx);
    }
    for operation in codec::Operation::ALL {
        assert!(
            operations.contains(&(operation, true)),
            "{operation:?} is in the golden file"
        );
    }
}

#[test]
fn index_hashes_are_as_ever() {
    let key = Key::from_bytes(b"0123456789abcdef").unwrap();
    let reference = Reference::new("order-1").unwrap();
    let external = ExternalId::new("42").unwrap();
    let hashes = [
        hash::hash_key(OwnerId(7), &key),
        hash::hash_reference(
            ReferenceSpace::new(OwnerId(7), Some(OwnerId(8))),
            &reference,
        ),
        hash::hash_external(OwnerId(7), &external),
        hash::hash_payment(PaymentId(7)),
        hash::hash_owner_name(b"alice"),
    ];
    assert_eq!(
        hashes.map(|hash| format!("{hash:016x}")).join(" "),
        "f4bce7590ed39b5a 3023acadec657031 8c7bb60195bf7455 7e8c80c84fa51fdc fd19bf4b1acbfd1b"
    );
}
