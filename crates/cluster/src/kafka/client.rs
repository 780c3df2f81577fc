//! How clients of librdkafka are set up, and what they report of their connections.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use tributary_journal::lock;

use super::options::{Mechanism, Options};
use crate::log::LogError;

/// Maximum time until a broker answers a question.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum time before a lost connection is tried again, in milliseconds.
const RECONNECT_BACKOFF_MS_MAX: u32 = 500;

/// Returns what every client is set up with, for more to be added.
///
/// # Errors
/// [`LogError::Unfit`] if this build can't do what `options` ask for.
pub(super) fn config(options: &Options) -> Result<ClientConfig, LogError> {
    let user = options.user.as_ref();
    let is_plain = user.is_none_or(|user| user.mechanism == Mechanism::Plain);
    if !cfg!(feature = "kafka-tls") && (options.trusted_roots.is_some() || !is_plain) {
        return Err(LogError::Unfit(
            "TLS and SCRAM of Kafka are not in this build: build it with the feature kafka-tls"
                .to_owned(),
        ));
    }
    let protocol = match (&options.trusted_roots, user) {
        (None, None) => "plaintext",
        (Some(_), None) => "ssl",
        (None, Some(_)) => "sasl_plaintext",
        (Some(_), Some(_)) => "sasl_ssl",
    };
    let timeout = ANSWER_TIMEOUT.as_millis().to_string();
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", options.brokers.join(","))
        .set("client.id", "tributary-cluster")
        .set("security.protocol", protocol)
        .set("socket.timeout.ms", &timeout)
        .set("socket.connection.setup.timeout.ms", &timeout)
        .set("socket.keepalive.enable", "true")
        .set("socket.nagle.disable", "true")
        .set(
            "reconnect.backoff.max.ms",
            RECONNECT_BACKOFF_MS_MAX.to_string(),
        )
        // The end of a connection is told by the log only.
        .set("log.connection.close", "true")
        // A topic that is missing stays missing.
        .set("allow.auto.create.topics", "false")
        .set_log_level(RDKafkaLogLevel::Info);
    if let Some(user) = user {
        config
            .set("sasl.mechanism", user.mechanism.name())
            .set("sasl.username", &user.name)
            .set("sasl.password", &user.password);
    }
    if let Some(roots) = &options.trusted_roots {
        config.set("ssl.ca.pem", roots);
    }
    Ok(config)
}

/// Returns why a client can't be made.
pub(super) fn not_made(error: KafkaError) -> LogError {
    LogError::Unfit(match error {
        // The text of the error would show the value, which may be the password.
        KafkaError::ClientConfig(_, why, name, _) => {
            format!("Kafka can't be connected to: the setting {name} of the client: {why}")
        }
        error => format!("Kafka can't be connected to: {error}"),
    })
}

/// Returns that the session has ended.
pub(super) fn disconnected(why: impl std::fmt::Display) -> LogError {
    LogError::Disconnected(format!("Kafka: {why}"))
}

/// Whether an error is about the coordinator of a group. librdkafka looks for one, and nobody here needs it.
pub(super) fn is_of_group(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(
        code,
        Code::GroupAuthorizationFailed
            | Code::CoordinatorLoadInProgress
            | Code::CoordinatorNotAvailable
            | Code::NotCoordinator
            | Code::WaitingForCoordinator
    )
}

/// What the clients of a session have reported.
#[derive(Debug)]
pub(super) struct Reports {
    brokers: String,
    reported: Mutex<Reported>,
}

#[derive(Debug, Default)]
struct Reported {
    /// Why the session has ended.
    loss: Option<String>,
    /// Why a connection that was tried did not come about.
    refusal: Option<String>,
    are_all_down: bool,
}

impl Reports {
    /// Returns reports of clients that connect to `options`.
    pub(super) fn new(options: &Options) -> Arc<Reports> {
        Arc::new(Reports {
            brokers: options.brokers.join(", "),
            reported: Mutex::default(),
        })
    }

    /// Returns what has ended the session, if something has.
    pub(super) fn loss(&self) -> Option<String> {
        let reported = lock(&self.reported);
        if reported.loss.is_some() || !reported.are_all_down {
            return reported.loss.clone();
        }
        let why = reported.refusal.as_deref().unwrap_or("no broker answers");
        Some(format!(
            "no connection by {} can be made: {why}",
            self.brokers
        ))
    }

    /// Whether no broker can be connected to.
    pub(super) fn are_all_down(&self) -> bool {
        lock(&self.reported).are_all_down
    }

    /// Forgets what was reported before the session began.
    pub(super) fn clear(&self) {
        *lock(&self.reported) = Reported::default();
    }

    /// Takes in what librdkafka says of a connection.
    fn take(&self, text: &str) {
        let mut reported = lock(&self.reported);
        match part_of_connection(text) {
            Part::Group => {}
            Part::Attempt => reported.refusal = Some(text.to_owned()),
            Part::Established => {
                reported.loss.get_or_insert_with(|| text.to_owned());
            }
        }
    }
}

/// In which part of a connection's life something went wrong.
#[derive(Debug, PartialEq, Eq)]
enum Part {
    /// There was no connection yet. Nothing is lost, and other brokers may do.
    Attempt,
    /// The connection was there, or librdkafka does not say.
    Established,
    /// It is the one to the coordinator of the group, whom nobody needs.
    Group,
}

fn part_of_connection(text: &str) -> Part {
    let state = text.rsplit_once("in state ").map(|(_, state)| state);
    let is_up = |state: &str| state.starts_with("UP") || state.starts_with("REAUTH");
    match state {
        _ if text.contains("GroupCoordinator") => Part::Group,
        Some(state) if !is_up(state) => Part::Attempt,
        _ => Part::Established,
    }
}

/// What librdkafka calls back.
#[derive(Clone, Debug)]
pub(super) struct Listener(pub(super) Arc<Reports>);

impl ClientContext for Listener {
    fn log(&self, _level: RDKafkaLogLevel, part: &str, line: &str) {
        tracing::debug!(part, line, "librdkafka");
        // A connection that a broker closes is no error for librdkafka, which connects again.
        if part == "FAIL" {
            self.0.take(line);
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "librdkafka reports an error");
        match error.rdkafka_error_code() {
            Some(code) if is_of_group(code) => {}
            // Its reason is only how many they are.
            Some(RDKafkaErrorCode::AllBrokersDown) => {
                lock(&self.0.reported).are_all_down = true;
            }
            _ => self.0.take(reason),
        }
    }
}

impl ConsumerContext for Listener {}

#[cfg(test)]
mod tests {
    use super::{Part, part_of_connection};

    #[test]
    fn only_the_end_of_an_established_connection_is_a_loss() {
        let cases = [
            (
                "[thrd:broker:9092/1]: broker:9092/1: Disconnected (after 61ms in state UP)",
                Part::Established,
            ),
            (
                "broker:9092/1: Disconnected (after 5ms in state UP, 2 identical error(s) suppressed)",
                Part::Established,
            ),
            (
                "broker:9092/1: Connect to ipv4#10.0.0.1:9092 failed: Connection refused (after 0ms in state CONNECT)",
                Part::Attempt,
            ),
            (
                "broker:9092/bootstrap: Connection setup timed out in state CONNECT (after 10000ms in state CONNECT)",
                Part::Attempt,
            ),
            (
                "GroupCoordinator: broker:9092: Disconnected (after 61ms in state UP)",
                Part::Group,
            ),
            ("something new", Part::Established),
        ];
        for (text, part) in cases {
            assert_eq!(part_of_connection(text), part, "{text}");
        }
    }
}
