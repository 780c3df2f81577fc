//! Digests of the state.

use crate::WorkingSet;

impl WorkingSet {
    /// Digest of the accounts, owners, API keys and open payments, whatever their order: equal on every backend after
    /// the same records.
    pub fn digest(&self) -> [u8; 32] {
        unimplemented!()
    }

    /// Digest of all the set holds: also payments that are not open, references and external ids.
    pub fn digest_all(&self) -> [u8; 32] {
        unimplemented!()
    }
}
