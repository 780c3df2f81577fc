//! What is said of messages: what they bring along, and what becomes of those that go out.

use bytes::Bytes;
use tributary_connect::port::{Adapter, Outgoing, SendError, TroubleKind};

use super::RocketMqRig;
use crate::contract::{Rig, binding, body, outgoing, receive, refused, sink, source, take};

pub(super) async fn pass(rig: &RocketMqRig) {
    tags_and_keys_come_in(rig).await;
    a_routing_key_is_a_tag(rig).await;
    a_body_that_a_client_compressed_is_read(rig).await;
    a_message_that_is_too_large_is_refused(rig).await;
    a_dead_letter_is_taken_whatever_its_sender_wrote(rig).await;
    a_name_that_no_topic_has_is_refused(rig).await;
}

fn header(headers: &[(String, Bytes)], name: &str) -> Option<String> {
    let found = headers.iter().find(|(found, _)| found == name);
    found.map(|(_, value)| String::from_utf8_lossy(value).into_owned())
}

async fn tags_and_keys_come_in(rig: &RocketMqRig) {
    let queue = rig.make_queue().await;
    let what = [
        "sendMessage",
        "-t",
        &queue,
        "-p",
        "x",
        "-k",
        "one two",
        "-c",
        "new",
    ];
    rig.admin(&what, "SEND_OK").await;
    let mut source = source(rig, &binding(&queue, 10)).await;
    let got = receive(source.as_mut()).await;
    assert_eq!(body(&got), "x");
    let found = |name| header(&got.headers, name);
    assert_eq!(found("rocketmq-tag").as_deref(), Some("new"));
    assert_eq!(found("rocketmq-keys").as_deref(), Some("one two"));
    assert_eq!(got.headers.len(), 2, "{:?}", got.headers);
    assert_eq!((got.message_id, got.content_type), (None, None));
    source.close().await;
}

async fn a_routing_key_is_a_tag(rig: &RocketMqRig) {
    let queue = rig.make_queue().await;
    let mut event = outgoing(rig, &queue, "x");
    event.address.routing_key = Some("payment.captured".to_owned());
    sink(rig).await.send(&event).await.expect("it is confirmed");
    let mut source = source(rig, &binding(&queue, 10)).await;
    let got = receive(source.as_mut()).await;
    let tag = header(&got.headers, "rocketmq-tag");
    assert_eq!(tag.as_deref(), Some("payment.captured"));
    assert_eq!(got.key.as_deref(), Some(&b"key"[..]));
    source.close().await;
}

async fn a_body_that_a_client_compressed_is_read(rig: &RocketMqRig) {
    // The classic client compresses what is larger than 4 KiB.
    let large = "large ".repeat(2_000);
    let queue = rig.make_queue().await;
    rig.put(&queue, std::slice::from_ref(&large)).await;
    let mut source = source(rig, &binding(&queue, 10)).await;
    assert!(take(source.as_mut(), 1).await == [large]);
    source.close().await;
}

async fn a_message_that_is_too_large_is_refused(rig: &RocketMqRig) {
    let queue = rig.make_queue().await;
    let sink = sink(rig).await;
    let large = |bytes: usize| Outgoing {
        body: Bytes::from("x".repeat(bytes)),
        message_id: "large".to_owned(),
        correlation_id: None,
        ..outgoing(rig, &queue, "")
    };
    // What RocketMQ takes if nobody changes it, and one byte more.
    let largest = 4 * 1024 * 1024;
    sink.send(&large(largest))
        .await
        .expect("it is not too large");
    let trouble = refused(sink.send(&large(largest + 1)).await);
    assert!(trouble.text.contains("cannot exceed"), "{trouble}");
    sink.send(&outgoing(rig, &queue, "next"))
        .await
        .expect("it is of further use");
    let mut source = source(rig, &binding(&queue, 10)).await;
    assert!(take(source.as_mut(), 2).await == ["x".repeat(largest), "next".to_owned()]);
    source.close().await;
}

async fn a_dead_letter_is_taken_whatever_its_sender_wrote(rig: &RocketMqRig) {
    let queue = rig.make_queue().await;
    rig.put(&queue, &["poison".to_owned()]).await;
    let terms = binding(&queue, 10);
    let mut source_of_poison = source(rig, &terms).await;
    let poison = receive(source_of_poison.as_mut()).await;
    source_of_poison.close().await;
    // What RocketMQ adds by itself would make the dead letter one of another type.
    assert_eq!(poison.headers, []);
    let mut headers = poison.headers;
    headers.push(("x-large".to_owned(), Bytes::from("y".repeat(20_000))));
    headers.push((
        "x-exception-code".to_owned(),
        Bytes::from_static(b"json_malformed"),
    ));
    headers.push(("TAGS".to_owned(), Bytes::from_static(b"theirs")));
    headers.push(("x-lines".to_owned(), Bytes::from_static(b"one\ntwo\xff")));
    let dead_letters = rig.adapter.dead_letters(&terms);
    let letter = Outgoing {
        key: poison.key.map(|key| String::from_utf8_lossy(&key).into()),
        headers,
        ..outgoing(rig, &dead_letters, "poison")
    };
    sink(rig).await.send(&letter).await.expect("it is taken");
    let mut dead = rig.dead_letters(&dead_letters).await;
    let got = receive(dead.as_mut()).await;
    assert_eq!(body(&got), "poison");
    let found = |name| header(&got.headers, name);
    assert_eq!(found("x-exception-code").as_deref(), Some("json_malformed"));
    assert_eq!(found("headers-left-out").as_deref(), Some("1"));
    assert_eq!(found("x-lines").as_deref(), Some("one two\u{fffd}"));
    dead.close().await;
}

async fn a_name_that_no_topic_has_is_refused(rig: &RocketMqRig) {
    let sink = sink(rig).await;
    for name in ["", "payment.order", &"t".repeat(128)] {
        let refused = sink.send(&outgoing(rig, name, "x")).await;
        let Err(SendError::Refused(trouble)) = refused else {
            panic!("{name}: {refused:?}");
        };
        assert_eq!(trouble.kind, TroubleKind::Refused, "{trouble}");
    }
}
