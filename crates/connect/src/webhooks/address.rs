//! Where a webhook may go: URLs and addresses, so that nobody makes the server talk to what only the server can reach.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

/// The longest URL, in bytes.
pub const URL_BYTES_MAX: usize = 2_048;

/// Why a URL or an address is not sent to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UrlRefused {
    /// The text is not a URL with a host.
    #[error("not a URL of at most {URL_BYTES_MAX} printable ASCII characters with a host")]
    Malformed,
    /// Neither `https` nor, where that is allowed, `http`.
    #[error("the URL must begin with https://")]
    Scheme,
    /// A user name or password is in it; they would be logged and shown.
    #[error("the URL must hold no user name and no password")]
    UserInfo,
    /// A fragment is never sent.
    #[error("the URL must hold no fragment (#…)")]
    Fragment,
    /// This port is not among those that may be used.
    #[error("port {0} may not be used")]
    Port(u16),
    /// The address in the URL is not one of the public Internet.
    #[error("the address {address} may not be used: {range}")]
    Address {
        /// Address as it stands in the URL.
        address: IpAddr,
        /// Purpose of the address range.
        range: &'static str,
    },
    /// The host's name leads to an address that is not one of the public Internet. The error does not say which address: names of
    /// the operator's own network are none of a subscriber's business.
    #[error("the host's name leads to an address that webhooks may not go to")]
    NameLeadsInside,
}

/// Rules for the addresses that webhooks may go to.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    /// Whether `http://` is allowed too.
    pub allow_http: bool,
    /// Whether addresses outside the public Internet are allowed: loopback, private networks and the like.
    pub allow_private: bool,
    /// Hosts whose addresses are not checked: names, or addresses as they are written in the URL (without brackets).
    pub allow_hosts: Vec<String>,
    /// Ports that may be used; any if there are none.
    pub ports: Vec<u16>,
}

/// The URL of an endpoint, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointUrl {
    text: String,
    https: bool,
    host: Host,
    port: u16,
    /// `https://host:port`, in lower case: what shares connections and limits.
    origin: Arc<str>,
    /// For the `host` header.
    authority: String,
    /// Path and query.
    path: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Host {
    Name(String),
    Address(IpAddr),
}

impl Host {
    fn parse(text: &str) -> Option<Host> {
        if let Some(inner) = text.strip_prefix('[') {
            let address: Ipv6Addr = inner.strip_suffix(']')?.parse().ok()?;
            return Some(Host::Address(address.into()));
        }
        if let Ok(address) = text.parse::<Ipv4Addr>() {
            return Some(Host::Address(address.into()));
        }
        let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        let labels_fit = name.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && label
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        });
        // Resolvers read 127.1, 2130706433 and 0x7f.1 as addresses; a name's last label begins with a letter.
        let last = name.rsplit('.').next().unwrap_or_default();
        let is_name = labels_fit
            && name.len() <= 253
            && last.starts_with(|first: char| first.is_ascii_alphabetic());
        is_name.then_some(Host::Name(name))
    }
}

impl std::fmt::Display for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Host::Name(name) => f.write_str(name),
            Host::Address(IpAddr::V4(address)) => write!(f, "{address}"),
            Host::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
        }
    }
}

impl EndpointUrl {
    /// Reads an `http` or `https` URL; whether it may be used is for [`Rules::check`].
    pub fn parse(text: &str) -> Result<EndpointUrl, UrlRefused> {
        if text.len() > URL_BYTES_MAX || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(UrlRefused::Malformed);
        }
        if text.contains('#') {
            return Err(UrlRefused::Fragment);
        }
        let uri: hyper::Uri = text.parse().map_err(|_| UrlRefused::Malformed)?;
        let https = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            Some(_) => return Err(UrlRefused::Scheme),
            None => return Err(UrlRefused::Malformed),
        };
        let authority = uri.authority().ok_or(UrlRefused::Malformed)?;
        if authority.as_str().contains('@') {
            return Err(UrlRefused::UserInfo);
        }
        let host = Host::parse(authority.host()).ok_or(UrlRefused::Malformed)?;
        let default_port = if https { 443 } else { 80 };
        let port = match authority.as_str().strip_prefix(authority.host()) {
            None | Some("" | ":") => default_port,
            Some(rest) => rest
                .strip_prefix(':')
                .and_then(|port| port.parse().ok())
                .filter(|port| *port != 0)
                .ok_or(UrlRefused::Malformed)?,
        };
        let scheme = if https { "https" } else { "http" };
        Ok(EndpointUrl {
            text: text.to_owned(),
            https,
            origin: format!("{scheme}://{host}:{port}").into(),
            authority: if port == default_port {
                host.to_string()
            } else {
                format!("{host}:{port}")
            },
            host,
            port,
            path: match uri.path_and_query() {
                Some(path) if path.as_str().starts_with('/') => path.as_str().to_owned(),
                Some(path) => format!("/{}", path.as_str()),
                None => "/".to_owned(),
            },
        })
    }

    /// The URL as it was given.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// `https://host:port`: endpoints with the same origin share connections and limits.
    pub fn origin(&self) -> &Arc<str> {
        &self.origin
    }

    pub(super) fn is_https(&self) -> bool {
        self.https
    }

    pub(super) fn host(&self) -> &Host {
        &self.host
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn authority(&self) -> &str {
        &self.authority
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }
}

impl Rules {
    /// Whether the URL may be used, as far as can be told without looking its host's name up. For an endpoint that is being made,
    /// and again before each attempt: the rules may have changed since.
    pub fn check(&self, url: &EndpointUrl) -> Result<(), UrlRefused> {
        if !url.https && !self.allow_http {
            return Err(UrlRefused::Scheme);
        }
        if !self.ports.is_empty() && !self.ports.contains(&url.port) {
            return Err(UrlRefused::Port(url.port));
        }
        match url.host {
            Host::Address(address) => self.check_address(&url.host, address),
            Host::Name(_) => Ok(()),
        }
    }

    /// Whether `address`, to which the host's name leads now, may be connected to.
    pub(super) fn check_address(&self, host: &Host, address: IpAddr) -> Result<(), UrlRefused> {
        let allowed = || {
            let host = host.to_string();
            let host = host.trim_start_matches('[').trim_end_matches(']');
            self.allow_hosts.iter().any(|allowed| {
                let allowed = allowed.strip_suffix('.').unwrap_or(allowed);
                allowed.eq_ignore_ascii_case(host)
            })
        };
        match special_range(address) {
            Some(range) if !self.allow_private && !allowed() => match host {
                Host::Address(_) => Err(UrlRefused::Address { address, range }),
                Host::Name(name) => {
                    tracing::info!(
                        host = %name, %address, range,
                        "a webhook was refused: the host's name leads to an address outside the public Internet"
                    );
                    Err(UrlRefused::NameLeadsInside)
                }
            },
            _ => Ok(()),
        }
    }
}

/// IPv4 that is not the public Internet: first address, bits of the prefix, what it is for. From the IANA registry of special-purpose
/// addresses (RFC 6890 and what updates it), and multicast (RFC 5771).
const SPECIAL_V4: [(Ipv4Addr, u32, &str); 16] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8, "this network"),
    (Ipv4Addr::new(10, 0, 0, 0), 8, "private"),
    (
        Ipv4Addr::new(100, 64, 0, 0),
        10,
        "shared by a carrier's NAT",
    ),
    (Ipv4Addr::new(127, 0, 0, 0), 8, "loopback"),
    (Ipv4Addr::new(169, 254, 0, 0), 16, "link-local"),
    (Ipv4Addr::new(172, 16, 0, 0), 12, "private"),
    (Ipv4Addr::new(192, 0, 0, 0), 24, "protocol assignments"),
    (Ipv4Addr::new(192, 0, 2, 0), 24, "documentation"),
    (Ipv4Addr::new(192, 88, 99, 0), 24, "6to4 relay"),
    (Ipv4Addr::new(192, 168, 0, 0), 16, "private"),
    (Ipv4Addr::new(198, 18, 0, 0), 15, "benchmarks"),
    (Ipv4Addr::new(198, 51, 100, 0), 24, "documentation"),
    (Ipv4Addr::new(203, 0, 113, 0), 24, "documentation"),
    (Ipv4Addr::new(224, 0, 0, 0), 4, "multicast"),
    (Ipv4Addr::new(255, 255, 255, 255), 32, "broadcast"),
    (Ipv4Addr::new(240, 0, 0, 0), 4, "reserved"),
];

/// IPv6 within 2000::/3, the only part that is given out to the public Internet, that nevertheless is not of it.
const SPECIAL_V6: [(Ipv6Addr, u32, &str); 5] = [
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 32, "Teredo"),
    (
        Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0),
        23,
        "protocol assignments and benchmarks",
    ),
    (
        Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0),
        32,
        "documentation",
    ),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16, "6to4"),
    (
        Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0),
        20,
        "documentation",
    ),
];

/// Special ranges outside 2000::/3, by name; every address outside 2000::/3 is refused.
const OUTSIDE_V6: [(Ipv6Addr, u32, &str); 8] = [
    (Ipv6Addr::UNSPECIFIED, 128, "unspecified"),
    (Ipv6Addr::LOCALHOST, 128, "loopback"),
    (
        Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0),
        96,
        "an IPv4 address in disguise",
    ),
    (Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96, "NAT64"),
    (
        Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, 0, 0),
        48,
        "private NAT64",
    ),
    (
        Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0),
        7,
        "private (unique local)",
    ),
    (Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10, "link-local"),
    (Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0), 8, "multicast"),
];

/// Returns the purpose of the address, if the address is not one of the public Internet.
fn special_range(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(address) => {
            let within = |(first, bits, _): &&(Ipv4Addr, u32, &str)| {
                (u32::from(address) ^ u32::from(*first)) >> (32 - bits) == 0
            };
            SPECIAL_V4.iter().find(within).map(|range| range.2)
        }
        IpAddr::V6(address) => {
            let within = |(first, bits, _): &&(Ipv6Addr, u32, &str)| {
                (u128::from(address) ^ u128::from(*first)) >> (128 - bits) == 0
            };
            let public = u128::from(address) >> 125 == 1;
            let known = if public { &SPECIAL_V6[..] } else { &OUTSIDE_V6 };
            let found = known.iter().find(within).map(|range| range.2);
            found.or((!public).then_some("not given out to the public Internet"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_the_public_internet_are_sent_to() {
        let refused = |text: &str| special_range(text.parse().expect(text));
        for (text, range) in [
            ("0.0.0.0", "this network"),
            ("0.255.255.255", "this network"),
            ("10.0.0.1", "private"),
            ("100.64.0.1", "shared"),
            ("100.127.255.255", "shared"),
            ("127.0.0.1", "loopback"),
            ("127.255.255.254", "loopback"),
            ("169.254.169.254", "link-local"),
            ("172.16.0.1", "private"),
            ("172.31.255.255", "private"),
            ("192.0.0.8", "protocol"),
            ("192.0.2.1", "documentation"),
            ("192.88.99.1", "6to4"),
            ("192.168.1.1", "private"),
            ("198.18.0.1", "benchmarks"),
            ("198.19.255.255", "benchmarks"),
            ("198.51.100.7", "documentation"),
            ("203.0.113.7", "documentation"),
            ("224.0.0.1", "multicast"),
            ("239.255.255.255", "multicast"),
            ("240.0.0.1", "reserved"),
            ("255.255.255.255", "broadcast"),
            ("::", "unspecified"),
            ("::1", "loopback"),
            ("::127.0.0.1", "not given out"),
            ("::ffff:127.0.0.1", "disguise"),
            ("::ffff:8.8.8.8", "disguise"),
            ("::ffff:0:8.8.8.8", "not given out"),
            ("64:ff9b::7f00:1", "NAT64"),
            ("64:ff9b:1::1", "private NAT64"),
            ("100::1", "not given out"),
            ("2001::1", "Teredo"),
            ("2001:2::1", "protocol"),
            ("2001:10::1", "protocol"),
            ("2001:1ff:ffff::1", "protocol"),
            ("2001:db8::1", "documentation"),
            ("2002:7f00:1::1", "6to4"),
            ("3fff:fff::1", "documentation"),
            ("4000::1", "not given out"),
            ("5f00::1", "not given out"),
            ("fc00::1", "unique local"),
            ("fdff::1", "unique local"),
            ("fe80::1", "link-local"),
            ("fec0::1", "not given out"),
            ("ff02::1", "multicast"),
        ] {
            let found = refused(text).expect(text);
            assert!(found.contains(range), "{text}: {found}");
        }
        for text in [
            "1.1.1.1",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.0",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "2000::1",
            "2001:200::1",
            "2001:4860:4860::8888",
            "2003::1",
            "2606:4700::1111",
            "3fff:1000::1",
        ] {
            assert_eq!(refused(text), None, "{text}");
        }
    }

    #[test]
    fn a_url_is_read_as_it_will_be_used() {
        for (text, origin, authority, path) in [
            (
                "https://Example.COM",
                "https://example.com:443",
                "example.com",
                "/",
            ),
            ("https://a.b./x?y=1", "https://a.b:443", "a.b", "/x?y=1"),
            ("https://a:8443/", "https://a:8443", "a:8443", "/"),
            ("http://a:80/h", "http://a:80", "a", "/h"),
            ("https://a?q", "https://a:443", "a", "/?q"),
            ("https://1.2.3.4/", "https://1.2.3.4:443", "1.2.3.4", "/"),
            (
                "https://[2606::1]:9/",
                "https://[2606::1]:9",
                "[2606::1]:9",
                "/",
            ),
        ] {
            let url = EndpointUrl::parse(text).expect(text);
            let read = (&**url.origin(), url.authority(), url.path());
            assert_eq!(read, (origin, authority, path), "{text}");
            assert_eq!(url.as_str(), text);
        }
    }

    #[test]
    fn a_url_that_could_mislead_is_refused() {
        use UrlRefused::{Fragment, Malformed, Scheme, UserInfo};
        let long = format!("https://a/{}", "x".repeat(URL_BYTES_MAX));
        for (text, why) in [
            ("", Malformed),
            ("/path", Malformed),
            ("example.com", Malformed),
            ("https://", Malformed),
            ("https:///x", Malformed),
            ("https://:443/", Malformed),
            ("https://a:0/", Malformed),
            ("https://a:65536/", Malformed),
            ("https://a:b/", Malformed),
            ("https://a b/", Malformed),
            ("https://a/\r\nx: y", Malformed),
            ("https://ä.example/", Malformed),
            ("https://a..b/", Malformed),
            ("https://127.1/", Malformed),
            ("https://2130706433/", Malformed),
            ("https://0x7f.0.0.0x1/", Malformed),
            ("https://1.2.3.4.5/", Malformed),
            ("https://[::1/", Malformed),
            ("https://[fe80::1%25eth0]/", Malformed),
            (&long, Malformed),
            ("ftp://a/", Scheme),
            ("file:///etc/passwd", Malformed),
            ("https://user@a/", UserInfo),
            ("https://user:password@a/", UserInfo),
            ("https://good.example@127.0.0.1/", UserInfo),
            ("https://a/#x", Fragment),
        ] {
            assert_eq!(EndpointUrl::parse(text), Err(why), "{text}");
        }
    }

    #[test]
    fn the_rules_open_what_they_say_and_nothing_else() {
        let checked =
            |rules: &Rules, text: &str| rules.check(&EndpointUrl::parse(text).expect(text));
        let strict = Rules::default();
        assert_eq!(checked(&strict, "https://example.com/"), Ok(()));
        assert_eq!(checked(&strict, "https://1.1.1.1:1234/"), Ok(()));
        assert_eq!(
            checked(&strict, "http://example.com/"),
            Err(UrlRefused::Scheme)
        );
        for text in [
            "https://127.0.0.1/",
            "https://[::1]/",
            "https://[::ffff:7f00:1]/",
        ] {
            let refused = checked(&strict, text);
            assert!(matches!(refused, Err(UrlRefused::Address { .. })), "{text}");
        }
        let ports = Rules {
            ports: vec![443],
            ..Rules::default()
        };
        assert_eq!(checked(&ports, "https://a/"), Ok(()));
        assert_eq!(checked(&ports, "https://a:25/"), Err(UrlRefused::Port(25)));
        let open = Rules {
            allow_http: true,
            allow_private: true,
            ..Rules::default()
        };
        assert_eq!(checked(&open, "http://127.0.0.1:1/"), Ok(()));
        let some = Rules {
            allow_hosts: vec!["Hooks.Internal".to_owned(), "::1".to_owned()],
            ..Rules::default()
        };
        assert_eq!(checked(&some, "https://[::1]/"), Ok(()));
        assert!(checked(&some, "https://[::]/").is_err());
        let private = IpAddr::from([10, 0, 0, 1]);
        for (name, allowed) in [
            ("hooks.internal", true),
            ("x.hooks.internal", false),
            ("internal", false),
        ] {
            let host = Host::parse(name).expect(name);
            assert_eq!(
                some.check_address(&host, private).is_ok(),
                allowed,
                "{name}"
            );
        }
    }
}
