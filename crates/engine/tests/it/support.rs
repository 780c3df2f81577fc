//! Commands and places for tests that tell a story.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tributary_engine::{Backend, Embedded, NotQueued, Reply, Stepper};
use tributary_journal::{self as journal, Clock, DirDisk, Disk, OpenError, Options};
use tributary_ledger::{
    AccountId, AccountKind, Actor, Body, Command, Currency, Destination, Fees, Hold, Key,
    OpenAccount, Overdraft, OwnerName, Pay, PaymentKind, Reference,
};
use tributary_testkit::lockstep::cluster_meta;

/// Some time in 2026, nanoseconds since the Unix epoch.
pub(crate) const BEGIN: u64 = 1_780_000_000_000_000_000;
/// Nanoseconds in a second.
pub(crate) const SECOND: u64 = 1_000_000_000;

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

/// A command of the platform under this key.
pub(crate) fn command(key: &str, body: Body) -> Command {
    Command {
        key: Key::from_bytes(key.as_bytes()).expect("a short key"),
        actor: Actor::SYSTEM,
        linked: false,
        effective_at: None,
        text: None,
        body,
    }
}

/// Opens an account in EUR that may go negative without limit.
pub(crate) fn open(key: &str, owner: &str) -> Command {
    let body = OpenAccount {
        owner: OwnerName::new(owner).expect("a plain name"),
        currency: Currency::from_code("EUR").expect("a currency"),
        kind: AccountKind::External,
        overdraft: Overdraft::UNLIMITED,
        external_id: None,
    };
    command(key, Body::OpenAccount(body))
}

/// A payment in EUR.
pub(crate) fn pay(source: u64, destination: u64, amount: u64) -> Pay {
    Pay {
        kind: PaymentKind::Pay,
        source: AccountId(source),
        destination: Destination::One(AccountId(destination)),
        fees: Fees::default(),
        amount,
        currency: Currency::from_code("EUR").expect("a currency"),
        hold: None,
        reference: None,
        reason: None,
        queue: None,
    }
}

/// A payment with a reference.
pub(crate) fn pay_with_reference(source: u64, destination: u64, reference: &str) -> Body {
    Body::Pay(Pay {
        reference: Some(Reference::new(reference).expect("a short reference")),
        ..pay(source, destination, 100)
    })
}

/// A hold until `expires_at`.
pub(crate) fn hold(source: u64, destination: u64, amount: u64, expires_at: u64) -> Body {
    Body::Pay(Pay {
        hold: Some(Hold { expires_at }),
        ..pay(source, destination, amount)
    })
}

/// Journals with small segments.
pub(crate) fn options() -> Options {
    Options {
        segment_bytes: 1024 * 1024,
        reserve_bytes: 0,
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
