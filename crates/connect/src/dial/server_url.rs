//! The `url` of a binder whose broker is one server: scheme, host and port.

use hyper::Uri;

use crate::port::Unfit;

/// Form of the urls of one kind of broker.
pub(crate) struct UrlForm {
    /// A url that is fit, for texts.
    pub(crate) example: &'static str,
    /// Scheme without TLS, and its default port.
    pub(crate) plain: (&'static str, u16),
    /// Scheme with TLS, and its default port.
    pub(crate) tls: (&'static str, u16),
    /// What a url must do that has more than a port, for texts; none if it may have a path.
    pub(crate) without_path: Option<&'static str>,
}

/// A server, as a url names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServerUrl {
    pub(crate) is_tls: bool,
    /// Name or address, the latter without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// What follows the port, with its first slash.
    pub(crate) path: String,
}

impl UrlForm {
    /// Reads a url.
    ///
    /// # Errors
    /// What the url must be, without the url: it may hold a password.
    pub(crate) fn read(&self, url: &str) -> Result<ServerUrl, Unfit> {
        self.parse(url).map_err(|what| Unfit::new("url", what))
    }

    fn parse(&self, url: &str) -> Result<ServerUrl, String> {
        let uri: Uri = url
            .parse()
            .map_err(|error| format!("must be a URL such as {}: {error}", self.example))?;
        let (is_tls, port) = match uri.scheme_str() {
            Some(scheme) if scheme == self.plain.0 => (false, self.plain.1),
            Some(scheme) if scheme == self.tls.0 => (true, self.tls.1),
            _ => {
                let (plain, tls) = (self.plain.0, self.tls.0);
                return Err(format!("must begin with {plain}:// or {tls}://"));
            }
        };
        let authority = uri.authority().ok_or("must name a host")?;
        if authority.as_str().contains('@') {
            let what = "must not hold a user: use the fields username and password";
            return Err(what.to_owned());
        }
        let has_parameters = uri.query().is_some();
        match self.without_path {
            Some(what) if has_parameters || !matches!(uri.path(), "" | "/") => {
                return Err(what.to_owned());
            }
            None if has_parameters => return Err("must not have parameters".to_owned()),
            _ => {}
        }
        let host = authority.host().trim_matches(['[', ']']);
        if host.is_empty() {
            return Err("must name a host".to_owned());
        }
        Ok(ServerUrl {
            is_tls,
            host: host.to_owned(),
            port: authority.port_u16().unwrap_or(port),
            path: uri.path().to_owned(),
        })
    }
}

impl ServerUrl {
    /// Returns where the server is, for texts: `NATS at host:4222`.
    pub(crate) fn place(&self, broker: &str) -> String {
        format!("{broker} at {}:{}", self.host, self.port)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::UrlForm;

    const FORM: UrlForm = UrlForm {
        example: "plain://host:1",
        plain: ("plain", 1),
        tls: ("secure", 2),
        without_path: None,
    };

    /// Checks what is read of `url`, or what the error contains.
    #[track_caller]
    pub(crate) fn check(
        form: &UrlForm,
        url: &str,
        expected: Result<(bool, &str, u16, &str), &str>,
    ) {
        let found = form.read(url).map_err(|unfit| unfit.to_string());
        match (found, expected) {
            (Ok(found), Ok(expected)) => {
                let found = (found.is_tls, &*found.host, found.port, &*found.path);
                assert_eq!(found, expected, "{url}");
            }
            (Err(found), Err(expected)) => {
                assert!(found.contains(expected), "{url}: {found}");
                assert!(!found.contains("secret"), "{url}: {found}");
            }
            (found, _) => panic!("{url}: {found:?}"),
        }
    }

    #[test]
    fn urls_are_read() {
        check(&FORM, "plain://mq", Ok((false, "mq", 1, "/")));
        check(
            &FORM,
            "secure://mq.example/",
            Ok((true, "mq.example", 2, "/")),
        );
        check(
            &FORM,
            "plain://127.0.0.1:29",
            Ok((false, "127.0.0.1", 29, "/")),
        );
        check(
            &FORM,
            "secure://[::1]:29/a%20b",
            Ok((true, "::1", 29, "/a%20b")),
        );
    }

    #[test]
    fn a_url_that_is_not_one_is_refused_without_being_shown() {
        let short = UrlForm {
            without_path: Some("must end after the port"),
            ..FORM
        };
        check(&short, "plain://mq/", Ok((false, "mq", 1, "/")));
        for (url, what) in [
            ("http://mq", "url must begin with plain:// or secure://"),
            ("mq:4222", "must "),
            ("mq", "must "),
            ("plain://", "must "),
            ("plain://a b", "must be a URL such as plain://host:1"),
            ("plain://me:secret@mq", "must not hold a user"),
        ] {
            check(&FORM, url, Err(what));
            check(&short, url, Err(what));
        }
        check(&FORM, "plain://mq/a?b=c", Err("must not have parameters"));
        check(&short, "plain://mq/a", Err("must end after the port"));
        check(&short, "plain://mq?b=c", Err("must end after the port"));
    }
}
