//! The result of a run with its conditions.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use crate::machine::{self, Memory};
use crate::meter::{Latencies, Progress, Summary};
use crate::options::Load;
use crate::server::Server;

/// The measurement of a load.
pub(crate) struct Measurement {
    /// Number of payments; in a mixed load, of requests; of reads, if nobody writes.
    pub(crate) count: u64,
    pub(crate) took: Duration,
    /// Rate per second in each tenth of the measurement.
    pub(crate) rates: Vec<f64>,
    /// Latency of a batch or a request.
    pub(crate) latency: Summary,
    /// Latency by kind of request, in a load of several kinds.
    pub(crate) operations: BTreeMap<&'static str, Summary>,
    /// Number of payments that the ledger rejected.
    pub(crate) rejected: u64,
    /// Result of the subscriptions beside the load, if there were any.
    pub(crate) subscriptions: Option<Value>,
    /// Result of the stream beside the load, if there was one.
    pub(crate) stream: Option<Value>,
}

impl Measurement {
    /// Creates the measurement of a load with one kind of request.
    pub(crate) fn new(progress: Progress, latencies: &Latencies, rejected: u64) -> Measurement {
        let count = progress.done();
        let (took, rates) = progress.finish();
        Measurement {
            count,
            took,
            rates,
            latency: latencies.summary(),
            operations: BTreeMap::new(),
            rejected,
            subscriptions: None,
            stream: None,
        }
    }
}

/// Size of the server's data before the load.
pub(crate) struct StorageSnapshot {
    data_bytes: Option<u64>,
    written: Option<u64>,
}

impl StorageSnapshot {
    /// Returns the size of the data, in bytes.
    pub(crate) fn data_bytes(&self) -> Option<u64> {
        self.data_bytes
    }

    pub(crate) fn read(server: &Server) -> anyhow::Result<StorageSnapshot> {
        Ok(StorageSnapshot {
            data_bytes: server.data_bytes()?,
            written: server.bytes_written(),
        })
    }
}

/// Conditions of a load.
pub(crate) struct Conditions<'a> {
    pub(crate) mode: &'static str,
    pub(crate) load: &'a Load,
    pub(crate) connections: u32,
    pub(crate) batch_size: u32,
    pub(crate) in_flight: u32,
    /// Number of operations before the measurement.
    pub(crate) warmup: u64,
    /// Number of records that measurement and warm-up added.
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
    #[serde(skip_serializing_if = "Option::is_none")]
    stream: Option<Value>,
    /// Always "balanced": a run with wrong books gives an error and no result.
    books: &'static str,
    rate_of_each_tenth: Vec<f64>,
    /// Growth of the data per record.
    bytes_per_payment: Option<f64>,
    /// Bytes written to the disk, with merges and checkpoints: in all and per record.
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

/// Stops the server and prints the result.
pub(crate) fn finish_run(
    conditions: &Conditions<'_>,
    server: Server,
    before: &StorageSnapshot,
    measured: Measurement,
) -> anyhow::Result<()> {
    let memory = server.memory();
    let written = server.bytes_written().zip(before.written);
    let written = written.map(|(after, before)| after.saturating_sub(before));
    let directory = server.directory().map(std::path::Path::to_owned);
    let filesystem = directory.as_deref().and_then(machine::find_filesystem);
    let data_bytes = server.data_bytes()?.zip(before.data_bytes);
    server.stop()?;
    let records = conditions.records as f64;
    let load = conditions.load;
    let report = Report {
        mode: conditions.mode,
        payments: measured.count,
        payments_per_second: round_to_tenth(
            measured.count as f64 / measured.took.as_secs_f64().max(1e-9),
        ),
        seconds: measured.took.as_secs_f64(),
        latency: measured.latency,
        operations: measured.operations,
        rejected: measured.rejected,
        subscriptions: measured.subscriptions,
        stream: measured.stream,
        books: "balanced",
        rate_of_each_tenth: measured.rates,
        bytes_per_payment: data_bytes
            .map(|(after, before)| round_to_tenth(after.saturating_sub(before) as f64 / records)),
        bytes_written: written,
        bytes_written_per_payment: written.map(|bytes| round_to_tenth(bytes as f64 / records)),
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
        processors: machine::count_processors(),
        version: env!("CARGO_PKG_VERSION"),
    };
    print_result(&serde_json::to_value(&report)?, load.run.json);
    Ok(())
}

/// Prints a result: as one line of JSON, or as an indented list.
pub(crate) fn print_result(result: &Value, json: bool) {
    if json {
        print_line(&result.to_string());
    } else {
        print_fields(result, 0);
    }
}

fn print_fields(result: &Value, depth: usize) {
    let Value::Object(fields) = result else {
        return;
    };
    for (name, value) in fields {
        let name = format!("{:depth$}{name}", "", depth = depth * 2);
        match value {
            Value::Object(_) => {
                print_line(&name);
                print_fields(value, depth + 1);
            }
            Value::Null => print_line(&format!("{name:<30} not known")),
            Value::String(text) => print_line(&format!("{name:<30} {text}")),
            value => print_line(&format!("{name:<30} {value}")),
        }
    }
}

/// Prints a line on the standard output. A reader that went away is no error.
pub(crate) fn print_line(line: &str) {
    use std::io::Write as _;
    drop(writeln!(std::io::stdout(), "{line}"));
}

/// Rounds to one decimal place.
pub(crate) fn round_to_tenth(number: f64) -> f64 {
    (number * 10.0).round() / 10.0
}
