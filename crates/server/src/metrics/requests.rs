//! Requests, counted by each serving thread for itself.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::{MetricType, TypedMetric};
use prometheus_client::registry::Registry;

use crate::metrics::families::{Labelled, Labels, register_counters, register_gauge};

/// Upper bounds of the latency histogram, in microseconds.
const BUCKETS_US: [u64; 14] = [
    250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 10_000_000,
];

#[derive(Clone, Default)]
struct Route {
    by_status: BTreeMap<u16, u64>,
    buckets: [u64; BUCKETS_US.len()],
    sum_us: u64,
}

/// The counters of one serving thread. Besides the thread, only a scrape locks them.
#[derive(Default)]
pub(crate) struct Counters {
    /// By method and route: both come from fixed lists, so their number is bounded.
    routes: Mutex<BTreeMap<&'static str, BTreeMap<String, Route>>>,
    pub(crate) connections: AtomicI64,
    pub(crate) in_flight: AtomicI64,
}

impl Counters {
    pub(crate) fn count(&self, method: &'static str, route: &str, status: u16, took: Duration) {
        let us = took.as_micros() as u64;
        let mut routes = self
            .routes
            .lock()
            .expect("no holder of the counters panics");
        let of_method = routes.entry(method).or_default();
        let entry = match of_method.get_mut(route) {
            Some(entry) => entry,
            None => of_method.entry(route.to_owned()).or_default(),
        };
        *entry.by_status.entry(status).or_default() += 1;
        entry.sum_us += us;
        if let Some(bucket) = BUCKETS_US.iter().position(|&bound| us <= bound) {
            entry.buckets[bucket] += 1;
        }
    }
}

/// The method as a label; any other than these is `OTHER`, so that callers can't make up labels.
pub(crate) fn method_label(method: &axum::http::Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        _ => "OTHER",
    }
}

/// Durations of the requests of one route.
#[derive(Debug)]
struct Latency {
    /// Upper bounds in seconds, and the numbers of requests between each bound and the one before it.
    buckets: Vec<(f64, u64)>,
    /// Sum of all durations, in seconds.
    sum: f64,
    /// Number of all requests, those above the last bound among them.
    count: u64,
}

impl TypedMetric for Latency {
    const TYPE: MetricType = MetricType::Histogram;
}

impl EncodeMetric for Latency {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        encoder.encode_histogram::<NoLabelSet>(self.sum, self.count, &self.buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

impl Route {
    fn latency(&self) -> Latency {
        let bounds = BUCKETS_US.iter().map(|us| *us as f64 / 1e6);
        Latency {
            buckets: bounds.zip(self.buckets).collect(),
            sum: self.sum_us as f64 / 1e6,
            count: self.by_status.values().sum(),
        }
    }
}

/// Registers the requests of all threads.
pub(super) fn register_requests<'a>(
    registry: &mut Registry,
    threads: impl Iterator<Item = &'a Counters>,
) {
    let mut routes: BTreeMap<(&'static str, String), Route> = BTreeMap::new();
    let (mut connections, mut in_flight) = (0, 0);
    for counters in threads {
        connections += counters.connections.load(Ordering::Relaxed);
        in_flight += counters.in_flight.load(Ordering::Relaxed);
        let of_thread = counters
            .routes
            .lock()
            .expect("no holder of the counters panics");
        for (method, of_method) in of_thread.iter() {
            for (name, route) in of_method {
                add(routes.entry((method, name.clone())).or_default(), route);
            }
        }
    }
    register_routes(registry, &routes);
    register_gauge(
        registry,
        "tributary_http_connections",
        "Open connections",
        connections,
    );
    register_gauge(
        registry,
        "tributary_http_requests_in_flight",
        "Requests that are being answered",
        in_flight,
    );
}

fn register_routes(registry: &mut Registry, routes: &BTreeMap<(&'static str, String), Route>) {
    let (mut totals, mut latencies) = (Vec::new(), Vec::new());
    for ((method, name), route) in routes {
        let labels: Labels = vec![("method", (*method).to_owned()), ("route", name.clone())];
        for (status, count) in &route.by_status {
            let mut labels = labels.clone();
            labels.push(("status", status.to_string()));
            totals.push((labels, ConstCounter::new(*count)));
        }
        latencies.push((labels, route.latency()));
    }
    register_counters(
        registry,
        "tributary_http_requests_total",
        "Requests answered, by method, route and HTTP status",
        Labelled(totals),
    );
    registry.register(
        "tributary_http_request_seconds",
        "Time from the arrival of a request's head to its answer, in seconds",
        Labelled(latencies),
    );
}

fn add(sum: &mut Route, route: &Route) {
    for (status, count) in &route.by_status {
        *sum.by_status.entry(*status).or_default() += count;
    }
    for (sum, count) in sum.buckets.iter_mut().zip(route.buckets) {
        *sum += count;
    }
    sum.sum_us += route.sum_us;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scrape_adds_up_the_threads() {
        let (a, b) = (Counters::default(), Counters::default());
        a.count("POST", "/v1/payments", 201, Duration::from_micros(300));
        b.count("POST", "/v1/payments", 201, Duration::from_micros(3_000));
        b.count("POST", "/v1/payments", 402, Duration::from_secs(60));
        let mut registry = Registry::default();
        register_requests(&mut registry, [&a, &b].into_iter());
        let mut page = String::new();
        prometheus_client::encoding::prometheus_text::encode(&mut page, &registry)
            .expect("a string takes what is written");
        for wanted in [
            "tributary_http_requests_total{method=\"POST\",route=\"/v1/payments\",status=\"201\"} 2",
            "tributary_http_request_seconds_bucket{method=\"POST\",route=\"/v1/payments\",le=\"0.0005\"} 1",
            "tributary_http_request_seconds_bucket{method=\"POST\",route=\"/v1/payments\",le=\"10\"} 2",
            "tributary_http_request_seconds_bucket{method=\"POST\",route=\"/v1/payments\",le=\"+Inf\"} 3",
            "tributary_http_request_seconds_count{method=\"POST\",route=\"/v1/payments\"} 3",
        ] {
            assert!(
                page.lines().any(|line| line == wanted),
                "{wanted} in\n{page}"
            );
        }
    }
}
