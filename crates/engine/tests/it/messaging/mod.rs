//! Subscriptions: what they promise, against an independent model and on a disk that fails.

pub(crate) mod core;
mod live;
mod log;
mod model;
