//! All subscriptions: calls in, changes to be kept out. No clock, no disk, no threads.

use std::collections::BTreeMap;

use crate::flow::{Delivery, Figures, Flow, Matched, Receipt, ReceiptExpired, Wanted};
use crate::image::{Change, Images, Letter};
use crate::past::Past;
use crate::settings::{BadSetting, Kind, Subscription, SubscriptionId, Terms};

/// Subscriptions, at most.
pub const SUBSCRIPTIONS_MAX: usize = 2_000;
/// Things that happen by themselves in one tick, at most, per subscription.
const TICKED_MAX: usize = 1_024;
/// Bits of a generation that count hand-outs; those above count processes.
const TAKE_BITS: u32 = 36;
/// Bits of a generation.
const GENERATION_BITS: u32 = 56;

/// Why a call was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no such subscription.
    #[error("there is no such subscription")]
    NotFound,
    /// There are [`SUBSCRIPTIONS_MAX`] already.
    #[error("there are too many subscriptions")]
    TooMany,
    /// The idempotency key made another subscription.
    #[error("the idempotency key was used for another request")]
    KeyReused,
    /// The settings are no longer what the change was made from.
    #[error("the settings were changed meanwhile")]
    Changed,
    /// Another subscription has the id.
    #[error("the id is in use")]
    IdInUse,
    /// [`crate::REPLAYS_MAX`] ranges wait to be replayed already.
    #[error("too many ranges wait to be replayed")]
    TooManyReplays,
    /// A setting is out of its bounds, or can't be changed.
    #[error(transparent)]
    Bad(#[from] BadSetting),
    /// The receipt is of an attempt that is over.
    #[error(transparent)]
    Expired(#[from] ReceiptExpired),
}

/// All subscriptions.
pub struct Core {
    boot: u64,
    cluster: [u8; 16],
    flows: BTreeMap<SubscriptionId, Flow>,
    outbox: Vec<Change>,
    /// Those that waiting receivers should ask again.
    woken: Vec<SubscriptionId>,
    takes: u64,
    /// Counts changes of what is wanted.
    filters: u64,
    /// Attempts that are over.
    past: Past,
}

impl Core {
    /// As it was kept.
    pub fn new(images: Images, now: u64) -> Core {
        let flow = |(id, image)| (id, Flow::new(image, now));
        Core {
            boot: images.boot,
            cluster: images.cluster,
            flows: images.images.into_iter().map(flow).collect(),
            outbox: Vec::new(),
            woken: Vec::new(),
            takes: 0,
            filters: 1,
            past: Past::default(),
        }
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

    /// Makes a subscription that wants events after `start`. Under a key that made one already, gives that one.
    ///
    /// # Errors
    /// Nothing is made then.
    pub fn create(
        &mut self,
        subscription: Subscription,
        start: u64,
        now: u64,
    ) -> Result<(Subscription, bool), Refusal> {
        let same_key = |flow: &&Flow| {
            let other = flow.subscription();
            other.scope == subscription.scope && other.key == subscription.key
        };
        if let Some(flow) = self.flows.values().find(same_key) {
            let made = flow.subscription();
            return match made.digest == subscription.digest {
                true => Ok((made.clone(), true)),
                false => Err(Refusal::KeyReused),
            };
        }
        subscription.terms.check()?;
        if self.flows.contains_key(&subscription.id) {
            return Err(Refusal::IdInUse);
        }
        if self.flows.len() >= SUBSCRIPTIONS_MAX {
            return Err(Refusal::TooMany);
        }
        self.outbox
            .push(Change::Put(Box::new(subscription.clone()), start));
        let image = crate::image::Image::new(subscription.clone(), start);
        self.flows.insert(subscription.id, Flow::new(image, now));
        self.filters += 1;
        Ok((subscription, false))
    }

    /// Changes the settings.
    ///
    /// # Errors
    /// Nothing is changed then. The kind and the order can't be changed.
    pub fn update(
        &mut self,
        id: SubscriptionId,
        terms: Terms,
        now: u64,
    ) -> Result<Subscription, Refusal> {
        terms.check()?;
        let before = &self.flow(id)?.subscription().terms;
        if matches!(before.kind, Kind::Pull) != matches!(terms.kind, Kind::Pull) {
            return Err(BadSetting {
                field: "kind",
                what: "can't be changed",
            }
            .into());
        }
        if before.policy.order != terms.policy.order {
            return Err(BadSetting {
                field: "order",
                what: "can't be changed",
            }
            .into());
        }
        let filter_changed = before.filter != terms.filter;
        self.filters += u64::from(filter_changed);
        self.with(id, now, |flow, _, out| {
            if filter_changed {
                flow.keep_all(out);
            }
            flow.set_terms(terms);
            let subscription = flow.subscription().clone();
            out.push(Change::Put(Box::new(subscription.clone()), flow.scanned()));
            subscription
        })
    }

    /// [`Core::update`], if the settings still are `before`, which `terms` were made from.
    ///
    /// # Errors
    /// As there, and [`Refusal::Changed`].
    pub fn update_from(
        &mut self,
        id: SubscriptionId,
        before: &Terms,
        terms: Terms,
        now: u64,
    ) -> Result<Subscription, Refusal> {
        if self.flow(id)?.subscription().terms != *before {
            return Err(Refusal::Changed);
        }
        self.update(id, terms, now)
    }

    /// Hands nothing out any more, because of `why`.
    ///
    /// # Errors
    /// If there is no such subscription, or `why` is too long.
    pub fn pause(
        &mut self,
        id: SubscriptionId,
        why: &str,
        now: u64,
    ) -> Result<Subscription, Refusal> {
        let mut terms = self.flow(id)?.subscription().terms.clone();
        terms.paused = Some(why.to_owned());
        self.update(id, terms, now)
    }

    /// Hands out again.
    ///
    /// # Errors
    /// If there is no such subscription.
    pub fn resume(&mut self, id: SubscriptionId, now: u64) -> Result<Subscription, Refusal> {
        let mut terms = self.flow(id)?.subscription().terms.clone();
        terms.paused = None;
        self.update(id, terms, now)
    }

    /// Forgets a subscription and all that is kept of it.
    ///
    /// # Errors
    /// If there is no such subscription.
    pub fn delete(&mut self, id: SubscriptionId) -> Result<Subscription, Refusal> {
        let flow = self.flows.remove(&id).ok_or(Refusal::NotFound)?;
        self.outbox.push(Change::Delete(id));
        self.filters += 1;
        self.woken.push(id);
        Ok(flow.subscription().clone())
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

    /// Takes what was read for one subscription, asked for as `wanted`, up to `through`. Without effect if what it wants has
    /// changed since `filters`.
    pub fn found(
        &mut self,
        id: SubscriptionId,
        filters: u64,
        wanted: &Wanted,
        through: u64,
        matches: &[Matched],
        now: u64,
    ) {
        if filters != self.filters {
            return;
        }
        let _deleted = self.with(id, now, |flow, now, _| {
            if wanted.through.is_some() {
                flow.replay_found(wanted.from, through, matches, now);
            } else {
                flow.offer(wanted.from, through, matches, now);
            }
        });
    }

    /// Counts changes of what is wanted.
    pub fn filters(&self) -> u64 {
        self.filters
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
        self.takes += 1;
        let boots = self.boot << TAKE_BITS & ((1 << GENERATION_BITS) - 1);
        let generation = boots | self.takes & ((1 << TAKE_BITS) - 1);
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

    /// Has dead letters delivered again: these, or all. At most as many as may be kept by name; gives how many.
    ///
    /// # Errors
    /// If there is no such subscription.
    pub fn requeue(
        &mut self,
        id: SubscriptionId,
        positions: Option<&[u64]>,
        now: u64,
    ) -> Result<usize, Refusal> {
        self.with(id, now, |flow, now, _| flow.requeue(positions, now))
    }

    /// Forgets dead letters: these, or all. Gives how many.
    ///
    /// # Errors
    /// If there is no such subscription.
    pub fn drop_dead(
        &mut self,
        id: SubscriptionId,
        positions: Option<&[u64]>,
    ) -> Result<usize, Refusal> {
        Ok(self.flow(id)?.drop_dead(positions))
    }

    /// Begins again after the event at `to`. Backwards, what is open up to there stays open; forwards, all that is open is
    /// dropped. Attempts under way are over.
    ///
    /// # Errors
    /// If there is no such subscription.
    pub fn rewind(&mut self, id: SubscriptionId, to: u64, now: u64) -> Result<(), Refusal> {
        self.filters += 1;
        self.with(id, now, |flow, now, out| flow.rewind(to, now, out))
    }

    /// Delivers again what matches in `first ..= last`, as far as it was looked at already.
    ///
    /// # Errors
    /// If there is no such subscription, or too many ranges wait.
    pub fn replay(&mut self, id: SubscriptionId, first: u64, last: u64) -> Result<(), Refusal> {
        match self.flow(id)?.replay(first, last) {
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
        let mut changes = vec![Change::Begin {
            boot: self.boot,
            cluster: self.cluster,
        }];
        for flow in self.flows.values() {
            flow.image().changes(&mut changes);
        }
        changes.push(Change::Whole);
        changes
    }

    /// What is kept once all that was drained is.
    pub fn images(&self) -> Images {
        Images {
            boot: self.boot,
            cluster: self.cluster,
            images: self
                .flows
                .iter()
                .map(|(id, flow)| (*id, flow.image()))
                .collect(),
        }
    }

    /// Whether memory is as bounded as it should be.
    pub fn within_bounds(&self) -> bool {
        self.flows.len() <= SUBSCRIPTIONS_MAX && self.flows.values().all(Flow::within_bounds)
    }
}
