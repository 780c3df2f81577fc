//! The operators against known values, laws and simulations.

mod expression;
mod hostile;
mod flink;
mod queueing;
mod stream;
