//! The life of a payout: pending, then paid or failed; what was paid may come back, all or a part.
//!
//! A pending payout holds its amount without expiry. Only the platform knows what became of it outside, so only the platform
//! settles it.

use super::checks::{
    Decision, check_amount, check_ceiling, check_floor, check_funds, is_platform, leg, refuse_if,
    signed,
};
use crate::{
    Account, AccountId, AccountStatus, Actor, Command, Context, Date, Hold, Outcome, Pay, Payment,
    PaymentId, PaymentKind, PaymentShare, PaymentStatus, Rejection, ReturnPayout, SettlePayout,
    WorkingSet,
};
use smallvec::smallvec;

/// Returns whether the kind of the payment allows its hold: a payout is held without expiry, and an adjustment is never held.
pub(super) fn allows_hold(pay: &Pay) -> bool {
    let Some(hold) = pay.hold else {
        return true;
    };
    match pay.kind {
        PaymentKind::Payout => hold.expires_at == Hold::NO_EXPIRY,
        PaymentKind::Adjustment => false,
        _ => true,
    }
}

/// Returns whether the actor is allowed to request a payment of this kind: a payout that is paid at once is a statement about
/// the outside, which only the platform makes. Nobody requests a return as a payment: see [`give_back`].
pub(super) fn may_request(actor: Actor, pay: &Pay) -> bool {
    match pay.kind {
        PaymentKind::Payout => pay.hold.is_some() || is_platform(actor),
        PaymentKind::PayoutReturn => false,
        _ => true,
    }
}

/// Checks that the payment is captured and voided like others: a payout is paid or failed instead.
pub(super) fn check_no_payout(payment: &Payment) -> Result<(), Rejection> {
    refuse_if(
        payment.kind == PaymentKind::Payout,
        Rejection::PaymentIsPayout,
    )
}

/// Pays the whole amount of a pending payout, or releases it. A frozen source does not stop this: the money has left already.
pub(super) fn settle(
    set: &WorkingSet,
    actor: Actor,
    settle: &SettlePayout,
    ctx: Context,
) -> Decision {
    let payout = set.find_payment(settle.payout)?;
    refuse_if(!is_platform(actor), Rejection::Forbidden)?;
    let paid = settle.failure.is_none();
    if paid {
        check_open_accounts(set, payout)?;
    }
    refuse_if(
        payout.kind != PaymentKind::Payout,
        Rejection::PaymentNotPayout,
    )?;
    refuse_if(
        payout.status != PaymentStatus::Pending,
        Rejection::PayoutNotPending,
    )?;
    let source = set.find_account(payout.source)?;
    let moved = |amount: u64| if paid { signed(amount) } else { 0 };
    let mut outcome = Outcome::default();
    let left = source.held - payout.held;
    outcome.legs.push(leg(source, -moved(payout.held), left));
    let mut after = payout.clone();
    for share in &mut after.shares {
        let account = set.find_account(share.account)?;
        if paid {
            check_ceiling(account, share.amount)?;
            share.captured = share.amount;
        }
        outcome
            .legs
            .push(leg(account, moved(share.amount), account.held));
    }
    after.captured = if paid { payout.held } else { 0 };
    after.held = 0;
    after.status = if paid {
        PaymentStatus::Paid
    } else {
        PaymentStatus::Failed
    };
    after.change(ctx);
    outcome.payment = Some(after);
    Ok(outcome)
}

/// Gives money of a paid payout back from its payee to its source, as a payment of its own. Fees stay where they are.
pub(super) fn give_back(
    set: &WorkingSet,
    command: &Command,
    give: &ReturnPayout,
    ctx: Context,
) -> Decision {
    check_amount(give.amount)?;
    let payout = set.find_payment(give.payout)?;
    refuse_if(!is_platform(command.actor), Rejection::Forbidden)?;
    check_open_accounts(set, payout)?;
    let payee = payout.shares.first().map(|share| share.account);
    let frozen = payee
        .and_then(|payee| set.find_account(payee).ok())
        .is_some_and(|payee| payee.status == AccountStatus::Frozen);
    refuse_if(frozen, Rejection::AccountFrozen)?;
    refuse_if(
        payout.kind != PaymentKind::Payout,
        Rejection::PaymentNotPayout,
    )?;
    refuse_if(
        payout.status != PaymentStatus::Paid,
        Rejection::PayoutNotPaid,
    )?;
    let left = payout.shares[0].captured - payout.shares[0].refunded;
    let amount = give.amount.unwrap_or(left);
    refuse_if(amount > left || left == 0, Rejection::ReturnExceedsPaid)?;
    let payee = set.find_account(payout.shares[0].account)?;
    let source = set.find_account(payout.source)?;
    check_funds(payee, amount)?;
    check_floor(payee, amount)?;
    check_ceiling(source, amount)?;

    let mut outcome = Outcome::default();
    outcome.legs.push(leg(payee, -signed(amount), payee.held));
    outcome.legs.push(leg(source, signed(amount), source.held));
    outcome.payment = Some(returned(command, payout, payee, amount, ctx));
    let mut after = payout.clone();
    after.shares[0].refunded += amount;
    after.refunded += amount;
    after.change(ctx);
    outcome.payout = Some(Box::new(after));
    Ok(outcome)
}

/// Returns the account that would have paid a return, which lacks the funds.
pub(super) fn find_short_of_funds(set: &WorkingSet, give: &ReturnPayout) -> Option<AccountId> {
    let payout = set.find_payment(give.payout).ok()?;
    payout.shares.first().map(|share| share.account)
}

/// Returns the payment by which `amount` of the payout comes back from `payee`.
fn returned(
    command: &Command,
    payout: &Payment,
    payee: &Account,
    amount: u64,
    ctx: Context,
) -> Payment {
    let share = PaymentShare {
        account: payout.source,
        is_fee: false,
        amount,
        captured: amount,
        refunded: 0,
        refunded_with_fee: 0,
    };
    Payment {
        id: PaymentId(ctx.position),
        kind: PaymentKind::PayoutReturn,
        status: PaymentStatus::Captured,
        owner: payout.owner,
        actor: command.actor,
        currency: payout.currency,
        source: payee.id,
        amount,
        held: 0,
        captured: amount,
        refunded: 0,
        fee_refunded: 0,
        expires_at: 0,
        created_at: ctx.timestamp,
        effective_at: command
            .effective_at
            .unwrap_or(Date::from_timestamp(ctx.timestamp)),
        changed_at: ctx.position,
        shown_at: None,
        queue: None,
        text: None,
        review: None,
        label: None,
        reached_payees: true,
        split_base: None,
        shares: smallvec![share],
    }
}

/// Checks that no account of the payment is closed.
fn check_open_accounts(set: &WorkingSet, payment: &Payment) -> Result<(), Rejection> {
    let shares = payment.shares.iter().map(|share| share.account);
    let mut accounts = shares
        .chain([payment.source])
        .filter_map(|id| set.find_account(id).ok());
    refuse_if(
        accounts.any(|account| account.status == AccountStatus::Closed),
        Rejection::AccountClosed,
    )
}
