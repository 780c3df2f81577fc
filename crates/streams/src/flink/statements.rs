//! The statements: a table over the topic, what is counted, each event once, the windows, and the rows.

use std::fmt::Write as _;

use tributary_api::streaming::{StartForm, StreamTerms};

use super::event::{About, Columns, RECORDED, SEQUENCE, SEQUENCE_DIGITS, header, header_number};
use super::options::{Options, Sink};
use super::text::{SPAN_MS_MAX, comment, identifier, interval};
use crate::driver::definition::Ready;
use crate::driver::fields::EVENT_FIELDS;
use crate::expression::{Expression, FieldId, NotInSql, Schema, Type, string_literal};
use crate::stream::{Aggregate, DefinitionError, Window, compile};

/// Nanoseconds of a millisecond.
const MILLISECOND: i64 = 1_000_000;
/// How long Flink remembers the id of an event, so that it counts the event once.
const REMEMBERED: &str = "1 d";
/// Added to times before they are compared as texts, so that none is negative.
const TIME_OFFSET: i64 = 1 << 62;
/// Times beyond this, before or after 1970, stop a stream: milliseconds.
const TIME_MS_MAX: i64 = (1 << 62) / MILLISECOND;
/// Digits of a time with the offset.
const TIME_DIGITS: usize = 19;

type Refused = DefinitionError;

/// A value, whose SQL is NULL where there is none.
struct Column {
    sql: String,
    kind: Type,
}

/// The columns that the stream reads from its events.
struct Counted {
    /// Whether an event counts: never NULL.
    condition: String,
    /// The event's own time in milliseconds; none for that of the record.
    own_time: Option<String>,
    key: Vec<Column>,
    /// What the aggregates read, in the order of `emit`; none for a count.
    inputs: Vec<Option<Column>>,
}

/// Writes all statements.
pub(super) fn write(
    name: &str,
    terms: &StreamTerms,
    ready: &Ready,
    options: &Options,
) -> Result<String, Refused> {
    let definition = ready.stream.definition();
    check_window(terms, definition.window)?;
    let mut columns = Columns::default();
    // The id is in every message.
    columns
        .leaf("id", "STRING")
        .map_err(|error| refused("id", error))?;
    columns
        .leaf("type", "STRING")
        .map_err(|error| refused("type", error))?;
    let counted = Reader {
        terms,
        ready,
        columns: &mut columns,
    }
    .read()?;
    let delay = delay_ms(terms, options)?;
    let tables = Tables::new(name);
    let mut text = String::new();
    heading(&mut text, name, terms);
    settings(&mut text, options);
    source(
        &mut text, &tables, terms, &columns, &counted, delay, options,
    );
    views(&mut text, &tables, &counted);
    results(&mut text, &tables, ready, definition.window, &counted)?;
    sink(&mut text, &tables, ready, &counted, options)?;
    Ok(text)
}

/// Names of the tables, which several streams may have in one session.
struct Tables {
    events: String,
    counted: String,
    once: String,
    results: String,
    rows: String,
}

impl Tables {
    fn new(name: &str) -> Tables {
        let table = |part: &str| identifier(&format!("{name}.{part}"));
        Tables {
            events: table("events"),
            counted: table("counted"),
            once: table("once"),
            results: table("results"),
            rows: table("rows"),
        }
    }
}

fn refused(field: impl Into<String>, error: NotInSql) -> Refused {
    DefinitionError::new(field, format!("Flink: {}", error.problem), error.advice)
}

fn check_window(terms: &StreamTerms, window: Window) -> Result<(), Refused> {
    let refuse = |field: &str, problem: &str, advice: &str| {
        Err(DefinitionError::new(field, problem.to_owned(), advice))
    };
    let needs_milliseconds = |kind: &str| {
        refuse(
            "time",
            &format!(
                "Flink counts time in milliseconds, and the {kind} of records are told apart by nanoseconds"
            ),
            "give the stream \"time\": {\"milliseconds\": \"created\"}, which both engines compute alike",
        )
    };
    match window {
        Window::Await { .. } => refuse(
            "window",
            "Flink's SQL has no window that an event opens and an answer ends",
            "leave this stream in Tributary, or write it with MATCH_RECOGNIZE or the DataStream API",
        ),
        Window::Trailing { delay, .. } if delay > 0 => refuse(
            "window.delay_seconds",
            "a window OVER the events of Flink's SQL ends at its event",
            "choose a delay of 0",
        ),
        Window::Hopping { size, step } if size % step != 0 => refuse(
            "window.step_seconds",
            "Flink's HOP needs a size that is a multiple of the step",
            "choose such a step",
        ),
        Window::Session { .. } if terms.time.is_none() => needs_milliseconds("sessions"),
        Window::Trailing { .. } if terms.time.is_none() => needs_milliseconds("trailing windows"),
        Window::Tumbling { size }
        | Window::Hopping { size, .. }
        | Window::Session { gap: size }
        | Window::Trailing { size, .. }
            if size / MILLISECOND > SPAN_MS_MAX =>
        {
            refuse(
                "window",
                "Flink's SQL has no spans of 1,000 days and more",
                "choose a shorter one",
            )
        }
        _ => Ok(()),
    }
}

/// How far the watermark is behind the greatest time, in milliseconds. One more than the lateness: a watermark of Flink says that nothing
/// of its own time comes any more, and a stream still takes such an event.
fn delay_ms(terms: &StreamTerms, options: &Options) -> Result<i64, Refused> {
    let lateness = terms.time.as_ref().map_or(0, |time| time.lateness_seconds);
    let seconds = lateness.checked_add(options.disorder_seconds);
    let delay = seconds
        .and_then(|seconds| {
            i64::try_from(seconds)
                .ok()?
                .checked_mul(1_000)?
                .checked_add(1)
        })
        .filter(|delay| *delay <= SPAN_MS_MAX);
    delay.ok_or_else(|| {
        DefinitionError::new(
            "time.lateness_seconds",
            "with the disorder, Flink's SQL has no span of 1,000 days and more",
            "choose less",
        )
    })
}

/// Reads a definition into columns.
struct Reader<'r> {
    terms: &'r StreamTerms,
    ready: &'r Ready,
    columns: &'r mut Columns,
}

impl Reader<'_> {
    fn read(mut self) -> Result<Counted, Refused> {
        let condition = self.condition()?;
        let own_time = self.terms.time.as_ref().map(|time| {
            let value = self.maybe("time.milliseconds", &time.milliseconds)?.sql;
            let within = format!(
                "(CASE WHEN {value} BETWEEN -{TIME_MS_MAX} AND {TIME_MS_MAX} THEN {value} END)"
            );
            Ok(needed(&within, Type::Int, "the time, from 1824 to 2116,"))
        });
        let own_time = own_time.transpose()?;
        let mut key = Vec::new();
        for (number, path) in self.terms.key.iter().enumerate() {
            let what = format!("the field {path} of the key");
            key.push(self.value(&format!("key[{number}]"), path, &what)?);
        }
        let mut inputs = Vec::new();
        for emit in &self.ready.stream.definition().emit {
            let field = format!("emit.{}", emit.name);
            let input = match &emit.aggregate {
                Aggregate::Count => None,
                Aggregate::Sum(of)
                | Aggregate::Min(of)
                | Aggregate::Max(of)
                | Aggregate::Distinct(of)
                | Aggregate::First(of)
                | Aggregate::Last(of) => {
                    Some(self.value(&field, of, &format!("the input of {}", emit.name))?)
                }
            };
            inputs.push(input);
        }
        Ok(Counted {
            condition,
            own_time,
            key,
            inputs,
        })
    }

    /// Whether an event counts. It fails where `where` has no value, and for messages without the headers of the platform.
    fn condition(&mut self) -> Result<String, Refused> {
        let mut sources = Vec::new();
        for (number, source) in self.terms.from.iter().enumerate() {
            let field = format!("from[{number}].where");
            let mut sql = "TRUE".to_owned();
            if let Some(filter) = &source.filter {
                let filter = compile(&field, filter, &self.ready.schema)?;
                let filter = self.sql(number, &filter);
                let filter = filter.map_err(|error| refused(&field, error))?;
                sql = needed(&filter, Type::Bool, &format!("where of {}", source.event));
            }
            let of_others = About::new(&source.event).not_of_streams();
            if let Some(of_others) = of_others.filter(|_| !source.from_streams) {
                // Nothing else is asked of what streams caused.
                sql = format!("CASE WHEN {of_others} THEN {sql} ELSE FALSE END");
            }
            sources.push((source.event.as_str(), sql));
        }
        let missing = raised(
            "the header recordedms, which only a subscription of the platform has,",
            Type::Bool,
        );
        let mut text = format!("CASE WHEN {} IS NULL THEN {missing}", header(RECORDED));
        for (event, sql) in sources {
            let _never_fails = write!(
                text,
                "\n    WHEN `type` = {} THEN {sql}",
                string_literal(event)
            );
        }
        text.push_str(" ELSE FALSE END");
        Ok(text)
    }

    /// A value that each event that counts must have.
    fn value(&mut self, field: &str, source: &str, what: &str) -> Result<Column, Refused> {
        let Column { sql, kind } = self.maybe(field, source)?;
        let sql = needed(&sql, kind, what);
        Ok(Column { sql, kind })
    }

    /// A value, NULL where an event has none.
    fn maybe(&mut self, field: &str, source: &str) -> Result<Column, Refused> {
        let expression = compile(field, source, &self.ready.schema)?;
        let kind = expression.result_type();
        let mut sources = Vec::new();
        for (number, source) in self.terms.from.iter().enumerate() {
            let sql = self
                .sql(number, &expression)
                .map_err(|error| refused(field, error))?;
            sources.push((source.event.as_str(), sql));
        }
        let (_, first) = &sources[0];
        let sql = match sources.iter().all(|(_, sql)| sql == first) {
            true => first.clone(),
            false => {
                let cases = sources
                    .iter()
                    .map(|(event, sql)| format!(" WHEN {} THEN {sql}", string_literal(event)));
                format!("(CASE `type`{} END)", cases.collect::<String>())
            }
        };
        Ok(Column { sql, kind })
    }

    /// An expression over the events of a source: the stream's own fields are expressions too.
    fn sql(&mut self, number: usize, expression: &Expression) -> Result<String, NotInSql> {
        let ready = self.ready;
        let event = &self.terms.from[number].event;
        let derived = &ready.sources[number].derived;
        let own = EVENT_FIELDS.len() + ready.data.len();
        let columns = &mut *self.columns;
        let terms = self.terms;
        let mut own_fields = Vec::new();
        for expression in derived {
            own_fields.push(expression.to_sql(&ready.schema, &mut |field| {
                base(columns, terms, ready, event, field)
            }));
        }
        expression.to_sql(
            &ready.schema,
            &mut |field| match field.index().checked_sub(own) {
                Some(number) => own_fields[number].clone(),
                None => base(columns, terms, ready, event, field),
            },
        )
    }
}

/// A field that is no stream's own.
fn base(
    columns: &mut Columns,
    terms: &StreamTerms,
    ready: &Ready,
    event: &str,
    field: FieldId,
) -> Result<String, NotInSql> {
    if let Some((path, kind, field)) = EVENT_FIELDS.get(field.index()) {
        return columns.field(event, path, *kind, *field);
    }
    let path = &ready.data[field.index() - EVENT_FIELDS.len()];
    let kind = terms.data[&format!("data.{path}")];
    columns.published(event, path, kind)
}

/// SQL that fails the job with a sentence: a cast of the sentence, which is no number. It names the event, so that no planner
/// computes it beforehand.
fn raised(what: &str, kind: Type) -> String {
    let sentence = string_literal(&format!("{what} has no value in the event "));
    match kind {
        Type::Bool => format!("CAST(CONCAT({sentence}, `id`) AS BOOLEAN)"),
        Type::Int => format!("CAST(CONCAT({sentence}, `id`) AS BIGINT)"),
        _ => format!("CAST(CAST(CONCAT({sentence}, `id`) AS BIGINT) AS STRING)"),
    }
}

/// SQL that fails the job where a value is missing.
fn needed(sql: &str, kind: Type, what: &str) -> String {
    format!(
        "CASE WHEN {sql} IS NOT NULL THEN {sql} ELSE {} END",
        raised(what, kind)
    )
}

fn heading(text: &mut String, name: &str, terms: &StreamTerms) {
    let events = terms.from.iter().map(|source| comment(&source.event));
    let _never_fails = write!(
        text,
        "-- The stream {} for Apache Flink 2.2. \"Moving to Flink\" in docs/streams.md says what differs.\n\
         -- The topic must have these events, by a subscription of the platform to a binding of Kafka, and none that are no JSON:\n\
         -- {}\n\n",
        comment(name),
        events.collect::<Vec<_>>().join(", ")
    );
}

fn settings(text: &mut String, options: &Options) {
    let idle = options.disorder_seconds.max(1);
    let _never_fails = write!(
        text,
        "-- Windows begin at multiples of their size from 1970 on, in UTC.\n\
         SET 'table.local-time-zone' = 'UTC';\n\
         -- Kafka may have an event twice. It counts once if it comes again within this time.\n\
         SET 'table.exec.state.ttl' = '{REMEMBERED}';\n\
         -- A partition without events does not hold the others up for longer.\n\
         SET 'table.exec.source.idle-timeout' = '{idle} s';\n\n"
    );
}

fn source(
    text: &mut String,
    tables: &Tables,
    terms: &StreamTerms,
    columns: &Columns,
    counted: &Counted,
    delay: i64,
    options: &Options,
) {
    let rowtime = match &counted.own_time {
        None => format!(
            "TO_TIMESTAMP_LTZ({}, 3)",
            needed(&header_number(RECORDED), Type::Int, "the header recordedms")
        ),
        // Only what counts moves the watermark.
        Some(time) => format!(
            "CASE WHEN {} THEN TO_TIMESTAMP_LTZ({time}, 3) END",
            counted.condition
        ),
    };
    let startup = match terms.start {
        StartForm::Beginning => "earliest-offset",
        StartForm::Now => "latest-offset",
    };
    let _never_fails = write!(
        text,
        "CREATE TEMPORARY TABLE {} (\n{}  `headers` MAP<STRING NOT NULL, BYTES> METADATA VIRTUAL,\n  \
           `rowtime` AS {rowtime},\n  `proctime` AS PROCTIME(),\n  \
           WATERMARK FOR `rowtime` AS `rowtime` - {}\n) WITH (\n  \
           'connector' = 'kafka',\n  'topic' = {},\n  'properties.bootstrap.servers' = {},\n  \
           'properties.isolation.level' = 'read_committed',\n  'scan.startup.mode' = '{startup}',\n  'format' = 'json'\n);\n\n",
        tables.events,
        columns.declared(),
        interval(delay),
        string_literal(&options.topics.join(";")),
        string_literal(&options.brokers),
    );
}

fn views(text: &mut String, tables: &Tables, counted: &Counted) {
    let time = counted
        .own_time
        .clone()
        .unwrap_or_else(|| header_number(RECORDED));
    let mut selected = vec![
        "`id`".to_owned(),
        "`rowtime`".to_owned(),
        "`proctime`".to_owned(),
        format!("{time} AS `time`"),
        format!("{} AS `sequence`", header(SEQUENCE)),
    ];
    let key = counted.key.iter().enumerate();
    selected.extend(key.map(|(number, column)| format!("{} AS `key{number}`", column.sql)));
    let inputs = counted.inputs.iter().enumerate();
    selected.extend(inputs.filter_map(|(number, column)| {
        let column = column.as_ref()?;
        Some(format!("{} AS `input{number}`", column.sql))
    }));
    let _never_fails = write!(
        text,
        "CREATE TEMPORARY VIEW {} AS SELECT\n  {}\nFROM {} WHERE\n  {};\n\n",
        tables.counted,
        selected.join(",\n  "),
        tables.events,
        counted.condition,
    );
    let _never_fails = write!(
        text,
        "CREATE TEMPORARY VIEW {} AS SELECT * FROM (\n  \
           SELECT *, ROW_NUMBER() OVER (PARTITION BY `id` ORDER BY `proctime` ASC) AS `copy` FROM {}\n\
         ) WHERE `copy` = 1;\n\n",
        tables.once, tables.counted,
    );
}

/// An aggregate, over the window that `over` names if it is one of Flink's windows OVER events.
fn aggregate(aggregate: &Aggregate, number: usize, counted: &Counted, over: &str) -> String {
    let input = format!("`input{number}`");
    let first_or_last = |function: &str| {
        // The order is a part of the value: Flink's own FIRST_VALUE and LAST_VALUE go by the order of arrival.
        let (order, digits) = match counted.own_time {
            None => ("`sequence`".to_owned(), SEQUENCE_DIGITS),
            Some(_) => (
                format!(
                    "LPAD(CAST(`time` + {TIME_OFFSET} AS STRING), {TIME_DIGITS}, '0'), `sequence`"
                ),
                TIME_DIGITS + SEQUENCE_DIGITS,
            ),
        };
        let value = format!(
            "SUBSTRING({function}(CONCAT({order}, CAST({input} AS STRING))){over} FROM {})",
            digits + 1
        );
        match counted.inputs[number].as_ref().map(|column| column.kind) {
            Some(Type::Int) => format!("CAST({value} AS BIGINT)"),
            Some(Type::Bool) => format!("CAST({value} AS BOOLEAN)"),
            _ => value,
        }
    };
    match aggregate {
        Aggregate::Count => format!("COUNT(*){over}"),
        Aggregate::Sum(_) => {
            format!("CAST(CAST(SUM(CAST({input} AS DECIMAL(19, 0))){over} AS STRING) AS BIGINT)")
        }
        Aggregate::Min(_) => format!("MIN({input}){over}"),
        Aggregate::Max(_) => format!("MAX({input}){over}"),
        Aggregate::Distinct(_) => format!("COUNT(DISTINCT {input}){over}"),
        Aggregate::First(_) => first_or_last("MIN"),
        Aggregate::Last(_) => first_or_last("MAX"),
    }
}

fn results(
    text: &mut String,
    tables: &Tables,
    ready: &Ready,
    window: Window,
    counted: &Counted,
) -> Result<(), Refused> {
    let keys: Vec<String> = (0..counted.key.len())
        .map(|number| format!("`key{number}`"))
        .collect();
    let keys = keys.join(", ");
    // Of a window of whole seconds; Flink has its bounds as times of the day.
    let bound =
        |name: &str| format!("UNIX_TIMESTAMP(DATE_FORMAT({name}, 'yyyy-MM-dd HH:mm:ss')) * 1000");
    let once = &tables.once;
    let of_times = |function: &str| {
        (
            bound("`window_start`"),
            bound("`window_end`"),
            function.to_owned(),
        )
    };
    let grouped = format!("GROUP BY {keys}, `window_start`, `window_end`");
    let (starts, ends, from, over) = match window {
        Window::Tumbling { size } => {
            let (starts, ends, function) = of_times(&format!(
                "TABLE(TUMBLE(TABLE {once}, DESCRIPTOR(`rowtime`), {}))\n{grouped}",
                interval(size / MILLISECOND)
            ));
            (starts, ends, function, "")
        }
        Window::Hopping { size, step } => {
            let (starts, ends, function) = of_times(&format!(
                "TABLE(HOP(TABLE {once}, DESCRIPTOR(`rowtime`), {}, {}))\n{grouped}",
                interval(step / MILLISECOND),
                interval(size / MILLISECOND)
            ));
            (starts, ends, function, "")
        }
        Window::Session { gap } => {
            // Flink joins events that are exactly the gap apart, a stream does not.
            let gap = gap / MILLISECOND;
            let from = format!(
                "TABLE(SESSION(TABLE {once} PARTITION BY ({keys}), DESCRIPTOR(`rowtime`), {}))\n{grouped}",
                interval(gap - 1)
            );
            (
                "MIN(`time`)".to_owned(),
                format!("MAX(`time`) + {gap}"),
                from,
                "",
            )
        }
        Window::Trailing { size, .. } => {
            // Flink's window holds its beginning, a stream's does not.
            let size = size / MILLISECOND;
            let from = format!(
                "{once}\nWINDOW `trailing` AS (PARTITION BY {keys} ORDER BY `rowtime`\n  \
                   RANGE BETWEEN {} PRECEDING AND CURRENT ROW)",
                interval(size - 1)
            );
            (
                format!("`time` - {size}"),
                "`time`".to_owned(),
                from,
                " OVER `trailing`",
            )
        }
        Window::Await { .. } => unreachable!("it was refused"),
    };
    let mut selected = vec![keys.clone()];
    selected.push(format!("{starts} AS `starts`"));
    selected.push(format!("{ends} AS `ends`"));
    for (number, emit) in ready.stream.definition().emit.iter().enumerate() {
        let sql = aggregate(&emit.aggregate, number, counted, over);
        selected.push(format!("{sql} AS `value{number}`"));
    }
    let _never_fails = write!(
        text,
        "CREATE TEMPORARY VIEW {} AS SELECT\n  {}\nFROM {from};\n\n",
        tables.results,
        selected.join(",\n  "),
    );
    Ok(())
}

/// The fields of a result with their types, and the columns that hold them.
fn result_fields(ready: &Ready, counted: &Counted) -> Vec<(String, Type, String)> {
    let definition = ready.stream.definition();
    let key = definition.key.iter().zip(&counted.key).enumerate();
    let key =
        key.map(|(number, (path, column))| (path.clone(), column.kind, format!("`key{number}`")));
    let values = definition.emit.iter().zip(&counted.inputs).enumerate();
    let values = values.map(|(number, (emit, input))| {
        let kind = match (&emit.aggregate, input) {
            (Aggregate::First(_) | Aggregate::Last(_), Some(input)) => input.kind,
            _ => Type::Int,
        };
        (emit.name.clone(), kind, format!("`value{number}`"))
    });
    let bounds = [("window_start", "`starts`"), ("window_end", "`ends`")];
    let bounds = bounds.map(|(name, column)| (name.to_owned(), Type::Int, column.to_owned()));
    key.chain(bounds).chain(values).collect()
}

fn sink(
    text: &mut String,
    tables: &Tables,
    ready: &Ready,
    counted: &Counted,
    options: &Options,
) -> Result<(), Refused> {
    let definition = ready.stream.definition();
    let fields = result_fields(ready, counted);
    let (mut declared, mut selected) = (Vec::new(), Vec::new());
    for (name, kind, column) in &fields {
        let is_bound = column == "`starts`" || column == "`ends`";
        let kind = match kind {
            _ if is_bound => "TIMESTAMP_LTZ(3)",
            Type::Bool => "BOOLEAN",
            Type::Int => "BIGINT",
            _ => "STRING",
        };
        declared.push(format!("{} {kind}", identifier(name)));
        selected.push(match is_bound {
            true => format!("TO_TIMESTAMP_LTZ({column}, 3)"),
            false => column.clone(),
        });
    }
    if let Sink::UpsertKafka(_) = options.sink {
        let key = definition.key.iter().map(|path| identifier(path));
        let key = key.chain([identifier("window_end")]);
        let key = key.collect::<Vec<_>>().join(", ");
        declared.push(format!("PRIMARY KEY ({key}) NOT ENFORCED"));
    }
    let _never_fails = write!(
        text,
        "CREATE TEMPORARY TABLE {} (\n  {}\n) WITH (\n  {}\n);\n\n",
        tables.rows,
        declared.join(",\n  "),
        sink_options(options).join(",\n  "),
    );
    let _never_fails = write!(
        text,
        "INSERT INTO {} SELECT\n  {}\nFROM {}",
        tables.rows,
        selected.join(", "),
        tables.results
    );
    if let Some(having) = &definition.having {
        let having = having_sql(having, &fields)?;
        let _never_fails = write!(text, " WHERE\n  {having}");
    }
    text.push_str(";\n");
    Ok(())
}

fn having_sql(having: &str, fields: &[(String, Type, String)]) -> Result<String, Refused> {
    let schema = Schema::new(fields.iter().map(|(path, kind, _)| (path.clone(), *kind)));
    let schema = schema
        .map_err(|error| DefinitionError::new("having", error.to_string(), "choose other names"))?;
    let having = compile("having", having, &schema)?;
    let sql = having.to_sql(&schema, &mut |field| Ok(fields[field.index()].2.clone()));
    let sql = sql.map_err(|error| refused("having", error))?;
    Ok(format!(
        "CASE WHEN {sql} IS NOT NULL THEN {sql} ELSE \
           CAST(CONCAT('having has no value for the window that ends at ', CAST(`ends` AS STRING)) AS BOOLEAN) END"
    ))
}

fn sink_options(options: &Options) -> Vec<String> {
    let option = |name: &str, value: &str| format!("'{name}' = {}", string_literal(value));
    let kafka = |topic: &str| {
        [
            option("topic", topic),
            option("properties.bootstrap.servers", &options.brokers),
        ]
    };
    let mut list = Vec::new();
    match &options.sink {
        Sink::UpsertKafka(topic) => {
            list.push(option("connector", "upsert-kafka"));
            list.extend(kafka(topic));
            for part in ["key", "value"] {
                list.push(option(&format!("{part}.format"), "json"));
                list.push(option(
                    &format!("{part}.json.timestamp-format.standard"),
                    "ISO-8601",
                ));
            }
        }
        Sink::Kafka(topic) => {
            list.push(option("connector", "kafka"));
            list.extend(kafka(topic));
        }
        Sink::Filesystem(path) => {
            list.push(option("connector", "filesystem"));
            list.push(option("path", path));
        }
    }
    if !matches!(options.sink, Sink::UpsertKafka(_)) {
        list.push(option("format", "json"));
        list.push(option("json.timestamp-format.standard", "ISO-8601"));
    }
    list
}
