//! The addresses of a host, each of which is a node, such as those of a headless service of Kubernetes.

use std::net::{SocketAddr, ToSocketAddrs as _};

use super::fixed::node_at;
use super::place::{Place, Server};
use super::port::{Announcement, Discovery, DiscoveryError, Node};

/// All addresses of one host.
pub(super) struct Dns {
    server: Server,
}

impl Dns {
    pub(super) fn open(place: &Place) -> Result<Dns, DiscoveryError> {
        match &*place.servers {
            [server] => Ok(Dns {
                server: server.clone(),
            }),
            _ => Err(DiscoveryError::Unfit(
                "dns:// takes one host, whose addresses are the nodes".to_owned(),
            )),
        }
    }
}

impl Discovery for Dns {
    fn announce(&self, _node: Node) -> Result<Announcement, DiscoveryError> {
        Err(DiscoveryError::Unfit(
            "in DNS whoever runs the nodes announces them (in Kubernetes a headless service)"
                .to_owned(),
        ))
    }

    fn nodes(&self) -> Result<Vec<Node>, DiscoveryError> {
        let Server { host, port } = &self.server;
        let found = (host.as_str(), *port).to_socket_addrs();
        let found = found.map_err(|error| {
            DiscoveryError::Unreachable(format!("{host} can't be looked up: {error}"))
        })?;
        let node = |address: SocketAddr| {
            node_at(&Server {
                host: address.ip().to_string(),
                port: address.port(),
            })
        };
        let mut nodes: Vec<Node> = found.map(node).collect();
        nodes.sort();
        nodes.dedup();
        Ok(nodes)
    }
}
