//! Every backend gives the same records, answers and states as the model, whatever is asked of it.

use tributary_testkit::disk::SimDisk;
use tributary_testkit::lockstep::{Lockstep, Replay, Seeds};
use tributary_testkit::lossy::Losses;
use tributary_testkit::sites::{InLossyMemory, InMemory, OnDisk};

/// Steps of each seed.
const STEPS: u64 = 350;
/// Batches out of a hundred that are lost, or whose answers are.
const LOST_PERCENT: u64 = 20;

#[test]
fn backends_and_the_model_agree_on_everything() {
    for seed in Seeds::of("backends", 3) {
        let _replay = Replay {
            test: "backends",
            seed,
        };
        let losses = Losses::new(seed, LOST_PERCENT);
        let directory = tempfile::tempdir().expect("a directory");
        let sites = vec![
            InMemory::site(),
            OnDisk::simulated(SimDisk::new(seed).disk()),
            OnDisk::directory(directory.path()),
            InLossyMemory::site(losses.clone()),
        ];
        Lockstep::new(sites, seed).run(STEPS);
        assert!(losses.batches_lost() > 0 && losses.answers_lost() > 0);
    }
}
