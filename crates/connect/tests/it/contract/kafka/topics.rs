//! What is said of topics: which are refused, and how they are made.

use tributary_connect::port::TroubleKind;

use super::KafkaRig;
use crate::contract::{Rig, binding, bodies, destinations, in_time, receive, source, take};

pub(super) async fn pass(rig: &KafkaRig) {
    destinations_that_lose_messages_are_refused(rig).await;
    a_missing_topic_of_dead_letters_is_refused(rig).await;
    what_is_missing_is_created_to_last(rig).await;
    a_deleted_topic_is_told(rig).await;
}

/// A topic's configuration, and what is unfit about it.
type Case = (
    &'static [(&'static str, &'static str)],
    Option<&'static str>,
);

/// Line 16.
async fn destinations_that_lose_messages_are_refused(rig: &KafkaRig) {
    let cases: [Case; 7] = [
        (&[], None),
        (&[("retention.ms", "86400000")], None),
        (&[("cleanup.policy", "compact")], Some("cleanup.policy")),
        (
            &[("cleanup.policy", "compact,delete")],
            Some("cleanup.policy"),
        ),
        (&[("retention.ms", "3600000")], Some("retention.ms")),
        (&[("retention.bytes", "1048576")], Some("retention.bytes")),
        (
            &[("unclean.leader.election.enable", "true")],
            Some("unclean.leader.election.enable"),
        ),
    ];
    for (configuration, why) in cases {
        let topic = rig.new_name();
        rig.create(&topic, 1, configuration).await;
        rig.create(&format!("error.{topic}.tributary"), 1, &[])
            .await;
        check_fitness(rig, &topic, &topic, why).await;
    }
    // Dead letters must not be lost either.
    let topic = rig.new_name();
    let dead_letters = format!("error.{topic}.tributary");
    rig.create(&topic, 1, &[]).await;
    rig.create(&dead_letters, 1, &[("cleanup.policy", "compact")])
        .await;
    check_fitness(rig, &topic, &dead_letters, Some("cleanup.policy")).await;
}

async fn check_fitness(rig: &KafkaRig, topic: &str, unfit: &str, why: Option<&str>) {
    destinations::check_fitness(rig, topic, &format!("topic {unfit} "), why).await;
}

async fn a_missing_topic_of_dead_letters_is_refused(rig: &KafkaRig) {
    let topic = rig.new_name();
    rig.create(&topic, 1, &[]).await;
    destinations::missing_dead_letters_are_told(rig, &topic).await;
}

async fn what_is_missing_is_created_to_last(rig: &KafkaRig) {
    let topic = rig.new_name();
    destinations::create(rig, &topic).await;
    // It passes the check.
    rig.put(&topic, &bodies(2)).await;
    let mut checked = source(rig, &binding(&topic, 10)).await;
    assert_eq!(take(checked.as_mut(), 2).await, bodies(2));
    checked.close().await;
    let topic = rig.new_name();
    rig.create(&topic, 1, &[("cleanup.policy", "compact")])
        .await;
    destinations::what_exists_is_kept(rig, &topic).await;
    check_fitness(rig, &topic, &topic, Some("cleanup.policy")).await;
}

async fn a_deleted_topic_is_told(rig: &KafkaRig) {
    let topic = rig.make_queue().await;
    rig.put(&topic, &bodies(1)).await;
    let mut source = source(rig, &binding(&topic, 10)).await;
    receive(source.as_mut()).await;
    let program = format!(
        "from kafka.admin import KafkaAdminClient\nKafkaAdminClient(bootstrap_servers=server).delete_topics(['{topic}'])"
    );
    rig.python(&program).await;
    let told = in_time("learning that the topic is deleted", source.receive()).await;
    let trouble = told.expect_err("it is deleted");
    assert_eq!(trouble.kind, TroubleKind::DestinationMissing, "{trouble}");
    assert!(trouble.text.contains(&topic), "{trouble}");
    source.close().await;
}
