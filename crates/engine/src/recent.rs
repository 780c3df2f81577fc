//! What the journal's index can't tell yet: keys and payments of records that are still on their way.

use std::collections::VecDeque;
use std::sync::Arc;

use hashbrown::HashTable;
use tributary_journal::Builder;
use tributary_ledger::codec::RecordRef;
use tributary_ledger::{FORMAT_VERSION, Payment, PaymentId};

use crate::backend::{Batch, KeyQuery, KeyUse};

/// Keys taken by one frame: of each, a part of its hash, and the index of its record.
#[derive(Default)]
pub(crate) struct TakenKeys(HashTable<(u32, u32)>);

/// The part of a key's hash that is kept.
fn part(hash: u64) -> u32 {
    (hash >> 32) as u32
}

/// Where the table looks for a part of a hash.
fn spread(part: u32) -> u64 {
    u64::from(part).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

impl TakenKeys {
    /// Notes that the record of the frame with this index takes the key with this hash.
    pub(crate) fn take(&mut self, hash: u64, index: usize) {
        let taken = (part(hash), u32::try_from(index).expect("a frame is small"));
        self.0
            .insert_unique(spread(taken.0), taken, |taken| spread(taken.0));
    }

    /// The use of the key by a record of `frame`.
    pub(crate) fn find(&self, query: &KeyQuery<'_>, frame: &Builder) -> Option<KeyUse> {
        let part = part(query.hash);
        let of = |taken: &(u32, u32)| record(frame, taken.1 as usize);
        let same = |taken: &(u32, u32)| taken.0 == part && has_key(&of(taken), query);
        let record = of(self.0.find(spread(part), same)?);
        Some(KeyUse {
            position: record.context().position,
            digest: record.digest(),
        })
    }

    fn may_have(&self, hash: u64) -> bool {
        let part = part(hash);
        self.0.find(spread(part), |taken| taken.0 == part).is_some()
    }

    fn clear(&mut self) {
        self.0.clear();
    }
}

fn has_key(record: &RecordRef<'_>, query: &KeyQuery<'_>) -> bool {
    record.actor().owner == query.owner && record.key() == query.key.as_bytes()
}

fn record(frame: &Builder, index: usize) -> RecordRef<'_> {
    RecordRef::parse(frame.payload(index), FORMAT_VERSION)
        .expect("what was encoded here can be read")
}

/// The payment that a record of `frame` created, as it was created.
pub(crate) fn created_in(frame: &Builder, id: PaymentId) -> Option<Payment> {
    if id.0 >= frame.next_position() {
        return None;
    }
    let index = usize::try_from(id.0.checked_sub(frame.first_position())?);
    let index = index.expect("a frame is small");
    record(frame, index)
        .to_record()
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
