//! Objects that are loaded into a set on demand, and dropped again.

use crate::{ExternalId, OwnerId, PaymentId, Reference, ReferenceSpace};

/// Objects that a batch must load. Each list is sorted and has no duplicates.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lookups {
    /// Payments to load as of their last record, also failed payments.
    pub payments: Vec<PaymentId>,
    /// References whose payments must be found.
    pub references: Vec<(ReferenceSpace, Reference)>,
    /// External ids whose accounts must be found.
    pub externals: Vec<(OwnerId, ExternalId)>,
}

impl Lookups {
    /// Returns whether there is nothing to load.
    pub fn is_empty(&self) -> bool {
        *self == Lookups::default()
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

/// An object that was looked up and does not exist.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Absent {
    Payment(PaymentId),
    Reference(ReferenceSpace, Reference),
    External(OwnerId, ExternalId),
}

/// An object that can be dropped once its record is durable.
#[derive(Clone, Debug)]
pub(super) enum Droppable {
    Payment(PaymentId),
    Reference(ReferenceSpace, Reference),
    External(OwnerId, ExternalId),
    Absent(Absent),
}
