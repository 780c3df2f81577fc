//! The order in which queued payments run.
//!
//! Each payer has a lane. An order joins it when it is accepted, or at its `not_before`, and a lane runs first in, first out: an
//! urgent order never overtakes an earlier one of the same payer. Between lanes the heads are compared: a level of priority is
//! worth [`LEVEL_NS`] of waiting. So the more urgent head runs first, of equals the older one, and none waits for ever: an
//! order of priority 0 is behind those of priority 9 that come up to 90 seconds after it, and ahead of all later ones. Since
//! waiting counts the same for all, the order of two heads never changes, and no clock is needed to keep them sorted.
//!
//! This is a view of the queued payments: it can be rebuilt from them, and what it proposes the ledger decides again.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use hashbrown::{HashMap, HashSet};
use tributary_ledger::{AccountId, Payment, PaymentId, QueueState};

use crate::meter::{Meter, Rates};

/// Waiting time that a level of priority is worth, nanoseconds.
pub const LEVEL_NS: u64 = 10_000_000_000;
/// Maximum number of payments that join their lanes at once, so that a crowd of them does not delay readers.
const JOINED_AT_ONCE_MAX: usize = 8_192;

/// A queued payment.
struct Order {
    payer: AccountId,
    /// Time at which the payment joins its lane, nanoseconds since the Unix epoch.
    joins: u64,
    /// [`Order::joins`] less what the priority is worth. The least is the next.
    rank: u64,
    /// Time from which on the payment is too late, nanoseconds since the Unix epoch; 0 for none.
    expires_at: u64,
    accepted_at: u64,
    in_lane: bool,
    /// Time at which the payment was submitted to run, nanoseconds since the Unix epoch; 0 if it was not.
    handed_at: u64,
}

/// How a payment left the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Run,
    Failed,
    Expired,
    Voided,
}

/// Figures of the queue of payments. Totals are since the start, rates and averages over the last minute.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Figures {
    /// Mode of the queue.
    pub state: QueueState,
    /// Number of queued payments.
    pub length: usize,
    /// Number of queued payments whose `not_before` has not come.
    pub later: usize,
    /// Number of queued payments that are submitted to run.
    pub in_flight: usize,
    /// Time at which the oldest queued payment was accepted, nanoseconds since the Unix epoch.
    pub oldest: Option<u64>,
    /// Time since which the longest waiting payment waits in its lane, nanoseconds since the Unix epoch.
    pub placed: Option<u64>,
    /// Rates: payments arrive in their lane, wait until they are submitted, and are done when their records are durable.
    pub rates: Rates,
    /// Number of payments that went through.
    pub run: u64,
    /// Number of payments that failed when their turn came.
    pub failed: u64,
    /// Number of payments that were too late.
    pub expired: u64,
    /// Number of payments that were voided.
    pub voided: u64,
}

/// The queued payments.
#[derive(Default)]
pub(crate) struct Lanes {
    /// Payments in the order of acceptance.
    orders: BTreeMap<PaymentId, Order>,
    lanes: HashMap<AccountId, BTreeSet<(u64, PaymentId)>>,
    /// Head of every lane, by rank.
    heads: BTreeSet<(u64, PaymentId)>,
    /// Payments in a lane, by the time at which they joined.
    placed: BTreeSet<(u64, PaymentId)>,
    /// Payments that have not joined yet, by the time at which they do.
    later: BTreeSet<(u64, PaymentId)>,
    /// Payments with an end, by that time.
    ends: BTreeSet<(u64, PaymentId)>,
    meter: Meter,
    /// Number of payments that left, by [`End`].
    left: [u64; 4],
}

impl Lanes {
    /// Makes the queue of the payments that are queued. Earlier events are not in the figures.
    pub(crate) fn recovered<'a>(payments: impl Iterator<Item = &'a Payment>) -> Lanes {
        let mut lanes = Lanes::default();
        payments.for_each(|payment| lanes.add(payment, 0));
        lanes.meter = Meter::default();
        lanes
    }

    /// Adds a payment that is queued since `now`. Has no effect if it is not queued, or is there already.
    pub(crate) fn add(&mut self, payment: &Payment, now: u64) {
        let Some(terms) = payment.queue.as_deref() else {
            return;
        };
        if self.orders.contains_key(&payment.id) {
            return;
        }
        let joins = payment.created_at.max(terms.not_before);
        let order = Order {
            payer: payment.source,
            joins,
            rank: joins.saturating_sub(u64::from(terms.priority.number()) * LEVEL_NS),
            expires_at: terms.expires_at,
            accepted_at: payment.created_at,
            in_lane: false,
            handed_at: 0,
        };
        if order.expires_at > 0 {
            self.ends.insert((order.expires_at, payment.id));
        }
        self.orders.insert(payment.id, order);
        if terms.not_before <= payment.created_at {
            self.join(payment.id, now);
        } else {
            self.later.insert((joins, payment.id));
        }
    }

    /// Removes a payment that is queued no more since `now`. Has no effect if it is not there.
    pub(crate) fn end(&mut self, id: PaymentId, end: End, now: u64) {
        let Some(order) = self.remove(id) else {
            return;
        };
        self.left[end as usize] += 1;
        if end != End::Voided {
            let handed_at = if order.handed_at > 0 {
                order.handed_at
            } else {
                now
            };
            self.meter.done(now, 1, now.saturating_sub(handed_at));
        }
    }

    /// Counts payments that were not taken.
    pub(crate) fn refused(&mut self, now: u64, payments: u64) {
        self.meter.refused(now, payments);
    }

    fn remove(&mut self, id: PaymentId) -> Option<Order> {
        let order = self.orders.remove(&id)?;
        self.ends.remove(&(order.expires_at, id));
        if !order.in_lane {
            self.later.remove(&(order.joins, id));
            return Some(order);
        }
        let lane = self.lanes.get_mut(&order.payer);
        let lane = lane.expect("an order in a lane has one");
        lane.remove(&(order.joins, id));
        self.placed.remove(&(order.joins, id));
        let next = lane.first().map(|(_, id)| *id);
        if self.heads.remove(&(order.rank, id))
            && let Some(next) = next
        {
            self.heads.insert((self.orders[&next].rank, next));
        }
        if next.is_none() {
            self.lanes.remove(&order.payer);
        }
        Some(order)
    }

    fn join(&mut self, id: PaymentId, now: u64) {
        self.meter.arrived(now, 1);
        let order = self.orders.get_mut(&id).expect("it waits");
        order.in_lane = true;
        let (joins, rank, payer) = (order.joins, order.rank, order.payer);
        self.placed.insert((joins, id));
        let lane = self.lanes.entry(payer).or_default();
        let head = lane.first().copied();
        lane.insert((joins, id));
        if head.is_none_or(|head| (joins, id) < head) {
            if let Some((_, head)) = head {
                self.heads.remove(&(self.orders[&head].rank, head));
            }
            self.heads.insert((rank, id));
        }
    }

    /// Selects at most `max` payments to run now, in this order: those that are too late, then the lanes, unless the queue is paused or
    /// not every due payment has joined its lane ([`Lanes::are_joining`]).
    pub(crate) fn select(&mut self, now: u64, max: usize, paused: bool) -> Vec<PaymentId> {
        let (chosen, late) = self.choose(now, max, paused);
        for (at, id) in chosen.iter().enumerate() {
            let order = self.orders.get_mut(id).expect("it waits");
            if order.handed_at == 0 && at >= late {
                self.meter.started(now, 1, now.saturating_sub(order.joins));
            }
            order.handed_at = now;
        }
        chosen
    }

    /// Whether due payments have not joined their lanes. No payment is selected from the lanes then: one that has not joined may be
    /// ahead.
    pub(crate) fn are_joining(&self, now: u64) -> bool {
        self.later.first().is_some_and(|(joins, _)| *joins <= now)
    }

    /// Returns what [`Lanes::select`] does, and how many of the payments are too late.
    fn choose(&mut self, now: u64, max: usize, paused: bool) -> (Vec<PaymentId>, usize) {
        for _ in 0..JOINED_AT_ONCE_MAX {
            if !self.are_joining(now) {
                break;
            }
            let (_, id) = self.later.pop_first().expect("one is due");
            self.join(id, now);
        }
        let ends = self.ends.iter().take_while(|(at, _)| *at <= now);
        let mut chosen: Vec<PaymentId> = ends.take(max).map(|(_, id)| *id).collect();
        let late: HashSet<PaymentId> = chosen.iter().copied().collect();
        if paused || self.are_joining(now) {
            return (chosen, late.len());
        }
        // The heads in order, and in place of each that is taken the one behind it.
        let mut heads = self.heads.iter().copied().peekable();
        let mut behind = BinaryHeap::new();
        while chosen.len() < max {
            let next_behind = behind.peek().map(|Reverse(one)| *one);
            let next = match (heads.peek().copied(), next_behind) {
                (Some(head), Some(other)) if other < head => behind.pop().map(|Reverse(one)| one),
                (Some(_), _) => heads.next(),
                (None, Some(_)) => behind.pop().map(|Reverse(one)| one),
                (None, None) => break,
            };
            let (_, id) = next.expect("one of them was there");
            if !late.contains(&id) {
                chosen.push(id);
            }
            let order = &self.orders[&id];
            let after = (order.joins, PaymentId(id.0 + 1));
            let next = self.lanes[&order.payer].range(after..).next();
            behind.extend(next.map(|(_, id)| Reverse((self.orders[id].rank, *id))));
        }
        (chosen, late.len())
    }

    /// Returns when a payment can run: 0 if one can run now.
    pub(crate) fn next(&self, paused: bool) -> Option<u64> {
        let first = |set: &BTreeSet<(u64, PaymentId)>| set.first().map(|(at, _)| *at);
        if paused {
            return first(&self.ends);
        }
        if !self.heads.is_empty() {
            return Some(0);
        }
        [first(&self.later), first(&self.ends)]
            .into_iter()
            .flatten()
            .min()
    }

    /// Number of queued payments.
    pub(crate) fn len(&self) -> usize {
        self.orders.len()
    }

    /// Returns the figures, with rates of the minute before `now`.
    pub(crate) fn figures(&self, state: QueueState, in_flight: usize, now: u64) -> Figures {
        let joined = self.later.range(..=(now, PaymentId(u64::MAX))).count();
        let left = |end: End| self.left[end as usize];
        Figures {
            state,
            length: self.len(),
            later: self.later.len() - joined,
            in_flight,
            oldest: self.oldest(),
            placed: self.placed(now),
            rates: self.meter.rates(now),
            run: left(End::Run),
            failed: left(End::Failed),
            expired: left(End::Expired),
            voided: left(End::Voided),
        }
    }

    /// Returns since when the longest waiting payment waits in its lane, nanoseconds since the Unix epoch.
    fn placed(&self, now: u64) -> Option<u64> {
        let first = |set: &BTreeSet<(u64, PaymentId)>| set.first().map(|(joins, _)| *joins);
        let due = first(&self.later).filter(|joins| *joins <= now);
        first(&self.placed).into_iter().chain(due).min()
    }

    /// Time at which the oldest queued payment was accepted, nanoseconds since the Unix epoch.
    pub(crate) fn oldest(&self) -> Option<u64> {
        let (_, order) = self.orders.first_key_value()?;
        Some(order.accepted_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tributary_ledger::{
        Actor, Currency, Date, OwnerId, PaymentKind, PaymentStatus, Priority, QueueTerms,
    };

    const SECOND: u64 = 1_000_000_000;
    const NOW: u64 = 1_000 * SECOND;

    /// A payment of `payer`, accepted so many seconds after the beginning; times in seconds.
    fn order(
        id: u64,
        payer: u64,
        accepted: u64,
        priority: u8,
        (not_before, expires_at): (u64, u64),
    ) -> Payment {
        Payment {
            id: PaymentId(id),
            kind: PaymentKind::Pay,
            status: PaymentStatus::Queued,
            owner: OwnerId::PLATFORM,
            actor: Actor::SYSTEM,
            currency: Currency::from_code("EUR").expect("a currency"),
            source: AccountId(payer),
            amount: 1,
            held: 0,
            captured: 0,
            refunded: 0,
            fee_refunded: 0,
            expires_at: 0,
            created_at: accepted * SECOND,
            effective_at: Date(0),
            changed_at: id,
            shown_at: None,
            queue: Some(Box::new(QueueTerms {
                priority: Priority::new(priority).expect("0 to 9"),
                not_before: not_before * SECOND,
                expires_at: expires_at * SECOND,
                reply_to: None,
            })),
            text: None,
            review: None,
            label: None,
            reached_payees: false,
            split_base: None,
            shares: Default::default(),
        }
    }

    /// The orders in which they run at `now` seconds, all at once or a few at a time.
    #[track_caller]
    fn check(orders: &[Payment], now: u64, expected: &[u64]) {
        for max in [1, 2, 256] {
            let mut lanes = Lanes::default();
            orders.iter().for_each(|order| lanes.add(order, NOW));
            let mut ran = Vec::new();
            loop {
                let next = lanes.select(now * SECOND, max, false);
                if next.is_empty() {
                    break;
                }
                assert!(next.len() <= max);
                for id in next {
                    lanes.end(id, End::Run, NOW);
                    ran.push(id.0);
                }
            }
            assert_eq!(ran, expected, "{max} at a time");
            assert_eq!(lanes.len(), orders.len() - expected.len());
        }
    }

    const ANY: (u64, u64) = (0, 0);

    #[test]
    fn a_payer_s_orders_run_in_the_order_of_their_acceptance_whatever_their_priority() {
        let orders = [
            order(1, 7, 100, 0, ANY),
            order(2, 7, 101, 9, ANY),
            order(3, 7, 102, 4, ANY),
        ];
        check(&orders, 200, &[1, 2, 3]);
    }

    #[test]
    fn an_urgent_payer_overtakes_and_of_equals_the_older_is_first() {
        let orders = [
            order(1, 1, 100, 4, ANY),
            order(2, 2, 101, 4, ANY),
            order(3, 3, 102, 9, ANY),
            order(4, 1, 103, 9, ANY),
        ];
        check(&orders, 200, &[3, 1, 4, 2]);
    }

    #[test]
    fn nobody_is_overtaken_by_what_comes_ninety_seconds_later() {
        let orders = [
            order(1, 1, 100, 0, ANY),
            order(2, 2, 189, 9, ANY),
            order(3, 3, 190, 9, ANY),
            order(4, 4, 191, 9, ANY),
        ];
        check(&orders, 200, &[2, 1, 3, 4]);
    }

    #[test]
    fn an_order_joins_its_lane_at_its_time() {
        let orders = [
            order(1, 1, 100, 4, (150, 0)),
            order(2, 1, 120, 4, ANY),
            order(3, 2, 121, 4, (300, 0)),
        ];
        check(&orders, 149, &[2]);
        check(&orders, 150, &[2, 1]);
        check(&orders, 300, &[2, 1, 3]);
    }

    #[test]
    fn what_is_too_late_is_told_so_first_wherever_it_stands() {
        let orders = [
            order(1, 1, 100, 9, ANY),
            order(2, 1, 101, 0, (0, 150)),
            order(3, 2, 102, 0, (140, 145)),
            order(4, 3, 103, 0, (400, 500)),
        ];
        check(&orders, 160, &[3, 2, 1]);
        check(&orders, 141, &[1, 2, 3]);
    }

    #[test]
    fn it_says_when_there_is_something_to_do() {
        let mut lanes = Lanes::default();
        assert_eq!((lanes.next(false), lanes.oldest()), (None, None));
        lanes.add(&order(1, 1, 100, 4, (150, 0)), NOW);
        assert_eq!(lanes.next(false), Some(150 * SECOND));
        lanes.add(&order(2, 2, 101, 4, (160, 140)), NOW);
        assert_eq!(lanes.next(false), Some(140 * SECOND));
        lanes.add(&order(3, 2, 102, 4, ANY), NOW);
        assert_eq!(
            (lanes.next(false), lanes.oldest()),
            (Some(0), Some(100 * SECOND))
        );
        for id in [3, 1, 2, 2] {
            lanes.end(PaymentId(id), End::Voided, NOW);
        }
        assert_eq!((lanes.next(false), lanes.len()), (None, 0));
        assert!(lanes.select(NOW, 256, false).is_empty());
    }

    #[test]
    fn while_it_is_paused_only_what_is_too_late_is_chosen() {
        let mut lanes = Lanes::default();
        lanes.add(&order(1, 1, 100, 4, ANY), NOW);
        lanes.add(&order(2, 1, 101, 4, (0, 150)), NOW);
        assert_eq!(lanes.next(true), Some(150 * SECOND));
        assert!(lanes.select(149 * SECOND, 256, true).is_empty());
        assert_eq!(lanes.select(150 * SECOND, 256, true), [PaymentId(2)]);
        lanes.end(PaymentId(2), End::Expired, 150 * SECOND);
        assert_eq!((lanes.next(true), lanes.next(false)), (None, Some(0)));
    }

    #[test]
    fn the_figures_tell_what_waits_and_how_long_it_waited() {
        let mut lanes = Lanes::default();
        lanes.add(&order(1, 1, 100, 4, ANY), 100 * SECOND);
        lanes.add(&order(2, 2, 100, 4, (102, 0)), 100 * SECOND);
        lanes.add(&order(3, 3, 100, 4, (500, 0)), 100 * SECOND);
        lanes.refused(100 * SECOND, 2);
        let figures = |lanes: &Lanes, now| lanes.figures(QueueState::default(), 0, now * SECOND);
        let before = figures(&lanes, 101);
        assert_eq!(
            (before.length, before.later, before.rates.arrived),
            (3, 2, 1)
        );
        assert_eq!(figures(&lanes, 102).later, 1, "its time has come");
        assert_eq!(figures(&lanes, 102).placed, Some(100 * SECOND));
        // The first waited for four seconds, the second for two. A try that comes to nothing does not count as another.
        assert_eq!(lanes.select(104 * SECOND, 256, false).len(), 2);
        assert_eq!(lanes.select(105 * SECOND, 256, false).len(), 2);
        lanes.end(PaymentId(1), End::Run, 106 * SECOND);
        lanes.end(PaymentId(2), End::Failed, 108 * SECOND);
        let after = figures(&lanes, 110);
        let rates = after.rates;
        assert_eq!((rates.arrived, rates.refused, rates.done), (2, 2, 2));
        assert_eq!(rates.wait_average, Some(3 * SECOND));
        assert_eq!(rates.processing_average, Some(2 * SECOND));
        assert_eq!((after.run, after.failed, after.length), (1, 1, 1));
        assert_eq!(after.placed, None, "what is left is not due");
        assert_eq!(figures(&lanes, 500).placed, Some(500 * SECOND));
        let idle = Rates {
            seconds: 60,
            ..Rates::default()
        };
        assert_eq!(figures(&lanes, 200).rates, idle);
    }

    /// Selecting costs what is selected and not what waits.
    #[test]
    fn a_crowd_due_at_one_moment_runs_in_order_a_few_at_a_time() {
        let mut lanes = Lanes::default();
        let crowd = 20_000;
        (1..=crowd).for_each(|id| lanes.add(&order(id, id % 1_000, 10, 4, (500, 0)), NOW));
        let mut ran = Vec::new();
        while lanes.len() > 0 {
            let next = lanes.select(NOW, 256, false);
            assert!(next.len() <= 256 && next.is_empty() == lanes.are_joining(NOW));
            for id in next {
                lanes.end(id, End::Run, NOW);
                ran.push(id.0);
            }
        }
        assert_eq!(ran, (1..=crowd).collect::<Vec<_>>());
    }

    /// However many are due at one moment, what joins later stays behind.
    #[test]
    fn nothing_runs_while_something_due_has_not_joined_but_what_is_too_late() {
        let mut lanes = Lanes::default();
        (1..=9_000).for_each(|id| lanes.add(&order(id, id, 10, 4, (500, 0)), NOW));
        let late = order(9_001, 9_001, 10, 4, (0, 501));
        let (earlier, urgent) = (
            order(9_002, 9_999, 10, 4, (500, 0)),
            order(9_003, 9_999, 501, 9, ANY),
        );
        for order in [&late, &earlier, &urgent] {
            lanes.add(order, NOW);
        }
        let now = 502 * SECOND;
        assert_eq!(lanes.select(now, 10_000, false), [late.id]);
        assert!(lanes.are_joining(now));
        lanes.end(late.id, End::Expired, now);
        let all = lanes.select(now, 10_000, false);
        assert!(!lanes.are_joining(now));
        let place = |id: PaymentId| all.iter().position(|other| *other == id);
        assert_eq!(all.len(), 9_002);
        assert!(place(earlier.id) < place(urgent.id));
    }
}
