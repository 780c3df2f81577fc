//! Little-endian fields at fixed offsets.

pub(crate) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(array_at(bytes, at))
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array_at(bytes, at))
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array_at(bytes, at))
}

/// Returns the `N` bytes at `at`. Panics if `bytes` is too short, as indexing does.
pub(crate) fn array_at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[at..at + N]);
    out
}

pub(crate) fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}

/// Whether every byte is zero. Works in chunks that the compiler turns into wide operations, since recovery checks hundreds
/// of megabytes.
pub(crate) fn all_zero(bytes: &[u8]) -> bool {
    bytes
        .chunks(1024)
        .all(|chunk| chunk.iter().fold(0, |any, byte| any | byte) == 0)
}

/// Rounds `value` up to a multiple of `unit`, which is a power of two.
pub(crate) fn align_up(value: u64, unit: u64) -> u64 {
    (value + unit - 1) & !(unit - 1)
}
