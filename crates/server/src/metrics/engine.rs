//! Metrics of the engine, of its store and of the intake.

use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::registry::Registry;
use tributary_engine::IdKind;

use crate::app::Shared;
use crate::metrics::families::{
    Labelled, register_counter, register_counters, register_flag, register_gauge, seconds,
};
use crate::readiness::require_ready;

/// Registers what the engine has done and how it is.
pub(super) fn register_engine(registry: &mut Registry, shared: &Shared) {
    register_work(registry, shared);
    register_state(registry, shared);
    register_store(registry, shared);
}

fn register_work(registry: &mut Registry, shared: &Shared) {
    let counters = shared.engine.counters();
    let mut total = |name: &str, help: &str, value: &AtomicU64| {
        register_counter(registry, name, help, value.load(Ordering::Relaxed));
    };
    total(
        "tributary_records_total",
        "Records written durably to the journal",
        &counters.records,
    );
    total(
        "tributary_records_rejected_total",
        "Records of commands that the ledger rejected",
        &counters.rejected,
    );
    total(
        "tributary_replays_total",
        "Commands answered from an earlier record with the same idempotency key",
        &counters.replayed,
    );
    total(
        "tributary_key_conflicts_total",
        "Commands refused because their idempotency key belongs to a different command",
        &counters.conflicts,
    );
    total(
        "tributary_batches_total",
        "Batches of records written durably to the journal",
        &counters.batches,
    );
    total(
        "tributary_overloaded_total",
        "Requests refused because too many commands waited for the writer",
        &counters.overloaded,
    );
    total(
        "tributary_checkpoints_total",
        "Checkpoints written",
        &counters.checkpoints,
    );
    let batch_seconds = seconds(counters.batch_nanos.load(Ordering::Relaxed));
    register_counters(
        registry,
        "tributary_batch_seconds_total",
        "Sum of the times from handing a batch to the journal until the batch is durable, in seconds",
        ConstCounter::new(batch_seconds),
    );
}

fn register_state(registry: &mut Registry, shared: &Shared) {
    let status = shared.engine.status();
    register_gauge(
        registry,
        "tributary_commands_queued",
        "Commands waiting for the writer",
        status.queued as u64,
    );
    register_gauge(
        registry,
        "tributary_event_streams",
        "Open event streams",
        shared.streams.open() as u64,
    );
    register_flag(
        registry,
        "tributary_ready",
        "1 while the server takes commands, as /health/ready says, else 0",
        require_ready(shared).is_ok(),
    );
    register_flag(
        registry,
        "tributary_storage_full",
        "1 while the disk has no space for another record, else 0",
        status.storage_full,
    );
    register_flag(
        registry,
        "tributary_master_key_up",
        "1 while the master key is usable, so that webhook secrets can be encrypted and decrypted, else 0",
        shared.transport().is_some_and(|it| it.can_seal()),
    );
}

fn register_store(registry: &mut Registry, shared: &Shared) {
    let store = shared.reader.store_stats();
    let mut gauge = |name: &str, help: &str, value: u64| {
        register_gauge(registry, name, help, value);
    };
    gauge(
        "tributary_journal_position",
        "Position of the last durable record in the journal",
        shared.reader.head().position,
    );
    gauge(
        "tributary_journal_bytes",
        "Size of all frames of the journal, in bytes",
        store.bytes,
    );
    gauge(
        "tributary_index_memory_bytes",
        "Memory used by the journal's index, in bytes",
        store.index_memory_bytes,
    );
    gauge(
        "tributary_index_files",
        "Sorted files of the journal's index",
        store.index_runs,
    );
    gauge(
        "tributary_damaged_places",
        "Damaged places in the journal found by the background check and by reads since the start",
        store.damaged,
    );
}

/// Registers the commands that were refused before they reached the ledger.
pub(super) fn register_intake(registry: &mut Registry, shared: &Shared) {
    let refusals = shared.intake.refusals().into_iter().map(|refusal| {
        let api_key = refusal.api_key.map_or_else(
            || "others".to_owned(),
            |key| shared.reader.ids().encode(IdKind::ApiKey, key.0),
        );
        let labels = vec![("api_key", api_key), ("code", refusal.code.to_owned())];
        (labels, ConstCounter::new(refusal.count))
    });
    register_counters(
        registry,
        "tributary_intake_refused_total",
        "Commands refused before the ledger because the API key may not see or do what the command names",
        Labelled(refusals.collect()),
    );
}

/// Registers the money that was moved, for each currency.
pub(super) fn register_money(registry: &mut Registry, shared: &Shared) {
    let moved = shared.reader.money_moved().into_iter();
    let counters = moved.map(|(currency, amount)| {
        let labels = vec![("currency", currency.code().to_owned())];
        (labels, ConstCounter::new(amount))
    });
    register_counters(
        registry,
        "tributary_money_moved_total",
        "Money moved between accounts since the start, in minor units of the currency; what is only held is not moved",
        Labelled(counters.collect()),
    );
}
