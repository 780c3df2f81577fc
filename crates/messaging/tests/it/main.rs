//! Subscriptions: what they promise, against an independent model and on a disk that fails.

mod core;
mod live;
mod log;
mod model;
mod settings;
mod simulated;
mod support;
