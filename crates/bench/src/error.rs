//! Errors of the caller, and exit codes.

/// Exit code for wrong arguments: another run with the same arguments cannot succeed. clap uses the same code.
const USAGE_EXIT_CODE: u8 = 2;
/// Exit code for every other failure.
const FAILURE_EXIT_CODE: u8 = 1;

/// The caller's arguments are wrong.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct UsageError(String);

/// Makes an error for wrong arguments.
pub(crate) fn usage_error(text: impl Into<String>) -> anyhow::Error {
    UsageError(text.into()).into()
}

/// Returns the exit code for an error.
pub(crate) fn exit_code(error: &anyhow::Error) -> u8 {
    match error.chain().any(|cause| cause.is::<UsageError>()) {
        true => USAGE_EXIT_CODE,
        false => FAILURE_EXIT_CODE,
    }
}
