//! The working set: the objects that decisions look at.

mod change;
mod lookups;
mod owners;
mod queued;
mod settings;
mod sip;
mod undo;

pub(crate) use lookups::Absent;
pub use lookups::Keys;

use crate::codec::RecordRef;
use crate::ordered::Ordered;
use crate::slab::{Numbered, Slab};
use crate::{
    Account, AccountId, AccountKind, ApiKey, ApiKeyId, Body, Command, Currency, Destination,
    ExternalId, Owner, OwnerId, OwnerName, OwnerRef, Payment, PaymentId, QueueState, Reference,
    Setting, SettingId, SettingKind, Slug,
};
use hashbrown::{HashMap, HashSet};
use std::collections::{BTreeMap, VecDeque};

use lookups::Passing;
use sip::Sip;

/// What a set is known to hold, so that what it lacks need not be looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Residency {
    /// Everything there is (the memory backend, models).
    Everything,
    /// All accounts, owners, API keys and open payments; other payments, references and external ids are loaded.
    Accounts,
}

/// The objects that decisions look at. Filled by [`crate::apply`] and by loading what [`crate::keys`] asks for.
#[derive(Clone)]
pub struct WorkingSet {
    residency: Residency,
    accounts: Ordered<Account>,
    owners: owners::Owners,
    payments: Slab<Payment>,
    api_keys: Slab<ApiKey>,
    settings: settings::Settings,
    references: HashMap<(OwnerId, Reference), PaymentId, Sip>,
    externals: HashMap<(OwnerId, ExternalId), AccountId, Sip>,
    absent: HashSet<Absent, Sip>,
    passing: VecDeque<(u64, Passing)>,
    queue: QueueState,
    /// Payments in the queue, all of which are in the set.
    queued: queued::Queued,
    horizon: u64,
    undo: Option<Vec<undo::Before>>,
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
    /// How many accounts.
    pub accounts: u64,
}

impl CurrencyTotals {
    /// Takes an account into the sums.
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

    /// Takes an account out of the sums, which was taken in as it is.
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
    /// An empty set: the platform is its only owner.
    pub fn new(residency: Residency) -> Self {
        let mut set = WorkingSet {
            residency,
            accounts: Ordered::new(),
            owners: owners::Owners::new(),
            payments: Slab::new(),
            api_keys: Slab::new(),
            settings: settings::Settings::default(),
            references: HashMap::default(),
            externals: HashMap::default(),
            absent: HashSet::default(),
            passing: VecDeque::new(),
            queue: QueueState::default(),
            queued: queued::Queued::default(),
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

    /// What the set is known to hold.
    pub fn residency(&self) -> Residency {
        self.residency
    }

    /// The account, if it is in the set.
    pub fn account(&self, id: AccountId) -> Option<&Account> {
        self.accounts.get(id.0)
    }

    /// Tells `near` of the accounts that a few payments name, which are about to be decided: in a large set each would cost a wait
    /// for memory when its turn comes. Nothing is read of them here.
    pub fn expect(&mut self, commands: &[Command], mut near: impl FnMut(&Account)) {
        for command in commands {
            if let Body::Pay(pay) = &command.body {
                let source = self.accounts.expect(pay.source.0);
                source.into_iter().for_each(&mut near);
                if let Destination::One(account) = &pay.destination {
                    let payee = self.accounts.expect(account.0);
                    payee.into_iter().for_each(&mut near);
                }
            }
        }
    }

    /// [`WorkingSet::expect`] for a record that is about to be applied.
    pub fn expect_record(&mut self, record: &RecordRef<'_>, mut near: impl FnMut(&Account)) {
        for id in record.accounts() {
            self.accounts.expect(id.0).into_iter().for_each(&mut near);
        }
    }

    /// The owner, if it is in the set.
    pub fn owner(&self, id: OwnerId) -> Option<Owner> {
        self.owners.get(id)
    }

    /// The owner of that name, if it is in the set.
    pub fn owner_by_name(&self, name: &OwnerName) -> Option<Owner> {
        self.owners.by_name(name)
    }

    /// The payment, if it is in the set.
    pub fn payment(&self, id: PaymentId) -> Option<&Payment> {
        self.payments.get(id.0)
    }

    /// The API key, if it is in the set.
    pub fn api_key(&self, id: ApiKeyId) -> Option<&ApiKey> {
        self.api_keys.get(id.0)
    }

    /// The living setting with this id.
    pub fn setting(&self, id: SettingId) -> Option<&Setting> {
        self.settings.get(id)
    }

    /// The living setting of an owner with this kind and slug.
    pub fn setting_by_slug(
        &self,
        owner: OwnerId,
        kind: SettingKind,
        slug: &Slug,
    ) -> Option<&Setting> {
        self.settings.by_slug(owner, kind, slug)
    }

    /// Number of living settings of an owner and kind.
    pub fn settings_of(&self, owner: OwnerId, kind: SettingKind) -> usize {
        self.settings.count(owner, kind)
    }

    /// Number of living settings of a kind.
    pub fn settings_of_kind(&self, kind: SettingKind) -> usize {
        self.settings.count_of_kind(kind)
    }

    /// Size of the bodies of all living settings, bytes.
    pub fn settings_bytes(&self) -> usize {
        self.settings.bytes()
    }

    /// The living settings, in the order of their creation.
    pub fn settings(&self) -> impl Iterator<Item = &Setting> {
        self.settings.created_after(0)
    }

    /// The living settings that were created after a position, in the order of their creation.
    pub fn settings_after(&self, position: u64) -> impl Iterator<Item = &Setting> {
        self.settings.created_after(position)
    }

    /// How the queue stands.
    pub fn queue(&self) -> QueueState {
        self.queue
    }

    /// Payments in the queue.
    pub fn queued(&self) -> usize {
        self.queued.all()
    }

    /// Of them, those that keys of this owner asked for.
    pub fn queued_by(&self, owner: OwnerId) -> usize {
        self.queued.by(owner)
    }

    /// The same of every owner who has some.
    pub fn queued_by_owner(&self) -> impl Iterator<Item = (OwnerId, usize)> {
        self.queued.by_owner()
    }

    /// The payment that has the reference, if that is in the set.
    pub fn reference(&self, owner: OwnerId, reference: &Reference) -> Option<PaymentId> {
        self.references.get(&(owner, reference.clone())).copied()
    }

    /// The account that has the external id, if that is in the set.
    pub fn external(&self, owner: OwnerId, external: &ExternalId) -> Option<AccountId> {
        self.externals.get(&(owner, external.clone())).copied()
    }

    /// Accounts in the set.
    pub fn account_count(&self) -> usize {
        self.accounts.len()
    }

    /// Owners in the set, the platform included.
    pub fn owner_count(&self) -> usize {
        self.owners.len()
    }

    /// Payments in the set, open and loaded.
    pub fn payment_count(&self) -> usize {
        self.payments.len()
    }

    /// The accounts, in a fixed order.
    pub fn accounts(&self) -> impl Iterator<Item = &Account> {
        self.accounts.iter()
    }

    /// The owners, in a fixed order.
    pub fn owners(&self) -> impl Iterator<Item = Owner> {
        self.owners.iter()
    }

    /// The payments, in a fixed order.
    pub fn payments(&self) -> impl Iterator<Item = &Payment> {
        self.payments.iter()
    }

    /// The API keys, in a fixed order.
    pub fn api_keys(&self) -> impl Iterator<Item = &ApiKey> {
        self.api_keys.iter()
    }

    /// One past the last slot of accounts: slots below it are read one by one, between changes, for lists and a checkpoint.
    /// An object keeps its slot, and slots of accounts and owners ascend with their ids.
    ///
    /// Panics if accounts came in another order and were not put right ([`WorkingSet::in_order`]).
    pub fn account_slots(&self) -> usize {
        self.accounts.slots()
    }

    /// The account in a slot.
    pub fn account_at(&self, slot: usize) -> Option<&Account> {
        self.accounts.at(slot)
    }

    /// The slot of the first account whose number is not below this.
    pub fn account_slot_from(&self, number: u64) -> usize {
        self.accounts.slot_from(number)
    }

    /// This set with its accounts and owners in the order of their ids, if they were put in otherwise. What is changed by records
    /// stays in order.
    #[must_use]
    pub fn in_order(mut self) -> WorkingSet {
        self.accounts.sort();
        self.owners.sort();
        self
    }

    /// One past the last slot of owners, as of accounts.
    pub fn owner_slots(&self) -> usize {
        self.owners.slots()
    }

    /// The owner in a slot.
    pub fn owner_at(&self, slot: usize) -> Option<OwnerRef<'_>> {
        self.owners.at(slot)
    }

    /// One past the last slot of payments.
    pub fn payment_slots(&self) -> usize {
        self.payments.slots()
    }

    /// The payment in a slot; those that are not open need no place in a checkpoint.
    pub fn payment_at(&self, slot: usize) -> Option<&Payment> {
        self.payments.at(slot)
    }

    /// One past the last slot of API keys.
    pub fn api_key_slots(&self) -> usize {
        self.api_keys.slots()
    }

    /// The API key in a slot.
    pub fn api_key_at(&self, slot: usize) -> Option<&ApiKey> {
        self.api_keys.at(slot)
    }

    /// Makes room for so many owners that are about to be loaded: a table that grows step by step is filled twice.
    pub fn reserve_owners(&mut self, owners: usize) {
        self.owners.reserve(owners);
    }

    /// Puts in a loaded account, unless the set has it as of the same or a later record.
    pub fn load_account(&mut self, account: Account) {
        if self
            .account(account.id)
            .is_none_or(|known| known.changed_at() < account.changed_at())
        {
            self.put_account(account);
        }
    }

    /// This set, which has neither accounts nor owners of its own, with those of sets that were filled beside it.
    pub fn with(mut self, accounts: WorkingSet, owners: WorkingSet) -> WorkingSet {
        let own = self.account_count() + self.owner_count();
        assert!(own <= 1, "nothing but the platform is lost");
        self.accounts = accounts.accounts;
        self.owners = owners.owners;
        self
    }

    /// Puts in the owners that `each` gives, unless the set has them as of the same or a later record. Fast when they come in the
    /// order of their ids.
    pub fn load_owners<E>(
        &mut self,
        each: impl FnOnce(&mut dyn FnMut(OwnerRef<'_>)) -> Result<(), E>,
    ) -> Result<(), E> {
        assert!(self.undo.is_none(), "loading is not undone");
        self.owners.load(each)
    }

    /// Puts in a loaded owner, unless the set has it as of the same or a later record.
    pub fn load_owner(&mut self, owner: &Owner) {
        let loaded = self.load_owners(|put| {
            put(owner.borrowed());
            Ok::<_, std::convert::Infallible>(())
        });
        let Ok(()) = loaded;
    }

    /// Puts in a loaded API key, unless the set has it as of the same or a later record.
    pub fn load_api_key(&mut self, key: ApiKey) {
        if self
            .api_key(key.id)
            .is_none_or(|known| known.changed_at < key.changed_at)
        {
            self.put_api_key(key);
        }
    }

    /// Puts in a loaded setting, unless the set has it as of the same or a later record.
    pub fn load_setting(&mut self, setting: Setting) {
        if self
            .setting(setting.id)
            .is_none_or(|known| known.changed.position < setting.changed.position)
        {
            self.put_setting(setting);
        }
    }

    /// Puts in a loaded payment (a failed one too), unless the set has it as of the same or a later record.
    pub fn load_payment(&mut self, payment: Payment) {
        if self
            .payment(payment.id)
            .is_none_or(|known| known.changed_at < payment.changed_at)
        {
            self.put_payment(payment, self.horizon + 1);
        }
    }

    /// Puts in how the queue stands, unless the set has that as of the same or a later record.
    pub fn load_queue(&mut self, queue: QueueState) {
        if self.queue.changed_at < queue.changed_at {
            self.queue = queue;
        }
    }

    /// Puts in that an owner's payment has a reference.
    pub fn load_reference(&mut self, owner: OwnerId, reference: Reference, payment: PaymentId) {
        self.put_reference(owner, reference, payment, self.horizon + 1);
    }

    /// Puts in that an owner's account has an external id.
    pub fn load_external(&mut self, owner: OwnerId, external: ExternalId, account: AccountId) {
        self.put_external(owner, external, account, self.horizon + 1);
    }

    /// Whatever of `keys` is still not in the set does not exist: remembered, so that it is not asked for again.
    pub fn mark_absent(&mut self, keys: &Keys) {
        let payments = keys
            .payments
            .iter()
            .filter(|id| self.payment(**id).is_none())
            .map(|id| Absent::Payment(*id));
        let references = keys
            .references
            .iter()
            .filter(|(owner, reference)| self.reference(*owner, reference).is_none());
        let references =
            references.map(|(owner, reference)| Absent::Reference(*owner, reference.clone()));
        let externals = keys
            .externals
            .iter()
            .filter(|(owner, external)| self.external(*owner, external).is_none());
        let externals =
            externals.map(|(owner, external)| Absent::External(*owner, external.clone()));
        let all: Vec<Absent> = payments.chain(references).chain(externals).collect();
        for absent in all {
            if self.absent.insert(absent.clone()) {
                self.passing
                    .push_back((self.horizon + 1, Passing::Absent(absent)));
            }
        }
    }

    /// Drops what need not stay, of records up to `position`: payments that are not open, references, external ids and
    /// what was found absent. A set of everything drops nothing.
    ///
    /// Call it only before [`crate::keys`] of a batch, never between that and the batch's last decision; and every look-up whose
    /// result is yet to be put in must have seen the journal up to `position`, else what it says to be absent may be a
    /// thing dropped here.
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

    /// Sums per currency over the accounts in the set.
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

    /// Sums per currency and kind over the accounts in the set. Only those of a whole currency balance.
    pub fn totals_by_kind(&self) -> BTreeMap<(Currency, AccountKind), CurrencyTotals> {
        let mut totals: BTreeMap<(Currency, AccountKind), CurrencyTotals> = BTreeMap::new();
        for account in self.accounts.iter() {
            let sums = totals.entry((account.currency, account.kind));
            sums.or_default().add(account);
        }
        totals
    }

    fn evict(&mut self, passing: Passing, position: u64) {
        match passing {
            Passing::Payment(id) => {
                if self
                    .payment(id)
                    .is_some_and(|payment| payment.changed_at <= position)
                {
                    self.remove_payment(id);
                }
            }
            // A group that was undone may have noted them for an earlier position than that of the record which has them
            // now; that one noted them again for its own.
            Passing::Reference(owner, reference) => {
                let name = (owner, reference);
                if self
                    .references
                    .get(&name)
                    .is_some_and(|id| id.0 <= position)
                {
                    self.references.remove(&name);
                }
            }
            Passing::External(owner, external) => {
                let name = (owner, external);
                if self.externals.get(&name).is_some_and(|id| id.0 <= position) {
                    self.externals.remove(&name);
                }
            }
            Passing::Absent(absent) => {
                self.absent.remove(&absent);
            }
        }
    }
}
