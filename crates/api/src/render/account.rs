//! Accounts and their statements.

use std::collections::BTreeMap;

use serde::Serialize;
use tributary_engine::{IdKind, Reader};
use tributary_ledger::codec::Record;
use tributary_ledger::{Account, AccountKind, AccountStatus, Body, ObjectId, TextState};
use utoipa::ToSchema;

use crate::error::ApiError;
use crate::form::request::AccountKindForm;
use crate::render::common::owner_name;
use crate::render::notes::present_notes;
use crate::render::owner::{OwnerOrName, revision};
use crate::time::format_timestamp;

/// An account: an owner's money in one currency.
#[derive(Serialize, ToSchema)]
#[schema(as = Account)]
pub struct AccountObject {
    id: String,
    #[schema(pattern = "^account$")]
    object: &'static str,
    #[schema(value_type = OwnerOrName)]
    owner: String,
    kind: AccountKindForm,
    status: AccountStatusForm,
    /// ISO 4217.
    currency: &'static str,
    /// Sum of all postings, minor units.
    posted: i64,
    /// Held by authorizations that are open, minor units.
    #[schema(minimum = 0)]
    pending: u64,
    /// `posted` less `pending`: what may be spent, but for the overdraft.
    available: i64,
    /// How far below zero `available` may go: minor units, or `unlimited`.
    #[schema(value_type = crate::form::value::OverdraftForm)]
    overdraft: OverdraftObject,
    #[schema(required)]
    external_id: Option<String>,
    #[schema(required)]
    description: Option<String>,
    metadata: BTreeMap<String, String>,
    /// 1 when it was opened, and one more with each update of description or metadata.
    #[schema(minimum = 1)]
    revision: u64,
    #[schema(format = DateTime)]
    created: String,
}

/// An account: its id or, where `expand[]` names the field and the API key may see the account, the account as it is now.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub enum AccountOrId {
    /// Id of the account.
    Id(String),
    /// The account.
    Account(Box<AccountObject>),
}

/// Whether an account takes part.
#[derive(Clone, Copy, Debug, Serialize, serde::Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = AccountStatus)]
pub enum AccountStatusForm {
    /// The account pays and receives.
    Open,
    /// The account receives and does not pay.
    Frozen,
    /// The account neither pays nor receives, for good.
    Closed,
}

#[derive(Serialize)]
#[serde(untagged)]
enum OverdraftObject {
    Limit(u64),
    Unlimited(&'static str),
}

/// The account as `account` has it, opened by the record `opened`, with the text that it has now.
///
/// # Errors
/// If a record can't be read.
pub fn account_now(
    reader: &Reader,
    found: &Account,
    opened: &Record,
) -> Result<AccountObject, ApiError> {
    let details = reader.details(ObjectId::Account(found.id));
    account(
        reader,
        found,
        details.map(|details| details.text).as_ref(),
        opened,
    )
}

/// The account as `account` has it, opened by the record `opened`. `text`: where its text is; none = it was never updated.
pub(crate) fn account(
    reader: &Reader,
    account: &Account,
    text: Option<&TextState>,
    opened: &Record,
) -> Result<AccountObject, ApiError> {
    let notes = present_notes(reader, text, Some(opened))?;
    let external_id = match &opened.command.body {
        Body::OpenAccount(open) => open.external_id.as_ref(),
        _ => None,
    };
    Ok(AccountObject {
        id: reader.ids().encode(IdKind::Account, account.id.0),
        object: "account",
        owner: owner_name(reader, account.owner),
        kind: kind_form(account.kind),
        status: match account.status {
            AccountStatus::Open => AccountStatusForm::Open,
            AccountStatus::Frozen => AccountStatusForm::Frozen,
            AccountStatus::Closed => AccountStatusForm::Closed,
        },
        currency: account.currency.code(),
        posted: account.posted,
        pending: account.held,
        available: account.available(),
        overdraft: match account.overdraft.limit() {
            Some(limit) => OverdraftObject::Limit(limit),
            None => OverdraftObject::Unlimited("unlimited"),
        },
        external_id: external_id.map(|id| id.to_string()),
        description: notes.description,
        metadata: notes.metadata,
        revision: revision(text),
        created: format_timestamp(account.opened_at),
    })
}

/// Returns the form of a kind of account.
pub fn kind_form(kind: AccountKind) -> AccountKindForm {
    match kind {
        AccountKind::Wallet => AccountKindForm::Wallet,
        AccountKind::Merchant => AccountKindForm::Merchant,
        AccountKind::External => AccountKindForm::External,
        AccountKind::Fee => AccountKindForm::Fee,
        AccountKind::Suspense => AccountKindForm::Suspense,
    }
}
