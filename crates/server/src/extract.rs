//! Extractors of handlers: JSON and XML bodies, query parameters, the id in the path and the idempotency key.

use axum::BoxError;
use axum::body::{Bytes, HttpBody as Body};
use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use axum::response::Response;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tributary_api::caller::Caller;
use tributary_api::code::ErrorCode;
use tributary_api::error::ApiError;
use tributary_api::form::body::BodyFormat;
use tributary_api::form::idempotency::{key_given_twice, key_missing, parse_header};
use tributary_api::form::{json, query};
use tributary_api::render::expand::{Expandable, expand};
use tributary_ledger::Key;

use crate::app::App;
use crate::request_head::body_too_large;
use crate::response::{ErrorResponse, json as json_response};

/// A body that is an object, in JSON or XML, read into `T`.
pub(crate) struct Json<T>(pub(crate) T);

/// A body that is an array, in JSON or XML, read into `T`.
pub(crate) struct JsonArray<T>(pub(crate) T);

/// A body in JSON or XML that may be left out: nothing means `{}`.
pub(crate) struct OptionalJson<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequest<App> for Json<T> {
    type Rejection = ErrorResponse;

    async fn from_request(request: Request, app: &App) -> Result<Json<T>, ErrorResponse> {
        let format = body_format(request.headers())?;
        Ok(Json(read_object(format, request.into_body(), app).await?))
    }
}

impl<T: DeserializeOwned> FromRequest<App> for JsonArray<T> {
    type Rejection = ErrorResponse;

    async fn from_request(request: Request, app: &App) -> Result<JsonArray<T>, ErrorResponse> {
        let format = body_format(request.headers())?;
        let bytes = read_body(request.into_body(), app).await?;
        Ok(JsonArray(format.parse(&bytes)?))
    }
}

impl<T: DeserializeOwned> FromRequest<App> for OptionalJson<T> {
    type Rejection = ErrorResponse;

    async fn from_request(request: Request, app: &App) -> Result<OptionalJson<T>, ErrorResponse> {
        let format = body_format(request.headers());
        let bytes = read_body(request.into_body(), app).await?;
        if bytes.is_empty() {
            return Ok(OptionalJson(json::parse_object(b"{}")?));
        }
        Ok(OptionalJson(format?.parse_object(&bytes)?))
    }
}

/// Reads a body of this format that is an object into `T`.
pub(crate) async fn read_object<T: DeserializeOwned, B>(
    format: BodyFormat,
    body: B,
    app: &App,
) -> Result<T, ApiError>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    let bytes = read_body(body, app).await?;
    format.parse_object(&bytes)
}

/// Returns the format of the body that these headers announce.
pub(crate) fn body_format(headers: &HeaderMap) -> Result<BodyFormat, ApiError> {
    let content_type = headers.get(header::CONTENT_TYPE);
    let content_type = content_type.and_then(|value| value.to_str().ok());
    let format = content_type.and_then(BodyFormat::from_content_type);
    format.ok_or_else(|| {
        ApiError::new(
            ErrorCode::ContentTypeUnsupported,
            "Send the body as JSON, with Content-Type: application/json, or as XML in UTF-8, with application/xml.",
        )
    })
}

/// Reads a body of bounded size, in bounded time.
pub(crate) async fn read_body<B>(body: B, app: &App) -> Result<Bytes, ApiError>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    let limits = &app.shared.config.limits;
    let body = Limited::new(body, limits.body_bytes_max);
    let collected = app
        .timeouts
        .within(limits.body_read_timeout, body.collect());
    let collected = collected.await.ok_or_else(|| {
        ApiError::new(
            ErrorCode::RequestTimeout,
            "The body did not arrive in time.",
        )
    })?;
    match collected {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(body_too_large(limits.body_bytes_max)),
        Err(_) => Err(ApiError::new(
            ErrorCode::JsonMalformed,
            "The body broke off.",
        )),
    }
}

/// The query parameters, read into `T`.
pub(crate) struct Query<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequestParts<App> for Query<T> {
    type Rejection = ErrorResponse;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Query<T>, ErrorResponse> {
        Ok(Query(query::parse(parts.uri.query().unwrap_or_default())?))
    }
}

/// The fields that the query asks to expand.
pub(crate) struct Expand(Vec<String>);

impl FromRequestParts<App> for Expand {
    type Rejection = ErrorResponse;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Expand, ErrorResponse> {
        let query = parts.uri.query().unwrap_or_default();
        Ok(Expand(query::expanded_fields(query)))
    }
}

impl Expand {
    /// Whether no field is to be expanded.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Answers with an object or a list, in which the fields asked for are expanded, out of the `known` ones.
    pub(crate) async fn answer<T: Serialize + Send + 'static>(
        self,
        app: &App,
        caller: Caller,
        known: &'static [Expandable],
        answer: T,
    ) -> Result<Response, ErrorResponse> {
        if self.0.is_empty() {
            return Ok(json_response(200, &answer));
        }
        let expanded = app
            .read(caller.actor.owner, move |shared| {
                expand(&shared.reader, &caller, known, &self.0, &answer)
            })
            .await?;
        Ok(json_response(200, &expanded))
    }
}

/// The key of a write.
pub(crate) struct IdempotencyKey(pub(crate) Key);

impl FromRequestParts<App> for IdempotencyKey {
    type Rejection = ErrorResponse;

    async fn from_request_parts(
        parts: &mut Parts,
        _: &App,
    ) -> Result<IdempotencyKey, ErrorResponse> {
        Ok(IdempotencyKey(idempotency_key(&parts.headers)?))
    }
}

/// The key of a write that may come without one: doing it twice is the same, or the caller can tell.
pub(crate) struct OptionalIdempotencyKey(pub(crate) Option<Key>);

impl FromRequestParts<App> for OptionalIdempotencyKey {
    type Rejection = ErrorResponse;

    async fn from_request_parts(
        parts: &mut Parts,
        _: &App,
    ) -> Result<OptionalIdempotencyKey, ErrorResponse> {
        let given = parts.headers.contains_key("idempotency-key");
        let key = given.then(|| idempotency_key(&parts.headers));
        Ok(OptionalIdempotencyKey(key.transpose()?))
    }
}

/// The idempotency key in the headers of a write.
pub(crate) fn idempotency_key(headers: &HeaderMap) -> Result<Key, ApiError> {
    let mut values = headers.get_all("idempotency-key").iter();
    let value = values.next().ok_or_else(key_missing)?;
    if values.next().is_some() {
        return Err(key_given_twice());
    }
    parse_header(value.to_str().ok())
}

/// The id in the path.
pub(crate) struct Id(pub(crate) String);

impl FromRequestParts<App> for Id {
    type Rejection = ErrorResponse;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Id, ErrorResponse> {
        let path = Path::<String>::from_request_parts(parts, app).await;
        path.map(|Path(id)| Id(id))
            .map_err(|_| ApiError::not_found("object", "id").into())
    }
}
