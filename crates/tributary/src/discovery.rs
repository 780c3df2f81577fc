//! Announces this server to Consul or etcd while it runs.

use anyhow::Context as _;
use tributary_connect::discovery::open_discovery;
use tributary_connect::discovery::port::{Announcement, Discovery, Node};

use crate::config::{self, Config};
use crate::config_source::read_access;
use crate::exit::usage_error;

/// A registry that the configuration names.
pub(crate) struct Registry {
    url: String,
    discovery: Box<dyn Discovery>,
}

/// Opens the registry; none if the server is not to be announced. Nothing is asked yet.
pub(crate) fn open(given: &config::Discovery) -> anyhow::Result<Option<Registry>> {
    let Some(url) = &given.announce else {
        return Ok(None);
    };
    let access = read_access(given.credential_file.as_deref(), given.ca_file.as_deref())?;
    let wrong = |error| usage_error(format!("discovery.announce: {error}"));
    let is_registry = ["consul", "etcd"].iter().any(|kind| url.starts_with(kind));
    if !is_registry {
        return Err(wrong(format!(
            "`{url}` must begin with consul:// or etcd://"
        )));
    }
    let discovery = open_discovery(url, &access).map_err(|error| wrong(error.to_string()))?;
    Ok(Some(Registry {
        url: url.clone(),
        discovery,
    }))
}

impl Registry {
    /// Announces this server, which listens at `url` and for gRPC at `grpc_url`, until the result is dropped.
    pub(crate) fn announce(
        &self,
        config: &Config,
        url: &str,
        grpc_url: Option<&str>,
    ) -> anyhow::Result<Announcement> {
        let node = this_node(config, url, grpc_url);
        let announced = self.discovery.announce(node);
        announced.with_context(|| format!("this server can't be announced to {}", self.url))
    }
}

/// Describes this server: as the node of a cluster, or else by where it listens.
fn this_node(config: &Config, url: &str, grpc_url: Option<&str>) -> Node {
    let cluster = &config.cluster;
    match (&cluster.node, &cluster.url) {
        (Some(name), Some(url)) => Node {
            name: name.clone(),
            health_url: format!("{url}/health/ready"),
            grpc_url: cluster.grpc_url.clone(),
            url: url.clone(),
        },
        _ => listening_node(config, url, grpc_url),
    }
}

/// Describes a server without a cluster. Its address is the one that it listens at, or its host's name if that is every address.
fn listening_node(config: &Config, url: &str, grpc_url: Option<&str>) -> Node {
    // This is where Linux has the name of the machine.
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = match host.trim() {
        "" => "localhost",
        host => host,
    };
    let reachable = |url: &str, is_unspecified: bool| match url.rsplit_once(':') {
        Some((before, port)) if is_unspecified => {
            let scheme = before
                .split_once("://")
                .map_or("http", |(scheme, _)| scheme);
            format!("{scheme}://{host}:{port}")
        }
        _ => url.to_owned(),
    };
    let port = url.rsplit_once(':').map_or("", |(_, port)| port);
    let grpc_is_unspecified = config
        .grpc_listen
        .is_some_and(|listen| listen.ip().is_unspecified());
    let reachable_url = reachable(url, config.listen.ip().is_unspecified());
    Node {
        name: format!("{host}-{port}"),
        health_url: format!("{reachable_url}/health/ready"),
        grpc_url: grpc_url.map(|url| reachable(url, grpc_is_unspecified)),
        url: reachable_url,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_announced_where_others_reach_it() {
        let mut config = Config::default();
        let node = this_node(&config, "http://127.0.0.1:8080", None);
        assert_eq!(node.url, "http://127.0.0.1:8080");
        assert_eq!(node.health_url, "http://127.0.0.1:8080/health/ready");
        assert!(node.name.ends_with("-8080"), "{}", node.name);
        config.listen = "[::]:8443".parse().expect("an address");
        config.grpc_listen = Some("0.0.0.0:1".parse().expect("an address"));
        let node = this_node(&config, "https://[::]:8443", Some("https://0.0.0.0:1"));
        let host = node.name.strip_suffix("-8443").expect("a port");
        assert_eq!(node.url, format!("https://{host}:8443"));
        assert_eq!(node.grpc_url, Some(format!("https://{host}:1")));
    }

    #[test]
    fn a_node_of_a_cluster_is_announced_as_other_nodes_know_it() {
        let mut config = Config::default();
        config.cluster.node = Some("node-0".to_owned());
        config.cluster.url = Some("http://10.0.0.1:8080".to_owned());
        let node = this_node(&config, "http://127.0.0.1:80", Some("http://127.0.0.1:81"));
        assert_eq!(node.name, "node-0");
        assert_eq!(node.url, "http://10.0.0.1:8080");
        assert_eq!(node.health_url, "http://10.0.0.1:8080/health/ready");
        assert_eq!(node.grpc_url, None, "it says nowhere where others reach it");
    }

    #[test]
    fn only_a_registry_is_announced_to() {
        let open_at = |url: &str| {
            let announce = Some(url.to_owned());
            open(&config::Discovery {
                announce,
                ..config::Discovery::default()
            })
            .map(|registry| registry.is_some())
            .map_err(|error| error.to_string())
        };
        assert_eq!(open_at("consul://c/tributary"), Ok(true));
        assert_eq!(open_at("etcds://e:1/tributary"), Ok(true));
        for url in ["dns://a:1", "static://a:1", "zookeeper://a/b", "etcd://a"] {
            let error = open_at(url).expect_err(url);
            assert!(error.starts_with("discovery.announce: "), "{error}");
        }
    }
}
