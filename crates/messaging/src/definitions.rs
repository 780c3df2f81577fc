//! Subscriptions as the settings of the journal define them.

use tributary_engine::{Failure, Reader};
use tributary_ledger::codec::{Operation, Record, RecordRef};
use tributary_ledger::{Body, Setting};

use crate::content::{SubscriptionContent, UnreadableContent};
use crate::core::Known;
use crate::image::Image;
use crate::revisions::Revisions;
use crate::settings::{Filter, Subscription, SubscriptionId};

/// What a record does to the definition of a subscription.
pub(crate) enum Definition {
    /// A new revision, and the position after which the subscription wants events if it is new.
    Put(Box<Subscription>, u64),
    /// A revision that this version can't read.
    Unreadable(SubscriptionId),
    /// The subscription is deleted.
    Deleted(SubscriptionId),
}

impl Definition {
    /// What the record does to the definition of a subscription, if anything.
    pub(crate) fn from_record(record: &RecordRef<'_>) -> Option<Definition> {
        let setting = record.setting()?;
        let change = record.setting_change()?;
        let content = SubscriptionContent::of_setting(setting.kind, setting.id, setting.body);
        let content = content?;
        let id = SubscriptionId(setting.id.0);
        if record.operation() == Operation::DeleteSetting {
            return Some(Definition::Deleted(id));
        }
        Some(match content {
            Ok(content) => {
                let start = content.start.unwrap_or(change.created.position);
                let subscription = Subscription {
                    id,
                    scope: change.owner,
                    created_at: change.created.timestamp,
                    terms: content.terms,
                };
                Definition::Put(Box::new(subscription), start)
            }
            Err(UnreadableContent) => Definition::Unreadable(id),
        })
    }
}

/// What is known of a setting's subscription, of which `image` was kept. None if this version can't read its content.
///
/// # Errors
/// If the journal can't be read.
pub(crate) fn known(
    reader: &Reader,
    setting: &Setting,
    image: Option<&Image>,
) -> Result<Option<Known>, Failure> {
    let body = setting.body.as_bytes();
    let Some(Ok(content)) = SubscriptionContent::of_setting(setting.kind, setting.id, body) else {
        return Ok(None);
    };
    let Ok(subscription) = Subscription::from_setting(setting) else {
        return Ok(None);
    };
    let start = content.start.unwrap_or(setting.created.position);
    let from = image.map_or(start, |image| image.floor.max(image.rematch_through));
    Ok(Some(Known {
        revisions: revisions(reader, setting, from)?,
        subscription,
        start,
    }))
}

/// The filters of a setting's revisions for everything above `from`, found by walking back from the newest.
///
/// # Errors
/// If the journal can't be read.
pub(crate) fn revisions(
    reader: &Reader,
    setting: &Setting,
    from: u64,
) -> Result<Revisions, Failure> {
    let body = setting.body.as_bytes();
    let newest = match SubscriptionContent::of_setting(setting.kind, setting.id, body) {
        Some(Ok(content)) => (setting.changed.position, content.terms.filter),
        Some(Err(UnreadableContent)) | None => {
            let what = "the content of a subscription can't be read".into();
            return Err(Failure::RecordDamaged {
                position: setting.changed.position,
                what,
            });
        }
    };
    let mut previous = setting.prev;
    let older = std::iter::from_fn(|| {
        let position = std::mem::take(&mut previous);
        if position == 0 {
            return None;
        }
        match reader.record(position) {
            Err(failure) => Some(Err(failure)),
            Ok(record) => {
                let (filter, before) = filter_of(&record?)?;
                previous = before;
                Some(Ok((position, filter)))
            }
        }
    });
    Revisions::collect(std::iter::once(Ok(newest)).chain(older), from)
}

/// The filter of a revision, and the position of the revision before. None if this version can't read its content: then the newer
/// filter matches in its place.
fn filter_of(record: &Record) -> Option<(Filter, u64)> {
    let Body::PutSetting(put) = &record.command.body else {
        return None;
    };
    let change = record.outcome.setting.as_ref()?;
    let body = put.body.as_bytes();
    let content = SubscriptionContent::of_setting(put.kind, put.id, body)?.ok()?;
    Some((content.terms.filter, change.prev))
}
