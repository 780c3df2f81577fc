//! `subscription.dead_letter`: the event by which the system says that a subscription gave up events.

use tributary_engine::Ids;
use tributary_ledger::codec::RecordRef;
use tributary_ledger::{
    Actor, ApiKeyId, Body, Command, Data, Key, OwnerId, Publish, SettingId, SettingKind, Topic,
};

use crate::settings::SubscriptionId;

/// Shortest time between two of these events of one subscription, nanoseconds.
pub const DEAD_LETTER_NOTICE_EVERY: u64 = 60_000_000_000;
/// What their idempotency keys begin with; a zero byte is reserved to the system. The number of the subscription follows.
const KEY_PREFIX: &[u8] = b"\0dead-letter:";

/// How many events a subscription gave up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeadLetterNotice {
    /// Subscription.
    pub subscription: SubscriptionId,
    /// Kind of the setting that defines it.
    pub kind: SettingKind,
    /// Owner of the subscription.
    pub scope: OwnerId,
    /// Dead letters since the notice before.
    pub new: u64,
    /// Dead letters that there are now.
    pub total: u64,
}

impl DeadLetterNotice {
    /// The command that publishes the event.
    pub(crate) fn command(&self, ids: &Ids, now: u64) -> Command {
        let id = self.subscription.0.to_le_bytes();
        let minute = now / DEAD_LETTER_NOTICE_EVERY;
        let key = [KEY_PREFIX, &id, &minute.to_le_bytes()].concat();
        let data = format!(
            r#"{{"subscription":"{}","new":{},"total":{}}}"#,
            ids.encode_setting(self.kind, SettingId(self.subscription.0)),
            self.new,
            self.total
        );
        Command {
            key: Key::from_bytes(&key).expect("it is short"),
            actor: Actor {
                owner: self.scope,
                api_key: ApiKeyId::SYSTEM,
            },
            linked: false,
            effective_at: None,
            text: None,
            origin: None,
            assessment: None,
            body: Body::Publish(Publish {
                topic: Topic::new("subscription.dead_letter").expect("a topic"),
                key: None,
                data: Data::new(Data::PLAIN, data.as_bytes()).expect("it is short"),
            }),
        }
    }
}

/// The subscription whose dead letters the record tells of: it is not told itself, or each notice that it gives up would make
/// another.
pub(crate) fn subject(record: &RecordRef<'_>) -> Option<SubscriptionId> {
    let id = record.key().strip_prefix(KEY_PREFIX)?.first_chunk()?;
    let by_system = record.actor().api_key == ApiKeyId::SYSTEM;
    by_system.then_some(SubscriptionId(u64::from_le_bytes(*id)))
}
