//! What is said of connections: users, silence, and TLS.

use std::time::Duration;

use tributary_connect::port::{Adapter, Binder, Secret, SendError, TroubleKind};

use super::KafkaRig;
use crate::contract::engine::free_port;
use crate::contract::{Rig, binding, in_time, outgoing, receive, sink, source, take};

pub(super) async fn pass(rig: &KafkaRig) {
    scram_is_as_good_as_plain(rig).await;
    a_mechanism_that_the_broker_lacks_is_told(rig).await;
    a_changed_password_is_used_by_the_next_connection(rig).await;
    a_user_without_permission_is_told(rig).await;
    nothing_is_left_of_what_was_dropped(rig).await;
    a_broker_that_does_not_answer_is_told(rig).await;
    tls_trusts_the_given_roots_only(rig).await;
}

fn scram(rig: &KafkaRig, user: &str, password: &str) -> Binder {
    Binder {
        url: rig.binder().url + "?sasl=scram-sha-512",
        username: Some(user.to_owned()),
        password: Some(Secret::new(password)),
        ..rig.binder()
    }
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
    let trouble = opened.err().expect("the password is wrong");
    assert_eq!(trouble.kind, TroubleKind::CredentialsRefused, "{trouble}");
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
    let nobody = Binder {
        username: None,
        password: None,
        ..rig.binder()
    };
    let opened = rig.adapter.open_sink(&nobody).await;
    let trouble = opened.err().expect("it wants a user");
    assert_eq!(trouble.kind, TroubleKind::Unreachable, "{trouble}");
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
    let trouble = receive(opened.as_mut()).await.expect_err("it may not read");
    assert_eq!(trouble.kind, TroubleKind::CredentialsRefused, "{trouble}");
    assert!(trouble.text.contains(&topic), "{trouble}");
    opened.close().await;
    let sink = rig.adapter.open_sink(&reader).await.expect("it may log in");
    let refused = sink.send(&outgoing(rig, &topic, "x")).await;
    let Err(SendError::Refused(trouble)) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(trouble.kind, TroubleKind::CredentialsRefused, "{trouble}");
    assert!(trouble.text.contains(&topic), "{trouble}");
}

/// librdkafka has several threads per client, and the adapter one more.
async fn nothing_is_left_of_what_was_dropped(rig: &KafkaRig) {
    let threads = || {
        let tasks = std::fs::read_dir("/proc/self/task").expect("it is Linux");
        let names =
            tasks.map(|task| std::fs::read_to_string(task.expect("a task").path().join("comm")));
        names
            .filter(|name| {
                let of_kafka =
                    |name: &String| name.starts_with("rdk:") || name.starts_with("kafka");
                name.as_ref().is_ok_and(of_kafka)
            })
            .count()
    };
    let topic = rig.make_queue().await;
    rig.put(&topic, &["x".to_owned()]).await;
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await;
    let silent = silent.expect("a port is free");
    let silent = Binder {
        url: format!("kafka://{}", silent.local_addr().expect("it is bound")),
        ..rig.binder()
    };
    for _ in 0..5 {
        let mut source = source(rig, &binding(&topic, 10)).await;
        receive(source.as_mut())
            .await
            .expect("the connection holds");
        drop(source);
        let sink = sink(rig).await;
        sink.send(&outgoing(rig, &topic, "x"))
            .await
            .expect("it is confirmed");
        drop(sink);
        let given_up = Duration::from_millis(20);
        let terms = binding(&topic, 10);
        let (opening, looking) = tokio::join!(
            tokio::time::timeout(given_up, rig.adapter.open_sink(&silent)),
            tokio::time::timeout(given_up, rig.adapter.open_source(&silent, &terms)),
        );
        assert!(opening.is_err() && looking.is_err(), "nobody answers there");
    }
    // Other tests have some at the same time.
    in_time("ending threads", async {
        while threads() > 40 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
}

/// Line 17: its connections stay, and nothing comes.
async fn a_broker_that_does_not_answer_is_told(rig: &KafkaRig) {
    let topic = rig.make_queue().await;
    let (binder, terms) = (rig.binder(), binding(&topic, 10));
    let sink = sink(rig).await;
    sink.send(&outgoing(rig, &topic, "before"))
        .await
        .expect("it is confirmed");
    let mut open = source(rig, &terms).await;
    let held = receive(open.as_mut()).await.expect("the connection holds");
    rig.engine.freeze(true);
    let message = outgoing(rig, &topic, "x");
    let (opened, sent, received) = in_time("learning that nobody answers", async {
        tokio::join!(
            rig.adapter.open_source(&binder, &terms),
            sink.send(&message),
            open.receive(),
        )
    })
    .await;
    let unreachable = TroubleKind::Unreachable;
    assert_eq!(opened.err().map(|trouble| trouble.kind), Some(unreachable));
    assert_eq!(
        received.err().map(|trouble| trouble.kind),
        Some(unreachable)
    );
    assert!(matches!(sent, Err(SendError::Disconnected(_))), "{sent:?}");
    let late = in_time("acknowledging", open.acknowledge(held.token)).await;
    assert_eq!(late.err().map(|trouble| trouble.kind), Some(unreachable));
    in_time("closing", open.close()).await;
    rig.engine.freeze(false);
    let mut again = source(rig, &terms).await;
    assert_eq!(take(again.as_mut(), 1).await, ["before"]);
    again.close().await;
}

async fn tls_trusts_the_given_roots_only(rig: &KafkaRig) {
    let folder = rig.engine.folder().join("tls");
    std::fs::create_dir(&folder).expect("the folder is there");
    let port = free_port();
    std::fs::write(folder.join("port"), port.to_string()).expect("there is room");
    let make = r#"
        openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=ca \
            -keyout ca-key.pem -out ca.pem
        openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=broker \
            -keyout key.pem -out request.pem
        echo "subjectAltName=IP:127.0.0.1" >names
        openssl x509 -req -in request.pem -CA ca.pem -CAkey ca-key.pem -CAcreateserial -days 30 \
            -extfile names -out cert.pem
        openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=other \
            -keyout other-key.pem -out other.pem
        cat key.pem cert.pem >broker.pem
    "#;
    let made = std::process::Command::new("sh")
        .args(["-e", "-c", make])
        .current_dir(&folder)
        .output()
        .expect("there is a shell");
    let said = String::from_utf8_lossy(&made.stderr);
    assert!(made.status.success(), "openssl: {said}");
    rig.kill().await;
    rig.restart().await;
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).expect("it was made");
    let right = Binder {
        url: format!("kafkas://127.0.0.1:{port}?sasl=scram-sha-256"),
        trusted_roots: Some(read("ca.pem")),
        ..rig.binder()
    };
    rig.adapter.check_binder(&right).expect("it is fit");
    in_time("TLS", async {
        // It may not listen there yet.
        while let Err(trouble) = rig.adapter.open_sink(&right).await {
            assert!(!trouble.text.contains("certificate"), "{trouble}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    })
    .await;
    let wrong = Binder {
        trusted_roots: Some(read("other.pem")),
        ..right.clone()
    };
    let system = Binder {
        trusted_roots: None,
        ..right.clone()
    };
    let other_name = Binder {
        url: format!("kafkas://localhost:{port}?sasl=scram-sha-256"),
        ..right
    };
    for unsound in [wrong, system, other_name] {
        let opened = rig.adapter.open_sink(&unsound).await;
        let trouble = opened.err().expect("it is not trusted");
        assert_eq!(trouble.kind, TroubleKind::Unreachable, "{trouble}");
        assert!(trouble.text.contains("certificate"), "{trouble}");
    }
}
