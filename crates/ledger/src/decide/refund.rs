//! Give back what was captured, or a part.

use super::checks::{
    Decision, check_amount, check_ceiling, check_floor, check_funds, is_platform, leg, refuse_if,
    signed, standing,
};
use crate::shares::prorate;
use crate::{
    Account, AccountStatus, Actor, Context, Outcome, Payment, PaymentKind, PaymentShare, Refund,
    Rejection, SHARES_MAX, WorkingSet,
};
use arrayvec::ArrayVec;

/// One item per share.
type PerShare<T> = ArrayVec<T, SHARES_MAX>;

pub(super) fn refund(set: &WorkingSet, actor: Actor, refund: &Refund, ctx: Context) -> Decision {
    check_amount(refund.amount)?;
    let payment = set.find_payment(refund.payment)?;
    check_permission(set, actor, payment, refund)?;
    check_accounts(set, payment, refund)?;
    let kind_allows = !matches!(
        payment.kind,
        PaymentKind::Adjustment | PaymentKind::Payout | PaymentKind::PayoutReturn
    );
    let refundable = kind_allows && payment.captured > 0;
    refuse_if(!refundable, Rejection::PaymentNotRefundable)?;
    refuse_if(payment.refundable() == 0, Rejection::PaymentAlreadyRefunded)?;
    let amount = refund.amount.unwrap_or(payment.refundable());
    refuse_if(
        amount > payment.refundable(),
        Rejection::RefundExceedsCaptured,
    )?;

    let parts = divide(payment, refund, amount);
    let source = set.find_account(payment.source)?;
    let mut accounts: PerShare<&Account> = ArrayVec::new();
    for share in &payment.shares {
        accounts.push(set.find_account(share.account)?);
    }
    let each = || accounts.iter().zip(&parts);
    each().try_for_each(|(account, part)| check_funds(account, *part))?;
    each().try_for_each(|(account, part)| check_floor(account, *part))?;
    check_ceiling(source, amount)?;

    let mut outcome = Outcome::default();
    outcome.legs.push(leg(source, signed(amount), source.held));
    each().for_each(|(account, part)| {
        outcome
            .legs
            .push(leg(account, -signed(*part), account.held))
    });
    outcome.payment = Some(after(payment, amount, &parts, ctx));
    Ok(outcome)
}

fn after(payment: &Payment, amount: u64, parts: &[u64], ctx: Context) -> Payment {
    let mut after = payment.clone();
    for (share, part) in after.shares.iter_mut().zip(parts) {
        share.refunded += part;
        after.fee_refunded += if share.is_fee { *part } else { 0 };
    }
    after.refunded += amount;
    after.status = standing(&after);
    after.changed_at = ctx.position;
    after
}

/// Returns the shares whose accounts pay the refund: the payees', and the fees' if fees are refunded.
fn givers(payment: &Payment, refund_fee: bool) -> impl Iterator<Item = &PaymentShare> {
    payment
        .shares
        .iter()
        .filter(move |share| refund_fee || !share.is_fee)
}

/// Checks that an owner refunds only from its own accounts.
fn check_permission(
    set: &WorkingSet,
    actor: Actor,
    payment: &Payment,
    refund: &Refund,
) -> Result<(), Rejection> {
    let own = |share: &PaymentShare| {
        set.find_account(share.account)
            .is_ok_and(|account| account.owner == actor.owner)
    };
    let allowed = is_platform(actor)
        || (givers(payment, refund.refund_fee).next().is_some()
            && givers(payment, refund.refund_fee).all(own));
    refuse_if(!allowed, Rejection::Forbidden)
}

fn check_accounts(set: &WorkingSet, payment: &Payment, refund: &Refund) -> Result<(), Rejection> {
    let givers = || {
        givers(payment, refund.refund_fee).filter_map(|share| set.find_account(share.account).ok())
    };
    let mut all = set.find_account(payment.source).into_iter().chain(givers());
    refuse_if(
        all.any(|account| account.status == AccountStatus::Closed),
        Rejection::AccountClosed,
    )?;
    refuse_if(
        givers().any(|account| account.status == AccountStatus::Frozen),
        Rejection::AccountFrozen,
    )
}

/// Returns the amount that each share refunds. With fees: in proportion to what each share still has of the payment. Without:
/// the payees bear the whole amount, in proportion to their captured amounts, less what they have refunded.
fn divide(payment: &Payment, refund: &Refund, amount: u64) -> PerShare<u64> {
    let shares = &payment.shares;
    let weights: PerShare<u64> = if refund.refund_fee {
        shares
            .iter()
            .map(|share| share.captured.saturating_sub(share.refunded))
            .collect()
    } else {
        let net: PerShare<u64> = shares
            .iter()
            .map(|share| if share.is_fee { 0 } else { share.captured })
            .collect();
        let mut gross = [0; SHARES_MAX];
        prorate(payment.captured, &net, &mut gross[..shares.len()]);
        shares
            .iter()
            .zip(gross)
            .map(|(share, gross)| {
                if share.is_fee {
                    0
                } else {
                    gross.saturating_sub(share.refunded)
                }
            })
            .collect()
    };
    let mut parts: PerShare<u64> = shares.iter().map(|_| 0).collect();
    prorate(amount, &weights, &mut parts);
    parts
}
