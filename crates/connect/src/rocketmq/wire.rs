//! The messages of RocketMQ's gRPC API that the adapter sends and reads, with the fields that it uses. Fields that are not here are
//! left out when sent, and passed over when read.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use prost::Message as Protobuf;

/// What an answer says about its request.
#[derive(Clone, PartialEq, Protobuf)]
pub(super) struct Status {
    /// One of [`code`].
    #[prost(int32, tag = "1")]
    pub(super) code: i32,
    #[prost(string, tag = "2")]
    pub(super) message: String,
}

/// Values of [`Status::code`].
pub(super) mod code {
    pub(crate) const OK: i32 = 20_000;
    pub(crate) const INVALID_RECEIPT_HANDLE: i32 = 40_013;
    pub(crate) const UNRECOGNIZED_CLIENT_TYPE: i32 = 40_015;
    pub(crate) const UNAUTHORIZED: i32 = 40_100;
    pub(crate) const FORBIDDEN: i32 = 40_300;
    pub(crate) const NOT_FOUND: i32 = 40_400;
    pub(crate) const MESSAGE_NOT_FOUND: i32 = 40_401;
    pub(crate) const TOPIC_NOT_FOUND: i32 = 40_402;
    pub(crate) const CONSUMER_GROUP_NOT_FOUND: i32 = 40_403;
    pub(crate) const REQUEST_TIMEOUT: i32 = 40_800;
    pub(crate) const TOO_MANY_REQUESTS: i32 = 42_900;
    /// From here on, the fault is the broker's, until [`UNSUPPORTED`].
    pub(crate) const INTERNAL_ERROR: i32 = 50_000;
    pub(crate) const NOT_IMPLEMENTED: i32 = 50_100;
    pub(crate) const UNSUPPORTED: i32 = 50_500;
}

/// An answer with a status.
pub(super) trait Answer: Protobuf + Default + 'static {
    fn status(&self) -> Option<&Status>;
}

macro_rules! answers {
    ($($name:ident)*) => {
        $(impl Answer for $name {
            fn status(&self) -> Option<&Status> {
                self.status.as_ref()
            }
        })*
    };
}

answers!(QueryRouteAnswer SendAnswer AckAnswer HeartbeatAnswer TerminationAnswer ChangeInvisibleAnswer Telemetry);

/// A topic or a group.
#[derive(Clone, PartialEq, Protobuf)]
pub(super) struct Resource {
    #[prost(string, tag = "2")]
    pub(super) name: String,
}

impl Resource {
    pub(super) fn named(name: &str) -> Option<Resource> {
        Some(Resource {
            name: name.to_owned(),
        })
    }
}

/// A span of time.
#[derive(Clone, PartialEq, Protobuf)]
pub(super) struct Span {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

impl Span {
    pub(super) fn lasting(time: Duration) -> Option<Span> {
        Some(Span {
            seconds: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
            nanos: i32::try_from(time.subsec_nanos()).unwrap_or(0),
        })
    }
}

#[derive(Clone, PartialEq, Protobuf)]
pub(super) struct Endpoints {
    /// 1: IPv4, 2: IPv6, 3: a name.
    #[prost(int32, tag = "1")]
    pub(super) scheme: i32,
    #[prost(message, repeated, tag = "2")]
    pub(super) addresses: Vec<HostPort>,
}

#[derive(Clone, PartialEq, Protobuf)]
pub(super) struct HostPort {
    #[prost(string, tag = "1")]
    pub(super) host: String,
    #[prost(int32, tag = "2")]
    pub(super) port: i32,
}

#[derive(Clone, PartialEq, Protobuf)]
pub(super) struct Broker {
    #[prost(string, tag = "1")]
    pub(super) name: String,
}

#[derive(Clone, PartialEq, Protobuf)]
pub(super) struct Queue {
    #[prost(message, optional, tag = "1")]
    pub(super) topic: Option<Resource>,
    /// -1 for all queues of the broker.
    #[prost(int32, tag = "2")]
    pub(super) id: i32,
    /// 2: may be read, 3: may be written, 4: both.
    #[prost(int32, tag = "3")]
    pub(super) permission: i32,
    #[prost(message, optional, tag = "4")]
    pub(super) broker: Option<Broker>,
    /// Some of [`kind`].
    #[prost(int32, repeated, tag = "5")]
    pub(super) kinds: Vec<i32>,
}

/// Kinds of messages.
pub(super) mod kind {
    pub(crate) const NORMAL: i32 = 1;
    pub(crate) const FIFO: i32 = 2;
}

#[derive(Clone, PartialEq, Protobuf)]
pub(super) struct QueryRoute {
    #[prost(message, optional, tag = "1")]
    pub(super) topic: Option<Resource>,
    #[prost(message, optional, tag = "2")]
    pub(super) endpoints: Option<Endpoints>,
}

#[derive(Clone, PartialEq, Protobuf)]
pub(super) struct QueryRouteAnswer {
    #[prost(message, optional, tag = "1")]
    pub(super) status: Option<Status>,
    #[prost(message, repeated, tag = "2")]
    pub(super) queues: Vec<Queue>,
}

#[derive(Clone, PartialEq, Protobuf)]
pub(super) struct Properties {
    #[prost(string, optional, tag = "1")]
    pub(super) tag: Option<String>,
    #[prost(string, repeated, tag = "2")]
    pub(super) keys: Vec<String>,
    #[prost(string, tag = "3")]
    pub(super) message_id: String,
    /// One of [`encoding`].
    #[prost(int32, tag = "5")]
    pub(super) encoding: i32,
    /// One of [`kind`].
    #[prost(int32, tag = "6")]
    pub(super) kind: i32,
    #[prost(string, optional, tag = "12")]
    pub(super) receipt: Option<String>,
    #[prost(int32, optional, tag = "16")]
    pub(super) attempt: Option<i32>,
    #[prost(string, optional, tag = "17")]
    pub(super) message_group: Option<String>,
}

/// How a body is written.
pub(super) mod encoding {
    pub(crate) const PLAIN: i32 = 1;
    pub(crate) const COMPRESSED: i32 = 2;
}

#[derive(Clone, PartialEq, Protobuf)]
pub(super) struct Message {
    #[prost(message, optional, tag = "1")]
    pub(super) topic: Option<Resource>,
    #[prost(btree_map = "string, string", tag = "2")]
    pub(super) user_properties: BTreeMap<String, String>,
    #[prost(message, optional, tag = "3")]
    pub(super) properties: Option<Properties>,
    #[prost(bytes = "bytes", tag = "4")]
    pub(super) body: Bytes,
}

#[derive(Clone, PartialEq, Protobuf)]
pub(super) struct Send {
    #[prost(message, repeated, tag = "1")]
    pub(super) messages: Vec<Message>,
}

#[derive(Clone, PartialEq, Protobuf)]
pub(super) struct SendAnswer {
    #[prost(message, optional, tag = "1")]
    pub(super) status: Option<Status>,
    #[prost(message, repeated, tag = "2")]
    pub(super) entries: Vec<SendEntry>,
}

#[derive(Clone, PartialEq, Protobuf)]
pub(super) struct SendEntry {
    #[prost(message, optional, tag = "1")]
    pub(super) status: Option<Status>,
}

#[derive(Clone, PartialEq, Protobuf)]
pub(super) struct Filter {
    /// 1: by tag.
    #[prost(int32, tag = "1")]
    pub(super) kind: i32,
    #[prost(string, tag = "2")]
    pub(super) expression: String,
}

impl Filter {
    pub(super) fn everything() -> Option<Filter> {
        Some(Filter {
            kind: 1,
            expression: "*".to_owned(),
        })
    }
}

#[derive(Clone, PartialEq, Protobuf)]
pub(super) struct Receive {
    #[prost(message, optional, tag = "1")]
    pub(super) group: Option<Resource>,
    #[prost(message, optional, tag = "2")]
    pub(super) queue: Option<Queue>,
    #[prost(message, optional, tag = "3")]
    pub(super) filter: Option<Filter>,
    #[prost(int32, tag = "4")]
    pub(super) batch: i32,
    #[prost(message, optional, tag = "5")]
    pub(super) invisible: Option<Span>,
    /// How long the proxy waits for a message. Proxies before 5.1 take what is left of the call's time-out.
    #[prost(message, optional, tag = "7")]
    pub(super) wait: Option<Span>,
}

/// One of several answers to [`Receive`]: a status first, then messages.
#[derive(Clone, PartialEq, Protobuf)]
pub(super) struct Received {
    #[prost(message, optional, tag = "1")]
    pub(super) status: Option<Status>,
    #[prost(message, optional, tag = "2")]
    pub(super) message: Option<Message>,
}

#[derive(Clone, PartialEq, Protobuf)]
pub(super) struct Ack {
    #[prost(message, optional, tag = "1")]
    pub(super) group: Option<Resource>,
    #[prost(message, optional, tag = "2")]
    pub(super) topic: Option<Resource>,
    #[prost(message, repeated, tag = "3")]
    pub(super) entries: Vec<AckEntry>,
}

#[derive(Clone, PartialEq, Protobuf)]
pub(super) struct AckEntry {
    #[prost(string, tag = "1")]
    pub(super) message_id: String,
    #[prost(string, tag = "2")]
    pub(super) receipt: String,
}

#[derive(Clone, PartialEq, Protobuf)]
pub(super) struct AckAnswer {
    #[prost(message, optional, tag = "1")]
    pub(super) status: Option<Status>,
    #[prost(message, repeated, tag = "2")]
    pub(super) entries: Vec<AckResult>,
}

#[derive(Clone, PartialEq, Protobuf)]
pub(super) struct AckResult {
    #[prost(message, optional, tag = "3")]
    pub(super) status: Option<Status>,
}

#[derive(Clone, PartialEq, Protobuf)]
pub(super) struct ChangeInvisible {
    #[prost(message, optional, tag = "1")]
    pub(super) group: Option<Resource>,
    #[prost(message, optional, tag = "2")]
    pub(super) topic: Option<Resource>,
    #[prost(string, tag = "3")]
    pub(super) receipt: String,
    #[prost(message, optional, tag = "4")]
    pub(super) invisible: Option<Span>,
    #[prost(string, tag = "5")]
    pub(super) message_id: String,
}

#[derive(Clone, PartialEq, Protobuf)]
pub(super) struct ChangeInvisibleAnswer {
    #[prost(message, optional, tag = "1")]
    pub(super) status: Option<Status>,
    #[prost(string, tag = "2")]
    pub(super) receipt: String,
}

/// Kinds of clients.
pub(super) mod client {
    pub(crate) const PRODUCER: i32 = 1;
    pub(crate) const SIMPLE_CONSUMER: i32 = 3;
}

#[derive(Clone, PartialEq, Protobuf)]
pub(super) struct Heartbeat {
    #[prost(message, optional, tag = "1")]
    pub(super) group: Option<Resource>,
    /// One of [`client`].
    #[prost(int32, tag = "2")]
    pub(super) client: i32,
}

#[derive(Clone, PartialEq, Protobuf)]
pub(super) struct HeartbeatAnswer {
    #[prost(message, optional, tag = "1")]
    pub(super) status: Option<Status>,
}

#[derive(Clone, PartialEq, Protobuf)]
pub(super) struct Termination {
    #[prost(message, optional, tag = "1")]
    pub(super) group: Option<Resource>,
}

#[derive(Clone, PartialEq, Protobuf)]
pub(super) struct TerminationAnswer {
    #[prost(message, optional, tag = "1")]
    pub(super) status: Option<Status>,
}

/// What goes both ways on the stream that a client keeps open.
#[derive(Clone, PartialEq, Protobuf)]
pub(super) struct Telemetry {
    #[prost(message, optional, tag = "1")]
    pub(super) status: Option<Status>,
    #[prost(message, optional, tag = "2")]
    pub(super) settings: Option<Settings>,
}

#[derive(Clone, PartialEq, Protobuf)]
pub(super) struct Settings {
    /// One of [`client`].
    #[prost(int32, optional, tag = "1")]
    pub(super) client: Option<i32>,
    #[prost(message, optional, tag = "2")]
    pub(super) access_point: Option<Endpoints>,
    #[prost(message, optional, tag = "3")]
    pub(super) retries: Option<Retries>,
    #[prost(message, optional, tag = "4")]
    pub(super) request_timeout: Option<Span>,
    #[prost(message, optional, tag = "5")]
    pub(super) publishing: Option<Publishing>,
    #[prost(message, optional, tag = "6")]
    pub(super) subscription: Option<Subscription>,
    #[prost(message, optional, tag = "7")]
    pub(super) agent: Option<Agent>,
}

#[derive(Clone, PartialEq, Protobuf)]
pub(super) struct Retries {
    /// Deliveries after which the proxy gives a message up.
    #[prost(int32, tag = "1")]
    pub(super) attempts_max: i32,
}

#[derive(Clone, PartialEq, Protobuf)]
pub(super) struct Publishing {
    #[prost(message, repeated, tag = "1")]
    pub(super) topics: Vec<Resource>,
}

#[derive(Clone, PartialEq, Protobuf)]
pub(super) struct Subscription {
    #[prost(message, optional, tag = "1")]
    pub(super) group: Option<Resource>,
    #[prost(message, repeated, tag = "2")]
    pub(super) entries: Vec<SubscriptionEntry>,
}

#[derive(Clone, PartialEq, Protobuf)]
pub(super) struct SubscriptionEntry {
    #[prost(message, optional, tag = "1")]
    pub(super) topic: Option<Resource>,
    #[prost(message, optional, tag = "2")]
    pub(super) filter: Option<Filter>,
}

#[derive(Clone, PartialEq, Protobuf)]
pub(super) struct Agent {
    /// 5: Rust.
    #[prost(int32, tag = "1")]
    pub(super) language: i32,
    #[prost(string, tag = "2")]
    pub(super) version: String,
}
