//! A definition after it was checked: what is computed, with compiled expressions.

use std::collections::BTreeSet;

use super::aggregate::{Kind, Plan, Plans};
use super::definition::{
    AGGREGATES_MAX, Aggregate, Definition, KEY_FIELDS_MAX, NAME_BYTES_MAX, SOURCES_MAX,
    SPAN_NS_MAX, Source, Time, WINDOWS_PER_EVENT_MAX, Window,
};
use super::errors::DefinitionError;
use crate::expression::{Expression, FieldId, Schema, Type};

/// Longest unit of the time of an event: a day, in nanoseconds.
const UNIT_NS_MAX: i64 = 86_400_000_000_000;

/// The event's own time.
#[derive(Debug)]
pub(super) struct EventTime {
    pub(super) value: Expression,
    /// Nanoseconds of a unit of the value.
    pub(super) unit: i64,
    /// Nanoseconds.
    pub(super) lateness: i64,
}

/// A checked definition.
#[derive(Debug)]
pub(super) struct Compiled {
    pub(super) definition: Definition,
    /// Conditions of `from`, in the same order.
    pub(super) filters: Vec<Option<Expression>>,
    /// Conditions of `until`, in the same order.
    pub(super) answers: Vec<Option<Expression>>,
    pub(super) key: Vec<FieldId>,
    /// The event's own time; none for journal time.
    pub(super) time: Option<EventTime>,
    /// What the aggregates read, each expression once.
    pub(super) inputs: Vec<Expression>,
    pub(super) aggregates: Plans,
    pub(super) having: Option<Expression>,
    pub(super) key_types: Vec<Type>,
    pub(super) value_types: Vec<Type>,
}

impl Compiled {
    pub(super) fn new(
        definition: Definition,
        schema: &Schema,
    ) -> Result<Compiled, DefinitionError> {
        check_name("name", &definition.name)?;
        check_window(definition.window)?;
        check_bounds(&definition)?;
        check_count("from", definition.from.len(), SOURCES_MAX)?;
        let filters = compile_sources("from", &definition.from, schema)?;
        check_answers(&definition)?;
        let answers = compile_sources("until", &definition.until, schema)?;
        let (key, key_types) = find_key(&definition, schema)?;
        let time = match &definition.time {
            Time::Journal => None,
            Time::Event {
                value,
                unit,
                lateness,
            } => {
                let time = compile("time.value", value, schema)?;
                expect_int("time.value", &time)?;
                if !(1..=UNIT_NS_MAX).contains(unit) {
                    return Err(DefinitionError::new(
                        "time.unit",
                        format!("a unit of {unit} ns"),
                        format!("choose from 1 to {UNIT_NS_MAX} ns"),
                    ));
                }
                check_span("time.lateness", *lateness, 0)?;
                Some(EventTime {
                    value: time,
                    unit: *unit,
                    lateness: *lateness,
                })
            }
        };
        let mut inputs = Vec::new();
        let (plans, types) = compile_aggregates(&definition, schema, &mut inputs)?;
        let having = compile_having(&definition, &key_types, &types)?;
        Ok(Compiled {
            filters,
            answers,
            key,
            time,
            aggregates: Plans {
                list: plans,
                inputs: inputs.len(),
                distinct_values_max: definition.bounds.distinct_values_max,
            },
            inputs,
            having,
            key_types,
            value_types: types,
            definition,
        })
    }
}

fn check_name(field: &str, name: &str) -> Result<(), DefinitionError> {
    if name.is_empty() || name.len() > NAME_BYTES_MAX {
        return Err(DefinitionError::new(
            field,
            format!("a name of {} bytes", name.len()),
            format!("choose one of 1 to {NAME_BYTES_MAX} bytes"),
        ));
    }
    Ok(())
}

fn check_count(field: &str, count: usize, max: usize) -> Result<(), DefinitionError> {
    if count == 0 || count > max {
        return Err(DefinitionError::new(
            field,
            format!("{count} entries"),
            format!("give 1 to {max}"),
        ));
    }
    Ok(())
}

fn check_span(field: &str, span: i64, min: i64) -> Result<(), DefinitionError> {
    if !(min..=SPAN_NS_MAX).contains(&span) {
        return Err(DefinitionError::new(
            field,
            format!("{span} ns"),
            format!("choose from {min} to {SPAN_NS_MAX} ns"),
        ));
    }
    Ok(())
}

fn check_window(window: Window) -> Result<(), DefinitionError> {
    match window {
        Window::Tumbling { size } => check_span("window.size", size, 1),
        Window::Session { gap } => check_span("window.gap", gap, 1),
        Window::Await { within, .. } => check_span("window.within", within, 1),
        Window::Trailing { size, delay } => {
            check_span("window.size", size, 1)?;
            check_span("window.delay", delay, 0)
        }
        Window::Hopping { size, step } => {
            check_span("window.size", size, 1)?;
            check_span("window.step", step, 1)?;
            if step > size {
                return Err(DefinitionError::new(
                    "window.step",
                    format!("{step} ns, longer than the size of {size} ns"),
                    "choose a step of at most the size, so that no event is in no window",
                ));
            }
            let windows = 1 + (size - 1) / step;
            if windows > WINDOWS_PER_EVENT_MAX {
                return Err(DefinitionError::new(
                    "window.step",
                    format!("each event would be in {windows} windows"),
                    format!("choose a longer step: at most {WINDOWS_PER_EVENT_MAX} windows"),
                ));
            }
            Ok(())
        }
    }
}

fn check_bounds(definition: &Definition) -> Result<(), DefinitionError> {
    let bounds = &definition.bounds;
    // Keys are numbered in 32 bits.
    let keys_most = u32::MAX as usize / 2;
    for (field, bound, most) in [
        ("bounds.keys_max", bounds.keys_max, keys_most),
        (
            "bounds.open_windows_max",
            bounds.open_windows_max,
            usize::MAX,
        ),
        ("bounds.state_bytes_max", bounds.state_bytes_max, usize::MAX),
        (
            "bounds.distinct_values_max",
            bounds.distinct_values_max,
            usize::MAX,
        ),
    ] {
        if bound == 0 || bound > most {
            return Err(DefinitionError::new(
                field,
                format!("a bound of {bound}"),
                format!("choose from 1 to {most}"),
            ));
        }
    }
    Ok(())
}

/// Compiles an expression of a definition.
///
/// # Errors
/// If it is no expression over the schema: the error names the field of the definition.
pub(crate) fn compile(
    field: &str,
    source: &str,
    schema: &Schema,
) -> Result<Expression, DefinitionError> {
    Expression::compile(source, schema).map_err(|error| {
        DefinitionError::new(
            field,
            format!(
                "at byte {}: expected {}, found {}",
                error.offset, error.expected, error.found
            ),
            error.advice,
        )
    })
}

fn compile_condition(
    field: &str,
    source: &str,
    schema: &Schema,
) -> Result<Expression, DefinitionError> {
    let condition = compile(field, source, schema)?;
    if condition.result_type() != Type::Bool {
        return Err(DefinitionError::new(
            field,
            format!("the result is {}", condition.result_type()),
            "give a condition: compare the result with something",
        ));
    }
    Ok(condition)
}

fn expect_int(field: &str, expression: &Expression) -> Result<(), DefinitionError> {
    if expression.result_type() != Type::Int {
        return Err(DefinitionError::new(
            field,
            format!("the result is {}", expression.result_type()),
            "give an expression whose result is an integer",
        ));
    }
    Ok(())
}

fn check_answers(definition: &Definition) -> Result<(), DefinitionError> {
    let answers = definition.until.len();
    match definition.window {
        Window::Await { .. } => check_count("until", answers, SOURCES_MAX),
        _ if answers > 0 => Err(DefinitionError::new(
            "until",
            "the window waits for no answer",
            "choose the window `await`, or leave `until` out",
        )),
        _ => Ok(()),
    }
}

fn compile_sources(
    list: &str,
    sources: &[Source],
    schema: &Schema,
) -> Result<Vec<Option<Expression>>, DefinitionError> {
    let mut filters = Vec::new();
    for (number, source) in sources.iter().enumerate() {
        check_name(&format!("{list}[{number}].event_type"), &source.event_type)?;
        let filter = source
            .filter
            .as_ref()
            .map(|filter| compile_condition(&format!("{list}[{number}].where"), filter, schema));
        filters.push(filter.transpose()?);
    }
    Ok(filters)
}

fn find_key(
    definition: &Definition,
    schema: &Schema,
) -> Result<(Vec<FieldId>, Vec<Type>), DefinitionError> {
    check_count("key", definition.key.len(), KEY_FIELDS_MAX)?;
    let (mut fields, mut types) = (Vec::new(), Vec::new());
    for (number, path) in definition.key.iter().enumerate() {
        let refuse = |problem: String, advice: &str| {
            Err(DefinitionError::new(
                format!("key[{number}]"),
                problem,
                advice,
            ))
        };
        match schema.field(path) {
            None => {
                return refuse(
                    format!("the events have no field `{path}`"),
                    "choose a field of the events",
                );
            }
            Some((field, _)) if fields.contains(&field) => {
                return refuse(format!("`{path}` is there already"), "remove one of them");
            }
            Some((field, kind @ (Type::Bool | Type::Int | Type::String))) => {
                fields.push(field);
                types.push(kind);
            }
            Some((_, kind)) => {
                return refuse(
                    format!("`{path}` is {kind}"),
                    "choose a boolean, an integer or a string",
                );
            }
        }
    }
    Ok((fields, types))
}

fn compile_aggregates(
    definition: &Definition,
    schema: &Schema,
    inputs: &mut Vec<Expression>,
) -> Result<(Vec<Plan>, Vec<Type>), DefinitionError> {
    check_count("emit", definition.emit.len(), AGGREGATES_MAX)?;
    let mut names = BTreeSet::new();
    let (mut plans, mut types) = (Vec::new(), Vec::new());
    for (number, emit) in definition.emit.iter().enumerate() {
        check_name(&format!("emit[{number}].name"), &emit.name)?;
        if !names.insert(&emit.name) {
            return Err(DefinitionError::new(
                format!("emit[{number}].name"),
                format!("`{}` is there already", emit.name),
                "rename one of them",
            ));
        }
        let (kind, source) = match &emit.aggregate {
            Aggregate::Count => (Kind::Count, None),
            Aggregate::Sum(source) => (Kind::Sum, Some(source)),
            Aggregate::Min(source) => (Kind::Min, Some(source)),
            Aggregate::Max(source) => (Kind::Max, Some(source)),
            Aggregate::Distinct(source) => (Kind::Distinct, Some(source)),
            Aggregate::First(source) => (Kind::First, Some(source)),
            Aggregate::Last(source) => (Kind::Last, Some(source)),
        };
        let (mut input, mut kind_of_result) = (0, Type::Int);
        if let Some(source) = source {
            let field = format!("emit[{number}].of");
            let expression = compile(&field, source, schema)?;
            match kind {
                Kind::Sum | Kind::Min | Kind::Max => expect_int(&field, &expression)?,
                Kind::First | Kind::Last => kind_of_result = expression.result_type(),
                Kind::Count | Kind::Distinct => {}
            }
            let canonical = expression.to_string();
            let same = |known: &Expression| known.to_string() == canonical;
            input = inputs.iter().position(same).unwrap_or_else(|| {
                inputs.push(expression);
                inputs.len() - 1
            });
        }
        plans.push(Plan {
            name: emit.name.clone(),
            kind,
            input,
        });
        types.push(kind_of_result);
    }
    Ok((plans, types))
}

fn compile_having(
    definition: &Definition,
    key_types: &[Type],
    types: &[Type],
) -> Result<Option<Expression>, DefinitionError> {
    // Also without a condition: the fields of a result need names that differ.
    let schema = result_schema(definition, key_types, types)?;
    let having = definition.having.as_ref();
    having
        .map(|having| compile_condition("having", having, &schema))
        .transpose()
}

/// Returns the fields of a result: those of the key, the aggregates, and the times of the window.
pub(super) fn result_schema(
    definition: &Definition,
    key_types: &[Type],
    types: &[Type],
) -> Result<Schema, DefinitionError> {
    let key = definition.key.iter().map(String::as_str);
    let names = definition.emit.iter().map(|emit| emit.name.as_str());
    let fields = key
        .zip(key_types.iter().copied())
        .chain(names.zip(types.iter().copied()))
        .chain([("window_start", Type::Int), ("window_end", Type::Int)]);
    Schema::new(fields)
        .map_err(|error| DefinitionError::new("emit", error.to_string(), "choose other names"))
}
