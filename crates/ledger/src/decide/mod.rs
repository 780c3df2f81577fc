//! Decisions, one command per file. Each checks everything in the order of the rejections' numbers, then builds the
//! outcome, and then nothing can fail.

mod accounts;
mod api_keys;
mod capture;
mod checks;
mod details;
mod group;
mod limits;
mod parts;
mod pay;
mod payout;
mod refund;
mod refuse;
mod release;
mod review;
mod run;
mod settings;

pub use group::decide_group;
pub use refund::refund_limits;
pub use refuse::refuse;

use crate::{Actor, AdvanceTime, ApiKeyId, Body, Command, Context, Outcome, Rejection, WorkingSet};
use checks::{assert_sound, check_actor, is_platform, refuse_if};

/// Decides a command without changing the set. Every command has an outcome.
pub fn decide(set: &WorkingSet, command: &Command, ctx: Context) -> Outcome {
    let mut outcome = Outcome::default();
    decide_into(set, command, ctx, &mut outcome);
    outcome
}

/// Like [`decide`], but overwrites an earlier outcome: returning a value of this size a million times per second is slow.
pub fn decide_into(set: &WorkingSet, command: &Command, ctx: Context, outcome: &mut Outcome) {
    decide_one(set, command, false, ctx, outcome);
}

/// `is_grouped`: whether other commands are accepted or refused together with this one.
fn decide_one(
    set: &WorkingSet,
    command: &Command,
    is_grouped: bool,
    ctx: Context,
    outcome: &mut Outcome,
) {
    assert!(ctx.position > 0, "positions begin at 1");
    outcome.clear();
    match accept(set, command, is_grouped, ctx, outcome) {
        Ok(()) => assert_sound(outcome),
        Err(rejection) => *outcome = refuse(set, command, rejection, ctx),
    }
}

fn accept(
    set: &WorkingSet,
    command: &Command,
    is_grouped: bool,
    ctx: Context,
    outcome: &mut Outcome,
) -> Result<(), Rejection> {
    check_actor(set, command.actor)?;
    let actor = command.actor;
    *outcome = match &command.body {
        Body::Pay(pay) => return pay::pay(set, command, pay, is_grouped, ctx, outcome),
        Body::Run(payment) => return run::run(set, command, *payment, ctx, outcome),
        Body::OpenAccount(open) => accounts::open(set, actor, open, ctx),
        Body::FreezeAccount(account) => accounts::freeze(set, actor, *account, ctx),
        Body::UnfreezeAccount(account) => accounts::unfreeze(set, actor, *account, ctx),
        Body::CloseAccount(account) => accounts::close(set, actor, *account, ctx),
        Body::Capture(capture) => capture::capture(set, actor, capture, ctx),
        Body::Void(payment) => release::void(set, actor, *payment, ctx),
        Body::Expire(payment) => release::expire(set, actor, *payment, ctx),
        Body::Approve(approve) => review::approve(set, actor, *approve, ctx),
        Body::Investigate(found) => review::investigate(set, actor, found, ctx),
        Body::Refund(refund) => refund::refund(set, actor, refund, ctx),
        Body::SettlePayout(settle) => payout::settle(set, actor, settle, ctx),
        Body::ReturnPayout(give) => payout::give_back(set, command, give, ctx),
        Body::CreateApiKey(create) => api_keys::create(set, actor, create, ctx),
        Body::RotateApiKey {
            api_key,
            secret_hash,
            overlap,
        } => api_keys::rotate(set, actor, *api_key, secret_hash, *overlap, ctx),
        Body::RevokeApiKey(api_key) => api_keys::revoke(set, actor, *api_key, ctx),
        Body::PutSetting(put) => settings::put(set, actor, put, ctx),
        Body::DeleteSetting(delete) => settings::delete(set, actor, *delete),
        Body::CreateOwner(create) => details::create_owner(set, actor, create, ctx),
        Body::Update(update) => details::update(set, actor, update, ctx),
        // Every writer can publish application events; only the system publishes its own events.
        Body::Publish(publish) => {
            let as_system = !publish.topic.is_of_application();
            refuse_if(
                as_system && actor.api_key != ApiKeyId::SYSTEM,
                Rejection::Forbidden,
            )
            .map(|()| Outcome::default())
        }
        Body::AdvanceTime(advance) => {
            let offset = set.time_offset().nanos;
            let is_barrier = advance == &AdvanceTime::BARRIER && actor == Actor::SYSTEM;
            let possible = is_barrier || advance.is_possible(offset, ctx.timestamp);
            refuse_if(!possible, Rejection::TimeOutOfRange)
                .and_then(|()| refuse_if(!is_platform(actor), Rejection::Forbidden))
                .map(|()| Outcome::default())
        }
        Body::SetQueue(_) => {
            refuse_if(!is_platform(actor), Rejection::Forbidden).map(|()| Outcome::default())
        }
    }?;
    Ok(())
}
