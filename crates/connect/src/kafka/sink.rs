//! Messages that go out.
//!
//! librdkafka gathers messages to batches, sends them in order of their keys, and tries again what a broker did not take, for a while.
//! A thread of its own takes the confirms in.

use std::collections::HashSet;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseRecord, Producer as _, ProducerContext, ThreadedProducer};
use tokio::sync::{Mutex, Semaphore, oneshot};

use super::client::{Link, Reports};
use super::message::to_headers;
use super::topics;
use crate::port::{Binder, Doing, Outgoing, SendError, Sink, Trouble, TroubleKind};

/// Maximum time until a message is confirmed, or given up by librdkafka; in milliseconds.
const CONFIRM_MS_MAX: u32 = 15_000;
/// Maximum time for everything about a message.
const SEND_TIMEOUT: Duration = Duration::from_secs(40);
/// Maximum number of bytes that wait for their confirm in one sink.
const UNCONFIRMED_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Bytes that a message counts beside its body, which bounds the number of messages too.
const MESSAGE_BYTES: usize = 4 * 1024;
/// Maximum size of a batch, in bytes. A broker refuses one that is larger than a message may be.
const BATCH_BYTES_MAX: usize = 128 * 1024;
/// How long a message waits for others of its batch, in milliseconds.
const LINGER_MS: u32 = 1;
/// Maximum number of topics that are known to exist. One more, and all are looked for again.
const TOPICS_MAX: usize = 1_024;
/// How long a message waits for room in librdkafka.
const FULL_WAIT: Duration = Duration::from_millis(10);

type Producer = ThreadedProducer<Context>;

/// What became of a message.
type Confirm = Option<RDKafkaErrorCode>;

/// A producer.
pub(super) struct KafkaSink {
    producer: Option<Producer>,
    link: Link,
    reports: Arc<Reports>,
    /// Topics that are known to exist.
    topics: Mutex<HashSet<String>>,
    room: Semaphore,
}

/// What librdkafka calls back, on the producer's thread.
struct Context {
    reports: Arc<Reports>,
}

impl ClientContext for Context {
    fn log(&self, _level: RDKafkaLogLevel, part: &str, line: &str) {
        self.reports.hear_line(part, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.reports.hear_error(&error, reason);
    }
}

impl ProducerContext for Context {
    type DeliveryOpaque = Box<oneshot::Sender<Confirm>>;

    fn delivery(&self, result: &DeliveryResult<'_>, waiting: Self::DeliveryOpaque) {
        let confirm = match result {
            Ok(_) => None,
            Err((error, _)) => Some(error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail)),
        };
        // Whoever gave up waiting for it does not listen.
        let _ = waiting.send(confirm);
    }
}

fn configure(config: &mut ClientConfig) {
    config
        .set("acks", "all")
        .set("enable.idempotence", "true")
        .set("message.timeout.ms", CONFIRM_MS_MAX.to_string())
        .set("request.timeout.ms", CONFIRM_MS_MAX.to_string())
        .set("linger.ms", LINGER_MS.to_string())
        .set("batch.size", BATCH_BYTES_MAX.to_string())
        // What is too large is for the broker to say.
        .set("message.max.bytes", (2 * UNCONFIRMED_BYTES_MAX).to_string())
        // As Kafka's own clients do, so that a key leads to one partition whoever sends it.
        .set("partitioner", "murmur2_random");
}

impl KafkaSink {
    /// Connects.
    pub(super) async fn open(binder: &Binder) -> Result<KafkaSink, Trouble> {
        let link = Link::new(binder)?;
        let connecting = tokio::task::spawn_blocking(move || KafkaSink::connect(link));
        connecting
            .await
            .unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
    }

    fn connect(link: Link) -> Result<KafkaSink, Trouble> {
        let reports = Arc::new(Reports::default());
        let context = Context {
            reports: reports.clone(),
        };
        let mut config = link.config();
        configure(&mut config);
        let producer: Producer = link.make(config.create_with_context(context))?;
        // A cluster says its id to whoever may log in.
        link.ask(&reports, "answer", |time| {
            let id = producer.client().fetch_cluster_id(time);
            id.map(drop).ok_or(RDKafkaErrorCode::OperationTimedOut)
        })?;
        reports.clear();
        Ok(KafkaSink {
            producer: Some(producer),
            link,
            reports,
            topics: Mutex::default(),
            room: Semaphore::new(UNCONFIRMED_BYTES_MAX),
        })
    }

    fn producer(&self) -> &Producer {
        self.producer
            .as_ref()
            .expect("it is there until the sink is dropped")
    }

    async fn publish(&self, message: &Outgoing) -> Result<(), SendError> {
        let topic = &*message.address.dotted();
        topics::check_name(topic).map_err(|what| {
            refused(
                TroubleKind::DestinationMissing,
                format!("the topic {topic:?} {what}"),
            )
        })?;
        self.look_for(topic).await?;
        let bytes = (message.body.len() + MESSAGE_BYTES).min(UNCONFIRMED_BYTES_MAX);
        let bytes = u32::try_from(bytes).expect("the maximum is less");
        let _room = self
            .room
            .acquire_many(bytes)
            .await
            .expect("nobody closes it");
        let (waiting, confirmed) = oneshot::channel();
        self.enqueue(topic, message, waiting).await?;
        match confirmed.await {
            Ok(None) => Ok(()),
            Ok(Some(code)) => Err(self.judge(topic, code).await),
            Err(_) => {
                let text = format!("the connection to {} is closed", self.link.place());
                Err(SendError::Disconnected(Trouble::new(
                    TroubleKind::Unreachable,
                    text,
                )))
            }
        }
    }

    /// Gives a message to librdkafka, as soon as that has room.
    async fn enqueue(
        &self,
        topic: &str,
        message: &Outgoing,
        waiting: oneshot::Sender<Confirm>,
    ) -> Result<(), SendError> {
        let mut record = BaseRecord::with_opaque_to(topic, Box::new(waiting))
            .payload(&message.body[..])
            .headers(to_headers(message));
        if let Some(key) = &message.key {
            record = record.key(key.as_bytes());
        }
        loop {
            let error = match self.producer().send(record) {
                Ok(()) => return Ok(()),
                Err((error, given_back)) => {
                    record = given_back;
                    error
                }
            };
            match error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail) {
                RDKafkaErrorCode::QueueFull => tokio::time::sleep(FULL_WAIT).await,
                code => return Err(self.judge(topic, code).await),
            }
        }
    }

    /// Fails if a topic does not exist. librdkafka itself would wait for it.
    async fn look_for(&self, topic: &str) -> Result<(), SendError> {
        let mut known = self.topics.lock().await;
        if known.contains(topic) {
            return Ok(());
        }
        let (producer, name) = (self.producer().clone(), topic.to_owned());
        let (link, reports) = (self.link.clone(), self.reports.clone());
        let looking = tokio::task::spawn_blocking(move || {
            topics::look_for(&link, &reports, &name, &|topic, time| {
                producer.client().fetch_metadata(Some(topic), time)
            })
        });
        let found = looking
            .await
            .unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
        match found {
            Ok(()) => {
                if known.len() >= TOPICS_MAX {
                    known.clear();
                }
                known.insert(topic.to_owned());
                Ok(())
            }
            // The user was let in before: this is about the topic.
            Err(trouble) if trouble.kind != TroubleKind::Unreachable => {
                Err(SendError::Refused(trouble))
            }
            Err(trouble) => Err(SendError::Disconnected(trouble)),
        }
    }

    /// Says what the error of a message means.
    async fn judge(&self, topic: &str, code: RDKafkaErrorCode) -> SendError {
        use RDKafkaErrorCode as Code;
        let what = format!("take a message to the topic {topic}");
        if let Some((code, why)) = self.producer().client().fatal_error() {
            let text = format!("{} refuses to {what}: {code}: {why}", self.link.place());
            return SendError::Disconnected(Trouble::new(TroubleKind::Refused, text));
        }
        let trouble = self.link.trouble(&what, code, &self.reports);
        match code {
            Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition => {
                self.topics.lock().await.remove(topic);
                SendError::Refused(trouble)
            }
            Code::MessageSizeTooLarge
            | Code::MessageBatchTooLarge
            | Code::InvalidMessage
            | Code::InvalidMessageSize
            | Code::InvalidRecord
            | Code::InvalidTopic
            | Code::InvalidTimestamp
            | Code::PolicyViolation
            | Code::TopicAuthorizationFailed => SendError::Refused(trouble),
            Code::MessageTimedOut => {
                let seconds = CONFIRM_MS_MAX / 1_000;
                let why = self.reports.loss().unwrap_or_else(|| {
                    "a broker is down, or too few copies of the topic are in sync".to_owned()
                });
                let text = format!(
                    "{} did not {what} within {seconds} s: {why}",
                    self.link.place()
                );
                SendError::Disconnected(Trouble::new(TroubleKind::Unreachable, text))
            }
            _ => SendError::Disconnected(trouble),
        }
    }
}

fn refused(kind: TroubleKind, text: impl Into<String>) -> SendError {
    SendError::Refused(Trouble::new(kind, text.into()))
}

impl Sink for KafkaSink {
    fn send<'a>(&'a self, message: &'a Outgoing) -> Doing<'a, Result<(), SendError>> {
        Box::pin(async move {
            match tokio::time::timeout(SEND_TIMEOUT, self.publish(message)).await {
                Ok(done) => done,
                Err(_) => {
                    let seconds = SEND_TIMEOUT.as_secs();
                    let text = format!("{} did not answer within {seconds} s", self.link.place());
                    Err(SendError::Disconnected(Trouble::new(
                        TroubleKind::Unreachable,
                        text,
                    )))
                }
            }
        })
    }
}

impl Drop for KafkaSink {
    fn drop(&mut self) {
        let producer = self.producer.take();
        // It waits for its threads. If there is none for that, it is dropped here.
        let _ = thread::Builder::new()
            .name("kafka-sink-end".to_owned())
            .spawn(move || drop(producer));
    }
}
