//! Keys and payments of records that are in flight, so that the journal's index does not know them yet.

use std::collections::VecDeque;
use std::sync::Arc;

use tributary_journal::{FrameBuilder, prefetch};
use tributary_ledger::codec::RecordRef;
use tributary_ledger::{FORMAT_VERSION, Payment, PaymentId};

use crate::backend::{KeyQuery, KeyUse};
use crate::batch::Batch;

/// The batches in flight, the oldest first, and the keys of these and of the open batch.
#[derive(Default)]
pub(crate) struct Flight {
    batches: VecDeque<Arc<Batch>>,
    keys: RecentKeys,
}

impl Flight {
    pub(crate) fn len(&self) -> usize {
        self.batches.len()
    }

    pub(crate) fn took_off(&mut self, batch: Arc<Batch>) {
        self.batches.push_back(batch);
    }

    /// Removes the oldest batch, which is durable: the index knows its keys from now on.
    pub(crate) fn landed(&mut self) -> Arc<Batch> {
        let batch = self.batches.pop_front().expect("a batch lands once");
        self.keys.forget_through(batch.last_position());
        batch
    }

    pub(crate) fn clear(&mut self) {
        self.batches.clear();
        self.keys = RecentKeys::default();
    }

    /// Adds the key with this hash, taken by the record at `position`.
    pub(crate) fn take(&mut self, hash: u64, position: u64) {
        self.keys.take(hash, position);
    }

    /// Prefetches what [`Flight::find`] reads for these hashes.
    pub(crate) fn warm(&self, hashes: &[u64]) {
        for hash in hashes {
            prefetch(&self.keys.slots[self.keys.start(*hash)]);
        }
    }

    /// Returns the use of a key by a record in flight, or in the open frame.
    #[inline]
    pub(crate) fn find(&self, query: &KeyQuery<'_>, open: &FrameBuilder) -> Option<KeyUse> {
        // A frame may be locked by whoever writes it, so it is looked at only when something speaks for it.
        let mut found = None;
        self.keys.find(query.hash, |position| {
            found = if position >= open.first_position() {
                key_use(open, position, query)
            } else {
                let batch = self.holder(position);
                batch.and_then(|batch| key_use(&batch.frame(), position, query))
            };
            found.is_some()
        });
        found
    }

    /// Returns the payment that a record in flight created, as it was created.
    pub(crate) fn created(&self, id: PaymentId) -> Option<Payment> {
        created_in(&self.holder(id.0)?.frame(), id)
    }

    fn holder(&self, position: u64) -> Option<&Arc<Batch>> {
        self.batches.iter().find(|batch| batch.holds(position))
    }
}

fn key_use(frame: &FrameBuilder, position: u64, query: &KeyQuery<'_>) -> Option<KeyUse> {
    let record = record(frame, position)?;
    let same = record.actor().owner == query.owner && record.key() == query.key.as_bytes();
    same.then(|| KeyUse {
        position,
        digest: record.digest(),
    })
}

fn record(frame: &FrameBuilder, position: u64) -> Option<RecordRef<'_>> {
    if position >= frame.next_position() {
        return None;
    }
    let index = usize::try_from(position.checked_sub(frame.first_position())?);
    let payload = frame.payload(index.expect("a frame is small"));
    Some(RecordRef::parse(payload, FORMAT_VERSION).expect("what was encoded here can be read"))
}

/// Returns the payment that a record of `frame` created, as it was created.
pub(crate) fn created_in(frame: &FrameBuilder, id: PaymentId) -> Option<Payment> {
    record(frame, id.0)?
        .to_record()
        .expect("what was encoded here can be decoded")
        .outcome
        .payment
        .filter(|payment| payment.id == id)
}

/// Number of slots of an empty table.
const SLOTS_MIN: usize = 1 << 10;

/// Which record may have taken a key: a table of four bytes a slot, which a processor keeps near while a million keys a
/// second pass through it. A slot holds sixteen bits of the key's hash and the distance of its record, so it only says
/// where to look. Slots of records that are durable are free again, and swept when the table gets full.
struct RecentKeys {
    slots: Vec<u32>,
    /// Slots that are not zero, free again or not.
    used: usize,
    /// Distances count from here.
    base: u64,
    /// The hashes of the keys that are not forgotten, in the order of their records.
    hashes: VecDeque<u64>,
    /// The position after the last one taken.
    next: u64,
}

impl Default for RecentKeys {
    fn default() -> RecentKeys {
        RecentKeys {
            slots: vec![0; SLOTS_MIN],
            used: 0,
            base: 0,
            hashes: VecDeque::new(),
            next: 0,
        }
    }
}

impl RecentKeys {
    /// Adds the key with this hash, taken by the record at `position`. Every record takes one, so that positions follow one
    /// another.
    fn take(&mut self, hash: u64, position: u64) {
        if self.hashes.is_empty() {
            self.next = position;
        }
        assert_eq!(position, self.next, "every record takes a key");
        self.next += 1;
        self.hashes.push_back(hash);
        if position - self.base > u64::from(u16::MAX) || self.used >= self.slots.len() / 2 {
            self.sweep();
        } else {
            self.put(hash, position);
        }
    }

    fn put(&mut self, hash: u64, position: u64) {
        let distance = u16::try_from(position - self.base).expect("a sweep has made it small");
        let mut at = self.start(hash);
        while self.is_live(self.slots[at]) {
            at = self.after(at);
        }
        self.used += usize::from(self.slots[at] == 0);
        // Distances begin at 1, so that no slot is zero.
        self.slots[at] = tag(hash) << 16 | u32::from(distance);
    }

    /// Calls `same` with the positions that a key may have been taken at, until it says yes.
    #[inline]
    fn find(&self, hash: u64, mut same: impl FnMut(u64) -> bool) {
        let tag = tag(hash);
        let mut at = self.start(hash);
        while self.slots[at] != 0 {
            let slot = self.slots[at];
            if slot >> 16 == tag && self.is_live(slot) && same(self.position(slot)) {
                return;
            }
            at = self.after(at);
        }
    }

    fn forget_through(&mut self, position: u64) {
        let kept = self.next.saturating_sub(position + 1);
        let kept = usize::try_from(kept).expect("few records are on their way");
        let forgotten = self.hashes.len().saturating_sub(kept);
        self.hashes.drain(..forgotten);
    }

    fn position(&self, slot: u32) -> u64 {
        self.base + u64::from(slot & 0xffff)
    }

    /// The oldest position that is not forgotten.
    fn oldest(&self) -> u64 {
        self.next - self.hashes.len() as u64
    }

    fn is_live(&self, slot: u32) -> bool {
        slot != 0 && self.position(slot) >= self.oldest()
    }

    fn start(&self, hash: u64) -> usize {
        hash as usize & (self.slots.len() - 1)
    }

    fn after(&self, at: usize) -> usize {
        (at + 1) & (self.slots.len() - 1)
    }

    /// Makes the table anew from what is not forgotten.
    fn sweep(&mut self) {
        let live = self.hashes.len();
        assert!(live < usize::from(u16::MAX), "few records are on their way");
        // Of the half that may be used, at least a quarter is free after a sweep.
        let slots = (live * 8 / 3).next_power_of_two().max(SLOTS_MIN);
        self.slots.clear();
        self.slots.resize(slots, 0);
        self.used = 0;
        self.base = self.oldest() - 1;
        for index in 0..live {
            self.put(self.hashes[index], self.oldest() + index as u64);
        }
    }
}

fn tag(hash: u64) -> u32 {
    (hash >> 48) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_found_until_it_is_forgotten() {
        let mut keys = RecentKeys::default();
        let hash = |position: u64| (position / 3).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let found = |keys: &RecentKeys, position| {
            let mut all = Vec::new();
            keys.find(hash(position), |candidate| {
                all.push(candidate);
                false
            });
            all.contains(&position)
        };
        let (first, mut forgotten) = (1_u64 << 33, 1_u64 << 33);
        let mut asked = 0;
        for position in first + 1..first + 200_000 {
            keys.take(hash(position), position);
            assert!(found(&keys, position), "{position}");
            if position % 5_000 == 0 {
                for known in [forgotten + 1, (forgotten + position) / 2, position] {
                    assert!(found(&keys, known), "{known} at {position}");
                }
                // As many as may be on their way.
                if position - forgotten > 24_000 {
                    forgotten = position - 16_000;
                    keys.forget_through(forgotten);
                    assert!(!found(&keys, forgotten), "{forgotten}");
                    assert!(found(&keys, forgotten + 1), "{forgotten}");
                }
            }
        }
        assert!(keys.slots.len() <= 1 << 16, "it does not grow for ever");
        for position in first + 200_000..first + 210_000 {
            keys.find(hash(position), |_| {
                asked += 1;
                false
            });
        }
        assert!(asked < 50, "what is new is seldom looked at: {asked}");
    }
}
