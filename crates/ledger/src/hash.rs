//! Hashes that index a journal: 64-bit SipHash-2-4 under fixed keys, one per kind of object. They never change.
//!
//! A hash only finds candidates: the reader compares the object itself.

use crate::{ExternalId, Key, ObjectId, OwnerId, PaymentId, Reference, ReferenceSpace};

/// Returns the hash of an idempotency key. The owner is the owner of the actor.
pub fn hash_key(owner: OwnerId, key: &Key) -> u64 {
    hash_key_bytes(owner, key.as_bytes())
}

pub(crate) fn hash_key_bytes(owner: OwnerId, key: &[u8]) -> u64 {
    sip(*b"key-----", owner.0, key)
}

/// Returns the hash of a reference in its name space.
pub fn hash_reference(space: ReferenceSpace, reference: &Reference) -> u64 {
    hash_reference_bytes(space, reference.as_bytes())
}

/// SipHash-2-4 of `le(owner) ‖ le(scope) ‖ reference`.
pub(crate) fn hash_reference_bytes(space: ReferenceSpace, reference: &[u8]) -> u64 {
    let mut state = State::new(
        u64::from_le_bytes(*b"tributar"),
        u64::from_le_bytes(*b"referenc"),
    );
    state.word(space.owner.0);
    state.word(space.scope.0);
    state.finish(reference, 16)
}

/// Returns the hash of an external id. The owner is the owner of the account.
pub fn hash_external(owner: OwnerId, external: &ExternalId) -> u64 {
    hash_external_bytes(owner, external.as_bytes())
}

pub(crate) fn hash_external_bytes(owner: OwnerId, external: &[u8]) -> u64 {
    sip(*b"external", owner.0, external)
}

/// Returns the hash under which the records are found that changed a payment after its creation.
pub fn hash_payment(payment: PaymentId) -> u64 {
    sip(*b"payment-", payment.0, &[])
}

/// Returns the hash under which the refused commands are found that named a payment and changed nothing.
pub fn hash_refused(payment: PaymentId) -> u64 {
    sip(*b"refused-", payment.0, &[])
}

/// Returns the hash under which the records without legs are found that are in the list of an owner's events.
pub fn hash_audience(owner: OwnerId) -> u64 {
    sip(*b"audience", owner.0, &[])
}

/// Returns the hash under which the records are found that changed an account or an owner without moving money: of an account its
/// status and its text, of an owner all that is known.
pub fn hash_change(object: ObjectId) -> u64 {
    let domain = match object {
        ObjectId::Account(_) => *b"account-",
        ObjectId::Owner(_) => *b"ownedit-",
        ObjectId::Payment(payment) => return hash_payment(payment),
    };
    sip(domain, object.number(), &[])
}

/// Returns the hash of an owner's name.
pub fn hash_owner_name(name: &[u8]) -> u64 {
    sip(*b"owner---", 0, name)
}

pub(crate) fn sip_raw(domain: [u8; 8], owner: u64, bytes: &[u8]) -> u64 {
    sip(domain, owner, bytes)
}

/// SipHash-2-4 of `le(owner) ‖ bytes` under the key `"tributar" ‖ domain`.
fn sip(domain: [u8; 8], owner: u64, bytes: &[u8]) -> u64 {
    let mut state = State::new(u64::from_le_bytes(*b"tributar"), u64::from_le_bytes(domain));
    state.word(owner);
    state.finish(bytes, 8)
}

struct State([u64; 4]);

impl State {
    fn new(k0: u64, k1: u64) -> Self {
        State([
            k0 ^ 0x736f_6d65_7073_6575,
            k1 ^ 0x646f_7261_6e64_6f6d,
            k0 ^ 0x6c79_6765_6e65_7261,
            k1 ^ 0x7465_6462_7974_6573,
        ])
    }

    #[inline]
    fn round(&mut self) {
        let [mut a, mut b, mut c, mut d] = self.0;
        a = a.wrapping_add(b);
        c = c.wrapping_add(d);
        b = b.rotate_left(13) ^ a;
        d = d.rotate_left(16) ^ c;
        a = a.rotate_left(32);
        c = c.wrapping_add(b);
        a = a.wrapping_add(d);
        b = b.rotate_left(17) ^ c;
        d = d.rotate_left(21) ^ a;
        c = c.rotate_left(32);
        self.0 = [a, b, c, d];
    }

    #[inline]
    fn word(&mut self, word: u64) {
        self.0[3] ^= word;
        self.round();
        self.round();
        self.0[0] ^= word;
    }

    /// `before` = bytes hashed so far, a multiple of eight.
    fn finish(mut self, bytes: &[u8], before: usize) -> u64 {
        let (words, rest) = bytes.as_chunks::<8>();
        words
            .iter()
            .for_each(|word| self.word(u64::from_le_bytes(*word)));
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        last[7] = (before + bytes.len()) as u8;
        self.word(u64::from_le_bytes(last));
        self.0[2] ^= 0xff;
        (0..4).for_each(|_| self.round());
        self.0.iter().fold(0, |sum, word| sum ^ word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::AccountId;

    /// The first vectors of the reference implementation: key 00 01 … 0f, input 00 01 … of each length.
    #[test]
    fn siphash_agrees_with_its_published_vectors() {
        let expected: [u64; 9] = [
            0x726f_db47_dd0e_0e31,
            0x74f8_39c5_93dc_67fd,
            0x0d6c_8009_d9a9_4f5a,
            0x8567_6696_d7fb_7e2d,
            0xcf27_94e0_2771_87b7,
            0x1876_5564_cd99_a68d,
            0xcbc9_466e_58fe_e3ce,
            0xab02_00f5_8b01_d137,
            0x93f5_f579_9a93_2462,
        ];
        let input: Vec<u8> = (0..9).collect();
        for (len, expected) in expected.into_iter().enumerate() {
            let state = State::new(0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908);
            assert_eq!(state.finish(&input[..len], 0), expected, "length {len}");
        }
    }

    #[test]
    fn index_hashes_never_change() {
        let (owner, payment) = (OwnerId(1), PaymentId(1));
        let key = Key::from_bytes(b"k").unwrap();
        let reference = Reference::new("k").unwrap();
        let external = ExternalId::new("k").unwrap();
        assert_eq!(hash_key(owner, &key), 0x8b3e_5db3_044a_918e);
        let space = ReferenceSpace::new(owner, Some(OwnerId(2)));
        assert_eq!(hash_reference(space, &reference), 0x8baa_024a_9a04_f335);
        assert_eq!(hash_external(owner, &external), 0xd027_1c0b_1eca_b699);
        assert_eq!(hash_payment(payment), 0x9621_9771_1f7b_958f);
        assert_eq!(hash_refused(payment), 0xe98b_b8fc_7c1b_6c4b);
        assert_eq!(hash_audience(owner), 0x560c_8a1a_5775_6bf5);
        assert_eq!(
            hash_change(ObjectId::Account(AccountId(1))),
            0xdc44_3e52_6ccf_c8bd
        );
        assert_eq!(hash_change(ObjectId::Owner(owner)), 0x8772_5b7e_b6c5_7a31);
        assert_eq!(
            hash_change(ObjectId::Payment(payment)),
            hash_payment(payment)
        );
    }
}
