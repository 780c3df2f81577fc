//! Applies outcomes to a working set.

use crate::codec::{Corrupt, Operation, RecordRef};
use crate::{
    Account, AdvanceTime, ApiKey, Body, Command, Context, Details, Outcome, Owner, Payment,
    QueueState, Residency, Setting, TimeOffset, WorkingSet,
};

/// Applies an outcome to the set. Cannot fail: `decide` checked everything, now or when the record was
/// written. Skips objects that already reflect this record or a later one, so that records can be applied over a checkpoint
/// that was taken while the records were written.
pub fn apply(set: &mut WorkingSet, command: &Command, outcome: &Outcome, ctx: Context) {
    apply_but_payment(set, command, outcome, ctx);
    apply_payment(set, outcome.payment.as_ref(), ctx);
    apply_payment(set, outcome.payout.as_deref(), ctx);
}

/// Like [`apply`], but does not put a payment into the set that is closed from its creation (captured at once, or refused): the caller
/// reads such a payment from its record when a later command names it.
pub fn apply_sparse(set: &mut WorkingSet, command: &Command, outcome: &Outcome, ctx: Context) {
    apply_but_payment(set, command, outcome, ctx);
    let created = matches!(command.body, Body::Pay(_) | Body::ReturnPayout(_));
    let closed = outcome
        .payment
        .as_ref()
        .is_some_and(|payment| !payment.is_open());
    if !(created && closed) {
        apply_payment(set, outcome.payment.as_ref(), ctx);
    }
    apply_payment(set, outcome.payout.as_deref(), ctx);
}

/// Like [`apply_sparse`], for a record read in place: most records need no decoding.
pub fn apply_record(set: &mut WorkingSet, record: &RecordRef<'_>) -> Result<(), Corrupt> {
    let moves_at_once = record.operation() == Operation::Pay
        && !record.is_hold()
        && !record.is_queued()
        && !record.is_in_review();
    if moves_at_once && record.reference().is_none() && set.residency() != Residency::Everything {
        let position = record.context().position;
        set.set_horizon(position);
        record.legs().for_each(|leg| set.apply_leg(&leg, position));
        if record.rejection().is_none() {
            let uses = record.limits();
            uses.for_each(|usage| set.apply_limit_use(&usage, position));
        }
        return Ok(());
    }
    if record.operation() == Operation::Publish {
        set.set_horizon(record.context().position);
        return Ok(());
    }
    let record = record.to_record()?;
    if set.residency() == Residency::Everything {
        apply(set, &record.command, &record.outcome, record.ctx);
    } else {
        apply_sparse(set, &record.command, &record.outcome, record.ctx);
    }
    Ok(())
}

fn apply_payment(set: &mut WorkingSet, payment: Option<&Payment>, ctx: Context) {
    if let Some(payment) = payment
        && set
            .payment(payment.id)
            .is_none_or(|known| known.changed_at < ctx.position)
    {
        set.put_payment(payment.clone(), ctx.position);
    }
}

fn apply_but_payment(set: &mut WorkingSet, command: &Command, outcome: &Outcome, ctx: Context) {
    set.set_horizon(ctx.position);
    if let Some(owner) = &outcome.owner
        && set
            .owner(owner.id)
            .is_none_or(|known| known.changed_at < ctx.position)
    {
        set.put_owner(Owner::clone(owner));
    }
    // An update repeats the account, and changes nothing of it.
    if let Some(account) = &outcome.account
        && !matches!(command.body, Body::Update(_))
        && set
            .account(account.id)
            .is_none_or(|known| known.changed_at() < ctx.position)
    {
        set.put_account(Account::clone(account));
    }
    for leg in &outcome.legs {
        set.apply_leg(leg, ctx.position);
    }
    if let Some(key) = &outcome.api_key
        && set
            .api_key(key.id)
            .is_none_or(|known| known.changed_at < ctx.position)
    {
        set.put_api_key(ApiKey::clone(key));
    }
    if let Some(details) = &outcome.details
        && set
            .details(details.object)
            .is_none_or(|known| known.text.changed_at < details.text.changed_at)
    {
        set.put_details(Details::clone(details));
    }
    if outcome.is_accepted() {
        for usage in &outcome.limits {
            set.apply_limit_use(usage, ctx.position);
        }
        apply_names(set, command, outcome, ctx);
        apply_setting(set, command, outcome, ctx);
    }
}

fn apply_setting(set: &mut WorkingSet, command: &Command, outcome: &Outcome, ctx: Context) {
    let Some(change) = &outcome.setting else {
        return;
    };
    let is_behind =
        |known: Option<&Setting>| known.is_none_or(|known| known.changed.position < ctx.position);
    match &command.body {
        Body::PutSetting(put) if is_behind(set.setting(put.id)) => {
            set.put_setting(put.to_setting(change, ctx));
        }
        Body::DeleteSetting(delete) if is_behind(set.setting(delete.id)) => {
            set.delete_setting(delete.id);
        }
        _ => {}
    }
}

/// Applies references, external ids, the queue's mode and the clock, which an accepted command contains itself.
fn apply_names(set: &mut WorkingSet, command: &Command, outcome: &Outcome, ctx: Context) {
    match &command.body {
        Body::Pay(pay) => {
            if let (Some(reference), Some(payment)) = (&pay.reference, &outcome.payment) {
                let space = pay.reference_space(command.actor);
                set.put_reference(space, reference.clone(), payment.id, ctx.position);
            }
        }
        Body::OpenAccount(open) => {
            if let (Some(external), Some(account)) = (&open.external_id, &outcome.account) {
                set.put_external(account.owner, external.clone(), account.id, ctx.position);
            }
        }
        Body::AdvanceTime(advance)
            if *advance != AdvanceTime::BARRIER && set.time_offset().changed_at < ctx.position =>
        {
            let before = set.time_offset().nanos;
            set.put_time_offset(TimeOffset {
                nanos: before.saturating_add(advance.nanos(ctx.timestamp)),
                changed_at: ctx.position,
            });
        }
        Body::SetQueue(mode) if set.queue().changed_at < ctx.position => {
            set.put_queue(QueueState {
                mode: *mode,
                changed_at: ctx.position,
            });
        }
        _ => {}
    }
}
