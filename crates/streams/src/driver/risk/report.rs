//! How an assessment came about, as its record keeps it: JSON. docs/risk.md describes it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use tributary_api::risk::{RuleEffect, RuleSetState};
use tributary_ledger::Assessment;

use super::look::FeatureValues;
use super::ready::ReadySet;
use crate::expression::{LANGUAGE_VERSION, Scalar};
use crate::risk::{Effect, Finding, RULES_VERSION};

/// Names of each kind that a report lists, so that it has a bound.
const NAMES_MAX: usize = 8;
/// The same of a report that is shortened.
const NAMES_SHORT: usize = 2;

/// An assessment.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Report<'a> {
    /// Position of the record up to which figures count.
    pub(super) as_of: u64,
    /// Number of payments before it in the same request that count too.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(super) earlier: usize,
    /// When, in milliseconds.
    pub(super) at: i64,
    /// Versions of rules and of their expressions.
    pub(super) evaluator: [u32; 2],
    pub(super) effect: RuleEffect,
    /// Whether parts are left out, because they would not fit.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) is_shortened: bool,
    #[serde(borrow)]
    pub(super) rule_sets: Vec<SetReport<'a>>,
    /// Streams and lists that were looked at: by slug the id, and version or revision.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) streams: BTreeMap<String, (String, u64)>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) lists: BTreeMap<String, (String, u64)>,
    /// Models that scored: by slug the id, the revision, and the beginning of the hash of the file.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) models: BTreeMap<String, (String, u64, String)>,
}

/// What one rule set found.
#[derive(Debug, PartialEq, Deserialize, Serialize)]
pub(super) struct SetReport<'a> {
    pub(super) rule_set: &'a str,
    pub(super) revision: u64,
    pub(super) hash: &'a str,
    pub(super) state: RuleSetState,
    pub(super) effect: RuleEffect,
    pub(super) score: i64,
    pub(super) fired: Vec<&'a str>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) overridden: Vec<&'a str>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) without_value: Vec<&'a str>,
    pub(super) features: BTreeMap<&'a str, Json>,
}

impl Report<'_> {
    /// Versions of what assesses now.
    pub(super) const EVALUATOR: [u32; 2] = [RULES_VERSION, LANGUAGE_VERSION];

    /// The bytes that are recorded. Of a report that is too long, what can be said in short.
    pub(super) fn into_bytes(mut self) -> Vec<u8> {
        let bytes = |report: &Report<'_>| serde_json::to_vec(report).expect("a report is JSON");
        let whole = bytes(&self);
        if whole.len() <= Assessment::REPORT_BYTES_MAX {
            return whole;
        }
        self.is_shortened = true;
        self.streams.clear();
        self.lists.clear();
        self.models.clear();
        for set in &mut self.rule_sets {
            set.features.clear();
            set.fired.truncate(NAMES_SHORT);
            set.overridden.truncate(NAMES_SHORT);
            set.without_value.truncate(NAMES_SHORT);
        }
        bytes(&self)
    }
}

impl<'a> SetReport<'a> {
    pub(super) fn new(
        set: &'a ReadySet,
        finding: &Finding,
        values: &FeatureValues,
    ) -> SetReport<'a> {
        let names = |places: &[usize]| -> Vec<&'a str> {
            let places = places.iter().take(NAMES_MAX);
            places.map(|at| set.names[*at].as_str()).collect()
        };
        let features = set.features.iter().zip(values).map(|(feature, value)| {
            let value = match value {
                None => Json::Null,
                Some(Scalar::Int(value)) => Json::from(*value),
                Some(Scalar::Bool(value)) => Json::from(*value),
                Some(Scalar::String(_)) => unreachable!("features are numbers or truths"),
            };
            (feature.name.as_str(), value)
        });
        SetReport {
            rule_set: &set.name,
            revision: set.revision,
            hash: &set.hash,
            state: set.state,
            effect: named(finding.effect),
            score: finding.score,
            fired: names(&finding.fired),
            overridden: names(&finding.overridden),
            without_value: names(&finding.without_value),
            features: features.collect(),
        }
    }
}

/// An effect by its name in answers.
pub(super) fn named(effect: Effect) -> RuleEffect {
    match effect {
        Effect::Allow => RuleEffect::Allow,
        Effect::Review => RuleEffect::Review,
        Effect::Challenge => RuleEffect::Challenge,
        Effect::Block => RuleEffect::Block,
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_zero(count: &usize) -> bool {
    *count == 0
}
