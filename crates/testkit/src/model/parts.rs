//! What each part of a payment takes or gives in a capture or refund, in exact fractions.

use tributary_ledger::{Body, Capture, Command, PayeeAmounts, Refund, Rejection};

use super::money::{Follower, divide, divide_further};
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
        let whole = |part: &Part| Follower {
            weight: part.amount,
            has: part.captured,
            left: part.amount - part.captured,
        };
        let since = |part: &Part, [captured, ..]: [i128; 3]| Follower {
            weight: part.amount - captured,
            has: part.captured - captured,
            left: part.amount - part.captured,
        };
        return divide_step(payment, amount, parts.map(whole).collect(), since);
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
        return parts_of_refund_by_amount(payment, amount, refund.refund_fee);
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

/// Returns the amount that a refund by amount takes from each part. What came back with fees is divided apart from what payees gave
/// alone: of each of the two, every part has given its fraction of the sum.
fn parts_of_refund_by_amount(payment: &Payment, amount: i128, refund_fee: bool) -> Vec<i128> {
    let gave = |part: &Part| match (part.is_fee, refund_fee) {
        (true, _) => part.refunded,
        (false, true) => part.with_fee,
        (false, false) => part.refunded - part.with_fee,
    };
    let limits = match refund_fee {
        true => left_with_fees(payment),
        false => limits_of_refund(payment, false),
    };
    let mut then = payment.clone();
    for part in &mut then.parts {
        if let Some([_, refunded, with_fee]) = part.base {
            (part.refunded, part.with_fee) = (refunded, with_fee);
        }
    }
    let left_then = left_with_fees(&then);
    let place = |account: u64| {
        payment
            .parts
            .iter()
            .position(|part| part.account == account)
    };
    let place = |part: &Part| place(part.account).expect("it is a part");
    let since = |part: &Part, _: [i128; 3]| Follower {
        weight: left_then[place(part)],
        has: gave(part) - gave(&then.parts[place(part)]),
        left: limits[place(part)],
    };
    let gives = payment
        .parts
        .iter()
        .filter(|part| refund_fee || !part.is_fee);
    let whole = |part: &Part| Follower {
        weight: part.captured,
        has: gave(part),
        left: limits[place(part)],
    };
    let mut parts = divide_step(payment, amount, gives.map(whole).collect(), since);
    parts.resize(payment.parts.len(), 0);
    parts
}

/// Divides an amount among the payees and the fees after them, if there are any in `whole`. Once a step had amounts per payee, the
/// payees together are one part beside the fees, and divide theirs by what they have `since` that step.
fn divide_step(
    payment: &Payment,
    amount: i128,
    whole: Vec<Follower>,
    since: impl Fn(&Part, [i128; 3]) -> Follower,
) -> Vec<i128> {
    let bases = payment
        .parts
        .iter()
        .filter_map(|part| Some((part, part.base?)));
    let since: Vec<Follower> = bases.map(|(part, base)| since(part, base)).collect();
    if since.is_empty() {
        return divide_further(amount, &whole);
    }
    let (payees, fees) = whole.split_at(since.len());
    let mut beside_fees = vec![Follower::sum(payees)];
    beside_fees.extend(fees);
    let mut of_fees = divide_further(amount, &beside_fees);
    let of_payees = of_fees.remove(0);
    let mut parts = divide_further(of_payees, &since);
    parts.extend(of_fees);
    parts
}

/// Makes divisions begin anew after a step with amounts per payee.
pub(super) fn begin_anew(payment: &mut Payment, captured: impl Fn(&Part) -> i128) {
    for part in payment.parts.iter_mut().filter(|part| !part.is_fee) {
        part.base = Some([captured(part), part.refunded, part.with_fee]);
    }
}

/// Asserts what users are promised of captures by amount: whatever the steps were, every part has less than a unit more or less than its
/// exact fraction of all that was captured. After a step with amounts per payee: of what payees captured since, each has its fraction.
pub(super) fn assert_captured_in_proportion(payment: &Payment) {
    let base = |part: &Part| part.base.map_or(0, |base| base[0]);
    let began_anew = payment.parts.iter().any(|part| part.base.is_some());
    let parts = || {
        payment
            .parts
            .iter()
            .filter(|part| !began_anew || !part.is_fee)
    };
    let whole: i128 = parts().map(|part| part.amount - base(part)).sum();
    let captured: i128 = parts().map(|part| part.captured - base(part)).sum();
    for part in parts() {
        let exact = captured * (part.amount - base(part));
        let off = (part.captured - base(part)) * whole - exact;
        assert!(off.abs() < whole || off == 0, "{part:?} of {payment:?}");
    }
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
