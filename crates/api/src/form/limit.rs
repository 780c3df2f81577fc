//! The bodies of requests about limits.

use serde::{Deserialize, Serialize};
use tributary_ledger::PaymentKind;
use utoipa::ToSchema;

use crate::form::json::given;
use crate::form::value::{CurrencyForm, OwnerText};

/// A kind of payments that a limit can count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = LimitedKind)]
pub enum LimitedKindForm {
    /// A customer pays a merchant.
    Pay,
    /// Money moves between users.
    Transfer,
    /// Money comes in from outside.
    TopUp,
    /// Money goes out.
    Payout,
}

impl LimitedKindForm {
    /// All kinds.
    pub const ALL: [LimitedKindForm; 4] = [Self::Pay, Self::Transfer, Self::TopUp, Self::Payout];

    /// Returns the ledger's value.
    pub fn ledger(self) -> PaymentKind {
        match self {
            LimitedKindForm::Pay => PaymentKind::Pay,
            LimitedKindForm::Transfer => PaymentKind::Transfer,
            LimitedKindForm::TopUp => PaymentKind::TopUp,
            LimitedKindForm::Payout => PaymentKind::Payout,
        }
    }
}

/// Make a limit: the most that an account, or all accounts of an owner together, may pay within a time.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LimitCreate {
    /// Name for tools, unique among the limits: 1 to 64 of `a-z 0-9 . _ -`.
    pub slug: String,
    /// Name of the file or tool that manages the limit, at most 64 bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub managed_by: Option<String>,
    /// Id of the account whose payments count. Give either this or `owner`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// Name of the owner whose payments count, from all of its accounts together.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub owner: Option<OwnerText>,
    /// Kinds of payments that count; all of them if left out. The payer of a top-up is the account that stands for the world outside.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kinds: Option<Vec<LimitedKindForm>>,
    /// Currency whose payments count. Left out, the currency of the account; of an owner, every currency.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub currency: Option<CurrencyForm>,
    /// How far back payments count, in seconds: 1 to 31,622,400, which is 366 days.
    #[schema(minimum = 1, maximum = 31_622_400)]
    pub window_seconds: u64,
    /// Most payments in the window. Give this or `amount_max`, or both.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(maximum = 9_007_199_254_740_991_u64)]
    pub payments_max: Option<u64>,
    /// Most that they may amount to together, in minor units. Requires a currency.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(maximum = 9_007_199_254_740_991_u64)]
    pub amount_max: Option<u64>,
}

/// Change a limit: what is left out stays; null gives a field its default. Another maximum keeps what was counted; other kinds, another
/// currency or another window begin to count anew.
#[derive(Clone, Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LimitUpdate {
    /// Revision that must be the newest, else the answer is `setting_conflict`. Left out, the change is made to whatever is newest.
    #[serde(skip_serializing_if = "Option::is_none")]
    revision: Option<u64>,
    /// Another name for tools.
    #[serde(skip_serializing_if = "Option::is_none")]
    slug: Option<String>,
    /// Another name of what manages the limit; null for nothing.
    #[serde(
        default,
        deserialize_with = "given",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Option<String>)]
    managed_by: Option<Option<String>>,
    /// Other kinds; null for all of them.
    #[serde(
        default,
        deserialize_with = "given",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Option<Vec<LimitedKindForm>>)]
    kinds: Option<Option<Vec<LimitedKindForm>>>,
    /// Another currency; null for that of the account, or for every currency.
    #[serde(
        default,
        deserialize_with = "given",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Option<String>)]
    currency: Option<Option<CurrencyForm>>,
    /// Another window.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 31_622_400)]
    window_seconds: Option<u64>,
    /// Another number of payments; null for any.
    #[serde(
        default,
        deserialize_with = "given",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Option<u64>)]
    payments_max: Option<Option<u64>>,
    /// Another amount; null for any.
    #[serde(
        default,
        deserialize_with = "given",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Option<u64>)]
    amount_max: Option<Option<u64>>,
}
