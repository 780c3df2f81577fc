//! Every backend gives the same records, answers and states as the model, whatever is asked of it.

use tributary_testkit::backends::{EmbeddedFactory, LossyMemoryFactory};
use tributary_testkit::disk::SimDisk;
use tributary_testkit::lockstep::Lockstep;
use tributary_testkit::lossy::Losses;
use tributary_testkit::seeds::{ReplayHint, Seeds};
use tributary_testkit::store::TestStore;

/// Steps of each seed.
const STEPS: u64 = 350;
/// Number of seeds after which some batches and some answers must have been lost.
const SEEDS_WITH_LOSSES: u64 = 3;
/// Batches out of a hundred that are lost, or whose answers are.
const LOST_PERCENT: u64 = 20;

#[test]
fn backends_and_the_model_agree_on_everything() {
    let (mut seeds, mut batches_lost, mut answers_lost) = (0, 0, 0);
    for seed in Seeds::for_test("backends", 3) {
        let _replay = ReplayHint {
            test: "backends",
            seed,
        };
        let losses = Losses::new(seed, LOST_PERCENT);
        let directory = tempfile::tempdir().expect("a directory");
        let sites = vec![
            Box::new(TestStore::in_memory()),
            EmbeddedFactory::on_disk(SimDisk::new(seed).disk()),
            EmbeddedFactory::in_directory(directory.path()),
            LossyMemoryFactory::boxed(losses.clone()),
        ];
        Lockstep::new(sites, seed).run(STEPS);
        seeds += 1;
        batches_lost += losses.batches_lost();
        answers_lost += losses.answers_lost();
    }
    assert!(
        seeds < SEEDS_WITH_LOSSES || (batches_lost > 0 && answers_lost > 0),
        "batches and answers were lost"
    );
}
