//! The cluster, as it looks from one of its nodes.

use serde::Serialize;
use tributary_engine::{NEWEST, Versions};
use utoipa::ToSchema;
use utoipa::openapi::schema::Object;

use crate::leadership::{ClusterFigures, NodeAddress, Role};
use crate::schema::one_of;

/// Roles of a server that is a node of a cluster.
const ROLES: [&str; 3] = ["leader", "follower", "stopped"];

fn roles() -> Object {
    one_of(ROLES)
}

/// A cluster as one of its nodes knows it.
#[derive(Serialize, ToSchema)]
#[schema(as = Cluster)]
pub struct ClusterObject {
    #[schema(pattern = "^cluster$")]
    object: &'static str,
    /// Id of the shared log, in hexadecimal.
    log: String,
    /// Name of this node.
    node: String,
    /// `leader`: this node decides; `follower`: it shows what another node decides; `stopped`: it has stopped for good.
    #[schema(schema_with = roles)]
    role: &'static str,
    /// Where the leader is, if this node follows one; null otherwise.
    #[schema(required)]
    leader: Option<LeaderObject>,
    /// Why the node has stopped; null if it has not.
    #[schema(required)]
    why_stopped: Option<String>,
    /// Term of the present leader; 0 before the first.
    #[schema(minimum = 0)]
    term: u64,
    /// Name of the node that claimed the present term; null before the first. It may have yielded.
    #[schema(required)]
    claimed_by: Option<String>,
    /// Position of the last record that no failure takes back that the log survives.
    #[schema(minimum = 0)]
    settled_position: u64,
    /// Position that this node shows to its readers.
    #[schema(minimum = 0)]
    position: u64,
    /// Milliseconds since this node last knew that it had everything; null if it never did.
    #[schema(required, minimum = 0)]
    confirmed_ms_ago: Option<u64>,
    /// Versions in which the leader decides and writes records.
    written: VersionsObject,
    /// Newest versions that this node knows. Above `written` until the upgrade is finalized.
    newest: VersionsObject,
    /// Entries of the log that this node has read.
    #[schema(minimum = 0)]
    entries: u64,
    /// Those of them that did not count: written by a node that led no longer, or twice.
    #[schema(minimum = 0)]
    entries_ignored: u64,
    /// How often the leader changed since this process began.
    #[schema(minimum = 0)]
    leader_changes: u64,
}

/// Versions of records.
#[derive(Serialize, ToSchema)]
#[schema(as = RecordVersions)]
pub struct VersionsObject {
    /// Version of their format.
    format: u16,
    /// Version of the rules by which they are decided.
    rules: u16,
}

impl From<Versions> for VersionsObject {
    fn from(versions: Versions) -> VersionsObject {
        VersionsObject {
            format: versions.format,
            rules: versions.rules,
        }
    }
}

/// A node that leads.
#[derive(Serialize, ToSchema)]
#[schema(as = ClusterLeader)]
pub struct LeaderObject {
    /// Name of the node.
    node: String,
    /// URL of the node for REST.
    url: String,
    /// URL of the node for gRPC; null if it serves none.
    #[schema(required)]
    grpc_url: Option<String>,
}

impl From<NodeAddress> for LeaderObject {
    fn from(address: NodeAddress) -> LeaderObject {
        LeaderObject {
            node: address.name,
            url: address.url,
            grpc_url: address.grpc_url,
        }
    }
}

/// Returns the word for a role.
pub fn role_word(role: &Role) -> &'static str {
    let [leader, follower, stopped] = ROLES;
    match role {
        Role::Leader => leader,
        Role::Follower { .. } => follower,
        Role::Stopped { .. } => stopped,
    }
}

/// Returns the cluster as a node knows it that has this role and shows this position.
pub fn cluster(role: Role, figures: ClusterFigures, position: u64) -> ClusterObject {
    let word = role_word(&role);
    let (leader, why_stopped) = match role {
        Role::Leader => (None, None),
        Role::Follower { leader } => (leader, None),
        Role::Stopped { why } => (None, Some(why)),
    };
    let millis = figures.confirmed_ago.map(|ago| ago.as_millis());
    ClusterObject {
        object: "cluster",
        log: figures.log_id,
        node: figures.node,
        role: word,
        leader: leader.map(LeaderObject::from),
        why_stopped,
        term: figures.term,
        claimed_by: figures.leader,
        settled_position: figures.settled_position,
        position,
        confirmed_ms_ago: millis.map(|millis| u64::try_from(millis).unwrap_or(u64::MAX)),
        written: figures.written.into(),
        newest: NEWEST.into(),
        entries: figures.entries,
        entries_ignored: figures.entries_ignored,
        leader_changes: figures.leader_changes,
    }
}
