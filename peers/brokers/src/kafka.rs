//! Kafka, by rdkafka: one partition, all replicas, an idempotent producer.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use futures_util::StreamExt;
use futures_util::stream::FuturesOrdered;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{CommitMode, Consumer, StreamConsumer};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::producer::{FutureProducer, FutureRecord};

use crate::{Options, Side, in_time};

fn config(options: &Options) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &options.url);
    config
}

/// Makes the topic if it is missing, and a producer that sends with `acks=all`.
async fn producer(options: &Options) -> Result<FutureProducer> {
    let topic = options.destination.as_str();
    let admin: AdminClient<DefaultClientContext> = config(options).create()?;
    let new = NewTopic::new(topic, 1, TopicReplication::Fixed(1));
    let made = admin.create_topics(&[new], &AdminOptions::new()).await?;
    match made.into_iter().next().context("no answer")? {
        Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
        Err((topic, why)) => bail!("{topic}: {why}"),
    }
    let mut config = config(options);
    config.set("acks", "all").set("enable.idempotence", "true");
    if options.side == Side::ProduceSingly {
        // Nothing else comes that could be sent together with a message.
        config.set("linger.ms", "0");
    }
    Ok(config.create()?)
}

/// Sends one message after another, and returns how long the report of each took.
pub(crate) async fn produce_singly(options: &Options) -> Result<Vec<Duration>> {
    let producer = producer(options).await?;
    let topic = options.destination.as_str();
    let mut latencies = Vec::new();
    for number in 0..options.messages {
        let body = options.body(number);
        let record = FutureRecord::<str, [u8]>::to(topic).payload(&body);
        let begun = Instant::now();
        let sent = producer.send_result(record).map_err(|(error, _)| error)?;
        confirmed(Some(in_time("a report", sent).await?))?;
        latencies.push(begun.elapsed());
    }
    Ok(latencies)
}

/// Waits for every report.
pub(crate) async fn produce(options: &Options) -> Result<Instant> {
    let producer = producer(options).await?;
    let topic = options.destination.as_str();
    let begun = Instant::now();
    let mut unconfirmed = FuturesOrdered::new();
    for number in 0..options.messages {
        if unconfirmed.len() == usize::from(options.window) {
            confirmed(in_time("a report", unconfirmed.next()).await?)?;
        }
        let body = options.body(number);
        let record = FutureRecord::<str, [u8]>::to(topic).payload(&body);
        let sent = producer.send_result(record);
        unconfirmed.push_back(sent.map_err(|(error, _)| error)?);
    }
    while !unconfirmed.is_empty() {
        confirmed(in_time("a report", unconfirmed.next()).await?)?;
    }
    Ok(begun)
}

type Report = <rdkafka::producer::DeliveryFuture as Future>::Output;

fn confirmed(report: Option<Report>) -> Result<()> {
    let report = report.context("nothing is under way")??;
    report.map(|_| ()).map_err(|(error, _)| error.into())
}

/// Reads from the beginning, stores the offset of each message when it is done with, and commits what was stored.
pub(crate) async fn consume(options: &Options) -> Result<Instant> {
    let consumer: StreamConsumer = config(options)
        .set("group.id", "plain-client")
        .set("auto.offset.reset", "earliest")
        .set("enable.auto.commit", "true")
        .set("auto.commit.interval.ms", "1000")
        .set("enable.auto.offset.store", "false")
        .set("queued.max.messages.kbytes", "16384")
        .create()?;
    consumer.subscribe(&[options.destination.as_str()])?;
    let mut begun = None;
    for _ in 0..options.messages {
        let message = in_time("a message", consumer.recv()).await??;
        // The group takes a moment to begin, which is none of the work.
        begun.get_or_insert_with(Instant::now);
        consumer.store_offset_from_message(&message)?;
    }
    consumer.commit_consumer_state(CommitMode::Sync)?;
    tokio::time::sleep(Duration::ZERO).await;
    begun.context("no messages were asked for")
}
