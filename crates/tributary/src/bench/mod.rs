//! `bench`: loads that measure a server, and what the machine could do at best.
//!
//! The client runs in this process and the server in another one. The client shares the machine with it, so it is made to
//! need little: requests are patched into place in bytes made beforehand, one thread drives all connections.

mod alarm;
mod bare;
mod baseline;
mod batch;
mod books;
mod disk;
mod events;
mod grpc;
mod holds;
mod http;
mod machine;
mod meter;
mod options;
mod payload;
mod pool;
mod report;
mod requests;
mod rest;
mod restart;
mod server;
mod skew;
mod subscribed;
mod webhooks;

pub(crate) use options::Bench;

use crate::exit::Exit;
use options::Mode;

/// Runs `bench`.
pub(crate) fn bench(arguments: &Bench) -> anyhow::Result<Exit> {
    match &arguments.mode {
        Mode::Batch(options) => batch::run(options),
        Mode::Holds(options) => holds::run(options),
        Mode::Http(options) => rest::http(options),
        Mode::Mixed(options) => rest::mixed(options),
        Mode::Pool(options) => pool::run(options),
        Mode::Publish(options) => events::publish(options),
        Mode::Pull(options) => events::pull(options),
        Mode::Restart(options) => restart::run(options),
        Mode::Webhooks(options) => webhooks::run(options),
        Mode::Baseline(options) => baseline::run(options),
        Mode::BareHandler(options) => bare::serve(options),
    }
}
