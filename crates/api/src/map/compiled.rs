//! Maps of messages at work.

use serde_json::Value;
use tributary_engine::{IdKind, Reader};
use tributary_ledger::{ExternalId, OwnerId};

use crate::caller::Caller;
use crate::draft::CommandDraft;
use crate::error::ApiError;
use crate::failures::read_error;
use crate::form::value::{AccountText, ExternalIdText, OwnerText};
use crate::map::document::{Document, Paths};
use crate::map::fault::{Fault, FaultCode};
use crate::map::payment::{read_operation, refused};
use crate::map::plan::{AccountName, AccountTarget, Plan};
use crate::map::queue::QueuePlan;

/// Why a message did not become a command.
#[derive(Debug)]
pub enum MapError {
    /// The message or the map is at fault: it is the same when it is tried again.
    Fault(Fault),
    /// The store can't be read now.
    Unavailable(ApiError),
}

impl From<Fault> for MapError {
    fn from(fault: Fault) -> MapError {
        MapError::Fault(fault)
    }
}

/// A map of messages that was checked.
#[derive(Debug)]
pub struct CompiledMap {
    pub(super) plan: Plan,
    pub(super) paths: Paths,
    pub(super) queue: Option<QueuePlan>,
    pub(super) paid: bool,
    pub(super) is_short: bool,
}

impl CompiledMap {
    /// Returns the draft of the payment that a message asks `caller` for; none if a rule leaves the message out. The draft is checked
    /// as a request of the API is; what the caller may do is for the intake to check.
    ///
    /// Accounts are found as of the last durable batch. Finding one by its external id reads the index of the journal, so this is
    /// not for a thread that must not wait.
    ///
    /// # Errors
    /// The first fault of the message; or that the store can't be read.
    pub fn draft(
        &self,
        document: &Document<'_>,
        reader: &Reader,
        caller: &Caller,
    ) -> Result<Option<CommandDraft>, MapError> {
        let draft = self.find_draft(document, reader, caller);
        draft.map_err(|error| match error {
            MapError::Fault(fault) if self.is_short => MapError::Fault(fault.in_short_form()),
            error => error,
        })
    }

    fn find_draft(
        &self,
        document: &Document<'_>,
        reader: &Reader,
        caller: &Caller,
    ) -> Result<Option<CommandDraft>, MapError> {
        let fields = document.fields(&self.paths)?;
        let Some(movement) = self.plan.movement(&fields)? else {
            return Ok(None);
        };
        let id = |account: &AccountName| account_id(account, reader, caller);
        let mut payment = movement.to_fields(self.paid, id)?;
        if let Some(queue) = &self.queue {
            payment.insert("queue".to_owned(), Value::Object(queue.render(&fields)?));
        }
        let operation = read_operation(movement.payment, &payment).map_err(invalid)?;
        let draft = operation.into_draft(reader, caller).map_err(invalid)?;
        Ok(Some(draft))
    }
}

/// Returns the id of an account.
fn account_id(account: &AccountName, reader: &Reader, caller: &Caller) -> Result<String, MapError> {
    let field = format!("accounts.{}", account.label);
    let missing = |why: String| MapError::Fault(Fault::new(FaultCode::AccountMissing, &field, why));
    let (owner, external_id) = match &account.target {
        AccountTarget::Id(id) => {
            AccountText::parse(id, &field).map_err(invalid)?;
            return match reader.ids().decode(IdKind::Account, id) {
                Some(_) => Ok(id.clone()),
                None => Err(missing(format!("there is no account {id}"))),
            };
        }
        AccountTarget::External { owner, external_id } => (owner.as_deref(), external_id),
    };
    let external: ExternalId = ExternalIdText::parse(external_id, &field).map_err(invalid)?;
    let named = match owner {
        None => Some(caller.actor.owner),
        Some("platform") => Some(OwnerId::PLATFORM),
        Some(name) => reader.owner_by_name(&OwnerText::parse(name, &field).map_err(invalid)?),
    };
    let found = match named {
        None => None,
        Some(named) => reader
            .account_by_external(named, &external)
            .map_err(|failure| MapError::Unavailable(read_error(failure)))?,
    };
    // An account that the caller may not see is answered like one that is not there.
    match found.filter(|found| caller.sees_account(found)) {
        Some(found) => Ok(reader.ids().encode(IdKind::Account, found.id.0)),
        None => Err(missing(match owner {
            Some(owner) => format!("{owner} has no account with the external id `{external_id}`"),
            None => format!("there is no account with the external id `{external_id}`"),
        })),
    }
}

/// Returns what the API says of a message.
fn invalid(error: ApiError) -> MapError {
    MapError::Fault(refused(FaultCode::FieldInvalid, &error))
}
