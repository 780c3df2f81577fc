//! Numbers for Prometheus: each serving thread counts for itself, and a scrape adds them up.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

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

/// The counters of one serving thread. Nobody else locks them but a scrape.
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

/// A number of the engine: name, what it is, whether it only grows, value.
pub(crate) struct EngineNumber {
    pub(crate) name: &'static str,
    pub(crate) help: &'static str,
    pub(crate) counter: bool,
    pub(crate) value: f64,
}

/// A number of which there are several, told apart by a label.
pub(crate) struct Labelled {
    pub(crate) name: &'static str,
    pub(crate) help: &'static str,
    pub(crate) counter: bool,
    /// Labels as they stand between the braces, and values.
    pub(crate) values: Vec<(String, f64)>,
}

/// Adds such numbers to the page.
pub(crate) fn append(page: &mut String, numbers: &[Labelled]) {
    for number in numbers {
        let kind = if number.counter { "counter" } else { "gauge" };
        head(page, number.name, number.help, kind);
        for (labels, value) in &number.values {
            match labels.as_str() {
                "" => line(page, format_args!("{} {value}", number.name)),
                labels => line(page, format_args!("{}{{{labels}}} {value}", number.name)),
            }
        }
    }
}

/// The page that Prometheus reads.
pub(crate) fn render<'a>(
    threads: impl Iterator<Item = &'a Counters>,
    engine: &[EngineNumber],
) -> String {
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
    let mut page = String::new();
    let out = &mut page;
    head(
        out,
        "tributary_http_requests_total",
        "Requests answered.",
        "counter",
    );
    for ((method, route), numbers) in &routes {
        for (status, count) in &numbers.by_status {
            line(
                out,
                format_args!(
                    "tributary_http_requests_total{{method=\"{method}\",route=\"{route}\",status=\"{status}\"}} {count}"
                ),
            );
        }
    }
    head(
        out,
        "tributary_http_request_seconds",
        "Time from the head of a request to its answer.",
        "histogram",
    );
    for ((method, route), numbers) in &routes {
        histogram(
            out,
            &format!("method=\"{method}\",route=\"{route}\""),
            numbers,
        );
    }
    head(
        out,
        "tributary_http_connections",
        "Connections open.",
        "gauge",
    );
    line(
        out,
        format_args!("tributary_http_connections {connections}"),
    );
    head(
        out,
        "tributary_http_requests_in_flight",
        "Requests being answered.",
        "gauge",
    );
    line(
        out,
        format_args!("tributary_http_requests_in_flight {in_flight}"),
    );
    for number in engine {
        head(
            out,
            number.name,
            number.help,
            if number.counter { "counter" } else { "gauge" },
        );
        line(out, format_args!("{} {}", number.name, number.value));
    }
    page
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

fn histogram(out: &mut String, labels: &str, numbers: &Route) {
    let name = "tributary_http_request_seconds";
    let mut below = 0;
    for (bound, count) in BUCKETS_US.iter().zip(numbers.buckets) {
        below += count;
        let seconds = *bound as f64 / 1e6;
        line(
            out,
            format_args!("{name}_bucket{{{labels},le=\"{seconds}\"}} {below}"),
        );
    }
    let all: u64 = numbers.by_status.values().sum();
    line(
        out,
        format_args!("{name}_bucket{{{labels},le=\"+Inf\"}} {all}"),
    );
    line(
        out,
        format_args!("{name}_sum{{{labels}}} {}", numbers.sum_us as f64 / 1e6),
    );
    line(out, format_args!("{name}_count{{{labels}}} {all}"));
}

fn head(out: &mut String, name: &str, help: &str, kind: &str) {
    line(out, format_args!("# HELP {name} {help}"));
    line(out, format_args!("# TYPE {name} {kind}"));
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    writeln!(out, "{text}").expect("a string takes what is written");
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
        let page = render([&a, &b].into_iter(), &[]);
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
