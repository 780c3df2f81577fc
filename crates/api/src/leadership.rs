//! Where a node stands among the nodes of its cluster: what a server needs to know to answer by itself or to forward a request.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use tributary_engine::Versions;

/// Where another node is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeAddress {
    /// Name of the node, which no other node of the cluster has.
    pub name: String,
    /// URL for REST, without a path: `https://a.example:8080`.
    pub url: String,
    /// URL for gRPC, if the node serves it.
    pub grpc_url: Option<String>,
}

/// What a node is in its cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// It decides.
    Leader,
    /// It shows what another node decides.
    Follower {
        /// The node that leads; none while nobody does.
        leader: Option<NodeAddress>,
    },
    /// It has stopped for good, and the process ends soon.
    Stopped {
        /// One sentence for a person.
        why: String,
    },
}

/// Figures of a node of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterFigures {
    /// Id of the log, hexadecimal.
    pub log_id: String,
    /// Name of this node.
    pub node: String,
    /// Term of the present leader; 0 before the first.
    pub term: u64,
    /// Name of the node that claimed the present term; none before the first. It may have yielded.
    pub leader: Option<String>,
    /// Position of the last record that is settled: no failure that the log survives takes it back.
    pub settled_position: u64,
    /// Versions in which records are decided and written.
    pub written: Versions,
    /// Number of entries of the log that this node has folded.
    pub entries: u64,
    /// Those of them that did not count: written by a node that led no longer, or twice.
    pub entries_ignored: u64,
    /// How often the leader changed since this process began.
    pub leader_changes: u64,
    /// Time since this node last knew that it had the end of the log; none if it never did.
    pub confirmed_ago: Option<Duration>,
    /// Entries that this process appended and the log acknowledged, and how long that took in all.
    pub appends: u64,
    /// See `appends`.
    pub append_time: Duration,
    /// Entries whose append had an unknown result.
    pub appends_unknown: u64,
}

/// Result of [`Leadership::confirm`].
pub type Confirmed = Pin<Box<dyn Future<Output = Option<u64>> + Send>>;

/// The standing of this node in its cluster. A server that is alone has none.
pub trait Leadership: Send + Sync {
    /// Returns what the node is now. Asked for every request, so it must be cheap.
    fn role(&self) -> Role;

    /// Returns figures for metrics and for people.
    fn figures(&self) -> ClusterFigures;

    /// Returns the time since this node last knew that it had the end of the log; none if it never did. Asked for every read of a
    /// follower, so it must be cheap.
    fn confirmed_ago(&self) -> Option<Duration> {
        self.figures().confirmed_ago
    }

    /// Confirms that this node has read everything that was answered anywhere before the call. Gives the position that the view must
    /// have reached for a read to see that; none if the log can't be reached now.
    fn confirm(&self) -> Confirmed;

    /// Has the leadership handed over, to the node of this name, or to any. Returns at once; nothing happens if this node does not lead.
    fn hand_over(&self, to: Option<&str>);

    /// Has records decided and written in the newest versions that this node knows. Returns at once; nothing happens if this node does not
    /// lead.
    fn finalize_upgrade(&self);
}
