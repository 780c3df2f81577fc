//! Sizes and flags of a record's layout.

use super::bytes::Corrupt;
use crate::{Destination, FORMAT_VERSION, Pay};

/// Size of the header, before the key, bytes.
pub(super) const HEADER: usize = 64;

/// Size of a leg, bytes.
pub(super) const LEG: usize = 56;

pub(super) const LINKED: u8 = 1;
pub(super) const TEXT: u8 = 2;
pub(super) const EFFECTIVE: u8 = 4;
/// Flag of the outcome.
pub(super) const REPLY: u8 = 8;
/// Flag of what the system adds to the command.
pub(super) const ORIGIN: u8 = 16;

/// Flag of the outcome.
pub(super) const LIMITS: u8 = 64;

/// Flag of what the system adds to the command.
pub(super) const ASSESSMENT: u8 = 128;

/// Flag of what only format 2 has, which exists for tests: a byte more at the end of the record.
pub(super) const NEXT: u8 = 32;
/// All flags that are known.
pub(super) const FLAGS: u8 = LINKED
    | TEXT
    | EFFECTIVE
    | REPLY
    | ORIGIN
    | LIMITS
    | ASSESSMENT
    | if FORMAT_VERSION < 2 { 0 } else { NEXT };

/// Adds what format 2 adds to a record that begins at `start`.
pub(super) fn put_next(start: usize, into: &mut Vec<u8>) {
    into[start + 1] |= NEXT;
    into.push(2);
}

/// Takes off what format 2 adds to a record, if there is something.
pub(super) fn take_next(bytes: &[u8]) -> Result<&[u8], Corrupt> {
    match (bytes.get(1), bytes.split_last()) {
        (Some(flags), Some((2, rest))) if flags & FLAGS & NEXT != 0 => Ok(rest),
        (Some(flags), _) if flags & FLAGS & NEXT != 0 => {
            Err(Corrupt("the end of the record is missing"))
        }
        _ => Ok(bytes),
    }
}

pub(super) fn check_version(format_version: u16) -> Result<(), Corrupt> {
    if (1..=FORMAT_VERSION).contains(&format_version) {
        Ok(())
    } else {
        Err(Corrupt("unknown format version"))
    }
}

/// Returns whether the amount of each share follows from the payment's amount: one payee, no fees.
pub(super) fn is_simple(pay: &Pay) -> bool {
    matches!(pay.destination, Destination::One(_)) && pay.fees.is_empty()
}
