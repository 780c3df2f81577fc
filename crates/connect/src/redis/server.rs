//! Where a server is: the `url` of a binder.

use crate::dial::server_url::{ServerUrl, UrlForm};
use crate::port::Unfit;

const URL: UrlForm = UrlForm {
    example: "rediss://host:6379",
    plain: ("redis", 6379),
    tls: ("rediss", 6379),
    without_path: None,
};

/// Reads `redis://host:port/database` or `rediss://host:port/database`, and returns the number of the database too.
///
/// # Errors
/// What a url must be, without the url: it may hold a password.
pub(super) fn read(url: &str) -> Result<(ServerUrl, u16), Unfit> {
    let server = URL.read(url)?;
    let database = match server.path.trim_start_matches('/') {
        "" => Ok(0),
        number => number.parse(),
    };
    match database {
        Ok(database) => Ok((server, database)),
        Err(_) => {
            let what = "must end with the number of a database, such as /0";
            Err(Unfit::new("url", what))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{URL, read};
    use crate::dial::server_url::tests::check;

    #[test]
    fn urls_are_read_as_redis_means_them() {
        check(&URL, "redis://mq", Ok((false, "mq", 6379, "/")));
        check(&URL, "rediss://mq/3", Ok((true, "mq", 6379, "/3")));
        check(
            &URL,
            "redis://mq/0?protocol=3",
            Err("must not have parameters"),
        );
        let database = |url| read(url).map(|(_, database)| database);
        assert_eq!(database("redis://mq"), Ok(0));
        assert_eq!(database("redis://mq/"), Ok(0));
        assert_eq!(database("redis://[::1]:29/15"), Ok(15));
        let error = database("redis://mq/orders").expect_err("it is no number");
        assert!(error.what.contains("number of a database"), "{error}");
    }
}
