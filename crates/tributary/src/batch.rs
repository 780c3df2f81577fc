//! `POST /v1/batches`: many commands in one request, each with its own idempotency key and result.

use anyhow::{Context as _, bail};
use serde_json::{Value, json};

use crate::client::{BATCHES, Client, HttpResponse};

/// Maximum number of commands in one request.
const COMMANDS_MAX: usize = 8_192;

/// One command of a batch.
#[derive(Debug, Clone)]
pub(crate) struct BatchCommand {
    /// Such as `account`, `payment` or `top_up`.
    pub(crate) kind: &'static str,
    /// Idempotency key of the command.
    pub(crate) key: String,
    /// Body of the command, as the endpoint for a single command takes it.
    pub(crate) fields: Value,
}

/// Result of one command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CommandResult {
    /// The command was executed, by this request or by an earlier one with the same key.
    Done { id: String, replayed: bool },
    /// The command was refused.
    Refused { code: String, reason: String },
}

impl BatchCommand {
    pub(crate) fn new(kind: &'static str, key: String, fields: Value) -> Self {
        Self { kind, key, fields }
    }
}

/// Sends commands in order, and returns their results in the same order. Tries again while the server is unreachable or
/// busy; the idempotency keys make repetition safe.
pub(crate) fn send_commands(
    client: &mut Client,
    items: &[BatchCommand],
) -> anyhow::Result<Vec<CommandResult>> {
    let mut answers = Vec::with_capacity(items.len());
    for items in items.chunks(COMMANDS_MAX) {
        send_or_split(client, items, &mut answers)?;
    }
    Ok(answers)
}

/// Sends commands in one request. If a malformed or too large command makes the server refuse the request, sends each half
/// separately, until a refused command stands alone.
fn send_or_split(
    client: &mut Client,
    items: &[BatchCommand],
    answers: &mut Vec<CommandResult>,
) -> anyhow::Result<()> {
    if items.is_empty() {
        return Ok(());
    }
    let commands: Vec<Value> = items.iter().map(command_json).collect();
    let answer = client.post_with_retry(BATCHES, serde_json::to_vec(&commands)?)?;
    match answer.status {
        200..300 => {
            let results = parse_results(&answer)?;
            if results.len() != items.len() {
                bail!(
                    "the server answered {} of {} commands",
                    results.len(),
                    items.len()
                );
            }
            answers.extend(results);
            Ok(())
        }
        400 | 413 | 422 if items.len() > 1 => {
            let (first, second) = items.split_at(items.len() / 2);
            send_or_split(client, first, answers)?;
            send_or_split(client, second, answers)
        }
        400 | 413 | 422 => {
            answers.push(parse_refusal(&answer.json()?)?);
            Ok(())
        }
        _ => answer.require_success().map(drop),
    }
}

fn command_json(item: &BatchCommand) -> Value {
    let mut command = json!({ "idempotency_key": item.key });
    command[item.kind] = item.fields.clone();
    command
}

fn parse_results(answer: &HttpResponse) -> anyhow::Result<Vec<CommandResult>> {
    let json = answer.json()?;
    let results = json["results"]
        .as_array()
        .context("the answer to a batch has no results")?;
    results.iter().map(parse_result).collect()
}

fn parse_result(json: &Value) -> anyhow::Result<CommandResult> {
    let Some(id) = json["result"]["id"].as_str() else {
        return parse_refusal(json);
    };
    Ok(CommandResult::Done {
        id: id.to_owned(),
        replayed: json["replayed"] == json!(true),
    })
}

fn parse_refusal(json: &Value) -> anyhow::Result<CommandResult> {
    let error = &json["error"];
    let code = error["code"].as_str().context("a refusal has no code")?;
    let mut reason = error["message"]
        .as_str()
        .unwrap_or_default()
        .trim_end_matches('.')
        .to_owned();
    if let Some(param) = error["param"]
        .as_str()
        .filter(|param| !reason.contains(*param))
    {
        // The index within the request means nothing to the user.
        let param = param.split_once("].").map_or(param, |(_, field)| field);
        reason = format!("{reason}: {param}");
    }
    Ok(CommandResult::Refused {
        code: code.to_owned(),
        reason,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_read_as_done_or_refused() {
        let done =
            json!({ "result": { "id": "pay_1" }, "replayed": true, "status": 201, "error": null });
        assert_eq!(
            parse_result(&done).expect("reads"),
            CommandResult::Done {
                id: "pay_1".to_owned(),
                replayed: true
            }
        );
        let error =
            json!({ "code": "amount_zero", "message": "No.", "param": "[3].payment.amount" });
        let refusal = json!({ "result": null, "error": error });
        let (code, reason) = ("amount_zero".to_owned(), "No: payment.amount".to_owned());
        assert_eq!(
            parse_result(&refusal).expect("reads"),
            CommandResult::Refused { code, reason }
        );
        assert!(parse_result(&json!({})).is_err());
    }
}
