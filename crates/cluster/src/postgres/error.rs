//! What the errors of the client library mean for a log.

use tokio_postgres::error::SqlState;

use crate::log::LogError;

/// Returns what an error of a statement about the table means.
pub(super) fn no_table(error: tokio_postgres::Error) -> LogError {
    match error.code() {
        Some(&SqlState::UNDEFINED_TABLE) => LogError::Unfit(
            "PostgreSQL has no table tributary_log in this database: `tributary cluster init` makes it".to_owned(),
        ),
        _ => disconnected(error),
    }
}

/// Returns that the session has ended, with what the server or the connection said.
#[allow(
    clippy::needless_pass_by_value,
    reason = "the signature that map_err takes"
)]
pub(super) fn disconnected(error: tokio_postgres::Error) -> LogError {
    let text = match error.as_db_error() {
        Some(said) => format!("PostgreSQL: {} ({})", said.message(), said.code().code()),
        None => {
            let source = std::error::Error::source(&error).map(ToString::to_string);
            format!(
                "PostgreSQL: {error}{}",
                source.map_or(String::new(), |source| format!(": {source}"))
            )
        }
    };
    LogError::Disconnected(text)
}
