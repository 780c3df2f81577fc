//! Ledger time steps, and no attempt ends or waits longer for it.

use super::*;

/// Whatever ledger time does: the receiver has as long as it was told.
#[test]
fn a_step_of_ledger_time_ends_no_attempt_and_makes_none_longer() {
    const HOUR: u64 = 3_600 * SECOND;
    for step in [HOUR, 0, SECOND / 2] {
        let mut core = busy(Policy::default(), 2);
        let running = 5 * SECOND;
        let taken = core.take(ID, 1, Some(2 * SECOND), BEGIN, running);
        let receipt = taken.expect("it is there")[0].receipt;
        core.tick(BEGIN + step, running + 2 * SECOND - 1);
        assert_eq!(core.next_deadline(), Some(running + 2 * SECOND));
        core.extend(ID, receipt, running + 3 * SECOND)
            .expect("it is under way");
        core.tick(BEGIN + step, running + 3 * SECOND);
        assert_eq!(core.next_deadline(), None);
        assert_eq!(
            core.nack(ID, receipt, None, "late", BEGIN + step),
            Err(Refusal::Expired(ReceiptExpired))
        );
        let again = core.take(ID, 1, None, BEGIN + step, running + 3 * SECOND);
        assert_eq!(again.expect("it is there")[0].attempt, 2);
    }
}

/// What waits for its time waits by ledger time, which goes on in another process and moves with the clock of a sandbox.
#[test]
fn a_retry_is_due_by_ledger_time() {
    let mut core = busy(Policy::default(), 1);
    let taken = core.take(ID, 1, None, BEGIN, 1);
    let receipt = taken.expect("it is there")[0].receipt;
    let minute = Some(60 * SECOND);
    core.nack(ID, receipt, minute, "busy", BEGIN)
        .expect("it is under way");
    core.tick(BEGIN + 59 * SECOND, 3_600 * SECOND);
    let none = core.take(ID, 1, None, BEGIN + 59 * SECOND, 3_600 * SECOND);
    assert!(none.expect("it is there").is_empty());
    core.tick(BEGIN + 60 * SECOND, 2);
    let taken = core.take(ID, 1, None, BEGIN + 60 * SECOND, 2);
    assert_eq!(taken.expect("it is there").len(), 1);
}

/// The process before ran under a wall clock that was an hour ahead.
#[test]
fn a_retry_waits_no_longer_when_time_went_back_over_a_restart() {
    const HOUR: u64 = 3_600 * SECOND;
    let mut core = busy(Policy::default(), 2);
    let taken = core.take(ID, 1, None, BEGIN + HOUR, 1);
    let receipt = taken.expect("it is there")[0].receipt;
    let minute = Some(60 * SECOND);
    core.nack(ID, receipt, minute, "busy", BEGIN + HOUR)
        .expect("it is under way");
    core.drain(true);
    let subscription = core.get(ID).expect("it is there").clone();
    let known = || Known {
        revisions: Revisions::new(subscription.terms.filter.clone()),
        subscription: subscription.clone(),
        start: 0,
    };
    let restart = |now| Core::new(core.images(), vec![known()], &BTreeSet::new(), now);
    assert_eq!(restart(BEGIN).next_due(), Some(BEGIN + 60 * SECOND));
    let later = BEGIN + HOUR + 59 * SECOND;
    assert_eq!(restart(later).next_due(), Some(later + SECOND));
    assert_eq!(restart(later + SECOND).next_due(), None, "it is due");
}
