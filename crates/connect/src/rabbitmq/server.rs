//! Where a broker is: the `url` of a binder.

use crate::dial::server_url::{ServerUrl, UrlForm};
use crate::port::Unfit;

/// Maximum length of a name or a routing key, in bytes: what AMQP allows.
pub(super) const NAME_BYTES_MAX: usize = 255;

const URL: UrlForm = UrlForm {
    example: "amqps://host/vhost",
    plain: ("amqp", 5672),
    tls: ("amqps", 5671),
    without_path: None,
};

/// Reads `amqp://host:port/vhost` or `amqps://host:port/vhost`, and returns the virtual host too.
///
/// # Errors
/// What a url must be, without the url: it may hold a password.
pub(super) fn read(url: &str) -> Result<(ServerUrl, String), Unfit> {
    let server = URL.read(url)?;
    let vhost = read_vhost(&server.path).map_err(|what| Unfit::new("url", what))?;
    Ok((server, vhost))
}

fn read_vhost(path: &str) -> Result<String, String> {
    let vhost = match path {
        // RabbitMQ knows no virtual host without a name in practice; its first one is called "/".
        "" | "/" => "/".to_owned(),
        path => decode(&path[1..]).ok_or("has a virtual host that is not percent-encoded")?,
    };
    if vhost.len() > NAME_BYTES_MAX {
        return Err(format!(
            "has a virtual host of more than {NAME_BYTES_MAX} bytes"
        ));
    }
    Ok(vhost)
}

fn decode(encoded: &str) -> Option<String> {
    let mut parts = encoded.split('%');
    let mut decoded = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let mut byte = [0];
        hex::decode_to_slice(part.get(..2)?, &mut byte).ok()?;
        decoded.extend(byte);
        decoded.extend(&part.as_bytes()[2..]);
    }
    String::from_utf8(decoded).ok()
}

#[cfg(test)]
mod tests {
    use super::{URL, read};
    use crate::dial::server_url::tests::check;

    #[track_caller]
    fn check_vhost(url: &str, expected: Result<&str, &str>) {
        let found = read(url).map(|(_, vhost)| vhost);
        match (found, expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{url}"),
            (Err(found), Err(expected)) => assert!(found.what.contains(expected), "{url}: {found}"),
            (found, _) => panic!("{url}: {found:?}"),
        }
    }

    #[test]
    fn urls_are_read_as_rabbitmq_means_them() {
        check(&URL, "amqp://mq", Ok((false, "mq", 5672, "/")));
        check(&URL, "amqps://mq/shop", Ok((true, "mq", 5671, "/shop")));
        check(
            &URL,
            "amqp://mq/%2f?heartbeat=1",
            Err("must not have parameters"),
        );
    }

    #[test]
    fn the_path_is_a_virtual_host() {
        check_vhost("amqp://mq", Ok("/"));
        check_vhost("amqp://mq/", Ok("/"));
        check_vhost("amqps://mq/%2f", Ok("/"));
        check_vhost("amqp://mq/shop", Ok("shop"));
        check_vhost("amqp://[::1]:29/a%20b", Ok("a b"));
        check_vhost("amqp://mq/%2", Err("percent-encoded"));
        check_vhost("amqp://mq/%ff", Err("percent-encoded"));
        check_vhost(&format!("amqp://mq/{}", "v".repeat(256)), Err("255 bytes"));
    }
}
