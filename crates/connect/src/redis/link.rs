//! A connection to Redis, and what is told when something goes wrong with it.

use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Cmd, ErrorKind, RedisConnectionInfo, RedisError, Value};
use tokio::task::AbortHandle;

use super::server;
use crate::dial;
use crate::dial::server_url::ServerUrl;
use crate::port::{Binder, Trouble, TroubleKind};

/// Maximum time for anything else that the server answers.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// A connection, shared by its clones. When the last one is dropped, it is cut at once.
#[derive(Clone)]
pub(super) struct Link {
    connection: MultiplexedConnection,
    place: Arc<str>,
    _cutter: Arc<Cutter>,
}

/// Ends what reads and writes a connection, and so the connection.
struct Cutter(AbortHandle);

impl Drop for Cutter {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Link {
    /// Connects and logs in.
    pub(super) async fn open(binder: &Binder) -> Result<Link, Trouble> {
        let (server, database) = server::read(&binder.url)?;
        let place = server.place("Redis");
        dial::open_in_time(&place, Link::log_in(binder, &server, database, &place)).await
    }

    async fn log_in(
        binder: &Binder,
        server: &ServerUrl,
        database: u16,
        place: &str,
    ) -> Result<Link, Trouble> {
        let stream = dial::open_stream(server, binder.trusted_roots.as_deref(), &[])
            .await
            .map_err(|error| dial::unreachable(place, error))?;
        let mut login = RedisConnectionInfo::default()
            .set_db(i64::from(database))
            .set_skip_set_lib_name();
        if let Some(user) = &binder.username {
            login = login.set_username(user);
        }
        if let Some(password) = &binder.password {
            login = login.set_password(password.expose());
        }
        // Times are bounded here, not there: how long is a matter of the command.
        let config = AsyncConnectionConfig::new().set_response_timeout(None);
        let (connection, driver) = MultiplexedConnection::new_with_config(&login, stream, config)
            .await
            .map_err(|error| describe(place, "log in", &error))?;
        let driver = tokio::spawn(driver);
        let link = Link {
            connection,
            place: place.into(),
            _cutter: Arc::new(Cutter(driver.abort_handle())),
        };
        // Who must log in and did not, learns it now.
        match link.call(redis::cmd("PING")).await {
            Err(error) if error.code() != Some("NOPERM") => Err(link.describe("log in", &error)),
            _ => Ok(link),
        }
    }

    /// Where it leads to, for texts.
    pub(super) fn place(&self) -> &str {
        &self.place
    }

    /// Sends a command and waits for the answer.
    pub(super) async fn call(&self, command: Cmd) -> Result<Value, RedisError> {
        let mut connection = self.connection.clone();
        let answer = command.query_async(&mut connection);
        match tokio::time::timeout(ANSWER_TIMEOUT, answer).await {
            Ok(answer) => answer,
            Err(_) => {
                let seconds = ANSWER_TIMEOUT.as_secs();
                let late = std::io::Error::other(format!("no answer within {seconds} s"));
                Err(RedisError::from(late))
            }
        }
    }

    /// Sends a command and waits for the answer. `what` completes "refuses to".
    pub(super) async fn ask(&self, what: &str, command: Cmd) -> Result<Value, Trouble> {
        let answer = self.call(command).await;
        answer.map_err(|error| describe(&self.place, what, &error))
    }

    /// Says what an error means. `what` completes "refuses to".
    pub(super) fn describe(&self, what: &str, error: &RedisError) -> Trouble {
        describe(&self.place, what, error)
    }
}

/// Says what an error means. `what` completes "refuses to".
fn describe(place: &str, what: &str, error: &RedisError) -> Trouble {
    let code = error.code().unwrap_or_default();
    if error.kind() == ErrorKind::Io
        || code.is_empty() && error.kind() != ErrorKind::AuthenticationFailed
    {
        let text = format!("the connection to {place} is lost: {error}");
        return Trouble::new(TroubleKind::Unreachable, text);
    }
    let (kind, advice) = match code {
        "NOGROUP" | "UNBLOCKED" => (
            TroubleKind::DestinationMissing,
            "create the stream and the group",
        ),
        "WRONGTYPE" => (TroubleKind::DestinationUnfit, "name a stream"),
        "LOADING" => (TroubleKind::Unreachable, "it reads its data in; wait"),
        "READONLY" | "MASTERDOWN" => (
            TroubleKind::Unreachable,
            "it is a replica: let url name the primary",
        ),
        "OOM" => (TroubleKind::Unreachable, "trim streams, or raise maxmemory"),
        "MISCONF" => (
            TroubleKind::Unreachable,
            "it can't write to its disk: see its log",
        ),
        "MOVED" | "ASK" | "CLUSTERDOWN" | "CROSSSLOT" => (
            TroubleKind::Refused,
            "it is part of a cluster, which is not supported",
        ),
        "NOAUTH" | "WRONGPASS" | "NOPERM" => (
            TroubleKind::CredentialsRefused,
            "check the user's name, password and permissions",
        ),
        _ if error.kind() == ErrorKind::AuthenticationFailed => (
            TroubleKind::CredentialsRefused,
            "check the user's name and password",
        ),
        _ => (TroubleKind::Refused, "see its log"),
    };
    let said = error.detail().unwrap_or_default();
    Trouble::new(
        kind,
        format!("{place} refuses to {what}: {code} {said}; {advice}"),
    )
}
