//! What is said of messages: what they bring along, and what becomes of those that go out.

use std::sync::Arc;

use fe2o3_amqp::types::messaging::{Body, Data, MessageId, Properties, Source};
use fe2o3_amqp::types::primitives::Value;
use fe2o3_amqp::{Receiver, Sendable};
use tokio::task::JoinSet;
use tributary_connect::activemq::UNREADABLE_HEADER;
use tributary_connect::port::{Message, Outgoing, SendError, Sink, TroubleKind};

use super::raw::{compound, null, performative, section, symbol, text, uint, variable};
use super::{ActiveMqRig, durable, raw};
use crate::contract::{
    Rig, USER, acknowledge, binding, failed, in_time, outgoing, receive, sink, source, take,
    try_receive,
};

pub(super) async fn pass(rig: &ActiveMqRig) {
    messages_of_every_kind_come_in(rig).await;
    messages_that_can_t_be_read_block_nothing(rig).await;
    large_messages_come_in_and_go_out(rig).await;
    ids_go_back_as_they_came(rig).await;
    a_reply_reaches_who_asked(rig).await;
    names_that_mean_more_than_a_queue_are_refused(rig).await;
    queues_of_many_replies_are_told_apart(rig).await;
}

async fn received(rig: &ActiveMqRig, payloads: &[Vec<u8>]) -> Vec<Message> {
    let queue = rig.make_queue().await;
    raw::send(rig.engine.address(), &queue, payloads).await;
    let mut source = source(rig, &binding(&queue, 3)).await;
    let mut messages = Vec::new();
    for _ in payloads {
        let message = receive(source.as_mut()).await;
        acknowledge(source.as_mut(), message.token).await;
        messages.push(message);
    }
    source.close().await;
    messages
}

/// A durable message.
fn message(sections: &[Vec<u8>]) -> Vec<u8> {
    [performative(0x70, &[vec![0x41]]), sections.concat()].concat()
}

async fn messages_of_every_kind_come_in(rig: &ActiveMqRig) {
    let data = |bytes: &[u8]| section(0x75, &variable(0xb0, bytes));
    let order = compound(
        0xd1,
        &[text("order_id"), text("7"), text("amount"), uint(100)],
    );
    let cases = [
        (vec![data(b"{}")], "{}"),
        (vec![data(b"{ "), data(b"}")], "{ }"),
        (vec![section(0x77, &text("{\"a\":1}"))], "{\"a\":1}"),
        (vec![section(0x77, &variable(0xb0, b"<a/>"))], "<a/>"),
        (
            vec![section(0x77, &order)],
            "{\"order_id\":\"7\",\"amount\":100}",
        ),
        (vec![section(0x77, &null())], ""),
    ];
    let payloads: Vec<_> = cases
        .iter()
        .map(|(sections, _)| message(sections))
        .collect();
    let got = received(rig, &payloads).await;
    for (message, (_, expected)) in got.iter().zip(&cases) {
        // ActiveMQ Classic makes messages of JMS of them, whose maps have no order.
        let same = |text: &str| serde_json::from_str::<serde_json::Value>(text).ok();
        let body = String::from_utf8_lossy(&message.body);
        assert!(
            body == *expected || (body.starts_with('{') && same(&body) == same(expected)),
            "{expected}: {body}"
        );
    }
    let properties = [
        text("id-1"),
        null(),
        null(),
        text("a subject"),
        text("queue://replies"),
        text("c-1"),
        symbol("application/json"),
    ];
    let headers = [
        text("attempt"),
        uint(3),
        text("urgent"),
        vec![0x41],
        text("ce"),
        text("x"),
    ];
    let sections = [
        performative(0x73, &properties),
        section(0x74, &compound(0xd1, &headers)),
        data(b"{}"),
    ];
    let got = received(rig, &[message(&sections)]).await.remove(0);
    assert_eq!(got.message_id.as_deref(), Some("id-1"));
    assert_eq!(got.reply_to.as_deref(), Some("replies"));
    assert_eq!(got.correlation_id.as_deref(), Some("c-1"));
    assert_eq!(got.content_type.as_deref(), Some("application/json"));
    assert!(!got.redelivered);
    for (name, expected) in [
        ("subject", "a subject"),
        ("attempt", "3"),
        ("urgent", "true"),
        ("ce", "x"),
    ] {
        let found = got.headers.iter().find(|(found, _)| found == name);
        let found = found.map(|(_, value)| String::from_utf8_lossy(value));
        assert_eq!(found.as_deref(), Some(expected), "{name}");
    }
}

async fn messages_that_can_t_be_read_block_nothing(rig: &ActiveMqRig) {
    let nested = |depth| (0..depth).fold(null(), |inner, _| compound(0xd0, &[inner]));
    let bodies = [
        section(0x77, &nested(40)),
        section(0x76, &nested(40)),
        section(0x77, &text("after")),
    ];
    let payloads: Vec<_> = bodies
        .iter()
        .map(|body| message(std::slice::from_ref(body)))
        .collect();
    let got = received(rig, &payloads).await;
    assert_eq!(&got[2].body[..], b"after");
    // Both brokers pass them on; Classic as objects of Java, since JMS has no such lists.
    for message in &got[..2] {
        let unreadable = message
            .headers
            .iter()
            .any(|(name, _)| name == UNREADABLE_HEADER);
        assert!(unreadable || !message.body.is_empty(), "{message:?}");
    }
}

async fn large_messages_come_in_and_go_out(rig: &ActiveMqRig) {
    let large: String = "0123456789".repeat(300_000);
    let queue = rig.make_queue().await;
    rig.put(&queue, &[large.clone(), "small".to_owned()]).await;
    let sent = Outgoing {
        body: large.clone().into(),
        ..outgoing(rig, &queue, "large")
    };
    sink(rig).await.send(&sent).await.expect("it is confirmed");
    let mut source = source(rig, &binding(&queue, 2)).await;
    let got = take(source.as_mut(), 3).await;
    assert!(got == [large.clone(), "small".to_owned(), large]);
    source.close().await;
}

/// More than an adapter holds: the binding says so, and the message stays.
pub(super) async fn a_message_that_is_too_large_is_told(rig: &ActiveMqRig) {
    let queue = rig.make_queue().await;
    rig.put(&queue, &["x".repeat(33 * 1024 * 1024)]).await;
    let mut source = source(rig, &binding(&queue, 2)).await;
    let trouble = failed(try_receive(source.as_mut()).await, TroubleKind::Refused);
    assert!(trouble.text.contains(&queue), "{trouble}");
    assert!(trouble.text.contains("bytes"), "{trouble}");
}

async fn ids_go_back_as_they_came(rig: &ActiveMqRig) {
    let ids = [
        [&[0x80], &9_000_000_000_u64.to_be_bytes()[..]].concat(),
        [&[0x98], &[0xab; 16][..]].concat(),
        variable(0xb0, b"\x00\xff"),
        text("plain"),
    ];
    let expected = [
        MessageId::Ulong(9_000_000_000),
        MessageId::Uuid([0xab; 16].into()),
        MessageId::Binary(vec![0x00, 0xff].into()),
        MessageId::String("plain".to_owned()),
    ];
    let payloads = ids.map(|id| {
        let fields = [null(), null(), null(), null(), null(), id];
        message(&[performative(0x73, &fields), section(0x77, &text("?"))])
    });
    let asked = received(rig, &payloads).await;
    let replies = rig.make_queue().await;
    let sink = sink(rig).await;
    for message in asked {
        assert!(message.correlation_id.is_some(), "{message:?}");
        let reply = Outgoing {
            correlation_id: message.correlation_id,
            ..outgoing(rig, &replies, "!")
        };
        sink.send(&reply).await.expect("it is confirmed");
    }
    let mut client = rig.client(USER).await;
    let mut reader = client.receiver(&replies).await;
    reader.set_credit(10).await.expect("it is up");
    for expected in expected {
        let got = in_time("a reply", reader.recv::<Body<Value>>()).await;
        let got = got.expect("it is up");
        reader.accept(&got).await.expect("it is up");
        let properties = got.message().properties.as_ref().expect("it has some");
        assert_eq!(properties.correlation_id, Some(expected));
    }
}

async fn a_reply_reaches_who_asked(rig: &ActiveMqRig) {
    let queue = rig.make_queue().await;
    let mut client = rig.client(super::ADMIN).await;
    let dynamic = Source::builder().dynamic(true).build();
    let mut replies = Receiver::builder()
        .name("replies")
        .source(dynamic)
        .attach(&mut client.session)
        .await
        .expect("it may ask");
    let address = replies
        .source()
        .as_ref()
        .and_then(|source| source.address.clone());
    let mut question = durable(b"?");
    question.properties = Some(
        Properties::builder()
            .reply_to(address.expect("the broker names it"))
            .correlation_id("question-1".to_owned())
            .build(),
    );
    let mut sender = client.sender(&queue).await;
    let sent = sender.send(Sendable::from(question)).await;
    assert!(sent.expect("it is up").is_accepted());
    let mut source = source(rig, &binding(&queue, 10)).await;
    let asked = receive(source.as_mut()).await;
    let reply = Outgoing {
        correlation_id: asked.correlation_id,
        ..outgoing(rig, &asked.reply_to.expect("it was given"), "!")
    };
    let sink = sink(rig).await;
    sink.send(&reply).await.expect("it is confirmed");
    let got = in_time("the reply", replies.recv::<Body<Value>>()).await;
    let got = got.expect("it is up");
    let properties = got.message().properties.as_ref().expect("it has some");
    let question = MessageId::String("question-1".to_owned());
    assert_eq!(properties.correlation_id, Some(question));
    // Whoever asked has gone.
    client.close().await;
    in_time("learning that whoever asked has gone", async {
        loop {
            match sink.send(&reply).await {
                Err(SendError::Refused(_)) => break,
                // The broker may not have noticed yet.
                Ok(()) => tokio::time::sleep(std::time::Duration::from_millis(50)).await,
                Err(error) => panic!("{error}"),
            }
        }
    })
    .await;
    source.close().await;
}

async fn names_that_mean_more_than_a_queue_are_refused(rig: &ActiveMqRig) {
    let queue = rig.make_queue().await;
    let sink = sink(rig).await;
    for name in [
        format!("{queue},{queue}"),
        format!("{queue}?x=1"),
        format!("topic://{queue}"),
        format!("{queue}::{queue}"),
        ">".to_owned(),
        String::new(),
    ] {
        let refused = sink.send(&outgoing(rig, &name, "x")).await;
        assert!(
            matches!(refused, Err(SendError::Refused(_))),
            "{name}: {refused:?}"
        );
    }
    sink.send(&outgoing(rig, &format!("queue://{queue}"), "kept"))
        .await
        .expect("it is confirmed");
    let mut source = source(rig, &binding(&queue, 1)).await;
    assert_eq!(take(source.as_mut(), 1).await, ["kept"]);
    source.close().await;
}

/// More queues than a sink keeps links to, side by side.
async fn queues_of_many_replies_are_told_apart(rig: &ActiveMqRig) {
    let mut client = rig.client(super::ADMIN).await;
    let mut queues = Vec::new();
    for _ in 0..70 {
        let queue = rig.new_name("");
        client
            .receiver(&queue)
            .await
            .close()
            .await
            .expect("it is up");
        queues.push(queue);
    }
    let sink = sink(rig).await;
    let mut messages = Vec::new();
    for queue in &queues {
        messages.extend([outgoing(rig, queue, queue), outgoing(rig, queue, "more")]);
        messages.push(outgoing(rig, &format!("missing-{queue}"), "x"));
    }
    // As many at once as the driver sends.
    let sink: Arc<dyn Sink> = Arc::from(sink);
    for some in messages.chunks(100) {
        let mut sending = JoinSet::new();
        for message in some.iter().cloned() {
            let sink = sink.clone();
            sending.spawn(async move {
                let sent = sink.send(&message).await;
                let is_missing = message.address.destination.starts_with("missing-");
                assert_eq!(sent.is_err(), is_missing, "{sent:?}");
            });
        }
        sending.join_all().await;
    }
    for queue in &queues {
        let mut reader = client.receiver(queue).await;
        reader.set_credit(3).await.expect("it is up");
        let mut bodies = Vec::new();
        for _ in 0..2 {
            let got = in_time("a reply", reader.recv::<Data>()).await;
            let got = got.expect("it is up");
            reader.accept(&got).await.expect("it is up");
            bodies.push(String::from_utf8(got.into_body().0.into_vec()).expect("text"));
        }
        bodies.sort();
        assert_eq!(bodies, ["more", queue]);
        reader.close().await.expect("it is up");
    }
    client.close().await;
}
