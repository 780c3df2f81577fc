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
            types: HashMap::new(),
        }
    }

    /// The entries that want events of this type.
    fn wanting(&mut self, event_type: &str) -> Arc<[u16]> {
        if let Some(wanting) = self.types.get(event_type) {
            return wanting.clone();
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
        wanting
    }

    /// Calls `found` for every subscription that wants the record's event. `owner` tells to whom an account belongs.
    pub fn matches(
        &mut self,
        record: &RecordRef<'_>,
        owner: &dyn Fn(AccountId) -> Option<OwnerId>,
        found: &mut dyn FnMut(SubscriptionId, Matched),
    ) {
        let wanting = self.wanting(event_type(record));
        if wanting.is_empty() {
            return;
        }
        let context = record.context();
        let matched = Matched {
            position: context.position,
            time: context.timestamp,
            object: object(record),
        };
        for at in &*wanting {
            let entry = &self.entries[usize::from(*at)];
            let seen = sees(entry.scope, record, owner)
                && entry
                    .filter
                    .owner
                    .is_none_or(|wanted| sees(wanted, record, owner))
                && in_currency(&entry.filter, record);
            if seen {
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

/// Whether an owner may see the event: it asked for it, or it is about its payment or account, or moves its money.
fn sees(
    wanted: OwnerId,
    record: &RecordRef<'_>,
    owner: &dyn Fn(AccountId) -> Option<OwnerId>,
) -> bool {
    wanted == OwnerId::PLATFORM
        || record.actor().owner == wanted
        || record.payment_owner() == Some(wanted)
        || record.account_owner() == Some(wanted)
        || record
            .accounts()
            .any(|account| owner(account) == Some(wanted))
}
