//! What a stream says, made ready to run.

use std::collections::BTreeMap;

use tributary_api::error::ApiError;
use tributary_api::streaming::{
    Action, BoundsForm, FieldType, GiveForm, SourceForm, StreamTerms, WindowForm,
};

use super::fields::{DATA, EVENT_FIELDS};
use crate::expression::{Expression, Schema, Type};
use crate::stream::{
    Aggregate, Bounds, Definition, DefinitionError, Emit, Give, Source, Stream, Time, To, Window,
    compile,
};

/// Nanoseconds of a second.
const SECOND: u64 = 1_000_000_000;
/// Nanoseconds of a millisecond.
const MILLISECOND: i64 = 1_000_000;
/// Maximum number of fields of a source's own.
const FIELDS_MAX: usize = 32;
/// Maximum number of fields of published events.
const DATA_MAX: usize = 64;
const ROWS_DEFAULT: u64 = 10_000;
const EVENTS_PER_SECOND_DEFAULT: u64 = 500;
const ACTIONS_PER_MINUTE_DEFAULT: u64 = 60;

/// A stream that is ready to run, without any state.
pub(crate) struct Ready {
    pub(crate) stream: Stream,
    pub(crate) sources: Vec<ReadySource>,
    /// Fields of the events: those of every event, those of published ones, and the stream's own.
    pub(crate) schema: Schema,
    /// Paths within the data of published events.
    pub(crate) data: Vec<String>,
    pub(crate) rows_max: usize,
    pub(crate) events_per_second: u64,
    pub(crate) actions_per_minute: u64,
    /// Over a result: to what something is done; none if nothing is, or always to the same.
    pub(crate) target: Option<Expression>,
}

/// Events of one type.
pub(crate) struct ReadySource {
    pub(crate) event_type: String,
    pub(crate) from_streams: bool,
    /// The stream's own fields, in the order of their numbers.
    pub(crate) derived: Vec<Expression>,
}

/// Makes a stream ready. `name` is a part of the ids of its results.
///
/// # Errors
/// The field that is wrong, and what to do.
pub(crate) fn ready(name: String, terms: &StreamTerms) -> Result<Ready, DefinitionError> {
    let (data, mut fields) = read_fields(terms)?;
    let schema = make_schema(&fields, "data")?;
    let (sources, derived) = read_sources(terms, &schema)?;
    fields.extend(derived);
    let schema = make_schema(&fields, "from[0].fields")?;
    let (bounds, rows_max, rates) = read_bounds(&terms.bounds)?;
    check_keys(terms)?;
    let definition = Definition {
        name,
        from: terms.from.iter().map(source).collect(),
        until: answers(terms).iter().map(source).collect(),
        key: terms.key.clone(),
        time: match &terms.time {
            None => Time::Journal,
            Some(time) => Time::Event {
                value: time.milliseconds.clone(),
                unit: MILLISECOND,
                lateness: nanos("time.lateness_seconds", time.lateness_seconds)?,
            },
        },
        window: read_window(&terms.window)?,
        emit: terms
            .emit
            .iter()
            .map(|(name, text)| read_emit(name, text))
            .collect::<Result<_, _>>()?,
        having: terms.having.clone(),
        to: match terms.publish {
            Some(_) => To::Event,
            None => To::Table,
        },
        bounds,
    };
    let stream = Stream::new(definition, terms.version, &schema);
    let stream = stream.map_err(|error| named_as_given(error, terms))?;
    Ok(Ready {
        target: read_target(terms, &stream)?,
        stream,
        sources,
        schema,
        data,
        rows_max,
        events_per_second: rates.events_per_second,
        actions_per_minute: rates.actions_per_minute,
    })
}

/// Reads the expression that says to what something is done for a result.
fn read_target(
    terms: &StreamTerms,
    stream: &Stream,
) -> Result<Option<Expression>, DefinitionError> {
    let Some(act) = &terms.act else {
        return Ok(None);
    };
    let Some((field, text)) = act.action.expression() else {
        return Ok(None);
    };
    let target = compile(field, text, &stream.result_schema())?;
    let (is_fit, advice) = match act.action {
        Action::AddToList(_) => (
            target.result_type() != Type::Bool,
            "give an expression whose result is a string or an integer",
        ),
        _ => (
            target.result_type() == Type::String,
            "give an expression whose result is the id of an account",
        ),
    };
    match is_fit {
        true => Ok(Some(target)),
        false => Err(DefinitionError::new(
            field,
            format!("the result is {}", target.result_type()),
            advice,
        )),
    }
}

/// The error of a definition as answers tell it.
pub(super) fn refused(error: &DefinitionError) -> ApiError {
    let DefinitionError {
        field,
        problem,
        advice,
    } = error;
    let end = if advice.ends_with('?') { "" } else { "." };
    ApiError::invalid(field, format!("{field}: {problem}; {advice}{end}"))
}

/// Which events are answers.
fn answers(terms: &StreamTerms) -> &[SourceForm] {
    match &terms.window {
        WindowForm::Await { until, .. } => until,
        _ => &[],
    }
}

fn source(form: &SourceForm) -> Source {
    Source {
        event_type: form.event.clone(),
        filter: form.filter.clone(),
    }
}

type TypedFields = Vec<(String, Type)>;

/// The fields that every expression may use, and the paths of those of published events.
fn read_fields(terms: &StreamTerms) -> Result<(Vec<String>, TypedFields), DefinitionError> {
    if terms.data.len() > DATA_MAX {
        return Err(DefinitionError::new(
            "data",
            format!("{} fields", terms.data.len()),
            format!("give at most {DATA_MAX}"),
        ));
    }
    let known = EVENT_FIELDS.iter();
    let mut fields: TypedFields = known
        .map(|(path, kind, _)| ((*path).to_owned(), *kind))
        .collect();
    let mut data = Vec::new();
    for (path, kind) in &terms.data {
        let within = path
            .strip_prefix(DATA)
            .and_then(|rest| rest.strip_prefix('.'));
        let Some(within) = within else {
            return Err(DefinitionError::new(
                "data",
                format!("the field `{path}`"),
                format!("begin the path with `{DATA}.`, as expressions name the field"),
            ));
        };
        data.push(within.to_owned());
        fields.push((
            path.clone(),
            match kind {
                FieldType::Boolean => Type::Bool,
                FieldType::Integer => Type::Int,
                FieldType::String => Type::String,
            },
        ));
    }
    Ok((data, fields))
}

fn make_schema(fields: &TypedFields, field: &str) -> Result<Schema, DefinitionError> {
    let fields = fields.iter().map(|(path, kind)| (path.clone(), *kind));
    Schema::new(fields)
        .map_err(|error| DefinitionError::new(field, error.to_string(), "choose other names"))
}

/// The sources, and the stream's own fields with their types.
fn read_sources(
    terms: &StreamTerms,
    schema: &Schema,
) -> Result<(Vec<ReadySource>, TypedFields), DefinitionError> {
    let mut sources: Vec<ReadySource> = Vec::new();
    let mut own: Option<TypedFields> = None;
    let from = terms.from.iter().enumerate();
    let from = from.map(|(number, source)| (format!("from[{number}]"), source));
    let until = answers(terms).iter().enumerate();
    let until = until.map(|(number, source)| (format!("window.until[{number}]"), source));
    for (place, source) in from.chain(until) {
        if sources.iter().any(|known| known.event_type == source.event) {
            return Err(DefinitionError::new(
                format!("{place}.event"),
                format!("`{}` is there already", source.event),
                "put both conditions into one with ||",
            ));
        }
        if source.fields.len() > FIELDS_MAX {
            return Err(DefinitionError::new(
                format!("{place}.fields"),
                format!("{} fields", source.fields.len()),
                format!("give at most {FIELDS_MAX}"),
            ));
        }
        let (mut derived, mut typed) = (Vec::new(), TypedFields::new());
        for (name, text) in &source.fields {
            let field = || format!("{place}.fields.{name}");
            if name.contains('.') {
                let advice = "choose a name without dots";
                return Err(DefinitionError::new(
                    field(),
                    format!("the name `{name}`"),
                    advice,
                ));
            }
            let expression = compile(&field(), text, schema)?;
            typed.push((name.clone(), expression.result_type()));
            derived.push(expression);
        }
        let first = own.get_or_insert_with(|| typed.clone());
        if *first != typed {
            return Err(DefinitionError::new(
                format!("{place}.fields"),
                "other names or types than those of from[0]".to_owned(),
                "give every source the same fields",
            ));
        }
        sources.push(ReadySource {
            event_type: source.event.clone(),
            from_streams: source.from_streams,
            derived,
        });
    }
    Ok((sources, own.unwrap_or_default()))
}

/// A key of a map is no field: it needs a name.
fn check_keys(terms: &StreamTerms) -> Result<(), DefinitionError> {
    for (number, path) in terms.key.iter().enumerate() {
        if path.starts_with("metadata.") {
            let name = path.trim_start_matches("metadata.");
            return Err(DefinitionError::new(
                format!("key[{number}]"),
                format!("`{path}` is a key of a map"),
                format!(
                    "give it a name, such as \"fields\": {{\"{name}\": \"{path}\"}} in from[0], and use that"
                ),
            ));
        }
    }
    Ok(())
}

fn read_window(window: &WindowForm) -> Result<Window, DefinitionError> {
    Ok(match *window {
        WindowForm::Tumbling { size_seconds } => Window::Tumbling {
            size: nanos("window.size_seconds", size_seconds)?,
        },
        WindowForm::Hopping {
            size_seconds,
            step_seconds,
        } => Window::Hopping {
            size: nanos("window.size_seconds", size_seconds)?,
            step: nanos("window.step_seconds", step_seconds)?,
        },
        WindowForm::Session { gap_seconds } => Window::Session {
            gap: nanos("window.gap_seconds", gap_seconds)?,
        },
        WindowForm::Trailing {
            size_seconds,
            delay_seconds,
        } => Window::Trailing {
            size: nanos("window.size_seconds", size_seconds)?,
            delay: nanos("window.delay_seconds", delay_seconds)?,
        },
        WindowForm::Await {
            within_seconds,
            give,
            ..
        } => Window::Await {
            within: nanos("window.within_seconds", within_seconds)?,
            give: match give {
                GiveForm::Unanswered => Give::Unanswered,
                GiveForm::Answered => Give::Answered,
            },
        },
    })
}

fn nanos(field: &str, seconds: u64) -> Result<i64, DefinitionError> {
    let nanos = seconds.checked_mul(SECOND);
    let nanos = nanos.and_then(|nanos| i64::try_from(nanos).ok());
    nanos.ok_or_else(|| {
        let advice = "choose at most 18 years";
        DefinitionError::new(field, format!("{seconds} s"), advice)
    })
}

/// Reads an aggregate such as `sum(amount)`.
fn read_emit(name: &str, text: &str) -> Result<Emit, DefinitionError> {
    let refused = || {
        DefinitionError::new(
            format!("emit.{name}"),
            format!("`{text}`"),
            "give count(), sum(E), min(E), max(E), distinct(E), first(E) or last(E), where E is an expression over the event",
        )
    };
    let (function, rest) = text.trim().split_once('(').ok_or_else(refused)?;
    let of = rest.strip_suffix(')').ok_or_else(refused)?.trim();
    let of = of.to_owned();
    let aggregate = match (function.trim(), of.is_empty()) {
        ("count", true) => Aggregate::Count,
        ("sum", false) => Aggregate::Sum(of),
        ("min", false) => Aggregate::Min(of),
        ("max", false) => Aggregate::Max(of),
        ("distinct", false) => Aggregate::Distinct(of),
        ("first", false) => Aggregate::First(of),
        ("last", false) => Aggregate::Last(of),
        _ => return Err(refused()),
    };
    Ok(Emit {
        name: name.to_owned(),
        aggregate,
    })
}

/// How much a stream does outwards within a time.
struct Rates {
    events_per_second: u64,
    actions_per_minute: u64,
}

fn read_bounds(form: &BoundsForm) -> Result<(Bounds, usize, Rates), DefinitionError> {
    let default = Bounds::default();
    let bound = |name: &str, given: Option<u64>, default: usize, max: u64| {
        let value = given.unwrap_or(default as u64);
        match (1..=max).contains(&value) {
            true => Ok(usize::try_from(value).expect("it is below the maximum")),
            false => Err(DefinitionError::new(
                format!("bounds.{name}"),
                format!("a bound of {value}"),
                format!("choose from 1 to {max}"),
            )),
        }
    };
    let bounds = Bounds {
        keys_max: bound("keys_max", form.keys_max, default.keys_max, 10_000_000)?,
        open_windows_max: bound(
            "open_windows_max",
            form.open_windows_max,
            default.open_windows_max,
            20_000_000,
        )?,
        state_bytes_max: bound(
            "state_bytes_max",
            form.state_bytes_max,
            default.state_bytes_max,
            16 << 30,
        )?,
        distinct_values_max: bound(
            "distinct_values_max",
            form.distinct_values_max,
            default.distinct_values_max,
            1_000_000,
        )?,
    };
    let rows = bound("rows_max", form.rows_max, ROWS_DEFAULT as usize, 1_000_000)?;
    let events = bound(
        "events_per_second",
        form.events_per_second,
        EVENTS_PER_SECOND_DEFAULT as usize,
        10_000,
    )?;
    let actions = bound(
        "actions_per_minute",
        form.actions_per_minute,
        ACTIONS_PER_MINUTE_DEFAULT as usize,
        10_000,
    )?;
    let rates = Rates {
        events_per_second: events as u64,
        actions_per_minute: actions as u64,
    };
    Ok((bounds, rows, rates))
}

/// Names the field of an error as the form does.
fn named_as_given(mut error: DefinitionError, terms: &StreamTerms) -> DefinitionError {
    let names: BTreeMap<&str, &str> = BTreeMap::from([
        ("time.value", "time.milliseconds"),
        ("time.lateness", "time.lateness_seconds"),
        ("window.size", "window.size_seconds"),
        ("window.step", "window.step_seconds"),
        ("window.gap", "window.gap_seconds"),
        ("window.delay", "window.delay_seconds"),
        ("window.within", "window.within_seconds"),
    ]);
    if let Some(name) = names.get(error.field.as_str()) {
        error.field = (*name).to_owned();
    } else if let Some(rest) = error.field.strip_prefix("emit[")
        && let Some((number, _)) = rest.split_once(']')
        && let Some(name) = number
            .parse()
            .ok()
            .and_then(|number: usize| terms.emit.keys().nth(number))
    {
        error.field = format!("emit.{name}");
    } else {
        error.field = error.field.replace(".event_type", ".event");
        if error.field.starts_with("until") {
            error.field.insert_str(0, "window.");
        }
    }
    error
}
