//! A session: a producer and a consumer, and what both of them know.

use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use rdkafka::client::{Client, ClientContext};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Message as _, Timestamp};
use rdkafka::metadata::Metadata;
use rdkafka::producer::{BaseRecord, Producer as _, ProducerContext, ThreadedProducer};
use rdkafka::{Offset, TopicPartitionList};

use super::client::{
    ANSWER_TIMEOUT, Listener, Reports, config, disconnected, is_of_group, not_made,
};
use super::clock::LogClock;
use super::options::Options;
use crate::entry::ENTRY_BYTES_MAX;
use crate::log::{Appended, LogError};

/// The partition of the topic.
const PARTITION: i32 = 0;
/// Maximum number of bytes of a batch: an entry of the maximum size, and what Kafka puts around the entry.
pub(super) const BATCH_BYTES_MAX: usize = ENTRY_BYTES_MAX + 512;
/// Maximum number of entries that one read returns.
const ENTRIES_PER_READ_MAX: usize = 4_096;
/// How long the first question waits for its answer. Each next one waits twice as long, for a broker far away.
const FIRST_STEP: Duration = Duration::from_millis(200);
/// How often whoever waits looks whether the connection was lost.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How long a broker keeps a question for entries open until there is one, in milliseconds. A reader that goes elsewhere waits so long.
const FETCH_WAIT_MS: u32 = 100;
/// Maximum number of bytes of an answer with entries; one entry may be larger.
const FETCH_BYTES_MAX: usize = 16 << 20;
/// Maximum size of what is fetched ahead, in KiB.
const FETCHED_KIB_MAX: u32 = 16 * 1024;

/// What became of a message.
type Delivery = Result<Acknowledgement, KafkaError>;

#[derive(Clone, Copy, Debug)]
struct Acknowledgement {
    offset: i64,
    /// Milliseconds since the Unix epoch, if the log says when it appended the message.
    time: Option<i64>,
}

/// What librdkafka calls back, on the producer's thread.
struct Deliveries {
    listener: Listener,
    sender: Sender<Delivery>,
}

impl ClientContext for Deliveries {
    fn log(&self, level: RDKafkaLogLevel, part: &str, line: &str) {
        self.listener.log(level, part, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.listener.error(error, reason);
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let delivery = match result {
            Ok(message) => Ok(Acknowledgement {
                offset: message.offset(),
                time: append_time(message.timestamp()),
            }),
            Err((error, _)) => Err(error.clone()),
        };
        // The session that waited for it may have ended.
        let _ = self.sender.send(delivery);
    }
}

fn append_time(timestamp: Timestamp) -> Option<i64> {
    match timestamp {
        Timestamp::LogAppendTime(time) => Some(time),
        Timestamp::CreateTime(_) | Timestamp::NotAvailable => None,
    }
}

/// A session of a log.
pub(super) struct Session {
    producer: ThreadedProducer<Deliveries>,
    consumer: BaseConsumer<Listener>,
    deliveries: Receiver<Delivery>,
    reports: Arc<Reports>,
    topic: String,
    /// Offset of the entry that the consumer gives next; none if it is not assigned to the partition.
    next: Option<u64>,
    /// The entry at `next`, if it was taken from the consumer already.
    held: Option<Vec<u8>>,
    /// Number of entries that are known to be in the log.
    end: u64,
    /// When a read asked for the end of the log and was there, if nothing came since.
    at_end: Option<Instant>,
}

impl Session {
    /// Connects.
    pub(super) fn open(options: &Options) -> Result<Session, LogError> {
        let reports = Reports::new(options);
        let listener = Listener(reports.clone());
        let (sender, deliveries) = mpsc::channel();
        let context = Deliveries {
            listener: listener.clone(),
            sender,
        };
        let mut producer = config(options)?;
        producer
            .set("acks", "all")
            .set("enable.idempotence", "true")
            .set("max.in.flight.requests.per.connection", "1")
            .set("message.max.bytes", BATCH_BYTES_MAX.to_string())
            // The one who appends says for how long.
            .set("message.timeout.ms", "0")
            .set("linger.ms", "0")
            .set("compression.type", "none")
            // It is asked for the end of the log, too: that of everything which the consumer may get.
            .set("isolation.level", "read_uncommitted");
        let producer: ThreadedProducer<Deliveries> =
            producer.create_with_context(context).map_err(not_made)?;
        find_topic(producer.client(), &reports, &options.topic)?;
        let mut consumer = config(options)?;
        consumer
            // librdkafka assigns no partition without a group. Nobody joins it, and nothing is committed.
            .set("group.id", "tributary-cluster")
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "error")
            // The mark of a transaction is then a gap that is found, instead of entries that are held back without a word.
            .set("isolation.level", "read_uncommitted")
            .set("check.crcs", "true")
            .set("fetch.wait.max.ms", FETCH_WAIT_MS.to_string())
            .set("fetch.message.max.bytes", FETCH_BYTES_MAX.to_string())
            .set("fetch.max.bytes", FETCH_BYTES_MAX.to_string())
            .set(
                "receive.message.max.bytes",
                (FETCH_BYTES_MAX + BATCH_BYTES_MAX).to_string(),
            )
            .set("queued.max.messages.kbytes", FETCHED_KIB_MAX.to_string());
        let consumer: BaseConsumer<Listener> =
            consumer.create_with_context(listener).map_err(not_made)?;
        reports.clear();
        Ok(Session {
            producer,
            consumer,
            deliveries,
            reports,
            topic: options.topic.clone(),
            next: None,
            held: None,
            end: 0,
            at_end: None,
        })
    }

    /// Fails if a connection was lost.
    pub(super) fn check(&self) -> Result<(), LogError> {
        match self.reports.loss() {
            Some(why) => Err(disconnected(why)),
            None => Ok(()),
        }
    }

    /// Returns what the brokers say of the topic.
    pub(super) fn describe_topic(&self) -> Result<Metadata, LogError> {
        find_topic(self.producer.client(), &self.reports, &self.topic)
    }

    /// Reads entries: see [`crate::log::Log::read`].
    pub(super) fn read(
        &mut self,
        offset: u64,
        bytes_max: usize,
        wait: Duration,
        entries: &mut Vec<Vec<u8>>,
        clock: &mut LogClock,
    ) -> Result<(), LogError> {
        self.check()?;
        let ends = Instant::now() + wait;
        if self.next != Some(offset) && !self.go_to(offset, wait)? {
            return self.check();
        }
        let mut bytes = 0;
        while entries.len() < ENTRIES_PER_READ_MAX {
            let next = offset + entries.len() as u64;
            let is_there = next < self.end;
            let patience = match (is_there, entries.is_empty()) {
                (true, _) => ANSWER_TIMEOUT,
                (false, true) => ends.saturating_duration_since(Instant::now()),
                (false, false) => Duration::ZERO,
            };
            let taken = match self.take_entry(next, patience, clock) {
                // What comes before a gap is as good as ever.
                Err(LogError::Unfit(_)) if !entries.is_empty() => break,
                taken => taken?,
            };
            match taken {
                Some(entry) if !entries.is_empty() && bytes + entry.len() > bytes_max => {
                    self.held = Some(entry);
                    break;
                }
                Some(entry) => {
                    bytes += entry.len();
                    entries.push(entry);
                    self.next = Some(next + 1);
                    self.end = self.end.max(next + 1);
                }
                None if is_there => {
                    return Err(disconnected(format!(
                        "the entry at offset {next} did not come within {} s: the broker stands still, or there is the mark of a \
                         transaction",
                        ANSWER_TIMEOUT.as_secs()
                    )));
                }
                None if !entries.is_empty() => break,
                // Nothing came. Whether nothing is there is a question of its own.
                None => {
                    self.find_end(next)?;
                    if self.end <= next {
                        break;
                    }
                }
            }
        }
        Ok(())
    }

    /// Asks for the end of the log, and fails if entries from `offset` on are gone.
    fn find_end(&mut self, offset: u64) -> Result<(), LogError> {
        // By the producer's connection: on that of the consumer, the question would wait until the one for entries is answered.
        let client = self.producer.client();
        let asked = Instant::now();
        let found = client.fetch_watermarks(&self.topic, PARTITION, ANSWER_TIMEOUT);
        let (first, end) = found.map_err(|error| {
            // After a failover, a broker does not say for a moment where its log ends.
            let code = error.rdkafka_error_code();
            let why = code.map_or_else(|| error.to_string(), |code| code.to_string());
            disconnected(format!("the end of the log is not known: {why}"))
        })?;
        let first = u64::try_from(first).map_err(disconnected)?;
        self.end = u64::try_from(end).map_err(disconnected)?;
        if offset < first {
            return Err(gap(&self.topic, offset, first));
        }
        self.at_end = (self.end <= offset).then_some(asked);
        Ok(())
    }

    /// Has the consumer read from `offset` on. Returns false if nothing is there, and nothing is to be waited for.
    fn go_to(&mut self, offset: u64, wait: Duration) -> Result<bool, LogError> {
        self.let_go()?;
        self.find_end(offset)?;
        if self.end < offset || self.end == offset && wait.is_zero() {
            // Without a partition the consumer gives no entry, but it tells what became of its connection.
            let _told = self.consumer.poll(wait.min(LOOK_EVERY));
            return Ok(false);
        }
        self.assign(offset)?;
        Ok(true)
    }

    /// Assigns the partition to the consumer, from `offset` on.
    fn assign(&mut self, offset: u64) -> Result<(), LogError> {
        let from = Offset::Offset(i64::try_from(offset).map_err(disconnected)?);
        let mut list = TopicPartitionList::new();
        let added = list.add_partition_offset(&self.topic, PARTITION, from);
        added.map_err(disconnected)?;
        self.consumer.assign(&list).map_err(disconnected)?;
        self.next = Some(offset);
        Ok(())
    }

    /// Has the consumer read nothing any more.
    fn let_go(&mut self) -> Result<(), LogError> {
        self.held = None;
        match self.next.take() {
            Some(_) => self.consumer.unassign().map_err(disconnected),
            None => Ok(()),
        }
    }

    /// Takes the next entry from the consumer, which is the one at `expected`.
    fn take_entry(
        &mut self,
        expected: u64,
        patience: Duration,
        clock: &mut LogClock,
    ) -> Result<Option<Vec<u8>>, LogError> {
        if let Some(entry) = self.held.take() {
            return Ok(Some(entry));
        }
        let ends = Instant::now() + patience;
        loop {
            let left = ends.saturating_duration_since(Instant::now());
            let polled = self.consumer.poll(left.min(LOOK_EVERY));
            self.check()?;
            match polled {
                None if left.is_zero() => return Ok(None),
                None => {}
                Some(Ok(message)) => {
                    let found = u64::try_from(message.offset()).map_err(disconnected)?;
                    if found < expected {
                        continue;
                    }
                    if found > expected {
                        self.next = None;
                        return Err(gap(&self.topic, expected, found));
                    }
                    if let Some(since) = self.at_end.take() {
                        clock.learn(append_time(message.timestamp()), since);
                    }
                    return Ok(Some(message.payload().unwrap_or_default().to_vec()));
                }
                Some(Err(error)) if error.rdkafka_error_code().is_some_and(is_of_group) => {}
                Some(Err(error)) => return Err(disconnected(error)),
            }
        }
    }

    /// Appends an entry. Unless [`Appended::At`] is returned, the session is to be dropped, so that nothing is sent any more.
    pub(super) fn append(
        &mut self,
        entry: &[u8],
        patience: Duration,
        clock: &mut LogClock,
    ) -> Appended {
        let sent = Instant::now();
        if self.check().is_err() {
            return Appended::Lost;
        }
        let record: BaseRecord<'_, (), [u8]> = BaseRecord::to(&self.topic);
        let record = record.partition(PARTITION).payload(entry);
        if let Err((error, _)) = self.producer.send(record) {
            tracing::error!(%error, bytes = entry.len(), "an entry was not sent to Kafka");
            return Appended::Lost;
        }
        let acknowledged = match self.wait_for_delivery(sent, patience) {
            // What another session acknowledges says nothing of what was read in this one.
            Some(Ok(acknowledged)) if self.check().is_ok() => acknowledged,
            Some(Err(error)) => {
                tracing::warn!(%error, "Kafka did not acknowledge an entry");
                return Appended::Unknown;
            }
            Some(Ok(_)) | None => return Appended::Unknown,
        };
        clock.learn(acknowledged.time, sent);
        // A leader that goes on appending would fetch all that it appends.
        let is_let_go = self.let_go().is_ok();
        match u64::try_from(acknowledged.offset) {
            Ok(offset) if is_let_go => Appended::At(offset),
            _ => Appended::Unknown,
        }
    }

    /// Waits until it is known what became of the message that was sent; none if that takes too long, or the connection is lost.
    fn wait_for_delivery(&self, sent: Instant, patience: Duration) -> Option<Delivery> {
        loop {
            let left = patience.saturating_sub(sent.elapsed());
            match self.deliveries.recv_timeout(left.min(LOOK_EVERY)) {
                Ok(delivery) => return Some(delivery),
                Err(RecvTimeoutError::Timeout) if !left.is_zero() && self.check().is_ok() => {}
                Err(_) => return None,
            }
        }
    }
}

/// Returns what is wrong with a log that has no entry at `expected`.
fn gap(topic: &str, expected: u64, found: u64) -> LogError {
    LogError::Unfit(format!(
        "the topic {topic} of Kafka has no entry at offset {expected}, and the next one at {found}: entries were deleted or \
         compacted, or somebody appended by a transaction; nothing was changed here"
    ))
}

/// Asks what brokers say of the topic, until one says that it can be used.
pub(super) fn find_topic<C: ClientContext>(
    client: &Client<C>,
    reports: &Reports,
    topic: &str,
) -> Result<Metadata, LogError> {
    use RDKafkaErrorCode as Code;
    let begun = Instant::now();
    let mut step = FIRST_STEP;
    loop {
        let why = match client.fetch_metadata(Some(topic), step) {
            Ok(metadata) => match metadata.topics().first().map(|topic| {
                let partition = topic.partitions().first();
                let error = topic.error().or(partition.and_then(|one| one.error()));
                error.map(Code::from)
            }) {
                Some(None) => return Ok(metadata),
                None | Some(Some(Code::UnknownTopicOrPartition | Code::UnknownTopic)) => {
                    return Err(LogError::Unfit(format!(
                        "Kafka has no topic {topic}: `tributary cluster init` makes it"
                    )));
                }
                Some(Some(code)) => code.to_string(),
            },
            Err(error) => error.to_string(),
        };
        if begun.elapsed() >= ANSWER_TIMEOUT || reports.are_all_down() {
            return Err(disconnected(reports.loss().unwrap_or(why)));
        }
        std::thread::sleep(FIRST_STEP / 10);
        step = (step * 2).min(ANSWER_TIMEOUT);
    }
}
