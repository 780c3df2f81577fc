//! Tests of the logs, of which each real one is a program of its own.

mod backend;
mod beside;
mod claims;
mod contract;
mod fold;
#[cfg(feature = "kafka")]
mod kafka;
mod leader;
mod lockstep;
mod members;
mod memory;
mod moving;
#[cfg(feature = "postgres")]
mod postgres;
