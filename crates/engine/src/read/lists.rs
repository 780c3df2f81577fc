//! Lists and statements, a page at a time.

use std::collections::VecDeque;
use std::ops::ControlFlow;

use tributary_ledger::codec::Record;
use tributary_ledger::{
    Account, AccountId, Body, OwnerId, Payment, PaymentId, PaymentKind, PaymentStatus, Reference,
    WorkingSet,
};

use super::walk::{ChainEnd, Source, Walk, leg_of};
use super::{Page, RECORDS_SCANNED_MAX, Reader, Slice, Start, StatementLine};
use crate::backend::Failure;
use crate::lookup;

/// Which payments a list shows.
#[derive(Clone, Debug, Default)]
pub struct PaymentFilter {
    /// Payments that touch this account.
    pub account: Option<AccountId>,
    /// Payments that touch an account of this owner.
    pub owner: Option<OwnerId>,
    /// Payments with this merchant reference.
    pub reference: Option<Reference>,
    /// Payments in this state now.
    pub status: Option<PaymentStatus>,
    /// Payments of this kind.
    pub kind: Option<PaymentKind>,
}

impl Reader {
    /// An account's postings with the balance after each, newest first.
    pub fn statement(
        &self,
        account: AccountId,
        page: Page,
    ) -> Result<Slice<StatementLine>, Failure> {
        let source = Source::Chains(self.chain_end(account).into_iter().collect());
        self.page(source, page, |record| {
            let leg = leg_of(&record, account).filter(|leg| leg.amount != 0);
            Ok(leg.map(|leg| StatementLine { record, leg }))
        })
    }

    /// Payments by the position of their request, newest first, each as it is now, with the record of its request.
    pub fn payments(
        &self,
        filter: &PaymentFilter,
        page: Page,
    ) -> Result<Slice<(Payment, Record)>, Failure> {
        let source = match (filter.account, filter.owner) {
            (Some(account), _) => Source::Chains(self.chain_end(account).into_iter().collect()),
            (None, Some(owner)) => Source::Chains(self.chain_ends(owner)),
            (None, None) => Source::All,
        };
        self.page(source, page, |record| {
            let Some(asked) = &record.outcome.payment else {
                return Ok(None);
            };
            if asked.id.0 != record.ctx.position || !self.matches(filter, &record, asked) {
                return Ok(None);
            }
            let now = self.payment(asked.id)?.unwrap_or_else(|| asked.clone());
            Ok(filter
                .status
                .is_none_or(|status| now.status == status)
                .then_some((now, record)))
        })
    }

    /// Refunds of a payment that were done, newest first, found by the key index: only the payment's own changes are read.
    pub fn refunds(&self, payment: PaymentId, page: Page) -> Result<Slice<Record>, Failure> {
        let (first, last) = self.window(page)?;
        let newest_first = !matches!(page.start, Start::After(_));
        let mut slice = Slice {
            items: Vec::new(),
            has_more: false,
            next: None,
        };
        let changes = self.changes(payment, first, last, newest_first)?;
        for (scanned, position) in changes.into_iter().enumerate() {
            if scanned == RECORDS_SCANNED_MAX {
                slice.has_more = true;
                break;
            }
            let record = lookup::record(&*self.journal, position)?;
            if let Some(refund) = record.filter(|record| refunds(record, payment)) {
                if slice.items.len() == page.limit {
                    slice.has_more = true;
                    break;
                }
                slice.items.push(refund);
            }
            slice.next = Some(position);
        }
        if !newest_first {
            slice.items.reverse();
        }
        Ok(slice)
    }

    /// Positions within `first..=last` of records that may have changed the payment, in the order of a walk; of more than
    /// [`RECORDS_SCANNED_MAX`] the nearest ones and one more.
    fn changes(
        &self,
        payment: PaymentId,
        first: u64,
        last: u64,
        newest_first: bool,
    ) -> Result<VecDeque<u64>, Failure> {
        let mut found = VecDeque::new();
        let hash = tributary_ledger::hash::hash_payment(payment);
        self.journal.find(hash, &mut |position| {
            if position < first {
                return ControlFlow::Break(());
            }
            if position > last {
                return ControlFlow::Continue(());
            }
            if newest_first {
                found.push_back(position);
            } else {
                found.push_front(position);
                found.truncate(RECORDS_SCANNED_MAX + 1);
            }
            match newest_first && found.len() > RECORDS_SCANNED_MAX {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        })?;
        Ok(found)
    }

    /// The parts of `filter` that never change after the request.
    fn matches(&self, filter: &PaymentFilter, record: &Record, payment: &Payment) -> bool {
        let of_owner = |owner| {
            record.outcome.legs.iter().any(|leg| {
                self.view
                    .read()
                    .set
                    .account(leg.account)
                    .is_some_and(|account| account.owner == owner)
            })
        };
        filter.kind.is_none_or(|kind| payment.kind == kind)
            && filter
                .reference
                .as_ref()
                .is_none_or(|reference| reference_of(record) == Some(reference))
            && (filter.account.is_none() || filter.owner.is_none_or(of_owner))
    }

    /// Records, newest first: all, or those that touch an account of `owner`.
    pub fn records(&self, owner: Option<OwnerId>, page: Page) -> Result<Slice<Record>, Failure> {
        let source = owner.map_or(Source::All, |owner| Source::Chains(self.chain_ends(owner)));
        self.page(source, page, |record| Ok(Some(record)))
    }

    /// Accounts, newest first: all, or those of `owner`.
    pub fn accounts(
        &self,
        owner: Option<OwnerId>,
        page: Page,
        keep: impl Fn(&Account) -> bool,
    ) -> Result<Slice<Account>, Failure> {
        let (first, last) = self.window(page)?;
        let published = self.view.read();
        let newest_first = !matches!(page.start, Start::After(_));
        let candidates: Box<dyn Iterator<Item = &Account>> = match owner {
            Some(owner) if newest_first => Box::new(accounts_of(&published.set, owner)),
            Some(owner) => {
                let mut all: Vec<&Account> = accounts_of(&published.set, owner).collect();
                all.reverse();
                Box::new(all.into_iter())
            }
            None => {
                let ids = &published.accounts;
                // A window may be empty in either direction.
                let to = ids.partition_point(|id| id.0 <= last);
                let within = ids.partition_point(|id| id.0 < first).min(to)..to;
                let at = |id: &AccountId| published.set.account(*id);
                match newest_first {
                    true => Box::new(ids[within].iter().rev().filter_map(at)),
                    false => Box::new(ids[within].iter().filter_map(at)),
                }
            }
        };
        let within = |account: &&Account| account.id.0 >= first && account.id.0 <= last;
        let mut slice = Slice {
            items: Vec::new(),
            has_more: false,
            next: None,
        };
        for (scanned, account) in candidates.filter(within).enumerate() {
            if slice.items.len() == page.limit || scanned == RECORDS_SCANNED_MAX {
                slice.has_more = true;
                break;
            }
            slice.next = Some(account.id.0);
            if keep(account) {
                slice.items.push(account.clone());
            }
        }
        if !newest_first {
            slice.items.reverse();
        }
        Ok(slice)
    }

    fn chain_end(&self, account: AccountId) -> Option<ChainEnd> {
        let published = self.view.read();
        let account = published.set.account(account)?;
        Some(ChainEnd {
            account: account.id,
            last: account.chain.last(),
            seq: account.chain.seq(),
        })
    }

    fn chain_ends(&self, owner: OwnerId) -> Vec<ChainEnd> {
        let published = self.view.read();
        accounts_of(&published.set, owner)
            .map(|account| ChainEnd {
                account: account.id,
                last: account.chain.last(),
                seq: account.chain.seq(),
            })
            .collect()
    }

    /// Walks `source` and keeps what `pick` makes of its records, until the page is full or the bound is reached.
    fn page<T>(
        &self,
        source: Source,
        page: Page,
        mut pick: impl FnMut(Record) -> Result<Option<T>, Failure>,
    ) -> Result<Slice<T>, Failure> {
        let (first, last) = self.window(page)?;
        let newest_first = !matches!(page.start, Start::After(_));
        let mut walk = Walk::new(&*self.journal, source, first, last, newest_first)?;
        let mut slice = Slice {
            items: Vec::new(),
            has_more: false,
            next: None,
        };
        let mut scanned = 0;
        while let Some(record) = walk.next()? {
            let position = record.ctx.position;
            if scanned == RECORDS_SCANNED_MAX {
                slice.has_more = true;
                break;
            }
            scanned += 1;
            if let Some(item) = pick(record)? {
                if slice.items.len() == page.limit {
                    slice.has_more = true;
                    break;
                }
                slice.items.push(item);
            }
            slice.next = Some(position);
        }
        if !newest_first {
            slice.items.reverse();
        }
        Ok(slice)
    }

    /// The positions `first..=last` that a page may come from.
    fn window(&self, page: Page) -> Result<(u64, u64), Failure> {
        let head = self.published();
        let (mut first, mut last) = (1, head);
        match page.start {
            Start::Newest => {}
            Start::Before(position) => last = last.min(position.saturating_sub(1)),
            Start::After(position) => first = position.saturating_add(1),
        }
        if let Some(from) = page.from {
            first = first.max(self.position_at(from, head)?);
        }
        if let Some(until) = page.until {
            last = last.min(self.position_at(until, head)? - 1);
        }
        Ok((first, last))
    }

    /// The first position recorded at or after `time`; one past `head` if there is none.
    fn position_at(&self, time: u64, head: u64) -> Result<u64, Failure> {
        let (mut low, mut high) = (1, head + 1);
        while low < high {
            let middle = low + (high - low) / 2;
            let record = self.record(middle)?.ok_or_else(|| Failure::RecordDamaged {
                position: middle,
                what: "it is missing".into(),
            })?;
            if record.ctx.timestamp < time {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low)
    }
}

/// The accounts of `owner`, the newest first.
fn accounts_of(set: &WorkingSet, owner: OwnerId) -> impl Iterator<Item = &Account> {
    let newest = set.owner(owner).and_then(|owner| owner.last_account);
    std::iter::successors(newest.and_then(|id| set.account(id)), |account| {
        set.account(account.owner_prev?)
    })
}

/// Whether `record` is a refund of the payment that was done.
fn refunds(record: &Record, payment: PaymentId) -> bool {
    record.outcome.is_accepted()
        && matches!(&record.command.body, Body::Refund(refund) if refund.payment == payment)
}

fn reference_of(record: &Record) -> Option<&Reference> {
    match &record.command.body {
        Body::Pay(pay) => pay.reference.as_ref(),
        _ => None,
    }
}
