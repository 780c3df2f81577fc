//! What each part of a payment takes or gives in a capture or refund, in exact fractions.

use tributary_ledger::{Body, Capture, Command, PayeeAmounts, Refund, Rejection};

use super::money::divide;
use super::{Model, Part, Payment};

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

    /// Returns the whole units that this fraction of an amount begins.
    fn begun_units_of(self, amount: i128) -> i128 {
        -self.units_of(-amount)
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
            true => left_with_fees(payment),
            false => limits_of_refund(payment, false),
        };
        return divide(amount, &weights);
    }
    let returned = Fraction {
        above: of_payees(payment, |part| part.with_fee + exact(&refund.splits, part)),
        below: of_payees(payment, |part| part.captured),
    };
    let left = left_with_fees(payment);
    let taken = |(part, left): (&Part, i128)| match (part.is_fee, refund.refund_fee) {
        (true, true) => (returned.units_of(part.captured) - part.refunded).clamp(0, left),
        (true, false) => 0,
        (false, _) => exact(&refund.splits, part),
    };
    parts.zip(left).map(taken).collect()
}

/// Returns how much each part can still give back if the fees are given back too. Of the money that payees gave back alone, the
/// fraction of the fees in all that was captured would have been the fee accounts': it stays with them, begun units as whole ones,
/// and the payees have given so much less of their own.
fn left_with_fees(payment: &Payment) -> Vec<i128> {
    let parts = || payment.parts.iter();
    let fees: Vec<i128> = parts()
        .map(|part| if part.is_fee { part.captured } else { 0 })
        .collect();
    let alone: Vec<i128> = parts()
        .map(|part| {
            if part.is_fee {
                0
            } else {
                part.refunded - part.with_fee
            }
        })
        .collect();
    let given_alone = Fraction {
        above: alone.iter().sum(),
        below: payment.captured,
    };
    let stays = given_alone.begun_units_of(fees.iter().sum());
    let (of_fees, of_payees) = (divide(stays, &fees), divide(stays, &alone));
    let each = parts().zip(of_fees).zip(of_payees);
    each.map(|((part, stays), borne)| {
        let change = if part.is_fee { -stays } else { borne };
        (part.captured - part.refunded + change).max(0)
    })
    .collect()
}

/// Returns how much each payee can still give back: with the fees what is left of its own part, alone what there would be without
/// fees, less what came back of it already, from the payee or from the fees. Nothing for a fee.
pub(super) fn limits_of_refund(payment: &Payment, refund_fee: bool) -> Vec<i128> {
    if refund_fee {
        let left = payment.parts.iter().zip(left_with_fees(payment));
        return left
            .map(|(part, left)| if part.is_fee { 0 } else { left })
            .collect();
    }
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
        let gross = gross.next().expect("one for each payee");
        let fees = fees.next().expect("one for each payee");
        (gross - fees - part.refunded).max(0)
    };
    payment.parts.iter().map(limit).collect()
}

impl Model {
    /// Returns the first account that cannot pay its part of a refund or return that is refused for lack of funds.
    pub(super) fn find_short_of_funds(
        &self,
        command: &Command,
        rejection: Option<Rejection>,
    ) -> Option<u64> {
        if rejection != Some(Rejection::InsufficientFunds) {
            return None;
        }
        let (payment, amounts) = match &command.body {
            Body::Refund(refund) => {
                let payment = &self.state.payments[&refund.payment.0];
                (payment, parts_of_refund(payment, refund))
            }
            Body::ReturnPayout(give) => {
                let payout = &self.state.payments[&give.payout.0];
                let paid = payout.parts[0].captured - payout.parts[0].refunded;
                (payout, vec![give.amount.map_or(paid, i128::from)])
            }
            _ => return None,
        };
        let lacks = |id: u64, amount: i128| {
            let account = &self.state.accounts[&id];
            let has = account.posted - account.held;
            let limit = account.overdraft;
            amount > 0 && limit.is_some_and(|limit| has + limit < amount)
        };
        let mut each = payment.parts.iter().zip(amounts);
        let found = each.find(|(part, amount)| lacks(part.account, *amount));
        found.map(|(part, _)| part.account)
    }
}
