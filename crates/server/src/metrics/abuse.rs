//! Metrics of abuse. Without a guard they are zero.

use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use crate::app::Shared;
use crate::guard::{Guard, Signal, Subject};
use crate::metrics::families::{Labelled, register_counters};

/// Registers signals, blocks and refused requests.
pub(super) fn register_abuse(registry: &mut Registry, shared: &Shared) {
    let figures = shared.guard.as_ref().map(Guard::figures);
    let number = |count: Option<&AtomicU64>| count.map_or(0, |count| count.load(Ordering::Relaxed));
    let signals = Signal::ALL.map(|signal| {
        let count = figures.map(|figures| &figures.signals[signal as usize]);
        let labels = vec![("signal", signal.name().to_owned())];
        (labels, ConstCounter::new(number(count)))
    });
    register_counters(
        registry,
        "tributary_abuse_signals_total",
        "Requests and payments that went wrong, of addresses and of API keys of owners, by kind",
        Labelled(signals.into()),
    );
    let scope = |name: &str| vec![("scope", name.to_owned())];
    let of_key = number(figures.map(|figures| &figures.refused_of_key));
    let of_address = number(figures.map(|figures| &figures.refused_of_address));
    register_counters(
        registry,
        "tributary_abuse_requests_refused_total",
        "Requests refused because their API key or their address is blocked",
        Labelled(vec![
            (scope("key"), ConstCounter::new(of_key)),
            (scope("address"), ConstCounter::new(of_address)),
        ]),
    );
    let blocks = shared.guard.as_ref().map(Guard::blocks).unwrap_or_default();
    let is_key = |(subject, _): &&(Subject, _)| matches!(subject, Subject::Key(_));
    let keys = blocks.iter().filter(is_key).count() as u64;
    registry.register(
        "tributary_abuse_blocked",
        "API keys and addresses that are blocked now; GET /v1/security/blocks shows them",
        Labelled(vec![
            (scope("key"), ConstGauge::new(keys)),
            (
                scope("address"),
                ConstGauge::new(blocks.len() as u64 - keys),
            ),
        ]),
    );
}
