//! Outcomes of refused commands.

use super::checks::{is_platform, leg};
use super::{limits, payout, refund};
use crate::{Body, Command, Context, Outcome, OwnerId, Pay, Payment, Rejection, WorkingSet};

/// Returns the outcome of a command that is refused for this reason. A refused payment exists as failed. If the platform asked for
/// the payment, it has a leg in the chains of its source and payees, so that their lists show the payment. If an owner asked for it,
/// the payment belongs to that owner alone and has legs in the chains of that owner's accounts only: whoever knows the id of an
/// account must not be able to write into the lists of its owner. If the actor is not allowed to make the payment, it has no legs.
pub fn refuse(set: &WorkingSet, command: &Command, rejection: Rejection, ctx: Context) -> Outcome {
    let mut outcome = Outcome {
        rejection: Some(rejection),
        ..Outcome::default()
    };
    if rejection == Rejection::InsufficientFunds {
        outcome.short_of_funds = match &command.body {
            Body::Refund(refund) => refund::find_short_of_funds(set, refund),
            Body::ReturnPayout(give) => payout::find_short_of_funds(set, give),
            _ => None,
        };
    }
    let Body::Pay(pay) = &command.body else {
        return outcome;
    };
    if rejection == Rejection::LimitExceeded {
        outcome.limits.extend(limits::find_exceeded(set, pay, ctx));
    }
    let asking = command.actor.owner;
    let by_platform = is_platform(command.actor);
    if rejection.concerns_actor() {
        outcome.payment = Some(Payment::created(command, pay, ctx, asking, Err(rejection)));
        return outcome;
    }
    for id in pay.accounts().take(1 + pay.payees()) {
        let again = outcome.legs.iter().any(|leg| leg.account == id);
        let account = set.account(id);
        let account = account.filter(|account| by_platform || account.owner == asking);
        if let (Some(account), false) = (account, again) {
            outcome.legs.push(leg(account, 0, account.held));
        }
    }
    let owner = match by_platform {
        true => owner(set, pay).unwrap_or(asking),
        false => asking,
    };
    outcome.payment = Some(Payment::created(command, pay, ctx, owner, Err(rejection)));
    outcome
}

fn owner(set: &WorkingSet, pay: &Pay) -> Option<OwnerId> {
    let owner_of = |account| set.account(account).map(|account| account.owner);
    let payee = || pay.first_payee().and_then(owner_of);
    let payer = || owner_of(pay.source);
    pay.kind.owner(payer, payee, Some(OwnerId::PLATFORM))
}
