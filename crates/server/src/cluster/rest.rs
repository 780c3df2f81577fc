//! Answers requests of REST on a node: here, or by the leader.

use axum::body::Body;
use axum::extract::Request;
use axum::http::Method;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use tributary_api::caller::api_key_missing;
use tributary_api::code::ErrorCode;
use tributary_api::error::ApiError;

use crate::app::App;
use crate::auth::authenticate;
use crate::cluster::forward::{Forwarded, Outgoing, OutgoingBody, Protocol};
use crate::cluster::headers::is_forwarded;
use crate::cluster::node::{ClusterNode, Leader};
use crate::cluster::places::{Place, place_of_route};
use crate::cluster::position::ReadTerms;
use crate::extract::read_body;
use crate::response::ErrorResponse;

/// Answers a request to this route; none if its path leads nowhere.
pub(crate) async fn answer(
    app: &App,
    route: Option<&str>,
    request: Request,
    next: Next,
) -> Response {
    let answer = match route {
        Some(route) => answer_route(app, route, request, next).await,
        None => Ok(next.run(request).await),
    };
    answer.unwrap_or_else(|error| ErrorResponse(error).into_response())
}

async fn answer_route(
    app: &App,
    route: &str,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let place = place_of_route(request.method(), route);
    if place == Place::Node {
        return Ok(next.run(request).await);
    }
    let Some(node) = &app.shared.cluster else {
        return answer_here(app, request, next).await;
    };
    let leader = node.leader();
    match leader {
        Leader::ThisNode => answer_here(app, request, next).await,
        Leader::Stopped => Err(node.stopped()),
        Leader::Other(_) | Leader::Unknown => {
            if is_forwarded(request.headers()) {
                return Err(node.refuse_second_hop(&leader));
            }
            match place {
                Place::View => answer_from_view(app, node, request, next).await,
                _ => forward(app, node, request, next).await,
            }
        }
    }
}

fn is_read(request: &Request) -> bool {
    matches!(*request.method(), Method::GET | Method::HEAD)
}

/// Answers here, once the view is as a read asks.
async fn answer_here(app: &App, request: Request, next: Next) -> Result<Response, ApiError> {
    if is_read(&request) {
        let terms = ReadTerms::from_query(request.uri().query())?;
        terms.wait(app, request.headers()).await?;
    }
    Ok(next.run(request).await)
}

/// Answers a read on a follower. What its view does not know, the leader may: only the leader denies.
async fn answer_from_view(
    app: &App,
    node: &ClusterNode,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    node.require_current()?;
    let (parts, body) = request.into_parts();
    let again = Request::from_parts(parts.clone(), Body::empty());
    let request = Request::from_parts(parts, body);
    let response = answer_here(app, request, next.clone()).await?;
    match response.extensions().get::<ApiError>() {
        Some(error) if denies(error) => forward(app, node, again, next).await,
        _ => Ok(response),
    }
}

/// Whether the error says that an API key or an object is not known.
fn denies(error: &ApiError) -> bool {
    let is_unknown = [401, 404].contains(&error.status());
    let needs_no_view = [ErrorCode::ApiKeyMissing, ErrorCode::RouteNotFound];
    is_unknown
        && needs_no_view
            .iter()
            .all(|code| code.as_str() != error.code())
}

/// Has the leader answer.
async fn forward(
    app: &App,
    node: &ClusterNode,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let is_read = is_read(&request);
    let (parts, body) = request.into_parts();
    // A key that this node does not know yet is the leader's to refuse; a known one is named in the log.
    match authenticate(&parts.headers, &app.shared) {
        Err(error) if error.code() == ErrorCode::ApiKeyMissing.as_str() => {
            return Err(api_key_missing());
        }
        _ => {}
    }
    let body = OutgoingBody::Whole(read_body(body, app).await?);
    let outgoing = Outgoing::new(Protocol::Rest, &parts, body.clone(), is_read);
    match outgoing.forward(app, node).await? {
        Forwarded::Answer(answer) => Ok(answer),
        Forwarded::LeadsHere => {
            answer_here(app, Request::from_parts(parts, body.to_body()), next).await
        }
    }
}
