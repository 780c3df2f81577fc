//! The rules of a server under test: those that its rule sets say, or a finding that a test gives.

use std::sync::{Arc, Mutex};

use tributary_engine::{Judge, lock};
use tributary_ledger::{Assessment, Body, Command, Effect};
use tributary_streams::driver::Rules;

pub(crate) struct TestRules {
    said: Arc<Rules>,
    finding: Mutex<Option<Assessment>>,
}

impl TestRules {
    pub(crate) fn new(said: Arc<Rules>) -> TestRules {
        TestRules {
            said,
            finding: Mutex::default(),
        }
    }

    /// Has this found about each payment from now on.
    pub(crate) fn find(&self, effect: Effect, report: &[u8]) {
        *lock(&self.finding) = Assessment::new(effect, report);
    }
}

impl Judge for TestRules {
    fn is_needed(&self) -> bool {
        lock(&self.finding).is_some() || self.said.is_needed()
    }

    fn assess(&self, commands: &mut [Command]) {
        let Some(finding) = lock(&self.finding).clone() else {
            return self.said.assess(commands);
        };
        for command in commands {
            if matches!(command.body, Body::Pay(_) | Body::Run(_)) {
                command.assessment = Some(Box::new(finding.clone()));
            }
        }
    }
}
