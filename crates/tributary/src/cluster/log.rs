//! Connects to the log that the configuration names.

use tributary_cluster::log::{Log, LogError};

use crate::config::Cluster;
use crate::exit::usage_error;

/// What is done with the table or topic of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Table {
    /// It is there.
    Exists,
    /// It is made if it is not there.
    Made,
}

/// Returns the log, which connects when it is first used.
pub(crate) fn connect(config: &Cluster) -> anyhow::Result<Box<dyn Log>> {
    log(config, Table::Exists)
}

/// Makes the log's table or topic, if there is none, and returns the log.
pub(crate) fn create(config: &Cluster) -> anyhow::Result<Box<dyn Log>> {
    log(config, Table::Made)
}

/// Makes an error for a person of what a log says.
pub(crate) fn log_error(error: LogError) -> anyhow::Error {
    match error {
        LogError::Unfit(why) => usage_error(format!("cluster.log: {why}")),
        LogError::Disconnected(why) => anyhow::anyhow!("the log can't be reached: {why}"),
    }
}

fn log(config: &Cluster, table: Table) -> anyhow::Result<Box<dyn Log>> {
    let url = config
        .log
        .as_deref()
        .ok_or_else(|| usage_error("cluster.log is not set: it names the shared log"))?;
    match url.split_once("://") {
        Some(("postgres" | "postgresql", _)) => postgres(config, url, table),
        Some(("kafka", place)) => kafka(config, place, table),
        _ => Err(usage_error(
            "cluster.log must begin with postgresql:// or kafka://",
        )),
    }
}

#[cfg(feature = "postgres")]
fn postgres(config: &Cluster, url: &str, table: Table) -> anyhow::Result<Box<dyn Log>> {
    use tributary_cluster::postgres::{Options, PostgresLog};
    let password = config.password_file.as_deref();
    let password = password.map(crate::config::read_secret).transpose()?;
    let tls = match &config.ca_file {
        None => None,
        Some(file) => Some(std::sync::Arc::new(crate::client::tls_config(Some(file))?)),
    };
    let options = Options {
        url: url.to_owned(),
        password,
        tls,
        stream: 0,
        allow_single_copy: config.allow_single_copy,
    };
    let mut log = PostgresLog::new(options).map_err(log_error)?;
    if table == Table::Made {
        log.create().map_err(log_error)?;
    }
    Ok(Box::new(log))
}

#[cfg(not(feature = "postgres"))]
fn postgres(_config: &Cluster, _url: &str, _table: Table) -> anyhow::Result<Box<dyn Log>> {
    Err(usage_error(
        "this program was built without PostgreSQL: build it with the cargo feature postgres, or with full",
    ))
}

/// `place`: `[user@]broker:port,broker:port/topic[?mechanism=scram-sha-512]`.
#[cfg(feature = "kafka")]
fn kafka(config: &Cluster, place: &str, table: Table) -> anyhow::Result<Box<dyn Log>> {
    use anyhow::Context as _;
    use tributary_cluster::kafka::{KafkaLog, Mechanism, Options, User};
    let form = || {
        usage_error(
            "cluster.log must name brokers and a topic, as in kafka://a.example:9092,b.example:9092/tributary, with user@ before them \
             if they ask for one, and ?mechanism=plain, scram-sha-256 or scram-sha-512 after them",
        )
    };
    let (place, query) = place.split_once('?').unwrap_or((place, ""));
    let (brokers, topic) = place.split_once('/').ok_or_else(form)?;
    let (user, brokers) = match brokers.rsplit_once('@') {
        Some((user, brokers)) => (Some(user), brokers),
        None => (None, brokers),
    };
    let is_topic = !topic.is_empty() && !topic.contains('/');
    if brokers.is_empty() || !is_topic {
        return Err(form());
    }
    let mechanism = match query {
        "" | "mechanism=scram-sha-512" => Mechanism::ScramSha512,
        "mechanism=scram-sha-256" => Mechanism::ScramSha256,
        "mechanism=plain" => Mechanism::Plain,
        _ => return Err(form()),
    };
    let user = match (user, &config.password_file) {
        (None, _) => None,
        (Some(name), Some(file)) => Some(User {
            name: name.to_owned(),
            password: crate::config::read_secret(file)?,
            mechanism,
        }),
        (Some(_), None) => {
            return Err(usage_error(
                "cluster.log names a user: cluster.password_file must hold the password",
            ));
        }
    };
    let roots = config.ca_file.as_deref().map(|file| {
        std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))
    });
    let options = Options {
        brokers: brokers.split(',').map(str::to_owned).collect(),
        topic: topic.to_owned(),
        user,
        trusted_roots: roots.transpose()?,
        allow_single_copy: config.allow_single_copy,
    };
    let mut log = KafkaLog::new(options).map_err(log_error)?;
    if table == Table::Made {
        log.create().map_err(log_error)?;
    }
    Ok(Box::new(log))
}

#[cfg(not(feature = "kafka"))]
fn kafka(_config: &Cluster, _place: &str, _table: Table) -> anyhow::Result<Box<dyn Log>> {
    Err(usage_error(
        "this program was built without Kafka: build it with the cargo feature kafka, or with full",
    ))
}
