//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

const EXAMPLES: &str = "\
Each mode starts a server on a new data directory, opens and fills accounts, measures, and checks
the books: the trial balance, the number of records, and the balances of sampled accounts.
Client and server share this machine. docs/performance.md explains how to read the results.

The server is the program `tributary` beside this one: build it first, with
`cargo build --release -p tributary`, or name another one with --binary.

Examples:
  tributary-bench batch --payments 1000000
  tributary-bench batch --payments 1000000 --batch 10 --connections 64
  tributary-bench http --connections 64
  tributary-bench http --rate 30000            fixed arrival rate; waits count as latency
  tributary-bench mixed --skew zipf --json
  tributary-bench reads                        reads alone
  tributary-bench batch --subscriptions 10     with subscriptions that match one payment in 1,000
  tributary-bench holds --holds 1000000        authorizations that all expire at one moment
  tributary-bench batch --stream               with a stream over all payments
  tributary-bench streams                      a stream over a million payments made before
  tributary-bench webhooks --kills 3
  tributary-bench pull --consumers 4           events into a subscription and out again
  tributary-bench pool --workers 4             waits, observed and predicted
  tributary-bench baseline                     this machine's disk and HTTP alone";

/// Measures a Tributary server under load, and the disk and HTTP of this machine alone.
#[derive(Debug, Parser)]
#[command(version, after_help = EXAMPLES, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) mode: Mode,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Mode {
    /// Make payments in batches over gRPC.
    Batch(BatchOptions),
    /// Let many authorizations expire at one moment, and make payments before and meanwhile.
    Holds(HoldsOptions),
    /// Make payments over HTTP, one per request.
    Http(HttpOptions),
    /// Mix payments, authorizations, captures, refunds, statements and look-ups over HTTP.
    Mixed(MixedOptions),
    /// Publish events in batches over gRPC, into a subscription.
    Publish(PublishOptions),
    /// Publish events, then pull them from the subscription and acknowledge them.
    Pull(PullOptions),
    /// Compare workers at a subscription with the queueing model, under random arrivals.
    Pool(PoolOptions),
    /// Read payments, accounts and statements over HTTP while nobody writes.
    Reads(ReadsOptions),
    /// Kill a server while it writes, and measure the time until it answers again.
    Restart(RestartOptions),
    /// Measure how fast a stream takes what was recorded before, and how soon streams go on after a restart.
    Streams(StreamsOptions),
    /// Measure the time from a request to its webhook, with slow, failing and hanging receivers.
    Webhooks(WebhooksOptions),
    /// Measure the disk and a bare HTTP handler of this machine.
    Baseline(BaselineOptions),
    /// Serve a bare HTTP handler that gives every request the same response.
    #[command(hide = true)]
    BareHandler(BareHandlerOptions),
}

/// Parses a positive number.
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

/// Options that all loads have in common.
#[derive(Debug, Clone, Args)]
pub(crate) struct Load {
    /// Number of accounts
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(2..=50_000_000))]
    pub(crate) accounts: u32,
    /// Distribution of payments over the accounts
    #[arg(long, value_enum, default_value_t = Skew::Uniform)]
    pub(crate) skew: Skew,
    /// Exponent of Zipf's law, with --skew zipf
    #[arg(long, value_name = "S", default_value_t = 0.99, value_parser = positive)]
    pub(crate) zipf_exponent: f64,
    /// Fixed arrival rate per second, of payments (in `mixed` and `reads`: of requests), instead of the highest
    /// possible rate. The latency then counts from the time at which a request was due
    #[arg(long, value_name = "PER-SECOND", value_parser = positive)]
    pub(crate) rate: Option<f64>,
    /// Seed of the random numbers
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,
    /// URL of a running server to use, instead of starting one (needs --grpc and --api-key-file)
    #[arg(long, value_name = "URL", requires_all = ["grpc", "api_key_file"], conflicts_with_all = ["binary", "data"])]
    pub(crate) server: Option<String>,
    /// Address of the running server for gRPC
    #[arg(long, value_name = "ADDR", requires = "server")]
    pub(crate) grpc: Option<SocketAddr>,
    /// File that holds a platform key of the running server
    #[arg(long, value_name = "FILE", requires = "server")]
    pub(crate) api_key_file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) run: RunOptions,
}

/// Distribution of payments over the accounts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Skew {
    /// All accounts are equally likely.
    Uniform,
    /// The probability of an account follows Zipf's law.
    Zipf,
    /// All other accounts pay the first one.
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
pub(crate) struct BatchOptions {
    /// Payments to measure
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    pub(crate) payments: u64,
    /// Payments before the measurement
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    pub(crate) warmup: u64,
    /// Payments per batch
    #[arg(long, value_name = "N", default_value_t = 8_189, value_parser = clap::value_parser!(u32).range(1..=8_192))]
    pub(crate) batch: u32,
    /// Number of connections, each with one stream of batches
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_024))]
    pub(crate) connections: u32,
    /// Batches in flight per connection
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=16))]
    pub(crate) in_flight: u32,
    /// Meanwhile, send reads over HTTP at this fixed rate: in turn a payment, an account, the
    /// newest 100 entries of a statement, 100 entries from the middle of a statement
    #[arg(long, value_name = "PER-SECOND", value_parser = positive)]
    pub(crate) reads: Option<f64>,
    /// Number of subscriptions beside the load, each to the payments of its own owner
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=1_000))]
    pub(crate) subscriptions: u32,
    /// A subscription matches one payment in N: its owner gets the number of accounts for that.
    /// 1: a subscription matches all payments
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) matching: u32,
    /// Receive the events of each subscription over gRPC during the load, not only afterwards
    #[arg(long)]
    pub(crate) receive: bool,
    /// Run a stream beside the load that counts every payment and adds up its amount, by payee
    #[arg(long)]
    pub(crate) stream: bool,
    #[command(flatten)]
    pub(crate) load: Load,
}

#[derive(Debug, Args)]
pub(crate) struct HoldsOptions {
    /// Number of authorizations that expire at one moment
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..=20_000_000))]
    pub(crate) holds: u64,
    /// Time from the first authorization to that moment. Payments begin when all authorizations are
    /// made; the default leaves about ten seconds for payments alone
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(crate) due_after: Option<u64>,
    /// Number of keep-alive connections for the payments, of which 2,000 per second are made unless --rate is given
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=4_096))]
    pub(crate) connections: u32,
    /// Kill the server when half of the authorizations have expired, and start it again
    #[arg(long)]
    pub(crate) kill: bool,
    #[command(flatten)]
    pub(crate) load: Load,
}

#[derive(Debug, Args)]
pub(crate) struct HttpOptions {
    /// Payments to measure
    #[arg(long, value_name = "N", default_value_t = 200_000)]
    pub(crate) payments: u64,
    /// Payments before the measurement
    #[arg(long, value_name = "N", default_value_t = 20_000)]
    pub(crate) warmup: u64,
    /// Number of keep-alive connections
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=4_096))]
    pub(crate) connections: u32,
    /// Payments per request; more than 1 uses /v1/batches
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=8_192))]
    pub(crate) per_request: u32,
    /// Ask /v1/batches for the ids of the payments instead of the payments (Prefer: return=minimal)
    #[arg(long)]
    pub(crate) minimal: bool,
    /// Have 100 rules over 20 features assess every payment
    #[arg(long)]
    pub(crate) rules: bool,
    #[command(flatten)]
    pub(crate) load: Load,
}

#[derive(Debug, Args)]
pub(crate) struct MixedOptions {
    /// Requests to measure
    #[arg(long, value_name = "N", default_value_t = 200_000)]
    pub(crate) requests: u64,
    /// Requests before the measurement
    #[arg(long, value_name = "N", default_value_t = 20_000)]
    pub(crate) warmup: u64,
    /// Number of keep-alive connections
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=4_096))]
    pub(crate) connections: u32,
    #[command(flatten)]
    pub(crate) load: Load,
}

#[derive(Debug, Args)]
pub(crate) struct ReadsOptions {
    /// Reads to measure: in turn a payment, an account, the newest 100 entries of a statement, 100
    /// entries of a statement before some payment
    #[arg(long, value_name = "N", default_value_t = 200_000)]
    pub(crate) requests: u64,
    /// Reads before the measurement
    #[arg(long, value_name = "N", default_value_t = 20_000)]
    pub(crate) warmup: u64,
    /// Payments to make first, so that there is something to read
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    pub(crate) payments: u64,
    /// Number of keep-alive connections
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=4_096))]
    pub(crate) connections: u32,
    #[command(flatten)]
    pub(crate) load: Load,
}

/// Options of the modes `publish` and `pull`.
#[derive(Debug, Args)]
pub(crate) struct EventsOptions {
    /// Events to publish
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    pub(crate) events: u64,
    /// Size of each event's data
    #[arg(long, value_name = "BYTES", default_value_t = 256, value_parser = clap::value_parser!(u32).range(64..=32_768))]
    pub(crate) size: u32,
    /// Events per published batch
    #[arg(long, value_name = "N", default_value_t = 1_024, value_parser = clap::value_parser!(u32).range(1..=8_192))]
    pub(crate) publish_batch: u32,
    /// Batches in flight
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=16))]
    pub(crate) in_flight: u32,
    #[command(flatten)]
    pub(crate) run: RunOptions,
}

#[derive(Debug, Args)]
pub(crate) struct PublishOptions {
    #[command(flatten)]
    pub(crate) events: EventsOptions,
}

#[derive(Debug, Args)]
pub(crate) struct PullOptions {
    /// Number of consumers, each with a stream on its own connection
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(crate) consumers: u32,
    /// Maximum number of events in a response
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub(crate) batch: u32,
    /// Maximum number of unacknowledged responses per consumer
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=10))]
    pub(crate) responses_out: u32,
    #[command(flatten)]
    pub(crate) events: EventsOptions,
}

#[derive(Debug, Args)]
pub(crate) struct PoolOptions {
    /// Mean number of events per second; they arrive at random times
    #[arg(long, value_name = "PER-SECOND", default_value_t = 32.0, value_parser = positive)]
    pub(crate) arrivals: f64,
    /// Mean time that a worker needs for one event; exponentially distributed
    #[arg(long, value_name = "MS", default_value_t = 100.0, value_parser = positive)]
    pub(crate) service_ms: f64,
    /// Number of workers, each with a stream on its own connection and one event at a time
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(crate) workers: u32,
    /// Duration of the run; the first tenth is not counted
    #[arg(long, value_name = "N", default_value_t = 70, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(crate) seconds: u64,
    /// Seed of the random numbers
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,
    #[command(flatten)]
    pub(crate) run: RunOptions,
}

#[derive(Debug, Args)]
pub(crate) struct RestartOptions {
    /// Payments before the first kill
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    pub(crate) payments: u64,
    /// Payments per batch
    #[arg(long, value_name = "N", default_value_t = 8_189, value_parser = clap::value_parser!(u32).range(1..=8_192))]
    pub(crate) batch: u32,
    /// Number of times the server is killed and started again
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) kills: u32,
    /// Time of writing before each kill
    #[arg(long, value_name = "MS", default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..=60_000))]
    pub(crate) kill_after_ms: u64,
    #[command(flatten)]
    pub(crate) load: Load,
}

#[derive(Debug, Args)]
pub(crate) struct StreamsOptions {
    /// Payments before the streams: their events, and the number of keys of the stream that is restarted
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    pub(crate) payments: u64,
    /// Number of streams that are made one after another, and of restarts after a stop and after a kill
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=50))]
    pub(crate) runs: u32,
    #[command(flatten)]
    pub(crate) load: Load,
}

#[derive(Debug, Args)]
pub(crate) struct WebhooksOptions {
    /// Number of endpoints, each with its own receiver on the loopback
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub(crate) endpoints: u32,
    /// One endpoint in N is slow, failing or hanging; 0 for none
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub(crate) one_bad_in: u32,
    /// Events to publish
    #[arg(long, value_name = "N", default_value_t = 20_000, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    pub(crate) events: u64,
    /// Events per second, at a fixed arrival rate
    #[arg(long, value_name = "PER-SECOND", default_value_t = 2_000.0, value_parser = positive)]
    pub(crate) rate: f64,
    /// Number of times the server is then killed, with webhooks in flight, and started again
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
pub(crate) struct BaselineOptions {
    /// Size of one write before its sync; the default is the size of a batch of 8,189 plain payments
    #[arg(long, value_name = "BYTES", default_value_t = 8_189 * 224)]
    pub(crate) piece_bytes: u64,
    /// Bytes to write in all
    #[arg(long, value_name = "BYTES", default_value_t = 512 << 20)]
    pub(crate) total_bytes: u64,
    /// Number of writes of 4 KiB, each synced
    #[arg(long, value_name = "N", default_value_t = 5_000)]
    pub(crate) small_writes: u32,
    /// Number of requests to the bare handler
    #[arg(long, value_name = "N", default_value_t = 500_000)]
    pub(crate) requests: u64,
    /// Number of keep-alive connections to the bare handler
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=4_096))]
    pub(crate) connections: u32,
    /// Fixed arrival rate of requests to the bare handler, per second
    #[arg(long, value_name = "PER-SECOND", value_parser = positive)]
    pub(crate) rate: Option<f64>,
    #[command(flatten)]
    pub(crate) run: RunOptions,
}

#[derive(Debug, Args)]
pub(crate) struct BareHandlerOptions {
    /// File with the head and body of the response
    #[arg(long, value_name = "FILE")]
    pub(crate) answer: PathBuf,
}
