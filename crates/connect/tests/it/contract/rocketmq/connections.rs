//! What is said of connections: users, silence, and TLS.

use tributary_connect::port::{Adapter, TroubleKind};

use super::RocketMqRig;
use crate::contract::tls::Certificates;
use crate::contract::{Rig, binding, failed, outgoing, refused, silence, source, take_until, user};

pub(super) async fn pass(rig: &RocketMqRig) {
    a_user_without_permission_is_told(rig).await;
    tls_trusts_the_given_roots_only(rig).await;
    a_broker_that_does_not_answer_is_told(rig).await;
}

async fn a_user_without_permission_is_told(rig: &RocketMqRig) {
    let queue = rig.make_queue().await;
    let cluster = ["-c", "DefaultCluster"];
    let make = [
        "createUser",
        "-u",
        "reader",
        "-p",
        "reader-secret",
        "-t",
        "Normal",
    ];
    rig.admin(&[&make[..], &cluster].concat(), "success").await;
    let reader = user(rig.binder(), "reader", "reader-secret");
    let opened = rig.adapter.open_source(&reader, &binding(&queue, 1)).await;
    let trouble = failed(opened, TroubleKind::CredentialsRefused);
    assert!(!trouble.text.contains("secret"), "{trouble}");
    let sink = rig.adapter.open_sink(&reader).await.expect("it may log in");
    let trouble = refused(sink.send(&outgoing(rig, &queue, "x")).await);
    assert_eq!(trouble.kind, TroubleKind::CredentialsRefused, "{trouble}");
    assert!(trouble.text.contains(&queue), "{trouble}");
}

async fn tls_trusts_the_given_roots_only(rig: &RocketMqRig) {
    let port = rig.engine.address().port();
    let url = |host: &str| format!("https://{host}:{port}");
    let certificates = Certificates::made_by(&rig.engine);
    certificates
        .check(rig, url("localhost"), url("127.0.0.1"))
        .await;
}

/// Line 17: its connections stay, and nothing comes.
async fn a_broker_that_does_not_answer_is_told(rig: &RocketMqRig) {
    let queue = rig.make_queue().await;
    let late = silence::is_told(rig, &rig.engine, &queue).await;
    failed(late, TroubleKind::Unreachable);
    let mut again = source(rig, &binding(&queue, 10)).await;
    // The other one may have been kept, and come first.
    take_until(again.as_mut(), "before").await;
    again.close().await;
}
