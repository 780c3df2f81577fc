//! Put and delete settings.

use super::checks::{Decision, is_platform, refuse_if};
use super::limits;
use crate::{
    Actor, BoundUse, Context, DeleteSetting, KindRules, LimitTerms, Outcome, OwnerId, PutBy,
    PutSetting, Rejection, SETTINGS_BYTES_MAX, Setting, SettingChange, SettingId, SettingKind,
    SharedBound, WorkingSet,
};

pub(super) fn put(set: &WorkingSet, actor: Actor, put: &PutSetting, ctx: Context) -> Decision {
    let rules = put.kind.rules().ok_or(Rejection::SettingKindUnknown)?;
    refuse_if(
        put.body.as_bytes().len() > rules.body_bytes_max,
        Rejection::SettingTooLarge,
    )?;
    let limit = limits::read_terms(put)?;
    let check_limit = |check: fn(&WorkingSet, LimitTerms) -> Result<(), Rejection>| {
        limit.map_or(Ok(()), |terms| check(set, terms))
    };
    check_limit(limits::check_account)?;
    let replaced = match put.replaces {
        0 => None,
        _ => Some(find(set, actor, put.kind, put.id)?),
    };
    check_limit(limits::check_owner)?;
    check_permission(actor, rules)?;
    check_limit(limits::check_currency)?;
    if let Some(replaced) = replaced {
        refuse_if(
            replaced.revision != put.replaces,
            Rejection::SettingConflict,
        )?;
    }
    let owner = replaced.map_or(actor.owner, |replaced| replaced.owner);
    let holder = set.setting_by_slug(owner, put.kind, &put.slug);
    refuse_if(
        holder.is_some_and(|holder| replaced.is_none_or(|replaced| replaced.id != holder.id)),
        Rejection::SlugInUse,
    )?;
    if replaced.is_none() {
        refuse_if(set.setting(put.id).is_some(), Rejection::SettingIdInUse)?;
        let used = BoundUse {
            in_all: set.count_settings_of_kind(put.kind),
            by_platform: set.count_settings(OwnerId::PLATFORM, put.kind),
            by_owner: set.count_settings(owner, put.kind),
        };
        let room = SharedBound::new(rules.in_all).check(owner, used, 1);
        refuse_if(room.is_err(), Rejection::TooManySettings)?;
    }
    let freed = replaced.map_or(0, |replaced| replaced.body.as_bytes().len());
    let bytes = set.settings_bytes() - freed + put.body.as_bytes().len();
    refuse_if(bytes > SETTINGS_BYTES_MAX, Rejection::SettingsFull)?;
    if let Some(terms) = limit {
        limits::check_room(set, put.id, terms)?;
    }

    Ok(changed(match replaced {
        None => SettingChange {
            revision: 1,
            owner,
            created: ctx,
            prev: 0,
        },
        Some(replaced) => next(replaced),
    }))
}

pub(super) fn delete(set: &WorkingSet, actor: Actor, delete: DeleteSetting) -> Decision {
    let rules = delete.kind.rules().ok_or(Rejection::SettingKindUnknown)?;
    let setting = find(set, actor, delete.kind, delete.id)?;
    check_permission(actor, rules)?;
    refuse_if(
        delete.replaces != 0 && delete.replaces != setting.revision,
        Rejection::SettingConflict,
    )?;
    Ok(changed(next(setting)))
}

/// Returns the setting if the actor is allowed to see it: an unknown setting and another owner's setting are refused alike.
fn find(
    set: &WorkingSet,
    actor: Actor,
    kind: SettingKind,
    id: SettingId,
) -> Result<&Setting, Rejection> {
    set.setting(id)
        .filter(|setting| setting.kind == kind)
        .filter(|setting| is_platform(actor) || setting.owner == actor.owner)
        .ok_or(Rejection::SettingNotFound)
}

fn check_permission(actor: Actor, rules: &KindRules) -> Result<(), Rejection> {
    refuse_if(
        rules.put_by == PutBy::Platform && !is_platform(actor),
        Rejection::Forbidden,
    )
}

/// Returns the change that follows the newest revision of the setting.
fn next(setting: &Setting) -> SettingChange {
    SettingChange {
        revision: setting.revision + 1,
        owner: setting.owner,
        created: setting.created,
        prev: setting.changed.position,
    }
}

fn changed(change: SettingChange) -> Outcome {
    Outcome {
        setting: Some(Box::new(change)),
        ..Outcome::default()
    }
}
