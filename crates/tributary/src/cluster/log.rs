//! Connects to the log that the configuration names.

use tributary_cluster::log::{Log, LogError};

use crate::config::Cluster;
use crate::exit::usage_error;

/// Returns the log, which connects when it is first used.
pub(crate) fn connect(config: &Cluster) -> anyhow::Result<Box<dyn Log>> {
    let url = config
        .log
        .as_deref()
        .ok_or_else(|| usage_error("cluster.log is not set: it names the shared log"))?;
    match url.split_once("://").map(|(scheme, _)| scheme) {
        Some("postgres" | "postgresql") => postgres(config, url, false),
        _ => Err(usage_error("cluster.log must begin with postgresql://")),
    }
}

/// Makes the log's table or topic, if there is none, and returns the log.
pub(crate) fn create(config: &Cluster) -> anyhow::Result<Box<dyn Log>> {
    let url = config.log.as_deref().unwrap_or_default();
    match url.split_once("://").map(|(scheme, _)| scheme) {
        Some("postgres" | "postgresql") => postgres(config, url, true),
        _ => connect(config),
    }
}

/// Makes an error for a person of what a log says.
pub(crate) fn log_error(error: LogError) -> anyhow::Error {
    match error {
        LogError::Unfit(why) => usage_error(format!("cluster.log: {why}")),
        LogError::Disconnected(why) => anyhow::anyhow!("the log can't be reached: {why}"),
    }
}

#[cfg(feature = "postgres")]
fn postgres(config: &Cluster, url: &str, creates: bool) -> anyhow::Result<Box<dyn Log>> {
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
    if creates {
        log.create().map_err(log_error)?;
    }
    Ok(Box::new(log))
}

#[cfg(not(feature = "postgres"))]
fn postgres(_config: &Cluster, _url: &str, _creates: bool) -> anyhow::Result<Box<dyn Log>> {
    Err(usage_error(
        "this program was built without PostgreSQL: build it with the cargo feature postgres, or with full",
    ))
}
