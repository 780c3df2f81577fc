//! Where a log in Kafka is, and how it is reached.

/// Where a log is, and what is asked of the cluster of brokers.
#[derive(Clone)]
pub struct Options {
    /// Brokers by which the others are found, each `host:port`.
    pub brokers: Vec<String>,
    /// Name of the topic. A log is its only partition.
    pub topic: String,
    /// Who logs in; without it, nobody does.
    pub user: Option<User>,
    /// Certificates of the authorities that are trusted, as PEM, which need the feature `kafka-tls`. Without them, connections are made
    /// without TLS.
    pub trusted_roots: Option<String>,
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
