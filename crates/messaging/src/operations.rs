//! What receivers and callers do with subscriptions: take and answer events, look at deliveries and change them.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::Notify;
use tributary_engine::Failure;
use tributary_journal::lock;
use tributary_ledger::{Actor, OwnerId, SettingId};

use crate::core::{Core, Refusal};
use crate::delivery::{Delivery, Receipt, ReceiptExpired};
use crate::driver::{INBOX_MAX, Messaging, Unsettled};
use crate::flow::Figures;
use crate::frames::Frame;
use crate::history::{AttemptPage, AttemptQuery};
use crate::image::Letter;
use crate::log;
use crate::scan::StartAt;
use crate::settings::{Kind, Subscription, SubscriptionId};

impl Messaging {
    /// Returns the frame that holds the record at `position`, from memory if it was read lately.
    ///
    /// # Errors
    /// If it can't be read, or there is none.
    pub fn frame(&self, position: u64) -> Result<Arc<Frame>, Failure> {
        self.frames.get(&self.reader, position)
    }

    /// Returns the frame that holds the record at `position`, if it is in memory. Never waits for the disk.
    pub fn cached_frame(&self, position: u64) -> Option<Arc<Frame>> {
        self.frames.cached(position)
    }

    /// Makes a change, which is durable afterwards.
    fn settle<T>(
        &self,
        change: impl FnOnce(&mut Core, u64) -> Result<T, Refusal>,
    ) -> Result<T, Unsettled> {
        let (result, version) = self.with_version(change);
        let result = result?;
        self.keep_through(version)?;
        // There may be something to read now.
        self.wake();
        Ok(result)
    }

    /// Continues at `from`: see [`Core::rewind`].
    ///
    /// # Errors
    /// See [`Unsettled`].
    pub fn rewind(&self, id: SubscriptionId, from: StartAt, by: Actor) -> Result<(), Unsettled> {
        let to = from.position(&self.reader)?;
        let through = self.seen.load(Ordering::Acquire);
        self.settle(|core, now| core.rewind(id, to.min(through), through, by, now))
    }

    /// Delivers again what the newest filter matches in `first ..= last`: see [`Core::replay`].
    ///
    /// # Errors
    /// See [`Unsettled`].
    pub fn replay(
        &self,
        id: SubscriptionId,
        first: u64,
        last: u64,
        by: Actor,
    ) -> Result<(), Unsettled> {
        self.settle(|core, now| core.replay(id, first, last, by, now))
    }

    /// Puts dead letters back into delivery: see [`Core::requeue`].
    ///
    /// # Errors
    /// See [`Unsettled`].
    pub fn requeue(
        &self,
        id: SubscriptionId,
        positions: Option<&[u64]>,
        by: Actor,
    ) -> Result<usize, Unsettled> {
        self.settle(|core, now| core.requeue(id, positions, by, now))
    }

    /// Drops dead letters: see [`Core::drop_dead`].
    ///
    /// # Errors
    /// See [`Unsettled`].
    pub fn drop_dead(
        &self,
        id: SubscriptionId,
        positions: Option<&[u64]>,
        by: Actor,
    ) -> Result<usize, Unsettled> {
        self.settle(|core, now| core.drop_dead(id, positions, by, now))
    }

    /// Hands out up to `max` events: see [`Core::take`].
    ///
    /// # Errors
    /// If there is no such subscription.
    pub fn take(
        &self,
        id: SubscriptionId,
        max: usize,
        visibility: Option<u64>,
    ) -> Result<Vec<Delivery>, Refusal> {
        let max = match self.permit.is_granted() {
            true => max,
            false => {
                self.denied.store(true, Ordering::SeqCst);
                0
            }
        };
        let running = self.clock.running();
        let taken = self.with(|core, now| core.take(id, max, visibility, now, running))?;
        if !taken.is_empty() {
            // Their time-outs may be the next thing to happen, and others may have to be read.
            self.progressed();
        }
        Ok(taken)
    }

    /// Acknowledges deliveries. Each receipt has its own result.
    ///
    /// # Errors
    /// If there is no such subscription.
    pub fn ack(
        &self,
        id: SubscriptionId,
        receipts: &[Receipt],
    ) -> Result<Vec<Result<(), ReceiptExpired>>, Refusal> {
        let results = self.with(|core, now| core.ack(id, receipts, now));
        self.after_ack(id);
        results
    }

    /// Notes progress, and has the thread search the journal at once if there is room for more events.
    fn after_ack(&self, id: SubscriptionId) {
        if lock(&self.core).wants(id, self.seen.load(Ordering::Acquire)) {
            self.wake();
        }
        self.progressed();
    }

    /// Fails an attempt: see [`Core::nack`]. Call [`Messaging::make_durable`] before the receiver is answered.
    ///
    /// # Errors
    /// If there is no such subscription, or the attempt is over.
    pub fn nack(
        &self,
        id: SubscriptionId,
        receipt: Receipt,
        delay: Option<u64>,
        error: &str,
    ) -> Result<(), Refusal> {
        let result = self.with(|core, now| core.nack(id, receipt, delay, error, now));
        self.progressed();
        result
    }

    /// Makes all changes so far durable. Blocks until then.
    ///
    /// # Errors
    /// If they could not be made durable.
    pub fn make_durable(&self) -> Result<(), Unsettled> {
        self.keep_through(self.version.load(Ordering::Acquire))
    }

    /// Returns a delivery log that holds the present state, as bytes, for a backup: see [`crate::restore_snapshot`]. The log can be used
    /// beside a journal that reaches as far as this one does now.
    pub fn snapshot(&self) -> Vec<u8> {
        let changes = self.with(|core, _| core.as_changes());
        log::encode_snapshot(&changes, self.reader.head().into(), self.clock.now())
    }

    /// Takes deliveries back from a receiver that disconnected: see [`Core::give_back`].
    ///
    /// # Errors
    /// If there is no such subscription.
    pub fn give_back(
        &self,
        id: SubscriptionId,
        sent: &[Receipt],
        unsent: &[Receipt],
    ) -> Result<(), Refusal> {
        let result = self.with(|core, now| core.give_back(id, sent, unsent, now));
        self.progressed();
        result
    }

    /// Extends an attempt to `visibility` nanoseconds from now.
    ///
    /// # Errors
    /// If there is no such subscription, or the attempt is over.
    pub fn extend(
        &self,
        id: SubscriptionId,
        receipt: Receipt,
        visibility: u64,
    ) -> Result<(), Refusal> {
        let until = self.clock.running().saturating_add(visibility);
        self.with(|core, _| core.extend(id, receipt, until))
    }

    /// Returns dead letters: see [`Core::dead`]. Dead letters that can't be made durable are not among them.
    ///
    /// # Errors
    /// If there is no such subscription.
    pub fn dead(
        &self,
        id: SubscriptionId,
        after: u64,
        limit: usize,
    ) -> Result<(Vec<(u64, Letter)>, bool), Refusal> {
        let unwritten = lock(&self.core).has_unwritten_dead(id);
        if unwritten && let Err(error) = self.make_durable() {
            tracing::warn!(%error, "the newest dead letters are not listed: the delivery log can't be written");
        }
        lock(&self.core).dead(id, after, limit)
    }

    /// Acknowledges one delivery, with the duration of the work in nanoseconds and a note for the history.
    ///
    /// # Errors
    /// If there is no such subscription, or the attempt is over.
    pub fn ack_noted(
        &self,
        id: SubscriptionId,
        receipt: Receipt,
        worked: u64,
        note: &[u8],
    ) -> Result<(), Refusal> {
        let result = self.with(|core, now| core.ack_noted(id, receipt, worked, note, now));
        self.after_ack(id);
        result
    }

    /// Acknowledges deliveries as [`Messaging::ack_noted`] does: each with its duration and its note. Those whose attempt is over are
    /// passed over.
    ///
    /// # Errors
    /// If there is no such subscription.
    pub fn ack_all_noted(
        &self,
        id: SubscriptionId,
        done: &[(Receipt, u64, Vec<u8>)],
    ) -> Result<(), Refusal> {
        let result = self.with(|core, now| core.ack_all_noted(id, done, now));
        self.after_ack(id);
        result
    }

    /// [`Messaging::nack`] with a note for the history.
    ///
    /// # Errors
    /// If there is no such subscription, or the attempt is over.
    pub fn nack_noted(
        &self,
        id: SubscriptionId,
        receipt: Receipt,
        delay: Option<u64>,
        error: &str,
        note: &[u8],
    ) -> Result<(), Refusal> {
        let result = self.with(|core, now| core.nack_noted(id, receipt, delay, error, note, now));
        self.progressed();
        result
    }

    /// Returns ended attempts from the history. Waits for the disk.
    pub fn attempts(&self, wanted: &AttemptQuery<'_>) -> AttemptPage {
        let mut history = lock(&self.history);
        self.collect_ended(&mut history);
        let reading = history.reading(wanted);
        // Read by this thread alone.
        drop(history);
        reading.find(wanted)
    }

    /// Notified when a subscription was created, changed or deleted. Register before you look, so that no change is missed.
    pub fn definitions_changed(&self) -> &Notify {
        &self.settled
    }

    /// Notified when there may be an event to take. Register before you take, so that no event is missed.
    pub fn arrivals(&self, id: SubscriptionId) -> Arc<Notify> {
        if lock(&self.core).get(id).is_none() {
            return Arc::default();
        }
        lock(&self.bells).entry(id).or_default().clone()
    }

    /// Returns ledger time, nanoseconds since the Unix epoch.
    pub fn now(&self) -> u64 {
        self.clock.now()
    }

    /// Returns a subscription.
    pub fn get(&self, id: SubscriptionId) -> Option<Subscription> {
        lock(&self.core).get(id).cloned()
    }

    /// Returns the owner of a subscription, if there is one.
    pub fn scope(&self, id: SubscriptionId) -> Option<OwnerId> {
        lock(&self.core).get(id).map(|one| one.scope)
    }

    /// Returns the subscriptions whose events are sent.
    pub fn push_subscriptions(&self) -> Vec<SubscriptionId> {
        let core = lock(&self.core);
        let pushed = |one: &&Subscription| matches!(one.terms.kind, Kind::Push { .. });
        core.subscriptions()
            .filter(pushed)
            .map(|one| one.id)
            .collect()
    }

    /// Returns the subscriptions whose events go to brokers, and the binding of each.
    pub fn sinks(&self) -> Vec<(SubscriptionId, SettingId)> {
        let core = lock(&self.core);
        let sink = |one: &Subscription| match one.terms.kind {
            Kind::Sink { binding } => Some((one.id, binding)),
            Kind::Pull | Kind::Push { .. } => None,
        };
        core.subscriptions().filter_map(sink).collect()
    }

    /// Returns all subscriptions in the order of their ids.
    pub fn subscriptions(&self) -> Vec<Subscription> {
        lock(&self.core).subscriptions().cloned().collect()
    }

    /// Returns counts and rates of a subscription, and why it takes no new events, if it takes none.
    ///
    /// # Errors
    /// If there is no such subscription.
    pub fn figures(&self, id: SubscriptionId) -> Result<(Figures, Option<&'static str>), Refusal> {
        let figures = self.with(|core, now| core.figures(id, now))?;
        let stalled = lock(&self.core).stalled(id);
        Ok((figures, stalled))
    }

    /// Whether the last write of the log succeeded.
    pub fn log_is_written(&self) -> bool {
        self.keeps.load(Ordering::Acquire)
    }

    /// Whether the last write of the history succeeded.
    pub fn history_is_written(&self) -> bool {
        lock(&self.history).is_written()
    }

    /// Whether every queue is within its bounds.
    pub fn within_bounds(&self) -> bool {
        lock(&self.core).within_bounds() && lock(&self.inbox).count <= INBOX_MAX
    }
}
