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

/// Maximum time until a broker answers for the first time, and for each question later.
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
    if !cfg!(feature = "kafka-tls") && (options.tls.is_some() || !is_plain) {
        return Err(LogError::Unfit(
            "TLS and SCRAM of Kafka are not in this build: build it with the feature kafka-tls"
                .to_owned(),
        ));
    }
    let protocol = match (&options.tls, user) {
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
        // Without it, the end of a connection is not reported.
        .set("log.connection.close", "true")
        // A topic that is missing stays missing.
        .set("allow.auto.create.topics", "false")
        .set_log_level(RDKafkaLogLevel::Warning);
    if let Some(user) = user {
        config
            .set("sasl.mechanism", user.mechanism.name())
            .set("sasl.username", &user.name)
            .set("sasl.password", &user.password);
    }
    if let Some(tls) = &options.tls {
        config.set("ssl.ca.pem", &tls.roots);
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
    loss: Option<String>,
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
        let none = || format!("no broker can be connected to by {}", self.brokers);
        let all_down = reported.are_all_down.then(none);
        reported.loss.clone().or(all_down)
    }

    /// Whether no broker can be connected to.
    pub(super) fn are_all_down(&self) -> bool {
        lock(&self.reported).are_all_down
    }

    /// Forgets what was reported before the session began.
    pub(super) fn clear(&self) {
        *lock(&self.reported) = Reported::default();
    }

    fn take(&self, error: &KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "librdkafka reports an error");
        let code = error.rdkafka_error_code();
        if code.is_some_and(is_of_group) {
            return;
        }
        let mut reported = lock(&self.reported);
        // Its reason is only how many they are, and another report says why.
        if code == Some(RDKafkaErrorCode::AllBrokersDown) {
            reported.are_all_down = true;
        } else {
            reported.loss.get_or_insert_with(|| reason.to_owned());
        }
    }
}

/// What librdkafka calls back.
#[derive(Clone, Debug)]
pub(super) struct Listener(pub(super) Arc<Reports>);

impl ClientContext for Listener {
    fn log(&self, _level: RDKafkaLogLevel, part: &str, line: &str) {
        tracing::debug!(part, line, "librdkafka");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.0.take(&error, reason);
    }
}

impl ConsumerContext for Listener {}
