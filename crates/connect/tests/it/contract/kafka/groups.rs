//! What is said of groups: several sources share the partitions of a topic.

use std::collections::BTreeSet;

use tributary_connect::port::Source;

use super::KafkaRig;
use crate::contract::{
    Rig, acknowledge, binding, bodies, body, in_time, is_silent, receive, source,
};

pub(super) async fn pass(rig: &KafkaRig) {
    sources_of_a_group_share_the_partitions(rig).await;
    a_source_without_room_follows_a_rebalance(rig).await;
    what_is_acknowledged_for_a_lost_partition_is_not_told(rig).await;
    a_stuck_message_holds_nothing_up(rig).await;
}

/// Receives and acknowledges from two sources until they have seen everything.
async fn take_all(sources: [&mut dyn Source; 2], expected: &BTreeSet<String>) -> [usize; 2] {
    let [first, second] = sources;
    let mut seen = BTreeSet::new();
    let mut counts = [0; 2];
    in_time("receiving", async {
        while seen.len() < expected.len() {
            let (from, message) = tokio::select! {
                message = first.receive() => (0, message),
                message = second.receive() => (1, message),
            };
            let message = message.expect("the connection holds");
            let source = if from == 0 { &mut *first } else { &mut *second };
            let acknowledged = source.acknowledge(message.token).await;
            acknowledged.expect("the connection holds");
            counts[from] += 1;
            seen.insert(body(&message));
        }
    })
    .await;
    assert_eq!(seen, *expected);
    counts
}

async fn sources_of_a_group_share_the_partitions(rig: &KafkaRig) {
    let topic = rig.make_topic(4).await;
    let sent = bodies(400);
    let expected: BTreeSet<String> = sent.iter().cloned().collect();
    let mut first = source(rig, &binding(&topic, 50)).await;
    let mut second = source(rig, &binding(&topic, 50)).await;
    // Both have partitions when both have got something.
    let mut round = 0;
    loop {
        let sent: Vec<String> = sent.iter().map(|body| format!("{round}-{body}")).collect();
        rig.put(&topic, &sent).await;
        let expected = sent.into_iter().collect();
        let counts = take_all([first.as_mut(), second.as_mut()], &expected).await;
        if counts.iter().all(|count| *count > 0) {
            break;
        }
        round += 1;
        assert!(round < 100, "one source gets nothing");
    }
    // What one leaves goes to the other.
    second.close().await;
    rig.put(&topic, &sent).await;
    let mut seen = BTreeSet::new();
    while seen.len() < expected.len() {
        let message = receive(first.as_mut()).await;
        acknowledge(first.as_mut(), message.token).await;
        seen.insert(body(&message));
    }
    assert_eq!(seen, expected);
    first.close().await;
}

/// Its thread must not wait for room, or the group would wait for it.
async fn a_source_without_room_follows_a_rebalance(rig: &KafkaRig) {
    let topic = rig.make_topic(2).await;
    rig.put(&topic, &bodies(100)).await;
    let mut full = source(rig, &binding(&topic, 1)).await;
    let held = receive(full.as_mut()).await;
    // Long enough for its partitions to be paused.
    assert!(is_silent(full.as_mut()).await);
    assert!(is_silent(full.as_mut()).await);
    let mut other = source(rig, &binding(&topic, 10)).await;
    let message = receive(other.as_mut()).await;
    acknowledge(other.as_mut(), message.token).await;
    other.close().await;
    // And it goes on when there is room again.
    acknowledge(full.as_mut(), held.token).await;
    let mut seen: BTreeSet<String> = [body(&held), body(&message)].into();
    while seen.len() < 100 {
        let message = receive(full.as_mut()).await;
        acknowledge(full.as_mut(), message.token).await;
        seen.insert(body(&message));
    }
    full.close().await;
}

async fn what_is_acknowledged_for_a_lost_partition_is_not_told(rig: &KafkaRig) {
    let topic = rig.make_queue().await;
    rig.put(&topic, &bodies(3)).await;
    let mut first = source(rig, &binding(&topic, 10)).await;
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(receive(first.as_mut()).await);
    }
    // The one partition goes to one of them, without the first message being decided.
    let mut second = source(rig, &binding(&topic, 10)).await;
    let again = in_time("the rebalance", async {
        tokio::select! {
            message = first.receive() => message,
            message = second.receive() => message,
        }
    });
    let again = again.await.expect("the connection holds");
    assert_eq!(body(&again), "m0", "all comes again");
    // Acknowledgements of the old assignment are taken, and mean nothing.
    for message in &held {
        acknowledge(first.as_mut(), message.token).await;
    }
    first.close().await;
    second.close().await;
    let mut third = source(rig, &binding(&topic, 10)).await;
    let again = receive(third.as_mut()).await;
    assert_eq!(body(&again), "m0", "nothing was told");
    third.close().await;
}

/// The table of undecided messages must not grow with what is decided behind one that is not.
async fn a_stuck_message_holds_nothing_up(rig: &KafkaRig) {
    let topic = rig.make_queue().await;
    rig.put(&topic, &bodies(3_000)).await;
    let mut open = source(rig, &binding(&topic, 8)).await;
    let stuck = receive(open.as_mut()).await;
    for _ in 1..3_000 {
        let message = receive(open.as_mut()).await;
        acknowledge(open.as_mut(), message.token).await;
    }
    open.close().await;
    // Kafka was told that the stuck one is open: all after it comes again.
    let mut again = source(rig, &binding(&topic, 8)).await;
    let message = receive(again.as_mut()).await;
    assert_eq!(body(&message), body(&stuck));
    again.close().await;
}
