//! Latencies and rates.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

/// Maximum recorded latency; longer ones are recorded as this one.
const LATENCY_MAX: Duration = Duration::from_secs(600);
/// Number of parts of a run whose rates are reported separately.
const PARTS: u64 = 10;

/// A histogram of latencies in nanoseconds, with three significant digits.
pub(crate) struct Latencies(Histogram<u64>);

impl Latencies {
    pub(crate) fn new() -> Latencies {
        let max = LATENCY_MAX.as_nanos() as u64;
        Latencies(Histogram::new_with_bounds(1, max, 3).expect("the bounds are in order"))
    }

    pub(crate) fn record(&mut self, latency: Duration) {
        self.0.saturating_record(latency.as_nanos() as u64);
    }

    pub(crate) fn add(&mut self, other: &Latencies) {
        self.0.add(&other.0).expect("both have the same bounds");
    }

    pub(crate) fn summary(&self) -> Summary {
        let us = |quantile| self.0.value_at_quantile(quantile) as f64 / 1e3;
        Summary {
            count: self.0.len(),
            p50_us: us(0.5),
            p99_us: us(0.99),
            p999_us: us(0.999),
            max_us: self.0.max() as f64 / 1e3,
        }
    }
}

/// Summary of latencies, in microseconds.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Summary {
    #[serde(rename = "latencies")]
    pub(crate) count: u64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) p999_us: f64,
    pub(crate) max_us: f64,
}

/// Counts operations, shows the progress, and records when each tenth was finished.
pub(crate) struct Progress {
    bar: ProgressBar,
    begun: Instant,
    total: u64,
    done: u64,
    shown: Instant,
    /// Largest single step.
    step: u64,
    marks: Vec<Instant>,
}

impl Progress {
    /// Starts with `total` operations to do, called `noun`.
    pub(crate) fn new(what: &'static str, noun: &'static str, total: u64) -> Progress {
        let bar = ProgressBar::new(total);
        let template = format!(
            "{{msg}} {{bar:30}} {{human_pos}}/{{human_len}} {noun}, {{per_sec}}, {{eta}} left"
        );
        if let Ok(style) = ProgressStyle::with_template(&template) {
            bar.set_style(style);
        }
        bar.set_message(what);
        let now = Instant::now();
        Progress {
            bar,
            begun: now,
            total,
            done: 0,
            shown: now,
            step: 0,
            marks: Vec::with_capacity(PARTS as usize),
        }
    }

    /// Adds `count` operations that were finished at `now`.
    pub(crate) fn add(&mut self, count: u64, now: Instant) {
        self.done += count;
        self.step = self.step.max(count);
        while (self.marks.len() as u64) < PARTS
            && self.done * PARTS >= self.total * (self.marks.len() as u64 + 1)
        {
            self.marks.push(now);
        }
        if now.duration_since(self.shown) > Duration::from_millis(200) {
            self.shown = now;
            self.bar.set_position(self.done);
        }
    }

    pub(crate) fn done(&self) -> u64 {
        self.done
    }

    /// Ends the progress before all is done, and returns the number of finished operations.
    pub(crate) fn finish_early(self) -> u64 {
        self.bar.finish_and_clear();
        self.done
    }

    /// Returns the time until the last operation, and the rate per second in each tenth if steps were small enough for that.
    pub(crate) fn finish(self) -> (Duration, Vec<f64>) {
        self.bar.finish_and_clear();
        let mut before = self.begun;
        let mut rates = Vec::with_capacity(self.marks.len());
        for mark in &self.marks {
            let seconds = mark.duration_since(before).as_secs_f64();
            rates.push((self.total as f64 / PARTS as f64 / seconds.max(1e-9)).round());
            before = *mark;
        }
        if self.step * PARTS * PARTS > self.total {
            rates.clear();
        }
        (before.duration_since(self.begun), rates)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_of_what_was_recorded() {
        let mut latencies = Latencies::new();
        for us in 1..=1_000 {
            latencies.record(Duration::from_micros(us));
        }
        let summary = latencies.summary();
        assert_eq!(summary.count, 1_000);
        for (told, expected) in [
            (summary.p50_us, 500.0),
            (summary.p99_us, 990.0),
            (summary.p999_us, 999.0),
            (summary.max_us, 1_000.0),
        ] {
            assert!((told - expected).abs() / expected < 0.002, "{told}");
        }
    }
}
