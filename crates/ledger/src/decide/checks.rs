//! Checks and parts of outcomes that several commands share.

use crate::{
    AMOUNT_MAX, Account, AccountId, Actor, ApiKeyId, ApiKeyStatus, Assessment, Capture, Command,
    Context, Effect, Leg, Outcome, Owner, OwnerId, OwnerName, Payment, PaymentKind, PaymentStatus,
    Rejection, WorkingSet,
};

pub(super) type Decision = Result<Outcome, Rejection>;

/// Checks the API key of the actor, which may have been revoked since the command arrived.
pub(super) fn check_actor(set: &WorkingSet, actor: Actor) -> Result<(), Rejection> {
    if actor.api_key == ApiKeyId::SYSTEM {
        return Ok(());
    }
    let key = set
        .api_key(actor.api_key)
        .ok_or(Rejection::ActorKeyNotFound)?;
    refuse_if(
        key.status == ApiKeyStatus::Revoked,
        Rejection::ActorKeyRevoked,
    )?;
    refuse_if(key.owner != actor.owner, Rejection::ActorKeyMismatch)?;
    refuse_if(
        key.access == crate::Access::Read,
        Rejection::ActorKeyReadOnly,
    )
}

pub(super) fn refuse_if(applies: bool, rejection: Rejection) -> Result<(), Rejection> {
    if applies { Err(rejection) } else { Ok(()) }
}

pub(super) fn is_platform(actor: Actor) -> bool {
    actor.owner == OwnerId::PLATFORM
}

/// Checks the amount of a capture or refund, if given.
pub(super) fn check_amount(amount: Option<u64>) -> Result<(), Rejection> {
    refuse_if(amount == Some(0), Rejection::AmountZero)?;
    refuse_if(
        amount.is_some_and(|amount| amount > AMOUNT_MAX),
        Rejection::AmountTooLarge,
    )
}

/// Checks that the account can spend the amount within its overdraft limit.
pub(super) fn check_funds(account: &Account, amount: u64) -> Result<(), Rejection> {
    let left = i128::from(account.available()) - i128::from(amount);
    let limit = account.overdraft.limit().map(i128::from);
    refuse_if(
        amount > 0 && limit.is_some_and(|limit| left < -limit),
        Rejection::InsufficientFunds,
    )
}

/// Checks that the available balance stays within the smallest balance.
pub(super) fn check_floor(account: &Account, amount: u64) -> Result<(), Rejection> {
    let left = i128::from(account.available()) - i128::from(amount);
    refuse_if(left < -i128::from(AMOUNT_MAX), Rejection::BalanceOverflow)
}

/// Checks that the balance stays within the largest balance.
pub(super) fn check_ceiling(account: &Account, amount: u64) -> Result<(), Rejection> {
    let sum = i128::from(account.posted) + i128::from(amount);
    refuse_if(sum > i128::from(AMOUNT_MAX), Rejection::BalanceOverflow)
}

/// Returns the next leg of an account.
pub(super) fn leg(account: &Account, amount: i64, held_after: u64) -> Leg {
    let (seq, prev, skip) = account.chain.next();
    let posted_after = account.posted + amount;
    let currency = account.currency;
    Leg {
        account: account.id,
        amount,
        posted_after,
        held_after,
        prev,
        skip,
        seq,
        currency,
    }
}

pub(super) fn signed(amount: u64) -> i64 {
    i64::try_from(amount).expect("amounts are at most 2^53 - 1")
}

/// Returns the owner with this name, or a new owner.
pub(super) fn owner_named(set: &WorkingSet, name: &OwnerName, ctx: Context) -> Owner {
    if let Some(owner) = set.owner_by_name(name) {
        return owner;
    }
    let id = if *name == OwnerName::platform() {
        OwnerId::PLATFORM
    } else {
        OwnerId(ctx.position)
    };
    Owner {
        id,
        name: name.clone(),
        last_account: None,
        changed_at: 0,
    }
}

/// Checks that the actor is allowed to make this capture: the platform is, and an owner for its own accounts.
pub(super) fn check_may_capture(
    set: &WorkingSet,
    actor: Actor,
    payment: &Payment,
    capture: &Capture,
) -> Result<(), Rejection> {
    if is_platform(actor) {
        return Ok(());
    }
    let allowed = payment.check_capture_by(actor.owner, capture, owner_of(set));
    allowed.map_err(|_| Rejection::Forbidden)
}

/// Checks that the actor is allowed to release what is held: the platform is, and an owner if nothing is held for others.
pub(super) fn check_may_release(
    set: &WorkingSet,
    actor: Actor,
    payment: &Payment,
) -> Result<(), Rejection> {
    if is_platform(actor) {
        return Ok(());
    }
    let allowed = payment.check_release_by(actor.owner, owner_of(set));
    allowed.map_err(|_| Rejection::Forbidden)
}

fn owner_of(set: &WorkingSet) -> impl Fn(AccountId) -> Option<OwnerId> {
    |account| Some(set.find_account(account).ok()?.owner)
}

/// Returns the status of a payment by its amounts. The payment has a captured or a held amount.
pub(super) fn standing(payment: &Payment) -> PaymentStatus {
    let open = payment.held > 0;
    match (payment.captured, payment.refunded) {
        (0, _) => PaymentStatus::Authorized,
        (_, 0) if open => PaymentStatus::PartiallyCaptured,
        (_, 0) => PaymentStatus::Captured,
        (captured, refunded) if captured == refunded && !open => PaymentStatus::Refunded,
        _ => PaymentStatus::PartiallyRefunded,
    }
}

/// Asserts the invariants of every accepted outcome.
pub(super) fn assert_sound(outcome: &Outcome) {
    let mut sum = 0_i128;
    let max = signed(AMOUNT_MAX);
    for leg in &outcome.legs {
        assert!(
            leg.currency == outcome.legs[0].currency,
            "a record's postings are in one currency"
        );
        assert!(
            (-max..=max).contains(&leg.posted_after),
            "balances stay within their bounds"
        );
        assert!(
            leg.held_after <= AMOUNT_MAX,
            "holds stay within their bounds"
        );
        assert!(
            leg.posted_after - signed(leg.held_after) >= -max,
            "available stays within its bounds"
        );
        sum += i128::from(leg.amount);
    }
    assert!(sum == 0, "postings sum to zero");
    for payment in outcome.payment.iter().chain(outcome.payout.as_deref()) {
        assert_payment_sound(payment);
    }
}

fn assert_payment_sound(payment: &Payment) {
    assert!(
        payment.captured + payment.held <= payment.amount,
        "no more is captured or held than was authorized"
    );
    assert!(
        payment.refunded <= payment.captured,
        "no more is refunded than was captured"
    );
    assert!(
        payment.kind != PaymentKind::Payout
            || [0, payment.amount].contains(&payment.held)
                && [PaymentStatus::Pending, PaymentStatus::InReview].contains(&payment.status)
                    == (payment.held > 0),
        "a payout is held whole while it is pending or in review, and only then"
    );
    let review = payment.review.as_ref();
    let waits = review.is_some_and(|review| review.stage.is_open());
    assert!(
        waits == (payment.status == PaymentStatus::InReview)
            && !(waits && payment.held != payment.amount),
        "a payment is held whole while it is in review"
    );
    let shares = &payment.shares;
    // An update of a failed payment leaves it as it was: its shares were never computed.
    let failed = payment.status == PaymentStatus::Failed;
    assert!(
        failed || shares.iter().map(|share| share.amount).sum::<u64>() == payment.amount,
        "shares add up"
    );
    assert!(
        shares.iter().map(|share| share.captured).sum::<u64>() == payment.captured,
        "captured shares add up"
    );
    assert!(
        shares.iter().map(|share| share.refunded).sum::<u64>() == payment.refunded,
        "refunded shares add up"
    );
    assert!(
        shares.iter().all(|share| share.captured <= share.amount),
        "no share captures more than its part"
    );
}

/// Returns whether the rules for risk hold the payment for review.
pub(super) fn is_for_review(command: &Command) -> bool {
    let assessment = command.assessment.as_deref();
    assessment.and_then(Assessment::review).is_some()
}

/// Checks that the rules for risk do not block the payment.
pub(super) fn check_assessment(command: &Command) -> Result<(), Rejection> {
    let assessment = command.assessment.as_deref();
    let blocks = assessment.is_some_and(|found| found.effect() == Effect::Block);
    refuse_if(blocks, Rejection::PaymentBlocked)
}
