//! Peers that keep no rule.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::super::{acknowledge, in_time, is_silent, receive, take};
use super::dealer::{Dealer, encode, greeting, ready};
use super::requests::{Scene, closed, next};

/// Waits until the server ends the connection, by whatever means.
async fn ended(stream: &mut TcpStream) {
    let mut bytes = Vec::new();
    // A reset is an end, too.
    let _ = in_time("the end of the connection", stream.read_to_end(&mut bytes)).await;
}

#[tokio::test]
async fn what_is_no_zmtp_is_closed_and_others_go_on() {
    let scene = Scene::new();
    let mut source = scene.source("orders", 10).await;
    let mut good = scene.dealer().await;
    let mut curve = greeting();
    curve[12..17].copy_from_slice(b"CURVE");
    let mut old = greeting();
    old[10] = 1;
    let mut huge = greeting();
    huge.extend(ready("DEALER"));
    huge.extend([3]);
    huge.extend((1_u64 << 62).to_be_bytes());
    let mut flags = greeting();
    flags.extend(ready("DEALER"));
    flags.extend([0x80, 1, 0]);
    let mut early = greeting();
    early.extend(encode(&[b"tributary/1"]));
    let mut command = greeting();
    command.extend([6]);
    command.extend(u64::MAX.to_be_bytes());
    for bytes in [
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        vec![0; 64],
        curve,
        old,
        huge,
        flags,
        early,
        command,
    ] {
        let mut stream = TcpStream::connect(scene.address).await.expect("it listens");
        stream.write_all(&bytes).await.expect("it is connected");
        ended(&mut stream).await;
    }
    let mut request = Dealer::connect_as(scene.address, "REQ")
        .await
        .expect("it greets");
    closed(&mut request).await;
    assert_eq!(request.error.as_deref(), Some("connect a DEALER"));
    good.order("orders", "a", b"{}").await.expect("connected");
    assert_eq!(take(source.as_mut(), 1).await, ["{}"]);
    assert_eq!(next(&mut good).await[1], "OK");
    source.close().await;
}

#[tokio::test]
async fn a_connection_that_says_nothing_is_closed() {
    let scene = Scene::new();
    let source = scene.source("orders", 10).await;
    let mut silent = TcpStream::connect(scene.address).await.expect("it listens");
    let mut half = TcpStream::connect(scene.address).await.expect("it listens");
    half.write_all(&greeting()[..30]).await.expect("connected");
    ended(&mut silent).await;
    ended(&mut half).await;
    source.close().await;
}

#[tokio::test]
async fn a_crowd_of_strangers_does_not_drive_out_who_has_ordered() {
    let scene = Scene::new();
    let mut source = scene.source("orders", 10).await;
    let mut good = scene.dealer().await;
    good.order("orders", "a", b"{}").await.expect("connected");
    take(source.as_mut(), 1).await;
    assert_eq!(next(&mut good).await[1], "OK");
    let mut crowd = Vec::new();
    for _ in 0..400 {
        crowd.push(TcpStream::connect(scene.address).await.expect("it listens"));
    }
    // A newcomer finds a place, since strangers give theirs up.
    let mut newcomer = scene.dealer().await;
    newcomer
        .order("orders", "b", b"new")
        .await
        .expect("connected");
    assert_eq!(take(source.as_mut(), 1).await, ["new"]);
    assert_eq!(next(&mut newcomer).await[1], "OK");
    good.order("orders", "c", b"old").await.expect("connected");
    assert_eq!(take(source.as_mut(), 1).await, ["old"]);
    assert_eq!(next(&mut good).await[1], "OK");
    // The first of the crowd were closed.
    ended(&mut crowd[0]).await;
    source.close().await;
}

#[tokio::test]
async fn a_flood_is_held_back_by_its_window() {
    let scene = Scene::new();
    let mut source = scene.source("orders", 1).await;
    let mut flood = scene.dealer().await;
    let body = vec![b'x'; 64 * 1024];
    // Far more than any buffer on the way holds.
    let sending = async {
        for number in 0..4_000 {
            flood
                .order("orders", &number.to_string(), &body)
                .await
                .expect("connected");
        }
    };
    let sent = tokio::time::timeout(Duration::from_secs(2), sending).await;
    assert!(sent.is_err(), "256 MB were taken in");
    // Another peer has its turn: the flood has had one.
    let mut modest = scene.dealer().await;
    modest
        .order("orders", "modest", b"modest")
        .await
        .expect("connected");
    let mut taken = 0;
    loop {
        let message = receive(source.as_mut()).await;
        acknowledge(source.as_mut(), message.token).await;
        if &message.body[..] == b"modest" {
            break;
        }
        taken += 1;
        assert!(taken < 4_000, "the other one never has its turn");
    }
    assert_eq!(next(&mut modest).await, ["tributary/1", "OK", "modest"]);
    drop(flood);
    source.close().await;
}

#[tokio::test]
async fn a_peer_that_goes_leaves_nothing_behind() {
    let scene = Scene::new();
    let mut source = scene.source("orders", 1).await;
    let mut gone = scene.dealer().await;
    for id in ["a", "b", "c"] {
        gone.order("orders", id, id.as_bytes())
            .await
            .expect("connected");
    }
    let held = receive(source.as_mut()).await;
    // In the middle of a request.
    let half = encode(&[b"tributary/1", b"orders", b"d", b"key", b"", b"d"]);
    gone.stream.write_all(&half[..20]).await.expect("connected");
    drop(gone);
    // Once its going is known, only what was received is left of it.
    let mut here = scene.dealer().await;
    let begun = tokio::time::Instant::now();
    let mut number = 0;
    acknowledge(source.as_mut(), held.token).await;
    loop {
        number += 1;
        here.order("orders", &number.to_string(), b"here")
            .await
            .expect("connected");
        let message = receive(source.as_mut()).await;
        acknowledge(source.as_mut(), message.token).await;
        if &message.body[..] == b"here" && is_silent(source.as_mut()).await {
            break;
        }
        assert!(begun.elapsed() < super::super::PATIENCE);
    }
    source.close().await;
}

#[tokio::test]
async fn a_heartbeat_is_answered() {
    let scene = Scene::new();
    let mut source = scene.source("orders", 1).await;
    let mut dealer = scene.dealer().await;
    dealer
        .stream
        .write_all(b"\x04\x09\x04PING\0\x0aab")
        .await
        .expect("connected");
    dealer.order("orders", "a", b"{}").await.expect("connected");
    take(source.as_mut(), 1).await;
    assert_eq!(next(&mut dealer).await[1], "OK");
    assert_eq!(dealer.pongs, [b"ab".to_vec()]);
    source.close().await;
}
