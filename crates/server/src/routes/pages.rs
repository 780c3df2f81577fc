//! `/openapi.json`, `/docs` and the pages of the error codes.

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use tributary_api::code::ErrorCode;
use tributary_api::error::ApiError;
use tributary_api::error_pages;

use crate::app::App;
use crate::docs_page;
use crate::extract::Id;
use crate::response::ErrorResponse;

/// What the pages may do: load the server's own style and script, and nothing else.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'";

/// The description of this API.
pub(crate) async fn openapi(State(app): State<App>) -> Response {
    let kind = HeaderValue::from_static("application/json");
    ([(header::CONTENT_TYPE, kind)], app.shared.openapi.clone()).into_response()
}

/// The description of this API, to read.
pub(crate) async fn docs(State(app): State<App>) -> Response {
    document("text/html; charset=utf-8", app.shared.docs.clone())
}

/// The style of the pages.
pub(crate) async fn style() -> Response {
    document("text/css; charset=utf-8", docs_page::STYLE)
}

/// The script of the search field.
pub(crate) async fn search() -> Response {
    document("text/javascript; charset=utf-8", docs_page::SEARCH)
}

/// The list of the error codes.
pub(crate) async fn error_index(headers: HeaderMap) -> Response {
    in_wanted_form(&headers, error_pages::INDEX, docs_page::error_index)
}

/// The page of an error code.
pub(crate) async fn error_page(
    Id(code): Id,
    headers: HeaderMap,
) -> Result<Response, ErrorResponse> {
    let unknown = || ApiError::new(ErrorCode::RouteNotFound, "There is no such error code.");
    let page = error_pages::find(&code).ok_or_else(unknown)?;
    Ok(in_wanted_form(&headers, page, || {
        docs_page::error_page(&code).expect("the code has a page")
    }))
}

/// HTML for a browser, which asks for it; else Markdown.
fn in_wanted_form(
    headers: &HeaderMap,
    markdown: &'static str,
    html: impl FnOnce() -> String,
) -> Response {
    let accepted = headers.get_all(header::ACCEPT).iter();
    let is_browser = accepted
        .filter_map(|value| value.to_str().ok())
        .any(|value| value.contains("text/html"));
    let mut response = if is_browser {
        document("text/html; charset=utf-8", html())
    } else {
        document("text/markdown; charset=utf-8", markdown)
    };
    let vary = HeaderValue::from_static("Accept");
    response.headers_mut().insert(header::VARY, vary);
    response
}

fn document(kind: &'static str, body: impl Into<Bytes>) -> Response {
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, body.into()).into_response()
}
