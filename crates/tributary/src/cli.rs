//! The command line and its help.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use tributary_streams::queueing::{CAPACITY_MAX, WORKERS_MAX};

const EXIT_CODES: &str = "\
Begin with `tributary serve --demo`. `tributary COMMAND --help` explains a command and shows examples.

Exit codes:
  0    success
  1    failure; the same command may succeed later
  2    wrong arguments, configuration or map file, or a CSV file whose quotes do not match
  3    import: the whole file was read, but some rows were refused
  4    verify, restore: the books do not verify
  5    serve, import --data: the storage failed
  130  a second SIGINT or SIGTERM ended the command at once";

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
    /// Create and change settings, such as subscriptions, as a file says.
    #[command(after_help = APPLY_EXAMPLES)]
    Apply(Apply),
    /// Turn a CSV file of money movements into accounts and payments.
    #[command(after_help = IMPORT_EXAMPLES)]
    Import(Import),
    /// Check every checksum, decision and balance of a data directory.
    #[command(after_help = VERIFY_EXAMPLES)]
    Verify(Verify),
    /// Write the books in the format of another program.
    #[command(after_help = EXPORT_EXAMPLES)]
    Export(Export),
    /// Copy the journal and the delivery state of a running server, without pausing it.
    #[command(after_help = BACKUP_EXAMPLES)]
    Backup(Backup),
    /// Create a data directory from a backup.
    #[command(after_help = RESTORE_EXAMPLES)]
    Restore(Restore),
    /// Create a platform key after the last one was lost.
    #[command(after_help = KEYS_EXAMPLES)]
    Keys(Keys),
    /// Forward events to a program on this machine, as signed webhooks.
    #[command(after_help = LISTEN_EXAMPLES)]
    Listen(Listen),
    /// Calculate how many workers a queue needs.
    #[command(after_help = PLAN_EXAMPLES)]
    Plan(Plan),
    /// Check what rules for risk found.
    #[command(after_help = RISK_EXAMPLES)]
    Risk(Risk),
    /// Write a stream for another engine.
    Streams(Streams),
    /// Run one journal on many nodes, over a log in PostgreSQL.
    #[command(after_help = CLUSTER_EXAMPLES)]
    Cluster(Cluster),
}

const SERVE_EXAMPLES: &str = "\
The first start creates a platform key, which permits everything, and shows the key once.
These options override TRIBUTARY_* variables, the variables override --config FILE, and the file
overrides the defaults; docs/configuration.md lists all keys. After SIGTERM or SIGINT the server
answers the requests in flight, then stops.

Examples:
  tributary serve --demo                       try it: a system with a day of payments in it
  tributary serve --data /var/lib/tributary    keep the data in this directory
  tributary serve --sandbox --data test-data   for tests: POST /v1/sandbox/clock moves the clock
  TRIBUTARY_LISTEN=0.0.0.0:8080 tributary serve --config /etc/tributary.toml";

#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// Data directory; created if it does not exist [default: tributary-data]
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Address and port to listen on; port 0 takes any free one [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR")]
    pub(crate) listen: Option<SocketAddr>,
    /// Address and port to listen on for gRPC; without this option gRPC is off
    #[arg(long, value_name = "ADDR")]
    pub(crate) grpc_listen: Option<SocketAddr>,
    /// TOML file with the configuration, or a key that holds it: consul://HOST:PORT/KEY or etcd://HOST:PORT/KEY
    #[arg(long, value_name = "FILE", env = "TRIBUTARY_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// Serve a sandbox: for tests without real money, with a clock that the API moves forwards. A new data directory becomes a
    /// sandbox for ever: only --sandbox serves it, and --sandbox serves no other directory
    #[arg(long)]
    pub(crate) sandbox: bool,
    /// Fill an empty system with a day of payments, and print commands to try
    #[arg(long)]
    pub(crate) demo: bool,
    /// Apply this file of settings at each start (see `tributary apply`)
    #[arg(long, value_name = "FILE")]
    pub(crate) apply: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) prune: Prune,
    /// Print the addresses, and on the first start the platform key, as one line of JSON
    #[arg(long, conflicts_with = "demo")]
    pub(crate) json: bool,
}

/// Options to reach a running server.
#[derive(Debug, Args)]
pub(crate) struct Server {
    /// URL of the server, such as http://127.0.0.1:8080
    #[arg(long, value_name = "URL", env = "TRIBUTARY_SERVER")]
    pub(crate) server: Option<String>,
    /// API key; most commands need a platform key. Prefer --api-key-file or the variable: other users of this machine can read
    /// arguments
    #[arg(
        long,
        value_name = "KEY",
        env = "TRIBUTARY_API_KEY",
        hide_env_values = true
    )]
    pub(crate) api_key: Option<String>,
    /// File that holds the API key; takes precedence over --api-key
    #[arg(long, value_name = "FILE")]
    pub(crate) api_key_file: Option<PathBuf>,
    /// File of certificates to trust (PEM), for an https:// server; default: those that the system trusts
    #[arg(long, value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
}

const APPLY_EXAMPLES: &str = "\
A file is TOML or JSON and holds complete definitions:

  managed_by = \"shop\"            # name of the file; needed for --prune and generation
  generation = 7                 # optional: a file with a smaller number is skipped

  [[subscription]]
  slug = \"orders\"                # name of the setting
  events = [\"payment.#\"]         # and every other field of POST /v1/subscriptions
  url = \"https://shop.example/hooks\"
  secret_file = \"orders.secret\"  # file that holds the secret, relative to this file
  paused = false                 # if left out, the setting stays paused or active

The command shows its plan first. A field that a definition leaves out has its default. Applying the
same file again changes nothing. Settings that the file does not name stay; --prune deletes those of
them that have the file's managed_by. docs/settings.md has the details.

Examples:
  tributary apply shop.toml --dry-run --server http://127.0.0.1:8080 --api-key-file key
  tributary apply shop.toml --server http://127.0.0.1:8080 --api-key-file key
  tributary apply shop.toml --prune --prune-max 50 --server … --api-key-file key
  tributary serve --data tributary-data --apply shop.toml";

#[derive(Debug, Args)]
pub(crate) struct Apply {
    /// The file of settings, TOML, or JSON if its name ends in .json
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) server: Server,
    /// Only show what would be done
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) prune: Prune,
    /// Print the result as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Which settings a file deletes.
#[derive(Debug, Args)]
pub(crate) struct Prune {
    /// Delete settings that have the file's managed_by and that the file no longer names
    #[arg(long)]
    pub(crate) prune: bool,
    /// Maximum number of settings that --prune deletes [default: 10]
    #[arg(long, value_name = "N", requires = "prune")]
    pub(crate) prune_max: Option<u32>,
}

const IMPORT_EXAMPLES: &str = "\
The map file says what the columns mean; docs/cli.md describes it. Begin with a copy of
examples/bank-1993.toml, stripe-balance.toml or paypal-activity.toml, and with --check.

Every row has its own idempotency key, so a repeated import, also after a crash, does not import a
row twice. Refused rows are listed with line and reason; all other rows are imported. A file whose
quotes do not match is refused as a whole.

Examples:
  tributary import bank.csv --map bank.toml --check
  tributary import bank.csv --map bank.toml --data tributary-data
  tributary import bank.csv --map bank.toml --server http://127.0.0.1:8080 --api-key-file key";

#[derive(Debug, Args)]
pub(crate) struct Import {
    /// CSV file to import
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Map file
    #[arg(long, value_name = "MAP")]
    pub(crate) map: PathBuf,
    #[command(flatten)]
    pub(crate) server: Server,
    /// Data directory that no server uses, instead of --server
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Read the file and report; import nothing
    #[arg(long)]
    pub(crate) check: bool,
    /// Write every refused row, and every notice, to this CSV file (line, key, code, reason)
    #[arg(long, value_name = "FILE")]
    pub(crate) report: Option<PathBuf>,
    /// Print the result as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

const VERIFY_EXAMPLES: &str = "\
Reads the whole journal, without index and checkpoints. Checks the checksums and the hash chain,
repeats every decision, adds up every balance, and checks the trial balance and that no idempotency
key was used twice. Changes nothing, and may run beside a server.

To detect a rewritten history, record the hash that `GET /v1/journal/head` returns outside of this
machine, and pass it later as --anchor: the journal must still contain the hash.

Examples:
  tributary verify --data tributary-data
  tributary verify --data tributary-data --anchor 3f0c…";

#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// Data directory or backup
    #[arg(long, value_name = "DIR")]
    pub(crate) data: PathBuf,
    /// Journal hash recorded earlier (64 hexadecimal digits)
    #[arg(long, value_name = "HASH")]
    pub(crate) anchor: Option<String>,
    /// Print the result as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

const EXPORT_EXAMPLES: &str = "\
Dates are the business dates of payments (effective_at). In hledger and beancount, a customer's
money is a liability, so the amount is negative; the balances of all accounts are asserted.
Changes nothing, and may run beside a server.

Examples:
  tributary export --data tributary-data --format hledger -o books.journal
  hledger -f books.journal check --strict

  tributary export --data tributary-data --format beancount -o books.beancount
  bean-check books.beancount

  tributary export --data tributary-data --format jsonl | jq .type";

#[derive(Debug, Args)]
pub(crate) struct Export {
    /// Data directory or backup
    #[arg(long, value_name = "DIR")]
    pub(crate) data: PathBuf,
    /// Format of the output
    #[arg(long, value_enum)]
    pub(crate) format: Format,
    /// Write to this file instead of the standard output
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

/// Format of an export.
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
`verify` and `export` read a backup like a data directory, and `restore` creates a data directory
from it. An existing backup is continued at its end. The API key must be a platform key that may
write. A backup does not contain the master key file (DATA.key): keep a copy of that file elsewhere.

Examples:
  tributary backup /backups/tributary --server http://127.0.0.1:8080 --api-key-file key
  tributary backup /backups/tributary --server http://127.0.0.1:8080 --api-key-file key --follow";

#[derive(Debug, Args)]
pub(crate) struct Backup {
    /// Directory of the backup, new or existing
    #[arg(value_name = "DIR")]
    pub(crate) dir: PathBuf,
    #[command(flatten)]
    pub(crate) server: Server,
    /// Do not end: write every frame as soon as it is committed, and show how far the backup is behind
    #[arg(long)]
    pub(crate) follow: bool,
    /// Print progress as JSON, one object per line
    #[arg(long)]
    pub(crate) json: bool,
}

const RESTORE_EXAMPLES: &str = "\
Checks the whole hash chain while it copies the journal. Begins a new epoch, so that no id that the
lost server may have issued is issued again. Copy the master key file to NEW.key before the first
start: a backup does not contain it.

Examples:
  tributary restore /backups/tributary --data tributary-data
  cp /safe/tributary-data.key tributary-data.key
  tributary verify --data tributary-data";

#[derive(Debug, Args)]
pub(crate) struct Restore {
    /// Directory of the backup
    #[arg(value_name = "DIR")]
    pub(crate) dir: PathBuf,
    /// Data directory to create; must not exist, or be empty
    #[arg(long, value_name = "NEW")]
    pub(crate) data: PathBuf,
    /// Print the result as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

const KEYS_EXAMPLES: &str = "\
A running server creates API keys with `POST /v1/api_keys`. If the last platform key is lost, stop
the server, run this command, and start the server. The lost key stays valid: revoke it.

Example:
  tributary keys --data tributary-data";

#[derive(Debug, Args)]
pub(crate) struct Keys {
    /// Data directory that no server uses
    #[arg(long, value_name = "DIR")]
    pub(crate) data: PathBuf,
    /// Label of the key
    #[arg(long, value_name = "TEXT", default_value = "made on the command line")]
    pub(crate) label: String,
    /// Print the result as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

const RISK_EXAMPLES: &str = "\
Examples:
  tributary risk verify --data tributary-data";

#[derive(Debug, Args)]
pub(crate) struct Risk {
    #[command(subcommand)]
    pub(crate) command: RiskCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum RiskCommand {
    /// Compute every recorded assessment again, from the journal.
    #[command(after_help = RISK_VERIFY_EXAMPLES)]
    Verify(RiskVerify),
}

const RISK_VERIFY_EXAMPLES: &str = "\
Computes the figures of streams again from the first record on, as of the record that each assessment
names, and applies the rules of then. Needs the directory for itself: stop the server, or restore a
backup into another directory. Exits with 4 if an assessment differs.

Examples:
  tributary risk verify --data tributary-data
  tributary risk verify --data tributary-data --json";

#[derive(Debug, Args)]
pub(crate) struct RiskVerify {
    /// Data directory that no server uses
    #[arg(long, value_name = "DIR")]
    pub(crate) data: PathBuf,
    /// Print the result as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

const LISTEN_EXAMPLES: &str = "\
For the development of a receiver of webhooks: the server need not be able to reach this machine.
Any API key will do. Events are sent one after the other, each once, with the headers of a real
webhook, and the receiver's answers are shown. After a lost connection to the server, the stream
continues after the last event. Stop with Ctrl-C.

Examples:
  tributary listen --server http://127.0.0.1:8080 --api-key-file key \\
    --forward-to http://127.0.0.1:3000/hooks --events 'payment.*,account.#'
  tributary listen … --forward-to http://127.0.0.1:3000/hooks --start evt_4b1w…";

#[derive(Debug, Args)]
pub(crate) struct Listen {
    #[command(flatten)]
    pub(crate) server: Server,
    /// URL of the receiver, such as http://127.0.0.1:3000/hooks
    #[arg(long, value_name = "URL")]
    pub(crate) forward_to: String,
    /// Types of events, as patterns separated by commas
    #[arg(long, value_name = "PATTERNS", default_value = "#")]
    pub(crate) events: String,
    /// Where to start: now, beginning, the id of an event to start after, or a time
    #[arg(long, value_name = "START", default_value = "now")]
    pub(crate) start: String,
    /// Signing secret, whsec_…; default: a new one, which is shown
    #[arg(long, value_name = "SECRET")]
    pub(crate) secret: Option<String>,
    /// Print one JSON object per line
    #[arg(long)]
    pub(crate) json: bool,
}

const PLAN_EXAMPLES: &str = "\
Finds the smallest number of workers that reaches a target, or describes a given number of workers.
Needs no server and no data.

Uses the queueing models M/M/c and, with --capacity, M/M/c/K: random arrivals, exponentially
distributed service times, first come first served. docs/queueing.md has the formulas and says when
they do not hold.

Rates are numbers per s, min or h; times are in us, ms, s, m or h. A target is p50, p90, p95, p99,
p99.9 or mean, and the maximum time. With --capacity, refused arrivals count as late.

Examples:
  tributary plan --arrivals 5000/s --service 2ms --target p99=50ms
  tributary plan --arrivals 300/min --service 1.5s --target mean=200ms --of wait
  tributary plan --arrivals 5000/s --service 2ms --workers 12 --capacity 100";

#[derive(Debug, Args)]
pub(crate) struct Plan {
    /// Mean arrival rate, such as 5000/s, 300/min or 20/h
    #[arg(long, value_name = "RATE", value_parser = crate::quantity::parse_rate)]
    pub(crate) arrivals: f64,
    /// Mean time that one worker needs for one arrival, such as 2ms
    #[arg(long, value_name = "TIME", value_parser = crate::quantity::parse_seconds)]
    pub(crate) service: f64,
    /// Target, such as p99=50ms
    #[arg(long, value_name = "TARGET", value_parser = crate::quantity::parse_target, required_unless_present = "workers")]
    pub(crate) target: Option<crate::quantity::PlanTarget>,
    /// Time to which the target applies
    #[arg(long, value_enum, default_value_t = Time::Total, conflicts_with = "workers")]
    pub(crate) of: Time,
    /// Show this number of workers, instead of finding one
    #[arg(long, value_name = "N", conflicts_with = "target", value_parser = clap::value_parser!(u32).range(1..=i64::from(WORKERS_MAX)))]
    pub(crate) workers: Option<u32>,
    /// Maximum number of arrivals in the system, waiting or in service; more are refused
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u32).range(1..=i64::from(CAPACITY_MAX)))]
    pub(crate) capacity: Option<u32>,
    /// Print the result as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Time to which a target applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Time {
    /// From arrival until a worker starts
    Wait,
    /// From arrival until the worker is done
    Total,
}

const FLINK_SQL_EXAMPLES: &str = "\
For a stream that has outgrown one server: the same figures by Apache Flink, from the topics of
Kafka that a binding of direction `out` writes. A subscription of the platform must send all types
of events that the stream names to that binding. The SQL is for Flink 2.2 with its connector to
Kafka 5.0. What Flink can't compute exactly is refused, with what to do.

An event that lacks a field fails Flink's job, as it stops the stream. `Moving to Flink` in
docs/streams.md says when to move, how, and what differs.

Examples:
  tributary streams flink-sql volume --topic payment_events --brokers kafka:9092 \\
    --server http://127.0.0.1:8080 --api-key-file key > volume.sql
  tributary streams flink-sql volume --topic payment_events --file examples/streams/volume.toml
  sql-client.sh -f volume.sql                     Flink's own command line

With --file, no server is needed.";

#[derive(Debug, Args)]
pub(crate) struct Streams {
    #[command(subcommand)]
    pub(crate) command: StreamsCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum StreamsCommand {
    /// Write Flink SQL that computes a stream over the events that a binding writes to Kafka.
    #[command(after_help = FLINK_SQL_EXAMPLES)]
    FlinkSql(FlinkSql),
}

#[derive(Debug, Args)]
pub(crate) struct FlinkSql {
    /// Slug of the stream; with --server also its id
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// Topic with the events; can be repeated, as for a binding whose routing key is `{type}`
    #[arg(long, value_name = "TOPIC", required = true)]
    pub(crate) topic: Vec<String>,
    /// Brokers of Kafka, as Flink reaches them
    #[arg(long, value_name = "HOST:PORT,…", default_value = "127.0.0.1:9092")]
    pub(crate) brokers: String,
    /// File of settings that holds the [[stream]], TOML or JSON, instead of --server
    #[arg(long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) server: Server,
    /// Where the rows go
    #[arg(long, value_enum, default_value_t = FlinkSink::UpsertKafka)]
    pub(crate) sink: FlinkSink,
    /// Topic of the rows, which must exist [default: streams.NAME]
    #[arg(long, value_name = "TOPIC")]
    pub(crate) sink_topic: Option<String>,
    /// Folder of the rows, for --sink filesystem
    #[arg(long, value_name = "DIR", required_if_eq("sink", "filesystem"))]
    pub(crate) path: Option<String>,
    /// How much later than a younger event an event may come out of Kafka and still be counted, beside the stream's own lateness: seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub(crate) disorder: u64,
}

/// Where Flink writes the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum FlinkSink {
    /// A topic; the key of a message is the key of the row and the end of its window
    UpsertKafka,
    /// A topic; messages have no key
    Kafka,
    /// Files of JSON
    Filesystem,
}

const CLUSTER_EXAMPLES: &str = "\
A node is a server whose configuration has a section [cluster]; docs/cluster.md explains it. `init` is run once, before the first
node starts; every other node joins by itself when it is started with an empty data directory and a copy of the master key.

Examples:
  tributary cluster init --config node-0.toml     put the data directory, new or in use before, onto the log
  tributary serve --config node-0.toml            start a node
  tributary cluster status --server http://10.0.0.1:8080
  tributary cluster status --discover dns://tributary.example:8080
  tributary cluster hand-over --server http://10.0.0.1:8080
  tributary cluster finalize-upgrade --discover dns://tributary.example:8080
  tributary cluster leave --config node-0.toml    end the cluster: this directory goes on alone";

#[derive(Debug, Args)]
pub(crate) struct Cluster {
    #[command(subcommand)]
    pub(crate) command: ClusterCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ClusterCommand {
    /// Move a data directory, which is made if it does not exist, onto an empty log.
    ///
    /// Every frame is read back and compared before it says done. If it is broken off, run it again: it goes on where it stopped.
    /// The server of the directory must be stopped.
    Init(ClusterInit),
    /// Make the data directory of a node that joins, with the records of a backup or of a running node.
    ///
    /// A node also joins without this, with an empty directory: it reads the log from its first entry on, which takes longer.
    Join(ClusterJoin),
    /// Show how a running node stands.
    Status(ClusterStatus),
    /// Have the leader hand over to another node.
    HandOver(ClusterHandOver),
    /// After all nodes run a newer program, go on in the newer versions of records and rules.
    ///
    /// Until then the newer program writes what the older one reads, and every node can be set back. Afterwards an older program stops. All nodes
    /// are asked first, and nothing is done if one is older or can't be reached.
    FinalizeUpgrade(ClusterFinalizeUpgrade),
    /// End the cluster: the log ends, and the data directory of this node, which must be stopped, goes on alone.
    Leave(ClusterLeave),
    /// Compare the data directory of a stopped node with the log, from the first record on.
    Verify(ClusterVerify),
    /// Make a new log of the data directory of a node, after the log was lost or lost what it had acknowledged.
    ///
    /// cluster.log names the new log, which must be empty. All nodes must be stopped. The directory is compared with those of other
    /// nodes that are given; records that only they have are listed, and are lost only with --accept-loss.
    Recover(ClusterRecover),
}

/// A node whose server does not run.
#[derive(Debug, Args)]
pub(crate) struct ClusterNode {
    /// TOML file with the configuration of the node
    #[arg(long, value_name = "FILE", env = "TRIBUTARY_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// Data directory [default: as in the configuration]
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct ClusterInit {
    #[command(flatten)]
    pub(crate) node: ClusterNode,
    /// A new data directory becomes a sandbox (see `tributary serve --help`)
    #[arg(long)]
    pub(crate) sandbox: bool,
    /// Print the result as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ClusterJoin {
    #[command(flatten)]
    pub(crate) node: ClusterNode,
    /// Directory of a backup to copy from
    #[arg(
        long,
        value_name = "DIR",
        conflicts_with = "server",
        required_unless_present = "server"
    )]
    pub(crate) backup: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) server: Server,
    /// Print the result as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ClusterLeave {
    #[command(flatten)]
    pub(crate) node: ClusterNode,
    /// Print the result as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ClusterVerify {
    #[command(flatten)]
    pub(crate) node: ClusterNode,
    /// Print the result as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ClusterRecover {
    #[command(flatten)]
    pub(crate) node: ClusterNode,
    /// Data directory of another node, to compare with; can be repeated
    #[arg(long, value_name = "DIR")]
    pub(crate) mirror: Vec<PathBuf>,
    /// Go on although other nodes have records that this directory has not
    #[arg(long)]
    pub(crate) accept_loss: bool,
    /// URL of the old log, which is ended so that no node goes on there
    #[arg(long, value_name = "URL", conflicts_with = "old_log_is_gone")]
    pub(crate) old_log: Option<String>,
    /// The old log does not exist any more, or no node can reach it
    #[arg(long)]
    pub(crate) old_log_is_gone: bool,
    /// Print the result as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ClusterStatus {
    #[command(flatten)]
    pub(crate) server: Server,
    /// Show all nodes that are found here, instead of one in detail: consul://host:8500/service, etcd://host:2379/service,
    /// dns://host:8080 or static://host:8080,host:8080. Needs no API key
    #[arg(long, value_name = "URL", conflicts_with = "server")]
    pub(crate) discover: Option<String>,
    /// Print the status as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ClusterHandOver {
    #[command(flatten)]
    pub(crate) server: Server,
    /// Name of the node that leads next [default: whichever claims first]
    #[arg(long, value_name = "NODE")]
    pub(crate) to: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ClusterFinalizeUpgrade {
    /// Where all nodes are found: consul://host:8500/service, etcd://host:2379/service, dns://host:8080 or static://host:8080,host:8080
    #[arg(long, value_name = "URL")]
    pub(crate) discover: String,
    #[command(flatten)]
    pub(crate) server: Server,
    /// Print the result as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

impl Server {
    /// Creates a client for the server.
    pub(crate) fn client(&self) -> anyhow::Result<crate::client::Client> {
        let wrong = crate::exit::usage_error;
        let server = self.server.as_deref();
        self.client_of(server.ok_or_else(|| wrong("--server URL is missing"))?)
    }

    /// Creates a client for another server that takes the same key.
    pub(crate) fn client_of(&self, server: &str) -> anyhow::Result<crate::client::Client> {
        let wrong = crate::exit::usage_error;
        let key = match (&self.api_key, &self.api_key_file) {
            (_, Some(path)) => crate::config::read_secret(path)?,
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
