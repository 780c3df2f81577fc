//! Exact amounts per payee in captures and refunds. The payees take or give just these amounts, and the fees follow in
//! proportion: of each fee, as much has been captured (or refunded) in all as its payees' share of what they can have, rounded
//! down. So the fees are exact once the payees have had everything.

use super::checks::{check_amount, refuse_if};
use crate::shares::prorate;
use crate::{
    AMOUNT_MAX, AccountId, PayeeAmount, PayeeAmounts, Payment, PaymentShare, Rejection, SHARES_MAX,
};
use arrayvec::ArrayVec;

/// One item per payee and fee of a payment.
pub(super) type PerShare<T> = ArrayVec<T, SHARES_MAX>;

/// Checks the amount and the amounts per payee by themselves. Only one of the two can be given.
pub(super) fn check_amounts(amount: Option<u64>, splits: &PayeeAmounts) -> Result<(), Rejection> {
    let amounts = || splits.iter().map(|part| part.amount);
    refuse_if(amounts().any(|part| part == 0), Rejection::AmountZero)?;
    let too_large = amounts().any(|part| part > AMOUNT_MAX);
    refuse_if(too_large && amount != Some(0), Rejection::AmountTooLarge)?;
    check_amount(amount)?;
    let again = |(at, part): (usize, &PayeeAmount)| {
        let mut before = splits[..at].iter();
        before.any(|other| other.account == part.account)
    };
    let twice = splits.iter().enumerate().any(again);
    refuse_if(twice, Rejection::DuplicateAccount)?;
    let both = amount.is_some() && !splits.is_empty();
    refuse_if(both, Rejection::SplitMismatch)
}

/// Checks that each account of the splits is that of a payee.
pub(super) fn check_payees(payment: &Payment, splits: &PayeeAmounts) -> Result<(), Rejection> {
    let is_payee = |account: AccountId| {
        let mut payees = payment.shares.iter().filter(|share| !share.is_fee);
        payees.any(|share| share.account == account)
    };
    let known = splits.iter().all(|part| is_payee(part.account));
    refuse_if(!known, Rejection::PayeeNotFound)
}

/// Returns whether the command concerns the share: without splits every one, otherwise the named payees, and the fees.
pub(super) fn concerns(splits: &PayeeAmounts, share: &PaymentShare) -> bool {
    splits.is_empty() || share.is_fee || wanted(splits, share) > 0
}

/// Returns the amount that the splits give for the account of a payee; 0 if they do not name the account.
fn wanted(splits: &PayeeAmounts, share: &PaymentShare) -> u64 {
    let named = splits.iter().find(|part| part.account == share.account);
    named
        .filter(|_| !share.is_fee)
        .map_or(0, |part| part.amount)
}

/// Returns the amount that each share captures, and whether a payee exceeds its part.
pub(super) fn capture_exactly(payment: &Payment, splits: &PayeeAmounts) -> (PerShare<u64>, bool) {
    let sum = |of: fn(&PaymentShare) -> u64| payees(payment).map(of).sum::<u64>();
    let done = sum(|share| share.captured) + total(splits);
    let whole = sum(|share| share.amount);
    let parts = payment.shares.iter().map(|share| {
        if share.is_fee {
            follow(share.amount, done, whole, share.captured)
        } else {
            wanted(splits, share)
        }
    });
    let too_much = |share: &PaymentShare| wanted(splits, share) > share.amount - share.captured;
    (parts.collect(), payees(payment).any(too_much))
}

/// Returns the amount that each share refunds, and whether a payee exceeds its part.
pub(super) fn refund_exactly(
    payment: &Payment,
    splits: &PayeeAmounts,
    refund_fee: bool,
) -> (PerShare<u64>, bool) {
    let sum = |of: fn(&PaymentShare) -> u64| payees(payment).map(of).sum::<u64>();
    let done = sum(|share| share.refunded_with_fee) + total(splits);
    let whole = sum(|share| share.captured);
    let limits = match refund_fee {
        true => net_left(payment),
        false => gross_left(payment),
    };
    let part = |(share, limit): (&PaymentShare, &u64)| match share.is_fee {
        true => follow(share.captured, done, whole, share.refunded).min(*limit),
        false => wanted(splits, share),
    };
    let each = || payment.shares.iter().zip(&limits);
    let exceeds = each().any(|(share, limit)| wanted(splits, share) > *limit);
    (each().map(part).collect(), exceeds)
}

/// Returns what a fee of `fee` adds to its `earlier` parts, once the payees have had `done` of `whole`.
fn follow(fee: u64, done: u64, whole: u64, earlier: u64) -> u64 {
    if whole == 0 {
        return 0;
    }
    let due = u128::from(fee) * u128::from(done) / u128::from(whole);
    let due = due.min(u128::from(fee));
    let due = u64::try_from(due).expect("at most the fee");
    // A division by amount may have rounded the fee up before.
    due.saturating_sub(earlier)
}

fn total(splits: &PayeeAmounts) -> u64 {
    splits.iter().map(|part| part.amount).sum()
}

fn payees(payment: &Payment) -> impl Iterator<Item = &PaymentShare> {
    payment.shares.iter().filter(|share| !share.is_fee)
}

/// Returns what each share can still give back with `refund_fee`: what it captured, less what it refunded. A payee that refunds
/// without the fees bears them: these fees stay where they are, and are no longer due from the payee.
pub(super) fn net_left(payment: &Payment) -> PerShare<u64> {
    let fee = |share: &PaymentShare| if share.is_fee { share.captured } else { 0 };
    let without_fee = |share: &PaymentShare| match share.is_fee {
        true => 0,
        false => share.refunded - share.refunded_with_fee,
    };
    let sum = |weight: &dyn Fn(&PaymentShare) -> u64| payment.shares.iter().map(weight).sum();
    let borne = take_part(sum(&fee), sum(&without_fee), payment.captured);
    let kept = divide(payment, borne, fee);
    let borne = divide(payment, borne, without_fee);
    let shares = payment.shares.iter().zip(kept).zip(borne);
    let left = |((share, kept), borne): ((&PaymentShare, u64), u64)| {
        if share.is_fee {
            share.captured.saturating_sub(share.refunded + kept)
        } else {
            (share.captured + borne).saturating_sub(share.refunded)
        }
    };
    shares.map(left).collect()
}

/// Returns `fee · done / whole`, rounded up; 0 of nothing.
fn take_part(fee: u64, done: u64, whole: u64) -> u64 {
    let product = u128::from(fee) * u128::from(done);
    let part = product.div_ceil(u128::from(whole.max(1)));
    u64::try_from(part).expect("at most the fee")
}

/// Returns what is left of each payee's gross part, as if there had been no fee: its part of all that was captured, less what it
/// refunded, and less what fee accounts refunded with it. Fees have nothing left.
pub(super) fn gross_left(payment: &Payment) -> PerShare<u64> {
    let of_payee = |share: &PaymentShare| if share.is_fee { 0 } else { share.captured };
    let gross = divide(payment, payment.captured, of_payee);
    let with_fee = |share: &PaymentShare| share.refunded_with_fee;
    let of_fees = divide(payment, payment.fee_refunded, with_fee);
    let shares = payment.shares.iter().zip(gross).zip(of_fees);
    let left = |((share, gross), of_fees): ((&PaymentShare, u64), u64)| {
        if share.is_fee {
            0
        } else {
            gross.saturating_sub(share.refunded + of_fees)
        }
    };
    shares.map(left).collect()
}

/// Divides an amount among the shares in proportion to their weights.
fn divide(payment: &Payment, amount: u64, weight: impl Fn(&PaymentShare) -> u64) -> PerShare<u64> {
    let weights: PerShare<u64> = payment.shares.iter().map(weight).collect();
    let mut parts: PerShare<u64> = weights.iter().map(|_| 0).collect();
    prorate(amount, &weights, &mut parts);
    parts
}
