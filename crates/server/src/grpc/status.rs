//! Errors as gRPC says them: a status, with the stable code in its metadata.

use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{Code, Status};
use tributary_api::error::ApiError;

/// The stable code.
pub(crate) const CODE: &str = "tributary-code";
/// The field at fault.
const PARAM: &str = "tributary-param";
/// How long to wait before trying again, in milliseconds; gRPC's own name for it.
const PUSHBACK: &str = "grpc-retry-pushback-ms";

/// The status of a call that failed.
pub(crate) fn status_of(error: &ApiError) -> Status {
    let mut metadata = MetadataMap::new();
    metadata.insert(CODE, MetadataValue::from_static(error.code()));
    // A field's name is of our making: plain text.
    if let Some(param) = error.parameter().and_then(|param| param.parse().ok()) {
        metadata.insert(PARAM, param);
    }
    if let Some(wait) = error.retry_delay() {
        let ms = MetadataValue::from(wait.as_millis().try_into().unwrap_or(u64::MAX));
        metadata.insert(PUSHBACK, ms);
    }
    Status::with_metadata(grpc_code(error), error.message().to_owned(), metadata)
}

/// By the code where it has a meaning of its own in gRPC, else by the HTTP status.
fn grpc_code(error: &ApiError) -> Code {
    match (error.code(), error.status()) {
        ("record_damaged", _) => Code::DataLoss,
        (_, 400 | 413 | 415 | 422) => Code::InvalidArgument,
        (_, 401) => Code::Unauthenticated,
        (_, 402 | 409) => Code::FailedPrecondition,
        (_, 403) => Code::PermissionDenied,
        (_, 404) => Code::NotFound,
        (_, 408 | 504) => Code::DeadlineExceeded,
        (_, 429) => Code::ResourceExhausted,
        (_, 421 | 503) => Code::Unavailable,
        _ => Code::Internal,
    }
}
