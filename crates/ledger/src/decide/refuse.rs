//! Outcomes of refused commands.

use super::checks::leg;
use crate::{
    Account, Body, Command, Context, Outcome, OwnerId, Pay, Payment, PaymentKind, Rejection,
    WorkingSet,
};

/// Returns the outcome of a command that is refused for this reason. A refused payment exists as failed, and has a leg in the chains
/// of its source and payees, so that their lists show the payment. If the actor is not allowed to make the payment, it belongs to the
/// actor alone and has no legs.
pub fn refuse(set: &WorkingSet, command: &Command, rejection: Rejection, ctx: Context) -> Outcome {
    let mut outcome = Outcome {
        rejection: Some(rejection),
        ..Outcome::default()
    };
    let Body::Pay(pay) = &command.body else {
        return outcome;
    };
    if rejection.concerns_actor() {
        let owner = command.actor.owner;
        outcome.payment = Some(Payment::created(command, pay, ctx, owner, None));
        return outcome;
    }
    for id in pay.accounts().take(1 + pay.payees()) {
        let again = outcome.legs.iter().any(|leg| leg.account == id);
        if let (Some(account), false) = (set.account(id), again) {
            outcome.legs.push(leg(account, 0, account.held));
        }
    }
    let owner = owner(set, pay).unwrap_or(command.actor.owner);
    outcome.payment = Some(Payment::created(command, pay, ctx, owner, None));
    outcome
}

fn owner(set: &WorkingSet, pay: &Pay) -> Option<OwnerId> {
    let owner_of = |account: Option<&Account>| account.map(|account| account.owner);
    match pay.kind {
        PaymentKind::Pay | PaymentKind::TopUp => owner_of(set.account(pay.first_payee()?)),
        PaymentKind::Transfer | PaymentKind::Payout => owner_of(set.account(pay.source)),
        PaymentKind::Adjustment => Some(OwnerId::PLATFORM),
    }
}
