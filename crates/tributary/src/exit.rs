//! Exit codes of the command. Scripts depend on them: a code never changes its meaning.

use std::process::ExitCode;

/// How a subcommand ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// All was done.
    Done,
    /// The import went through the whole file, but some rows were refused.
    RowsRefused,
    /// The books do not verify: something in the directory is damaged or wrong.
    NotVerified,
}

impl Exit {
    /// The number that the shell sees.
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

/// It could not be done; running it again may help.
pub(crate) const FAILED: u8 = 1;
/// The arguments, the configuration or the map file are wrong; running it again cannot help.
pub(crate) const WRONG_USE: u8 = 2;
/// The server stopped itself because its storage failed.
pub(crate) const STORAGE_FAILED: u8 = 5;

/// An error that the caller made: arguments, configuration, map file.
#[derive(Debug)]
pub(crate) struct WrongUse(pub(crate) String);

impl std::fmt::Display for WrongUse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for WrongUse {}

/// The storage failed while serving: nothing more was acknowledged.
#[derive(Debug)]
pub(crate) struct StorageFailed(pub(crate) String);

impl std::fmt::Display for StorageFailed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the storage failed, so the server stopped: {}", self.0)
    }
}

impl std::error::Error for StorageFailed {}

/// A [`WrongUse`] as an [`anyhow::Error`].
pub(crate) fn wrong_use(text: impl Into<String>) -> anyhow::Error {
    anyhow::Error::new(WrongUse(text.into()))
}

/// The exit code for an error.
pub(crate) fn code_of(error: &anyhow::Error) -> u8 {
    if error.chain().any(|cause| cause.is::<WrongUse>()) {
        WRONG_USE
    } else if error.chain().any(|cause| cause.is::<StorageFailed>()) {
        STORAGE_FAILED
    } else {
        FAILED
    }
}
