//! What is said of connections: users, silence, and TLS.

use tributary_connect::port::{Adapter, Binder, Secret, TroubleKind};

use super::RabbitMqRig;
use crate::contract::engine::free_port;
use crate::contract::tls::Certificates;
use crate::contract::{
    Rig, binding, dropped, failed, outgoing, refused, silence, source, take, user,
};

pub(super) async fn pass(rig: &RabbitMqRig) {
    a_user_without_permission_is_told(rig).await;
    a_missing_virtual_host_is_told(rig).await;
    a_changed_password_is_used_by_the_next_connection(rig).await;
    nothing_is_left_of_what_was_dropped(rig).await;
    a_broker_that_does_not_answer_is_told(rig).await;
    tls_trusts_the_given_roots_only(rig).await;
}

async fn a_user_without_permission_is_told(rig: &RabbitMqRig) {
    let queue = rig.make_queue().await;
    rig.rabbitmqctl(&["add_user", "reader", "reader-secret"])
        .await;
    let nothing = ["set_permissions", "reader", "^$", "^$", "^$"];
    rig.rabbitmqctl(&nothing).await;
    let reader = user(rig.binder(), "reader", "reader-secret");
    let opened = rig.adapter.open_source(&reader, &binding(&queue, 1)).await;
    let trouble = failed(opened, TroubleKind::CredentialsRefused);
    assert!(trouble.text.contains(&queue), "{trouble}");
    let sink = rig.adapter.open_sink(&reader).await.expect("it may log in");
    let trouble = refused(sink.send(&outgoing(rig, &queue, "x")).await);
    assert_eq!(trouble.kind, TroubleKind::CredentialsRefused, "{trouble}");
    // To read is enough, though the queue's arguments can't be seen then.
    let reading = ["set_permissions", "reader", "^$", "^$", ".*"];
    rig.rabbitmqctl(&reading).await;
    let source = rig.adapter.open_source(&reader, &binding(&queue, 1)).await;
    source.expect("it may read").close().await;
}

async fn a_missing_virtual_host_is_told(rig: &RabbitMqRig) {
    let binder = Binder {
        url: rig.binder().url.replace("%2f", "no-such-host"),
        ..rig.binder()
    };
    let trouble = failed(rig.adapter.open_sink(&binder).await, TroubleKind::Refused);
    assert!(trouble.text.contains("no-such-host"), "{trouble}");
}

async fn a_changed_password_is_used_by_the_next_connection(rig: &RabbitMqRig) {
    let queue = rig.make_queue().await;
    rig.rabbitmqctl(&["add_user", "rotated", "old-secret"])
        .await;
    rig.rabbitmqctl(&["set_permissions", "rotated", ".*", ".*", ".*"])
        .await;
    let old = user(rig.binder(), "rotated", "old-secret");
    let mut running = rig
        .adapter
        .open_source(&old, &binding(&queue, 10))
        .await
        .expect("it may log in");
    rig.rabbitmqctl(&["change_password", "rotated", "new-secret"])
        .await;
    rig.put(&queue, &["still".to_owned()]).await;
    assert_eq!(take(running.as_mut(), 1).await, ["still"]);
    running.close().await;
    let opened = rig.adapter.open_source(&old, &binding(&queue, 10)).await;
    let trouble = failed(opened, TroubleKind::CredentialsRefused);
    assert!(!trouble.text.contains("secret"), "{trouble}");
    let new = Binder {
        password: Some(Secret::new("new-secret")),
        ..old
    };
    let opened = rig.adapter.open_source(&new, &binding(&queue, 10)).await;
    opened.expect("it is the new password").close().await;
}

/// lapin has a thread per connection. Other tests have at most 15 at the same time.
async fn nothing_is_left_of_what_was_dropped(rig: &RabbitMqRig) {
    let threads = || dropped::count_threads(&["lapin"]);
    dropped::nothing_is_left(rig, "amqp", 16, 15, threads).await;
}

/// Line 17: its connections stay, and nothing comes.
async fn a_broker_that_does_not_answer_is_told(rig: &RabbitMqRig) {
    let queue = rig.make_queue().await;
    let late = silence::is_told(rig, &rig.engine, &queue).await;
    failed(late, TroubleKind::Unreachable);
    let mut again = source(rig, &binding(&queue, 10)).await;
    assert_eq!(take(again.as_mut(), 1).await, ["before"]);
    again.close().await;
}

async fn tls_trusts_the_given_roots_only(rig: &RabbitMqRig) {
    let port = free_port();
    let url = |host: &str| format!("amqps://{host}:{port}");
    let certificates = Certificates::make(&rig.engine, rig, "DNS:localhost", port).await;
    certificates
        .check(rig, url("localhost"), url("127.0.0.1"))
        .await;
}
