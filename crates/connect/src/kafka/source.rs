//! Messages from one topic.
//!
//! A thread takes messages in and tells Kafka which are decided. It is the only one that waits for librdkafka.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, Rebalance};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::Message as _;
use rdkafka::{ClientContext, Offset, TopicPartitionList};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::client::{CONNECT_TIMEOUT, Link, Reports};
use super::message::from_record;
use super::shared::{Arrived, Room, Shared, Spot};
use super::topics;
use crate::port::{Binder, Binding, Declare, Doing, Message, Source, Trouble, TroubleKind};

/// Maximum time until a source is open: it asks several questions.
const OPEN_TIMEOUT: Duration = Duration::from_secs(40);
/// Maximum time for a polite good-bye.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);
/// How often Kafka is told what is decided.
const TELL_EVERY: Duration = Duration::from_millis(100);
/// How long one look for messages takes if there are none.
const LOOK: Duration = Duration::from_millis(50);
/// How long the thread waits for room before it looks at other things.
const ROOM_WAIT: Duration = Duration::from_millis(20);
/// How long there may be no room until the partitions are paused. Only then librdkafka drops what it has fetched ahead.
const PAUSE_AFTER: Duration = Duration::from_millis(500);
/// How long what is handed out may be decided before its partition goes to another member.
const REVOKE_WAIT: Duration = Duration::from_secs(3);
/// How long all brokers may be gone until the source is lost.
const LOST_AFTER: Duration = Duration::from_secs(5);
/// How long one of several questions about the backlog waits for its answer.
const COUNT_STEP: Duration = Duration::from_secs(1);
/// Maximum number of events of librdkafka that are looked at before the first message.
const EVENTS_MAX: usize = 64;

/// Time after which a member that is not heard of has left the group, in milliseconds: Kafka's least.
const SESSION_MS: u32 = 6_000;
const HEARTBEAT_MS: u32 = 2_000;
/// Time in which a member must follow a rebalance, in milliseconds.
const REBALANCE_MS_MAX: u32 = 60_000;
/// Maximum size of what librdkafka fetches ahead, in KiB.
const FETCHED_KIB_MAX: u32 = 16 * 1024;
/// Maximum size of one answer of a broker with messages, in bytes; one message may be larger.
const FETCH_BYTES_MAX: u32 = 16 * 1024 * 1024;
/// Maximum size of one message, in bytes, with those that were sent together with it.
const RECEIVE_BYTES_MAX: u32 = 128 * 1024 * 1024;

type Member = BaseConsumer<Context>;

/// A member of a consumer group. Dropped, it leaves the group.
pub(super) struct KafkaSource {
    shared: Arc<Shared>,
    /// Closed when the thread has ended.
    ended: oneshot::Receiver<()>,
}

impl KafkaSource {
    /// Connects, and joins the group.
    pub(super) async fn open(
        binder: &Binder,
        binding: &Binding,
        dead_letters: String,
    ) -> Result<KafkaSource, Trouble> {
        let link = Link::new(binder)?;
        let place = link.place();
        let shared = Shared::new(usize::from(binding.prefetch));
        let work = Work {
            link,
            shared: shared.clone(),
            topics: [binding.destination.clone(), dead_letters],
            group: binding.group.clone(),
            declare: binding.declare,
            runtime: Handle::current(),
        };
        let (opened, opening) = oneshot::channel();
        let (running, ended) = oneshot::channel();
        // Dropped early, it stops the thread.
        let source = KafkaSource { shared, ended };
        thread::Builder::new()
            .name("kafka-source".to_owned())
            .spawn(move || work.run(opened, running))
            .map_err(|error| {
                let text = format!("no thread for {place}: {error}");
                Trouble::new(TroubleKind::Unreachable, text)
            })?;
        match tokio::time::timeout(OPEN_TIMEOUT, opening).await {
            Ok(Ok(opened)) => opened.map(|()| source),
            Ok(Err(_)) => {
                let text = format!("the thread of {place} has ended");
                Err(Trouble::new(TroubleKind::Refused, text))
            }
            Err(_) => {
                let seconds = OPEN_TIMEOUT.as_secs();
                let text = format!("{place} does not answer within {seconds} s");
                Err(Trouble::new(TroubleKind::Unreachable, text))
            }
        }
    }
}

impl Source for KafkaSource {
    fn receive(&mut self) -> Doing<'_, Result<Message, Trouble>> {
        Box::pin(self.shared.next())
    }

    fn acknowledge(&mut self, token: u64) -> Doing<'_, Result<(), Trouble>> {
        Box::pin(std::future::ready(self.shared.decide(&[token])))
    }

    fn acknowledge_all<'a>(&'a mut self, tokens: &'a [u64]) -> Doing<'a, Result<(), Trouble>> {
        Box::pin(std::future::ready(self.shared.decide(tokens)))
    }

    fn backlog(&mut self) -> Doing<'_, Option<u64>> {
        let answer = self.shared.ask_backlog();
        Box::pin(async move { answer.await.ok().flatten() })
    }

    fn close(mut self: Box<Self>) -> Doing<'static, ()> {
        Box::pin(async move {
            self.shared.stop();
            // If it takes longer, the broker does not answer, and learns by itself that the member has gone.
            let _ = tokio::time::timeout(CLOSE_TIMEOUT, &mut self.ended).await;
        })
    }
}

impl Drop for KafkaSource {
    fn drop(&mut self) {
        self.shared.stop();
    }
}

/// What librdkafka calls back, on the source's thread.
struct Context {
    shared: Arc<Shared>,
    reports: Arc<Reports>,
    /// Whether partitions have ever been paused.
    has_paused: AtomicBool,
}

impl ClientContext for Context {
    fn log(&self, _level: RDKafkaLogLevel, part: &str, line: &str) {
        self.reports.hear_line(part, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.reports.hear_error(&error, reason);
    }
}

impl ConsumerContext for Context {
    fn pre_rebalance(&self, member: &Member, rebalance: &Rebalance<'_>) {
        let Rebalance::Revoke(partitions) = rebalance else {
            return;
        };
        tracing::debug!(count = partitions.count(), "partitions go to others");
        // What was lost is others' already.
        if !member.assignment_lost() {
            self.shared.let_go(REVOKE_WAIT);
            if let Some(topic) = partitions
                .elements()
                .first()
                .map(|one| one.topic().to_owned())
            {
                tell(member, &self.shared, &topic, CommitMode::Sync);
            }
        }
        self.shared.change_partitions();
    }

    fn post_rebalance(&self, member: &Member, rebalance: &Rebalance<'_>) {
        if let Rebalance::Assign(partitions) = rebalance {
            tracing::debug!(count = partitions.count(), "partitions come in");
            self.shared.change_partitions();
            // librdkafka keeps a partition paused that went and came back.
            if self.has_paused.load(Ordering::Relaxed)
                && let Err(error) = member.resume(partitions)
            {
                tracing::debug!(%error, "the partitions can't be resumed");
            }
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, _offsets: &TopicPartitionList) {
        if let Err(error) = result {
            tracing::debug!(%error, "Kafka did not take the offsets");
            self.shared.tell_again();
        }
    }
}

/// Tells Kafka what is decided.
fn tell(member: &Member, shared: &Shared, topic: &str, mode: CommitMode) {
    let mut list = TopicPartitionList::new();
    for (partition, offset) in shared.offsets_to_tell() {
        let added = list.add_partition_offset(topic, partition, Offset::Offset(offset));
        added.expect("a message has such an offset");
    }
    if list.count() == 0 {
        return;
    }
    // What is not taken comes again, and is recognised.
    if let Err(error) = member.commit(&list, mode) {
        tracing::debug!(%error, "Kafka did not take the offsets");
        shared.tell_again();
    }
}

/// What the thread of a source does.
struct Work {
    link: Link,
    shared: Arc<Shared>,
    /// That of orders, and that of dead letters.
    topics: [String; 2],
    group: String,
    declare: Declare,
    runtime: Handle,
}

/// Ends the source with its thread, whyever that ends.
struct Ending(Arc<Shared>);

impl Drop for Ending {
    fn drop(&mut self) {
        let text = "the thread of the source has ended";
        self.0.end(Trouble::new(TroubleKind::Unreachable, text));
    }
}

impl Work {
    fn run(self, opened: oneshot::Sender<Result<(), Trouble>>, _running: oneshot::Sender<()>) {
        let _ending = Ending(self.shared.clone());
        let reports = Arc::new(Reports::default());
        let member = match self.open(&reports) {
            Ok(member) => member,
            Err(trouble) => {
                // Whoever gave up waiting for it does not listen.
                let _ = opened.send(Err(trouble));
                return;
            }
        };
        if opened.send(Ok(())).is_err() {
            return;
        }
        if let Err(trouble) = self.serve(&member, &reports) {
            self.shared.end(trouble);
        }
        // Dropped, the member tells what is decided, and leaves its group.
        self.shared.stop();
        drop(member);
    }

    fn open(&self, reports: &Arc<Reports>) -> Result<Member, Trouble> {
        let mut config = self.link.config();
        config
            .set("group.id", &self.group)
            // A rebalance takes away everything first: commits during a cooperative one go wrong in librdkafka.
            .set("partition.assignment.strategy", "range")
            .set("session.timeout.ms", SESSION_MS.to_string())
            .set("heartbeat.interval.ms", HEARTBEAT_MS.to_string())
            .set("max.poll.interval.ms", REBALANCE_MS_MAX.to_string())
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            // A new group begins with what is there.
            .set("auto.offset.reset", "earliest")
            .set("isolation.level", "read_committed")
            .set("check.crcs", "true")
            .set("queued.max.messages.kbytes", FETCHED_KIB_MAX.to_string())
            .set("fetch.max.bytes", FETCH_BYTES_MAX.to_string())
            .set("receive.message.max.bytes", RECEIVE_BYTES_MAX.to_string());
        let context = Context {
            shared: self.shared.clone(),
            reports: reports.clone(),
            has_paused: AtomicBool::new(false),
        };
        let member: Member = self.link.make(config.create_with_context(context))?;
        let ask = |topic: &str, time: Duration| {
            let found = member.fetch_metadata(Some(topic), time);
            if found.is_err() {
                // Reports come with events.
                for _ in 0..EVENTS_MAX {
                    let _event = member.poll(Duration::ZERO);
                }
            }
            found
        };
        topics::prepare(
            &self.link,
            reports,
            &self.topics,
            self.declare,
            &self.runtime,
            &ask,
        )?;
        reports.clear();
        let joined = member.subscribe(&[&self.topics[0]]);
        joined.map_err(|error| {
            let text = format!("{} refuses to join the group: {error}", self.link.place());
            Trouble::new(TroubleKind::Refused, text)
        })?;
        Ok(member)
    }

    /// Takes in messages until the source stops.
    fn serve(&self, member: &Member, reports: &Reports) -> Result<(), Trouble> {
        let mut told = Instant::now();
        let mut full_since: Option<Instant> = None;
        // Assignment that is paused.
        let mut paused: Option<u64> = None;
        loop {
            if told.elapsed() >= TELL_EVERY {
                tell(member, &self.shared, &self.topics[0], CommitMode::Async);
                told = Instant::now();
            }
            if let Some(asking) = self.shared.asking() {
                // Whoever gave up waiting for it does not listen.
                let _ = asking.send(self.count_backlog(member));
            }
            let room = match self.shared.wait_for_room(ROOM_WAIT) {
                Room::Stop => return Ok(()),
                Room::For(room) => room,
            };
            if room > 0 {
                full_since = None;
                if paused.take().is_some() {
                    self.pause(member, false);
                }
                self.take(member, reports, room, LOOK)?;
                continue;
            }
            // Rebalances must be followed all the same, and whoever looks gets messages unless the partitions are paused.
            if full_since.get_or_insert_with(Instant::now).elapsed() >= PAUSE_AFTER {
                let assignment = self.shared.assignment();
                if paused.replace(assignment) != Some(assignment) {
                    member.context().has_paused.store(true, Ordering::Relaxed);
                    self.pause(member, true);
                }
                self.take(member, reports, 1, Duration::ZERO)?;
            }
        }
    }

    /// Counts the messages that wait for the group: of this source's partitions behind what was taken in, of others behind what Kafka was
    /// told. None if Kafka does not answer soon.
    fn count_backlog(&self, member: &Member) -> Option<u64> {
        let topic = self.topics[0].as_str();
        let metadata = member.fetch_metadata(Some(topic), COUNT_STEP).ok()?;
        let [found] = metadata.topics() else {
            return None;
        };
        let list = |offset: Offset| {
            let mut list = TopicPartitionList::new();
            for partition in found.partitions() {
                let added = list.add_partition_offset(topic, partition.id(), offset);
                added.expect("it is an offset that has a number");
            }
            list
        };
        let at = |offset: Offset| member.offsets_for_times(list(offset), COUNT_STEP).ok();
        let ends = at(Offset::End)?;
        let begins = at(Offset::Beginning)?;
        let told = member.committed_offsets(list(Offset::Invalid), COUNT_STEP);
        let told = told.ok()?;
        let next = self.shared.next_offsets();
        let offset_in = |list: &TopicPartitionList, partition: i32| {
            let found = list.find_partition(topic, partition);
            match found.map(|found| found.offset()) {
                Some(Offset::Offset(offset)) => Some(offset),
                _ => None,
            }
        };
        let mut count = 0;
        for partition in found.partitions() {
            let id = partition.id();
            let taken = next.get(&id).copied().or_else(|| offset_in(&told, id));
            let from = taken.or_else(|| offset_in(&begins, id))?;
            count += u64::try_from(offset_in(&ends, id)? - from).unwrap_or(0);
        }
        Some(count)
    }

    fn pause(&self, member: &Member, is_paused: bool) {
        let done = member.assignment().and_then(|all| match is_paused {
            true => member.pause(&all),
            false => member.resume(&all),
        });
        if let Err(error) = done {
            tracing::debug!(%error, "the partitions can't be paused");
        }
    }

    /// Takes in what has come, at most so many messages, and waits for the first.
    fn take(
        &self,
        member: &Member,
        reports: &Reports,
        room: usize,
        time: Duration,
    ) -> Result<(), Trouble> {
        let mut batch = Vec::new();
        let mut next = member.poll(time);
        let taken = loop {
            match next {
                None => break Ok(()),
                Some(Ok(record)) => batch.push(Arrived {
                    spot: Spot {
                        assignment: self.shared.assignment(),
                        partition: record.partition(),
                        offset: record.offset(),
                    },
                    message: from_record(&record),
                }),
                Some(Err(error)) => {
                    if let Err(trouble) = self.judge(member, reports, &error) {
                        break Err(trouble);
                    }
                }
            }
            if batch.len() >= room {
                break Ok(());
            }
            next = member.poll(Duration::ZERO);
        };
        self.shared.add(batch);
        taken
    }

    /// Fails if an error ends the source.
    fn judge(&self, member: &Member, reports: &Reports, error: &KafkaError) -> Result<(), Trouble> {
        use RDKafkaErrorCode as Code;
        let what = format!("go on with the topic {}", self.topics[0]);
        let Some(code) = error.rdkafka_error_code() else {
            return Ok(());
        };
        if matches!(error, KafkaError::MessageConsumptionFatal(_)) {
            return Err(self.link.trouble(&what, code, reports));
        }
        match code {
            Code::AllBrokersDown | Code::UnknownTopicOrPartition | Code::UnknownTopic => {
                self.probe(member, reports)
            }
            Code::Authentication
            | Code::SaslAuthenticationFailed
            | Code::TopicAuthorizationFailed
            | Code::GroupAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::InconsistentGroupProtocol
            | Code::InvalidSessionTimeout
            | Code::InvalidGroupId
            | Code::GroupMaxSizeReached
            | Code::UnsupportedVersion => Err(self.link.trouble(&what, code, reports)),
            // librdkafka would go on behind what it can't read.
            Code::BadMessage
            | Code::BadCompression
            | Code::NotImplemented
            | Code::InvalidMessage
            | Code::InvalidMessageSize => {
                let text = format!(
                    "{} has messages in the topic {} that can't be read: {code}. Move the group {} behind them if they are no orders",
                    self.link.place(),
                    self.topics[0],
                    self.group
                );
                Err(Trouble::new(TroubleKind::Refused, text))
            }
            // Other brokers are there, or librdkafka tries again.
            _ => Ok(()),
        }
    }

    /// Waits for a broker that knows the topic.
    fn probe(&self, member: &Member, reports: &Reports) -> Result<(), Trouble> {
        let begun = Instant::now();
        let what = format!("go on with the topic {}", self.topics[0]);
        let mut step = Duration::from_millis(200);
        while !self.shared.is_stopping() {
            let found = member.fetch_metadata(Some(&self.topics[0]), step);
            let found = found.map(|found| topics::error_in(&found));
            let code = match found {
                Ok(None) => {
                    reports.clear();
                    return Ok(());
                }
                Ok(Some(code)) => code,
                Err(error) => error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail),
            };
            let is_over = begun.elapsed() >= LOST_AFTER;
            if is_over || !super::client::may_pass(code) {
                return Err(self.link.trouble(&what, code, reports));
            }
            step = (step * 2).min(CONNECT_TIMEOUT);
        }
        Ok(())
    }
}
