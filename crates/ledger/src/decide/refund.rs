//! Give back what was captured, or a part.

use super::checks::{
    Decision, check_ceiling, check_floor, check_funds, is_platform, leg, refuse_if, signed,
    standing,
};
use super::parts::{
    PerShare, check_amounts, check_payees, concerns, limits, refund_divided, refund_exactly,
};
use crate::payment::DivisionStep;
use crate::{
    Account, AccountId, AccountStatus, Actor, Context, Outcome, Payment, PaymentKind, PaymentShare,
    Refund, Rejection, WorkingSet,
};

/// Returns the most that each payee of a payment can still refund, in the order of its shares; fees have 0 unless `refund_fee` is set.
pub fn refund_limits(payment: &Payment, refund_fee: bool) -> Vec<u64> {
    limits(payment, refund_fee).to_vec()
}

pub(super) fn refund(set: &WorkingSet, actor: Actor, refund: &Refund, ctx: Context) -> Decision {
    check_amounts(refund.amount, &refund.splits)?;
    let payment = set.find_payment(refund.payment)?;
    check_payees(payment, &refund.splits)?;
    check_permission(set, actor, payment, refund)?;
    check_accounts(set, payment, refund)?;
    let kind_allows = !matches!(
        payment.kind,
        PaymentKind::Adjustment | PaymentKind::Payout | PaymentKind::PayoutReturn
    );
    let refundable = kind_allows && payment.captured > 0;
    refuse_if(!refundable, Rejection::PaymentNotRefundable)?;
    refuse_if(payment.refundable() == 0, Rejection::PaymentAlreadyRefunded)?;
    let (amount, parts) = divide(payment, refund)?;
    let source = set.find_account(payment.source)?;
    let mut accounts: PerShare<&Account> = PerShare::new();
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
    outcome.payment = Some(after(payment, refund, amount, &parts, ctx));
    Ok(outcome)
}

/// Returns the first account that cannot pay its part of a refund for lack of funds.
pub(super) fn find_short_of_funds(set: &WorkingSet, refund: &Refund) -> Option<AccountId> {
    let payment = set.find_payment(refund.payment).ok()?;
    let (_, parts) = divide(payment, refund).ok()?;
    let mut each = payment.shares.iter().zip(&parts);
    each.find_map(|(share, part)| {
        let account = set.find_account(share.account).ok()?;
        let lacks = check_funds(account, *part).is_err();
        lacks.then_some(share.account)
    })
}

fn after(payment: &Payment, refund: &Refund, amount: u64, parts: &[u64], ctx: Context) -> Payment {
    let mut after = payment.clone();
    for (share, part) in after.shares.iter_mut().zip(parts) {
        share.refunded += part;
        if share.is_fee {
            after.fee_refunded += part;
        } else if refund.refund_fee {
            share.refunded_with_fee += part;
        }
    }
    after.refunded += amount;
    if !refund.splits.is_empty() {
        after.begin_divisions(DivisionStep::Refund);
    }
    after.status = standing(&after);
    after.change(ctx);
    after
}

/// Returns the shares whose accounts pay the refund: the payees', or of them those that the splits name, and the fees' if fees
/// are refunded.
fn givers<'a>(payment: &'a Payment, refund: &Refund) -> impl Iterator<Item = &'a PaymentShare> {
    let gives = |share: &&PaymentShare| {
        concerns(&refund.splits, share) && (refund.refund_fee || !share.is_fee)
    };
    payment.shares.iter().filter(gives)
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
        || (givers(payment, refund).next().is_some() && givers(payment, refund).all(own));
    refuse_if(!allowed, Rejection::Forbidden)
}

fn check_accounts(set: &WorkingSet, payment: &Payment, refund: &Refund) -> Result<(), Rejection> {
    let givers =
        || givers(payment, refund).filter_map(|share| set.find_account(share.account).ok());
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

/// Returns the amount of the refund, and that of each share: as the splits say, or in proportion.
fn divide(payment: &Payment, refund: &Refund) -> Result<(u64, PerShare<u64>), Rejection> {
    if !refund.splits.is_empty() {
        let (parts, exceeds) = refund_exactly(payment, &refund.splits, refund.refund_fee);
        let amount = parts.iter().sum();
        let too_much = amount > payment.refundable();
        refuse_if(too_much, Rejection::RefundExceedsCaptured)?;
        refuse_if(exceeds, Rejection::RefundExceedsPart)?;
        return Ok((amount, parts));
    }
    let amount = refund.amount.unwrap_or(payment.refundable());
    let too_much = amount > payment.refundable();
    refuse_if(too_much, Rejection::RefundExceedsCaptured)?;
    Ok((amount, refund_divided(payment, amount, refund.refund_fee)))
}
