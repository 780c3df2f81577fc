//! ActiveMQ by AMQP 1.0, with fe2o3-amqp: a durable queue, each message settled by itself.

use std::time::Instant;

use anyhow::{Result, ensure};
use fe2o3_amqp::link::receiver::CreditMode;
use fe2o3_amqp::types::messaging::{Body, Data, Header, Message, Outcome};
use fe2o3_amqp::types::primitives::{Binary, Value};
use fe2o3_amqp::{Connection, Receiver, Sender, Session};
use futures_util::StreamExt;
use futures_util::stream::FuturesOrdered;

use crate::{Options, in_time};

/// Sends durable messages and waits for every outcome.
pub(crate) async fn produce(options: &Options) -> Result<Instant> {
    let mut connection = Connection::open("plain-client", options.url.as_str()).await?;
    let mut session = Session::begin(&mut connection).await?;
    let mut sender = Sender::attach(&mut session, "produce", options.destination.as_str()).await?;
    let begun = Instant::now();
    let mut unconfirmed = FuturesOrdered::new();
    for number in 0..options.messages {
        if unconfirmed.len() == usize::from(options.window) {
            confirmed(in_time("an outcome", unconfirmed.next()).await?)?;
        }
        let header = Header {
            durable: true,
            ..Default::default()
        };
        let message = Message::builder()
            .header(header)
            .data(Binary::from(options.body(number)))
            .build();
        unconfirmed.push_back(sender.send_batchable(message).await?);
    }
    while !unconfirmed.is_empty() {
        confirmed(in_time("an outcome", unconfirmed.next()).await?)?;
    }
    sender.close().await?;
    session.end().await?;
    connection.close().await?;
    Ok(begun)
}

fn confirmed<E: Into<anyhow::Error>>(outcome: Option<Result<Outcome, E>>) -> Result<()> {
    let outcome = outcome
        .expect("something is under way")
        .map_err(Into::into)?;
    ensure!(
        matches!(outcome, Outcome::Accepted(_)),
        "a message was refused: {outcome:?}"
    );
    Ok(())
}

/// Receives and accepts.
pub(crate) async fn consume(options: &Options) -> Result<Instant> {
    let mut connection = Connection::open("plain-client", options.url.as_str()).await?;
    let mut session = Session::begin(&mut connection).await?;
    let mut receiver = Receiver::builder()
        .name("consume")
        .source(options.destination.as_str())
        .credit_mode(CreditMode::Auto(options.window.into()))
        .attach(&mut session)
        .await?;
    let begun = Instant::now();
    for _ in 0..options.messages {
        let delivery = in_time("a message", receiver.recv::<Body<Value>>()).await??;
        if let Body::Data(data) = delivery.body() {
            let _bytes: Option<&Data> = data.iter().next();
        }
        receiver.accept(&delivery).await?;
    }
    receiver.close().await?;
    session.end().await?;
    connection.close().await?;
    Ok(begun)
}
