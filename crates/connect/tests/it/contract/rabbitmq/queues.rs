//! What is said of queues: which are refused, and which are made.

use lapin::options::QueueDeclareOptions;
use lapin::types::{AMQPValue, FieldTable};
use tributary_connect::port::{Binding, Declare, TroubleKind};

use super::{RabbitMqRig, declare, text};
use crate::contract::{Rig, binding, destinations, failed, receive, source, take, try_receive};

pub(super) async fn pass(rig: &RabbitMqRig) {
    destinations_that_lose_messages_are_refused(rig).await;
    a_missing_dead_letter_queue_is_refused(rig).await;
    what_is_missing_is_created_to_last(rig).await;
    a_deleted_queue_is_told(rig).await;
}

/// Line 16.
async fn destinations_that_lose_messages_are_refused(rig: &RabbitMqRig) {
    let connection = rig.connect().await;
    let quorum = || ("x-queue-type", text("quorum"));
    let number = |number: i32| AMQPValue::LongInt(number);
    let fit = [
        vec![],
        vec![
            quorum(),
            ("x-single-active-consumer", AMQPValue::Boolean(true)),
        ],
        vec![
            ("x-max-length", number(9)),
            ("x-overflow", text("reject-publish")),
        ],
        vec![
            quorum(),
            ("x-delivery-limit", number(9)),
            ("x-dead-letter-exchange", text("")),
        ],
    ];
    let unfit = [
        (
            vec![quorum(), ("x-message-ttl", number(60_000))],
            "x-message-ttl",
        ),
        (vec![("x-expires", number(60_000))], "x-expires"),
        (vec![("x-max-length", number(9))], "x-max-length"),
        (
            vec![quorum(), ("x-max-length-bytes", number(9))],
            "x-max-length-bytes",
        ),
        (
            vec![quorum(), ("x-delivery-limit", number(9))],
            "x-dead-letter-exchange",
        ),
        (vec![("x-queue-type", text("stream"))], "stream"),
    ];
    let fit = fit.into_iter().map(|arguments| (arguments, None));
    let unfit = unfit
        .into_iter()
        .map(|(arguments, why)| (arguments, Some(why)));
    for (arguments, why) in fit.chain(unfit) {
        let channel = connection.create_channel().await.expect("it is up");
        let queue = rig.new_name();
        declare(&channel, &format!("{queue}.tributary.dlq"), &[]).await;
        declare(&channel, &queue, &arguments).await;
        destinations::check_fitness(rig, &queue, &queue, why).await;
    }
    let channel = connection.create_channel().await.expect("it is up");
    let transient = QueueDeclareOptions {
        exclusive: false,
        ..QueueDeclareOptions::default()
    };
    let passing = QueueDeclareOptions {
        durable: true,
        auto_delete: true,
        ..QueueDeclareOptions::default()
    };
    for (options, why) in [(transient, "durable"), (passing, "auto_delete")] {
        let queue = rig.new_name();
        declare(&channel, &format!("{queue}.tributary.dlq"), &[]).await;
        let declared = channel.queue_declare(queue.as_str().into(), options, FieldTable::default());
        declared.await.expect("it can be declared");
        destinations::check_fitness(rig, &queue, &queue, Some(why)).await;
    }
}

async fn a_missing_dead_letter_queue_is_refused(rig: &RabbitMqRig) {
    let connection = rig.connect().await;
    let channel = connection.create_channel().await.expect("it is up");
    let queue = rig.new_name();
    declare(&channel, &queue, &[]).await;
    destinations::missing_dead_letters_are_told(rig, &queue).await;
}

async fn what_is_missing_is_created_to_last(rig: &RabbitMqRig) {
    let queue = rig.new_name();
    destinations::create(rig, &queue).await;
    // It passes the check, and its dead letters go where the binding's do.
    let mut checked = source(rig, &binding(&queue, 10)).await;
    let channel = rig.connect().await;
    let channel = channel.create_channel().await.expect("it is up");
    rig.put(&queue, &["poison".to_owned()]).await;
    receive(checked.as_mut()).await;
    checked.close().await;
    let taken = channel
        .basic_get(queue.as_str().into(), Default::default())
        .await;
    let taken = taken.expect("it is up").expect("it was given back");
    let rejected = taken.delivery.reject(Default::default()).await;
    assert!(rejected.expect("it is up"));
    let dead_letters = format!("{queue}.tributary.dlq");
    let mut dead = source(
        rig,
        &Binding {
            declare: Declare::None,
            ..binding(&dead_letters, 10)
        },
    )
    .await;
    assert_eq!(take(dead.as_mut(), 1).await, ["poison"]);
    dead.close().await;
    let queue = rig.new_name();
    declare(&channel, &queue, &[("x-max-length", AMQPValue::LongInt(9))]).await;
    destinations::what_exists_is_kept(rig, &queue).await;
}

async fn a_deleted_queue_is_told(rig: &RabbitMqRig) {
    let queue = rig.make_queue().await;
    let mut source = source(rig, &binding(&queue, 10)).await;
    let connection = rig.connect().await;
    let channel = connection.create_channel().await.expect("it is up");
    let deleted = channel.queue_delete(queue.as_str().into(), Default::default());
    deleted.await.expect("it is there");
    let opened = try_receive(source.as_mut()).await;
    let trouble = failed(opened, TroubleKind::DestinationMissing);
    assert!(trouble.text.contains(&queue), "{trouble}");
    source.close().await;
}
