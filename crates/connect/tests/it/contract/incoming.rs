//! Lines 1 to 7, and 18: messages that come in.

use std::collections::BTreeSet;
use std::time::Duration;

use tributary_connect::port::Source;

use super::{Rig, binding, bodies, body, in_time, is_silent, receive, source, take, try_receive};

pub(super) async fn pass(rig: &dyn Rig) {
    what_was_not_acknowledged_comes_again(rig).await;
    what_was_acknowledged_is_gone(rig).await;
    messages_are_acknowledged_in_any_order(rig).await;
    no_more_than_the_prefetch_is_held(rig).await;
    order_is_kept(rig).await;
    the_backlog_is_what_waits_for_the_group(rig).await;
    a_dropped_receive_loses_nothing(rig).await;
    a_pause_gives_everything_back(rig).await;
    a_broken_connection_loses_nothing(rig).await;
    a_killed_broker_loses_nothing(rig).await;
}

async fn what_was_not_acknowledged_comes_again(rig: &dyn Rig) {
    let queue = rig.make_queue().await;
    rig.put(&queue, &bodies(3)).await;
    let terms = binding(&queue, 10);
    let mut first = source(rig, &terms).await;
    for _ in 0..3 {
        receive(first.as_mut()).await;
    }
    drop(first);
    let mut second = source(rig, &terms).await;
    let again: BTreeSet<String> = take(second.as_mut(), 3).await.into_iter().collect();
    assert_eq!(again, bodies(3).into_iter().collect());
    second.close().await;
}

async fn what_was_acknowledged_is_gone(rig: &dyn Rig) {
    let queue = rig.make_queue().await;
    rig.put(&queue, &bodies(5)).await;
    let terms = binding(&queue, 10);
    let mut first = source(rig, &terms).await;
    take(first.as_mut(), 5).await;
    first.close().await;
    let mut second = source(rig, &terms).await;
    assert!(is_silent(second.as_mut()).await);
    second.close().await;
}

async fn messages_are_acknowledged_in_any_order(rig: &dyn Rig) {
    let queue = rig.make_queue().await;
    rig.put(&queue, &bodies(4)).await;
    let terms = binding(&queue, 10);
    let mut first = source(rig, &terms).await;
    let mut tokens = Vec::new();
    for _ in 0..4 {
        let message = receive(first.as_mut()).await;
        tokens.push((body(&message), message.token));
    }
    // All but one: the last by itself, then the others at once.
    let done = tokens.iter().rev().filter(|(body, _)| body != "m1");
    let done: Vec<u64> = done.map(|(_, token)| *token).collect();
    for some in [&done[..1], &done[1..]] {
        first
            .acknowledge_all(some)
            .await
            .expect("the connection holds");
    }
    first.close().await;
    let mut second = source(rig, &terms).await;
    let mut seen = BTreeSet::new();
    // A broker that knows only an offset gives what follows the open one again, too.
    while !seen.contains("m1") {
        seen.extend(take(second.as_mut(), 1).await);
    }
    assert!(
        !seen.contains("m0"),
        "it was acknowledged, and nothing before it is open"
    );
    second.close().await;
}

async fn no_more_than_the_prefetch_is_held(rig: &dyn Rig) {
    let queue = rig.make_queue().await;
    rig.put(&queue, &bodies(20)).await;
    let mut source = source(rig, &binding(&queue, 4)).await;
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(receive(source.as_mut()).await);
    }
    assert!(is_silent(source.as_mut()).await);
    source
        .acknowledge(held[0].token)
        .await
        .expect("the connection holds");
    receive(source.as_mut()).await;
    assert!(is_silent(source.as_mut()).await);
    source.close().await;
}

async fn order_is_kept(rig: &dyn Rig) {
    let queue = rig.make_queue().await;
    let sent = bodies(200);
    rig.put(&queue, &sent).await;
    let mut source = source(rig, &binding(&queue, 16)).await;
    assert_eq!(take(source.as_mut(), sent.len()).await, sent);
    source.close().await;
}

async fn the_backlog_is_what_waits_for_the_group(rig: &dyn Rig) {
    let queue = rig.make_queue().await;
    rig.put(&queue, &bodies(20)).await;
    let mut source = source(rig, &binding(&queue, 4)).await;
    let mut held = Vec::new();
    for _ in 0..4 {
        let message = try_receive(source.as_mut()).await;
        held.push(message.expect("the connection holds").token);
    }
    if !rig.tells_backlog() {
        assert_eq!(source.backlog().await, None);
        source.close().await;
        return;
    }
    backlog_becomes(source.as_mut(), 16).await;
    for token in held {
        let done = source.acknowledge(token).await;
        done.expect("the connection holds");
    }
    // What the next ones are is not lost by asking.
    take(source.as_mut(), 16).await;
    backlog_becomes(source.as_mut(), 0).await;
    source.close().await;
}

/// Waits until so many messages wait: a broker may count a moment later.
async fn backlog_becomes(source: &mut dyn Source, count: u64) {
    let counting = async {
        while source.backlog().await != Some(count) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    in_time(&format!("a backlog of {count}"), counting).await;
}

async fn a_dropped_receive_loses_nothing(rig: &dyn Rig) {
    let queue = rig.make_queue().await;
    let mut source = source(rig, &binding(&queue, 100)).await;
    let sent = bodies(50);
    rig.put(&queue, &sent).await;
    let mut got = Vec::new();
    while got.len() < sent.len() {
        let taken = tokio::time::timeout(std::time::Duration::from_micros(200), source.receive());
        if let Ok(message) = taken.await {
            got.push(body(&message.expect("the connection holds")));
        }
    }
    assert_eq!(got, sent);
    source.close().await;
}

async fn a_pause_gives_everything_back(rig: &dyn Rig) {
    let queue = rig.make_queue().await;
    rig.put(&queue, &bodies(10)).await;
    let terms = binding(&queue, 10);
    let mut got = BTreeSet::new();
    // More often than a broker that counts deliveries would bear.
    for _ in 0..25 {
        let mut source = source(rig, &terms).await;
        receive(source.as_mut()).await;
        source.close().await;
    }
    let mut last = source(rig, &terms).await;
    while got.len() < 10 {
        got.extend(take(last.as_mut(), 1).await);
    }
    last.close().await;
}

async fn a_broken_connection_loses_nothing(rig: &dyn Rig) {
    let queue = rig.make_queue().await;
    let sent = bodies(60);
    rig.put(&queue, &sent).await;
    let terms = binding(&queue, 8);
    let mut got = BTreeSet::new();
    let mut cuts = 0;
    let mut open = source(rig, &terms).await;
    while got.len() < sent.len() {
        if got.len() / 10 > cuts {
            cuts += 1;
            rig.cut();
        }
        match try_receive(open.as_mut()).await {
            Ok(message) => {
                got.insert(body(&message));
                // If that fails, the message may come again or be gone.
                let _ = open.acknowledge(message.token).await;
            }
            Err(_) => open = source(rig, &terms).await,
        }
    }
    assert!(cuts > 3);
    open.close().await;
}

async fn a_killed_broker_loses_nothing(rig: &dyn Rig) {
    let queue = rig.make_queue().await;
    let sent = bodies(20);
    rig.put(&queue, &sent).await;
    let terms = binding(&queue, 8);
    let mut first = source(rig, &terms).await;
    let early = take(first.as_mut(), 5).await;
    rig.kill().await;
    if !rig.is_peer_to_peer() {
        let lost = async { while first.receive().await.is_ok() {} };
        super::in_time("learning that the broker is gone", lost).await;
    }
    rig.restart().await;
    let mut got: BTreeSet<String> = early.into_iter().collect();
    let mut second = source(rig, &terms).await;
    while got.len() < sent.len() {
        got.extend(take(second.as_mut(), 1).await);
    }
    second.close().await;
}
