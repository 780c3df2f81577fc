//! Scopes of references.

use tributary_engine::Reader;
use tributary_ledger::{OwnerId, OwnerName};

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
#[inline]
pub fn reference_scope(
    reader: &Reader,
    caller: &Caller,
    named: Option<OwnerText>,
) -> Result<Option<OwnerId>, ApiError> {
    match named {
        Some(OwnerText(name)) => find_scope(reader, caller, &name).map(Some),
        None => Ok(None),
    }
}

fn find_scope(reader: &Reader, caller: &Caller, name: &OwnerName) -> Result<OwnerId, ApiError> {
    let owner = match name.as_str() {
        _ if !caller.is_platform() => Some(caller.actor.owner),
        "platform" => Some(OwnerId::PLATFORM),
        _ => reader.owner_by_name(name),
    };
    owner.ok_or_else(|| ApiError::not_found("owner", "reference_scope"))
}
