//! `bench restart`: what a killed server loses, and how long it is until it answers again.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::json;
use tokio::task::LocalSet;

use crate::batch::{Work, all};
use crate::books::{Books, runtime};
use crate::error::usage_error;
use crate::grpc::Batches;
use crate::machine;
use crate::options;
use crate::payload::id_text;
use crate::report::{Before, tell, tenths};
use crate::server::Server;

/// Batches that wait for their answer.
const IN_FLIGHT: u32 = 4;
/// How often it is looked whether the load is under way.
const LOOK: Duration = Duration::from_millis(5);
/// Payments that the load before a kill would make if nobody killed the server: more than it can in that time.
const NEVER_DONE: u64 = 1 << 40;

/// What one kill and the start after it were like.
struct Kill {
    /// Seconds from the start of the process until it listened.
    listening: f64,
    /// The same until the first answer, of an account with its balance.
    answer: f64,
    /// The same until a payment was accepted.
    payment: f64,
    acknowledged: u64,
    /// Of payments that nobody was told of.
    beyond: u64,
}

/// Runs `bench restart`.
pub(crate) fn run(options: &options::Restart) -> anyhow::Result<()> {
    if options.load.server.is_some() {
        return Err(usage_error("--server cannot be killed here"));
    }
    let mut server = Server::start(&options.load)?;
    let empty = server.memory().anonymous;
    let books = Books::prepare(&server, options.load.accounts)?;
    let with_accounts = server.memory().anonymous;
    let before = Before::of(&server)?;
    let work = Rc::new(RefCell::new(Work::with(
        &options.load,
        options.batch,
        &books,
    )));
    let filled = match options.payments {
        0 => None,
        payments => {
            work.borrow_mut().begin(payments, None, "fill");
            load(&server, &work, None)?;
            Some(work.borrow_mut().measured()?)
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
    let worst = |get: fn(&Kill) -> f64| kills.iter().map(get).fold(0.0, f64::max);
    let per_account = empty.zip(with_accounts).map(|(empty, with)| {
        tenths(with.saturating_sub(empty) as f64 / f64::from(options.load.accounts))
    });
    let filled_rate = filled
        .as_ref()
        .map(|filled| tenths(filled.count as f64 / filled.took.as_secs_f64().max(1e-9)));
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
            .map(|(after, before)| tenths(after.saturating_sub(before) as f64 / options.payments as f64)),
        "server_rss_bytes": full.resident,
        "server_rss_anon_bytes": full.anonymous,
        "server_rss_anon_bytes_empty": empty,
        "server_rss_anon_bytes_after_restart": again.anonymous,
        "batch_size": options.batch,
        "killed_after_ms": options.kill_after_ms,
        "skew": options.load.skew.name(),
        "seed": options.load.seed,
        "filesystem": process.as_deref().and_then(machine::filesystem),
        "processors": machine::processors(),
        "version": env!("CARGO_PKG_VERSION"),
    });
    tell(&result, options.load.run.json);
    Ok(())
}

/// Pays until this part is done, or until the server is killed after so long.
fn load(server: &Server, work: &Rc<RefCell<Work>>, kill: Option<Duration>) -> anyhow::Result<()> {
    let runtime = runtime()?;
    let set = LocalSet::new();
    set.block_on(&runtime, async {
        let streams = vec![Batches::open(server.grpc, &server.token).await?];
        let Some(after) = kill else {
            for mut stream in all(streams, work, IN_FLIGHT).await? {
                stream.end()?;
            }
            return Ok(());
        };
        let (seen, work) = (work.clone(), work.clone());
        let paying = async move { all(streams, &work, IN_FLIGHT).await.map(drop) };
        let paying = tokio::task::spawn_local(paying);
        // It is under way once something was answered.
        while seen.borrow().answers() == 0 && !paying.is_finished() {
            tokio::time::sleep(LOOK).await;
        }
        tokio::time::sleep(after).await;
        server.kill()?;
        let broken = paying.await.context("the load ended by itself")?;
        ensure!(
            broken.is_err(),
            "the load ended before the server was killed"
        );
        Ok(())
    })
}

/// Kills the server while it writes, starts it again, and looks at what is there.
fn kill(
    options: &options::Restart,
    server: &mut Server,
    books: &Books,
    work: &Rc<RefCell<Work>>,
) -> anyhow::Result<Kill> {
    work.borrow_mut()
        .begin(NEVER_DONE, None, "until it is killed");
    let before = books.added(server)?;
    let after = Duration::from_millis(options.kill_after_ms);
    load(server, work, Some(after))?;
    let acknowledged = work.borrow_mut().give_up();
    let begun = Instant::now();
    server.start_again()?;
    let listening = begun.elapsed().as_secs_f64();
    let mut client = server.client()?;
    let id = id_text("acct", &books.accounts[0]);
    let account = client.get_json(&format!("/v1/accounts/{id}"))?;
    let answer = begun.elapsed().as_secs_f64();
    ensure!(
        account["id"] == id.as_str(),
        "the first answer after the restart is not the account: {account}"
    );
    work.borrow_mut().begin(1, None, "first payment");
    load(server, work, None)?;
    work.borrow_mut().measured()?;
    let payment = begun.elapsed().as_secs_f64();
    // The first payment after the restart was not there when it was killed.
    let added = books.added(server)? - before - 1;
    ensure!(
        added >= acknowledged,
        "{acknowledged} payments were acknowledged, but only {added} are there"
    );
    books.check(server, None, None)?;
    Ok(Kill {
        listening,
        answer,
        payment,
        acknowledged,
        beyond: added - acknowledged,
    })
}
