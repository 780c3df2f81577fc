//! Lines 8 to 11: messages that go out.

use tributary_connect::port::SendError;

use super::{Rig, binding, bodies, body, outgoing, receive, sink, source, take};

pub(super) async fn pass(rig: &dyn Rig) {
    a_message_arrives_as_it_was_sent(rig).await;
    order_is_kept(rig).await;
    a_message_that_nobody_would_get_is_refused(rig).await;
    what_was_confirmed_outlives_the_broker(rig).await;
}

async fn a_message_arrives_as_it_was_sent(rig: &dyn Rig) {
    let queue = rig.make_queue().await;
    let sent = outgoing(rig, &queue, "one");
    sink(rig).await.send(&sent).await.expect("it is confirmed");
    let mut source = source(rig, &binding(&queue, 10)).await;
    let got = receive(source.as_mut())
        .await
        .expect("the connection holds");
    assert_eq!(got.body, sent.body);
    assert_eq!(got.content_type.as_deref(), Some("application/json"));
    assert_eq!(got.message_id.as_deref(), Some("id-one"));
    assert_eq!(got.correlation_id.as_deref(), Some("correlation-one"));
    let header = got.headers.iter().find(|(name, _)| name == "ce_type");
    assert_eq!(
        header.map(|(_, value)| &value[..]),
        Some(&b"payment.captured"[..])
    );
    source.close().await;
}

async fn order_is_kept(rig: &dyn Rig) {
    let queue = rig.make_queue().await;
    let sink = sink(rig).await;
    let sent = bodies(50);
    for text in &sent {
        sink.send(&outgoing(rig, &queue, text))
            .await
            .expect("it is confirmed");
    }
    let mut source = source(rig, &binding(&queue, 10)).await;
    assert_eq!(take(source.as_mut(), sent.len()).await, sent);
    source.close().await;
}

async fn a_message_that_nobody_would_get_is_refused(rig: &dyn Rig) {
    let sink = sink(rig).await;
    let sent = outgoing(rig, "there-is-no-such-queue", "lost");
    let refused = super::in_time("sending to nobody", sink.send(&sent)).await;
    assert!(matches!(refused, Err(SendError::Refused(_))), "{refused:?}");
    // It is of further use.
    let queue = rig.make_queue().await;
    sink.send(&outgoing(rig, &queue, "kept"))
        .await
        .expect("it is confirmed");
}

async fn what_was_confirmed_outlives_the_broker(rig: &dyn Rig) {
    let queue = rig.make_queue().await;
    let before = sink(rig).await;
    for text in bodies(10) {
        before
            .send(&outgoing(rig, &queue, &text))
            .await
            .expect("it is confirmed");
    }
    rig.kill().await;
    let sent = outgoing(rig, &queue, "x");
    let lost = super::in_time("sending to a broker that is gone", before.send(&sent)).await;
    assert!(matches!(lost, Err(SendError::Disconnected(_))), "{lost:?}");
    rig.restart().await;
    if !rig.is_durable() {
        return;
    }
    let mut source = source(rig, &binding(&queue, 10)).await;
    for expected in bodies(10) {
        let got = receive(source.as_mut())
            .await
            .expect("the connection holds");
        assert_eq!(body(&got), expected);
        source
            .acknowledge(got.token)
            .await
            .expect("the connection holds");
    }
    source.close().await;
}
