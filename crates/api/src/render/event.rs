//! Events: each record is one.

use serde::Serialize;
use serde_json::value::RawValue;
use tributary_engine::{IdKind, Reader};
use tributary_ledger::codec::Record;
use tributary_ledger::{Body, Data, Publish, Updated};
use utoipa::ToSchema;

use crate::error::ApiError;
use crate::render::common::{Failure, event_type, owner_name, payment_of};
use crate::render::payment::reply_to;
use crate::render::resource::{Resource, object};
use crate::render::timeline;
use crate::time::format_timestamp;

/// An event. Its id never changes. `event_schema` describes it.
#[derive(Serialize)]
pub struct EventObject {
    id: String,
    object: &'static str,
    /// Such as `payment.captured`; of a published event its topic, such as `app.order.shipped`.
    #[serde(rename = "type")]
    kind: String,
    created: String,
    /// Owner who published the event; null for events of the ledger.
    owner: Option<String>,
    /// The order key that it was published under.
    key: Option<String>,
    /// Data of the event; of a published event, the data that the caller published.
    data: EventContent,
}

impl EventObject {
    /// The event's id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The event's type.
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// When the event was recorded, as RFC 3339 has it.
    pub fn created(&self) -> &str {
        &self.created
    }
}

/// An event as webhooks and sinks send it.
pub struct OutgoingEvent {
    /// The event.
    pub event: EventObject,
    /// The event as JSON.
    pub body: Vec<u8>,
    /// What the event is about: an id, or the name of an owner; of a published event its order key. Refunds and captures are about
    /// their payment. None if there is no such object.
    pub subject: Option<String>,
}

/// Returns the event at `position` as it is sent.
///
/// # Errors
/// A sentence that says why the event cannot be read.
pub fn outgoing_event(reader: &Reader, position: u64) -> Result<OutgoingEvent, String> {
    let record = reader.record(position).map_err(|error| error.to_string())?;
    let record = record.ok_or("the event is missing")?;
    outgoing_event_of(reader, &record)
}

/// Returns the event of `record` as it is sent.
///
/// # Errors
/// A sentence that says why the event cannot be shown.
pub fn outgoing_event_of(reader: &Reader, record: &Record) -> Result<OutgoingEvent, String> {
    let event = event(reader, record).map_err(|_| "the event can't be shown")?;
    let body = serde_json::to_vec(&event).map_err(|error| error.to_string())?;
    Ok(OutgoingEvent {
        subject: subject(reader, record),
        event,
        body,
    })
}

/// Returns what the event of `record` is about.
fn subject(reader: &Reader, record: &Record) -> Option<String> {
    let (ids, outcome) = (reader.ids(), &record.outcome);
    if let Body::Publish(publish) = &record.command.body {
        return publish.key.as_ref().map(ToString::to_string);
    }
    if let Some(payment) = payment_of(record) {
        return Some(ids.encode(IdKind::Payment, payment.0));
    }
    if let Some(account) = &outcome.account {
        return Some(ids.encode(IdKind::Account, account.id.0));
    }
    if let Some(key) = &outcome.api_key {
        return Some(ids.encode(IdKind::ApiKey, key.id.0));
    }
    let about = refusal(reader, record);
    about
        .account
        .or(about.api_key)
        .or(about.setting)
        .or(about.owner)
}

/// Data of an event.
#[derive(Serialize)]
#[serde(untagged)]
pub enum EventContent {
    /// Data of an event of the ledger.
    Ledger(Box<EventData>),
    /// Data that a caller published.
    Published(Box<RawValue>),
}

/// Data of an event of the ledger.
#[derive(Serialize)]
pub struct EventData {
    /// The object as the event left it.
    object: EventSubject,
    /// Why the ledger refused the command; null if it was done.
    failure: Option<Failure>,
    /// Given if this is the result of a queued payment whose caller named a `reply_to`.
    reply: Option<ReplyObject>,
}

/// Receiver of the result of a queued payment.
#[derive(Serialize, ToSchema)]
#[schema(as = Reply)]
pub struct ReplyObject {
    /// The subscription.
    to: String,
    /// The owner of the key that sent the payment: whoever may name this mailbox chooses the `correlation_id` freely.
    asked_by: String,
    /// Correlation id of the payment.
    #[schema(required)]
    correlation_id: Option<String>,
}

/// The object of an event.
#[derive(Serialize)]
#[serde(untagged)]
pub enum EventSubject {
    /// An object of the ledger.
    Resource(Resource),
    /// A command that was refused.
    Refusal(RefusalObject),
}

/// A command that was refused and made nothing.
#[derive(Serialize, ToSchema)]
#[schema(as = Refusal)]
pub struct RefusalObject {
    #[schema(pattern = "^refusal$")]
    object: &'static str,
    /// Operation that was refused, such as `refund`.
    #[schema(value_type = String)]
    command: &'static str,
    /// The payment that it was about.
    #[schema(required)]
    payment: Option<String>,
    /// The account that it was about.
    #[schema(required)]
    account: Option<String>,
    /// The API key that it was about.
    #[schema(required)]
    api_key: Option<String>,
    /// The setting that it was about.
    #[schema(required)]
    setting: Option<String>,
    /// Name of the owner that it was about.
    #[schema(required)]
    owner: Option<String>,
}

/// The event of `record`.
pub fn event(reader: &Reader, record: &Record) -> Result<EventObject, ApiError> {
    let (mut owner, mut key) = (None, None);
    if let Body::Publish(publish) = &record.command.body {
        owner = Some(owner_name(reader, record.command.actor.owner));
        key = publish.key.as_ref().map(ToString::to_string);
    }
    let data = content(reader, record)?;
    Ok(EventObject {
        id: reader.ids().encode(IdKind::Event, record.ctx.position),
        object: "event",
        kind: event_type(record),
        created: format_timestamp(record.ctx.timestamp),
        owner,
        key,
        data,
    })
}

/// Returns the data of the event of `record`.
fn content(reader: &Reader, record: &Record) -> Result<EventContent, ApiError> {
    match &record.command.body {
        Body::Publish(publish) if record.outcome.is_accepted() => {
            Ok(EventContent::Published(published(publish)))
        }
        _ => Ok(EventContent::Ledger(Box::new(ledger_data(reader, record)?))),
    }
}

/// Returns the data of the event of `record` as JSON.
pub fn data_json(reader: &Reader, record: &Record) -> Result<Vec<u8>, ApiError> {
    let content = content(reader, record)?;
    Ok(serde_json::to_vec(&content).expect("an event is JSON"))
}

/// Returns the published data; null if the data is of a scheme that can't be read here.
fn published(publish: &Publish) -> Box<RawValue> {
    let plain = Some(publish.data.as_bytes()).filter(|_| publish.data.scheme() == Data::PLAIN);
    plain
        .and_then(|bytes| serde_json::from_slice(bytes).ok())
        .unwrap_or_else(|| RawValue::NULL.to_owned())
}

/// Returns the data of the ledger's event of `record`.
fn ledger_data(reader: &Reader, record: &Record) -> Result<EventData, ApiError> {
    let outcome = &record.outcome;
    let subject = if outcome.is_accepted() || outcome.payment.is_some() {
        EventSubject::Resource(object(reader, record)?)
    } else {
        EventSubject::Refusal(refusal(reader, record))
    };
    let queue = match &subject {
        EventSubject::Resource(Resource::Payment(payment)) => payment.queue.as_ref(),
        _ => None,
    };
    let asked_by = outcome.payment.as_ref().map(|payment| payment.actor.owner);
    let reply = outcome
        .reply_to
        .zip(asked_by)
        .map(|(to, owner)| ReplyObject {
            to: reply_to(reader.ids(), to),
            asked_by: owner_name(reader, owner),
            correlation_id: queue.and_then(|queue| queue.correlation_id.clone()),
        });
    Ok(EventData {
        object: subject,
        failure: Failure::of(reader, record),
        reply,
    })
}

fn refusal(reader: &Reader, record: &Record) -> RefusalObject {
    let ids = reader.ids();
    let (command, account, api_key) = match &record.command.body {
        Body::OpenAccount(_) => ("open_account", None, None),
        Body::FreezeAccount(account) => ("freeze_account", Some(account), None),
        Body::UnfreezeAccount(account) => ("unfreeze_account", Some(account), None),
        Body::CloseAccount(account) => ("close_account", Some(account), None),
        Body::Pay(_) => ("pay", None, None),
        Body::Capture(_) => ("capture", None, None),
        Body::Void(_) => ("void", None, None),
        Body::Expire(_) => ("expire", None, None),
        Body::Refund(_) => ("refund", None, None),
        Body::SettlePayout(_) => (timeline::name(&record.command.body), None, None),
        Body::ReturnPayout(_) => (timeline::name(&record.command.body), None, None),
        Body::CreateApiKey(_) => ("create_api_key", None, None),
        Body::RotateApiKey { api_key, .. } => ("rotate_api_key", None, Some(api_key)),
        Body::RevokeApiKey(api_key) => ("revoke_api_key", None, Some(api_key)),
        Body::Publish(_) => ("publish", None, None),
        Body::Run(_) => ("run", None, None),
        Body::Approve(_) => ("approve", None, None),
        Body::Investigate(_) => ("update_case", None, None),
        Body::SetQueue(_) => ("set_queue", None, None),
        Body::AdvanceTime(_) => ("advance_time", None, None),
        Body::PutSetting(_) => ("put_setting", None, None),
        Body::DeleteSetting(_) => ("delete_setting", None, None),
        Body::CreateOwner(_) => ("create_owner", None, None),
        Body::Update(update) => match &update.object {
            Updated::Account(account) => ("update_account", Some(account), None),
            Updated::Payment(_) => ("update_payment", None, None),
            Updated::Owner(..) => ("update_owner", None, None),
        },
    };
    let owner = match &record.command.body {
        Body::CreateOwner(create) => Some(create.name.to_string()),
        Body::Update(update) => match &update.object {
            Updated::Owner(id, _) => Some(owner_name(reader, *id)),
            Updated::Account(_) | Updated::Payment(_) => None,
        },
        _ => None,
    };
    let setting = match &record.command.body {
        Body::PutSetting(put) => Some((put.kind, put.id)),
        Body::DeleteSetting(delete) => Some((delete.kind, delete.id)),
        _ => None,
    };
    RefusalObject {
        object: "refusal",
        command,
        payment: payment_of(record).map(|payment| ids.encode(IdKind::Payment, payment.0)),
        account: account.map(|account| ids.encode(IdKind::Account, account.0)),
        api_key: api_key.map(|key| ids.encode(IdKind::ApiKey, key.0)),
        setting: setting.map(|(kind, id)| ids.encode_setting(kind, id)),
        owner,
    }
}
