//! What a batch must load before it is decided, and under what a record is found again.

use crate::{
    AccountId, ApiKeyId, Command, ExternalId, OwnerId, OwnerName, PaymentId, Reference, WorkingSet,
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
}

impl Keys {
    /// Whether there is nothing to load.
    pub fn is_empty(&self) -> bool {
        *self == Keys::default()
    }
}

/// What the set lacks to decide a batch. To be called again after loading (and [`WorkingSet::mark_absent`]): the second
/// stage asks for what the first has named. Empty after at most two.
pub fn keys(commands: &[Command], set: &WorkingSet) -> Keys {
    let _ = (commands, set);
    unimplemented!()
}

/// Under what hashes a record is found again: (actor's owner, idempotency key) always; of accepted ones
/// (payment's owner, reference), the payment an operation changed, (owner, external id).
pub fn index_keys(record: &[u8], found: &mut dyn FnMut(u64)) {
    let _ = (record, found);
    unimplemented!()
}
