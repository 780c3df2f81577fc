//! Public ids: `(epoch, position)` behind a keyed permutation.
//!
//! An id is a prefix and 26 characters of Crockford base 32: one AES-128 block under the journal's id key. The block
//! holds the kind, the epoch, the position and zeros; an id that was not issued here decrypts to something else and is
//! simply unknown. So finding what an id names needs no index, and an id tells nobody how many came before it.
//!
//! Block layout, before encryption: kind `u8`, three zero bytes, epoch `u32` LE, position `u64` LE.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use aes::Aes128;
use aes::cipher::{Array, BlockCipherDecrypt, BlockCipherEncrypt, KeyInit};
use arrayvec::ArrayString;
use tributary_ledger::{OwnerId, SettingId, SettingKind};

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

/// Kinds of public ids. The number is part of every id ever issued: never reuse one.
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
    /// `cur_`: a place in a list of an owner, which only this owner's keys can use.
    Cursor = 7,
    /// `sub_`: a subscription, by its number, which is no position.
    Subscription = 8,
    /// `rcp_`: an attempt at delivering an event.
    Receipt = 9,
    /// `set_`: a setting of a kind that has no prefix of its own, by its kind and number.
    Setting = 10,
    /// `bdr_`: a binder, by its number, which is no position.
    Binder = 11,
    /// `bnd_`: a binding, by its number, which is no position.
    Binding = 12,
    /// `str_`: a stream, by its number, which is no position.
    Stream = 13,
    /// `lim_`: a limit, by its number, which is no position.
    Limit = 14,
    /// A rule set, by the number of its setting.
    RuleSet = 15,
    /// A list, by the number of its setting.
    List = 16,
    /// A model, by the number of its setting.
    Model = 17,
    /// `chal_`: the challenge of a payment, by the position of the payment.
    Challenge = 20,
}

impl IdKind {
    /// Returns the text before the first underscore.
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
            IdKind::Setting => "set",
            IdKind::Binder => "bdr",
            IdKind::Binding => "bnd",
            IdKind::Stream => "str",
            IdKind::Limit => "lim",
            IdKind::RuleSet => "rset",
            IdKind::List => "list",
            IdKind::Model => "mdl",
            IdKind::Challenge => "chal",
        }
    }

    /// Returns the 16 bytes behind an id, if the text has the form of an id of this kind.
    pub fn block(self, id: &str) -> Option<[u8; 16]> {
        block_of(id.strip_prefix(self.prefix())?.strip_prefix('_')?)
    }
}

/// Kinds of settings whose ids have a prefix of their own.
const OWN_PREFIXES: [(SettingKind, IdKind); 8] = [
    (SettingKind::SUBSCRIPTION, IdKind::Subscription),
    (SettingKind::BINDER, IdKind::Binder),
    (SettingKind::BINDING, IdKind::Binding),
    (SettingKind::STREAM, IdKind::Stream),
    (SettingKind::LIMIT, IdKind::Limit),
    (SettingKind::RULE_SET, IdKind::RuleSet),
    (SettingKind::LIST, IdKind::List),
    (SettingKind::MODEL, IdKind::Model),
];

/// Encodes and decodes the public ids of one journal. Cheap to clone.
#[derive(Clone)]
pub struct Ids {
    cipher: Aes128,
    /// `(epoch, first position)`, ascending; never empty.
    epochs: Arc<[(u32, u64)]>,
    /// Number of ids that were refused, by all clones.
    refused: Arc<AtomicU64>,
}

impl Ids {
    /// Makes the ids under `key` of a journal with these `(epoch, first position)` pairs, ascending.
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
            refused: Arc::default(),
        }
    }

    /// Returns the epoch of a position.
    pub fn epoch_of(&self, position: u64) -> u32 {
        let after = self.epochs.partition_point(|&(_, first)| first <= position);
        self.epochs[after.saturating_sub(1)].0
    }

    /// Returns the 16 bytes behind the id of the object of this kind at `position`.
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

    /// Returns the id of the object of this kind at `position`.
    pub fn encode(&self, kind: IdKind, position: u64) -> String {
        self.text(kind, position).as_str().to_owned()
    }

    /// [`Ids::encode`] without an allocation.
    pub fn text(&self, kind: IdKind, position: u64) -> IdText {
        text(kind, self.block(kind, position))
    }

    /// Returns the 16 bytes behind an id of this kind that holds two numbers, of 56 and of 64 bits: the same in every epoch.
    pub fn pair_block(&self, kind: IdKind, small: u64, large: u64) -> [u8; 16] {
        let mut block = Array::from(plain_pair(kind, small, large));
        self.cipher.encrypt_block(&mut block);
        block.into()
    }

    /// Returns the text of [`Ids::pair_block`].
    pub fn pair_text(&self, kind: IdKind, small: u64, large: u64) -> IdText {
        text(kind, self.pair_block(kind, small, large))
    }

    /// Returns the blocks of the event at each position and of the pair `(small, position)` of this kind, as [`Ids::block`] and
    /// [`Ids::pair_block`] do, but faster.
    pub fn event_and_pair_blocks(
        &self,
        kind: IdKind,
        pairs: impl Iterator<Item = (u64, u64)>,
    ) -> Vec<[[u8; 16]; 2]> {
        let plain = pairs.flat_map(|(small, position)| {
            let event = self.plain(IdKind::Event, position);
            let pair = plain_pair(kind, small, position);
            [Array::from(event), Array::from(pair)]
        });
        let mut blocks: Vec<_> = plain.collect();
        self.cipher.encrypt_blocks(&mut blocks);
        let pairs = blocks.as_chunks::<2>().0.iter();
        pairs.map(|pair| pair.map(Into::into)).collect()
    }

    /// Returns the two numbers of [`Ids::pair_block`], if the block is of this kind.
    pub fn decode_pair_block(&self, kind: IdKind, block: [u8; 16]) -> Option<(u64, u64)> {
        let mut block = Array::from(block);
        self.cipher.decrypt_block(&mut block);
        let block: [u8; 16] = block.into();
        let small = u64::from_le_bytes(block[..8].try_into().expect("eight bytes"));
        let large = u64::from_le_bytes(block[8..].try_into().expect("eight bytes"));
        (small & 0xff == kind as u64).then_some((small >> 8, large))
    }

    /// Returns the two numbers of [`Ids::pair_text`], if the text is an id of this kind.
    pub fn decode_pair(&self, kind: IdKind, id: &str) -> Option<(u64, u64)> {
        self.decode_pair_block(kind, kind.block(id)?)
    }

    /// Returns the 16 bytes behind the cursor of an owner at `position`.
    pub fn cursor_block(&self, owner: OwnerId, position: u64) -> [u8; 16] {
        self.pair_block(IdKind::Cursor, owner.0, position)
    }

    /// Returns the text of [`Ids::cursor_block`].
    pub fn encode_cursor(&self, owner: OwnerId, position: u64) -> String {
        text(IdKind::Cursor, self.cursor_block(owner, position))
            .as_str()
            .to_owned()
    }

    /// Returns the position of a cursor, if the block is a cursor of this owner.
    pub fn decode_cursor_block(&self, owner: OwnerId, block: [u8; 16]) -> Option<u64> {
        let (of, position) = self.decode_pair_block(IdKind::Cursor, block)?;
        (of == owner.0 && position > 0).then_some(position)
    }

    /// Returns the position of a cursor, if the text is a cursor of this owner.
    pub fn decode_cursor(&self, owner: OwnerId, id: &str) -> Option<u64> {
        self.decode_cursor_block(owner, IdKind::Cursor.block(id)?)
    }

    /// Returns the id of a setting: the same in every epoch. A setting that is a subscription has the subscription's id.
    pub fn encode_setting(&self, kind: SettingKind, id: SettingId) -> String {
        let own = OWN_PREFIXES.iter().find(|(own, _)| *own == kind);
        let text = match own {
            Some((_, own)) => self.pair_text(*own, 0, id.0),
            None => self.pair_text(IdKind::Setting, kind.0.into(), id.0),
        };
        text.as_str().to_owned()
    }

    /// Returns the setting that `id` names, if the text is an id of a setting.
    pub fn decode_setting(&self, id: &str) -> Option<(SettingKind, SettingId)> {
        for (kind, own) in OWN_PREFIXES {
            if let Some((small, number)) = self.decode_pair(own, id) {
                return (small == 0).then_some((kind, SettingId(number)));
            }
        }
        let (kind, number) = self.decode_pair(IdKind::Setting, id)?;
        let kind = SettingKind(u16::try_from(kind).ok()?);
        let has_own = OWN_PREFIXES.iter().any(|(own, _)| *own == kind);
        (!has_own).then_some((kind, SettingId(number)))
    }

    /// Returns the position that `id` names, if this journal issued the id for this kind, or may issue it.
    pub fn decode(&self, kind: IdKind, id: &str) -> Option<u64> {
        self.position_of(kind, kind.block(id)?)
    }

    /// Returns the position that an id names, of which `body` is the text without prefix and underscore.
    pub fn decode_body(&self, kind: IdKind, body: &str) -> Option<u64> {
        self.position_of(kind, block_of(body)?)
    }

    /// Returns the position that the 16 bytes behind an id name, if this journal issued the id for this kind, or may issue it.
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
        if !ours {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
        ours.then_some(position)
    }

    /// Returns how many ids were refused because this journal did not issue them for the kind asked for.
    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}

/// The text of an id.
pub type IdText = ArrayString<ID_BYTES_MAX>;

/// What a block of a kind with 56 bits and 64 bits hides.
fn plain_pair(kind: IdKind, small: u64, large: u64) -> [u8; 16] {
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

    #[test]
    fn settings_are_named_by_kind_and_number_and_some_kinds_have_their_own_prefix() {
        let ids = Ids::new(&[7; 16], &[(1, 1), (2, 100)]);
        for (kind, id) in [(1, 7), (2, 7), (4, 7), (5, 7), (u16::MAX, u64::MAX)] {
            let (kind, id) = (SettingKind(kind), SettingId(id));
            let text = ids.encode_setting(kind, id);
            assert_eq!(ids.decode_setting(&text), Some((kind, id)));
            assert_eq!(ids.decode(IdKind::Event, &text.replace("set", "evt")), None);
        }
        let subscription = ids.encode_setting(SettingKind::SUBSCRIPTION, SettingId(7));
        let pair = ids.pair_text(IdKind::Subscription, 0, 7);
        assert_eq!(subscription, pair.as_str());
        let binder = ids.encode_setting(SettingKind::BINDER, SettingId(7));
        assert!(binder.starts_with("bdr_"), "{binder}");
        let binding = ids.encode_setting(SettingKind::BINDING, SettingId(7));
        assert!(binding.starts_with("bnd_"), "{binding}");
        let stream = ids.encode_setting(SettingKind::STREAM, SettingId(7));
        assert!(stream.starts_with("str_"), "{stream}");
        // The number of such a kind under the other prefix names nothing.
        for kind in [1, 4, 5, 6] {
            let forged = ids.pair_text(IdKind::Setting, kind, 7);
            assert_eq!(ids.decode_setting(&forged), None);
        }
    }
}
