//! The bodies of requests about payouts: request one, record that it was paid or failed, record that it came back.

use serde::Deserialize;
use tributary_engine::{IdKind, Ids, Reader};
use tributary_ledger::{Body, Date, PaymentId, PaymentKind, Reason, ReturnPayout, SettlePayout};
use utoipa::ToSchema;

use crate::caller::Caller;
use crate::draft::CommandDraft;
use crate::error::ApiError;
use crate::form::queue::QueueForm;
use crate::form::request::{FeeForm, Request, TransferCreate, notes};
use crate::form::value::{
    AccountText, AmountForm, CurrencyForm, DateText, DescriptionText, MetadataForm, OwnerText,
    PaymentText, ReasonText, ReferenceText,
};

/// Send money outside. The amount is held until the platform records that the payout was paid or failed.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PayoutCreate {
    /// Total amount, in minor units.
    amount: AmountForm,
    currency: CurrencyForm,
    /// Where the money comes from.
    source: AccountText,
    /// Account of the outside where the money goes, such as the platform's bank account.
    destination: AccountText,
    #[schema(max_items = 15)]
    fees: Option<Vec<FeeForm>>,
    /// Whether the payout is recorded as paid already; false if left out. Platform keys only.
    paid: Option<bool>,
    /// Your own name for the payment, unique among the payments that your owner's keys asked for, with the same
    /// `reference_scope`, and that were not refused.
    reference: Option<ReferenceText>,
    /// Owner for whom the reference is unique: the payer or the payee. Platform keys only; the key's own owner if left out.
    reference_scope: Option<OwnerText>,
    /// The date of the business; today in UTC if left out.
    effective_at: Option<DateText>,
    description: Option<DescriptionText>,
    metadata: Option<MetadataForm>,
    /// Only accept it now, and decide it when its turn has come. Nothing is held before.
    queue: Option<QueueForm>,
}

/// Record that a pending payout failed: its amount is released.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PayoutFail {
    /// Why it failed.
    reason: ReasonText,
}

/// Record that money of a paid payout came back.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PayoutReturnCreate {
    /// Minor units; all that was paid and has not come back if left out.
    amount: Option<AmountForm>,
    /// Why it came back.
    reason: Option<ReasonText>,
    /// The date of the business; today in UTC if left out.
    effective_at: Option<DateText>,
    description: Option<DescriptionText>,
    metadata: Option<MetadataForm>,
}

/// Record that a pending payout was paid, within a batch.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BatchPayoutPay {
    payout: PaymentText,
}

/// Record that a pending payout failed, within a batch.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BatchPayoutFail {
    payout: PaymentText,
    /// Why it failed.
    reason: ReasonText,
}

/// Record that money of a paid payout came back, within a batch.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BatchPayoutReturn {
    payout: PaymentText,
    /// Minor units; all that was paid and has not come back if left out.
    amount: Option<AmountForm>,
    /// Why it came back.
    reason: Option<ReasonText>,
    /// The date of the business; today in UTC if left out.
    effective_at: Option<DateText>,
    description: Option<DescriptionText>,
    metadata: Option<MetadataForm>,
}

impl PayoutCreate {
    /// The draft of a payout that `caller` asks for.
    pub fn into_draft(self, reader: &Reader, caller: &Caller) -> Result<CommandDraft, ApiError> {
        let form = TransferCreate {
            amount: self.amount,
            currency: self.currency,
            source: self.source,
            destination: self.destination,
            fees: self.fees,
            reference: self.reference,
            reference_scope: self.reference_scope,
            effective_at: self.effective_at,
            description: self.description,
            metadata: self.metadata,
            queue: self.queue,
        };
        form.into_payment(
            PaymentKind::Payout,
            self.paid.unwrap_or(false),
            reader,
            caller,
        )
    }
}

impl PayoutFail {
    /// The draft to fail `payout`.
    pub fn into_draft(self, payout: PaymentId) -> CommandDraft {
        settle(payout, Some(self.reason.0))
    }
}

impl PayoutReturnCreate {
    /// The draft to return `payout`.
    pub fn into_draft(self, payout: PaymentId) -> Result<CommandDraft, ApiError> {
        let body = Body::ReturnPayout(ReturnPayout {
            payout,
            amount: self.amount.map(|amount| amount.0),
            reason: self.reason.map(|text| text.0),
        });
        let text = notes(self.description, self.metadata)?;
        CommandDraft::new(body).with_notes(self.effective_at.map(|date| Date(date.0)), text)
    }
}

impl Request for BatchPayoutPay {
    fn into_draft(self, ids: &Ids) -> Result<CommandDraft, ApiError> {
        Ok(settle(payout(ids, &self.payout)?, None))
    }
}

impl Request for BatchPayoutFail {
    fn into_draft(self, ids: &Ids) -> Result<CommandDraft, ApiError> {
        Ok(settle(payout(ids, &self.payout)?, Some(self.reason.0)))
    }
}

impl Request for BatchPayoutReturn {
    fn into_draft(self, ids: &Ids) -> Result<CommandDraft, ApiError> {
        let form = PayoutReturnCreate {
            amount: self.amount,
            reason: self.reason,
            effective_at: self.effective_at,
            description: self.description,
            metadata: self.metadata,
        };
        form.into_draft(payout(ids, &self.payout)?)
    }
}

/// The draft to pay `payout`, or to fail it for a reason.
pub fn settle(payout: PaymentId, failure: Option<Reason>) -> CommandDraft {
    CommandDraft::new(Body::SettlePayout(SettlePayout { payout, failure }))
}

fn payout(ids: &Ids, text: &PaymentText) -> Result<PaymentId, ApiError> {
    let position = ids.position_of(IdKind::Payment, text.0);
    position
        .map(PaymentId)
        .ok_or_else(|| ApiError::not_found("payment", "payout"))
}
