//! The ledger: the rules of money.
//!
//! A [`Command`] is a request; [`decide`] reads the [`WorkingSet`] and returns an [`Outcome`];
//! [`apply`] changes the set; [`codec`] encodes command and outcome as one record.
//! All functions are pure and total: the same set, command and [`Context`] give the same bytes on every machine.
//!
//! **It must not know** of files, databases, networks, clocks, threads, randomness or floating point. Time and
//! positions arrive in [`Context`]; the engine finds repeated commands before it calls the ledger.

#![deny(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::float_arithmetic
)]
#![forbid(unsafe_code)]

pub mod chain;
pub mod codec;
pub mod hash;
pub mod shares;

mod account;
mod api_key;
mod apply;
mod assessment;
mod audience;
mod command;
mod context;
mod currencies;
mod decide;
mod details;
mod digest;
mod event;
mod hold_permission;
mod ids;
mod index;
mod leg;
mod limit;
#[cfg(test)]
mod lints;
mod lookups;
mod money;
mod names;
mod ordered;
mod origin;
mod outcome;
mod owner;
mod payment;
mod queue;
mod ranks;
mod reference;
mod rejection;
mod review;
mod set;
mod setting;
mod shared_bound;
mod slab;
mod text;
mod time;

pub use account::{Account, AccountKind, AccountStatus, Overdraft};
pub use api_key::{API_KEY_OVERLAP_MAX, Access, ApiKey, ApiKeyStatus, PreviousSecret};
pub use apply::{apply, apply_record, apply_sparse};
pub use assessment::{Assessment, Effect, ReviewTerms};
pub use audience::{Audience, audience};
pub use command::{
    Actor, Approve, Body, Capture, Command, CreateApiKey, CreateOwner, DeleteSetting, Destination,
    Fee, Fees, Hold, Investigate, NAMED_ACCOUNTS_MAX, OpenAccount, Part, Pay, PayeeAmount,
    PayeeAmounts, Payees, PaymentKind, Publish, PutSetting, Queue, Refund, ReturnPayout,
    SettlePayout, Share, Update,
};
pub use context::Context;
pub use decide::{decide, decide_group, decide_into, refund_limits, refuse};
pub use details::{
    Details, ObjectId, OwnerKind, OwnerProfile, OwnerStatus, ProfileChange, TextState, Updated,
};
pub use event::event_type;
pub use hold_permission::HoldRefusal;
pub use ids::{AccountId, ApiKeyId, MaybeAccount, OwnerId, PaymentId, SettingId};
pub use index::{index_command_keys, index_keys};
pub use leg::{LEGS_MAX, Leg, SHARES_MAX};
pub use limit::{
    LIMIT_BUCKETS, LIMIT_WINDOW_NS_MAX, LIMIT_WINDOW_NS_MIN, LIMITED_KINDS, LIMITS_PER_PAYMENT_MAX,
    LIMITS_PER_SUBJECT_MAX, Limit, LimitCounts, LimitSubject, LimitTerms, LimitTotals, LimitUse,
    NoLimit,
};
pub use lookups::{LOADING_STAGES_MAX, missing_lookups};
pub use money::{AMOUNT_MAX, Currency, DATE_NANOS, Date, UnknownCurrency};
pub use names::Invalid;
pub use origin::{Origin, ReplyAddress};
pub use outcome::Outcome;
pub use owner::{Owner, OwnerRef};
pub use payment::{Payment, PaymentShare, PaymentStatus, Review, SplitBase};
pub use queue::{Priority, QueueMode, QueueState, QueueTerms, ReplyTo};
pub use reference::ReferenceSpace;
pub use rejection::Rejection;
pub use review::{ReviewKind, ReviewStage, RiskLabel};
pub use set::{CurrencyTotals, Lookups, Residency, WorkingSet};
pub use setting::{
    KindRules, PutBy, SETTING_KINDS, SETTINGS_BYTES_MAX, Setting, SettingBody, SettingChange,
    SettingEvents, SettingKind,
};
pub use shared_bound::{BoundReached, BoundUse, SharedBound};
pub use text::{
    CorrelationId, Data, ExternalId, Key, Label, ManagedBy, OrderKey, OwnerName, Reason, Reference,
    Slug, Text, Topic,
};
pub use time::{AdvanceTime, TIME_OFFSET_NS_MAX, TimeOffset};

/// Version of the rules in this crate. Frames carry the version; `verify` decides again only records of
/// its own version. Raise the version with every change after which some command would have another outcome.
pub const RULES_VERSION: u16 = 1;

/// Newest version of the layout of records that [`codec`] knows. A reader of records of some version reads all earlier ones too: what
/// a version adds is marked by a flag or a number that earlier ones do not have. Frames carry the version.
pub const FORMAT_VERSION: u16 = if cfg!(feature = "next-format") { 2 } else { 1 };
