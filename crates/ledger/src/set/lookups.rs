//! What is looked up outside a set, and what is put into it for a time only.

use crate::{ExternalId, OwnerId, PaymentId, Reference};

/// What a batch must load. Each list is sorted and holds nothing twice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keys {
    /// Payments by id: as of their last record, failed ones too.
    pub payments: Vec<PaymentId>,
    /// Which payment has the reference.
    pub references: Vec<(OwnerId, Reference)>,
    /// Which account has the external id.
    pub externals: Vec<(OwnerId, ExternalId)>,
}

impl Keys {
    /// Whether there is nothing to load.
    pub fn is_empty(&self) -> bool {
        *self == Keys::default()
    }

    pub(crate) fn tidy(&mut self) {
        fn tidy<T: Ord>(list: &mut Vec<T>) {
            list.sort_unstable();
            list.dedup();
        }
        tidy(&mut self.payments);
        tidy(&mut self.references);
        tidy(&mut self.externals);
    }
}

/// What was looked up and is not there.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Absent {
    Payment(PaymentId),
    Reference(OwnerId, Reference),
    External(OwnerId, ExternalId),
}

/// What may be dropped once its record is durable.
#[derive(Clone, Debug)]
pub(super) enum Passing {
    Payment(PaymentId),
    Reference(OwnerId, Reference),
    External(OwnerId, ExternalId),
    Absent(Absent),
}
