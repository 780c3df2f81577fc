//! The one shape of every error answer.

use std::borrow::Cow;
use std::time::Duration;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::code::{ErrorCode, ErrorType};

/// Where the page of a code stands, on the server itself.
pub(crate) const DOCS_PATH: &str = "/docs/errors";

/// An error on its way to the caller. The request id is added where the answer leaves the server.
#[derive(Clone, Debug)]
pub(crate) struct ApiError {
    status: u16,
    kind: ErrorType,
    code: &'static str,
    message: Cow<'static, str>,
    param: Option<String>,
    payment: Option<String>,
    retry_after: Option<Duration>,
}

impl ApiError {
    pub(crate) fn new(code: ErrorCode, message: impl Into<Cow<'static, str>>) -> ApiError {
        ApiError {
            status: code.status(),
            kind: code.kind(),
            code: code.as_str(),
            message: message.into(),
            param: None,
            payment: None,
            retry_after: None,
        }
    }

    /// A refusal that is on record: `code` and `message` are the ledger's.
    pub(crate) fn refused(
        status: u16,
        kind: ErrorType,
        code: &'static str,
        message: &'static str,
    ) -> ApiError {
        ApiError {
            status,
            kind,
            code,
            message: message.into(),
            param: None,
            payment: None,
            retry_after: None,
        }
    }

    /// Something that the request names is not there, or not this caller's to see: the two are not told apart.
    pub(crate) fn not_found(what: &'static str, param: &str) -> ApiError {
        ApiError::new(
            ErrorCode::ResourceNotFound,
            format!("There is no such {what}."),
        )
        .param(param)
    }

    pub(crate) fn invalid(param: &str, message: impl Into<Cow<'static, str>>) -> ApiError {
        ApiError::new(ErrorCode::ParameterInvalid, message).param(param)
    }

    /// Names the field or parameter that is at fault.
    pub(crate) fn param(mut self, param: impl Into<String>) -> ApiError {
        self.param = Some(param.into());
        self
    }

    /// Puts `prefix` before the named field: the place of a command within a batch.
    pub(crate) fn within(mut self, prefix: &str) -> ApiError {
        self.param = Some(match self.param.take() {
            Some(param) => format!("{prefix}.{param}"),
            None => prefix.to_owned(),
        });
        self
    }

    /// Names the payment that the refusal is about.
    pub(crate) fn payment(mut self, id: Option<String>) -> ApiError {
        self.payment = id;
        self
    }

    /// Says when to try again.
    pub(crate) fn retry_after(mut self, wait: Duration) -> ApiError {
        self.retry_after = Some(wait);
        self
    }

    pub(crate) fn status(&self) -> u16 {
        self.status
    }

    /// What went wrong, for a person.
    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    /// The field or parameter at fault.
    pub(crate) fn at(&self) -> Option<&str> {
        self.param.as_deref()
    }

    /// How long to wait before trying again.
    pub(crate) fn wait(&self) -> Option<Duration> {
        self.retry_after
    }

    pub(crate) fn code(&self) -> &'static str {
        self.code
    }

    /// The JSON object under `error`.
    pub(crate) fn body(&self, request_id: &str) -> ErrorBody {
        ErrorBody {
            kind: self.kind.as_str(),
            code: self.code,
            message: self.message.clone(),
            param: self.param.clone(),
            payment: self.payment.clone(),
            doc_url: format!("{DOCS_PATH}/{}", self.code),
            request_id: request_id.to_owned(),
        }
    }

    /// The finished answer.
    pub(crate) fn response(&self, request_id: &str) -> Response {
        let answer = ErrorAnswer {
            error: self.body(request_id),
        };
        let bytes = serde_json::to_vec(&answer).expect("an error is JSON");
        let status = StatusCode::from_u16(self.status).expect("a code's status is an HTTP status");
        let mut response = (status, bytes).into_response();
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        );
        if let Some(wait) = self.retry_after {
            headers.insert(
                header::RETRY_AFTER,
                HeaderValue::from(wait.as_secs().max(1)),
            );
        }
        if self.status == 401 {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl IntoResponse for ApiError {
    /// Leaves the error in the extensions: the outermost layer knows the request id and writes the body.
    fn into_response(self) -> Response {
        let mut response = StatusCode::from_u16(self.status)
            .expect("a code's status is an HTTP status")
            .into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// Every error answer.
#[derive(Serialize, ToSchema)]
#[schema(as = Error)]
pub(crate) struct ErrorAnswer {
    error: ErrorBody,
}

/// What went wrong.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = ErrorDetail)]
pub(crate) struct ErrorBody {
    /// The family of the error.
    #[serde(rename = "type")]
    #[schema(schema_with = error_types)]
    kind: &'static str,
    /// The stable code; each has a page under `doc_url`.
    #[schema(example = "parameter_invalid")]
    code: &'static str,
    /// One sentence for a person. Its wording may change; the code does not.
    #[schema(value_type = String)]
    message: Cow<'static, str>,
    /// The field or parameter at fault, where there is one.
    #[schema(required)]
    param: Option<String>,
    /// The payment that was refused, or whose change was refused.
    #[schema(required)]
    payment: Option<String>,
    /// The page that explains the code.
    doc_url: String,
    /// The request, as it stands in the server's log and in the `Request-Id` header.
    request_id: String,
}

fn error_types() -> utoipa::openapi::schema::Object {
    utoipa::openapi::schema::ObjectBuilder::new()
        .schema_type(utoipa::openapi::schema::Type::String)
        .enum_values(Some(ErrorType::ALL.map(ErrorType::as_str)))
        .build()
}
