//! JetStream's own interface: questions in JSON about streams and consumers.

use serde_json::Value;

use super::headers::Headers;
use super::link::Link;
use crate::port::{Trouble, TroubleKind};

/// Nobody listens at a subject.
pub(super) const NO_RESPONDERS: u16 = 503;
/// There is no stream of this name.
pub(super) const STREAM_NOT_FOUND: u64 = 10_059;
/// There is no consumer of this name.
pub(super) const CONSUMER_NOT_FOUND: u64 = 10_014;

/// What JetStream says when it does not do what it was asked.
#[derive(Clone, Debug)]
pub(super) struct Refusal {
    /// Code as in HTTP.
    pub(super) status: u64,
    /// JetStream's own code.
    pub(super) code: u64,
    /// Its words.
    pub(super) description: String,
}

impl Refusal {
    /// Reads the field `error` of an answer, if it has one.
    pub(super) fn of(answer: &Value) -> Option<Refusal> {
        let error = answer.get("error")?;
        Some(Refusal {
            status: error["code"].as_u64().unwrap_or_default(),
            code: error["err_code"].as_u64().unwrap_or_default(),
            description: error["description"]
                .as_str()
                .unwrap_or("no reason")
                .to_owned(),
        })
    }

    /// Returns it as a trouble. `what` completes "refuses to".
    pub(super) fn trouble(&self, link: &Link, what: &str) -> Trouble {
        let text = format!("{} refuses to {what}: {}", link.place(), self.description);
        let kind = match (self.status, self.code) {
            (_, STREAM_NOT_FOUND | CONSUMER_NOT_FOUND) => TroubleKind::DestinationMissing,
            // A cluster without a leader, a full disk.
            (503, _) => TroubleKind::Unreachable,
            _ => TroubleKind::Refused,
        };
        Trouble::new(kind, text)
    }
}

/// Asks JetStream. `subject` is what comes after `$JS.API.`.
pub(super) async fn ask(
    link: &Link,
    subject: &str,
    question: &Value,
) -> Result<Result<Value, Refusal>, Trouble> {
    let body = question.to_string();
    let subject = format!("$JS.API.{subject}");
    let answer = link.ask(&subject, &[], body.as_bytes())?.wait().await?;
    if Headers::parse(&answer.headers).status == Some(NO_RESPONDERS) {
        let text = format!(
            "JetStream does not answer at {}: enable it on the server and for the user's account",
            link.place()
        );
        return Err(Trouble::new(TroubleKind::Refused, text));
    }
    let answer: Value = serde_json::from_slice(&answer.body).map_err(|error| {
        let text = format!("{} answered no JSON to {subject}: {error}", link.place());
        Trouble::new(TroubleKind::Refused, text)
    })?;
    Ok(match Refusal::of(&answer) {
        Some(refusal) => Err(refusal),
        None => Ok(answer),
    })
}
