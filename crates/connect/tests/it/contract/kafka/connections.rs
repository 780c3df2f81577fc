//! What is said of connections: users, silence, and TLS.

use std::time::Duration;

use tributary_connect::port::{Adapter, Binder, TroubleKind};

use super::KafkaRig;
use crate::contract::engine::free_port;
use crate::contract::tls::Certificates;
use crate::contract::{
    Rig, binding, dropped, failed, in_time, nameless, outgoing, refused, silence, source, take,
    try_receive, user,
};

pub(super) async fn pass(rig: &KafkaRig) {
    scram_is_as_good_as_plain(rig).await;
    a_mechanism_that_the_broker_lacks_is_told(rig).await;
    a_changed_password_is_used_by_the_next_connection(rig).await;
    a_user_without_permission_is_told(rig).await;
    nothing_is_left_of_what_was_dropped(rig).await;
    a_broker_that_does_not_answer_is_told(rig).await;
    tls_trusts_the_given_roots_only(rig).await;
}

fn scram(rig: &KafkaRig, name: &str, password: &str) -> Binder {
    let binder = Binder {
        url: rig.binder().url + "?sasl=scram-sha-512",
        ..rig.binder()
    };
    user(binder, name, password)
}

/// Makes a user, or changes the password.
async fn set_password(rig: &KafkaRig, user: &str, password: &str) {
    let program = format!(
        r#"
from kafka.admin import KafkaAdminClient, ScramMechanism, UserScramCredentialUpsertion
admin = KafkaAdminClient(bootstrap_servers=server)
admin.alter_user_scram_credentials([
    UserScramCredentialUpsertion('{user}', ScramMechanism.SCRAM_SHA_512, '{password}', iterations=4096)])
"#
    );
    rig.python(&program).await;
}

async fn scram_is_as_good_as_plain(rig: &KafkaRig) {
    let topic = rig.make_queue().await;
    let right = scram(rig, "tributary", "tributary");
    let sink = rig.adapter.open_sink(&right).await.expect("it may log in");
    sink.send(&outgoing(rig, &topic, "x"))
        .await
        .expect("it is confirmed");
    let wrong = scram(rig, "tributary", "not-this-secret");
    let opened = rig.adapter.open_sink(&wrong).await;
    let trouble = failed(opened, TroubleKind::CredentialsRefused);
    assert!(!trouble.text.contains("secret"), "{trouble}");
}

/// A listener without users, which closes the connection at once.
async fn a_mechanism_that_the_broker_lacks_is_told(rig: &KafkaRig) {
    let open = Binder {
        url: format!("kafka://{}", rig.engine.address()),
        ..rig.binder()
    };
    let opened = rig.adapter.open_sink(&open).await;
    let trouble = opened.err().expect("nobody logs in there");
    assert!(trouble.text.contains("SASL"), "{trouble}");
    let nobody = nameless(rig.binder());
    let opened = rig.adapter.open_sink(&nobody).await;
    failed(opened, TroubleKind::Unreachable);
}

async fn a_changed_password_is_used_by_the_next_connection(rig: &KafkaRig) {
    let topic = rig.make_queue().await;
    set_password(rig, "rotated", "old-secret").await;
    let old = scram(rig, "rotated", "old-secret");
    let mut running = in_time("a new user", async {
        loop {
            match rig.adapter.open_source(&old, &binding(&topic, 10)).await {
                Ok(source) => return source,
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    })
    .await;
    rig.put(&topic, &["before".to_owned()]).await;
    assert_eq!(take(running.as_mut(), 1).await, ["before"]);
    set_password(rig, "rotated", "new-secret").await;
    rig.put(&topic, &["still".to_owned()]).await;
    assert_eq!(take(running.as_mut(), 1).await, ["still"]);
    running.close().await;
    let trouble = in_time("the change", async {
        loop {
            match rig.adapter.open_source(&old, &binding(&topic, 10)).await {
                Ok(source) => source.close().await,
                Err(trouble) => return trouble,
            }
        }
    })
    .await;
    assert_eq!(trouble.kind, TroubleKind::CredentialsRefused, "{trouble}");
    assert!(!trouble.text.contains("secret"), "{trouble}");
    let new = scram(rig, "rotated", "new-secret");
    let opened = rig.adapter.open_source(&new, &binding(&topic, 10)).await;
    opened.expect("it is the new password").close().await;
}

async fn a_user_without_permission_is_told(rig: &KafkaRig) {
    let topic = rig.make_queue().await;
    set_password(rig, "reader", "reader-secret").await;
    let program = format!(
        r#"
from kafka.admin import (
    ACL, ACLOperation, ACLPermissionType, KafkaAdminClient, ResourcePattern, ResourceType)
admin = KafkaAdminClient(bootstrap_servers=server)
admin.create_acls([ACL(
    principal='User:reader', host='*', operation=ACLOperation.DESCRIBE,
    permission_type=ACLPermissionType.ALLOW,
    resource_pattern=ResourcePattern(ResourceType.TOPIC, '{topic}'))])
"#
    );
    rig.python(&program).await;
    let reader = scram(rig, "reader", "reader-secret");
    let mut opened = in_time("a new user", async {
        loop {
            match rig.adapter.open_source(&reader, &binding(&topic, 1)).await {
                Ok(source) => return source,
                Err(trouble) if trouble.text.contains(&topic) => panic!("{trouble}"),
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    })
    .await;
    // It may see the topic, and not read it.
    let trouble = try_receive(opened.as_mut())
        .await
        .expect_err("it may not read");
    assert_eq!(trouble.kind, TroubleKind::CredentialsRefused, "{trouble}");
    assert!(trouble.text.contains(&topic), "{trouble}");
    opened.close().await;
    let sink = rig.adapter.open_sink(&reader).await.expect("it may log in");
    let trouble = refused(sink.send(&outgoing(rig, &topic, "x")).await);
    assert_eq!(trouble.kind, TroubleKind::CredentialsRefused, "{trouble}");
    assert!(trouble.text.contains(&topic), "{trouble}");
}

/// librdkafka has several threads per client, and the adapter one more. Other tests have some at the same time.
async fn nothing_is_left_of_what_was_dropped(rig: &KafkaRig) {
    let threads = || dropped::count_threads(&["rdk:", "kafka"]);
    dropped::nothing_is_left(rig, "kafka", 5, 40, threads).await;
}

/// Line 17: its connections stay, and nothing comes.
async fn a_broker_that_does_not_answer_is_told(rig: &KafkaRig) {
    let queue = rig.make_queue().await;
    let late = silence::is_told(rig, &rig.engine, &queue).await;
    failed(late, TroubleKind::Unreachable);
    let mut again = source(rig, &binding(&queue, 10)).await;
    assert_eq!(take(again.as_mut(), 1).await, ["before"]);
    again.close().await;
}

async fn tls_trusts_the_given_roots_only(rig: &KafkaRig) {
    let port = free_port();
    let url = |host: &str| format!("kafkas://{host}:{port}?sasl=scram-sha-256");
    let certificates = Certificates::make(&rig.engine, rig, "IP:127.0.0.1", port).await;
    certificates
        .check(rig, url("127.0.0.1"), url("localhost"))
        .await;
}
