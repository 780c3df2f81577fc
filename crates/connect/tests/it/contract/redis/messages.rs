//! What is said of messages: what they bring along, and what becomes of those that go out.

use std::time::Duration;

use bytes::Bytes;
use redis::Value;
use tributary_connect::port::{Adapter, Address, Outgoing, SendError, TroubleKind};
use tributary_connect::redis::{Redis, UNREADABLE_HEADER};

use super::RedisRig;
use crate::contract::{
    Rig, acknowledge, binding, bodies, body, is_silent, outgoing, receive, refused, sink, source,
    take,
};

pub(super) async fn pass(rig: &RedisRig) {
    fields_come_in_and_go_out(rig).await;
    entries_that_nobody_understands_block_nobody(rig).await;
    an_entry_is_known_by_its_id(rig).await;
    what_was_given_back_is_taken_at_once(rig).await;
    // Both wait for as long as it takes that nobody works on something.
    tokio::join!(
        what_is_held_is_not_taken_by_others(rig),
        what_another_process_held_comes_again(rig),
    );
    more_than_the_prefetch_was_held(rig).await;
    deleted_entries_are_forgotten(rig).await;
    outgoing::each_of_many_messages_is_told_apart(rig).await;
    a_message_that_can_t_be_sent_is_refused(rig).await;
    large_entries_are_read(rig).await;
}

async fn fields_come_in_and_go_out(rig: &RedisRig) {
    let queue = rig.make_queue().await;
    let mut client = rig.connect().await;
    let fields: [&[u8]; 16] = [
        b"content_type",
        b"application/xml",
        b"message_id",
        b"m-1",
        b"reply_to",
        b"replies",
        b"correlation_id",
        b"c-1",
        b"key",
        b"k",
        b"attempt",
        b"3",
        b"body",
        b"<x/>",
        b"bytes",
        b"\xff\xfe",
    ];
    let entry = [&[b"XADD", queue.as_bytes(), b"*"], &fields[..]].concat();
    client.say(&entry).await;
    let mut source = source(rig, &binding(&queue, 10)).await;
    let got = receive(source.as_mut()).await;
    assert_eq!(&got.body[..], b"<x/>");
    assert_eq!(got.content_type.as_deref(), Some("application/xml"));
    assert_eq!(got.message_id.as_deref(), Some("m-1"));
    assert_eq!(got.reply_to.as_deref(), Some("replies"));
    assert_eq!(got.correlation_id.as_deref(), Some("c-1"));
    assert_eq!(got.key.as_deref(), Some(&b"k"[..]));
    let others = [("attempt", &b"3"[..]), ("bytes", b"\xff\xfe")];
    let others = others.map(|(name, value)| (name.to_owned(), Bytes::from_static(value)));
    assert_eq!(got.headers, others);
    acknowledge(source.as_mut(), got.token).await;
    source.close().await;
    // A header can't take the place of a field, and a routing key is one.
    let sent = Outgoing {
        address: Address {
            routing_key: Some("payment.captured".to_owned()),
            ..rig.adapter.address(&queue)
        },
        headers: [("body", "other"), ("reply_to", "other"), ("ce_id", "7")]
            .map(|(name, value)| (name.to_owned(), Bytes::from_static(value.as_bytes())))
            .to_vec(),
        ..outgoing(rig, &queue, "sent")
    };
    sink(rig).await.send(&sent).await.expect("it is confirmed");
    let Value::Array(entries) = client
        .say(&["XREVRANGE", &queue, "+", "-", "COUNT", "1"])
        .await
    else {
        panic!("it is there");
    };
    let shown = format!("{entries:?}");
    for part in [
        "'sent'",
        "'payment.captured'",
        "'ce_id'",
        "'correlation-sent'",
        "'key'",
    ] {
        let part = part.replace('\'', "");
        assert!(shown.contains(&part), "{part}: {shown}");
    }
    assert!(!shown.contains("other"), "{shown}");
}

async fn entries_that_nobody_understands_block_nobody(rig: &RedisRig) {
    let queue = rig.make_queue().await;
    let mut client = rig.connect().await;
    let large = vec![b'x'; 40_000];
    let many: Vec<String> = (0..600).map(|number| format!("f{number}")).collect();
    let hostile: [Vec<&[u8]>; 6] = [
        vec![b"order_id", b"7"],
        vec![b"\xff\xfe", b"\xff", b"\x00", b"\r\n"],
        vec![b"body", b"1", b"body", b"2", b"message_id", b"\xff"],
        vec![b"", b""],
        vec![b"body", b"x", b"large", &large],
        many.iter().map(|field| field.as_bytes()).collect(),
    ];
    for fields in &hostile {
        let entry = [&[&b"XADD"[..], queue.as_bytes(), b"*"], &fields[..]].concat();
        client.say(&entry).await;
    }
    rig.put(&queue, &["next".to_owned()]).await;
    let mut source = source(rig, &binding(&queue, 20)).await;
    let mut unreadable = 0;
    for number in 0..hostile.len() {
        let got = receive(source.as_mut()).await;
        let expected = ["", "", "1", "", "x", ""][number];
        assert_eq!(body(&got), expected);
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

async fn an_entry_is_known_by_its_id(rig: &RedisRig) {
    let queue = rig.make_queue().await;
    rig.put(&queue, &["a".to_owned(), "a".to_owned()]).await;
    let terms = binding(&queue, 10);
    let mut first = source(rig, &terms).await;
    let mut ids = Vec::new();
    for _ in 0..2 {
        let got = receive(first.as_mut()).await;
        assert!(!got.redelivered);
        ids.push(got.broker_id.expect("Redis numbers"));
    }
    assert!(ids[0].starts_with(&format!("{queue}:")), "{}", ids[0]);
    assert_ne!(ids[0], ids[1]);
    first.close().await;
    let mut second = source(rig, &terms).await;
    for id in ids {
        let got = receive(second.as_mut()).await;
        assert!(got.redelivered);
        assert_eq!(got.broker_id, Some(id));
    }
    second.close().await;
}

/// Longer than others wait before they take over what a consumer does not work on.
const LONGER_THAN_IDLE: Duration = Duration::from_secs(14);

async fn what_is_held_is_not_taken_by_others(rig: &RedisRig) {
    let queue = rig.make_queue().await;
    rig.put(&queue, &["held".to_owned(), "waiting".to_owned()])
        .await;
    let mut holder = source(rig, &binding(&queue, 2)).await;
    let held = receive(holder.as_mut()).await;
    let mut other = source(rig, &binding(&queue, 2)).await;
    let stolen = tokio::time::timeout(LONGER_THAN_IDLE, other.receive()).await;
    assert!(stolen.is_err(), "{stolen:?}");
    acknowledge(holder.as_mut(), held.token).await;
    assert_eq!(take(holder.as_mut(), 1).await, ["waiting"]);
    holder.close().await;
    assert!(is_silent(other.as_mut()).await);
    other.close().await;
}

async fn what_was_given_back_is_taken_at_once(rig: &RedisRig) {
    let queue = rig.make_queue().await;
    rig.put(&queue, &bodies(5)).await;
    let mut first = source(rig, &binding(&queue, 3)).await;
    receive(first.as_mut()).await;
    first.close().await;
    // Another adapter knows no names of this one, as another process does.
    let process = Redis::new();
    let opened = process
        .open_source(&rig.binder(), &binding(&queue, 10))
        .await;
    let mut next = opened.expect("it is there");
    assert_eq!(take(next.as_mut(), 5).await, bodies(5));
    next.close().await;
}

async fn what_another_process_held_comes_again(rig: &RedisRig) {
    let queue = rig.make_queue().await;
    rig.put(&queue, &["lost".to_owned()]).await;
    let process = Redis::new();
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

/// A smaller prefetch finds more under the name of its consumer than it may hold.
async fn more_than_the_prefetch_was_held(rig: &RedisRig) {
    let queue = rig.make_queue().await;
    rig.put(&queue, &bodies(50)).await;
    let mut first = source(rig, &binding(&queue, 30)).await;
    receive(first.as_mut()).await;
    drop(first);
    let mut second = source(rig, &binding(&queue, 4)).await;
    let held = receive(second.as_mut()).await;
    for _ in 0..3 {
        receive(second.as_mut()).await;
    }
    assert!(is_silent(second.as_mut()).await);
    acknowledge(second.as_mut(), held.token).await;
    receive(second.as_mut()).await;
    drop(second);
    let mut third = source(rig, &binding(&queue, 4)).await;
    let expected = bodies(50).split_off(1);
    assert_eq!(take(third.as_mut(), 49).await, expected);
    third.close().await;
}

async fn deleted_entries_are_forgotten(rig: &RedisRig) {
    let queue = rig.make_queue().await;
    rig.put(&queue, &bodies(3)).await;
    let mut first = source(rig, &binding(&queue, 10)).await;
    receive(first.as_mut()).await;
    drop(first);
    let mut client = rig.connect().await;
    client.say(&["XTRIM", &queue, "MAXLEN", "1"]).await;
    let mut second = source(rig, &binding(&queue, 10)).await;
    assert_eq!(take(second.as_mut(), 1).await, ["m2"]);
    second.close().await;
    let Value::Array(pending) = client.say(&["XPENDING", &queue, "tributary"]).await else {
        panic!("there is a group");
    };
    assert_eq!(pending[0], Value::Int(0), "{pending:?}");
}

async fn a_message_that_can_t_be_sent_is_refused(rig: &RedisRig) {
    let mut client = rig.connect().await;
    let sink = sink(rig).await;
    let list = rig.new_name();
    client.say(&["RPUSH", &list, "x"]).await;
    let trouble = refused(sink.send(&outgoing(rig, &list, "x")).await);
    assert_eq!(trouble.kind, TroubleKind::DestinationUnfit, "{trouble}");
    assert!(trouble.text.contains(&list), "{trouble}");
    let refused = sink.send(&outgoing(rig, "", "x")).await;
    assert!(matches!(refused, Err(SendError::Refused(_))), "{refused:?}");
    // A full memory concerns every message: none is to blame.
    let queue = rig.make_queue().await;
    client.say(&["CONFIG", "SET", "maxmemory", "1"]).await;
    let full = sink.send(&outgoing(rig, &queue, "x")).await;
    client.say(&["CONFIG", "SET", "maxmemory", "0"]).await;
    let Err(SendError::Disconnected(trouble)) = full else {
        panic!("{full:?}");
    };
    assert!(trouble.text.contains("maxmemory"), "{trouble}");
    sink.send(&outgoing(rig, &queue, "next"))
        .await
        .expect("it is of further use");
    let mut source = source(rig, &binding(&queue, 10)).await;
    assert_eq!(take(source.as_mut(), 1).await, ["next"]);
    source.close().await;
}

async fn large_entries_are_read(rig: &RedisRig) {
    let queue = rig.make_queue().await;
    let mut client = rig.connect().await;
    let large = vec![b'x'; 12 * 1024 * 1024];
    for _ in 0..3 {
        client
            .say(&[b"XADD", queue.as_bytes(), b"*", b"body", &large])
            .await;
    }
    rig.put(&queue, &["next".to_owned()]).await;
    let mut source = source(rig, &binding(&queue, 10)).await;
    for _ in 0..3 {
        let got = receive(source.as_mut()).await;
        assert_eq!(got.body.len(), large.len());
        acknowledge(source.as_mut(), got.token).await;
    }
    assert_eq!(take(source.as_mut(), 1).await, ["next"]);
    source.close().await;
    client.say(&["DEL", &queue]).await;
}
