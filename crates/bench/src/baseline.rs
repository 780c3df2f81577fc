//! Mode `baseline`: the rates of this machine's disk and HTTP without a ledger.

use std::net::SocketAddr;
use std::sync::atomic::AtomicBool;

use anyhow::Context as _;
use serde_json::{Value, json};

use crate::books::Books;
use crate::error::usage_error;
use crate::http_client::{HttpClient, HttpResponse, RequestTag, Workload};
use crate::options::{self, Load, RunOptions, Skew};
use crate::report::{print_result, round_to_tenth};
use crate::rest::PaymentLoad;
use crate::server::{DataDirectory, Server, parse_address, spawn_process};
use crate::{disk, machine};

/// Runs the mode `baseline`.
pub(crate) fn run(options: &options::BaselineOptions) -> anyhow::Result<()> {
    if options.piece_bytes == 0 || options.total_bytes < options.piece_bytes {
        return Err(usage_error("--piece-bytes must be 1 to --total-bytes"));
    }
    if options.small_writes == 0 || options.requests == 0 {
        return Err(usage_error(
            "--small-writes and --requests must be at least 1",
        ));
    }
    let directory = DataDirectory::create(options.run.data.as_deref())?;
    let path = directory.path();
    let sequential =
        disk::measure_sequential_writes(path, options.piece_bytes, options.total_bytes)
            .context("cannot write")?;
    let written = disk::measure_small_writes(path, options.small_writes, true)?;
    let reserved = disk::measure_small_writes(path, options.small_writes, false)?;
    let filesystem = machine::find_filesystem(path);
    let seconds = sequential.took.as_secs_f64();
    let bare = bare(options, &directory)?;
    let result = json!({
        "mode": "baseline",
        "sequential": {
            "piece_bytes": options.piece_bytes,
            "pieces": sequential.pieces,
            "pieces_per_second": round_to_tenth(sequential.pieces as f64 / seconds),
            "bytes_per_second": ((sequential.pieces * options.piece_bytes) as f64 / seconds).round(),
            "write_and_sync": sequential.latency,
        },
        "write_and_sync_4_kib": { "written_before": written, "reserved": reserved },
        "bare_http": bare,
        "filesystem": filesystem,
        "processors": machine::count_processors(),
        "version": env!("CARGO_PKG_VERSION"),
    });
    print_result(&result, options.run.json);
    Ok(())
}

/// Measures the bare handler with the client of the mode `http`: the same requests, and responses with the bytes of a real
/// server.
fn bare(options: &options::BaselineOptions, directory: &DataDirectory) -> anyhow::Result<Value> {
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
    let mut work = PaymentLoad::new(&server, &books, &load, 1);
    let answer = directory.path().join("answer");
    std::fs::write(&answer, one_answer(server.addr, &mut work)?)?;
    server.stop()?;

    let this_program = std::env::current_exe().context("cannot find this program's file")?;
    let arguments = [
        "bare-handler".as_ref(),
        "--answer".as_ref(),
        answer.as_os_str(),
    ];
    let (mut child, first_line) = spawn_process(&this_program, &arguments)?;
    let go = AtomicBool::new(false);
    let measured = (|| {
        let mut http = HttpClient::open(
            parse_address(&first_line, "listening")?,
            options.connections,
        )?;
        work.begin_part(options.requests / 10, "warm-up");
        http.run(&mut work, None, &go)?;
        work.begin_part(options.requests, "bare handler");
        http.run(&mut work, options.rate, &go)?;
        work.take_measurement()
    })();
    drop(child.kill());
    child.wait()?;
    let measured = measured?;
    let mut result = json!({
        "requests": measured.count,
        "requests_per_second": round_to_tenth(measured.count as f64 / measured.took.as_secs_f64()),
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

/// Returns the bytes of the server's response to one payment.
fn one_answer(server: SocketAddr, work: &mut PaymentLoad) -> anyhow::Result<Vec<u8>> {
    struct One<'a>(&'a mut PaymentLoad, Vec<u8>);
    impl Workload for One<'_> {
        fn next_request(&mut self, into: &mut Vec<u8>) -> Option<RequestTag> {
            self.0.next_request(into)
        }

        fn take_response(
            &mut self,
            tag: RequestTag,
            response: HttpResponse<'_>,
        ) -> anyhow::Result<()> {
            self.1 = [response.head, response.body].concat();
            self.0.take_response(tag, response)
        }
    }
    work.begin_part(1, "one payment");
    let mut one = One(work, Vec::new());
    HttpClient::open(server, 1)?.run(&mut one, None, &AtomicBool::new(false))?;
    Ok(one.1)
}
