//! Limits: how much of them a payment uses.

use smallvec::SmallVec;

use super::checks::refuse_if;
use crate::{
    Account, Context, Currency, LIMITS_PER_SUBJECT_MAX, LimitSubject, LimitTerms, LimitUse, Pay,
    PaymentKind, PutSetting, Rejection, SettingId, SettingKind, WorkingSet,
};

/// What a payment needs for its limits.
#[derive(Clone, Copy)]
pub(super) struct Counted<'a> {
    pub(super) source: &'a Account,
    pub(super) kind: PaymentKind,
    pub(super) currency: Currency,
    pub(super) amount: u64,
}

/// Returns how a payment that holds or moves its money now uses the limits of its source and of the owner of its source: the new totals,
/// or the first limit that it would exceed, alone.
pub(super) fn count(
    set: &WorkingSet,
    payment: Counted<'_>,
    ctx: Context,
) -> Result<SmallVec<[LimitUse; 1]>, LimitUse> {
    let mut uses = SmallVec::new();
    if !set.has_limits() {
        return Ok(uses);
    }
    let source = payment.source;
    let subjects = [
        LimitSubject::Account(source.id),
        LimitSubject::Owner(source.owner),
    ];
    for limit in subjects
        .into_iter()
        .flat_map(|subject| set.limits_of(subject))
    {
        if limit.terms.counts(payment.kind, payment.currency) {
            uses.push(limit.count(payment.amount, ctx.timestamp)?);
        }
    }
    Ok(uses)
}

/// Returns the limit against which the payment of a command is refused, if it is for a limit.
pub(super) fn find_exceeded(set: &WorkingSet, pay: &Pay, ctx: Context) -> Option<LimitUse> {
    let payment = Counted {
        source: set.account(pay.source)?,
        kind: pay.kind,
        currency: pay.currency,
        amount: pay.amount,
    };
    count(set, payment, ctx).err()
}

/// Returns what a setting says that is a limit; none for another kind of setting.
pub(super) fn read_terms(put: &PutSetting) -> Result<Option<LimitTerms>, Rejection> {
    if put.kind != SettingKind::LIMIT {
        return Ok(None);
    }
    let terms = LimitTerms::from_body(put.body.as_bytes());
    terms.map(Some).map_err(|_| Rejection::LimitInvalid)
}

/// Checks that the account or owner exists that the terms name, if it is of this kind.
pub(super) fn check_account(set: &WorkingSet, terms: LimitTerms) -> Result<(), Rejection> {
    match terms.subject {
        LimitSubject::Account(account) => set.find_account(account).map(|_| ()),
        LimitSubject::Owner(_) => Ok(()),
    }
}

/// See [`check_account`].
pub(super) fn check_owner(set: &WorkingSet, terms: LimitTerms) -> Result<(), Rejection> {
    let missing = matches!(terms.subject, LimitSubject::Owner(owner) if set.owner(owner).is_none());
    refuse_if(missing, Rejection::OwnerNotFound)
}

/// Checks that a limit of an account is in its currency.
pub(super) fn check_currency(set: &WorkingSet, terms: LimitTerms) -> Result<(), Rejection> {
    let LimitSubject::Account(account) = terms.subject else {
        return Ok(());
    };
    let own = set.find_account(account)?.currency;
    let other = terms.currency.is_some_and(|currency| currency != own);
    refuse_if(other, Rejection::CurrencyMismatch)
}

/// Checks that the subject has room for this limit beside its others.
pub(super) fn check_room(
    set: &WorkingSet,
    id: SettingId,
    terms: LimitTerms,
) -> Result<(), Rejection> {
    let others = set.limits_of(terms.subject).filter(|limit| limit.id != id);
    refuse_if(
        others.count() >= LIMITS_PER_SUBJECT_MAX,
        Rejection::TooManyLimits,
    )
}
