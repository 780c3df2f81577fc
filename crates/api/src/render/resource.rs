//! The object that a record made or changed, as the record left it.

use serde::Serialize;
use tributary_engine::{IdKind, Reader};
use tributary_ledger::codec::Record;
use tributary_ledger::{Body, ObjectId};
use utoipa::ToSchema;

use crate::code::ErrorCode;
use crate::error::ApiError;
use crate::render::common::created;
use crate::render::{account, api_key, case, owner, payment, queue, refund, sandbox, setting};

/// The object that a command made or changed.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub enum Resource {
    /// An account.
    Account(account::AccountObject),
    /// A payment.
    Payment(Box<payment::PaymentObject>),
    /// A case.
    Case(Box<case::CaseObject>),
    /// A refund.
    Refund(refund::RefundObject),
    /// An API key.
    ApiKey(api_key::ApiKeyObject),
    /// The queue of payments.
    Queue(queue::StandingObject),
    /// An owner.
    Owner(owner::OwnerObject),
    /// A setting.
    Setting(setting::SettingObject),
    /// A move of the clock of a sandbox.
    SandboxClock(sandbox::SandboxClockObject),
}

/// Returns the object that an accepted record made or changed, as the record left it.
pub(crate) fn object(reader: &Reader, record: &Record) -> Result<Resource, ApiError> {
    if let Body::Refund(_) = record.command.body {
        return Ok(Resource::Refund(refund::refund(reader, record)?));
    }
    if let Body::SetQueue(mode) = record.command.body {
        return Ok(Resource::Queue(queue::standing(reader, mode, Some(record))));
    }
    if let Body::AdvanceTime(advance) = record.command.body {
        return Ok(Resource::SandboxClock(sandbox::sandbox_clock(
            record, advance,
        )));
    }
    let outcome = &record.outcome;
    let text = outcome.details.as_ref().map(|details| &details.text);
    if let Some(details) = &outcome.details
        && let ObjectId::Owner(id) = details.object
    {
        return Ok(Resource::Owner(owner::owner(reader, id, Some(details))?));
    }
    if let Some(payment) = &outcome.payment {
        let created = created_by(reader, record, payment.id.0)?;
        if let Body::Investigate(_) = record.command.body {
            let created = created.as_ref().unwrap_or(record);
            let case = case::case(reader, payment, created)?;
            return Ok(Resource::Case(Box::new(case)));
        }
        let mut object = payment::payment(reader, payment, created.as_ref().unwrap_or(record))?;
        if let Body::Capture(_) = record.command.body {
            let capture = reader.ids().text(IdKind::Capture, record.ctx.position);
            object.capture_id = Some(capture);
        }
        return Ok(Resource::Payment(Box::new(object)));
    }
    if let Some(account) = &outcome.account {
        let opened = created_by(reader, record, account.id.0)?;
        return Ok(Resource::Account(account::account(
            reader,
            account,
            text,
            opened.as_ref().unwrap_or(record),
        )?));
    }
    if let Some(key) = &outcome.api_key {
        return Ok(Resource::ApiKey(api_key::api_key(reader, key, None)));
    }
    let changed = outcome.setting.as_ref();
    if let Some(setting) = changed.and_then(|change| setting::setting(reader, record, change)) {
        return Ok(Resource::Setting(setting));
    }
    tracing::error!(
        position = record.ctx.position,
        "an accepted record has no after-image"
    );
    Err(ApiError::new(
        ErrorCode::InternalError,
        "The server failed.",
    ))
}

/// The record at `position` that created what `record` changed; none if it is `record` itself.
fn created_by(reader: &Reader, record: &Record, position: u64) -> Result<Option<Record>, ApiError> {
    if position == record.ctx.position {
        return Ok(None);
    }
    created(reader, position).map(Some)
}
