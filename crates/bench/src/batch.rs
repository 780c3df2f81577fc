//! `bench batch`: payments in batches over gRPC.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use tokio::task::LocalSet;

use crate::books::{AMOUNT_MAX, Books, runtime};
use crate::error::usage_error;
use crate::grpc::Batches;
use crate::meter::{Latencies, Progress};
use crate::options;
use crate::payload::{Block, Message, key, results};
use crate::report::{Before, Conditions, Measured, finish};
use crate::rest;
use crate::server::Server;
use crate::skew::{Chooser, Random};
use crate::subscribed::{Subscribed, Tally};

/// Runs `bench batch`.
pub(crate) fn run(options: &options::Batch) -> anyhow::Result<()> {
    if options.payments == 0 {
        return Err(usage_error("--payments must be at least 1"));
    }
    let per_owner = Subscribed::accounts_per_owner(options)?;
    let server = Server::start(&options.load)?;
    let books = Books::prepare_for(&server, options.load.accounts, per_owner.unwrap_or(1))?;
    let subscribed = Subscribed::make(&server, &books, options, per_owner)?;
    let before = Before::of(&server)?;
    let work = Rc::new(RefCell::new(Work::with(
        &options.load,
        options.batch,
        &books,
    )));
    work.borrow_mut().tally = subscribed.tally();
    let runtime = runtime()?;
    let set = LocalSet::new();
    let streams = set.block_on(&runtime, async {
        if options.receive {
            subscribed.receive(&server).await?;
        }
        let mut streams = Vec::new();
        for _ in 0..options.connections {
            streams.push(Batches::open(server.grpc, &server.token).await?);
        }
        work.borrow_mut().begin(options.warmup, None, "warm-up");
        all(streams, &work, options.in_flight).await
    })?;
    let reads = options
        .reads
        .map(|rate| rest::reads_beside(&server, &books, rate));
    let reads = reads.transpose()?;
    let pace = options
        .load
        .rate
        .map(|rate| f64::from(options.batch) / rate);
    let mut measured = set.block_on(&runtime, async {
        work.borrow_mut().begin(options.payments, pace, "batch");
        for mut stream in all(streams, &work, options.in_flight).await? {
            stream.end()?;
        }
        work.borrow_mut().measured()
    })?;
    if let Some(reads) = reads {
        measured.operations = reads.stop()?;
    }
    let work = work.borrow();
    let matched = set.block_on(&runtime, subscribed.finish(&server, &work.tally))?;
    measured.subscriptions = matched;
    // Closes the connections: the server would wait for them.
    drop((set, runtime));
    let records = options.warmup + options.payments;
    let balances = (measured.rejected == 0).then_some(&*work.balances);
    books.check(&server, Some(records), balances)?;
    let conditions = Conditions {
        mode: "batch",
        load: &options.load,
        connections: options.connections,
        batch_size: options.batch,
        in_flight: options.in_flight,
        warmup: options.warmup,
        records,
    };
    finish(&conditions, server, &before, measured)?;
    Ok(())
}

/// What all connections share.
pub(crate) struct Work {
    accounts: std::sync::Arc<[Block]>,
    run: u64,
    chooser: Chooser,
    random: Random,
    batch: u64,
    /// The number of the next payment.
    next: u64,
    /// The number behind the last payment of this part.
    end: u64,
    /// Seconds from one batch to the next, when they arrive at a fixed rate, and when the first was due.
    pace: Option<(f64, Instant)>,
    sent: u64,
    balances: Vec<i64>,
    /// If given, they are authorizations that come due then, nanoseconds since the Unix epoch.
    pub(crate) held_until: Option<u64>,
    pub(crate) tally: Tally,
    latencies: Latencies,
    rejected: u64,
    progress: Option<Progress>,
}

/// A batch to send.
struct Sending {
    message: bytes::Bytes,
    count: u64,
    /// From when its latency counts.
    due: Instant,
}

impl Work {
    /// Payments among the accounts of `books`, in batches of `batch`.
    pub(crate) fn with(load: &options::Load, batch: u32, books: &Books) -> Work {
        Work {
            accounts: books.accounts.clone(),
            run: books.run,
            chooser: Chooser::new(load),
            random: Random::new(load.seed),
            batch: u64::from(batch),
            next: 0,
            end: 0,
            pace: None,
            sent: 0,
            balances: vec![0; books.accounts.len()],
            held_until: None,
            tally: Tally::default(),
            latencies: Latencies::new(),
            rejected: 0,
            progress: None,
        }
    }

    /// Begins a part of `payments`.
    pub(crate) fn begin(&mut self, payments: u64, pace: Option<f64>, what: &'static str) {
        self.end = self.next + payments;
        self.pace = pace.map(|seconds| (seconds, Instant::now()));
        self.sent = 0;
        self.latencies = Latencies::new();
        self.progress = Some(Progress::new(what, "payments", payments));
    }

    /// Payments of this part that are answered.
    pub(crate) fn answers(&self) -> u64 {
        self.progress.as_ref().map_or(0, Progress::done)
    }

    /// Ends a part that broke off; gives how many payments of it were answered. The rest is unknown.
    pub(crate) fn give_up(&mut self) -> u64 {
        self.end = self.next;
        self.progress
            .take()
            .map_or(0, |progress| progress.finish_early())
    }

    /// When the next batch is due; none if there is none.
    fn due(&self) -> Option<Instant> {
        (self.next < self.end).then(|| match self.pace {
            Some((seconds, begun)) => begun + Duration::from_secs_f64(seconds * self.sent as f64),
            None => Instant::now(),
        })
    }

    /// The next batch.
    fn take(&mut self, due: Instant) -> Sending {
        let count = self.batch.min(self.end - self.next);
        let mut message = Message::new(count as usize);
        for number in self.next..self.next + count {
            let (source, destination) = self.chooser.pair(&mut self.random);
            let amount = 1 + self.random.below(AMOUNT_MAX);
            self.tally.add(source, destination);
            let (source, destination) = (source as usize, destination as usize);
            let key = key(self.run, number);
            let (payer, payee) = (&self.accounts[source], &self.accounts[destination]);
            if let Some(until) = self.held_until {
                message.hold(&key, payer, payee, u64::from(amount), until);
                continue;
            }
            self.balances[source] -= i64::from(amount);
            self.balances[destination] += i64::from(amount);
            message.pay(&key, payer, payee, u64::from(amount));
        }
        self.next += count;
        self.sent += 1;
        Sending {
            message: message.finish(),
            count,
            due,
        }
    }

    fn answered(&mut self, answer: &[u8], count: u64, due: Instant) -> anyhow::Result<()> {
        let now = Instant::now();
        self.latencies.record(now.duration_since(due));
        let mut seen = 0;
        for result in results(answer) {
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

    pub(crate) fn measured(&mut self) -> anyhow::Result<Measured> {
        let progress = self.progress.take().context("a part was begun")?;
        Ok(Measured::of(progress, &self.latencies, self.rejected))
    }
}

/// Has all connections work until this part is done, and gives them back.
pub(crate) async fn all(
    streams: Vec<Batches>,
    work: &Rc<RefCell<Work>>,
    in_flight: u32,
) -> anyhow::Result<Vec<Batches>> {
    let mut tasks = Vec::with_capacity(streams.len());
    for stream in streams {
        let work = work.clone();
        tasks.push(tokio::task::spawn_local(drive(stream, work, in_flight)));
    }
    let mut streams = Vec::with_capacity(tasks.len());
    for task in tasks {
        streams.push(task.await??);
    }
    Ok(streams)
}

/// One connection: sends while there is room, and takes answers.
async fn drive(
    mut stream: Batches,
    work: Rc<RefCell<Work>>,
    in_flight: u32,
) -> anyhow::Result<Batches> {
    let mut waiting: VecDeque<(u64, Instant)> = VecDeque::new();
    loop {
        let due = match waiting.len() < in_flight as usize {
            true => work.borrow().due(),
            false => None,
        };
        let now = Instant::now();
        match due {
            Some(due) if due <= now => {
                let sending = work.borrow_mut().take(due);
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
        // Whichever comes first: an answer, or the time for the next batch.
        let answer = match due {
            None => stream.answer().await?,
            Some(due) => tokio::select! {
                answer = stream.answer() => answer?,
                () = tokio::time::sleep_until(due.into()) => continue,
            },
        };
        if let Some((count, due)) = waiting.pop_front() {
            work.borrow_mut().answered(&answer, count, due)?;
        }
    }
}
