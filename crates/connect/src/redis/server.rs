//! Where a server is: the `url` of a binder.

use hyper::Uri;

/// A database of a Redis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Server {
    pub(super) is_tls: bool,
    pub(super) host: String,
    pub(super) port: u16,
    /// Number of the database.
    pub(super) database: u16,
}

impl Server {
    /// Reads `redis://host:port/database` or `rediss://host:port/database`.
    ///
    /// # Errors
    /// What a url must be, without the url: it may hold a password.
    pub(super) fn parse(url: &str) -> Result<Server, String> {
        let uri: Uri = url
            .parse()
            .map_err(|error| format!("must be a URL such as rediss://host:6379: {error}"))?;
        let is_tls = match uri.scheme_str() {
            Some("redis") => false,
            Some("rediss") => true,
            _ => return Err("must begin with redis:// or rediss://".to_owned()),
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
        let database = match uri.path().trim_start_matches('/') {
            "" => 0,
            number => number
                .parse()
                .map_err(|_| "must end with the number of a database, such as /0")?,
        };
        Ok(Server {
            is_tls,
            host: host.to_owned(),
            port: authority.port_u16().unwrap_or(6379),
            database,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Server;

    #[track_caller]
    fn check(url: &str, expected: Result<(bool, &str, u16, u16), &str>) {
        match (Server::parse(url), expected) {
            (Ok(found), Ok((is_tls, host, port, database))) => {
                let expected = Server {
                    is_tls,
                    host: host.to_owned(),
                    port,
                    database,
                };
                assert_eq!(found, expected, "{url}");
            }
            (Err(found), Err(expected)) => assert!(found.contains(expected), "{url}: {found}"),
            (found, _) => panic!("{url}: {found:?}"),
        }
    }

    #[test]
    fn urls_are_read_as_redis_means_them() {
        check("redis://mq", Ok((false, "mq", 6379, 0)));
        check("redis://127.0.0.1:29/", Ok((false, "127.0.0.1", 29, 0)));
        check(
            "rediss://mq.example.com/3",
            Ok((true, "mq.example.com", 6379, 3)),
        );
        check("redis://[::1]:29/15", Ok((false, "::1", 29, 15)));
    }

    #[test]
    fn a_url_that_is_not_one_is_refused() {
        check("http://mq", Err("must begin with redis://"));
        check("mq:6379", Err("must "));
        check("redis://me:secret@mq", Err("must not hold a user"));
        check("redis://mq/orders", Err("number of a database"));
        check("redis://mq/0?protocol=3", Err("must not have parameters"));
    }
}
