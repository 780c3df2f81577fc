//! Metrics of the payment queue.

use std::sync::atomic::Ordering;

use prometheus_client::registry::Registry;
use tributary_api::render::model::ModelObject;
use tributary_engine::QueueFigures;
use tributary_ledger::QueueMode;

use crate::app::Shared;
use crate::metrics::families::{register_counter, register_flag, register_gauge, seconds};
use crate::model::queue_model;

/// Registers the payment queue, and the age of the oldest payment that is not final.
pub(super) fn register_queue(registry: &mut Registry, shared: &Shared) {
    let now = shared.engine.now();
    let figures = shared.reader.queue_figures(now);
    let length_max = shared.engine.queue_length_max();
    let refused = shared.engine.counters().not_queued.load(Ordering::Relaxed);
    register_ages(registry, &figures, shared.reader.oldest_open(), now);
    register_contents(registry, &figures, length_max);
    register_rates(registry, &figures);
    register_ends(registry, &figures, refused);
    if let Some(model) = queue_model(&figures, length_max) {
        register_model(registry, &model);
    }
}

fn register_ages(
    registry: &mut Registry,
    figures: &QueueFigures,
    oldest_open: Option<u64>,
    now: u64,
) {
    let mut age = |name: &str, help: &str, since: Option<u64>| {
        let age = now.saturating_sub(since.unwrap_or(now));
        register_gauge(registry, name, help, seconds(age));
    };
    age(
        "tributary_oldest_open_payment_seconds",
        "Age of the oldest payment that is queued or holds money, in seconds; 0 without such a payment",
        oldest_open,
    );
    age(
        "tributary_queue_oldest_seconds",
        "Age of the oldest payment in the payment queue, in seconds; 0 if the queue is empty",
        figures.oldest,
    );
    age(
        "tributary_queue_longest_wait_seconds",
        "Longest time that a payment in the queue has been due and not started, in seconds; 0 if no payment is due",
        figures.placed,
    );
}

fn register_contents(registry: &mut Registry, figures: &QueueFigures, length_max: usize) {
    let mut gauge = |name: &str, help: &str, value: u64| {
        register_gauge(registry, name, help, value);
    };
    gauge(
        "tributary_queue_length",
        "Payments in the payment queue",
        figures.length as u64,
    );
    gauge(
        "tributary_queue_length_max",
        "Maximum number of payments in the queue",
        length_max as u64,
    );
    gauge(
        "tributary_queue_later",
        "Payments in the queue that are not due yet",
        figures.later as u64,
    );
    gauge(
        "tributary_queue_in_flight",
        "Payments in the queue that the ledger is deciding",
        figures.in_flight as u64,
    );
    register_flag(
        registry,
        "tributary_queue_paused",
        "1 while the queue is paused, else 0",
        figures.state.mode == QueueMode::Paused,
    );
    register_flag(
        registry,
        "tributary_queue_draining",
        "1 while the queue is draining, else 0",
        figures.state.mode == QueueMode::Draining,
    );
}

fn register_rates(registry: &mut Registry, figures: &QueueFigures) {
    let rates = &figures.rates;
    let mut gauge = |name: &str, help: &str, value: f64| {
        register_gauge(registry, name, help, value);
    };
    gauge(
        "tributary_queue_arrivals_per_second",
        "Payments that joined the queue per second, over the last minute",
        rates.arrivals_per_second(),
    );
    gauge(
        "tributary_queue_done_per_second",
        "Payments of the queue that were decided per second, over the last minute",
        rates.done_per_second(),
    );
    gauge(
        "tributary_queue_wait_seconds",
        "Average time that a due payment waited for its turn, over the last minute, in seconds; 0 without such a payment",
        seconds(rates.wait_average.unwrap_or(0)),
    );
    gauge(
        "tributary_queue_processing_seconds",
        "Average time from a payment's turn to its durable decision, over the last minute, in seconds; 0 without such a payment",
        seconds(rates.processing_average.unwrap_or(0)),
    );
}

fn register_ends(registry: &mut Registry, figures: &QueueFigures, refused: u64) {
    let mut total = |name: &str, help: &str, value: u64| {
        register_counter(registry, name, help, value);
    };
    total(
        "tributary_queue_run_total",
        "Payments of the queue that succeeded",
        figures.run,
    );
    total(
        "tributary_queue_failed_total",
        "Payments of the queue that the ledger rejected at their turn",
        figures.failed,
    );
    total(
        "tributary_queue_expired_total",
        "Payments of the queue that expired before their turn",
        figures.expired,
    );
    total(
        "tributary_queue_voided_total",
        "Payments of the queue that were voided before their turn",
        figures.voided,
    );
    total(
        "tributary_queue_refused_total",
        "Payments that the queue did not accept because it was full or draining",
        refused,
    );
}

/// Registers the queueing model's expectations, as far as the model has them.
fn register_model(registry: &mut Registry, model: &ModelObject) {
    let mut gauge = |name: &str, help: &str, value: Option<f64>| {
        if let Some(value) = value {
            register_gauge(registry, name, help, value);
        }
    };
    gauge(
        "tributary_queue_expected_wait_seconds",
        "Average wait that the queueing model expects at the rates of the last minute, in seconds",
        model.wait_seconds,
    );
    gauge(
        "tributary_queue_expected_length",
        "Average number of waiting payments that the queueing model expects",
        model.length,
    );
    gauge(
        "tributary_queue_expected_waiting_ratio",
        "Probability that a payment has to wait, as the queueing model expects, from 0 to 1",
        model.waits,
    );
    gauge(
        "tributary_queue_expected_utilisation_ratio",
        "Share of the capacity for concurrent decisions that the queueing model expects to be busy, from 0 to 1",
        model.utilisation,
    );
}
