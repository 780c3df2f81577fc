//! Owners as objects, and updates of what accounts, payments and owners say: the last one wins, and no money moves.

use crate::world::{World, by, command, owner, plain_pay};
use tributary_ledger::codec::{RecordRef, decode};
use tributary_ledger::*;

pub(crate) fn create(name: &str, external_id: Option<&str>) -> Body {
    Body::CreateOwner(Box::new(CreateOwner {
        name: owner(name),
        profile: OwnerProfile {
            kind: Some(OwnerKind::Company),
            status: OwnerStatus::Active,
            external_id: external_id.map(external),
        },
    }))
}

pub(crate) fn update(object: Updated, description: bool, metadata: bool) -> Body {
    Body::Update(Box::new(Update {
        object,
        description,
        metadata,
    }))
}

fn external(text: &str) -> ExternalId {
    ExternalId::new(text).unwrap()
}

pub(crate) fn rename(id: OwnerId, external_id: Option<&str>) -> Body {
    let change = ProfileChange {
        external_id: Some(external_id.map(external)),
        ..ProfileChange::default()
    };
    update(Updated::Owner(id, change), false, false)
}

pub(crate) fn set_status(id: OwnerId, status: OwnerStatus) -> Body {
    let change = ProfileChange {
        status: Some(status),
        ..ProfileChange::default()
    };
    update(Updated::Owner(id, change), false, false)
}

fn last(world: &World) -> &str {
    event_type(&RecordRef::parse(world.records.last().unwrap(), FORMAT_VERSION).unwrap())
}

fn owner_id(world: &World, name: &str) -> OwnerId {
    world.set.owner_by_name(&owner(name)).unwrap().id
}

fn profile(world: &World, id: OwnerId) -> Option<OwnerProfile> {
    let details = world.set.details(ObjectId::Owner(id))?;
    details.profile.as_deref().cloned()
}

#[test]
fn an_owner_is_created_once_and_is_the_one_that_accounts_name() {
    let mut world = World::new();
    let outcome = world.must(create("shop", Some("crm-7")));
    assert_eq!(last(&world), "owner.created");
    let id = outcome.owner.unwrap().id;
    assert_eq!(id, owner_id(&world, "shop"));
    assert_eq!(world.set.owner_by_external_id(&external("crm-7")), Some(id));
    let known = world.set.details(ObjectId::Owner(id)).unwrap();
    assert_eq!((known.text.revision, known.text.description_at), (1, id.0));
    let account = world.wallet("shop");
    assert_eq!(world.owner_of(account), id);
    assert_eq!(world.set.owner(id).unwrap().last_account, Some(account));
    assert_eq!(
        profile(&world, id).unwrap().kind,
        Some(OwnerKind::Company),
        "an account changes nothing of what is known"
    );
    world.check();
    world.check_mirror();
}

/// Millions of owners are named by an account and never described.
#[test]
fn an_owner_that_is_only_named_and_an_object_that_is_never_updated_have_no_details() {
    let mut world = World::new();
    let (a, b) = (world.funded("a", 9), world.wallet("b"));
    let payment = world.pay(plain_pay(a, b, 1));
    assert_eq!(world.set.all_details().count(), 0);
    assert_eq!(world.payment(payment).text, None);
    let id = owner_id(&world, "a");
    let change = ProfileChange::default();
    let outcome = world.must(update(Updated::Owner(id, change), true, false));
    let text = outcome.details.unwrap().text;
    assert_eq!((text.revision, text.metadata_at), (2, 0));
    assert_eq!(text.description_at, world.position);
    assert_eq!(world.set.all_details().count(), 1);
    world.check_mirror();
}

#[test]
fn an_update_moves_no_money_and_each_field_has_its_last_record() {
    let mut world = World::new();
    let (a, b) = (world.funded("a", 9), world.wallet("b"));
    let payment = world.pay(plain_pay(a, b, 4));
    let money = |world: &World| (world.posted(a), world.posted(b), world.available(a));
    let before = money(&world);
    let legs = world.set.account(a).unwrap().chain.seq();
    for object in [Updated::Account(a), Updated::Payment(payment)] {
        let first = world.must(update(object.clone(), true, true));
        assert!(first.legs.is_empty());
        let first = world.position;
        world.must(update(object.clone(), false, true));
        let second = world.position;
        let text = match object {
            Updated::Account(id) => world.set.details(ObjectId::Account(id)).unwrap().text,
            _ => **world.payment(payment).text.as_ref().unwrap(),
        };
        let expected = TextState {
            revision: 3,
            description_at: first,
            metadata_at: second,
            changed_at: second,
        };
        assert_eq!(text, expected);
    }
    assert_eq!(last(&world), "payment.updated");
    assert_eq!(money(&world), before);
    assert_eq!(world.set.account(a).unwrap().chain.seq(), legs);
    let refunded = world.refund(payment, None);
    assert_eq!(refunded.rejection, None, "a payment goes on as before");
    assert_eq!(refunded.payment.unwrap().text.unwrap().revision, 3);
    world.check();
    world.check_mirror();
}

/// What an event says of an account is what the account said then: the record of a change of status has it.
#[test]
fn a_change_of_status_repeats_where_the_text_was() {
    let mut world = World::new();
    let account = world.wallet("a");
    let frozen = world.must(Body::FreezeAccount(account));
    assert_eq!(frozen.details, None);
    world.must(update(Updated::Account(account), true, false));
    let text = world.position;
    let thawed = world.must(Body::UnfreezeAccount(account));
    assert_eq!(thawed.details.unwrap().text.description_at, text);
    world.must(Body::CloseAccount(account));
    world.must(update(Updated::Account(account), true, true));
    assert_eq!(last(&world), "account.updated", "its text is no money");
    let record = &world.records[text as usize];
    let record = decode(record, FORMAT_VERSION).unwrap();
    assert_eq!(record.outcome.details.unwrap().text.revision, 2);
    world.check_mirror();
}

#[test]
fn only_the_owner_of_an_object_and_the_platform_update_it() {
    let mut world = World::new();
    let (a, b) = (world.funded("a", 9), world.wallet("b"));
    let (payer, payee) = (by(world.owner_of(a)), by(world.owner_of(b)));
    let pay = command(payer, Body::Pay(plain_pay(a, b, 4)));
    let payment = world.run(&pay).payment.unwrap().id;
    let none = ProfileChange::default;
    for (actor, object, allowed) in [
        (payer, Updated::Account(a), true),
        (payee, Updated::Account(a), false),
        (Actor::SYSTEM, Updated::Account(a), true),
        // Whoever asked for it, not whoever is paid.
        (payer, Updated::Payment(payment), true),
        (payee, Updated::Payment(payment), false),
        (Actor::SYSTEM, Updated::Payment(payment), true),
        (payer, Updated::Owner(payer.owner, none()), true),
        (payee, Updated::Owner(payer.owner, none()), false),
        (payee, Updated::Owner(OwnerId::PLATFORM, none()), false),
        (Actor::SYSTEM, Updated::Owner(payer.owner, none()), true),
        (
            Actor::SYSTEM,
            Updated::Owner(OwnerId::PLATFORM, none()),
            true,
        ),
    ] {
        let outcome = world.submit(actor, update(object.clone(), true, true));
        let expected = (!allowed).then_some(Rejection::Forbidden);
        assert_eq!(outcome.rejection, expected, "{object:?}");
    }
    for body in [
        rename(payer.owner, Some("mine")),
        set_status(payer.owner, OwnerStatus::Inactive),
        create("c", None),
    ] {
        let outcome = world.submit(payer, body);
        assert_eq!(outcome.rejection, Some(Rejection::Forbidden));
        assert_eq!(last(&world), "owner.refused");
    }
    world.check_mirror();
}

#[test]
fn an_external_id_names_one_owner_and_is_free_when_it_is_given_up() {
    let mut world = World::new();
    let first = world.must(create("first", Some("x"))).owner.unwrap().id;
    let second = world.must(create("second", None)).owner.unwrap().id;
    let taken = world.submit(Actor::SYSTEM, rename(second, Some("x")));
    assert_eq!(taken.rejection, Some(Rejection::OwnerExternalIdInUse));
    world.must(rename(first, Some("x")));
    // Both in one group, and undone together.
    let linked = |body| Command {
        linked: true,
        ..command(Actor::SYSTEM, body)
    };
    let swap = [
        linked(rename(first, None)),
        linked(rename(second, Some("x"))),
    ];
    let failing = command(Actor::SYSTEM, create("first", None));
    let outcomes = world.run_group(&[swap[0].clone(), swap[1].clone(), failing]);
    assert_eq!(outcomes[2].rejection, Some(Rejection::OwnerExists));
    assert_eq!(world.set.owner_by_external_id(&external("x")), Some(first));
    world.check_mirror();
    world.run_group(&swap);
    assert_eq!(world.set.owner_by_external_id(&external("x")), Some(second));
    assert_eq!(profile(&world, first).unwrap().external_id, None);
    assert_eq!(
        profile(&world, first).unwrap().kind,
        Some(OwnerKind::Company)
    );
    world.check_mirror();
}

#[test]
fn an_inactive_owner_gets_no_account_and_no_api_key_and_keeps_what_it_has() {
    let mut world = World::new();
    let wallet = world.funded("a", 9);
    let shop = world.wallet("shop");
    let id = world.owner_of(wallet);
    world.must(set_status(id, OwnerStatus::Inactive));
    let open = OpenAccount {
        owner: owner("a"),
        currency: crate::world::eur(),
        kind: AccountKind::Wallet,
        overdraft: Overdraft::NONE,
        external_id: None,
    };
    let create = CreateApiKey {
        owner: owner("a"),
        access: Access::Read,
        secret_hash: [1; 32],
        label: None,
    };
    for body in [Body::OpenAccount(open.clone()), Body::CreateApiKey(create)] {
        let outcome = world.submit(Actor::SYSTEM, body);
        assert_eq!(outcome.rejection, Some(Rejection::OwnerInactive));
    }
    let paid = world.submit(by(id), Body::Pay(plain_pay(wallet, shop, 9)));
    assert_eq!(paid.rejection, None);
    world.must(set_status(id, OwnerStatus::Active));
    world.must(Body::OpenAccount(open));
    world.check_mirror();
}
