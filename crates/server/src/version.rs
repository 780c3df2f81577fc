//! The version of the HTTP API: a request may name it, and every answer does.

use axum::http::{HeaderMap, HeaderName};
use tributary_api::code::ErrorCode;
use tributary_api::error::ApiError;

/// Header that names the version of the API.
pub(crate) const API_VERSION: HeaderName = HeaderName::from_static("tributary-version");

/// The only version so far.
pub(crate) const CURRENT_VERSION: &str = "2026-11-01";

/// Checks the version that a request names, if it names one.
///
/// # Errors
/// If this server does not know the version, or the header is given twice.
pub(crate) fn check_version(headers: &HeaderMap) -> Result<(), ApiError> {
    let mut named = headers.get_all(API_VERSION).iter();
    match (named.next(), named.next()) {
        (None, _) => Ok(()),
        (Some(version), None) if version.as_bytes() == CURRENT_VERSION.as_bytes() => Ok(()),
        _ => {
            let message = format!(
                "Tributary-Version must be {CURRENT_VERSION}, given once; leave it out for the newest version."
            );
            let error = ApiError::new(ErrorCode::ApiVersionUnknown, message);
            Err(error.param("Tributary-Version"))
        }
    }
}
