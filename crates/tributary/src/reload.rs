//! Reads the configuration again, after SIGHUP or a change in Consul or etcd, and puts into force what can change while the server runs.
//!
//! Everything is checked first. If anything is wrong, nothing changes, and the log says what is wrong.

use tributary_server::{RateLimit, Reloadable, Running, TlsFiles};

use crate::config::{Config, Limits, Tls};
use crate::exit::usage_error;
use crate::log::LogLevel;

/// Keys of the configuration that take effect without a restart.
const RELOADABLE: [&str; 4] = [
    "tls.certificate",
    "tls.key",
    "limits.requests_per_second_max",
    "log.level",
];

/// What a reload changed.
#[derive(Debug, PartialEq, Eq)]
struct Reloaded {
    config: Config,
    /// Keys that are in force.
    changed: Vec<&'static str>,
    /// Keys that changed and take effect at the next start.
    needs_restart: Vec<&'static str>,
}

/// Reloads the configuration of a running server. Returns the configuration that is in force.
pub(crate) fn reload(
    current: &Config,
    read: impl FnOnce() -> anyhow::Result<Config>,
    server: &Running,
    level: &LogLevel,
) -> Config {
    match try_reload(current, read, server, level) {
        Ok(reloaded) => {
            tracing::info!(
                changed = ?reloaded.changed,
                needs_restart = ?reloaded.needs_restart,
                certificate = reloaded.config.tls.certificate.is_some(),
                "the configuration was reloaded, and the files of the certificate and its key were read again"
            );
            reloaded.config
        }
        Err(error) => {
            tracing::error!(
                error = format!("{error:#}"),
                "the configuration was not reloaded, and nothing was changed"
            );
            current.clone()
        }
    }
}

fn try_reload(
    current: &Config,
    read: impl FnOnce() -> anyhow::Result<Config>,
    server: &Running,
    level: &LogLevel,
) -> anyhow::Result<Reloaded> {
    let wanted = read()?;
    if wanted.tls.certificate.is_some() != current.tls.certificate.is_some() {
        return Err(usage_error(
            "tls.certificate cannot be added or removed while the server runs: restart it",
        ));
    }
    let reloaded = merge(current, &wanted);
    server.reload(Reloadable {
        tls: tls_files(&reloaded.config.tls),
        rate: rate_limit(&reloaded.config.limits),
    })?;
    level.set(&reloaded.config.log)?;
    Ok(reloaded)
}

/// The wanted configuration where it is reloadable, and the current one elsewhere.
fn merge(current: &Config, wanted: &Config) -> Reloaded {
    let mut config = current.clone();
    config.tls.clone_from(&wanted.tls);
    config.limits.requests_per_second_max = wanted.limits.requests_per_second_max;
    config.log.level.clone_from(&wanted.log.level);
    let differing = current.differing_keys(wanted);
    let (changed, needs_restart) = differing
        .into_iter()
        .partition(|key| RELOADABLE.contains(key));
    Reloaded {
        config,
        changed,
        needs_restart,
    }
}

/// Files of the certificate and its key, if the server speaks TLS.
pub(crate) fn tls_files(tls: &Tls) -> Option<TlsFiles> {
    let (certificate, key) = (tls.certificate.clone()?, tls.key.clone()?);
    Some(TlsFiles { certificate, key })
}

/// Rate limit of an API key, if there is one.
pub(crate) fn rate_limit(limits: &Limits) -> Option<RateLimit> {
    let requests_per_second = limits.requests_per_second_max?;
    Some(RateLimit {
        requests_per_second,
        burst: requests_per_second,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_can_change_at_run_time_is_put_into_force() {
        let current = Config::default();
        let mut wanted = Config::default();
        wanted.limits.requests_per_second_max = Some(7);
        wanted.limits.streams_max = 3;
        wanted.log.level = "debug".to_owned();
        wanted.data = "elsewhere".into();
        let reloaded = merge(&current, &wanted);
        assert_eq!(
            reloaded.changed,
            ["limits.requests_per_second_max", "log.level"]
        );
        assert_eq!(reloaded.needs_restart, ["data", "limits.streams_max"]);
        let mut expected = current.clone();
        expected.limits.requests_per_second_max = Some(7);
        expected.log.level = "debug".to_owned();
        assert_eq!(reloaded.config, expected);
        assert_eq!(merge(&current, &current).changed, [""; 0]);
    }
}
