//! Loads what a batch needs through the key index: for every backend whose index maps hashes to positions.

use std::ops::ControlFlow;

use tributary_ledger::codec::Record;
use tributary_ledger::{
    self as ledger, AccountId, Body, ExternalId, Lookups, OwnerId, Payment, PaymentId, PaymentKind,
    PaymentStatus, Reference, ReferenceSpace, WorkingSet,
};

use crate::backend::{JournalReader, KeyQueries, KeyQuery, KeyUse};
use crate::failure::Failure;
use crate::payload::decode_record;

/// Returns the decoded record at `position`; none beyond the head.
pub(crate) fn record(reader: &dyn JournalReader, position: u64) -> Result<Option<Record>, Failure> {
    let mut payload = Vec::new();
    if !reader.read(position, &mut payload)? {
        return Ok(None);
    }
    decode_record(position, &payload).map(Some)
}

/// Returns what `accept` makes of the newest record under `key_hash` that `accept` does not refuse.
fn newest<T>(
    reader: &dyn JournalReader,
    key_hash: u64,
    accept: impl FnMut(Record) -> Option<T>,
) -> Result<Option<T>, Failure> {
    newest_before(reader, key_hash, u64::MAX, accept)
}

/// [`newest`] of the records before the one at `end`.
fn newest_before<T>(
    reader: &dyn JournalReader,
    key_hash: u64,
    end: u64,
    mut accept: impl FnMut(Record) -> Option<T>,
) -> Result<Option<T>, Failure> {
    let mut result = Ok(None);
    reader.find(key_hash, &mut |position| {
        if position >= end {
            return ControlFlow::Continue(());
        }
        match record(reader, position) {
            Ok(found) => match found.and_then(&mut accept) {
                Some(value) => {
                    result = Ok(Some(value));
                    ControlFlow::Break(())
                }
                None => ControlFlow::Continue(()),
            },
            Err(failure) => {
                result = Err(failure);
                ControlFlow::Break(())
            }
        }
    })?;
    result
}

/// Returns the payment as its last change left it.
pub(crate) fn payment(
    reader: &dyn JournalReader,
    id: PaymentId,
) -> Result<Option<Payment>, Failure> {
    payment_before(reader, id, u64::MAX)
}

/// Returns the payment as its last change before the record at `position` left it.
pub(crate) fn payment_before(
    reader: &dyn JournalReader,
    id: PaymentId,
    position: u64,
) -> Result<Option<Payment>, Failure> {
    let of_id = |record: Record| state_of(record, id);
    let changed = newest_before(reader, ledger::hash::hash_payment(id), position, of_id)?;
    if changed.is_some() || id.0 >= position {
        return Ok(changed);
    }
    Ok(record(reader, id.0)?.and_then(of_id))
}

/// Returns the payment with this id as the record left it, if the record changed it.
fn state_of(record: Record, id: PaymentId) -> Option<Payment> {
    let (made, payout) = (record.outcome.payment, record.outcome.payout);
    let mut changed = made.into_iter().chain(payout.map(|payout| *payout));
    changed.find(|payment| payment.id == id)
}

/// Returns the record by which a queued payment was run and failed, or by which a payout failed.
pub(crate) fn failed_run(
    reader: &dyn JournalReader,
    id: PaymentId,
) -> Result<Option<Record>, Failure> {
    newest(reader, ledger::hash::hash_payment(id), |record| {
        let refused = record.outcome.rejection.is_some();
        let failed = match &record.command.body {
            Body::Run(run) => *run == id && refused,
            Body::SettlePayout(settle) => {
                settle.payout == id && settle.failure.is_some() && !refused
            }
            _ => false,
        };
        Some(record).filter(|_| failed)
    })
}

/// Returns the record by which a queued payment was run, if it did not fail.
pub(crate) fn done_run(
    reader: &dyn JournalReader,
    id: PaymentId,
) -> Result<Option<Record>, Failure> {
    newest(reader, ledger::hash::hash_payment(id), |record| {
        let done = record.outcome.is_accepted()
            && matches!(record.command.body, Body::Run(run) if run == id);
        Some(record).filter(|_| done)
    })
}

/// Returns the payment that has `reference` in a name space.
pub(crate) fn reference(
    reader: &dyn JournalReader,
    space: ReferenceSpace,
    reference: &Reference,
) -> Result<Option<PaymentId>, Failure> {
    let mut result = Ok(());
    let found = newest(
        reader,
        ledger::hash::hash_reference(space, reference),
        |record| {
            let Body::Pay(pay) = &record.command.body else {
                return None;
            };
            let taken = record.outcome.is_accepted() && pay.reference.as_ref() == Some(reference);
            let made = record.outcome.payment.as_ref()?;
            if !taken || pay.reference_space(record.command.actor) != space {
                return None;
            }
            // A queued payment that failed when it was run gave its reference back, and so did a payout that failed.
            let may_fail = pay.queue.is_some() || pay.kind == PaymentKind::Payout;
            match may_fail.then(|| payment(reader, made.id)) {
                Some(Ok(now)) => now.filter(|now| now.status != PaymentStatus::Failed)?,
                Some(Err(failure)) => {
                    result = Err(failure);
                    return None;
                }
                None => return Some(made.id),
            };
            Some(made.id)
        },
    )?;
    result.map(|()| found)
}

/// Returns the account that has `external` in the name space of `owner`.
pub(crate) fn external(
    reader: &dyn JournalReader,
    owner: OwnerId,
    external: &ExternalId,
) -> Result<Option<AccountId>, Failure> {
    newest(
        reader,
        ledger::hash::hash_external(owner, external),
        |record| {
            let taken = record.outcome.is_accepted()
                && matches!(&record.command.body, Body::OpenAccount(open) if open.external_id.as_ref() == Some(external));
            let account = record
                .outcome
                .account
                .filter(|account| taken && account.owner == owner)?;
            Some(account.id)
        },
    )
}

/// Returns the earlier uses of keys, by the index of the command.
pub(crate) fn find_keys(
    reader: &dyn JournalReader,
    keys: KeyQueries<'_>,
) -> Result<Vec<(usize, KeyUse)>, Failure> {
    let mut uses = Vec::new();
    for index in 0..keys.hashes().len() {
        uses.extend(find_key(reader, &keys.get(index))?.map(|used| (index, used)));
    }
    Ok(uses)
}

/// Returns the earlier use of a key.
pub(crate) fn find_key(
    reader: &dyn JournalReader,
    query: &KeyQuery<'_>,
) -> Result<Option<KeyUse>, Failure> {
    newest(reader, query.hash, |record| {
        let same = record.command.actor.owner == query.owner && record.command.key == *query.key;
        same.then_some(KeyUse {
            position: record.ctx.position,
            digest: record.digest,
        })
    })
}

/// Loads payments, references and external ids into `set`. Accounts, owners and API keys are resident already.
pub(crate) fn load(
    reader: &dyn JournalReader,
    lookups: &Lookups,
    set: &mut WorkingSet,
) -> Result<(), Failure> {
    for &id in &lookups.payments {
        if let Some(payment) = payment(reader, id)? {
            set.load_payment(payment);
        }
    }
    for (space, wanted) in &lookups.references {
        if let Some(id) = reference(reader, *space, wanted)? {
            set.load_reference(*space, wanted.clone(), id);
        }
    }
    for (owner, wanted) in &lookups.externals {
        if let Some(id) = external(reader, *owner, wanted)? {
            set.load_external(*owner, wanted.clone(), id);
        }
    }
    set.mark_absent(lookups);
    Ok(())
}
