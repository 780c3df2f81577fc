//! What every client of librdkafka shares: how it is set up, what it reports, and what is told when something goes wrong.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::cluster::Cluster;
use crate::port::{Binder, Trouble, TroubleKind, Unfit};

/// Maximum time until a broker answers for the first time.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum time for an answer of a broker, in milliseconds. A connection that owes one for longer is given up.
const ANSWER_TIMEOUT_MS: u32 = 10_000;
/// Maximum time before a lost connection is tried again, in milliseconds.
const RECONNECT_BACKOFF_MS_MAX: u32 = 1_000;
/// How long a topic may be unknown to some brokers after it was made, in milliseconds.
const PROPAGATION_MS_MAX: u32 = 5_000;
/// How long the first question waits for its answer. Each next one waits twice as long, for a broker far away.
const FIRST_STEP: Duration = Duration::from_millis(200);

/// A cluster, and what its clients are set up with.
#[derive(Clone)]
pub(super) struct Link {
    cluster: Cluster,
    config: ClientConfig,
}

impl Link {
    /// Reads where `binder` leads to.
    pub(super) fn new(binder: &Binder) -> Result<Link, Trouble> {
        let cluster = Cluster::parse(&binder.url).map_err(|what| Unfit::new("url", what))?;
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", cluster.hosts.join(","))
            .set("client.id", format!("tributary-{}", binder.slug))
            .set("security.protocol", protocol(&cluster, binder))
            .set("socket.timeout.ms", ANSWER_TIMEOUT_MS.to_string())
            .set(
                "socket.connection.setup.timeout.ms",
                CONNECT_TIMEOUT.as_millis().to_string(),
            )
            .set("socket.keepalive.enable", "true")
            .set(
                "reconnect.backoff.max.ms",
                RECONNECT_BACKOFF_MS_MAX.to_string(),
            )
            .set(
                "topic.metadata.propagation.max.ms",
                PROPAGATION_MS_MAX.to_string(),
            )
            // A message to a topic that is not there is refused.
            .set("allow.auto.create.topics", "false")
            .set_log_level(RDKafkaLogLevel::Warning);
        if let Some(user) = &binder.username {
            let password = binder
                .password
                .as_ref()
                .map_or("", |secret| secret.expose());
            config
                .set("sasl.mechanism", cluster.mechanism.name())
                .set("sasl.username", user)
                .set("sasl.password", password);
        }
        if let Some(roots) = &binder.trusted_roots {
            config.set("ssl.ca.pem", roots);
        }
        Ok(Link { cluster, config })
    }

    /// Returns what a client is set up with, for more to be added.
    pub(super) fn config(&self) -> ClientConfig {
        self.config.clone()
    }

    /// Where it leads to, for texts.
    pub(super) fn place(&self) -> String {
        self.cluster.place()
    }

    /// Makes a client.
    pub(super) fn make<T>(&self, made: Result<T, KafkaError>) -> Result<T, Trouble> {
        made.map_err(|error| {
            let why = match error {
                // Its text would show the value, which may be the password.
                KafkaError::ClientConfig(_, why, name, _) => format!("{name}: {why}"),
                error => error.to_string(),
            };
            let text = format!("no connection to {} can be made: {why}", self.place());
            Trouble::new(TroubleKind::Refused, text)
        })
    }

    /// Asks a question until it is answered, for at most [`CONNECT_TIMEOUT`]. `call` asks once and waits for so long; `reports` are
    /// looked at after each. `what` completes "refuses to".
    pub(super) fn ask<T>(
        &self,
        reports: &Reports,
        what: &str,
        mut call: impl FnMut(Duration) -> Result<T, RDKafkaErrorCode>,
    ) -> Result<T, Trouble> {
        let begun = Instant::now();
        let mut step = FIRST_STEP;
        loop {
            let code = match call(step) {
                Ok(answer) => return Ok(answer),
                Err(code) => code,
            };
            let is_over = begun.elapsed() >= CONNECT_TIMEOUT || reports.are_all_down();
            if is_over || reports.refusal().is_some() || !may_pass(code) {
                return Err(self.trouble(what, code, reports));
            }
            step = (step * 2).min(CONNECT_TIMEOUT.saturating_sub(begun.elapsed()));
        }
    }

    /// Says what an error means. `what` completes "refuses to".
    pub(super) fn trouble(&self, what: &str, code: RDKafkaErrorCode, reports: &Reports) -> Trouble {
        use RDKafkaErrorCode as Code;
        let place = self.place();
        if let Some(why) = reports.refusal() {
            let text = format!("{place} refuses to log in: {why}");
            return Trouble::new(TroubleKind::CredentialsRefused, text);
        }
        match code {
            Code::Authentication | Code::SaslAuthenticationFailed => {
                let text = format!("{place} refuses to log in: {code}");
                Trouble::new(TroubleKind::CredentialsRefused, text)
            }
            Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition => {
                let text =
                    format!("{place} refuses to {what}: the topic does not exist: create it");
                Trouble::new(TroubleKind::DestinationMissing, text)
            }
            Code::TopicAuthorizationFailed
            | Code::GroupAuthorizationFailed
            | Code::ClusterAuthorizationFailed => {
                let text =
                    format!("{place} refuses to {what}: {code}: the user lacks a permission");
                Trouble::new(TroubleKind::CredentialsRefused, text)
            }
            code if may_pass(code) => {
                let why = reports.loss().unwrap_or_else(|| code.to_string());
                let text = format!("{place} can't be reached: {why}");
                Trouble::new(TroubleKind::Unreachable, text)
            }
            code => {
                let text = format!("{place} refuses to {what}: {code}");
                Trouble::new(TroubleKind::Refused, text)
            }
        }
    }
}

fn protocol(cluster: &Cluster, binder: &Binder) -> &'static str {
    match (cluster.is_tls, binder.username.is_some()) {
        (false, false) => "plaintext",
        (true, false) => "ssl",
        (false, true) => "sasl_plaintext",
        (true, true) => "sasl_ssl",
    }
}

/// Whether an error is about a connection or a broker, and not about what was asked.
pub(super) fn may_pass(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(
        code,
        Code::BrokerTransportFailure
            | Code::AllBrokersDown
            | Code::Resolve
            | Code::SSL
            | Code::OperationTimedOut
            | Code::MessageTimedOut
            | Code::TimedOutQueue
            | Code::RequestTimedOut
            | Code::NetworkException
            | Code::BrokerDestroy
            | Code::DestroyBroker
            | Code::WaitingForCoordinator
            | Code::CoordinatorLoadInProgress
            | Code::CoordinatorNotAvailable
            | Code::NotCoordinator
            | Code::LeaderNotAvailable
            | Code::NotLeaderForPartition
            | Code::BrokerNotAvailable
            | Code::ReplicaNotAvailable
            | Code::NotController
            | Code::NotEnoughReplicas
            | Code::NotEnoughReplicasAfterAppend
            | Code::KafkaStorageError
            | Code::ThrottlingQuotaExceeded
            | Code::PurgeQueue
            | Code::PurgeInflight
    )
}

/// What librdkafka has reported of a client's connections.
#[derive(Debug, Default)]
pub(super) struct Reports(Mutex<Heard>);

#[derive(Debug, Default)]
struct Heard {
    refusal: Option<String>,
    loss: Option<String>,
    are_all_down: bool,
}

impl Reports {
    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why the user is refused, if it is.
    pub(super) fn refusal(&self) -> Option<String> {
        self.heard().refusal.clone()
    }

    /// Why a connection was lost, if one was.
    pub(super) fn loss(&self) -> Option<String> {
        self.heard().loss.clone()
    }

    /// Whether no broker can be connected to.
    pub(super) fn are_all_down(&self) -> bool {
        self.heard().are_all_down
    }

    /// Forgets what was reported: a broker has answered.
    pub(super) fn clear(&self) {
        *self.heard() = Heard::default();
    }

    /// Takes in an error of the client.
    pub(super) fn hear_error(&self, error: &KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "librdkafka reports an error");
        let mut heard = self.heard();
        match error.rdkafka_error_code() {
            Some(
                RDKafkaErrorCode::Authentication
                | RDKafkaErrorCode::SaslAuthenticationFailed
                | RDKafkaErrorCode::UnsupportedSASLMechanism
                | RDKafkaErrorCode::IllegalSASLState,
            ) => heard.refusal = Some(reason.to_owned()),
            // Its reason is only how many they are.
            Some(RDKafkaErrorCode::AllBrokersDown) => heard.are_all_down = true,
            Some(code) if may_pass(code) => heard.loss = Some(reason.to_owned()),
            _ => {}
        }
    }

    /// Takes in a line of librdkafka's log.
    pub(super) fn hear_line(&self, part: &str, line: &str) {
        match part {
            // Messages were removed before they were read.
            "OFFSET" => tracing::warn!(line, "Kafka no longer has an offset"),
            _ => tracing::debug!(part, line, "librdkafka"),
        }
    }
}

/// A context that only reports.
#[derive(Clone, Debug, Default)]
pub(super) struct Listener(pub(super) Arc<Reports>);

impl ClientContext for Listener {
    fn log(&self, _level: RDKafkaLogLevel, part: &str, line: &str) {
        self.0.hear_line(part, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.0.hear_error(&error, reason);
    }
}
