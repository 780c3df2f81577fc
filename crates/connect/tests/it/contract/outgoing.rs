//! Lines 8 to 11: messages that go out.

use std::collections::BTreeSet;

use tributary_connect::port::{Outgoing, SendError};

use super::{
    Rig, acknowledge, binding, bodies, body, in_time, outgoing, receive, sink, source, take,
};

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
    let got = receive(source.as_mut()).await;
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
    let mut source = source(rig, &binding(&queue, 10)).await;
    for expected in bodies(10) {
        let got = receive(source.as_mut()).await;
        assert_eq!(body(&got), expected);
        acknowledge(source.as_mut(), got.token).await;
    }
    source.close().await;
}

/// Checks that of many messages that are sent at once, those to where nobody reads are refused, and no others.
pub(super) async fn each_of_many_messages_is_told_apart(rig: &dyn Rig) {
    let queue = rig.make_queue().await;
    let sink = sink(rig).await;
    let is_lost = |number: usize| number % 7 == 3;
    let messages: Vec<Outgoing> = (0..700)
        .map(|number| {
            let missing = format!("missing-{}", number % 2);
            let queue = if is_lost(number) { &missing } else { &queue };
            outgoing(rig, queue, &format!("m{number}"))
        })
        .collect();
    let sending = messages.iter().map(|message| sink.send(message));
    let sending = futures_util::future::join_all(sending);
    let outcomes = in_time("sending", sending).await;
    for (number, outcome) in outcomes.iter().enumerate() {
        match outcome {
            Ok(()) => assert!(!is_lost(number), "m{number} was confirmed"),
            Err(SendError::Refused(_)) => assert!(is_lost(number), "m{number} was refused"),
            Err(error) => panic!("m{number}: {error}"),
        }
    }
    let mut source = source(rig, &binding(&queue, 100)).await;
    let kept: BTreeSet<String> = (0..700)
        .filter(|number| !is_lost(*number))
        .map(|number| format!("m{number}"))
        .collect();
    let got = take(source.as_mut(), kept.len()).await;
    assert_eq!(got.into_iter().collect::<BTreeSet<String>>(), kept);
    source.close().await;
}
