//! What is said of connections: users, silence, and TLS.

use std::time::Duration;

use tributary_connect::port::{Adapter, Binder, Secret, SendError, TroubleKind};

use super::RabbitMqRig;
use crate::contract::engine::free_port;
use crate::contract::{Rig, binding, in_time, outgoing, receive, sink, source, take};

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
    let reader = Binder {
        username: Some("reader".to_owned()),
        password: Some(Secret::new("reader-secret")),
        ..rig.binder()
    };
    let opened = rig.adapter.open_source(&reader, &binding(&queue, 1)).await;
    let trouble = opened.err().expect("it may not read");
    assert_eq!(trouble.kind, TroubleKind::CredentialsRefused, "{trouble}");
    assert!(trouble.text.contains(&queue), "{trouble}");
    let sink = rig.adapter.open_sink(&reader).await.expect("it may log in");
    let refused = sink.send(&outgoing(rig, &queue, "x")).await;
    let Err(SendError::Refused(trouble)) = refused else {
        panic!("{refused:?}");
    };
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
    let opened = rig.adapter.open_sink(&binder).await;
    let trouble = opened.err().expect("there is none");
    assert_eq!(trouble.kind, TroubleKind::Refused, "{trouble}");
    assert!(trouble.text.contains("no-such-host"), "{trouble}");
}

async fn a_changed_password_is_used_by_the_next_connection(rig: &RabbitMqRig) {
    let queue = rig.make_queue().await;
    rig.rabbitmqctl(&["add_user", "rotated", "old-secret"])
        .await;
    rig.rabbitmqctl(&["set_permissions", "rotated", ".*", ".*", ".*"])
        .await;
    let old = Binder {
        username: Some("rotated".to_owned()),
        password: Some(Secret::new("old-secret")),
        ..rig.binder()
    };
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
    let trouble = opened.err().expect("it is the old password");
    assert_eq!(trouble.kind, TroubleKind::CredentialsRefused, "{trouble}");
    assert!(!trouble.text.contains("secret"), "{trouble}");
    let new = Binder {
        password: Some(Secret::new("new-secret")),
        ..old
    };
    let opened = rig.adapter.open_source(&new, &binding(&queue, 10)).await;
    opened.expect("it is the new password").close().await;
}

/// lapin has a thread per connection, which waits for the broker as long as it takes.
async fn nothing_is_left_of_what_was_dropped(rig: &RabbitMqRig) {
    // More than other tests have at the same time.
    const OTHERS_MAX: usize = 15;
    let threads = || {
        let tasks = std::fs::read_dir("/proc/self/task").expect("it is Linux");
        let names =
            tasks.map(|task| std::fs::read_to_string(task.expect("a task").path().join("comm")));
        names
            .filter(|name| name.as_ref().is_ok_and(|name| name.starts_with("lapin")))
            .count()
    };
    let queue = rig.make_queue().await;
    rig.put(&queue, &["x".to_owned()]).await;
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port is free");
    let silent = Binder {
        url: format!("amqp://{}", silent.local_addr().expect("it is bound")),
        ..rig.binder()
    };
    for _ in 0..=OTHERS_MAX {
        let mut source = source(rig, &binding(&queue, 10)).await;
        receive(source.as_mut())
            .await
            .expect("the connection holds");
        drop(source);
        let sink = sink(rig).await;
        sink.send(&outgoing(rig, &queue, "x"))
            .await
            .expect("it is confirmed");
        drop(sink);
        let given_up = Duration::from_millis(20);
        let opening = tokio::time::timeout(given_up, rig.adapter.open_sink(&silent)).await;
        assert!(opening.is_err(), "nobody answers there");
    }
    in_time("ending threads", async {
        while threads() > OTHERS_MAX {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
}

/// Line 17: its connections stay, and nothing comes.
async fn a_broker_that_does_not_answer_is_told(rig: &RabbitMqRig) {
    let queue = rig.make_queue().await;
    let (binder, terms) = (rig.binder(), binding(&queue, 10));
    let sink = sink(rig).await;
    sink.send(&outgoing(rig, &queue, "before"))
        .await
        .expect("it is confirmed");
    let mut open = source(rig, &terms).await;
    let held = receive(open.as_mut()).await.expect("the connection holds");
    rig.engine.freeze(true);
    let message = outgoing(rig, &queue, "x");
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

async fn tls_trusts_the_given_roots_only(rig: &RabbitMqRig) {
    let folder = rig.engine.folder().join("tls");
    std::fs::create_dir(&folder).expect("the folder is there");
    let port = free_port();
    std::fs::write(folder.join("port"), port.to_string()).expect("there is room");
    let make = r#"
        openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=ca \
            -keyout ca-key.pem -out ca.pem
        openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=localhost \
            -keyout key.pem -out request.pem
        echo "subjectAltName=DNS:localhost" >names
        openssl x509 -req -in request.pem -CA ca.pem -CAkey ca-key.pem -CAcreateserial -days 30 \
            -extfile names -out cert.pem
        openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=other \
            -keyout other-key.pem -out other.pem
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
        url: format!("amqps://localhost:{port}"),
        trusted_roots: Some(read("ca.pem")),
        ..rig.binder()
    };
    rig.adapter.check_binder(&right).expect("it is fit");
    in_time("TLS", async {
        // It may not listen there yet.
        while let Err(trouble) = rig.adapter.open_sink(&right).await {
            assert_eq!(trouble.kind, TroubleKind::Unreachable, "{trouble}");
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
        url: format!("amqps://127.0.0.1:{port}"),
        ..right
    };
    for unsound in [wrong, system, other_name] {
        let opened = rig.adapter.open_sink(&unsound).await;
        let trouble = opened.err().expect("it is not trusted");
        assert_eq!(trouble.kind, TroubleKind::Unreachable, "{trouble}");
        assert!(trouble.text.contains("certificate"), "{trouble}");
    }
}
