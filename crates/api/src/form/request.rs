//! The bodies of writes, and the commands that they ask for.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tributary_engine::{IdKind, Ids, Reader};
use tributary_ledger::{
    API_KEY_OVERLAP_MAX, Access, AccountId, AccountKind, Body, Capture, Data, Date, Fee, Hold,
    OpenAccount, OrderKey, Overdraft, OwnerName, Part, PaymentId, PaymentKind, Publish, Refund,
    Share, Text, Topic,
};
use utoipa::ToSchema;

use crate::caller::Caller;
use crate::draft::{CommandDraft, PaymentParts, check_fee_count, check_payee_count};
use crate::error::ApiError;
use crate::form::json::{compact, is_readable};
use crate::form::parts::{PayeeAmountForm, check_splits, payee_amounts};
use crate::form::queue::QueueForm;
use crate::form::reference::reference_scope;
use crate::form::value::{
    AccountText, AmountForm, BasisPoints, CurrencyForm, DateText, DescriptionText, ExternalIdText,
    LabelText, MetadataForm, OrderKeyText, OverdraftForm, OwnerText, PaymentText, ReasonText,
    ReferenceText, TimeText, TopicText,
};
use crate::render::common::owner_name;

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
    owner: Option<OwnerText>,
    currency: CurrencyForm,
    /// What the account is for; `wallet` if left out. An owner's key opens wallets and merchant accounts.
    kind: Option<AccountKindForm>,
    /// Overdraft limit; 0 if left out.
    overdraft: Option<OverdraftForm>,
    /// The owner's own name for the account, unique among the owner's accounts.
    external_id: Option<ExternalIdText>,
    description: Option<DescriptionText>,
    metadata: Option<MetadataForm>,
}

/// Kind of account.
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
    /// Total amount, in minor units.
    amount: AmountForm,
    currency: CurrencyForm,
    /// Account that pays.
    source: AccountText,
    /// Account that receives the amount less the fees.
    destination: Option<AccountText>,
    /// Accounts that share the amount less the fees.
    #[schema(min_items = 1, max_items = 16)]
    splits: Option<Vec<SplitForm>>,
    #[schema(max_items = 16)]
    fees: Option<Vec<FeeForm>>,
    /// `automatic` if left out.
    capture_method: Option<CaptureMethod>,
    /// When a hold comes due; required with `capture_method` `manual`, refused without.
    expires_at: Option<TimeText>,
    /// Your own name for the payment, unique among the payments that your owner's keys asked for, with the same
    /// `reference_scope`, and that were not refused.
    reference: Option<ReferenceText>,
    /// Owner for whom the reference is unique: the payer or a payee. Platform keys only; the key's own owner if left out.
    reference_scope: Option<OwnerText>,
    /// The date of the business; today in UTC if left out.
    effective_at: Option<DateText>,
    description: Option<DescriptionText>,
    metadata: Option<MetadataForm>,
    /// Only accept it now, and decide it when its turn has come.
    queue: Option<QueueForm>,
}

/// Move money at once: between users, or in from outside.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TransferCreate {
    /// Total amount, in minor units.
    pub(super) amount: AmountForm,
    pub(super) currency: CurrencyForm,
    /// Where the money comes from.
    pub(super) source: AccountText,
    /// Where it goes.
    pub(super) destination: AccountText,
    #[schema(max_items = 15)]
    pub(super) fees: Option<Vec<FeeForm>>,
    /// Your own name for the payment, unique among the payments that your owner's keys asked for, with the same
    /// `reference_scope`, and that were not refused.
    pub(super) reference: Option<ReferenceText>,
    /// Owner for whom the reference is unique: the payer or a payee. Platform keys only; the key's own owner if left out.
    pub(super) reference_scope: Option<OwnerText>,
    /// The date of the business; today in UTC if left out.
    pub(super) effective_at: Option<DateText>,
    pub(super) description: Option<DescriptionText>,
    pub(super) metadata: Option<MetadataForm>,
    /// Only accept it now, and decide it when its turn has come.
    pub(super) queue: Option<QueueForm>,
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
    /// The platform's own name for it, unique among the payments that the platform's keys asked for, with the same
    /// `reference_scope`, and that were not refused.
    reference: Option<ReferenceText>,
    /// Owner for whom the reference is unique: the payer or the payee; the platform if left out.
    reference_scope: Option<OwnerText>,
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
    /// Minor units; all that is still held if left out. Not with `splits`.
    amount: Option<AmountForm>,
    /// Exact amounts of some payees. The fees follow in proportion, rounded down, and are exact when the payees are.
    #[schema(min_items = 1, max_items = 16)]
    splits: Option<Vec<PayeeAmountForm>>,
    /// Release what is left; false if left out: the rest stays held.
    #[serde(rename = "final")]
    is_final: Option<bool>,
}

/// Take what was held, or a part, within a batch.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BatchCapture {
    payment: PaymentText,
    /// Minor units; all that is still held if left out. Not with `splits`.
    amount: Option<AmountForm>,
    /// Exact amounts of some payees. The fees follow in proportion, rounded down, and are exact when the payees are.
    #[schema(min_items = 1, max_items = 16)]
    splits: Option<Vec<PayeeAmountForm>>,
    /// Release what is left; false if left out: the rest stays held.
    #[serde(rename = "final")]
    is_final: Option<bool>,
}

/// Release what a payment holds, within a batch.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BatchVoid {
    payment: PaymentText,
}

/// Freeze, unfreeze or close an account, within a batch.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BatchAccount {
    account: AccountText,
}

impl BatchAccount {
    /// The draft to change the account.
    pub fn into_draft(
        self,
        ids: &Ids,
        change: fn(AccountId) -> Body,
    ) -> Result<CommandDraft, ApiError> {
        let account = account(ids, &self.account, "account")?;
        Ok(CommandDraft::new(change(account)))
    }
}

/// An empty body.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Empty {}

/// Give back what was captured, or a part.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RefundCreate {
    payment: PaymentText,
    /// Minor units; all that can still be refunded if left out. Not with `splits`.
    amount: Option<AmountForm>,
    /// Exact amounts that some payees give back. With `refund_fee` the fees follow in proportion, and are given back beside
    /// these amounts. An owner's key may give back the parts of its own accounts.
    #[schema(min_items = 1, max_items = 16)]
    splits: Option<Vec<PayeeAmountForm>>,
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
    key: Option<OrderKeyText>,
    /// What it says: any JSON, at most 32 KiB and 127 levels deep. Kept as it is, but for white space between its parts.
    #[schema(value_type = Value)]
    data: Box<RawValue>,
}

impl Request for EventCreate {
    fn into_draft(self, _: &Ids) -> Result<CommandDraft, ApiError> {
        let key = self.key.map(|text| text.0);
        publish(self.topic.0, key, self.data.get())
            .map(|publish| CommandDraft::new(Body::Publish(publish)))
    }
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

/// Access of an API key.
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
    /// Access of the key.
    pub access: AccessForm,
    /// Purpose of the key, for people.
    pub label: Option<LabelText>,
}

/// Give an API key another secret.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ApiKeyRotate {
    /// Seconds for which the old secret works too, at most 2,592,000 (30 days); 0 if left out: it stops at once.
    #[schema(minimum = 0, maximum = 2_592_000)]
    overlap_seconds: Option<u64>,
}

/// Nanoseconds in a second.
const SECOND: u64 = 1_000_000_000;

impl ApiKeyRotate {
    /// Returns the time for which the old secret stays valid, nanoseconds.
    ///
    /// # Errors
    /// If it is longer than the ledger allows.
    pub fn overlap(&self) -> Result<u64, ApiError> {
        let seconds = self.overlap_seconds.unwrap_or(0);
        let seconds_max = API_KEY_OVERLAP_MAX / SECOND;
        if seconds > seconds_max {
            let message = format!("overlap_seconds must be an integer from 0 to {seconds_max}.");
            return Err(ApiError::invalid("overlap_seconds", message));
        }
        Ok(seconds * SECOND)
    }
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
    /// The draft of an account for the owner that is named, else for the caller's own.
    pub fn into_draft(self, reader: &Reader, caller: &Caller) -> Result<CommandDraft, ApiError> {
        let owner = owner_of_new_account(reader, caller, self.owner)?;
        let overdraft = match self.overdraft {
            None => Overdraft::NONE,
            Some(OverdraftForm::Limit(limit)) => Overdraft::limited(limit),
            Some(OverdraftForm::Unlimited) => Overdraft::UNLIMITED,
        };
        let open = OpenAccount {
            owner,
            currency: self.currency.0,
            kind: self.kind.unwrap_or(AccountKindForm::Wallet).ledger(),
            overdraft,
            external_id: self.external_id.map(|text| text.0),
        };
        let text = notes(self.description, self.metadata)?;
        CommandDraft::new(Body::OpenAccount(open)).with_notes(None, text)
    }
}

impl PaymentCreate {
    /// The draft of a payment that `caller` asks for.
    pub fn into_draft(self, reader: &Reader, caller: &Caller) -> Result<CommandDraft, ApiError> {
        let ids = reader.ids();
        let method = self.capture_method.unwrap_or(CaptureMethod::Automatic);
        let hold = match (method, self.expires_at) {
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
        let fee_forms = self.fees.unwrap_or_default();
        check_fee_count(PaymentKind::Pay, fee_forms.len())?;
        if let Some(splits) = &self.splits {
            check_payee_count(splits.len())?;
        }
        let destination = self
            .destination
            .map(|one| account(ids, &one, "destination"));
        let splits = self.splits.map(|splits| shares(ids, &splits));
        let parts = PaymentParts {
            kind: PaymentKind::Pay,
            source: account(ids, &self.source, "source")?,
            destination: destination.transpose()?,
            splits: splits.transpose()?,
            fees: fees(ids, &fee_forms)?,
            amount: self.amount.0,
            currency: self.currency.0,
            hold,
            paid: false,
            reference: self.reference.map(|text| text.0),
            reference_scope: reference_scope(reader, caller, self.reference_scope)?,
            reason: None,
            queue: self.queue.map(|queue| queue.ledger(ids)).transpose()?,
        };
        let text = notes(self.description, self.metadata)?;
        parts
            .into_draft("expires_at")?
            .with_notes(self.effective_at.map(|date| Date(date.0)), text)
    }
}

impl TransferCreate {
    /// The draft of a transfer or top-up.
    pub fn into_draft(
        self,
        kind: PaymentKind,
        reader: &Reader,
        caller: &Caller,
    ) -> Result<CommandDraft, ApiError> {
        self.into_payment(kind, false, reader, caller)
    }

    /// The draft of a payment of this kind; `paid`: whether it is a payout that is paid already.
    pub(super) fn into_payment(
        self,
        kind: PaymentKind,
        paid: bool,
        reader: &Reader,
        caller: &Caller,
    ) -> Result<CommandDraft, ApiError> {
        let ids = reader.ids();
        let fee_forms = self.fees.unwrap_or_default();
        check_fee_count(kind, fee_forms.len())?;
        let parts = PaymentParts {
            kind,
            source: account(ids, &self.source, "source")?,
            destination: Some(account(ids, &self.destination, "destination")?),
            splits: None,
            fees: fees(ids, &fee_forms)?,
            amount: self.amount.0,
            currency: self.currency.0,
            hold: None,
            paid,
            reference: self.reference.map(|text| text.0),
            reference_scope: reference_scope(reader, caller, self.reference_scope)?,
            reason: None,
            queue: self.queue.map(|queue| queue.ledger(ids)).transpose()?,
        };
        let text = notes(self.description, self.metadata)?;
        parts
            .into_draft("expires_at")?
            .with_notes(self.effective_at.map(|date| Date(date.0)), text)
    }
}

impl AdjustmentCreate {
    /// The draft of an adjustment that `caller` asks for.
    pub fn into_draft(self, reader: &Reader, caller: &Caller) -> Result<CommandDraft, ApiError> {
        let ids = reader.ids();
        let parts = PaymentParts {
            kind: PaymentKind::Adjustment,
            source: account(ids, &self.source, "source")?,
            destination: Some(account(ids, &self.destination, "destination")?),
            splits: None,
            fees: Vec::new(),
            amount: self.amount.0,
            currency: self.currency.0,
            hold: None,
            paid: false,
            reference: self.reference.map(|text| text.0),
            reference_scope: reference_scope(reader, caller, self.reference_scope)?,
            reason: Some(self.reason.0),
            queue: self.queue.map(|queue| queue.ledger(ids)).transpose()?,
        };
        let text = notes(self.description, self.metadata)?;
        parts
            .into_draft("expires_at")?
            .with_notes(self.effective_at.map(|date| Date(date.0)), text)
    }
}

impl CaptureForm {
    /// The draft to capture `payment`.
    pub fn into_draft(self, ids: &Ids, payment: PaymentId) -> Result<CommandDraft, ApiError> {
        self.check()?;
        Ok(CommandDraft::new(Body::Capture(Capture {
            payment,
            amount: self.amount.map(|amount| amount.0),
            is_final: self.is_final.unwrap_or(false),
            splits: payee_amounts(ids, self.splits)?,
        })))
    }

    fn check(&self) -> Result<(), ApiError> {
        let amount = self.amount.map(|amount| amount.0);
        check_splits(amount, self.splits.as_ref().map(Vec::len))
    }
}

impl Request for BatchCapture {
    fn into_draft(self, ids: &Ids) -> Result<CommandDraft, ApiError> {
        let form = CaptureForm {
            amount: self.amount,
            splits: self.splits,
            is_final: self.is_final,
        };
        form.check()?;
        form.into_draft(ids, payment(ids, &self.payment)?)
    }
}

impl Request for BatchVoid {
    fn into_draft(self, ids: &Ids) -> Result<CommandDraft, ApiError> {
        Ok(CommandDraft::new(Body::Void(payment(ids, &self.payment)?)))
    }
}

impl Request for RefundCreate {
    fn into_draft(self, ids: &Ids) -> Result<CommandDraft, ApiError> {
        let amount = self.amount.map(|amount| amount.0);
        check_splits(amount, self.splits.as_ref().map(Vec::len))?;
        let refund = Refund {
            payment: payment(ids, &self.payment)?,
            amount,
            refund_fee: self.refund_fee.unwrap_or(false),
            splits: payee_amounts(ids, self.splits)?,
        };
        let text = notes(self.description, self.metadata)?;
        CommandDraft::new(Body::Refund(refund))
            .with_notes(self.effective_at.map(|date| Date(date.0)), text)
    }
}

/// Returns the owner of a new account: the one named, else the caller's own.
pub fn owner_of_new_account(
    reader: &Reader,
    caller: &Caller,
    named: Option<OwnerText>,
) -> Result<OwnerName, ApiError> {
    match named {
        Some(OwnerText(name)) => Ok(name),
        None if caller.is_platform() => {
            let message =
                "A platform key must say whose account it opens; platform is the platform itself.";
            Err(missing("owner", message))
        }
        None => OwnerText::parse(&owner_name(reader, caller.actor.owner), "owner"),
    }
}

fn missing(param: &str, message: &'static str) -> ApiError {
    ApiError::new(crate::code::ErrorCode::ParameterMissing, message).param(param)
}

fn account(ids: &Ids, text: &AccountText, param: &str) -> Result<AccountId, ApiError> {
    text.find(ids, param)
}

/// The payment that is meant.
pub fn payment(ids: &Ids, text: &PaymentText) -> Result<PaymentId, ApiError> {
    let position = ids.position_of(IdKind::Payment, text.0);
    position
        .map(PaymentId)
        .ok_or_else(|| ApiError::not_found("payment", "payment"))
}

fn shares(ids: &Ids, splits: &[SplitForm]) -> Result<Vec<Share>, ApiError> {
    let share = |(index, split): (usize, &SplitForm)| {
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
        let account = account(ids, &split.account, &format!("splits[{index}].account"))?;
        Ok(Share { account, part })
    };
    splits.iter().enumerate().map(share).collect()
}

fn fees(ids: &Ids, forms: &[FeeForm]) -> Result<Vec<Fee>, ApiError> {
    let fee = |(index, fee): (usize, &FeeForm)| {
        Ok(Fee {
            account: account(ids, &fee.account, &format!("fees[{index}].account"))?,
            flat: fee.amount.map_or(0, |amount| amount.0),
            basis_points: fee.basis_points.map_or(0, |points| points.0),
        })
    };
    forms.iter().enumerate().map(fee).collect()
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
    pub fn read(text: Option<&Text>) -> Notes {
        let plain = text.filter(|text| text.scheme() == Text::PLAIN);
        plain
            .and_then(|text| serde_json::from_slice(text.as_bytes()).ok())
            .unwrap_or_default()
    }
}
