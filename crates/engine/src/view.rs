//! The published view: the same state machine, applied a second time when a batch has become durable.
//!
//! Readers see only this, so nothing that a crash could take back is ever shown, and no reader holds up the writer.
//! Checkpoints are written from it, a slice at a time.

use std::collections::BTreeSet;
use std::sync::{RwLock, RwLockReadGuard};

use arrayvec::ArrayVec;
use tributary_journal::Builder;
use tributary_ledger::codec::{Operation, RecordRef};
use tributary_ledger::{self as ledger, AccountId, Payment, PaymentId, WorkingSet};

/// Records whose accounts are brought near at once, before the first of them is applied.
const RECORDS_WARMED: usize = 16;

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
    /// Applies one record; whether it was rejected.
    fn apply(&mut self, record: &RecordRef<'_>) -> bool {
        let position = record.context().position;
        assert_eq!(
            position,
            self.position + 1,
            "records are published in order"
        );
        ledger::apply_record(&mut self.set, record).expect("what the writer encoded can be read");
        self.position = position;
        let rejected = record.rejection().is_some();
        if !rejected {
            self.index(record);
        }
        rejected
    }

    /// Keeps the lists beside the set up to date with an accepted record.
    fn index(&mut self, record: &RecordRef<'_>) {
        if record.operation() == Operation::OpenAccount {
            self.accounts.push(AccountId(self.position));
        }
        let Some(payment) = record.payment().and_then(|id| self.set.payment(id)) else {
            return;
        };
        if payment.expires_at > 0 {
            let entry = (payment.expires_at, payment.id);
            if payment.is_open() {
                self.due.insert(entry);
            } else {
                self.due.remove(&entry);
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

    /// Applies a durable frame; gives the number of rejected records.
    pub(crate) fn publish(&self, frame: &Builder) -> u64 {
        let mut guard = self
            .0
            .write()
            .expect("no reader or publisher panics while it holds the view");
        let published = &mut *guard;
        let mut rejected = 0;
        let mut records: ArrayVec<RecordRef<'_>, RECORDS_WARMED> = ArrayVec::new();
        let mut payloads = frame.payloads().map(|payload| {
            RecordRef::parse(payload, ledger::FORMAT_VERSION)
                .expect("what the writer encoded can be read")
        });
        loop {
            records.extend(payloads.by_ref().take(RECORDS_WARMED));
            if records.is_empty() {
                break;
            }
            published.set.warm_records(&records);
            for record in records.drain(..) {
                rejected += u64::from(published.apply(&record));
            }
        }
        // Readers find closed payments, references and external ids in the journal.
        published.set.evict_through(published.position);
        rejected
    }
}
