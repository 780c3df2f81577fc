//! Metrics of connections that were refused or had to give way.

use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::registry::Registry;

use crate::app::Shared;
use crate::metrics::families::{Labelled, register_counters, register_gauge};

/// Registers connections without a valid API key, and those that were refused or closed.
pub(super) fn register_connections(registry: &mut Registry, shared: &Shared) {
    let admission = &shared.admission;
    let (_, unauthenticated) = admission.counts();
    register_gauge(
        registry,
        "tributary_connections_unauthenticated",
        "Open connections over which no valid API key has come",
        unauthenticated as u64,
    );
    let family = |label: &'static str, values: [(&str, &AtomicU64); 2]| {
        let metrics = values.map(|(value, count)| {
            let labels = vec![(label, value.to_owned())];
            (labels, ConstCounter::new(count.load(Ordering::Relaxed)))
        });
        Labelled(metrics.into())
    };
    register_counters(
        registry,
        "tributary_connections_refused_total",
        "Connections refused because all open ones, in all or from the same address, brought a valid API key",
        family(
            "scope",
            [
                ("all", &admission.refused_of_all),
                ("address", &admission.refused_of_network),
            ],
        ),
    );
    register_counters(
        registry,
        "tributary_connections_closed_total",
        "Connections without a valid API key that were closed, because another needed the place or because none came in time",
        family(
            "reason",
            [
                ("evicted", &admission.evicted),
                ("expired", &admission.expired),
            ],
        ),
    );
}
