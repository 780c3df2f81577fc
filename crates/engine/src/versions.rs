//! Versions of the records that this program knows.

use tributary_journal::Versions;

/// The newest versions that this program knows, in which it writes unless it is told otherwise.
pub const NEWEST: Versions = Versions {
    format: tributary_ledger::FORMAT_VERSION,
    rules: tributary_ledger::RULES_VERSION,
};

const _: () = assert!(
    tributary_journal::FORMAT_VERSION == tributary_ledger::FORMAT_VERSION,
    "a frame says which format its records have"
);
