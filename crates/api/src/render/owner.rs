//! Owners.

use std::collections::BTreeMap;

use serde::Serialize;
use tributary_engine::Reader;
use tributary_ledger::{Details, OwnerId, OwnerKind};
use utoipa::ToSchema;

use crate::error::ApiError;
use crate::form::owner::OwnerStatusForm;
use crate::render::common::{created, owner_name};
use crate::render::notes::present_notes;
use crate::time::format_timestamp;

/// An owner: who accounts and API keys belong to.
#[derive(Serialize, ToSchema)]
#[schema(as = Owner)]
pub struct OwnerObject {
    /// Name of the owner, which is unique and never changes.
    name: String,
    #[schema(pattern = "^owner$")]
    object: &'static str,
    /// `person`, `company`, or `platform` for the platform itself; null if it was never said.
    #[schema(required)]
    kind: Option<OwnerKindShown>,
    status: OwnerStatusForm,
    /// Name of the owner in the platform's own systems, unique among owners.
    #[schema(required)]
    external_id: Option<String>,
    #[schema(required)]
    description: Option<String>,
    metadata: BTreeMap<String, String>,
    /// 1 at first, and one more with each update.
    #[schema(minimum = 1)]
    revision: u64,
    /// When the owner was first named.
    #[schema(format = DateTime)]
    created: String,
}

/// An owner: its name or, where `expand[]` names the field and the API key may see the owner, the owner as it is now.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub enum OwnerOrName {
    /// Name of the owner.
    Name(String),
    /// The owner.
    Owner(Box<OwnerObject>),
}

/// Kind of an owner.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = OwnerKindShown)]
pub enum OwnerKindShown {
    /// A natural person.
    Person,
    /// A company or another organisation.
    Company,
    /// The platform itself.
    Platform,
}

/// Returns the owner with the details that it has now.
pub fn owner_now(reader: &Reader, id: OwnerId) -> Result<OwnerObject, ApiError> {
    let details = reader.details(tributary_ledger::ObjectId::Owner(id));
    owner(reader, id, details.as_ref())
}

/// Returns the owner with these details; none = it was never described.
pub(crate) fn owner(
    reader: &Reader,
    id: OwnerId,
    details: Option<&Details>,
) -> Result<OwnerObject, ApiError> {
    let text = details.map(|details| &details.text);
    let notes = present_notes(reader, text, None)?;
    let profile = details.and_then(|details| details.profile.as_deref());
    // The platform is there from the first record on.
    let named = created(reader, id.0.max(1))?;
    let kind = match profile.and_then(|profile| profile.kind) {
        _ if id == OwnerId::PLATFORM => Some(OwnerKindShown::Platform),
        Some(OwnerKind::Person) => Some(OwnerKindShown::Person),
        Some(OwnerKind::Company) => Some(OwnerKindShown::Company),
        None => None,
    };
    let external_id = profile.and_then(|profile| profile.external_id.as_ref());
    Ok(OwnerObject {
        name: owner_name(reader, id),
        object: "owner",
        kind,
        status: OwnerStatusForm::new(profile.map(|found| found.status).unwrap_or_default()),
        external_id: external_id.map(ToString::to_string),
        description: notes.description,
        metadata: notes.metadata,
        revision: revision(text),
        created: format_timestamp(named.ctx.timestamp),
    })
}

/// Returns the revision of an object; 1 if it was never updated.
pub(crate) fn revision(text: Option<&tributary_ledger::TextState>) -> u64 {
    text.map_or(1, |text| text.revision)
}
