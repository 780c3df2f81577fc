//! Metrics for Prometheus: each serving thread counts by itself, and a scrape adds the threads up.

mod abuse;
mod bindings;
mod cache;
mod clock;
mod cluster;
mod connections;
mod engine;
mod families;
pub(crate) mod page;
mod process;
mod queue;
pub(crate) mod request_timeouts;
pub(crate) mod requests;
mod rules;
mod streams;
mod subscriptions;
