//! Mode `holds`: many authorizations expire at one moment, while payments are made.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, bail, ensure};
use serde_json::json;
use tokio::task::LocalSet;

use crate::batch::{self, run_streams};
use crate::books::{Books, runtime};
use crate::client::Client;
use crate::error::usage_error;
use crate::grpc::GrpcStream;
use crate::http_client::{HttpClient, HttpResponse, RequestTag, Workload};
use crate::machine;
use crate::meter::Latencies;
use crate::options;
use crate::report::{print_result, round_to_tenth};
use crate::rest::PaymentLoad;
use crate::server::Server;

/// Number of authorizations per batch, and of batches in flight.
const BATCH: u32 = 4_096;
const IN_FLIGHT: u32 = 4;
/// Minimum rate of new authorizations per second that the default of `--due-after` assumes.
const MADE_PER_SECOND: u64 = 50_000;
/// Seconds of payments alone in the default of `--due-after`.
const ALONE_SECONDS: u64 = 12;
/// Default rate of payments per second.
const RATE: f64 = 2_000.0;
/// More payments than can be made in one run.
const UNREACHABLE_COUNT: u64 = 1 << 40;
/// Interval between two looks at the trial balance.
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// Maximum wait for all authorizations to expire.
const WAIT_MAX: Duration = Duration::from_secs(600);

/// The moment at which all authorizations expire.
#[derive(Clone, Copy)]
struct ExpiryMoment {
    at: Instant,
    /// The same moment in nanoseconds since the Unix epoch.
    time: u64,
}

/// Runs the mode `holds`.
pub(crate) fn run(options: &options::HoldsOptions) -> anyhow::Result<()> {
    if options.load.server.is_some() {
        return Err(usage_error(
            "--server: this mode needs a server that it starts itself",
        ));
    }
    let mut server = Server::start(&options.load)?;
    let books = Books::prepare(&server, options.load.accounts)?;
    let alone = ALONE_SECONDS + options.holds / MADE_PER_SECOND;
    let after = Duration::from_secs(options.due_after.unwrap_or(alone));
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    let due = ExpiryMoment {
        at: Instant::now() + after,
        time: (since + after).as_nanos() as u64,
    };
    create_authorizations(&server, &books, options, due.time)?;
    ensure!(
        Instant::now() < due.at,
        "creating the authorizations took longer than --due-after: --due-after must be longer"
    );
    let held = read_held_amount(&mut server.client()?)?;
    let with_holds = server.memory();
    let mut paying = PaymentsAroundExpiry {
        payments: PaymentLoad::new(&server, &books, &options.load, 1),
        due: due.at,
        before: Latencies::new(),
        meanwhile: Latencies::new(),
    };
    paying.payments.begin_part(UNREACHABLE_COUNT, "holds");
    let expiry = pay_until_expired(options, &mut server, &mut paying, due, held)?;
    let memory = server.memory();
    let payments = paying.payments.take_measurement()?.count;
    check(options, &server, &books, payments, &paying)?;
    let filesystem = server.directory().and_then(machine::find_filesystem);
    server.stop()?;
    let result = json!({
        "mode": "holds",
        "holds": options.holds,
        "payments": payments,
        "arrival_rate": options.load.rate.unwrap_or(RATE),
        "payments_before": paying.before.summary(),
        "payments_meanwhile": paying.meanwhile.summary(),
        "seconds_until_all_expired": expiry.seconds,
        "expired_per_second": round_to_tenth(options.holds as f64 / expiry.seconds.max(1e-9)),
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
        "processors": machine::count_processors(),
        "version": env!("CARGO_PKG_VERSION"),
    });
    print_result(&result, options.load.run.json);
    Ok(())
}

/// Creates all authorizations.
fn create_authorizations(
    server: &Server,
    books: &Books,
    options: &options::HoldsOptions,
    until: u64,
) -> anyhow::Result<()> {
    let mut work = batch::BatchLoad::new(&options.load, BATCH, books);
    work.held_until = Some(until);
    work.begin_part(options.holds, None, "hold");
    let work = Rc::new(RefCell::new(work));
    let runtime = runtime()?;
    LocalSet::new().block_on(&runtime, async {
        let streams = vec![GrpcStream::open(server.grpc, &server.token).await?];
        for mut stream in run_streams(streams, &work, IN_FLIGHT).await? {
            stream.finish_sending()?;
        }
        anyhow::Ok(())
    })?;
    let made = work.borrow_mut().take_measurement()?;
    ensure!(made.rejected == 0, "an authorization was refused");
    Ok(())
}

/// Returns the amount that all authorizations hold, in minor units.
fn read_held_amount(client: &mut Client) -> anyhow::Result<u64> {
    let trial = client.get_json("/v1/trial_balance")?;
    let digits = trial["currencies"][0]["pending"].as_str();
    let digits = digits.context("the trial balance has no `pending` amount")?;
    Ok(digits.parse()?)
}

/// A load of payments, with separate latencies for payments that were due before and after the moment.
struct PaymentsAroundExpiry {
    payments: PaymentLoad,
    due: Instant,
    before: Latencies,
    meanwhile: Latencies,
}

impl Workload for PaymentsAroundExpiry {
    fn next_request(&mut self, into: &mut Vec<u8>) -> Option<RequestTag> {
        self.payments.next_request(into)
    }

    fn take_response(&mut self, tag: RequestTag, response: HttpResponse<'_>) -> anyhow::Result<()> {
        let latencies = match response.now - response.latency < self.due {
            true => &mut self.before,
            false => &mut self.meanwhile,
        };
        latencies.record(response.latency);
        self.payments.take_response(tag, response)
    }
}

/// Result of the expiry.
struct Expiry {
    /// Seconds from the moment until nothing was held.
    seconds: f64,
    /// Amount that was still held at the kill, in minor units.
    held_when_killed: Option<u64>,
    seconds_from_kill: Option<f64>,
}

/// Makes payments until all authorizations have expired or the server is killed. After a kill, restarts the server and
/// waits for the rest.
fn pay_until_expired(
    options: &options::HoldsOptions,
    server: &mut Server,
    paying: &mut PaymentsAroundExpiry,
    due: ExpiryMoment,
    held: u64,
) -> anyhow::Result<Expiry> {
    let mut http = HttpClient::open(server.addr, options.connections)?;
    let stop = AtomicBool::new(false);
    let rate = options.load.rate.unwrap_or(RATE);
    let kill_at = options.kill.then_some(held / 2);
    let (paid, watched) = std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let left = wait_for_expiry(server, due.at, kill_at, &stop);
            stop.store(true, Ordering::Relaxed);
            left
        });
        let paid = http.run(paying, Some(rate), &stop);
        stop.store(true, Ordering::Relaxed);
        (paid, watcher.join())
    });
    let Ok(watched) = watched else {
        bail!("the watching thread failed");
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
    // The payments failed with the server, or had just ended.
    let held_when_killed = watched?;
    ensure!(
        held_when_killed > 0,
        "all authorizations had expired before the server was killed"
    );
    let killed = Instant::now();
    server.restart()?;
    wait_for_expiry(server, due.at, None, &AtomicBool::new(false))?;
    Ok(Expiry {
        seconds: due.at.elapsed().as_secs_f64(),
        held_when_killed: Some(held_when_killed),
        seconds_from_kill: Some(killed.elapsed().as_secs_f64()),
    })
}

/// Waits until all authorizations have expired. With `kill_at`, kills the server when at most this amount is held. Returns
/// the held amount.
fn wait_for_expiry(
    server: &Server,
    due: Instant,
    kill_at: Option<u64>,
    stop: &AtomicBool,
) -> anyhow::Result<u64> {
    let mut client = server.client()?;
    while Instant::now() < due && !stop.load(Ordering::Relaxed) {
        std::thread::sleep(POLL_INTERVAL);
    }
    loop {
        let held = read_held_amount(&mut client)?;
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
            due.elapsed() < WAIT_MAX,
            "{held} minor units are still held"
        );
        std::thread::sleep(POLL_INTERVAL);
    }
}

/// Checks that nothing is held, that each authorization expired once, and that there is no record of anything else but
/// answered payments.
fn check(
    options: &options::HoldsOptions,
    server: &Server,
    books: &Books,
    payments: u64,
    paying: &PaymentsAroundExpiry,
) -> anyhow::Result<()> {
    let held = read_held_amount(&mut server.client()?)?;
    ensure!(held == 0, "{held} minor units are still held");
    let known = 2 * options.holds + payments;
    if !options.kill {
        let balances = Some(paying.payments.balances());
        return books.check(server, Some(known), balances);
    }
    // Payments in flight at the kill may have been recorded.
    let added = books.count_added_records(server)?;
    ensure!(
        (known..=known + u64::from(options.connections)).contains(&added),
        "{known} records should have been added, but {added} were"
    );
    books.check(server, None, None)
}
