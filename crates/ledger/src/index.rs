//! Hashes under which a journal indexes a record.

use crate::audience::{asking_owner, audience};
use crate::codec::{Corrupt, Operation, RecordRef};
use crate::{Body, Command, FORMAT_VERSION, Outcome, ReferenceSpace, hash};

/// Like [`index_keys`], for the record of a command and its outcome; `key_hash` is the [`hash::hash_key`] of the command.
pub fn index_command_keys(
    command: &Command,
    key_hash: u64,
    outcome: &Outcome,
    found: &mut impl FnMut(u64),
) {
    found(key_hash);
    index_names(command, outcome, found);
    index_lists(command, outcome, found);
}

/// Calls `found` with the hashes for lists of what was changed, and of records without legs.
fn index_lists(command: &Command, outcome: &Outcome, found: &mut (impl FnMut(u64) + ?Sized)) {
    if let Some(object) = command
        .body
        .changed_object()
        .filter(|_| outcome.is_accepted())
    {
        found(hash::hash_change(object));
    }
    for owner in audience(command, outcome) {
        found(hash::hash_audience(owner));
    }
}

fn index_names(command: &Command, outcome: &Outcome, found: &mut impl FnMut(u64)) {
    if let (Body::Run(payment), Some(_)) = (&command.body, &outcome.payment) {
        found(hash::hash_payment(*payment));
        return;
    }
    if !outcome.is_accepted() {
        if let Some(payment) = command.body.payment() {
            found(hash::hash_refused(payment));
        }
        return;
    }
    match &command.body {
        Body::Pay(pay) => {
            if let Some(reference) = &pay.reference {
                let space = pay.reference_space(command.actor);
                found(hash::hash_reference(space, reference));
            }
        }
        Body::OpenAccount(open) => {
            if let (Some(account), Some(external)) = (&outcome.account, &open.external_id) {
                found(hash::hash_external(account.owner, external));
            }
        }
        body => {
            if let Some(payment) = body.payment() {
                found(hash::hash_payment(payment));
            }
        }
    }
}

/// Calls `found` with the hashes under which a record is indexed: always (actor's owner, idempotency key); for an accepted record
/// (name space, reference), the changed payment (also for a `Run` that made the payment fail) and (account's owner, external id);
/// for a refused record the named payment, under another hash, so that a reader of the payment does not read refused records; for
/// an accepted record the account or owner whose status or text it changed; for a record without legs the owners in whose lists it is.
pub fn index_keys(record: &[u8], found: &mut dyn FnMut(u64)) -> Result<(), Corrupt> {
    let record = RecordRef::parse(record, FORMAT_VERSION)?;
    found(hash::hash_key_bytes(record.actor().owner, record.key()));
    index_record_names(&record, found)?;
    match record.operation() {
        Operation::FreezeAccount
        | Operation::UnfreezeAccount
        | Operation::CloseAccount
        | Operation::CreateOwner
        | Operation::Update
        | Operation::PutSetting
        | Operation::DeleteSetting => {
            let record = record.to_record()?;
            index_lists(&record.command, &record.outcome, found);
        }
        // Of other records without legs, nothing but the actor counts.
        _ if record.accounts().len() == 0 => {
            if let Some(owner) = asking_owner(record.actor()) {
                found(hash::hash_audience(owner));
            }
        }
        _ => {}
    }
    Ok(())
}

fn index_record_names(record: &RecordRef<'_>, found: &mut dyn FnMut(u64)) -> Result<(), Corrupt> {
    let failed_now = record.operation() == Operation::Run && record.changes_payment();
    if record.rejection().is_some() && !failed_now {
        if let (Some(payment), false) = (record.payment(), record.operation() == Operation::Pay) {
            found(hash::hash_refused(payment));
        }
        return Ok(());
    }
    if let Some(reference) = record.reference() {
        let space = ReferenceSpace::new(record.actor().owner, record.reference_scope());
        found(hash::hash_reference_bytes(space, reference));
    }
    if let (Some(payment), false) = (record.payment(), record.operation() == Operation::Pay) {
        found(hash::hash_payment(payment));
    }
    if let (Some(owner), Some(external)) = (record.account_owner(), record.external_id()) {
        found(hash::hash_external_bytes(owner, external));
    }
    Ok(())
}
