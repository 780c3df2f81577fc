//! What is said of connections: users, silence, and TLS.

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tributary_connect::port::{Adapter, Binder, Secret, SendError, TroubleKind};

use super::ActiveMqRig;
use crate::contract::engine::free_port;
use crate::contract::{Rig, binding, in_time, outgoing, receive, sink, source, take};

pub(super) async fn pass(rig: &ActiveMqRig) {
    a_user_without_permission_is_told(rig).await;
    what_does_not_speak_amqp_is_told(rig).await;
    nothing_is_left_of_what_was_dropped(rig).await;
    a_broker_that_does_not_answer_is_told(rig).await;
    tls_trusts_the_given_roots_only(rig).await;
}

async fn a_user_without_permission_is_told(rig: &ActiveMqRig) {
    let queue = rig.make_queue().await;
    let guest = Binder {
        username: Some("guest".to_owned()),
        password: Some(Secret::new("guest")),
        ..rig.binder()
    };
    let opened = rig.adapter.open_source(&guest, &binding(&queue, 1)).await;
    let trouble = opened.err().expect("it may not read");
    assert_eq!(trouble.kind, TroubleKind::CredentialsRefused, "{trouble}");
    assert!(trouble.text.contains(&queue), "{trouble}");
    let sink = rig.adapter.open_sink(&guest).await.expect("it may log in");
    let refused = sink.send(&outgoing(rig, &queue, "x")).await;
    let Err(SendError::Refused(trouble)) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(trouble.kind, TroubleKind::CredentialsRefused, "{trouble}");
    let nameless = Binder {
        username: None,
        password: None,
        ..rig.binder()
    };
    let opened = rig.adapter.open_sink(&nameless).await;
    let trouble = opened.err().expect("it must log in");
    assert_eq!(trouble.kind, TroubleKind::CredentialsRefused, "{trouble}");
}

async fn what_does_not_speak_amqp_is_told(rig: &ActiveMqRig) {
    // AMQP 0-9-1, as RabbitMQ before 4 answers; and something else.
    for answer in [
        &b"AMQP\x00\x00\x09\x01"[..],
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let answering = async {
            let (mut stream, _) = listener.accept().await.expect("it connects");
            stream.write_all(answer).await.expect("it is there");
            std::future::pending::<()>().await;
        };
        let binder = Binder {
            url: format!("amqp://{address}"),
            ..rig.binder()
        };
        let opened = tokio::select! {
            opened = in_time("refusing", rig.adapter.open_sink(&binder)) => opened,
            () = answering => unreachable!("it never ends"),
        };
        let trouble = opened.err().expect("it speaks something else");
        assert!(trouble.text.contains("AMQP 1.0"), "{trouble}");
        assert!(trouble.text.contains(&address.to_string()), "{trouble}");
    }
}

/// fe2o3-amqp waits for the broker as long as it takes; what it has read into memory would stay.
async fn nothing_is_left_of_what_was_dropped(rig: &ActiveMqRig) {
    let queue = rig.make_queue().await;
    let sockets = || {
        let files = std::fs::read_dir("/proc/self/fd").expect("it is Linux");
        let files = files.filter_map(|file| std::fs::read_link(file.ok()?.path()).ok());
        files
            .filter(|target| target.to_string_lossy().starts_with("socket:"))
            .count()
    };
    let silent = TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port is free");
    let silent = Binder {
        url: format!("amqp://{}", silent.local_addr().expect("it is bound")),
        ..rig.binder()
    };
    let before = sockets();
    // More than other tests open at the same time.
    const ROUNDS: usize = 60;
    for _ in 0..ROUNDS {
        // Artemis counts a delivery for each, and moves a message away after ten.
        rig.put(&queue, &["x".to_owned()]).await;
        let mut source = source(rig, &binding(&queue, 10)).await;
        receive(source.as_mut())
            .await
            .expect("the connection holds");
        drop(source);
        let given_up = Duration::from_millis(20);
        let opening = tokio::time::timeout(given_up, rig.adapter.open_sink(&silent)).await;
        assert!(opening.is_err(), "nobody answers there");
    }
    in_time("closing sockets", async {
        while sockets() > before + ROUNDS {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
}

/// Line 17: its connections stay, and nothing comes.
async fn a_broker_that_does_not_answer_is_told(rig: &ActiveMqRig) {
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
    drop(sink);
    rig.engine.freeze(false);
    let mut again = source(rig, &terms).await;
    assert_eq!(take(again.as_mut(), 1).await, ["before"]);
    again.close().await;
}

async fn tls_trusts_the_given_roots_only(rig: &ActiveMqRig) {
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
