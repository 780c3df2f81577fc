//! The standing of the node over whose store a server runs, where `TRIBUTARY_TEST_LOG` names a log.

use std::sync::Arc;

use tokio::sync::oneshot;
use tributary_api::leadership::{ClusterFigures, Confirmed, Leadership, Role};
use tributary_testkit::store::TestStore;

struct Node(TestStore);

/// Returns the standing of the node of this store; none if it is that of no node.
pub(crate) fn leadership_of(store: &TestStore) -> Option<Arc<dyn Leadership>> {
    let is_node = store.with_member(|_| ()).is_some();
    is_node.then(|| Arc::new(Node(store.clone())) as Arc<dyn Leadership>)
}

impl Leadership for Node {
    fn role(&self) -> Role {
        match self.0.with_member(|member| member.leads()) {
            Some(true) => Role::Leader,
            _ => Role::Follower { leader: None },
        }
    }

    fn figures(&self) -> ClusterFigures {
        let standing = self.0.with_member(|member| member.standing());
        let standing = standing.unwrap_or_default();
        ClusterFigures {
            log_id: standing.log_id.map(|byte| format!("{byte:02x}")).concat(),
            node: "node".to_owned(),
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

    fn confirm(&self) -> Confirmed {
        let (sender, receiver) = oneshot::channel();
        self.0.with_member(|member| {
            member.confirm(Box::new(move |position| {
                let _gone = sender.send(position);
            }));
        });
        Box::pin(async move { receiver.await.ok()? })
    }

    fn hand_over(&self, to: Option<&str>) {
        let to = to.unwrap_or_default();
        self.0.with_member(|member| member.hand_over(to));
    }

    fn finalize_upgrade(&self) {
        self.0.with_member(|member| member.finalize_upgrade());
    }
}
