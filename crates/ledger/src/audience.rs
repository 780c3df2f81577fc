//! Owners in whose lists of events a record without legs appears.
//!
//! A record with legs is found by the chains of the accounts that it touches. A record without legs is indexed under each of
//! these owners.

use smallvec::SmallVec;

use crate::{Actor, Body, Command, ObjectId, Outcome, OwnerId};

/// Owners, each once.
pub type Audience = SmallVec<[OwnerId; 4]>;

/// Returns the owners of a record without legs: the owner that asked, unless that is the platform, and the owners of what the record
/// created or changed. None of a record with legs.
pub fn audience(command: &Command, outcome: &Outcome) -> Audience {
    let mut owners = Audience::new();
    if !outcome.legs.is_empty() {
        return owners;
    }
    owners.extend(asking_owner(command.actor));
    if outcome.is_accepted() {
        match &command.body {
            Body::CreateOwner(_) => owners.extend(outcome.owner.as_ref().map(|owner| owner.id)),
            Body::Update(update) => match update.object.object() {
                ObjectId::Owner(id) => owners.push(id),
                ObjectId::Account(_) => {
                    owners.extend(outcome.account.as_ref().map(|account| account.owner));
                }
                ObjectId::Payment(_) => owners.extend(outcome.payment_owners.iter().copied()),
            },
            _ => owners.extend(outcome.setting.as_ref().map(|setting| setting.owner)),
        }
    }
    owners.sort_unstable();
    owners.dedup();
    owners
}

/// Returns the owner that asked. The platform asks for much that is about others: its own list shows what is about the platform.
pub(crate) fn asking_owner(actor: Actor) -> Option<OwnerId> {
    Some(actor.owner).filter(|owner| *owner != OwnerId::PLATFORM)
}
