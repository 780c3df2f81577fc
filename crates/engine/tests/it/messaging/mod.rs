//! Subscriptions: what they promise, against an independent model and on a disk that fails.

mod core;
mod crash;
mod live;
mod log;
mod model;
