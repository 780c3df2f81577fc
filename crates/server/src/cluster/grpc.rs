//! Answers calls of gRPC on a node: here, or by the leader.

use axum::extract::Request;
use axum::http::HeaderMap;
use axum::middleware::Next;
use axum::response::Response;
use tonic::Code;
use tributary_api::code::ErrorCode;
use tributary_api::error::ApiError;

use crate::app::App;
use crate::auth::authenticate;
use crate::cluster::forward::{Forwarded, Outgoing, OutgoingBody, Protocol, SharedBody};
use crate::cluster::headers::is_forwarded;
use crate::cluster::node::{ClusterNode, Leader};
use crate::cluster::places::{Messages, Place, place_of_method};
use crate::cluster::position::ReadTerms;
use crate::extract::read_body;
use crate::grpc::status::{CODE, status_of};

/// Answers a call of this method; none if there is no such method.
pub(crate) async fn answer(
    app: &App,
    route: Option<&str>,
    request: Request,
    next: Next,
) -> Response {
    let answer = match route.map(place_of_method) {
        None | Some((Place::Node, _)) => Ok(next.run(request).await),
        Some((place, messages)) => answer_method(app, place, messages, request, next).await,
    };
    answer.unwrap_or_else(|error| status_of(&error).into_http())
}

async fn answer_method(
    app: &App,
    place: Place,
    messages: Messages,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let Some(node) = &app.shared.cluster else {
        return answer_here(app, place, request, next).await;
    };
    let leader = node.leader();
    match leader {
        Leader::ThisNode => answer_here(app, place, request, next).await,
        Leader::Stopped => Err(node.stopped()),
        Leader::Other(_) | Leader::Unknown => {
            if is_forwarded(request.headers()) {
                return Err(node.refuse_second_hop(&leader));
            }
            let call = Call::read(app, messages, request).await?;
            match place {
                Place::View => call.answer_from_view(app, node, next).await,
                _ => call.forward(app, node, place, next).await,
            }
        }
    }
}

/// Answers here, once the view is as a read asks.
async fn answer_here(
    app: &App,
    place: Place,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    if place == Place::View {
        let terms = ReadTerms::from_metadata(request.headers())?;
        terms.wait(app, request.headers()).await?;
    }
    Ok(next.run(request).await)
}

/// A call on a follower.
struct Call {
    parts: axum::http::request::Parts,
    body: OutgoingBody,
    protocol: Protocol,
}

impl Call {
    /// Takes a call in, with its message if there is one only.
    async fn read(app: &App, messages: Messages, request: Request) -> Result<Call, ApiError> {
        let (parts, body) = request.into_parts();
        let (body, protocol) = match messages {
            Messages::Unary => {
                let whole = read_body(body, app).await?;
                (OutgoingBody::Whole(whole), Protocol::GrpcUnary)
            }
            Messages::Stream => {
                let stream = SharedBody::new(body);
                (OutgoingBody::Stream(stream), Protocol::GrpcStream)
            }
        };
        Ok(Call {
            parts,
            body,
            protocol,
        })
    }

    fn request(&self) -> Request {
        Request::from_parts(self.parts.clone(), self.body.to_body())
    }

    /// Answers a read. What the view does not know, the leader may: only the leader denies.
    async fn answer_from_view(
        &self,
        app: &App,
        node: &ClusterNode,
        next: Next,
    ) -> Result<Response, ApiError> {
        node.require_current()?;
        let response = answer_here(app, Place::View, self.request(), next.clone()).await?;
        match denies(response.headers()) {
            true => self.forward(app, node, Place::View, next).await,
            false => Ok(response),
        }
    }

    /// Has the leader answer.
    async fn forward(
        &self,
        app: &App,
        node: &ClusterNode,
        place: Place,
        next: Next,
    ) -> Result<Response, ApiError> {
        // A key that this node does not know yet is the leader's to refuse; a known one is named in the log.
        match authenticate(&self.parts.headers, &app.shared) {
            Err(error) if error.code() == ErrorCode::ApiKeyMissing.as_str() => return Err(error),
            _ => {}
        }
        let is_read = place == Place::View;
        let outgoing = Outgoing::new(self.protocol, &self.parts, self.body.clone(), is_read);
        match outgoing.forward(app, node).await? {
            Forwarded::Answer(answer) => Ok(answer),
            Forwarded::LeadsHere => answer_here(app, place, self.request(), next).await,
        }
    }
}

/// Whether a status at the head of an answer says that an API key or an object is not known.
fn denies(headers: &HeaderMap) -> bool {
    let status = headers.get("grpc-status");
    let is_unknown = [Code::Unauthenticated, Code::NotFound].iter().any(|code| {
        status.is_some_and(|status| status.as_bytes() == i32::from(*code).to_string().as_bytes())
    });
    let code = headers.get(CODE);
    is_unknown && code.is_none_or(|code| code != ErrorCode::ApiKeyMissing.as_str())
}
