//! What the nouns share whose objects are settings that are made and changed by their definition.

use axum::response::Response;
use serde::{Deserialize, Serialize};
use tributary_api::caller::Caller;
use tributary_api::error::ApiError;
use tributary_api::render::list::{List, list};
use tributary_api::render::setting::DeletedObject;
use tributary_api::settings::defined::{self, Change, DefinedType};
use tributary_api::settings::{
    PutRequest, Settled, accepted, delete_command, put_setting, random_key, refusal, replayed,
    submit,
};
use tributary_engine::Slice;
use tributary_ledger::{Key, Setting, SettingId};
use utoipa::IntoParams;

use crate::app::{App, Shared};
use crate::response::{ErrorResponse, json, mark_replayed};

/// Which revision is deleted.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct DeleteQuery {
    /// Revision that must be the newest, else the answer is `setting_conflict`; any if left out.
    #[serde(default)]
    pub(crate) revision: Option<u64>,
}

/// The place in a list behind the cursor that a page of it gave as `next_cursor`.
pub(crate) fn cursor(shared: &Shared, caller: &Caller, text: &str) -> Result<u64, ApiError> {
    let ids = shared.reader.ids();
    let place = ids.decode_cursor(caller.actor.owner, text);
    place.ok_or_else(|| {
        let message = "starting_after must be a cursor of this list.";
        ApiError::invalid("starting_after", message)
    })
}

/// The number of the setting of a kind that an id names, in form.
fn number<T: DefinedType>(shared: &Shared, kind: &T, id: &str) -> Result<SettingId, ApiError> {
    let named = shared.reader.ids().decode_setting(id);
    named
        .filter(|(named, _)| *named == kind.kind())
        .map(|(_, id)| id)
        .ok_or_else(|| ApiError::not_found(kind.kind().name(), "id"))
}

/// Makes a setting, as the form defines it.
pub(crate) async fn create<T: DefinedType + 'static>(
    app: &App,
    caller: Caller,
    key: Key,
    kind: T,
    form: impl Serialize + Send + 'static,
) -> Result<Response, ErrorResponse> {
    let (object, replayed) = app
        .blocking_within(move |shared| {
            let form = defined::fields(&form);
            let asked = PutRequest {
                actor: caller.actor,
                key,
                request: defined::digest_of_create(&kind, &form)?,
                names_revision: true,
            };
            let engine = &shared.engine;
            let derive = || {
                let revision = defined::create(&kind, &caller, &form)?;
                kind.put_parts(engine, caller.actor, &form)?;
                Ok(revision)
            };
            let mut put = || put_setting(engine, &asked, derive);
            answer_put(
                shared,
                &kind,
                &kind.with_parts(engine, caller.actor, &mut put)?,
            )
        })
        .await?;
    Ok(mark_replayed(json(201, &object), replayed))
}

/// Makes a change of a setting.
pub(crate) async fn change<T: DefinedType + 'static>(
    app: &App,
    caller: Caller,
    key: Option<Key>,
    id: &str,
    kind: T,
    change: Change,
) -> Result<Response, ErrorResponse> {
    let id = number(&app.shared, &kind, id)?;
    let (object, replayed) = app
        .blocking_within(move |shared| {
            let asked = PutRequest {
                actor: caller.actor,
                key: key.unwrap_or_else(random_key),
                request: change.digest(&kind, id)?,
                names_revision: change.revision().is_some(),
            };
            let engine = &shared.engine;
            let derive = || {
                let revision = change.apply(&kind, &caller, id)?;
                kind.put_parts(engine, caller.actor, change.fields())?;
                Ok(revision)
            };
            let mut put = || put_setting(engine, &asked, derive);
            answer_put(
                shared,
                &kind,
                &kind.with_parts(engine, caller.actor, &mut put)?,
            )
        })
        .await?;
    Ok(mark_replayed(json(200, &object), replayed))
}

/// The setting as its record left it, and whether the answer is a repetition.
fn answer_put<T: DefinedType>(
    shared: &Shared,
    kind: &T,
    settled: &Settled,
) -> Result<(T::Object, bool), ApiError> {
    let setting = accepted(&shared.reader, &settled.record)?;
    kind.begin();
    Ok((kind.object(&setting)?, settled.replayed))
}

/// Lists all settings of a kind on one page, the newest first.
pub(crate) async fn list_all<T: DefinedType + 'static>(
    app: &App,
    caller: Caller,
    kind: T,
    path: &'static str,
) -> Result<Response, ErrorResponse> {
    let page: List<T::Object> = app
        .read(caller.actor.owner, move |shared| {
            let mut items = shared.reader.settings(kind.kind(), caller.listed_owner());
            // One that a later version wrote can't be shown, and hides no others.
            items.retain(|setting| kind.object(setting).is_ok());
            items.reverse();
            let slice = Slice {
                items,
                has_more: false,
                next: None,
            };
            list(&shared.reader, &caller, path.to_owned(), slice, |setting| {
                kind.object(&setting)
            })
        })
        .await?;
    Ok(json(200, &page))
}

/// Returns the setting of a kind that an id names, if the caller may see it.
pub(crate) fn visible<T: DefinedType>(
    app: &App,
    caller: &Caller,
    id: &str,
    kind: &T,
) -> Result<Setting, ApiError> {
    let id = number(&app.shared, kind, id)?;
    kind.visible(caller, Some(id))
}

/// Shows a setting.
pub(crate) fn get<T: DefinedType>(
    app: &App,
    caller: &Caller,
    id: &str,
    kind: &T,
) -> Result<Response, ErrorResponse> {
    Ok(json(200, &kind.object(&visible(app, caller, id, kind)?)?))
}

/// Deletes a setting.
pub(crate) async fn delete<T: DefinedType + 'static>(
    app: &App,
    caller: Caller,
    key: Option<Key>,
    id: String,
    kind: T,
    query: &DeleteQuery,
) -> Result<Response, ErrorResponse> {
    let number = number(&app.shared, &kind, &id)?;
    let key = key.unwrap_or_else(random_key);
    if query.revision == Some(0) {
        let message = "revision must be at least 1.";
        return Err(ApiError::invalid("revision", message).into());
    }
    let replaces = query.revision.unwrap_or(0);
    let object = DeletedObject {
        id,
        object: kind.kind().name(),
        deleted: true,
    };
    let replayed = app
        .blocking_within(move |shared| {
            let reader = &shared.reader;
            let command = delete_command(caller.actor, key, number, kind.kind(), replaces);
            let settled = match kind.visible(&caller, Some(number)) {
                Ok(_) => {
                    let (engine, actor) = (&shared.engine, caller.actor);
                    let mut delete = || submit(engine, command.clone());
                    kind.with_parts(engine, actor, &mut delete)?
                }
                Err(error) => {
                    let (owner, digest) = (caller.actor.owner, command.digest());
                    Settled {
                        record: replayed(reader, owner, &command.key, digest, error)?,
                        replayed: true,
                    }
                }
            };
            match settled.record.outcome.rejection {
                None => Ok(settled.replayed),
                Some(_) => Err(refusal(reader, &settled.record)),
            }
        })
        .await?;
    Ok(mark_replayed(json(200, &object), replayed))
}
