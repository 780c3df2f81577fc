//! What statements and lists must show, by looking at everything.

use tributary_ledger::{Body, PaymentKind, PaymentStatus};

use super::{Model, Touch};

/// Which part of a list is asked for. Lists run from the newest to the oldest.
#[derive(Clone, Copy, Debug, Default)]
pub struct Window {
    /// Items at most.
    pub limit: usize,
    /// Only what is older than this position.
    pub before: Option<u64>,
    /// Only what is newer than this position, and of it the nearest.
    pub after: Option<u64>,
    /// Not recorded before this time, nanoseconds.
    pub from: Option<u64>,
    /// Recorded before this time, nanoseconds.
    pub until: Option<u64>,
}

/// Which payments are asked for; none = any.
#[derive(Clone, Debug, Default)]
pub struct PaymentQuery {
    /// Touches this account.
    pub account: Option<u64>,
    /// Touches an account of this owner.
    pub owner: Option<u64>,
    /// Was asked for with this reference.
    pub reference: Option<String>,
    /// Stands there now.
    pub status: Option<PaymentStatus>,
    /// Is of this kind.
    pub kind: Option<PaymentKind>,
}

impl Window {
    /// The items of the window, newest first, and whether the list goes on. `all` is in the order of positions.
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
    /// The postings of an account, oldest first.
    pub fn statement(&self, account: u64) -> Vec<Touch> {
        let touched = self.touches.get(&account);
        let lines = touched.into_iter().flatten();
        lines.filter(|touch| touch.amount != 0).copied().collect()
    }

    /// The payments that match, oldest first: `(number, time of the request)`.
    pub fn list_payments(&self, query: &PaymentQuery) -> Vec<(u64, u64)> {
        let mut found = Vec::new();
        for (&id, payment) in self.payments() {
            let entry = &self.entries[id as usize - 1];
            let touches = |wanted: &dyn Fn(u64) -> bool| {
                entry.touched.iter().any(|(account, _)| wanted(*account))
            };
            let reference = match &entry.command.body {
                Body::Pay(pay) => pay.reference.as_ref().map(|it| it.as_str().to_owned()),
                _ => None,
            };
            let matches = query
                .account
                .is_none_or(|id| touches(&|account| account == id))
                && query.owner.is_none_or(|owner| {
                    touches(&|account| self.accounts()[&account].owner == owner)
                })
                && (query.reference.is_none() || query.reference == reference)
                && query.status.is_none_or(|status| payment.status == status)
                && query.kind.is_none_or(|kind| payment.kind == kind);
            if matches {
                found.push((id, payment.created_at));
            }
        }
        found
    }

    /// The records that touch an account of this owner, or all, oldest first.
    pub fn list_records(&self, owner: Option<u64>) -> Vec<(u64, u64)> {
        let of_owner =
            |account: u64| owner.is_none_or(|owner| self.accounts()[&account].owner == owner);
        self.entries
            .iter()
            .filter(|entry| {
                owner.is_none() || entry.touched.iter().any(|(account, _)| of_owner(*account))
            })
            .map(|entry| (entry.position, entry.timestamp))
            .collect()
    }

    /// The accounts of an owner, or all, oldest first.
    pub fn list_accounts(&self, owner: Option<u64>) -> Vec<(u64, u64)> {
        self.accounts()
            .iter()
            .filter(|(_, account)| owner.is_none_or(|owner| account.owner == owner))
            .map(|(id, account)| (*id, account.opened_at))
            .collect()
    }
}
