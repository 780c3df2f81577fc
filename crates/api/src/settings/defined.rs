//! Settings that are made and changed by their definition: a change puts other values into the definition as it is, and the whole is
//! checked as if a file said it.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use tributary_engine::{IdKind, Reader};
use tributary_ledger::{
    Access, ApiKeyId, ApiKeyStatus, Setting, SettingBody, SettingId, SettingKind, Slug,
};

use super::subscription::{parse_manager, parse_slug};
use super::{Revision, SettingType, random_setting_id, request_digest, visible_setting};
use crate::caller::Caller;
use crate::code::ErrorCode;
use crate::error::ApiError;
use crate::form::json::parse_object;

/// Maximum size of the reason of a pause, bytes.
const REASON_BYTES_MAX: usize = 128;

/// A kind of settings that are made and changed by their definition.
pub trait DefinedType: SettingType {
    /// The setting as an object.
    type Object: Serialize + Send + 'static;

    /// Returns what reads the journal.
    fn reader(&self) -> &Reader;

    /// Returns the complete definition of a setting but for its secrets.
    ///
    /// # Errors
    /// If a later version of the server wrote the setting.
    fn definition(&self, setting: &Setting) -> Result<Map<String, Value>, ApiError>;

    /// Returns the setting as an object, without secrets.
    ///
    /// # Errors
    /// As of [`DefinedType::definition`].
    fn object(&self, setting: &Setting) -> Result<Self::Object, ApiError>;

    /// Makes changes in a definition: by default each value takes the place of the one before.
    fn amend(&self, definition: &mut Map<String, Value>, changes: Map<String, Value>) {
        definition.extend(changes);
    }

    /// Checks that there is room for a setting with this content beside the others. `before` is the setting as it is, if it exists.
    ///
    /// # Errors
    /// Which bound the setting would exceed.
    fn check_room(&self, _before: Option<&Setting>, _body: &SettingBody) -> Result<(), ApiError> {
        Ok(())
    }

    /// Returns the setting with this id, if it lives and the caller may see it.
    ///
    /// # Errors
    /// If not.
    fn visible(&self, caller: &Caller, id: Option<SettingId>) -> Result<Setting, ApiError> {
        visible_setting(self.reader(), caller, self.kind(), id)
            .ok_or_else(|| ApiError::not_found(self.kind().name(), "id"))
    }
}

/// Returns the digest of a request to create a setting.
///
/// # Errors
/// If the server has no master key, and the form has a secret.
pub fn digest_of_create(
    kind: &impl DefinedType,
    form: &impl Serialize,
) -> Result<[u8; 16], ApiError> {
    let mut fields = fields(form);
    kind.mask(&mut fields)?;
    let operation = format!("create_{}", kind.kind().name());
    Ok(request_digest(&operation, None, &fields))
}

/// Returns the first revision of the setting that a form asks for: a complete definition with `slug` and perhaps `managed_by`.
///
/// # Errors
/// If the definition is wrong.
pub fn create(
    kind: &impl DefinedType,
    caller: &Caller,
    form: &impl Serialize,
) -> Result<Revision, ApiError> {
    let id = random_setting_id();
    let mut definition = fields(form);
    let slug = take_text(&mut definition, "slug").flatten();
    let slug = parse_slug(&slug.unwrap_or_default())?;
    let managed_by = take_text(&mut definition, "managed_by").flatten();
    let body = kind.define(caller, id, &slug, &definition, None)?;
    kind.check_room(None, &body)?;
    Ok(Revision {
        id,
        kind: kind.kind(),
        slug,
        managed_by: managed_by.as_deref().map(parse_manager).transpose()?,
        replaces: 0,
        body,
    })
}

/// A change of a setting that exists.
#[derive(Clone, Debug)]
pub struct Change {
    /// Name of the request.
    operation: &'static str,
    /// Revision that the caller named, if it did.
    revision: Option<u64>,
    slug: Option<String>,
    managed_by: Option<Option<String>>,
    /// Values that take the place of those of the definition; null for the default.
    fields: Map<String, Value>,
}

impl Change {
    /// A change to what a form says: what it leaves out stays.
    ///
    /// # Errors
    /// If the form names revision 0.
    pub fn update(form: &impl Serialize) -> Result<Change, ApiError> {
        let mut fields = fields(form);
        let revision = fields.remove("revision").and_then(|it| it.as_u64());
        if revision == Some(0) {
            let message = "revision must be at least 1.";
            return Err(ApiError::invalid("revision", message));
        }
        Ok(Change {
            operation: "update",
            revision,
            slug: take_text(&mut fields, "slug").flatten(),
            managed_by: take_text(&mut fields, "managed_by"),
            fields,
        })
    }

    /// A pause, and why.
    pub fn pause(reason: String) -> Change {
        let fields = [
            ("paused", Value::Bool(true)),
            ("paused_reason", Value::String(reason)),
        ];
        Change::of_state("pause", &fields)
    }

    /// The end of a pause.
    pub fn resume() -> Change {
        Change::of_state("resume", &[("paused", Value::Bool(false))])
    }

    fn of_state(operation: &'static str, fields: &[(&str, Value)]) -> Change {
        let fields = fields
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.clone()));
        Change {
            operation,
            revision: None,
            slug: None,
            managed_by: None,
            fields: fields.collect(),
        }
    }

    /// Returns the values that take the place of those of the definition.
    pub fn fields(&self) -> &Map<String, Value> {
        &self.fields
    }

    /// Returns the revision that the caller named, if it did.
    pub fn revision(&self) -> Option<u64> {
        self.revision
    }

    /// Returns the digest of the request to make the change.
    ///
    /// # Errors
    /// If the server has no master key, and the change has a secret.
    pub fn digest(&self, kind: &impl DefinedType, id: SettingId) -> Result<[u8; 16], ApiError> {
        let mut fields = self.fields.clone();
        kind.mask(&mut fields)?;
        let operation = format!("{}_{}", self.operation, kind.kind().name());
        let arguments = (self.revision, &self.slug, &self.managed_by, fields);
        Ok(request_digest(&operation, Some(id), &arguments))
    }

    /// Returns the revision that the change makes of the newest one.
    ///
    /// # Errors
    /// If the caller may not see the setting, or the definition is wrong with the change.
    pub fn apply(
        &self,
        kind: &impl DefinedType,
        caller: &Caller,
        id: SettingId,
    ) -> Result<Revision, ApiError> {
        let before = kind.visible(caller, Some(id))?;
        let mut definition = kind.definition(&before)?;
        kind.amend(&mut definition, self.fields.clone());
        let slug = match &self.slug {
            Some(slug) => parse_slug(slug)?,
            None => before.slug.clone(),
        };
        let body = kind.define(caller, id, &slug, &definition, Some(&before))?;
        kind.check_room(Some(&before), &body)?;
        let mut revision = Revision::after(&before, body);
        revision.slug = slug;
        if let Some(managed_by) = &self.managed_by {
            revision.managed_by = managed_by.as_deref().map(parse_manager).transpose()?;
        }
        revision.replaces = self.revision.unwrap_or(before.revision);
        Ok(revision)
    }
}

/// Returns the error of a setting that can't be read, which is logged.
pub(super) fn unreadable(setting: &Setting, why: &dyn std::fmt::Display) -> ApiError {
    tracing::error!(
        setting = setting.id.0,
        position = setting.changed.position,
        %why,
        "a setting can't be read"
    );
    ApiError::new(
        ErrorCode::MessagingUnavailable,
        "This setting was written by a later version of the server, which can read it.",
    )
}

/// Reads a complete definition in a form that has the slug too.
pub(super) fn parse_definition<T: DeserializeOwned>(
    slug: &Slug,
    definition: &Map<String, Value>,
) -> Result<T, ApiError> {
    let mut definition = definition.clone();
    definition.insert("slug".to_owned(), Value::from(slug.as_str()));
    let text = serde_json::to_vec(&definition).expect("it was JSON");
    parse_object(&text)
}

/// Returns the content of a setting of a kind, within the bound of the kind.
pub(super) fn encode(kind: SettingKind, terms: &impl Serialize) -> Result<SettingBody, ApiError> {
    let bytes_max = kind.rules().expect("the kind has a type").body_bytes_max;
    let bytes = serde_json::to_vec(terms).expect("terms are JSON");
    let body = SettingBody::new(&bytes).ok();
    body.filter(|body| body.as_bytes().len() <= bytes_max)
        .ok_or_else(|| {
            let excess = bytes.len() - bytes_max;
            let message = format!(
                "All fields together must be at most {bytes_max} bytes of JSON: they are {excess} bytes too many."
            );
            ApiError::new(ErrorCode::ParameterInvalid, message)
        })
}

/// Checks a text of one line.
pub(super) fn check_text(param: &str, text: &str, bytes_max: usize) -> Result<(), ApiError> {
    let sound = (1..=bytes_max).contains(&text.len()) && !text.chars().any(char::is_control);
    if !sound {
        let message =
            format!("{param} must be 1 to {bytes_max} bytes of text without control characters.");
        return Err(ApiError::invalid(param, message));
    }
    Ok(())
}

/// Returns the error of a field that is missing.
pub(super) fn missing(param: &str, message: &'static str) -> ApiError {
    ApiError::new(ErrorCode::ParameterMissing, message).param(param)
}

/// Checks that a number is within bounds.
pub(super) fn within<T: PartialOrd + std::fmt::Display>(
    param: &str,
    value: T,
    min: T,
    max: T,
) -> Result<T, ApiError> {
    if value < min || value > max {
        let message = format!("{param} must be {min} to {max}.");
        return Err(ApiError::invalid(param, message));
    }
    Ok(value)
}

/// Returns the API key that a setting names by `acts_as`, which must be one that may write. One that the setting has already, `known`, may
/// have been revoked since.
pub(super) fn writing_key(
    reader: &Reader,
    id: &str,
    known: Option<ApiKeyId>,
) -> Result<ApiKeyId, ApiError> {
    let absent = || ApiError::not_found("API key", "acts_as");
    let position = reader.ids().decode(IdKind::ApiKey, id);
    let key = position.and_then(|position| reader.api_key(ApiKeyId(position)));
    let key = key.ok_or_else(absent)?;
    if known == Some(key.id) {
        return Ok(key.id);
    }
    if key.status == ApiKeyStatus::Revoked {
        let message = "acts_as must be an API key that is not revoked.";
        return Err(ApiError::invalid("acts_as", message));
    }
    if key.access != Access::Write {
        let message = "acts_as must be an API key that may write.";
        return Err(ApiError::invalid("acts_as", message));
    }
    Ok(key.id)
}

/// Returns why a setting is paused, if it is: as before, which is `was`, if nothing is said.
pub(super) fn paused(
    wanted: Option<bool>,
    reason: Option<String>,
    was: Option<String>,
) -> Result<Option<String>, ApiError> {
    if let Some(reason) = &reason
        && (reason.len() > REASON_BYTES_MAX || reason.chars().any(char::is_control))
    {
        let message = format!(
            "The reason must be at most {REASON_BYTES_MAX} bytes of text without control characters."
        );
        return Err(ApiError::invalid("paused_reason", message));
    }
    match (wanted, reason) {
        (None, None) => Ok(was),
        (Some(true), reason) => Ok(Some(reason.or(was).unwrap_or_default())),
        (Some(false), None) => Ok(None),
        (Some(false) | None, Some(_)) => {
            let message = "paused_reason goes with paused = true only.";
            Err(ApiError::invalid("paused_reason", message))
        }
    }
}

/// Returns the fields of a form.
pub fn fields(form: &impl Serialize) -> Map<String, Value> {
    match serde_json::to_value(form) {
        Ok(Value::Object(fields)) => fields,
        _ => unreachable!("a form is an object"),
    }
}

/// Takes a field out that is a text or null, if it is there.
fn take_text(fields: &mut Map<String, Value>, name: &str) -> Option<Option<String>> {
    fields.remove(name).map(|value| match value {
        Value::String(text) => Some(text),
        _ => None,
    })
}
