//! The page that Prometheus scrapes.

use prometheus_client::encoding::prometheus_text;
use prometheus_client::registry::Registry;

use crate::app::Shared;
use crate::metrics::abuse::register_abuse;
use crate::metrics::bindings::register_bindings;
use crate::metrics::cache::register_caches;
use crate::metrics::clock::register_clock;
use crate::metrics::cluster::register_cluster;
use crate::metrics::connections::register_connections;
use crate::metrics::engine::{register_engine, register_intake, register_money};
use crate::metrics::process::register_process;
use crate::metrics::queue::register_queue;
use crate::metrics::request_timeouts::register_request_timeouts;
use crate::metrics::requests::register_requests;
use crate::metrics::rules::register_rules;
use crate::metrics::streams::register_streams;
use crate::metrics::subscriptions::register_subscriptions;

/// Content type of the page: the text format that every scraper reads.
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4";

/// Reads all metrics and returns the page.
pub(crate) fn metrics_page(shared: &Shared) -> String {
    let mut registry = Registry::default();
    let threads = shared.threads.iter().map(|counters| &**counters);
    register_requests(&mut registry, threads);
    register_connections(&mut registry, shared);
    register_request_timeouts(&mut registry, &shared.request_timeouts);
    register_abuse(&mut registry, shared);
    register_engine(&mut registry, shared);
    register_caches(&mut registry, shared);
    register_clock(&mut registry, shared);
    register_cluster(&mut registry, shared);
    register_queue(&mut registry, shared);
    register_subscriptions(&mut registry, shared);
    register_bindings(&mut registry, shared);
    register_streams(&mut registry, shared);
    register_rules(&mut registry, shared);
    register_intake(&mut registry, shared);
    register_money(&mut registry, shared);
    register_process(&mut registry);
    let mut page = String::new();
    prometheus_text::encode(&mut page, &registry).expect("a string takes what is written");
    page
}
