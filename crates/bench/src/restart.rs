//! Mode `restart`: kills a server while it writes, and measures the time until it answers again.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::json;
use tokio::task::LocalSet;

use crate::batch::{BatchLoad, run_part, run_streams};
use crate::books::{Books, runtime};
use crate::error::usage_error;
use crate::grpc::GrpcStream;
use crate::machine;
use crate::options;
use crate::payload::id_text;
use crate::report::{StorageSnapshot, print_result, round_to_tenth};
use crate::server::Server;

/// Number of batches in flight.
const IN_FLIGHT: u32 = 4;
/// Interval between two looks at the progress of the load.
const POLL_INTERVAL: Duration = Duration::from_millis(5);
/// Number of payments of a load that ends with a kill: more than the server can make until then.
const UNREACHABLE_COUNT: u64 = 1 << 40;

/// Result of one kill and the start after it.
struct KillResult {
    /// Seconds from the start of the process until it listened.
    listening: f64,
    /// Seconds until the first response, an account with its balance.
    answer: f64,
    /// Seconds until a payment was accepted.
    payment: f64,
    acknowledged: u64,
    /// Number of payments that were recorded without having been acknowledged.
    beyond: u64,
}

/// Runs the mode `restart`.
pub(crate) fn run(options: &options::RestartOptions) -> anyhow::Result<()> {
    if options.load.server.is_some() {
        return Err(usage_error(
            "--server: this mode kills the server, so it must start one itself",
        ));
    }
    let mut server = Server::start(&options.load)?;
    let empty = server.memory().anonymous;
    let books = Books::prepare(&server, options.load.accounts)?;
    let with_accounts = server.memory().anonymous;
    let before = StorageSnapshot::read(&server)?;
    let work = Rc::new(RefCell::new(BatchLoad::new(
        &options.load,
        options.batch,
        &books,
    )));
    let filled = match options.payments {
        0 => None,
        payments => {
            work.borrow_mut().begin_part(payments, None, "fill");
            load(&server, &work, None)?;
            Some(work.borrow_mut().take_measurement()?)
        }
    };
    let full = server.memory();
    let data = server.data_bytes()?.zip(before.data_bytes());
    let mut kills = Vec::new();
    for _ in 0..options.kills {
        kills.push(kill(options, &mut server, &books, &work)?);
    }
    let again = server.memory();
    let process = server.directory().map(std::path::Path::to_owned);
    server.stop()?;
    let worst = |get: fn(&KillResult) -> f64| kills.iter().map(get).fold(0.0, f64::max);
    let per_account = empty.zip(with_accounts).map(|(empty, with)| {
        round_to_tenth(with.saturating_sub(empty) as f64 / f64::from(options.load.accounts))
    });
    let filled_rate = filled
        .as_ref()
        .map(|filled| round_to_tenth(filled.count as f64 / filled.took.as_secs_f64().max(1e-9)));
    let result = json!({
        "mode": "restart",
        "payments": options.payments,
        "accounts": options.load.accounts,
        "kills": kills.iter().map(|kill| json!({
            "seconds_until_listening": kill.listening,
            "seconds_until_answer": kill.answer,
            "seconds_until_payment": kill.payment,
            "payments_acknowledged": kill.acknowledged,
            "payments_kept_beyond": kill.beyond,
        })).collect::<Vec<_>>(),
        "seconds_until_listening": worst(|kill| kill.listening),
        "seconds_until_answer": worst(|kill| kill.answer),
        "seconds_until_payment": worst(|kill| kill.payment),
        "books": "balanced",
        "payments_per_second": filled_rate,
        "rate_of_each_tenth": filled.map(|filled| filled.rates),
        "bytes_per_account": per_account,
        "bytes_per_payment": data
            .filter(|_| options.payments > 0)
            .map(|(after, before)| round_to_tenth(after.saturating_sub(before) as f64 / options.payments as f64)),
        "server_rss_bytes": full.resident,
        "server_rss_anon_bytes": full.anonymous,
        "server_rss_anon_bytes_empty": empty,
        "server_rss_anon_bytes_after_restart": again.anonymous,
        "batch_size": options.batch,
        "killed_after_ms": options.kill_after_ms,
        "skew": options.load.skew.name(),
        "seed": options.load.seed,
        "filesystem": process.as_deref().and_then(machine::find_filesystem),
        "processors": machine::count_processors(),
        "version": env!("CARGO_PKG_VERSION"),
    });
    print_result(&result, options.load.run.json);
    Ok(())
}

/// Makes the payments of this part. With `kill`, kills the server after this time.
fn load(
    server: &Server,
    work: &Rc<RefCell<BatchLoad>>,
    kill: Option<Duration>,
) -> anyhow::Result<()> {
    let Some(after) = kill else {
        return run_part(server, work, IN_FLIGHT);
    };
    let runtime = runtime()?;
    let set = LocalSet::new();
    set.block_on(&runtime, async {
        let streams = vec![GrpcStream::open(server.grpc, &server.token).await?];
        let (seen, work) = (work.clone(), work.clone());
        let paying = async move { run_streams(streams, &work, IN_FLIGHT).await.map(drop) };
        let paying = tokio::task::spawn_local(paying);
        // Wait for the first answer.
        while seen.borrow().answered_count() == 0 && !paying.is_finished() {
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        tokio::time::sleep(after).await;
        server.kill()?;
        let broken = paying.await.context("the task of the load failed")?;
        ensure!(
            broken.is_err(),
            "the load ended before the server was killed"
        );
        Ok(())
    })
}

/// Kills the server while it writes, starts it again, and checks the records and balances.
fn kill(
    options: &options::RestartOptions,
    server: &mut Server,
    books: &Books,
    work: &Rc<RefCell<BatchLoad>>,
) -> anyhow::Result<KillResult> {
    work.borrow_mut()
        .begin_part(UNREACHABLE_COUNT, None, "until it is killed");
    let before = books.count_added_records(server)?;
    let after = Duration::from_millis(options.kill_after_ms);
    load(server, work, Some(after))?;
    let acknowledged = work.borrow_mut().abandon_part();
    let begun = Instant::now();
    server.restart()?;
    let listening = begun.elapsed().as_secs_f64();
    let mut client = server.client()?;
    let id = id_text("acct", &books.accounts[0]);
    let account = client.get_json(&format!("/v1/accounts/{id}"))?;
    let answer = begun.elapsed().as_secs_f64();
    ensure!(
        account["id"] == id.as_str(),
        "the first response after the restart is not the account: {account}"
    );
    work.borrow_mut().begin_part(1, None, "first payment");
    load(server, work, None)?;
    work.borrow_mut().take_measurement()?;
    let payment = begun.elapsed().as_secs_f64();
    // The first payment after the restart does not count.
    let added = books.count_added_records(server)? - before - 1;
    ensure!(
        added >= acknowledged,
        "{acknowledged} payments were acknowledged, but only {added} are there"
    );
    books.check(server, None, None)?;
    Ok(KillResult {
        listening,
        answer,
        payment,
        acknowledged,
        beyond: added - acknowledged,
    })
}
