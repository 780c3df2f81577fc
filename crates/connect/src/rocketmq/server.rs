//! Where a proxy is: the `url` of a binder.

use crate::dial::server_url::{ServerUrl, UrlForm};

/// `http://host:port` or `https://host:port`. The port is RocketMQ's own default.
pub(super) const URL: UrlForm = UrlForm {
    example: "https://proxy:8081",
    plain: ("http", 8081),
    tls: ("https", 8081),
    without_path: Some("must end after the port"),
};

/// Returns the url of the root of a proxy, as HTTP names it.
pub(super) fn origin(server: &ServerUrl) -> String {
    let scheme = if server.is_tls { "https" } else { "http" };
    match server.host.contains(':') {
        true => format!("{scheme}://[{}]:{}", server.host, server.port),
        false => format!("{scheme}://{}:{}", server.host, server.port),
    }
}

#[cfg(test)]
mod tests {
    use super::{URL, origin};
    use crate::dial::server_url::tests::check;

    #[test]
    fn urls_are_read_as_rocketmq_means_them() {
        check(&URL, "http://mq", Ok((false, "mq", 8081, "/")));
        check(&URL, "https://mq", Ok((true, "mq", 8081, "/")));
        check(&URL, "http://mq/path", Err("must end after the port"));
        let origin = |url| origin(&URL.read(url).expect("it is one"));
        assert_eq!(origin("https://mq/"), "https://mq:8081");
        assert_eq!(origin("http://[::1]:29"), "http://[::1]:29");
    }
}
