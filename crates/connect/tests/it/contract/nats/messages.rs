//! What is said of messages: what they bring along, and what becomes of those that go out.

use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::json;
use tributary_connect::nats::UNREADABLE_HEADER;
use tributary_connect::port::{Adapter, Address, Outgoing, SendError, TroubleKind};

use super::NatsRig;
use crate::contract::{
    Rig, acknowledge, binding, body, outgoing, receive, refused, sink, source, take,
};

pub(super) async fn pass(rig: &NatsRig) {
    headers_come_in_and_go_out(rig).await;
    headers_that_can_t_be_read_block_nobody(rig).await;
    orders_to_the_server_are_not_handed_on(rig).await;
    a_message_is_known_by_its_place_in_the_stream(rig).await;
    what_is_held_is_not_delivered_again(rig).await;
    what_another_process_held_comes_again(rig).await;
    a_reply_reaches_who_asked(rig).await;
    events_go_to_a_subject_of_their_own(rig).await;
    outgoing::each_of_many_messages_is_told_apart(rig).await;
    a_message_that_can_t_be_sent_is_refused(rig).await;
    a_full_stream_refuses(rig).await;
}

async fn headers_come_in_and_go_out(rig: &NatsRig) {
    let queue = rig.make_queue().await;
    let headers =
        b"NATS/1.0\r\nContent-Type: application/xml\r\nMESSAGE-ID: m-1\r\nreply-to: replies\r\n\
        Correlation-Id: c-1\r\nattempt: 3\r\nattempt: 4\r\nbytes: \xff\xfe\r\n\r\n";
    let mut client = rig.connect().await;
    client.put(&queue, headers, b"x").await;
    let headers = b"NATS/1.0\r\nNats-Msg-Id: theirs\r\n\r\n";
    client.put(&queue, headers, b"").await;
    let mut source = source(rig, &binding(&queue, 10)).await;
    let got = receive(source.as_mut()).await;
    assert_eq!(got.content_type.as_deref(), Some("application/xml"));
    assert_eq!(got.message_id.as_deref(), Some("m-1"));
    assert_eq!(got.reply_to.as_deref(), Some("replies"));
    assert_eq!(got.correlation_id.as_deref(), Some("c-1"));
    let others = [
        ("attempt", &b"3"[..]),
        ("attempt", b"4"),
        ("bytes", b"\xff\xfe"),
    ];
    let others = others.map(|(name, value)| (name.to_owned(), Bytes::from_static(value)));
    assert_eq!(got.headers, others);
    let got = receive(source.as_mut()).await;
    assert_eq!(got.message_id.as_deref(), Some("theirs"));
    assert!(got.body.is_empty() && got.headers.is_empty());
    source.close().await;
}

/// A client that ends its connection at such a message would get it again for ever.
async fn headers_that_can_t_be_read_block_nobody(rig: &NatsRig) {
    let queue = rig.make_queue().await;
    let mut client = rig.connect().await;
    let large = [b"NATS/1.0\r\na: ", &vec![b'x'; 40_000][..], b"\r\n\r\n"].concat();
    let hostile: [&[u8]; 8] = [
        b"NATS/1.0\r\n\xff\xfe: x\r\n\r\n",
        b"NATS/1.0\r\nno colon\r\n\r\n",
        b"NATS/1.0\r\na: b\rc\r\n\r\n",
        b"NATS/1.0\r\na\x00b: \x00\r\n\r\n",
        b"NATS/1.0 what is this\r\n\r\n",
        b"NATS/1.0 503 No Responders\r\n\r\n",
        b"NATS/9.9\r\na: b\r\n\r\n",
        &large,
    ];
    for (number, headers) in hostile.iter().enumerate() {
        client
            .put(&queue, headers, number.to_string().as_bytes())
            .await;
    }
    client.put(&queue, &[], b"next").await;
    let mut source = source(rig, &binding(&queue, 20)).await;
    let mut unreadable = 0;
    for number in 0..hostile.len() {
        let got = receive(source.as_mut()).await;
        assert_eq!(body(&got), number.to_string());
        let told = got
            .headers
            .iter()
            .any(|(name, _)| name == UNREADABLE_HEADER);
        unreadable += usize::from(told);
    }
    assert_eq!(unreadable, 2);
    assert_eq!(take(source.as_mut(), 1).await, ["next"]);
    source.close().await;
}

/// A dead letter repeats the headers of a message. Some would have the server drop it, or delete the dead letters before it.
async fn orders_to_the_server_are_not_handed_on(rig: &NatsRig) {
    let queue = rig.make_queue().await;
    let sink = sink(rig).await;
    for number in 0..3 {
        let mut message = outgoing(rig, &queue, &format!("m{number}"));
        let orders = [
            ("Nats-Msg-Id", "same"),
            ("nats-rollup", "all"),
            ("Nats-Expected-Stream", "x"),
            ("kept", "yes"),
        ];
        message.headers = orders
            .map(|(name, value)| (name.to_owned(), Bytes::from_static(value.as_bytes())))
            .to_vec();
        message.message_id = "the same id".to_owned();
        sink.send(&message).await.expect("it is confirmed");
    }
    let mut source = source(rig, &binding(&queue, 10)).await;
    for number in 0..3 {
        let got = receive(source.as_mut()).await;
        assert_eq!(body(&got), format!("m{number}"));
        assert_eq!(
            got.headers,
            [("kept".to_owned(), Bytes::from_static(b"yes"))]
        );
        assert_eq!(got.message_id.as_deref(), Some("the same id"));
    }
    source.close().await;
}

async fn a_message_is_known_by_its_place_in_the_stream(rig: &NatsRig) {
    let queue = rig.make_queue().await;
    rig.put(&queue, &["a".to_owned(), "a".to_owned()]).await;
    let terms = binding(&queue, 10);
    let mut first = source(rig, &terms).await;
    let mut ids = Vec::new();
    for _ in 0..2 {
        let got = receive(first.as_mut()).await;
        assert!(!got.redelivered);
        ids.push(got.broker_id.expect("a stream numbers"));
    }
    assert_ne!(ids[0], ids[1]);
    first.close().await;
    let mut second = source(rig, &terms).await;
    for _ in 0..2 {
        let got = receive(second.as_mut()).await;
        assert!(ids.contains(&got.broker_id.expect("a stream numbers")));
        acknowledge(second.as_mut(), got.token).await;
    }
    second.close().await;
    // Another stream of the same name numbers from 1 again.
    let mut client = rig.connect().await;
    let stream = queue.replace('.', "_");
    client
        .jetstream(&format!("STREAM.DELETE.{stream}"), &json!({}))
        .await;
    client.make_stream(&queue, &json!({})).await;
    client.put(&queue, &[], b"a").await;
    let mut third = source(rig, &terms).await;
    let got = receive(third.as_mut()).await;
    assert!(!ids.contains(&got.broker_id.expect("a stream numbers")));
    third.close().await;
}

/// Makes the consumer of a queue, which gives up what was delivered after a second.
async fn make_impatient_consumer(rig: &NatsRig, queue: &str) {
    let stream = queue.replace('.', "_");
    let config = json!({"durable_name": "tributary", "deliver_policy": "all", "ack_policy": "explicit", "ack_wait": 1_000_000_000});
    let question = json!({"stream_name": stream, "config": config});
    let subject = format!("CONSUMER.DURABLE.CREATE.{stream}.tributary");
    rig.connect().await.jetstream(&subject, &question).await;
}

async fn what_is_held_is_not_delivered_again(rig: &NatsRig) {
    let queue = rig.make_queue().await;
    make_impatient_consumer(rig, &queue).await;
    rig.put(&queue, &["held".to_owned(), "waiting".to_owned()])
        .await;
    let mut holder = source(rig, &binding(&queue, 2)).await;
    let held = receive(holder.as_mut()).await;
    // The second one has come too, and nobody has received it.
    let mut other = source(rig, &binding(&queue, 2)).await;
    let waited = Duration::from_secs(3);
    let stolen = tokio::time::timeout(waited, other.receive()).await;
    assert!(stolen.is_err(), "{stolen:?}");
    acknowledge(holder.as_mut(), held.token).await;
    assert_eq!(take(holder.as_mut(), 1).await, ["waiting"]);
    holder.close().await;
    assert!(crate::contract::is_silent(other.as_mut()).await);
    other.close().await;
}

async fn what_another_process_held_comes_again(rig: &NatsRig) {
    let queue = rig.make_queue().await;
    make_impatient_consumer(rig, &queue).await;
    rig.put(&queue, &["lost".to_owned()]).await;
    // Another adapter knows nothing of what this one held, as another process does.
    let process = tributary_connect::nats::Nats::new();
    let opened = process
        .open_source(&rig.binder(), &binding(&queue, 2))
        .await;
    let mut holder = opened.expect("it is there");
    receive(holder.as_mut()).await;
    drop(holder);
    let mut next = source(rig, &binding(&queue, 2)).await;
    let got = receive(next.as_mut()).await;
    assert!(got.redelivered);
    next.close().await;
}

async fn a_reply_reaches_who_asked(rig: &NatsRig) {
    let sink = sink(rig).await;
    let reply = Outgoing {
        address: rig.adapter.address("_INBOX.asker.7"),
        ..outgoing(rig, "", "!")
    };
    let mut asker = rig.connect().await;
    asker.subscribe("_INBOX.asker.*").await;
    sink.send(&reply).await.expect("somebody listens");
    let got = asker.receive().await;
    assert_eq!(got.body, b"!");
    let headers = String::from_utf8_lossy(&got.headers).into_owned();
    assert!(
        headers.contains("correlation-id: correlation-!"),
        "{headers}"
    );
    drop(asker);
    // Whoever asked has gone: NATS may take a moment to notice.
    let begun = Instant::now();
    loop {
        match sink.send(&reply).await {
            Err(SendError::Refused(trouble)) => {
                assert_eq!(trouble.kind, TroubleKind::DestinationMissing, "{trouble}");
                break;
            }
            other => other.expect("it was there a moment ago"),
        }
        assert!(begun.elapsed() < crate::contract::PATIENCE);
    }
}

async fn events_go_to_a_subject_of_their_own(rig: &NatsRig) {
    let base = rig.new_name();
    let mut client = rig.connect().await;
    let wildcard = json!({"name": base.replace('.', "-"), "subjects": [format!("{base}.payment.*")], "storage": "file"});
    let name = wildcard["name"].as_str().expect("it has one");
    client
        .jetstream(&format!("STREAM.CREATE.{name}"), &wildcard)
        .await;
    let event = |key: &str| Outgoing {
        address: Address {
            destination: base.clone(),
            routing_key: Some(key.to_owned()),
        },
        ..outgoing(rig, "", "event")
    };
    let sink = sink(rig).await;
    sink.send(&event("payment.captured"))
        .await
        .expect("a stream keeps it");
    let trouble = refused(sink.send(&event("account.opened")).await);
    assert_eq!(trouble.kind, TroubleKind::DestinationMissing, "{trouble}");
    assert!(trouble.text.contains("account.opened"), "{trouble}");
    // Somebody listens who keeps nothing and answers nothing.
    client.subscribe(&format!("{base}.account.opened")).await;
    let trouble = refused(sink.send(&event("account.opened")).await);
    assert_eq!(trouble.kind, TroubleKind::DestinationMissing, "{trouble}");
}

async fn a_message_that_can_t_be_sent_is_refused(rig: &NatsRig) {
    let queue = rig.make_queue().await;
    let sink = sink(rig).await;
    // What NATS allows if nobody configures another size.
    let large = |bytes: usize| Outgoing {
        body: Bytes::from(vec![b'x'; bytes]),
        message_id: "large".to_owned(),
        correlation_id: None,
        ..outgoing(rig, &queue, "")
    };
    let most = 1024 * 1024;
    sink.send(&large(most - 500))
        .await
        .expect("it is not too large");
    let trouble = refused(sink.send(&large(most)).await);
    assert!(trouble.text.contains("max_payload"), "{trouble}");
    // Neither commands of the protocol nor the server's own subjects are an address.
    let injected = format!("{queue} 1\r\nx\r\nPUB {queue}");
    for wrong in [
        injected.as_str(),
        "$JS.API.STREAM.DELETE.orders",
        "a.>",
        "a..b",
        "",
    ] {
        let refused = sink.send(&outgoing(rig, wrong, "x")).await;
        assert!(
            matches!(refused, Err(SendError::Refused(_))),
            "{wrong}: {refused:?}"
        );
    }
    sink.send(&outgoing(rig, &queue, "next"))
        .await
        .expect("it is of further use");
    let mut source = source(rig, &binding(&queue, 10)).await;
    let got = receive(source.as_mut()).await;
    assert_eq!(got.body.len(), most - 500);
    assert_eq!(take(source.as_mut(), 1).await, ["next"]);
    source.close().await;
}

async fn a_full_stream_refuses(rig: &NatsRig) {
    let queue = rig.new_name();
    let mut client = rig.connect().await;
    client
        .make_stream(&queue, &json!({"max_msgs": 1, "discard": "new"}))
        .await;
    let sink = sink(rig).await;
    sink.send(&outgoing(rig, &queue, "one"))
        .await
        .expect("there is room");
    let sent = sink.send(&outgoing(rig, &queue, "two")).await;
    let trouble = refused(sent);
    assert!(trouble.text.contains("maximum messages"), "{trouble}");
}
