//! What features give the models whose scores they are.

use tributary_api::risk::FeatureForm;

use crate::expression::{Expression, Schema, Type};
use crate::stream::{DefinitionError, compile};

/// What a feature gives a model as one of its features.
#[derive(Debug)]
pub(super) struct Input {
    /// Name of the model's feature.
    pub(super) name: String,
    pub(super) value: Expression,
    /// Whether the model may be without it.
    pub(super) is_optional: bool,
}

/// Compiles what a feature gives a model, ordered by name. `schema` has the payment and the features that are no scores.
pub(super) fn read_inputs(
    place: &str,
    form: &FeatureForm,
    schema: &Schema,
) -> Result<Vec<Input>, DefinitionError> {
    let inputs = form.inputs.iter().map(|(name, text)| {
        let field = format!("{place}.inputs.{name}");
        let value = compile(&field, text, schema)?;
        match value.result_type() {
            Type::Int => Ok(Input {
                name: name.clone(),
                value,
                is_optional: form.optional.contains(name),
            }),
            other => Err(DefinitionError::new(
                field,
                format!("the result is {other}"),
                "give a whole number, such as `amount` or `is_hold ? 1 : 0`",
            )),
        }
    });
    inputs.collect()
}

/// Checks that a model with these features gets what it needs, and nothing else.
///
/// # Errors
/// What does not fit, as a sentence without its end.
pub(super) fn check_fit(slug: &str, features: &[String], inputs: &[Input]) -> Result<(), String> {
    let is_given = |name: &&String| inputs.iter().any(|input| input.name == **name);
    if let Some(name) = features.iter().find(|name| !is_given(name)) {
        return Err(format!(
            "inputs has no `{name}`, which the model `{slug}` needs"
        ));
    }
    let unknown = inputs.iter().find(|input| !features.contains(&input.name));
    match unknown {
        Some(input) => Err(format!(
            "inputs has `{}`, and the model `{slug}` has no feature of this name",
            input.name
        )),
        None => Ok(()),
    }
}
