//! The deliveries of all subscriptions. Calls come in, and changes to be kept go out; there is no clock, no disk and no thread.

use std::collections::{BTreeMap, BTreeSet};

use tributary_ledger::{Actor, OwnerId};

use crate::delivery::{Delivery, Matched, Receipt, ReceiptExpired};
use crate::ended::EndedAttempts;
use crate::flow::{Figures, Flow, Wanted};
use crate::image::{Change, Image, Images, Letter};
use crate::memory::{IN_FLIGHT_IN_ALL_MAX, LETTER_BYTES_IN_ALL_MAX, MemoryCounters, window};
use crate::notices::DeadLetterNotice;
use crate::revisions::Revisions;
use crate::settings::{Subscription, SubscriptionId};

/// Maximum number of timers fired in one tick, per subscription.
const TICKED_MAX: usize = 1_024;
/// Bits of a generation.
const GENERATION_BITS: u32 = 56;

/// Why a call was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no such subscription.
    #[error("there is no such subscription")]
    NotFound,
    /// [`crate::REPLAYS_MAX`] ranges wait to be replayed already.
    #[error("too many ranges wait to be replayed")]
    TooManyReplays,
    /// The receipt is of an attempt that is over.
    #[error(transparent)]
    Expired(#[from] ReceiptExpired),
}

/// A subscription that exists at the start.
pub struct Known {
    /// Definition and state.
    pub subscription: Subscription,
    /// Position after which events are delivered, if there is no image.
    pub start: u64,
    /// Filters for everything above the floor.
    pub revisions: Revisions,
}

/// The deliveries of all subscriptions.
pub struct Core {
    /// Number of the newest hand-out.
    generation: u64,
    cluster: [u8; 16],
    flows: BTreeMap<SubscriptionId, Flow>,
    /// Images of subscriptions whose definition can't be read.
    idle: BTreeMap<SubscriptionId, Image>,
    outbox: Vec<Change>,
    /// Subscriptions whose waiting receivers would get events now.
    woken: Vec<SubscriptionId>,
    /// Number of rewinds. What was read from the journal before a rewind is of no use after it.
    rewinds: u64,
    /// Attempts that are over.
    past: EndedAttempts,
    memory: MemoryCounters,
}

impl Core {
    /// Makes the flows of the subscriptions `known` from their images. Images of `idle` subscriptions are kept, all others dropped.
    pub fn new(
        mut images: Images,
        known: Vec<Known>,
        idle: &BTreeSet<SubscriptionId>,
        now: u64,
    ) -> Core {
        let mut core = Core {
            generation: images.generation,
            cluster: images.cluster,
            flows: BTreeMap::new(),
            idle: BTreeMap::new(),
            outbox: Vec::new(),
            woken: Vec::new(),
            rewinds: 0,
            past: EndedAttempts::default(),
            memory: MemoryCounters::new(),
        };
        for one in known {
            let id = one.subscription.id;
            let image = images.images.remove(&id);
            let image = image.unwrap_or_else(|| Image::new(one.start));
            let memory = core.memory.subscription(one.subscription.scope);
            let flow = Flow::new(one.subscription, image, one.revisions, memory, now);
            core.flows.insert(id, flow);
        }
        core.divide_windows();
        images.images.retain(|id, _| idle.contains(id));
        core.idle = images.images;
        core
    }

    /// The same core with another maximum size of all events that failed, instead of [`LETTER_BYTES_IN_ALL_MAX`].
    ///
    /// # Panics
    /// If there is a subscription already.
    pub fn with_letter_bytes_max(mut self, bytes: usize) -> Core {
        assert!(self.flows.is_empty(), "a subscription counts already");
        self.memory = MemoryCounters::with_bounds(bytes, IN_FLIGHT_IN_ALL_MAX);
        self
    }

    /// The same core with another maximum number of all events in the hands of receivers, instead of [`IN_FLIGHT_IN_ALL_MAX`].
    ///
    /// # Panics
    /// If there is a subscription already.
    pub fn with_in_flight_in_all_max(mut self, events: usize) -> Core {
        assert!(self.flows.is_empty(), "a subscription counts already");
        self.memory = MemoryCounters::with_bounds(LETTER_BYTES_IN_ALL_MAX, events);
        self
    }

    fn flow(&mut self, id: SubscriptionId) -> Result<&mut Flow, Refusal> {
        self.flows.get_mut(&id).ok_or(Refusal::NotFound)
    }

    /// Calls `change` with the flow, and notes whether waiting receivers would get events now.
    fn with<T>(
        &mut self,
        id: SubscriptionId,
        now: u64,
        change: impl FnOnce(&mut Flow, u64, &mut Vec<Change>) -> T,
    ) -> Result<T, Refusal> {
        let flow = self.flows.get_mut(&id).ok_or(Refusal::NotFound)?;
        let result = change(flow, now, &mut self.outbox);
        flow.count_memory();
        self.past
            .append(flow.subscription().scope, flow.ended_attempts());
        if flow.wakes() {
            self.woken.push(id);
        }
        Ok(result)
    }

    /// Takes the definition that the record at `position` made. A new subscription gets events after `start`.
    pub fn put(&mut self, subscription: Subscription, start: u64, position: u64, now: u64) {
        let id = subscription.id;
        if self.flows.contains_key(&id) {
            let put = |flow: &mut Flow, now, _: &mut Vec<Change>| {
                flow.set_terms(subscription.terms, position, now);
            };
            self.with(id, now, put).expect("it is there");
            return;
        }
        let image = self.idle.remove(&id).unwrap_or_else(|| {
            let floor = start;
            self.outbox.push(Change::Progress { id, floor });
            Image::new(start)
        });
        let revisions = Revisions::new(subscription.terms.filter.clone());
        let memory = self.memory.subscription(subscription.scope);
        let flow = Flow::new(subscription, image, revisions, memory, now);
        self.flows.insert(id, flow);
        self.divide_windows();
    }

    /// Divides the memory of events that wait between the subscriptions.
    fn divide_windows(&mut self) {
        let mut counts: BTreeMap<OwnerId, usize> = BTreeMap::new();
        for flow in self.flows.values() {
            *counts.entry(flow.subscription().scope).or_default() += 1;
        }
        let in_all = self.flows.len();
        let of_platform = counts.get(&OwnerId::PLATFORM).copied().unwrap_or(0);
        for flow in self.flows.values_mut() {
            let owner = flow.subscription().scope;
            flow.set_window(window(owner, counts[&owner], in_all - of_platform, in_all));
        }
    }

    /// Removes a deleted subscription and everything that is kept of it.
    pub fn delete(&mut self, id: SubscriptionId) {
        let flow = self.flows.remove(&id).is_some();
        let idle = self.idle.remove(&id).is_some();
        self.divide_windows();
        if flow || idle {
            self.outbox.push(Change::Delete(id));
            self.woken.push(id);
        }
    }

    /// Stops a subscription whose definition can't be read any more. What is kept of it stays.
    pub fn suspend(&mut self, id: SubscriptionId) {
        if let Some(flow) = self.flows.remove(&id) {
            self.idle.insert(id, flow.image());
            self.woken.push(id);
        }
    }

    /// Takes the matches among the events `from ..= through`, by subscription, ascending.
    pub fn offer(
        &mut self,
        from: u64,
        through: u64,
        matches: &BTreeMap<SubscriptionId, Vec<Matched>>,
        now: u64,
    ) {
        for (id, flow) in &mut self.flows {
            let matches = matches.get(id).map_or(&[][..], Vec::as_slice);
            flow.offer(from, through, matches, now);
            if flow.wakes() {
                self.woken.push(*id);
            }
        }
    }

    /// Returns a subscription that needs older filters before the journal can be searched for it, and the position from which on it
    /// needs them, if the committed journal ends at `head`.
    pub fn lacking_revisions(&self, head: u64) -> Option<(SubscriptionId, u64)> {
        let mut flows = self.flows.iter();
        let (id, flow) = flows.find(|(_, flow)| flow.lacks_revisions(head))?;
        Some((*id, flow.revisions_from()))
    }

    /// Replaces the filters for everything above the position that was asked for.
    pub fn set_revisions(&mut self, id: SubscriptionId, revisions: Revisions) {
        if let Some(flow) = self.flows.get_mut(&id) {
            flow.set_revisions(revisions);
        }
    }

    /// Returns the next subscription after `after` for which the journal should be searched, and the range, if the committed journal
    /// ends at `head`.
    pub fn wanted(
        &self,
        after: Option<SubscriptionId>,
        head: u64,
    ) -> Option<(Subscription, Wanted)> {
        let later = self
            .flows
            .iter()
            .filter(|(id, _)| Some(**id) > after)
            .chain(self.flows.iter().filter(|(id, _)| Some(**id) <= after));
        later
            .filter_map(|(_, flow)| Some((flow, flow.wanted(head)?)))
            .map(|(flow, wanted)| (flow.subscription().clone(), wanted))
            .next()
    }

    /// Whether the journal should be searched for a subscription, if the committed journal ends at `head`.
    pub fn wants(&self, id: SubscriptionId, head: u64) -> bool {
        let flow = self.flows.get(&id);
        flow.is_some_and(|flow| flow.wanted(head).is_some())
    }

    /// Takes what a search of the range `wanted` found up to `through`. Has no effect if there were more than `rewinds` rewinds since
    /// the search began.
    pub fn found(
        &mut self,
        id: SubscriptionId,
        rewinds: u64,
        wanted: &Wanted,
        through: u64,
        matches: &[Matched],
        now: u64,
    ) {
        if rewinds != self.rewinds {
            return;
        }
        let _deleted = self.with(id, now, |flow, now, _| {
            if wanted.replay {
                flow.replay_found(wanted.from, through, matches, now);
            } else {
                flow.offer(wanted.from, through, matches, now);
            }
        });
    }

    /// Returns the number of rewinds.
    pub fn rewinds(&self) -> u64 {
        self.rewinds
    }

    /// Hands out up to `max` events for `visibility` nanoseconds; the policy's time if none is given. `running` is the running time.
    ///
    /// # Errors
    /// If there is no such subscription.
    pub fn take(
        &mut self,
        id: SubscriptionId,
        max: usize,
        visibility: Option<u64>,
        now: u64,
        running: u64,
    ) -> Result<Vec<Delivery>, Refusal> {
        self.generation += 1;
        let generation = self.generation & ((1 << GENERATION_BITS) - 1);
        self.with(id, now, |flow, now, _| {
            let policy = &flow.subscription().terms.policy;
            let visibility = visibility.unwrap_or(policy.visibility);
            let deadline = running.saturating_add(visibility);
            flow.take(max, deadline, now, generation)
        })
    }

    /// Acknowledges deliveries. Each receipt has its own result.
    ///
    /// # Errors
    /// If there is no such subscription.
    pub fn ack(
        &mut self,
        id: SubscriptionId,
        receipts: &[Receipt],
        now: u64,
    ) -> Result<Vec<Result<(), ReceiptExpired>>, Refusal> {
        self.with(id, now, |flow, now, _| flow.ack(receipts, now))
    }

    /// Fails an attempt. The next one follows after `delay` nanoseconds, or after the delay of the policy.
    ///
    /// # Errors
    /// If there is no such subscription, or the attempt is over.
    pub fn nack(
        &mut self,
        id: SubscriptionId,
        receipt: Receipt,
        delay: Option<u64>,
        error: &str,
        now: u64,
    ) -> Result<(), Refusal> {
        let nacked = self.with(id, now, |flow, now, _| {
            flow.nack(receipt, delay, error, now)
        })?;
        Ok(nacked?)
    }

    /// Acknowledges one delivery, with the duration of the work in nanoseconds and a note for the history.
    ///
    /// # Errors
    /// If there is no such subscription, or the attempt is over.
    pub fn ack_noted(
        &mut self,
        id: SubscriptionId,
        receipt: Receipt,
        worked: u64,
        note: &[u8],
        now: u64,
    ) -> Result<(), Refusal> {
        let acked = self.with(id, now, |flow, now, _| {
            flow.ack_noted(receipt, worked, note, now)
        })?;
        Ok(acked?)
    }

    /// [`Core::ack_noted`] of several deliveries. Those whose attempt is over are passed over.
    ///
    /// # Errors
    /// If there is no such subscription.
    pub fn ack_all_noted(
        &mut self,
        id: SubscriptionId,
        done: &[(Receipt, u64, Vec<u8>)],
        now: u64,
    ) -> Result<(), Refusal> {
        self.with(id, now, |flow, now, _| {
            for (receipt, worked, note) in done {
                let _expired = flow.ack_noted(*receipt, *worked, note, now);
            }
        })
    }

    /// [`Core::nack`] with a note for the history.
    ///
    /// # Errors
    /// If there is no such subscription, or the attempt is over.
    pub fn nack_noted(
        &mut self,
        id: SubscriptionId,
        receipt: Receipt,
        delay: Option<u64>,
        error: &str,
        note: &[u8],
        now: u64,
    ) -> Result<(), Refusal> {
        let nacked = self.with(id, now, |flow, now, _| {
            flow.nack_noted(receipt, delay, error, note, now)
        })?;
        Ok(nacked?)
    }

    /// Returns the attempts that ended since they were last taken.
    pub(crate) fn ended_attempts(&mut self) -> &mut EndedAttempts {
        &mut self.past
    }

    /// Takes deliveries back from a receiver that disconnected: see [`Flow::give_back`]. Receipts of ended attempts have no effect.
    ///
    /// # Errors
    /// If there is no such subscription.
    pub fn give_back(
        &mut self,
        id: SubscriptionId,
        sent: &[Receipt],
        unsent: &[Receipt],
        now: u64,
    ) -> Result<(), Refusal> {
        self.with(id, now, |flow, now, _| flow.give_back(sent, unsent, now))
    }

    /// Extends an attempt to the running time `until`.
    ///
    /// # Errors
    /// If there is no such subscription, or the attempt is over.
    pub fn extend(
        &mut self,
        id: SubscriptionId,
        receipt: Receipt,
        until: u64,
    ) -> Result<(), Refusal> {
        Ok(self.flow(id)?.extend(receipt, until)?)
    }

    /// Fires timers that are due. `running` is the running time. True if more may be due.
    pub fn tick(&mut self, now: u64, running: u64) -> bool {
        let mut more = false;
        for (id, flow) in &mut self.flows {
            more |= flow.tick(now, running, TICKED_MAX) == TICKED_MAX;
            flow.count_memory();
            self.past
                .append(flow.subscription().scope, flow.ended_attempts());
            if flow.wakes() {
                self.woken.push(*id);
            }
        }
        more
    }

    /// Returns when the next waiting event is due.
    pub fn next_due(&self) -> Option<u64> {
        self.flows.values().filter_map(Flow::next_due).min()
    }

    /// Returns the running time at which the next attempt times out.
    pub fn next_deadline(&self) -> Option<u64> {
        self.flows.values().filter_map(Flow::next_deadline).min()
    }

    /// Returns dead letters that are in the log after the position `after`, the oldest event first, and whether there are more.
    ///
    /// # Errors
    /// If there is no such subscription.
    pub fn dead(
        &self,
        id: SubscriptionId,
        after: u64,
        limit: usize,
    ) -> Result<(Vec<(u64, Letter)>, bool), Refusal> {
        let flow = self.flows.get(&id).ok_or(Refusal::NotFound)?;
        Ok(flow.dead(after, limit))
    }

    /// Whether the subscription has dead letters that are not known to be in the log.
    pub fn has_unwritten_dead(&self, id: SubscriptionId) -> bool {
        self.flows.get(&id).is_some_and(Flow::has_unwritten_dead)
    }

    /// Marks what was drained last, or the last snapshot, as durable.
    pub fn written(&mut self) {
        self.flows.values_mut().for_each(Flow::written);
    }

    /// Returns the notices of new dead letters that are due now.
    pub fn dead_letter_notices(&mut self, now: u64) -> Vec<DeadLetterNotice> {
        let flows = self.flows.values_mut();
        flows
            .filter_map(|flow| flow.dead_letter_notice(now))
            .collect()
    }

    /// Takes back a notice that could not be published, to be tried again.
    pub fn notice_failed(&mut self, notice: &DeadLetterNotice) {
        if let Some(flow) = self.flows.get_mut(&notice.subscription) {
            flow.notice_failed(notice);
        }
    }

    /// Puts dead letters back into delivery: these, or all, as many as the log may name. Returns how many.
    ///
    /// # Errors
    /// If there is no such subscription.
    pub fn requeue(
        &mut self,
        id: SubscriptionId,
        positions: Option<&[u64]>,
        by: Actor,
        now: u64,
    ) -> Result<usize, Refusal> {
        self.with(id, now, |flow, now, _| flow.requeue(positions, by, now))
    }

    /// Drops dead letters: these, or all. Returns how many.
    ///
    /// # Errors
    /// If there is no such subscription.
    pub fn drop_dead(
        &mut self,
        id: SubscriptionId,
        positions: Option<&[u64]>,
        by: Actor,
        now: u64,
    ) -> Result<usize, Refusal> {
        self.with(id, now, |flow, now, _| flow.drop_dead(positions, by, now))
    }

    /// Continues after the event at `to`. Backwards, open events up to there stay open; forwards, open events are dropped. Attempts
    /// under way end. The newest filter matches everything up to `through`, the end of the committed journal.
    ///
    /// # Errors
    /// If there is no such subscription.
    pub fn rewind(
        &mut self,
        id: SubscriptionId,
        to: u64,
        through: u64,
        by: Actor,
        now: u64,
    ) -> Result<(), Refusal> {
        self.rewinds += 1;
        self.with(id, now, |flow, now, out| {
            flow.rewind(to, through, by, now, out);
        })
    }

    /// Delivers again what the newest filter matches in `first ..= last`, as far as that was matched before.
    ///
    /// # Errors
    /// If there is no such subscription, or too many ranges wait.
    pub fn replay(
        &mut self,
        id: SubscriptionId,
        first: u64,
        last: u64,
        by: Actor,
        now: u64,
    ) -> Result<(), Refusal> {
        match self.with(id, now, |flow, now, _| flow.replay(first, last, by, now))? {
            true => Ok(()),
            false => Err(Refusal::TooManyReplays),
        }
    }

    /// Returns counts and rates of a subscription.
    ///
    /// # Errors
    /// If there is no such subscription.
    pub fn figures(&self, id: SubscriptionId, now: u64) -> Result<Figures, Refusal> {
        let flow = self.flows.get(&id).ok_or(Refusal::NotFound)?;
        Ok(flow.figures(now))
    }

    /// Returns why a subscription takes no new events, or hands none out, if that is so.
    pub fn stalled(&self, id: SubscriptionId) -> Option<&'static str> {
        let flow = self.flows.get(&id)?;
        flow.stalled().or_else(|| flow.hands_out_nothing())
    }

    /// Returns a subscription.
    pub fn get(&self, id: SubscriptionId) -> Option<&Subscription> {
        self.flows.get(&id).map(Flow::subscription)
    }

    /// Returns all subscriptions in the order of their ids.
    pub fn subscriptions(&self) -> impl Iterator<Item = &Subscription> {
        self.flows.values().map(Flow::subscription)
    }

    /// Takes the subscriptions whose waiting receivers would get events now.
    pub fn woken(&mut self) -> Vec<SubscriptionId> {
        std::mem::take(&mut self.woken)
    }

    /// Takes the changes since the last drain. With `all`, every floor advances as far as it can.
    pub fn drain(&mut self, all: bool) -> Vec<Change> {
        let mut changes = std::mem::take(&mut self.outbox);
        for flow in self.flows.values_mut() {
            flow.drain(all, &mut changes);
            flow.drained();
        }
        changes
    }

    /// Returns the whole state as changes, and drains what it holds.
    pub fn snapshot(&mut self) -> Vec<Change> {
        self.drain(true);
        self.as_changes()
    }

    /// Returns the whole state as changes, and drains nothing.
    pub fn as_changes(&self) -> Vec<Change> {
        let mut changes = vec![Change::Begin {
            generation: self.generation,
            cluster: self.cluster,
        }];
        for (id, flow) in &self.flows {
            flow.image().changes(*id, &mut changes);
        }
        for (id, image) in &self.idle {
            image.changes(*id, &mut changes);
        }
        changes.push(Change::Whole);
        changes
    }

    /// Returns the durable state once everything that was drained is written.
    pub fn images(&self) -> Images {
        Images {
            generation: self.generation,
            cluster: self.cluster,
            images: self
                .flows
                .iter()
                .map(|(id, flow)| (*id, flow.image()))
                .chain(self.idle.iter().map(|(id, image)| (*id, image.clone())))
                .collect(),
        }
    }

    /// Whether every queue is within its bounds.
    pub fn within_bounds(&self) -> bool {
        self.flows.values().all(Flow::within_bounds)
    }
}
