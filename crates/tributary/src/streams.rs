//! `streams`: streams for other engines.

use serde_json::{Map, Value};
use tributary_streams::flink::{self, Options, Sink};

use crate::apply::read_stream;
use crate::cli;
use crate::exit::{Exit, usage_error};
use crate::terminal::print_line;

/// Fields of a stream that say what it computes.
const DEFINITION: [&str; 9] = [
    "slug", "from", "data", "key", "time", "window", "emit", "having", "start",
];

/// Runs a command about streams.
pub(crate) fn streams(command: &cli::StreamsCommand) -> anyhow::Result<Exit> {
    match command {
        cli::StreamsCommand::FlinkSql(arguments) => flink_sql(arguments),
    }
}

/// Prints the SQL of a stream.
fn flink_sql(arguments: &cli::FlinkSql) -> anyhow::Result<Exit> {
    let stream = match &arguments.file {
        Some(file) => read_stream(file, &arguments.name)?,
        None => find_stream(&mut arguments.server.client()?, &arguments.name)?,
    };
    let name = stream["slug"]
        .as_str()
        .unwrap_or(&arguments.name)
        .to_owned();
    let form = serde_json::from_value(definition(stream))
        .map_err(|error| usage_error(format!("the stream `{name}`: {error}")))?;
    let sql = flink::sql(&name, &flink::terms_of(form), &options(arguments, &name));
    let sql = sql.map_err(|error| usage_error(format!("the stream `{name}`: {error}")))?;
    print_line(sql.trim_end());
    Ok(Exit::Done)
}

fn options(arguments: &cli::FlinkSql, name: &str) -> Options {
    let topic = arguments.sink_topic.clone();
    let topic = topic.unwrap_or_else(|| format!("streams.{name}"));
    Options {
        brokers: arguments.brokers.clone(),
        topics: arguments.topic.clone(),
        sink: match arguments.sink {
            cli::FlinkSink::UpsertKafka => Sink::UpsertKafka(topic),
            cli::FlinkSink::Kafka => Sink::Kafka(topic),
            cli::FlinkSink::Filesystem => {
                Sink::Filesystem(arguments.path.clone().unwrap_or_default())
            }
        },
        disorder_seconds: arguments.disorder,
    }
}

/// Returns the stream of a server with a slug or an id.
fn find_stream(client: &mut crate::client::Client, name: &str) -> anyhow::Result<Value> {
    let answer = client.get_with_retry("/v1/streams")?.require_success()?;
    let mut answer = answer.json()?;
    let streams = answer["data"].take();
    let streams = streams.as_array().cloned().unwrap_or_default();
    let is_named = |stream: &Value| stream["slug"] == name || stream["id"] == name;
    let found = streams.iter().find(|stream| is_named(stream)).cloned();
    found.ok_or_else(|| {
        let known = streams.iter().filter_map(|stream| stream["slug"].as_str());
        let known = known.collect::<Vec<_>>().join(", ");
        usage_error(match known.is_empty() {
            true => "the server has no streams".to_owned(),
            false => format!("the server has no stream `{name}`, but {known}"),
        })
    })
}

/// Leaves out what does not say what is computed, and fields that are null.
fn definition(stream: Value) -> Value {
    let Value::Object(stream) = stream else {
        return Value::Null;
    };
    let known = stream.into_iter();
    let known =
        known.filter(|(name, value)| DEFINITION.contains(&name.as_str()) && !value.is_null());
    Value::Object(known.collect::<Map<_, _>>())
}
