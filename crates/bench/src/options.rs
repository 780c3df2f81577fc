//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

const EXAMPLES: &str = "\
Each mode starts a server process of its own on a fresh data directory, fills it, measures, and
checks the books: the trial balance, the number of records, and the balances of sampled accounts.
Client and server share this machine. docs/performance.md says how to read the results.

Examples:
  tributary-bench batch --payments 1000000
  tributary-bench batch --payments 1000000 --batch 10 --connections 64
  tributary-bench http --connections 64
  tributary-bench http --rate 30000            fixed arrival rate; waiting counts as latency
  tributary-bench mixed --skew zipf --json
  tributary-bench batch --subscriptions 10     beside subscriptions that want one payment in 1,000
  tributary-bench holds --holds 1000000        authorizations that all come due at one moment
  tributary-bench webhooks --kills 3
  tributary-bench pull --consumers 4           events into a subscription and out again
  tributary-bench pool --workers 4             waiting, observed and predicted
  tributary-bench baseline                     what this machine's disk and HTTP can do";

/// Load generator: measures a Tributary server, and what this machine could do at best.
#[derive(Debug, Parser)]
#[command(version, after_help = EXAMPLES, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) mode: Mode,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Mode {
    /// Payments in batches over gRPC.
    Batch(Batch),
    /// Many authorizations that come due at one moment, and payments before and meanwhile.
    Holds(Holds),
    /// One payment per request over HTTP.
    Http(Http),
    /// Payments, authorizations and captures, refunds, statements and look-ups over HTTP.
    Mixed(Mixed),
    /// Events published in batches over gRPC, into a subscription.
    Publish(Publish),
    /// The same, and then pulled from the subscription and acknowledged.
    Pull(Pull),
    /// Workers at a subscription under random arrivals, beside what the queueing model expects.
    Pool(Pool),
    /// A server that is killed while it writes, and how long it is until it answers again.
    Restart(Restart),
    /// From a request to its webhook, with receivers of which some are slow, failing or hanging.
    Webhooks(Webhooks),
    /// What the disk and a bare HTTP handler of this machine can do.
    Baseline(Baseline),
    /// A bare HTTP handler that gives every request the same answer.
    #[command(hide = true)]
    BareHandler(BareHandler),
}

/// A rate or an exponent.
fn positive(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    let sensible = (1e-3..=1e9).contains(&number);
    sensible
        .then_some(number)
        .ok_or_else(|| "must be from 0.001 to 1000000000".to_owned())
}

/// The server to start, and the form of the result.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct RunOptions {
    /// Program to start as the server [default: the file `tributary` beside this program]
    #[arg(long, value_name = "FILE")]
    pub(crate) binary: Option<PathBuf>,
    /// Data directory to create and keep. By default a directory is created here and removed
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Print the result as one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

/// What all loads have in common.
#[derive(Debug, Clone, Args)]
pub(crate) struct Load {
    /// Accounts that pay and are paid
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(2..=50_000_000))]
    pub(crate) accounts: u32,
    /// Which accounts pay and are paid
    #[arg(long, value_enum, default_value_t = Skew::Uniform)]
    pub(crate) skew: Skew,
    /// With --skew zipf: how uneven
    #[arg(long, value_name = "S", default_value_t = 0.99, value_parser = positive)]
    pub(crate) zipf_exponent: f64,
    /// A fixed arrival rate per second instead of as fast as answers come: payments (mixed:
    /// requests). Latency then counts from when each was due, so that waiting is not hidden
    #[arg(long, value_name = "PER-SECOND", value_parser = positive)]
    pub(crate) rate: Option<f64>,
    /// Seed of the random numbers
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,
    /// A server that runs already, instead of one of its own (with --grpc and --api-key-file)
    #[arg(long, value_name = "URL", requires_all = ["grpc", "api_key_file"], conflicts_with_all = ["binary", "data"])]
    pub(crate) server: Option<String>,
    /// That server's address for gRPC
    #[arg(long, value_name = "ADDR", requires = "server")]
    pub(crate) grpc: Option<SocketAddr>,
    /// A file that holds a platform key of that server
    #[arg(long, value_name = "FILE", requires = "server")]
    pub(crate) api_key_file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) run: RunOptions,
}

/// Which accounts pay and are paid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Skew {
    /// All alike.
    Uniform,
    /// A few much more often than the many.
    Zipf,
    /// One account is paid by all others.
    Hot,
}

impl Skew {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Skew::Uniform => "uniform",
            Skew::Zipf => "zipf",
            Skew::Hot => "hot",
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct Batch {
    /// Payments to measure
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    pub(crate) payments: u64,
    /// Payments before the measurement
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    pub(crate) warmup: u64,
    /// Payments per batch
    #[arg(long, value_name = "N", default_value_t = 8_189, value_parser = clap::value_parser!(u32).range(1..=8_192))]
    pub(crate) batch: u32,
    /// Connections, each with one stream of batches
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_024))]
    pub(crate) connections: u32,
    /// Batches of a connection that wait for their answer
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=16))]
    pub(crate) in_flight: u32,
    /// Beside it, so many reads per second over HTTP at a fixed rate: a payment, an account, the
    /// newest 100 lines of a statement, 100 lines from the middle of one
    #[arg(long, value_name = "PER-SECOND", value_parser = positive)]
    pub(crate) reads: Option<f64>,
    /// Beside it, so many subscriptions, each to the payments of an owner of its own
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=1_000))]
    pub(crate) subscriptions: u32,
    /// A subscription matches one payment in so many: its owner has as many accounts as that takes.
    /// 1: it is to all payments
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) matching: u32,
    /// A consumer of each subscription takes its events over gRPC meanwhile, not only afterwards
    #[arg(long)]
    pub(crate) receive: bool,
    #[command(flatten)]
    pub(crate) load: Load,
}

#[derive(Debug, Args)]
pub(crate) struct Holds {
    /// Authorizations that come due at one moment
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..=20_000_000))]
    pub(crate) holds: u64,
    /// From the first authorization to that moment. Payments begin when all are made; by default
    /// there are some ten seconds of payments alone
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(crate) due_after: Option<u64>,
    /// Keep-alive connections that payments are made over, 2,000 per second unless --rate says otherwise
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=4_096))]
    pub(crate) connections: u32,
    /// Kill the server when half of them have expired, and start it again
    #[arg(long)]
    pub(crate) kill: bool,
    #[command(flatten)]
    pub(crate) load: Load,
}

#[derive(Debug, Args)]
pub(crate) struct Http {
    /// Payments to measure
    #[arg(long, value_name = "N", default_value_t = 200_000)]
    pub(crate) payments: u64,
    /// Payments before the measurement
    #[arg(long, value_name = "N", default_value_t = 20_000)]
    pub(crate) warmup: u64,
    /// Keep-alive connections
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=4_096))]
    pub(crate) connections: u32,
    /// Payments per request; more than 1 goes to /v1/batches
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=8_192))]
    pub(crate) per_request: u32,
    /// Asks /v1/batches for the ids of the payments instead of the payments (Prefer: return=minimal)
    #[arg(long)]
    pub(crate) minimal: bool,
    #[command(flatten)]
    pub(crate) load: Load,
}

#[derive(Debug, Args)]
pub(crate) struct Mixed {
    /// Requests to measure
    #[arg(long, value_name = "N", default_value_t = 200_000)]
    pub(crate) requests: u64,
    /// Requests before the measurement
    #[arg(long, value_name = "N", default_value_t = 20_000)]
    pub(crate) warmup: u64,
    /// Keep-alive connections
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=4_096))]
    pub(crate) connections: u32,
    #[command(flatten)]
    pub(crate) load: Load,
}

/// Events of a load.
#[derive(Debug, Args)]
pub(crate) struct Events {
    /// Events to publish
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    pub(crate) events: u64,
    /// Bytes of each event's data
    #[arg(long, value_name = "BYTES", default_value_t = 256, value_parser = clap::value_parser!(u32).range(64..=32_768))]
    pub(crate) size: u32,
    /// Events per batch that is published
    #[arg(long, value_name = "N", default_value_t = 1_024, value_parser = clap::value_parser!(u32).range(1..=8_192))]
    pub(crate) publish_batch: u32,
    /// Batches that wait for their answer
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=16))]
    pub(crate) in_flight: u32,
    #[command(flatten)]
    pub(crate) run: RunOptions,
}

#[derive(Debug, Args)]
pub(crate) struct Publish {
    #[command(flatten)]
    pub(crate) events: Events,
}

#[derive(Debug, Args)]
pub(crate) struct Pull {
    /// Consumers, each with a stream on a connection of its own
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(crate) consumers: u32,
    /// Events of a response, at most
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub(crate) batch: u32,
    /// Responses of a consumer that are not acknowledged, at most
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=10))]
    pub(crate) responses_out: u32,
    #[command(flatten)]
    pub(crate) events: Events,
}

#[derive(Debug, Args)]
pub(crate) struct Pool {
    /// Mean number of events per second; they arrive at random times
    #[arg(long, value_name = "PER-SECOND", default_value_t = 32.0, value_parser = positive)]
    pub(crate) arrivals: f64,
    /// Mean time that a worker needs for one event; exponentially distributed
    #[arg(long, value_name = "MS", default_value_t = 100.0, value_parser = positive)]
    pub(crate) service_ms: f64,
    /// Workers, each with a stream on a connection of its own and one event at a time
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(crate) workers: u32,
    /// How long, of which the first tenth is not counted
    #[arg(long, value_name = "N", default_value_t = 70, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(crate) seconds: u64,
    /// Seed of the random numbers
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,
    #[command(flatten)]
    pub(crate) run: RunOptions,
}

#[derive(Debug, Args)]
pub(crate) struct Restart {
    /// Payments before the first kill
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    pub(crate) payments: u64,
    /// Payments per batch
    #[arg(long, value_name = "N", default_value_t = 8_189, value_parser = clap::value_parser!(u32).range(1..=8_192))]
    pub(crate) batch: u32,
    /// How often the server is killed and started again
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) kills: u32,
    /// How long it has been writing by then, each time
    #[arg(long, value_name = "MS", default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..=60_000))]
    pub(crate) kill_after_ms: u64,
    #[command(flatten)]
    pub(crate) load: Load,
}

#[derive(Debug, Args)]
pub(crate) struct Webhooks {
    /// Endpoints, each a receiver of its own on the loopback
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub(crate) endpoints: u32,
    /// One endpoint in so many is slow, failing or hanging; 0 for none
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub(crate) one_bad_in: u32,
    /// Events to publish
    #[arg(long, value_name = "N", default_value_t = 20_000, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    pub(crate) events: u64,
    /// Events per second, at a fixed arrival rate
    #[arg(long, value_name = "PER-SECOND", default_value_t = 2_000.0, value_parser = positive)]
    pub(crate) rate: f64,
    /// How often the server is killed after that, with webhooks on their way, and started again
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=100))]
    pub(crate) kills: u32,
    /// Events published at once before each kill
    #[arg(long, value_name = "N", default_value_t = 2_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub(crate) events_per_kill: u64,
    /// Seed of the random numbers
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,
    #[command(flatten)]
    pub(crate) run: RunOptions,
}

#[derive(Debug, Args)]
pub(crate) struct Baseline {
    /// Bytes of one write before its sync; the default is a batch of 8,189 plain payments
    #[arg(long, value_name = "BYTES", default_value_t = 8_189 * 224)]
    pub(crate) piece_bytes: u64,
    /// Bytes to write in all
    #[arg(long, value_name = "BYTES", default_value_t = 512 << 20)]
    pub(crate) total_bytes: u64,
    /// How many writes of 4 KiB, each synced
    #[arg(long, value_name = "N", default_value_t = 5_000)]
    pub(crate) small_writes: u32,
    /// Requests to the bare handler
    #[arg(long, value_name = "N", default_value_t = 500_000)]
    pub(crate) requests: u64,
    /// Keep-alive connections to the bare handler
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=4_096))]
    pub(crate) connections: u32,
    /// A fixed arrival rate of requests to the bare handler per second
    #[arg(long, value_name = "PER-SECOND", value_parser = positive)]
    pub(crate) rate: Option<f64>,
    #[command(flatten)]
    pub(crate) run: RunOptions,
}

#[derive(Debug, Args)]
pub(crate) struct BareHandler {
    /// A file with the answer's head and body
    #[arg(long, value_name = "FILE")]
    pub(crate) answer: PathBuf,
}
