//! Spreading key hashes evenly over 64 bits.

/// Spreads a hash by the finalizer of MurmurHash3, a bijection of 64 bits. Part of the file format.
pub(crate) fn spread(hash: u64) -> u64 {
    let mut h = hash;
    h = (h ^ (h >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    h = (h ^ (h >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    h ^ (h >> 33)
}
