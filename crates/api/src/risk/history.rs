//! Rules over what is recorded: what a rule set would have found, and whether what was found can be found again.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use super::{RuleFigures, RuleSetTerms};

/// Maximum number of records whose payments a backtest assesses.
pub const BACKTEST_RECORDS_MAX: u64 = 2_000_000;
/// Records whose payments a backtest assesses if nothing is said.
pub const BACKTEST_RECORDS_DEFAULT: u64 = 100_000;
/// Records before those whose payments are assessed, from which on a backtest computes figures of streams.
pub const BACKTEST_RECORDS_BEFORE: u64 = 2_000_000;

/// What a backtest is asked for.
#[derive(Clone, Debug)]
pub struct BacktestTerms {
    /// The rules; their state does not matter.
    pub rule_set: RuleSetTerms,
    /// How many of the newest records are looked at.
    pub records: u64,
    /// Condition over the payment and the features: whether it was fraud.
    pub fraud: Option<String>,
}

/// What a rule set would have found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Backtest)]
pub struct Backtest {
    /// `backtest`.
    #[schema(pattern = "^backtest$")]
    pub object: &'static str,
    /// First record whose payments were assessed; 0 if there is none.
    pub first: u64,
    /// Last record.
    pub last: u64,
    /// First record from which on figures of streams were computed.
    pub figures_from: u64,
    /// Payments that the rules are for.
    pub assessed: u64,
    /// Of these, payments that would have been blocked.
    pub blocked: u64,
    /// Payments that would have been held, for review or for their payers.
    pub held: u64,
    /// What the blocked and the held ones amount to by currency, in minor units; no more than 9,007,199,254,740,991 of each.
    pub stopped_amounts: BTreeMap<String, u64>,
    /// Payments for which a rule had no value.
    pub without_value: u64,
    /// The rules, in order.
    pub rules: Vec<RuleFigures>,
    /// How well they found fraud; null if the request does not say what fraud is.
    #[schema(required)]
    pub fraud: Option<FraudFigures>,
    /// How they differ from what was decided.
    pub compared: Comparison,
    /// Payments that stand too far back in their request, or whose assessment lies too far back, to be assessed as they were.
    pub not_assessed: u64,
}

/// How well rules found fraud.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = FraudFigures)]
pub struct FraudFigures {
    /// Payments that were fraud.
    pub frauds: u64,
    /// Of these, payments that would have been blocked or held.
    pub frauds_stopped: u64,
    /// Payments that were no fraud and would have been blocked or held.
    pub others_stopped: u64,
    /// Payments of which the condition can't say it.
    pub unknown: u64,
    /// Frauds among the blocked and held payments, in basis points; null if there are none of those.
    #[schema(required)]
    pub precision_basis_points: Option<u64>,
    /// Blocked and held payments among the frauds, in basis points; null if there was no fraud.
    #[schema(required)]
    pub recall_basis_points: Option<u64>,
}

/// How a rule set differs from what was decided with the rules of then.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = RuleComparison)]
pub struct Comparison {
    /// Payments that were assessed when they were made.
    pub assessed: u64,
    /// Payments that were neither blocked nor held, and would have been.
    pub newly_stopped: u64,
    /// Payments that were blocked or held, and would not have been.
    pub no_longer_stopped: u64,
    /// Ids of some payments that differ, the newest first.
    pub examples: Vec<String>,
}

/// Whether what is recorded of assessments can be found again from the journal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Verified {
    /// Position of the last record.
    pub records: u64,
    /// Assessments that are the same again, by each rule set.
    pub same: u64,
    /// Assessments that were not computed again: a stream, list or rule set was deleted, another version of the rules' meaning made them, or
    /// they stand too far back.
    pub not_comparable: u64,
    /// Assessments that differ.
    pub different: u64,
    /// The first ones of these: position of the record, and what differs.
    pub differences: Vec<(u64, String)>,
}
