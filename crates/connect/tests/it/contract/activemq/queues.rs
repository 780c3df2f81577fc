//! What is said of queues: which are refused, and which are made.

use tributary_connect::port::{Adapter, TroubleKind};

use super::{ADMIN, ActiveMqRig};
use crate::contract::{Rig, binding, destinations, failed, source, take, user};

pub(super) async fn pass(rig: &ActiveMqRig) {
    a_missing_queue_of_dead_letters_is_refused(rig).await;
    what_is_missing_is_created_to_last(rig).await;
}

async fn a_missing_queue_of_dead_letters_is_refused(rig: &ActiveMqRig) {
    let queue = rig.new_name("");
    rig.make(&queue).await;
    destinations::missing_dead_letters_are_told(rig, &queue).await;
    destinations::nobody_looks(rig, &queue).await;
}

async fn what_is_missing_is_created_to_last(rig: &ActiveMqRig) {
    let queue = rig.new_name("created.");
    destinations::create(rig, &queue).await;
    rig.put(&queue, &["kept".to_owned()]).await;
    rig.kill().await;
    rig.restart().await;
    // It passes the check.
    let mut checked = source(rig, &binding(&queue, 10)).await;
    assert_eq!(take(checked.as_mut(), 1).await, ["kept"]);
    checked.close().await;
}

/// Line 16, for a user who may create queues too.
pub(super) async fn destinations_that_lose_messages_are_refused(rig: &ActiveMqRig) {
    let admin = user(rig.binder(), ADMIN, ADMIN);
    let open = async |queue: &str| rig.adapter.open_source(&admin, &binding(queue, 1)).await;
    for (prefix, why) in [
        ("dropping.", "DROP"),
        ("expiring.", "expiry-delay"),
        ("giving-up.", "dead-letter-address"),
    ] {
        let queue = rig.new_name(prefix);
        rig.make(&queue).await;
        rig.make(&format!("{queue}.tributary.dlq")).await;
        let trouble = failed(open(&queue).await, TroubleKind::DestinationUnfit);
        assert!(trouble.text.contains(why), "{why}: {trouble}");
        assert!(trouble.text.contains(&queue), "{trouble}");
    }
    let queue = rig.make_queue().await;
    open(&queue).await.expect("it is fit").close().await;
    // A queue of several of one address.
    let qualified = format!("{queue}::{queue}");
    open(&qualified).await.expect("it is fit").close().await;
    // To look makes nothing.
    let queue = rig.new_name("");
    for _ in 0..2 {
        let trouble = failed(open(&queue).await, TroubleKind::DestinationMissing);
        assert!(trouble.text.contains(&queue), "{trouble}");
    }
}
