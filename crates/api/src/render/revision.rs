//! Revisions of settings, and who made them.

use serde::Serialize;
use tributary_engine::{IdKind, Reader};
use tributary_ledger::ApiKeyId;
use tributary_ledger::codec::Record;
use utoipa::ToSchema;

use crate::render::common::owner_name;
use crate::render::subscription::SubscriptionObject;
use crate::time::format_timestamp;

/// One revision of a subscription.
#[derive(Serialize, ToSchema)]
#[schema(as = SubscriptionRevision)]
pub struct RevisionObject {
    /// The event of this revision.
    id: String,
    #[schema(pattern = "^subscription_revision$")]
    object: &'static str,
    /// Number of the revision, from 1.
    revision: u64,
    /// Owner of the API key that made the revision.
    changed_by: String,
    /// API key that made the revision; null for the server itself.
    #[schema(required)]
    changed_by_key: Option<String>,
    #[schema(format = DateTime)]
    created: String,
    /// The subscription as this revision left it.
    subscription: SubscriptionObject,
}

/// Returns the revision that a record made.
pub fn revision(
    reader: &Reader,
    record: &Record,
    subscription: SubscriptionObject,
) -> RevisionObject {
    let actor = record.command.actor;
    let key = actor.api_key;
    RevisionObject {
        id: reader.ids().encode(IdKind::Event, record.ctx.position),
        object: "subscription_revision",
        revision: record
            .outcome
            .setting
            .as_ref()
            .map_or(0, |change| change.revision),
        changed_by: owner_name(reader, actor.owner),
        changed_by_key: (key != ApiKeyId::SYSTEM)
            .then(|| reader.ids().encode(IdKind::ApiKey, key.0)),
        created: format_timestamp(record.ctx.timestamp),
        subscription,
    }
}
