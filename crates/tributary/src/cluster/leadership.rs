//! The standing of a node in its cluster, as the server asks for it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tributary_api::leadership::{ClusterFigures, Confirmed, Leadership, NodeAddress, Role};
use tributary_cluster::backend::Member;
use tributary_messaging::Messaging;

/// How long a confirmation may take.
const CONFIRM_WITHIN: Duration = Duration::from_secs(10);

/// A node, as the server sees it.
pub(crate) struct ClusterLeadership {
    /// Name of the node.
    pub(crate) node: String,
    pub(crate) member: Arc<Member>,
    pub(crate) messaging: Option<Arc<Messaging>>,
}

impl Leadership for ClusterLeadership {
    fn role(&self) -> Role {
        // First what costs least: a node that has stopped does not lead.
        if self.member.leads() {
            return Role::Leader;
        }
        if let Some(why) = self.member.why_stopped() {
            return Role::Stopped { why };
        }
        let standing = self.member.standing();
        let leader = standing.leader.filter(|_| !standing.has_yielded);
        // A node that claimed and does not decide yet is no address to send anything to.
        let leader = leader.filter(|(name, _)| *name != self.node);
        Role::Follower {
            leader: leader.map(|(name, url)| address(name, &url)),
        }
    }

    fn figures(&self) -> ClusterFigures {
        let standing = self.member.standing();
        ClusterFigures {
            log_id: hex::encode(standing.log_id),
            node: self.node.clone(),
            term: standing.term,
            leader: standing.leader.map(|(name, _)| name),
            settled_position: standing.position,
            written: standing.versions,
            entries: standing.entries,
            entries_ignored: standing.entries_ignored,
            leader_changes: standing.leader_changes,
            confirmed_ago: standing.confirmed.map(|at| at.elapsed()),
            appends: standing.appends,
            append_time: standing.append_time,
            appends_unknown: standing.appends_unknown,
        }
    }

    fn confirmed_ago(&self) -> Option<Duration> {
        self.member.confirmed().map(|at| at.elapsed())
    }

    fn confirm(&self) -> Confirmed {
        let (sender, receiver) = oneshot::channel();
        self.member.confirm(Box::new(move |position| {
            let _gone = sender.send(position);
        }));
        Box::pin(async move {
            let confirmed = tokio::time::timeout(CONFIRM_WITHIN, receiver).await;
            confirmed.ok()?.ok()?
        })
    }

    fn hand_over(&self, to: Option<&str>) {
        hand_over(&self.member, self.messaging.as_deref(), to);
    }

    fn finalize_upgrade(&self) {
        self.member.finalize_upgrade();
    }
}

/// Hands the leadership over, after what is known of deliveries was written down for the next leader.
pub(crate) fn hand_over(member: &Member, messaging: Option<&Messaging>, to: Option<&str>) {
    if !member.leads() {
        return;
    }
    if let Some(messaging) = messaging {
        messaging.close();
    }
    member.hand_over(to.unwrap_or_default());
}

/// Reads what [`super::node::identity`] made of the urls of a node.
fn address(name: String, urls: &str) -> NodeAddress {
    let (url, grpc_url) = match urls.split_once(' ') {
        Some((url, grpc)) => (url, Some(grpc.to_owned())),
        None => (urls, None),
    };
    NodeAddress {
        name,
        url: url.to_owned(),
        grpc_url,
    }
}
