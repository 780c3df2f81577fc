//! The hosts of a connection string, each by itself.
//!
//! The client library tries several hosts in turn, and stays at one that takes the connection and then says nothing, as a server does
//! that hangs. So each host has a configuration of its own, and all are tried at once.

use tokio_postgres::Config;
use tokio_postgres::config::Host;

/// Returns a configuration for each host, in their order.
pub(super) fn split_hosts(config: &Config) -> Vec<Config> {
    let count = config.get_hosts().len().max(config.get_hostaddrs().len());
    if count < 2 {
        return vec![config.clone()];
    }
    (0..count).map(|index| with_host(config, index)).collect()
}

/// Returns the configuration with one host of several.
fn with_host(config: &Config, index: usize) -> Config {
    let mut one = Config::new();
    match config.get_hosts().get(index) {
        Some(Host::Tcp(host)) => drop(one.host(host)),
        #[cfg(unix)]
        Some(Host::Unix(path)) => drop(one.host_path(path)),
        None => {}
    }
    if let Some(address) = config.get_hostaddrs().get(index) {
        one.hostaddr(*address);
    }
    let ports = config.get_ports();
    if let Some(port) = ports.get(index).or(ports.first()) {
        one.port(*port);
    }
    if let Some(user) = config.get_user() {
        one.user(user);
    }
    if let Some(password) = config.get_password() {
        one.password(password);
    }
    if let Some(database) = config.get_dbname() {
        one.dbname(database);
    }
    if let Some(options) = config.get_options() {
        one.options(options);
    }
    if let Some(name) = config.get_application_name() {
        one.application_name(name);
    }
    if let Some(timeout) = config.get_connect_timeout() {
        one.connect_timeout(*timeout);
    }
    if let Some(timeout) = config.get_tcp_user_timeout() {
        one.tcp_user_timeout(*timeout);
    }
    if let Some(interval) = config.get_keepalives_interval() {
        one.keepalives_interval(interval);
    }
    if let Some(retries) = config.get_keepalives_retries() {
        one.keepalives_retries(retries);
    }
    one.keepalives(config.get_keepalives())
        .keepalives_idle(config.get_keepalives_idle())
        .ssl_mode(config.get_ssl_mode())
        .ssl_negotiation(config.get_ssl_negotiation())
        .target_session_attrs(config.get_target_session_attrs())
        .channel_binding(config.get_channel_binding());
    one
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_host_keeps_everything_else() {
        let query = "connect_timeout=7&tcp_user_timeout=8&keepalives=0&keepalives_idle=9&keepalives_interval=10&keepalives_retries=11&\
                     sslmode=require&sslnegotiation=direct&target_session_attrs=read-write&channel_binding=require&\
                     application_name=name&options=-c%20jit%3Doff";
        let parse = |hosts: &str| -> Config {
            let url = format!("postgresql://user:word@{hosts}/books?{query}");
            url.parse().expect("it is right")
        };
        assert_eq!(split_hosts(&parse("a:1,b:2")), [parse("a:1"), parse("b:2")]);
        // One port for all, or the default.
        assert_eq!(split_hosts(&parse("a,b")), [parse("a"), parse("b")]);
        assert_eq!(split_hosts(&parse("a:1")), [parse("a:1")]);
    }
}
