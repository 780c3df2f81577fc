//! The index: from 64-bit key hashes to positions, newest first.
//!
//! The index is a table in memory for the segment being written ([`active`]), and immutable sorted files for sealed segments
//! ([`run`]), each with a Bloom filter in memory ([`bloom`]). Files are merged in tiers so that their number stays bounded ([`merge`]).
//! The whole index is a view: it can be rebuilt from the segments.
//!
//! A bijection spreads each hash of the caller ([`spread`]), so that a weak hash does not make the index slow and different hashes stay
//! different.

pub(crate) mod active;
mod bloom;
pub(crate) mod merge;
pub(crate) mod run;
mod spread;
mod view;

pub(crate) use view::{IndexView, PendingRun};
