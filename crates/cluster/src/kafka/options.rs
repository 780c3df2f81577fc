//! Where a log in Kafka is, and how it is reached.

use std::sync::Arc;

/// Where a log is, and what is asked of the cluster of brokers.
#[derive(Clone)]
pub struct Options {
    /// Brokers by which the others are found, each `host:port`.
    pub brokers: Vec<String>,
    /// Name of the topic. A log is its only partition.
    pub topic: String,
    /// Who logs in; without it, nobody does.
    pub user: Option<User>,
    /// Whom to trust. Without it, connections are made without TLS.
    pub tls: Option<Tls>,
    /// Whether one copy of the log will do, for development: what was acknowledged is lost with the disk of one broker. Compaction,
    /// retention, timestamps and sizes are checked all the same.
    pub allow_single_copy: bool,
}

/// A user of Kafka.
#[derive(Clone)]
pub struct User {
    /// Name of the user.
    pub name: String,
    /// Password of the user.
    pub password: String,
    /// How the user proves to know the password.
    pub mechanism: Mechanism,
}

/// Mechanisms of SASL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mechanism {
    /// The password itself is sent.
    Plain,
    /// SCRAM with SHA-256, which needs the feature `kafka-tls`.
    ScramSha256,
    /// SCRAM with SHA-512, which needs the feature `kafka-tls`.
    ScramSha512,
}

impl Mechanism {
    /// Returns the name of the mechanism in SASL.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Mechanism::Plain => "PLAIN",
            Mechanism::ScramSha256 => "SCRAM-SHA-256",
            Mechanism::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

/// Whom to trust, told twice: librdkafka has a TLS of its own. Needs the feature `kafka-tls`.
#[derive(Clone)]
pub struct Tls {
    /// Certificates of the authorities, as PEM, for librdkafka.
    pub roots: String,
    /// The same for the one question that librdkafka can't ask.
    pub client: Arc<rustls::ClientConfig>,
}
