//! Where a server is: the `url` of a binder.

use crate::dial::server_url::UrlForm;

/// `nats://host:port` or `tls://host:port`.
pub(super) const URL: UrlForm = UrlForm {
    example: "nats://host:4222",
    plain: ("nats", 4222),
    tls: ("tls", 4222),
    without_path: Some("must end after the port"),
};

#[cfg(test)]
mod tests {
    use super::URL;
    use crate::dial::server_url::tests::check;

    #[test]
    fn urls_are_read_as_nats_means_them() {
        check(&URL, "nats://mq", Ok((false, "mq", 4222, "/")));
        check(&URL, "tls://mq", Ok((true, "mq", 4222, "/")));
        check(&URL, "nats://mq/path", Err("must end after the port"));
    }
}
