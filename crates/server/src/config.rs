//! Configuration of a server.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use tributary_api::token::{Secret, SecretSource};
use tributary_engine::{CachePolicy, DATED_RECORDS_MAX};

use crate::admission::ConnectionLimits;
use crate::guard::AbuseLimits;
use crate::rate::RateLimit;

/// Configuration of a server.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Where to listen for gRPC; nowhere without. Port 0 takes a free one.
    pub grpc_listen: Option<SocketAddr>,
    /// Threads that serve, each with its own listener; 0 means one per core.
    pub threads: usize,
    /// Serve TLS with these files; plain HTTP without.
    pub tls: Option<TlsFiles>,
    /// Bounds on what a caller may ask for.
    pub limits: Limits,
    /// Whether `/metrics` answers without an API key. Otherwise it takes a platform key.
    pub public_metrics: bool,
    /// Whether `/health/ready` may answer 200 from the start on. Otherwise only after [`Running::set_ready`](crate::Running::set_ready).
    pub ready_at_start: bool,
    /// A platform key for programs in this very process; see [`internal_token`](tributary_api::caller::internal_token).
    pub internal: Option<Secret>,
    /// File with the certificates, in PEM, that an https URL of another node of the cluster is verified against; without one, no such
    /// node is trusted.
    pub peer_ca_file: Option<PathBuf>,
    /// Source of the secrets of API keys; without it they are random, and a lost answer loses its secret.
    pub secrets: Option<SecretSource>,
    /// Approximate maximum size of the cache of rendered statement pages, in bytes; 0 for no cache.
    pub statement_cache_bytes_max: u64,
    /// Which statement pages leave a full cache.
    pub cache_policy: CachePolicy,
}

/// Configuration that can change while the server runs.
#[derive(Clone, Debug)]
pub struct Reloadable {
    /// Files of the certificate and its key, which are read again; none for a server without TLS.
    pub tls: Option<TlsFiles>,
    /// How fast one API key may send requests; no limit without.
    pub rate: Option<RateLimit>,
}

/// Certificate and key, in PEM.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// The certificate chain, the server's own first.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// Bounds on what a caller may ask for. A time-out may end 10 ms late, and one of less than half a second by up to that much.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Largest body, in bytes. A full batch of 8,192 plain payments has about 3 MB.
    pub body_bytes_max: usize,
    /// Largest request head, in bytes; at least 8,192.
    pub header_bytes_max: usize,
    /// Maximum number of open connections, over all threads and ports. A further one takes the place of the oldest one that brought no
    /// valid API key; if all brought one, it is refused.
    pub connections_max: usize,
    /// Maximum number of open connections from one IPv4 address, or from one /64 network of IPv6; beyond it, the same holds.
    pub connections_per_address_max: usize,
    /// Time after which a connection that brought no valid API key is closed.
    pub unauthenticated_timeout: Duration,
    /// Longest wait for the head of a request, from the first byte or from the end of the previous one.
    pub header_read_timeout: Duration,
    /// Longest wait for the body of a request.
    pub body_read_timeout: Duration,
    /// Longest wait for the caller to take a part of an answer.
    pub write_timeout: Duration,
    /// Longest wait for an answer of the engine, after which the outcome is unknown to the caller.
    pub request_timeout: Duration,
    /// Longest wait for requests in flight when the server stops.
    pub drain_timeout: Duration,
    /// Most event streams open at once.
    pub streams_max: usize,
    /// After so long without an event a stream sends a comment.
    pub stream_heartbeat: Duration,
    /// Maximum number of records of an account that its balance of a business date adds up.
    pub dated_records_max: u64,
    /// How fast one API key may send requests; no limit without.
    pub rate: Option<RateLimit>,
    /// How many requests of an API key or an address may go wrong; nothing is counted without.
    pub abuse: Option<AbuseLimits>,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            body_bytes_max: 16 << 20,
            header_bytes_max: 32 << 10,
            connections_max: 10_000,
            connections_per_address_max: 2_500,
            unauthenticated_timeout: Duration::from_secs(60),
            header_read_timeout: Duration::from_secs(15),
            body_read_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(60),
            request_timeout: Duration::from_secs(30),
            drain_timeout: Duration::from_secs(30),
            streams_max: 1_000,
            stream_heartbeat: Duration::from_secs(15),
            dated_records_max: DATED_RECORDS_MAX,
            rate: None,
            abuse: None,
        }
    }
}

impl Limits {
    /// Bounds on open connections.
    pub(crate) fn connections(&self) -> ConnectionLimits {
        ConnectionLimits {
            all_max: self.connections_max,
            per_network_max: self.connections_per_address_max,
            unauthenticated_timeout: self.unauthenticated_timeout,
        }
    }
}

impl Default for ServerConfig {
    fn default() -> ServerConfig {
        ServerConfig {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            grpc_listen: None,
            threads: 0,
            tls: None,
            limits: Limits::default(),
            public_metrics: false,
            ready_at_start: true,
            internal: None,
            peer_ca_file: None,
            secrets: None,
            statement_cache_bytes_max: 0,
            cache_policy: CachePolicy::default(),
        }
    }
}
