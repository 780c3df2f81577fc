//! Metrics of the clock.

use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::registry::Registry;
use tributary_engine::ClockState;

use crate::app::Shared;
use crate::metrics::families::{
    Labelled, register_counter, register_counters, register_flag, register_gauge,
};

/// Registers how the wall clock stands to ledger time, and its steps.
pub(super) fn register_clock(registry: &mut Registry, shared: &Shared) {
    let status = shared.engine.clock_status();
    register_gauge(
        registry,
        "tributary_clock_lead_seconds",
        "Time by which the wall clock is ahead of ledger time, in seconds; negative if it is behind",
        status.lead as f64 / 1e9,
    );
    register_flag(
        registry,
        "tributary_clock_in_step",
        "1 while ledger time is the wall clock, 0 while the wall clock is behind, or far ahead and not followed",
        status.state == ClockState::InStep,
    );
    let steps = [
        ("forwards", status.steps.forwards),
        ("backwards", status.steps.backwards),
    ];
    let steps = steps.map(|(direction, count)| {
        let labels = vec![("direction", direction.to_owned())];
        (labels, ConstCounter::new(count))
    });
    register_counters(
        registry,
        "tributary_wall_clock_steps_total",
        "Times that the wall clock was set by a second or more",
        Labelled(steps.into()),
    );
    register_counter(
        registry,
        "tributary_clock_followed_total",
        "Times that ledger time moved forwards to the wall clock by a second or more",
        status.steps.followed,
    );
}
