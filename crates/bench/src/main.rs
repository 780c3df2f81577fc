//! `tributary-bench`: loads that measure a server, and what the machine could do at best.
//!
//! A development tool, not part of the product. It starts the `tributary` command as a process, or uses a server that
//! runs already, and speaks HTTP and gRPC with it. It must not know how the server works inside: of our crates it uses
//! the queueing model only, to compare predictions with observations.
//!
//! Client and server share the machine, so the client is made to need little: requests are patched into bytes that were
//! made beforehand, and one thread drives all connections.

mod alarm;
mod bare;
mod baseline;
mod batch;
mod books;
mod client;
mod disk;
mod error;
mod events;
mod grpc;
mod holds;
mod http_client;
mod machine;
mod meter;
mod options;
mod payload;
mod payment_stream;
mod pool;
mod reads;
mod report;
mod requests;
mod rest;
mod restart;
mod rules;
mod schedule;
mod server;
mod skew;
mod streams;
mod subscriptions;
mod webhooks;

use std::process::ExitCode;

use clap::Parser as _;

use crate::options::{Cli, Mode};

// The same allocator as the server's, so that the bare handler is comparable with it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Wrong arguments end here with clap's own code, which is `error::USAGE_EXIT_CODE`.
    let cli = Cli::parse();
    let result = match &cli.mode {
        Mode::Batch(options) => batch::run(options),
        Mode::Holds(options) => holds::run(options),
        Mode::Http(options) => rest::http(options),
        Mode::Mixed(options) => rest::mixed(options),
        Mode::Pool(options) => pool::run(options),
        Mode::Publish(options) => events::publish(options),
        Mode::Pull(options) => events::pull(options),
        Mode::Reads(options) => reads::run(options),
        Mode::Restart(options) => restart::run(options),
        Mode::Streams(options) => streams::run(options),
        Mode::Webhooks(options) => webhooks::run(options),
        Mode::Baseline(options) => baseline::run(options),
        Mode::BareHandler(options) => bare::serve(options),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(error::exit_code(&error))
        }
    }
}
