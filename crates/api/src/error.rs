//! The one shape of every error answer.

use std::borrow::Cow;
use std::time::Duration;

use serde::Serialize;
use utoipa::ToSchema;
use utoipa::openapi::schema::Object;

use crate::code::{ErrorCode, ErrorType};
use crate::schema::one_of;

/// Where the page of a code stands, on the server itself.
pub const DOCS_PATH: &str = "/docs/errors";

/// An error on its way to the caller. The request id is added where the answer leaves the server.
#[derive(Clone, Debug)]
pub struct ApiError {
    status: u16,
    kind: ErrorType,
    code: &'static str,
    message: Cow<'static, str>,
    param: Option<String>,
    payment: Option<Box<str>>,
    named: Option<Box<Named>>,
    retry_after: Option<Duration>,
}

/// Objects that few errors name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Named {
    account: Option<String>,
    limit: Option<String>,
}

impl ApiError {
    /// Returns the error `code`; `message` is one sentence for a person.
    pub fn new(code: ErrorCode, message: impl Into<Cow<'static, str>>) -> ApiError {
        ApiError {
            status: code.status(),
            kind: code.kind(),
            code: code.as_str(),
            message: message.into(),
            param: None,
            payment: None,
            named: None,
            retry_after: None,
        }
    }

    /// A refusal that is on record: `code` and `message` are the ledger's.
    pub fn refused(
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
            named: None,
            retry_after: None,
        }
    }

    /// Something that the request names is not there, or not this caller's to see: the two are not told apart.
    pub fn not_found(what: &'static str, param: &str) -> ApiError {
        ApiError::new(
            ErrorCode::ResourceNotFound,
            format!("There is no such {what}."),
        )
        .param(param)
    }

    /// Error of a field or parameter with a wrong form.
    pub fn invalid(param: &str, message: impl Into<Cow<'static, str>>) -> ApiError {
        ApiError::new(ErrorCode::ParameterInvalid, message).param(param)
    }

    /// Names the field or parameter that is at fault.
    pub fn param(mut self, param: impl Into<String>) -> ApiError {
        self.param = Some(param.into());
        self
    }

    /// Puts `prefix` before the named field: the place of a command within a batch.
    pub fn within(mut self, prefix: &str) -> ApiError {
        self.param = Some(match self.param.take() {
            Some(param) => format!("{prefix}.{param}"),
            None => prefix.to_owned(),
        });
        self
    }

    /// Replaces the message.
    pub fn with_message(mut self, message: impl Into<Cow<'static, str>>) -> ApiError {
        self.message = message.into();
        self
    }

    /// Names the payment that the refusal is about.
    pub fn payment(mut self, id: Option<String>) -> ApiError {
        self.payment = id.map(String::into_boxed_str);
        self
    }

    /// Names the account that the refusal is about.
    pub fn account(mut self, id: Option<String>) -> ApiError {
        self.named.get_or_insert_default().account = id;
        self
    }

    /// Names the limit that the refusal is about.
    pub fn limit(mut self, id: String) -> ApiError {
        self.named.get_or_insert_default().limit = Some(id);
        self
    }

    /// Says when to try again.
    pub fn retry_after(mut self, wait: Duration) -> ApiError {
        self.retry_after = Some(wait);
        self
    }

    /// HTTP status of the error.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// Message of the error, for people.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The field or parameter at fault.
    pub fn parameter(&self) -> Option<&str> {
        self.param.as_deref()
    }

    /// How long to wait before trying again.
    pub fn retry_delay(&self) -> Option<Duration> {
        self.retry_after
    }

    /// The stable code.
    pub fn code(&self) -> &'static str {
        self.code
    }

    /// The JSON object under `error`.
    pub fn body(&self, request_id: &str) -> ErrorBody {
        ErrorBody {
            kind: self.kind.as_str(),
            code: self.code,
            message: self.message.clone(),
            param: self.param.clone(),
            payment: self.payment.as_deref().map(str::to_owned),
            account: self.named.as_ref().and_then(|named| named.account.clone()),
            limit: self.named.as_ref().and_then(|named| named.limit.clone()),
            doc_url: format!("{DOCS_PATH}/{}", self.code),
            request_id: request_id.to_owned(),
        }
    }
}

/// Every error answer.
#[derive(Serialize, ToSchema)]
#[schema(as = Error)]
pub struct ErrorAnswer {
    /// Details of an error.
    pub error: ErrorBody,
}

/// Details of an error.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = ErrorDetail)]
pub struct ErrorBody {
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
    /// The account that lacks funds, where the API key may see it; only with `insufficient_funds`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    account: Option<String>,
    /// The limit that the payment would exceed; only with `limit_exceeded`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    limit: Option<String>,
    /// Path of the page that explains the code, on this server: `/docs/errors/` and the code.
    doc_url: String,
    /// The request, as it stands in the server's log and in the `Request-Id` header.
    request_id: String,
}

fn error_types() -> Object {
    one_of(ErrorType::ALL.map(ErrorType::as_str))
}
