//! Seeds of simulations, and how to run a failed one again.

/// Prints, when a test fails, how to run the test again.
pub struct ReplayHint {
    /// Name of the test.
    pub test: &'static str,
    /// Seed of the run.
    pub seed: u64,
}

impl Drop for ReplayHint {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "\n{} failed with seed {seed}; to run it again: scripts/simulate --only {} --seed {seed}\n",
                self.test,
                self.test,
                seed = self.seed
            );
        }
    }
}

/// Seeds that a test runs: a few, or those of `TRIBUTARY_SEEDS` (`first..last` or a single seed), if
/// `TRIBUTARY_SIMULATE` names this test.
pub struct Seeds(std::ops::Range<u64>);

impl Seeds {
    /// Returns the seeds of the test `name`: by default, `few`.
    pub fn for_test(name: &str, few: u64) -> Seeds {
        let Ok(wanted) = std::env::var("TRIBUTARY_SIMULATE") else {
            return Seeds(0..few);
        };
        if wanted != "all" && wanted != name {
            return Seeds(0..0);
        }
        let seeds = std::env::var("TRIBUTARY_SEEDS").expect("TRIBUTARY_SEEDS says which");
        let number = |text: &str| text.parse::<u64>().expect("a seed is a number");
        match seeds.split_once("..") {
            Some((first, last)) => Seeds(number(first)..number(last)),
            None => Seeds(number(&seeds)..number(&seeds) + 1),
        }
    }
}

impl Iterator for Seeds {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        self.0.next()
    }
}
