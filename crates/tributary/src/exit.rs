//! Exit codes of the command. Scripts depend on the codes: a code never changes its meaning.

use std::process::ExitCode;

/// Result of a subcommand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// The subcommand succeeded.
    Done,
    /// The import read the whole file, but some rows were refused.
    RowsRefused,
    /// The books do not verify: the directory is damaged or wrong.
    NotVerified,
}

impl Exit {
    /// Returns the exit code.
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::RowsRefused => 3,
            Self::NotVerified => 4,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// Exit code for a failure that may not occur again.
pub(crate) const FAILED: u8 = 1;
/// Exit code for wrong arguments, configuration or map file: the same command cannot succeed.
pub(crate) const USAGE_ERROR: u8 = 2;
/// Exit code of a server that stopped because its storage failed.
pub(crate) const STORAGE_FAILED: u8 = 5;

/// The arguments, the configuration or the map file are wrong.
#[derive(Debug)]
pub(crate) struct UsageError(pub(crate) String);

impl std::fmt::Display for UsageError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for UsageError {}

/// The storage failed while serving. Nothing was acknowledged after the failure.
#[derive(Debug)]
pub(crate) struct StorageFailed(pub(crate) String);

impl std::fmt::Display for StorageFailed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the storage failed, so the server stopped: {}", self.0)
    }
}

impl std::error::Error for StorageFailed {}

/// Makes a [`UsageError`].
pub(crate) fn usage_error(text: impl Into<String>) -> anyhow::Error {
    anyhow::Error::new(UsageError(text.into()))
}

/// Returns the exit code for an error.
pub(crate) fn exit_code(error: &anyhow::Error) -> u8 {
    if error.chain().any(|cause| cause.is::<UsageError>()) {
        USAGE_ERROR
    } else if error.chain().any(|cause| cause.is::<StorageFailed>()) {
        STORAGE_FAILED
    } else {
        FAILED
    }
}
