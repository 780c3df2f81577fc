//! How much abuse is too much, and what follows.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use crate::guard::signal::{SIGNALS, Signal};

/// Maxima of signals of abuse, and what happens beyond them. A maximum of 0 is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AbuseLimits {
    /// Whether API keys are blocked that go beyond a maximum. Those of the platform never are.
    pub block_keys: bool,
    /// Whether network addresses are blocked that go beyond a maximum.
    pub block_addresses: bool,
    /// Time of the first block. Each further one within an hour lasts twice as long as the one before, up to an hour.
    pub block: Duration,
    /// Addresses that are never blocked: those of proxies, and of the machine itself. One of IPv6 stands for its first 64 bits.
    pub exempt_addresses: Vec<IpAddr>,
    /// Maximum number of requests without a valid API key, per minute.
    pub bad_key_max: u32,
    /// Maximum number of malformed requests, per minute.
    pub malformed_max: u32,
    /// Maximum number of payments declined, less those accepted, per minute.
    pub declined_max: u32,
    /// Maximum number of different amounts that are declined for one payer, within 10 minutes; at most 63 are told apart.
    pub probing_max: u32,
    /// Maximum number of requests for what is not there, per minute.
    pub enumeration_max: u32,
    /// Maximum number of requests whose body did not arrive in time, per minute.
    pub timed_out_max: u32,
}

impl Default for AbuseLimits {
    fn default() -> AbuseLimits {
        AbuseLimits {
            block_keys: true,
            block_addresses: true,
            block: Duration::from_secs(60),
            exempt_addresses: vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()],
            bad_key_max: 100,
            malformed_max: 300,
            declined_max: 1_000,
            probing_max: 10,
            enumeration_max: 300,
            timed_out_max: 60,
        }
    }
}

impl AbuseLimits {
    /// Maxima by signal; the largest number where there is none.
    pub(super) fn maxima(&self) -> [u32; SIGNALS] {
        Signal::ALL.map(|signal| {
            let max = match signal {
                Signal::BadKey => self.bad_key_max,
                Signal::Malformed => self.malformed_max,
                Signal::Declined => self.declined_max,
                Signal::Probing => self.probing_max,
                Signal::Enumeration => self.enumeration_max,
                Signal::TimedOut => self.timed_out_max,
            };
            if max == 0 { u32::MAX } else { max }
        })
    }
}
