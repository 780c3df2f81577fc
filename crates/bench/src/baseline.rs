//! `bench baseline`: what this machine can do without a ledger.

use std::net::SocketAddr;
use std::sync::atomic::AtomicBool;

use anyhow::Context as _;
use serde_json::{Value, json};

use crate::books::Books;
use crate::error::usage_error;
use crate::http::{Answer, Pool, Tag, Work};
use crate::options::{self, Load, RunOptions, Skew};
use crate::report::{tell, tenths};
use crate::rest::Payments;
use crate::server::{Directory, Server, address, spawn};
use crate::{disk, machine};

/// Runs `bench baseline`.
pub(crate) fn run(options: &options::Baseline) -> anyhow::Result<()> {
    if options.piece_bytes == 0 || options.total_bytes < options.piece_bytes {
        return Err(usage_error("--piece-bytes must be 1 to --total-bytes"));
    }
    if options.small_writes == 0 || options.requests == 0 {
        return Err(usage_error(
            "--small-writes and --requests must be at least 1",
        ));
    }
    let directory = Directory::make(options.run.data.as_deref())?;
    let path = directory.path();
    let sequential =
        disk::sequential(path, options.piece_bytes, options.total_bytes).context("cannot write")?;
    let written = disk::small(path, options.small_writes, true)?;
    let reserved = disk::small(path, options.small_writes, false)?;
    let filesystem = machine::filesystem(path);
    let seconds = sequential.took.as_secs_f64();
    let bare = bare(options, &directory)?;
    let result = json!({
        "mode": "baseline",
        "sequential": {
            "piece_bytes": options.piece_bytes,
            "pieces": sequential.pieces,
            "pieces_per_second": tenths(sequential.pieces as f64 / seconds),
            "bytes_per_second": ((sequential.pieces * options.piece_bytes) as f64 / seconds).round(),
            "write_and_sync": sequential.latency,
        },
        "write_and_sync_4_kib": { "written_before": written, "reserved": reserved },
        "bare_http": bare,
        "filesystem": filesystem,
        "processors": machine::processors(),
        "version": env!("CARGO_PKG_VERSION"),
    });
    tell(&result, options.run.json);
    Ok(())
}

/// The bare handler under the client of `bench http`: the same requests, and answers of the same bytes as a server gave.
fn bare(options: &options::Baseline, directory: &Directory) -> anyhow::Result<Value> {
    let load = Load {
        accounts: 1_000,
        skew: Skew::Uniform,
        zipf_exponent: 1.0,
        rate: options.rate,
        seed: 1,
        server: None,
        grpc: None,
        api_key_file: None,
        run: RunOptions {
            data: Some(directory.path().join("server")),
            ..options.run.clone()
        },
    };
    let server = Server::start(&load)?;
    let books = Books::prepare(&server, load.accounts)?;
    let mut work = Payments::new(&server, &books, &load, 1);
    let answer = directory.path().join("answer");
    std::fs::write(&answer, one_answer(server.addr, &mut work)?)?;
    server.stop()?;

    let this_program = std::env::current_exe().context("cannot find this program's file")?;
    let arguments = [
        "bare-handler".as_ref(),
        "--answer".as_ref(),
        answer.as_os_str(),
    ];
    let (mut child, told) = spawn(&this_program, &arguments)?;
    let go = AtomicBool::new(false);
    let measured = (|| {
        let mut pool = Pool::open(address(&told, "listening")?, options.connections)?;
        work.begin(options.requests / 10, "warm-up");
        pool.run(&mut work, None, &go)?;
        work.begin(options.requests, "bare handler");
        pool.run(&mut work, options.rate, &go)?;
        work.measured()
    })();
    drop(child.kill());
    child.wait()?;
    let measured = measured?;
    let mut result = json!({
        "requests": measured.count,
        "requests_per_second": tenths(measured.count as f64 / measured.took.as_secs_f64()),
        "connections": options.connections,
        "arrival_rate": options.rate,
        "answer_bytes": std::fs::metadata(&answer)?.len(),
    });
    if let (Value::Object(into), Value::Object(from)) =
        (&mut result, serde_json::to_value(&measured.latency)?)
    {
        into.extend(from);
    }
    Ok(result)
}

/// The bytes of the server's answer to one payment.
fn one_answer(server: SocketAddr, work: &mut Payments) -> anyhow::Result<Vec<u8>> {
    struct One<'a>(&'a mut Payments, Vec<u8>);
    impl Work for One<'_> {
        fn next(&mut self, into: &mut Vec<u8>) -> Option<Tag> {
            self.0.next(into)
        }

        fn answered(&mut self, tag: Tag, answer: Answer<'_>) -> anyhow::Result<()> {
            self.1 = [answer.head, answer.body].concat();
            self.0.answered(tag, answer)
        }
    }
    work.begin(1, "one payment");
    let mut one = One(work, Vec::new());
    Pool::open(server, 1)?.run(&mut one, None, &AtomicBool::new(false))?;
    Ok(one.1)
}
