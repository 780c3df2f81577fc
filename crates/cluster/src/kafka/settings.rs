//! What a topic and its cluster of brokers must be set to, so that the log keeps what it acknowledges.

use std::collections::BTreeMap;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::Metadata;

use super::client::{ANSWER_TIMEOUT, Listener, Reports, config, disconnected, not_made};
use super::features;
use super::options::Options;
use super::session::BATCH_BYTES_MAX;
use crate::log::LogError;

/// Minimum number of copies of the log.
const COPIES_MIN: i32 = 3;
/// Minimum number of copies that have an entry when it is acknowledged.
const IN_SYNC_MIN: i64 = 2;
/// Largest batch of a topic that is made here: more than [`BATCH_BYTES_MAX`], so that the maximum size of a frame may grow.
const TOPIC_BATCH_BYTES: &str = "8388608";
/// The feature that keeps a broker from leading the partition that came back without what it had acknowledged.
const ELIGIBLE_LEADERS: &str = "eligible.leader.replicas.version";

/// An administrator.
pub(super) type Admin = AdminClient<Listener>;

/// Connects as an administrator.
pub(super) fn connect(options: &Options) -> Result<Admin, LogError> {
    let listener = Listener(Reports::new(options));
    let admin = config(options)?.create_with_context(listener);
    admin.map_err(not_made)
}

/// Checks a topic, of which brokers say `metadata`.
pub(super) async fn check(
    options: &Options,
    admin: &Admin,
    metadata: &Metadata,
) -> Result<(), LogError> {
    let partitions = metadata
        .topics()
        .first()
        .map_or(&[][..], |topic| topic.partitions());
    let copies = partitions.iter().map(|one| one.replicas().len()).min();
    let eligible_leaders = match options.allow_single_copy {
        true => 0,
        false => {
            // The other brokers may be away.
            let leader = partitions.first().map(|one| one.leader());
            let mut brokers = metadata.brokers().iter();
            let leader = brokers.find(|broker| Some(broker.id()) == leader);
            let leader = leader.ok_or_else(|| disconnected("no broker leads the partition"))?;
            let port = u16::try_from(leader.port()).map_err(disconnected)?;
            features::find_level(options, leader.host(), port, ELIGIBLE_LEADERS)?
        }
    };
    let found = Found {
        topic: options.topic.clone(),
        partitions: partitions.len(),
        copies: copies.map_or(0, |copies| i32::try_from(copies).unwrap_or(i32::MAX)),
        eligible_leaders,
        values: describe(admin, &options.topic).await?,
    };
    match found.fault(options.allow_single_copy) {
        Some(fault) => Err(LogError::Unfit(fault)),
        None => Ok(()),
    }
}

/// Makes the topic, if there is none.
pub(super) async fn create(options: &Options, admin: &Admin) -> Result<(), LogError> {
    let (copies, in_sync) = match options.allow_single_copy {
        true => (1, "1"),
        false => (COPIES_MIN, "2"),
    };
    let topic = NewTopic::new(&options.topic, 1, TopicReplication::Fixed(copies))
        .set("cleanup.policy", "delete")
        .set("retention.ms", "-1")
        .set("retention.bytes", "-1")
        .set("message.timestamp.type", "LogAppendTime")
        .set("max.message.bytes", TOPIC_BATCH_BYTES)
        .set("min.insync.replicas", in_sync)
        .set("unclean.leader.election.enable", "false");
    let created = admin.create_topics([&topic], &limits()).await;
    let error = match created.map_err(disconnected)?.pop() {
        Some(Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists))) => return Ok(()),
        Some(Err((_, code))) => code,
        None => RDKafkaErrorCode::Fail,
    };
    let text = format!("the topic {} can't be made: {error}", options.topic);
    Err(match error {
        // As brokers start, there are too few of them for a moment.
        RDKafkaErrorCode::InvalidReplicationFactor => LogError::Disconnected(format!(
            "Kafka: {text}: it needs {copies} brokers, or allow a single copy by allow_single_copy = true"
        )),
        RDKafkaErrorCode::TopicAuthorizationFailed
        | RDKafkaErrorCode::ClusterAuthorizationFailed
        | RDKafkaErrorCode::PolicyViolation
        | RDKafkaErrorCode::InvalidTopic => LogError::Unfit(format!("Kafka: {text}")),
        _ => disconnected(text),
    })
}

fn limits() -> AdminOptions {
    AdminOptions::new()
        .request_timeout(Some(ANSWER_TIMEOUT))
        .operation_timeout(Some(ANSWER_TIMEOUT))
}

/// Returns how a topic is set.
async fn describe(admin: &Admin, topic: &str) -> Result<BTreeMap<String, String>, LogError> {
    let asked = [ResourceSpecifier::Topic(topic)];
    let described = admin.describe_configs(&asked, &limits()).await;
    let code = match described {
        Ok(mut described) => match described.pop() {
            Some(Ok(described)) => {
                let values = described.entries.into_iter();
                let value = values.filter_map(|entry| Some((entry.name, entry.value?)));
                return Ok(value.collect());
            }
            Some(Err(code)) => code,
            None => RDKafkaErrorCode::Fail,
        },
        Err(KafkaError::AdminOp(code)) => code,
        Err(error) => return Err(disconnected(error)),
    };
    Err(match code {
        RDKafkaErrorCode::TopicAuthorizationFailed => LogError::Unfit(format!(
            "the user may not see how the topic {topic} of Kafka is set: grant DescribeConfigs on the topic"
        )),
        code => disconnected(format!("how the topic {topic} is set is not known: {code}")),
    })
}

/// What brokers say of a topic.
#[derive(Clone, Debug)]
struct Found {
    topic: String,
    partitions: usize,
    copies: i32,
    /// Level of the feature, 0 if it is off.
    eligible_leaders: i16,
    values: BTreeMap<String, String>,
}

impl Found {
    /// Returns what is unfit, and what it must be.
    fn fault(&self, allow_single_copy: bool) -> Option<String> {
        let fault = self
            .fault_of_any_log()
            .or_else(|| self.fault_of_copies().filter(|_| !allow_single_copy))?;
        Some(format!("the topic {} of Kafka has {fault}", self.topic))
    }

    /// What loses entries with any number of copies.
    fn fault_of_any_log(&self) -> Option<String> {
        if self.partitions != 1 {
            return Some(format!(
                "{} partitions, and a log is exactly one: let `tributary cluster init` make a topic",
                self.partitions
            ));
        }
        let must_be = [
            (
                "cleanup.policy",
                "delete",
                "of entries with the same key only the last is kept",
            ),
            ("retention.ms", "-1", "old entries are deleted"),
            ("retention.bytes", "-1", "old entries are deleted"),
            (
                "message.timestamp.type",
                "LogAppendTime",
                "nodes can't compare their clocks with that of the log",
            ),
            (
                "unclean.leader.election.enable",
                "false",
                "a broker that lacks what was acknowledged may lead",
            ),
        ];
        for (name, value, why) in must_be {
            let found = self.value(name);
            if found != value {
                return Some(format!("{name} = {found}, so {why}: set {name} = {value}"));
            }
        }
        let bytes = self.value("max.message.bytes");
        let is_enough = |bytes: u64| bytes >= BATCH_BYTES_MAX as u64;
        if !bytes.parse().is_ok_and(is_enough) {
            return Some(format!(
                "max.message.bytes = {bytes}, and the largest entry needs {BATCH_BYTES_MAX}: set max.message.bytes = \
                 {TOPIC_BATCH_BYTES}"
            ));
        }
        None
    }

    /// What loses entries when a broker fails.
    fn fault_of_copies(&self) -> Option<String> {
        let or = "or allow a single copy by allow_single_copy = true";
        if self.eligible_leaders < 1 {
            return Some(format!(
                "a cluster of brokers in which {ELIGIBLE_LEADERS} is off, so the last broker in sync may come back without what \
                 it acknowledged, and lead: switch it on by kafka-features.sh upgrade --feature {ELIGIBLE_LEADERS}=1, {or}"
            ));
        }
        let in_sync = self.value("min.insync.replicas");
        let is_enough = |in_sync: i64| in_sync >= IN_SYNC_MIN;
        if !in_sync.parse().is_ok_and(is_enough) {
            return Some(format!(
                "min.insync.replicas = {in_sync}, so what was acknowledged is lost with one broker: set min.insync.replicas = \
                 {IN_SYNC_MIN}, {or}"
            ));
        }
        if self.copies < COPIES_MIN {
            return Some(format!(
                "replication factor {}, so the log stands still or loses entries when a broker fails: make it {COPIES_MIN} by \
                 kafka-reassign-partitions.sh, {or}",
                self.copies
            ));
        }
        None
    }

    /// The value of a setting, which is no value of any if it is not told.
    fn value(&self, name: &str) -> &str {
        self.values.get(name).map_or("(unknown)", String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found() -> Found {
        let values = [
            ("cleanup.policy", "delete"),
            ("retention.ms", "-1"),
            ("retention.bytes", "-1"),
            ("message.timestamp.type", "LogAppendTime"),
            ("unclean.leader.election.enable", "false"),
            ("max.message.bytes", TOPIC_BATCH_BYTES),
            ("min.insync.replicas", "2"),
        ];
        let own = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        Found {
            topic: "log".to_owned(),
            partitions: 1,
            copies: 3,
            eligible_leaders: 1,
            values: values.into_iter().map(own).collect(),
        }
    }

    #[track_caller]
    fn check(change: impl FnOnce(&mut Found), allow_single_copy: bool, fault: Option<&str>) {
        let mut found = found();
        change(&mut found);
        let told = found.fault(allow_single_copy);
        match fault {
            None => assert_eq!(told, None),
            Some(part) => assert!(
                told.as_ref().is_some_and(|told| told.contains(part)),
                "{told:?}"
            ),
        }
    }

    #[test]
    fn what_loses_entries_is_refused_with_any_number_of_copies() {
        check(|_| {}, false, None);
        check(|it| it.partitions = 2, true, Some("2 partitions"));
        let limit = BATCH_BYTES_MAX.to_string();
        let less = (BATCH_BYTES_MAX - 1).to_string();
        let cases = [
            ("cleanup.policy", "compact"),
            ("cleanup.policy", "compact,delete"),
            ("retention.ms", "604800000"),
            ("retention.bytes", "1073741824"),
            ("message.timestamp.type", "CreateTime"),
            ("unclean.leader.election.enable", "true"),
            ("max.message.bytes", "1048588"),
            ("max.message.bytes", &less),
        ];
        for (name, value) in cases {
            let set = |it: &mut Found| {
                it.values.insert(name.to_owned(), value.to_owned());
            };
            check(set, true, Some(&format!("{name} = {value}")));
            let forget = |it: &mut Found| {
                it.values.remove(name);
            };
            check(forget, true, Some(name));
        }
        let just_enough = |it: &mut Found| {
            it.values.insert("max.message.bytes".to_owned(), limit);
        };
        check(just_enough, false, None);
    }

    #[test]
    fn a_single_copy_is_refused_unless_it_is_allowed() {
        type Change = fn(&mut Found);
        let cases: [(Change, &str); 3] = [
            (|it| it.copies = 2, "replication factor 2"),
            (|it| it.eligible_leaders = 0, ELIGIBLE_LEADERS),
            (
                |it| {
                    it.values
                        .insert("min.insync.replicas".to_owned(), "1".to_owned());
                },
                "min.insync.replicas = 1",
            ),
        ];
        for (change, part) in cases {
            check(change, false, Some(part));
            check(change, true, None);
        }
    }
}
