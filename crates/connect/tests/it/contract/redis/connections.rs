//! What is said of connections: users, silence, and TLS.

use tributary_connect::port::{Adapter, TroubleKind};

use super::RedisRig;
use crate::contract::engine::free_port;
use crate::contract::tls::Certificates;
use crate::contract::{
    Rig, binding, failed, nameless, outgoing, refused, silence, source, take, take_until, trouble,
    user,
};

pub(super) async fn pass(rig: &RedisRig) {
    users_and_their_permissions_are_told(rig).await;
    what_is_no_redis_is_told(rig).await;
    a_broker_that_does_not_answer_is_told(rig).await;
    tls_trusts_the_given_roots_only(rig).await;
}

async fn users_and_their_permissions_are_told(rig: &RedisRig) {
    let queue = rig.make_queue().await;
    let mut client = rig.connect().await;
    rig.put(&queue, &["one".to_owned()]).await;
    let terms = binding(&queue, 10);
    // The least that `docs/brokers/redis.md` names for a binding with `check`.
    let pattern = format!("~{queue}*");
    let reader = [
        "ACL",
        "SETUSER",
        "reader",
        "on",
        ">old-secret",
        &pattern,
        "+xreadgroup",
        "+xack",
        "+xclaim",
        "+xautoclaim",
        "+xadd",
        "+type",
        "+pttl",
        "+xinfo|groups",
    ];
    client.say(&reader).await;
    client
        .say(&["ACL", "SETUSER", "nobody", "on", ">no-secret"])
        .await;
    let reader = user(rig.binder(), "reader", "old-secret");
    let opened = rig.adapter.open_source(&reader, &terms).await;
    let mut running = opened.expect("it may");
    assert_eq!(take(running.as_mut(), 1).await, ["one"]);
    running.close().await;
    let nobody = user(rig.binder(), "nobody", "no-secret");
    let opened = rig.adapter.open_source(&nobody, &terms).await;
    failed(opened, TroubleKind::CredentialsRefused);
    let sink = rig.adapter.open_sink(&reader).await.expect("it may log in");
    let trouble = refused(sink.send(&outgoing(rig, "elsewhere", "x")).await);
    assert_eq!(trouble.kind, TroubleKind::CredentialsRefused, "{trouble}");
    assert!(trouble.text.contains("elsewhere"), "{trouble}");
    sink.send(&outgoing(rig, &queue, "two"))
        .await
        .expect("it is of further use");
    // A changed password is used by the next connection.
    client
        .say(&["ACL", "SETUSER", "reader", "resetpass", ">new-secret"])
        .await;
    let opened = rig.adapter.open_source(&reader, &terms).await;
    let trouble = failed(opened, TroubleKind::CredentialsRefused);
    assert!(!trouble.text.contains("secret"), "{trouble}");
    let changed = user(rig.binder(), "reader", "new-secret");
    let opened = rig.adapter.open_source(&changed, &terms).await;
    let mut running = opened.expect("it is the new password");
    assert_eq!(take(running.as_mut(), 1).await, ["two"]);
    running.close().await;
    // Who does not log in at all.
    let nameless = nameless(rig.binder());
    let trouble = rig.adapter.open_sink(&nameless).await.err();
    let trouble = trouble.expect("a password is needed");
    assert_eq!(trouble.kind, TroubleKind::CredentialsRefused, "{trouble}");
}

async fn what_is_no_redis_is_told(rig: &RedisRig) {
    let answers: [&[u8]; 3] = [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"$-7\r\n",
        b"*1\r\n*1\r\n:x\r\n",
    ];
    trouble::something_else_is_told(rig, "redis", &answers, "Redis at").await;
}

/// Line 17: its connections stay, and nothing comes.
async fn a_broker_that_does_not_answer_is_told(rig: &RedisRig) {
    let queue = rig.make_queue().await;
    // It may be too late for the acknowledgement.
    let _ = silence::is_told(rig, &rig.engine, &queue).await;
    let mut again = source(rig, &binding(&queue, 10)).await;
    rig.put(&queue, &["after".to_owned()]).await;
    take_until(again.as_mut(), "after").await;
    again.close().await;
}

async fn tls_trusts_the_given_roots_only(rig: &RedisRig) {
    let port = free_port();
    let url = |host: &str| format!("rediss://{host}:{port}");
    let certificates = Certificates::make(&rig.engine, rig, "DNS:localhost", port).await;
    certificates
        .check(rig, url("localhost"), url("127.0.0.1"))
        .await;
}
