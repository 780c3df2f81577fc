//! The port between the driver of bindings and the adapters: one adapter per kind of broker.
//!
//! An adapter moves bytes. It knows no money, no JSON, no settings and no journal; the driver decides what a message means, when it
//! is acknowledged, and when a connection is tried again. `CONTRACT.md` beside this crate says what every adapter must do, and one
//! suite checks it.

#[cfg(any(feature = "kafka", feature = "nats"))]
use std::borrow::Cow;
use std::fmt;
use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;

/// Work that an adapter does for the driver.
pub type Doing<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A kind of broker.
pub trait Adapter: Send + Sync {
    /// Name, as the field `type` of a binder has it: `rabbitmq`.
    fn name(&self) -> &'static str;

    /// Checks a connection without making it.
    ///
    /// # Errors
    /// The field that this adapter can't use.
    fn check_binder(&self, binder: &Binder) -> Result<(), Unfit>;

    /// Checks a binding without a connection.
    ///
    /// # Errors
    /// The field that this adapter can't use.
    fn check_binding(&self, binding: &Binding) -> Result<(), Unfit>;

    /// Checks whether events can be sent: a binding whose `direction` is `out`.
    ///
    /// # Errors
    /// The field that asks for it, if nobody would keep an event.
    fn check_out(&self) -> Result<(), Unfit> {
        Ok(())
    }

    /// Returns how a message is sent to where the sources of `destination` read it: a reply, a dead letter.
    fn address(&self, destination: &str) -> Address {
        Address {
            destination: destination.to_owned(),
            routing_key: None,
        }
    }

    /// Returns the destination of messages that can't be decided, as Spring Cloud Stream names it for this kind of broker.
    fn dead_letters(&self, binding: &Binding) -> String {
        format!("{}.{}.dlq", binding.destination, binding.group)
    }

    /// Whether a message that can't be decided goes back to its sender, by [`Source::refuse`], because no broker stands between that
    /// would keep a dead letter.
    fn refuses(&self) -> bool {
        false
    }

    /// Prefix of headers that are attributes of CloudEvents, as the protocol's binding of CloudEvents 1.0 has it.
    fn attribute_prefix(&self) -> &'static str {
        "ce_"
    }

    /// Connects, and begins to take in messages. [`Binding::declare`] concerns the destination and that of its dead letters.
    ///
    /// # Errors
    /// If the broker can't be reached, refuses the credentials, or lacks what the binding names.
    fn open_source<'a>(
        &'a self,
        binder: &'a Binder,
        binding: &'a Binding,
    ) -> Doing<'a, Result<Box<dyn Source>, Trouble>>;

    /// Connects for messages that go out.
    ///
    /// # Errors
    /// If the broker can't be reached, or refuses the credentials.
    fn open_sink<'a>(&'a self, binder: &'a Binder) -> Doing<'a, Result<Box<dyn Sink>, Trouble>>;
}

/// Messages that come in from one destination.
pub trait Source: Send {
    /// Returns the next message. At most [`Binding::prefetch`] messages are unsettled at once: then it waits. May be dropped and
    /// called again without losing a message.
    ///
    /// # Errors
    /// If the connection is lost. The source is of no more use, every further call fails too, and the broker gives what was not
    /// acknowledged to another one.
    fn receive(&mut self) -> Doing<'_, Result<Message, Trouble>>;

    /// Tells the broker that a message is done with. Messages may be acknowledged in any order.
    ///
    /// # Errors
    /// If the connection is lost: the message comes again.
    fn acknowledge(&mut self, token: u64) -> Doing<'_, Result<(), Trouble>>;

    /// Tells the broker that messages are done with, as [`Source::acknowledge`] does of one, with fewer calls where the broker can.
    ///
    /// # Errors
    /// If the connection is lost: those that the broker was not told of come again.
    fn acknowledge_all<'a>(&'a mut self, tokens: &'a [u64]) -> Doing<'a, Result<(), Trouble>> {
        Box::pin(async move {
            for token in tokens {
                self.acknowledge(*token).await?;
            }
            Ok(())
        })
    }

    /// Returns the number of messages that wait at the destination for the group, without those that its sources hold; none if the
    /// broker does not tell, or not now. Of a group with several sources one is asked, so it speaks for all. Asked seldom, and given
    /// up after some seconds: dropped, it must lose no message.
    fn backlog(&mut self) -> Doing<'_, Option<u64>> {
        Box::pin(std::future::ready(None))
    }

    /// Gives a message that can't be decided back to its sender, and says why. Called instead of [`Source::acknowledge`], and only
    /// if [`Adapter::refuses`].
    ///
    /// # Errors
    /// If the message is still unsettled.
    fn refuse<'a>(
        &'a mut self,
        _token: u64,
        _refusal: &'a Refusal,
    ) -> Doing<'a, Result<(), Trouble>> {
        Box::pin(async {
            let text = "nothing can be given back to a sender behind this kind of broker";
            Err(Trouble::new(TroubleKind::Refused, text))
        })
    }

    /// Stops, and gives everything that was not acknowledged back once.
    fn close(self: Box<Self>) -> Doing<'static, ()>;
}

/// The way out to a broker.
pub trait Sink: Send + Sync {
    /// Sends a message and waits until the broker has confirmed that it keeps it.
    ///
    /// # Errors
    /// If the message was not confirmed. It may have arrived all the same.
    fn send<'a>(&'a self, message: &'a Outgoing) -> Doing<'a, Result<(), SendError>>;
}

/// A connection to a broker.
#[derive(Clone, Debug)]
pub struct Binder {
    /// Name, unique among binders.
    pub slug: String,
    /// Where the broker is, in the form that its adapter documents: `amqp://host:5672/vhost`. Never with a password.
    pub url: String,
    /// Name of the user at the broker.
    pub username: Option<String>,
    /// Password or token of the user.
    pub password: Option<Secret>,
    /// PEM certificates that sign the broker's; the system's roots if there are none.
    pub trusted_roots: Option<String>,
}

/// A destination at a broker from which messages come in.
#[derive(Clone, Debug)]
pub struct Binding {
    /// Name, unique among bindings.
    pub slug: String,
    /// Queue, topic, stream or address at the broker.
    pub destination: String,
    /// Consumer group: sources of one group share the messages of a destination.
    pub group: String,
    /// Number of sources at once.
    pub concurrency: u16,
    /// Maximum number of messages of a source that were received and not acknowledged.
    pub prefetch: u16,
    /// What happens if the destination is missing.
    pub declare: Declare,
}

/// What happens if a destination is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Declare {
    /// The binding waits, and says that it is missing.
    Check,
    /// It is created.
    Create,
    /// Nobody looks: for users who may not ask.
    None,
}

/// A message that came in.
#[derive(Clone, Debug)]
pub struct Message {
    /// What names the message within its source.
    pub token: u64,
    /// Body.
    pub body: Bytes,
    /// Media type of the body, if the sender said it.
    pub content_type: Option<String>,
    /// Headers of the application, in order.
    pub headers: Vec<(String, Bytes)>,
    /// Id that the sender gave it.
    pub message_id: Option<String>,
    /// Id that the broker gave it: the same in every redelivery, another if the sender sends again.
    pub broker_id: Option<String>,
    /// Key by which the broker keeps an order.
    pub key: Option<Bytes>,
    /// Where the sender wants the reply.
    pub reply_to: Option<String>,
    /// What the reply repeats.
    pub correlation_id: Option<String>,
    /// API key that came with the message, where no broker stands between the sender and Tributary.
    pub api_key: Option<Secret>,
    /// Whether the broker says that it delivered the message before. It may be wrong either way.
    pub redelivered: bool,
}

/// Why a message can't be decided, as its sender is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Stable name of the reason.
    pub code: String,
    /// What is wrong, and with which field.
    pub message: String,
}

/// Where a message goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// Exchange, topic, stream or address at the broker; empty for the broker's default.
    pub destination: String,
    /// Routing key, or what follows the destination in the name of a topic or subject.
    pub routing_key: Option<String>,
}

impl Address {
    /// The destination, a dot, and the routing key, if there is one: the name, where a broker has one for both.
    #[cfg(any(feature = "kafka", feature = "nats"))]
    pub(crate) fn dotted(&self) -> Cow<'_, str> {
        match self.routing_key.as_deref() {
            None | Some("") => Cow::Borrowed(&self.destination),
            Some(key) => Cow::Owned(format!("{}.{key}", self.destination)),
        }
    }
}

/// A message that goes out.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// Where it goes.
    pub address: Address,
    /// Messages with the same key keep their order, where the broker can.
    pub key: Option<String>,
    /// Body.
    pub body: Bytes,
    /// Media type of the body; empty if nobody knows it.
    pub content_type: String,
    /// Headers.
    pub headers: Vec<(String, Bytes)>,
    /// Id, the same in every attempt; empty if it has none.
    pub message_id: String,
    /// What a reply repeats of the message that it answers.
    pub correlation_id: Option<String>,
}

/// A password or token. `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Keeps `text`.
    pub fn new(text: impl Into<String>) -> Secret {
        Secret(text.into())
    }

    /// Returns the text, for the broker only.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// A field that an adapter can't use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} {what}")]
pub struct Unfit {
    /// Name of the field in the API.
    pub field: &'static str,
    /// What it must be.
    pub what: String,
}

impl Unfit {
    /// The field `field` is unfit: `what` completes a sentence that begins with its name.
    pub fn new(field: &'static str, what: impl Into<String>) -> Unfit {
        Unfit {
            field,
            what: what.into(),
        }
    }
}

/// What went wrong between an adapter and its broker. Shown to operators.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Trouble {
    /// Kind.
    pub kind: TroubleKind,
    /// What happened, where, and what to do. Without secrets.
    pub text: String,
}

impl Trouble {
    /// A trouble of this kind.
    pub fn new(kind: TroubleKind, text: impl fmt::Display) -> Trouble {
        Trouble {
            kind,
            text: text.to_string(),
        }
    }
}

impl From<Unfit> for Trouble {
    fn from(unfit: Unfit) -> Trouble {
        Trouble::new(TroubleKind::Refused, unfit)
    }
}

/// Kinds of trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TroubleKind {
    /// The broker can't be reached, or the connection broke.
    Unreachable,
    /// The broker refuses the user.
    CredentialsRefused,
    /// The destination does not exist.
    DestinationMissing,
    /// The destination is not as the binding needs it: a changed argument, a limit that loses messages.
    DestinationUnfit,
    /// The broker answered something else than the protocol allows, or refused what was asked.
    Refused,
}

impl TroubleKind {
    /// Returns the name in APIs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            TroubleKind::Unreachable => "unreachable",
            TroubleKind::CredentialsRefused => "credentials_refused",
            TroubleKind::DestinationMissing => "destination_missing",
            TroubleKind::DestinationUnfit => "destination_unfit",
            TroubleKind::Refused => "refused",
        }
    }
}

/// Why a message was not confirmed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// Nothing can be sent now: the sink is of no more use, and the attempt does not count.
    #[error(transparent)]
    Disconnected(Trouble),
    /// The broker does not take this message: nobody would get it, or it is too large.
    #[error(transparent)]
    Refused(Trouble),
    /// No broker stands between, and whoever asked for this reply has gone; it asks again if it wants the reply.
    #[error(transparent)]
    Absent(Trouble),
}
