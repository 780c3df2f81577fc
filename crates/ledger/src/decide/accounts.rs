//! Open, freeze, unfreeze and close accounts.

use super::checks::{Decision, is_platform, leg, owner_named, refuse_if};
use super::details::{check_owner_active, details_of};
use crate::chain::Chain;
use crate::{
    AMOUNT_MAX, Account, AccountId, AccountKind, AccountStatus, Actor, Context, OpenAccount,
    Outcome, Overdraft, Rejection, WorkingSet,
};

pub(super) fn open(set: &WorkingSet, actor: Actor, open: &OpenAccount, ctx: Context) -> Decision {
    let too_large = open
        .overdraft
        .limit()
        .is_some_and(|limit| limit > AMOUNT_MAX);
    refuse_if(too_large, Rejection::OverdraftTooLarge)?;
    let mut owner = owner_named(set, &open.owner, ctx);
    let plain = matches!(open.kind, AccountKind::Wallet | AccountKind::Merchant)
        && open.overdraft == Overdraft::NONE;
    let allowed = is_platform(actor) || (owner.id == actor.owner && plain);
    refuse_if(!allowed, Rejection::Forbidden)?;
    let taken = open
        .external_id
        .as_ref()
        .is_some_and(|external| set.external(owner.id, external).is_some());
    refuse_if(taken, Rejection::ExternalIdInUse)?;
    check_owner_active(set, owner.id)?;

    let account = Account {
        id: AccountId(ctx.position),
        owner: owner.id,
        owner_prev: owner.last_account.into(),
        posted: 0,
        held: 0,
        overdraft: open.overdraft,
        opened_at: ctx.timestamp,
        chain: Chain::default(),
        currency: open.currency,
        kind: open.kind,
        status: AccountStatus::Open,
    };
    owner.last_account = Some(account.id);
    owner.changed_at = ctx.position;
    let mut outcome = touched(account, AccountStatus::Open, ctx);
    outcome.owner = Some(Box::new(owner));
    Ok(outcome)
}

pub(super) fn freeze(set: &WorkingSet, actor: Actor, account: AccountId, ctx: Context) -> Decision {
    let account = set.find_account(account)?;
    refuse_if(!is_platform(actor), Rejection::Forbidden)?;
    refuse_if(
        account.status == AccountStatus::Closed,
        Rejection::AccountClosed,
    )?;
    refuse_if(
        account.status == AccountStatus::Frozen,
        Rejection::AccountFrozen,
    )?;
    Ok(changed(set, account, AccountStatus::Frozen, ctx))
}

pub(super) fn unfreeze(
    set: &WorkingSet,
    actor: Actor,
    account: AccountId,
    ctx: Context,
) -> Decision {
    let account = set.find_account(account)?;
    refuse_if(!is_platform(actor), Rejection::Forbidden)?;
    refuse_if(
        account.status == AccountStatus::Closed,
        Rejection::AccountClosed,
    )?;
    refuse_if(
        account.status == AccountStatus::Open,
        Rejection::AccountNotFrozen,
    )?;
    Ok(changed(set, account, AccountStatus::Open, ctx))
}

pub(super) fn close(set: &WorkingSet, actor: Actor, account: AccountId, ctx: Context) -> Decision {
    let account = set.find_account(account)?;
    refuse_if(
        !is_platform(actor) && account.owner != actor.owner,
        Rejection::Forbidden,
    )?;
    refuse_if(
        account.status == AccountStatus::Closed,
        Rejection::AccountClosed,
    )?;
    refuse_if(
        account.status == AccountStatus::Frozen,
        Rejection::AccountFrozen,
    )?;
    refuse_if(
        account.posted != 0 || account.held != 0,
        Rejection::AccountNotEmpty,
    )?;
    Ok(changed(set, account, AccountStatus::Closed, ctx))
}

/// Returns the outcome of a change of status, which repeats the details of the account.
fn changed(set: &WorkingSet, account: &Account, status: AccountStatus, ctx: Context) -> Outcome {
    Outcome {
        details: details_of(set, account),
        ..touched(account.clone(), status, ctx)
    }
}

fn touched(mut account: Account, status: AccountStatus, ctx: Context) -> Outcome {
    let mut outcome = Outcome::default();
    outcome.legs.push(leg(&account, 0, account.held));
    account.status = status;
    account.chain.push(ctx.position);
    outcome.account = Some(Box::new(account));
    outcome
}
