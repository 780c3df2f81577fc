//! The published view: the state machine of the ledger, applied a second time when a batch is durable.
//!
//! Readers see the view only. So nothing is shown that a crash could take back, and no reader delays the writer. Checkpoints are written
//! from the view, a slice at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, TryLockError,
};
use std::time::{Duration, Instant};

use arrayvec::ArrayVec;
use tokio::sync::Notify;
use tributary_journal::{FrameBuilder, prefetch};
use tributary_ledger::codec::{Operation, RecordRef};
use tributary_ledger::{
    self as ledger, Account, AccountKind, Currency, CurrencyTotals, Payment, PaymentId, QueueMode,
    Rejection, ReviewStage, WorkingSet,
};

use crate::queue::{End, Figures, Lanes};

/// Maximum number of records applied under one hold of the lock, unless a group goes on: the longest wait of a reader.
const SLICE_RECORDS: usize = 128;
/// Time for waiting readers between two slices: a bound on what readers cost the publisher.
const READERS_WAIT_MAX: Duration = Duration::from_micros(200);
/// Number of accounts summed under one hold of the lock.
const SUMMED_ACCOUNTS: usize = 256;
/// Stands for the time at which a hold comes due, if there is none.
const NOTHING_DUE: u64 = u64::MAX;

/// Number of records whose accounts are prefetched at once, before the first of the records is applied.
pub(crate) const RECORDS_WARMED: usize = 16;

/// State as of the last durable batch.
pub(crate) struct Published {
    pub(crate) set: WorkingSet,
    /// Open holds by the time at which they come due.
    pub(crate) due: BTreeSet<(u64, PaymentId)>,
    /// Payments that hold money, and when their holds come due.
    holds: BTreeMap<PaymentId, u64>,
    /// Queued payments.
    queue: Mutex<Lanes>,
    /// Position that the state reflects: the end of a frame, or of a group within a frame that is being applied.
    pub(crate) position: u64,
    /// End of the last frame that is applied whole.
    pub(crate) frame_end: u64,
    /// Money moved since the start, minor units of each currency. Begins again at zero after 2^64, as counters do.
    pub(crate) moved: Vec<(Currency, u64)>,
    /// Reviews that ended since the start, by the number of the stage.
    pub(crate) reviews_ended: [u64; ReviewStage::ALL.len() + 1],
    /// Sums over the accounts, while a reader makes them.
    summing: Mutex<Option<Summing>>,
}

/// Balances summed per currency and kind of account.
pub(crate) type Totals = BTreeMap<(Currency, AccountKind), CurrencyTotals>;

/// Sums over the accounts up to one of them, always as of the position of the view: later changes are added, so that the sums are
/// consistent although they are made in slices.
#[derive(Default)]
struct Summing {
    /// Number of the last account in the sums.
    through: u64,
    totals: Totals,
}

impl Summing {
    fn add(&mut self, account: &Account) {
        let totals = self.totals.entry((account.currency, account.kind));
        totals.or_default().add(account);
    }

    /// Subtracts the accounts that a record is going to change.
    fn before(&mut self, set: &WorkingSet, record: &RecordRef<'_>) {
        for account in changed(set, record, self.through) {
            let totals = self.totals.get_mut(&(account.currency, account.kind));
            totals.expect("it was added").remove(account);
        }
    }

    /// Adds the accounts that a record has changed.
    fn after(&mut self, set: &WorkingSet, record: &RecordRef<'_>) {
        changed(set, record, self.through).for_each(|account| self.add(account));
    }
}

/// Returns the accounts up to number `through` whose balances a record changes.
fn changed<'a>(
    set: &'a WorkingSet,
    record: &RecordRef<'_>,
    through: u64,
) -> impl Iterator<Item = &'a Account> {
    let accounts = record.accounts().filter(move |id| id.0 <= through);
    accounts.map(|id| set.account(id).expect("a leg's account is in the set"))
}

impl Published {
    /// Applies one record, which became durable at `now`. Returns whether the record was rejected.
    fn apply(&mut self, record: &RecordRef<'_>, now: u64) -> bool {
        let position = record.context().position;
        assert_eq!(
            position,
            self.position + 1,
            "records are published in order"
        );
        let summing = self
            .summing
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(summing) = summing {
            summing.before(&self.set, record);
        }
        ledger::apply_record(&mut self.set, record).expect("what the writer encoded can be read");
        if let Some(summing) = summing {
            summing.after(&self.set, record);
        }
        self.position = position;
        for (currency, amount) in record.credits() {
            self.add_moved(currency, amount);
        }
        if record.changes_payment() {
            self.index(record, now);
        }
        record.rejection().is_some()
    }

    fn add_moved(&mut self, currency: Currency, amount: u64) {
        // Most systems have few currencies.
        match self.moved.iter_mut().find(|(known, _)| *known == currency) {
            Some((_, sum)) => *sum = sum.wrapping_add(amount),
            None => self.moved.push((currency, amount)),
        }
    }

    /// Applies records up to the end of a slice. Returns how many were rejected, and whether there may be more.
    fn apply_slice<'a>(
        &mut self,
        payloads: &mut impl Iterator<Item = &'a [u8]>,
        now: u64,
    ) -> (u64, bool) {
        let (mut applied, mut rejected, mut in_group) = (0, 0, false);
        let mut records: ArrayVec<RecordRef<'_>, RECORDS_WARMED> = ArrayVec::new();
        // A group is shown whole or not at all.
        while applied < SLICE_RECORDS || in_group {
            for payload in payloads.by_ref().take(RECORDS_WARMED) {
                let record = RecordRef::parse(payload, ledger::FORMAT_VERSION)
                    .expect("what the writer encoded can be read");
                self.set.prefetch_record(&record, prefetch);
                records.push(record);
            }
            let Some(last) = records.last() else {
                break;
            };
            in_group = last.linked();
            applied += records.len();
            for record in records.drain(..) {
                rejected += u64::from(self.apply(&record, now));
            }
        }
        // Readers find closed payments, references and external ids in the journal.
        self.set.evict_through(self.position);
        (rejected, applied >= SLICE_RECORDS)
    }

    fn is_paused(&self) -> bool {
        self.set.queue().mode == QueueMode::Paused
    }

    fn lanes(&self) -> MutexGuard<'_, Lanes> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sums a few more accounts. Returns the sums over all accounts once they are made.
    fn sum(&self) -> Option<Totals> {
        let mut summing = self.summing.lock().unwrap_or_else(PoisonError::into_inner);
        let sums = summing.get_or_insert_default();
        let from = self.set.account_slot_from(sums.through + 1);
        let to = self.set.account_slots().min(from + SUMMED_ACCOUNTS);
        for account in (from..to).filter_map(|slot| self.set.account_in_slot(slot)) {
            sums.add(account);
            sums.through = account.id.0;
        }
        let done = to == self.set.account_slots();
        done.then(|| summing.take().unwrap_or_default().totals)
    }

    /// Updates the lists beside the set for a record that changed a payment.
    fn index(&mut self, record: &RecordRef<'_>, now: u64) {
        let Some(payment) = record.payment().and_then(|id| self.set.payment(id)) else {
            return;
        };
        let queue = self.queue.get_mut();
        let queue = queue.unwrap_or_else(PoisonError::into_inner);
        match record.operation() {
            Operation::Pay => queue.add(payment, now),
            Operation::Void => queue.end(payment.id, End::Voided, now),
            Operation::Run => {
                let end = match record.rejection() {
                    None => End::Run,
                    Some(Rejection::QueueExpired) => End::Expired,
                    Some(_) => End::Failed,
                };
                queue.end(payment.id, end, now);
            }
            _ => {}
        }
        let stage = payment.review.as_ref().map(|review| review.stage);
        let ends = match (record.operation(), stage) {
            (Operation::Approve, stage) => stage,
            (Operation::Void, Some(ReviewStage::Declined | ReviewStage::Cancelled))
            | (Operation::Expire, Some(ReviewStage::Expired)) => stage,
            _ => None,
        };
        if let (Some(stage), None) = (ends, record.rejection()) {
            self.reviews_ended[stage as usize] += 1;
        }
        // An approval ends the hold of the review, or gives it another end.
        let before = match due(payment) {
            Some((expires_at, id)) => self.holds.insert(id, expires_at),
            None => self.holds.remove(&payment.id),
        };
        if let Some(expires_at) = before {
            self.due.remove(&(expires_at, payment.id));
        }
        self.due.extend(due(payment));
    }
}

/// Returns when an open hold comes due.
fn due(payment: &Payment) -> Option<(u64, PaymentId)> {
    (payment.held > 0 && payment.expires_at > 0).then_some((payment.expires_at, payment.id))
}

/// The lock around [`Published`]. Readers hold it for single look-ups or bounded slices, and so does the publisher.
pub(crate) struct View {
    published: RwLock<Published>,
    /// Number of readers that wait for the lock.
    waiting: AtomicUsize,
    /// [`Published::position`], for readers that need nothing else.
    position: AtomicU64,
    /// Notified of each batch. Costs next to nothing while nobody waits.
    pub(crate) news: Notify,
    /// Position of the last batch that changed a setting; what was before the start does not count.
    settings_position: AtomicU64,
    /// Notified of each batch that changed a setting.
    pub(crate) settings_news: Notify,
    /// When the next hold comes due or the next queued payment can run, or [`NOTHING_DUE`].
    next_due: AtomicU64,
    /// Time that was added to the clock, nanoseconds.
    time_offset: AtomicU64,
    /// Queued payments.
    queued: AtomicUsize,
    /// Number of queued payments that are submitted to run.
    pub(crate) running: Arc<AtomicUsize>,
    /// Whether the last selection was empty only because payments were joining their lanes.
    joining: AtomicBool,
    /// Number of accounts and open payments.
    objects: AtomicUsize,
    /// Held by the reader that sums the accounts.
    turn_to_sum: Mutex<()>,
}

impl View {
    /// Makes a view of `set`, which is the state at `position`.
    pub(crate) fn new(set: WorkingSet, position: u64) -> View {
        // Lists and checkpoints follow it.
        let set = set.sorted_by_id();
        let due: BTreeSet<_> = set.payments().filter_map(due).collect();
        let queue = Lanes::recovered(set.payments());
        let view = View {
            waiting: AtomicUsize::new(0),
            turn_to_sum: Mutex::default(),
            news: Notify::new(),
            settings_position: AtomicU64::new(0),
            settings_news: Notify::new(),
            position: AtomicU64::new(position),
            objects: AtomicUsize::new(0),
            next_due: AtomicU64::new(NOTHING_DUE),
            time_offset: AtomicU64::new(0),
            queued: AtomicUsize::new(0),
            running: Arc::default(),
            joining: AtomicBool::new(false),
            published: RwLock::new(Published {
                set,
                holds: due
                    .iter()
                    .map(|(expires_at, id)| (*id, *expires_at))
                    .collect(),
                reviews_ended: [0; ReviewStage::ALL.len() + 1],
                due,
                position,
                moved: Vec::new(),
                frame_end: position,
                summing: Mutex::default(),
                queue: Mutex::new(queue),
            }),
        };
        view.tell(&view.read());
        view
    }

    pub(crate) fn read(&self) -> RwLockReadGuard<'_, Published> {
        match self.published.try_read() {
            Ok(guard) => guard,
            Err(TryLockError::WouldBlock) => {
                self.waiting.fetch_add(1, Ordering::AcqRel);
                let guard = self.published.read();
                self.waiting.fetch_sub(1, Ordering::AcqRel);
                guard.expect("no reader or publisher panics while it holds the view")
            }
            Err(TryLockError::Poisoned(_)) => {
                panic!("no reader or publisher panics while it holds the view")
            }
        }
    }

    /// Returns the position that the view reflects.
    pub(crate) fn position(&self) -> u64 {
        self.position.load(Ordering::Acquire)
    }

    /// Returns the position of the last batch that changed a setting; 0 if none did since the start.
    pub(crate) fn settings_position(&self) -> u64 {
        self.settings_position.load(Ordering::Acquire)
    }

    /// Wakes whoever waits for settings: the batch through `position`, which is published, changed some.
    pub(crate) fn announce_settings(&self, position: u64) {
        self.settings_position.store(position, Ordering::Release);
        self.settings_news.notify_waiters();
    }

    /// Returns the approximate number of accounts and open payments.
    pub(crate) fn object_count(&self) -> usize {
        self.objects.load(Ordering::Acquire)
    }

    /// Returns when the next hold comes due, or the next queued payment can run: 0 if one can run now.
    pub(crate) fn next_due(&self) -> Option<u64> {
        let due = self.next_due.load(Ordering::Acquire);
        (due != NOTHING_DUE).then_some(due)
    }

    /// Returns the time that was added to the clock, nanoseconds.
    pub(crate) fn time_offset(&self) -> u64 {
        self.time_offset.load(Ordering::Acquire)
    }

    /// Returns the number of queued payments.
    pub(crate) fn queued(&self) -> usize {
        self.queued.load(Ordering::Acquire)
    }

    /// Returns the figures of the queue, with rates of the minute before `now`.
    pub(crate) fn queue_figures(&self, now: u64) -> Figures {
        let published = self.read();
        let state = published.set.queue();
        let in_flight = self.running.load(Ordering::Acquire);
        published.lanes().figures(state, in_flight, now)
    }

    /// Returns the time of the oldest payment that is queued or holds money, nanoseconds since the Unix epoch.
    pub(crate) fn oldest_open(&self) -> Option<u64> {
        let published = self.read();
        let hold = published.holds.first_key_value();
        let held = hold.and_then(|(id, _)| published.set.payment(*id));
        let queued = published.lanes().oldest();
        let held = held.map(|payment| payment.created_at);
        held.into_iter().chain(queued).min()
    }

    /// Counts payments that the queue did not take.
    pub(crate) fn not_queued(&self, now: u64, payments: u64) {
        self.read().lanes().refused(now, payments);
    }

    /// Returns the queued payments to run now, in this order, at most `max`.
    pub(crate) fn next_queued(&self, now: u64, max: usize) -> Vec<PaymentId> {
        if self.queued() == 0 {
            return Vec::new();
        }
        let published = self.read();
        let paused = published.is_paused();
        let mut lanes = published.lanes();
        let chosen = lanes.select(now, max, paused);
        let joining = chosen.is_empty() && !paused && lanes.are_joining(now);
        self.joining.store(joining, Ordering::Release);
        chosen
    }

    /// Whether to select again at once: [`View::next_queued`] was empty because payments were joining their lanes. True once for each such
    /// selection.
    pub(crate) fn look_again(&self) -> bool {
        self.joining.swap(false, Ordering::AcqRel)
    }

    /// Returns the balances summed per currency and kind of account, and their position.
    pub(crate) fn trial_balance(&self) -> (u64, Totals) {
        let _turn = self
            .turn_to_sum
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        loop {
            let published = self.read();
            if let Some(totals) = published.sum() {
                return (published.position, totals);
            }
        }
    }

    /// Applies a frame that is durable since `now`. Returns the number of rejected records.
    pub(crate) fn publish(&self, frame: &FrameBuilder, now: u64) -> u64 {
        let mut payloads = frame.payloads();
        let (mut rejected, mut more) = (0, true);
        while more {
            let mut published = self.write();
            let slice = published.apply_slice(&mut payloads, now);
            more = slice.1;
            rejected += slice.0;
            if !more {
                published.frame_end = published.position;
            }
            self.tell(&published);
            drop(published);
            if more {
                self.let_readers_in();
            }
        }
        self.news.notify_waiters();
        rejected
    }

    fn write(&self) -> RwLockWriteGuard<'_, Published> {
        self.published
            .write()
            .expect("no reader or publisher panics while it holds the view")
    }

    fn tell(&self, published: &Published) {
        let due = published.due.first().map_or(NOTHING_DUE, |first| first.0);
        {
            let queue = published.lanes();
            let next = queue.next(published.is_paused()).unwrap_or(NOTHING_DUE);
            self.next_due.store(due.min(next), Ordering::Release);
            self.queued.store(queue.len(), Ordering::Release);
        }
        let time_offset = published.set.time_offset().nanos;
        self.time_offset.store(time_offset, Ordering::Release);
        let objects = published.set.account_count() + published.set.payment_count();
        self.objects.store(objects, Ordering::Release);
        self.position.store(published.position, Ordering::Release);
    }

    /// Yields first: the thread that released the lock would otherwise reacquire it before the threads that were woken for it.
    fn let_readers_in(&self) {
        if self.waiting.load(Ordering::Acquire) == 0 {
            return;
        }
        let begun = Instant::now();
        while self.waiting.load(Ordering::Acquire) > 0 && begun.elapsed() < READERS_WAIT_MAX {
            std::thread::yield_now();
        }
    }
}
