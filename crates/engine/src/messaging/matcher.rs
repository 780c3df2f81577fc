//! Which subscriptions want an event.

use std::sync::Arc;

use hashbrown::HashMap;
use tributary_ledger::codec::RecordRef;
use tributary_ledger::{AccountId, OwnerId, event_type};

use super::flow::Matched;
use super::settings::{Filter, Subscription, SubscriptionId};

/// Event types whose subscriptions are kept in mind, at most: applications may invent many.
const TYPES_MAX: usize = 1_024;

struct Entry {
    id: SubscriptionId,
    scope: OwnerId,
    filter: Filter,
}

/// Matches events against many filters at once.
#[derive(Default)]
pub struct Matcher {
    entries: Vec<Entry>,
    /// The entries that want a type, by the type.
    types: HashMap<Box<str>, Arc<[u16]>>,
    /// Kept for its memory.
    seen_by: Vec<OwnerId>,
}

impl Matcher {
    /// For these subscriptions, which are at most [`super::SUBSCRIPTIONS_MAX`].
    pub fn new<'a>(subscriptions: impl Iterator<Item = &'a Subscription>) -> Matcher {
        let entry = |subscription: &Subscription| Entry {
            id: subscription.id,
            scope: subscription.scope,
            filter: subscription.terms.filter.clone(),
        };
        Matcher {
            entries: subscriptions.map(entry).collect(),
            ..Matcher::default()
        }
    }

    /// For one filter of somebody who may see what `scope` may: the platform sees all.
    pub fn of(scope: OwnerId, filter: Filter) -> Matcher {
        let entry = Entry {
            id: SubscriptionId(0),
            scope,
            filter,
        };
        Matcher {
            entries: vec![entry],
            ..Matcher::default()
        }
    }

    /// The entries that want events of this type, if any do.
    fn wanting(&mut self, event_type: &str) -> Option<Arc<[u16]>> {
        if let Some(wanting) = self.types.get(event_type) {
            return (!wanting.is_empty()).then(|| wanting.clone());
        }
        if self.types.len() >= TYPES_MAX {
            self.types.clear();
        }
        let wants = |(at, entry): (usize, &Entry)| {
            let at = u16::try_from(at).expect("subscriptions are bounded");
            entry.filter.wants_type(event_type).then_some(at)
        };
        let wanting: Arc<[u16]> = self.entries.iter().enumerate().filter_map(wants).collect();
        self.types.insert(event_type.into(), wanting.clone());
        (!wanting.is_empty()).then_some(wanting)
    }

    /// Calls `found` for every subscription that wants the record's event. `owner` tells to whom an account belongs.
    pub fn matches(
        &mut self,
        record: &RecordRef<'_>,
        owner: &dyn Fn(AccountId) -> Option<OwnerId>,
        found: &mut dyn FnMut(SubscriptionId, Matched),
    ) {
        let Some(wanting) = self.wanting(event_type(record)) else {
            return;
        };
        let context = record.context();
        let matched = Matched {
            position: context.position,
            time: context.timestamp,
            object: object(record),
        };
        // Looked up once for all that ask, and only if one does.
        self.seen_by.clear();
        for at in &*wanting {
            let entry = &self.entries[usize::from(*at)];
            let wanted = [Some(entry.scope), entry.filter.owner];
            let mut wanted = wanted
                .into_iter()
                .flatten()
                .filter(|wanted| *wanted != OwnerId::PLATFORM)
                .peekable();
            if !in_currency(&entry.filter, record) {
                continue;
            }
            if wanted.peek().is_some() && self.seen_by.is_empty() {
                seen_by(record, owner, &mut self.seen_by);
            }
            if wanted.all(|wanted| self.seen_by.contains(&wanted)) {
                found(entry.id, matched);
            }
        }
    }
}

/// What the event is about: a payment, an account or an API key by its position, or an order key that an owner gave.
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

/// Whether the event is about money in the currency that is wanted, if one is.
fn in_currency(filter: &Filter, record: &RecordRef<'_>) -> bool {
    filter.currency.is_none_or(|wanted| {
        record
            .amount()
            .is_some_and(|(_, currency)| currency == wanted)
            || record.legs().any(|leg| leg.currency == wanted)
    })
}

/// The owners that may see the event: who asked for it, and whose payment or account it is about or whose money it moves.
fn seen_by(
    record: &RecordRef<'_>,
    owner: &dyn Fn(AccountId) -> Option<OwnerId>,
    owners: &mut Vec<OwnerId>,
) {
    owners.push(record.actor().owner);
    owners.extend(record.payment_owner());
    owners.extend(record.account_owner());
    owners.extend(record.accounts().filter_map(owner));
}
