//! Where a cluster is: the `url` of a binder.

/// Whether librdkafka was built with OpenSSL, which has TLS and the hashes of SCRAM.
pub(super) const HAS_OPENSSL: bool = cfg!(feature = "kafka-tls");

/// Maximum number of brokers that a url may name. The others are learned from these.
const HOSTS_MAX: usize = 16;
/// Port of a broker without TLS, and with it.
const PORTS: [u16; 2] = [9092, 9093];

/// Brokers by which a cluster is found, and how they are spoken to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cluster {
    pub(super) is_tls: bool,
    /// Each `host:port`.
    pub(super) hosts: Vec<String>,
    /// How a user proves who it is.
    pub(super) mechanism: Mechanism,
    /// Whether the url says how.
    pub(super) names_mechanism: bool,
}

/// Mechanisms of SASL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mechanism {
    Plain,
    Scram256,
    Scram512,
}

impl Mechanism {
    const ALL: [Mechanism; 3] = [Mechanism::Plain, Mechanism::Scram256, Mechanism::Scram512];

    /// Name of the mechanism in SASL.
    pub(super) fn name(self) -> &'static str {
        match self {
            Mechanism::Plain => "PLAIN",
            Mechanism::Scram256 => "SCRAM-SHA-256",
            Mechanism::Scram512 => "SCRAM-SHA-512",
        }
    }
}

impl Cluster {
    /// Reads `kafka://host:port,host:port` or `kafkas://…`, with `?sasl=scram-sha-512` if need be.
    ///
    /// # Errors
    /// What a url must be, without the url: it may hold a password.
    pub(super) fn parse(url: &str) -> Result<Cluster, String> {
        let (is_tls, rest) = if let Some(rest) = url.strip_prefix("kafka://") {
            (false, rest)
        } else if let Some(rest) = url.strip_prefix("kafkas://") {
            (true, rest)
        } else {
            return Err("must begin with kafka:// or kafkas://".to_owned());
        };
        let (hosts, query) = match rest.split_once('?') {
            Some((hosts, query)) => (hosts, Some(query)),
            None => (rest, None),
        };
        if hosts.contains('@') {
            let what = "must not hold a user: use the fields username and password";
            return Err(what.to_owned());
        }
        let hosts = hosts.strip_suffix('/').unwrap_or(hosts);
        let port = PORTS[usize::from(is_tls)];
        let hosts: Vec<String> = hosts
            .split(',')
            .map(|host| read_host(host, port))
            .collect::<Option<_>>()
            .ok_or("must name brokers: kafka://host:9092, or several with commas between")?;
        if hosts.len() > HOSTS_MAX {
            return Err(format!(
                "must name at most {HOSTS_MAX} brokers: the others are learned from these"
            ));
        }
        let mechanism = query.map(read_mechanism).transpose()?;
        Ok(Cluster {
            is_tls,
            hosts,
            mechanism: mechanism.unwrap_or(Mechanism::Plain),
            names_mechanism: mechanism.is_some(),
        })
    }

    /// Whether OpenSSL is needed to connect, with a user or without.
    pub(super) fn needs_openssl(&self, has_user: bool) -> bool {
        self.is_tls || has_user && self.mechanism != Mechanism::Plain
    }

    /// Where it is, for texts.
    pub(super) fn place(&self) -> String {
        format!("Kafka at {}", self.hosts.join(","))
    }
}

/// Returns `host:port` of a host with or without a port; none if it is no such thing.
fn read_host(text: &str, default_port: u16) -> Option<String> {
    let (host, port) = match text.strip_prefix('[') {
        // An IPv6 address has colons of its own.
        Some(rest) => {
            let (address, rest) = rest.split_once(']')?;
            let _: std::net::Ipv6Addr = address.parse().ok()?;
            let port = match rest {
                "" => None,
                rest => Some(rest.strip_prefix(':')?),
            };
            (format!("[{address}]"), port)
        }
        None => match text.split_once(':') {
            Some((host, port)) => (host.to_owned(), Some(port)),
            None => (text.to_owned(), None),
        },
    };
    let is_of_name = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    if host.is_empty() || !host.starts_with('[') && !host.bytes().all(is_of_name) {
        return None;
    }
    let port: u16 = match port {
        Some(port) => port.parse().ok()?,
        None => default_port,
    };
    Some(format!("{host}:{port}"))
}

fn read_mechanism(query: &str) -> Result<Mechanism, String> {
    let name = query
        .strip_prefix("sasl=")
        .ok_or("must have no parameter but sasl")?;
    let mut known = Mechanism::ALL.into_iter();
    known
        .find(|known| known.name().eq_ignore_ascii_case(name))
        .ok_or_else(|| {
            let names = Mechanism::ALL.map(|known| known.name().to_ascii_lowercase());
            format!("must have sasl={}", names.join(" or sasl="))
        })
}

#[cfg(test)]
mod tests {
    use super::{Cluster, Mechanism};

    #[track_caller]
    fn check(url: &str, expected: Result<(bool, &str, Mechanism), &str>) {
        let found = Cluster::parse(url);
        match (found, expected) {
            (Ok(found), Ok((is_tls, hosts, mechanism))) => {
                assert_eq!(found.is_tls, is_tls, "{url}");
                assert_eq!(found.hosts.join(" "), hosts, "{url}");
                assert_eq!(found.mechanism, mechanism, "{url}");
            }
            (Err(found), Err(expected)) => assert!(found.contains(expected), "{url}: {found}"),
            (found, _) => panic!("{url}: {found:?}"),
        }
    }

    #[test]
    fn urls_name_brokers_and_how_to_log_in() {
        let plain = Mechanism::Plain;
        check("kafka://broker", Ok((false, "broker:9092", plain)));
        check("kafkas://broker/", Ok((true, "broker:9093", plain)));
        check(
            "kafka://a.example:29,b-2.example",
            Ok((false, "a.example:29 b-2.example:9092", plain)),
        );
        check(
            "kafka://[::1]:29,[::1]",
            Ok((false, "[::1]:29 [::1]:9092", plain)),
        );
        check(
            "kafkas://broker:1?sasl=scram-sha-512",
            Ok((true, "broker:1", Mechanism::Scram512)),
        );
        check(
            "kafka://b?sasl=SCRAM-SHA-256",
            Ok((false, "b:9092", Mechanism::Scram256)),
        );
        check("kafka://b?sasl=plain", Ok((false, "b:9092", plain)));
    }

    #[test]
    fn a_url_that_is_not_one_is_refused() {
        check("amqp://broker", Err("must begin with kafka://"));
        check("broker:9092", Err("must begin with kafka://"));
        check("kafka://", Err("must name brokers"));
        check("kafka://a,,b", Err("must name brokers"));
        check("kafka://a:x", Err("must name brokers"));
        check("kafka://a:99999", Err("must name brokers"));
        check("kafka://a b", Err("must name brokers"));
        check("kafka://a/topic", Err("must name brokers"));
        check("kafka://::1", Err("must name brokers"));
        check("kafka://[x]:1", Err("must name brokers"));
        check("kafka://user:secret@broker", Err("must not hold a user"));
        check("kafka://b?acks=0", Err("no parameter but sasl"));
        check("kafka://b?sasl=gssapi", Err("sasl=scram-sha-512"));
        check(&format!("kafka://{}b", "a,".repeat(16)), Err("at most 16"));
    }
}
