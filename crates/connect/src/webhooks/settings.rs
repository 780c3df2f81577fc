//! How webhooks are sent.

use std::fmt;
use std::io;
use std::net::{IpAddr, ToSocketAddrs as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::address::Rules;

/// Finds the addresses of a host by its name. It may block.
pub type Resolver = Arc<dyn Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync>;

/// Attempts under way at once, to one host and port.
pub const PER_HOST_MAX: u32 = 10;
/// How webhooks are sent.
#[derive(Clone)]
pub struct Settings {
    /// Rules for the addresses that webhooks may go to.
    pub rules: Rules,
    /// Certificates to trust, PEM; those of the system without.
    pub ca_file: Option<PathBuf>,
    /// The longest wait for the head of an answer, from the start of the attempt.
    pub timeout: Duration,
    /// The longest wait for a connection, with TLS; it is part of `timeout`.
    pub connect_timeout: Duration,
    /// Patience with a host: from when on an attempt is overdue, and its host is held back until it has ended.
    pub slow_after: Duration,
    /// Attempts under way at once, to one host and port.
    pub per_host_max: usize,
    /// Attempts under way at once in all; at least 4. Each takes a file descriptor; as many connections may be kept.
    pub under_way_max: usize,
    /// Jobs that wait for one host and port.
    pub waiting_per_host_max: usize,
    /// Looks names up; the system's way by default.
    pub resolver: Resolver,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            rules: Rules::default(),
            ca_file: None,
            timeout: Duration::from_secs(15),
            connect_timeout: Duration::from_secs(5),
            slow_after: Duration::from_secs(1),
            per_host_max: PER_HOST_MAX as usize,
            under_way_max: 1_000,
            waiting_per_host_max: 1_000,
            resolver: Arc::new(|name| {
                let found = (name, 0).to_socket_addrs()?;
                Ok(found.map(|address| address.ip()).collect())
            }),
        }
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("rules", &self.rules)
            .finish_non_exhaustive()
    }
}
