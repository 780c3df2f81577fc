//! What each share takes or gives in a capture or refund.
//!
//! Exact amounts per payee: the payees take or give just these amounts, and the fees follow in proportion: of each fee, as much has
//! been captured (or refunded) in all as its payees' share of what they can have, rounded down. So the fees are exact once the
//! payees have had everything.
//!
//! One amount for all: each step divides all that was divided so far, see [`prorate_step`], so the steps never round in favour of
//! the same share twice. Once there were amounts per payee, the fees still follow their part of the whole, and the payees divide
//! among themselves by what these amounts left of their parts.

use super::checks::{check_amount, refuse_if};
use crate::shares::{Division, prorate, prorate_step};
use crate::{
    AMOUNT_MAX, AccountId, PayeeAmount, PayeeAmounts, Payment, PaymentShare, Rejection, SHARES_MAX,
    SplitBase,
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
        let mut payees = payment.payees().iter();
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
    let sum = |of: fn(&PaymentShare) -> u64| payment.payees().iter().map(of).sum::<u64>();
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
    (parts.collect(), payment.payees().iter().any(too_much))
}

/// Returns the amount that each share refunds, and whether a payee exceeds its part.
pub(super) fn refund_exactly(
    payment: &Payment,
    splits: &PayeeAmounts,
    refund_fee: bool,
) -> (PerShare<u64>, bool) {
    let sum = |of: fn(&PaymentShare) -> u64| payment.payees().iter().map(of).sum::<u64>();
    let done = sum(|share| share.refunded_with_fee) + total(splits);
    let whole = sum(|share| share.captured);
    let limits = limits(payment, refund_fee);
    let part = |(share, limit): (&PaymentShare, &u64)| match share.is_fee {
        true => follow(share.captured, done, whole, share.refunded).min(*limit),
        false => wanted(splits, share),
    };
    let each = || payment.shares.iter().zip(&limits);
    let exceeds = each().any(|(share, limit)| wanted(splits, share) > *limit);
    (each().map(part).collect(), exceeds)
}

/// Returns the amount that each share captures of `amount`, which is at most what is held.
pub(super) fn capture_divided(payment: &Payment, amount: u64) -> PerShare<u64> {
    let each = |of: fn(&PaymentShare) -> u64| payment.shares.iter().map(of).collect();
    let all = OwnedDivision {
        weights: each(|share| share.amount),
        earlier: each(|share| share.captured),
        room: each(|share| share.amount - share.captured),
    };
    let since = since_base(payment, |share, base| {
        (share.amount - base.captured, share.captured - base.captured)
    });
    divide_step(amount, all, since)
}

/// Returns the amount that each share refunds of `amount`, which is at most what can be refunded.
pub(super) fn refund_divided(payment: &Payment, amount: u64, refund_fee: bool) -> PerShare<u64> {
    let given = |share: &PaymentShare| match (share.is_fee, refund_fee) {
        (true, _) => share.refunded,
        (false, true) => share.refunded_with_fee,
        (false, false) => share.refunded - share.refunded_with_fee,
    };
    let mut all = OwnedDivision {
        weights: payment.shares.iter().map(|share| share.captured).collect(),
        earlier: payment.shares.iter().map(given).collect(),
        room: limits(payment, refund_fee),
    };
    let payees = payment.payees().len();
    if !refund_fee {
        all.truncate(payees);
    }
    let given_at_base = |base: &SplitBase| match refund_fee {
        true => base.refunded_with_fee,
        false => base.refunded - base.refunded_with_fee,
    };
    let since = payment.split_base.as_ref().map(|base| {
        let mut weights = net_left(&at_base(payment, base));
        weights.truncate(payees);
        let earlier = payment.payees().iter().zip(base.iter());
        let earlier = earlier.map(|(share, base)| given(share) - given_at_base(base));
        (weights, earlier.collect())
    });
    let mut parts = divide_step(amount, all, since);
    parts.extend((parts.len()..payment.shares.len()).map(|_| 0));
    parts
}

/// Returns the payment with what the payees had refunded after the last step with amounts per payee.
fn at_base(payment: &Payment, base: &[SplitBase]) -> Payment {
    let mut payment = payment.clone();
    for (share, base) in payment.shares.iter_mut().zip(base) {
        share.refunded = base.refunded;
        share.refunded_with_fee = base.refunded_with_fee;
    }
    payment
}

/// Weights of the payees, and what they took or gave, since the last step with amounts per payee.
type SinceBase = Option<(PerShare<u64>, PerShare<u64>)>;

fn since_base(
    payment: &Payment,
    since: impl Fn(&PaymentShare, &SplitBase) -> (u64, u64),
) -> SinceBase {
    let base = payment.split_base.as_ref()?;
    let each = payment.payees().iter().zip(base.iter());
    Some(each.map(|(share, base)| since(share, base)).unzip())
}

/// A [`Division`] with its amounts.
struct OwnedDivision {
    weights: PerShare<u64>,
    earlier: PerShare<u64>,
    room: PerShare<u64>,
}

impl OwnedDivision {
    fn truncate(&mut self, shares: usize) {
        self.weights.truncate(shares);
        self.earlier.truncate(shares);
        self.room.truncate(shares);
    }

    fn divide(&self, amount: u64) -> PerShare<u64> {
        let mut parts: PerShare<u64> = self.weights.iter().map(|_| 0).collect();
        let division = Division {
            weights: &self.weights,
            earlier: &self.earlier,
            room: &self.room,
        };
        prorate_step(amount, division, &mut parts);
        parts
    }
}

/// Divides a step among shares: the payees and, after them, fees. After a step with amounts per payee, the payees together are one
/// share beside the fees, and divide their amount by what they had `since`.
fn divide_step(amount: u64, all: OwnedDivision, since: SinceBase) -> PerShare<u64> {
    let Some((weights, earlier)) = since else {
        return all.divide(amount);
    };
    let payees = weights.len();
    let join = |of: &PerShare<u64>| -> PerShare<u64> {
        let fees = of[payees..].iter().copied();
        [of[..payees].iter().sum()]
            .into_iter()
            .chain(fees)
            .collect()
    };
    let together = OwnedDivision {
        weights: join(&all.weights),
        earlier: join(&all.earlier),
        room: join(&all.room),
    };
    let together = together.divide(amount);
    let mut room = all.room;
    room.truncate(payees);
    let of_payees = OwnedDivision {
        weights,
        earlier,
        room,
    };
    let mut parts = of_payees.divide(together[0]);
    parts.extend(together[1..].iter().copied());
    parts
}

/// Returns the most that each share can refund.
pub(super) fn limits(payment: &Payment, refund_fee: bool) -> PerShare<u64> {
    match refund_fee {
        true => net_left(payment),
        false => gross_left(payment),
    }
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

/// Returns what each share can still give back with `refund_fee`: what it captured, less what it refunded. A payee that refunds
/// without the fees bears them: these fees stay where they are, and are no longer due from the payee.
fn net_left(payment: &Payment) -> PerShare<u64> {
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
fn gross_left(payment: &Payment) -> PerShare<u64> {
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
