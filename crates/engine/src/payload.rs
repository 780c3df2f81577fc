//! Reads the payloads of stored records, each held against the position under which it was found.

use tributary_ledger as ledger;
use tributary_ledger::codec::{Record, RecordRef};

use crate::failure::Failure;

/// Decodes the payload of the record at `position`.
pub(crate) fn decode_record(position: u64, payload: &[u8]) -> Result<Record, Failure> {
    let record = parse_record(position, payload)?.to_record();
    record.map_err(|error| damaged(position, error.to_string()))
}

/// Reads the payload of the record at `position`, without decoding what is not asked for.
///
/// # Errors
/// If the payload is not that of the record at `position`.
pub fn parse_record(position: u64, payload: &[u8]) -> Result<RecordRef<'_>, Failure> {
    let record = RecordRef::parse(payload, ledger::FORMAT_VERSION)
        .map_err(|error| damaged(position, error.to_string()))?;
    let told = record.context().position;
    if told != position {
        let what = format!("it says that it is the one at {told}");
        return Err(damaged(position, what));
    }
    Ok(record)
}

/// The record at `position` is not what it should be.
pub(crate) fn damaged(position: u64, what: String) -> Failure {
    Failure::RecordDamaged { position, what }
}
