//! A fixed list of nodes, which are where the list says.

use super::place::{Place, Server};
use super::port::{Announcement, Discovery, DiscoveryError, Node};

/// A fixed list of nodes.
pub(super) struct Fixed {
    nodes: Vec<Node>,
}

impl Fixed {
    pub(super) fn open(place: Place) -> Result<Fixed, DiscoveryError> {
        let nodes = place.servers.iter().map(node_at);
        Ok(Fixed {
            nodes: nodes.collect(),
        })
    }
}

impl Discovery for Fixed {
    fn announce(&self, _node: Node) -> Result<Announcement, DiscoveryError> {
        Err(DiscoveryError::Unfit(
            "a list is fixed, so no node can be announced there".to_owned(),
        ))
    }

    fn nodes(&self) -> Result<Vec<Node>, DiscoveryError> {
        Ok(self.nodes.clone())
    }
}

/// Returns the node at an address, of which nothing else is known.
pub(super) fn node_at(server: &Server) -> Node {
    let url = format!("http://{server}");
    Node {
        name: server.to_string(),
        health_url: format!("{url}/health/ready"),
        url,
        grpc_url: None,
    }
}
