//! Tests that draw everything from a seed; `scripts/simulate` runs them with many.

mod backends;
mod crash;
