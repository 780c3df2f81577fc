//! Answers over HTTP: errors, and objects as JSON or XML.

use axum::body::{Body, Bytes, HttpBody as _};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use http_body_util::{BodyExt, Collected};
use serde::Serialize;
use tributary_api::error::{ApiError, ErrorAnswer};
use tributary_api::render::xml::xml_of_json;

/// `true` on the repetition of an earlier answer.
pub(crate) const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// Bytes that an object takes in JSON, about.
const OBJECT_BYTES: usize = 1_024;

/// An error on its way to the caller as an HTTP response.
#[derive(Debug)]
pub(crate) struct ErrorResponse(pub(crate) ApiError);

impl From<ApiError> for ErrorResponse {
    fn from(error: ApiError) -> ErrorResponse {
        ErrorResponse(error)
    }
}

impl IntoResponse for ErrorResponse {
    /// Leaves the error in the extensions: the outermost layer knows the request id and writes the body.
    fn into_response(self) -> Response {
        let mut response = status_code(self.0.status()).into_response();
        response.extensions_mut().insert(self.0);
        response
    }
}

/// The finished response for an error.
pub(crate) fn error_response(error: &ApiError, request_id: &str) -> Response {
    let answer = ErrorAnswer {
        error: error.body(request_id),
    };
    let mut response = json(error.status(), &answer);
    let headers = response.headers_mut();
    if let Some(wait) = error.retry_delay() {
        headers.insert(
            header::RETRY_AFTER,
            HeaderValue::from(wait.as_secs().max(1)),
        );
    }
    if error.status() == 401 {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

/// A JSON answer.
pub(crate) fn json<T: Serialize>(status: u16, body: &T) -> Response {
    let mut bytes = Vec::with_capacity(OBJECT_BYTES);
    serde_json::to_writer(&mut bytes, body).expect("an answer is JSON");
    json_bytes(status, bytes)
}

/// An answer that is JSON already.
pub(crate) fn json_bytes(status: u16, bytes: impl Into<Body>) -> Response {
    let mut response = Response::new(bytes.into());
    *response.status_mut() = status_code(status);
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

/// Turns an answer that is JSON into XML. Every other answer stays as it is.
pub(crate) async fn into_xml(response: Response) -> Response {
    let content_type = response.headers().get(header::CONTENT_TYPE);
    let is_whole = response.body().size_hint().exact().is_some();
    if content_type.is_none_or(|value| value != "application/json") || !is_whole {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    // A whole body has all its bytes: it does not fail, and there is nothing to wait for.
    let json = body.collect().await;
    let json = json.map_or_else(|_| Bytes::new(), Collected::to_bytes);
    // There is no body, or it is no JSON: what is answered by this server is JSON.
    let Some(xml) = xml_of_json(&json) else {
        return Response::from_parts(parts, Body::from(json));
    };
    let content_type = HeaderValue::from_static("application/xml");
    parts.headers.insert(header::CONTENT_TYPE, content_type);
    parts.headers.remove(header::CONTENT_LENGTH);
    Response::from_parts(parts, Body::from(xml))
}

/// Marks an answer as the repetition of an earlier one, if so.
pub(crate) fn mark_replayed(mut response: Response, replayed: bool) -> Response {
    if replayed {
        response
            .headers_mut()
            .insert(REPLAYED, HeaderValue::from_static("true"));
    }
    response
}

fn status_code(status: u16) -> StatusCode {
    StatusCode::from_u16(status).expect("every status that is answered is an HTTP status")
}
