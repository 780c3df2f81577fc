//! Commands and places for tests that tell a story.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tributary_engine::{Clock, NotQueued, Reply, Stepper};
use tributary_journal::Options;
use tributary_ledger::Command;
pub(crate) use tributary_testkit::commands::{
    BEGIN, SECOND, command, hold, open, pay, pay_with_reference,
};
use tributary_testkit::disk::SimDisk;
use tributary_testkit::store::{TestStore, Tested};

/// The longest that a test waits for what must happen.
const PATIENCE: Duration = Duration::from_secs(120);

/// Waits until it is true.
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "{what} never came true");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Journals with small segments.
pub(crate) fn options() -> Options {
    Options {
        segment_bytes: 1024 * 1024,
        reserve_bytes: 0,
        shared_log: None,
    }
}

/// A new store in a directory.
pub(crate) fn in_directory() -> TestStore {
    TestStore::in_directory(options())
}

/// A new store on a simulated disk.
pub(crate) fn simulated(seed: u64) -> TestStore {
    TestStore::inline(SimDisk::new(seed).disk(), options())
}

/// An engine without threads over a new store on a simulated disk.
pub(crate) fn stepper(seed: u64, clock: &Arc<dyn Clock>) -> Tested<Stepper> {
    simulated(seed).stepper(clock.clone())
}

/// Has the commands decided and made durable; what became of each: nothing or the code of the rejection.
pub(crate) fn settle(stepper: &mut Stepper, commands: Vec<Command>) -> Vec<Option<&'static str>> {
    let stepped = stepper.accept(commands);
    stepper.settle();
    let replies = stepper.answer(&stepped).expect("it is settled");
    codes(&replies.expect("nothing is in the way"))
}

/// What became of each: nothing, or the code of the rejection.
pub(crate) fn codes(replies: &[Reply]) -> Vec<Option<&'static str>> {
    let code = |reply: &Reply| match reply {
        Reply::Done { record, .. } => record.outcome.rejection.map(|why| why.code()),
        Reply::KeyConflict { .. } => Some("key conflict"),
        Reply::GroupKeyConflict => Some("group key conflict"),
        Reply::NotQueued(NotQueued::Full) => Some("full"),
        Reply::NotQueued(NotQueued::ShareFull) => Some("share_full"),
        Reply::NotQueued(NotQueued::Draining) => Some("draining"),
        Reply::NotQueued(NotQueued::GroupTooLarge) => Some("group_too_large"),
    };
    replies.iter().map(code).collect()
}
