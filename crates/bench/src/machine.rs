//! Facts about a process and a directory, as the operating system reports them.

use std::fs;
use std::path::Path;

use serde::Serialize;

/// Memory of a process, in bytes; `None` where the system does not report it.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Memory {
    #[serde(rename = "server_rss_bytes")]
    pub(crate) resident: Option<u64>,
    /// Anonymous memory: without mapped files.
    #[serde(rename = "server_rss_anon_bytes")]
    pub(crate) anonymous: Option<u64>,
    #[serde(rename = "server_rss_peak_bytes")]
    pub(crate) peak: Option<u64>,
}

/// Returns the memory of a process.
pub(crate) fn read_memory(process: u32) -> Memory {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let of = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        let kib: u64 = line
            .trim_start_matches(':')
            .split_whitespace()
            .next()?
            .parse()
            .ok()?;
        Some(kib * 1024)
    };
    Memory {
        resident: of("VmRSS"),
        anonymous: of("RssAnon"),
        peak: of("VmHWM"),
    }
}

/// Returns the number of bytes that a process has written to disks since its start.
pub(crate) fn read_bytes_written(process: u32) -> Option<u64> {
    let io = fs::read_to_string(format!("/proc/{process}/io")).ok()?;
    let line = io
        .lines()
        .find_map(|line| line.strip_prefix("write_bytes:"))?;
    line.trim().parse().ok()
}

/// Returns the size of all files below `directory`, except the journal's segments, which reserve space ahead.
pub(crate) fn count_file_bytes(directory: &Path) -> std::io::Result<u64> {
    let mut sum = 0;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            sum += count_file_bytes(&entry.path())?;
        } else if kind.is_file() && entry.path().extension().is_none_or(|end| end != "seg") {
            sum += entry.metadata()?.len();
        }
    }
    Ok(sum)
}

/// Returns the type of the file system that holds `path`, such as `ext4`. On `tmpfs` a sync does nothing.
pub(crate) fn find_filesystem(path: &Path) -> Option<String> {
    let path = path.canonicalize().ok()?;
    let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
    let at = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ');
        let (_, at, kind) = (fields.next()?, fields.next()?, fields.next()?);
        path.starts_with(at).then_some((at.len(), kind))
    });
    at.max_by_key(|(len, _)| *len)
        .map(|(_, kind)| kind.to_owned())
}

/// Returns the number of processors that this process may use.
pub(crate) fn count_processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_reserve_space_and_do_not_count() {
        let directory = tempfile::tempdir().expect("a directory");
        let below = directory.path().join("below");
        fs::create_dir(&below).expect("a directory");
        for (name, bytes) in [("a.run", 10), ("b.seg", 1_000), ("c", 5)] {
            fs::write(below.join(name), vec![0; bytes]).expect("it is written");
        }
        assert_eq!(count_file_bytes(directory.path()).expect("it is told"), 15);
    }

    #[test]
    fn the_system_tells_of_this_very_process() {
        let memory = read_memory(std::process::id());
        assert!(memory.resident.is_some_and(|bytes| bytes > 1 << 20));
        assert!(memory.anonymous <= memory.resident);
        assert!(find_filesystem(Path::new("/")).is_some());
    }
}
