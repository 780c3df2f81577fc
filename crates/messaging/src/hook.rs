//! What follows the commit of a batch: its events are matched, and definitions that it changes take effect.

use std::sync::atomic::Ordering;

use tributary_engine::{Batch, CommitHook};
use tributary_journal::lock;
use tributary_ledger::FORMAT_VERSION;
use tributary_ledger::codec::RecordRef;

use crate::definitions::Definition;
use crate::delivery::Matched;
use crate::driver::{INBOX_MAX, Inbox, Messaging};
use crate::matcher::Matcher;
use crate::settings::SubscriptionId;

impl CommitHook for Messaging {
    /// Matches the batch and leaves the matches in the inbox. Cheap where there is no subscription.
    fn committed(&self, batch: &Batch) {
        if batch.changes_settings() || self.active.load(Ordering::SeqCst) {
            self.match_batch(batch);
        }
        self.seen.store(batch.last_position(), Ordering::Release);
    }
}

impl Messaging {
    /// Matches a batch, which is divided where a record changes a subscription: an event is matched by the newest revision before it.
    fn match_batch(&self, batch: &Batch) {
        let mut matcher = lock(&self.matcher);
        let mut found: Vec<(SubscriptionId, Matched)> = Vec::new();
        let (mut first, mut woken) = (batch.first_position(), false);
        // Kept over the batch: it would keep only the publisher waiting, and that is here.
        let owner = self.reader.account_owners();
        for payload in batch.frame().payloads() {
            let record = RecordRef::parse(payload, FORMAT_VERSION)
                .expect("what the writer encoded can be read");
            if found.len() <= INBOX_MAX {
                matcher.matches(&record, &owner, &mut |id, matched| {
                    found.push((id, matched));
                });
            }
            if batch.changes_settings()
                && let Some(definition) = Definition::from_record(&record)
            {
                let position = record.context().position;
                self.post(first, position, std::mem::take(&mut found));
                first = position + 1;
                woken = true;
                self.define(&mut matcher, definition, position);
            }
        }
        drop(owner);
        if first <= batch.last_position() {
            woken |= self.post(first, batch.last_position(), found);
        }
        if woken {
            self.wake();
        }
    }

    /// Takes a definition that the record at `position` made. The matcher is for the records that follow.
    fn define(&self, matcher: &mut Matcher, definition: Definition, position: u64) {
        let deleted = match &definition {
            Definition::Deleted(id) => Some(*id),
            _ => None,
        };
        match &definition {
            Definition::Put(subscription, _) => matcher.put(subscription),
            Definition::Unreadable(id) | Definition::Deleted(id) => matcher.remove(*id),
        }
        self.with(|core, now| match definition {
            Definition::Put(subscription, start) => {
                core.put(*subscription, start, position, now);
            }
            Definition::Unreadable(id) => {
                tracing::error!(
                    id = id.0,
                    position,
                    "a subscription is of a later version, and is not served"
                );
                core.suspend(id);
            }
            Definition::Deleted(id) => core.delete(id),
        });
        if let Some(bell) = deleted.and_then(|id| lock(&self.bells).remove(&id)) {
            bell.notify_waiters();
        }
        self.dirty.store(true, Ordering::Release);
        self.settled.notify_waiters();
    }

    /// Puts the matches among `first ..= through` into the inbox. True if there are any.
    fn post(&self, first: u64, through: u64, found: Vec<(SubscriptionId, Matched)>) -> bool {
        let mut inbox = lock(&self.inbox);
        // What does not follow is read from the journal.
        if inbox.through + 1 != first || inbox.count + found.len() > INBOX_MAX {
            *inbox = Inbox {
                first,
                ..Inbox::default()
            };
        }
        inbox.through = through;
        let any = !found.is_empty();
        if found.len() > INBOX_MAX {
            inbox.first = through + 1;
            return any;
        }
        inbox.count += found.len();
        for (id, matched) in found {
            inbox.matches.entry(id).or_default().push(matched);
        }
        any
    }
}
