//! What a stream does for its results.

use serde::{Deserialize, Serialize};
use tributary_engine::Reader;
use tributary_ledger::{ApiKeyId, OwnerId, Setting, SettingKind, Slug};
use utoipa::ToSchema;

/// Maximum time for which a stream adds an entry to a list, seconds: ten years.
pub const ENTRY_SECONDS_MAX: u64 = 10 * 366 * 86_400;

/// What is done for each result, and as whom.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct ActTerms {
    /// What is done.
    #[serde(flatten)]
    pub action: Action,
    /// API key as which it is done.
    #[serde(with = "api_key")]
    pub acts_as: ApiKeyId,
}

/// What is done for a result. Texts that depend on the result are expressions over the fields of the key, the names in `emit`, and
/// `window_start` and `window_end`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Freezes the account whose id the expression gives.
    FreezeAccount(String),
    /// Opens it again.
    UnfreezeAccount(String),
    /// Adds an entry to a list.
    AddToList(AddToListForm),
    /// Has all dead letters of the subscription with this slug or id delivered again.
    RequeueDeadLetters(String),
    /// Pauses the binding with this slug or id.
    PauseBinding(String),
}

/// An entry that a stream adds to a list.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = StreamAddToList)]
pub struct AddToListForm {
    /// Slug or id of the list.
    pub list: String,
    /// Text of the entry: an expression over the result whose value is a string, or an integer, which is written in digits.
    pub value: String,
    /// Seconds from when it is added until the entry ends by itself, 1 to 316,224,000; it never ends if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 316_224_000)]
    pub until_seconds: Option<u64>,
    /// Why the entry is there: at most 256 bytes without control characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

impl Action {
    /// Returns the name, as a definition says it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Action::FreezeAccount(_) => "freeze_account",
            Action::UnfreezeAccount(_) => "unfreeze_account",
            Action::AddToList(_) => "add_to_list",
            Action::RequeueDeadLetters(_) => "requeue_dead_letters",
            Action::PauseBinding(_) => "pause_binding",
        }
    }

    /// Returns the expression that says to what it is done, and the field of the definition that has the expression; none if it does
    /// not depend on the result.
    #[must_use]
    pub fn expression(&self) -> Option<(&'static str, &str)> {
        match self {
            Action::FreezeAccount(account) => Some(("act.freeze_account", account)),
            Action::UnfreezeAccount(account) => Some(("act.unfreeze_account", account)),
            Action::AddToList(entry) => Some(("act.add_to_list.value", &entry.value)),
            Action::RequeueDeadLetters(_) | Action::PauseBinding(_) => None,
        }
    }

    /// Returns whether only a key of the platform may do it.
    #[must_use]
    pub fn needs_platform(&self) -> bool {
        !matches!(self, Action::RequeueDeadLetters(_))
    }

    /// Returns the kind, and the slug or id, of the setting that it is about; none if it is about accounts.
    #[must_use]
    pub fn setting(&self) -> Option<(SettingKind, &str)> {
        match self {
            Action::FreezeAccount(_) | Action::UnfreezeAccount(_) => None,
            Action::AddToList(entry) => Some((SettingKind::LIST, &entry.list)),
            Action::RequeueDeadLetters(named) => Some((SettingKind::SUBSCRIPTION, named)),
            Action::PauseBinding(named) => Some((SettingKind::BINDING, named)),
        }
    }

    /// Returns the setting that it is about, if that is there and `owner` may change it.
    ///
    /// # Errors
    /// What is missing, as a sentence.
    pub fn find_setting(&self, reader: &Reader, owner: OwnerId) -> Option<Result<Setting, String>> {
        let (kind, named) = self.setting()?;
        let by_id = reader.ids().decode_setting(named);
        let found = match by_id.filter(|(found, _)| *found == kind) {
            Some((_, id)) => reader.setting(id),
            None => {
                let slug = Slug::new(named).ok();
                slug.and_then(|slug| reader.setting_by_slug(owner, kind, &slug))
            }
        };
        let is_visible = |found: &Setting| {
            found.kind == kind && (owner == OwnerId::PLATFORM || found.owner == owner)
        };
        Some(
            found
                .filter(is_visible)
                .ok_or_else(|| format!("there is no {} `{named}`", kind.name())),
        )
    }
}

/// An API key as its number.
pub(super) mod api_key {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use tributary_ledger::ApiKeyId;

    pub(in crate::streaming) fn serialize<S: Serializer>(
        key: &ApiKeyId,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        key.0.serialize(to)
    }

    pub(in crate::streaming) fn deserialize<'a, D: Deserializer<'a>>(
        from: D,
    ) -> Result<ApiKeyId, D::Error> {
        u64::deserialize(from).map(ApiKeyId)
    }
}
