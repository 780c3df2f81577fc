//! Where a broker is: the `url` of a binder.

use crate::dial::server_url::UrlForm;

/// `amqp://host:port` or `amqps://host:port`.
pub(super) const URL: UrlForm = UrlForm {
    example: "amqps://host:5671",
    plain: ("amqp", 5672),
    tls: ("amqps", 5671),
    without_path: Some("must end after the port: it has no path and no parameters"),
};

#[cfg(test)]
mod tests {
    use super::URL;
    use crate::dial::server_url::tests::check;

    #[test]
    fn urls_are_read_as_activemq_means_them() {
        check(&URL, "amqp://mq", Ok((false, "mq", 5672, "/")));
        check(&URL, "amqps://mq", Ok((true, "mq", 5671, "/")));
        check(&URL, "amqp://mq/path", Err("no path and no parameters"));
    }
}
