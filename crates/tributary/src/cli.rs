//! The command line: what can be asked for, and the help that teaches it.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use tributary_streams::queueing::{CAPACITY_MAX, WORKERS_MAX};

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  it could not be done; trying again may help
  2  wrong arguments, configuration or map file
  3  import: the whole file was read, but some rows were refused
  4  verify, restore: the books do not verify
  5  serve: the storage failed, so the server stopped";

/// A payment system in one binary: an HTTP API and a double-entry ledger over one journal.
#[derive(Debug, Parser)]
#[command(name = "tributary", version, after_help = EXIT_CODES, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the server.
    #[command(after_help = SERVE_EXAMPLES)]
    Serve(Serve),
    /// Turn a CSV file of money movements into accounts and payments.
    #[command(after_help = IMPORT_EXAMPLES)]
    Import(Import),
    /// Check a data directory: every checksum, decision and balance.
    #[command(after_help = VERIFY_EXAMPLES)]
    Verify(Verify),
    /// Write the books in the format of another program.
    #[command(after_help = EXPORT_EXAMPLES)]
    Export(Export),
    /// Copy a running server's journal, without pausing it.
    #[command(after_help = BACKUP_EXAMPLES)]
    Backup(Backup),
    /// Make a new data directory from a backup.
    #[command(after_help = RESTORE_EXAMPLES)]
    Restore(Restore),
    /// Make a new platform key, if the only one is lost.
    #[command(after_help = KEYS_EXAMPLES)]
    Keys(Keys),
    /// Forward events to a program on this machine, as signed webhooks.
    #[command(after_help = LISTEN_EXAMPLES)]
    Listen(Listen),
    /// Tell how many workers a queue needs.
    #[command(after_help = PLAN_EXAMPLES)]
    Plan(Plan),
}

const SERVE_EXAMPLES: &str = "\
On its first start it makes a platform key, which may do everything, and shows it once.
Settings come from the defaults, then --config FILE, then TRIBUTARY_* variables, then these
options; docs/configuration.md lists them all. SIGTERM and SIGINT let requests finish, then stop.

Examples:
  tributary serve --demo                       a system with a day of payments in it, to try
  tributary serve --data /var/lib/tributary    the real thing
  TRIBUTARY_LISTEN=0.0.0.0:8080 tributary serve --config /etc/tributary.toml";

#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// The data directory; made if it does not exist [default: tributary-data]
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Address and port to listen on; port 0 takes any free one [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR")]
    pub(crate) listen: Option<SocketAddr>,
    /// Address and port to listen on for gRPC; without it there is no gRPC
    #[arg(long, value_name = "ADDR")]
    pub(crate) grpc_listen: Option<SocketAddr>,
    /// A TOML file of settings
    #[arg(long, value_name = "FILE", env = "TRIBUTARY_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// Fill an empty system with a day of payments, and say what to look at
    #[arg(long)]
    pub(crate) demo: bool,
    /// Print the address, and the key of a first start, as one line of JSON
    #[arg(long, conflicts_with = "demo")]
    pub(crate) json: bool,
}

/// How to reach a running server.
#[derive(Debug, Args)]
pub(crate) struct Server {
    /// The server's URL, such as http://127.0.0.1:8080
    #[arg(long, value_name = "URL", env = "TRIBUTARY_SERVER")]
    pub(crate) server: Option<String>,
    /// An API key, for most commands the platform's (better: --api-key-file, or the variable; arguments are visible to others)
    #[arg(
        long,
        value_name = "KEY",
        env = "TRIBUTARY_API_KEY",
        hide_env_values = true
    )]
    pub(crate) api_key: Option<String>,
    /// A file that holds the key; goes before --api-key
    #[arg(long, value_name = "FILE")]
    pub(crate) api_key_file: Option<PathBuf>,
    /// Certificates to trust (PEM), for an https:// server
    #[arg(long, value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
}

const IMPORT_EXAMPLES: &str = "\
The map says which columns are what (docs/cli.md, examples/bank-1993.toml). Every row is written
under a key of its own, so running it again, also after a crash half-way, changes nothing that is
already there. Rows that are refused are listed with their line and reason; the rest goes in.

Examples:
  tributary import bank.csv --map bank.toml --check
  tributary import bank.csv --map bank.toml --data tributary-data
  tributary import bank.csv --map bank.toml --server http://127.0.0.1:8080 --api-key-file key";

#[derive(Debug, Args)]
pub(crate) struct Import {
    /// The CSV file
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// The map file
    #[arg(long, value_name = "MAP")]
    pub(crate) map: PathBuf,
    #[command(flatten)]
    pub(crate) server: Server,
    /// A data directory that no server is using, instead of --server
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Only read the file and report; write nothing
    #[arg(long)]
    pub(crate) check: bool,
    /// Write every refused row to this CSV file (line, key, code, reason)
    #[arg(long, value_name = "FILE")]
    pub(crate) report: Option<PathBuf>,
    /// Print the result as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

const VERIFY_EXAMPLES: &str = "\
Reads the whole journal, trusting no index and no checkpoint: checksums, the hash chain, every
decision made again, every balance added up again, the trial balance, and that no idempotency key
was used twice. It only reads, and may run beside a server.

To be sure that nobody rewrote history, keep the hash that `GET /v1/journal/head` gives, outside
this machine, and hand it in later: the journal must still contain it.

Examples:
  tributary verify --data tributary-data
  tributary verify --data tributary-data --anchor 3f0c…";

#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// The data directory, or a backup
    #[arg(long, value_name = "DIR")]
    pub(crate) data: PathBuf,
    /// A journal hash noted earlier (64 hexadecimal digits)
    #[arg(long, value_name = "HASH")]
    pub(crate) anchor: Option<String>,
    /// Print the result as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

const EXPORT_EXAMPLES: &str = "\
Dates are the business dates of payments (effective_at). In hledger and beancount a customer's
money is a liability, so it is negative there, and the balances of all accounts are asserted.
It only reads, and may run beside a server.

Examples:
  tributary export --data tributary-data --format hledger -o books.journal && hledger -f books.journal check
  tributary export --data tributary-data --format beancount -o books.beancount && bean-check books.beancount
  tributary export --data tributary-data --format jsonl | jq .type";

#[derive(Debug, Args)]
pub(crate) struct Export {
    /// The data directory, or a backup
    #[arg(long, value_name = "DIR")]
    pub(crate) data: PathBuf,
    /// The format
    #[arg(long, value_enum)]
    pub(crate) format: Format,
    /// Write to this file instead of the standard output
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

/// What an export is written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// A journal for hledger
    Hledger,
    /// A ledger for beancount
    Beancount,
    /// One JSON object per record of the journal
    Jsonl,
    /// One line per posting
    Csv,
}

const BACKUP_EXAMPLES: &str = "\
A backup is a journal directory: `verify` and `export` read it, `restore` makes a data directory
of it. A backup that exists is continued from where it ends.

Examples:
  tributary backup /backups/tributary --server http://127.0.0.1:8080 --api-key-file key
  tributary backup /backups/tributary --server http://127.0.0.1:8080 --api-key-file key --follow";

#[derive(Debug, Args)]
pub(crate) struct Backup {
    /// Where the backup is or shall be
    #[arg(value_name = "DIR")]
    pub(crate) dir: PathBuf,
    #[command(flatten)]
    pub(crate) server: Server,
    /// Go on: write every frame as soon as it is committed, and show the lag
    #[arg(long)]
    pub(crate) follow: bool,
    /// Print progress as JSON, one object per line
    #[arg(long)]
    pub(crate) json: bool,
}

const RESTORE_EXAMPLES: &str = "\
Checks the whole hash chain, copies the journal and begins a new epoch, so that nothing the lost
server may still have handed out is ever issued again.

Example:
  tributary restore /backups/tributary --data tributary-data";

#[derive(Debug, Args)]
pub(crate) struct Restore {
    /// The backup
    #[arg(value_name = "DIR")]
    pub(crate) dir: PathBuf,
    /// The data directory to make; must not exist, or be empty
    #[arg(long, value_name = "NEW")]
    pub(crate) data: PathBuf,
    /// Print the result as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

const KEYS_EXAMPLES: &str = "\
With a server running, make keys by `POST /v1/api_keys`. This is for when the last platform key
is lost: stop the server, run this, start it again. The old keys go on working until revoked.

Example:
  tributary keys --data tributary-data";

#[derive(Debug, Args)]
pub(crate) struct Keys {
    /// The data directory; no server may be using it
    #[arg(long, value_name = "DIR")]
    pub(crate) data: PathBuf,
    /// What the key is for, to tell it from others
    #[arg(long, value_name = "TEXT", default_value = "made on the command line")]
    pub(crate) label: String,
    /// Print the result as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

const LISTEN_EXAMPLES: &str = "\
For developing a receiver: the server need not be able to reach this machine. Each event is sent
once, one after the other, with the headers of a real webhook; what the receiver answers is shown,
and the next one follows. A lost connection to the server is taken up again where it broke off.
Stop with Ctrl-C.

Examples:
  tributary listen --server http://127.0.0.1:8080 --api-key-file key \\
    --forward-to http://127.0.0.1:3000/hooks --events 'payment.*,account.#'
  tributary listen … --forward-to http://127.0.0.1:3000/hooks --start evt_4b1w…";

#[derive(Debug, Args)]
pub(crate) struct Listen {
    #[command(flatten)]
    pub(crate) server: Server,
    /// Where to, such as http://127.0.0.1:3000/hooks
    #[arg(long, value_name = "URL")]
    pub(crate) forward_to: String,
    /// Which events, with commas between the patterns
    #[arg(long, value_name = "PATTERNS", default_value = "#")]
    pub(crate) events: String,
    /// Where to begin: now, beginning, the id of an event to begin after, or a time
    #[arg(long, value_name = "START", default_value = "now")]
    pub(crate) start: String,
    /// What signs the webhooks, whsec_…; a new one is made and shown if it is not given
    #[arg(long, value_name = "SECRET")]
    pub(crate) secret: Option<String>,
    /// Print one JSON object per line
    #[arg(long)]
    pub(crate) json: bool,
}

const PLAN_EXAMPLES: &str = "\
Reckons with the queueing models M/M/c and, with --capacity, M/M/c/K: arrivals at random, service
times exponentially distributed, first come first served. docs/queueing.md tells the formulas, and
when they do not hold. It only calculates, and needs no server.

Rates are numbers per s, min or h; times are in us, ms, s, m or h. A target is p50, p90, p95, p99,
p99.9 or mean, and the time that it may be. With --capacity, whoever is refused counts as late.

Examples:
  tributary plan --arrivals 5000/s --service 2ms --target p99=50ms
  tributary plan --arrivals 300/min --service 1.5s --target mean=200ms --of wait
  tributary plan --arrivals 5000/s --service 2ms --workers 12 --capacity 100";

#[derive(Debug, Args)]
pub(crate) struct Plan {
    /// How much arrives on average, such as 5000/s, 300/min or 20/h
    #[arg(long, value_name = "RATE", value_parser = crate::quantity::parse_rate)]
    pub(crate) arrivals: f64,
    /// How long one worker needs for one of them on average, such as 2ms
    #[arg(long, value_name = "TIME", value_parser = crate::quantity::parse_seconds)]
    pub(crate) service: f64,
    /// What is to be reached, such as p99=50ms
    #[arg(long, value_name = "TARGET", value_parser = crate::quantity::parse_target, required_unless_present = "workers")]
    pub(crate) target: Option<crate::quantity::PlanTarget>,
    /// Which time the target is about
    #[arg(long, value_enum, default_value_t = Time::Total, conflicts_with = "workers")]
    pub(crate) of: Time,
    /// Ask about this many workers instead
    #[arg(long, value_name = "N", conflicts_with = "target", value_parser = clap::value_parser!(u32).range(1..=i64::from(WORKERS_MAX)))]
    pub(crate) workers: Option<u32>,
    /// The most that may be in the system, waiting or being worked on; more are refused
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u32).range(1..=i64::from(CAPACITY_MAX)))]
    pub(crate) capacity: Option<u32>,
    /// Print the result as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Which time a target is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Time {
    /// From arrival until a worker takes it
    Wait,
    /// From arrival until it is done
    Total,
}

impl Server {
    /// A client for it.
    pub(crate) fn client(&self) -> anyhow::Result<crate::client::Client> {
        let wrong = crate::exit::wrong_use;
        let server = self
            .server
            .as_deref()
            .ok_or_else(|| wrong("--server URL is missing"))?;
        let key = match (&self.api_key, &self.api_key_file) {
            (_, Some(path)) => crate::config::secret_from(path)?,
            (Some(key), None) => key.trim().to_owned(),
            (None, None) => {
                return Err(wrong(
                    "an API key (for most commands a platform key) is needed: --api-key-file FILE or TRIBUTARY_API_KEY",
                ));
            }
        };
        crate::client::Client::new(server, &key, self.ca.as_deref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        <Cli as clap::CommandFactory>::command().debug_assert();
        let _: Cli = Cli::parse_from(["tributary", "serve", "--demo"]);
    }
}
