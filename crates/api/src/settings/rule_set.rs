//! The kind `rule_set`: rules by which payments are assessed before they are decided.

use std::collections::HashSet;
use std::sync::Arc;

use serde_json::{Map, Value, json};
use tributary_engine::Reader;
use tributary_ledger::{Setting, SettingBody, SettingId, SettingKind, Slug};

use super::SettingType;
use super::defined::{
    DefinedType, check_text, encode, missing, parse_definition, unreadable, within,
};
use crate::caller::Caller;
use crate::error::ApiError;
use crate::form::rule_set::RuleSetCreate;
use crate::render::rule_set::{RuleSetObject, rule_set};
use crate::risk::{
    AT_WORK_MAX, FEATURES_MAX, FeatureForm, INPUT_NAME_BYTES_MAX, INPUTS_MAX, KEY_PARTS_MAX,
    MODELS_MAX, NAME_BYTES_MAX, POINTS_MAX, REVIEW_SECONDS_MAX, RULES_MAX, Risk, RuleEffect,
    RuleForm, RuleSetState, RuleSetTerms,
};

/// Maximum size of the name of a stream's figure, bytes.
const VALUE_BYTES_MAX: usize = 64;

/// The kind `rule_set`.
#[derive(Clone)]
pub struct RuleSetType {
    reader: Reader,
    risk: Arc<dyn Risk>,
}

impl RuleSetType {
    /// Rule sets as `reader` shows them, whose expressions `risk` checks.
    pub fn new(reader: Reader, risk: Arc<dyn Risk>) -> RuleSetType {
        RuleSetType { reader, risk }
    }

    /// Returns what a form says, checked, as that of a rule set that does not exist.
    ///
    /// # Errors
    /// The field that is wrong.
    pub fn checked(&self, form: RuleSetCreate) -> Result<RuleSetTerms, ApiError> {
        let terms = read(form, None)?;
        check_terms(&terms)?;
        self.risk.check(&terms)?;
        Ok(terms)
    }
}

impl SettingType for RuleSetType {
    fn kind(&self) -> SettingKind {
        SettingKind::RULE_SET
    }

    fn define(
        &self,
        caller: &Caller,
        _id: SettingId,
        slug: &Slug,
        definition: &Map<String, Value>,
        before: Option<&Setting>,
    ) -> Result<SettingBody, ApiError> {
        caller.must_be_platform()?;
        let form: RuleSetCreate = parse_definition(slug, definition)?;
        let before = before.map(terms_of).transpose()?;
        let terms = read(form, before.as_ref())?;
        check_terms(&terms)?;
        let computes_the_same = before.is_some_and(|before| before.digest() == terms.digest());
        // Rules that only rest from now on may do so, whatever became of their streams.
        if !computes_the_same || terms.state.is_at_work() {
            self.risk.check(&terms)?;
        }
        encode(SettingKind::RULE_SET, &terms)
    }

    fn mask(&self, _definition: &mut Map<String, Value>) -> Result<(), ApiError> {
        Ok(())
    }

    fn render(&self, setting: &Setting) -> Result<Value, ApiError> {
        let object = self.object(setting)?;
        Ok(serde_json::to_value(object).expect("an object is JSON"))
    }

    fn reveal(&self, _setting: &Setting) -> Result<Option<String>, ApiError> {
        Ok(None)
    }
}

impl DefinedType for RuleSetType {
    type Object = RuleSetObject;

    fn reader(&self) -> &Reader {
        &self.reader
    }

    fn definition(&self, setting: &Setting) -> Result<Map<String, Value>, ApiError> {
        let terms = terms_of(setting)?;
        let definition = json!({
            "state": terms.state,
            "where": terms.filter,
            "features": terms.features,
            "rules": terms.rules,
            "thresholds": terms.thresholds,
            "on_error": terms.on_error,
            "review_seconds": terms.review_seconds,
            "challenge_seconds": terms.challenge_seconds,
        });
        match definition {
            Value::Object(fields) => Ok(fields),
            _ => unreachable!("it was made as an object"),
        }
    }

    fn check_room(&self, before: Option<&Setting>, body: &SettingBody) -> Result<(), ApiError> {
        let kind = self.kind();
        let was_at_work = before.is_some_and(|before| is_at_work(kind, &before.body));
        if was_at_work || !is_at_work(kind, body) {
            return Ok(());
        }
        match count_at_work(&self.reader, |_| true) {
            ..AT_WORK_MAX => Ok(()),
            _ => Err(too_many_at_work()),
        }
    }

    fn object(&self, setting: &Setting) -> Result<RuleSetObject, ApiError> {
        Ok(rule_set(&self.reader, setting, terms_of(setting)?))
    }
}

/// Returns whether the body of a setting is that of a rule set that is in shadow or active.
pub(super) fn is_at_work(kind: SettingKind, body: &SettingBody) -> bool {
    let terms = || serde_json::from_slice(body.as_bytes());
    kind == SettingKind::RULE_SET
        && terms().is_ok_and(|terms: RuleSetTerms| terms.state.is_at_work())
}

/// Returns the number of rule sets that are in shadow or active and that `counts`.
pub(super) fn count_at_work(reader: &Reader, counts: impl Fn(SettingId) -> bool) -> usize {
    let all = reader.settings(SettingKind::RULE_SET, None).into_iter();
    all.filter(|setting| counts(setting.id) && is_at_work(setting.kind, &setting.body))
        .count()
}

/// Returns the error of one rule set too many that would be in shadow or active.
pub(super) fn too_many_at_work() -> ApiError {
    let message = format!(
        "At most {AT_WORK_MAX} rule sets can be in shadow or active at once: put another one to draft or retired first."
    );
    ApiError::invalid("state", message)
}

/// Returns what a form says.
fn read(form: RuleSetCreate, before: Option<&RuleSetTerms>) -> Result<RuleSetTerms, ApiError> {
    let was = before.map(|before| before.state);
    let state = match form.state {
        Some(wanted) => wanted.unwrap_or_default(),
        None => was.unwrap_or_default(),
    };
    if was == Some(RuleSetState::Retired) && state != RuleSetState::Retired {
        let message = "A retired rule set stays retired. Make another one.";
        return Err(ApiError::invalid("state", message));
    }
    Ok(RuleSetTerms {
        state,
        filter: form.filter,
        features: form.features.unwrap_or_default(),
        rules: form.rules,
        thresholds: form.thresholds.unwrap_or_default(),
        on_error: form.on_error.unwrap_or_default(),
        review_seconds: form.review_seconds,
        challenge_seconds: form.challenge_seconds,
    })
}

/// Checks everything but expressions.
fn check_terms(terms: &RuleSetTerms) -> Result<(), ApiError> {
    if terms.features.len() > FEATURES_MAX {
        let message = format!("features must be at most {FEATURES_MAX}.");
        return Err(ApiError::invalid("features", message));
    }
    let models = terms.features.values();
    if models.filter(|feature| feature.model.is_some()).count() > MODELS_MAX {
        let message = format!("features: at most {MODELS_MAX} may be scores of models.");
        return Err(ApiError::invalid("features", message));
    }
    for (name, feature) in &terms.features {
        let place = format!("features.{name}");
        check_name(&place, name)?;
        check_feature(&place, feature)?;
    }
    if !(1..=RULES_MAX).contains(&terms.rules.len()) {
        let message = format!("rules must be 1 to {RULES_MAX}.");
        return Err(ApiError::invalid("rules", message));
    }
    let mut names = HashSet::new();
    for (at, rule) in terms.rules.iter().enumerate() {
        let place = format!("rules[{at}].name");
        check_name(&place, &rule.name)?;
        if !names.insert(rule.name.as_str()) {
            let message = format!("{place}: another rule of the set has the same name.");
            return Err(ApiError::invalid(&place, message));
        }
    }
    for (at, rule) in terms.rules.iter().enumerate() {
        check_rule(&format!("rules[{at}]"), rule, &names)?;
    }
    let thresholds = [
        ("thresholds.block", terms.thresholds.block),
        ("thresholds.challenge", terms.thresholds.challenge),
        ("thresholds.review", terms.thresholds.review),
    ];
    for (param, least) in thresholds {
        if let Some(least) = least {
            within(param, i64::from(least), 1, POINTS_MAX)?;
        }
    }
    let times = [
        ("review_seconds", terms.review_seconds),
        ("challenge_seconds", terms.challenge_seconds),
    ];
    for (param, seconds) in times {
        if let Some(seconds) = seconds {
            within(param, i64::from(seconds), 1, i64::from(REVIEW_SECONDS_MAX))?;
        }
    }
    Ok(())
}

fn check_name(param: &str, name: &str) -> Result<(), ApiError> {
    let mut bytes = name.bytes();
    let is_sound = name.len() <= NAME_BYTES_MAX
        && bytes.next().is_some_and(|first| first.is_ascii_lowercase())
        && bytes.all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'));
    if is_sound {
        return Ok(());
    }
    let message = format!(
        "{param}: a name must be 1 to {NAME_BYTES_MAX} of a-z, 0-9 and underscore, and begin with a letter."
    );
    Err(ApiError::invalid(param, message))
}

/// Checks a feature but for its expressions. `place` is the feature in the form.
fn check_feature(place: &str, feature: &FeatureForm) -> Result<(), ApiError> {
    let field = |name: &str| format!("{place}.{name}");
    let refused = |name: &str, message: String| Err(ApiError::invalid(&field(name), message));
    let only_of_stream = |name: &str| format!("{} goes with stream only.", field(name));
    let parts = feature.key.len();
    if feature.model.is_none() {
        let only_of_model = |name: &str| format!("{} goes with model only.", field(name));
        if !feature.inputs.is_empty() {
            return refused("inputs", only_of_model("inputs"));
        }
        if !feature.optional.is_empty() {
            return refused("optional", only_of_model("optional"));
        }
    }
    match (&feature.stream, &feature.list, &feature.model) {
        (None, None, Some(model)) => {
            check_slug(&field("model"), model)?;
            check_score(place, feature)
        }
        (Some(_), Some(_), _) => {
            refused("list", "Give either stream or list, not both.".to_owned())
        }
        (_, _, Some(_)) => refused(
            "model",
            "Give stream, list or model, and no two of them.".to_owned(),
        ),
        (None, None, None) => Err(missing(&field("stream"), "Give stream, list or model.")),
        (Some(stream), None, None) => {
            check_slug(&field("stream"), stream)?;
            let value = feature.value.as_ref();
            let absent = || {
                missing(
                    &field("value"),
                    "A figure of a stream needs value: its name in emit.",
                )
            };
            check_text(&field("value"), value.ok_or_else(absent)?, VALUE_BYTES_MAX)?;
            match parts {
                1..=KEY_PARTS_MAX => Ok(()),
                _ => refused(
                    "key",
                    format!("{} must be 1 to {KEY_PARTS_MAX} expressions.", field("key")),
                ),
            }
        }
        (None, Some(list), None) => {
            check_slug(&field("list"), list)?;
            if feature.value.is_some() {
                return refused("value", only_of_stream("value"));
            }
            if feature.at.is_some() {
                return refused("at", only_of_stream("at"));
            }
            match parts {
                1 => Ok(()),
                _ => refused(
                    "key",
                    format!(
                        "{} must be one expression where there is a list.",
                        field("key")
                    ),
                ),
            }
        }
    }
}

/// Checks what a model is given but for its expressions. `place` is the feature in the form.
fn check_score(place: &str, feature: &FeatureForm) -> Result<(), ApiError> {
    let field = |name: &str| format!("{place}.{name}");
    let refused = |name: &str, message: String| Err(ApiError::invalid(&field(name), message));
    let others = [
        ("key", !feature.key.is_empty()),
        ("value", feature.value.is_some()),
        ("at", feature.at.is_some()),
    ];
    if let Some((name, _)) = others.iter().find(|(_, is_given)| *is_given) {
        let message = format!(
            "{} does not go with model: inputs says what the model is given.",
            field(name)
        );
        return refused(name, message);
    }
    if !(1..=INPUTS_MAX).contains(&feature.inputs.len()) {
        let message = format!(
            "{} must be 1 to {INPUTS_MAX} expressions, by the names of the model's features.",
            field("inputs")
        );
        return refused("inputs", message);
    }
    for name in feature.inputs.keys() {
        check_text(&field("inputs"), name, INPUT_NAME_BYTES_MAX)?;
    }
    for (at, name) in feature.optional.iter().enumerate() {
        let param = format!("optional[{at}]");
        if !feature.inputs.contains_key(name) {
            let message = format!("{}: inputs has no `{name}`.", field(&param));
            return refused(&param, message);
        }
        if feature.optional[..at].contains(name) {
            let message = format!("{}: `{name}` is named twice.", field(&param));
            return refused(&param, message);
        }
    }
    Ok(())
}

/// Checks the slug of another setting.
fn check_slug(param: &str, slug: &str) -> Result<(), ApiError> {
    match Slug::new(slug) {
        Ok(_) => Ok(()),
        Err(_) => Err(ApiError::invalid(param, format!("{param} must be a slug."))),
    }
}

/// Checks a rule but for its condition. `place` is the rule in the form; `names` are those of all rules of the set.
fn check_rule(place: &str, rule: &RuleForm, names: &HashSet<&str>) -> Result<(), ApiError> {
    if rule.effect.is_none() && rule.points.is_none() {
        let message = "Give effect or points, or both.";
        return Err(missing(&format!("{place}.effect"), message));
    }
    if let Some(points) = rule.points {
        within(&format!("{place}.points"), points, -POINTS_MAX, POINTS_MAX)?;
    }
    if !rule.overrides.is_empty() && rule.effect != Some(RuleEffect::Allow) {
        let param = format!("{place}.overrides");
        let message = format!("{param} goes with the effect allow only.");
        return Err(ApiError::invalid(&param, message));
    }
    for (at, name) in rule.overrides.iter().enumerate() {
        let param = format!("{place}.overrides[{at}]");
        if *name == rule.name {
            let message = format!("{param}: a rule can't override itself.");
            return Err(ApiError::invalid(&param, message));
        }
        if !names.contains(name.as_str()) {
            let message = format!("{param}: the set has no rule with this name.");
            return Err(ApiError::invalid(&param, message));
        }
    }
    Ok(())
}

fn terms_of(setting: &Setting) -> Result<RuleSetTerms, ApiError> {
    RuleSetTerms::from_setting(setting).map_err(|error| unreadable(setting, &error))
}
