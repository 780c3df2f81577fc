//! What is said of connections: users, silence, and TLS.

use tributary_connect::port::{Adapter, Binder, Secret, SendError, TroubleKind};

use super::RocketMqRig;
use crate::contract::{Rig, binding, in_time, outgoing, receive, sink, source, take};

pub(super) async fn pass(rig: &RocketMqRig) {
    a_user_without_permission_is_told(rig).await;
    tls_trusts_the_given_roots_only(rig).await;
    a_broker_that_does_not_answer_is_told(rig).await;
}

async fn a_user_without_permission_is_told(rig: &RocketMqRig) {
    let queue = rig.make_queue().await;
    let cluster = ["-c", "DefaultCluster"];
    let user = [
        "createUser",
        "-u",
        "reader",
        "-p",
        "reader-secret",
        "-t",
        "Normal",
    ];
    rig.admin(&[&user[..], &cluster].concat(), "success").await;
    let reader = Binder {
        username: Some("reader".to_owned()),
        password: Some(Secret::new("reader-secret")),
        ..rig.binder()
    };
    let opened = rig.adapter.open_source(&reader, &binding(&queue, 1)).await;
    let trouble = opened.err().expect("it may not read");
    assert_eq!(trouble.kind, TroubleKind::CredentialsRefused, "{trouble}");
    assert!(!trouble.text.contains("secret"), "{trouble}");
    let sink = rig.adapter.open_sink(&reader).await.expect("it may log in");
    let refused = sink.send(&outgoing(rig, &queue, "x")).await;
    let Err(SendError::Refused(trouble)) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(trouble.kind, TroubleKind::CredentialsRefused, "{trouble}");
    assert!(trouble.text.contains(&queue), "{trouble}");
}

async fn tls_trusts_the_given_roots_only(rig: &RocketMqRig) {
    let folder = rig.engine.folder().join("tls");
    let made = std::process::Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt"])
        .args(["ec_paramgen_curve:P-256", "-nodes", "-days", "30"])
        .args(["-subj", "/CN=other", "-keyout", "other-key.pem"])
        .args(["-out", "other.pem"])
        .current_dir(&folder)
        .output()
        .expect("there is openssl");
    let said = String::from_utf8_lossy(&made.stderr);
    assert!(made.status.success(), "openssl: {said}");
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).expect("it was made");
    let port = rig.engine.address().port();
    let right = Binder {
        url: format!("https://localhost:{port}"),
        trusted_roots: Some(read("ca.pem")),
        ..rig.binder()
    };
    rig.adapter.check_binder(&right).expect("it is fit");
    let queue = rig.make_queue().await;
    let sink = rig.adapter.open_sink(&right).await.expect("it is trusted");
    sink.send(&outgoing(rig, &queue, "x"))
        .await
        .expect("it is confirmed");
    let wrong = Binder {
        trusted_roots: Some(read("other.pem")),
        ..right.clone()
    };
    let system = Binder {
        trusted_roots: None,
        ..right.clone()
    };
    let other_name = Binder {
        url: format!("https://127.0.0.1:{port}"),
        ..right
    };
    for unsound in [wrong, system, other_name] {
        let opened = rig.adapter.open_sink(&unsound).await;
        let trouble = opened.err().expect("it is not trusted");
        assert_eq!(trouble.kind, TroubleKind::Unreachable, "{trouble}");
        assert!(trouble.text.contains("certificate"), "{trouble}");
    }
}

/// Line 17: its connections stay, and nothing comes.
async fn a_broker_that_does_not_answer_is_told(rig: &RocketMqRig) {
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
    // The other one may have been kept, and come first.
    while !take(again.as_mut(), 1).await.contains(&"before".to_owned()) {}
    again.close().await;
}
