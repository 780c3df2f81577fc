//! Limits as they look from outside.

use serde::Serialize;
use tributary_engine::{IdKind, Reader};
use tributary_ledger::{Currency, Limit, LimitSubject, LimitTerms, PaymentKind, Setting};
use utoipa::ToSchema;
use utoipa::openapi::schema::Array;

use crate::form::limit::LimitedKindForm;
use crate::render::common::owner_name;
use crate::schema::one_of;
use crate::time::format_timestamp;

/// The most that an account, or all accounts of an owner together, may pay within a time.
#[derive(Serialize, ToSchema)]
#[schema(as = Limit)]
pub struct LimitObject {
    id: String,
    #[schema(pattern = "^limit$")]
    object: &'static str,
    /// Name for tools, unique among the limits.
    slug: String,
    /// Name of the file or tool that manages the limit.
    #[schema(required)]
    managed_by: Option<String>,
    /// Number of this revision, from 1.
    revision: u64,
    /// The account whose payments count; null if those of an owner do.
    #[schema(required)]
    account: Option<String>,
    /// Name of the owner whose payments count, from all of its accounts together; null if those of an account do.
    #[schema(required)]
    owner: Option<String>,
    /// Kinds of payments that count.
    #[schema(schema_with = kinds_schema)]
    kinds: Vec<&'static str>,
    /// Currency whose payments count; null for every currency.
    #[schema(required)]
    currency: Option<&'static str>,
    /// How far back payments count, in seconds.
    window_seconds: u64,
    /// Most payments in the window.
    #[schema(required)]
    payments_max: Option<u64>,
    /// Most that they may amount to together, in minor units.
    #[schema(required)]
    amount_max: Option<u64>,
    /// How much of the limit is used now; an event and a revision leave it out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    usage: Option<LimitUsageObject>,
    #[schema(format = DateTime)]
    created: String,
    /// When this revision was made.
    #[schema(format = DateTime)]
    updated: String,
}

/// How much of a limit is used.
#[derive(Serialize, ToSchema)]
#[schema(as = LimitUsage)]
pub struct LimitUsageObject {
    /// Payments in the window.
    payments: u64,
    /// What they amount to together, in minor units; null if the limit counts every currency.
    #[schema(required)]
    amount: Option<u64>,
    /// Since when payments are counted: earlier ones are not known to the limit.
    #[schema(format = DateTime)]
    counted_from: String,
    /// When the limit has counted for a whole window.
    #[schema(format = DateTime)]
    complete_from: String,
}

fn kinds_schema() -> Array {
    let names = LimitedKindForm::ALL.map(|kind| kind.ledger().name());
    Array::new(one_of(names))
}

/// Returns the limit that a setting says, without its usage.
pub fn limit(reader: &Reader, setting: &Setting, terms: &LimitTerms) -> LimitObject {
    let ids = reader.ids();
    let (account, owner) = match terms.subject {
        LimitSubject::Account(id) => (Some(ids.encode(IdKind::Account, id.0)), None),
        LimitSubject::Owner(id) => (None, Some(owner_name(reader, id))),
    };
    LimitObject {
        id: ids.encode_setting(setting.kind, setting.id),
        object: "limit",
        slug: setting.slug.to_string(),
        managed_by: setting.managed_by.as_ref().map(ToString::to_string),
        revision: setting.revision,
        account,
        owner,
        kinds: terms.kinds().map(PaymentKind::name).collect(),
        currency: terms.currency.map(Currency::code),
        window_seconds: terms.window_ns / 1_000_000_000,
        payments_max: terms.payments_max,
        amount_max: terms.amount_max,
        usage: None,
        created: format_timestamp(setting.created.timestamp),
        updated: format_timestamp(setting.changed.timestamp),
    }
}

impl LimitObject {
    /// Returns this limit with its usage, if it is in force.
    #[must_use]
    pub fn with_usage(self, reader: &Reader, setting: &Setting) -> LimitObject {
        let usage = |limit: Limit| {
            let (terms, used) = (
                limit.terms,
                limit.totals(reader.now().max(reader.head().timestamp)),
            );
            LimitUsageObject {
                payments: used.payments,
                amount: terms.currency.map(|_| used.amount),
                counted_from: format_timestamp(limit.since),
                complete_from: format_timestamp(limit.since.saturating_add(terms.window_ns)),
            }
        };
        LimitObject {
            usage: reader.limit(setting.id).map(usage),
            ..self
        }
    }
}
