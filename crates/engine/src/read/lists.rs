//! Lists and statements, a page at a time.

use std::collections::VecDeque;
use std::ops::ControlFlow;

use tributary_ledger::codec::Record;
use tributary_ledger::{
    AccountId, Body, OwnerId, Payment, PaymentId, PaymentKind, PaymentStatus, Reference,
    ReferenceSpace,
};

use super::walk::{ChainEnd, Source, Walk, leg_of};
use super::{Page, RECORDS_SCANNED_MAX, Reader, Slice, Start, StatementLine};
use crate::failure::Failure;
use crate::lookup;

/// Which payments a list shows.
#[derive(Clone, Debug, Default)]
pub struct PaymentFilter {
    /// Payments that touch this account.
    pub account: Option<AccountId>,
    /// Payments that touch an account of this owner.
    pub owner: Option<OwnerId>,
    /// Payments with this reference; with `owner`, only those that this owner looks up by it
    /// ([`ReferenceSpace::searched_by`]).
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
        self.page(self.source(Some(account), None), page, |record| {
            let leg = leg_of(&record, account).filter(|leg| leg.amount != 0);
            Ok(leg.map(|leg| StatementLine { record, leg }))
        })
    }

    /// Payments by the position of their request, newest first, each as it is now, with the record of its request. A payment that was
    /// queued is listed at its run where the filter has an account or an owner that only the run touches: see
    /// [`Payment::reached_payees`].
    pub fn payments(
        &self,
        filter: &PaymentFilter,
        page: Page,
    ) -> Result<Slice<(Payment, Record)>, Failure> {
        self.payments_where(filter, page, |_, _| Ok(true))
    }

    /// The payment that the filter lists at `record`, as it is now, with the record of its request: what `record` asked for, or what
    /// it ran.
    pub(super) fn listed_payment(
        &self,
        filter: &PaymentFilter,
        record: Record,
    ) -> Result<Option<(Payment, Record)>, Failure> {
        let Some(payment) = &record.outcome.payment else {
            return Ok(None);
        };
        let touches =
            |record: &Record| filter.owner.is_none_or(|owner| self.touches(record, owner));
        let asked = if payment.id.0 == record.ctx.position {
            touches(&record).then_some(record)
        } else if is_done_run(&record) && !self.lists_request(filter, payment) && touches(&record) {
            lookup::record(&*self.cached, payment.id.0)?
        } else {
            None
        };
        let Some(asked) = asked else {
            return Ok(None);
        };
        let Some(payment) = &asked.outcome.payment else {
            return Ok(None);
        };
        if !matches(filter, &asked, payment) {
            return Ok(None);
        }
        let now = self.payment(payment.id)?.unwrap_or_else(|| payment.clone());
        Ok(filter
            .status
            .is_none_or(|status| now.status == status)
            .then_some((now, asked)))
    }

    /// Whether the filter lists a queued payment at its request, which touches only the account that pays.
    fn lists_request(&self, filter: &PaymentFilter, payment: &Payment) -> bool {
        let of_owner = |owner| self.account_owner(payment.source) == Some(owner);
        filter.account.is_none_or(|id| id == payment.source) && filter.owner.is_none_or(of_owner)
    }

    /// Returns the position at which the filter lists the payment: that of its request, or of its run.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub fn listed_at(&self, filter: &PaymentFilter, payment: PaymentId) -> Result<u64, Failure> {
        let Some(asked) = self.record(payment.0)? else {
            return Ok(payment.0);
        };
        let waited = asked.outcome.payment.filter(|asked| asked.queue.is_some());
        let at_run = waited.is_some_and(|payment| !self.lists_request(filter, &payment));
        let run = match at_run {
            true => lookup::done_run(&*self.cached, payment)?,
            false => None,
        };
        Ok(run.map_or(payment.0, |run| run.ctx.position))
    }

    /// Refunds of a payment that were done, newest first, found by the key index: only the payment's own changes are read.
    pub fn refunds(&self, payment: PaymentId, page: Page) -> Result<Slice<Record>, Failure> {
        let (first, last) = self.window(page, self.published())?;
        let newest_first = !matches!(page.start, Start::After(_));
        let mut slice = Slice {
            items: Vec::new(),
            has_more: false,
            next: None,
        };
        let hash = tributary_ledger::hash::hash_payment(payment);
        let changes = self.under(hash, first, last, newest_first)?;
        for (scanned, position) in changes.into_iter().enumerate() {
            if scanned == RECORDS_SCANNED_MAX {
                slice.has_more = true;
                break;
            }
            let record = lookup::record(&*self.cached, position)?;
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

    /// All records about a payment after the position `after`, the oldest first, at most `limit`, and whether there are more: its
    /// request, what changed it and what was refused. Found by the key index: only these are read.
    pub fn payment_records(
        &self,
        payment: PaymentId,
        after: u64,
        limit: usize,
    ) -> Result<(Vec<Record>, bool), Failure> {
        let (first, last) = (after.saturating_add(1), self.published());
        let hashes = [
            tributary_ledger::hash::hash_payment(payment),
            tributary_ledger::hash::hash_refused(payment),
        ];
        let mut positions = Vec::from_iter((payment.0 >= first).then_some(payment.0));
        let mut complete_to = last;
        for hash in hashes {
            let found = self.under(hash, first, last, false)?;
            if found.len() > RECORDS_SCANNED_MAX {
                complete_to = complete_to.min(found[RECORDS_SCANNED_MAX]);
            }
            positions.extend(found);
        }
        positions.sort_unstable();
        positions.dedup();
        let mut records = Vec::new();
        for position in positions {
            if position > complete_to || records.len() == limit {
                return Ok((records, true));
            }
            let record = lookup::record(&*self.cached, position)?;
            let about = |record: &Record| {
                let body = &record.command.body;
                body.payment() == Some(payment)
                    || (position == payment.0
                        && matches!(body, Body::Pay(_) | Body::ReturnPayout(_)))
            };
            records.extend(record.filter(about));
        }
        Ok((records, false))
    }

    /// Positions within `first..=last` of records that may be indexed under the hash, in the order of a walk; of more than
    /// [`RECORDS_SCANNED_MAX`] the nearest ones and one more.
    pub(super) fn under(
        &self,
        hash: u64,
        first: u64,
        last: u64,
        newest_first: bool,
    ) -> Result<VecDeque<u64>, Failure> {
        let mut found = VecDeque::new();
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

    /// Records that are events, newest first: all, or those of `owner`.
    pub fn records(&self, owner: Option<OwnerId>, page: Page) -> Result<Slice<Record>, Failure> {
        self.events(None, owner, page, |_| true)
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

    /// What to walk over for the records of an account, an owner or all, and the position up to which that is complete.
    pub(super) fn source(
        &self,
        account: Option<AccountId>,
        owner: Option<OwnerId>,
    ) -> (Source, u64) {
        match (account, owner) {
            (Some(account), _) => {
                let ends = self.chain_end(account).into_iter().collect();
                (Source::Chains(ends), self.published())
            }
            (None, Some(owner)) => {
                // Before the chains are looked at one after another: what is newer may be in some of them only.
                let head = self.published();
                let source = match self.chain_ends(owner) {
                    Some(ends) => Source::Chains(ends),
                    None => Source::All,
                };
                (source, head)
            }
            (None, None) => (Source::All, self.published()),
        }
    }

    /// Returns whether the record touches an account of the owner.
    pub fn touches(&self, record: &Record, owner: OwnerId) -> bool {
        let published = self.view.read();
        record.outcome.legs.iter().any(|leg| {
            let account = published.set.account(leg.account);
            account.is_some_and(|account| account.owner == owner)
        })
    }

    /// Returns whether the record is in the list of the owner's events: it touches an account of the owner or, without legs, is about
    /// an object of the owner or was asked for by the owner.
    pub fn concerns(&self, record: &Record, owner: OwnerId) -> bool {
        tributary_ledger::audience(&record.command, &record.outcome).contains(&owner)
            || self.touches(record, owner)
    }

    /// Walks a source that is complete up to `head`, and keeps what `pick` makes of its records, until the page is full or the
    /// bound is reached.
    pub(super) fn page<T>(
        &self,
        source: (Source, u64),
        page: Page,
        pick: impl FnMut(Record) -> Result<Option<T>, Failure>,
    ) -> Result<Slice<T>, Failure> {
        self.page_with(source, None, page, pick)
    }

    /// Like [`Reader::page`], also of the records that are indexed under the hash `also`. What is found by it may be another's:
    /// `pick` looks.
    pub(super) fn page_with<T>(
        &self,
        (source, head): (Source, u64),
        also: Option<u64>,
        page: Page,
        mut pick: impl FnMut(Record) -> Result<Option<T>, Failure>,
    ) -> Result<Slice<T>, Failure> {
        let (first, last) = self.window(page, head)?;
        let newest_first = !matches!(page.start, Start::After(_));
        let loose = match also {
            Some(hash) => self.under(hash, first, last, newest_first)?,
            None => VecDeque::new(),
        };
        let mut walk = Walk::new(&*self.journal, source, loose, first, last, newest_first)?;
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

    /// The positions `first..=last` that a page may come from, up to `head`.
    pub(super) fn window(&self, page: Page, head: u64) -> Result<(u64, u64), Failure> {
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
    pub(super) fn position_at(&self, time: u64, head: u64) -> Result<u64, Failure> {
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

/// Whether the request has the kind and the reference of the filter. They never change.
fn matches(filter: &PaymentFilter, asked: &Record, payment: &Payment) -> bool {
    let reference = filter.reference.as_ref();
    filter.kind.is_none_or(|kind| payment.kind == kind)
        && reference.is_none_or(|reference| is_referenced(asked, reference, filter.owner))
}

/// Whether `record` ran a queued payment, and the payment did not fail.
fn is_done_run(record: &Record) -> bool {
    matches!(record.command.body, Body::Run(_)) && record.outcome.is_accepted()
}

/// Whether `record` is a refund of the payment that was done.
fn refunds(record: &Record, payment: PaymentId) -> bool {
    record.outcome.is_accepted()
        && matches!(&record.command.body, Body::Refund(refund) if refund.payment == payment)
}

/// Whether `record` asks for a payment with this reference, in a name space that `owner` searches. Otherwise a payer could
/// pass its own payment off as the merchant's.
fn is_referenced(record: &Record, reference: &Reference, owner: Option<OwnerId>) -> bool {
    let Body::Pay(pay) = &record.command.body else {
        return false;
    };
    let space = pay.reference_space(record.command.actor);
    let searches = |owner| ReferenceSpace::searched_by(owner).any(|searched| searched == space);
    pay.reference.as_ref() == Some(reference) && owner.is_none_or(searches)
}
