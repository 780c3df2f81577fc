//! What is said of streams and consumers: which are refused, and which are made.

use std::time::Duration;

use serde_json::{Value, json};
use tributary_connect::port::TroubleKind;

use super::NatsRig;
use crate::contract::{
    Rig, binding, bodies, body, destinations, failed, in_time, receive, refused_source, source,
    take, try_receive,
};

pub(super) async fn pass(rig: &NatsRig) {
    destinations_that_lose_messages_are_refused(rig).await;
    a_missing_stream_of_dead_letters_is_refused(rig).await;
    a_consumer_that_loses_messages_is_refused(rig).await;
    what_is_missing_is_created_to_last(rig).await;
    a_stream_of_several_subjects_is_read_by_subject(rig).await;
    a_deleted_consumer_is_told(rig).await;
}

/// Line 16.
async fn destinations_that_lose_messages_are_refused(rig: &NatsRig) {
    let minute = 60_000_000_000_u64;
    let cases = [
        (json!({"retention": "workqueue"}), None),
        (json!({"retention": "interest"}), None),
        (json!({"max_msgs": 9, "discard": "new"}), None),
        (json!({"storage": "memory"}), Some("in memory")),
        (
            json!({"max_age": minute, "duplicate_window": minute}),
            Some("max_age"),
        ),
        (json!({"max_msgs": 9}), Some("max_msgs")),
        (json!({"max_bytes": 9_999}), Some("max_bytes")),
        (
            json!({"max_msgs_per_subject": 9}),
            Some("max_msgs_per_subject"),
        ),
        (
            json!({"max_msgs_per_subject": 9, "discard": "new"}),
            Some("max_msgs_per_subject"),
        ),
        (json!({"no_ack": true}), Some("no_ack")),
    ];
    for (settings, why) in cases {
        let queue = rig.new_name();
        let mut client = rig.connect().await;
        client.make_stream(&queue, &settings).await;
        let dead_letters = format!("{queue}.tributary.dlq");
        client.make_stream(&dead_letters, &json!({})).await;
        destinations::check_fitness(rig, &queue, &stream_name(&queue), why).await;
    }
    for (settings, why) in [
        (json!({"storage": "memory"}), "in memory"),
        (json!({"retention": "interest"}), "interest"),
    ] {
        let queue = rig.new_name();
        let mut client = rig.connect().await;
        client.make_stream(&queue, &json!({})).await;
        let dead_letters = format!("{queue}.tributary.dlq");
        client.make_stream(&dead_letters, &settings).await;
        destinations::check_fitness(rig, &queue, &stream_name(&queue), Some(why)).await;
    }
}

/// Name of the stream that is made for a subject.
fn stream_name(queue: &str) -> String {
    queue.replace('.', "_")
}

async fn a_missing_stream_of_dead_letters_is_refused(rig: &NatsRig) {
    let queue = rig.new_name();
    rig.connect().await.make_stream(&queue, &json!({})).await;
    destinations::missing_dead_letters_are_told(rig, &queue).await;
    destinations::nobody_looks(rig, &queue).await;
}

async fn make_consumer(rig: &NatsRig, queue: &str, settings: &Value) {
    let stream = stream_name(queue);
    let mut config =
        json!({"durable_name": "tributary", "deliver_policy": "all", "ack_policy": "explicit"});
    for (setting, value) in settings.as_object().into_iter().flatten() {
        config[setting] = value.clone();
    }
    let subject = format!("CONSUMER.DURABLE.CREATE.{stream}.tributary");
    let question = json!({"stream_name": stream, "config": config});
    rig.connect().await.jetstream(&subject, &question).await;
}

async fn a_consumer_that_loses_messages_is_refused(rig: &NatsRig) {
    let cases = [
        (json!({}), None),
        (json!({"max_batch": 2}), None),
        (json!({"max_deliver": 3}), Some("max_deliver")),
        (json!({"ack_policy": "none"}), Some("ack policy none")),
        (json!({"deliver_subject": "pushed"}), Some("push")),
    ];
    for (settings, why) in cases {
        let queue = rig.make_queue().await;
        make_consumer(rig, &queue, &settings).await;
        destinations::check_fitness(rig, &queue, &stream_name(&queue), why).await;
    }
    // An operator may bound what is asked for at once.
    let queue = rig.make_queue().await;
    make_consumer(rig, &queue, &json!({"max_batch": 2})).await;
    let sent: Vec<String> = bodies(9);
    rig.put(&queue, &sent).await;
    let mut source = source(rig, &binding(&queue, 5)).await;
    assert_eq!(take(source.as_mut(), 9).await, sent);
    source.close().await;
}

async fn what_is_missing_is_created_to_last(rig: &NatsRig) {
    let queue = rig.new_name();
    destinations::create(rig, &queue).await;
    // It passes the check, what is acknowledged is deleted, and it is there after a restart.
    rig.put(&queue, &["one".to_owned(), "two".to_owned()]).await;
    let mut checked = source(rig, &binding(&queue, 10)).await;
    assert_eq!(take(checked.as_mut(), 1).await, ["one"]);
    checked.close().await;
    let stream = stream_name(&queue);
    let mut client = rig.connect().await;
    let info = client
        .jetstream(&format!("STREAM.INFO.{stream}"), &json!({}))
        .await;
    assert_eq!(info["state"]["messages"], json!(1), "{info}");
    rig.kill().await;
    rig.restart().await;
    let mut again = source(rig, &destinations::creating(&queue)).await;
    // NATS may have kept the acknowledgement of the first one to itself.
    let got = receive(again.as_mut()).await;
    if body(&got) == "one" {
        assert_eq!(take(again.as_mut(), 1).await, ["two"]);
    } else {
        assert_eq!(body(&got), "two");
    }
    again.close().await;
    let queue = rig.new_name();
    let mut client = rig.connect().await;
    client.make_stream(&queue, &json!({"max_msgs": 9})).await;
    destinations::what_exists_is_kept(rig, &queue).await;
}

async fn a_stream_of_several_subjects_is_read_by_subject(rig: &NatsRig) {
    let base = rig.new_name();
    let mut client = rig.connect().await;
    let wildcard = json!({"name": base.replace('.', "-"), "subjects": [format!("{base}.>")], "storage": "file"});
    let name = wildcard["name"].as_str().expect("it has one");
    client
        .jetstream(&format!("STREAM.CREATE.{name}"), &wildcard)
        .await;
    let (ours, theirs) = (format!("{base}.ours"), format!("{base}.theirs"));
    client.put(&theirs, &[], b"theirs").await;
    client.put(&ours, &[], b"ours").await;
    let mut source = source(rig, &binding(&ours, 10)).await;
    assert_eq!(take(source.as_mut(), 1).await, ["ours"]);
    // The consumer of the group is for that subject.
    let trouble = refused_source(rig, &binding(&theirs, 10), TroubleKind::DestinationUnfit).await;
    assert!(trouble.text.contains(&ours), "{trouble}");
    source.close().await;
}

async fn a_deleted_consumer_is_told(rig: &NatsRig) {
    let queue = rig.make_queue().await;
    let mut reader = source(rig, &binding(&queue, 10)).await;
    rig.put(&queue, &bodies(2)).await;
    assert_eq!(take(reader.as_mut(), 1).await, ["m0"]);
    let held = receive(reader.as_mut()).await;
    let stream = stream_name(&queue);
    let mut client = rig.connect().await;
    client
        .jetstream(&format!("STREAM.DELETE.{stream}"), &json!({}))
        .await;
    let opened = try_receive(reader.as_mut()).await;
    let trouble = failed(opened, TroubleKind::DestinationMissing);
    assert!(trouble.text.contains(&stream), "{trouble}");
    // What was held is acknowledged to nobody. The answer comes in a moment; a token that is not held asks for it.
    let acknowledged = in_time("learning that nobody takes it", async {
        let mut acknowledged = reader.acknowledge(held.token).await;
        while acknowledged.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
            acknowledged = reader.acknowledge(0).await;
        }
        acknowledged
    });
    // Or nobody answers at all, while the consumer is being deleted.
    acknowledged.await.expect_err("it is deleted");
    in_time("closing", reader.close()).await;
}
