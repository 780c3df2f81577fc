//! Visibility: an object that a caller may not see is answered exactly like one that does not exist.

use tributary_engine::{IdKind, Reader};
use tributary_ledger::codec::Record;
use tributary_ledger::{Account, AccountId, ApiKeyId, Body, OwnerId, OwnerName, PaymentId};

use crate::caller::Caller;
use crate::error::ApiError;
use crate::failures::read_error;
use crate::form::value::OwnerText;
use crate::render::common::created;

/// Returns the account with the id `text`, if the caller may see it.
pub fn visible_account(reader: &Reader, caller: &Caller, text: &str) -> Result<Account, ApiError> {
    let position = reader.ids().decode(IdKind::Account, text);
    let account = position.map(AccountId);
    let account = account.ok_or_else(|| ApiError::not_found("account", "id"))?;
    must_see_account(reader, caller, account, "id")
}

/// Returns the account, if the caller may see it.
pub fn must_see_account(
    reader: &Reader,
    caller: &Caller,
    account: AccountId,
    param: &str,
) -> Result<Account, ApiError> {
    reader
        .account(account)
        .filter(|account| caller.sees_account(account))
        .ok_or_else(|| ApiError::not_found("account", param))
}

/// Returns the payment with the id `text`, if the caller may see it.
pub fn visible_payment(
    reader: &Reader,
    caller: &Caller,
    text: &str,
    param: &str,
) -> Result<PaymentId, ApiError> {
    let position = reader.ids().decode(IdKind::Payment, text);
    let payment = position
        .map(PaymentId)
        .ok_or_else(|| ApiError::not_found("payment", param))?;
    must_see_payment(reader, caller, payment, param)?;
    Ok(payment)
}

/// Returns the record that asked for the payment, if the caller may see the payment. Who sees a payment goes on seeing it, so the
/// answer to a repetition stays the same; a queued payment is seen by its payees from its run on.
pub fn must_see_payment(
    reader: &Reader,
    caller: &Caller,
    payment: PaymentId,
    param: &str,
) -> Result<Record, ApiError> {
    let not_found = || ApiError::not_found("payment", param);
    let head = reader.head().position;
    if payment.0 > head {
        return Err(not_found());
    }
    let record = created(reader, payment.0)?;
    let is_payment = record
        .outcome
        .payment
        .as_ref()
        .is_some_and(|found| found.id == payment);
    if is_payment && caller.sees_payment(reader, &record)? {
        Ok(record)
    } else {
        Err(not_found())
    }
}

/// Whether the caller may see the object of this kind at `position`: an id that the caller may not see is answered like an
/// invented one, wherever a request names it.
pub fn sees_object(
    reader: &Reader,
    caller: &Caller,
    kind: IdKind,
    position: u64,
) -> Result<bool, ApiError> {
    if position > reader.published() {
        return Ok(false);
    }
    match kind {
        IdKind::Account => {
            let account = reader.account(AccountId(position));
            return Ok(account.is_some_and(|account| caller.sees_account(&account)));
        }
        IdKind::ApiKey => {
            let exists = reader.api_key(ApiKeyId(position)).is_some();
            return Ok(exists && caller.is_platform());
        }
        _ => {}
    }
    let Some(record) = reader.record(position).map_err(read_error)? else {
        return Ok(false);
    };
    let outcome = &record.outcome;
    let exists = match kind {
        IdKind::Event => true,
        IdKind::Payment => {
            let payment = outcome.payment.as_ref();
            let exists = payment.is_some_and(|payment| payment.id.0 == position);
            return Ok(exists && caller.sees_payment(reader, &record)?);
        }
        IdKind::Refund => matches!(record.command.body, Body::Refund(_)) && outcome.is_accepted(),
        _ => false,
    };
    Ok(exists && caller.sees_record(reader, &record))
}

/// Returns the position of the event with the id `text`, if the caller may see it.
pub fn visible_event(
    reader: &Reader,
    caller: &Caller,
    text: &str,
) -> Result<Option<u64>, ApiError> {
    let Some(position) = reader.ids().decode(IdKind::Event, text) else {
        return Ok(None);
    };
    let visible = sees_object(reader, caller, IdKind::Event, position)?;
    Ok(visible.then_some(position))
}

/// Returns the owner with this name, if the caller may see it: the platform sees every owner, an owner itself.
///
/// # Errors
/// If there is no such owner, or the caller may not see it.
pub fn visible_owner(
    reader: &Reader,
    caller: &Caller,
    name: &OwnerName,
    param: &str,
) -> Result<OwnerId, ApiError> {
    reader
        .owner_by_name(name)
        .filter(|owner| caller.is_platform() || *owner == caller.actor.owner)
        .ok_or_else(|| ApiError::not_found("owner", param))
}

/// Owners whose objects a list shows.
pub enum ListScope {
    /// Everybody's.
    All,
    /// This owner's.
    To(OwnerId),
    /// Those of an owner that is not there, or not the caller's to see.
    Nobody,
}

/// Returns whose things the caller may list, having asked for those of `named`.
pub fn list_scope(reader: &Reader, caller: &Caller, named: Option<&OwnerText>) -> ListScope {
    let named = named.map(|text| match text.0.as_str() {
        "platform" => Some(OwnerId::PLATFORM),
        _ => reader.owner_by_name(&text.0),
    });
    match (caller.listed_owner(), named) {
        (_, Some(None)) => ListScope::Nobody,
        (Some(own), Some(Some(named))) if own != named => ListScope::Nobody,
        (Some(own), _) => ListScope::To(own),
        (None, Some(Some(named))) => ListScope::To(named),
        (None, None) => ListScope::All,
    }
}
