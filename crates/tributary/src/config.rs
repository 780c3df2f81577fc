//! Configuration of `serve`. The command line overrides the environment, the environment overrides the TOML file, and the
//! file overrides the defaults.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use serde::Deserialize;

use tributary_cluster::entry::NAME_BYTES_MAX;
use tributary_engine::QUEUE_LENGTH_MAX;
use tributary_server::AbuseLimits;

use crate::config_source;
use crate::exit::usage_error;

/// Maximum value of `limits.queue_length_max`: each queued payment takes memory.
const QUEUE_LENGTH_LIMIT: usize = 1_000_000;
/// Maximum value of `abuse.probing_max`: a few more amounts are remembered of an API key.
const PROBING_LIMIT: u32 = 60;
/// Maximum length of the URL of a node, in bytes: two of them fit into an entry of the log.
const NODE_URL_BYTES_MAX: usize = 250;

/// The whole configuration. `docs/configuration.md` explains each key.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Config {
    /// Data directory.
    pub(crate) data: PathBuf,
    /// Address and port for HTTP.
    pub(crate) listen: SocketAddr,
    /// Address and port for gRPC; `None` for no gRPC.
    pub(crate) grpc_listen: Option<SocketAddr>,
    /// Storage of the journal.
    pub(crate) backend: Backend,
    /// File to which the first start writes the platform key, instead of showing it.
    pub(crate) platform_key_file: Option<PathBuf>,
    /// Whether `/metrics` needs no API key.
    pub(crate) metrics_public: bool,
    /// File of the master key, which seals the secrets of webhooks; by default the data directory's name with `.key`.
    pub(crate) master_key_file: Option<PathBuf>,
    pub(crate) tls: Tls,
    pub(crate) limits: Limits,
    pub(crate) abuse: Abuse,
    pub(crate) webhooks: Webhooks,
    pub(crate) cluster: Cluster,
    pub(crate) cache: Cache,
    pub(crate) log: Log,
    pub(crate) discovery: Discovery,
}

/// Storage of the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Backend {
    /// In the data directory.
    Embedded,
    /// In memory: all data is lost at the end of the process.
    Memory,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Tls {
    /// Certificate chain, PEM.
    pub(crate) certificate: Option<PathBuf>,
    /// Private key, PEM.
    pub(crate) key: Option<PathBuf>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Limits {
    /// Maximum size of a request body, in bytes.
    pub(crate) body_bytes_max: usize,
    /// Maximum number of requests per second of one API key; `None` for no limit.
    pub(crate) requests_per_second_max: Option<u32>,
    /// Maximum number of open connections.
    pub(crate) connections_max: usize,
    /// Maximum number of open connections from one IPv4 address or /64 network of IPv6; `None` for a quarter of all.
    pub(crate) connections_per_address_max: Option<usize>,
    /// Maximum number of open event streams.
    pub(crate) streams_max: usize,
    /// Approximate maximum size of the history of deliveries, in bytes; 0 for no history.
    pub(crate) history_bytes_max: u64,
    /// Maximum number of queued payments.
    pub(crate) queue_length_max: usize,
}

/// Requests that may go wrong, and what happens beyond that. A maximum of 0 is none.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Abuse {
    /// Whether API keys are blocked.
    pub(crate) block_keys: bool,
    /// Whether addresses are blocked.
    pub(crate) block_addresses: bool,
    /// Length of a first block, in seconds.
    pub(crate) block_seconds: u64,
    /// Addresses that are never blocked.
    pub(crate) exempt_addresses: Vec<IpAddr>,
    /// Maximum number of requests without a valid API key, per minute.
    pub(crate) bad_key_max: u32,
    /// Maximum number of malformed requests, per minute.
    pub(crate) malformed_max: u32,
    /// Maximum number of declined payments, less accepted ones, per minute.
    pub(crate) declined_max: u32,
    /// Maximum number of amounts that are declined for one payer, within 10 minutes.
    pub(crate) probing_max: u32,
    /// Maximum number of requests for what is not there, per minute.
    pub(crate) enumeration_max: u32,
    /// Maximum number of requests whose body does not arrive in time, per minute.
    pub(crate) timed_out_max: u32,
}

impl Default for Abuse {
    fn default() -> Self {
        let limits = AbuseLimits::default();
        Self {
            block_keys: limits.block_keys,
            block_addresses: limits.block_addresses,
            block_seconds: limits.block.as_secs(),
            exempt_addresses: limits.exempt_addresses,
            bad_key_max: limits.bad_key_max,
            malformed_max: limits.malformed_max,
            declined_max: limits.declined_max,
            probing_max: limits.probing_max,
            enumeration_max: limits.enumeration_max,
            timed_out_max: limits.timed_out_max,
        }
    }
}

impl Abuse {
    /// What the server is told.
    pub(crate) fn limits(&self) -> AbuseLimits {
        AbuseLimits {
            block_keys: self.block_keys,
            block_addresses: self.block_addresses,
            block: Duration::from_secs(self.block_seconds),
            exempt_addresses: self.exempt_addresses.clone(),
            bad_key_max: self.bad_key_max,
            malformed_max: self.malformed_max,
            declined_max: self.declined_max,
            probing_max: self.probing_max,
            enumeration_max: self.enumeration_max,
            timed_out_max: self.timed_out_max,
        }
    }

    fn check(&self) -> anyhow::Result<()> {
        if !(60..=86_400).contains(&self.block_seconds) {
            return Err(usage_error("abuse.block_seconds must be from 60 to 86400"));
        }
        if self.probing_max > PROBING_LIMIT {
            return Err(usage_error(
                "abuse.probing_max must be at most 60: no more amounts are remembered",
            ));
        }
        Ok(())
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Webhooks {
    /// Whether `http://` URLs are allowed.
    pub(crate) allow_http: bool,
    /// Whether addresses outside of the public Internet are allowed.
    pub(crate) allow_private: bool,
    /// Hosts that may have any address.
    pub(crate) allow_hosts: Vec<String>,
    /// Allowed ports; empty for all.
    pub(crate) ports: Vec<u16>,
    /// File of certificates to trust, PEM; by default those of the system.
    pub(crate) ca_file: Option<PathBuf>,
}

/// Caches of reads.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Cache {
    /// Approximate maximum size of all caches in memory, in bytes; 0 for none.
    pub(crate) bytes_max: u64,
    pub(crate) policy: Policy,
    pub(crate) redis: RedisCache,
}

/// Which entries leave a full cache.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Policy {
    #[default]
    TinyLfu,
    Lru,
}

/// Records that nodes share in Redis.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RedisCache {
    /// `redis://host:port/database`; none for no Redis.
    pub(crate) url: Option<String>,
    /// File that holds the password.
    pub(crate) password_file: Option<PathBuf>,
}

impl Cache {
    fn check(&self) -> anyhow::Result<()> {
        if self.redis.url.is_none() && self.redis.password_file.is_some() {
            return Err(usage_error("cache.redis.url is not set"));
        }
        if self.redis.url.is_some() && self.bytes_max == 0 {
            return Err(usage_error(
                "cache.redis needs a cache in front of it: set cache.bytes_max",
            ));
        }
        Ok(())
    }
}

/// This node of a cluster; without a log, the system is of one process.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Cluster {
    /// URL of the shared log: `postgresql://user@host/database`.
    pub(crate) log: Option<String>,
    /// File that holds the password of the log.
    pub(crate) password_file: Option<PathBuf>,
    /// File of certificates to trust, PEM: connections to the log are made by TLS.
    pub(crate) ca_file: Option<PathBuf>,
    /// Whether a log will do that loses what it acknowledged with one of its disks: for development.
    pub(crate) allow_single_copy: bool,
    /// Name of this node, which no other node has.
    pub(crate) node: Option<String>,
    /// Where other nodes reach this one.
    pub(crate) url: Option<String>,
    /// Where other nodes reach this one by gRPC.
    pub(crate) grpc_url: Option<String>,
    /// File of certificates to trust, PEM, for other nodes whose URL is https; by default those of the system.
    pub(crate) peer_ca_file: Option<PathBuf>,
}

impl Cluster {
    fn check(&self) -> anyhow::Result<()> {
        let Some(_log) = &self.log else {
            return match *self == Self::default() {
                true => Ok(()),
                false => Err(usage_error(
                    "cluster.log is not set: without a log, no other key of [cluster] means anything",
                )),
            };
        };
        let name = self.node.as_deref().unwrap_or_default();
        let is_name = (1..=NAME_BYTES_MAX).contains(&name.len())
            && name
                .chars()
                .all(|c| c.is_alphanumeric() || "-_.".contains(c));
        if !is_name {
            return Err(usage_error(
                "cluster.node must name this node, with 1 to 128 bytes of letters, digits and - _ .",
            ));
        }
        let urls = [
            ("url", self.url.as_deref()),
            ("grpc_url", self.grpc_url.as_deref()),
        ];
        for (key, url) in urls {
            let is_url = |url: &str| {
                let rest = url.strip_prefix("http://").or(url.strip_prefix("https://"));
                let is_host = |rest: &str| !rest.is_empty() && !rest.contains(['/', '?', '#', ' ']);
                rest.is_some_and(is_host) && url.len() <= NODE_URL_BYTES_MAX
            };
            match url {
                Some(url) if is_url(url) => {}
                None if key == "grpc_url" => {}
                _ => {
                    return Err(usage_error(format!(
                        "cluster.{key} must say where other nodes reach this one, as in http://10.0.0.1:8080, without a path and with at \
                         most {NODE_URL_BYTES_MAX} bytes"
                    )));
                }
            }
        }
        Ok(())
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Log {
    /// `error`, `warn`, `info`, `debug` or `trace`.
    pub(crate) level: String,
    /// `text` or `json`.
    pub(crate) format: LogFormat,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Discovery {
    /// URL of the registry to which this server is announced while it runs.
    pub(crate) announce: Option<String>,
    /// File of the credential for the registry.
    pub(crate) credential_file: Option<PathBuf>,
    /// File of certificates to trust, PEM; by default those of the system.
    pub(crate) ca_file: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum LogFormat {
    Text,
    Json,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data: PathBuf::from("tributary-data"),
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            grpc_listen: None,
            backend: Backend::Embedded,
            platform_key_file: None,
            metrics_public: false,
            master_key_file: None,
            tls: Tls::default(),
            limits: Limits::default(),
            abuse: Abuse::default(),
            webhooks: Webhooks::default(),
            cluster: Cluster::default(),
            cache: Cache::default(),
            log: Log::default(),
            discovery: Discovery::default(),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes_max: 16 << 20,
            requests_per_second_max: None,
            connections_max: 10_000,
            connections_per_address_max: None,
            streams_max: 1_000,
            history_bytes_max: tributary_messaging::HISTORY_BYTES_MAX,
            queue_length_max: QUEUE_LENGTH_MAX,
        }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self {
            level: "info".to_owned(),
            format: LogFormat::Text,
        }
    }
}

/// Every key with its type, for the environment: `TRIBUTARY_LIMITS_BODY_BYTES_MAX` is `limits.body_bytes_max`.
const KEYS: [(&str, Kind); 48] = [
    ("data", Kind::Text),
    ("listen", Kind::Text),
    ("grpc_listen", Kind::Text),
    ("backend", Kind::Text),
    ("platform_key_file", Kind::Text),
    ("metrics_public", Kind::Boolean),
    ("master_key_file", Kind::Text),
    ("tls.certificate", Kind::Text),
    ("tls.key", Kind::Text),
    ("limits.body_bytes_max", Kind::Integer),
    ("limits.requests_per_second_max", Kind::Integer),
    ("limits.connections_max", Kind::Integer),
    ("limits.connections_per_address_max", Kind::Integer),
    ("limits.streams_max", Kind::Integer),
    ("limits.history_bytes_max", Kind::Integer),
    ("limits.queue_length_max", Kind::Integer),
    ("abuse.block_keys", Kind::Boolean),
    ("abuse.block_addresses", Kind::Boolean),
    ("abuse.block_seconds", Kind::Integer),
    ("abuse.exempt_addresses", Kind::Texts),
    ("abuse.bad_key_max", Kind::Integer),
    ("abuse.malformed_max", Kind::Integer),
    ("abuse.declined_max", Kind::Integer),
    ("abuse.probing_max", Kind::Integer),
    ("abuse.enumeration_max", Kind::Integer),
    ("abuse.timed_out_max", Kind::Integer),
    ("webhooks.allow_http", Kind::Boolean),
    ("webhooks.allow_private", Kind::Boolean),
    ("webhooks.allow_hosts", Kind::Texts),
    ("webhooks.ports", Kind::Integers),
    ("webhooks.ca_file", Kind::Text),
    ("cluster.log", Kind::Text),
    ("cluster.password_file", Kind::Text),
    ("cluster.ca_file", Kind::Text),
    ("cluster.allow_single_copy", Kind::Boolean),
    ("cluster.node", Kind::Text),
    ("cluster.url", Kind::Text),
    ("cluster.grpc_url", Kind::Text),
    ("cluster.peer_ca_file", Kind::Text),
    ("cache.bytes_max", Kind::Integer),
    ("cache.policy", Kind::Text),
    ("cache.redis.url", Kind::Text),
    ("cache.redis.password_file", Kind::Text),
    ("log.level", Kind::Text),
    ("log.format", Kind::Text),
    ("discovery.announce", Kind::Text),
    ("discovery.credential_file", Kind::Text),
    ("discovery.ca_file", Kind::Text),
];

#[derive(Debug, Clone, Copy)]
enum Kind {
    Text,
    Integer,
    Boolean,
    /// A list, separated by commas.
    Texts,
    /// A list, separated by commas.
    Integers,
}

/// Variables with our prefix that do not configure `serve`.
const OTHER_VARIABLES: [&str; 3] = ["TRIBUTARY_API_KEY", "TRIBUTARY_SERVER", "TRIBUTARY_CONFIG"];
/// Prefixes of variables for tests.
const TEST_PREFIXES: [&str; 2] = ["TRIBUTARY_TEST_", "TRIBUTARY_REQUIRE_"];

impl Config {
    /// Reads `file`, if any, which may also be a key of Consul or etcd, and applies the environment.
    pub(crate) fn load(
        file: Option<&Path>,
        environment: impl Iterator<Item = (String, String)>,
    ) -> anyhow::Result<Self> {
        let mut table = match file {
            None => toml::Table::new(),
            Some(path) => read_file(path)?,
        };
        for (name, value) in environment.filter(|(name, _)| name.starts_with("TRIBUTARY_")) {
            overlay(&mut table, &name, &value)?;
            // Apply variables one by one, so that an error names its variable.
            let laid: Result<Self, toml::de::Error> = table.clone().try_into();
            laid.map_err(|error| usage_error(format!("{name}: `{value}`: {}", error.message())))?;
        }
        let config: Self = table.try_into().map_err(|error: toml::de::Error| {
            usage_error(format!("configuration: {}", error.message()))
        })?;
        config.check()?;
        Ok(config)
    }

    /// Returns the keys whose values differ.
    pub(crate) fn differing_keys(&self, other: &Self) -> Vec<&'static str> {
        let (a, b) = (self, other);
        let differs = [
            a.data != b.data,
            a.listen != b.listen,
            a.grpc_listen != b.grpc_listen,
            a.backend != b.backend,
            a.platform_key_file != b.platform_key_file,
            a.metrics_public != b.metrics_public,
            a.master_key_file != b.master_key_file,
            a.tls.certificate != b.tls.certificate,
            a.tls.key != b.tls.key,
            a.limits.body_bytes_max != b.limits.body_bytes_max,
            a.limits.requests_per_second_max != b.limits.requests_per_second_max,
            a.limits.connections_max != b.limits.connections_max,
            a.limits.connections_per_address_max != b.limits.connections_per_address_max,
            a.limits.streams_max != b.limits.streams_max,
            a.limits.history_bytes_max != b.limits.history_bytes_max,
            a.limits.queue_length_max != b.limits.queue_length_max,
            a.abuse.block_keys != b.abuse.block_keys,
            a.abuse.block_addresses != b.abuse.block_addresses,
            a.abuse.block_seconds != b.abuse.block_seconds,
            a.abuse.exempt_addresses != b.abuse.exempt_addresses,
            a.abuse.bad_key_max != b.abuse.bad_key_max,
            a.abuse.malformed_max != b.abuse.malformed_max,
            a.abuse.declined_max != b.abuse.declined_max,
            a.abuse.probing_max != b.abuse.probing_max,
            a.abuse.enumeration_max != b.abuse.enumeration_max,
            a.abuse.timed_out_max != b.abuse.timed_out_max,
            a.webhooks.allow_http != b.webhooks.allow_http,
            a.webhooks.allow_private != b.webhooks.allow_private,
            a.webhooks.allow_hosts != b.webhooks.allow_hosts,
            a.webhooks.ports != b.webhooks.ports,
            a.webhooks.ca_file != b.webhooks.ca_file,
            a.cluster.log != b.cluster.log,
            a.cluster.password_file != b.cluster.password_file,
            a.cluster.ca_file != b.cluster.ca_file,
            a.cluster.allow_single_copy != b.cluster.allow_single_copy,
            a.cluster.node != b.cluster.node,
            a.cluster.url != b.cluster.url,
            a.cluster.grpc_url != b.cluster.grpc_url,
            a.cluster.peer_ca_file != b.cluster.peer_ca_file,
            a.cache.bytes_max != b.cache.bytes_max,
            a.cache.policy != b.cache.policy,
            a.cache.redis.url != b.cache.redis.url,
            a.cache.redis.password_file != b.cache.redis.password_file,
            a.log.level != b.log.level,
            a.log.format != b.log.format,
            a.discovery.announce != b.discovery.announce,
            a.discovery.credential_file != b.discovery.credential_file,
            a.discovery.ca_file != b.discovery.ca_file,
        ];
        let keys = KEYS.iter().zip(differs);
        keys.filter_map(|((key, _), differs)| differs.then_some(*key))
            .collect()
    }

    fn check(&self) -> anyhow::Result<()> {
        if self.tls.certificate.is_some() != self.tls.key.is_some() {
            return Err(usage_error(
                "tls.certificate and tls.key must be set together",
            ));
        }
        self.abuse.check()?;
        self.cluster.check()?;
        self.cache.check()?;
        if self.cluster.log.is_some() && self.backend == Backend::Memory {
            return Err(usage_error(
                "a node of a cluster keeps its data in a directory: leave out backend",
            ));
        }
        let limits = &self.limits;
        if limits.body_bytes_max < 1024
            || limits.requests_per_second_max == Some(0)
            || limits.connections_max == 0
            || limits.connections_per_address_max == Some(0)
            || limits.streams_max == 0
        {
            return Err(usage_error(
                "limits must be positive, and body_bytes_max at least 1024",
            ));
        }
        if !(1..=QUEUE_LENGTH_LIMIT).contains(&limits.queue_length_max) {
            return Err(usage_error(
                "limits.queue_length_max must be from 1 to 1000000",
            ));
        }
        if !["error", "warn", "info", "debug", "trace"].contains(&self.log.level.as_str()) {
            return Err(usage_error(format!(
                "log.level `{}` is none of error, warn, info, debug, trace",
                self.log.level
            )));
        }
        Ok(())
    }
}

/// Reads and checks the file alone, so that an error names its line.
fn read_file(path: &Path) -> anyhow::Result<toml::Table> {
    let text = config_source::read(path)?;
    let wrong = |error: toml::de::Error| usage_error(format!("{}: {error}", path.display()));
    toml::from_str::<Config>(&text).map_err(wrong)?;
    toml::from_str(&text).map_err(wrong)
}

fn overlay(table: &mut toml::Table, name: &str, value: &str) -> anyhow::Result<()> {
    if OTHER_VARIABLES.contains(&name)
        || TEST_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
    {
        return Ok(());
    }
    let known = KEYS.iter().find(|(key, _)| variable(key) == name);
    let Some((key, kind)) = known else {
        return Err(usage_error(format!(
            "the environment variable {name} is not a setting (see docs/configuration.md)"
        )));
    };
    let integer = |text: &str| {
        let number = text.trim().parse().map(toml::Value::Integer);
        number.map_err(|_| usage_error(format!("{name}: `{text}` is not a whole number")))
    };
    let items = || value.split(',').map(str::trim);
    let value =
        match kind {
            Kind::Text => toml::Value::String(value.to_owned()),
            Kind::Boolean => toml::Value::Boolean(value.trim().parse().map_err(|_| {
                usage_error(format!("{name}: `{value}` is neither true nor false"))
            })?),
            Kind::Integer => integer(value)?,
            Kind::Texts => items().map(Into::into).collect::<Vec<toml::Value>>().into(),
            Kind::Integers => toml::Value::Array(items().map(integer).collect::<Result<_, _>>()?),
        };
    let (mut table, mut key) = (table, *key);
    while let Some((section, rest)) = key.split_once('.') {
        let entry = table
            .entry(section)
            .or_insert_with(|| toml::Value::Table(toml::Table::new()));
        table = entry
            .as_table_mut()
            .ok_or_else(|| usage_error(format!("[{section}] is not a table")))?;
        key = rest;
    }
    table.insert(key.to_owned(), value);
    Ok(())
}

fn variable(key: &str) -> String {
    format!("TRIBUTARY_{}", key.replace('.', "_").to_ascii_uppercase())
}

/// Reads a secret from a file. A file that is missing is a failure (exit code 1: the file may be there next time), a file
/// with anything but one secret a usage error.
pub(crate) fn read_secret(path: &Path) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("cannot read the secret in {}", path.display()))?;
    let secret = text.trim();
    if secret.is_empty() || secret.contains(char::is_whitespace) {
        return Err(usage_error(format!(
            "{} must hold one secret and nothing else",
            path.display()
        )));
    }
    Ok(secret.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::{FAILED, USAGE_ERROR, exit_code};

    fn load(file: &str, environment: &[(&str, &str)]) -> Result<Config, String> {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("tributary.toml");
        std::fs::write(&path, file).expect("writes");
        let environment = environment
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Config::load(Some(&path), environment).map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn the_environment_wins_over_the_file_and_the_file_over_defaults() {
        let file = "data = \"books\"\n[limits]\nconnections_max = 7\n[log]\nformat = \"json\"\n";
        let environment = [
            ("TRIBUTARY_DATA", "elsewhere"),
            ("TRIBUTARY_LIMITS_BODY_BYTES_MAX", "2048"),
            ("HOME", "/"),
        ];
        let config = load(file, &environment).expect("loads");
        assert_eq!(config.data, PathBuf::from("elsewhere"));
        assert_eq!(config.limits.connections_max, 7);
        assert_eq!(config.limits.body_bytes_max, 2048);
        assert_eq!(
            config.limits.requests_per_second_max,
            Limits::default().requests_per_second_max
        );
        assert_eq!(config.log.format, LogFormat::Json);
        assert_eq!(load("", &[]), Ok(Config::default()));
    }

    #[test]
    fn every_key_can_come_from_the_environment() {
        for (key, kind) in KEYS {
            let value = match (key, kind) {
                ("listen" | "grpc_listen", _) => "127.0.0.1:1",
                ("backend", _) => "memory",
                ("cache.policy", _) => "lru",
                ("log.level", _) => "warn",
                ("log.format", _) => "json",
                ("abuse.block_keys" | "abuse.block_addresses", _) => "false",
                ("abuse.exempt_addresses", _) => "10.0.0.1, 2001:db8::1",
                ("abuse.probing_max", _) => "20",
                (_, Kind::Text) => "x",
                (_, Kind::Integer | Kind::Integers) => "4096",
                (_, Kind::Texts) => "a.example, b.example",
                (_, Kind::Boolean) => "true",
            };
            let mut environment = vec![(variable(key), value.to_owned())];
            let mut expected = 1;
            if let Some(key) = key.strip_prefix("cluster.") {
                let value = match key {
                    "log" => "postgresql://db/books",
                    "url" | "grpc_url" => "http://10.0.0.1:8080",
                    _ => value,
                };
                let needed = ["log", "node", "url"].map(|needed| (needed, "http://a.example"));
                environment = needed
                    .into_iter()
                    .chain([(key, value)])
                    .map(|(key, value)| (variable(&format!("cluster.{key}")), value.to_owned()))
                    .collect();
                environment[1].1 = "a".to_owned();
                expected = if ["log", "node", "url"].contains(&key) {
                    3
                } else {
                    4
                };
            }
            if key.starts_with("cache.redis.") {
                let needed = ["cache.bytes_max", "cache.redis.url"];
                let needed = needed.map(|needed| (variable(needed), "4096".to_owned()));
                environment.extend(needed);
                expected = if key.ends_with("url") { 2 } else { 3 };
            }
            if key.starts_with("tls.") {
                environment = ["tls.certificate", "tls.key"]
                    .map(|key| (variable(key), "x".to_owned()))
                    .into();
            }
            let config = Config::load(None, environment.into_iter()).expect(key);
            let differing = Config::default().differing_keys(&config);
            assert!(differing.contains(&key), "{key} changed {differing:?}");
            if key.starts_with("tls.") {
                expected = 2;
            }
            assert_eq!(differing.len(), expected, "{key} changed {differing:?}");
        }
    }

    fn refused(file: &str, environment: &[(&str, &str)], part: &str) {
        let error = load(file, environment).expect_err(part);
        assert!(error.contains(part), "{part}: {error}");
    }

    #[test]
    fn a_mistake_is_refused_and_named() {
        refused("listn = \"x\"", &[], "listn");
        refused("[limits]\nbody_max = 1", &[], "body_max");
        refused("listen = \"nowhere\"", &[], "listen");
        refused("backend = \"postgres://x\"", &[], "backend");
        refused("[log]\nlevel = \"loud\"", &[], "loud");
        refused("[tls]\nkey = \"k.pem\"", &[], "tls.certificate");
        refused("[limits]\nconnections_max = 0", &[], "limits");
        refused("[abuse]\nblock_seconds = 59", &[], "block_seconds");
        refused("[abuse]\nprobing_max = 61", &[], "probing_max");
        refused(
            "[abuse]\nexempt_addresses = [\"10.0.0.0/8\"]",
            &[],
            "IP address",
        );
        refused("[cache]\npolicy = \"fifo\"", &[], "fifo");
        let alone = "[cache.redis]\nurl = \"redis://a\"";
        refused(alone, &[], "cache.bytes_max");
        let nowhere = "[cache.redis]\npassword_file = \"x\"";
        refused(nowhere, &[], "cache.redis.url");
        for length in ["0", "1000001"] {
            let file = format!("[limits]\nqueue_length_max = {length}");
            refused(&file, &[], "queue_length_max");
        }
        refused("", &[("TRIBUTARY_LISTN", "x")], "TRIBUTARY_LISTN");
        refused("", &[("TRIBUTARY_LIMITS_CONNECTIONS_MAX", "many")], "many");
        let negative = [("TRIBUTARY_LIMITS_BODY_BYTES_MAX", "-1")];
        refused("", &negative, "TRIBUTARY_LIMITS_BODY_BYTES_MAX: `-1`");
        let nowhere = [("TRIBUTARY_LISTEN", "nowhere")];
        refused("", &nowhere, "TRIBUTARY_LISTEN: `nowhere`");
    }

    #[test]
    fn a_secret_can_come_from_a_file() {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("secret");
        std::fs::write(&path, "sesame\n").expect("writes");
        assert_eq!(read_secret(&path).expect("reads"), "sesame");
        std::fs::write(&path, "two words").expect("writes");
        let code = |path: &Path| exit_code(&read_secret(path).expect_err("it is wrong"));
        assert_eq!(code(&path), USAGE_ERROR);
        assert_eq!(code(&directory.path().join("missing")), FAILED);
    }
}
