//! The read side: durable records and state, from any thread, without waiting for the writer.

mod accounts;
mod balances;
mod cache;
mod filters;
mod lists;
mod owners;
mod settings;
mod walk;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::ops::Bound;
use std::sync::Arc;

use tributary_journal::Head;
use tributary_ledger::codec::Record;
use tributary_ledger::{
    Account, AccountId, AccountKind, ApiKey, ApiKeyId, Currency, CurrencyTotals, ExternalId, Key,
    Leg, OwnerId, OwnerName, Payment, PaymentId, Reference, ReferenceSpace, ReviewStage,
};

use crate::backend::{JournalMeta, JournalReader, KeyQuery, StoreStats};
use crate::clock::Clock;
use crate::failure::Failure;
use crate::frame_log::{Basis, Standing};
use crate::ids::Ids;
use crate::lookup;
use crate::queue::Figures as QueueFigures;
use crate::record_cache::{CachedJournal, RecordCacheFigures, RecordCacheOptions};
use crate::view::View;
use cache::Cache;

pub use balances::{
    DATED_RECORDS_MAX, DatedBalance, PastBalance, TRIAL_ACCOUNTS_MAX, TRIAL_RECORDS_MAX, Totals,
};
pub use lists::PaymentFilter;

/// Maximum number of records that one request looks through before it returns a cursor.
pub const RECORDS_SCANNED_MAX: usize = 10_000;
/// Payments in review that are looked at for one page.
const IN_REVIEW_LOOKED_AT: usize = 1_000;

/// Where a page begins. Lists run from the newest to the oldest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Start {
    /// At the newest item.
    #[default]
    Newest,
    /// At the newest item that is older than this position.
    Before(u64),
    /// At the items that are newer than this position, and nearest to it.
    After(u64),
}

/// A page of a list, optionally of a window of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Page {
    /// Maximum number of items.
    pub limit: usize,
    /// Where the page begins.
    pub start: Start,
    /// Earliest time of an item, nanoseconds since the Unix epoch.
    pub from: Option<u64>,
    /// Time before which every item was recorded, nanoseconds since the Unix epoch.
    pub until: Option<u64>,
}

impl Page {
    /// Makes a page of the newest `limit` items.
    pub fn newest(limit: usize) -> Page {
        Page {
            limit,
            start: Start::Newest,
            from: None,
            until: None,
        }
    }
}

/// Items of a page, newest first.
#[derive(Clone, Debug)]
pub struct Slice<T> {
    /// Items.
    pub items: Vec<T>,
    /// Whether the list goes on in the direction of the page.
    pub has_more: bool,
    /// Position for the next page ([`Start::Before`] or [`Start::After`]). With `has_more` and fewer items than asked for, the bound on
    /// scanned records was reached first.
    pub next: Option<u64>,
}

/// One line of a statement.
#[derive(Clone, Debug)]
pub struct StatementLine {
    /// Record that made the posting.
    pub record: Record,
    /// Leg of the account in the record.
    pub leg: Leg,
}

/// Reads of one journal. Cheap to clone.
#[derive(Clone)]
pub struct Reader {
    journal: Arc<dyn JournalReader>,
    /// The journal behind the cache of records.
    cached: Arc<CachedJournal>,
    view: Arc<View>,
    clock: Arc<dyn Clock>,
    ids: Ids,
    names: Arc<Cache<OwnerId, OwnerName>>,
    externals: Arc<Cache<(OwnerId, ExternalId), AccountId>>,
}

impl Reader {
    pub(crate) fn new(
        journal: Arc<dyn JournalReader>,
        record_cache: &RecordCacheOptions,
        view: Arc<View>,
        clock: Arc<dyn Clock>,
    ) -> Reader {
        let meta = journal.meta();
        Reader {
            ids: Ids::new(&meta.id_key, &meta.epochs),
            cached: Arc::new(CachedJournal::new(journal.clone(), record_cache)),
            journal,
            view,
            clock,
            names: Arc::default(),
            externals: Arc::default(),
        }
    }

    /// Returns a reader of the same journal and view that has no cache of records.
    #[must_use]
    pub fn without_record_cache(&self) -> Reader {
        let options = RecordCacheOptions::default();
        Reader {
            cached: Arc::new(CachedJournal::new(self.journal.clone(), &options)),
            ..self.clone()
        }
    }

    /// Returns what the cache of records did since the start, and how it is.
    pub fn record_cache_figures(&self) -> RecordCacheFigures {
        let mut figures = self.cached.figures();
        figures.refused += self.ids.refused();
        figures
    }

    /// Returns ledger time, nanoseconds since the Unix epoch.
    pub fn now(&self) -> u64 {
        self.clock.now()
    }

    /// Returns the public ids of this journal.
    pub fn ids(&self) -> &Ids {
        &self.ids
    }

    /// Returns the ids, keys and epochs. The id key decrypts every public id: it belongs into backups and nowhere else.
    pub fn meta(&self) -> JournalMeta {
        self.journal.meta()
    }

    /// Returns the durable head.
    pub fn head(&self) -> Head {
        self.journal.head()
    }

    /// Returns sizes and health of the store.
    pub fn store_stats(&self) -> StoreStats {
        self.journal.stats()
    }

    /// Returns the position that the published view reflects: never beyond the head.
    pub fn published(&self) -> u64 {
        self.view.position()
    }

    /// Waits until more than `position` is published. No thread waits meanwhile.
    pub async fn published_after(&self, position: u64) {
        loop {
            let mut news = std::pin::pin!(self.view.news.notified());
            // Before looking, so that nothing is missed in between.
            news.as_mut().enable();
            if self.published() > position {
                return;
            }
            news.await;
        }
    }

    /// Returns the record at `position`, if it is durable.
    pub fn record(&self, position: u64) -> Result<Option<Record>, Failure> {
        lookup::record(&*self.cached, position)
    }

    /// Reads the payload of the record at `position` into `payload`. False if the record is not durable.
    pub fn payload(&self, position: u64, payload: &mut Vec<u8>) -> Result<bool, Failure> {
        self.journal.read(position, payload)
    }

    /// Returns the sealed frame that holds `position`, verbatim.
    pub fn frame(&self, position: u64) -> Result<Option<Vec<u8>>, Failure> {
        self.journal.frame(position)
    }

    /// Returns how the journal stands to a place that another log rests on.
    ///
    /// # Errors
    /// If the journal can't be read there.
    pub fn standing(&self, basis: &Basis) -> Result<Standing, Failure> {
        basis.standing(&*self.journal)
    }

    /// Returns the durable record that has this idempotency key of `owner`.
    pub fn record_by_key(&self, owner: OwnerId, key: &Key) -> Result<Option<Record>, Failure> {
        let hash = tributary_ledger::hash::hash_key(owner, key);
        let found = lookup::find_key(&*self.journal, &KeyQuery { hash, owner, key })?;
        match found {
            Some(found) => lookup::record(&*self.journal, found.position),
            None => Ok(None),
        }
    }

    /// Whether a durable record has this idempotency key of `owner`.
    pub fn key_used(&self, owner: OwnerId, key: &Key) -> Result<bool, Failure> {
        let hash = tributary_ledger::hash::hash_key(owner, key);
        let found = lookup::find_key(&*self.journal, &KeyQuery { hash, owner, key })?;
        Ok(found.is_some())
    }

    /// Returns the account, as of the last durable batch.
    pub fn account(&self, id: AccountId) -> Option<Account> {
        self.view.read().set.account(id).cloned()
    }

    /// Returns a look-up of [`Reader::account_owner`] for many accounts. Nothing is published before it is dropped.
    pub fn account_owners(&self) -> impl Fn(AccountId) -> Option<OwnerId> {
        let published = self.view.read();
        move |id| published.set.account(id).map(|account| account.owner)
    }

    /// Returns the owner of the account.
    pub fn account_owner(&self, id: AccountId) -> Option<OwnerId> {
        self.view
            .read()
            .set
            .account(id)
            .map(|account| account.owner)
    }

    /// Returns the record that opened the account.
    pub fn account_opening(&self, id: AccountId) -> Result<Option<Record>, Failure> {
        self.record(id.0)
    }

    /// Returns the account of `owner` with this external id.
    pub fn account_by_external(
        &self,
        owner: OwnerId,
        external: &ExternalId,
    ) -> Result<Option<Account>, Failure> {
        let part = tributary_ledger::hash::hash_external(owner, external);
        let find = |(owner, external): &_| lookup::external(&*self.cached, *owner, external);
        let id = self.externals.get(part, (owner, external.clone()), find)?;
        if id.is_none() {
            self.cached.count_refused();
        }
        Ok(id.and_then(|id| self.account(id)))
    }

    /// Returns the owner with this name.
    pub fn owner_by_name(&self, name: &OwnerName) -> Option<OwnerId> {
        self.view
            .read()
            .set
            .owner_by_name(name)
            .map(|owner| owner.id)
    }

    /// Returns the name of an owner.
    pub fn owner_name(&self, owner: OwnerId) -> Option<OwnerName> {
        let find = |owner: &OwnerId| {
            let found = self.view.read().set.owner(*owner).map(|owner| owner.name);
            Ok::<_, Infallible>(found)
        };
        let Ok(name) = self.names.get(owner.0, owner, find);
        name
    }

    /// Returns an API key.
    pub fn api_key(&self, id: ApiKeyId) -> Option<ApiKey> {
        self.view.read().set.api_key(id).cloned()
    }

    /// Returns all API keys, newest first.
    pub fn api_keys(&self) -> Vec<ApiKey> {
        let mut keys: Vec<ApiKey> = self.view.read().set.api_keys().cloned().collect();
        keys.sort_by_key(|key| std::cmp::Reverse(key.id));
        keys
    }

    /// Returns the payment as its last durable change left it.
    pub fn payment(&self, id: PaymentId) -> Result<Option<Payment>, Failure> {
        if let Some(open) = self.view.read().set.payment(id) {
            return Ok(Some(open.clone()));
        }
        lookup::payment(&*self.cached, id)
    }

    /// Returns the payment as its last change before the record at `position` left it.
    pub fn payment_before(&self, id: PaymentId, position: u64) -> Result<Option<Payment>, Failure> {
        lookup::payment_before(&*self.cached, id, position)
    }

    /// Returns the record by which a queued payment was run and failed, or by which a payout failed.
    pub fn failed_run(&self, payment: PaymentId) -> Result<Option<Record>, Failure> {
        lookup::failed_run(&*self.cached, payment)
    }

    /// Returns the payment that took `reference` in a name space.
    pub fn payment_by_reference(
        &self,
        space: ReferenceSpace,
        reference: &Reference,
    ) -> Result<Option<Payment>, Failure> {
        match lookup::reference(&*self.cached, space, reference)? {
            Some(id) => self.payment(id),
            None => {
                self.cached.count_refused();
                Ok(None)
            }
        }
    }

    /// Returns a page of the payments in review that `fits`, the oldest first: those after a position, at most `limit`. It ends early after
    /// a number of payments that were looked at, which all have the view in one hold.
    pub fn in_review(
        &self,
        after: u64,
        limit: usize,
        fits: impl Fn(&Payment) -> bool,
    ) -> Slice<Payment> {
        let published = self.view.read();
        let set = &published.set;
        let after = (Bound::Excluded(PaymentId(after)), Bound::Unbounded);
        let mut left = set.in_review().range(after);
        let mut page = Slice {
            items: Vec::new(),
            has_more: false,
            next: None,
        };
        for id in left.by_ref().take(IN_REVIEW_LOOKED_AT) {
            page.next = Some(id.0);
            page.items
                .extend(set.payment(*id).filter(|now| fits(now)).cloned());
            if page.items.len() == limit {
                break;
            }
        }
        page.has_more = left.next().is_some();
        page
    }

    /// Returns the number of payments in review, as of the last durable batch.
    pub fn in_review_len(&self) -> usize {
        self.view.read().set.in_review().len()
    }

    /// Returns the number of reviews that ended at this stage since the start.
    pub fn reviews_ended(&self, stage: ReviewStage) -> u64 {
        self.view.read().reviews_ended[stage as usize]
    }

    /// Returns holds that came due at or before `now`, the earliest first, at most `limit`.
    pub(crate) fn due(&self, now: u64, limit: usize) -> Vec<PaymentId> {
        if self.next_due().is_none_or(|due| due > now) {
            return Vec::new();
        }
        let published = self.view.read();
        published
            .due
            .iter()
            .take_while(|(expires_at, _)| *expires_at <= now)
            .take(limit)
            .map(|(_, id)| *id)
            .collect()
    }

    /// Returns the number of queued payments, as of the last durable batch.
    pub fn queue_length(&self) -> usize {
        self.view.queued()
    }

    /// Returns the figures of the queue, with rates of the minute before `now`, nanoseconds since the Unix epoch.
    pub fn queue_figures(&self, now: u64) -> QueueFigures {
        self.view.queue_figures(now)
    }

    /// Returns the time of the oldest payment that is queued or holds money, nanoseconds since the Unix epoch.
    pub fn oldest_open(&self) -> Option<u64> {
        self.view.oldest_open()
    }

    /// Returns when the next hold comes due, or the next queued payment can run: 0 if one can run now.
    pub(crate) fn next_due(&self) -> Option<u64> {
        self.view.next_due()
    }

    /// Returns the balances summed per currency and kind of account, and their position.
    pub fn trial_balance(&self) -> (u64, BTreeMap<(Currency, AccountKind), CurrencyTotals>) {
        self.view.trial_balance()
    }

    /// Returns the money moved since the start, in minor units of each currency that was moved.
    pub fn money_moved(&self) -> Vec<(Currency, u64)> {
        self.view.read().moved.clone()
    }

    /// Returns a digest of the published state, to compare backends.
    pub fn digest(&self) -> [u8; 32] {
        self.view.read().set.digest()
    }
}
