//! The timeline of a payment, an account or an owner: what its records say, one thing after the other, and what became of their events.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::value::RawValue;
use tributary_engine::{IdKind, Reader};
use tributary_ledger::codec::Record;
use tributary_ledger::{ApiKeyId, Assessment, Body, Effect, Investigate, ReviewKind, Text};
use tributary_messaging::EndedAttempt;
use utoipa::ToSchema;
use utoipa::openapi::schema::Object;

use crate::caller::Caller;
use crate::error::ApiError;
use crate::form::request::Notes;
use crate::form::review::RiskLabelForm;
use crate::render::account::AccountObject;
use crate::render::attempt::{AttemptObject, attempt};
use crate::render::common::{Failure, event_type, owner_name};
use crate::render::origin::OriginObject;
use crate::render::owner::OwnerObject;
use crate::render::payment::{PaymentObject, PaymentStatusForm};
use crate::render::resource::{Resource, object};
use crate::schema::one_of;
use crate::time::format_timestamp;

/// Nanoseconds in a millisecond.
const MILLISECOND: u64 = 1_000_000;

/// Something that happened with a payment, an account or an owner.
#[derive(Serialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
#[schema(as = TimelineEntry)]
pub enum Entry {
    /// Somebody asked for something.
    Request {
        /// When it happened.
        #[schema(format = DateTime)]
        time: String,
        /// The event of it.
        event: String,
        /// `pay`, `capture`, `void`, `approve`, `update_case`, `refund`, `pay_payout`, `fail_payout`, `return_payout`, `update`; `expire` and `run` are
        /// the system's own. Of an account `open_account`, `freeze_account`, `unfreeze_account`, `close_account`, `update`; of an owner
        /// `create_owner`, `update`, or `open_account` or `create_api_key`, which named the owner first.
        #[schema(value_type = String)]
        command: &'static str,
        /// Who sent the command.
        actor: ActorObject,
        /// Shown to its own owner and the platform.
        #[schema(required)]
        idempotency_key: Option<String>,
        /// Message from which a binding made the command, shown to the command's own owner and the platform; null for a command that
        /// the actor sent itself.
        #[schema(required)]
        origin: Option<Box<OriginObject>>,
    },
    /// The ledger decided it.
    Decision {
        /// When it happened.
        #[schema(format = DateTime)]
        time: String,
        /// The event of it.
        event: String,
        /// Such as `payment.captured`.
        event_type: String,
        /// Whether it was accepted.
        accepted: bool,
        /// Why not.
        #[schema(required)]
        failure: Option<Failure>,
        /// Where the payment stood then; null if nothing changed, and of accounts and owners.
        #[schema(required)]
        payment_status: Option<PaymentStatusForm>,
        /// What the rules for risk found before, shown to the platform only; null for what was not assessed.
        #[schema(required)]
        assessment: Option<Box<AssessmentObject>>,
    },
    /// The account or the owner as the event left it; of a payment, after an update of its description or metadata.
    Change {
        /// When it happened.
        #[schema(format = DateTime)]
        time: String,
        /// The event of it.
        event: String,
        /// The object.
        object: Box<ChangedObject>,
    },
    /// What somebody found out about the payment, shown to the platform only.
    Note {
        /// When it happened.
        #[schema(format = DateTime)]
        time: String,
        /// The event of it.
        event: String,
        /// What was found out.
        note: Box<NoteObject>,
    },
    /// A posting, or a hold that changed. An owner sees those of its own accounts.
    Posting {
        /// When it happened.
        #[schema(format = DateTime)]
        time: String,
        /// The event of it.
        event: String,
        /// The account.
        account: String,
        /// Minor units; negative where money goes out, 0 where only a hold changed.
        amount: i64,
        /// ISO 4217.
        #[schema(value_type = String)]
        currency: &'static str,
        /// The account's balance after it, minor units.
        posted: i64,
        /// Held of it after, minor units.
        #[schema(minimum = 0)]
        pending: u64,
    },
    /// It joins the queue: when it was accepted, or at `not_before`.
    QueueJoined {
        /// When it happened.
        #[schema(format = DateTime)]
        time: String,
        /// 0 to 9, the most urgent.
        #[schema(minimum = 0, maximum = 9)]
        priority: u8,
    },
    /// Its turn came, or it was too late.
    QueueLeft {
        /// When it happened.
        #[schema(format = DateTime)]
        time: String,
        /// Milliseconds since it joined.
        #[schema(minimum = 0)]
        waited_ms: u64,
    },
    /// An attempt at delivering one of its events, at the time when it was handed out.
    Delivery {
        /// When it happened.
        #[schema(format = DateTime)]
        time: String,
        /// The attempt.
        attempt: Box<AttemptObject>,
    },
}

/// An object as an event left it.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub enum ChangedObject {
    /// An account.
    Account(AccountObject),
    /// An owner.
    Owner(OwnerObject),
    /// A payment.
    Payment(Box<PaymentObject>),
}

/// Who sent the command.
#[derive(Serialize, ToSchema)]
#[schema(as = TimelineActor)]
pub struct ActorObject {
    /// An owner, `platform`, or `system` for what happens by itself.
    owner: String,
    /// Shown to its own owner and the platform.
    #[schema(required)]
    api_key: Option<String>,
}

/// What the rules for risk found about a payment before it was decided.
#[derive(Serialize, ToSchema)]
#[schema(as = TimelineAssessment)]
pub struct AssessmentObject {
    /// What the rules did with the payment.
    #[schema(schema_with = effects)]
    effect: &'static str,
    /// How that came about; null if it can't be read.
    #[schema(required, value_type = Option<Object>)]
    report: Option<Box<RawValue>>,
}

/// What somebody found out about a payment.
#[derive(Serialize, ToSchema)]
#[schema(as = TimelineNote)]
pub struct NoteObject {
    /// Whether somebody looks into it from then on; null if nothing was said of it.
    #[schema(required)]
    investigating: Option<bool>,
    /// Who does; null for nobody, or if nothing was said of it.
    #[schema(required)]
    assignee: Option<String>,
    /// What the payment was; null if nothing was said of it.
    #[schema(required)]
    label: Option<RiskLabelForm>,
    /// What was written; null for nothing.
    #[schema(required)]
    text: Option<String>,
    /// Names and addresses of what belongs to it.
    links: BTreeMap<String, String>,
}

impl NoteObject {
    fn new(found: &Investigate, text: Option<&Text>) -> NoteObject {
        let notes = Notes::read(text);
        let assignee = found.assignee.as_ref().and_then(Option::as_ref);
        NoteObject {
            investigating: found.investigating,
            assignee: assignee.map(ToString::to_string),
            label: found.label.map(RiskLabelForm::new),
            text: notes.description,
            links: notes.metadata,
        }
    }
}

fn effects() -> Object {
    one_of(["allow", "review", "challenge", "block"])
}

fn effect_name(effect: Effect) -> &'static str {
    match effect {
        Effect::Allow => "allow",
        Effect::Review(terms) => match terms.kind {
            ReviewKind::Review => "review",
            ReviewKind::Challenge => "challenge",
        },
        Effect::Block => "block",
    }
}

impl AssessmentObject {
    fn new(assessment: &Assessment) -> AssessmentObject {
        AssessmentObject {
            effect: effect_name(assessment.effect()),
            report: serde_json::from_slice(assessment.report()).ok(),
        }
    }
}

/// What the records of one payment, account or owner say, `asked` being the first of them, and the attempts at their events: in the
/// order of time.
///
/// # Errors
/// If a record can't be read.
pub fn timeline(
    reader: &Reader,
    caller: &Caller,
    asked: &Record,
    records: &[Record],
    attempts: &[EndedAttempt],
) -> Result<Vec<Entry>, ApiError> {
    let mut entries = Vec::new();
    for record in records {
        add_record(reader, caller, asked, record, &mut entries)?;
    }
    entries.extend(attempts.iter().map(|one| {
        let time = format_timestamp(one.began);
        let attempt = Box::new(attempt(reader, one));
        (one.began, Entry::Delivery { time, attempt })
    }));
    // What has the same time stays as it is.
    entries.sort_by_key(|(time, _)| *time);
    Ok(entries.into_iter().map(|(_, entry)| entry).collect())
}

/// When a queued payment joined its queue, and how urgent it is.
fn joined(asked: &Record) -> Option<(u64, u8)> {
    let Body::Pay(pay) = &asked.command.body else {
        return None;
    };
    let terms = pay
        .queue
        .as_ref()
        .filter(|_| asked.outcome.is_accepted())?
        .terms;
    let time = asked.ctx.timestamp.max(terms.not_before);
    Some((time, terms.priority.number()))
}

/// Adds the entries of one record.
fn add_record(
    reader: &Reader,
    caller: &Caller,
    asked: &Record,
    record: &Record,
    entries: &mut Vec<(u64, Entry)>,
) -> Result<(), ApiError> {
    let (ids, at) = (reader.ids(), record.ctx.timestamp);
    let time = || format_timestamp(at);
    let event = || ids.encode(IdKind::Event, record.ctx.position);
    let (command, actor) = (&record.command, record.command.actor);
    let own = caller.is_platform() || actor.owner == caller.actor.owner;
    let system = actor.api_key == ApiKeyId::SYSTEM;
    let key = str::from_utf8(command.key.as_bytes()).ok();
    let key = key.filter(|key| own && !system && !key.starts_with('\0'));
    let origin = command.origin.as_deref().filter(|_| own);
    entries.push((
        at,
        Entry::Request {
            time: time(),
            event: event(),
            command: name(&command.body),
            actor: ActorObject {
                owner: match system {
                    true => "system".to_owned(),
                    false => owner_name(reader, actor.owner),
                },
                api_key: (own && !system).then(|| ids.encode(IdKind::ApiKey, actor.api_key.0)),
            },
            idempotency_key: key.map(str::to_owned),
            origin: origin.map(|origin| {
                let key = command.key.as_bytes();
                Box::new(OriginObject::new(reader, key, origin))
            }),
        },
    ));
    let outcome = &record.outcome;
    // A return is a payment of its own in the timeline of its payout.
    let changed = [outcome.payment.as_ref(), outcome.payout.as_deref()];
    let changed = changed
        .into_iter()
        .flatten()
        .find(|payment| payment.id.0 == asked.ctx.position);
    let status = changed.map(|payment| payment.status);
    // A payer must not learn the rules.
    let assessment = command.assessment.as_deref();
    let assessment = assessment.filter(|_| caller.is_platform());
    entries.push((
        at,
        Entry::Decision {
            time: time(),
            event: event(),
            event_type: event_type(record),
            accepted: outcome.is_accepted(),
            failure: Failure::of(reader, record),
            payment_status: status.map(PaymentStatusForm::new),
            assessment: assessment.map(|found| Box::new(AssessmentObject::new(found))),
        },
    ));
    if let Some(object) = changed_object(reader, record)? {
        let (time, event) = (time(), event());
        let object = Box::new(object);
        entries.push((
            at,
            Entry::Change {
                time,
                event,
                object,
            },
        ));
    }
    if let (Body::Investigate(found), true) = (&command.body, outcome.is_accepted()) {
        let note = Entry::Note {
            time: time(),
            event: event(),
            note: Box::new(NoteObject::new(found, command.text.as_ref())),
        };
        entries.push((at, note));
    }
    let moves = outcome.is_accepted() && outcome.payment.is_some();
    for leg in outcome.legs.iter().filter(|_| moves) {
        let account = reader.account(leg.account);
        if account.is_some_and(|account| caller.sees_account(&account)) {
            let posting = Entry::Posting {
                time: time(),
                event: event(),
                account: ids.encode(IdKind::Account, leg.account.0),
                amount: leg.amount,
                currency: leg.currency.code(),
                posted: leg.posted_after,
                pending: leg.held_after,
            };
            entries.push((at, posting));
        }
    }
    let Some((joined, priority)) = joined(asked) else {
        return Ok(());
    };
    if record.ctx.position == asked.ctx.position {
        let time = format_timestamp(joined);
        entries.push((joined, Entry::QueueJoined { time, priority }));
    }
    if matches!(command.body, Body::Run(_)) && outcome.payment.is_some() {
        let waited_ms = at.saturating_sub(joined) / MILLISECOND;
        let left = Entry::QueueLeft {
            time: time(),
            waited_ms,
        };
        entries.push((at, left));
    }
    Ok(())
}

/// Returns the object that an accepted record changed other than by moving money.
fn changed_object(reader: &Reader, record: &Record) -> Result<Option<ChangedObject>, ApiError> {
    let changes = matches!(
        record.command.body,
        Body::OpenAccount(_)
            | Body::FreezeAccount(_)
            | Body::UnfreezeAccount(_)
            | Body::CloseAccount(_)
            | Body::CreateOwner(_)
            | Body::Update(_)
    );
    if !changes || !record.outcome.is_accepted() {
        return Ok(None);
    }
    Ok(match object(reader, record)? {
        Resource::Account(account) => Some(ChangedObject::Account(account)),
        Resource::Owner(owner) => Some(ChangedObject::Owner(owner)),
        Resource::Payment(payment) => Some(ChangedObject::Payment(payment)),
        _ => None,
    })
}

/// Returns the name of the command about a payment, an account or an owner.
pub(crate) fn name(body: &Body) -> &'static str {
    match body {
        Body::SettlePayout(settle) if settle.failure.is_none() => "pay_payout",
        Body::SettlePayout(_) => "fail_payout",
        Body::ReturnPayout(_) => "return_payout",
        Body::Capture(_) => "capture",
        Body::Void(_) => "void",
        Body::Refund(_) => "refund",
        Body::Expire(_) => "expire",
        Body::Run(_) => "run",
        Body::Approve(_) => "approve",
        Body::Investigate(_) => "update_case",
        Body::Update(_) => "update",
        Body::OpenAccount(_) => "open_account",
        Body::FreezeAccount(_) => "freeze_account",
        Body::UnfreezeAccount(_) => "unfreeze_account",
        Body::CloseAccount(_) => "close_account",
        Body::CreateOwner(_) => "create_owner",
        Body::CreateApiKey(_) => "create_api_key",
        _ => "pay",
    }
}
