//! The result: what was measured, with the conditions that it was measured under.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use crate::machine::{self, Memory};
use crate::meter::{Latencies, Progress, Summary};
use crate::options::Load;
use crate::server::Server;

/// What a load has done.
pub(crate) struct Measured {
    /// Payments (of a mixed load: requests).
    pub(crate) count: u64,
    pub(crate) took: Duration,
    /// Rate per second in each tenth of it.
    pub(crate) rates: Vec<f64>,
    /// Of a batch, or of a request.
    pub(crate) latency: Summary,
    /// By kind of request, where there are several.
    pub(crate) operations: BTreeMap<&'static str, Summary>,
    /// Payments that the ledger refused.
    pub(crate) rejected: u64,
    /// What subscriptions beside it got, where there were any.
    pub(crate) subscriptions: Option<Value>,
}

impl Measured {
    /// A load of one kind of request.
    pub(crate) fn of(progress: Progress, latencies: &Latencies, rejected: u64) -> Measured {
        let count = progress.done();
        let (took, rates) = progress.finish();
        Measured {
            count,
            took,
            rates,
            latency: latencies.summary(),
            operations: BTreeMap::new(),
            rejected,
            subscriptions: None,
        }
    }
}

/// What was known of the server before the load.
pub(crate) struct Before {
    data_bytes: Option<u64>,
    written: Option<u64>,
}

impl Before {
    /// Bytes that its data took.
    pub(crate) fn data_bytes(&self) -> Option<u64> {
        self.data_bytes
    }

    pub(crate) fn of(server: &Server) -> anyhow::Result<Before> {
        Ok(Before {
            data_bytes: server.data_bytes()?,
            written: server.bytes_written(),
        })
    }
}

/// The conditions of a load.
pub(crate) struct Conditions<'a> {
    pub(crate) mode: &'static str,
    pub(crate) load: &'a Load,
    pub(crate) connections: u32,
    pub(crate) batch_size: u32,
    pub(crate) in_flight: u32,
    /// Before the measurement, of the same kind.
    pub(crate) warmup: u64,
    /// What the measurement and the warm-up added in all.
    pub(crate) records: u64,
}

#[derive(Serialize)]
struct Report<'a> {
    mode: &'static str,
    payments: u64,
    payments_per_second: f64,
    seconds: f64,
    #[serde(flatten)]
    latency: Summary,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    operations: BTreeMap<&'static str, Summary>,
    rejected: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    subscriptions: Option<Value>,
    /// Whether the books were right afterwards; a run whose books are wrong gives no result.
    books: &'static str,
    rate_of_each_tenth: Vec<f64>,
    /// Data in the directory that the load added, by record.
    bytes_per_payment: Option<f64>,
    /// What was written for it, in all and by record: merges and checkpoints too.
    bytes_written: Option<u64>,
    bytes_written_per_payment: Option<f64>,
    #[serde(flatten)]
    memory: Memory,
    connections: u32,
    batch_size: u32,
    in_flight: u32,
    accounts: u32,
    skew: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    zipf_exponent: Option<f64>,
    arrival_rate: Option<f64>,
    warmup: u64,
    seed: u64,
    sync_policy: &'static str,
    data: Option<&'a str>,
    filesystem: Option<String>,
    processors: usize,
    version: &'static str,
}

/// Stops the server, looks at what it left, and says all.
pub(crate) fn finish(
    conditions: &Conditions<'_>,
    server: Server,
    before: &Before,
    measured: Measured,
) -> anyhow::Result<()> {
    let memory = server.memory();
    let written = server.bytes_written().zip(before.written);
    let written = written.map(|(after, before)| after.saturating_sub(before));
    let directory = server.directory().map(std::path::Path::to_owned);
    let filesystem = directory.as_deref().and_then(machine::filesystem);
    let data_bytes = server.data_bytes()?.zip(before.data_bytes);
    server.stop()?;
    let records = conditions.records as f64;
    let load = conditions.load;
    let report = Report {
        mode: conditions.mode,
        payments: measured.count,
        payments_per_second: tenths(measured.count as f64 / measured.took.as_secs_f64().max(1e-9)),
        seconds: measured.took.as_secs_f64(),
        latency: measured.latency,
        operations: measured.operations,
        rejected: measured.rejected,
        subscriptions: measured.subscriptions,
        books: "balanced",
        rate_of_each_tenth: measured.rates,
        bytes_per_payment: data_bytes
            .map(|(after, before)| tenths(after.saturating_sub(before) as f64 / records)),
        bytes_written: written,
        bytes_written_per_payment: written.map(|bytes| tenths(bytes as f64 / records)),
        memory,
        connections: conditions.connections,
        batch_size: conditions.batch_size,
        in_flight: conditions.in_flight,
        accounts: load.accounts,
        skew: load.skew.name(),
        zipf_exponent: (load.skew == crate::options::Skew::Zipf).then_some(load.zipf_exponent),
        arrival_rate: load.rate,
        warmup: conditions.warmup,
        seed: load.seed,
        sync_policy: "synced before every answer; answers that wait share a sync",
        data: directory.as_deref().and_then(std::path::Path::to_str),
        filesystem,
        processors: machine::processors(),
        version: env!("CARGO_PKG_VERSION"),
    };
    tell(&serde_json::to_value(&report)?, load.run.json);
    Ok(())
}

/// Says a result: as one line of JSON, or as a list for people.
pub(crate) fn tell(result: &Value, json: bool) {
    if json {
        say(&result.to_string());
    } else {
        list(result, 0);
    }
}

fn list(result: &Value, depth: usize) {
    let Value::Object(fields) = result else {
        return;
    };
    for (name, value) in fields {
        let name = format!("{:depth$}{name}", "", depth = depth * 2);
        match value {
            Value::Object(_) => {
                say(&name);
                list(value, depth + 1);
            }
            Value::Null => say(&format!("{name:<30} not known")),
            Value::String(text) => say(&format!("{name:<30} {text}")),
            value => say(&format!("{name:<30} {value}")),
        }
    }
}

/// Prints a line on the standard output. A reader that went away is no error.
pub(crate) fn say(line: &str) {
    use std::io::Write as _;
    drop(writeln!(std::io::stdout(), "{line}"));
}

/// Rounded to one digit behind the point.
pub(crate) fn tenths(number: f64) -> f64 {
    (number * 10.0).round() / 10.0
}
