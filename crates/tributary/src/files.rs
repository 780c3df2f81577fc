//! How many files the process may have open. Connections count as files: if they could take all, the journal could not
//! open its next segment.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Kept for the journal, its index and checkpoints, for reads, and for what the process needs itself.
const KEPT: u64 = 512;

/// Raises the limit as far as the system lets this process; gives how many files it may have open, none for no limit.
pub(crate) fn raise_limit() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::debug!(%error, "the limit on open files stays as it is");
    }
    getrlimit(Resource::Nofile).current
}

/// How many webhooks may be under way at once where `files` may be open.
pub(crate) fn webhooks_within(files: Option<u64>) -> usize {
    let eighth = files.map_or(u64::MAX, |files| files / 8);
    usize::try_from(eighth)
        .unwrap_or(usize::MAX)
        .clamp(2, 1_000)
}

/// How many of the wanted connections there may be where `files` may be open; at least one.
pub(crate) fn connections_within(wanted: usize, files: Option<u64>) -> usize {
    let Some(files) = files else { return wanted };
    let left = files.saturating_sub(KEPT).max(files / 4).max(1);
    wanted.min(usize::try_from(left).unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_files_for_the_journal() {
        for (wanted, files, within) in [
            (10_000, None, 10_000),
            (10_000, Some(1_048_576), 10_000),
            (10_000, Some(1_024), 512),
            (10_000, Some(256), 64),
            (5, Some(256), 5),
            (5, Some(0), 1),
        ] {
            assert_eq!(connections_within(wanted, files), within, "{files:?}");
        }
        for (files, within) in [(None, 1_000), (Some(1_024), 128), (Some(0), 2)] {
            assert_eq!(webhooks_within(files), within, "{files:?}");
        }
    }
}
