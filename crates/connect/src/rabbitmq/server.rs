//! Where a broker is: the `url` of a binder.

use hyper::Uri;

/// Maximum length of a name or a routing key, in bytes: what AMQP allows.
pub(super) const NAME_BYTES_MAX: usize = 255;

/// A virtual host of a RabbitMQ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Server {
    pub(super) is_tls: bool,
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) vhost: String,
}

impl Server {
    /// Reads `amqp://host:port/vhost` or `amqps://host:port/vhost`.
    ///
    /// # Errors
    /// What a url must be, without the url: it may hold a password.
    pub(super) fn parse(url: &str) -> Result<Server, String> {
        let uri: Uri = url
            .parse()
            .map_err(|error| format!("must be a URL such as amqps://host/vhost: {error}"))?;
        let (is_tls, port) = match uri.scheme_str() {
            Some("amqp") => (false, 5672),
            Some("amqps") => (true, 5671),
            _ => return Err("must begin with amqp:// or amqps://".to_owned()),
        };
        let authority = uri.authority().ok_or("must name a host")?;
        if authority.as_str().contains('@') {
            let what = "must not hold a user: use the fields username and password";
            return Err(what.to_owned());
        }
        if uri.query().is_some() {
            return Err("must not have parameters".to_owned());
        }
        let host = authority.host().trim_matches(['[', ']']);
        if host.is_empty() {
            return Err("must name a host".to_owned());
        }
        let vhost = match uri.path() {
            // RabbitMQ knows no virtual host without a name in practice; its first one is called "/".
            "" | "/" => "/".to_owned(),
            path => decode(&path[1..]).ok_or("has a virtual host that is not percent-encoded")?,
        };
        if vhost.len() > NAME_BYTES_MAX {
            return Err(format!(
                "has a virtual host of more than {NAME_BYTES_MAX} bytes"
            ));
        }
        Ok(Server {
            is_tls,
            host: host.to_owned(),
            port: authority.port_u16().unwrap_or(port),
            vhost,
        })
    }
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
    use super::Server;

    #[track_caller]
    fn check(url: &str, expected: Result<(bool, &str, u16, &str), &str>) {
        let found = Server::parse(url);
        match (found, expected) {
            (Ok(found), Ok((is_tls, host, port, vhost))) => {
                let expected = Server {
                    is_tls,
                    host: host.to_owned(),
                    port,
                    vhost: vhost.to_owned(),
                };
                assert_eq!(found, expected, "{url}");
            }
            (Err(found), Err(expected)) => assert!(found.contains(expected), "{url}: {found}"),
            (found, _) => panic!("{url}: {found:?}"),
        }
    }

    #[test]
    fn urls_are_read_as_rabbitmq_means_them() {
        check("amqp://mq", Ok((false, "mq", 5672, "/")));
        check("amqp://mq/", Ok((false, "mq", 5672, "/")));
        check(
            "amqps://mq.example.com/%2f",
            Ok((true, "mq.example.com", 5671, "/")),
        );
        check(
            "amqp://127.0.0.1:29/shop",
            Ok((false, "127.0.0.1", 29, "shop")),
        );
        check("amqp://[::1]:29/a%20b", Ok((false, "::1", 29, "a b")));
    }

    #[test]
    fn a_url_that_is_not_one_is_refused() {
        check("http://mq", Err("must begin with amqp://"));
        check("mq:5672", Err("must "));
        check("amqp://guest:secret@mq", Err("must not hold a user"));
        check("amqp://mq/%2f?heartbeat=1", Err("must not have parameters"));
        check("amqp://mq/%2", Err("percent-encoded"));
        check("amqp://mq/%ff", Err("percent-encoded"));
        check(&format!("amqp://mq/{}", "v".repeat(256)), Err("255 bytes"));
    }
}
