//! Metrics of the caches. A cache that is off has zeros.

use prometheus_client::registry::Registry;
use tributary_engine::CacheFigures;

use crate::app::Shared;
use crate::metrics::families::{Families, register_counter};
use crate::statement_pages::StatementPages;

/// Registers what the caches did and what they hold.
pub(super) fn register_caches(registry: &mut Registry, shared: &Shared) {
    let records = shared.reader.record_cache_figures();
    let redis = records.shared.unwrap_or_default();
    let statements = shared.statement_pages.as_ref();
    let statements = statements.map_or_else(CacheFigures::default, StatementPages::figures);
    let in_redis = CacheFigures {
        hits: redis.hits,
        misses: redis.misses,
        ..CacheFigures::default()
    };
    let caches = [
        ("records", records.records, true),
        ("statements", statements, true),
        ("redis", in_redis, false),
    ];
    let states = caches.into_iter().map(|(name, figures, is_local)| {
        let labels = vec![("cache", name.to_owned())];
        (labels, (figures, is_local))
    });
    let mut families = Families {
        states: states.collect(),
        registry,
    };
    families.counter(
        "tributary_cache_hits_total",
        "Look-ups answered from a cache",
        |(figures, _)| Some(figures.hits),
    );
    families.counter(
        "tributary_cache_misses_total",
        "Look-ups that a cache could not answer",
        |(figures, _)| Some(figures.misses),
    );
    families.counter(
        "tributary_cache_evictions_total",
        "Entries that left a cache because it was full",
        |(figures, is_local)| is_local.then_some(figures.evictions),
    );
    families.gauge(
        "tributary_cache_bytes",
        "Approximate size of a cache, in bytes",
        |(figures, is_local)| is_local.then_some(figures.bytes),
    );
    let mut total = |name: &str, help: &str, value: u64| {
        register_counter(registry, name, help, value);
    };
    total(
        "tributary_lookups_refused_total",
        "Look-ups of ids that were made up and of names that do not exist, refused without reading a record",
        records.refused,
    );
    total(
        "tributary_redis_cache_failures_total",
        "Requests to the Redis cache that failed or were not answered in time",
        redis.failures,
    );
    total(
        "tributary_redis_cache_skipped_total",
        "Requests to the Redis cache that were not sent, because earlier ones had failed or too many waited",
        redis.skipped,
    );
    total(
        "tributary_redis_cache_forged_total",
        "Values in the Redis cache that were not what a node had stored; they were ignored",
        redis.forged,
    );
}
