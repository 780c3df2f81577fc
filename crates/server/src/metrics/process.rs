//! Metrics of the process under the names that Prometheus' client libraries use, and of the program.

use std::fs;

use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use tributary_ledger::{FORMAT_VERSION, RULES_VERSION};

use crate::metrics::families::{Labelled, register_counters, register_gauge};

/// Ticks per second in which Linux tells processor time and start time, on every architecture that Rust supports.
const TICKS_PER_SECOND: f64 = 100.0;

/// Registers the version of the program and, on Linux, what the process uses.
pub(super) fn register_process(registry: &mut Registry) {
    let labels = vec![
        ("version", env!("CARGO_PKG_VERSION").to_owned()),
        ("format_version", FORMAT_VERSION.to_string()),
        ("rules_version", RULES_VERSION.to_string()),
    ];
    registry.register(
        "tributary_build_info",
        "Always 1; the labels tell the version of the program, of the format of records and of the rules",
        Labelled(vec![(labels, ConstGauge::new(1_u64))]),
    );
    // Elsewhere than on Linux, and where /proc is hidden, these are left out.
    if let Some(usage) = ProcessUsage::read() {
        usage.register(registry);
    }
}

/// What the process uses.
#[derive(Debug, PartialEq)]
struct ProcessUsage {
    cpu_seconds: f64,
    start_time_seconds: f64,
    resident_bytes: u64,
    virtual_bytes: u64,
    threads: u64,
    open_files: u64,
    /// The largest number if there is no limit.
    open_files_max: u64,
}

impl ProcessUsage {
    fn read() -> Option<ProcessUsage> {
        let read = |path: &str| fs::read_to_string(path).ok();
        let (stat, status) = (read("/proc/self/stat")?, read("/proc/self/status")?);
        let (limits, boot) = (read("/proc/self/limits")?, read("/proc/stat")?);
        let open_files = fs::read_dir("/proc/self/fd").ok()?.count() as u64;
        ProcessUsage::parse(&stat, &status, &limits, &boot, open_files)
    }

    fn parse(
        stat: &str,
        status: &str,
        limits: &str,
        boot: &str,
        open_files: u64,
    ) -> Option<ProcessUsage> {
        // The name of the program stands in brackets, and may hold blanks and brackets itself.
        let after_name = stat.rsplit_once(')')?.1;
        let fields: Vec<&str> = after_name.split_whitespace().collect();
        let ticks = |at: usize| fields.get(at)?.parse::<f64>().ok();
        let kilobytes = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            let number = line.trim().strip_suffix(" kB")?;
            Some(number.parse::<u64>().ok()? * 1_024)
        };
        let threads = status
            .lines()
            .find_map(|line| line.strip_prefix("Threads:"))?;
        let open_files_max = limits
            .lines()
            .find_map(|line| line.strip_prefix("Max open files"))?;
        let booted = boot.lines().find_map(|line| line.strip_prefix("btime "))?;
        Some(ProcessUsage {
            cpu_seconds: (ticks(11)? + ticks(12)?) / TICKS_PER_SECOND,
            start_time_seconds: booted.trim().parse::<f64>().ok()? + ticks(19)? / TICKS_PER_SECOND,
            resident_bytes: kilobytes("VmRSS:")?,
            virtual_bytes: kilobytes("VmSize:")?,
            threads: threads.trim().parse().ok()?,
            open_files,
            open_files_max: match open_files_max.split_whitespace().next()? {
                "unlimited" => u64::MAX,
                number => number.parse().ok()?,
            },
        })
    }

    fn register(&self, registry: &mut Registry) {
        register_counters(
            registry,
            "process_cpu_seconds_total",
            "Processor time that the process has used, in seconds",
            ConstCounter::new(self.cpu_seconds),
        );
        register_gauge(
            registry,
            "process_start_time_seconds",
            "Time at which the process started, in seconds since 1970",
            self.start_time_seconds,
        );
        let mut gauge = |name: &str, help: &str, value: u64| {
            register_gauge(registry, name, help, value);
        };
        gauge(
            "process_resident_memory_bytes",
            "Memory of the process that is in use, in bytes",
            self.resident_bytes,
        );
        gauge(
            "process_virtual_memory_bytes",
            "Address space of the process, in bytes",
            self.virtual_bytes,
        );
        gauge("process_threads", "Threads of the process", self.threads);
        gauge(
            "process_open_fds",
            "Files and connections that the process has open",
            self.open_files,
        );
        gauge(
            "process_max_fds",
            "Maximum number of files and connections that the process may open",
            self.open_files_max,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_linux_tells_is_understood() {
        let stat =
            "42 (a (b) c) S 1 42 42 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 9 0 3000 1000 200 1";
        let status = "Name:\ta\nVmSize:\t    2000 kB\nVmRSS:\t    1000 kB\nThreads:\t9\n";
        let limits = "Limit  Soft Limit  Hard Limit  Units\nMax open files            1024                 4096                 files\n";
        let boot = "cpu 1 2 3\nbtime 1700000000\n";
        let usage = ProcessUsage::parse(stat, status, limits, boot, 7).expect("it is whole");
        let expected = ProcessUsage {
            cpu_seconds: 3.0,
            start_time_seconds: 1_700_000_030.0,
            resident_bytes: 1_024_000,
            virtual_bytes: 2_048_000,
            threads: 9,
            open_files: 7,
            open_files_max: 1_024,
        };
        assert_eq!(usage, expected);
        let unlimited = limits.replace("1024 ", "unlimited ");
        let usage = ProcessUsage::parse(stat, status, &unlimited, boot, 7).expect("it is whole");
        assert_eq!(usage.open_files_max, u64::MAX);
        assert_eq!(ProcessUsage::parse("", status, limits, boot, 7), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_process_uses_something() {
        let usage = ProcessUsage::read().expect("Linux tells");
        assert!(
            usage.resident_bytes > 100_000 && usage.open_files > 2,
            "{usage:?}"
        );
        let now = std::time::SystemTime::now();
        let now = now
            .duration_since(std::time::UNIX_EPOCH)
            .expect("after 1970")
            .as_secs_f64();
        assert!(usage.start_time_seconds <= now + 5.0, "{usage:?}");
    }
}
