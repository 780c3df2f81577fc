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

pub(super) fn check_version(format_version: u16) -> Result<(), Corrupt> {
    if format_version == FORMAT_VERSION {
        Ok(())
    } else {
        Err(Corrupt("unknown format version"))
    }
}

/// Returns whether the amount of each share follows from the payment's amount: one payee, no fees.
pub(super) fn is_simple(pay: &Pay) -> bool {
    matches!(pay.destination, Destination::One(_)) && pay.fees.is_empty()
}
