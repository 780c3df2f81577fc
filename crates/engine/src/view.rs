//! The published view: the same state machine, applied a second time when a batch has become durable.
//!
//! Readers see only this, so nothing that a crash could take back is ever shown, and no reader holds up the writer.
//! Checkpoints are written from it, a slice at a time.

use std::collections::BTreeSet;
use std::sync::{RwLock, RwLockReadGuard};

use tributary_ledger::codec::Record;
use tributary_ledger::{self as ledger, AccountId, Payment, PaymentId, WorkingSet};

/// State as of the last durable batch.
pub(crate) struct Published {
    pub(crate) set: WorkingSet,
    /// Every account, in the order of opening, which is that of ids.
    pub(crate) accounts: Vec<AccountId>,
    /// Open holds by the time they come due.
    pub(crate) due: BTreeSet<(u64, PaymentId)>,
    /// Position that all this reflects.
    pub(crate) position: u64,
}

impl Published {
    fn apply(&mut self, record: &Record) {
        assert_eq!(
            record.ctx.position,
            self.position + 1,
            "records are published in order"
        );
        ledger::apply(&mut self.set, &record.command, &record.outcome, record.ctx);
        self.position = record.ctx.position;
        if let Some(account) = &record.outcome.account
            && account.id.0 == self.position
        {
            self.accounts.push(account.id);
        }
        if let Some(payment) = &record.outcome.payment {
            match due(payment) {
                Some(due) => {
                    self.due.insert(due);
                }
                None if payment.expires_at > 0 => {
                    self.due.remove(&(payment.expires_at, payment.id));
                }
                None => {}
            }
        }
    }
}

/// When an open hold comes due.
fn due(payment: &Payment) -> Option<(u64, PaymentId)> {
    (payment.is_open() && payment.expires_at > 0).then_some((payment.expires_at, payment.id))
}

/// The lock around [`Published`]. Readers hold it for single look-ups or bounded slices.
pub(crate) struct View(RwLock<Published>);

impl View {
    /// A view of `set`, which is the state at `position`.
    pub(crate) fn new(set: WorkingSet, position: u64) -> View {
        let mut accounts: Vec<AccountId> = set.accounts().map(|account| account.id).collect();
        accounts.sort_unstable();
        let due = set.payments().filter_map(due).collect();
        View(RwLock::new(Published {
            set,
            accounts,
            due,
            position,
        }))
    }

    pub(crate) fn read(&self) -> RwLockReadGuard<'_, Published> {
        self.0
            .read()
            .expect("no reader or publisher panics while it holds the view")
    }

    /// Applies durable records.
    pub(crate) fn publish(&self, records: &[Record]) {
        let mut guard = self
            .0
            .write()
            .expect("no reader or publisher panics while it holds the view");
        let published = &mut *guard;
        records.iter().for_each(|record| published.apply(record));
        // Readers find closed payments, references and external ids in the journal.
        published.set.evict_through(published.position);
    }
}
