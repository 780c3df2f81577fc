//! Whatever happens to the disk: what was answered stands, nothing is doubled, and it goes on.

use tributary_testkit::crash;
use tributary_testkit::lockstep::{Replay, Seeds};

/// Engines that live one after the other on the disk of one seed.
const LIVES: u64 = 12;

#[test]
fn what_was_acknowledged_survives_every_crash_and_nothing_is_doubled() {
    let mut all = Vec::new();
    for seed in Seeds::of("crash", 16) {
        let _replay = Replay {
            test: "crash",
            seed,
        };
        let happened = crash::run(seed, LIVES);
        eprintln!("seed {seed}: {happened:?}");
        all.push(happened);
    }
    let sum = |of: fn(&crash::Happened) -> u64| all.iter().map(of).sum::<u64>();
    // With a few seeds everything has happened; a single one that is run again need not show it.
    if all.len() >= 8 {
        assert!(sum(|happened| happened.power_off) > 0);
        assert!(sum(|happened| happened.cut_bytes) > 0);
        assert!(sum(|happened| happened.broken) > 0);
        assert!(sum(|happened| happened.resumed) > 0);
        assert!(sum(|happened| happened.checkpoints) > 0);
        assert!(sum(|happened| happened.unacknowledged_survived) > 0);
        assert!(sum(|happened| happened.segments) > 16);
        assert!(sum(|happened| happened.ran) > 0);
    }
}
