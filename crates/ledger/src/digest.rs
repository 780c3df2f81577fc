//! Digests of the state of a working set.

use crate::WorkingSet;
use crate::codec::{
    encode_account, encode_api_key, encode_details, encode_limit_counts, encode_owner,
    encode_payment, encode_queue, encode_setting, encode_time_offset,
};

/// Sum of hashes, which does not depend on their order.
#[derive(Default)]
struct Sum {
    lanes: [u64; 4],
    bytes: Vec<u8>,
}

impl Sum {
    fn add(&mut self, tag: u8, encode: impl FnOnce(&mut Vec<u8>)) {
        self.bytes.clear();
        self.bytes.push(tag);
        encode(&mut self.bytes);
        let hash = blake3::hash(&self.bytes);
        for (lane, word) in self
            .lanes
            .iter_mut()
            .zip(hash.as_bytes().as_chunks::<8>().0)
        {
            *lane = lane.wrapping_add(u64::from_le_bytes(*word));
        }
    }

    fn finish(self) -> [u8; 32] {
        let mut digest = [0; 32];
        for (place, lane) in digest.as_chunks_mut::<8>().0.iter_mut().zip(self.lanes) {
            *place = lane.to_le_bytes();
        }
        digest
    }
}

impl WorkingSet {
    /// Returns a digest of the accounts, owners, their details, API keys, settings, what limits have counted, open payments and the queue's mode: equal on every
    /// backend after the same records.
    pub fn digest(&self) -> [u8; 32] {
        self.sum(false).finish()
    }

    /// Returns a digest of the whole set: also of closed payments, references and external ids.
    pub fn digest_all(&self) -> [u8; 32] {
        let mut sum = self.sum(true);
        for ((space, reference), payment) in self.references() {
            sum.add(5, |into| {
                into.extend_from_slice(&space.scope.0.to_le_bytes());
                name_bytes(space.owner.0, reference.as_bytes(), payment.0, into);
            });
        }
        for ((owner, external), account) in self.externals() {
            sum.add(6, |into| {
                name_bytes(owner.0, external.as_bytes(), account.0, into)
            });
        }
        sum.finish()
    }

    fn sum(&self, closed_payments: bool) -> Sum {
        let mut sum = Sum::default();
        self.accounts()
            .for_each(|account| sum.add(1, |into| encode_account(account, into)));
        self.owners()
            .filter(|owner| owner.changed_at > 0)
            .for_each(|owner| sum.add(2, |into| encode_owner(&owner, into)));
        let payments = self
            .payments()
            .filter(|payment| closed_payments || payment.is_open());
        payments.for_each(|payment| sum.add(3, |into| encode_payment(payment, into)));
        self.api_keys()
            .for_each(|key| sum.add(4, |into| encode_api_key(key, into)));
        self.settings()
            .for_each(|setting| sum.add(8, |into| encode_setting(setting, into)));
        self.limits()
            .for_each(|limit| sum.add(11, |into| encode_limit_counts(&limit.counts(), into)));
        self.all_details()
            .for_each(|details| sum.add(9, |into| encode_details(details, into)));
        let queue = Some(self.queue()).filter(|queue| queue.changed_at > 0);
        queue
            .iter()
            .for_each(|queue| sum.add(7, |into| encode_queue(queue, into)));
        let offset = Some(self.time_offset()).filter(|offset| offset.changed_at > 0);
        offset
            .iter()
            .for_each(|offset| sum.add(10, |into| encode_time_offset(offset, into)));
        sum
    }
}

fn name_bytes(owner: u64, name: &[u8], thing: u64, into: &mut Vec<u8>) {
    into.extend_from_slice(&owner.to_le_bytes());
    into.extend_from_slice(&thing.to_le_bytes());
    into.extend_from_slice(name);
}
