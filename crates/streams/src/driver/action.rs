//! What streams do for their results: the command of an action, or what is told of one that makes no record of its own.
//!
//! An action is decided by the ledger as one of the API key `acts_as`. What needs no change, such as an entry that a list has already, and
//! what can't be done, is told by an event under the same key: so each result acts once, whatever became of it.

use serde_json::{Value, json};
use tributary_api::caller::Caller;
use tributary_api::error::ApiError;
use tributary_api::risk::ListEntryForm;
use tributary_api::settings::automation::{list_with, paused_binding};
use tributary_api::settings::request_digest;
use tributary_api::streaming::{ActTerms, Action, DeadLetters};
use tributary_engine::{IdKind, Reader};
use tributary_ledger::{AccountId, Body, OwnerId, PutSetting, Setting, SettingBody, SettingId};

use super::publish::{self, ACTED, ACTION_REFUSED};
use super::runner::{Runner, Waiting};

/// Nanoseconds of a millisecond.
const MILLISECOND: u64 = 1_000_000;
/// Maximum size of a text to which something is done, as events tell it, bytes.
const VALUE_BYTES_MAX: usize = 256;

/// What is to happen for a result.
pub(super) enum Step {
    /// This is submitted.
    Submit(Body),
    /// Dead letters of a subscription are delivered again, and that is told.
    Requeue(SettingId),
    /// Why nothing can be done, which is told.
    Refuse(String),
}

/// An action for a result, and as whom.
pub(super) struct Acting<'a> {
    pub(super) reader: &'a Reader,
    pub(super) stream: SettingId,
    pub(super) runner: &'a Runner,
    pub(super) act: &'a ActTerms,
    pub(super) waiting: &'a Waiting,
    pub(super) caller: &'a Caller,
}

impl Acting<'_> {
    /// Returns what is to happen at `now`, nanoseconds since the Unix epoch.
    pub(super) fn step(&self, now: u64) -> Step {
        self.try_step(now).unwrap_or_else(Step::Refuse)
    }

    fn try_step(&self, now: u64) -> Result<Step, String> {
        let owner = self.caller.actor.owner;
        let setting = self.act.action.find_setting(self.reader, owner);
        let setting = setting.transpose()?;
        let body = match (&self.act.action, setting) {
            (Action::FreezeAccount(_), _) => Body::FreezeAccount(self.account()?),
            (Action::UnfreezeAccount(_), _) => Body::UnfreezeAccount(self.account()?),
            (Action::RequeueDeadLetters(_), Some(found)) => return Ok(Step::Requeue(found.id)),
            (Action::AddToList(form), Some(list)) => {
                let now = now / MILLISECOND;
                let seconds = form.until_seconds;
                let note = form.note.clone();
                let entry = ListEntryForm {
                    value: self.target()?,
                    until_ms: seconds.map(|seconds| now.saturating_add(seconds * 1_000)),
                    note: note.or_else(|| Some(self.by_stream())),
                };
                let body = list_with(&list, entry, now).map_err(|error| said(&error))?;
                self.put(&list, body)
            }
            (Action::PauseBinding(_), Some(binding)) => {
                let body = paused_binding(&binding, self.by_stream());
                let body = body.map_err(|error| said(&error))?;
                self.put(&binding, body)
            }
            (_, None) => unreachable!("the setting was found"),
        };
        Ok(Step::Submit(body))
    }

    /// To what it is done for the result.
    fn target(&self) -> Result<String, String> {
        let data = self.data();
        match (&data["target"], &data["target"]["fault"]) {
            (Value::String(text), _) => Ok(text.clone()),
            (_, Value::String(fault)) => Err(fault.clone()),
            _ => unreachable!("the stream has an expression"),
        }
    }

    fn account(&self) -> Result<AccountId, String> {
        let text = self.target()?;
        let account = self.reader.ids().decode(IdKind::Account, &text);
        let is_there = |id: &AccountId| self.reader.account_owner(*id).is_some();
        let account = account.map(AccountId).filter(is_there);
        account.ok_or_else(|| {
            format!(
                "{:?} is not the id of an account; choose another act.{}",
                cut(&text),
                self.act.action.name()
            )
        })
    }

    /// Why an entry is there, or a binding is paused.
    fn by_stream(&self) -> String {
        let setting = self.reader.setting(self.stream);
        let name = setting.map_or_else(|| self.runner.name().to_owned(), |it| it.slug.to_string());
        format!("stream {name}")
    }

    /// Returns the change of a setting, or what tells that nothing was to change.
    fn put(&self, setting: &Setting, body: Option<SettingBody>) -> Body {
        let Some(body) = body else {
            return self.told(Ok(0));
        };
        // The same for all attempts of a result.
        let request = request_digest(
            self.act.action.name(),
            Some(setting.id),
            &self.waiting.id.as_slice(),
        );
        Body::PutSetting(Box::new(PutSetting {
            id: setting.id,
            kind: setting.kind,
            slug: setting.slug.clone(),
            managed_by: setting.managed_by.clone(),
            replaces: setting.revision,
            body,
            request,
        }))
    }

    /// Returns the event of an action that makes no record of its own: how much was done, or why nothing was.
    pub(super) fn told(&self, done: Result<u64, &str>) -> Body {
        let mut data = self.data();
        let fields = data.as_object_mut().expect("it was made as an object");
        let value = match fields.remove("target") {
            Some(Value::String(text)) => Value::from(cut(&text)),
            _ => Value::Null,
        };
        let ids = self.reader.ids();
        let setting = self
            .act
            .action
            .find_setting(self.reader, self.caller.actor.owner);
        let setting = setting.and_then(Result::ok);
        let setting = setting.map(|setting| ids.encode_setting(setting.kind, setting.id));
        let more = json!({
            "action": self.act.action.name(),
            "setting": setting,
            "value": value,
            "acts_as": ids.encode(IdKind::ApiKey, self.act.acts_as.0),
        });
        let Value::Object(more) = more else {
            unreachable!("it was made as an object")
        };
        fields.extend(more);
        let topic = match done {
            Ok(count) => {
                fields.insert("done".to_owned(), Value::from(count));
                ACTED
            }
            Err(why) => {
                fields.insert("why".to_owned(), Value::from(why));
                ACTION_REFUSED
            }
        };
        publish::event_body(topic, &data.to_string()).expect("it is short")
    }

    fn data(&self) -> Value {
        serde_json::from_str(&self.waiting.data).expect("it was made as JSON")
    }
}

/// Has the dead letters of a subscription delivered again. Returns how many, or why that can't be done; blocks until it is durable.
///
/// # Errors
/// If it can't be done now: it is tried again.
pub(super) fn requeue(
    dead_letters: Option<&dyn DeadLetters>,
    caller: &Caller,
    subscription: SettingId,
) -> Result<Result<u64, String>, String> {
    let Some(dead_letters) = dead_letters else {
        return Ok(Err("this server keeps no subscriptions".to_owned()));
    };
    match dead_letters.requeue(caller, subscription) {
        Ok(count) => Ok(Ok(count)),
        Err(error) if error.status() < 500 => Ok(Err(said(&error))),
        Err(error) => Err(said(&error)),
    }
}

/// Returns what is missing for the actions of a stream, as a sentence.
pub(super) fn missing(reader: &Reader, act: &ActTerms) -> Option<String> {
    let key = reader.api_key(act.acts_as);
    let owner = key.map_or(OwnerId::PLATFORM, |key| key.owner);
    let missing = act.action.find_setting(reader, owner)?.err()?;
    Some(format!("act.{}: {missing}", act.action.name()))
}

/// Returns whether an action changes a setting, or the state of one: then there is one at a time.
pub(super) fn is_of_setting(act: &ActTerms) -> bool {
    act.action.setting().is_some()
}

fn said(error: &ApiError) -> String {
    error.message().trim_end_matches('.').to_owned()
}

fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(VALUE_BYTES_MAX)]
}
