//! Finds what a batch must load before it is decided, and the hashes under which a record is indexed.

use crate::codec::{Corrupt, Operation, RecordRef};
use crate::set::{Absent, Keys};
use crate::{
    Body, Command, ExternalId, FORMAT_VERSION, Outcome, OwnerId, Pay, PaymentId, PaymentKind,
    Reference, Residency, WorkingSet, hash,
};

/// Maximum number of stages in which the objects of a batch are loaded: payments and references, then the payments that have
/// those references.
pub const LOADING_STAGES_MAX: usize = 2;

/// Returns what the set lacks to decide a batch. Call it again after loading and [`WorkingSet::mark_absent`]: a stage needs
/// what the stage before found. The result is empty after at most [`LOADING_STAGES_MAX`] stages.
pub fn keys(commands: &[Command], set: &WorkingSet) -> Keys {
    let mut wanted = Wanted {
        set,
        commands,
        keys: Keys::default(),
    };
    if set.residency() != Residency::Everything {
        commands.iter().for_each(|command| wanted.command(command));
        wanted.keys.tidy();
    }
    wanted.keys
}

struct Wanted<'a> {
    set: &'a WorkingSet,
    commands: &'a [Command],
    keys: Keys,
}

impl Wanted<'_> {
    fn command(&mut self, command: &Command) {
        match &command.body {
            Body::OpenAccount(open) => {
                let owner = self.set.owner_by_name(&open.owner).map(|owner| owner.id);
                if let (Some(external), Some(owner)) = (&open.external_id, owner) {
                    self.external(owner, external);
                }
            }
            Body::Pay(pay) => {
                if let Some(reference) = &pay.reference {
                    self.reference_of_payment(pay, reference);
                }
            }
            Body::Capture(capture) => self.payment(capture.payment),
            Body::Void(id) | Body::Expire(id) | Body::Run(id) => self.payment(*id),
            Body::Refund(refund) => self.payment(refund.payment),
            // All other objects are always in the set.
            Body::FreezeAccount(_)
            | Body::UnfreezeAccount(_)
            | Body::CloseAccount(_)
            | Body::CreateApiKey(_)
            | Body::RotateApiKey { .. }
            | Body::RevokeApiKey(_)
            | Body::Publish(_)
            | Body::SetQueue(_)
            | Body::PutSetting(_)
            | Body::DeleteSetting(_) => {}
        }
    }

    /// Looks the reference up under the future owner of the payment. If this batch opens the account that decides the owner,
    /// the owner may be any owner for whom the batch opens an account.
    fn reference_of_payment(&mut self, pay: &Pay, reference: &Reference) {
        let decides = match pay.kind {
            PaymentKind::Pay | PaymentKind::TopUp => pay.first_payee(),
            PaymentKind::Transfer | PaymentKind::Payout => Some(pay.source),
            PaymentKind::Adjustment => return self.reference(OwnerId::PLATFORM, reference),
        };
        let Some(decides) = decides else { return };
        if let Some(account) = self.set.account(decides) {
            return self.reference(account.owner, reference);
        }
        for command in self.commands {
            if let Body::OpenAccount(open) = &command.body
                && let Some(owner) = self.set.owner_by_name(&open.owner)
            {
                self.reference(owner.id, reference);
            }
        }
    }

    fn payment(&mut self, id: PaymentId) {
        if self.set.payment(id).is_none() && !self.set.is_absent(&Absent::Payment(id)) {
            self.keys.payments.push(id);
        }
    }

    /// Needs the payment of a used reference too: if that payment has failed since, the reference is free.
    fn reference(&mut self, owner: OwnerId, reference: &Reference) {
        match self.set.reference(owner, reference) {
            Some(payment) => self.payment(payment),
            None => {
                let absent = Absent::Reference(owner, reference.clone());
                if !self.set.is_absent(&absent) {
                    self.keys.references.push((owner, reference.clone()));
                }
            }
        }
    }

    fn external(&mut self, owner: OwnerId, external: &ExternalId) {
        let unknown = self.set.external(owner, external).is_none();
        if unknown
            && !self
                .set
                .is_absent(&Absent::External(owner, external.clone()))
        {
            self.keys.externals.push((owner, external.clone()));
        }
    }
}

/// Like [`index_keys`], for the record of a command and its outcome; `key_hash` is the [`hash::hash_key`] of the command.
pub fn index_keys_of(
    command: &Command,
    key_hash: u64,
    outcome: &Outcome,
    found: &mut impl FnMut(u64),
) {
    found(key_hash);
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
            if let (Some(payment), Some(reference)) = (&outcome.payment, &pay.reference) {
                found(hash::hash_reference(payment.owner, reference));
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
/// (payment's owner, reference), the changed payment (also for a `Run` that made the payment fail) and (account's owner, external id);
/// for a refused record the named payment, under another hash, so that a reader of the payment does not read refused records.
pub fn index_keys(record: &[u8], found: &mut dyn FnMut(u64)) -> Result<(), Corrupt> {
    let record = RecordRef::parse(record, FORMAT_VERSION)?;
    found(hash::hash_key_bytes(record.actor().owner, record.key()));
    let failed_now = record.operation() == Operation::Run && record.changes_payment();
    if record.rejection().is_some() && !failed_now {
        if let (Some(payment), false) = (record.payment(), record.operation() == Operation::Pay) {
            found(hash::hash_refused(payment));
        }
        return Ok(());
    }
    if let (Some(owner), Some(reference)) = (record.payment_owner(), record.reference()) {
        found(hash::hash_reference_bytes(owner, reference));
    }
    if let (Some(payment), false) = (record.payment(), record.operation() == Operation::Pay) {
        found(hash::hash_payment(payment));
    }
    if let (Some(owner), Some(external)) = (record.account_owner(), record.external_id()) {
        found(hash::hash_external_bytes(owner, external));
    }
    Ok(())
}
