//! NATS JetStream, by async-nats: a stream on disk, a durable pull consumer, each message acknowledged by itself, which the server
//! confirms.

use std::collections::VecDeque;
use std::time::Instant;

use anyhow::{Context, Result, anyhow};
use async_nats::jetstream::{self, consumer, stream};
use async_nats::{ConnectOptions, ServerAddr};
use futures_util::StreamExt;
use futures_util::stream::FuturesOrdered;

use crate::{Options, in_time};

async fn connect(options: &Options) -> Result<jetstream::Context> {
    let server: ServerAddr = options.url.parse()?;
    let mut connect = ConnectOptions::new();
    if let (Some(user), Some(password)) = (server.username(), server.password()) {
        connect = connect.user_and_password(user.to_owned(), password.to_owned());
    }
    Ok(jetstream::new(connect.connect(server).await?))
}

/// The name of the stream of a subject.
fn stream_name(options: &Options) -> String {
    options.destination.replace('.', "_")
}

/// Publishes and waits for every acknowledgement of the stream.
pub(crate) async fn produce(options: &Options) -> Result<Instant> {
    let context = connect(options).await?;
    let wanted = stream::Config {
        name: stream_name(options),
        subjects: vec![options.destination.clone()],
        ..Default::default()
    };
    context.get_or_create_stream(wanted).await?;
    let begun = Instant::now();
    let mut unconfirmed = VecDeque::with_capacity(usize::from(options.window));
    for number in 0..options.messages {
        if unconfirmed.len() == usize::from(options.window) {
            let oldest = unconfirmed.pop_front().expect("it is full");
            confirmed(oldest).await?;
        }
        let sent = context.publish(options.destination.clone(), options.body(number).into());
        unconfirmed.push_back(sent.await?);
    }
    for rest in unconfirmed {
        confirmed(rest).await?;
    }
    Ok(begun)
}

async fn confirmed(sent: jetstream::context::PublishAckFuture) -> Result<()> {
    in_time("an acknowledgement", sent.into_future()).await??;
    Ok(())
}

/// Pulls and acknowledges.
pub(crate) async fn consume(options: &Options) -> Result<Instant> {
    let context = connect(options).await?;
    let stream = context.get_stream(stream_name(options)).await?;
    let wanted = consumer::pull::Config {
        durable_name: Some("plain-client".to_owned()),
        max_ack_pending: i64::from(options.window),
        ..Default::default()
    };
    let consumer = stream
        .get_or_create_consumer("plain-client", wanted)
        .await?;
    let messages = consumer
        .stream()
        .max_messages_per_batch(options.window.into());
    let mut messages = messages.messages().await?;
    let begun = Instant::now();
    let mut unconfirmed = FuturesOrdered::new();
    for _ in 0..options.messages {
        let message = in_time("a message", messages.next()).await?;
        let message = message.context("the consumer ended")??;
        while unconfirmed.len() >= usize::from(options.window) {
            acknowledged(in_time("a confirmation", unconfirmed.next()).await?)?;
        }
        unconfirmed.push_back(tokio::spawn(async move { message.double_ack().await }));
    }
    while !unconfirmed.is_empty() {
        acknowledged(in_time("a confirmation", unconfirmed.next()).await?)?;
    }
    Ok(begun)
}

type Acknowledged = Result<Result<(), async_nats::Error>, tokio::task::JoinError>;

fn acknowledged(done: Option<Acknowledged>) -> Result<()> {
    let done = done.context("nothing is under way")??;
    done.map_err(|error| anyhow!("an acknowledgement: {error}"))
}
