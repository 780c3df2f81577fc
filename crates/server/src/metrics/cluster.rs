//! Metrics of a node of a cluster. A server that is alone has none of them.

use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use std::sync::atomic::Ordering;
use tributary_api::leadership::{ClusterFigures, Role};

use crate::app::Shared;
use crate::cluster::node::{ClusterNode, ForwardCounts, Leader};
use crate::metrics::families::{
    Labelled, Labels, register_counter, register_counters, register_flag, register_gauge,
};

/// Registers the role and the figures of this node.
pub(super) fn register_cluster(registry: &mut Registry, shared: &Shared) {
    let Some(node) = &shared.cluster else {
        return;
    };
    let figures = node.leadership.figures();
    register_role(registry, node);
    register_progress(registry, &figures);
    register_appends(registry, &figures);
    register_forwarded(registry, &node.counts);
}

fn register_role(registry: &mut Registry, node: &ClusterNode) {
    let role = node.leadership.role();
    let is_role = [
        ("leader", role == Role::Leader),
        ("follower", matches!(role, Role::Follower { .. })),
        ("stopped", matches!(role, Role::Stopped { .. })),
    ];
    let roles = is_role.map(|(name, is)| {
        let labels: Labels = vec![("role", name.to_owned())];
        (labels, ConstGauge::new(u64::from(is)))
    });
    registry.register(
        "tributary_cluster_role",
        "1 for the role of this node in its cluster, else 0",
        Labelled(roles.into()),
    );
    register_flag(
        registry,
        "tributary_cluster_leader_known",
        "1 while this node leads or knows the node that does, else 0",
        matches!(node.leader(), Leader::ThisNode | Leader::Other(_)),
    );
}

fn register_progress(registry: &mut Registry, figures: &ClusterFigures) {
    register_gauge(
        registry,
        "tributary_cluster_term",
        "Term of the present leader; 0 before the first",
        figures.term,
    );
    register_gauge(
        registry,
        "tributary_cluster_settled_position",
        "Position of the last record that is settled in the shared log",
        figures.settled_position,
    );
    if let Some(ago) = figures.confirmed_ago {
        register_gauge(
            registry,
            "tributary_cluster_lag_seconds",
            "Time since this node last knew that it had the end of the shared log, in seconds; absent until it first does",
            ago.as_secs_f64(),
        );
    }
    register_counter(
        registry,
        "tributary_cluster_entries_total",
        "Entries of the shared log that this node has read",
        figures.entries,
    );
    register_counter(
        registry,
        "tributary_cluster_entries_ignored_total",
        "Entries of the shared log that did not count: written by a node that led no longer, or twice",
        figures.entries_ignored,
    );
    register_counter(
        registry,
        "tributary_cluster_leader_changes_total",
        "Changes of the leader since this process began",
        figures.leader_changes,
    );
}

fn register_appends(registry: &mut Registry, figures: &ClusterFigures) {
    register_counters(
        registry,
        "tributary_cluster_append_seconds_total",
        "Time that acknowledged appends to the shared log took in all, in seconds",
        ConstCounter::new(figures.append_time.as_secs_f64()),
    );
    register_counter(
        registry,
        "tributary_cluster_appends_total",
        "Appends to the shared log that were acknowledged",
        figures.appends,
    );
    register_counter(
        registry,
        "tributary_cluster_appends_unknown_total",
        "Appends to the shared log whose result was unknown",
        figures.appends_unknown,
    );
}

fn register_forwarded(registry: &mut Registry, counts: &ForwardCounts) {
    let outcomes = [
        ("answered", &counts.answered),
        ("no_leader", &counts.no_leader),
        ("lost", &counts.lost),
        ("refused", &counts.refused),
    ];
    let counters = outcomes.map(|(outcome, count)| {
        let labels: Labels = vec![("outcome", outcome.to_owned())];
        (labels, ConstCounter::new(count.load(Ordering::Relaxed)))
    });
    register_counters(
        registry,
        "tributary_forwarded_requests_total",
        "Requests for the leader: answered by it, without a leader in time, with a lost answer, or refused after a second hop",
        Labelled(counters.into()),
    );
}
