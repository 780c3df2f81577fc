//! What each part of a payment takes or gives in a capture or refund, in exact fractions.

use tributary_ledger::{Capture, PayeeAmounts, Refund};

use super::money::divide;
use super::{Part, Payment};

/// A fraction that is never rounded before it is asked for its whole units.
#[derive(Clone, Copy)]
struct Fraction {
    above: i128,
    below: i128,
}

impl Fraction {
    /// Returns the whole units of this fraction of an amount; none of nothing.
    fn units_of(self, amount: i128) -> i128 {
        match self.below {
            0 => 0,
            below => (amount * self.above).div_euclid(below),
        }
    }
}

/// Returns whether a capture or refund with these splits concerns the part: all parts without splits, else fees and named payees.
pub(super) fn concerns(splits: &PayeeAmounts, part: &Part) -> bool {
    splits.iter().count() == 0 || part.is_fee || exact(splits, part) != 0
}

fn exact(splits: &PayeeAmounts, part: &Part) -> i128 {
    let named = splits
        .iter()
        .filter(|named| named.account.0 == part.account);
    match part.is_fee {
        true => 0,
        false => named.map(|named| i128::from(named.amount)).sum(),
    }
}

fn of_payees(payment: &Payment, what: impl Fn(&Part) -> i128) -> i128 {
    payment
        .parts
        .iter()
        .filter(|part| !part.is_fee)
        .map(what)
        .sum()
}

/// Returns the amount that a capture adds to each part. A fee has had the same fraction as the payees together, in whole units.
pub(super) fn parts_of_capture(payment: &Payment, capture: &Capture) -> Vec<i128> {
    let parts = payment.parts.iter();
    if capture.splits.iter().count() == 0 {
        let amount = capture.amount.map_or(payment.held, i128::from);
        let left: Vec<i128> = parts.map(|part| part.amount - part.captured).collect();
        return divide(amount, &left);
    }
    let had = Fraction {
        above: of_payees(payment, |part| part.captured + exact(&capture.splits, part)),
        below: of_payees(payment, |part| part.amount),
    };
    let added = |part: &Part| match part.is_fee {
        true => {
            had.units_of(part.amount)
                .clamp(part.captured, part.amount.max(part.captured))
                - part.captured
        }
        false => exact(&capture.splits, part),
    };
    parts.map(added).collect()
}

/// Returns the amount that a refund takes from each part.
pub(super) fn parts_of_refund(payment: &Payment, refund: &Refund) -> Vec<i128> {
    let parts = payment.parts.iter();
    if refund.splits.iter().count() == 0 {
        let left = payment.captured - payment.refunded;
        let amount = refund.amount.map_or(left, i128::from);
        let weights = match refund.refund_fee {
            true => parts
                .map(|part| (part.captured - part.refunded).max(0))
                .collect(),
            false => limits_of_refund(payment, false),
        };
        return divide(amount, &weights);
    }
    let returned = Fraction {
        above: of_payees(payment, |part| part.with_fee + exact(&refund.splits, part)),
        below: of_payees(payment, |part| part.captured),
    };
    let taken = |part: &Part| match (part.is_fee, refund.refund_fee) {
        (true, true) => {
            (returned.units_of(part.captured).min(part.captured) - part.refunded).max(0)
        }
        (true, false) => 0,
        (false, _) => exact(&refund.splits, part),
    };
    parts.map(taken).collect()
}

/// Returns how much each payee can still give back: with the fees its own part, alone what there would be without fees, less what
/// came back of it already, from the payee or from the fees. Nothing for a fee.
pub(super) fn limits_of_refund(payment: &Payment, refund_fee: bool) -> Vec<i128> {
    let of_payees = |what: fn(&Part) -> i128| -> Vec<i128> {
        let payees = payment.parts.iter().filter(|part| !part.is_fee);
        payees.map(what).collect()
    };
    let mut gross = divide(payment.captured, &of_payees(|part| part.captured)).into_iter();
    let mut fees = divide(payment.fee_refunded, &of_payees(|part| part.with_fee)).into_iter();
    let limit = |part: &Part| {
        if part.is_fee {
            return 0;
        }
        let (gross, fees) = (gross.next(), fees.next());
        let left = match refund_fee {
            true => part.captured - part.refunded,
            false => {
                gross.expect("one for each payee") - fees.expect("one for each") - part.refunded
            }
        };
        left.max(0)
    };
    payment.parts.iter().map(limit).collect()
}
