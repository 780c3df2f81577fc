//! The hasher of the maps of a set.

use std::hash::{BuildHasherDefault, Hasher};

use crate::hash::sip_raw;

/// SipHash, for maps whose keys clients choose. Nothing depends on the order of these maps.
pub(super) type Sip = BuildHasherDefault<SipHasher>;

#[derive(Clone, Default)]
pub(super) struct SipHasher(u64);

impl Hasher for SipHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0 = sip_raw(*b"map-----", self.0, bytes);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
