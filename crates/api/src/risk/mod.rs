//! Rules for risk as the API knows them: what rule sets and lists say, and the port through which the crate that applies them checks and
//! shows them.

mod history;
mod model;
mod terms;

pub use history::{
    BACKTEST_RECORDS_BEFORE, BACKTEST_RECORDS_DEFAULT, BACKTEST_RECORDS_MAX, Backtest,
    BacktestTerms, Comparison, FraudFigures, Verified,
};
pub use model::{
    DESCRIPTION_BYTES_MAX, MODEL_NAMES_BYTES_MAX, MODEL_PART_BYTES, ModelFacts, ModelFormat,
    ModelTerms, model_hash, model_parts, part_slug,
};
pub use terms::{
    FeatureForm, ListEntryForm, ListTerms, OnErrorForm, RuleEffect, RuleForm, RuleSetState,
    RuleSetTerms, ThresholdsForm,
};

use serde::Serialize;
use tributary_ledger::SettingId;
use utoipa::ToSchema;

use crate::error::ApiError;

/// Maximum number of rule sets that assess payments at once.
pub const AT_WORK_MAX: usize = 4;
/// Maximum number of rules in a set.
pub const RULES_MAX: usize = 200;
/// Maximum number of features of a set.
pub const FEATURES_MAX: usize = 24;
/// Maximum size of the name of a rule or a feature, bytes.
pub const NAME_BYTES_MAX: usize = 32;
/// Maximum number of points of a rule, up or down, and of a threshold.
pub const POINTS_MAX: i64 = 1_000;
/// Time for which a payment is held for review, if the rule set does not say, seconds.
pub const REVIEW_SECONDS_DEFAULT: u32 = 86_400;
/// Time for which a payment is held for its payer, if the rule set does not say, seconds.
pub const CHALLENGE_SECONDS_DEFAULT: u32 = 900;
/// Maximum time for which a payment is held for either, seconds.
pub const REVIEW_SECONDS_MAX: u32 = 30 * 86_400;
/// Maximum number of expressions in the key of a feature.
pub const KEY_PARTS_MAX: usize = 8;
/// Maximum number of features of a set that are scores of models.
pub const MODELS_MAX: usize = 4;
/// Maximum number of inputs of a model's score.
pub const INPUTS_MAX: usize = 256;
/// Maximum size of the name of an input, bytes.
pub const INPUT_NAME_BYTES_MAX: usize = 256;
/// Maximum number of entries of a list.
pub const ENTRIES_MAX: usize = 1_000;
/// Maximum size of the text of an entry, bytes.
pub const ENTRY_BYTES_MAX: usize = 256;
/// Maximum size of the note of an entry, bytes.
pub const NOTE_BYTES_MAX: usize = 256;

/// What a rule set did on this node since the node started, or the set changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = RuleSetFigures)]
pub struct RuleSetFigures {
    /// Payments that were assessed.
    pub assessed: u64,
    /// Of these, payments that it blocked, or in shadow would have blocked.
    pub blocked: u64,
    /// Of the assessed ones, payments that it held for review or for their payers, or in shadow would have held.
    pub held: u64,
    /// Payments for which a rule had no value.
    pub without_value: u64,
    /// Its rules, in order.
    pub rules: Vec<RuleFigures>,
    /// What is wrong with the set as it is: a stream, a list or a model that is not there or not as the set expects. Features without one are
    /// missing.
    pub problems: Vec<String>,
}

/// What a rule did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = RuleFigures)]
pub struct RuleFigures {
    /// Name.
    pub name: String,
    /// Payments for which its condition held.
    pub fired: u64,
    /// Payments for which its condition had no value.
    pub without_value: u64,
}

/// The rules of a server, as the API asks them: implemented by the crate that applies them.
pub trait Risk: Send + Sync {
    /// Checks what a rule set says.
    ///
    /// # Errors
    /// The field that is wrong, and what to do.
    fn check(&self, terms: &RuleSetTerms) -> Result<(), ApiError>;

    /// Reads the file of a model, and checks that the rule sets in shadow or active that name the model by this slug fit it.
    ///
    /// # Errors
    /// What is wrong with the file, and what to do.
    fn read_model(&self, slug: &str, file: &[u8]) -> Result<ModelFacts, ApiError>;

    /// Returns what a rule set did; none if it does not assess payments here.
    fn figures(&self, rule_set: SettingId) -> Option<RuleSetFigures>;

    /// Runs a rule set over the newest records, beside everything else, and keeps nothing of it.
    ///
    /// # Errors
    /// The field that is wrong, or why the journal can't be read.
    fn backtest(&self, asked: &BacktestTerms) -> Result<Backtest, ApiError>;
}

/// A server without rules: it checks nothing and assesses nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoRisk;

impl Risk for NoRisk {
    fn check(&self, _terms: &RuleSetTerms) -> Result<(), ApiError> {
        Ok(())
    }

    fn read_model(&self, _slug: &str, _file: &[u8]) -> Result<ModelFacts, ApiError> {
        let message = "file: this server has no rules, and reads no models.";
        Err(ApiError::invalid("file", message))
    }

    fn figures(&self, _rule_set: SettingId) -> Option<RuleSetFigures> {
        None
    }

    fn backtest(&self, _asked: &BacktestTerms) -> Result<Backtest, ApiError> {
        Ok(Backtest::default())
    }
}
