//! What a batch must load before it is decided, and under what a record is found again.

use crate::codec::{Corrupt, Operation, RecordRef};
use crate::set::Absent;
use crate::{
    AccountId, ApiKeyId, Body, Command, ExternalId, FORMAT_VERSION, Outcome, OwnerId, OwnerName,
    Pay, PaymentId, PaymentKind, Reference, Residency, WorkingSet, hash,
};

/// What a batch must load. Each list is sorted and holds nothing twice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keys {
    /// Accounts by id.
    pub accounts: Vec<AccountId>,
    /// Owners by name.
    pub owners: Vec<OwnerName>,
    /// Payments by id: as of their last record, failed ones too.
    pub payments: Vec<PaymentId>,
    /// Which payment has the reference.
    pub references: Vec<(OwnerId, Reference)>,
    /// Which account has the external id.
    pub externals: Vec<(OwnerId, ExternalId)>,
    /// API keys by id.
    pub api_keys: Vec<ApiKeyId>,
    /// How the queue stands, and how many payments are in it.
    pub queue: bool,
}

impl Keys {
    /// Whether there is nothing to load.
    pub fn is_empty(&self) -> bool {
        *self == Keys::default()
    }

    fn tidy(&mut self) {
        fn tidy<T: Ord>(list: &mut Vec<T>) {
            list.sort_unstable();
            list.dedup();
        }
        tidy(&mut self.accounts);
        tidy(&mut self.owners);
        tidy(&mut self.payments);
        tidy(&mut self.references);
        tidy(&mut self.externals);
        tidy(&mut self.api_keys);
    }
}

/// Stages in which all that a batch needs is loaded, at most: accounts and payments, the references of their owners, and the
/// payments that have those.
pub const LOADING_STAGES_MAX: usize = 3;

/// What the set lacks to decide a batch. To be called again after loading (and [`WorkingSet::mark_absent`]): a stage asks for
/// what the one before has named. Empty after at most [`LOADING_STAGES_MAX`].
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
        self.api_key(command.actor.api_key);
        match &command.body {
            Body::OpenAccount(open) => {
                self.owner(&open.owner);
                let owner = self.set.owner_by_name(&open.owner).map(|owner| owner.id);
                if let (Some(external), Some(owner)) = (&open.external_id, owner) {
                    self.external(owner, external);
                }
            }
            Body::FreezeAccount(id) | Body::UnfreezeAccount(id) | Body::CloseAccount(id) => {
                self.account(*id)
            }
            Body::Pay(pay) => {
                if !self.accounts_resident() {
                    pay.accounts().for_each(|id| self.account(id));
                }
                if let Some(reference) = &pay.reference {
                    self.reference_of(pay, reference);
                }
                if pay.queue.is_some() {
                    self.queue();
                }
            }
            Body::Capture(capture) => self.payment(capture.payment),
            Body::Void(id) | Body::Expire(id) | Body::Run(id) => self.payment(*id),
            Body::Refund(refund) => self.payment(refund.payment),
            Body::CreateApiKey(create) => self.owner(&create.owner),
            Body::RotateApiKey { api_key, .. } => self.api_key(*api_key),
            Body::RevokeApiKey(id) => self.api_key(*id),
            Body::Publish(_) => {}
            Body::SetQueue(_) => self.queue(),
        }
    }

    fn queue(&mut self) {
        self.keys.queue |= self.set.known_queue().is_none();
    }

    /// The reference is looked up under the owner that the payment will have. That of an account which this very batch
    /// opens may be any owner for whom it opens one.
    fn reference_of(&mut self, pay: &Pay, reference: &Reference) {
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

    fn accounts_resident(&self) -> bool {
        self.set.residency() != Residency::Nothing
    }

    fn account(&mut self, id: AccountId) {
        if !self.accounts_resident()
            && self.set.account(id).is_none()
            && !self.set.is_absent(&Absent::Account(id))
        {
            self.keys.accounts.push(id);
        }
    }

    fn owner(&mut self, name: &OwnerName) {
        let unknown = !self.accounts_resident() && self.set.owner_by_name(name).is_none();
        if unknown && !self.set.is_absent(&Absent::Owner(name.clone())) {
            self.keys.owners.push(name.clone());
        }
    }

    fn api_key(&mut self, id: ApiKeyId) {
        let unknown =
            id != ApiKeyId::SYSTEM && !self.accounts_resident() && self.set.api_key(id).is_none();
        if unknown && !self.set.is_absent(&Absent::ApiKey(id)) {
            self.keys.api_keys.push(id);
        }
    }

    fn payment(&mut self, id: PaymentId) {
        match self.set.payment(id) {
            Some(payment) => {
                if payment.queue.is_some() {
                    self.queue();
                    self.api_key(payment.actor.api_key);
                }
                self.account(payment.source);
                payment
                    .shares
                    .iter()
                    .for_each(|share| self.account(share.account));
            }
            None if self.set.is_absent(&Absent::Payment(id)) => {}
            None => self.keys.payments.push(id),
        }
    }

    /// Of one that is taken, the payment too: if that has failed since, the reference is free.
    fn reference(&mut self, owner: OwnerId, reference: &Reference) {
        match self.set.reference(owner, reference) {
            Some(payment) => {
                let known = self.set.payment(payment).is_some()
                    || self.set.is_absent(&Absent::Payment(payment));
                if !known {
                    self.keys.payments.push(payment);
                }
            }
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

/// [`index_keys`] of the record that a command and its outcome make; `key_hash` is [`hash::hash_key`] of the command.
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

/// Under what hashes a record is found again: (actor's owner, idempotency key) always; of accepted ones
/// (payment's owner, reference), the payment that an operation changed (also of a `Run` by which it failed), (account's owner, external id);
/// of refused ones the payment that would have changed, apart from the others, so that nobody who looks for a payment reads them.
pub fn index_keys(record: &[u8], found: &mut dyn FnMut(u64)) -> Result<(), Corrupt> {
    let record = RecordRef::parse(record, FORMAT_VERSION)?;
    found(hash::of_key(record.actor().owner, record.key()));
    let failed_now = record.operation() == Operation::Run && record.changes_payment();
    if record.rejection().is_some() && !failed_now {
        if let (Some(payment), false) = (record.payment(), record.operation() == Operation::Pay) {
            found(hash::hash_refused(payment));
        }
        return Ok(());
    }
    if let (Some(owner), Some(reference)) = (record.payment_owner(), record.reference()) {
        found(hash::of_reference(owner, reference));
    }
    if let (Some(payment), false) = (record.payment(), record.operation() == Operation::Pay) {
        found(hash::hash_payment(payment));
    }
    if let (Some(owner), Some(external)) = (record.account_owner(), record.external_id()) {
        found(hash::of_external(owner, external));
    }
    Ok(())
}
