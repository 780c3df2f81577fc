//! A connection to a broker, and what is told when something goes wrong with it.

use std::time::Duration;

use fe2o3_amqp::connection::{ConnectionHandle, ConnectionStopReason, OpenError};
use fe2o3_amqp::link::receiver::CreditMode;
use fe2o3_amqp::link::{
    DetachError, LinkStateError, ReceiverAttachError, SenderAttachError, SessionStopReason,
};
use fe2o3_amqp::sasl_profile::SaslProfile;
use fe2o3_amqp::session::{BeginError, SessionHandle};
use fe2o3_amqp::types::definitions::{
    AmqpError, Error as AmqpRefusal, ErrorCondition, LinkError, ReceiverSettleMode,
    SenderSettleMode,
};
use fe2o3_amqp::types::messaging::{Outcome, Released, Source, Target};
use fe2o3_amqp::types::primitives::{Array, Symbol};
use fe2o3_amqp::types::sasl::SaslCode;
use fe2o3_amqp::{Connection, Receiver, Sender, Session};
use tokio::sync::Mutex;

use super::screen::{FRAME_BYTES_MAX, Product};
use super::server::URL;
use super::socket::{self, Pulse};
use crate::dial::server_url::ServerUrl;
use crate::dial::{self, Cutter};
use crate::port::{Binder, Trouble, TroubleKind};

/// Maximum time for anything else that the broker answers.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// Maximum time for a polite good-bye.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// Milliseconds without a sign of life after which the connection is given up. The broker is told so, and sends one in half of it.
const IDLE_TIMEOUT_MS: u32 = 30_000;
/// Maximum time without a sign of life, if fe2o3-amqp does not notice because the broker does not read either.
const SILENCE_MAX: Duration = Duration::from_secs(45);
/// Maximum size of a message that is taken in, in bytes.
const MESSAGE_BYTES_MAX: u64 = 32 * 1024 * 1024;
/// What marks a queue, in the words of JMS: Artemis would take the name for that of a topic.
const QUEUE: &str = "queue";
/// How Artemis calls itself.
const ARTEMIS: &str = "apache-activemq-artemis";

/// A connection. Dropped, it is cut at once; the broker gives what was not acknowledged to others.
pub(super) struct Link {
    connection: Mutex<ConnectionHandle<()>>,
    place: String,
    pulse: Pulse,
    // Dropped last.
    _cutter: Cutter,
}

/// A way from a queue.
///
/// Each way has a session of its own. When a broker refuses a link, fe2o3-amqp may say good-bye to it twice: within one session, the
/// second time would end another link that has the same number by then.
pub(super) struct Reading {
    pub(super) receiver: Receiver,
    session: SessionHandle<()>,
}

/// A way to a queue, with a session of its own too.
pub(super) struct Writing {
    pub(super) sender: Sender,
    session: SessionHandle<()>,
}

impl Reading {
    /// Waits for the broker to agree to the end.
    pub(super) async fn close(self) {
        end(self.receiver.close(), self.session).await;
    }
}

impl Writing {
    /// Waits for the broker to agree to the end.
    pub(super) async fn close(self) {
        end(self.sender.close(), self.session).await;
    }
}

async fn end(
    closing: impl Future<Output = Result<(), DetachError>>,
    mut session: SessionHandle<()>,
) {
    // If it fails, the connection is lost, which has the same effect.
    let _ = tokio::time::timeout(CLOSE_TIMEOUT, closing).await;
    let _ = tokio::time::timeout(CLOSE_TIMEOUT, session.end()).await;
}

/// Why a queue can't be read or written.
#[derive(Debug)]
pub(super) enum AttachError {
    /// The broker refuses it, and the connection is of further use.
    Refused(Trouble),
    /// The connection is lost.
    Lost(Trouble),
}

impl From<AttachError> for Trouble {
    fn from(error: AttachError) -> Trouble {
        match error {
            AttachError::Refused(trouble) | AttachError::Lost(trouble) => trouble,
        }
    }
}

impl Link {
    /// Connects and logs in.
    pub(super) async fn open(binder: &Binder) -> Result<Link, Trouble> {
        let server = URL.read(&binder.url)?;
        let place = server.place("the broker");
        dial::open_in_time(&place, Link::log_in(binder, &server, &place)).await
    }

    async fn log_in(binder: &Binder, server: &ServerUrl, place: &str) -> Result<Link, Trouble> {
        let product = Product::default();
        let roots = binder.trusted_roots.as_deref();
        let (socket, pulse, cutter) = socket::connect(server, roots, product.clone())
            .await
            .map_err(|error| dial::unreachable(place, error))?;
        let profile = match (&binder.username, &binder.password) {
            (Some(username), Some(password)) => SaslProfile::Plain {
                username: username.clone(),
                password: password.expose().to_owned(),
            },
            _ => SaslProfile::Anonymous,
        };
        let mut connection = Connection::builder()
            // ActiveMQ Classic lets a name in once only.
            .container_id(new_name(&format!("tributary:{}", binder.slug)))
            .hostname(server.host.as_str())
            .scheme("amqp")
            .max_frame_size(FRAME_BYTES_MAX as u32)
            .idle_time_out(IDLE_TIMEOUT_MS)
            .sasl_profile(profile)
            .open_with_stream(socket)
            .await
            .map_err(|error| describe_open(place, &error))?;
        // Artemis looks at who logs in without a name only now.
        let first = Session::begin(&mut connection).await;
        drop(first.map_err(|error| describe_begin(place, &error))?);
        let place = match product.get() {
            Some(product) => server.place(product),
            None => place.to_owned(),
        };
        Ok(Link {
            connection: Mutex::new(connection),
            place,
            pulse,
            _cutter: cutter,
        })
    }

    /// Where it leads to, for texts.
    pub(super) fn place(&self) -> &str {
        &self.place
    }

    /// Ends when the broker has given no sign of life for too long.
    pub(super) async fn silence(&self) -> Trouble {
        self.pulse.silent_for(SILENCE_MAX).await;
        let seconds = SILENCE_MAX.as_secs();
        let text = format!("{} gives no sign of life for {seconds} s", self.place);
        Trouble::new(TroubleKind::Unreachable, text)
    }

    /// The broker did not answer in time. `what` completes "did not".
    pub(super) fn late(&self, what: &str) -> Trouble {
        let seconds = ANSWER_TIMEOUT.as_secs();
        let text = format!("{} did not {what} within {seconds} s", self.place);
        Trouble::new(TroubleKind::Unreachable, text)
    }

    /// Waits for an answer of the broker. `what` completes "did not".
    pub(super) async fn ask<T>(
        &self,
        what: &str,
        answer: impl Future<Output = T>,
    ) -> Result<T, Trouble> {
        match tokio::time::timeout(ANSWER_TIMEOUT, answer).await {
            Ok(done) => Ok(done),
            Err(_) => Err(self.late(what)),
        }
    }

    /// Whether the broker is Artemis.
    pub(super) fn is_artemis(&self) -> bool {
        self.place.starts_with(ARTEMIS)
    }

    /// Begins to read a queue. Nothing comes before there is credit.
    pub(super) async fn reading(&self, queue: &str) -> Result<Reading, AttachError> {
        let source = Source::builder()
            .address(queue)
            .capabilities(Array::from(vec![Symbol::from(QUEUE)]))
            // What is left when the link ends was no failed delivery.
            .default_outcome(Outcome::Released(Released {}))
            .build();
        self.attach_receiver(queue, source, CreditMode::Manual)
            .await
    }

    /// Makes a queue that lasts as long as the connection, and begins to read it. Returns its name too.
    pub(super) async fn temporary(&self) -> Result<(Reading, String), AttachError> {
        let (what, source) = ("of replies", Source::builder().dynamic(true).build());
        let reading = self
            .attach_receiver(what, source, CreditMode::default())
            .await?;
        let source = reading.receiver.source().as_ref();
        let name = source.and_then(|source| source.address.clone());
        match name {
            Some(name) => Ok((reading, name)),
            None => Err(AttachError::Refused(self.odd(
                "name",
                what,
                &"it has no name",
            ))),
        }
    }

    async fn attach_receiver(
        &self,
        queue: &str,
        source: Source,
        credit: CreditMode,
    ) -> Result<Reading, AttachError> {
        let mut session = self.session().await.map_err(AttachError::Lost)?;
        let attaching = Receiver::builder()
            .name(new_name("tributary"))
            .source(source)
            .sender_settle_mode(SenderSettleMode::Unsettled)
            .receiver_settle_mode(ReceiverSettleMode::First)
            .credit_mode(credit)
            .max_message_size(MESSAGE_BYTES_MAX)
            .attach(&mut session);
        let what = format!("let the queue {queue} be read");
        let attached = self
            .ask(&what, attaching)
            .await
            .map_err(AttachError::Lost)?;
        // Dropped, the session ends.
        let refused = match attached {
            Ok(receiver) => return Ok(Reading { receiver, session }),
            Err(error) => error,
        };
        Err(match refused {
            ReceiverAttachError::RemoteClosedWithError(refusal) => {
                AttachError::Refused(describe(&self.place, "read", queue, &refusal))
            }
            ReceiverAttachError::SessionStopped(reason) => {
                AttachError::Lost(describe_stop(&self.place, &reason))
            }
            other => AttachError::Refused(self.odd("read", queue, &other)),
        })
    }

    /// Begins to write to a queue.
    pub(super) async fn writing(&self, queue: &str) -> Result<Writing, AttachError> {
        let target = Target::builder()
            .address(queue)
            .capabilities(Array::from(vec![Symbol::from(QUEUE)]))
            .build();
        self.attach_sender(queue, target).await
    }

    /// Begins to write to an address that is no queue.
    pub(super) async fn plain_writing(&self, address: &str) -> Result<Writing, AttachError> {
        let target = Target::builder().address(address).build();
        self.attach_sender(address, target).await
    }

    async fn attach_sender(&self, queue: &str, target: Target) -> Result<Writing, AttachError> {
        let mut session = self.session().await.map_err(AttachError::Lost)?;
        let attaching = Sender::builder()
            .name(new_name("tributary"))
            .target(target)
            .sender_settle_mode(SenderSettleMode::Unsettled)
            .receiver_settle_mode(ReceiverSettleMode::First)
            .attach(&mut session);
        let what = format!("let the queue {queue} be written");
        let attached = self
            .ask(&what, attaching)
            .await
            .map_err(AttachError::Lost)?;
        let refused = match attached {
            Ok(sender) => return Ok(Writing { sender, session }),
            Err(error) => error,
        };
        Err(match refused {
            SenderAttachError::RemoteClosedWithError(refusal) => {
                AttachError::Refused(describe(&self.place, "write to", queue, &refusal))
            }
            SenderAttachError::SessionStopped(reason) => {
                AttachError::Lost(describe_stop(&self.place, &reason))
            }
            other => AttachError::Refused(self.odd("write to", queue, &other)),
        })
    }

    async fn session(&self) -> Result<SessionHandle<()>, Trouble> {
        let mut connection = self.connection.lock().await;
        let begun = self
            .ask("begin a session", Session::begin(&mut connection))
            .await?;
        begun.map_err(|error| describe_begin(&self.place, &error))
    }

    fn odd(&self, what: &str, queue: &str, error: &dyn std::fmt::Display) -> Trouble {
        let text = format!(
            "{} refuses to {what} the queue {queue}: {error}",
            self.place
        );
        Trouble::new(TroubleKind::Refused, text)
    }

    /// Says good-bye.
    pub(super) async fn close(self) {
        let mut connection = self.connection.lock().await;
        // If it fails, the connection is lost, which has the same effect.
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, connection.close()).await;
    }
}

/// Returns a name that is used once.
fn new_name(prefix: &str) -> String {
    let mut random = [0; 8];
    // Names only differ from each other: they are no secret.
    let _ = getrandom::fill(&mut random);
    format!("{prefix}:{}", hex::encode(random))
}

fn describe_open(place: &str, error: &OpenError) -> Trouble {
    let (kind, text) = match error {
        OpenError::SaslError {
            code: SaslCode::Auth,
            ..
        } => (
            TroubleKind::CredentialsRefused,
            format!("{place} refuses to log in: check username and password"),
        ),
        OpenError::RemoteClosedWithError(refusal) => {
            let kind = match is(refusal, &AmqpError::UnauthorizedAccess) {
                true => TroubleKind::CredentialsRefused,
                false => TroubleKind::Refused,
            };
            (
                kind,
                format!("{place} refuses to log in: {}", said(refusal)),
            )
        }
        OpenError::NotImplemented(Some(what)) if what.ends_with("is not supported") => (
            TroubleKind::CredentialsRefused,
            format!(
                "{place} does not take a log-in of this kind: {what}. Give username and password, or neither"
            ),
        ),
        OpenError::ProtocolHeaderMismatch(_) | OpenError::NotImplemented(_) => (
            TroubleKind::Refused,
            format!("{place} does not speak AMQP 1.0 at this port: correct url"),
        ),
        lost => (
            TroubleKind::Unreachable,
            format!("the connection to {place} is lost: {lost}"),
        ),
    };
    Trouble::new(kind, text)
}

fn describe_begin(place: &str, error: &BeginError) -> Trouble {
    match error {
        BeginError::RemoteEndedWithError(refusal)
        | BeginError::ConnectionStopped(ConnectionStopReason::RemoteClosedWithError(refusal)) => {
            describe_log_in(place, refusal)
        }
        lost => {
            let text = format!("the connection to {place} is lost: {lost}");
            Trouble::new(TroubleKind::Unreachable, text)
        }
    }
}

fn describe_log_in(place: &str, refusal: &AmqpRefusal) -> Trouble {
    let kind = match is(refusal, &AmqpError::UnauthorizedAccess) {
        true => TroubleKind::CredentialsRefused,
        false => TroubleKind::Refused,
    };
    let text = format!("{place} refuses to log in: {}", said(refusal));
    Trouble::new(kind, text)
}

/// Says why a broker refuses something about a queue. `what` completes "refuses to".
pub(super) fn describe(place: &str, what: &str, queue: &str, refusal: &AmqpRefusal) -> Trouble {
    let said = said(refusal);
    if is_missing(refusal, &said) {
        let text = format!(
            "the queue {queue} does not exist at {place}, and this user can't create it: {said}"
        );
        return Trouble::new(TroubleKind::DestinationMissing, text);
    }
    let (kind, advice) = match is(refusal, &AmqpError::UnauthorizedAccess) {
        true => (
            TroubleKind::CredentialsRefused,
            "; give the user the permission",
        ),
        false => (TroubleKind::Refused, ""),
    };
    let text = format!("{place} refuses to {what} the queue {queue}: {said}{advice}");
    Trouble::new(kind, text)
}

/// Whether a queue is missing. A broker that makes queues when they are used says that this user may not.
fn is_missing(refusal: &AmqpRefusal, said: &str) -> bool {
    is(refusal, &AmqpError::NotFound)
        || is(refusal, &AmqpError::ResourceDeleted)
        // ActiveMQ Classic, of a queue and of a temporary queue whose owner has gone; Artemis.
        || said.contains("is not authorized to create: ")
        || said.starts_with("temp-queue://")
        || said.contains("permission='CREATE_")
        || said.contains("permission=\"CREATE_")
}

fn is(refusal: &AmqpRefusal, error: &AmqpError) -> bool {
    matches!(&refusal.condition, ErrorCondition::AmqpError(found) if found == error)
}

/// Whether the broker has ended a link because of itself, and no message is to blame.
pub(super) fn is_forced(refusal: &AmqpRefusal) -> bool {
    matches!(
        refusal.condition,
        ErrorCondition::LinkError(LinkError::DetachForced) | ErrorCondition::ConnectionError(_)
    )
}

fn said(refusal: &AmqpRefusal) -> String {
    match &refusal.description {
        Some(text) if !text.is_empty() => text.clone(),
        _ => format!("{:?}", refusal.condition),
    }
}

/// Says why a session has ended.
pub(super) fn describe_stop(place: &str, reason: &SessionStopReason) -> Trouble {
    let text = match reason {
        SessionStopReason::RemoteEndedWithError(refusal)
        | SessionStopReason::ConnectionStopped(ConnectionStopReason::RemoteClosedWithError(
            refusal,
        )) => {
            format!("{place} closed the connection: {}", said(refusal))
        }
        _ => format!("the connection to {place} is closed"),
    };
    Trouble::new(TroubleKind::Unreachable, text)
}

/// Says why a link to a queue has ended. `what` completes "refuses to".
pub(super) fn describe_end(
    place: &str,
    what: &str,
    queue: &str,
    error: &LinkStateError,
) -> Trouble {
    match error {
        LinkStateError::RemoteClosedWithError(refusal)
        | LinkStateError::RemoteDetachedWithError(refusal) => describe(place, what, queue, refusal),
        LinkStateError::RemoteClosed | LinkStateError::RemoteDetached => {
            let text = format!("{place} ended the link to the queue {queue}: it was deleted");
            Trouble::new(TroubleKind::DestinationMissing, text)
        }
        LinkStateError::SessionStopped(reason) => describe_stop(place, reason),
        _ => {
            let text = format!("the connection to {place} is closed");
            Trouble::new(TroubleKind::Unreachable, text)
        }
    }
}
