//! What streams submit: the events of their results or what is to be done for them, and the barriers that end windows when nothing else happens.

use serde_json::{Value, json};
use tributary_api::caller::Caller;
use tributary_engine::{IdKind, Ids};
use tributary_ledger::codec::RecordRef;
use tributary_ledger::{
    AccountId, Actor, AdvanceTime, Body, Command, Data, Key, OrderKey, Origin, Publish, SettingId,
    Topic,
};

use super::runner::{Runner, Waiting};
use crate::stream::ResultId;

/// First bytes of the keys of events that streams publish. Keys that begin with a zero byte are reserved: no caller can use one.
const RESULT_KEY: &[u8] = b"\0stream:";
const STOPPED_KEY: &[u8] = b"\0stream-stopped:";
const BARRIER_KEY: &[u8] = b"\0barrier:";
/// Type of the event of an event that came too late.
const LATE: &str = "stream.late";
/// Type of the event that says that a stream stopped.
const STOPPED: &str = "stream.stopped";

/// Returns the command that publishes a result, or does what the stream says. Its key is the id of the result, so that it happens once.
///
/// # Errors
/// If the result is too large for an event, or names no account.
pub(super) fn command_of(
    stream: SettingId,
    runner: &Runner,
    waiting: &Waiting,
    caller: &Caller,
    ids: &Ids,
) -> Result<Command, String> {
    let key = [RESULT_KEY, &waiting.id];
    let mut command = match (&runner.terms.publish, &runner.terms.act) {
        _ if waiting.is_late => publish(LATE, &key, &waiting.data)?,
        (Some(terms), _) => publish(&terms.event, &key, &waiting.data)?,
        (None, Some(act)) => {
            let account = account_of(waiting, &act.freeze_account, ids)?;
            self::command(&key.concat(), Body::FreezeAccount(account))
        }
        (None, None) => unreachable!("only a stream that publishes or acts has results that wait"),
    };
    // Only the system publishes events of its own types.
    let actor = match waiting.is_late {
        true => Actor::SYSTEM,
        false => caller.actor,
    };
    let origin = Origin::new(stream, runner.terms.version, waiting.id, waiting.hops, None);
    command.actor = actor;
    command.origin = Some(Box::new(origin.expect("the hops are bounded")));
    if let Body::Publish(publish) = &mut command.body {
        let cut = waiting.key.floor_char_boundary(OrderKey::BYTES_MAX);
        publish.key = OrderKey::new(&waiting.key[..cut]).ok();
    }
    Ok(command)
}

/// Returns the account that a field of the result's key names.
fn account_of(waiting: &Waiting, field: &str, ids: &Ids) -> Result<AccountId, String> {
    let data: Value = serde_json::from_str(&waiting.data).expect("it was made as JSON");
    let text = data["key"][field].as_str().unwrap_or_default();
    let account = ids.decode(IdKind::Account, text).map(AccountId);
    account.ok_or_else(|| {
        format!("`{field}` of a result is {text:?} and not the id of an account; choose another field as act.freeze_account")
    })
}

/// Returns the id of the result that a record published, and of the stream, if a stream did that.
pub(super) fn result_of(record: &RecordRef<'_>) -> Option<(SettingId, ResultId)> {
    let id = record.key().strip_prefix(RESULT_KEY)?;
    let origin = record.origin()?;
    Some((origin.setting, id.try_into().ok()?))
}

/// Returns the command that says that a stream stopped.
pub(super) fn stopped(runner: &Runner, position: u64, why: &str) -> Result<Command, String> {
    let data = json!({
        "stream": runner.name(),
        "version": runner.terms.version,
        "position": position,
        "why": why,
    });
    let version = runner.terms.version.to_le_bytes();
    let key = [
        STOPPED_KEY,
        runner.name().as_bytes(),
        &version,
        &position.to_le_bytes(),
    ];
    publish(STOPPED, &key, &data.to_string())
}

/// Returns the command of a barrier for windows that end at `deadline`: nothing happens but that its record is as late as it is.
pub(super) fn barrier(deadline: i64, now: u64) -> Command {
    let key = [BARRIER_KEY, &deadline.to_le_bytes(), &now.to_le_bytes()].concat();
    command(&key, Body::AdvanceTime(AdvanceTime::BARRIER))
}

fn publish(topic: &str, key: &[&[u8]], data: &str) -> Result<Command, String> {
    let data = Data::new(Data::PLAIN, data.as_bytes()).map_err(|_| {
        format!(
            "a result of {} bytes is too large for an event, of which the data has {} at most; leave out long texts",
            data.len(),
            Data::BYTES_MAX
        )
    })?;
    let body = Body::Publish(Publish {
        topic: Topic::new(topic).expect("it was checked"),
        key: None,
        data,
    });
    Ok(command(&key.concat(), body))
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
