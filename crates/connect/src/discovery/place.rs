//! Places of registries, as URLs: `consul://host:8500,host:8500/name`.

use super::port::DiscoveryError;

/// Maximum number of servers in a URL.
const SERVERS_MAX: usize = 16;

/// Kind of registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Consul,
    Etcd,
    Dns,
    Static,
}

/// Where a registry is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) kind: Kind,
    pub(super) is_tls: bool,
    /// At least one; one is as good as another.
    pub(super) servers: Vec<Server>,
    /// What follows the servers, without its first slash: the name of a service, or a key.
    pub(super) path: String,
}

/// A host and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Server {
    /// Name or address, the latter without brackets.
    pub(super) host: String,
    pub(super) port: u16,
}

impl Kind {
    /// Returns the kind that a scheme stands for, and whether it means TLS.
    pub(super) fn of_scheme(scheme: &str) -> Option<(Kind, bool)> {
        match scheme {
            "consul" => Some((Kind::Consul, false)),
            "consuls" => Some((Kind::Consul, true)),
            "etcd" => Some((Kind::Etcd, false)),
            "etcds" => Some((Kind::Etcd, true)),
            "dns" => Some((Kind::Dns, false)),
            "static" => Some((Kind::Static, false)),
            _ => None,
        }
    }

    /// Port of a server that is named without one; none if it must have one.
    fn default_port(self) -> Option<u16> {
        match self {
            Kind::Consul => Some(8500),
            Kind::Etcd => Some(2379),
            Kind::Dns | Kind::Static => None,
        }
    }
}

impl Place {
    /// Reads a URL.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn parse(url: &str) -> Result<Place, DiscoveryError> {
        let unfit = |what: &str| DiscoveryError::Unfit(format!("{url}: {what}"));
        let (scheme, rest) = url.split_once("://").ok_or_else(|| {
            unfit("it must be a URL such as consul://host:8500/name or etcd://host:2379/name")
        })?;
        let (kind, is_tls) = Kind::of_scheme(scheme).ok_or_else(|| {
            unfit(
                "it must begin with consul://, consuls://, etcd://, etcds://, dns:// or static://",
            )
        })?;
        let (servers, path) = rest.split_once('/').unwrap_or((rest, ""));
        if servers.contains('@') {
            return Err(DiscoveryError::Unfit(
                "the URL of a registry must hold no password: use discovery.credential_file"
                    .to_owned(),
            ));
        }
        let servers: Option<Vec<Server>> = servers
            .split(',')
            .map(|server| Server::parse(server, kind.default_port()))
            .collect();
        let servers = servers.ok_or_else(|| unfit("it must name each server as host:port"))?;
        if servers.len() > SERVERS_MAX {
            return Err(unfit("it names more than 16 servers"));
        }
        let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "-_./".contains(letter);
        if !path.chars().all(is_plain) || path.ends_with('/') {
            return Err(unfit(
                "what follows the servers may have letters, digits, -, _, . and / only",
            ));
        }
        let needs_path = matches!(kind, Kind::Consul | Kind::Etcd);
        match needs_path {
            true if path.is_empty() => Err(unfit(
                "it must end with a name, as in etcd://host:2379/name",
            )),
            false if !path.is_empty() => Err(unfit("nothing may follow the servers")),
            _ => Ok(Place {
                kind,
                is_tls,
                servers,
                path: path.to_owned(),
            }),
        }
    }

    /// Names the registry, for texts.
    pub(super) fn name(&self) -> String {
        let servers: Vec<String> = self.servers.iter().map(Server::to_string).collect();
        let kind = match self.kind {
            Kind::Consul => "Consul",
            Kind::Etcd => "etcd",
            Kind::Dns => "DNS",
            Kind::Static => "the list",
        };
        format!("{kind} at {}", servers.join(","))
    }
}

impl Server {
    fn parse(text: &str, default_port: Option<u16>) -> Option<Server> {
        // An address of IPv6 has colons of its own, and so it has brackets.
        let after_host = text.rfind(']').map_or(0, |end| end + 1);
        let (host, port) = match text[after_host..].find(':') {
            Some(colon) => {
                let (host, port) = text.split_at(after_host + colon);
                (host, Some(port[1..].parse().ok()?))
            }
            None => (text, default_port),
        };
        let host = host.trim_matches(['[', ']']);
        let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "-_.:".contains(letter);
        (!host.is_empty() && host.chars().all(is_plain)).then_some(Server {
            host: host.to_owned(),
            port: port?,
        })
    }
}

impl std::fmt::Display for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(url: &str, kind: Kind, is_tls: bool, servers: &[(&str, u16)], path: &str) {
        let server = |(host, port): &(&str, u16)| Server {
            host: (*host).to_owned(),
            port: *port,
        };
        let expected = Place {
            kind,
            is_tls,
            servers: servers.iter().map(server).collect(),
            path: path.to_owned(),
        };
        assert_eq!(Place::parse(url), Ok(expected), "{url}");
    }

    #[test]
    fn places_are_read() {
        check("consul://c/a", Kind::Consul, false, &[("c", 8500)], "a");
        check(
            "consuls://c:1/a/b.toml",
            Kind::Consul,
            true,
            &[("c", 1)],
            "a/b.toml",
        );
        let three = [("a", 2379), ("b", 7), ("::1", 8)];
        check("etcd://a,b:7,[::1]:8/x", Kind::Etcd, false, &three, "x");
        check("etcds://[::1]/x", Kind::Etcd, true, &[("::1", 2379)], "x");
        check(
            "dns://nodes.svc:80",
            Kind::Dns,
            false,
            &[("nodes.svc", 80)],
            "",
        );
        check(
            "static://a:1,b:2",
            Kind::Static,
            false,
            &[("a", 1), ("b", 2)],
            "",
        );
    }

    #[test]
    fn a_place_that_is_not_one_is_refused() {
        for (url, what) in [
            ("consul", "must be a URL"),
            ("zookeeper://a/b", "must begin with consul://"),
            ("etcd://a", "must end with a name"),
            ("etcd://a/", "must end with a name"),
            ("etcd://a/b/", "letters, digits"),
            ("etcd://a/b?c=d", "letters, digits"),
            ("etcd:///b", "host:port"),
            ("etcd://a:b/c", "host:port"),
            ("etcd://a,,b/c", "host:port"),
            ("dns://a", "host:port"),
            ("dns://a:1/b", "nothing may follow"),
            ("consul://me:secret@a/b", "credential_file"),
        ] {
            let error = Place::parse(url).expect_err(url).to_string();
            assert!(error.contains(what), "{url}: {error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn a_registry_has_a_name() {
        let place = Place::parse("etcd://a,[::1]:8/x").expect("a place");
        assert_eq!(place.name(), "etcd at a:2379,[::1]:8");
    }
}
