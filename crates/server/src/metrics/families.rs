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

/// Registers families with one metric for each of several objects, such as subscriptions.
pub(super) struct Families<'a, S> {
    pub(super) registry: &'a mut Registry,
    /// The labels and the state of each object at the time of the scrape.
    pub(super) states: Vec<(Labels, S)>,
}

impl<S> Families<'_, S> {
    /// Registers a gauge. An object without a value is left out.
    pub(super) fn gauge<N: EncodeGaugeValue + fmt::Debug + Send + Sync + 'static>(
        &mut self,
        name: &str,
        help: &str,
        value: impl Fn(&S) -> Option<N>,
    ) {
        let gauges = self.states.iter().filter_map(|(labels, state)| {
            let gauge = ConstGauge::new(value(state)?);
            Some((labels.clone(), gauge))
        });
        self.registry
            .register(name, help, Labelled(gauges.collect()));
    }

    /// Registers a counter under its full name, as [`register_counters`] does. An object without a value is left out.
    pub(super) fn counter(&mut self, name: &str, help: &str, value: impl Fn(&S) -> Option<u64>) {
        let counters = self.states.iter().filter_map(|(labels, state)| {
            let counter = ConstCounter::new(value(state)?);
            Some((labels.clone(), counter))
        });
        register_counters(self.registry, name, help, Labelled(counters.collect()));
    }
}

/// Nanoseconds as seconds.
pub(super) fn seconds(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}
