//! One journal for many nodes, on a shared log that exists already: PostgreSQL or Kafka.
//!
//! This crate does: what nodes append ([`entry`]), what it means ([`fold`]), what a log must promise ([`log`]), and when a node
//! leads ([`node`]). There is no consensus of our own: the log brings entries into one order, and the fold, a pure function, makes the
//! same of them on every node. **This crate must not know** what a record means, nor that HTTP, subscriptions or a console exist.

pub mod backend;
pub mod beside;
mod bug;
pub mod driver;
pub mod entry;
pub mod fold;
mod identity;
#[cfg(feature = "kafka")]
pub mod kafka;
pub mod log;
pub mod memory;
pub mod moving;
pub mod node;
#[cfg(feature = "postgres")]
pub mod postgres;
pub mod resume;
mod shared;
#[cfg(test)]
mod simulation;

pub use shared::Standing;
