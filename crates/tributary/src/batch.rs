//! `POST /v1/batches`: many commands in one request, each with its own key and its own answer.

use anyhow::{Context as _, bail};
use serde_json::{Value, json};

use crate::client::{Answer, BATCHES, Client};

/// Most commands that one request may hold.
const COMMANDS_MAX: usize = 8_192;

/// One command of a batch.
#[derive(Debug, Clone)]
pub(crate) struct Item {
    /// `account`, `payment`, `top_up` …
    pub(crate) kind: &'static str,
    /// Its idempotency key.
    pub(crate) key: String,
    /// An object, as the endpoint for one such command takes it.
    pub(crate) fields: Value,
}

/// What became of one command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answered {
    /// Done, by this request or under the same key before.
    Done { id: String, replayed: bool },
    /// Refused, by the ledger or because it could not be understood.
    Refused { code: String, reason: String },
}

impl Item {
    pub(crate) fn new(kind: &'static str, key: String, fields: Value) -> Self {
        Self { kind, key, fields }
    }
}

/// Sends commands in order and gives their answers in order. Waits for a server that is away or busy: the keys make
/// repetition safe.
pub(crate) fn send(client: &mut Client, items: &[Item]) -> anyhow::Result<Vec<Answered>> {
    let mut answers = Vec::with_capacity(items.len());
    for items in items.chunks(COMMANDS_MAX) {
        send_some(client, items, &mut answers)?;
    }
    Ok(answers)
}

/// A command that is wrong in its form, or too large, makes the server refuse the whole request; then halves are sent, until
/// the wrong ones stand alone.
fn send_some(
    client: &mut Client,
    items: &[Item],
    answers: &mut Vec<Answered>,
) -> anyhow::Result<()> {
    if items.is_empty() {
        return Ok(());
    }
    let commands: Vec<Value> = items.iter().map(command).collect();
    let answer = client.post_patiently(BATCHES, serde_json::to_vec(&commands)?)?;
    match answer.status {
        200..300 => {
            let results = results(&answer)?;
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
            send_some(client, first, answers)?;
            send_some(client, second, answers)
        }
        400 | 413 | 422 => {
            answers.push(refused(&answer.json()?)?);
            Ok(())
        }
        _ => answer.ok().map(drop),
    }
}

fn command(item: &Item) -> Value {
    let mut command = json!({ "idempotency_key": item.key });
    command[item.kind] = item.fields.clone();
    command
}

fn results(answer: &Answer) -> anyhow::Result<Vec<Answered>> {
    let json = answer.json()?;
    let results = json["results"]
        .as_array()
        .context("the answer to a batch has no results")?;
    results.iter().map(result).collect()
}

fn result(json: &Value) -> anyhow::Result<Answered> {
    let Some(id) = json["result"]["id"].as_str() else {
        return refused(json);
    };
    Ok(Answered::Done {
        id: id.to_owned(),
        replayed: json["replayed"] == json!(true),
    })
}

fn refused(json: &Value) -> anyhow::Result<Answered> {
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
        // Within a request; its place there says nothing to whoever reads this.
        let param = param.split_once("].").map_or(param, |(_, field)| field);
        reason = format!("{reason}: {param}");
    }
    Ok(Answered::Refused {
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
            result(&done).expect("reads"),
            Answered::Done {
                id: "pay_1".to_owned(),
                replayed: true
            }
        );
        let error =
            json!({ "code": "amount_zero", "message": "No.", "param": "[3].payment.amount" });
        let refusal = json!({ "result": null, "error": error });
        let (code, reason) = ("amount_zero".to_owned(), "No: payment.amount".to_owned());
        assert_eq!(
            result(&refusal).expect("reads"),
            Answered::Refused { code, reason }
        );
        assert!(result(&json!({})).is_err());
    }
}
