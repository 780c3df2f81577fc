//! The limit on open files. Connections count as open files: without a reserve, connections could prevent the journal from
//! opening its next segment.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Number of files reserved for the journal, its index and checkpoints, reads, and the process itself.
const FILES_RESERVED: u64 = 512;

/// Raises the limit on open files as far as the system permits. Returns the limit, or `None` for no limit.
pub(crate) fn raise_file_limit() -> Option<u64> {
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

/// Returns the maximum number of concurrent webhook attempts if `files` files may be open.
pub(crate) fn webhooks_max(files: Option<u64>) -> usize {
    let eighth = files.map_or(u64::MAX, |files| files / 8);
    usize::try_from(eighth)
        .unwrap_or(usize::MAX)
        .clamp(4, 1_000)
}

/// Returns the number of connections out of `wanted` that fit if `files` files may be open; at least 1.
pub(crate) fn connections_max(wanted: usize, files: Option<u64>) -> usize {
    let Some(files) = files else { return wanted };
    let left = files.saturating_sub(FILES_RESERVED).max(files / 4).max(1);
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
            assert_eq!(connections_max(wanted, files), within, "{files:?}");
        }
        for (files, within) in [(None, 1_000), (Some(1_024), 128), (Some(0), 4)] {
            assert_eq!(webhooks_max(files), within, "{files:?}");
        }
    }
}
