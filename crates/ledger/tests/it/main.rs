//! Promises of the ledger, each a test.

#![allow(
    clippy::disallowed_methods,
    reason = "tests read golden files; clippy.toml is meant for the ledger itself"
)]

mod assessments;
mod borne_fees;
mod chains;
mod codec;
mod complaints;
mod currencies;
mod details;
mod dice;
mod divisions;
mod events;
mod limits;
mod loading;
mod parts;
mod payouts;
mod properties;
mod queued;
mod references;
mod refusals;
mod rejections;
mod reviews;
mod rules;
mod settings;
mod settle;
mod shares;
mod time;
mod world;
