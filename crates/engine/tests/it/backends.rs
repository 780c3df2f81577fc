//! Every backend gives the same records, answers and states as the model, whatever is asked of it.

use tributary_testkit::lockstep::{Lockstep, Replay};

use crate::sites::InMemory;

/// Seeds of the short form.
const SEEDS: std::ops::Range<u64> = 0..6;
/// Steps of each.
const STEPS: u64 = 700;

#[test]
fn backends_and_the_model_agree_on_everything() {
    for seed in SEEDS {
        let _replay = Replay {
            test: "backends",
            seed,
        };
        Lockstep::new(vec![InMemory::new()], seed).run(STEPS);
    }
}
