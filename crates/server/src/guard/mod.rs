//! Abuse before the ledger: counts requests that go wrong, by API key and by address, blocks those with too many for a time, and tells
//! the platform. It looks at answers, and **must not know** what a request is about.
//!
//! A request that goes wrong counts for its API key if it bears a valid one, else for its address. So who guesses keys can't have
//! another one's key blocked, and who holds a key can't have those blocked who share the address. A request that goes well takes no lock
//! unless a block is in force, or, for a payment, unless something went wrong within the last minutes.

mod declines;
mod entry;
mod limits;
mod publish;
mod reports;
mod signal;
mod state;
mod table;

pub(crate) use declines::Declined;
pub(crate) use entry::Block;
pub use limits::AbuseLimits;
pub(crate) use publish::publish_reports;
pub(crate) use signal::{Signal, named};
pub(crate) use state::{Guard, Subject};
