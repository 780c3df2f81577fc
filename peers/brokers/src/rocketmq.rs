//! RocketMQ, by the calls of its gRPC API that Tributary makes too, since Apache has no client in Rust that is done: a producer and a
//! simple consumer, each message confirmed and acknowledged by itself.

use std::marker::PhantomData;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures_util::stream::{self, FuturesUnordered, StreamExt};
use prost::Message as Protobuf;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;
use tonic::{Request, Status, Streaming};

use crate::{Options, in_time};

/// The messages of the API.
#[allow(dead_code, reason = "only some are sent here")]
#[path = "../../../crates/connect/src/rocketmq/wire.rs"]
mod wire;

use wire::{Answer, Resource, Span};

const GROUP: &str = "plain-client";
/// Messages of one answer: as many as RocketMQ allows.
const BATCH_MAX: usize = 32;
/// How long a message is hidden from others.
const HIDDEN: Duration = Duration::from_secs(60);
/// How long the proxy waits for a message.
const WAIT: Duration = Duration::from_secs(5);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// A client that the proxy knows.
#[derive(Clone)]
struct Client {
    grpc: Grpc<Channel>,
    /// Headers of every call.
    headers: Vec<(&'static str, String)>,
}

impl Client {
    async fn open(options: &Options, kind: i32) -> Result<(Client, Streaming<wire::Telemetry>)> {
        let rest = options.url.strip_prefix("http://");
        let (user, place) = rest
            .and_then(|rest| rest.split_once('@'))
            .context("no user")?;
        let (name, password) = user.split_once(':').context("no password")?;
        let channel = Channel::from_shared(format!("http://{place}"))?
            .connect()
            .await?;
        let now = jiff::Timestamp::now()
            .strftime("%Y%m%dT%H%M%SZ")
            .to_string();
        let key = ring::hmac::Key::new(
            ring::hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            password.as_bytes(),
        );
        let signature = hex::encode(ring::hmac::sign(&key, now.as_bytes()));
        let credential = format!(
            "MQv2-HMAC-SHA1 Credential={name}, SignedHeaders=x-mq-date-time, Signature={signature}"
        );
        let client = Client {
            grpc: Grpc::new(channel),
            headers: vec![
                ("x-mq-language", "RUST".to_owned()),
                ("x-mq-protocol", "GRPC_V2".to_owned()),
                ("x-mq-client-version", "5.0.8".to_owned()),
                ("x-mq-client-id", format!("plain-{}", std::process::id())),
                ("x-mq-date-time", now),
                ("authorization", credential),
            ],
        };
        let topic = Resource::named(&options.destination);
        let hello = wire::Telemetry {
            settings: Some(wire::Settings {
                client: Some(kind),
                request_timeout: Span::lasting(ANSWER_TIMEOUT),
                publishing: (kind == wire::client::PRODUCER).then(wire::Publishing::default),
                subscription: (kind == wire::client::SIMPLE_CONSUMER).then(|| wire::Subscription {
                    group: Resource::named(GROUP),
                    entries: vec![wire::SubscriptionEntry {
                        topic,
                        filter: wire::Filter::everything(),
                    }],
                }),
                ..Default::default()
            }),
            ..Default::default()
        };
        let said = client.request(
            stream::once(std::future::ready(hello)).chain(stream::pending()),
            None,
        )?;
        let mut grpc = client.grpc.clone();
        grpc.ready().await?;
        let answered = grpc.streaming(
            said,
            path("Telemetry"),
            Messages::<_, wire::Telemetry>(PhantomData),
        );
        let mut telemetry = answered.await?.into_inner();
        let first = in_time("a greeting", telemetry.message()).await??;
        check(first.context("no greeting")?.status())?;
        Ok((client, telemetry))
    }

    fn request<T>(&self, message: T, timeout: Option<Duration>) -> Result<Request<T>> {
        let mut request = Request::new(message);
        if let Some(timeout) = timeout {
            request.set_timeout(timeout);
        }
        for (name, value) in &self.headers {
            request.metadata_mut().insert(*name, value.parse()?);
        }
        Ok(request)
    }

    async fn ask<Q: Protobuf + 'static, A: Answer>(&self, method: &str, question: Q) -> Result<A> {
        let request = self.request(question, Some(ANSWER_TIMEOUT))?;
        let mut grpc = self.grpc.clone();
        grpc.ready().await?;
        let answered = grpc.unary(request, path(method), Messages::<Q, A>(PhantomData));
        let answer = answered.await?.into_inner();
        check(answer.status())?;
        Ok(answer)
    }

    async fn send(self, message: wire::Message) -> Result<()> {
        let question = wire::Send {
            messages: vec![message],
        };
        let answer: wire::SendAnswer = self.ask("SendMessage", question).await?;
        check(
            answer
                .entries
                .first()
                .and_then(|entry| entry.status.as_ref()),
        )
    }

    async fn receive(&self, queue: wire::Queue, batch: usize) -> Result<Streaming<wire::Received>> {
        let question = wire::Receive {
            group: Resource::named(GROUP),
            queue: Some(queue),
            filter: wire::Filter::everything(),
            batch: i32::try_from(batch)?,
            invisible: Span::lasting(HIDDEN),
            wait: Span::lasting(WAIT),
        };
        let request = self.request(question, Some(ANSWER_TIMEOUT))?;
        let mut grpc = self.grpc.clone();
        grpc.ready().await?;
        let codec = Messages::<_, wire::Received>(PhantomData);
        Ok(grpc
            .server_streaming(request, path("ReceiveMessage"), codec)
            .await?
            .into_inner())
    }

    async fn acknowledge(self, topic: String, message: wire::Message) -> Result<()> {
        let properties = message.properties.context("a message has no properties")?;
        let ack = wire::Ack {
            group: Resource::named(GROUP),
            topic: Resource::named(&topic),
            entries: vec![wire::AckEntry {
                message_id: properties.message_id,
                receipt: properties.receipt.context("a message has no receipt")?,
            }],
        };
        self.ask::<_, wire::AckAnswer>("AckMessage", ack).await?;
        Ok(())
    }
}

fn path(method: &str) -> PathAndQuery {
    let path = format!("/apache.rocketmq.v2.MessagingService/{method}");
    PathAndQuery::try_from(path).expect("a name can stand in a path")
}

fn check(status: Option<&wire::Status>) -> Result<()> {
    let is_well = status.is_some_and(|status| status.code == wire::code::OK);
    ensure!(is_well, "refused: {status:?}");
    Ok(())
}

/// Sends messages and waits for every answer.
pub(crate) async fn produce(options: &Options) -> Result<Instant> {
    let (client, _telemetry) = Client::open(options, wire::client::PRODUCER).await?;
    let begun = Instant::now();
    let mut unconfirmed = FuturesUnordered::new();
    for number in 0..options.messages {
        if unconfirmed.len() == usize::from(options.window) {
            in_time("an answer", unconfirmed.next())
                .await?
                .context("none")???;
        }
        let message = wire::Message {
            topic: Resource::named(&options.destination),
            properties: Some(wire::Properties {
                message_id: format!("{:x}-{number:x}", std::process::id()),
                encoding: wire::encoding::PLAIN,
                kind: wire::kind::NORMAL,
                ..Default::default()
            }),
            body: options.body(number).into(),
            ..Default::default()
        };
        unconfirmed.push(tokio::spawn(client.clone().send(message)));
    }
    while let Some(confirmed) = in_time("an answer", unconfirmed.next()).await? {
        confirmed??;
    }
    Ok(begun)
}

/// Asks for messages again and again, and acknowledges.
pub(crate) async fn consume(options: &Options) -> Result<Instant> {
    let (client, _telemetry) = Client::open(options, wire::client::SIMPLE_CONSUMER).await?;
    let route = wire::QueryRoute {
        topic: Resource::named(&options.destination),
        endpoints: None,
    };
    let route: wire::QueryRouteAnswer = client.ask("QueryRoute", route).await?;
    let mut queue = route
        .queues
        .into_iter()
        .next()
        .context("the topic has no queue")?;
    // All queues of the broker.
    queue.id = -1;
    let beat = wire::Heartbeat {
        group: Resource::named(GROUP),
        client: wire::client::SIMPLE_CONSUMER,
    };
    client
        .ask::<_, wire::HeartbeatAnswer>("Heartbeat", beat)
        .await?;
    let begun = Instant::now();
    let mut unconfirmed = FuturesUnordered::new();
    let mut acknowledged = 0;
    while acknowledged < options.messages {
        while unconfirmed.len() + BATCH_MAX > usize::from(options.window) {
            in_time("an acknowledgement", unconfirmed.next())
                .await?
                .context("none")???;
        }
        let mut messages = in_time("messages", client.receive(queue.clone(), BATCH_MAX)).await??;
        while let Some(received) = in_time("a message", messages.message()).await?? {
            if let Some(message) = received.message {
                let topic = options.destination.clone();
                unconfirmed.push(tokio::spawn(client.clone().acknowledge(topic, message)));
                acknowledged += 1;
            }
        }
    }
    while let Some(confirmed) = in_time("an acknowledgement", unconfirmed.next()).await? {
        confirmed??;
    }
    Ok(begun)
}

/// Sends `T`s and reads `U`s.
struct Messages<T, U>(PhantomData<fn(T) -> U>);

impl<T: Protobuf + 'static, U: Protobuf + Default + 'static> Codec for Messages<T, U> {
    type Encode = T;
    type Decode = U;
    type Encoder = Messages<T, U>;
    type Decoder = Messages<T, U>;

    fn encoder(&mut self) -> Messages<T, U> {
        Messages(PhantomData)
    }

    fn decoder(&mut self) -> Messages<T, U> {
        Messages(PhantomData)
    }
}

impl<T: Protobuf, U> Encoder for Messages<T, U> {
    type Item = T;
    type Error = Status;

    fn encode(&mut self, message: T, into: &mut EncodeBuf<'_>) -> Result<(), Status> {
        let encoded = message.encode(into);
        encoded.map_err(|error| Status::internal(error.to_string()))
    }
}

impl<T, U: Protobuf + Default> Decoder for Messages<T, U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        let read = U::decode(from);
        read.map(Some)
            .map_err(|error| Status::internal(error.to_string()))
    }
}
