//! How long nobody's writes were accepted, by kind of failure.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// The longest time between two accepted writes.
#[derive(Default)]
pub(super) struct Gap {
    last: Option<Instant>,
    longest: Duration,
}

impl Gap {
    /// A write was accepted.
    pub(super) fn accept(&mut self) {
        let now = Instant::now();
        if let Some(last) = self.last.replace(now) {
            self.longest = self.longest.max(now - last);
        }
    }

    pub(super) fn is_begun(&self) -> bool {
        self.last.is_some()
    }

    /// Forgets every gap that has ended.
    pub(super) fn reset(&mut self) {
        self.longest = Duration::ZERO;
    }

    /// The longest gap since the reset, also one that has not ended.
    pub(super) fn longest(&self) -> Duration {
        let open = self.last.map_or(Duration::ZERO, |last| last.elapsed());
        self.longest.max(open)
    }
}

/// What one failure cost.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cost {
    /// Longest time without an accepted write.
    pub(super) gap: Duration,
    /// The same of a bare client of the log's servers.
    pub(super) bare: Option<Duration>,
}

/// What each kind of failure cost.
#[derive(Default)]
pub(super) struct Report(BTreeMap<&'static str, Vec<Cost>>);

impl Report {
    pub(super) fn add(&mut self, kind: &'static str, cost: Cost) {
        let bare = cost
            .bare
            .map(|bare| format!(", of a bare client {bare:.1?}"));
        eprintln!("{kind}: {:.1?}{}", cost.gap, bare.unwrap_or_default());
        self.0.entry(kind).or_default().push(cost);
    }

    /// Prints the table, and writes it as JSON beside what else is told of the run.
    pub(super) fn publish(&self, path: &Path, run: Value) {
        let mut rows = Vec::new();
        eprintln!(
            "\n{:<34} {:>4} {:>9} {:>9}",
            "longest time without a write", "n", "p50 s", "max s"
        );
        for (kind, costs) in &self.0 {
            let gaps = Times::new(costs.iter().map(|cost| cost.gap));
            eprintln!(
                "{kind:<34} {:>4} {:>9.2} {:>9.2}",
                costs.len(),
                gaps.median,
                gaps.longest
            );
            let mut row = json!({ "failure": kind, "n": costs.len(), "p50_s": gaps.median, "max_s": gaps.longest });
            if costs.iter().any(|cost| cost.bare.is_some()) {
                let bare = Times::new(costs.iter().filter_map(|cost| cost.bare));
                let more = costs
                    .iter()
                    .filter_map(|cost| Some(cost.gap.saturating_sub(cost.bare?)));
                let more = Times::new(more);
                for (name, times) in [("of a bare client", &bare), ("more than that", &more)] {
                    eprintln!(
                        "  {name:<32} {:>4} {:>9.2} {:>9.2}",
                        "", times.median, times.longest
                    );
                }
                row["bare_p50_s"] = json!(bare.median);
                row["bare_max_s"] = json!(bare.longest);
                row["more_p50_s"] = json!(more.median);
                row["more_max_s"] = json!(more.longest);
            }
            rows.push(row);
        }
        let text = json!({ "run": run, "failures": rows }).to_string();
        std::fs::write(path, text).expect("there is room");
        eprintln!("\n{}", path.display());
    }
}

/// Seconds, to the millisecond.
struct Times {
    median: f64,
    longest: f64,
}

impl Times {
    fn new(times: impl Iterator<Item = Duration>) -> Times {
        let mut millis: Vec<u128> = times.map(|time| time.as_millis()).collect();
        millis.sort_unstable();
        let seconds = |at: usize| millis.get(at).map_or(0.0, |millis| *millis as f64 / 1e3);
        Times {
            median: seconds(millis.len().saturating_sub(1) / 2),
            longest: seconds(millis.len().saturating_sub(1)),
        }
    }
}
