//! Mode `batch`: payments in batches over gRPC.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use serde_json::{Value, json};
use tokio::task::LocalSet;

use crate::books::{AMOUNT_MAX, Books, runtime};
use crate::error::usage_error;
use crate::grpc::GrpcStream;
use crate::meter::{Latencies, Progress};
use crate::options;
use crate::payload::{IdBytes, Message, idempotency_key, parse_results};
use crate::payment_stream::PaymentStream;
use crate::reads;
use crate::report::{Conditions, Measurement, StorageSnapshot, finish_run};
use crate::server::Server;
use crate::skew::{AccountChooser, Random};
use crate::subscriptions::{ExpectedEvents, Subscriptions};

/// Runs the mode `batch`.
pub(crate) fn run(options: &options::BatchOptions) -> anyhow::Result<()> {
    if options.payments == 0 {
        return Err(usage_error("--payments must be at least 1"));
    }
    let per_owner = Subscriptions::accounts_per_owner(options)?;
    let server = Server::start(&options.load)?;
    let books = Books::prepare_with_owners(&server, options.load.accounts, per_owner.unwrap_or(1))?;
    let subscriptions = Subscriptions::create(&server, &books, options, per_owner)?;
    let stream = options
        .stream
        .then(|| {
            let key = ["payee", "currency"];
            PaymentStream::create(&mut server.client()?, books.run, 0, &key)
        })
        .transpose()?;
    let before = StorageSnapshot::read(&server)?;
    let work = Rc::new(RefCell::new(BatchLoad::new(
        &options.load,
        options.batch,
        &books,
    )));
    work.borrow_mut().expected = subscriptions.expected();
    let runtime = runtime()?;
    let set = LocalSet::new();
    let streams = set.block_on(&runtime, async {
        if options.receive {
            subscriptions.receive(&server).await?;
        }
        let mut streams = Vec::new();
        for _ in 0..options.connections {
            streams.push(GrpcStream::open(server.grpc, &server.token).await?);
        }
        work.borrow_mut()
            .begin_part(options.warmup, None, "warm-up");
        run_streams(streams, &work, options.in_flight).await
    })?;
    let reads = options
        .reads
        .map(|rate| reads::start_reads(&server, &books, rate));
    let reads = reads.transpose()?;
    let pace = options
        .load
        .rate
        .map(|rate| f64::from(options.batch) / rate);
    let mut measured = set.block_on(&runtime, async {
        work.borrow_mut()
            .begin_part(options.payments, pace, "batch");
        for mut stream in run_streams(streams, &work, options.in_flight).await? {
            stream.finish_sending()?;
        }
        work.borrow_mut().take_measurement()
    })?;
    if let Some(stream) = &stream {
        measured.stream = Some(finish_stream(&server, stream, &work.borrow())?);
    }
    if let Some(reads) = reads {
        measured.operations = reads.stop()?;
    }
    let work = work.borrow();
    let matched = set.block_on(&runtime, subscriptions.finish(&server, &work.expected))?;
    measured.subscriptions = matched;
    // Close the connections: a server that stops waits for open ones.
    drop((set, runtime));
    let records = options.warmup + options.payments;
    let balances = (measured.rejected == 0).then_some(&*work.balances);
    // Each subscription is a record too, and so is the stream.
    let added = records + u64::from(options.subscriptions) + u64::from(options.stream);
    books.check(&server, Some(added), balances)?;
    let conditions = Conditions {
        mode: "batch",
        load: &options.load,
        connections: options.connections,
        batch_size: options.batch,
        in_flight: options.in_flight,
        warmup: options.warmup,
        records,
    };
    finish_run(&conditions, server, &before, measured)?;
    Ok(())
}

/// Waits until the stream has taken every payment, checks what it counted, and returns how far behind it was.
fn finish_stream(
    server: &Server,
    stream: &PaymentStream,
    work: &BatchLoad,
) -> anyhow::Result<Value> {
    let mut client = server.client()?;
    let begun = Instant::now();
    let lag = stream.lag(&mut client)?;
    stream.catch_up(&mut client)?;
    let seconds = begun.elapsed().as_secs_f64();
    ensure!(
        work.rejected == 0,
        "{} payments were rejected, which the stream does not count",
        work.rejected
    );
    stream.check(&mut client, work.next, work.amount())?;
    Ok(json!({
        "records_behind_at_the_end": lag,
        "seconds_until_caught_up": seconds,
    }))
}

/// A load of batches, shared by all connections.
pub(crate) struct BatchLoad {
    accounts: std::sync::Arc<[IdBytes]>,
    run: u64,
    chooser: AccountChooser,
    random: Random,
    batch: u64,
    /// Number of the next payment.
    next: u64,
    /// Number after the last payment of this part.
    end: u64,
    /// At a fixed arrival rate: seconds between two batches, and the time at which the first batch was due.
    pace: Option<(f64, Instant)>,
    sent: u64,
    balances: Vec<i64>,
    /// Sum of the amounts of all payments.
    amount: u64,
    /// If set, the payments are authorizations that expire at this time, in nanoseconds since the Unix epoch.
    pub(crate) held_until: Option<u64>,
    pub(crate) expected: ExpectedEvents,
    latencies: Latencies,
    rejected: u64,
    progress: Option<Progress>,
}

/// A batch to send.
struct OutgoingBatch {
    message: bytes::Bytes,
    count: u64,
    /// The time from which the latency counts.
    due: Instant,
}

impl BatchLoad {
    /// Creates a load of payments between the accounts of `books`, in batches of `batch`.
    pub(crate) fn new(load: &options::Load, batch: u32, books: &Books) -> BatchLoad {
        BatchLoad {
            accounts: books.accounts.clone(),
            run: books.run,
            chooser: AccountChooser::new(load),
            random: Random::new(load.seed),
            batch: u64::from(batch),
            next: 0,
            end: 0,
            pace: None,
            sent: 0,
            balances: vec![0; books.accounts.len()],
            amount: 0,
            held_until: None,
            expected: ExpectedEvents::default(),
            latencies: Latencies::new(),
            rejected: 0,
            progress: None,
        }
    }

    /// Begins a part of `payments` payments.
    pub(crate) fn begin_part(&mut self, payments: u64, pace: Option<f64>, what: &'static str) {
        self.end = self.next + payments;
        self.pace = pace.map(|seconds| (seconds, Instant::now()));
        self.sent = 0;
        self.latencies = Latencies::new();
        self.progress = Some(Progress::new(what, "payments", payments));
    }

    /// Returns the number of answered payments of this part.
    pub(crate) fn answered_count(&self) -> u64 {
        self.progress.as_ref().map_or(0, Progress::done)
    }

    /// Returns the sum of the amounts of all payments.
    pub(crate) fn amount(&self) -> u64 {
        self.amount
    }

    /// Ends a part whose connection was lost. Returns the number of answered payments; the fate of the others is unknown.
    pub(crate) fn abandon_part(&mut self) -> u64 {
        self.end = self.next;
        self.progress
            .take()
            .map_or(0, |progress| progress.finish_early())
    }

    /// Returns the time at which the next batch is due, or `None` after the last batch.
    fn next_due(&self) -> Option<Instant> {
        (self.next < self.end).then(|| match self.pace {
            Some((seconds, begun)) => begun + Duration::from_secs_f64(seconds * self.sent as f64),
            None => Instant::now(),
        })
    }

    /// Creates the next batch.
    fn next_batch(&mut self, due: Instant) -> OutgoingBatch {
        let count = self.batch.min(self.end - self.next);
        let mut message = Message::new(count as usize);
        for number in self.next..self.next + count {
            let (source, destination) = self.chooser.choose_pair(&mut self.random);
            let amount = 1 + self.random.below(AMOUNT_MAX);
            self.expected.add(source, destination);
            let (source, destination) = (source as usize, destination as usize);
            let key = idempotency_key(self.run, number);
            let (payer, payee) = (&self.accounts[source], &self.accounts[destination]);
            if let Some(until) = self.held_until {
                message.add_authorization(&key, payer, payee, u64::from(amount), until);
                continue;
            }
            self.balances[source] -= i64::from(amount);
            self.balances[destination] += i64::from(amount);
            self.amount += u64::from(amount);
            message.add_payment(&key, payer, payee, u64::from(amount));
        }
        self.next += count;
        self.sent += 1;
        OutgoingBatch {
            message: message.finish(),
            count,
            due,
        }
    }

    fn take_answer(&mut self, answer: &[u8], count: u64, due: Instant) -> anyhow::Result<()> {
        let now = Instant::now();
        self.latencies.record(now.duration_since(due));
        let mut seen = 0;
        for result in parse_results(answer) {
            seen += 1;
            if result.replayed {
                bail!("a new payment was answered as a repetition");
            }
            self.rejected += u64::from(!result.code.is_empty());
        }
        if seen != count {
            bail!("{count} payments were sent, but {seen} answered");
        }
        if let Some(progress) = &mut self.progress {
            progress.add(count, now);
        }
        Ok(())
    }

    pub(crate) fn take_measurement(&mut self) -> anyhow::Result<Measurement> {
        let progress = self.progress.take().context("no part was begun")?;
        Ok(Measurement::new(progress, &self.latencies, self.rejected))
    }
}

/// Sends this part over one connection of its own.
pub(crate) fn run_part(
    server: &Server,
    work: &Rc<RefCell<BatchLoad>>,
    in_flight: u32,
) -> anyhow::Result<()> {
    let runtime = runtime()?;
    LocalSet::new().block_on(&runtime, async {
        let streams = vec![GrpcStream::open(server.grpc, &server.token).await?];
        for mut stream in run_streams(streams, work, in_flight).await? {
            stream.finish_sending()?;
        }
        Ok(())
    })
}

/// Sends this part over all streams, and returns the streams.
pub(crate) async fn run_streams(
    streams: Vec<GrpcStream>,
    work: &Rc<RefCell<BatchLoad>>,
    in_flight: u32,
) -> anyhow::Result<Vec<GrpcStream>> {
    let mut tasks = Vec::with_capacity(streams.len());
    for stream in streams {
        let work = work.clone();
        tasks.push(tokio::task::spawn_local(run_stream(
            stream, work, in_flight,
        )));
    }
    let mut streams = Vec::with_capacity(tasks.len());
    for task in tasks {
        streams.push(task.await??);
    }
    Ok(streams)
}

/// Sends batches over one stream while fewer than `in_flight` wait for their answer.
async fn run_stream(
    mut stream: GrpcStream,
    work: Rc<RefCell<BatchLoad>>,
    in_flight: u32,
) -> anyhow::Result<GrpcStream> {
    let mut waiting: VecDeque<(u64, Instant)> = VecDeque::new();
    loop {
        let due = match waiting.len() < in_flight as usize {
            true => work.borrow().next_due(),
            false => None,
        };
        let now = Instant::now();
        match due {
            Some(due) if due <= now => {
                let sending = work.borrow_mut().next_batch(due);
                stream.send(sending.message).await?;
                waiting.push_back((sending.count, sending.due));
                continue;
            }
            Some(due) if waiting.is_empty() => {
                tokio::time::sleep_until(due.into()).await;
                continue;
            }
            None if waiting.is_empty() => return Ok(stream),
            _ => {}
        }
        // Wait for an answer or for the next due time, whichever comes first.
        let answer = match due {
            None => stream.next_message().await?,
            Some(due) => tokio::select! {
                answer = stream.next_message() => answer?,
                () = tokio::time::sleep_until(due.into()) => continue,
            },
        };
        if let Some((count, due)) = waiting.pop_front() {
            work.borrow_mut().take_answer(&answer, count, due)?;
        }
    }
}
