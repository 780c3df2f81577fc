//! All subscriptions: calls in, changes to be kept out. No clock, no disk, no threads.

use std::collections::{BTreeMap, BTreeSet};

use tributary_ledger::Actor;

use crate::flow::{Delivery, Figures, Flow, Matched, Receipt, ReceiptExpired, Wanted};
use crate::image::{Change, Image, Images, Letter};
use crate::notices::DeadLetterNotice;
use crate::past::Past;
use crate::revisions::Revisions;
use crate::settings::{Subscription, SubscriptionId};

/// Things that happen by themselves in one tick, at most, per subscription.
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

/// A subscription that is there at the start.
pub struct Known {
    /// Its definition and state.
    pub subscription: Subscription,
    /// Position after which it wants events, unless more is known of it.
    pub start: u64,
    /// The filters of everything above its floor.
    pub revisions: Revisions,
}

/// All subscriptions.
pub struct Core {
    /// The number of the newest attempts.
    generation: u64,
    cluster: [u8; 16],
    flows: BTreeMap<SubscriptionId, Flow>,
    /// What is kept of subscriptions whose definition can't be read, so they are not at work.
    idle: BTreeMap<SubscriptionId, Image>,
    outbox: Vec<Change>,
    /// Those that waiting receivers should ask again.
    woken: Vec<SubscriptionId>,
    /// Counts rewinds: what was read before one is of no use after it.
    rewinds: u64,
    /// Attempts that are over.
    past: Past,
}

impl Core {
    /// The subscriptions `known`, with what was kept of them. Images of `idle` ones are kept, all others go.
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
            past: Past::default(),
        };
        for one in known {
            let id = one.subscription.id;
            let image = images.images.remove(&id);
            let image = image.unwrap_or_else(|| Image::new(one.start));
            let flow = Flow::new(one.subscription, image, one.revisions, now);
            core.flows.insert(id, flow);
        }
        images.images.retain(|id, _| idle.contains(id));
        core.idle = images.images;
        core
    }

    fn flow(&mut self, id: SubscriptionId) -> Result<&mut Flow, Refusal> {
        self.flows.get_mut(&id).ok_or(Refusal::NotFound)
    }

    /// Calls `change`, and notes if receivers should come again.
    fn with<T>(
        &mut self,
        id: SubscriptionId,
        now: u64,
        change: impl FnOnce(&mut Flow, u64, &mut Vec<Change>) -> T,
    ) -> Result<T, Refusal> {
        let flow = self.flows.get_mut(&id).ok_or(Refusal::NotFound)?;
        let result = change(flow, now, &mut self.outbox);
        self.past.append(flow.past());
        if flow.wakes() {
            self.woken.push(id);
        }
        Ok(result)
    }

    /// The record at `position` defined a subscription, which wants events after `start` if it is new.
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
        let flow = Flow::new(subscription, image, revisions, now);
        self.flows.insert(id, flow);
    }

    /// A subscription was deleted: forgets all that is kept of it.
    pub fn delete(&mut self, id: SubscriptionId) {
        let flow = self.flows.remove(&id).is_some();
        let idle = self.idle.remove(&id).is_some();
        if flow || idle {
            self.outbox.push(Change::Delete(id));
            self.woken.push(id);
        }
    }

    /// The definition of a subscription can't be read any more: it stops, and what is kept of it stays.
    pub fn suspend(&mut self, id: SubscriptionId) {
        if let Some(flow) = self.flows.remove(&id) {
            self.idle.insert(id, flow.image());
            self.woken.push(id);
        }
    }

    /// Takes what was matched among the events `from ..= through`: by subscription, ascending in position.
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

    /// A subscription that needs the filters of revisions before anything more can be read for it, if the published journal ends at
    /// `head`, and the position from which on it needs them.
    pub fn lacking_revisions(&self, head: u64) -> Option<(SubscriptionId, u64)> {
        let mut flows = self.flows.iter();
        let (id, flow) = flows.find(|(_, flow)| flow.lacks_revisions(head))?;
        Some((*id, flow.revisions_from()))
    }

    /// Takes the filters of everything above the position that was asked for.
    pub fn set_revisions(&mut self, id: SubscriptionId, revisions: Revisions) {
        if let Some(flow) = self.flows.get_mut(&id) {
            flow.set_revisions(revisions);
        }
    }

    /// Who should be read for, if the published journal ends at `head`: the next one after `after`.
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

    /// Whether one should be read for, if the published journal ends at `head`.
    pub fn wants(&self, id: SubscriptionId, head: u64) -> bool {
        let flow = self.flows.get(&id);
        flow.is_some_and(|flow| flow.wanted(head).is_some())
    }

    /// Takes what was read for one subscription, asked for as `wanted`, up to `through`. Without effect if there was a rewind since
    /// there were `rewinds`.
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

    /// Counts rewinds.
    pub fn rewinds(&self) -> u64 {
        self.rewinds
    }

    /// Hands out up to `max` events for `visibility` nanoseconds; the policy's time if none is given.
    ///
    /// # Errors
    /// If there is no such subscription.
    pub fn take(
        &mut self,
        id: SubscriptionId,
        max: usize,
        visibility: Option<u64>,
        now: u64,
    ) -> Result<Vec<Delivery>, Refusal> {
        self.generation += 1;
        let generation = self.generation & ((1 << GENERATION_BITS) - 1);
        self.with(id, now, |flow, now, _| {
            let policy = &flow.subscription().terms.policy;
            let visibility = visibility.unwrap_or(policy.visibility);
            flow.take(max, visibility, now, generation)
        })
    }

    /// These are done. Each receipt is answered for itself.
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

    /// This attempt failed: another one follows after `delay` nanoseconds, or the policy's.
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

    /// [`Core::ack`] of one, with the nanoseconds that were worked on it and a note for the history.
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

    /// Attempts that are over, for the history.
    pub(crate) fn past(&mut self) -> &mut Past {
        &mut self.past
    }

    /// The receiver of these went away: see [`Flow::give_back`]. Attempts that are over are passed over.
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

    /// The receiver keeps the event until `until`.
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

    /// Lets happen what is due; true if there may be more.
    pub fn tick(&mut self, now: u64) -> bool {
        let mut more = false;
        for (id, flow) in &mut self.flows {
            more |= flow.tick(now, TICKED_MAX) == TICKED_MAX;
            self.past.append(flow.past());
            if flow.wakes() {
                self.woken.push(*id);
            }
        }
        more
    }

    /// When something happens by itself next.
    pub fn next_due(&self) -> Option<u64> {
        self.flows.values().filter_map(Flow::next_due).min()
    }

    /// Dead letters that are in the log after the position `after`, the oldest event first, and whether there are more.
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

    /// What was drained last, or the snapshot that was made last, is durable.
    pub fn written(&mut self) {
        self.flows.values_mut().for_each(Flow::written);
    }

    /// What is to be said of new dead letters now.
    pub fn dead_letter_notices(&mut self, now: u64) -> Vec<DeadLetterNotice> {
        let flows = self.flows.values_mut();
        flows
            .filter_map(|flow| flow.dead_letter_notice(now))
            .collect()
    }

    /// A notice could not be given: it will be tried again.
    pub fn notice_failed(&mut self, notice: &DeadLetterNotice) {
        if let Some(flow) = self.flows.get_mut(&notice.subscription) {
            flow.notice_failed(notice);
        }
    }

    /// Has dead letters delivered again: these, or all. At most as many as may be kept by name; gives how many.
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

    /// Forgets dead letters: these, or all. Gives how many.
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

    /// Begins again after the event at `to`. Backwards, what is open up to there stays open; forwards, all that is open is
    /// dropped. Attempts under way are over. The newest filter matches everything up to `through`, the end of what was committed.
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

    /// Delivers again what the newest filter matches in `first ..= last`, as far as it was looked at already.
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

    /// The numbers of one.
    ///
    /// # Errors
    /// If there is no such subscription.
    pub fn figures(&self, id: SubscriptionId, now: u64) -> Result<Figures, Refusal> {
        let flow = self.flows.get(&id).ok_or(Refusal::NotFound)?;
        Ok(flow.figures(now))
    }

    /// Why one takes no new events, if it does not.
    pub fn stalled(&self, id: SubscriptionId) -> Option<&'static str> {
        self.flows.get(&id).and_then(Flow::stalled)
    }

    /// One of them.
    pub fn get(&self, id: SubscriptionId) -> Option<&Subscription> {
        self.flows.get(&id).map(Flow::subscription)
    }

    /// All of them, by id.
    pub fn subscriptions(&self) -> impl Iterator<Item = &Subscription> {
        self.flows.values().map(Flow::subscription)
    }

    /// Those that waiting receivers should ask again.
    pub fn woken(&mut self) -> Vec<SubscriptionId> {
        std::mem::take(&mut self.woken)
    }

    /// What changed since the last time in what is kept. With `all`, every floor is as far as it can be.
    pub fn drain(&mut self, all: bool) -> Vec<Change> {
        let mut changes = std::mem::take(&mut self.outbox);
        for flow in self.flows.values_mut() {
            flow.drain(all, &mut changes);
            flow.drained();
        }
        changes
    }

    /// All that is to be kept, as changes of nothing. What was to be drained is in it.
    pub fn snapshot(&mut self) -> Vec<Change> {
        self.drain(true);
        self.as_changes()
    }

    /// All that is kept, as changes of nothing: a snapshot for somebody else, which takes nothing from what is to be drained.
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

    /// What is kept once all that was drained is.
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

    /// Whether memory is as bounded as it should be.
    pub fn within_bounds(&self) -> bool {
        self.flows.values().all(Flow::within_bounds)
    }
}
