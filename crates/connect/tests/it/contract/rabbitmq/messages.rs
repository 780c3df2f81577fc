//! What is said of messages: what they bring along, and what becomes of those that go out.

use bytes::Bytes;
use lapin::BasicProperties;
use lapin::options::{BasicConsumeOptions, BasicPublishOptions};
use lapin::types::{AMQPValue, FieldTable};
use tributary_connect::port::{Adapter, Address, Outgoing, SendError, TroubleKind};
use tributary_connect::rabbitmq::UNREADABLE_HEADER;

use super::{RabbitMqRig, text};
use crate::contract::{
    Rig, binding, body, in_time, outgoing, receive, refused, sink, source, take,
};

pub(super) async fn pass(rig: &RabbitMqRig) {
    properties_come_in_and_go_out(rig).await;
    a_reply_reaches_who_asked(rig).await;
    events_go_to_an_exchange(rig).await;
    outgoing::each_of_many_messages_is_told_apart(rig).await;
    a_message_that_is_too_large_is_refused(rig).await;
}

async fn properties_come_in_and_go_out(rig: &RabbitMqRig) {
    let queue = rig.make_queue().await;
    let connection = rig.connect().await;
    let channel = connection.create_channel().await.expect("it is up");
    let nested = |depth: usize| {
        (0..depth).fold(AMQPValue::Boolean(true), |inner, _| {
            let mut table = FieldTable::default();
            table.insert("in".into(), inner);
            AMQPValue::FieldTable(table)
        })
    };
    // Tables that no reader needs could use its stack up; properties are in one frame, however large.
    for value in [nested(2), nested(40), text(&"x".repeat(100_000))] {
        let mut headers = FieldTable::default();
        headers.insert("attempt".into(), AMQPValue::LongInt(3));
        headers.insert("table".into(), value);
        let properties = BasicProperties::default()
            .with_content_encoding("gzip".into())
            .with_headers(headers);
        let (key, options) = (queue.as_str().into(), BasicPublishOptions::default());
        let published = channel.basic_publish("".into(), key, options, b"x", properties);
        published.await.expect("it is up");
    }
    let mut source = source(rig, &binding(&queue, 10)).await;
    let got = receive(source.as_mut()).await;
    let expected = [
        ("attempt", "3"),
        ("table", r#"{"in":{"in":true}}"#),
        ("content-encoding", "gzip"),
    ];
    let expected = expected.map(|(name, value)| (name.to_owned(), Bytes::from(value)));
    assert_eq!(got.headers, expected);
    for _ in 0..2 {
        let got = receive(source.as_mut()).await;
        assert_eq!(body(&got), "x");
        assert_eq!(got.headers.len(), 1);
        assert_eq!(got.headers[0].0, UNREADABLE_HEADER);
    }
    source.close().await;
}

async fn a_reply_reaches_who_asked(rig: &RabbitMqRig) {
    let queue = rig.make_queue().await;
    let connection = rig.connect().await;
    let channel = connection.create_channel().await.expect("it is up");
    let mut replies = channel
        .basic_consume(
            "amq.rabbitmq.reply-to".into(),
            "asker".into(),
            BasicConsumeOptions {
                no_ack: true,
                ..Default::default()
            },
            FieldTable::default(),
        )
        .await
        .expect("it is up");
    let properties = BasicProperties::default()
        .with_reply_to("amq.rabbitmq.reply-to".into())
        .with_correlation_id("question-1".into());
    channel
        .basic_publish(
            "".into(),
            queue.as_str().into(),
            Default::default(),
            b"?",
            properties,
        )
        .await
        .expect("it is up");
    let mut source = source(rig, &binding(&queue, 10)).await;
    let asked = receive(source.as_mut()).await;
    let reply_to = asked.reply_to.expect("it was given");
    let reply = Outgoing {
        address: rig.adapter.address(&reply_to),
        correlation_id: asked.correlation_id,
        ..outgoing(rig, "", "!")
    };
    let sink = sink(rig).await;
    sink.send(&reply).await.expect("it is confirmed");
    let got = in_time("the reply", futures_util::StreamExt::next(&mut replies)).await;
    let got = got.expect("it is up").expect("it is up");
    assert_eq!(got.data, b"!");
    let correlation_id = got.properties.correlation_id().as_ref();
    assert_eq!(correlation_id.map(|id| id.as_str()), Some("question-1"));
    // Whoever asked has gone.
    connection.close(200, "".into()).await.expect("it is up");
    let refused = sink.send(&reply).await;
    assert!(matches!(refused, Err(SendError::Refused(_))), "{refused:?}");
    source.close().await;
}

/// A message to an exchange.
fn event(rig: &RabbitMqRig, exchange: &str, routing_key: &str, body: &str) -> Outgoing {
    Outgoing {
        address: Address {
            destination: exchange.to_owned(),
            routing_key: Some(routing_key.to_owned()),
        },
        ..outgoing(rig, "", body)
    }
}

async fn events_go_to_an_exchange(rig: &RabbitMqRig) {
    let queue = rig.make_queue().await;
    let connection = rig.connect().await;
    let channel = connection.create_channel().await.expect("it is up");
    let topic = lapin::ExchangeKind::Topic;
    let (options, none) = (Default::default(), FieldTable::default());
    let declared = channel.exchange_declare("payment".into(), topic, options, none.clone());
    declared.await.expect("it can be declared");
    let (name, key) = (queue.as_str().into(), "payment.captured.#".into());
    let bound = channel.queue_bind(name, "payment".into(), key, Default::default(), none);
    bound.await.expect("it can be bound");
    let sink = sink(rig).await;
    let right = event(rig, "payment", "payment.captured.EUR", "right");
    let unbound = event(rig, "payment", "payment.failed", "unbound");
    let missing = event(rig, "no-such-exchange", "payment.captured", "missing");
    let default = outgoing(rig, &queue, "default");
    let (right, unbound, missing, default) = tokio::join!(
        sink.send(&right),
        sink.send(&unbound),
        sink.send(&missing),
        sink.send(&default),
    );
    right.expect("it is bound");
    default.expect("it is there");
    for (sent, name) in [(unbound, "payment.failed"), (missing, "no-such-exchange")] {
        let trouble = refused(sent);
        assert_eq!(trouble.kind, TroubleKind::DestinationMissing, "{trouble}");
        assert!(trouble.text.contains(name), "{trouble}");
    }
    let mut source = source(rig, &binding(&queue, 10)).await;
    let mut got = take(source.as_mut(), 2).await;
    got.sort();
    assert_eq!(got, ["default", "right"]);
    source.close().await;
}

async fn a_message_that_is_too_large_is_refused(rig: &RabbitMqRig) {
    let queue = rig.make_queue().await;
    let first = sink(rig).await;
    // What `serve` allows, and one byte more.
    let largest = "x".repeat(4 * 1024 * 1024);
    let large = outgoing(rig, &queue, &largest);
    let large = |body: String| Outgoing {
        body: Bytes::from(body),
        message_id: "large".to_owned(),
        correlation_id: None,
        ..large.clone()
    };
    first
        .send(&large(largest.clone()))
        .await
        .expect("it is not too large");
    let sent = first.send(&large(largest.clone() + "x")).await;
    let trouble = refused(sent);
    assert!(
        trouble.text.contains("message size 4194305 is larger"),
        "{trouble}"
    );
    first
        .send(&outgoing(rig, &queue, "next"))
        .await
        .expect("it is of further use");
    let mut source = source(rig, &binding(&queue, 10)).await;
    assert!(take(source.as_mut(), 2).await == [largest, "next".to_owned()]);
    source.close().await;
    // What AMQP can't say is refused too.
    let long = outgoing(rig, &"q".repeat(256), "long");
    let refused = first.send(&long).await;
    assert!(matches!(refused, Err(SendError::Refused(_))), "{refused:?}");
}
