//! What the journal's index can't tell yet: keys and payments of records that are still on their way.

use std::collections::VecDeque;
use std::sync::Arc;

use hashbrown::HashTable;
use tributary_journal::Builder;
use tributary_ledger::codec::RecordRef;
use tributary_ledger::{FORMAT_VERSION, Payment, PaymentId};

use crate::backend::{Batch, KeyQuery, KeyUse};

/// A key taken in a frame: its hash, and the use.
type Taken = (u64, KeyUse);

/// Keys taken by one frame.
#[derive(Default)]
pub(crate) struct TakenKeys(HashTable<Taken>);

impl TakenKeys {
    /// Notes that a record of the frame takes the key with this hash.
    pub(crate) fn take(&mut self, hash: u64, used: KeyUse) {
        self.0.insert_unique(hash, (hash, used), |taken| taken.0);
    }

    /// The use of the key by a record of `frame`.
    pub(crate) fn find(&self, query: &KeyQuery<'_>, frame: &Builder) -> Option<KeyUse> {
        let same = |taken: &Taken| taken.0 == query.hash && has_key(frame, taken.1.position, query);
        self.0.find(query.hash, same).map(|taken| taken.1)
    }

    fn may_have(&self, hash: u64) -> bool {
        self.0.find(hash, |taken| taken.0 == hash).is_some()
    }

    fn clear(&mut self) {
        self.0.clear();
    }
}

fn has_key(frame: &Builder, position: u64, query: &KeyQuery<'_>) -> bool {
    let record = record(frame, position);
    record.actor().owner == query.owner && record.key() == query.key.as_bytes()
}

fn record(frame: &Builder, position: u64) -> RecordRef<'_> {
    let index = usize::try_from(position - frame.first_position()).expect("a frame is small");
    RecordRef::parse(frame.payload(index), FORMAT_VERSION)
        .expect("what was encoded here can be read")
}

/// The payment that a record of `frame` created, as it was created.
pub(crate) fn created_in(frame: &Builder, id: PaymentId) -> Option<Payment> {
    let holds = (frame.first_position()..frame.next_position()).contains(&id.0);
    let record = holds.then(|| record(frame, id.0).to_record());
    record?
        .expect("what was encoded here can be decoded")
        .outcome
        .payment
        .filter(|payment| payment.id == id)
}

/// The batches in flight, the oldest first.
#[derive(Default)]
pub(crate) struct Flight {
    batches: VecDeque<(Arc<Batch>, TakenKeys)>,
    spare: Vec<TakenKeys>,
}

impl Flight {
    pub(crate) fn len(&self) -> usize {
        self.batches.len()
    }

    /// A table of keys for the next frame.
    pub(crate) fn table(&mut self) -> TakenKeys {
        self.spare.pop().unwrap_or_default()
    }

    pub(crate) fn took_off(&mut self, batch: Arc<Batch>, taken: TakenKeys) {
        self.batches.push_back((batch, taken));
    }

    /// The oldest batch is durable: the index tells from now on.
    pub(crate) fn landed(&mut self) -> Arc<Batch> {
        let (batch, mut taken) = self.batches.pop_front().expect("a batch lands once");
        taken.clear();
        self.spare.push(taken);
        batch
    }

    pub(crate) fn clear(&mut self) {
        self.batches.clear();
    }

    /// The use of a key by a record in flight.
    pub(crate) fn find(&self, query: &KeyQuery<'_>) -> Option<KeyUse> {
        // The frame may be locked by whoever writes it, so it is looked at only when the hash is there.
        self.batches
            .iter()
            .filter(|(_, taken)| taken.may_have(query.hash))
            .find_map(|(batch, taken)| taken.find(query, &batch.frame()))
    }

    /// The payment that a record in flight created, as it was created.
    pub(crate) fn created(&self, id: PaymentId) -> Option<Payment> {
        self.batches
            .iter()
            .filter(|(batch, _)| (batch.first_position()..=batch.last_position()).contains(&id.0))
            .find_map(|(batch, _)| created_in(&batch.frame(), id))
    }
}
