//! The `tributary` command: the only crate that wires the parts together.
//!
//! It starts, fills, checks, copies and exports a system. It must not know how payments are decided (the ledger's task) or
//! how bytes are stored (the journal's task). It fills a system through the public HTTP API only.

mod amount;
mod apply;
mod backup;
mod batch;
mod cache;
mod cli;
mod client;
mod cluster;
mod config;
mod config_source;
mod demo;
mod discovery;
mod exit;
mod export;
mod files;
mod import;
mod keys;
mod listen;
mod local_server;
mod log;
mod master_key;
mod plan;
mod quantity;
mod reload;
mod risk;
mod serve;
mod spreadsheet;
mod stop;
mod store;
mod streams;
mod terminal;
mod verify;

use std::process::ExitCode;

use clap::Parser as _;

use crate::cli::{Cli, Command};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Wrong arguments end here with clap's own code, which is `exit::USAGE_ERROR`.
    let cli = Cli::parse();
    let result = match &cli.command {
        Command::Serve(arguments) => serve::serve(arguments),
        Command::Apply(arguments) => apply::apply(arguments),
        Command::Import(arguments) => import::import(arguments),
        Command::Verify(arguments) => verify::verify(arguments),
        Command::Export(arguments) => export::export(arguments),
        Command::Backup(arguments) => backup::backup(arguments),
        Command::Restore(arguments) => backup::restore(arguments),
        Command::Keys(arguments) => keys::keys(arguments),
        Command::Listen(arguments) => listen::listen(arguments),
        Command::Plan(arguments) => plan::plan(arguments),
        Command::Risk(arguments) => risk::risk(&arguments.command),
        Command::Streams(arguments) => streams::streams(&arguments.command),
        Command::Cluster(arguments) => cluster::commands::cluster(&arguments.command),
    };
    match result {
        Ok(exit) => exit.into(),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(exit::exit_code(&error))
        }
    }
}
