//! What a rule set says, made ready to assess payments.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use tributary_api::risk::{
    CHALLENGE_SECONDS_DEFAULT, FeatureForm, OnErrorForm, REVIEW_SECONDS_DEFAULT, RuleEffect,
    RuleFigures, RuleForm, RuleSetFigures, RuleSetState, RuleSetTerms,
};
use tributary_engine::Reader;
use tributary_ledger::{Setting, SettingId};

use super::inputs::{Input, read_inputs};
use super::payment::{PaymentFields, payment_fields};
use crate::expression::{Expression, Schema, Type};
use crate::risk::{Effect, Finding, OnError, Rule, RuleSet};
use crate::stream::{DefinitionError, compile};

/// A rule set that can assess payments.
#[derive(Debug)]
pub(super) struct ReadySet {
    pub(super) id: SettingId,
    pub(super) revision: u64,
    /// Position of the record that made the rule set.
    pub(super) created: u64,
    /// Id in answers.
    pub(super) name: String,
    /// Digest of what is computed, in hexadecimal digits.
    pub(super) hash: String,
    pub(super) state: RuleSetState,
    /// Which payments are assessed.
    pub(super) filter: Option<Expression>,
    /// Those that are scores of models come last: they are computed from the others.
    pub(super) features: Vec<Feature>,
    pub(super) rules: RuleSet,
    review_seconds: u32,
    challenge_seconds: u32,
    /// Names of the rules.
    pub(super) names: Vec<String>,
    counts: Counts,
}

/// Something that rules know beside the payment.
#[derive(Debug)]
pub(super) struct Feature {
    pub(super) name: String,
    pub(super) source: Source,
    /// Expressions over the payment.
    pub(super) key: Vec<Expression>,
    /// As of when, in milliseconds; now if there is none.
    pub(super) at: Option<Expression>,
    /// Place of an earlier feature that asks the same, for another figure perhaps.
    pub(super) same_as: Option<usize>,
}

impl Feature {
    /// Whether the same is asked by another feature.
    fn asks_as(&self, other: &Feature) -> bool {
        let is_same_source = match (&self.source, &other.source) {
            (Source::Stream { slug, .. }, Source::Stream { slug: other, .. })
            | (Source::List { slug }, Source::List { slug: other }) => slug == other,
            _ => false,
        };
        let text = |feature: &Feature| {
            let parts = feature.key.iter().map(ToString::to_string);
            let key: Vec<String> = parts.collect();
            (key, feature.at.as_ref().map(ToString::to_string))
        };
        is_same_source && text(self) == text(other)
    }
}

/// Where a feature comes from, by slug.
#[derive(Debug)]
pub(super) enum Source {
    /// A whole number of a stream.
    Stream { slug: String, value: String },
    /// Whether a list has the text of the key.
    List { slug: String },
    /// The score of a model for these inputs, which are ordered by name.
    Model { slug: String, inputs: Vec<Input> },
}

#[derive(Debug, Default)]
struct Counts {
    assessed: AtomicU64,
    blocked: AtomicU64,
    held: AtomicU64,
    without_value: AtomicU64,
    fired: Vec<AtomicU64>,
    rules_without_value: Vec<AtomicU64>,
}

impl ReadySet {
    /// Makes a revision of a rule set ready; none if it assesses no payments.
    ///
    /// # Errors
    /// Why it can't be applied, as a sentence.
    pub(super) fn at_work(reader: &Reader, setting: &Setting) -> Result<Option<ReadySet>, String> {
        let terms = RuleSetTerms::from_setting(setting)
            .map_err(|error| format!("a later version of the server wrote it: {error}"))?;
        if !terms.state.is_at_work() {
            return Ok(None);
        }
        let name = reader.ids().encode_setting(setting.kind, setting.id);
        let ready = ReadySet::new(setting.id, setting.revision, name, &terms);
        let ready = ready.map_err(|error| error.to_string())?;
        Ok(Some(ReadySet {
            created: setting.created.position,
            ..ready
        }))
    }

    /// Makes a rule set ready.
    ///
    /// # Errors
    /// The field that is wrong, and what to do.
    pub(super) fn new(
        id: SettingId,
        revision: u64,
        name: String,
        terms: &RuleSetTerms,
    ) -> Result<ReadySet, DefinitionError> {
        let of_payment = schema_of_payments()?;
        let filter = terms.filter.as_ref();
        let filter = filter
            .map(|text| condition("where", text, &of_payment))
            .transpose()?;
        let for_models = schema_of_models(terms)?;
        let mut features: Vec<Feature> = in_order(terms)
            .map(|(name, form)| match form.model {
                Some(_) => score(name, form, &for_models),
                None => feature(name, form, &of_payment),
            })
            .collect::<Result<_, _>>()?;
        for at in 0..features.len() {
            let mut earlier = features[..at].iter();
            features[at].same_as = earlier.position(|other| features[at].asks_as(other));
        }
        let whole = schema_of_rules(terms)?;
        let places: BTreeMap<&str, usize> = (0..)
            .zip(&terms.rules)
            .map(|(at, rule)| (rule.name.as_str(), at))
            .collect();
        let rules = terms.rules.iter().enumerate();
        let rules: Vec<Rule> = rules
            .map(|(at, form)| rule(at, form, &places, &whole))
            .collect::<Result<_, _>>()?;
        let zeros = || rules.iter().map(|_| AtomicU64::new(0)).collect();
        Ok(ReadySet {
            id,
            revision,
            created: 0,
            name,
            hash: terms
                .digest()
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect(),
            state: terms.state,
            filter,
            review_seconds: terms.review_seconds.unwrap_or(REVIEW_SECONDS_DEFAULT),
            challenge_seconds: terms.challenge_seconds.unwrap_or(CHALLENGE_SECONDS_DEFAULT),
            features,
            names: terms.rules.iter().map(|rule| rule.name.clone()).collect(),
            counts: Counts {
                fired: zeros(),
                rules_without_value: zeros(),
                ..Counts::default()
            },
            rules: RuleSet {
                rules,
                thresholds: [
                    (terms.thresholds.block, Effect::Block),
                    (terms.thresholds.challenge, Effect::Challenge),
                    (terms.thresholds.review, Effect::Review),
                ]
                .into_iter()
                .filter_map(|(least, effect)| Some((i64::from(least?), effect)))
                .collect(),
                on_error: match terms.on_error {
                    OnErrorForm::Skip => OnError::Skip,
                    OnErrorForm::Review => OnError::Review,
                    OnErrorForm::Block => OnError::Block,
                },
            },
        })
    }

    /// Slugs of the models whose scores are features.
    pub(super) fn models(&self) -> impl Iterator<Item = &str> {
        self.features
            .iter()
            .filter_map(|feature| match &feature.source {
                Source::Model { slug, .. } => Some(slug.as_str()),
                Source::Stream { .. } | Source::List { .. } => None,
            })
    }

    /// Whether a payment is assessed by this set. A condition without a value is never silently false.
    pub(super) fn is_for(&self, payment: &PaymentFields<'_>) -> bool {
        let filter = self.filter.as_ref();
        filter.is_none_or(|filter| filter.holds(payment).unwrap_or(true))
    }

    /// Time for which a payment with this effect is held, seconds; 0 if it is not held.
    pub(super) fn held_seconds(&self, effect: Effect) -> u32 {
        match effect {
            Effect::Review => self.review_seconds,
            Effect::Challenge => self.challenge_seconds,
            Effect::Allow | Effect::Block => 0,
        }
    }

    /// Counts what was found about a payment.
    pub(super) fn count(&self, finding: &Finding) {
        let counts = &self.counts;
        let add = |counter: &AtomicU64, is_one: bool| {
            counter.fetch_add(u64::from(is_one), Ordering::Relaxed);
        };
        add(&counts.assessed, true);
        add(&counts.blocked, finding.effect == Effect::Block);
        let held = [Effect::Review, Effect::Challenge];
        add(&counts.held, held.contains(&finding.effect));
        add(&counts.without_value, !finding.without_value.is_empty());
        finding
            .fired
            .iter()
            .for_each(|at| add(&counts.fired[*at], true));
        finding
            .without_value
            .iter()
            .for_each(|at| add(&counts.rules_without_value[*at], true));
    }

    /// What it did, with what is wrong with it.
    pub(super) fn figures(&self, problems: Vec<String>) -> RuleSetFigures {
        let counts = &self.counts;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let rules = self.names.iter().enumerate().map(|(at, name)| RuleFigures {
            name: name.clone(),
            fired: read(&counts.fired[at]),
            without_value: read(&counts.rules_without_value[at]),
        });
        RuleSetFigures {
            assessed: read(&counts.assessed),
            blocked: read(&counts.blocked),
            held: read(&counts.held),
            without_value: read(&counts.without_value),
            rules: rules.collect(),
            problems,
        }
    }
}

/// Name of the field with what a payment was, which follows the features.
const LABEL: &str = "label";

/// Compiles the condition `fraud` of a backtest: over the payment, the features of a rule set, and the label of the payment.
pub(super) fn fraud_condition(
    text: &str,
    terms: &RuleSetTerms,
) -> Result<Expression, DefinitionError> {
    let label = (LABEL.to_owned(), Type::String);
    let fields = fields_of_rules(terms)?.chain([label]);
    condition("fraud", text, &schema(fields.collect())?)
}

fn schema_of_payments() -> Result<Schema, DefinitionError> {
    schema(payment_fields().collect())
}

/// The features of a rule set in the order in which they are computed.
fn in_order(terms: &RuleSetTerms) -> impl Iterator<Item = (&String, &FeatureForm)> {
    let is_score = |form: &FeatureForm| form.model.is_some();
    let others = terms
        .features
        .iter()
        .filter(move |(_, form)| !is_score(form));
    others.chain(
        terms
            .features
            .iter()
            .filter(move |(_, form)| is_score(form)),
    )
}

/// What models are given: the payment, and the features that are no scores.
fn schema_of_models(terms: &RuleSetTerms) -> Result<Schema, DefinitionError> {
    let inputs = in_order(terms).filter(|(_, form)| form.model.is_none());
    schema(fields_over(inputs).collect())
}

fn schema_of_rules(terms: &RuleSetTerms) -> Result<Schema, DefinitionError> {
    schema(fields_of_rules(terms)?.collect())
}

fn fields_of_rules(
    terms: &RuleSetTerms,
) -> Result<impl Iterator<Item = (String, Type)>, DefinitionError> {
    let taken = |name: &&String| payment_fields().any(|(path, _)| path == **name);
    if let Some(name) = terms.features.keys().find(taken) {
        return Err(DefinitionError::new(
            format!("features.{name}"),
            "payments have a field of this name",
            "choose another name",
        ));
    }
    Ok(fields_over(in_order(terms)))
}

/// The fields of a payment, and those of these features.
fn fields_over<'t>(
    features: impl Iterator<Item = (&'t String, &'t FeatureForm)>,
) -> impl Iterator<Item = (String, Type)> {
    let features = features.map(|(name, form)| {
        let kind = match form.list {
            Some(_) => Type::Bool,
            None => Type::Int,
        };
        (name.clone(), kind)
    });
    payment_fields().chain(features)
}

fn schema(fields: Vec<(String, Type)>) -> Result<Schema, DefinitionError> {
    Schema::new(fields)
        .map_err(|error| DefinitionError::new("features", error.to_string(), "choose other names"))
}

fn condition(field: &str, text: &str, schema: &Schema) -> Result<Expression, DefinitionError> {
    let expression = compile(field, text, schema)?;
    match expression.result_type() {
        Type::Bool => Ok(expression),
        other => Err(DefinitionError::new(
            field,
            format!("the result is {other}"),
            "compare it with something, so that it is true or false",
        )),
    }
}

fn feature(name: &str, form: &FeatureForm, schema: &Schema) -> Result<Feature, DefinitionError> {
    let place = format!("features.{name}");
    let key = form.key.iter().enumerate();
    let key: Vec<Expression> = key
        .map(|(at, text)| compile(&format!("{place}.key[{at}]"), text, schema))
        .collect::<Result<_, _>>()?;
    let at = form.at.as_ref();
    let at = at
        .map(|text| {
            let field = format!("{place}.at");
            let at = compile(&field, text, schema)?;
            match at.result_type() {
                Type::Int => Ok(at),
                other => Err(DefinitionError::new(
                    field,
                    format!("the result is {other}"),
                    "give milliseconds since 1970, such as int(metadata.time) * 1000",
                )),
            }
        })
        .transpose()?;
    let source = match (&form.stream, &form.value, &form.list) {
        (Some(slug), Some(value), None) => Source::Stream {
            slug: slug.clone(),
            value: value.clone(),
        },
        (None, None, Some(slug)) => Source::List { slug: slug.clone() },
        _ => {
            return Err(DefinitionError::new(
                place,
                "neither a figure of a stream nor a list",
                "give either stream and value, or list",
            ));
        }
    };
    Ok(Feature {
        name: name.to_owned(),
        source,
        key,
        at,
        same_as: None,
    })
}

fn score(name: &str, form: &FeatureForm, schema: &Schema) -> Result<Feature, DefinitionError> {
    let place = format!("features.{name}");
    Ok(Feature {
        name: name.to_owned(),
        source: Source::Model {
            slug: form.model.clone().unwrap_or_default(),
            inputs: read_inputs(&place, form, schema)?,
        },
        key: Vec::new(),
        at: None,
        same_as: None,
    })
}

fn rule(
    at: usize,
    form: &RuleForm,
    places: &BTreeMap<&str, usize>,
    schema: &Schema,
) -> Result<Rule, DefinitionError> {
    let overrides = form.overrides.iter().enumerate().map(|(number, name)| {
        let found = places.get(name.as_str()).copied();
        found.ok_or_else(|| {
            DefinitionError::new(
                format!("rules[{at}].overrides[{number}]"),
                format!("the set has no rule `{name}`"),
                "give the name of one",
            )
        })
    });
    Ok(Rule {
        when: condition(&format!("rules[{at}].when"), &form.when, schema)?,
        effect: form.effect.map(|effect| match effect {
            RuleEffect::Allow => Effect::Allow,
            RuleEffect::Review => Effect::Review,
            RuleEffect::Challenge => Effect::Challenge,
            RuleEffect::Block => Effect::Block,
        }),
        points: form.points.unwrap_or(0),
        overrides: overrides.collect::<Result<_, _>>()?,
    })
}
