//! The engine over its backends, against the independent model.

mod desk;
mod lost;
mod many;
mod promises;
mod queue;
mod simulated;
mod support;
mod threads;
