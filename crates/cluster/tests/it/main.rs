//! Tests of the logs, of which each real one is a program of its own.

mod contract;
mod fold;
mod lockstep;
mod members;
mod memory;
#[cfg(feature = "postgres")]
mod postgres;
