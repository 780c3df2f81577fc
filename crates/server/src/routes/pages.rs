//! `/openapi.json`, `/docs` and the pages of the error codes.

use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use tributary_api::code::ErrorCode;
use tributary_api::error::ApiError;
use tributary_api::error_pages;

use crate::app::App;
use crate::extract::Id;
use crate::response::ErrorResponse;

/// The description of this API.
pub(crate) async fn openapi(State(app): State<App>) -> Response {
    let kind = HeaderValue::from_static("application/json");
    ([(header::CONTENT_TYPE, kind)], app.shared.openapi.clone()).into_response()
}

/// The description of this API, to read.
pub(crate) async fn docs(State(app): State<App>) -> Response {
    html(app.shared.docs.clone())
}

/// The page of an error code.
pub(crate) async fn error_page(Id(code): Id) -> Result<Response, ErrorResponse> {
    let page = error_pages::find(&code)
        .ok_or_else(|| ApiError::new(ErrorCode::RouteNotFound, "There is no such error code."))?;
    let kind = HeaderValue::from_static("text/markdown; charset=utf-8");
    Ok(([(header::CONTENT_TYPE, kind)], page).into_response())
}

fn html(page: axum::body::Bytes) -> Response {
    let headers = [
        (
            header::CONTENT_TYPE,
            HeaderValue::from_static("text/html; charset=utf-8"),
        ),
        // The page brings its own style and runs nothing.
        (
            header::CONTENT_SECURITY_POLICY,
            HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'"),
        ),
    ];
    (headers, page).into_response()
}
