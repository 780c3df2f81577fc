//! Pay, transfer, top up, pay out, adjust; at once or as a hold.

use super::checks::{
    check_assessment, check_ceiling, check_floor, check_funds, is_for_review, is_platform, leg,
    refuse_if, signed,
};
use super::limits::{self, Counted};
use super::payout;
use crate::shares::{BASIS_POINTS, apply_basis_points, prorate};
use crate::{
    AMOUNT_MAX, Account, AccountId, AccountStatus, Command, Context, Currency, Destination, Fee,
    LEGS_MAX, NAMED_ACCOUNTS_MAX, Outcome, OwnerId, Part, Pay, Payment, PaymentKind, Rejection,
    SHARES_MAX, Share, WorkingSet,
};
use arrayvec::ArrayVec;

/// One item per payee and fee.
type PerShare<T> = ArrayVec<T, SHARES_MAX>;

/// Fills in the empty `outcome` if the payment passes all checks.
pub(super) fn pay(
    set: &WorkingSet,
    command: &Command,
    pay: &Pay,
    is_grouped: bool,
    ctx: Context,
    outcome: &mut Outcome,
) -> Result<(), Rejection> {
    let named: ArrayVec<AccountId, NAMED_ACCOUNTS_MAX> = pay.accounts().collect();
    let mut amounts: PerShare<u64> = ArrayVec::new();
    check_command(pay, &named, ctx, &mut amounts)?;
    let source = set.find_account(pay.source)?;
    let mut payees: PerShare<&Account> = ArrayVec::new();
    for account in &named[1..] {
        payees.push(set.find_account(*account)?);
    }
    check_permission(command, pay, source)?;
    let owner = owner(pay, source, payees[0]);
    check_accounts(pay.currency, source, &payees)?;
    check_reference(set, command, pay, source, &payees)?;
    check_assessment(command)?;
    // A queued payment holds nothing: its balances are checked when it runs.
    let in_review = is_for_review(command);
    let (hold, now) = (pay.hold.is_some() || in_review, pay.queue.is_none());
    if now {
        check_balances(pay.amount, hold, source, &payees, &amounts)?;
        let possible = !is_grouped && pay.kind != PaymentKind::Adjustment;
        refuse_if(in_review && !possible, Rejection::ReviewNotPossible)?;
        let payment = Counted {
            source,
            kind: pay.kind,
            currency: pay.currency,
            amount: pay.amount,
        };
        let uses = limits::count(set, payment, ctx);
        outcome.limits = uses.map_err(|_| Rejection::LimitExceeded)?;
    }
    // A queued payment reaches its payees when it runs.
    let reached = if now { payees.len() } else { 0 };
    let shares = payees.iter().copied().zip(&amounts).take(reached);
    put_legs(
        source,
        shares,
        pay.amount,
        hold && now,
        !hold && now,
        outcome,
    );
    let created = || Payment::created(command, pay, ctx, owner, Ok(&amounts));
    outcome.payment.get_or_insert_with(created);
    Ok(())
}

/// Returns the owner of the payment.
fn owner(pay: &Pay, source: &Account, first_payee: &Account) -> OwnerId {
    let (payer, payee) = (source.owner, first_payee.owner);
    pay.kind.owner(|| payer, || payee, OwnerId::PLATFORM)
}

/// Checks the command by itself. Fills in the amounts of the shares, payees then fees.
fn check_command(
    pay: &Pay,
    named: &[AccountId],
    ctx: Context,
    amounts: &mut PerShare<u64>,
) -> Result<(), Rejection> {
    let split: &[Share] = match &pay.destination {
        Destination::One(_) => &[],
        Destination::Split(payees) => payees,
    };
    let parts = || split.iter().map(|share| share.part);
    let adjustment = pay.kind == PaymentKind::Adjustment;
    let zero_fee = pay
        .fees
        .iter()
        .any(|fee| fee.flat == 0 && fee.basis_points == 0);
    let zero_part = parts().any(|part| matches!(part, Part::Amount(0) | Part::BasisPoints(0)));
    refuse_if(
        pay.amount == 0 || zero_fee || zero_part,
        Rejection::AmountZero,
    )?;
    let large_fee = pay.fees.iter().any(|fee| fee.flat > AMOUNT_MAX);
    let large_part =
        parts().any(|part| matches!(part, Part::Amount(amount) if amount > AMOUNT_MAX));
    refuse_if(
        pay.amount > AMOUNT_MAX || large_fee || large_part,
        Rejection::AmountTooLarge,
    )?;
    refuse_if(named.len() == 1 + pay.fees.len(), Rejection::PayeeMissing)?;
    refuse_if(named.len() > LEGS_MAX, Rejection::TooManyShares)?;
    let twice = (1..named.len()).any(|at| named[..at].contains(&named[at]));
    refuse_if(twice, Rejection::DuplicateAccount)?;
    refuse_if(
        adjustment && pay.reason.is_none(),
        Rejection::ReasonRequired,
    )?;
    refuse_if(!payout::allows_hold(pay), Rejection::HoldNotAllowed)?;
    let due = pay
        .hold
        .is_some_and(|hold| hold.expires_at <= ctx.timestamp);
    refuse_if(due, Rejection::HoldAlreadyDue)?;
    split_amount(pay, split, amounts)?;
    let terms = pay.queue.as_ref().map(|queue| queue.terms);
    refuse_if(
        terms.is_some_and(|terms| terms.is_hopeless(ctx.timestamp)),
        Rejection::QueueExpired,
    )
}

/// Adds the legs of source and shares: the amount is held, or moves, or neither.
#[inline]
pub(super) fn put_legs<'a>(
    source: &Account,
    shares: impl Iterator<Item = (&'a Account, &'a u64)>,
    amount: u64,
    held: bool,
    moved: bool,
    outcome: &mut Outcome,
) {
    let posting = if moved { -signed(amount) } else { 0 };
    let held_after = if held {
        source.held + amount
    } else {
        source.held
    };
    outcome.legs.push(leg(source, posting, held_after));
    for (payee, amount) in shares {
        let posting = if moved { signed(*amount) } else { 0 };
        outcome.legs.push(leg(payee, posting, payee.held));
    }
}

/// Computes the amounts of the shares: first the fees, then exact parts; the rest is divided by basis points.
fn split_amount(pay: &Pay, split: &[Share], amounts: &mut PerShare<u64>) -> Result<(), Rejection> {
    let fee = |fee: &Fee| fee.flat + apply_basis_points(pay.amount, fee.basis_points);
    let all_fees: u64 = pay.fees.iter().map(fee).sum();
    let net = pay
        .amount
        .checked_sub(all_fees)
        .ok_or(Rejection::FeesExceedAmount)?;
    if split.is_empty() {
        amounts.push(net);
    } else {
        split_net(net, split, amounts)?;
    }
    amounts.extend(pay.fees.iter().map(fee));
    assert!(
        amounts.iter().sum::<u64>() == pay.amount,
        "shares add up to the amount"
    );
    Ok(())
}

fn split_net(net: u64, split: &[Share], amounts: &mut PerShare<u64>) -> Result<(), Rejection> {
    let exact = |share: &Share| {
        if let Part::Amount(amount) = share.part {
            amount
        } else {
            0
        }
    };
    let weight = |share: &Share| {
        if let Part::BasisPoints(points) = share.part {
            u64::from(points)
        } else {
            0
        }
    };
    let rest = net
        .checked_sub(split.iter().map(exact).sum())
        .ok_or(Rejection::SplitMismatch)?;
    let weights: PerShare<u64> = split.iter().map(weight).collect();
    let whole: u64 = weights.iter().sum();
    let fits = if whole == 0 {
        rest == 0
    } else {
        whole == BASIS_POINTS
    };
    refuse_if(!fits, Rejection::SplitMismatch)?;
    let mut divided = [0; SHARES_MAX];
    prorate(rest, &weights, &mut divided[..split.len()]);
    amounts.extend(
        split
            .iter()
            .zip(divided)
            .map(|(share, part)| exact(share) + part),
    );
    Ok(())
}

fn check_permission(command: &Command, pay: &Pay, source: &Account) -> Result<(), Rejection> {
    let own = source.owner == command.actor.owner
        && pay.kind != PaymentKind::Adjustment
        && pay.reference_scope.is_none();
    let allowed = (own || is_platform(command.actor)) && payout::may_request(command.actor, pay);
    refuse_if(!allowed, Rejection::Forbidden)
}

/// Checks that the reference is free in its name space, and that the owner of its scope pays or is paid. `receivers`: payees,
/// then the accounts of the fees.
fn check_reference(
    set: &WorkingSet,
    command: &Command,
    pay: &Pay,
    source: &Account,
    receivers: &[&Account],
) -> Result<(), Rejection> {
    if let Some(reference) = &pay.reference {
        let taken = set.has_reference(pay.reference_space(command.actor), reference);
        refuse_if(taken, Rejection::ReferenceInUse)?;
    }
    let Some(scope) = pay.reference_scope else {
        return Ok(());
    };
    let mut payees = receivers.iter().take(pay.payees());
    let takes_part = source.owner == scope || payees.any(|payee| payee.owner == scope);
    refuse_if(!takes_part, Rejection::ReferenceScopeNotParty)
}

/// Checks the currency and the status of the accounts.
pub(super) fn check_accounts(
    currency: Currency,
    source: &Account,
    payees: &[&Account],
) -> Result<(), Rejection> {
    let mut accounts = std::iter::once(source).chain(payees.iter().copied());
    refuse_if(
        accounts.clone().any(|account| account.currency != currency),
        Rejection::CurrencyMismatch,
    )?;
    refuse_if(
        accounts.any(|account| account.status == AccountStatus::Closed),
        Rejection::AccountClosed,
    )?;
    refuse_if(
        source.status == AccountStatus::Frozen,
        Rejection::AccountFrozen,
    )
}

/// Checks that the source has the amount and that the balances of the payees stay within their bounds.
pub(super) fn check_balances(
    amount: u64,
    hold: bool,
    source: &Account,
    payees: &[&Account],
    amounts: &[u64],
) -> Result<(), Rejection> {
    check_funds(source, amount)?;
    check_floor(source, amount)?;
    if hold {
        return refuse_if(
            source.held + amount > AMOUNT_MAX,
            Rejection::BalanceOverflow,
        );
    }
    payees
        .iter()
        .zip(amounts)
        .try_for_each(|(payee, amount)| check_ceiling(payee, *amount))
}
