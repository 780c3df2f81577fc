//! This server as a node of a cluster.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tributary_api::code::ErrorCode;
use tributary_api::error::ApiError;
use tributary_api::leadership::{Leadership, NodeAddress, Role};

/// Longest time since a follower knew that it had everything, after which it answers no reads.
pub(crate) const CONFIRMED_AGO_MAX: Duration = Duration::from_secs(5);

/// Time after which a request that a node could not answer may be sent again.
pub(crate) const RETRY_AFTER: Duration = Duration::from_secs(1);

/// This server as a node of a cluster.
pub(crate) struct ClusterNode {
    pub(crate) leadership: Arc<dyn Leadership>,
    /// Name of this node.
    pub(crate) name: String,
    /// How TLS connections to other nodes are made.
    pub(crate) tls: rustls::ClientConfig,
    pub(crate) counts: ForwardCounts,
}

/// Numbers of requests that had to go to the leader, by what became of them.
#[derive(Debug, Default)]
pub(crate) struct ForwardCounts {
    /// The leader answered.
    pub(crate) answered: AtomicU64,
    /// No leader could be reached in time.
    pub(crate) no_leader: AtomicU64,
    /// They were sent, and the answer was lost or did not come in time.
    pub(crate) lost: AtomicU64,
    /// Another node sent them here, and this node does not lead.
    pub(crate) refused: AtomicU64,
}

/// Node that leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Leader {
    /// This node.
    ThisNode,
    /// Another node.
    Other(NodeAddress),
    /// Nobody, as far as this node knows.
    Unknown,
    /// This node has stopped for good.
    Stopped,
}

impl ClusterNode {
    /// Returns a node that trusts the certificates in `ca_file` where the URL of another node is an https URL; without a file, none.
    ///
    /// # Errors
    /// If the file can't be read or holds no certificate.
    pub(crate) fn new(
        leadership: Arc<dyn Leadership>,
        ca_file: Option<&Path>,
    ) -> Result<ClusterNode, String> {
        let roots = ca_file.map(read_roots).transpose()?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots.unwrap_or_else(RootCertStore::empty))
            .with_no_client_auth();
        Ok(ClusterNode {
            name: leadership.figures().node,
            leadership,
            tls,
            counts: ForwardCounts::default(),
        })
    }

    /// Returns the node that leads.
    pub(crate) fn leader(&self) -> Leader {
        match self.leadership.role() {
            Role::Leader => Leader::ThisNode,
            Role::Follower { leader: None } => Leader::Unknown,
            // Its own promotion is just being completed.
            Role::Follower { leader: Some(node) } if node.name == self.name => Leader::ThisNode,
            Role::Follower { leader: Some(node) } => Leader::Other(node),
            Role::Stopped { .. } => Leader::Stopped,
        }
    }

    /// Checks that a follower knew a short time ago that it had everything.
    pub(crate) fn require_current(&self) -> Result<(), ApiError> {
        let confirmed_ago = self.leadership.confirmed_ago();
        if confirmed_ago.is_some_and(|ago| ago <= CONFIRMED_AGO_MAX) {
            return Ok(());
        }
        let seconds = CONFIRMED_AGO_MAX.as_secs();
        let message = format!(
            "This node has not confirmed within {seconds} seconds that it has everything that was decided. Ask another node."
        );
        Err(ApiError::new(ErrorCode::Unavailable, message).retry_after(RETRY_AFTER))
    }

    /// Error of a node that has stopped for good.
    pub(crate) fn stopped(&self) -> ApiError {
        ApiError::new(
            ErrorCode::Stopping,
            "This node has stopped. Ask another node.",
        )
        .retry_after(RETRY_AFTER)
    }

    /// Refuses a request that another node sent here, because this node does not lead.
    pub(crate) fn refuse_second_hop(&self, leader: &Leader) -> ApiError {
        ForwardCounts::count(&self.counts.refused);
        let message = match leader {
            Leader::Other(node) => {
                format!(
                    "This node does not lead the cluster. The leader is {} at {}.",
                    node.name, node.url
                )
            }
            _ => "This node does not lead the cluster, and knows no leader now.".to_owned(),
        };
        ApiError::new(ErrorCode::NotLeader, message)
    }
}

impl ForwardCounts {
    /// Adds one to a count.
    pub(crate) fn count(count: &AtomicU64) {
        count.fetch_add(1, Ordering::Relaxed);
    }
}

fn read_roots(path: &Path) -> Result<RootCertStore, String> {
    let wrong = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let certificates: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|error| wrong(&error))?;
    let mut roots = RootCertStore::empty();
    match roots.add_parsable_certificates(certificates) {
        (0, _) => Err(wrong(&"it holds no certificate")),
        _ => Ok(roots),
    }
}
