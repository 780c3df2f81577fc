//! Where a proxy is: the `url` of a binder.

use hyper::Uri;

/// Port of a proxy if the url names none: RocketMQ's own default.
const PORT: u16 = 8081;

/// A proxy of RocketMQ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Server {
    pub(super) is_tls: bool,
    pub(super) host: String,
    pub(super) port: u16,
}

impl Server {
    /// Reads `http://host:port` or `https://host:port`.
    ///
    /// # Errors
    /// What a url must be, without the url: it may hold a password.
    pub(super) fn parse(url: &str) -> Result<Server, String> {
        let uri: Uri = url
            .parse()
            .map_err(|error| format!("must be a URL such as https://proxy:8081: {error}"))?;
        let is_tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err("must begin with http:// or https://".to_owned()),
        };
        let authority = uri.authority().ok_or("must name a host")?;
        if authority.as_str().contains('@') {
            let what = "must not hold a user: use the fields username and password";
            return Err(what.to_owned());
        }
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return Err("must end after the port".to_owned());
        }
        let host = authority.host().trim_matches(['[', ']']);
        if host.is_empty() {
            return Err("must name a host".to_owned());
        }
        Ok(Server {
            is_tls,
            host: host.to_owned(),
            port: authority.port_u16().unwrap_or(PORT),
        })
    }

    /// Returns the url of its root, as HTTP names it.
    pub(super) fn origin(&self) -> String {
        let scheme = if self.is_tls { "https" } else { "http" };
        match self.host.contains(':') {
            true => format!("{scheme}://[{}]:{}", self.host, self.port),
            false => format!("{scheme}://{}:{}", self.host, self.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Server;

    #[track_caller]
    fn check(url: &str, expected: Result<(bool, &str, u16), &str>) {
        match (Server::parse(url), expected) {
            (Ok(found), Ok((is_tls, host, port))) => {
                let found = (found.is_tls, found.host.as_str(), found.port);
                assert_eq!(found, (is_tls, host, port), "{url}");
            }
            (Err(found), Err(expected)) => assert!(found.contains(expected), "{url}: {found}"),
            (found, _) => panic!("{url}: {found:?}"),
        }
    }

    #[test]
    fn urls_are_read() {
        check("http://mq", Ok((false, "mq", 8081)));
        check(
            "https://mq.example.com/",
            Ok((true, "mq.example.com", 8081)),
        );
        check("http://127.0.0.1:29", Ok((false, "127.0.0.1", 29)));
        check("http://[::1]:29", Ok((false, "::1", 29)));
        let origin = |url| Server::parse(url).expect("it is one").origin();
        assert_eq!(origin("https://mq/"), "https://mq:8081");
        assert_eq!(origin("http://[::1]:29"), "http://[::1]:29");
    }

    #[test]
    fn a_url_that_is_not_one_is_refused() {
        check("rocketmq://mq", Err("must begin with http://"));
        check("mq:8081", Err("must "));
        check("http://user:secret@mq", Err("must not hold a user"));
        check("http://mq/shop", Err("must end after the port"));
        check("http://mq?tls=no", Err("must end after the port"));
    }
}
