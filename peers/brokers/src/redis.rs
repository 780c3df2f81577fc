//! Redis Streams: each message added by a command, read in batches, and acknowledged by itself, commands in pipelines.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use redis::aio::MultiplexedConnection;
use redis::streams::{StreamReadOptions, StreamReadReply};
use redis::{AsyncCommands, RedisResult};

use crate::{Options, in_time};

const GROUP: &str = "plain-client";

async fn connect(options: &Options) -> Result<MultiplexedConnection> {
    let client = redis::Client::open(options.url.as_str())?;
    let connection = client.get_multiplexed_async_connection().await;
    connection.context("connecting to Redis")
}

/// Adds messages, a window of them in one pipeline.
pub(crate) async fn produce(options: &Options) -> Result<Instant> {
    let mut connection = connect(options).await?;
    let begun = Instant::now();
    let mut number = 0;
    while number < options.messages {
        let count = u64::from(options.window).min(options.messages - number);
        let mut pipeline = redis::pipe();
        for offset in 0..count {
            let body = options.body(number + offset);
            let mut add = redis::cmd("XADD");
            add.arg(&options.destination).arg("*").arg("body").arg(body);
            pipeline.add_command(add);
        }
        let answers = pipeline.query_async::<Vec<String>>(&mut connection);
        let answers = in_time("adding", answers).await??;
        ensure!(answers.len() as u64 == count, "some were not added");
        number += count;
    }
    Ok(begun)
}

/// Reads as a group and acknowledges.
pub(crate) async fn consume(options: &Options) -> Result<Instant> {
    let mut connection = connect(options).await?;
    // It may be there.
    let _made: RedisResult<()> = connection
        .xgroup_create(&options.destination, GROUP, "0")
        .await;
    let read = StreamReadOptions::default()
        .group(GROUP, "one")
        .count(options.window.into())
        .block(30_000);
    let streams = [options.destination.as_str()];
    let begun = Instant::now();
    let mut done = 0;
    while done < options.messages {
        let reading = connection.xread_options::<_, _, StreamReadReply>(&streams, &[">"], &read);
        let reply = in_time("reading", reading).await??;
        let mut pipeline = redis::pipe();
        for entry in reply.keys.iter().flat_map(|key| &key.ids) {
            let mut acknowledge = redis::cmd("XACK");
            acknowledge
                .arg(&options.destination)
                .arg(GROUP)
                .arg(&entry.id);
            pipeline.add_command(acknowledge);
            done += 1;
        }
        ensure!(!pipeline.is_empty(), "no message comes");
        let answers = pipeline.query_async::<Vec<u64>>(&mut connection);
        in_time("acknowledging", answers).await??;
    }
    Ok(begun)
}
