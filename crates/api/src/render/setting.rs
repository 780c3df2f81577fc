//! Settings as their records leave them.

use serde::Serialize;
use tributary_engine::{IdKind, Reader};
use tributary_ledger::codec::Record;
use tributary_ledger::{Actor, ApiKeyId, Body, SettingChange};
use utoipa::ToSchema;

use crate::render::common::owner_name;
use crate::render::origin::OriginObject;
use crate::time::format_timestamp;

/// A setting as one of its records left it.
#[derive(Serialize, ToSchema)]
#[schema(as = Setting)]
pub struct SettingObject {
    id: String,
    #[schema(pattern = "^setting$")]
    object: &'static str,
    /// Such as `subscription`.
    #[schema(value_type = String)]
    kind: &'static str,
    /// Owner of the setting.
    owner: String,
    /// Name, unique per owner and kind; null for a deleted setting.
    #[schema(required)]
    slug: Option<String>,
    /// Name of the file or tool that manages the setting.
    #[schema(required)]
    managed_by: Option<String>,
    /// Number of the revision that the event made.
    revision: u64,
    deleted: bool,
    /// Owner of the API key that made the revision.
    changed_by: String,
    /// API key that made the revision; null for the server itself.
    #[schema(required)]
    changed_by_key: Option<String>,
    /// The stream whose result made the revision, if one did.
    #[serde(skip_serializing_if = "Option::is_none")]
    origin: Option<Box<OriginObject>>,
    #[schema(format = DateTime)]
    created: String,
    #[schema(format = DateTime)]
    updated: String,
    /// The setting as its kind shows it, without secrets; absent in events, and for kinds that have no view.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub definition: Option<serde_json::Value>,
}

/// A setting that is gone.
#[derive(Serialize, ToSchema)]
#[schema(as = SettingDeleted)]
pub struct DeletedObject {
    /// The id of the setting.
    pub id: String,
    /// Kind of the setting.
    #[schema(value_type = String)]
    pub object: &'static str,
    /// Always true.
    pub deleted: bool,
}

/// The setting of an accepted put or delete, as the record left it.
pub fn setting(reader: &Reader, record: &Record, change: &SettingChange) -> Option<SettingObject> {
    let ids = reader.ids();
    let (id, kind, slug, managed_by) = match &record.command.body {
        Body::PutSetting(put) => {
            let managed_by = put.managed_by.as_ref().map(ToString::to_string);
            (put.id, put.kind, Some(put.slug.to_string()), managed_by)
        }
        Body::DeleteSetting(delete) => (delete.id, delete.kind, None, None),
        _ => return None,
    };
    let Actor { owner, api_key } = record.command.actor;
    Some(SettingObject {
        id: ids.encode_setting(kind, id),
        object: "setting",
        kind: kind.name(),
        owner: owner_name(reader, change.owner),
        deleted: slug.is_none(),
        slug,
        managed_by,
        revision: change.revision,
        changed_by: owner_name(reader, owner),
        changed_by_key: (api_key != ApiKeyId::SYSTEM)
            .then(|| ids.encode(IdKind::ApiKey, api_key.0)),
        origin: record.command.origin.as_deref().map(|origin| {
            let key = record.command.key.as_bytes();
            Box::new(OriginObject::new(reader, key, origin))
        }),
        created: format_timestamp(change.created.timestamp),
        updated: format_timestamp(record.ctx.timestamp),
        definition: None,
    })
}
