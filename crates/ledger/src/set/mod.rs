//! The working set: the state that decisions read.

mod change;
mod details;
mod limits;
mod lookups;
mod owners;
mod queued;
mod settings;
mod sip;
mod undo;

pub(crate) use lookups::Absent;
pub use lookups::Lookups;

use crate::codec::RecordRef;
use crate::ordered::Ordered;
use crate::slab::{Numbered, Slab};
use crate::{
    Account, AccountId, AccountKind, ApiKey, ApiKeyId, Body, Command, Currency, Destination,
    Details, ExternalId, Limit, LimitCounts, LimitSubject, ObjectId, Owner, OwnerId, OwnerName,
    OwnerRef, Payment, PaymentId, QueueState, Reference, ReferenceSpace, Setting, SettingId,
    SettingKind, Slug, TimeOffset,
};
use hashbrown::{HashMap, HashSet};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use lookups::Droppable;
use sip::Sip;

/// Objects that a set contains completely, so that missing ones need not be looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Residency {
    /// All objects (the memory backend, models).
    Everything,
    /// All accounts, owners, API keys, settings and open payments. Other payments, references and external ids are loaded on demand.
    Accounts,
}

/// The state that decisions read. Filled by [`crate::apply`] and by loading the objects that [`crate::missing_lookups`] returns.
#[derive(Clone)]
pub struct WorkingSet {
    residency: Residency,
    accounts: Ordered<Account>,
    owners: owners::Owners,
    payments: Slab<Payment>,
    api_keys: Slab<ApiKey>,
    settings: settings::Settings,
    limits: limits::Limits,
    details: details::DetailsTable,
    references: HashMap<(ReferenceSpace, Reference), PaymentId, Sip>,
    externals: HashMap<(OwnerId, ExternalId), AccountId, Sip>,
    absent: HashSet<Absent, Sip>,
    passing: VecDeque<(u64, Droppable)>,
    queue: QueueState,
    time_offset: TimeOffset,
    /// Payments in the queue, all of which are in the set.
    queued: queued::Queued,
    /// Payments in review, all of which are in the set.
    in_review: BTreeSet<PaymentId>,
    horizon: u64,
    undo: Option<Vec<undo::UndoEntry>>,
}

/// Sums over the accounts of a currency, minor units. The books balance when `debit == credit`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CurrencyTotals {
    /// Sum of the negative balances, as a positive number.
    pub debit: i128,
    /// Sum of the positive balances.
    pub credit: i128,
    /// Sum of the open holds.
    pub held: i128,
    /// Number of accounts.
    pub accounts: u64,
}

impl CurrencyTotals {
    /// Adds an account to the sums.
    pub fn add(&mut self, account: &Account) {
        let posted = i128::from(account.posted);
        if posted < 0 {
            self.debit -= posted;
        } else {
            self.credit += posted;
        }
        self.held += i128::from(account.held);
        self.accounts += 1;
    }

    /// Removes an account that was added in the same state from the sums.
    pub fn remove(&mut self, account: &Account) {
        let posted = i128::from(account.posted);
        if posted < 0 {
            self.debit += posted;
        } else {
            self.credit -= posted;
        }
        self.held -= i128::from(account.held);
        self.accounts -= 1;
    }
}

impl Numbered for Account {
    fn number(&self) -> u64 {
        self.id.0
    }
}

impl Numbered for Payment {
    fn number(&self) -> u64 {
        self.id.0
    }
}

impl Numbered for ApiKey {
    fn number(&self) -> u64 {
        self.id.0
    }
}

impl WorkingSet {
    /// Returns an empty set, in which the platform is the only owner.
    pub fn new(residency: Residency) -> Self {
        let mut set = WorkingSet {
            residency,
            accounts: Ordered::new(),
            owners: owners::Owners::new(),
            payments: Slab::new(),
            api_keys: Slab::new(),
            settings: settings::Settings::default(),
            limits: limits::Limits::default(),
            details: details::DetailsTable::new(),
            references: HashMap::default(),
            externals: HashMap::default(),
            absent: HashSet::default(),
            passing: VecDeque::new(),
            queue: QueueState::default(),
            time_offset: TimeOffset::default(),
            queued: queued::Queued::default(),
            in_review: BTreeSet::new(),
            horizon: 0,
            undo: None,
        };
        set.put_owner(Owner {
            id: OwnerId::PLATFORM,
            name: OwnerName::platform(),
            last_account: None,
            changed_at: 0,
        });
        set
    }

    /// Returns which objects the set contains completely.
    pub fn residency(&self) -> Residency {
        self.residency
    }

    /// Returns the account, if it is in the set.
    pub fn account(&self, id: AccountId) -> Option<&Account> {
        self.accounts.get(id.0)
    }

    /// Calls `near` with the accounts of a few payments that are about to be decided, so that the caller can prefetch them:
    /// in a large set each account would otherwise cost a wait for memory. This function does not read the accounts.
    pub fn prefetch(&mut self, commands: &[Command], mut near: impl FnMut(&Account)) {
        for command in commands {
            if let Body::Pay(pay) = &command.body {
                let source = self.accounts.prefetch(pay.source.0);
                source.into_iter().for_each(&mut near);
                if let Destination::One(account) = &pay.destination {
                    let payee = self.accounts.prefetch(account.0);
                    payee.into_iter().for_each(&mut near);
                }
            }
        }
    }

    /// Like [`WorkingSet::prefetch`], for a record that is about to be applied.
    pub fn prefetch_record(&mut self, record: &RecordRef<'_>, mut near: impl FnMut(&Account)) {
        for id in record.accounts() {
            self.accounts.prefetch(id.0).into_iter().for_each(&mut near);
        }
    }

    /// Returns the owner, if it is in the set.
    pub fn owner(&self, id: OwnerId) -> Option<Owner> {
        self.owners.get(id)
    }

    /// Returns the owner with this name, if it is in the set.
    pub fn owner_by_name(&self, name: &OwnerName) -> Option<Owner> {
        self.owners.by_name(name)
    }

    /// Returns the payment, if it is in the set.
    pub fn payment(&self, id: PaymentId) -> Option<&Payment> {
        self.payments.get(id.0)
    }

    /// Returns the API key, if it is in the set.
    pub fn api_key(&self, id: ApiKeyId) -> Option<&ApiKey> {
        self.api_keys.get(id.0)
    }

    /// Returns the living setting with this id.
    pub fn setting(&self, id: SettingId) -> Option<&Setting> {
        self.settings.get(id)
    }

    /// Returns the living setting of an owner with this kind and slug.
    pub fn setting_by_slug(
        &self,
        owner: OwnerId,
        kind: SettingKind,
        slug: &Slug,
    ) -> Option<&Setting> {
        self.settings.by_slug(owner, kind, slug)
    }

    /// Returns the number of living settings of an owner and kind.
    pub fn count_settings(&self, owner: OwnerId, kind: SettingKind) -> usize {
        self.settings.count(owner, kind)
    }

    /// Returns the number of living settings of a kind.
    pub fn count_settings_of_kind(&self, kind: SettingKind) -> usize {
        self.settings.count_of_kind(kind)
    }

    /// Returns the total size of the bodies of all living settings, bytes.
    pub fn settings_bytes(&self) -> usize {
        self.settings.bytes()
    }

    /// Returns the living settings, in the order of their creation.
    pub fn settings(&self) -> impl Iterator<Item = &Setting> {
        self.settings.created_after(0)
    }

    /// Returns the living settings that were created after a position, in the order of their creation.
    pub fn settings_after(&self, position: u64) -> impl Iterator<Item = &Setting> {
        self.settings.created_after(position)
    }

    /// Returns whether any limit is in force.
    #[inline]
    pub fn has_limits(&self) -> bool {
        !self.limits.is_empty()
    }

    /// Returns the limit that a setting says, if it is in force.
    pub fn limit(&self, id: SettingId) -> Option<&Limit> {
        self.limits.get(id)
    }

    /// Returns the limits on an account or an owner, in the order in which a payment meets them.
    pub fn limits_of(&self, subject: LimitSubject) -> impl Iterator<Item = &Limit> {
        self.limits.of(subject)
    }

    /// Returns the limits in force, in no order.
    pub fn limits(&self) -> impl Iterator<Item = &Limit> {
        self.limits.iter()
    }

    /// Returns the details of an account or an owner, if it was ever described or updated.
    pub fn details(&self, object: ObjectId) -> Option<&Details> {
        self.details.get(object)
    }

    /// Returns the owner with this external id.
    pub fn owner_by_external_id(&self, external_id: &ExternalId) -> Option<OwnerId> {
        self.details.owner(external_id)
    }

    /// Returns the details of accounts and owners, in a fixed order.
    pub fn all_details(&self) -> impl Iterator<Item = &Details> {
        self.details.iter()
    }

    /// Returns one past the last slot of details; see [`WorkingSet::account_slots`].
    pub fn details_slots(&self) -> usize {
        self.details.slots()
    }

    /// Returns the details in a slot.
    pub fn details_in_slot(&self, slot: usize) -> Option<&Details> {
        self.details.in_slot(slot)
    }

    /// Returns the state of the queue.
    pub fn queue(&self) -> QueueState {
        self.queue
    }

    /// Returns the time that was added to the clock.
    pub fn time_offset(&self) -> TimeOffset {
        self.time_offset
    }

    /// Returns the payments in review.
    pub fn in_review(&self) -> &BTreeSet<PaymentId> {
        &self.in_review
    }

    /// Returns the number of queued payments.
    pub fn queued(&self) -> usize {
        self.queued.all()
    }

    /// Returns the number of queued payments that API keys of this owner requested.
    pub fn queued_by(&self, owner: OwnerId) -> usize {
        self.queued.by(owner)
    }

    /// Returns the number of queued payments of every owner who has some.
    pub fn queued_by_owner(&self) -> impl Iterator<Item = (OwnerId, usize)> {
        self.queued.by_owner()
    }

    /// Returns the payment with this reference, if it is in the set.
    pub fn reference(&self, space: ReferenceSpace, reference: &Reference) -> Option<PaymentId> {
        self.references.get(&(space, reference.clone())).copied()
    }

    /// Returns the account with this external id, if it is in the set.
    pub fn external(&self, owner: OwnerId, external: &ExternalId) -> Option<AccountId> {
        self.externals.get(&(owner, external.clone())).copied()
    }

    /// Returns the number of accounts in the set.
    pub fn account_count(&self) -> usize {
        self.accounts.len()
    }

    /// Returns the number of owners in the set, including the platform.
    pub fn owner_count(&self) -> usize {
        self.owners.len()
    }

    /// Returns the number of payments in the set, open or loaded.
    pub fn payment_count(&self) -> usize {
        self.payments.len()
    }

    /// Returns the accounts, in a fixed order.
    pub fn accounts(&self) -> impl Iterator<Item = &Account> {
        self.accounts.iter()
    }

    /// Returns the owners, in a fixed order.
    pub fn owners(&self) -> impl Iterator<Item = Owner> {
        self.owners.iter()
    }

    /// Returns the payments, in a fixed order.
    pub fn payments(&self) -> impl Iterator<Item = &Payment> {
        self.payments.iter()
    }

    /// Returns the API keys, in a fixed order.
    pub fn api_keys(&self) -> impl Iterator<Item = &ApiKey> {
        self.api_keys.iter()
    }

    /// Returns one past the last slot of accounts. Lists and checkpoints read the slots one by one, between changes.
    /// An object keeps its slot, and slots of accounts and owners ascend with their ids.
    ///
    /// Panics if accounts were loaded out of order and not sorted by [`WorkingSet::sorted_by_id`].
    pub fn account_slots(&self) -> usize {
        self.accounts.slots()
    }

    /// Returns the account in a slot.
    pub fn account_in_slot(&self, slot: usize) -> Option<&Account> {
        self.accounts.in_slot(slot)
    }

    /// Returns the slot of the first account whose number is at least this.
    pub fn account_slot_from(&self, number: u64) -> usize {
        self.accounts.slot_from(number)
    }

    /// Returns this set with accounts and owners sorted by id, if they were loaded out of order. Records keep them
    /// sorted.
    #[must_use]
    pub fn sorted_by_id(mut self) -> WorkingSet {
        self.accounts.sort();
        self.owners.sort();
        self
    }

    /// Returns one past the last slot of owners; see [`WorkingSet::account_slots`].
    pub fn owner_slots(&self) -> usize {
        self.owners.slots()
    }

    /// Returns the owner in a slot.
    pub fn owner_in_slot(&self, slot: usize) -> Option<OwnerRef<'_>> {
        self.owners.in_slot(slot)
    }

    /// Returns the slot of the first owner whose id is at least this.
    pub fn owner_slot_from(&self, id: u64) -> usize {
        self.owners.slot_from(id)
    }

    /// Returns one past the last slot of payments.
    pub fn payment_slots(&self) -> usize {
        self.payments.slots()
    }

    /// Returns the payment in a slot. A checkpoint does not need closed payments.
    pub fn payment_in_slot(&self, slot: usize) -> Option<&Payment> {
        self.payments.in_slot(slot)
    }

    /// Returns one past the last slot of API keys.
    pub fn api_key_slots(&self) -> usize {
        self.api_keys.slots()
    }

    /// Returns the API key in a slot.
    pub fn api_key_in_slot(&self, slot: usize) -> Option<&ApiKey> {
        self.api_keys.in_slot(slot)
    }

    /// Reserves memory for the owners that are about to be loaded: a table that grows step by step is filled twice.
    pub fn reserve_owners(&mut self, owners: usize) {
        self.owners.reserve(owners);
    }

    /// Adds a loaded account, unless the set has it as of the same or a later record.
    pub fn load_account(&mut self, account: Account) {
        if self
            .account(account.id)
            .is_none_or(|known| known.changed_at() < account.changed_at())
        {
            self.put_account(account);
        }
    }

    /// Returns this set with the accounts and the owners of two other sets. This set must have none of its own.
    pub fn with_accounts_and_owners(
        mut self,
        accounts: WorkingSet,
        owners: WorkingSet,
    ) -> WorkingSet {
        let own = self.account_count() + self.owner_count();
        assert!(own <= 1, "nothing but the platform is lost");
        self.accounts = accounts.accounts;
        self.owners = owners.owners;
        self
    }

    /// Adds the owners that `each` passes on, unless the set has them as of the same or a later record. Fast if they arrive in the
    /// order of their ids.
    pub fn load_owners<E>(
        &mut self,
        each: impl FnOnce(&mut dyn FnMut(OwnerRef<'_>)) -> Result<(), E>,
    ) -> Result<(), E> {
        assert!(self.undo.is_none(), "loading is not undone");
        self.owners.load(each)
    }

    /// Adds a loaded owner, unless the set has it as of the same or a later record.
    pub fn load_owner(&mut self, owner: &Owner) {
        let loaded = self.load_owners(|put| {
            put(owner.borrowed());
            Ok::<_, std::convert::Infallible>(())
        });
        let Ok(()) = loaded;
    }

    /// Adds a loaded API key, unless the set has it as of the same or a later record.
    pub fn load_api_key(&mut self, key: ApiKey) {
        if self
            .api_key(key.id)
            .is_none_or(|known| known.changed_at < key.changed_at)
        {
            self.put_api_key(key);
        }
    }

    /// Adds a loaded setting, unless the set has it as of the same or a later record.
    pub fn load_setting(&mut self, setting: Setting) {
        if self
            .setting(setting.id)
            .is_none_or(|known| known.changed.position < setting.changed.position)
        {
            self.put_setting(setting);
        }
    }

    /// Adds what a loaded limit has counted, unless the set has it as of a later record. Its setting must be there.
    pub fn load_limit(&mut self, counts: &LimitCounts) {
        let Some(limit) = self.limits.get(counts.limit) else {
            return;
        };
        if limit.changed_at <= counts.changed_at {
            let limit = limit.with_counts(counts);
            self.put_limit(limit);
        }
    }

    /// Adds loaded details, unless the set has those of the object as of the same or a later record.
    pub fn load_details(&mut self, details: Details) {
        if self
            .details(details.object)
            .is_none_or(|known| known.text.changed_at < details.text.changed_at)
        {
            self.put_details(details);
        }
    }

    /// Adds a loaded payment, even a failed one, unless the set has it as of the same or a later record.
    pub fn load_payment(&mut self, payment: Payment) {
        if self
            .payment(payment.id)
            .is_none_or(|known| known.changed_at < payment.changed_at)
        {
            self.put_payment(payment, self.horizon + 1);
        }
    }

    /// Adds the loaded state of the queue, unless the set has it as of the same or a later record.
    pub fn load_queue(&mut self, queue: QueueState) {
        if self.queue.changed_at < queue.changed_at {
            self.queue = queue;
        }
    }

    /// Adds the loaded time that was added to the clock, unless the set has it as of the same or a later record.
    pub fn load_time_offset(&mut self, offset: TimeOffset) {
        if self.time_offset.changed_at < offset.changed_at {
            self.time_offset = offset;
        }
    }

    /// Adds the loaded reference of a payment in a name space.
    pub fn load_reference(
        &mut self,
        space: ReferenceSpace,
        reference: Reference,
        payment: PaymentId,
    ) {
        self.put_reference(space, reference, payment, self.horizon + 1);
    }

    /// Adds the loaded external id of an account of an owner.
    pub fn load_external(&mut self, owner: OwnerId, external: ExternalId, account: AccountId) {
        self.put_external(owner, external, account, self.horizon + 1);
    }

    /// Remembers that the objects of `lookups` that are still not in the set do not exist, so that [`crate::missing_lookups`]
    /// does not return them again.
    pub fn mark_absent(&mut self, lookups: &Lookups) {
        let payments = lookups
            .payments
            .iter()
            .filter(|id| self.payment(**id).is_none())
            .map(|id| Absent::Payment(*id));
        let references = lookups
            .references
            .iter()
            .filter(|(space, reference)| self.reference(*space, reference).is_none());
        let references =
            references.map(|(space, reference)| Absent::Reference(*space, reference.clone()));
        let externals = lookups
            .externals
            .iter()
            .filter(|(owner, external)| self.external(*owner, external).is_none());
        let externals =
            externals.map(|(owner, external)| Absent::External(*owner, external.clone()));
        let all: Vec<Absent> = payments.chain(references).chain(externals).collect();
        for absent in all {
            if self.absent.insert(absent.clone()) {
                self.passing
                    .push_back((self.horizon + 1, Droppable::Absent(absent)));
            }
        }
    }

    /// Drops the objects of records up to `position` that the set need not contain: closed payments, references, external ids and
    /// remembered absences. A set of [`Residency::Everything`] drops nothing.
    ///
    /// Call this only before [`crate::missing_lookups`] of a batch, never between that call and the batch's last decision. Every
    /// look-up whose result is not added yet must have seen the journal up to `position`; otherwise an object that it reports as absent may be one
    /// that was dropped here.
    pub fn evict_through(&mut self, position: u64) {
        while self
            .passing
            .front()
            .is_some_and(|(until, _)| *until <= position)
        {
            let (_, passing) = self.passing.pop_front().expect("there is a front");
            self.evict(passing, position);
        }
    }

    /// Returns sums per currency over the accounts in the set.
    pub fn totals(&self) -> BTreeMap<Currency, CurrencyTotals> {
        let mut totals: BTreeMap<Currency, CurrencyTotals> = BTreeMap::new();
        for ((currency, _), sums) in self.totals_by_kind() {
            let all = totals.entry(currency).or_default();
            all.debit += sums.debit;
            all.credit += sums.credit;
            all.held += sums.held;
            all.accounts += sums.accounts;
        }
        totals
    }

    /// Returns sums per currency and kind over the accounts in the set. Debit equals credit only over a whole currency.
    pub fn totals_by_kind(&self) -> BTreeMap<(Currency, AccountKind), CurrencyTotals> {
        let mut totals: BTreeMap<(Currency, AccountKind), CurrencyTotals> = BTreeMap::new();
        for account in self.accounts.iter() {
            let sums = totals.entry((account.currency, account.kind));
            sums.or_default().add(account);
        }
        totals
    }

    fn evict(&mut self, passing: Droppable, position: u64) {
        match passing {
            Droppable::Payment(id) => {
                if self
                    .payment(id)
                    .is_some_and(|payment| payment.changed_at <= position)
                {
                    self.remove_payment(id);
                }
            }
            // A group that was undone may have noted them for an earlier position than that of the record which has them
            // now; that one noted them again for its own.
            Droppable::Reference(space, reference) => {
                let name = (space, reference);
                if self
                    .references
                    .get(&name)
                    .is_some_and(|id| id.0 <= position)
                {
                    self.references.remove(&name);
                }
            }
            Droppable::External(owner, external) => {
                let name = (owner, external);
                if self.externals.get(&name).is_some_and(|id| id.0 <= position) {
                    self.externals.remove(&name);
                }
            }
            Droppable::Absent(absent) => {
                self.absent.remove(&absent);
            }
        }
    }
}
