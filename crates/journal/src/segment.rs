//! Segments.

pub(crate) const SEGMENT_HEADER_BYTES: u64 = 4096;
