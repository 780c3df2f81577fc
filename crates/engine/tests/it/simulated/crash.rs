//! Whatever happens to the disk: what was answered stands, nothing is doubled, and it goes on.

use tributary_testkit::crash;
use tributary_testkit::logs::is_left_out_on_logs;
use tributary_testkit::seeds::{ReplayHint, Seeds};

/// Engines that live one after the other on the disk of one seed.
const LIVES: u64 = 12;

#[test]
fn what_was_acknowledged_survives_every_crash_and_nothing_is_doubled() {
    if is_left_out_on_logs("it fails the disk of a directory at every step") {
        return;
    }
    let mut all = Vec::new();
    for seed in Seeds::for_test("crash", 16) {
        let _replay = ReplayHint {
            test: "crash",
            seed,
        };
        let report = crash::run(seed, LIVES);
        eprintln!("seed {seed}: {report:?}");
        all.push(report);
    }
    let sum = |of: fn(&crash::CrashReport) -> u64| all.iter().map(of).sum::<u64>();
    // With a few seeds everything has happened; a single one that is run again need not show it.
    if all.len() >= 8 {
        assert!(sum(|report| report.power_off) > 0);
        assert!(sum(|report| report.cut_bytes) > 0);
        assert!(sum(|report| report.broken) > 0);
        assert!(sum(|report| report.resumed) > 0);
        assert!(sum(|report| report.checkpoints) > 0);
        assert!(sum(|report| report.unacknowledged_survived) > 0);
        assert!(sum(|report| report.segments) > 16);
        assert!(sum(|report| report.ran) > 0);
    }
}
