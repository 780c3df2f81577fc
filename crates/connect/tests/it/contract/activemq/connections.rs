//! What is said of connections: users, silence, and TLS.

use tributary_connect::port::{Adapter, TroubleKind};

use super::ActiveMqRig;
use crate::contract::engine::free_port;
use crate::contract::tls::Certificates;
use crate::contract::{
    Rig, binding, dropped, failed, nameless, outgoing, refused, silence, source, take, trouble,
    user,
};

pub(super) async fn pass(rig: &ActiveMqRig) {
    a_user_without_permission_is_told(rig).await;
    what_does_not_speak_amqp_is_told(rig).await;
    nothing_is_left_of_what_was_dropped(rig).await;
    a_broker_that_does_not_answer_is_told(rig).await;
    tls_trusts_the_given_roots_only(rig).await;
}

async fn a_user_without_permission_is_told(rig: &ActiveMqRig) {
    let queue = rig.make_queue().await;
    let guest = user(rig.binder(), "guest", "guest");
    let opened = rig.adapter.open_source(&guest, &binding(&queue, 1)).await;
    let trouble = failed(opened, TroubleKind::CredentialsRefused);
    assert!(trouble.text.contains(&queue), "{trouble}");
    let sink = rig.adapter.open_sink(&guest).await.expect("it may log in");
    let trouble = refused(sink.send(&outgoing(rig, &queue, "x")).await);
    assert_eq!(trouble.kind, TroubleKind::CredentialsRefused, "{trouble}");
    let nameless = nameless(rig.binder());
    let opened = rig.adapter.open_sink(&nameless).await;
    failed(opened, TroubleKind::CredentialsRefused);
}

async fn what_does_not_speak_amqp_is_told(rig: &ActiveMqRig) {
    // AMQP 0-9-1, as RabbitMQ before 4 answers; and something else.
    let answers: [&[u8]; 2] = [b"AMQP\x00\x00\x09\x01", b"HTTP/1.1 400 Bad Request\r\n\r\n"];
    trouble::something_else_is_told(rig, "amqp", &answers, "AMQP 1.0").await;
}

/// Each connection is a socket. Other tests open fewer than this one at the same time.
async fn nothing_is_left_of_what_was_dropped(rig: &ActiveMqRig) {
    const ROUNDS: usize = 60;
    let sockets = || {
        let files = std::fs::read_dir("/proc/self/fd").expect("it is Linux");
        let files = files.filter_map(|file| std::fs::read_link(file.ok()?.path()).ok());
        files
            .filter(|target| target.to_string_lossy().starts_with("socket:"))
            .count()
    };
    dropped::nothing_is_left(rig, "amqp", ROUNDS, sockets() + ROUNDS, sockets).await;
}

/// Line 17: its connections stay, and nothing comes.
async fn a_broker_that_does_not_answer_is_told(rig: &ActiveMqRig) {
    let queue = rig.make_queue().await;
    let late = silence::is_told(rig, &rig.engine, &queue).await;
    failed(late, TroubleKind::Unreachable);
    let mut again = source(rig, &binding(&queue, 10)).await;
    assert_eq!(take(again.as_mut(), 1).await, ["before"]);
    again.close().await;
}

async fn tls_trusts_the_given_roots_only(rig: &ActiveMqRig) {
    let port = free_port();
    let url = |host: &str| format!("amqps://{host}:{port}");
    let certificates = Certificates::make(&rig.engine, rig, "DNS:localhost", port).await;
    certificates
        .check(rig, url("localhost"), url("127.0.0.1"))
        .await;
}
