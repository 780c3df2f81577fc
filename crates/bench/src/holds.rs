//! `bench holds`: authorizations that all come due at one moment, and what payments notice of it.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, bail, ensure};
use serde_json::json;
use tokio::task::LocalSet;

use crate::batch::{self, all};
use crate::books::{Books, runtime};
use crate::client::Client;
use crate::error::usage_error;
use crate::grpc::Batches;
use crate::http::{Answer, Pool, Tag, Work};
use crate::machine;
use crate::meter::Latencies;
use crate::options;
use crate::report::{tell, tenths};
use crate::rest::Payments;
use crate::server::Server;

/// Authorizations of a batch, and batches that wait for their answer.
const BATCH: u32 = 4_096;
const IN_FLIGHT: u32 = 4;
/// Authorizations per second that are made at least, unless `--due-after` says otherwise.
const MADE_PER_SECOND: u64 = 50_000;
/// Seconds for payments alone, likewise.
const ALONE_SECONDS: u64 = 12;
/// Payments per second.
const RATE: f64 = 2_000.0;
/// More payments than there can be.
const NEVER_DONE: u64 = 1 << 40;
/// How often it is looked how far it is.
const LOOK: Duration = Duration::from_millis(20);
/// The longest wait for the expiry of all.
const PATIENCE: Duration = Duration::from_secs(600);

/// The moment at which all come due.
#[derive(Clone, Copy)]
struct Due {
    at: Instant,
    /// Nanoseconds since the Unix epoch.
    time: u64,
}

/// Runs `bench holds`.
pub(crate) fn run(options: &options::Holds) -> anyhow::Result<()> {
    if options.load.server.is_some() {
        return Err(usage_error("--server: it needs a server of its own"));
    }
    let mut server = Server::start(&options.load)?;
    let books = Books::prepare(&server, options.load.accounts)?;
    let alone = ALONE_SECONDS + options.holds / MADE_PER_SECOND;
    let after = Duration::from_secs(options.due_after.unwrap_or(alone));
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    let due = Due {
        at: Instant::now() + after,
        time: (since + after).as_nanos() as u64,
    };
    hold(&server, &books, options, due.time)?;
    ensure!(
        Instant::now() < due.at,
        "making them took longer than until they were due: --due-after must be longer"
    );
    let held = pending(&mut server.client()?)?;
    let with_holds = server.memory();
    let mut paying = Paying {
        payments: Payments::new(&server, &books, &options.load, 1),
        due: due.at,
        before: Latencies::new(),
        meanwhile: Latencies::new(),
    };
    paying.payments.begin(NEVER_DONE, "holds");
    let expiry = expire(options, &mut server, &mut paying, due, held)?;
    let memory = server.memory();
    let payments = paying.payments.measured()?.count;
    check(options, &server, &books, payments, &paying)?;
    let filesystem = server.directory().and_then(machine::filesystem);
    server.stop()?;
    let result = json!({
        "mode": "holds",
        "holds": options.holds,
        "payments": payments,
        "arrival_rate": options.load.rate.unwrap_or(RATE),
        "payments_before": paying.before.summary(),
        "payments_meanwhile": paying.meanwhile.summary(),
        "seconds_until_all_expired": expiry.seconds,
        "expired_per_second": tenths(options.holds as f64 / expiry.seconds.max(1e-9)),
        "killed": options.kill,
        "held_when_killed": expiry.held_when_killed,
        "seconds_from_kill_until_all_expired": expiry.seconds_from_kill,
        "books": "balanced",
        "server_rss_anon_bytes_with_holds": with_holds.anonymous,
        "server_rss_anon_bytes": memory.anonymous,
        "connections": options.connections,
        "accounts": options.load.accounts,
        "skew": options.load.skew.name(),
        "seed": options.load.seed,
        "sync_policy": "synced before every answer; answers that wait share a sync",
        "filesystem": filesystem,
        "processors": machine::processors(),
        "version": env!("CARGO_PKG_VERSION"),
    });
    tell(&result, options.load.run.json);
    Ok(())
}

/// Makes the authorizations.
fn hold(
    server: &Server,
    books: &Books,
    options: &options::Holds,
    until: u64,
) -> anyhow::Result<()> {
    let mut work = batch::Work::with(&options.load, BATCH, books);
    work.held_until = Some(until);
    work.begin(options.holds, None, "hold");
    let work = Rc::new(RefCell::new(work));
    let runtime = runtime()?;
    LocalSet::new().block_on(&runtime, async {
        let streams = vec![Batches::open(server.grpc, &server.token).await?];
        for mut stream in all(streams, &work, IN_FLIGHT).await? {
            stream.end()?;
        }
        anyhow::Ok(())
    })?;
    let made = work.borrow_mut().measured()?;
    ensure!(made.rejected == 0, "an authorization was refused");
    Ok(())
}

/// What all accounts hold for authorizations, minor units.
fn pending(client: &mut Client) -> anyhow::Result<u64> {
    let trial = client.get_json("/v1/trial_balance")?;
    let digits = trial["currencies"][0]["pending"].as_str();
    let digits = digits.context("the trial balance does not tell what is held")?;
    Ok(digits.parse()?)
}

/// Payments, those that were due before the moment apart from those after it.
struct Paying {
    payments: Payments,
    due: Instant,
    before: Latencies,
    meanwhile: Latencies,
}

impl Work for Paying {
    fn next(&mut self, into: &mut Vec<u8>) -> Option<Tag> {
        self.payments.next(into)
    }

    fn answered(&mut self, tag: Tag, answer: Answer<'_>) -> anyhow::Result<()> {
        let latencies = match answer.now - answer.latency < self.due {
            true => &mut self.before,
            false => &mut self.meanwhile,
        };
        latencies.record(answer.latency);
        self.payments.answered(tag, answer)
    }
}

/// How the expiry went.
struct Expiry {
    /// From the moment on.
    seconds: f64,
    /// Minor units.
    held_when_killed: Option<u64>,
    seconds_from_kill: Option<f64>,
}

/// Pays until all have expired, or until the server is killed; then waits for the rest.
fn expire(
    options: &options::Holds,
    server: &mut Server,
    paying: &mut Paying,
    due: Due,
    held: u64,
) -> anyhow::Result<Expiry> {
    let mut pool = Pool::open(server.addr, options.connections)?;
    let stop = AtomicBool::new(false);
    let rate = options.load.rate.unwrap_or(RATE);
    let kill_at = options.kill.then_some(held / 2);
    let (paid, watched) = std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let left = watch(server, due.at, kill_at, &stop);
            stop.store(true, Ordering::Relaxed);
            left
        });
        let paid = pool.run(paying, Some(rate), &stop);
        stop.store(true, Ordering::Relaxed);
        (paid, watcher.join())
    });
    let Ok(watched) = watched else {
        bail!("the watcher broke off");
    };
    if !options.kill {
        paid?;
        watched?;
        return Ok(Expiry {
            seconds: due.at.elapsed().as_secs_f64(),
            held_when_killed: None,
            seconds_from_kill: None,
        });
    }
    // Payments broke off with the server, or had just ended.
    let held_when_killed = watched?;
    ensure!(
        held_when_killed > 0,
        "all had expired before the server was killed"
    );
    let killed = Instant::now();
    server.start_again()?;
    watch(server, due.at, None, &AtomicBool::new(false))?;
    Ok(Expiry {
        seconds: due.at.elapsed().as_secs_f64(),
        held_when_killed: Some(held_when_killed),
        seconds_from_kill: Some(killed.elapsed().as_secs_f64()),
    })
}

/// Waits until all have expired. With `kill_at`, kills the server when no more than so much is held. Gives what is held.
fn watch(
    server: &Server,
    due: Instant,
    kill_at: Option<u64>,
    stop: &AtomicBool,
) -> anyhow::Result<u64> {
    let mut client = server.client()?;
    while Instant::now() < due && !stop.load(Ordering::Relaxed) {
        std::thread::sleep(LOOK);
    }
    loop {
        let held = pending(&mut client)?;
        if let Some(kill_at) = kill_at
            && held <= kill_at
        {
            server.kill()?;
            return Ok(held);
        }
        if held == 0 || stop.load(Ordering::Relaxed) {
            return Ok(held);
        }
        ensure!(
            due.elapsed() < PATIENCE,
            "{held} minor units are still held"
        );
        std::thread::sleep(LOOK);
    }
}

/// Nothing is held, each authorization has expired once, and nothing else was done but what was answered.
fn check(
    options: &options::Holds,
    server: &Server,
    books: &Books,
    payments: u64,
    paying: &Paying,
) -> anyhow::Result<()> {
    let held = pending(&mut server.client()?)?;
    ensure!(held == 0, "{held} minor units are still held");
    let known = 2 * options.holds + payments;
    if !options.kill {
        let balances = Some(paying.payments.balances());
        return books.check(server, Some(known), balances);
    }
    // Payments that were on their way may be there too.
    let added = books.added(server)?;
    ensure!(
        (known..=known + u64::from(options.connections)).contains(&added),
        "{known} records should have been added, but {added} were"
    );
    books.check(server, None, None)
}
