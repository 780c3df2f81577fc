//! Where a server is: the `url` of a binder.

use hyper::Uri;

/// A NATS server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Server {
    pub(super) is_tls: bool,
    pub(super) host: String,
    pub(super) port: u16,
}

impl Server {
    /// Reads `nats://host:port` or `tls://host:port`.
    ///
    /// # Errors
    /// What a url must be, without the url: it may hold a password.
    pub(super) fn parse(url: &str) -> Result<Server, String> {
        let uri: Uri = url
            .parse()
            .map_err(|error| format!("must be a URL such as nats://host:4222: {error}"))?;
        let is_tls = match uri.scheme_str() {
            Some("nats") => false,
            Some("tls") => true,
            _ => return Err("must begin with nats:// or tls://".to_owned()),
        };
        let authority = uri.authority().ok_or("must name a host")?;
        if authority.as_str().contains('@') {
            let what = "must not hold a user: use the fields username and password";
            return Err(what.to_owned());
        }
        if uri.query().is_some() || !matches!(uri.path(), "" | "/") {
            return Err("must end after the port".to_owned());
        }
        let host = authority.host().trim_matches(['[', ']']);
        if host.is_empty() {
            return Err("must name a host".to_owned());
        }
        Ok(Server {
            is_tls,
            host: host.to_owned(),
            port: authority.port_u16().unwrap_or(4222),
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
    fn urls_are_read_as_nats_means_them() {
        check("nats://mq", Ok((false, "mq", 4222)));
        check("nats://127.0.0.1:29/", Ok((false, "127.0.0.1", 29)));
        check("tls://mq.example.com", Ok((true, "mq.example.com", 4222)));
        check("tls://[::1]:29", Ok((true, "::1", 29)));
    }

    #[test]
    fn a_url_that_is_not_one_is_refused() {
        check("http://mq", Err("must begin with nats://"));
        check("mq:4222", Err("must "));
        check("nats://me:secret@mq", Err("must not hold a user"));
        check("nats://mq/stream", Err("must end after the port"));
        check("nats://mq/?tls=1", Err("must end after the port"));
    }
}
