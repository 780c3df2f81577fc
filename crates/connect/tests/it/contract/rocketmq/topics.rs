//! What is said of topics and groups: which are refused, what keeps an order, and what stays hidden.

use std::collections::BTreeSet;
use std::time::Duration;

use tributary_connect::port::{Binding, TroubleKind};

use super::RocketMqRig;
use crate::contract::{
    Rig, binding, bodies, destinations, is_silent, outgoing, receive, refused_source, sink, source,
    take, try_receive,
};

pub(super) async fn pass(rig: &RocketMqRig) {
    what_is_missing_or_unfit_is_refused(rig).await;
    a_topic_of_several_queues_is_read_whole(rig).await;
    a_redelivery_is_known(rig).await;
    a_group_that_keeps_the_order_keeps_it_over_a_pause(rig).await;
    a_message_that_is_held_for_long_stays_hidden(rig).await;
    a_deleted_topic_is_told(rig).await;
}

/// Line 16.
async fn what_is_missing_or_unfit_is_refused(rig: &RocketMqRig) {
    let topic = rig.new_name();
    rig.make_topic(&topic, "FIFO", 1).await;
    destinations::missing_dead_letters_are_told(rig, &topic).await;
    destinations::nobody_looks(rig, &topic).await;
    // Dead letters would come when they are due, which is never said.
    let late = rig.new_name();
    rig.make_topic(&late, "FIFO", 1).await;
    rig.make_topic(&format!("{late}_tributary_dlq"), "DELAY", 1)
        .await;
    destinations::check_fitness(rig, &late, "", Some("delayed")).await;
    // A group as RocketMQ makes it by itself.
    let queue = rig.make_queue().await;
    rig.make_topic(&format!("{queue}_hasty_dlq"), "NORMAL", 1)
        .await;
    let hasty = Binding {
        group: "hasty".to_owned(),
        ..binding(&queue, 1)
    };
    let trouble = refused_source(rig, &hasty, TroubleKind::DestinationUnfit).await;
    assert!(trouble.text.contains("after 17 deliveries"), "{trouble}");
    assert!(trouble.text.contains("-g hasty"), "{trouble}");
    let create = destinations::creating(&queue);
    let trouble = refused_source(rig, &create, TroubleKind::Refused).await;
    assert!(trouble.text.contains("mqadmin updateTopic"), "{trouble}");
}

async fn a_topic_of_several_queues_is_read_whole(rig: &RocketMqRig) {
    let topic = rig.new_name();
    rig.make_topic(&topic, "NORMAL", 4).await;
    rig.make_topic(&format!("{topic}_tributary_dlq"), "FIFO", 1)
        .await;
    let sink = sink(rig).await;
    for body in bodies(40) {
        sink.send(&outgoing(rig, &topic, &body))
            .await
            .expect("it is confirmed");
    }
    let mut source = source(rig, &binding(&topic, 8)).await;
    let taken: BTreeSet<String> = take(source.as_mut(), 40).await.into_iter().collect();
    assert_eq!(taken, bodies(40).into_iter().collect());
    source.close().await;
}

async fn a_redelivery_is_known(rig: &RocketMqRig) {
    let queue = rig.make_queue().await;
    rig.put(&queue, &bodies(1)).await;
    let mut first = source(rig, &binding(&queue, 1)).await;
    let before = receive(first.as_mut()).await;
    assert!(!before.redelivered);
    first.close().await;
    let mut second = source(rig, &binding(&queue, 1)).await;
    let again = receive(second.as_mut()).await;
    assert!(again.redelivered);
    assert!(before.broker_id.is_some());
    assert_eq!(again.broker_id, before.broker_id);
    assert_eq!(again.key, before.key);
    second.close().await;
}

async fn a_group_that_keeps_the_order_keeps_it_over_a_pause(rig: &RocketMqRig) {
    rig.make_group("orderly", &["-o", "true"]).await;
    let queue = rig.make_queue().await;
    rig.make_topic(&format!("{queue}_orderly_dlq"), "NORMAL", 1)
        .await;
    rig.put(&queue, &bodies(12)).await;
    let orderly = Binding {
        group: "orderly".to_owned(),
        ..binding(&queue, 4)
    };
    let mut first = source(rig, &orderly).await;
    assert_eq!(take(first.as_mut(), 4).await, bodies(4));
    // The next ones are given out when this one is acknowledged.
    receive(first.as_mut()).await;
    first.close().await;
    let mut second = source(rig, &orderly).await;
    assert_eq!(take(second.as_mut(), 8).await, bodies(12)[4..]);
    second.close().await;
}

async fn a_message_that_is_held_for_long_stays_hidden(rig: &RocketMqRig) {
    // More than the time for which the broker hides it at once.
    const LONG: Duration = Duration::from_secs(25);
    let queue = rig.make_queue().await;
    rig.put(&queue, &bodies(1)).await;
    let mut holder = source(rig, &binding(&queue, 1)).await;
    let held = receive(holder.as_mut()).await;
    let mut other = source(rig, &binding(&queue, 1)).await;
    let shown = tokio::time::timeout(LONG, other.receive()).await;
    assert!(shown.is_err(), "{shown:?}");
    let done = holder.acknowledge(held.token).await;
    done.expect("the connection holds");
    holder.close().await;
    assert!(is_silent(other.as_mut()).await);
    other.close().await;
}

async fn a_deleted_topic_is_told(rig: &RocketMqRig) {
    let queue = rig.make_queue().await;
    let mut source = source(rig, &binding(&queue, 10)).await;
    assert!(is_silent(source.as_mut()).await);
    let delete = ["deleteTopic", "-c", "DefaultCluster", "-t", &queue];
    rig.admin(&delete, "success").await;
    let trouble = try_receive(source.as_mut())
        .await
        .expect_err("it is deleted");
    assert!(trouble.text.contains(&queue), "{trouble}");
    source.close().await;
}
