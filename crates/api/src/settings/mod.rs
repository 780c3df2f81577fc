//! Settings as commands: each kind checks a definition, seals its secrets and shows it again.
//!
//! A kind of settings implements [`SettingType`]; the ledger reads only that of limits.

pub mod apply;
pub mod automation;
pub mod binder;
pub mod binding;
pub mod defined;
pub mod limit;
pub mod rule_set;
pub mod standard;
pub mod stream;
pub mod subscription;
pub mod text_list;
pub mod tree_model;

use std::sync::Arc;

use serde::Serialize;
use tributary_engine::{Engine, Reader};
use tributary_ledger::codec::Record;
use tributary_ledger::{
    Actor, Body, Command, DeleteSetting, Key, ManagedBy, OwnerId, PutSetting, Rejection, Setting,
    SettingBody, SettingId, SettingKind, Slug,
};

use crate::caller::Caller;
use crate::code::ErrorCode;
use crate::error::ApiError;
use crate::failures::{internal_error, key_conflict, read_error, submit_error};
use crate::intake::read_reply;
use crate::render::answer::answer;
use crate::render::setting::{SettingObject, setting};

/// Maximum number of attempts that a request makes at a change that other changes overtake.
pub const ATTEMPTS_MAX: u32 = 8;

/// What distinguishes the digest of a request about a setting from any other use of the hash.
const REQUEST_CONTEXT: &str = "tributary 2026 digest of a request about a setting v1";

/// A kind of settings.
pub trait SettingType: Send + Sync {
    /// The kind.
    fn kind(&self) -> SettingKind;

    /// Checks a complete definition and makes the content of a setting named `slug` of it; secrets are sealed for `id`. What the definition
    /// leaves out has its default, except secrets and state of `before`, the setting that is replaced. The content is that of
    /// `before` if nothing differs.
    fn define(
        &self,
        caller: &Caller,
        id: SettingId,
        slug: &Slug,
        definition: &serde_json::Map<String, serde_json::Value>,
        before: Option<&Setting>,
    ) -> Result<SettingBody, ApiError>;

    /// Replaces the secrets in a definition by their MACs, for the digest of a request.
    fn mask(
        &self,
        definition: &mut serde_json::Map<String, serde_json::Value>,
    ) -> Result<(), ApiError>;

    /// Returns the setting as an object, without secrets.
    fn render(&self, setting: &Setting) -> Result<serde_json::Value, ApiError>;

    /// Returns the secret that was made for the setting, for the caller who has just made it; none if there is none.
    fn reveal(&self, setting: &Setting) -> Result<Option<String>, ApiError>;

    /// Returns the names of the secrets that differ between two revisions of a setting.
    fn changed_secrets(
        &self,
        before: &Setting,
        after: &Setting,
    ) -> Result<Vec<&'static str>, ApiError> {
        Ok(match self.reveal(before)? == self.reveal(after)? {
            true => Vec::new(),
            false => vec!["secret"],
        })
    }

    /// Begins to work by settings of this kind, if nothing does so yet.
    fn begin(&self) {}

    /// Puts the parts that a setting with this definition, which was checked, needs beside itself and that are not there yet. Called within
    /// [`SettingType::with_parts`], before the setting is put.
    fn put_parts(
        &self,
        _engine: &Engine,
        _actor: Actor,
        _definition: &serde_json::Map<String, serde_json::Value>,
    ) -> Result<(), ApiError> {
        Ok(())
    }

    /// Puts or deletes a setting by `change`, while nobody else changes one of this kind if the kind has parts, and then deletes the parts
    /// that no setting needs any more.
    fn with_parts(
        &self,
        _engine: &Engine,
        _actor: Actor,
        change: &mut dyn FnMut() -> Result<Settled, ApiError>,
    ) -> Result<Settled, ApiError> {
        change()
    }
}

/// The kinds of settings that a server knows.
#[derive(Clone, Default)]
pub struct SettingTypes(Vec<Arc<dyn SettingType>>);

impl SettingTypes {
    /// Adds a kind.
    #[must_use]
    pub fn with(mut self, kind: Arc<dyn SettingType>) -> SettingTypes {
        self.0.push(kind);
        self
    }

    /// Returns the kinds.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<dyn SettingType>> {
        self.0.iter()
    }

    /// Returns the setting that an accepted record put, as its kind shows it; none for other records.
    pub fn show(&self, reader: &Reader, record: &Record) -> Option<SettingObject> {
        let change = record.outcome.setting.as_ref()?;
        let made = record.setting()?;
        let mut object = setting(reader, record, change)?;
        let kind = self.find(made.kind.name());
        // A later version may have written what this one can't show.
        object.definition = kind.and_then(|kind| kind.render(&made).ok());
        Some(object)
    }

    /// Returns the kind with this name.
    pub fn find(&self, name: &str) -> Option<&Arc<dyn SettingType>> {
        self.0.iter().find(|kind| kind.kind().name() == name)
    }
}

/// Returns the digest of a request: its operation, the setting that it names and its arguments, whose secrets were replaced by
/// MACs.
pub fn request_digest(
    operation: &str,
    setting: Option<SettingId>,
    arguments: &impl Serialize,
) -> [u8; 16] {
    let arguments = serde_json::to_vec(arguments).expect("arguments are JSON");
    let setting = setting.map_or(0, |id| id.0).to_le_bytes();
    let mut hasher = blake3::Hasher::new_derive_key(REQUEST_CONTEXT);
    for part in [operation.as_bytes(), &setting, &arguments] {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    *hasher
        .finalize()
        .as_bytes()
        .first_chunk()
        .expect("32 bytes hold 16")
}

/// Returns a random number for a new setting.
///
/// # Panics
/// If the operating system has no randomness to give.
pub fn random_setting_id() -> SettingId {
    let mut id = [0; 8];
    getrandom::fill(&mut id).expect("the operating system gives random bytes");
    SettingId(u64::from_le_bytes(id).max(1))
}

/// Returns an idempotency key for a request that came without one. Keys that begin with a zero byte are reserved.
///
/// # Panics
/// If the operating system has no randomness to give.
pub fn random_key() -> Key {
    let mut bytes = *b"\0setting................";
    getrandom::fill(&mut bytes[8..]).expect("the operating system gives random bytes");
    Key::from_bytes(&bytes).expect("it is short")
}

/// Returns the idempotency key of an attempt at a change. The conflict of an attempt is on record under that attempt's key, so the
/// next attempt needs another one, and a repetition of the request must find the same ones.
pub fn attempt_key(key: &Key, attempt: u32) -> Key {
    if attempt == 0 {
        return key.clone();
    }
    let mut bytes = b"\0attempt".to_vec();
    bytes.extend_from_slice(&attempt.to_le_bytes());
    bytes.extend_from_slice(&blake3::hash(key.as_bytes()).as_bytes()[..16]);
    Key::from_bytes(&bytes).expect("it is short")
}

/// The revision of a setting that a put makes, without its position: what a request asks for.
#[derive(Clone, Debug)]
pub struct Revision {
    /// Setting.
    pub id: SettingId,
    /// Kind.
    pub kind: SettingKind,
    /// Name.
    pub slug: Slug,
    /// Name of the file or tool that manages the setting.
    pub managed_by: Option<ManagedBy>,
    /// Revision that is replaced; 0 creates the setting.
    pub replaces: u64,
    /// Content.
    pub body: SettingBody,
}

impl Revision {
    /// Returns the revision that follows `setting` with this content.
    pub fn after(setting: &Setting, body: SettingBody) -> Revision {
        Revision {
            id: setting.id,
            kind: setting.kind,
            slug: setting.slug.clone(),
            managed_by: setting.managed_by.clone(),
            replaces: setting.revision,
            body,
        }
    }

    /// Returns the command that makes this revision.
    pub fn into_command(self, actor: Actor, key: Key, request: [u8; 16]) -> Command {
        let put = PutSetting {
            id: self.id,
            kind: self.kind,
            slug: self.slug,
            managed_by: self.managed_by,
            replaces: self.replaces,
            body: self.body,
            request,
        };
        command(actor, key, Body::PutSetting(Box::new(put)))
    }
}

/// Returns the command that deletes a setting. `replaces` is the revision that must be the newest; 0 for any.
pub fn delete_command(
    actor: Actor,
    key: Key,
    id: SettingId,
    kind: SettingKind,
    replaces: u64,
) -> Command {
    command(
        actor,
        key,
        Body::DeleteSetting(DeleteSetting { id, kind, replaces }),
    )
}

fn command(actor: Actor, key: Key, body: Body) -> Command {
    Command {
        key,
        actor,
        linked: false,
        effective_at: None,
        text: None,
        origin: None,
        assessment: None,
        body,
    }
}

/// Returns the setting, if it lives and the caller may see it.
pub fn visible_setting(
    reader: &Reader,
    caller: &Caller,
    kind: SettingKind,
    id: Option<SettingId>,
) -> Option<Setting> {
    let found = id.and_then(|id| reader.setting(id));
    found.filter(|found| {
        found.kind == kind && (caller.is_platform() || found.owner == caller.actor.owner)
    })
}

/// A request about a setting that the ledger decided, now or before.
pub struct Settled {
    /// Record of the decision.
    pub record: Record,
    /// Whether this is the repetition of an earlier answer.
    pub replayed: bool,
}

/// A request that puts a setting.
#[derive(Clone, Debug)]
pub struct PutRequest {
    /// Who asks.
    pub actor: Actor,
    /// Idempotency key of the request.
    pub key: Key,
    /// Digest of the request.
    pub request: [u8; 16],
    /// Whether the caller named the revision that is replaced: then a conflict is the answer.
    pub names_revision: bool,
}

/// Puts the setting that `derive` makes of what is newest, and again when others overtook it. Blocks until the record is durable.
///
/// # Errors
/// Whatever `derive` fails with, if the request was not decided before; or if the ledger does not take the command.
pub fn put_setting(
    engine: &Engine,
    asked: &PutRequest,
    derive: impl Fn() -> Result<Revision, ApiError>,
) -> Result<Settled, ApiError> {
    let PutRequest {
        actor,
        key,
        request,
        names_revision,
    } = asked;
    // Attempts of an earlier request with this key are on record: they are gone over again, and don't count.
    let mut made = 0;
    for attempt in 0.. {
        let key = attempt_key(key, attempt);
        let settled = match derive() {
            Ok(revision) => submit(engine, revision.into_command(*actor, key, *request))?,
            Err(error) => Settled {
                record: replayed(&engine.reader(), actor.owner, &key, *request, error)?,
                replayed: true,
            },
        };
        let is_overtaken = settled.record.outcome.rejection == Some(Rejection::SettingConflict);
        if !is_overtaken || *names_revision {
            return Ok(settled);
        }
        made += u32::from(!settled.replayed);
        if made == ATTEMPTS_MAX {
            break;
        }
    }
    Err(ApiError::new(
        ErrorCode::Overloaded,
        "The setting was changed by others at the same time: send the request again.",
    ))
}

/// Sends a command about a setting. Blocks until its record is durable.
///
/// # Errors
/// If the ledger does not take the command.
pub fn submit(engine: &Engine, command: Command) -> Result<Settled, ApiError> {
    let settled = submit_all(engine, vec![command])?.into_iter().next();
    settled.ok_or_else(internal_error)
}

/// Sends commands about settings, each decided by itself. Blocks until their records are durable.
///
/// # Errors
/// If the ledger does not take the commands.
fn submit_all(engine: &Engine, commands: Vec<Command>) -> Result<Vec<Settled>, ApiError> {
    let replies = engine.execute_blocking(commands).map_err(submit_error)?;
    let settled = replies.into_iter().map(|reply| {
        let done = read_reply(reply)?;
        Ok(Settled {
            record: Record::clone(&done.record),
            replayed: done.replayed,
        })
    });
    settled.collect()
}

/// Returns the setting that an accepted record put, or the error of a refused one.
pub fn accepted(reader: &Reader, record: &Record) -> Result<Setting, ApiError> {
    record.setting().ok_or_else(|| refusal(reader, record))
}

/// Returns the error of a record that was refused.
pub fn refusal(reader: &Reader, record: &Record) -> ApiError {
    let refused = answer(reader, record).err();
    refused.unwrap_or_else(internal_error)
}

/// Returns the record of an earlier request with this key and digest. Called when a check of a request failed, which is `error`:
/// what was decided once is answered in the same way again.
pub fn replayed(
    reader: &Reader,
    owner: OwnerId,
    key: &Key,
    request: [u8; 16],
    error: ApiError,
) -> Result<Record, ApiError> {
    let earlier = reader.record_by_key(owner, key).map_err(read_error)?;
    match earlier {
        Some(record) if record.digest == request => Ok(record),
        Some(_) => Err(key_conflict()),
        None => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_of_operation_setting_and_arguments() {
        let base = request_digest("update", Some(SettingId(7)), &"a");
        assert_eq!(base, request_digest("update", Some(SettingId(7)), &"a"));
        for other in [
            request_digest("rotate", Some(SettingId(7)), &"a"),
            request_digest("update", Some(SettingId(8)), &"a"),
            request_digest("update", None, &"a"),
            request_digest("update", Some(SettingId(7)), &"b"),
        ] {
            assert_ne!(base, other);
        }
    }

    #[test]
    fn attempts_have_keys_of_their_own_that_follow_from_the_first() {
        let key = Key::from_bytes(&[b'k'; Key::BYTES_MAX]).expect("a key");
        assert_eq!(attempt_key(&key, 0), key);
        assert_eq!(attempt_key(&key, 1), attempt_key(&key, 1));
        assert_ne!(attempt_key(&key, 1), attempt_key(&key, 2));
        assert_eq!(attempt_key(&key, 1).as_bytes()[0], 0, "it is reserved");
        assert_ne!(random_key(), random_key());
    }
}
