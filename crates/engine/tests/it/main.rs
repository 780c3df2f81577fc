//! The engine over its backends, against the independent model.

mod clock;
mod divided;
mod lost;
mod many;
mod ports;
mod promises;
mod queue;
mod record_cache;
mod simulated;
mod submit_queue;
mod support;
mod threads;
