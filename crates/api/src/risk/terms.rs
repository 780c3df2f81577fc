//! What rule sets and lists say, as their settings keep it: JSON.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tributary_ledger::Setting;
use utoipa::ToSchema;

/// Rules by which payments are assessed before they are decided.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RuleSetTerms {
    /// What the rules are used for.
    pub state: RuleSetState,
    /// Which payments are assessed; every payment if left out.
    #[serde(rename = "where")]
    pub filter: Option<String>,
    /// What the rules know beside the payment, by name.
    pub features: BTreeMap<String, FeatureForm>,
    /// The rules, each with a name of its own.
    pub rules: Vec<RuleForm>,
    /// Scores at which a payment is blocked though no rule says so.
    pub thresholds: ThresholdsForm,
    /// What a rule without a value does.
    pub on_error: OnErrorForm,
    /// Time for which a payment is held for review, seconds; [`REVIEW_SECONDS_DEFAULT`](super::REVIEW_SECONDS_DEFAULT) if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub review_seconds: Option<u32>,
    /// Time for which a payment is held for its payer, seconds; [`CHALLENGE_SECONDS_DEFAULT`](super::CHALLENGE_SECONDS_DEFAULT) if left
    /// out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub challenge_seconds: Option<u32>,
}

impl RuleSetTerms {
    /// Reads the content of a setting.
    ///
    /// # Errors
    /// If a later version of the server wrote it.
    pub fn from_setting(setting: &Setting) -> serde_json::Result<RuleSetTerms> {
        serde_json::from_slice(setting.body.as_bytes())
    }

    /// Returns a digest of what is computed, whatever it is used for.
    #[must_use]
    pub fn digest(&self) -> [u8; 8] {
        let bare = RuleSetTerms {
            state: RuleSetState::Draft,
            ..self.clone()
        };
        let bytes = serde_json::to_vec(&bare).expect("terms are JSON");
        *blake3::hash(&bytes)
            .as_bytes()
            .first_chunk()
            .expect("32 bytes hold 8")
    }
}

/// What rules are used for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = RuleSetState)]
pub enum RuleSetState {
    /// Nothing yet.
    #[default]
    Draft,
    /// What they would do is recorded with each payment, and they do nothing.
    Shadow,
    /// They decide.
    Active,
    /// Nothing any more.
    Retired,
}

impl RuleSetState {
    /// Whether payments are assessed.
    #[must_use]
    pub fn is_at_work(self) -> bool {
        matches!(self, RuleSetState::Shadow | RuleSetState::Active)
    }
}

/// Something that rules know beside the payment: a figure of a stream, whether a list has an entry, or the score of a model.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = RuleFeature)]
pub struct FeatureForm {
    /// Slug of the stream whose figure it is. Give this, `list` or `model`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<String>,
    /// Name of the figure in the stream's `emit`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// Slug of the list. The feature is true if the list has an entry with the text of the key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub list: Option<String>,
    /// Slug of the model that scores the payment: the feature is a whole number from 0 to 1,000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// What the model is given: by the name of each of its features an expression over the payment and the features of the set that are no
    /// scores, a whole number.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub inputs: BTreeMap<String, String>,
    /// Names of inputs that may be missing, as an empty cell was in training. Without any other input the feature is missing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub optional: Vec<String>,
    /// Key whose figure it is: expressions over the payment, as many as the stream's `key` has fields, and of their types; of a list one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub key: Vec<String>,
    /// Expression over the payment: as of when, in milliseconds since 1970-01-01T00:00:00Z; as of now if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
}

/// A rule: a condition, and what happens where it holds.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Rule)]
pub struct RuleForm {
    /// Name, unique in its set: 1 to 32 of `a-z 0-9 _`, the first a letter.
    pub name: String,
    /// Condition over the payment and the features, an expression (docs/expressions.md).
    pub when: String,
    /// What is done with the payment. Give this or `points`, or both.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effect: Option<RuleEffect>,
    /// What is added to the score: -1,000 to 1,000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = -1_000, maximum = 1_000)]
    pub points: Option<i64>,
    /// Names of rules that do not count where this one holds. Only with the effect `allow`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub overrides: Vec<String>,
}

/// What a rule does with a payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = RuleEffect)]
pub enum RuleEffect {
    /// Nothing; rules that it overrides do not count.
    Allow,
    /// Its amount is held until the platform approves it.
    Review,
    /// Its amount is held until its payer confirms it, or the platform approves it.
    Challenge,
    /// It is refused.
    Block,
}

/// Scores at which something is done with a payment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = RuleThresholds)]
pub struct ThresholdsForm {
    /// Score from which on a payment is blocked: 1 to 1,000; never if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 1_000)]
    pub block: Option<u16>,
    /// Score from which on a payment is challenged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 1_000)]
    pub challenge: Option<u16>,
    /// Score from which on a payment is reviewed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 1_000)]
    pub review: Option<u16>,
}

/// What a rule does whose condition has no value, for want of a field or a feature.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = RuleOnError)]
pub enum OnErrorForm {
    /// It is left out, and recorded as without a value.
    #[default]
    Skip,
    /// It has the payment reviewed.
    Review,
    /// It blocks the payment.
    Block,
}

/// A list of texts, such as names of owners or devices.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ListTerms {
    /// The entries, each text once.
    pub entries: Vec<ListEntryForm>,
}

impl ListTerms {
    /// Reads the content of a setting.
    ///
    /// # Errors
    /// If a later version of the server wrote it.
    pub fn from_setting(setting: &Setting) -> serde_json::Result<ListTerms> {
        serde_json::from_slice(setting.body.as_bytes())
    }
}

/// An entry of a list.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ListEntryForm {
    /// The text: 1 to 256 bytes.
    pub value: String,
    /// When the entry ends by itself, in milliseconds since 1970-01-01T00:00:00Z; never if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until_ms: Option<u64>,
    /// Why it is there: at most 256 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}
