//! What is said of connections: users, silence, and TLS.

use tributary_connect::port::{Adapter, Binder, TroubleKind};

use super::NatsRig;
use crate::contract::tls::Certificates;
use crate::contract::{
    Rig, binding, failed, in_time, outgoing, refused, silence, source, take, take_until, trouble,
    user,
};

pub(super) async fn pass(rig: &NatsRig) {
    users_and_their_permissions_are_told(rig).await;
    what_is_no_nats_is_told(rig).await;
    a_broker_that_does_not_answer_is_told(rig).await;
    tls_trusts_the_given_roots_only(rig).await;
}

/// Starts the server again with these users beside the first.
async fn set_users(rig: &NatsRig, users: &str) {
    rig.kill().await;
    std::fs::write(rig.engine.folder().join("users"), users).expect("there is room");
    rig.restart().await;
}

async fn users_and_their_permissions_are_told(rig: &NatsRig) {
    let queue = rig.make_queue().await;
    // The least that `docs/brokers/nats.md` names for a binding with `check`.
    let users = format!(
        r#"
        {{ user: reader, password: old-secret, permissions: {{
            publish: ["$JS.API.STREAM.NAMES", "$JS.API.STREAM.INFO.*", "$JS.API.CONSUMER.*.*.tributary",
                "$JS.API.CONSUMER.DURABLE.CREATE.*.tributary", "$JS.API.CONSUMER.MSG.NEXT.*.tributary",
                "$JS.ACK.*.tributary.>", "{queue}.tributary.dlq"]
            subscribe: "_INBOX.>" }} }}
        {{ user: nobody, password: no-secret, permissions: {{ publish: "nothing", subscribe: "_INBOX.>" }} }}
        {{ user: deaf, password: deaf-secret, permissions: {{ publish: ">", subscribe: "nothing" }} }}
        "#
    );
    set_users(rig, &users).await;
    rig.put(&queue, &["one".to_owned()]).await;
    let terms = binding(&queue, 10);
    for (name, password) in [("nobody", "no-secret"), ("deaf", "deaf-secret")] {
        let binder = user(rig.binder(), name, password);
        let opened = rig.adapter.open_source(&binder, &terms);
        let trouble = in_time("opening", opened).await.err().expect("it may not");
        assert_eq!(trouble.kind, TroubleKind::CredentialsRefused, "{trouble}");
        assert!(trouble.text.contains("ermission"), "{trouble}");
    }
    let reader = user(rig.binder(), "reader", "old-secret");
    let opened = rig.adapter.open_source(&reader, &terms).await;
    let mut running = opened.expect("it may");
    assert_eq!(take(running.as_mut(), 1).await, ["one"]);
    running.close().await;
    let sink = rig.adapter.open_sink(&reader).await.expect("it may log in");
    let dead_letter = outgoing(rig, &format!("{queue}.tributary.dlq"), "dead");
    sink.send(&dead_letter).await.expect("it may");
    let trouble = refused(sink.send(&outgoing(rig, &queue, "x")).await);
    assert_eq!(trouble.kind, TroubleKind::CredentialsRefused, "{trouble}");
    assert!(trouble.text.contains(&queue), "{trouble}");
    sink.send(&dead_letter).await.expect("it is of further use");
    // A changed password is used by the next connection.
    set_users(rig, &users.replace("old-secret", "new-secret")).await;
    let opened = rig.adapter.open_source(&reader, &terms).await;
    let trouble = failed(opened, TroubleKind::CredentialsRefused);
    assert!(!trouble.text.contains("secret"), "{trouble}");
    let opened = rig
        .adapter
        .open_source(&user(rig.binder(), "reader", "new-secret"), &terms)
        .await;
    opened.expect("it is the new password").close().await;
}

async fn what_is_no_nats_is_told(rig: &NatsRig) {
    let answers: [&[u8]; 4] = [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"INFO {}\r\n",
        b"INFO {\"headers\":true,\"tls_required\":true}\r\n",
        &[b'x'; 100_000],
    ];
    trouble::something_else_is_told(rig, "nats", &answers, "NATS at").await;
}

/// Line 17: its connections stay, and nothing comes.
async fn a_broker_that_does_not_answer_is_told(rig: &NatsRig) {
    let queue = rig.make_queue().await;
    // It may be too late for the acknowledgement.
    let _ = silence::is_told(rig, &rig.engine, &queue).await;
    let mut again = source(rig, &binding(&queue, 10)).await;
    rig.put(&queue, &["after".to_owned()]).await;
    take_until(again.as_mut(), "after").await;
    again.close().await;
}

async fn tls_trusts_the_given_roots_only(rig: &NatsRig) {
    let port = rig.engine.address().port();
    let url = |host: &str| format!("tls://{host}:{port}");
    let no_tls = Binder {
        url: url("localhost"),
        ..rig.binder()
    };
    let trouble = rig.adapter.open_sink(&no_tls).await.err();
    let trouble = trouble.expect("it has no TLS yet");
    assert!(trouble.text.contains("has no TLS"), "{trouble}");
    let certificates = Certificates::make(&rig.engine, rig, "DNS:localhost", port).await;
    certificates
        .check(rig, url("localhost"), url("127.0.0.1"))
        .await;
}
