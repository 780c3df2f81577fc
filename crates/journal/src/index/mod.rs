//! The index: from 64-bit key hashes to positions, newest first.
//!
//! A table in memory for the segment being written ([`active`]); an immutable sorted file for sealed ones ([`run`]), with
//! a Bloom filter in memory ([`bloom`]); files merged in tiers so that their number stays bounded ([`merge`]). All of it
//! is a view: it can be made anew from the segments.
//!
//! Hashes are spread once more on the way in, by a bijection, so that a caller's weak hash costs speed nowhere and two
//! different hashes stay different.

pub(crate) mod active;
mod bloom;
pub(crate) mod merge;
pub(crate) mod run;
mod spread;
mod view;

pub(crate) use view::{IndexView, PendingRun};
