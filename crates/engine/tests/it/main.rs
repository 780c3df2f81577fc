//! The engine over its backends, against the independent model.

mod desk;
mod many;
mod messaging;
mod promises;
mod queue;
mod queueing;
mod simulated;
mod support;
mod threads;
