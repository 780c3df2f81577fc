//! The bodies of requests about rule sets.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::form::json::given;
use crate::risk::{FeatureForm, OnErrorForm, RuleForm, RuleSetState, ThresholdsForm};

/// Make a rule set: rules by which payments are assessed before they are decided.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RuleSetCreate {
    /// Name for tools, unique among the rule sets: 1 to 64 of `a-z 0-9 . _ -`.
    pub slug: String,
    /// Name of the file or tool that manages the rule set, at most 64 bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub managed_by: Option<String>,
    /// What the rules are used for; `draft` if left out. At most 4 rule sets are in shadow or active at once. As it is, if left out of a
    /// file of settings.
    #[serde(
        default,
        deserialize_with = "given",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Option<RuleSetState>)]
    pub state: Option<Option<RuleSetState>>,
    /// Condition over the payment, an expression (docs/expressions.md): which payments are assessed; every payment if left out.
    #[serde(rename = "where", skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    /// What the rules know beside the payment, by name: at most 24 features. A name is 1 to 32 of `a-z 0-9 _`, the first a letter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub features: Option<BTreeMap<String, FeatureForm>>,
    /// The rules: 1 to 200.
    pub rules: Vec<RuleForm>,
    /// Scores at which something is done with a payment though no rule says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thresholds: Option<ThresholdsForm>,
    /// Time for which a payment is held for review, seconds: 1 to 2,592,000; a day if left out. Then it expires.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 2_592_000)]
    pub review_seconds: Option<u32>,
    /// Time for which a payment is held until its payer confirms it, seconds: 1 to 2,592,000; 15 minutes if left out. Then it expires.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 2_592_000)]
    pub challenge_seconds: Option<u32>,
    /// What a rule without a value does; `skip` if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_error: Option<OnErrorForm>,
}

/// See what rules would have found in the payments that are recorded.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BacktestCreate {
    /// The rule set, as it would be made; its state does not matter.
    pub rule_set: RuleSetCreate,
    /// Number of the newest records whose payments are assessed, up to 2,000,000; 100,000 if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 2_000_000)]
    pub records: Option<u64>,
    /// Condition over the payment, the features and `label`, which people gave it: whether the payment was fraud. An expression
    /// (docs/expressions.md).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fraud: Option<String>,
}

/// Change a rule set: what is left out stays. A table such as `features` and the array `rules` are replaced as a whole; null gives a field
/// its default. A retired rule set stays retired.
#[derive(Clone, Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RuleSetUpdate {
    /// Revision that must be the newest, else the answer is `setting_conflict`. Left out, the change is made to whatever is newest.
    #[serde(skip_serializing_if = "Option::is_none")]
    revision: Option<u64>,
    /// Another name for tools.
    #[serde(skip_serializing_if = "Option::is_none")]
    slug: Option<String>,
    /// Another name of what manages the rule set; null for nothing.
    #[serde(
        default,
        deserialize_with = "given",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Option<String>)]
    managed_by: Option<Option<String>>,
    #[serde(
        default,
        deserialize_with = "given",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Option<RuleSetState>)]
    state: Option<Option<RuleSetState>>,
    #[serde(
        rename = "where",
        default,
        deserialize_with = "given",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Option<String>)]
    filter: Option<Option<String>>,
    #[serde(
        default,
        deserialize_with = "given",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Option<BTreeMap<String, FeatureForm>>)]
    features: Option<Option<BTreeMap<String, FeatureForm>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rules: Option<Vec<RuleForm>>,
    #[serde(
        default,
        deserialize_with = "given",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Option<ThresholdsForm>)]
    thresholds: Option<Option<ThresholdsForm>>,
    #[serde(
        default,
        deserialize_with = "given",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 2_592_000)]
    review_seconds: Option<Option<u32>>,
    #[serde(
        default,
        deserialize_with = "given",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 2_592_000)]
    challenge_seconds: Option<Option<u32>>,
    #[serde(
        default,
        deserialize_with = "given",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Option<OnErrorForm>)]
    on_error: Option<Option<OnErrorForm>>,
}
