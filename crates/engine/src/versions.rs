//! Versions of the records that this program knows.

use tributary_journal::Versions;

use crate::failure::Failure;

/// The newest versions that this program knows, in which it writes unless it is told otherwise.
pub const NEWEST: Versions = Versions {
    format: tributary_ledger::FORMAT_VERSION,
    rules: tributary_ledger::RULES_VERSION,
};

const _: () = assert!(
    tributary_journal::FORMAT_VERSION == tributary_ledger::FORMAT_VERSION,
    "a frame says which format its records have"
);

/// Refuses records that were decided or written by a newer program.
pub(crate) fn require_known(versions: Versions, position: u64) -> Result<(), Failure> {
    match versions.are_known_to(NEWEST) {
        true => Ok(()),
        false => Err(Failure::Newer { position, versions }),
    }
}
