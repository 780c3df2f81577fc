//! Create, rotate and revoke API keys.

use super::checks::{Decision, is_platform, owner_named, refuse_if};
use super::details::check_owner_active;
use crate::{
    API_KEY_OVERLAP_MAX, Actor, ApiKey, ApiKeyId, ApiKeyStatus, Context, CreateApiKey, Outcome,
    OwnerId, PreviousSecret, Rejection, WorkingSet,
};

pub(super) fn create(
    set: &WorkingSet,
    actor: Actor,
    create: &CreateApiKey,
    ctx: Context,
) -> Decision {
    refuse_if(!is_platform(actor), Rejection::Forbidden)?;

    let mut owner = owner_named(set, &create.owner, ctx);
    check_owner_active(set, owner.id)?;
    let key = ApiKey {
        id: ApiKeyId(ctx.position),
        owner: owner.id,
        access: create.access,
        status: ApiKeyStatus::Active,
        secret_hash: create.secret_hash,
        previous: None,
        label: create.label.clone(),
        created_at: ctx.timestamp,
        rotated_at: None,
        revoked_at: None,
        changed_at: ctx.position,
    };
    let mut outcome = Outcome {
        api_key: Some(Box::new(key)),
        ..Outcome::default()
    };
    if owner.changed_at == 0 && owner.id != OwnerId::PLATFORM {
        owner.changed_at = ctx.position;
        outcome.owner = Some(Box::new(owner));
    }
    Ok(outcome)
}

pub(super) fn rotate(
    set: &WorkingSet,
    actor: Actor,
    id: ApiKeyId,
    secret_hash: &[u8; 32],
    overlap: u64,
    ctx: Context,
) -> Decision {
    let mut key = changeable(set, actor, id)?;
    let previous = PreviousSecret {
        secret_hash: key.secret_hash,
        valid_until: ctx
            .timestamp
            .saturating_add(overlap.min(API_KEY_OVERLAP_MAX)),
    };
    key.previous = (overlap > 0).then(|| Box::new(previous));
    key.secret_hash = *secret_hash;
    key.rotated_at = Some(ctx.timestamp);
    Ok(changed(key, ctx))
}

pub(super) fn revoke(set: &WorkingSet, actor: Actor, id: ApiKeyId, ctx: Context) -> Decision {
    let mut key = changeable(set, actor, id)?;
    key.status = ApiKeyStatus::Revoked;
    key.previous = None;
    key.revoked_at = Some(ctx.timestamp);
    Ok(changed(key, ctx))
}

fn changeable(set: &WorkingSet, actor: Actor, id: ApiKeyId) -> Result<ApiKey, Rejection> {
    let key = set.api_key(id).ok_or(Rejection::ApiKeyNotFound)?;
    refuse_if(!is_platform(actor), Rejection::Forbidden)?;
    refuse_if(
        key.status == ApiKeyStatus::Revoked,
        Rejection::ApiKeyAlreadyRevoked,
    )?;
    Ok(key.clone())
}

fn changed(mut key: ApiKey, ctx: Context) -> Outcome {
    key.changed_at = ctx.position;
    Outcome {
        api_key: Some(Box::new(key)),
        ..Outcome::default()
    }
}
