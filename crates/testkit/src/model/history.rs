//! Expected statements and lists, from a scan of all records.

use std::collections::{BTreeMap, BTreeSet};

use tributary_ledger::{Body, Command, PaymentKind, PaymentStatus};

use super::{Entry, Model, PLATFORM, Payment, Touch};

/// Nanoseconds in a day.
const NANOS_PER_DAY: u64 = 86_400_000_000_000;

/// Part of a list. Lists are ordered from the newest to the oldest.
#[derive(Clone, Copy, Debug, Default)]
pub struct Window {
    /// Maximum number of items.
    pub limit: usize,
    /// Only items before this position.
    pub before: Option<u64>,
    /// Only items after this position; the nearest are selected.
    pub after: Option<u64>,
    /// Only items recorded at or after this time, nanoseconds since the Unix epoch.
    pub from: Option<u64>,
    /// Only items recorded before this time, nanoseconds since the Unix epoch.
    pub until: Option<u64>,
}

/// Filter of a list of payments; none = any.
#[derive(Clone, Debug, Default)]
pub struct PaymentQuery {
    /// Account that the payment touches.
    pub account: Option<u64>,
    /// Owner of an account that the payment touches.
    pub owner: Option<u64>,
    /// Reference of the request.
    pub reference: Option<String>,
    /// Current status.
    pub status: Option<PaymentStatus>,
    /// Kind.
    pub kind: Option<PaymentKind>,
}

/// Returns whether an owner who looks a payment up by its reference finds this request: the owner or, for the owner, the
/// platform made it.
fn finds(request: &Command, owner: Option<u64>) -> bool {
    let (Some(owner), Body::Pay(pay)) = (owner, &request.body) else {
        return true;
    };
    let asker = request.actor.owner.0;
    let scope = pay.reference_scope.map_or(asker, |scope| scope.0);
    scope == owner && (asker == owner || asker == PLATFORM)
}

impl Window {
    /// Returns the items of the window, newest first, and whether the list has more. `all` is in the order of positions.
    pub fn select<T: Clone>(&self, all: &[T], place: impl Fn(&T) -> (u64, u64)) -> (Vec<T>, bool) {
        let inside = |item: &&T| {
            let (position, timestamp) = place(item);
            self.before.is_none_or(|before| position < before)
                && self.after.is_none_or(|after| position > after)
                && self.from.is_none_or(|from| timestamp >= from)
                && self.until.is_none_or(|until| timestamp < until)
        };
        let mut items: Vec<T> = all.iter().filter(inside).cloned().collect();
        let more = items.len() > self.limit;
        if self.after.is_some() {
            items.truncate(self.limit);
            items.reverse();
        } else {
            items.reverse();
            items.truncate(self.limit);
        }
        (items, more)
    }
}

impl Model {
    /// Returns the postings of an account, oldest first.
    pub fn statement(&self, account: u64) -> Vec<Touch> {
        let touched = self.touches.get(&account);
        let lines = touched.into_iter().flatten();
        lines.filter(|touch| touch.amount != 0).copied().collect()
    }

    /// Returns everything that touched the account up to `position`, oldest first.
    pub fn touches_until(&self, account: u64, position: u64) -> Vec<Touch> {
        let touched = self.touches.get(&account);
        let all = touched.into_iter().flatten();
        all.filter(|touch| touch.position <= position)
            .copied()
            .collect()
    }

    /// Returns what the entries of a business date and of those before it posted, by account, with accounts that were opened by
    /// then.
    pub fn posted_by_date(&self, date: i32) -> BTreeMap<u64, i128> {
        let mut posted: BTreeMap<u64, i128> = BTreeMap::new();
        for entry in self.entries.iter() {
            let day = match entry.command.effective_at {
                Some(date) => date.0,
                None => (entry.timestamp / NANOS_PER_DAY) as i32,
            };
            if day > date {
                continue;
            }
            if entry.rejection.is_none() && matches!(entry.command.body, Body::OpenAccount(_)) {
                posted.entry(entry.position).or_default();
            }
            for &(account, amount) in entry.touched.iter().filter(|(_, amount)| *amount != 0) {
                *posted.entry(account).or_default() += amount;
            }
        }
        posted
    }

    /// Returns the payments that match, in the order of the records that show them: `(number, position, time)`. The first of the
    /// request and the run that touches what the query asks for shows a payment.
    pub fn list_payments(&self, query: &PaymentQuery) -> Vec<(u64, u64, u64)> {
        let mut found = Vec::new();
        let runs: BTreeMap<u64, &Entry> = self
            .entries
            .iter()
            .filter(|entry| entry.rejection.is_none())
            .filter_map(|entry| match entry.command.body {
                Body::Run(id) => Some((id.0, entry)),
                _ => None,
            })
            .collect();
        for (&id, payment) in self.payments() {
            let entry = &self.entries[id as usize - 1];
            let shows = |entry: &&Entry| {
                let touches = |wanted: &dyn Fn(u64) -> bool| {
                    entry.touched.iter().any(|(account, _)| wanted(*account))
                };
                query
                    .account
                    .is_none_or(|id| touches(&|account| account == id))
                    && query.owner.is_none_or(|owner| {
                        touches(&|account| self.accounts()[&account].owner == owner)
                    })
            };
            let mut shown = std::iter::once(entry).chain(runs.get(&id).copied());
            let Some(shown) = shown.find(shows) else {
                continue;
            };
            let reference = match &entry.command.body {
                Body::Pay(pay) => pay.reference.as_ref().map(|it| it.as_str().to_owned()),
                _ => None,
            };
            let matches = (query.reference.is_none() || query.reference == reference)
                && (query.reference.is_none() || finds(&entry.command, query.owner))
                && query.status.is_none_or(|status| payment.status == status)
                && query.kind.is_none_or(|kind| payment.kind == kind);
            if matches {
                found.push((id, shown.position, shown.timestamp));
            }
        }
        found.sort_unstable_by_key(|(_, position, _)| *position);
        found
    }

    /// Returns the owners that see a payment besides the platform: who asked for it and, where the platform or the payer's owner
    /// did, the payer's; and those whom it reached.
    pub fn viewers(&self, payment: &Payment) -> BTreeSet<u64> {
        let owner_of = |account: u64| self.accounts().get(&account).map(|found| found.owner);
        let asker = payment.actor.owner.0;
        let payer = owner_of(payment.source);
        let mut viewers = BTreeSet::new();
        viewers.extend((asker != PLATFORM).then_some(asker));
        viewers.extend(payer.filter(|payer| asker == PLATFORM || asker == *payer));
        if payment.reached {
            viewers.insert(payment.owner);
            viewers.extend(payer);
            viewers.extend(
                payment
                    .parts
                    .iter()
                    .filter_map(|part| owner_of(part.account)),
            );
        }
        viewers
    }

    /// Returns the events of this owner, or all events, oldest first.
    pub fn list_records(&self, owner: Option<u64>) -> Vec<(u64, u64)> {
        let of_owner =
            |account: u64| owner.is_none_or(|owner| self.accounts()[&account].owner == owner);
        self.entries
            .iter()
            .filter(|entry| !matches!(entry.command.body, Body::AdvanceTime(_)))
            .filter(|entry| {
                owner.is_none_or(|owner| entry.about.contains(&owner))
                    || entry.touched.iter().any(|(account, _)| of_owner(*account))
            })
            .map(|entry| (entry.position, entry.timestamp))
            .collect()
    }

    /// Returns the accounts of an owner, or all accounts, oldest first.
    pub fn list_accounts(&self, owner: Option<u64>) -> Vec<(u64, u64)> {
        self.accounts()
            .iter()
            .filter(|(_, account)| owner.is_none_or(|owner| account.owner == owner))
            .map(|(id, account)| (*id, account.opened_at))
            .collect()
    }
}
