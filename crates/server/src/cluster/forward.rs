//! Forwards a request to the leader, and its answer back.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::uri::PathAndQuery;
use axum::http::{HeaderMap, HeaderValue, Method, Request, Uri, header};
use axum::response::Response;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Limited};
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use tributary_api::code::ErrorCode;
use tributary_api::error::ApiError;
use tributary_api::failures::{outcome_unknown, submit_error};
use tributary_api::leadership::NodeAddress;
use tributary_engine::Refused;

use crate::app::App;
use crate::cluster::headers::{outgoing_headers, remove_hop_by_hop};
use crate::cluster::node::{CONFIRMED_AGO_MAX, ClusterNode, ForwardCounts, Leader, RETRY_AFTER};
use crate::cluster::peer_client::NoAnswer;
use crate::cluster::position::{position_of_answer, wait_for_view};
use crate::cluster::stoppable_body::StoppableBody;
use crate::grpc::status::{CODE, status_of};
use crate::request_notes::note_accepted_elsewhere;

/// Longest wait for a leader that takes a request: an election takes some seconds.
const LEADER_WAIT_MAX: Duration = Duration::from_secs(8);
/// Pause before a leader is looked for again.
const LEADER_PAUSE: Duration = Duration::from_millis(50);
/// While an answer is waited for: pause between two looks at who leads, and how many of them must find another node before the answer
/// counts as lost.
const REPLACED_PAUSE: Duration = Duration::from_millis(500);
const REPLACED_LOOKS: u32 = 3;
/// Time that a receiver may ask to wait for events, on top of the time for its answer.
const RECEIVE_WAIT_MAX: Duration = Duration::from_secs(30);
/// End of the paths where a receiver may wait for events.
const RECEIVE_PATH: &str = "/receive";

/// Protocol between nodes, and how many messages there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    /// HTTP/1.1.
    Rest,
    /// gRPC with one message there and one back.
    GrpcUnary,
    /// gRPC with many messages.
    GrpcStream,
}

/// A request on its way to the leader.
pub(super) struct Outgoing {
    protocol: Protocol,
    method: Method,
    path: PathAndQuery,
    headers: HeaderMap,
    body: OutgoingBody,
    /// Whether the request changes nothing.
    is_read: bool,
    began: Instant,
}

/// What became of a request on its way to the leader.
pub(super) enum Forwarded {
    /// The leader's answer.
    Answer(Response),
    /// This node leads by now.
    LeadsHere,
}

/// Body of a request that may have to be sent more than once.
#[derive(Clone)]
pub(super) enum OutgoingBody {
    /// All of it.
    Whole(Bytes),
    /// A stream of messages.
    Stream(SharedBody),
}

impl OutgoingBody {
    /// Returns the body, to be sent or to be read here.
    pub(super) fn to_body(&self) -> Body {
        match self {
            OutgoingBody::Whole(bytes) => Body::from(bytes.clone()),
            OutgoingBody::Stream(stream) => Body::new(stream.clone()),
        }
    }

    /// Whether nothing of it was read so far, or all of it can be read again.
    fn can_be_sent(&self) -> bool {
        match self {
            OutgoingBody::Whole(_) => true,
            OutgoingBody::Stream(stream) => !stream.is_read.load(Ordering::Acquire),
        }
    }
}

/// A streamed body that outlives an attempt to send it.
#[derive(Clone)]
pub(super) struct SharedBody {
    body: Arc<Mutex<Body>>,
    is_read: Arc<AtomicBool>,
}

impl SharedBody {
    pub(super) fn new(body: Body) -> SharedBody {
        SharedBody {
            body: Arc::new(Mutex::new(body)),
            is_read: Arc::default(),
        }
    }
}

impl HttpBody for SharedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        self.is_read.store(true, Ordering::Release);
        let mut body = self.body.lock().unwrap_or_else(PoisonError::into_inner);
        Pin::new(&mut *body).poll_frame(context)
    }

    fn size_hint(&self) -> SizeHint {
        let body = self.body.lock().unwrap_or_else(PoisonError::into_inner);
        body.size_hint()
    }
}

impl Outgoing {
    /// Returns the caller's request as it is sent on.
    pub(super) fn new(
        protocol: Protocol,
        parts: &axum::http::request::Parts,
        body: OutgoingBody,
        is_read: bool,
    ) -> Outgoing {
        Outgoing {
            protocol,
            method: parts.method.clone(),
            path: parts
                .uri
                .path_and_query()
                .cloned()
                .unwrap_or_else(|| PathAndQuery::from_static("/")),
            headers: parts.headers.clone(),
            body,
            is_read,
            began: Instant::now(),
        }
    }

    /// Sends the request to the leader, which is waited for, and returns its answer once the view of this node has what the answer
    /// shows.
    pub(super) async fn forward(
        &self,
        app: &App,
        node: &ClusterNode,
    ) -> Result<Forwarded, ApiError> {
        let wait_max = LEADER_WAIT_MAX.min(app.shared.config.limits.request_timeout);
        loop {
            match node.leader() {
                Leader::ThisNode => return Ok(Forwarded::LeadsHere),
                Leader::Stopped => return Err(node.stopped()),
                Leader::Other(leader) => {
                    if let Some(answer) = self.ask(app, node, &leader).await? {
                        ForwardCounts::count(&node.counts.answered);
                        return Ok(Forwarded::Answer(answer));
                    }
                }
                Leader::Unknown => {}
            }
            if self.began.elapsed() + LEADER_PAUSE >= wait_max || !self.body.can_be_sent() {
                ForwardCounts::count(&node.counts.no_leader);
                return Err(no_leader());
            }
            tokio::time::sleep(LEADER_PAUSE).await;
        }
    }

    /// Sends the request to this node. None if it did not take the request: nothing has happened.
    async fn ask(
        &self,
        app: &App,
        node: &ClusterNode,
        leader: &NodeAddress,
    ) -> Result<Option<Response>, ApiError> {
        let Some(request) = self.request(node, leader) else {
            return Ok(None);
        };
        let Some(peers) = &app.peers else {
            return Ok(None);
        };
        let deadline = self.deadline(app);
        let within = |deadline: Instant| deadline.saturating_duration_since(Instant::now());
        let sending = async {
            tokio::select! {
                biased;
                answer = peers.send(request) => answer,
                () = replaced(node, leader) => Err(NoAnswer::Lost("another node leads now".to_owned())),
            }
        };
        let answer = match self.protocol {
            // A stream begins when its first answer does.
            Protocol::GrpcStream => Some(sending.await),
            _ => app.timeouts.within(within(deadline), sending).await,
        };
        let answer = match answer {
            Some(Ok(answer)) if self.is_refused(&answer) => return Ok(None),
            Some(Ok(answer)) => answer,
            Some(Err(NoAnswer::NotSent(why))) => {
                tracing::debug!(leader = leader.name, why, "no connection to the leader");
                return Ok(None);
            }
            Some(Err(NoAnswer::Lost(why))) => return Err(self.lost(node, leader, &why)),
            None => return Err(self.lost(node, leader, "it took too long")),
        };
        let whole = self.receive(app, answer);
        let answer = match app.timeouts.within(within(deadline), whole).await {
            Some(Ok(answer)) => answer,
            Some(Err(why)) => return Err(self.lost(node, leader, &why)),
            None => return Err(self.lost(node, leader, "it took too long")),
        };
        if self.is_accepted(&answer) {
            note_accepted_elsewhere();
        }
        if let Some(position) = position_of_answer(app, answer.headers()) {
            // What was decided is durable, whether this node shows it or not. A node that is behind for longer answers no reads, so
            // nobody takes an older view for this one.
            let until = deadline.min(Instant::now() + CONFIRMED_AGO_MAX);
            wait_for_view(app, position, until).await;
        }
        Ok(Some(answer))
    }

    fn request(&self, node: &ClusterNode, leader: &NodeAddress) -> Option<Request<Body>> {
        let url = match self.protocol {
            Protocol::Rest => Some(&leader.url),
            Protocol::GrpcUnary | Protocol::GrpcStream => leader.grpc_url.as_ref(),
        };
        let uri = url.map(|url| format!("{}{}", url.trim_end_matches('/'), self.path));
        let Some(Ok(uri)) = uri.map(|uri| uri.parse::<Uri>()) else {
            tracing::warn!(
                leader = leader.name,
                url = leader.url,
                grpc_url = leader.grpc_url,
                "requests cannot be forwarded to the leader: it has no URL, or a wrong one"
            );
            return None;
        };
        let mut request = Request::new(self.body.to_body());
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = uri;
        *request.headers_mut() = outgoing_headers(&self.headers, &node.name);
        if self.protocol != Protocol::Rest {
            let trailers = HeaderValue::from_static("trailers");
            request.headers_mut().insert(header::TE, trailers);
        }
        Some(request)
    }

    /// Until when the answer must have come.
    fn deadline(&self, app: &App) -> Instant {
        let may_wait = self.path.path().ends_with(RECEIVE_PATH);
        let more = if may_wait {
            RECEIVE_WAIT_MAX
        } else {
            Duration::ZERO
        };
        self.began + app.shared.config.limits.request_timeout + more
    }

    /// Whether the node refused the request because it does not lead.
    fn is_refused(&self, answer: &axum::http::Response<Incoming>) -> bool {
        let code = ErrorCode::NotLeader;
        match self.protocol {
            Protocol::Rest => answer.status().as_u16() == code.status(),
            Protocol::GrpcUnary | Protocol::GrpcStream => {
                let found = answer.headers().get(CODE);
                found.is_some_and(|found| found == code.as_str())
            }
        }
    }

    /// Whether the leader did as it was asked, and so found the API key valid.
    fn is_accepted(&self, answer: &Response) -> bool {
        let grpc_status = answer.headers().get("grpc-status");
        answer.status().is_success() && grpc_status.is_none_or(|status| status == "0")
    }

    /// Returns the answer without what is about the connection between the nodes. An answer that is no stream is received as a whole, so
    /// that it is either passed on or lost.
    async fn receive(
        &self,
        app: &App,
        answer: axum::http::Response<Incoming>,
    ) -> Result<Response, String> {
        let bytes_max = app.shared.config.limits.body_bytes_max;
        let (parts, body) = answer.into_parts();
        let exact = body.size_hint().exact();
        let is_whole = match self.protocol {
            Protocol::Rest => exact.is_some_and(|bytes| bytes <= bytes_max as u64),
            Protocol::GrpcUnary => true,
            Protocol::GrpcStream => false,
        };
        let body = match is_whole {
            true => {
                let collected = Limited::new(body, bytes_max).collect().await;
                Body::new(collected.map_err(|error| error.to_string())?)
            }
            false => self.until_stopped(app, Body::new(body), exact.is_some()),
        };
        let mut response = Response::new(body);
        *response.status_mut() = parts.status;
        *response.headers_mut() = parts.headers;
        remove_hop_by_hop(response.headers_mut());
        Ok(response)
    }

    /// Returns a streamed body that ends with this server. One of known length can't end early.
    fn until_stopped(&self, app: &App, body: Body, has_length: bool) -> Body {
        if has_length {
            return body;
        }
        let trailers = (self.protocol != Protocol::Rest).then(|| {
            let mut trailers = HeaderMap::new();
            let status = status_of(&submit_error(Refused::Stopping));
            let _plain_text = status.add_header(&mut trailers);
            trailers
        });
        let stopped = app.shared.stopped.clone();
        Body::new(StoppableBody::new(body, stopped, trailers))
    }

    /// Error of a request that was sent and whose answer did not come.
    fn lost(&self, node: &ClusterNode, leader: &NodeAddress, why: &str) -> ApiError {
        ForwardCounts::count(&node.counts.lost);
        tracing::warn!(
            leader = leader.name,
            why,
            "an answer of the leader was lost"
        );
        match self.is_read {
            true => {
                let message = "The answer of the leader was lost. Ask again.";
                ApiError::new(ErrorCode::Unavailable, message).retry_after(RETRY_AFTER)
            }
            false => outcome_unknown(),
        }
    }
}

/// Waits until another node has led for a while, so that the one that was asked is unlikely to answer.
async fn replaced(node: &ClusterNode, leader: &NodeAddress) {
    let mut looks_since = 0;
    while looks_since < REPLACED_LOOKS {
        tokio::time::sleep(REPLACED_PAUSE).await;
        looks_since = match node.leader() {
            Leader::Unknown => looks_since,
            Leader::Other(now) if now == *leader => 0,
            Leader::Other(_) | Leader::ThisNode | Leader::Stopped => looks_since + 1,
        };
    }
}

/// Error of a request that no leader took.
fn no_leader() -> ApiError {
    let message = "The cluster has no leader now, or this node does not reach it. Nothing was done. Send the request again.";
    ApiError::new(ErrorCode::Unavailable, message).retry_after(RETRY_AFTER)
}
