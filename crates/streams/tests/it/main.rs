//! The operators against known values, laws and simulations.

mod expression;
mod queueing;
mod stream;
