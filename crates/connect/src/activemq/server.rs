//! Where a broker is: the `url` of a binder.

use hyper::Uri;

/// A broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Server {
    pub(super) is_tls: bool,
    pub(super) host: String,
    pub(super) port: u16,
}

impl Server {
    /// Reads `amqp://host:port` or `amqps://host:port`.
    ///
    /// # Errors
    /// What a url must be, without the url: it may hold a password.
    pub(super) fn parse(url: &str) -> Result<Server, String> {
        let uri: Uri = url
            .parse()
            .map_err(|error| format!("must be a URL such as amqps://host:5671: {error}"))?;
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
        if uri.query().is_some() || !matches!(uri.path(), "" | "/") {
            return Err("must end after the port: it has no path and no parameters".to_owned());
        }
        let host = authority.host().trim_matches(['[', ']']);
        if host.is_empty() {
            return Err("must name a host".to_owned());
        }
        Ok(Server {
            is_tls,
            host: host.to_owned(),
            port: authority.port_u16().unwrap_or(port),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Server;

    #[track_caller]
    fn check(url: &str, expected: Result<(bool, &str, u16), &str>) {
        match (Server::parse(url), expected) {
            (Ok(found), Ok((is_tls, host, port))) => {
                let expected = Server {
                    is_tls,
                    host: host.to_owned(),
                    port,
                };
                assert_eq!(found, expected, "{url}");
            }
            (Err(found), Err(expected)) => assert!(found.contains(expected), "{url}: {found}"),
            (found, _) => panic!("{url}: {found:?}"),
        }
    }

    #[test]
    fn urls_are_read() {
        check("amqp://mq", Ok((false, "mq", 5672)));
        check("amqps://mq/", Ok((true, "mq", 5671)));
        check("amqp://mq:61616", Ok((false, "mq", 61616)));
        check("amqp://[::1]:7", Ok((false, "::1", 7)));
    }

    #[test]
    fn what_is_wrong_is_told_without_the_url() {
        check("mq", Err("must begin with"));
        check("tcp://mq:61616", Err("must begin with"));
        check("amqp://", Err("must"));
        check("amqp://mq/path", Err("no path"));
        check("amqp://mq?frame=1", Err("no parameters"));
        let error = Server::parse("amqp://user:secret@mq").expect_err("it has a user");
        assert!(error.contains("username") && !error.contains("secret"));
    }
}
