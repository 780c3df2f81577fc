//! What is said of streams and groups: which are refused, and which are made.

use std::time::Duration;

use tributary_connect::port::{Binding, Declare, TroubleKind};

use super::RedisRig;
use crate::contract::{
    Rig, binding, destinations, failed, in_time, refused_source, source, take, try_receive,
};

pub(super) async fn pass(rig: &RedisRig) {
    destinations_that_lose_messages_are_refused(rig).await;
    what_is_missing_is_told(rig).await;
    what_is_missing_is_created_to_last(rig).await;
    a_deleted_stream_is_told(rig).await;
}

/// Line 16.
async fn destinations_that_lose_messages_are_refused(rig: &RedisRig) {
    let mut client = rig.connect().await;
    let queue = rig.make_queue().await;
    let terms = binding(&queue, 1);
    source(rig, &terms).await.close().await;
    for (setting, wrong, right) in [
        ("appendonly", "no", "yes"),
        ("maxmemory-policy", "allkeys-lru", "noeviction"),
    ] {
        client.say(&["CONFIG", "SET", "maxmemory", "1gb"]).await;
        client.say(&["CONFIG", "SET", setting, wrong]).await;
        let word = setting.split('-').next();
        destinations::check_fitness(rig, &queue, "", word).await;
        client.say(&["CONFIG", "SET", setting, right]).await;
    }
    client.say(&["CONFIG", "SET", "maxmemory", "0"]).await;
    // Switched on again, Redis keeps nothing before it has written its file anew.
    in_time("writing the file anew", async {
        let done = ["aof_rewrite_in_progress:0", "aof_rewrite_scheduled:0"];
        loop {
            let said = client.say(&["INFO", "persistence"]).await;
            let said = redis::from_redis_value::<String>(said).expect("it is text");
            if done.iter().all(|line| said.contains(line)) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    for key in [queue.clone(), format!("{queue}.tributary.dlq")] {
        client.say(&["EXPIRE", &key, "1000"]).await;
        destinations::check_fitness(rig, &queue, &key, Some("expires")).await;
        client.say(&["PERSIST", &key]).await;
    }
    let list = rig.new_name();
    client.say(&["RPUSH", &list, "x"]).await;
    destinations::check_fitness(rig, &list, &list, Some("is a list")).await;
    source(rig, &terms).await.close().await;
}

async fn what_is_missing_is_told(rig: &RedisRig) {
    let mut client = rig.connect().await;
    let queue = rig.make_queue().await;
    let other = Binding {
        group: "others".to_owned(),
        ..binding(&queue, 1)
    };
    let trouble = refused_source(rig, &other, TroubleKind::DestinationMissing).await;
    assert!(trouble.text.contains("has no group others"), "{trouble}");
    let dead_letters = format!("{queue}.tributary.dlq");
    client.say(&["DEL", &dead_letters]).await;
    destinations::missing_dead_letters_are_told(rig, &queue).await;
    // Nobody looks; but who reads learns it.
    let blind = Binding {
        declare: Declare::None,
        ..other
    };
    let mut reader = source(rig, &blind).await;
    let opened = try_receive(reader.as_mut()).await;
    let trouble = failed(opened, TroubleKind::DestinationMissing);
    assert!(trouble.text.contains(&queue), "{trouble}");
}

async fn what_is_missing_is_created_to_last(rig: &RedisRig) {
    let queue = rig.new_name();
    // What was sent before there was a group is read too.
    rig.put(&queue, &["one".to_owned(), "two".to_owned()]).await;
    destinations::create(rig, &queue).await;
    let mut checked = source(rig, &binding(&queue, 10)).await;
    assert_eq!(take(checked.as_mut(), 1).await, ["one"]);
    checked.close().await;
    rig.kill().await;
    rig.restart().await;
    let mut again = source(rig, &binding(&queue, 10)).await;
    assert_eq!(take(again.as_mut(), 1).await, ["two"]);
    again.close().await;
}

async fn a_deleted_stream_is_told(rig: &RedisRig) {
    let queue = rig.make_queue().await;
    let mut reader = source(rig, &binding(&queue, 10)).await;
    rig.put(&queue, &["one".to_owned()]).await;
    assert_eq!(take(reader.as_mut(), 1).await, ["one"]);
    rig.connect().await.say(&["DEL", &queue]).await;
    let opened = try_receive(reader.as_mut()).await;
    let trouble = failed(opened, TroubleKind::DestinationMissing);
    assert!(trouble.text.contains(&queue), "{trouble}");
    reader.close().await;
}
