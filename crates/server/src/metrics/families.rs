//! Registers metrics whose values were read for one scrape. Help texts are given without the last period: the registry adds it.

use std::fmt;

use prometheus_client::encoding::{EncodeGaugeValue, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::{MetricType, TypedMetric};
use prometheus_client::registry::{Metric, Registry};

/// Names and values of the labels of one metric.
pub(super) type Labels = Vec<(&'static str, String)>;

/// Metrics of one name, each with its labels.
#[derive(Debug)]
pub(super) struct Labelled<M>(pub(super) Vec<(Labels, M)>);

impl<M: TypedMetric> TypedMetric for Labelled<M> {
    const TYPE: MetricType = M::TYPE;
}

impl<M: EncodeMetric + TypedMetric> EncodeMetric for Labelled<M> {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        for (labels, metric) in &self.0 {
            metric.encode(encoder.encode_family(labels)?)?;
        }
        Ok(())
    }

    fn metric_type(&self) -> MetricType {
        M::TYPE
    }
}

/// Registers a counter without labels.
pub(super) fn register_counter(registry: &mut Registry, name: &str, help: &str, value: u64) {
    register_counters(registry, name, help, ConstCounter::new(value));
}

/// Registers a counter, or a family of counters, under the full name: the encoder adds `_total` by itself.
///
/// # Panics
/// If the name does not end in `_total`.
pub(super) fn register_counters(
    registry: &mut Registry,
    name: &str,
    help: &str,
    counters: impl Metric + TypedMetric,
) {
    let stem = name.strip_suffix("_total");
    let stem = stem.expect("the name of a counter ends in _total");
    registry.register(stem, help, counters);
}

/// Registers a gauge without labels.
pub(super) fn register_gauge(
    registry: &mut Registry,
    name: &str,
    help: &str,
    value: impl EncodeGaugeValue + fmt::Debug + Send + Sync + 'static,
) {
    registry.register(name, help, ConstGauge::new(value));
}

/// Registers a gauge that is 1 while something holds, else 0.
pub(super) fn register_flag(registry: &mut Registry, name: &str, help: &str, holds: bool) {
    register_gauge(registry, name, help, u64::from(holds));
}

/// Nanoseconds as seconds.
pub(super) fn seconds(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}
