//! A connection to RabbitMQ, and what is told when something goes wrong with it.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use lapin::protocol::{AMQPErrorKind, AMQPHardError, AMQPSoftError};
use lapin::uri::{AMQPAuthority, AMQPQueryString, AMQPScheme, AMQPUri, AMQPUserInfo};
use lapin::{AsyncTcpStream, Channel, Connection, ConnectionProperties, ErrorKind};

use super::screen::{FRAME_BYTES_MAX, Version};
use super::server;
use super::socket::{self, Socket};
use crate::dial::server_url::ServerUrl;
use crate::dial::{self, Cutter};
use crate::port::{Binder, Trouble, TroubleKind};

/// Maximum time for anything else that the broker answers.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// Maximum time for a polite good-bye.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// Seconds between signs of life. A connection without one for twice as long is given up.
const HEARTBEAT_S: u16 = 15;

/// A connection. Dropped, it is cut at once; the broker gives what was not acknowledged to others.
pub(super) struct Link {
    connection: Connection,
    place: String,
    version: Version,
    // Dropped last.
    _cutter: Cutter,
}

impl Link {
    /// Connects and logs in.
    pub(super) async fn open(binder: &Binder) -> Result<Link, Trouble> {
        let (server, vhost) = server::read(&binder.url)?;
        let place = server.place("RabbitMQ");
        dial::open_in_time(&place, Link::log_in(binder, &server, vhost, &place)).await
    }

    async fn log_in(
        binder: &Binder,
        server: &ServerUrl,
        vhost: String,
        place: &str,
    ) -> Result<Link, Trouble> {
        let version = Version::default();
        let roots = binder.trusted_roots.as_deref();
        let (socket, cutter) = socket::connect(server, roots, version.clone())
            .await
            .map_err(|error| dial::unreachable(place, error))?;
        let uri = AMQPUri {
            scheme: AMQPScheme::AMQP,
            authority: AMQPAuthority {
                userinfo: AMQPUserInfo {
                    username: binder.username.clone().unwrap_or_default(),
                    password: match &binder.password {
                        Some(password) => password.expose().to_owned(),
                        None => String::new(),
                    },
                },
                host: server.host.clone(),
                port: server.port,
            },
            vhost,
            query: AMQPQueryString {
                frame_max: Some(FRAME_BYTES_MAX as u32),
                heartbeat: Some(HEARTBEAT_S),
                ..AMQPQueryString::default()
            },
        };
        let properties = ConnectionProperties::default()
            .with_client_property("product".into(), "Tributary".into())
            .with_client_property("version".into(), env!("CARGO_PKG_VERSION").into())
            .with_connection_name(format!("tributary: {}", binder.slug).into());
        let socket = Mutex::new(Some(socket));
        let connect = async move |_: AMQPUri, _| hand_over(&socket);
        let connection = Connection::connector(uri, socket::runtime(), connect, properties)
            .await
            .map_err(|error| describe(place, "log in", &error))?;
        Ok(Link {
            connection,
            place: place.to_owned(),
            version,
            _cutter: cutter,
        })
    }

    /// Where it leads to, for texts.
    pub(super) fn place(&self) -> &str {
        &self.place
    }

    /// First number of the broker's version, such as 4; 0 if it is not known.
    pub(super) fn major_version(&self) -> u32 {
        let version = self.version.get().map_or("", String::as_str);
        let major = version.split('.').next().unwrap_or_default();
        major.parse().unwrap_or(0)
    }

    /// Whether nothing is known against the connection.
    pub(super) fn is_up(&self) -> bool {
        self.connection.status().connected()
    }

    /// Opens a channel.
    pub(super) async fn channel(&self) -> Result<Channel, Trouble> {
        self.ask("open a channel", self.connection.create_channel())
            .await
    }

    /// Waits for an answer of the broker. `what` completes "refuses to".
    pub(super) async fn ask<T>(
        &self,
        what: &str,
        answer: impl Future<Output = lapin::Result<T>>,
    ) -> Result<T, Trouble> {
        match tokio::time::timeout(ANSWER_TIMEOUT, answer).await {
            Ok(done) => done.map_err(|error| self.trouble(what, &error)),
            Err(_) => Err(self.late(what)),
        }
    }

    /// What went wrong when the broker was asked for something. `what` completes "refuses to".
    pub(super) fn trouble(&self, what: &str, error: &lapin::Error) -> Trouble {
        describe(&self.place, what, error)
    }

    /// The broker did not answer in time.
    pub(super) fn late(&self, what: &str) -> Trouble {
        let why = match self.connection.status().blocked() {
            true => ": it takes no messages now, because its memory or its disk is nearly full",
            false => "",
        };
        let text = format!(
            "{} did not {what} within {} s{why}",
            self.place,
            ANSWER_TIMEOUT.as_secs()
        );
        Trouble::new(TroubleKind::Unreachable, text)
    }

    /// Says good-bye, so that the broker has taken every acknowledgement when this returns.
    pub(super) async fn close(self) {
        let closing = self.connection.close(200, "done".into());
        // If it fails, the connection is lost, which has the same effect.
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, closing).await;
    }
}

/// Gives the socket to lapin, once.
fn hand_over(socket: &Mutex<Option<Socket>>) -> lapin::Result<AsyncTcpStream<Socket>> {
    let socket = socket.lock().unwrap_or_else(PoisonError::into_inner).take();
    let once = || std::io::Error::from(std::io::ErrorKind::ConnectionAborted);
    Ok(AsyncTcpStream::Plain(socket.ok_or_else(once)?))
}

/// Says what an error means. `what` completes "refuses to".
pub(super) fn describe(place: &str, what: &str, error: &lapin::Error) -> Trouble {
    let ErrorKind::ProtocolError(refusal) = error.kind() else {
        let text = format!("the connection to {place} is lost: {error}");
        return Trouble::new(TroubleKind::Unreachable, text);
    };
    let said = refusal.get_message();
    let (kind, advice) = match refusal.kind() {
        AMQPErrorKind::Soft(AMQPSoftError::ACCESSREFUSED) => (
            TroubleKind::CredentialsRefused,
            "check the user's name, password and permissions",
        ),
        AMQPErrorKind::Soft(AMQPSoftError::NOTFOUND) => (
            TroubleKind::DestinationMissing,
            "create it, or name another",
        ),
        AMQPErrorKind::Hard(AMQPHardError::CONNECTIONFORCED) => (
            TroubleKind::Unreachable,
            "it is shutting down, or an operator closed the connection",
        ),
        // So it answers, for example, one of two that create the same queue at the same moment.
        AMQPErrorKind::Hard(AMQPHardError::INTERNALERROR) => (
            TroubleKind::Unreachable,
            "it failed by itself and is tried again; see its log if that goes on",
        ),
        AMQPErrorKind::Hard(AMQPHardError::NOTALLOWED) => (
            TroubleKind::Refused,
            "check the virtual host in url, and that the user has permissions there",
        ),
        _ => (TroubleKind::Refused, "see its log"),
    };
    Trouble::new(kind, format!("{place} refuses to {what}: {said}; {advice}"))
}

/// Whether the broker refused something because of this.
pub(super) fn is_soft(error: &lapin::Error, reason: &AMQPSoftError) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ProtocolError(refusal)
            if matches!(refusal.kind(), AMQPErrorKind::Soft(soft) if soft == reason)
    )
}
