//! Finds the subscriptions whose filter matches an event.

use std::sync::Arc;

use arrayvec::ArrayVec;
use hashbrown::HashMap;
use tributary_ledger::codec::RecordRef;
use tributary_ledger::{AccountId, ObjectId, OwnerId, event_type};

use crate::delivery::Matched;
use crate::notices;
use crate::settings::{Filter, Subscription, SubscriptionId};

/// Maximum number of event types whose subscriptions are cached: applications may invent many.
const TYPES_MAX: usize = 1_024;

struct Entry {
    id: SubscriptionId,
    /// Owners who must all be allowed to see the event. The platform sees every event.
    owners: ArrayVec<OwnerId, 2>,
    filter: Filter,
}

impl Entry {
    fn new(id: SubscriptionId, scope: OwnerId, filter: Filter) -> Entry {
        let owners = [Some(scope), filter.owner].into_iter().flatten();
        Entry {
            id,
            owners: owners.filter(|owner| *owner != OwnerId::PLATFORM).collect(),
            filter,
        }
    }
}

/// Indexes of the entries that want an event type.
#[derive(Default)]
struct Wanting {
    /// Entries for any owner.
    whoever: Vec<u16>,
    /// Entries by the first of their owners.
    of_owner: HashMap<OwnerId, Vec<u16>>,
}

/// Matches events against many filters at once.
#[derive(Default)]
pub struct Matcher {
    /// Entries in the order of their ids.
    entries: Vec<Entry>,
    /// Entries by event type, as far as they were looked up.
    types: HashMap<Box<str>, Option<Arc<Wanting>>>,
    /// Kept between calls for its memory.
    seen_by: Vec<OwnerId>,
}

impl Matcher {
    /// Makes a matcher of these subscriptions, which come in the order of their ids.
    pub fn new<'a>(subscriptions: impl Iterator<Item = &'a Subscription>) -> Matcher {
        let entry = |subscription: &Subscription| {
            let filter = subscription.terms.filter.clone();
            Entry::new(subscription.id, subscription.scope, filter)
        };
        let entries: Vec<Entry> = subscriptions.map(entry).collect();
        assert!(
            entries.is_sorted_by_key(|entry| entry.id),
            "subscriptions come in the order of their ids"
        );
        Matcher {
            entries,
            ..Matcher::default()
        }
    }

    /// Adds a subscription, or replaces the filter of one.
    pub(crate) fn put(&mut self, subscription: &Subscription) {
        let id = subscription.id;
        let filter = subscription.terms.filter.clone();
        let entry = Entry::new(id, subscription.scope, filter);
        match self.entries.binary_search_by_key(&id, |entry| entry.id) {
            // Most changes are none of the filter.
            Ok(at) if self.entries[at].filter == entry.filter => return,
            Ok(at) => self.entries[at] = entry,
            Err(at) => self.entries.insert(at, entry),
        }
        self.types.clear();
    }

    /// Removes a subscription, if it is there.
    pub(crate) fn remove(&mut self, id: SubscriptionId) {
        if let Ok(at) = self.entries.binary_search_by_key(&id, |entry| entry.id) {
            self.entries.remove(at);
            self.types.clear();
        }
    }

    /// Makes a matcher of one filter for a caller who may see the events of `scope`. The platform sees every event.
    pub fn for_filter(scope: OwnerId, filter: Filter) -> Matcher {
        Matcher::for_one(SubscriptionId(0), scope, filter)
    }

    /// Makes a matcher of one subscription of `scope`, with this filter.
    pub fn for_one(id: SubscriptionId, scope: OwnerId, filter: Filter) -> Matcher {
        Matcher {
            entries: vec![Entry::new(id, scope, filter)],
            ..Matcher::default()
        }
    }

    /// Returns the entries that want events of this type, if there are any.
    fn wanting(&mut self, event_type: &str) -> Option<Arc<Wanting>> {
        if let Some(wanting) = self.types.get(event_type) {
            return wanting.clone();
        }
        if self.types.len() >= TYPES_MAX {
            self.types.clear();
        }
        let mut wanting = Wanting::default();
        for (entry, at) in self.entries.iter().zip(0..=u16::MAX) {
            if entry.filter.wants_type(event_type) {
                let list = match entry.owners.first() {
                    None => &mut wanting.whoever,
                    Some(owner) => wanting.of_owner.entry(*owner).or_default(),
                };
                list.push(at);
            }
        }
        let any = !wanting.whoever.is_empty() || !wanting.of_owner.is_empty();
        let wanting = any.then(|| Arc::new(wanting));
        self.types.insert(event_type.into(), wanting.clone());
        wanting
    }

    /// Returns the mailbox that the event goes to whatever the filter of that subscription: the one that a queued payment named, or
    /// the replies of the binding by which an order came.
    fn mailbox(&self, record: &RecordRef<'_>) -> Option<SubscriptionId> {
        let id = match record.reply_to() {
            Some(named) => named.0.get(),
            // The result of a queued order follows.
            None if record.is_queued() => return None,
            None => {
                record
                    .origin()
                    .filter(|origin| !origin.reply_to.is_empty())?
                    .setting
                    .0
            }
        };
        let id = SubscriptionId(id);
        let known = self.entries.binary_search_by_key(&id, |entry| entry.id);
        known.ok().map(|_| id)
    }

    /// Calls `found` once for every subscription that wants the record's event, or is the mailbox for it. `owner` returns the owner of
    /// an account.
    pub fn matches(
        &mut self,
        record: &RecordRef<'_>,
        owner: &dyn Fn(AccountId) -> Option<OwnerId>,
        found: &mut dyn FnMut(SubscriptionId, Matched),
    ) {
        if record.operation().is_internal() {
            return;
        }
        let mailbox = self.mailbox(record);
        let wanting = self.wanting(event_type(record));
        if mailbox.is_none() && wanting.is_none() {
            return;
        }
        let context = record.context();
        let matched = Matched {
            position: context.position,
            time: context.timestamp,
            object: object(record),
        };
        if let Some(mailbox) = mailbox {
            found(mailbox, matched);
        }
        let Some(wanting) = wanting else {
            return;
        };
        let not_for = notices::subject(record);
        let told = |entry: &Entry| Some(entry.id) == mailbox || Some(entry.id) == not_for;
        for at in &wanting.whoever {
            let entry = &self.entries[usize::from(*at)];
            if in_currency(&entry.filter, record) && !told(entry) {
                found(entry.id, matched);
            }
        }
        if wanting.of_owner.is_empty() {
            return;
        }
        // Who may see it is looked up once, and then who asks for them: however many ask for others, they cost nothing.
        self.seen_by.clear();
        seen_by(record, owner, &mut self.seen_by);
        for (index, seen) in self.seen_by.iter().enumerate() {
            if self.seen_by[..index].contains(seen) {
                continue;
            }
            for at in wanting.of_owner.get(seen).into_iter().flatten() {
                let entry = &self.entries[usize::from(*at)];
                let seen = entry.owners.iter().all(|one| self.seen_by.contains(one));
                if seen && in_currency(&entry.filter, record) && !told(entry) {
                    found(entry.id, matched);
                }
            }
        }
    }
}

/// Returns the number of the object that the event is about: the position of a payment, an account, an API key or a setting, or the
/// hash of an order key; 0 for none.
fn object(record: &RecordRef<'_>) -> u64 {
    let Some(key) = record.order_key() else {
        return record.subject().unwrap_or(0);
    };
    let mut hasher = blake3::Hasher::new();
    hasher.update(&record.actor().owner.0.to_le_bytes());
    hasher.update(key);
    let hash = hasher.finalize();
    let hash = u64::from_le_bytes(*hash.as_bytes().first_chunk().expect("it is longer"));
    // Positions are smaller.
    hash | 1 << 63
}

/// Whether the event is about money in the currency of the filter, if the filter names one.
fn in_currency(filter: &Filter, record: &RecordRef<'_>) -> bool {
    filter.currency.is_none_or(|wanted| {
        record
            .amount()
            .is_some_and(|(_, currency)| currency == wanted)
            || record.legs().any(|leg| leg.currency == wanted)
    })
}

/// Adds the owners that may see the event: the owner of the actor, of the payment, of the account or setting, of each account whose
/// money moves, and of an object that is updated.
fn seen_by(
    record: &RecordRef<'_>,
    owner: &dyn Fn(AccountId) -> Option<OwnerId>,
    owners: &mut Vec<OwnerId>,
) {
    owners.push(record.actor().owner);
    owners.extend(record.payment_owner());
    owners.extend(record.account_owner());
    owners.extend(record.setting_change().map(|change| change.owner));
    owners.extend(record.accounts().filter_map(owner));
    owners.extend(record.created_owner());
    if record.rejection().is_none() {
        updated_for(record, owner, owners);
    }
}

/// Adds the owners that may see an object that the record updated. An update has no legs.
fn updated_for(
    record: &RecordRef<'_>,
    owner: &dyn Fn(AccountId) -> Option<OwnerId>,
    owners: &mut Vec<OwnerId>,
) {
    match record.updated() {
        Some(ObjectId::Account(account)) => owners.extend(owner(account)),
        Some(ObjectId::Owner(id)) => owners.push(id),
        Some(ObjectId::Payment(_)) | None => {}
    }
    if let Some(payment) = record.updated_payment() {
        payment.viewers(owner, |viewer| owners.push(viewer));
    }
}
