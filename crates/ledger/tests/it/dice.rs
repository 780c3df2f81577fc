//! Commands made of dice: small worlds, many collisions, amounts at the edges.

use crate::world::{World, by, eur, fees, owner, plain_pay, split};
use proptest::prelude::*;
use tributary_ledger::*;

pub(crate) type Dice = [u16; 12];

pub(crate) fn rolls(most: usize) -> impl Strategy<Value = Vec<Dice>> {
    prop::collection::vec(any::<Dice>(), 1..most)
}

const OWNERS: [&str; 5] = [
    "a",
    "b",
    "c",
    "a-name-that-is-longer-than-fits-in-place",
    "platform",
];

fn amount(die: u16) -> u64 {
    match die % 40 {
        0 => 0,
        1 => AMOUNT_MAX,
        2 => AMOUNT_MAX + 1,
        3 => AMOUNT_MAX - u64::from(die / 40),
        4 => 1,
        5 => u64::MAX,
        _ => u64::from(die) % 997 + 1,
    }
}

/// Positions of accounts, payments, anything: also what does not exist, or does only when this batch is done.
fn position(die: u16, now: u64) -> u64 {
    let recent = now.min(40);
    now + 6 - (u64::from(die) % (recent + 6)).min(now + 5)
}

fn account(world: &World, die: u16, now: u64) -> AccountId {
    let known = world.set.account_slots();
    if die.is_multiple_of(32) || known == 0 {
        return AccountId(position(die, now));
    }
    world
        .set
        .account_in_slot(usize::from(die) % known)
        .map_or(AccountId(1), |account| account.id)
}

fn payment(world: &World, die: u16, now: u64) -> PaymentId {
    let sound = |payment: &&Payment| {
        payment.status != PaymentStatus::Failed || payment.id.0.is_multiple_of(7)
    };
    let known = world.set.payments().filter(sound).count();
    if die.is_multiple_of(16) || known == 0 {
        return PaymentId(position(die, now));
    }
    let newest = known - 1 - usize::from(die / 16) % known.min(8);
    world
        .set
        .payments()
        .filter(sound)
        .nth(newest)
        .map_or(PaymentId(1), |payment| payment.id)
}

/// Accounts with money to begin with. Also names accounts by the positions that they will have.
pub(crate) fn prelude() -> Vec<Command> {
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
    let top_up = |to, reference| {
        let reference = Some(Reference::new(reference).unwrap());
        Body::Pay(Pay {
            kind: PaymentKind::TopUp,
            reference,
            ..plain_pay(AccountId(1), AccountId(to), 50_000)
        })
    };
    let bodies = [
        open("platform", AccountKind::External, Overdraft::UNLIMITED),
        open("platform", AccountKind::External, Overdraft::UNLIMITED),
        open("a", AccountKind::Wallet, Overdraft::NONE),
        open("b", AccountKind::Wallet, Overdraft::limited(300)),
        open("c", AccountKind::Merchant, Overdraft::NONE),
        open("platform", AccountKind::Fee, Overdraft::NONE),
        top_up(3, "w1"),
        top_up(4, "w1"),
        top_up(5, "first"),
        top_up(5, "first"),
    ];
    bodies
        .into_iter()
        .map(|body| crate::world::command(Actor::SYSTEM, body))
        .collect()
}

fn actor(world: &World, die: u16, now: u64) -> Actor {
    let owners = world.set.owner_slots();
    let some = world
        .set
        .owner_in_slot(usize::from(die / 8) % owners)
        .map_or(OwnerId(77), |owner| owner.id);
    match die % 8 {
        0 => by(some),
        1 => {
            let keys = world.set.api_key_slots();
            let key = if keys == 0 {
                None
            } else {
                world.set.api_key_in_slot(usize::from(die / 8) % keys)
            };
            key.map_or(
                Actor {
                    owner: some,
                    api_key: ApiKeyId(position(die, now)),
                },
                |key| Actor {
                    owner: key.owner,
                    api_key: key.id,
                },
            )
        }
        _ => Actor::SYSTEM,
    }
}

fn word(die: u16) -> String {
    if die.is_multiple_of(7) {
        "a long word with ö that is longer than is kept in place".to_owned()
    } else {
        format!("w{}", die % 5)
    }
}

/// `now`: position that the command will probably take.
pub(crate) fn command(world: &World, dice: &Dice, now: u64) -> Command {
    let [kind, actor_die, key, extra, rest @ ..] = *dice;
    let text = (extra % 5 == 0)
        .then(|| Text::new((extra % 3) as u8, &vec![b'x'; 1 + usize::from(extra % 300)]).unwrap());
    Command {
        key: Key::from_bytes(&vec![key as u8; 1 + usize::from(key % 255)]).unwrap(),
        actor: actor(world, actor_die, now),
        linked: false,
        effective_at: (extra % 4 == 1).then(|| Date(i32::from(extra as i16))),
        text,
        origin: (extra % 7 == 3).then(|| Box::new(origin(extra))),
        assessment: assessment(kind, extra),
        body: body(world, kind, &rest, now),
    }
}

/// Only payments are assessed.
fn assessment(kind: u16, die: u16) -> Option<Box<Assessment>> {
    let is_payment = matches!(kind % 64, 7..=20 | 29);
    let effect = match die % 4 {
        0 => Effect::Block,
        1 | 2 => Effect::Review(ReviewTerms {
            kind: ReviewKind::ALL[usize::from(die / 8 % 2)],
            seconds: 1 + u32::from(die / 16),
        }),
        _ => Effect::Allow,
    };
    let found = Assessment::new(effect, &vec![b'a'; 1 + usize::from(die % 500)]);
    found.filter(|_| die % 7 < 2 && is_payment).map(Box::new)
}

fn origin(die: u16) -> Origin {
    let text = |len: u16| "ö".repeat(usize::from(len));
    let correlation_id = die.is_multiple_of(2).then(|| text(1 + die % 256));
    let reply = (!die.is_multiple_of(3))
        .then(|| ReplyAddress::new(&text(1 + die / 7 % 256), correlation_id.as_deref()).unwrap());
    let (setting, revision) = (SettingId(1 + u64::from(die)), 1 + u64::from(die % 9));
    let hops = 1 + (die % 8) as u8;
    Origin::new(setting, revision, [die as u8; 32], hops, reply).unwrap()
}

fn body(world: &World, kind: u16, dice: &[u16; 8], now: u64) -> Body {
    let [d0, d1, d2, ..] = *dice;
    let some = (d1 % 3 != 0)
        .then(|| amount(d2) % 5_000_000_000_000_000_000 / if d2 % 3 == 0 { 1 } else { 8 });
    match kind % 64 {
        0..=1 => Body::OpenAccount(open(dice)),
        2 if d1 % 2 == 0 => Body::FreezeAccount(account(world, d0, now)),
        2..=4 => Body::UnfreezeAccount(account(world, d0, now)),
        5 => Body::CloseAccount(account(world, d0, now)),
        6 => Body::Publish(Publish {
            topic: Topic::new(&format!("app.thing-{}.done", d0 % 5)).unwrap(),
            key: (d1 % 2 == 0).then(|| OrderKey::new(&word(d1)).unwrap()),
            data: Data::new((d2 % 3) as u8, &vec![b'd'; 1 + usize::from(d2 % 300)]).unwrap(),
        }),
        7..=20 => Body::Pay(pay(world, dice, now)),
        21..=25 => {
            let payment = payment(world, d0, now);
            let splits = payee_amounts(world, payment, dice, |share| share.amount - share.captured);
            Body::Capture(Capture {
                payment,
                amount: some.filter(|_| splits.is_empty() || d1 % 64 == 1),
                is_final: d1 % 4 == 0,
                splits,
            })
        }
        26 => Body::Void(payment(world, d0, now)),
        27..=28 => Body::Expire(payment_that(world, d0, now, |payment| {
            payment.held > 0 && payment.expires_at <= world.timestamp
        })),
        29 => Body::Run(queued(world, d0, now)),
        30..=36 => {
            let payment = payment(world, d0, now);
            let left = |share: &PaymentShare| share.captured.saturating_sub(share.refunded);
            let splits = payee_amounts(world, payment, dice, left);
            Body::Refund(Refund {
                payment,
                amount: some.filter(|_| splits.is_empty() || d1 % 64 == 1),
                refund_fee: d1 % 2 == 0,
                splits,
            })
        }
        37 => {
            let label = (d1 % 2 == 0).then(|| Label::new(&word(d1)).unwrap());
            let access = if d2 % 4 == 0 {
                Access::Read
            } else {
                Access::Write
            };
            Body::CreateApiKey(CreateApiKey {
                owner: owner(OWNERS[usize::from(d0) % 5]),
                access,
                secret_hash: [d0 as u8; 32],
                label,
            })
        }
        38 => Body::RotateApiKey {
            api_key: api_key(world, d0, now),
            secret_hash: [d1 as u8; 32],
            overlap: u64::from(d2 % 3) * 7,
        },
        39 => Body::RevokeApiKey(api_key(world, d0, now)),
        42..=44 => Body::PutSetting(Box::new(put_setting(world, dice))),
        45 => Body::DeleteSetting(delete_setting(world, dice)),
        46 => Body::CreateOwner(Box::new(CreateOwner {
            name: owner(&format!("owner-{}", d0 % 40)),
            profile: OwnerProfile {
                kind: OwnerKind::from_number((d1 % 3) as u8),
                status: owner_status(d2),
                external_id: (d1 % 2 == 0).then(|| ExternalId::new(&word(d2)).unwrap()),
            },
        })),
        47..=49 => Body::Update(Box::new(Update {
            object: match d0 % 3 {
                0 => Updated::Account(account(world, d1, now)),
                1 => Updated::Payment(payment(world, d1, now)),
                _ => Updated::Owner(some_owner(world, d1), profile_change(d2, dice[3])),
            },
            description: dice[4].is_multiple_of(2),
            metadata: dice[4].is_multiple_of(3),
        })),
        50 => Body::AdvanceTime(AdvanceTime::By(u64::from(d0) * u64::from(d1 % 4))),
        51 => Body::AdvanceTime(AdvanceTime::To(
            (world.timestamp + u64::from(d0)).saturating_sub(u64::from(d1)),
        )),
        52..=54 => Body::SettlePayout(SettlePayout {
            payout: payment_that(world, d0, now, |payout| {
                payout.status == PaymentStatus::Pending
            }),
            failure: (d1 % 3 == 0).then(|| Reason::new(&word(d2)).unwrap()),
        }),
        55..=57 => Body::ReturnPayout(ReturnPayout {
            payout: payment_that(world, d0, now, |payout| {
                payout.status == PaymentStatus::Paid
            }),
            amount: some,
            reason: (d1 % 2 == 0).then(|| Reason::new(&word(d2)).unwrap()),
        }),
        58..=60 => Body::Approve(Approve {
            payment: payment_that(world, d0, now, |payment| {
                payment.status == PaymentStatus::InReview
            }),
            by_payer: d1 % 2 == 0,
        }),
        61..=63 => Body::Investigate(Box::new(Investigate {
            payment: payment_that(world, d0, now, |payment| {
                d1 % 2 == 0 || payment.status == PaymentStatus::InReview
            }),
            investigating: [None, Some(true), Some(false)][usize::from(d1 % 3)],
            assignee: [None, Some(None), Some(Label::new(&word(d2)).ok())][usize::from(d2 % 3)]
                .clone(),
            label: RiskLabel::from_number((dice[3] % 3) as u8),
        })),
        _ => Body::SetQueue(match d0 % 6 {
            0 => QueueMode::Paused,
            1 => QueueMode::Draining,
            _ => QueueMode::Active,
        }),
    }
}

fn owner_status(die: u16) -> OwnerStatus {
    match die % 8 {
        0 => OwnerStatus::Inactive,
        _ => OwnerStatus::Active,
    }
}

fn some_owner(world: &World, die: u16) -> OwnerId {
    let slot = usize::from(die) % (world.set.owner_slots() + 1);
    let owner = world.set.owner_in_slot(slot);
    owner.map_or(OwnerId(77_777), |owner| owner.id)
}

fn profile_change(one: u16, other: u16) -> ProfileChange {
    ProfileChange {
        kind: OwnerKind::from_number((one % 4) as u8),
        status: one.is_multiple_of(5).then(|| owner_status(other)),
        external_id: match other % 4 {
            0 => Some(None),
            1 => Some(Some(ExternalId::new(&word(one)).unwrap())),
            _ => None,
        },
    }
}

/// Most often one that fits.
fn payment_that(world: &World, die: u16, now: u64, fits: impl Fn(&Payment) -> bool) -> PaymentId {
    let fits = |payment: &&Payment| fits(payment);
    let known = world.set.payments().filter(fits).count().max(1);
    let mut found = world.set.payments().filter(fits);
    match found.nth(usize::from(die / 8) % known) {
        Some(payment) if !die.is_multiple_of(8) => payment.id,
        _ => payment(world, die, now),
    }
}

/// Exact amounts for some payees of a payment, about as much as is left of their parts; often none.
fn payee_amounts(
    world: &World,
    payment: PaymentId,
    dice: &[u16; 8],
    left: fn(&PaymentShare) -> u64,
) -> PayeeAmounts {
    let [.., d3, d4, d5, d6, d7] = *dice;
    let found = world.set.payment(payment);
    let (Some(found), true) = (found, d3 % 5 < 2) else {
        return PayeeAmounts::default();
    };
    let mut parts = Vec::new();
    for (at, share) in found.shares.iter().enumerate().take(SHARES_MAX) {
        let named = !share.is_fee || d4 % 32 == 0;
        if !named || (d5 >> at) & 1 == 0 {
            continue;
        }
        let whole = left(share);
        let amount = match d6.rotate_left(at as u32) % 8 {
            0 => amount(d7),
            1 => whole + 1,
            2..=4 => whole,
            _ => 1 + u64::from(d7) % whole.max(1),
        };
        parts.push(PayeeAmount {
            account: share.account,
            amount,
        });
    }
    if d4 % 64 == 1
        && parts.len() < SHARES_MAX
        && let Some(first) = parts.first().copied()
    {
        parts.push(first);
    }
    PayeeAmounts::new(parts).unwrap()
}

/// Most often one that is queued.
fn queued(world: &World, die: u16, now: u64) -> PaymentId {
    let queued = |payment: &&Payment| payment.queue.is_some();
    let known = world.set.payments().filter(queued).count().max(1);
    let some = world
        .set
        .payments()
        .filter(queued)
        .nth(usize::from(die / 8) % known);
    match some {
        Some(payment) if !die.is_multiple_of(8) => payment.id,
        _ => payment(world, die, now),
    }
}

fn api_key(world: &World, die: u16, now: u64) -> ApiKeyId {
    world
        .set
        .api_key_in_slot(usize::from(die % 4))
        .map_or(ApiKeyId(position(die, now)), |key| key.id)
}

fn open(dice: &[u16; 8]) -> OpenAccount {
    let [d0, d1, d2, d3, ..] = *dice;
    let overdraft = match d1 % 4 {
        0 => Overdraft::NONE,
        1 => Overdraft::limited(amount(d2)),
        _ => Overdraft::UNLIMITED,
    };
    let currency = if d3 % 16 == 0 {
        Currency::from_code("JPY").unwrap()
    } else {
        eur()
    };
    let external_id = (d3 % 3 == 0).then(|| ExternalId::new(&word(d2)).unwrap());
    let kind = AccountKind::from_number(1 + (d2 % 5) as u8).unwrap();
    OpenAccount {
        owner: owner(OWNERS[usize::from(d0) % 5]),
        currency,
        kind,
        overdraft,
        external_id,
    }
}

fn pay(world: &World, dice: &[u16; 8], now: u64) -> Pay {
    let [d0, d1, d2, d3, d4, d5, d6, d7] = *dice;
    let at = |die: u16, step: u16| account(world, die.wrapping_add(step), now);
    let payees = if d3 % 3 == 0 { 2 + d3 / 3 % 3 } else { 1 };
    let exact = d3 % 2 == 0;
    let points = [10_000_u16, 5_000, 3_333, 2_500][usize::from(payees - 1) % 4];
    let part = |step: u16| match step {
        0 if exact => Part::Amount(u64::from(d4 % 50) + 1),
        last if last + 1 == payees => {
            Part::BasisPoints(10_000 - points * (payees - 1 - u16::from(exact)))
        }
        _ => Part::BasisPoints(points),
    };
    let destination = match payees {
        1 => Destination::One(at(d1, 0)),
        _ => split(
            &(0..payees)
                .map(|step| (at(d1, step), part(step)))
                .collect::<Vec<_>>(),
        ),
    };
    let kind = match d6 % 40 {
        39 => PaymentKind::PayoutReturn,
        die => PaymentKind::ALL[usize::from(die % 5)],
    };
    let endless = kind == PaymentKind::Payout && d7 % 3 != 0;
    let fee = |step| (at(d5, step), u64::from(d5 % 4), d4 % 400);
    Pay {
        kind,
        source: at(d0, 0),
        destination,
        fees: fees(
            &(0..if d5 % 3 == 0 { d5 / 3 % 3 } else { 0 })
                .map(fee)
                .collect::<Vec<_>>(),
        ),
        amount: amount(d2),
        currency: if d6 % 32 == 0 {
            Currency::from_code("JPY").unwrap()
        } else {
            eur()
        },
        hold: (d7 % 2 == 0).then(|| Hold {
            expires_at: match endless {
                true => Hold::NO_EXPIRY,
                false => (world.timestamp + u64::from(d7 % 60)).saturating_sub(2),
            },
        }),
        reference: (d6 % 8 == 0).then(|| Reference::new(&word(d7)).unwrap()),
        reference_scope: (d6 % 16 == 0).then(|| scope(world, d0, d1)),
        reason: (d6 % 2 == 0).then(|| Reason::new(&word(d7)).unwrap()),
        queue: (d7 % 5 == 0).then(|| Box::new(queue(world, d6, d7))),
    }
}

/// Most often the owner of the payer or the payee.
fn scope(world: &World, d0: u16, d1: u16) -> OwnerId {
    let party = match d0 % 5 {
        0 => None,
        1..=2 => world.set.account(account(world, d0, 1)),
        _ => world.set.account(account(world, d1, 1)),
    };
    party.map_or(OwnerId(77), |account| account.owner)
}

fn queue(world: &World, d6: u16, d7: u16) -> Queue {
    let at = |die: u16| match die % 3 {
        0 => (world.timestamp + u64::from(die % 60)).saturating_sub(2),
        _ => 0,
    };
    Queue {
        terms: QueueTerms {
            priority: Priority::new((d6 % 10) as u8).unwrap(),
            not_before: at(d6 / 2),
            expires_at: at(d7 / 5),
            reply_to: ReplyTo::new(u64::from(d6 % 3)),
        },
        correlation_id: d6
            .is_multiple_of(4)
            .then(|| CorrelationId::new(&word(d7)).unwrap()),
    }
}

/// Few ids and few slugs, so that they meet.
fn put_setting(world: &World, dice: &[u16; 8]) -> PutSetting {
    let [d0, d1, d2, d3, d4, ..] = *dice;
    let id = SettingId(u64::from(d0 % 6) + 1);
    let known = world.set.setting(id);
    let kind = match d1 % 16 {
        0 => SettingKind(77),
        1 => SettingKind::APPLIED_FILE,
        2 => SettingKind::BINDER,
        3 => SettingKind::BINDING,
        4..=7 => SettingKind::LIMIT,
        _ => known.map_or(SettingKind::SUBSCRIPTION, |known| known.kind),
    };
    let replaces = match d2 % 8 {
        0 => u64::from(d2 / 8 % 3),
        _ => known.map_or(0, |known| known.revision),
    };
    let len = match d3 % 16 {
        0 => 1_024 + usize::from(d3 / 16 % 2),
        _ => 1 + usize::from(d3 % 300),
    };
    let body = match kind {
        SettingKind::LIMIT if d3 % 16 > 1 => limit(world, dice),
        _ => vec![d3 as u8; len],
    };
    PutSetting {
        id,
        kind,
        slug: Slug::new(&format!("slug-{}", d4 % 6)).unwrap(),
        managed_by: (d4 % 3 == 0).then(|| ManagedBy::new(&word(d4)).unwrap()),
        replaces,
        body: SettingBody::new(&body).unwrap(),
        request: [d4 as u8; 16],
    }
}

/// What a limit says that is soon met.
fn limit(world: &World, dice: &[u16; 8]) -> Vec<u8> {
    let [.., d3, d4, d5, d6, d7] = *dice;
    let subject = match d5 % 3 {
        0 => LimitSubject::Owner(some_owner(world, d6)),
        _ => LimitSubject::Account(account(world, d6, 1)),
    };
    let kinds = &LIMITED_KINDS[usize::from(d5 / 3 % 4)..];
    let currency = (d4 % 3 != 0).then(eur);
    let payments = (d7 % 3 != 0).then(|| u64::from(d7 / 3 % 6));
    let amount = currency.map(|_| u64::from(d3) % 9_000);
    let amount = amount.filter(|_| d7 % 2 == 0);
    let payments = payments.or_else(|| amount.is_none().then_some(2));
    let window = LIMIT_WINDOW_NS_MIN << (d4 % 3 * 12);
    let terms = LimitTerms::new(subject, kinds, currency, window, payments, amount);
    terms.unwrap().to_body()
}

fn delete_setting(world: &World, dice: &[u16; 8]) -> DeleteSetting {
    let [d0, d1, d2, ..] = *dice;
    let id = SettingId(u64::from(d0 % 6) + 1);
    let known = world.set.setting(id);
    let kind = match d1 % 8 {
        0 => SettingKind(77),
        1 => SettingKind::APPLIED_FILE,
        2 => SettingKind::BINDING,
        _ => known.map_or(SettingKind::SUBSCRIPTION, |known| known.kind),
    };
    let replaces = match d2 % 4 {
        0 => u64::from(d2 / 4 % 3),
        _ => known.map_or(0, |known| known.revision),
    };
    DeleteSetting { id, kind, replaces }
}
