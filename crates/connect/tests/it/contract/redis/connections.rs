//! What is said of connections: users, silence, and TLS.

use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tributary_connect::port::{Adapter, Binder, Secret, SendError, TroubleKind};

use super::RedisRig;
use crate::contract::engine::free_port;
use crate::contract::{Rig, binding, in_time, outgoing, receive, sink, source, take};

pub(super) async fn pass(rig: &RedisRig) {
    users_and_their_permissions_are_told(rig).await;
    what_is_no_redis_is_told(rig).await;
    a_broker_that_does_not_answer_is_told(rig).await;
    tls_trusts_the_given_roots_only(rig).await;
}

fn user(rig: &RedisRig, name: &str, password: &str) -> Binder {
    Binder {
        username: Some(name.to_owned()),
        password: Some(Secret::new(password)),
        ..rig.binder()
    }
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
    let reader = user(rig, "reader", "old-secret");
    let opened = rig.adapter.open_source(&reader, &terms).await;
    let mut running = opened.expect("it may");
    assert_eq!(take(running.as_mut(), 1).await, ["one"]);
    running.close().await;
    let nobody = user(rig, "nobody", "no-secret");
    let opened = rig.adapter.open_source(&nobody, &terms).await;
    let trouble = opened.err().expect("it may not");
    assert_eq!(trouble.kind, TroubleKind::CredentialsRefused, "{trouble}");
    let sink = rig.adapter.open_sink(&reader).await.expect("it may log in");
    let refused = sink.send(&outgoing(rig, "elsewhere", "x")).await;
    let Err(SendError::Refused(trouble)) = refused else {
        panic!("{refused:?}");
    };
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
    let trouble = opened.err().expect("it is the old password");
    assert_eq!(trouble.kind, TroubleKind::CredentialsRefused, "{trouble}");
    assert!(!trouble.text.contains("secret"), "{trouble}");
    let changed = user(rig, "reader", "new-secret");
    let opened = rig.adapter.open_source(&changed, &terms).await;
    let mut running = opened.expect("it is the new password");
    assert_eq!(take(running.as_mut(), 1).await, ["two"]);
    running.close().await;
    // Who does not log in at all.
    let nameless = Binder {
        username: None,
        password: None,
        ..rig.binder()
    };
    let trouble = rig.adapter.open_sink(&nameless).await.err();
    let trouble = trouble.expect("a password is needed");
    assert_eq!(trouble.kind, TroubleKind::CredentialsRefused, "{trouble}");
}

async fn what_is_no_redis_is_told(rig: &RedisRig) {
    let listener = TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port is free");
    let other = Binder {
        url: format!("redis://{}", listener.local_addr().expect("it is bound")),
        ..rig.binder()
    };
    let said: [&[u8]; 3] = [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"$-7\r\n",
        b"*1\r\n*1\r\n:x\r\n",
    ];
    for said in said {
        let answering = async {
            let (mut stream, _) = listener.accept().await.expect("it is bound");
            // It may have been closed before all is written.
            let _ = stream.write_all(said).await;
            stream
        };
        let opening = rig.adapter.open_sink(&other);
        let (opened, _stream) =
            in_time("opening", async { tokio::join!(opening, answering) }).await;
        let trouble = opened.err().expect("it is no Redis");
        assert!(trouble.text.contains("Redis at"), "{trouble}");
    }
}

/// Line 17: its connections stay, and nothing comes.
async fn a_broker_that_does_not_answer_is_told(rig: &RedisRig) {
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
    // It may be too late for that.
    let _ = in_time("acknowledging", open.acknowledge(held.token)).await;
    in_time("closing", open.close()).await;
    rig.engine.freeze(false);
    let mut again = source(rig, &terms).await;
    // The message of the sink that was given up may have arrived all the same.
    rig.put(&queue, &["after".to_owned()]).await;
    let mut got = String::new();
    while got != "after" {
        got = take(again.as_mut(), 1).await.remove(0);
    }
    again.close().await;
}

async fn tls_trusts_the_given_roots_only(rig: &RedisRig) {
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
    let queue = rig.make_queue().await;
    rig.kill().await;
    rig.restart().await;
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).expect("it was made");
    let right = Binder {
        url: format!("rediss://localhost:{port}"),
        trusted_roots: Some(read("ca.pem")),
        ..rig.binder()
    };
    rig.adapter.check_binder(&right).expect("it is fit");
    let sink = rig.adapter.open_sink(&right).await.expect("it is trusted");
    sink.send(&outgoing(rig, &queue, "by TLS"))
        .await
        .expect("it is confirmed");
    let opened = rig.adapter.open_source(&right, &binding(&queue, 1)).await;
    let mut source = opened.expect("it is trusted");
    assert_eq!(take(source.as_mut(), 1).await, ["by TLS"]);
    source.close().await;
    let wrong = Binder {
        trusted_roots: Some(read("other.pem")),
        ..right.clone()
    };
    let system = Binder {
        trusted_roots: None,
        ..right.clone()
    };
    let other_name = Binder {
        url: format!("rediss://127.0.0.1:{port}"),
        ..right
    };
    for unsound in [wrong, system, other_name] {
        let opened = rig.adapter.open_sink(&unsound).await;
        let trouble = opened.err().expect("it is not trusted");
        assert_eq!(trouble.kind, TroubleKind::Unreachable, "{trouble}");
        assert!(trouble.text.contains("certificate"), "{trouble}");
    }
}
