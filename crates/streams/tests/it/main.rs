//! The operators against known values, laws and simulations.

mod expression;
mod flink;
mod hostile;
mod queueing;
mod risk;
mod stream;
