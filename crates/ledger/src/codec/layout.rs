//! Where the parts of a record stand.

use super::bytes::Corrupt;
use crate::{Destination, FORMAT_VERSION, Pay};

/// Bytes before the key.
pub(super) const HEADER: usize = 64;

/// Bytes of a leg.
pub(super) const LEG: usize = 56;

pub(super) const LINKED: u8 = 1;
pub(super) const TEXT: u8 = 2;
pub(super) const EFFECTIVE: u8 = 4;
/// Of the outcome, unlike the others.
pub(super) const REPLY: u8 = 8;

pub(super) fn check_version(format_version: u16) -> Result<(), Corrupt> {
    if format_version == FORMAT_VERSION {
        Ok(())
    } else {
        Err(Corrupt("unknown format version"))
    }
}

/// Whether each share's amount follows from the payment's: one payee, no fees.
pub(super) fn is_simple(pay: &Pay) -> bool {
    matches!(pay.destination, Destination::One(_)) && pay.fees.is_empty()
}
