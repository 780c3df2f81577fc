//! Binders as they look from outside.

use serde::Serialize;
use tributary_engine::Reader;
use tributary_ledger::Setting;
use utoipa::ToSchema;

use crate::brokers::BinderTerms;
use crate::time::format_timestamp;

/// A connection to a broker.
#[derive(Serialize, ToSchema)]
#[schema(as = Binder)]
pub struct BinderObject {
    id: String,
    #[schema(pattern = "^binder$")]
    object: &'static str,
    /// Name for tools, unique among the binders.
    slug: String,
    /// Name of the file or tool that manages the binder.
    #[schema(required)]
    managed_by: Option<String>,
    /// Number of this revision, from 1.
    revision: u64,
    /// Type of broker, such as `rabbitmq`.
    #[serde(rename = "type")]
    broker: String,
    /// Where the broker is.
    url: String,
    #[schema(required)]
    username: Option<String>,
    /// Whether the binder has a password, which is never shown.
    password_set: bool,
    /// PEM certificates that sign the broker's; null for those of the system.
    #[schema(required)]
    trusted_roots: Option<String>,
    #[schema(format = DateTime)]
    created: String,
    /// When this revision was made.
    #[schema(format = DateTime)]
    updated: String,
}

/// Returns the binder that a setting defines.
pub fn binder(reader: &Reader, setting: &Setting, terms: BinderTerms) -> BinderObject {
    BinderObject {
        id: reader.ids().encode_setting(setting.kind, setting.id),
        object: "binder",
        slug: setting.slug.to_string(),
        managed_by: setting.managed_by.as_ref().map(ToString::to_string),
        revision: setting.revision,
        broker: terms.broker,
        url: terms.url,
        username: terms.username,
        password_set: terms.sealed_password.is_some(),
        trusted_roots: terms.trusted_roots,
        created: format_timestamp(setting.created.timestamp),
        updated: format_timestamp(setting.changed.timestamp),
    }
}
