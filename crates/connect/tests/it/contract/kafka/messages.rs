//! What is said of messages: what they bring along, and what becomes of those that go out.

use bytes::Bytes;
use tributary_connect::kafka::UNREADABLE_HEADER;
use tributary_connect::port::{Outgoing, SendError, TroubleKind};

use super::KafkaRig;
use crate::contract::{Rig, binding, body, outgoing, receive, refused, sink, source, take};

pub(super) async fn pass(rig: &KafkaRig) {
    headers_come_in_and_go_out(rig).await;
    hostile_messages_come_in(rig).await;
    a_reply_is_what_spring_waits_for(rig).await;
    a_key_leads_to_the_partition_that_kafka_s_clients_choose(rig).await;
    a_routing_key_is_the_end_of_the_topic_s_name(rig).await;
    a_message_that_is_too_large_is_refused(rig).await;
    what_was_compressed_or_undone_is_read(rig).await;
}

async fn headers_come_in_and_go_out(rig: &KafkaRig) {
    let topic = rig.make_queue().await;
    let program = format!(
        r#"
from kafka import KafkaProducer
producer = KafkaProducer(bootstrap_servers=server)
producer.send('{topic}', key=b'order-7', value=b'x', headers=[
    ('content-type', b'application/xml'), ('message_id', b'm-1'), ('correlation_id', b'c-1'),
    ('reply_to', b'replies'), ('ce_type', b'order.created'), ('ce_type', b'twice'), ('empty', b'')])
producer.send('{topic}', value=b'y', headers=[('contentType', b'"text/plain"')])
producer.send('{topic}', key=b'gone', value=None)
producer.flush()
"#
    );
    rig.python(&program).await;
    let mut source = source(rig, &binding(&topic, 10)).await;
    let got = receive(source.as_mut()).await;
    assert_eq!(got.content_type.as_deref(), Some("application/xml"));
    assert_eq!(got.message_id.as_deref(), Some("m-1"));
    assert_eq!(got.correlation_id.as_deref(), Some("c-1"));
    assert_eq!(got.reply_to.as_deref(), Some("replies"));
    assert_eq!(got.key.as_deref(), Some(&b"order-7"[..]));
    // An offset is another message's when the topic was made anew.
    assert_eq!(got.broker_id, None);
    let expected = [
        ("ce_type", "order.created"),
        ("ce_type", "twice"),
        ("empty", ""),
    ];
    let expected = expected.map(|(name, value)| (name.to_owned(), Bytes::from(value)));
    assert_eq!(got.headers, expected);
    let got = receive(source.as_mut()).await;
    assert_eq!(got.content_type.as_deref(), Some("text/plain"));
    assert!(got.headers.is_empty() && got.key.is_none());
    let got = receive(source.as_mut()).await;
    assert_eq!(body(&got), "", "a message without a body");
    source.close().await;
}

async fn hostile_messages_come_in(rig: &KafkaRig) {
    let topic = rig.make_queue().await;
    let program = format!(
        r#"
from kafka import KafkaProducer
class Bytes(str):
    def encode(self, *how):
        return b'a\xff\xfe'
producer = KafkaProducer(bootstrap_servers=server)
producer.send('{topic}', value=b'name', headers=[('good', b'x'), (Bytes('bad'), b'x')])
producer.send('{topic}', value=b'many', headers=[('h', b'x')] * 5000)
producer.send('{topic}', value=b'large', headers=[('h', b'x' * 900000)])
producer.send('{topic}', value=b'nul', headers=[('a\0b', b'x'), ('reply_to', b'\xff')])
producer.send('{topic}', value=b'\xff' * 900000, key=b'\xff' * 1000)
producer.flush()
"#
    );
    rig.python(&program).await;
    let mut source = source(rig, &binding(&topic, 10)).await;
    let sink = sink(rig).await;
    for expected in ["name", "many", "large"] {
        let got = receive(source.as_mut()).await;
        assert_eq!(body(&got), expected);
        assert_eq!(got.headers.len(), 1, "{expected}");
        assert_eq!(got.headers[0].0, UNREADABLE_HEADER);
    }
    let got = receive(source.as_mut()).await;
    assert_eq!(got.headers, [("a".to_owned(), Bytes::from("x"))]);
    assert_eq!(got.reply_to.as_deref(), Some("\u{fffd}"));
    let got = receive(source.as_mut()).await;
    assert_eq!(got.body.len(), 900_000);
    // It can be sent on as a dead letter.
    let letter = Outgoing {
        key: Some("\u{fffd}".repeat(1_000)),
        body: got.body,
        headers: vec![("a\0b".to_owned(), Bytes::from_static(b"\xff\0"))],
        ..outgoing(rig, &format!("error.{topic}.tributary"), "letter")
    };
    sink.send(&letter).await.expect("it is confirmed");
    // A destination that can't be one.
    for wrong in ["", "a b", "a\0b", &"t".repeat(250)] {
        let refused = sink.send(&outgoing(rig, wrong, "x")).await;
        assert!(matches!(refused, Err(SendError::Refused(_))), "{refused:?}");
    }
    source.close().await;
}

/// `ReplyingKafkaTemplate` of Spring Kafka asks with the 16 bytes of a UUID, and knows its replies by them.
async fn a_reply_is_what_spring_waits_for(rig: &KafkaRig) {
    let topic = rig.make_queue().await;
    let replies = rig.make_queue().await;
    let program = format!(
        r#"
import uuid
from kafka import KafkaProducer
producer = KafkaProducer(bootstrap_servers=server)
id = uuid.UUID('f47ac10b-58cc-4372-a567-0e02b2c3d479')
producer.send('{topic}', value=b'?', headers=[
    ('kafka_replyTopic', b'{replies}'), ('kafka_correlationId', id.bytes)])
producer.flush()
"#
    );
    rig.python(&program).await;
    let mut source = source(rig, &binding(&topic, 10)).await;
    let asked = receive(source.as_mut()).await;
    assert!(asked.headers.is_empty());
    let reply = Outgoing {
        correlation_id: asked.correlation_id,
        ..outgoing(rig, &asked.reply_to.expect("it was given"), "!")
    };
    sink(rig).await.send(&reply).await.expect("it is confirmed");
    let program = format!(
        r#"
from kafka import KafkaConsumer
consumer = KafkaConsumer('{replies}', bootstrap_servers=server, auto_offset_reset='earliest')
reply = next(consumer)
print(reply.value.decode())
for name, value in reply.headers:
    print(name, value.hex() if 'orrelation' in name else value.decode())
"#
    );
    let expected = "!\ncontent-type application/json\nmessage_id id-!\n\
        correlation_id f47ac10b58cc4372a5670e02b2c3d479\n\
        kafka_correlationId f47ac10b58cc4372a5670e02b2c3d479\nce_type payment.captured\n";
    assert_eq!(rig.python(&program).await, expected);
    source.close().await;
}

async fn a_key_leads_to_the_partition_that_kafka_s_clients_choose(rig: &KafkaRig) {
    let topic = rig.make_topic(5).await;
    let sink = sink(rig).await;
    for number in 0..20 {
        let message = Outgoing {
            key: Some(format!("account-{number}")),
            ..outgoing(rig, &topic, &format!("m{number}"))
        };
        sink.send(&message).await.expect("it is confirmed");
    }
    let program = format!(
        r#"
from kafka import KafkaConsumer
from kafka.partitioner.default import murmur2
consumer = KafkaConsumer('{topic}', bootstrap_servers=server, auto_offset_reset='earliest')
seen = [next(consumer) for _ in range(20)]
print(len(set(one.partition for one in seen)) > 1)
print(sum((murmur2(one.key) & 0x7fffffff) % 5 == one.partition for one in seen))
"#
    );
    assert_eq!(rig.python(&program).await, "True\n20\n");
}

async fn a_routing_key_is_the_end_of_the_topic_s_name(rig: &KafkaRig) {
    let begin = rig.new_name();
    let topic = format!("{begin}.payment.captured");
    rig.create(&topic, 1, &[]).await;
    rig.create(&format!("error.{topic}.tributary"), 1, &[])
        .await;
    let sink = sink(rig).await;
    let mut message = outgoing(rig, &begin, "one");
    for key in ["payment.voided", "not a name"] {
        message.address.routing_key = Some(key.to_owned());
        let refused = sink.send(&message).await;
        let Err(SendError::Refused(trouble)) = refused else {
            panic!("{key}: {refused:?}");
        };
        let names_it = trouble.text.contains(&format!("{begin}.{key}"));
        let is_missing = trouble.kind == TroubleKind::DestinationMissing;
        assert!(names_it && is_missing, "{trouble:?}");
    }
    message.address.routing_key = Some("payment.captured".to_owned());
    sink.send(&message).await.expect("it is confirmed");
    let mut source = source(rig, &binding(&topic, 1)).await;
    assert_eq!(take(source.as_mut(), 1).await, ["one"]);
    source.close().await;
}

async fn a_message_that_is_too_large_is_refused(rig: &KafkaRig) {
    let topic = rig.make_queue().await;
    let sink = sink(rig).await;
    let of = |bytes: usize| Outgoing {
        body: Bytes::from("x".repeat(bytes)),
        ..outgoing(rig, &topic, "large")
    };
    // What Kafka allows if nobody says more is 1 MiB and 12 bytes, with everything around the body.
    sink.send(&of(1_000_000))
        .await
        .expect("it is not too large");
    for bytes in [1_100_000, 100_000_000] {
        let sent = sink.send(&of(bytes)).await;
        let trouble = refused(sent);
        assert_eq!(trouble.kind, TroubleKind::Refused, "{trouble}");
        assert!(trouble.text.contains("too large"), "{trouble}");
        assert!(trouble.text.contains(&topic), "{trouble}");
    }
    sink.send(&outgoing(rig, &topic, "next"))
        .await
        .expect("it is of further use");
    let mut source = source(rig, &binding(&topic, 10)).await;
    let got = take(source.as_mut(), 2).await;
    assert_eq!((got[0].len(), got[1].as_str()), (1_000_000, "next"));
    source.close().await;
}

async fn what_was_compressed_or_undone_is_read(rig: &KafkaRig) {
    let topic = rig.make_queue().await;
    let program = format!(
        r#"
from kafka import KafkaProducer
producer = KafkaProducer(bootstrap_servers=server, compression_type='gzip')
for number in range(50):
    producer.send('{topic}', value=b'gzip' * 100)
producer.flush()
producer = KafkaProducer(bootstrap_servers=server, transactional_id='{topic}')
producer.init_transactions()
producer.begin_transaction()
producer.send('{topic}', value=b'aborted')
producer.flush()
producer.abort_transaction()
producer.begin_transaction()
producer.send('{topic}', value=b'committed')
producer.commit_transaction()
"#
    );
    rig.python(&program).await;
    let mut open = source(rig, &binding(&topic, 10)).await;
    let got = take(open.as_mut(), 51).await;
    assert!(got[..50].iter().all(|body| *body == "gzip".repeat(100)));
    assert_eq!(got[50], "committed");
    open.close().await;
    let mut again = source(rig, &binding(&topic, 10)).await;
    assert!(crate::contract::is_silent(again.as_mut()).await);
    again.close().await;
}
