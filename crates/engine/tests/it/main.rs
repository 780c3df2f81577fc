//! The engine over its backends, against the independent model.

mod backends;
mod crash;
