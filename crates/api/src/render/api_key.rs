//! API keys, without what they prove themselves by.

use serde::Serialize;
use tributary_engine::IdKind;
use tributary_ledger::{Access, ApiKey, ApiKeyStatus};
use utoipa::ToSchema;

use crate::form::request::AccessForm;
use crate::render::common::owner_name;
use crate::time::format_timestamp;
use tributary_engine::Reader;

/// An API key.
#[derive(Serialize, ToSchema)]
#[schema(as = ApiKey)]
pub struct ApiKeyObject {
    id: String,
    #[schema(pattern = "^api_key$")]
    object: &'static str,
    /// In whose name it acts.
    owner: String,
    access: AccessForm,
    status: ApiKeyStatusForm,
    #[schema(required)]
    label: Option<String>,
    /// The key itself: in the answer to the request that made it, and in a repetition of that request while the key is current.
    #[schema(required)]
    secret: Option<String>,
    #[schema(format = DateTime)]
    created: String,
    #[schema(required, format = DateTime)]
    rotated_at: Option<String>,
    /// Until when the secret before the last rotation works too; null if it does not.
    #[schema(required, format = DateTime)]
    previous_secret_expires_at: Option<String>,
    #[schema(required, format = DateTime)]
    revoked_at: Option<String>,
}

/// Whether a key opens anything.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = ApiKeyStatus)]
pub enum ApiKeyStatusForm {
    /// The key works.
    Active,
    /// The key does not work any more.
    Revoked,
}

/// The key, with its secret if this is the moment to show it.
pub fn api_key(reader: &Reader, key: &ApiKey, secret: Option<String>) -> ApiKeyObject {
    ApiKeyObject {
        id: reader.ids().encode(IdKind::ApiKey, key.id.0),
        object: "api_key",
        owner: owner_name(reader, key.owner),
        access: match key.access {
            Access::Read => AccessForm::Read,
            Access::Write => AccessForm::Write,
        },
        status: match key.status {
            ApiKeyStatus::Active => ApiKeyStatusForm::Active,
            ApiKeyStatus::Revoked => ApiKeyStatusForm::Revoked,
        },
        label: key.label.as_ref().map(|label| label.to_string()),
        secret,
        created: format_timestamp(key.created_at),
        rotated_at: key.rotated_at.map(format_timestamp),
        previous_secret_expires_at: key
            .previous
            .as_deref()
            .map(|old| format_timestamp(old.valid_until)),
        revoked_at: key.revoked_at.map(format_timestamp),
    }
}
