//! The engine over its backends, against the independent model.

mod promises;
mod simulated;
mod support;
mod threads;
