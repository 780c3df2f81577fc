//! Scopes of references.

use tributary_engine::Reader;
use tributary_ledger::OwnerId;

use crate::caller::Caller;
use crate::error::ApiError;
use crate::form::value::OwnerText;

/// Returns the owner for whom a reference is to be unique.
///
/// Of a key that is not the platform's, the name is not looked up, and the key's own owner is returned: the intake refuses
/// every scope of such a key, and the answer must not tell whether the owner exists.
///
/// # Errors
/// If there is no such owner.
pub fn reference_scope(
    reader: &Reader,
    caller: &Caller,
    named: Option<OwnerText>,
) -> Result<Option<OwnerId>, ApiError> {
    let Some(OwnerText(name)) = named else {
        return Ok(None);
    };
    let owner = match name.as_str() {
        _ if !caller.is_platform() => Some(caller.actor.owner),
        "platform" => Some(OwnerId::PLATFORM),
        _ => reader.owner_by_name(&name),
    };
    let unknown = || ApiError::not_found("owner", "reference_scope");
    owner.map(Some).ok_or_else(unknown)
}
