//! Rule sets as they look from outside.

use std::collections::BTreeMap;

use serde::Serialize;
use tributary_engine::Reader;
use tributary_ledger::Setting;
use utoipa::ToSchema;

use crate::risk::{
    CHALLENGE_SECONDS_DEFAULT, FeatureForm, OnErrorForm, REVIEW_SECONDS_DEFAULT, RuleForm,
    RuleSetFigures, RuleSetState, RuleSetTerms, ThresholdsForm,
};
use crate::time::format_timestamp;

/// Rules by which payments are assessed before they are decided.
#[derive(Serialize, ToSchema)]
#[schema(as = RuleSet)]
pub struct RuleSetObject {
    id: String,
    #[schema(pattern = "^rule_set$")]
    object: &'static str,
    /// Name for tools, unique among the rule sets.
    slug: String,
    /// Name of the file or tool that manages the rule set.
    #[schema(required)]
    managed_by: Option<String>,
    /// Number of this revision, from 1.
    revision: u64,
    /// What is computed, as 16 hexadecimal digits: the same as long as only the names, the manager and the state of the rule set change.
    hash: String,
    state: RuleSetState,
    /// Which payments are assessed; null for every payment.
    #[serde(rename = "where")]
    #[schema(required)]
    filter: Option<String>,
    features: BTreeMap<String, FeatureForm>,
    rules: Vec<RuleForm>,
    thresholds: ThresholdsForm,
    on_error: OnErrorForm,
    /// Time for which a payment is held for review, seconds.
    #[schema(minimum = 1)]
    review_seconds: u32,
    /// Time for which a payment is held until its payer confirms it, seconds.
    #[schema(minimum = 1)]
    challenge_seconds: u32,
    /// What the rule set did; null if it does not assess payments. Only in the answer to a request for one rule set.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<RuleSetFigures>)]
    figures: Option<Option<RuleSetFigures>>,
    #[schema(format = DateTime)]
    created: String,
    /// When this revision was made.
    #[schema(format = DateTime)]
    updated: String,
}

/// Returns the rule set that a setting defines, without its figures.
pub fn rule_set(reader: &Reader, setting: &Setting, terms: RuleSetTerms) -> RuleSetObject {
    RuleSetObject {
        id: reader.ids().encode_setting(setting.kind, setting.id),
        object: "rule_set",
        slug: setting.slug.to_string(),
        managed_by: setting.managed_by.as_ref().map(ToString::to_string),
        revision: setting.revision,
        hash: hex::encode(terms.digest()),
        state: terms.state,
        filter: terms.filter,
        features: terms.features,
        rules: terms.rules,
        thresholds: terms.thresholds,
        on_error: terms.on_error,
        review_seconds: terms.review_seconds.unwrap_or(REVIEW_SECONDS_DEFAULT),
        challenge_seconds: terms.challenge_seconds.unwrap_or(CHALLENGE_SECONDS_DEFAULT),
        figures: None,
        created: format_timestamp(setting.created.timestamp),
        updated: format_timestamp(setting.changed.timestamp),
    }
}

impl RuleSetObject {
    /// Returns this rule set with what it did; none if it does not assess payments.
    #[must_use]
    pub fn with_figures(self, figures: Option<RuleSetFigures>) -> RuleSetObject {
        RuleSetObject {
            figures: Some(figures),
            ..self
        }
    }
}
