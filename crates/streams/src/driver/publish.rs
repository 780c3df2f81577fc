//! What streams submit: the events of their results or what is to be done for them, and the barriers that end windows when nothing else happens.

use serde_json::{Value, json};
use tributary_api::caller::Caller;
use tributary_api::settings::request_digest;
use tributary_api::streaming::RESULT_KEY;
use tributary_ledger::codec::RecordRef;
use tributary_ledger::{
    Actor, AdvanceTime, Body, Command, Data, Key, OrderKey, Origin, Publish, PutSetting, Rejection,
    Setting, SettingBody, SettingId, Topic, event_type,
};

use super::runner::{Outcome, Runner, Settled, Waiting};

const STOPPED_KEY: &[u8] = b"\0stream-stopped:";
const PAUSED_KEY: &[u8] = b"\0stream-paused:";
const BARRIER_KEY: &[u8] = b"\0barrier:";
/// Type of the event of an event that came too late.
const LATE: &str = "stream.late";
/// Type of the event that says that a stream stopped.
const STOPPED: &str = "stream.stopped";
/// Type of the event of an action that makes no record of its own.
pub(super) const ACTED: &str = "stream.acted";
/// Type of the event of an action that can't be done.
pub(super) const ACTION_REFUSED: &str = "stream.action_refused";

/// Returns the command that publishes a result, or an event that came too late.
///
/// # Errors
/// If the result is too large for an event.
pub(super) fn event_of(
    stream: SettingId,
    runner: &Runner,
    waiting: &Waiting,
    caller: &Caller,
) -> Result<Command, String> {
    let topic = match &runner.terms.publish {
        Some(terms) if !waiting.is_late => &terms.event,
        _ => LATE,
    };
    let body = event_body(topic, &waiting.data)?;
    Ok(command_of(stream, runner, waiting, caller, body))
}

/// Returns the key of the command of a result.
pub(super) fn key_of(waiting: &Waiting) -> Vec<u8> {
    let mut key = [RESULT_KEY, &waiting.id].concat();
    if waiting.attempt > 0 {
        key.extend(waiting.attempt.to_le_bytes());
    }
    key
}

/// Returns the command of a result. Its key is the id of the result, so that it happens once; an attempt that others overtook is on
/// record under the key of that attempt.
pub(super) fn command_of(
    stream: SettingId,
    runner: &Runner,
    waiting: &Waiting,
    caller: &Caller,
    body: Body,
) -> Command {
    let mut command = self::command(&key_of(waiting), body);
    let origin = Origin::new(stream, runner.terms.version, waiting.id, waiting.hops, None);
    command.origin = Some(Box::new(origin.expect("the hops are bounded")));
    let is_own = |publish: &Publish| !publish.topic.is_of_application();
    if let Body::Publish(publish) = &mut command.body {
        let cut = waiting.key.floor_char_boundary(OrderKey::BYTES_MAX);
        publish.key = OrderKey::new(&waiting.key[..cut]).ok();
    }
    // Only the system publishes events of its own types.
    command.actor = match &command.body {
        Body::Publish(publish) if is_own(publish) => Actor::SYSTEM,
        _ => caller.actor,
    };
    command
}

/// Returns what a record says about a result of a stream, if it is about one.
pub(super) fn result_of(record: &RecordRef<'_>) -> Option<Settled> {
    let key = record.key().strip_prefix(RESULT_KEY)?;
    let (id, attempt) = key.split_first_chunk()?;
    let attempt = match attempt {
        [] => 0,
        more => u32::from_le_bytes(more.try_into().ok()?),
    };
    let outcome = match record.rejection() {
        None if event_type(record) == ACTION_REFUSED => Outcome::Refused(why_refused(record)),
        rejection => outcome_of(rejection),
    };
    Some(Settled {
        stream: record.origin()?.setting,
        id: *id,
        attempt,
        outcome,
    })
}

/// Returns what becomes of a result by the ledger's decision.
pub(super) fn outcome_of(rejection: Option<Rejection>) -> Outcome {
    match rejection {
        None => Outcome::Done,
        Some(Rejection::SettingConflict) => Outcome::Overtaken,
        Some(other) => Outcome::Refused(format!("{}: {}", other.code(), other.message())),
    }
}

/// The reason that an event about a refused action tells.
fn why_refused(record: &RecordRef<'_>) -> String {
    let data = match record.to_record().map(|record| record.command.body) {
        Ok(Body::Publish(publish)) => serde_json::from_slice(publish.data.as_bytes()).ok(),
        _ => None,
    };
    let data: Value = data.unwrap_or_default();
    data["why"].as_str().unwrap_or_default().to_owned()
}

/// Returns the commands that pause a stream which would do more than it may, and tell so. `body` is the content of the paused stream.
pub(super) fn paused(
    runner: &Runner,
    setting: &Setting,
    body: SettingBody,
    why: &str,
) -> [Command; 2] {
    let key = [
        PAUSED_KEY,
        &setting.id.0.to_le_bytes(),
        &setting.revision.to_le_bytes(),
    ]
    .concat();
    let put = PutSetting {
        id: setting.id,
        kind: setting.kind,
        slug: setting.slug.clone(),
        managed_by: setting.managed_by.clone(),
        replaces: setting.revision,
        body,
        request: request_digest("pause_acting_stream", Some(setting.id), &setting.revision),
    };
    let data = stopped_data(runner, runner.position, why);
    let told = event_body(STOPPED, &data).expect("it is short");
    [
        command(&key, Body::PutSetting(Box::new(put))),
        command(&[&key, b"+".as_slice()].concat(), told),
    ]
}

/// Returns the command that says that a stream stopped.
pub(super) fn stopped(runner: &Runner, position: u64, why: &str) -> Result<Command, String> {
    let data = stopped_data(runner, position, why);
    let version = runner.terms.version.to_le_bytes();
    let key = [
        STOPPED_KEY,
        runner.name().as_bytes(),
        &version,
        &position.to_le_bytes(),
    ];
    Ok(command(&key.concat(), event_body(STOPPED, &data)?))
}

fn stopped_data(runner: &Runner, position: u64, why: &str) -> String {
    let data = json!({
        "stream": runner.name(),
        "version": runner.terms.version,
        "position": position,
        "why": why,
    });
    data.to_string()
}

/// Returns the command of a barrier for windows that end at `deadline`: nothing happens but that its record is as late as it is.
pub(super) fn barrier(deadline: i64, now: u64) -> Command {
    let key = [BARRIER_KEY, &deadline.to_le_bytes(), &now.to_le_bytes()].concat();
    command(&key, Body::AdvanceTime(AdvanceTime::BARRIER))
}

/// Returns the publication of an event.
///
/// # Errors
/// If the data is too large for an event.
pub(super) fn event_body(topic: &str, data: &str) -> Result<Body, String> {
    let data = Data::new(Data::PLAIN, data.as_bytes()).map_err(|_| {
        format!(
            "a result of {} bytes is too large for an event, of which the data has {} at most; leave out long texts",
            data.len(),
            Data::BYTES_MAX
        )
    })?;
    Ok(Body::Publish(Publish {
        topic: Topic::new(topic).expect("it was checked"),
        key: None,
        data,
    }))
}

fn command(key: &[u8], body: Body) -> Command {
    Command {
        key: Key::from_bytes(key).expect("it is short"),
        actor: Actor::SYSTEM,
        linked: false,
        effective_at: None,
        text: None,
        origin: None,
        assessment: None,
        body,
    }
}
