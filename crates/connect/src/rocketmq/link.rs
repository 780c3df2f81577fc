//! A connection to a proxy, and the calls that are made by it.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, StreamExt as _};
use hyper::Uri;
use hyper::client::conn::http2;
use hyper::http::uri::PathAndQuery;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use prost::Message as Protobuf;
use tokio::task::JoinSet;
use tonic::Streaming;
use tonic::body::Body;
use tonic::client::Grpc;

use super::call::{self, CLIENT_VERSION, Caller, Channel, Messages};
use super::server::{self, URL};
use super::wire::{self, Answer, Resource, Settings, Span, Telemetry, code};
use crate::dial;
use crate::dial::server_url::ServerUrl;
use crate::port::{Binder, Trouble, TroubleKind};

/// Maximum time for anything else that the proxy answers.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);
/// Maximum time that the proxy may take for a question for messages and all of its answers. Proxies before 5.1 wait for a message for
/// this time less half of [`ANSWER_TIMEOUT`].
const RECEIVE_TIMEOUT: Duration = Duration::from_secs(15);
/// Maximum size of a message that comes in, with its properties: eight times what RocketMQ takes if nobody changes its limit.
pub(super) const MESSAGE_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Bytes that a proxy may send ahead of being read, for one answer and for all of a connection.
const WINDOW_BYTES: u32 = 1024 * 1024;
const WINDOWS_BYTES: u32 = 4 * 1024 * 1024;

/// What a client does.
pub(super) enum Role<'a> {
    /// It sends.
    Producer,
    /// It reads a topic for a group.
    Consumer { topic: &'a str, group: &'a str },
}

/// A connection. Dropped, it is cut at once.
pub(super) struct Link {
    grpc: Grpc<Channel>,
    caller: Caller,
    endpoints: wire::Endpoints,
    place: Arc<str>,
    _driver: JoinSet<()>,
}

/// What a proxy told a new client.
pub(super) struct Greeting {
    /// Deliveries after which the group gives a message up; 0 if nobody said.
    pub(super) attempts_max: i32,
    /// What the proxy says later. A client is known as long as this is open.
    pub(super) telemetry: Streaming<Telemetry>,
}

impl Link {
    /// Connects, and makes the client known to the proxy.
    pub(super) async fn open(binder: &Binder, role: Role<'_>) -> Result<(Link, Greeting), Trouble> {
        let server = URL.read(&binder.url)?;
        let place = server.place("RocketMQ");
        let opening = async {
            let link = Link::connect(binder, &server, &place).await?;
            let greeting = link.greet(role).await?;
            Ok((link, greeting))
        };
        dial::open_in_time(&place, opening).await
    }

    async fn connect(binder: &Binder, server: &ServerUrl, place: &str) -> Result<Link, Trouble> {
        let unreachable = |error: String| dial::unreachable(place, error);
        let socket = dial::open_stream(server, binder.trusted_roots.as_deref(), &[b"h2"])
            .await
            .map_err(unreachable)?;
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .initial_stream_window_size(WINDOW_BYTES)
            .initial_connection_window_size(WINDOWS_BYTES)
            .handshake::<_, Body>(TokioIo::new(socket))
            .await
            .map_err(|error| unreachable(error.to_string()))?;
        let mut driver = JoinSet::new();
        driver.spawn(async move {
            // Why it ended is told by the calls that were under way.
            let _ = connection.await;
        });
        let origin: Uri = server::origin(server)
            .parse()
            .map_err(|_| unreachable("its name can't stand in a url".to_owned()))?;
        let grpc =
            Grpc::with_origin(Channel(sender), origin).max_decoding_message_size(MESSAGE_BYTES_MAX);
        Ok(Link {
            grpc,
            caller: Caller::new(binder),
            endpoints: endpoints(server),
            place: place.into(),
            _driver: driver,
        })
    }

    /// Opens the stream by which a proxy knows its clients.
    async fn greet(&self, role: Role<'_>) -> Result<Greeting, Trouble> {
        let what = "know this client";
        let mut settings = Settings {
            access_point: Some(self.endpoints.clone()),
            request_timeout: Span::lasting(ANSWER_TIMEOUT),
            agent: Some(wire::Agent {
                language: 5,
                version: CLIENT_VERSION.to_owned(),
            }),
            ..Settings::default()
        };
        match role {
            Role::Producer => {
                settings.client = Some(wire::client::PRODUCER);
                settings.publishing = Some(wire::Publishing::default());
            }
            Role::Consumer { topic, group } => {
                settings.client = Some(wire::client::SIMPLE_CONSUMER);
                settings.subscription = Some(wire::Subscription {
                    group: Resource::named(group),
                    entries: vec![wire::SubscriptionEntry {
                        topic: Resource::named(topic),
                        filter: wire::Filter::everything(),
                    }],
                });
            }
        }
        let hello = Telemetry {
            status: None,
            settings: Some(settings),
        };
        let said = stream::once(std::future::ready(hello)).chain(stream::pending());
        let request = self.caller.request(said, None);
        let request = request.map_err(|what| Trouble::new(TroubleKind::Refused, what))?;
        let path = path("Telemetry");
        let mut grpc = self.grpc.clone();
        self.ready(&mut grpc).await?;
        let answered = grpc.streaming(request, path, Messages::<Telemetry, Telemetry>::new());
        let answered = answered.await;
        let mut telemetry = answered
            .map_err(|status| self.describe(what, &status))?
            .into_inner();
        let first = telemetry.message().await;
        let first = first.map_err(|status| self.describe(what, &status))?;
        let first = first.ok_or_else(|| self.closed())?;
        self.check(what, first.status())?;
        let retries = first.settings.and_then(|settings| settings.retries);
        Ok(Greeting {
            attempts_max: retries.map_or(0, |retries| retries.attempts_max),
            telemetry,
        })
    }

    /// Where it leads to, for texts.
    pub(super) fn place(&self) -> &str {
        &self.place
    }

    /// Asks for one answer. `what` completes "refuses to".
    pub(super) async fn ask<Q, A>(
        &self,
        what: &str,
        method: &str,
        question: Q,
    ) -> Result<A, Trouble>
    where
        Q: Protobuf + 'static,
        A: Answer,
    {
        let answer: A = self.ask_once(what, method, question).await?;
        self.check(what, answer.status())?;
        Ok(answer)
    }

    /// Asks for one answer, which may be a refusal.
    pub(super) async fn ask_once<Q, A>(
        &self,
        what: &str,
        method: &str,
        question: Q,
    ) -> Result<A, Trouble>
    where
        Q: Protobuf + 'static,
        A: Answer,
    {
        let request = self.caller.request(question, Some(ANSWER_TIMEOUT));
        let request = request.map_err(|what| Trouble::new(TroubleKind::Refused, what))?;
        let mut grpc = self.grpc.clone();
        let asking = async {
            self.ready(&mut grpc).await?;
            let answered = grpc.unary(request, path(method), Messages::<Q, A>::new());
            let answered = answered.await;
            answered.map_err(|status| self.describe(what, &status))
        };
        match tokio::time::timeout(ANSWER_TIMEOUT, asking).await {
            Ok(answered) => answered.map(tonic::Response::into_inner),
            Err(_) => Err(self.late(what, ANSWER_TIMEOUT)),
        }
    }

    /// Asks for messages. It ends when the first answer comes.
    pub(super) async fn receive(
        &self,
        what: &str,
        question: wire::Receive,
    ) -> Result<Streaming<wire::Received>, Trouble> {
        let request = self.caller.request(question, Some(RECEIVE_TIMEOUT));
        let request = request.map_err(|what| Trouble::new(TroubleKind::Refused, what))?;
        let mut grpc = self.grpc.clone();
        self.ready(&mut grpc).await?;
        let codec = Messages::<wire::Receive, wire::Received>::new();
        let answered = grpc
            .server_streaming(request, path("ReceiveMessage"), codec)
            .await;
        let answered = answered.map_err(|status| self.describe(what, &status))?;
        Ok(answered.into_inner())
    }

    /// Returns the queues of a topic; none if there is no such topic.
    pub(super) async fn queues(&self, topic: &str) -> Result<Vec<wire::Queue>, Trouble> {
        let what = format!("look for the topic {topic}");
        let question = wire::QueryRoute {
            topic: Resource::named(topic),
            endpoints: Some(self.endpoints.clone()),
        };
        let answer: wire::QueryRouteAnswer = self.ask_once(&what, "QueryRoute", question).await?;
        match &answer.status {
            Some(status) if matches!(status.code, code::NOT_FOUND | code::TOPIC_NOT_FOUND) => {
                Ok(Vec::new())
            }
            status => {
                self.check(&what, status.as_ref())?;
                Ok(answer.queues)
            }
        }
    }

    /// Waits until another call can be made.
    async fn ready(&self, grpc: &mut Grpc<Channel>) -> Result<(), Trouble> {
        grpc.ready().await.map_err(|error| {
            let text = format!("the connection to {} is lost: {error}", self.place);
            Trouble::new(TroubleKind::Unreachable, text)
        })
    }

    /// Fails unless an answer says that all is well.
    pub(super) fn check(&self, what: &str, status: Option<&wire::Status>) -> Result<(), Trouble> {
        match status {
            Some(status) if status.code == code::OK => Ok(()),
            Some(status) => Err(call::describe_status(&self.place, what, status)),
            None => {
                let text = format!("{} did not say whether it could {what}", self.place);
                Err(Trouble::new(TroubleKind::Refused, text))
            }
        }
    }

    /// What a failed call means.
    pub(super) fn describe(&self, what: &str, status: &tonic::Status) -> Trouble {
        call::describe(&self.place, what, status)
    }

    /// The proxy did not answer in time.
    pub(super) fn late(&self, what: &str, timeout: Duration) -> Trouble {
        let (place, seconds) = (&self.place, timeout.as_secs());
        let text = format!("{place} did not {what} within {seconds} s");
        Trouble::new(TroubleKind::Unreachable, text)
    }

    /// The proxy has closed the connection.
    pub(super) fn closed(&self) -> Trouble {
        let text = format!("the connection to {} is closed", self.place);
        Trouble::new(TroubleKind::Unreachable, text)
    }
}

fn path(method: &str) -> PathAndQuery {
    PathAndQuery::try_from(format!("/apache.rocketmq.v2.MessagingService/{method}"))
        .expect("the names of methods can stand in a path")
}

fn endpoints(server: &ServerUrl) -> wire::Endpoints {
    wire::Endpoints {
        scheme: match server.host.parse() {
            Ok(IpAddr::V4(_)) => 1,
            Ok(IpAddr::V6(_)) => 2,
            Err(_) => 3,
        },
        addresses: vec![wire::HostPort {
            host: server.host.clone(),
            port: server.port.into(),
        }],
    }
}
