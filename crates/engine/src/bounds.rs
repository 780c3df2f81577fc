//! Whether the bounds that admit a request hold for what comes of it.

use tributary_journal::RECORD_HEADER_BYTES;
use tributary_ledger::{
    self as ledger, Body, Command, Context, Destination, Key, Residency, WorkingSet,
};
use tributary_ledger::{
    AccountId, AccountKind, Actor, Approve, Assessment, Capture, CorrelationId, Currency, Data,
    Date, DeleteSetting, Effect, Fee, Fees, Hold, Investigate, LIMIT_WINDOW_NS_MAX, LIMITED_KINDS,
    LIMITS_PER_PAYMENT_MAX, Label, LimitSubject, LimitTerms, ManagedBy, OpenAccount, OrderKey,
    Origin, Overdraft, OwnerId, OwnerName, Part, Pay, PayeeAmount, PayeeAmounts, Payees, PaymentId,
    PaymentKind, Publish, PutSetting, Queue, QueueTerms, Reason, Reference, Refund, ReplyAddress,
    ReturnPayout, ReviewKind, ReviewTerms, RiskLabel, SettingBody, SettingId, SettingKind,
    SettlePayout, Share, Slug, Text, Topic,
};

use crate::request::{limit_bytes_max, record_bytes_max};

/// Where positions, ids and times begin: such numbers take as many bytes as numbers can.
const BASE: u64 = 1 << 56;

/// The effect that takes the most bytes.
const LONGEST: Effect = Effect::Review(ReviewTerms {
    kind: ReviewKind::Challenge,
    seconds: u32::MAX,
});

fn command(body: Body) -> Command {
    let longest = "a".repeat(ReplyAddress::BYTES_MAX);
    let reply = ReplyAddress::new(&longest, Some(&longest)).ok();
    assert!(reply.is_some());
    let is_payment = matches!(body, Body::Pay(_) | Body::Run(_));
    let is_reviewed = matches!(&body, Body::Pay(pay) if pay.reason.is_none());
    let effect = match is_reviewed {
        true => LONGEST,
        false => Effect::Allow,
    };
    Command {
        key: Key::from_bytes(&[b'k'; Key::BYTES_MAX]).expect("it is as long as may be"),
        actor: Actor::SYSTEM,
        linked: true,
        effective_at: Some(Date(20_000)),
        text: Text::new(Text::PLAIN, &[b't'; 5_000]).ok(),
        origin: Origin::new(
            SettingId(u64::MAX),
            u64::MAX,
            [b'm'; 32],
            Origin::HOPS_MAX,
            reply,
        )
        .map(Box::new),
        assessment: is_payment
            .then(|| Assessment::new(effect, &[b'a'; Assessment::REPORT_BYTES_MAX]))
            .flatten()
            .map(Box::new),
        body,
    }
}

fn big_payment(payees: u64, fees: u64) -> Pay {
    let payees = (0..payees).map(|at| Share {
        account: AccountId(BASE + 2 + at),
        part: Part::BasisPoints(if at == 0 { 10_000 - 15 } else { 1 }),
    });
    let fees = (0..fees).map(|at| Fee {
        account: AccountId(BASE + 18 + at),
        flat: 1,
        basis_points: 1,
    });
    Pay {
        kind: PaymentKind::Adjustment,
        source: AccountId(BASE + 1),
        destination: Destination::Split(Payees::new(payees.collect()).expect("at most 16")),
        fees: Fees::new(fees.collect()).expect("at most 16"),
        amount: 1_000_000,
        currency: Currency::from_code("EUR").expect("a currency"),
        hold: Some(Hold {
            expires_at: 2 * BASE,
        }),
        reference: Reference::new(&"r".repeat(Reference::BYTES_MAX)).ok(),
        reference_scope: Some(OwnerId(BASE + 1)),
        reason: Reason::new(&"w".repeat(Reason::BYTES_MAX)).ok(),
        queue: Some(Box::new(Queue {
            terms: QueueTerms::default(),
            correlation_id: CorrelationId::new(&"c".repeat(CorrelationId::BYTES_MAX)).ok(),
        })),
    }
}

/// A record that outgrew its bound would end the engine when a frame is nearly full.
#[test]
fn no_record_outgrows_the_bound_that_admits_it() {
    let mut set = WorkingSet::new(Residency::Everything);
    let mut position = BASE;
    let mut check = |body: Body, rejected: bool| {
        position += 1;
        let ctx = Context {
            position,
            timestamp: BASE,
        };
        let command = command(body);
        let limits = limit_bytes_max(std::slice::from_ref(&command), &set);
        let bound = record_bytes_max(&command) + limits - RECORD_HEADER_BYTES;
        let outcome = ledger::decide(&set, &command, ctx);
        assert_eq!(outcome.rejection.is_some(), rejected, "{outcome:?}");
        ledger::apply(&mut set, &command, &outcome, ctx);
        let mut payload = Vec::new();
        let format = ledger::FORMAT_VERSION;
        ledger::codec::encode(
            &command,
            &command.digest(),
            &outcome,
            ctx,
            format,
            &mut payload,
        );
        assert!(payload.len() <= bound, "{} > {bound}", payload.len());
        position
    };
    for at in 0..33 {
        check(
            Body::OpenAccount(OpenAccount {
                owner: OwnerName::new(&format!("{at:0>64}")).expect("it is as long as may be"),
                currency: Currency::from_code("EUR").expect("a currency"),
                kind: AccountKind::External,
                overdraft: Overdraft::UNLIMITED,
                external_id: tributary_ledger::ExternalId::new(&"e".repeat(64)).ok(),
            }),
            false,
        );
    }
    check(Body::Pay(big_payment(16, 16)), true);
    let kind = PaymentKind::Transfer;
    let split = big_payment(16, 0);
    let queue = None;
    let split = Pay {
        kind,
        queue,
        ..split
    };
    check(Body::Pay(split), false);
    let queued = Pay {
        kind,
        reference: Reference::new(&"t".repeat(Reference::BYTES_MAX)).ok(),
        ..big_payment(16, 0)
    };
    check(Body::Pay(queued), false);
    check(Body::Run(PaymentId(BASE + 36)), false);
    let payment = PaymentId(BASE + 35);
    let each = |amount| {
        let payee = |at| PayeeAmount {
            account: AccountId(BASE + 2 + at),
            amount,
        };
        PayeeAmounts::new((0..16).map(payee).collect()).expect("at most 16")
    };
    let (splits, is_final) = (each(2), false);
    let exact = Capture {
        payment,
        amount: None,
        is_final,
        splits,
    };
    check(Body::Capture(exact), false);
    let exact = Refund {
        payment,
        amount: None,
        refund_fee: true,
        splits: each(1),
    };
    check(Body::Refund(exact), false);
    let (amount, is_final, refund_fee) = (Some(999), false, true);
    check(
        Body::Capture(Capture {
            payment,
            amount,
            is_final,
            splits: PayeeAmounts::default(),
        }),
        false,
    );
    check(
        Body::Refund(Refund {
            payment,
            amount: None,
            refund_fee,
            splits: PayeeAmounts::default(),
        }),
        false,
    );
    let payout = Pay {
        kind: PaymentKind::Payout,
        hold: Some(Hold::OF_PAYOUT),
        queue: None,
        reference: Reference::new(&"p".repeat(Reference::BYTES_MAX)).ok(),
        ..big_payment(16, 0)
    };
    check(Body::Pay(payout), false);
    let payout = PaymentId(BASE + 42);
    let failure = Reason::new(&"f".repeat(Reason::BYTES_MAX)).ok();
    check(
        Body::SettlePayout(SettlePayout {
            payout,
            failure: failure.clone(),
        }),
        false,
    );
    let second = Pay {
        kind: PaymentKind::Payout,
        hold: None,
        queue: None,
        reference: Reference::new(&"q".repeat(Reference::BYTES_MAX)).ok(),
        ..big_payment(16, 0)
    };
    check(Body::Pay(second), false);
    check(
        Body::ReturnPayout(ReturnPayout {
            payout: PaymentId(BASE + 44),
            amount: Some(1),
            reason: failure,
        }),
        false,
    );
    let plain = Pay {
        kind,
        destination: Destination::One(AccountId(BASE + 2)),
        fees: Fees::default(),
        reference: Reference::new(&"s".repeat(Reference::BYTES_MAX)).ok(),
        ..big_payment(1, 0)
    };
    check(Body::Pay(plain), false);
    let largest = Publish {
        topic: Topic::new(&format!("app.{}", "t".repeat(124))).expect("it is as long as may be"),
        key: OrderKey::new(&"k".repeat(OrderKey::BYTES_MAX)).ok(),
        data: Data::new(Data::PLAIN, &[b'd'; Data::BYTES_MAX]).expect("it is as long as may be"),
    };
    check(Body::Publish(largest), false);
    let largest = PutSetting {
        id: SettingId(u64::MAX),
        kind: SettingKind::SUBSCRIPTION,
        slug: Slug::new(&"s".repeat(Slug::BYTES_MAX)).expect("it is as long as may be"),
        managed_by: ManagedBy::new(&"m".repeat(ManagedBy::BYTES_MAX)).ok(),
        replaces: 0,
        body: SettingBody::new(&[b'b'; SettingBody::BYTES_MAX]).expect("it is as long as may be"),
        request: [0; 16],
    };
    check(Body::PutSetting(Box::new(largest.clone())), false);
    let refused = PutSetting {
        kind: SettingKind::APPLIED_FILE,
        ..largest
    };
    check(Body::PutSetting(Box::new(refused)), true);
    let (id, kind) = (SettingId(u64::MAX), SettingKind::SUBSCRIPTION);
    let delete = DeleteSetting {
        id,
        kind,
        replaces: 0,
    };
    check(Body::DeleteSetting(delete), false);
    // Payments that use as many limits as there can be, and some that a limit refuses.
    for at in 0..LIMITS_PER_PAYMENT_MAX as u64 {
        let subject = match at % 2 {
            0 => LimitSubject::Account(AccountId(BASE + 1)),
            _ => LimitSubject::Owner(OwnerId(BASE + 1)),
        };
        let window = LIMIT_WINDOW_NS_MAX;
        let terms = LimitTerms::new(subject, &LIMITED_KINDS, None, window, Some(5), None);
        let body = terms.expect("it says a limit").to_body();
        let limit = PutSetting {
            id: SettingId(u64::MAX - at),
            kind: SettingKind::LIMIT,
            slug: Slug::new(&format!("limit-{at}")).expect("it is short"),
            managed_by: None,
            replaces: 0,
            body: SettingBody::new(&body).expect("it is short"),
            request: [0; 16],
        };
        check(Body::PutSetting(Box::new(limit)), false);
    }
    let mut references = ('A'..='Z').map(|letter| letter.to_string().repeat(64));
    let mut limited = |is_plain: bool, hold: bool, queue: bool| {
        let big = big_payment(16, 0);
        Body::Pay(Pay {
            kind: PaymentKind::Transfer,
            destination: match is_plain {
                true => Destination::One(AccountId(BASE + 2)),
                false => big.destination.clone(),
            },
            hold: big.hold.filter(|_| hold),
            queue: big.queue.clone().filter(|_| queue),
            reference: references
                .next()
                .and_then(|text| Reference::new(&text).ok()),
            ..big
        })
    };
    check(limited(true, false, false), false);
    check(limited(true, true, false), false);
    check(limited(false, true, false), false);
    let (first, second) = (
        check(limited(true, true, true), false),
        check(limited(false, true, true), false),
    );
    let third = check(limited(false, true, true), false);
    check(Body::Run(PaymentId(first)), false);
    check(Body::Run(PaymentId(second)), false);
    check(Body::Run(PaymentId(third)), true);
    check(limited(true, true, false), true);
    for is_plain in [true, false] {
        let unlimited = Pay {
            kind: PaymentKind::TopUp,
            reason: None,
            source: AccountId(BASE + 20),
            destination: match is_plain {
                true => Destination::One(AccountId(BASE + 2)),
                false => big_payment(16, 0).destination,
            },
            reference: None,
            reference_scope: None,
            queue: None,
            ..big_payment(1, 0)
        };
        let payment = PaymentId(check(Body::Pay(unlimited), false));
        let found = Investigate {
            payment,
            investigating: Some(true),
            assignee: Some(Label::new(&"a".repeat(Label::BYTES_MAX)).ok()),
            label: Some(RiskLabel::Fraud),
        };
        check(Body::Investigate(Box::new(found)), false);
        let by_payer = true;
        check(Body::Approve(Approve { payment, by_payer }), false);
        check(Body::Void(payment), false);
    }
    check(limited(true, false, false), true);
    check(limited(false, true, false), true);
}
