//! Public ids: `(epoch, position)` behind a keyed permutation.
//!
//! An id is a prefix and 26 characters of Crockford base 32: one AES-128 block under the journal's id key. The block
//! holds the kind, the epoch, the position and zeros; an id that was not issued here decrypts to something else and is
//! simply unknown. So finding what an id names needs no index, and an id tells nobody how many came before it.
//!
//! Block layout, before encryption: kind `u8`, three zero bytes, epoch `u32` LE, position `u64` LE.

use aes::Aes128;
use aes::cipher::{Array, BlockCipherDecrypt, BlockCipherEncrypt, KeyInit};
use arrayvec::ArrayString;

use crate::messaging::{Receipt, SubscriptionId};

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
/// The digit of each character; [`NO_DIGIT`] for those that are none.
const DIGITS: [u8; 256] = {
    let mut digits = [NO_DIGIT; 256];
    let mut at = 0;
    while at < ALPHABET.len() {
        digits[ALPHABET[at] as usize] = at as u8;
        at += 1;
    }
    digits
};
const NO_DIGIT: u8 = u8::MAX;
/// Characters after the prefix: 128 bits at five bits each.
const BODY_CHARS: usize = 26;
/// The longest prefix, an underscore and what follows.
const ID_BYTES_MAX: usize = 5 + BODY_CHARS;

/// What an id names. The number is part of every id ever issued: never reuse one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum IdKind {
    /// `acct_`: an account, by the position that opened it.
    Account = 1,
    /// `pay_`: a payment, by the position of its request.
    Payment = 2,
    /// `evt_`: an event, by the position of its record.
    Event = 3,
    /// `key_`: an API key, by the position that created it.
    ApiKey = 4,
    /// `ref_`: a refund, by the position of its record.
    Refund = 5,
    /// `cap_`: a capture, by the position of its record.
    Capture = 6,
    /// `cur_`: a place in a list.
    Cursor = 7,
    /// `sub_`: a subscription, by its number, which is no position.
    Subscription = 8,
    /// `rcp_`: an attempt at delivering an event.
    Receipt = 9,
}

impl IdKind {
    /// The text before the first underscore.
    pub fn prefix(self) -> &'static str {
        match self {
            IdKind::Account => "acct",
            IdKind::Payment => "pay",
            IdKind::Event => "evt",
            IdKind::ApiKey => "key",
            IdKind::Refund => "ref",
            IdKind::Capture => "cap",
            IdKind::Cursor => "cur",
            IdKind::Subscription => "sub",
            IdKind::Receipt => "rcp",
        }
    }

    /// The 16 bytes behind an id, if it has the form of one of this kind.
    pub fn block(self, id: &str) -> Option<[u8; 16]> {
        block_of(id.strip_prefix(self.prefix())?.strip_prefix('_')?)
    }
}

/// Issues and reads ids of one journal. Cheap to clone.
#[derive(Clone)]
pub struct Ids {
    cipher: Aes128,
    /// `(epoch, first position)`, ascending; never empty.
    epochs: std::sync::Arc<[(u32, u64)]>,
}

impl Ids {
    /// Ids under `key` for a journal with these `(epoch, first position)` pairs, ascending.
    ///
    /// # Panics
    /// If `epochs` is empty or not ascending.
    pub fn new(key: &[u8; 16], epochs: &[(u32, u64)]) -> Ids {
        assert!(!epochs.is_empty(), "a journal has at least one epoch");
        assert!(
            epochs
                .windows(2)
                .all(|pair| pair[0].0 < pair[1].0 && pair[0].1 <= pair[1].1),
            "epochs ascend"
        );
        Ids {
            cipher: Aes128::new(&Array::from(*key)),
            epochs: epochs.into(),
        }
    }

    /// The epoch in which `position` was, or will be, issued.
    pub fn epoch_of(&self, position: u64) -> u32 {
        let after = self.epochs.partition_point(|&(_, first)| first <= position);
        self.epochs[after.saturating_sub(1)].0
    }

    /// The id of the thing of this kind at `position`, as the 16 bytes behind its text.
    pub fn block(&self, kind: IdKind, position: u64) -> [u8; 16] {
        let mut block = Array::from(self.plain(kind, position));
        self.cipher.encrypt_block(&mut block);
        block.into()
    }

    fn plain(&self, kind: IdKind, position: u64) -> [u8; 16] {
        let mut block = [0u8; 16];
        block[0] = kind as u8;
        block[4..8].copy_from_slice(&self.epoch_of(position).to_le_bytes());
        block[8..].copy_from_slice(&position.to_le_bytes());
        block
    }

    /// The id of the thing of this kind at `position`.
    pub fn encode(&self, kind: IdKind, position: u64) -> String {
        self.text(kind, position).as_str().to_owned()
    }

    /// [`Ids::encode`] without an allocation.
    pub fn text(&self, kind: IdKind, position: u64) -> IdText {
        text(kind, self.block(kind, position))
    }

    /// The id of a subscription: the same in every epoch.
    pub fn encode_subscription(&self, id: SubscriptionId) -> String {
        let block = self.seal(IdKind::Subscription, 0, id.0);
        text(IdKind::Subscription, block).as_str().to_owned()
    }

    /// The subscription that `id` names, in form.
    pub fn decode_subscription(&self, id: &str) -> Option<SubscriptionId> {
        match self.open(IdKind::Subscription, id)? {
            (0, number) => Some(SubscriptionId(number)),
            _ => None,
        }
    }

    /// The subscription that the 16 bytes behind an id name, in form.
    pub fn subscription_of(&self, block: [u8; 16]) -> Option<SubscriptionId> {
        match self.open_block(IdKind::Subscription, block)? {
            (0, number) => Some(SubscriptionId(number)),
            _ => None,
        }
    }

    /// The 16 bytes behind the text of a receipt.
    pub fn receipt_block(&self, receipt: Receipt) -> [u8; 16] {
        self.seal(IdKind::Receipt, receipt.generation, receipt.position)
    }

    /// The id of each one's event, and the receipt, as [`Ids::block`] and [`Ids::receipt_block`] have them: cheaper for many at
    /// once.
    pub fn delivery_blocks(&self, receipts: &[Receipt]) -> Vec<[[u8; 16]; 2]> {
        let plain = receipts.iter().flat_map(|receipt| {
            let event = self.plain(IdKind::Event, receipt.position);
            let receipt = plain_of(IdKind::Receipt, receipt.generation, receipt.position);
            [Array::from(event), Array::from(receipt)]
        });
        let mut blocks: Vec<_> = plain.collect();
        self.cipher.encrypt_blocks(&mut blocks);
        let pairs = blocks.as_chunks::<2>().0.iter();
        pairs.map(|pair| pair.map(Into::into)).collect()
    }

    /// The text of a receipt.
    pub fn encode_receipt(&self, receipt: Receipt) -> String {
        let text = text(IdKind::Receipt, self.receipt_block(receipt));
        text.as_str().to_owned()
    }

    /// The receipt of this text.
    pub fn decode_receipt(&self, text: &str) -> Option<Receipt> {
        let (generation, position) = self.open(IdKind::Receipt, text)?;
        Some(Receipt {
            position,
            generation,
        })
    }

    /// The receipt of these 16 bytes.
    pub fn receipt_of(&self, block: [u8; 16]) -> Option<Receipt> {
        let (generation, position) = self.open_block(IdKind::Receipt, block)?;
        Some(Receipt {
            position,
            generation,
        })
    }

    /// A block of a kind, 56 bits and 64 bits.
    fn seal(&self, kind: IdKind, small: u64, large: u64) -> [u8; 16] {
        let mut block = Array::from(plain_of(kind, small, large));
        self.cipher.encrypt_block(&mut block);
        block.into()
    }

    /// The 56 and 64 bits of a block of this kind.
    fn open(&self, kind: IdKind, id: &str) -> Option<(u64, u64)> {
        self.open_block(kind, kind.block(id)?)
    }

    fn open_block(&self, kind: IdKind, block: [u8; 16]) -> Option<(u64, u64)> {
        let mut block = Array::from(block);
        self.cipher.decrypt_block(&mut block);
        let block: [u8; 16] = block.into();
        let small = u64::from_le_bytes(block[..8].try_into().expect("eight bytes"));
        let large = u64::from_le_bytes(block[8..].try_into().expect("eight bytes"));
        (small & 0xff == kind as u64).then_some((small >> 8, large))
    }

    /// The position that `id` names, if it is an id of this kind that this journal issued (or may issue).
    pub fn decode(&self, kind: IdKind, id: &str) -> Option<u64> {
        self.position_of(kind, kind.block(id)?)
    }

    /// The position that an id names whose text without prefix and underscore is `body`.
    pub fn decode_body(&self, kind: IdKind, body: &str) -> Option<u64> {
        self.position_of(kind, block_of(body)?)
    }

    /// The position that the 16 bytes behind an id name, if it is an id of this kind that this journal issued (or may
    /// issue).
    pub fn position_of(&self, kind: IdKind, block: [u8; 16]) -> Option<u64> {
        let mut block = Array::from(block);
        self.cipher.decrypt_block(&mut block);
        let block: [u8; 16] = block.into();
        let epoch = u32::from_le_bytes(block[4..8].try_into().expect("four bytes"));
        let position = u64::from_le_bytes(block[8..].try_into().expect("eight bytes"));
        let ours = block[0] == kind as u8
            && block[1..4] == [0, 0, 0]
            && position > 0
            && self.epoch_of(position) == epoch;
        ours.then_some(position)
    }
}

/// The text of an id.
pub type IdText = ArrayString<ID_BYTES_MAX>;

/// What a block of a kind with 56 bits and 64 bits hides.
fn plain_of(kind: IdKind, small: u64, large: u64) -> [u8; 16] {
    let mut block = [0u8; 16];
    block[..8].copy_from_slice(&(small << 8 | kind as u64).to_le_bytes());
    block[8..].copy_from_slice(&large.to_le_bytes());
    block
}

fn text(kind: IdKind, block: [u8; 16]) -> IdText {
    let mut bits = u128::from_be_bytes(block);
    let mut body = [0u8; BODY_CHARS];
    for slot in body.iter_mut().rev() {
        *slot = ALPHABET[(bits & 31) as usize];
        bits >>= 5;
    }
    let mut id = IdText::new();
    id.push_str(kind.prefix());
    id.push('_');
    id.push_str(std::str::from_utf8(&body).expect("the alphabet is ASCII"));
    id
}

/// The 16 bytes behind the text of an id without prefix and underscore.
fn block_of(body: &str) -> Option<[u8; 16]> {
    if body.len() != BODY_CHARS {
        return None;
    }
    let mut bits: u128 = 0;
    for (index, byte) in body.bytes().enumerate() {
        let digit = DIGITS[usize::from(byte)];
        // 26 characters carry 130 bits: the first holds only three.
        if digit == NO_DIGIT || (index == 0 && digit > 7) {
            return None;
        }
        bits = bits << 5 | u128::from(digit);
    }
    Some(bits.to_be_bytes())
}

impl std::fmt::Debug for Ids {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The key stays out of logs.
        f.debug_struct("Ids")
            .field("epochs", &self.epochs)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_names_its_position_and_nothing_else() {
        let ids = Ids::new(&[7; 16], &[(1, 1), (2, 100)]);
        for position in [1, 2, 99, 100, 1 << 40] {
            let id = ids.encode(IdKind::Payment, position);
            assert_eq!(ids.decode(IdKind::Payment, &id), Some(position), "{id}");
            assert_eq!(
                ids.decode(IdKind::Account, &id.replace("pay", "acct")),
                None
            );
            assert_eq!(ids.decode(IdKind::Payment, &id[..id.len() - 1]), None);
        }
        assert_eq!(
            ids.decode(IdKind::Payment, "pay_zzzzzzzzzzzzzzzzzzzzzzzzzz"),
            None
        );
        assert_eq!(ids.decode(IdKind::Payment, "pay_ääääääääääääa"), None);
    }

    #[test]
    fn receipts_and_subscriptions_are_read_as_what_they_are() {
        let ids = Ids::new(&[7; 16], &[(1, 1), (2, 100)]);
        let receipt = Receipt {
            position: u64::MAX - 1,
            generation: (1 << 56) - 1,
        };
        let text = ids.encode_receipt(receipt);
        assert_eq!(ids.decode_receipt(&text), Some(receipt));
        let block = ids.receipt_block(receipt);
        assert_eq!(ids.receipt_of(block), Some(receipt));
        let later = Receipt {
            position: receipt.position + 1,
            ..receipt
        };
        for count in 0..=2 {
            let receipts = &[receipt, later][..count];
            let one = |one: &Receipt| {
                let event = ids.block(IdKind::Event, one.position);
                [event, ids.receipt_block(*one)]
            };
            let each: Vec<_> = receipts.iter().map(one).collect();
            assert_eq!(ids.delivery_blocks(receipts), each);
        }
        assert_eq!(ids.subscription_of(block), None);
        assert_eq!(ids.decode_subscription(&text.replace("rcp", "sub")), None);
        let id = SubscriptionId(1 << 60);
        let text = ids.encode_subscription(id);
        assert_eq!(ids.decode_subscription(&text), Some(id));
        assert_eq!(ids.decode_receipt(&text.replace("sub", "rcp")), None);
        assert_eq!(ids.decode(IdKind::Event, &text.replace("sub", "evt")), None);
    }

    #[test]
    fn an_id_of_a_lost_epoch_stays_unknown() {
        let before = Ids::new(&[7; 16], &[(1, 1)]);
        let restored_at_100 = Ids::new(&[7; 16], &[(1, 1), (2, 100)]);
        let lost = before.encode(IdKind::Payment, 150);
        let kept = before.encode(IdKind::Payment, 50);
        assert_eq!(restored_at_100.decode(IdKind::Payment, &lost), None);
        assert_eq!(restored_at_100.decode(IdKind::Payment, &kept), Some(50));
    }

    #[test]
    fn neighbours_do_not_resemble_each_other() {
        let ids = Ids::new(&[9; 16], &[(1, 1)]);
        let (a, b) = (ids.encode(IdKind::Event, 10), ids.encode(IdKind::Event, 11));
        let same = a[4..]
            .bytes()
            .zip(b[4..].bytes())
            .filter(|(x, y)| x == y)
            .count();
        assert!(same < 10, "{a} {b}");
    }
}
