//! The operators against known values, laws and simulations.

mod expression;
mod hostile;
mod queueing;
mod stream;
