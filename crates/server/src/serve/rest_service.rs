//! The door of a REST connection: the request that comes most goes straight to its handler, every other one by the router.
//!
//! Routing, and the layers and boxed futures around a handler, cost more than deciding a payment. The handler, and what is
//! counted and logged about a request, are the same on both ways.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use hyper::body::Incoming;
use hyper::service::Service;
use hyper::{HeaderMap, Method, Request};
use hyper_util::service::TowerToHyperService;

use crate::admission::ConnectionPlace;
use crate::app::App;
use crate::auth::error_of_sender;
use crate::cluster::node::Leader;
use crate::observe::{Observed, catch_panic, failure};
use crate::request_head::RequestHead;
use crate::request_notes::RequestNotes;
use crate::response::ErrorResponse;
use crate::routes::payments::pay;

/// The path that goes straight to its handler, with `POST`.
const PAYMENTS: &str = "/v1/payments";

/// Serves the requests of one REST connection.
pub(super) struct RestService {
    app: App,
    router: TowerToHyperService<Router>,
    connection: Arc<ConnectionPlace>,
}

impl RestService {
    pub(super) fn new(app: App, router: Router, connection: Arc<ConnectionPlace>) -> RestService {
        RestService {
            app,
            connection,
            router: TowerToHyperService::new(router),
        }
    }

    /// Answers one request.
    pub(super) async fn answer(
        &self,
        mut request: Request<Incoming>,
    ) -> Result<Response, Infallible> {
        if request.method() == Method::POST && request.uri().path() == PAYMENTS && self.decides() {
            let observed = Observed::begin(&self.app, request.method(), request.headers());
            if let Some(error) = observed.refusal(Some(PAYMENTS), Some(&self.connection)) {
                let response = ErrorResponse(error).into_response();
                return Ok(observed.end(PAYMENTS, None, response).await);
            }
            let (parts, body) = request.into_parts();
            let notes = RequestNotes::new(Some(self.connection.clone()));
            let mut handler = pin!(notes.scope(async {
                let answer = self.pay(parts, body).await;
                answer.unwrap_or_else(IntoResponse::into_response)
            }));
            let response = catch_panic(handler.as_mut()).await;
            let notes = handler.as_mut().take_value();
            let response = response.unwrap_or_else(failure);
            return Ok(observed.end(PAYMENTS, notes, response).await);
        }
        request.extensions_mut().insert(self.connection.clone());
        // The future of the router is large, and rarely what is waited for here.
        let answer = Box::pin(self.router.call(request.map(Body::new)));
        answer.await
    }

    /// Whether payments are decided here, and not by another node.
    fn decides(&self) -> bool {
        let node = self.app.shared.cluster.as_ref();
        node.is_none_or(|node| node.leader() == Leader::ThisNode)
    }

    async fn pay(&self, parts: Parts, body: Incoming) -> Result<Response, ErrorResponse> {
        let shared = &self.app.shared;
        let (limits, parameters) = (&shared.config.limits, &shared.parameters);
        if let Err(error) = RequestHead::of_parts(&parts).check(limits, parameters, Some(PAYMENTS))
        {
            return Err(error_of_sender(&parts.headers, shared, error).into());
        }
        pay(&self.app, into_headers(parts), body).await
    }
}

/// Drops the rest of a head, which keeps the connection's buffer.
fn into_headers(parts: Parts) -> HeaderMap {
    parts.headers
}
