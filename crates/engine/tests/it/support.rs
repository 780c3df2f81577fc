//! Commands and places for tests that tell a story.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tributary_engine::{Backend, Clock, Embedded, NotQueued, Reply, Stepper};
use tributary_journal::{self as journal, DirDisk, Disk, OpenError, Options};
use tributary_ledger::Command;
use tributary_testkit::backends::cluster_meta;
pub(crate) use tributary_testkit::commands::{
    BEGIN, SECOND, command, hold, open, pay, pay_with_reference,
};

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

/// The embedded backend in this directory, with threads; created if it is not there.
pub(crate) fn in_directory(path: &Path) -> Box<dyn Backend> {
    let disk: Arc<dyn Disk> = Arc::new(DirDisk::new(path));
    create(&disk);
    Box::new(Embedded::open(disk, options()).expect("it opens"))
}

/// The embedded backend on this disk, step by step; created if it is not there.
pub(crate) fn stepper(disk: &Arc<dyn Disk>, clock: &Arc<dyn Clock>) -> Stepper {
    create(disk);
    let backend = Embedded::open_inline(disk.clone(), options()).expect("it opens");
    Stepper::start(Box::new(backend), clock.clone()).expect("it starts")
}

fn create(disk: &Arc<dyn Disk>) {
    match journal::create(disk, &options(), &cluster_meta()) {
        Ok(()) | Err(OpenError::AlreadyExists) => {}
        Err(error) => panic!("{error}"),
    }
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
    };
    replies.iter().map(code).collect()
}
