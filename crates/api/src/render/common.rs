//! Parts that the objects of several nouns share.

use serde::Serialize;
use tributary_engine::Reader;
use tributary_ledger::codec::{self, Record, RecordRef};
use tributary_ledger::{Body, FORMAT_VERSION, OwnerId, PaymentId, Rejection, SettingKind, Updated};
use utoipa::ToSchema;

use crate::code::ErrorCode;
use crate::error::ApiError;
use crate::failures::read_error;
use crate::render::facts::known_owner;

/// Why the ledger refused.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Failure {
    /// The stable code.
    #[schema(value_type = String)]
    code: &'static str,
    /// One sentence for a person.
    #[schema(value_type = String)]
    message: &'static str,
    /// The limit that the payment would have exceeded; only with `limit_exceeded`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    limit: Option<String>,
}

impl Failure {
    /// Returns why the ledger refused the command of a record, if it did.
    pub fn of(reader: &Reader, record: &Record) -> Option<Failure> {
        let rejection = record.outcome.rejection?;
        Some(Failure {
            code: rejection.code(),
            message: rejection.message(),
            limit: limit_of(reader, record),
        })
    }

    /// Returns the stable code.
    pub fn code(&self) -> &'static str {
        self.code
    }
}

/// The id of the limit that refused the payment of a record, if one did.
pub fn limit_of(reader: &Reader, record: &Record) -> Option<String> {
    let usage = record.outcome.limits.first()?;
    let refused = record.outcome.rejection == Some(Rejection::LimitExceeded);
    refused.then(|| reader.ids().encode_setting(SettingKind::LIMIT, usage.limit))
}

/// The payment that a command makes or would change.
pub fn payment_of(record: &Record) -> Option<PaymentId> {
    match &record.command.body {
        Body::Pay(_) => Some(PaymentId(record.ctx.position)),
        Body::ReturnPayout(_) if record.outcome.is_accepted() => {
            Some(PaymentId(record.ctx.position))
        }
        body => payment_changed(body),
    }
}

/// The payment, made before, that a command would change.
pub(crate) fn payment_changed(body: &Body) -> Option<PaymentId> {
    match body {
        Body::Capture(capture) => Some(capture.payment),
        Body::Refund(refund) => Some(refund.payment),
        Body::Void(payment) | Body::Expire(payment) | Body::Run(payment) => Some(*payment),
        Body::Approve(approve) => Some(approve.payment),
        Body::Investigate(found) => Some(found.payment),
        Body::Update(update) => match update.object {
            Updated::Payment(payment) => Some(payment),
            Updated::Account(_) | Updated::Owner(..) => None,
        },
        Body::SettlePayout(settle) => Some(settle.payout),
        Body::ReturnPayout(give) => Some(give.payout),
        _ => None,
    }
}

/// The record at `position`, which something that exists was created by.
pub fn created(reader: &Reader, position: u64) -> Result<Record, ApiError> {
    let record = reader.record(position).map_err(read_error)?;
    record.ok_or_else(|| {
        tracing::error!(position, "the record that created an object is missing");
        ApiError::new(ErrorCode::RecordDamaged, "A stored record is missing.")
    })
}

/// The name of an owner.
pub fn owner_name(reader: &Reader, owner: OwnerId) -> String {
    known_owner(reader, owner).unwrap_or_default()
}

/// The type of the event of `record`: the ledger tells it from the record's bytes.
pub fn event_type(record: &Record) -> String {
    let mut bytes = Vec::new();
    codec::encode(
        &record.command,
        &record.digest,
        &record.outcome,
        record.ctx,
        FORMAT_VERSION,
        &mut bytes,
    );
    let parsed =
        RecordRef::parse(&bytes, FORMAT_VERSION).expect("what was just encoded can be read");
    tributary_ledger::event_type(&parsed).to_owned()
}
