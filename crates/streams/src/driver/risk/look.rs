//! A rule set and a payment: what its features are, and what it finds.

use super::payment::{NS_PER_MS, PAYMENT_FIELDS_LEN, PaymentFields};
use super::ready::{Feature, ReadySet, Source};
use crate::driver::runner::Runner;
use crate::expression::{FieldId, Fields, Scalar, Type, Value};
use crate::risk::Finding;
use crate::stream::{Expected, OwnedScalar};

/// Values of the features of a rule set, in order; none for those that are missing.
pub(super) type FeatureValues = Vec<Option<Scalar<'static>>>;

/// Where features come from.
pub(super) trait Known {
    /// The stream with this slug, if its figures can be looked at.
    fn runner(&self, slug: &str) -> Option<&Runner>;

    /// What is expected of the stream with this slug beside what it has taken.
    fn expected(&self, slug: &str) -> Option<&Expected>;

    /// Whether the list with this slug has the text at a time in milliseconds; none if there is no such list.
    fn is_listed(&self, slug: &str, text: &str, at_ms: i64) -> Option<bool>;
}

/// What is asked of a stream or a list about a payment: the key, and the time in milliseconds.
struct Question<'p> {
    key: Vec<Scalar<'p>>,
    at_ms: i64,
}

/// Questions of a rule set about a payment, by feature: one for those that ask the same. None for one whose key or time has no value.
pub(super) struct Questions<'p> {
    set: &'p ReadySet,
    asked: Vec<Option<Question<'p>>>,
    at_ms: i64,
}

impl<'p> Questions<'p> {
    /// Makes the questions about a payment that is assessed at a time in milliseconds.
    pub(super) fn new(
        set: &'p ReadySet,
        payment: &'p PaymentFields<'p>,
        at_ms: i64,
    ) -> Questions<'p> {
        let ask = |feature: &'p Feature| {
            if feature.same_as.is_some() {
                return None;
            }
            let at_ms = match &feature.at {
                None => at_ms,
                Some(at) => match at.evaluate(payment) {
                    Ok(Scalar::Int(at)) => at,
                    _ => return None,
                },
            };
            let key = feature.key.iter().map(|part| part.evaluate(payment).ok());
            let key = key.collect::<Option<_>>()?;
            Some(Question { key, at_ms })
        };
        Questions {
            set,
            asked: set.features.iter().map(ask).collect(),
            at_ms,
        }
    }

    /// Looks the features up, but for scores of models.
    pub(super) fn look(&self, known: &dyn Known) -> FeatureValues {
        let features = &self.set.features;
        let mut figures: Vec<Option<Vec<Option<OwnedScalar>>>> = Vec::new();
        figures.resize_with(features.len(), || None);
        let values = features.iter().enumerate().map(|(number, feature)| {
            let leader = feature.same_as.unwrap_or(number);
            let question = self.asked[leader].as_ref()?;
            let (slug, value) = match &feature.source {
                Source::Stream { slug, value } => (slug, value),
                Source::List { slug } => {
                    let listed = match question.key.first()? {
                        Scalar::String(text) => known.is_listed(slug, text, self.at_ms),
                        Scalar::Int(number) => {
                            known.is_listed(slug, &number.to_string(), self.at_ms)
                        }
                        Scalar::Bool(value) => {
                            known.is_listed(slug, &value.to_string(), self.at_ms)
                        }
                    };
                    return listed.map(Scalar::Bool);
                }
                Source::Model { .. } => return None,
            };
            let runner = known.runner(slug)?;
            let place = place_of(runner, feature, value).ok()?;
            let none = Expected::default();
            let expected = known.expected(slug).unwrap_or(&none);
            if figures[leader].is_none() {
                let time = question.at_ms.checked_mul(NS_PER_MS)?;
                let looked = runner.ready.stream.look(&question.key, time, expected);
                figures[leader] = Some(looked.ok()?);
            }
            match figures[leader].as_ref()?[place].as_ref()?.as_scalar() {
                Scalar::Int(value) => Some(Scalar::Int(value)),
                _ => None,
            }
        });
        values.collect()
    }
}

/// Assesses a payment by a rule set that knows these features of it.
pub(super) fn assess(
    set: &ReadySet,
    payment: &PaymentFields<'_>,
    values: &FeatureValues,
) -> Finding {
    set.rules.apply(&RuleFields {
        payment,
        features: values,
    })
}

/// Returns the place of a feature's figure in the results of the stream.
///
/// # Errors
/// Why the stream has no such figure.
pub(super) fn place_of(runner: &Runner, feature: &Feature, value: &str) -> Result<usize, String> {
    let stream = &runner.ready.stream;
    let definition = stream.definition();
    let place = definition.emit.iter().position(|emit| emit.name == value);
    let Some(place) = place else {
        return Err(format!("the stream emits no `{value}`"));
    };
    if stream.value_types()[place] != Type::Int {
        return Err(format!("`{value}` of the stream is no integer"));
    }
    let given = feature.key.iter().map(|part| part.result_type());
    let wanted = stream.key_types();
    if !given.clone().eq(wanted.iter().copied()) {
        let names = |types: &[Type]| -> String {
            let names: Vec<String> = types.iter().map(ToString::to_string).collect();
            names.join(", ")
        };
        let given: Vec<Type> = given.collect();
        return Err(format!(
            "key is {}, and the key of the stream is {}",
            names(&given),
            names(wanted)
        ));
    }
    Ok(place)
}

/// A payment and its features.
pub(super) struct RuleFields<'a> {
    pub(super) payment: &'a PaymentFields<'a>,
    pub(super) features: &'a [Option<Scalar<'static>>],
}

impl Fields for RuleFields<'_> {
    fn get(&self, field: FieldId) -> Option<Value<'_>> {
        match field.index().checked_sub(PAYMENT_FIELDS_LEN) {
            None => self.payment.get(field),
            Some(feature) => self.features[feature].map(Value::Scalar),
        }
    }
}
