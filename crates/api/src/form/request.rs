//! The bodies of writes, and the commands that they ask for.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tributary_engine::{IdKind, Ids};
use tributary_ledger::{
    Access, AccountId, AccountKind, Body, Capture, Data, Date, Destination, ExternalId, Fee, Fees,
    Hold, Label, OpenAccount, OrderKey, Overdraft, OwnerName, Part, Pay, Payees, PaymentId,
    PaymentKind, Publish, Reason, Reference, Refund, SHARES_MAX, Share, Text, Topic,
};
use utoipa::ToSchema;

use crate::error::ApiError;
use crate::form::json::{compact, is_readable};
use crate::form::queue::QueueForm;
use crate::form::value::{
    AccountText, AmountForm, BasisPoints, CurrencyForm, DateText, DescriptionText, MetadataForm,
    OverdraftForm, OwnerText, PaymentText, ReasonText, ReferenceText, TimeText, TopicText,
};

/// What a body asks for, without who asks and under which key.
#[derive(Clone, Debug)]
pub struct CommandDraft {
    /// What is to be done.
    pub body: Body,
    /// The date of the business, if given.
    pub effective_at: Option<Date>,
    /// Description and metadata.
    pub text: Option<Text>,
}

impl CommandDraft {
    /// A draft that has no text and no date.
    pub fn new(body: Body) -> CommandDraft {
        CommandDraft {
            body,
            effective_at: None,
            text: None,
        }
    }
}

/// Returns the draft of a caller who would rather not wait, if so: a payment is queued then.
pub fn preferred(mut draft: CommandDraft, not_now: bool) -> CommandDraft {
    if let Body::Pay(pay) = &mut draft.body
        && not_now
    {
        pay.queue.get_or_insert_default();
    }
    draft
}

/// A body that a command can be made of. `ids` reads the ids in it.
pub trait Request {
    /// Returns the draft of the command that the body asks for.
    fn into_draft(self, ids: &Ids) -> Result<CommandDraft, ApiError>;
}

/// Open an account.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AccountCreate {
    /// Whose it is; named here for the first time or known. An owner's key opens accounts for its own owner and may
    /// leave this out; a platform key must say. `platform` is the platform itself.
    pub owner: Option<OwnerText>,
    currency: CurrencyForm,
    /// What the account is for; `wallet` if left out. An owner's key opens wallets and merchant accounts.
    kind: Option<AccountKindForm>,
    /// How far below zero it may go; 0 if left out.
    overdraft: Option<OverdraftForm>,
    /// The owner's own name for the account, unique among the owner's accounts.
    external_id: Option<ReferenceText>,
    description: Option<DescriptionText>,
    metadata: Option<MetadataForm>,
}

/// What an account is for.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, ToSchema, PartialEq)]
#[serde(rename_all = "snake_case")]
#[schema(as = AccountKind)]
pub enum AccountKindForm {
    /// A user's money.
    Wallet,
    /// A merchant's money.
    Merchant,
    /// The world outside.
    External,
    /// Fees that were earned.
    Fee,
    /// Money that is not assigned yet.
    Suspense,
}

impl AccountKindForm {
    /// Returns the ledger's value.
    pub fn ledger(self) -> AccountKind {
        match self {
            AccountKindForm::Wallet => AccountKind::Wallet,
            AccountKindForm::Merchant => AccountKind::Merchant,
            AccountKindForm::External => AccountKind::External,
            AccountKindForm::Fee => AccountKind::Fee,
            AccountKindForm::Suspense => AccountKind::Suspense,
        }
    }
}

/// Whether a payment moves money at once.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema, PartialEq)]
#[serde(rename_all = "snake_case")]
pub enum CaptureMethod {
    /// The money moves at once.
    Automatic,
    /// The money is held until it is captured, voided or `expires_at` has come.
    Manual,
}

/// One payee of a split: give either `amount` or `basis_points`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SplitForm {
    account: AccountText,
    /// Exactly so many minor units.
    amount: Option<AmountForm>,
    /// So many ten-thousandths of what fees and exact amounts leave. Those of one payment sum to 10,000; units left
    /// over by rounding down go, one each, to the payees with the largest fractions, in the order given.
    basis_points: Option<BasisPoints>,
}

/// A fee: `amount` plus `basis_points` of the payment's amount, rounded down; taken out of what the payees receive.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FeeForm {
    account: AccountText,
    /// Flat part, minor units; 0 if left out.
    amount: Option<AmountForm>,
    /// Ten-thousandths of the payment's amount; 0 if left out.
    basis_points: Option<BasisPoints>,
}

/// Pay a merchant, or several. Give either `destination` or `splits`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PaymentCreate {
    /// In all, minor units.
    amount: AmountForm,
    currency: CurrencyForm,
    /// Who pays.
    source: AccountText,
    /// Who receives what the fees leave.
    destination: Option<AccountText>,
    /// Who receive what the fees leave.
    #[schema(min_items = 1, max_items = 16)]
    splits: Option<Vec<SplitForm>>,
    #[schema(max_items = 16)]
    fees: Option<Vec<FeeForm>>,
    /// `automatic` if left out.
    capture_method: Option<CaptureMethod>,
    /// When a hold comes due; required with `capture_method` `manual`, refused without.
    expires_at: Option<TimeText>,
    /// The merchant's own name for the payment, unique among the merchant's payments that were not refused.
    reference: Option<ReferenceText>,
    /// The date of the business; today in UTC if left out.
    effective_at: Option<DateText>,
    description: Option<DescriptionText>,
    metadata: Option<MetadataForm>,
    /// Only accept it now, and decide it when its turn has come.
    queue: Option<QueueForm>,
}

/// Move money at once: between users, in from outside, or out.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TransferCreate {
    /// In all, minor units.
    amount: AmountForm,
    currency: CurrencyForm,
    /// Where the money comes from.
    source: AccountText,
    /// Where it goes.
    destination: AccountText,
    #[schema(max_items = 15)]
    fees: Option<Vec<FeeForm>>,
    /// The owner's own name for it, unique among the owner's payments that were not refused.
    reference: Option<ReferenceText>,
    /// The date of the business; today in UTC if left out.
    effective_at: Option<DateText>,
    description: Option<DescriptionText>,
    metadata: Option<MetadataForm>,
    /// Only accept it now, and decide it when its turn has come.
    queue: Option<QueueForm>,
}

/// Set something right, by the platform. It cannot be refunded.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AdjustmentCreate {
    /// Minor units.
    amount: AmountForm,
    currency: CurrencyForm,
    /// Where the money comes from.
    source: AccountText,
    /// Where it goes.
    destination: AccountText,
    /// Why.
    reason: ReasonText,
    /// The platform's own name for it, unique among its adjustments that were not refused.
    reference: Option<ReferenceText>,
    /// The date of the business; today in UTC if left out.
    effective_at: Option<DateText>,
    description: Option<DescriptionText>,
    metadata: Option<MetadataForm>,
    /// Only accept it now, and decide it when its turn has come.
    queue: Option<QueueForm>,
}

/// Take what was held, or a part.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CaptureForm {
    /// Minor units; all that is still held if left out.
    amount: Option<AmountForm>,
    /// Release what is left; false if left out: the rest stays held.
    #[serde(rename = "final")]
    is_final: Option<bool>,
}

/// Take what was held, or a part, within a batch.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CaptureOf {
    payment: PaymentText,
    /// Minor units; all that is still held if left out.
    amount: Option<AmountForm>,
    /// Release what is left; false if left out: the rest stays held.
    #[serde(rename = "final")]
    is_final: Option<bool>,
}

/// Release what a payment holds, within a batch.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct VoidOf {
    payment: PaymentText,
}

/// Freeze, unfreeze or close an account, within a batch.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AccountOf {
    account: AccountText,
}

impl AccountOf {
    /// The account that is meant.
    pub fn id(&self, ids: &Ids) -> Result<AccountId, ApiError> {
        account(ids, &self.account, "account")
    }
}

/// Nothing to say.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Empty {}

/// Give back what was captured, or a part.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RefundCreate {
    payment: PaymentText,
    /// Minor units; all that can still be refunded if left out.
    amount: Option<AmountForm>,
    /// Whether the fee accounts give back their part too; false if left out: the payees bear it.
    refund_fee: Option<bool>,
    /// The date of the business; today in UTC if left out.
    effective_at: Option<DateText>,
    description: Option<DescriptionText>,
    metadata: Option<MetadataForm>,
}

/// Publish an event of your own. The idempotency key is its identity: the same one is published once.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EventCreate {
    /// Its type and topic.
    #[serde(rename = "type")]
    topic: TopicText,
    /// Events of one owner under the same key are delivered in order, to subscriptions that ask for order.
    key: Option<ReferenceText>,
    /// What it says: any JSON, at most 32 KiB and 127 levels deep. Kept as it is, but for white space between its parts.
    #[schema(value_type = Value)]
    data: Box<RawValue>,
}

impl Request for EventCreate {
    fn into_draft(self, _: &Ids) -> Result<CommandDraft, ApiError> {
        let key = self.key.map(|text| order_key(&text.0)).transpose()?;
        publish(self.topic.0, key, self.data.get())
            .map(|publish| CommandDraft::new(Body::Publish(publish)))
    }
}

/// The order key of an event.
pub fn order_key(text: &str) -> Result<OrderKey, ApiError> {
    OrderKey::new(text).map_err(|error| ApiError::invalid("key", format!("This {error}.")))
}

/// The command to publish `data`, which is JSON.
pub fn publish(topic: Topic, key: Option<OrderKey>, data: &str) -> Result<Publish, ApiError> {
    if !is_readable(data) {
        let message = "This is not JSON that every program can read: a number is too large, a text is not Unicode, or \
                       it is more than 127 levels deep.";
        return Err(ApiError::invalid("data", message));
    }
    let data = Data::new(Data::PLAIN, &compact(data))
        .map_err(|_| ApiError::invalid("data", "Give at most 32 KiB of JSON."))?;
    Ok(Publish { topic, key, data })
}

/// What an API key may be used for.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, ToSchema, PartialEq)]
#[serde(rename_all = "snake_case")]
#[schema(as = Access)]
pub enum AccessForm {
    /// Reading only.
    Read,
    /// Reading and writing.
    Write,
}

/// Create an API key.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ApiKeyCreate {
    /// In whose name it acts; `platform` makes another platform key.
    pub owner: OwnerText,
    /// What the key may do.
    pub access: AccessForm,
    /// What it is for.
    pub label: Option<ReferenceText>,
}

impl AccessForm {
    /// Returns the ledger's value.
    pub fn ledger(self) -> Access {
        match self {
            AccessForm::Read => Access::Read,
            AccessForm::Write => Access::Write,
        }
    }
}

impl AccountCreate {
    /// The draft of an account for `owner`.
    pub fn into_draft(self, owner: OwnerName) -> Result<CommandDraft, ApiError> {
        let overdraft = match self.overdraft {
            None => Overdraft::NONE,
            Some(OverdraftForm::Limit(limit)) => Overdraft::limited(limit),
            Some(OverdraftForm::Unlimited) => Overdraft::UNLIMITED,
        };
        let external_id = self
            .external_id
            .map(|text| ExternalId::new(&text.0))
            .transpose();
        Ok(CommandDraft {
            body: Body::OpenAccount(OpenAccount {
                owner,
                currency: self.currency.0,
                kind: self.kind.unwrap_or(AccountKindForm::Wallet).ledger(),
                overdraft,
                external_id: external_id
                    .map_err(|error| ApiError::invalid("external_id", error.to_string()))?,
            }),
            effective_at: None,
            text: notes(self.description, self.metadata)?,
        })
    }
}

impl Request for PaymentCreate {
    fn into_draft(self, ids: &Ids) -> Result<CommandDraft, ApiError> {
        let destination = match (self.destination, self.splits) {
            (Some(one), None) => Destination::One(account(ids, &one, "destination")?),
            (None, Some(splits)) => Destination::Split(payees(ids, &splits)?),
            (None, None) => return Err(missing("destination", "Give destination or splits.")),
            (Some(_), Some(_)) => {
                return Err(ApiError::invalid(
                    "splits",
                    "Give either destination or splits, not both.",
                ));
            }
        };
        let hold = match (
            self.capture_method.unwrap_or(CaptureMethod::Automatic),
            self.expires_at,
        ) {
            (CaptureMethod::Manual, Some(expires_at)) => Some(Hold {
                expires_at: expires_at.0,
            }),
            (CaptureMethod::Manual, None) => {
                return Err(missing(
                    "expires_at",
                    "With capture_method manual, say when the hold comes due.",
                ));
            }
            (CaptureMethod::Automatic, None) => None,
            (CaptureMethod::Automatic, Some(_)) => {
                return Err(ApiError::invalid(
                    "expires_at",
                    "expires_at goes with capture_method manual only.",
                ));
            }
        };
        Ok(CommandDraft {
            body: Body::Pay(Pay {
                kind: PaymentKind::Pay,
                source: account(ids, &self.source, "source")?,
                destination,
                fees: fees(ids, self.fees.as_deref().unwrap_or_default())?,
                amount: self.amount.0,
                currency: self.currency.0,
                hold,
                reference: reference(self.reference)?,
                reason: None,
                queue: self.queue.map(|queue| queue.ledger(ids)).transpose()?,
            }),
            effective_at: self.effective_at.map(|date| Date(date.0)),
            text: notes(self.description, self.metadata)?,
        })
    }
}

/// Fees of a payment with one payee.
const TRANSFER_FEES_MAX: usize = SHARES_MAX - 1;

impl TransferCreate {
    /// The draft of a transfer, top-up or payout.
    pub fn into_draft(self, kind: PaymentKind, ids: &Ids) -> Result<CommandDraft, ApiError> {
        if self
            .fees
            .as_ref()
            .is_some_and(|fees| fees.len() > TRANSFER_FEES_MAX)
        {
            return Err(ApiError::invalid("fees", "Give at most 15 fees."));
        }
        Ok(CommandDraft {
            body: Body::Pay(Pay {
                kind,
                source: account(ids, &self.source, "source")?,
                destination: Destination::One(account(ids, &self.destination, "destination")?),
                fees: fees(ids, self.fees.as_deref().unwrap_or_default())?,
                amount: self.amount.0,
                currency: self.currency.0,
                hold: None,
                reference: reference(self.reference)?,
                reason: None,
                queue: self.queue.map(|queue| queue.ledger(ids)).transpose()?,
            }),
            effective_at: self.effective_at.map(|date| Date(date.0)),
            text: notes(self.description, self.metadata)?,
        })
    }
}

impl Request for AdjustmentCreate {
    fn into_draft(self, ids: &Ids) -> Result<CommandDraft, ApiError> {
        let reason = Reason::new(&self.reason.0)
            .map_err(|error| ApiError::invalid("reason", error.to_string()))?;
        Ok(CommandDraft {
            body: Body::Pay(Pay {
                kind: PaymentKind::Adjustment,
                source: account(ids, &self.source, "source")?,
                destination: Destination::One(account(ids, &self.destination, "destination")?),
                fees: Fees::default(),
                amount: self.amount.0,
                currency: self.currency.0,
                hold: None,
                reference: reference(self.reference)?,
                reason: Some(reason),
                queue: self.queue.map(|queue| queue.ledger(ids)).transpose()?,
            }),
            effective_at: self.effective_at.map(|date| Date(date.0)),
            text: notes(self.description, self.metadata)?,
        })
    }
}

impl CaptureForm {
    /// The draft to capture `payment`.
    pub fn into_draft(self, payment: PaymentId) -> CommandDraft {
        CommandDraft::new(Body::Capture(Capture {
            payment,
            amount: self.amount.map(|amount| amount.0),
            is_final: self.is_final.unwrap_or(false),
        }))
    }
}

impl Request for CaptureOf {
    fn into_draft(self, ids: &Ids) -> Result<CommandDraft, ApiError> {
        let form = CaptureForm {
            amount: self.amount,
            is_final: self.is_final,
        };
        Ok(form.into_draft(payment(ids, &self.payment)?))
    }
}

impl Request for VoidOf {
    fn into_draft(self, ids: &Ids) -> Result<CommandDraft, ApiError> {
        Ok(CommandDraft::new(Body::Void(payment(ids, &self.payment)?)))
    }
}

impl Request for RefundCreate {
    fn into_draft(self, ids: &Ids) -> Result<CommandDraft, ApiError> {
        Ok(CommandDraft {
            body: Body::Refund(Refund {
                payment: payment(ids, &self.payment)?,
                amount: self.amount.map(|amount| amount.0),
                refund_fee: self.refund_fee.unwrap_or(false),
            }),
            effective_at: self.effective_at.map(|date| Date(date.0)),
            text: notes(self.description, self.metadata)?,
        })
    }
}

/// The ledger's label of an API key.
pub fn label(text: Option<ReferenceText>) -> Result<Option<Label>, ApiError> {
    let label = text.map(|text| Label::new(&text.0)).transpose();
    label.map_err(|error| ApiError::invalid("label", error.to_string()))
}

/// The ledger's owner name of a text that has the form of one.
pub fn owner_name(text: &OwnerText) -> Result<OwnerName, ApiError> {
    OwnerName::new(&text.0).map_err(|error| ApiError::invalid("owner", error.to_string()))
}

fn missing(param: &str, message: &'static str) -> ApiError {
    ApiError::new(crate::code::ErrorCode::ParameterMissing, message).param(param)
}

fn account(ids: &Ids, text: &AccountText, param: &str) -> Result<AccountId, ApiError> {
    let position = ids.position_of(IdKind::Account, text.0);
    position
        .map(AccountId)
        .ok_or_else(|| ApiError::not_found("account", param))
}

/// The payment that is meant.
pub fn payment(ids: &Ids, text: &PaymentText) -> Result<PaymentId, ApiError> {
    let position = ids.position_of(IdKind::Payment, text.0);
    position
        .map(PaymentId)
        .ok_or_else(|| ApiError::not_found("payment", "payment"))
}

fn reference(text: Option<ReferenceText>) -> Result<Option<Reference>, ApiError> {
    let reference = text.map(|text| Reference::new(&text.0)).transpose();
    reference.map_err(|error| ApiError::invalid("reference", error.to_string()))
}

fn payees(ids: &Ids, splits: &[SplitForm]) -> Result<Payees, ApiError> {
    if !(1..=SHARES_MAX).contains(&splits.len()) {
        return Err(ApiError::invalid("splits", "Give 1 to 16 payees."));
    }
    let mut shares = Vec::with_capacity(splits.len());
    for (index, split) in splits.iter().enumerate() {
        let part = match (split.amount, split.basis_points) {
            (Some(amount), None) => Part::Amount(amount.0),
            (None, Some(points)) => Part::BasisPoints(points.0),
            _ => {
                return Err(ApiError::invalid(
                    &format!("splits[{index}]"),
                    "Give either amount or basis_points for each payee.",
                ));
            }
        };
        shares.push(Share {
            account: account(ids, &split.account, &format!("splits[{index}].account"))?,
            part,
        });
    }
    Payees::new(shares).ok_or_else(|| ApiError::invalid("splits", "Give at most 16 payees."))
}

fn fees(ids: &Ids, forms: &[FeeForm]) -> Result<Fees, ApiError> {
    if forms.len() > SHARES_MAX {
        return Err(ApiError::invalid("fees", "Give at most 16 fees."));
    }
    let mut fees = Vec::with_capacity(forms.len());
    for (index, fee) in forms.iter().enumerate() {
        fees.push(Fee {
            account: account(ids, &fee.account, &format!("fees[{index}].account"))?,
            flat: fee.amount.map_or(0, |amount| amount.0),
            basis_points: fee.basis_points.map_or(0, |points| points.0),
        });
    }
    Fees::new(fees).ok_or_else(|| ApiError::invalid("fees", "Give at most 16 fees."))
}

/// Description and metadata as they are kept: one JSON text, with the names in order, so that the same notes are the
/// same bytes.
#[derive(Default, Deserialize, Serialize)]
pub struct Notes {
    /// The description.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub description: Option<String>,
    /// The caller's own notes: text by name.
    #[serde(skip_serializing_if = "std::collections::BTreeMap::is_empty", default)]
    pub metadata: std::collections::BTreeMap<String, String>,
}

/// The text that a command keeps of a description and metadata.
pub fn notes(
    description: Option<DescriptionText>,
    metadata: Option<MetadataForm>,
) -> Result<Option<Text>, ApiError> {
    let notes = Notes {
        description: description.map(|text| text.0),
        metadata: metadata.unwrap_or_default().0,
    };
    if notes.description.is_none() && notes.metadata.is_empty() {
        return Ok(None);
    }
    let bytes = serde_json::to_vec(&notes).expect("notes are JSON");
    let text = Text::new(Text::PLAIN, &bytes);
    text.map(Some).map_err(|_| {
        ApiError::invalid(
            "metadata",
            "Description and metadata together are too long: at most 16 KiB as JSON.",
        )
    })
}

impl Notes {
    /// The notes in a stored text; none if it is of a scheme that can't be read here.
    pub fn of(text: Option<&Text>) -> Notes {
        let plain = text.filter(|text| text.scheme() == Text::PLAIN);
        plain
            .and_then(|text| serde_json::from_slice(text.as_bytes()).ok())
            .unwrap_or_default()
    }
}
