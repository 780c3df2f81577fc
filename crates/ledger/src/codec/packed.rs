//! Runs of accounts and of owners, as checkpoints have them: each object as what differs from the one before, in numbers of as many
//! bytes as they need.
//!
//! A number is written seven bits a byte, the lowest first; all bytes but the last have their highest bit set. Differences are
//! modulo 2^64. A signed number is written as twice its absolute value, less one if it is negative.
//!
//! ```text
//! account  id - id before · id - owner · 0 if there is no owner_prev, else id - owner_prev · posted, signed · held ·
//!          overdraft + 1 (0 = unlimited) · opened_at - opened_at before, signed · last - id · seq · currency u16 ·
//!          kind, status, has_marks u8 · [4 marks]
//! owner    id - id before · last_account (0 = none) - id, signed · name_len u8 · name
//! ```

use super::bytes::{Corrupt, Input, Put, len_u8};
use super::layout::check_version;
use super::objects::{account_or_none, checked, currency, kind_and_status, owner_name_bytes};
use crate::chain::Chain;
use crate::{Account, AccountId, Overdraft, OwnerId, OwnerRef};

/// Bits of a number per byte.
const BITS: u32 = 7;
const MORE: u8 = 1 << BITS;

fn put(mut number: u64, into: &mut Vec<u8>) {
    while number >= u64::from(MORE) {
        into.push(number as u8 | MORE);
        number >>= BITS;
    }
    into.push(number as u8);
}

#[inline]
fn take(input: &mut Input<'_>) -> Result<u64, Corrupt> {
    match input.0.split_first() {
        Some((&byte, rest)) if byte < MORE => {
            input.0 = rest;
            Ok(byte.into())
        }
        _ => take_long(input),
    }
}

fn take_long(input: &mut Input<'_>) -> Result<u64, Corrupt> {
    let mut number = 0;
    for (shift, (at, byte)) in (0..).step_by(BITS as usize).zip(input.0.iter().enumerate()) {
        let bits = u64::from(byte & !MORE);
        if shift >= u64::BITS || bits << shift >> shift != bits {
            return Err(Corrupt("a number is too large"));
        }
        number |= bits << shift;
        if byte & MORE == 0 {
            input.0 = &input.0[at + 1..];
            return Ok(number);
        }
    }
    Err(Corrupt("ends too early"))
}

fn put_signed(number: i64, into: &mut Vec<u8>) {
    put((number << 1 ^ number >> 63).cast_unsigned(), into);
}

fn take_signed(input: &mut Input<'_>) -> Result<i64, Corrupt> {
    let number = take(input)?;
    Ok((number >> 1).cast_signed() ^ -(number & 1).cast_signed())
}

/// Appends a run of accounts; appends nothing if there are none.
pub fn encode_accounts<'a>(accounts: impl IntoIterator<Item = &'a Account>, into: &mut Vec<u8>) {
    let (mut id, mut opened_at) = (0, 0);
    for account in accounts {
        let before = std::mem::replace(&mut id, account.id.0);
        put(id.wrapping_sub(before), into);
        put(id.wrapping_sub(account.owner.0), into);
        let owner_prev = account.owner_prev.get();
        put(owner_prev.map_or(0, |prev| id.wrapping_sub(prev.0)), into);
        put_signed(account.posted, into);
        put(account.held, into);
        put(account.overdraft.raw().wrapping_add(1), into);
        let before = std::mem::replace(&mut opened_at, account.opened_at);
        put_signed(opened_at.wrapping_sub(before).cast_signed(), into);
        put(account.chain.last().wrapping_sub(id), into);
        put(account.chain.seq(), into);
        into.u16(account.currency.numeric());
        let marks = account.chain.marks();
        let has_marks = u8::from(marks != [0; 4]);
        into.put(&[account.kind as u8, account.status as u8, has_marks]);
        if marks != [0; 4] {
            marks.iter().for_each(|mark| put(*mark, into));
        }
    }
}

/// Decodes a run of accounts.
pub fn decode_accounts(
    bytes: &[u8],
    format_version: u16,
    mut each: impl FnMut(Account),
) -> Result<(), Corrupt> {
    check_version(format_version)?;
    let mut input = Input(bytes);
    let (mut id, mut opened_at) = (0_u64, 0_u64);
    while !input.0.is_empty() {
        id = id.wrapping_add(take(&mut input)?);
        let owner = OwnerId(id.wrapping_sub(take(&mut input)?));
        let owner_prev = match take(&mut input)? {
            0 => None,
            before => account_or_none(id.wrapping_sub(before)),
        };
        let posted = take_signed(&mut input)?;
        let held = take(&mut input)?;
        let overdraft = Overdraft::from_raw(take(&mut input)?.wrapping_sub(1));
        opened_at = opened_at.wrapping_add(take_signed(&mut input)?.cast_unsigned());
        let last = id.wrapping_add(take(&mut input)?);
        let seq = take(&mut input)?;
        let currency = currency(input.u16()?)?;
        let (kind, status) = kind_and_status(&mut input)?;
        let mut marks = [0; 4];
        if input.flag()? {
            for mark in &mut marks {
                *mark = take(&mut input)?;
            }
        }
        each(checked(Account {
            id: AccountId(id),
            owner,
            owner_prev: owner_prev.into(),
            posted,
            held,
            overdraft,
            opened_at,
            chain: Chain::from_parts(last, seq, marks),
            currency,
            kind,
            status,
        })?);
    }
    Ok(())
}

/// Appends a run of owners; appends nothing if there are none.
pub fn encode_owners<'a>(owners: impl IntoIterator<Item = OwnerRef<'a>>, into: &mut Vec<u8>) {
    let mut id = 0;
    for owner in owners {
        let before = std::mem::replace(&mut id, owner.id.0);
        put(id.wrapping_sub(before), into);
        let last_account = owner.last_account.map_or(0, |last| last.0);
        put_signed(last_account.wrapping_sub(id).cast_signed(), into);
        into.u8(len_u8(owner.name));
        into.put(owner.name);
    }
}

/// Decodes a run of owners in place.
pub fn decode_owners(
    bytes: &[u8],
    format_version: u16,
    mut each: impl FnMut(OwnerRef<'_>),
) -> Result<(), Corrupt> {
    check_version(format_version)?;
    let mut input = Input(bytes);
    let mut id = 0_u64;
    while !input.0.is_empty() {
        id = id.wrapping_add(take(&mut input)?);
        let last_account = id.wrapping_add(take_signed(&mut input)?.cast_unsigned());
        let len = input.u8()?;
        let name = owner_name_bytes(input.take(len.into())?)?;
        each(OwnerRef {
            id: OwnerId(id),
            name,
            last_account: account_or_none(last_account),
        });
    }
    Ok(())
}
