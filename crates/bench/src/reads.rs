//! Mode `reads`, and the reads beside the mode `batch`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use jiff::Timestamp;

use crate::books::Books;
use crate::error::usage_error;
use crate::http_client::{HttpClient, HttpResponse, RequestTag, Workload};
use crate::meter::{Latencies, Progress, Summary};
use crate::options;
use crate::report::{Conditions, Measurement, StorageSnapshot, finish_run};
use crate::requests::{Head, put_get};
use crate::rest::{PaymentLoad, request_head, unexpected_response};
use crate::schedule::shorten_time_slices;
use crate::server::Server;
use crate::skew::Random;

/// Number of connections of the reads beside a load of writes.
const READ_CONNECTIONS: u32 = 16;
/// Number of payments per request that are made to be read.
const PAYMENTS_PER_REQUEST: u32 = 1_000;

/// Runs the mode `reads`.
pub(crate) fn run(options: &options::ReadsOptions) -> anyhow::Result<()> {
    if options.requests == 0 || options.payments == 0 {
        return Err(usage_error("--requests and --payments must be at least 1"));
    }
    let server = Server::start(&options.load)?;
    let books = Books::prepare(&server, options.load.accounts)?;
    let before = StorageSnapshot::read(&server)?;
    let go = AtomicBool::new(false);
    let mut http = HttpClient::open(server.addr, options.connections)?;
    let begun = Timestamp::now();
    let mut paying = PaymentLoad::new(&server, &books, &options.load, PAYMENTS_PER_REQUEST);
    paying.minimal = true;
    paying.begin_part(options.payments, "payments");
    http.run(&mut paying, None, &go)?;
    let rejected = paying.take_measurement()?.rejected;
    ensure!(rejected == 0, "{rejected} payments were rejected");
    let mut reading = ReadLoad::new(&server, &books, begun)?;
    reading.until = Some(Timestamp::now());
    reading.begin_part(options.warmup, "warm-up");
    http.run(&mut reading, None, &go)?;
    reading.begin_part(options.requests, "reads");
    http.run(&mut reading, options.load.rate, &go)?;
    let measured = reading.take_measurement()?;
    books.check(&server, Some(options.payments), Some(paying.balances()))?;
    let conditions = Conditions {
        mode: "reads",
        load: &options.load,
        connections: options.connections,
        batch_size: 1,
        in_flight: 1,
        warmup: options.warmup,
        records: options.payments,
    };
    finish_run(&conditions, server, &before, measured)?;
    Ok(())
}

/// Kinds of reads, sent in turn.
const READS: [&str; 4] = [
    "get_payment",
    "get_account",
    "statement_newest",
    "statement_middle",
];

/// Reads at a fixed rate on their own thread, until they are stopped.
pub(crate) struct BackgroundReads {
    thread: JoinHandle<anyhow::Result<ReadLoad>>,
    stop: Arc<AtomicBool>,
}

struct ReadLoad {
    head: Head,
    accounts: Vec<String>,
    payments: Vec<String>,
    random: Random,
    asked: u64,
    /// Number of the last read of this part.
    end: u64,
    /// Time of the first and of the last payment; without the latter, payments go on.
    begun: Timestamp,
    until: Option<Timestamp>,
    latencies: [Latencies; READS.len()],
    progress: Option<Progress>,
}

impl ReadLoad {
    /// Creates a load of reads without an end. `begun`: time of the first payment.
    fn new(server: &Server, books: &Books, begun: Timestamp) -> anyhow::Result<ReadLoad> {
        let mut reading = ReadLoad {
            head: request_head(server),
            accounts: books.account_ids(),
            payments: Vec::new(),
            random: Random::new(books.run),
            asked: 0,
            end: u64::MAX,
            begun,
            until: None,
            latencies: std::array::from_fn(|_| Latencies::new()),
            progress: None,
        };
        let mut client = server.client()?;
        for account in reading.accounts.iter().take(20) {
            let path = format!("/v1/accounts/{account}/entries?limit=100");
            let page = client.get_json(&path)?;
            let lines = page["data"]
                .as_array()
                .context("a statement has no entries")?;
            let payments = lines.iter().filter_map(|line| line["payment"].as_str());
            reading.payments.extend(payments.map(str::to_owned));
        }
        ensure!(!reading.payments.is_empty(), "there is no payment to read");
        Ok(reading)
    }

    /// Begins a part of `requests` reads.
    fn begin_part(&mut self, requests: u64, what: &'static str) {
        self.end = self.asked + requests;
        self.latencies = std::array::from_fn(|_| Latencies::new());
        self.progress = Some(Progress::new(what, "reads", requests));
    }

    fn summaries(&self) -> BTreeMap<&'static str, Summary> {
        let summaries = self.latencies.iter().map(Latencies::summary);
        READS.into_iter().zip(summaries).collect()
    }

    fn take_measurement(&mut self) -> anyhow::Result<Measurement> {
        let progress = self.progress.take().context("no part was begun")?;
        let mut all = Latencies::new();
        for latencies in &self.latencies {
            all.add(latencies);
        }
        Ok(Measurement {
            operations: self.summaries(),
            ..Measurement::new(progress, &all, 0)
        })
    }
}

/// Starts the reads.
pub(crate) fn start_reads(
    server: &Server,
    books: &Books,
    rate: f64,
) -> anyhow::Result<BackgroundReads> {
    let mut reading = ReadLoad::new(server, books, Timestamp::now())?;
    let mut http = HttpClient::open(server.addr, READ_CONNECTIONS)?;
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = stop.clone();
    let thread = std::thread::Builder::new().name("reads".to_owned());
    let thread = thread.spawn(move || {
        // The latency must show the server's time, not this thread's wait for a processor.
        shorten_time_slices();
        http.run(&mut reading, Some(rate), &stopped)?;
        Ok(reading)
    })?;
    Ok(BackgroundReads { thread, stop })
}

impl BackgroundReads {
    /// Stops the reads and returns their latencies.
    pub(crate) fn stop(self) -> anyhow::Result<BTreeMap<&'static str, Summary>> {
        self.stop.store(true, Ordering::Relaxed);
        let Ok(reading) = self.thread.join() else {
            bail!("the thread of the reads failed");
        };
        let reading = reading.context("a read failed")?;
        Ok(reading.summaries())
    }
}

impl Workload for ReadLoad {
    fn next_request(&mut self, into: &mut Vec<u8>) -> Option<RequestTag> {
        if self.asked == self.end {
            return None;
        }
        let kind = (self.asked % READS.len() as u64) as usize;
        self.asked += 1;
        let some = |list: &[String], random: &mut Random| {
            list[random.below(list.len() as u32) as usize].clone()
        };
        match kind {
            0 => {
                let payment = some(&self.payments, &mut self.random);
                put_get(into, &self.head, format_args!("/v1/payments/{payment}"));
            }
            1 => {
                let account = some(&self.accounts, &mut self.random);
                put_get(into, &self.head, format_args!("/v1/accounts/{account}"));
            }
            2 => {
                let account = &self.accounts[0];
                let path = format_args!("/v1/accounts/{account}/entries?limit=100");
                put_get(into, &self.head, path);
            }
            _ => {
                // Any time of the payments. With --skew hot, the first account is the hot one.
                let until = self.until.unwrap_or_else(Timestamp::now);
                let past = until.duration_since(self.begun);
                let ms = u32::try_from(past.as_millis()).unwrap_or(u32::MAX);
                let ms = self.random.below(ms.max(1));
                let until = self.begun + Duration::from_millis(ms.into());
                let account = &self.accounts[0];
                put_get(
                    into,
                    &self.head,
                    format_args!(
                        "/v1/accounts/{account}/entries?limit=100&created%5Blt%5D={until}"
                    ),
                );
            }
        }
        Some(RequestTag { kind, number: 1 })
    }

    fn take_response(&mut self, tag: RequestTag, response: HttpResponse<'_>) -> anyhow::Result<()> {
        if response.status != 200 {
            return Err(unexpected_response(&response));
        }
        self.latencies[tag.kind].record(response.latency);
        if let Some(progress) = &mut self.progress {
            progress.add(1, response.now);
        }
        Ok(())
    }
}
