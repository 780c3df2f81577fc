//! Lists with a condition of the caller's: pages of events, payments and refunds of which some are left out.
//!
//! One request looks through [`RECORDS_SCANNED_MAX`] records at most, however few of them meet the condition.

use tributary_ledger::codec::{Operation, Record};
use tributary_ledger::hash::{hash_audience, hash_change};
use tributary_ledger::{AccountId, Body, ObjectId, OwnerId, Payment, PaymentId};

use super::walk::leg_of;
use super::{Page, PaymentFilter, RECORDS_SCANNED_MAX, Reader, Slice, Start};
use crate::failure::Failure;
use crate::lookup;

impl Reader {
    /// Returns events, newest first: those that touch or change the account, or else those of `owner` ([`Reader::concerns`]), or
    /// else all; of these the ones that `keep` keeps. Of an account, only those that are also the owner's if both are given.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub fn events(
        &self,
        account: Option<AccountId>,
        owner: Option<OwnerId>,
        page: Page,
        keep: impl Fn(&Record) -> bool,
    ) -> Result<Slice<Record>, Failure> {
        let also = match (account, owner) {
            (Some(account), _) => Some(hash_change(ObjectId::Account(account))),
            (None, Some(owner)) => Some(hash_audience(owner)),
            (None, None) => None,
        };
        self.page_with(self.source(account, owner), also, page, |record| {
            let is_event = !Operation::from_body(&record.command.body).is_internal();
            let about = account.is_none_or(|account| concerns_account(&record, account));
            let theirs = owner.is_none_or(|owner| self.concerns(&record, owner));
            Ok((is_event && about && theirs && keep(&record)).then_some(record))
        })
    }

    /// Returns the events of a payment that `keep` keeps, newest first: its request, what changed it and what was refused. Found by
    /// the key index: only these are read.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub fn payment_events(
        &self,
        payment: PaymentId,
        page: Page,
        keep: impl Fn(&Record) -> bool,
    ) -> Result<Slice<Record>, Failure> {
        let (first, last) = self.window(page, self.published())?;
        let newest_first = !matches!(page.start, Start::After(_));
        let requested = (first..=last).contains(&payment.0);
        let mut positions = Vec::from_iter(requested.then_some(payment.0));
        for hash in [
            tributary_ledger::hash::hash_payment(payment),
            tributary_ledger::hash::hash_refused(payment),
        ] {
            positions.extend(self.under(hash, first, last, newest_first)?);
        }
        positions.sort_unstable();
        positions.dedup();
        if newest_first {
            positions.reverse();
        }
        let mut slice = Slice {
            items: Vec::new(),
            has_more: false,
            next: None,
        };
        for (scanned, position) in positions.into_iter().enumerate() {
            if scanned == RECORDS_SCANNED_MAX {
                slice.has_more = true;
                break;
            }
            let record = lookup::record(&*self.cached, position)?;
            if let Some(record) = record.filter(|record| concerns(record, payment) && keep(record))
            {
                if slice.items.len() == page.limit {
                    slice.has_more = true;
                    break;
                }
                slice.items.push(record);
            }
            slice.next = Some(position);
        }
        if !newest_first {
            slice.items.reverse();
        }
        Ok(slice)
    }

    /// Returns the records that created an account or an owner or changed its status or what is known of it, after the position `after`,
    /// the oldest first, at most `limit`, and whether there are more. Found by the key index: only these are read.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub fn change_records(
        &self,
        object: ObjectId,
        after: u64,
        limit: usize,
    ) -> Result<(Vec<Record>, bool), Failure> {
        let (first, last) = (after.saturating_add(1), self.published());
        let created = object.number();
        let mut positions = Vec::from_iter((created >= first).then_some(created));
        positions.extend(self.under(hash_change(object), first, last, false)?);
        positions.dedup();
        let mut records = Vec::new();
        for position in positions {
            if records.len() == limit {
                return Ok((records, true));
            }
            let record = lookup::record(&*self.cached, position)?;
            let changes = |record: &Record| {
                let changed = record.command.body.changed_object() == Some(object);
                position == created || changed && record.outcome.is_accepted()
            };
            records.extend(record.filter(changes));
        }
        Ok((records, false))
    }

    /// Returns the payments of the filter that `keep` keeps, as [`Reader::payments`]. `keep` sees the payment as it is now, and the
    /// record of its request.
    ///
    /// # Errors
    /// The journal cannot be read, or `keep` fails.
    pub fn payments_where(
        &self,
        filter: &PaymentFilter,
        page: Page,
        keep: impl Fn(&Payment, &Record) -> Result<bool, Failure>,
    ) -> Result<Slice<(Payment, Record)>, Failure> {
        self.page(self.source(filter.account, filter.owner), page, |record| {
            let Some(found) = self.listed_payment(filter, record)? else {
                return Ok(None);
            };
            Ok(keep(&found.0, &found.1)?.then_some(found))
        })
    }

    /// Returns the refunds that were done, newest first: those that touch the account, or else an account of `owner`, or else all.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub fn all_refunds(
        &self,
        account: Option<AccountId>,
        owner: Option<OwnerId>,
        page: Page,
    ) -> Result<Slice<Record>, Failure> {
        self.page(self.source(account, owner), page, |record| {
            let theirs = owner.is_none_or(|owner| self.touches(&record, owner));
            let refund = matches!(record.command.body, Body::Refund(_));
            Ok((theirs && refund && record.outcome.is_accepted()).then_some(record))
        })
    }
}

/// Whether the record touches the account or changes it.
fn concerns_account(record: &Record, account: AccountId) -> bool {
    let touches = leg_of(record, account).is_some();
    touches || record.command.body.changed_object() == Some(ObjectId::Account(account))
}

/// Whether the record made the payment, changed it or refused to change it.
fn concerns(record: &Record, payment: PaymentId) -> bool {
    // Not only a request makes a payment: the return of a payout is one of its own.
    let made = record.outcome.payment.as_ref();
    let made = made.filter(|made| made.id.0 == record.ctx.position);
    made.is_some_and(|made| made.id == payment) || record.command.body.payment() == Some(payment)
}
