//! What a server must be set to, so that it keeps what it acknowledges.

use tokio_postgres::Client;

use super::error::disconnected;
use crate::log::LogError;

const ASK: &str = "
    SELECT version(), pg_is_in_recovery(), current_setting('fsync'), current_setting('full_page_writes'),
        current_setting('synchronous_commit'), current_setting('synchronous_standby_names'),
        current_setting('server_encoding'), current_setting('transaction_read_only')";

/// Checks a server, and the session.
pub(super) async fn check(client: &Client, allow_single_copy: bool) -> Result<(), LogError> {
    let row = client.query_one(ASK, &[]).await.map_err(disconnected)?;
    let setting = |index: usize| row.get::<_, String>(index);
    let is_standby: bool = row.get(1);
    let found = Found {
        version: setting(0),
        is_standby: is_standby || setting(7) == "on",
        fsync: setting(2),
        full_page_writes: setting(3),
        synchronous_commit: setting(4),
        synchronous_standby_names: setting(5),
    };
    match found.fault(allow_single_copy) {
        // Another server may be the primary in a moment.
        _ if found.is_standby => Err(LogError::Disconnected(
            "this server of PostgreSQL is a standby, which is never read: connect to the primary"
                .to_owned(),
        )),
        Some(fault) => Err(LogError::Unfit(fault)),
        None => Ok(()),
    }
}

/// What a server says of itself.
#[derive(Clone, Debug)]
struct Found {
    version: String,
    is_standby: bool,
    fsync: String,
    full_page_writes: String,
    synchronous_commit: String,
    synchronous_standby_names: String,
}

impl Found {
    /// Returns what is unfit, and what it must be.
    fn fault(&self, allow_single_copy: bool) -> Option<String> {
        let relatives = [
            "CockroachDB",
            "-YB-",
            "Redshift",
            "Greenplum",
            "Materialize",
        ];
        let is_relative = relatives.iter().any(|name| self.version.contains(name));
        if !self.version.starts_with("PostgreSQL ") || is_relative {
            return Some(format!(
                "the server is not PostgreSQL but {:?}, whose promises are others: use PostgreSQL",
                self.version
            ));
        }
        for (name, is) in [
            ("fsync", &self.fsync),
            ("full_page_writes", &self.full_page_writes),
        ] {
            if is != "on" {
                return Some(format!(
                    "PostgreSQL has {name} = {is}, so it may lose what it acknowledged when its machine fails: set {name} = on"
                ));
            }
        }
        if !["on", "remote_apply"].contains(&&*self.synchronous_commit) {
            return Some(format!(
                "PostgreSQL has synchronous_commit = {} for this session although it was set to on: see what sets it",
                self.synchronous_commit
            ));
        }
        if self.synchronous_standby_names.trim().is_empty() && !allow_single_copy {
            return Some(
                "PostgreSQL has no synchronous standby, so what it acknowledged is lost with its disk: set \
                 synchronous_standby_names, with Patroni synchronous_mode and synchronous_mode_strict, or allow a single copy \
                 by allow_single_copy = true"
                    .to_owned(),
            );
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found() -> Found {
        Found {
            version: "PostgreSQL 15.13 (Debian 15.13-0+deb12u1) on x86_64-pc-linux-gnu".to_owned(),
            is_standby: false,
            fsync: "on".to_owned(),
            full_page_writes: "on".to_owned(),
            synchronous_commit: "on".to_owned(),
            synchronous_standby_names: "standby".to_owned(),
        }
    }

    #[track_caller]
    fn check(change: impl FnOnce(&mut Found), allow_single_copy: bool, fault: Option<&str>) {
        let mut found = found();
        change(&mut found);
        let told = found.fault(allow_single_copy);
        match fault {
            None => assert_eq!(told, None),
            Some(part) => assert!(
                told.as_ref().is_some_and(|told| told.contains(part)),
                "{told:?}"
            ),
        }
    }

    #[test]
    fn what_may_lose_entries_is_refused() {
        check(|_| {}, false, None);
        check(
            |it| it.synchronous_commit = "remote_apply".to_owned(),
            false,
            None,
        );
        check(|it| it.synchronous_standby_names.clear(), true, None);
        check(
            |it| it.synchronous_standby_names.clear(),
            false,
            Some("synchronous_standby_names"),
        );
        check(|it| it.fsync = "off".to_owned(), true, Some("fsync = off"));
        check(
            |it| it.full_page_writes = "off".to_owned(),
            true,
            Some("full_page_writes = off"),
        );
        for commit in ["off", "local", "remote_write"] {
            check(
                |it| it.synchronous_commit = commit.to_owned(),
                true,
                Some(commit),
            );
        }
        for version in [
            "CockroachDB CCL v24.1.0",
            "PostgreSQL 11.2-YB-2.20.0.0-b0 on x86_64",
            "PostgreSQL 8.0.2 on i686-pc-linux-gnu, Redshift 1.0.77467",
        ] {
            check(
                |it| it.version = version.to_owned(),
                true,
                Some("not PostgreSQL"),
            );
        }
    }
}
