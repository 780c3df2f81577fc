//! Describe owners, and update the text of accounts, payments and owners.

use super::checks::{Decision, is_platform, refuse_if};
use crate::{
    Account, Actor, Context, CreateOwner, Details, ExternalId, ObjectId, Outcome, Owner, OwnerId,
    OwnerName, OwnerProfile, OwnerStatus, Payment, ProfileChange, Rejection, TextState, Update,
    Updated, WorkingSet,
};
use smallvec::SmallVec;

pub(super) fn create_owner(
    set: &WorkingSet,
    actor: Actor,
    create: &CreateOwner,
    ctx: Context,
) -> Decision {
    refuse_if(!is_platform(actor), Rejection::Forbidden)?;
    let exists = set.owner_by_name(&create.name).is_some() || create.name == OwnerName::platform();
    refuse_if(exists, Rejection::OwnerExists)?;
    check_external_id(set, create.profile.external_id.as_ref(), None)?;
    let id = OwnerId(ctx.position);
    let owner = Owner {
        id,
        name: create.name.clone(),
        last_account: None,
        changed_at: ctx.position,
    };
    let details = Details {
        object: ObjectId::Owner(id),
        text: TextState {
            revision: 1,
            description_at: ctx.position,
            metadata_at: ctx.position,
            changed_at: ctx.position,
        },
        profile: Some(Box::new(create.profile.clone())),
    };
    Ok(Outcome {
        owner: Some(Box::new(owner)),
        details: Some(Box::new(details)),
        ..Outcome::default()
    })
}

pub(super) fn update(set: &WorkingSet, actor: Actor, update: &Update, ctx: Context) -> Decision {
    let after = |before| TextState::after(before, update.description, update.metadata, ctx);
    match &update.object {
        Updated::Account(id) => {
            let account = set.find_account(*id)?;
            let own = account.owner == actor.owner;
            refuse_if(!own && !is_platform(actor), Rejection::Forbidden)?;
            let before = set.details(ObjectId::Account(*id));
            let details = Details {
                object: ObjectId::Account(*id),
                text: after(before.map(|before| before.text)),
                profile: None,
            };
            Ok(Outcome {
                account: Some(Box::new(account.clone())),
                ..changed(details)
            })
        }
        Updated::Payment(id) => {
            let payment = set.find_payment(*id)?;
            // The text is that of the one who asked for the payment, whoever is paid.
            let own = payment.actor.owner == actor.owner;
            refuse_if(!own && !is_platform(actor), Rejection::Forbidden)?;
            let mut payment = payment.clone();
            payment.text = Some(Box::new(after(payment.text.as_deref().copied())));
            payment.change(ctx);
            Ok(Outcome {
                payment_owners: payment_owners(set, &payment),
                payment: Some(payment),
                ..Outcome::default()
            })
        }
        Updated::Owner(id, change) => update_owner(set, actor, *id, change, after),
    }
}

/// Returns the owners that see a payment, each once, ascending.
fn payment_owners(set: &WorkingSet, payment: &Payment) -> SmallVec<[OwnerId; 2]> {
    let mut owners: SmallVec<[OwnerId; 2]> = SmallVec::new();
    // A failed payment may name accounts that do not exist.
    let owner_of = |id| set.account(id).map(|account| account.owner);
    payment.viewers(owner_of, |owner| owners.push(owner));
    owners.sort_unstable();
    owners.dedup();
    owners
}

fn update_owner(
    set: &WorkingSet,
    actor: Actor,
    id: OwnerId,
    change: &ProfileChange,
    after: impl FnOnce(Option<TextState>) -> TextState,
) -> Decision {
    refuse_if(set.owner(id).is_none(), Rejection::OwnerNotFound)?;
    // An owner describes itself; what the platform knows of it is the platform's to say.
    let own = id == actor.owner && change.is_empty();
    refuse_if(!own && !is_platform(actor), Rejection::Forbidden)?;
    let external_id = change.external_id.as_ref().and_then(Option::as_ref);
    check_external_id(set, external_id, Some(id))?;
    let before = set.details(ObjectId::Owner(id));
    let profile = before.and_then(|before| before.profile.as_deref());
    let profile = change.applied_to(profile.unwrap_or(&OwnerProfile::default()));
    Ok(changed(Details {
        object: ObjectId::Owner(id),
        text: after(before.map(|before| before.text)),
        profile: Some(Box::new(profile)),
    }))
}

fn changed(details: Details) -> Outcome {
    Outcome {
        details: Some(Box::new(details)),
        ..Outcome::default()
    }
}

/// Checks that no other owner than `but` has the external id.
fn check_external_id(
    set: &WorkingSet,
    external_id: Option<&ExternalId>,
    but: Option<OwnerId>,
) -> Result<(), Rejection> {
    let holder = external_id.and_then(|id| set.owner_by_external_id(id));
    refuse_if(
        holder.is_some() && holder != but,
        Rejection::OwnerExternalIdInUse,
    )
}

/// Checks that accounts and API keys can be made for the owner.
pub(super) fn check_owner_active(set: &WorkingSet, owner: OwnerId) -> Result<(), Rejection> {
    let details = set.details(ObjectId::Owner(owner));
    let profile = details.and_then(|details| details.profile.as_deref());
    let inactive = profile.is_some_and(|profile| profile.status == OwnerStatus::Inactive);
    // The platform must always be able to make an API key for itself.
    refuse_if(
        inactive && owner != OwnerId::PLATFORM,
        Rejection::OwnerInactive,
    )
}

/// Returns the details of an account, which its record repeats: its event shows the text as it was then.
pub(super) fn details_of(set: &WorkingSet, account: &Account) -> Option<Box<Details>> {
    let details = set.details(ObjectId::Account(account.id));
    details.cloned().map(Box::new)
}
