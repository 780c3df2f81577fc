//! The kind `model`: models of trees that score payments. The file of a model is kept as settings of the kind `model_part`.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use serde_json::{Map, Value};
use tributary_engine::{Engine, Reader, lock};
use tributary_ledger::{
    Actor, Command, OwnerId, Rejection, Setting, SettingBody, SettingId, SettingKind, Slug,
};

use super::defined::{DefinedType, check_text, encode, missing, parse_definition, unreadable};
use super::{
    Revision, SettingType, Settled, delete_command, random_key, random_setting_id, refusal,
    request_digest, submit_all,
};
use crate::caller::Caller;
use crate::error::ApiError;
use crate::form::tree_model::ModelCreate;
use crate::render::tree_model::{TreeModelObject, tree_model};
use crate::risk::{
    DESCRIPTION_BYTES_MAX, MODEL_NAMES_BYTES_MAX, ModelTerms, Risk, model_hash, model_parts,
    part_slug,
};

/// Maximum number of parts that are put or deleted by one request to the ledger.
const PARTS_AT_ONCE: usize = 64;

/// Error of a file whose parts have no room beside those of the other models.
const NO_ROOM: &str = "The files of all models together may have 2,048 parts of 32 KiB, 64 MiB: delete models that are no longer needed.";

/// Held while models and parts are changed: a part that one change finds unused may be what another is about to name.
static CHANGES: Mutex<()> = Mutex::new(());

/// The kind `model`.
#[derive(Clone)]
pub struct ModelType {
    reader: Reader,
    risk: Arc<dyn Risk>,
}

impl ModelType {
    /// Models as `reader` shows them, whose files `risk` reads.
    pub fn new(reader: Reader, risk: Arc<dyn Risk>) -> ModelType {
        ModelType { reader, risk }
    }

    /// Returns what the setting of a model with this file says.
    fn read(
        &self,
        slug: &Slug,
        description: Option<String>,
        file: &str,
    ) -> Result<ModelTerms, ApiError> {
        let facts = self.risk.read_model(slug.as_str(), file.as_bytes())?;
        let names = serde_json::to_vec(&facts.features).expect("names are JSON");
        if names.len() > MODEL_NAMES_BYTES_MAX {
            let message = format!(
                "file: the names of the features are {} bytes of JSON, and at most {MODEL_NAMES_BYTES_MAX} are taken; train with shorter names or fewer features.",
                names.len()
            );
            return Err(ApiError::invalid("file", message));
        }
        Ok(ModelTerms::new(description, facts, file))
    }
}

impl SettingType for ModelType {
    fn kind(&self) -> SettingKind {
        SettingKind::MODEL
    }

    fn define(
        &self,
        caller: &Caller,
        _id: SettingId,
        slug: &Slug,
        definition: &Map<String, Value>,
        before: Option<&Setting>,
    ) -> Result<SettingBody, ApiError> {
        caller.must_be_platform()?;
        let others = definition.iter().filter(|(name, _)| *name != "file");
        let others: Map<String, Value> = others
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        let form: ModelCreate = parse_definition(slug, &others)?;
        if let Some(description) = &form.description {
            check_text("description", description, DESCRIPTION_BYTES_MAX)?;
        }
        let terms = match (definition.get("file"), before) {
            (Some(Value::String(file)), _) => self.read(slug, form.description, file)?,
            (None | Some(Value::Null), Some(before)) => {
                let terms = terms_of(before)?;
                if *slug != before.slug {
                    // Rule sets may name it by its new name already.
                    let file = terms.file(|part| find_part(&self.reader, part));
                    let file = file.map_err(|why| ApiError::invalid("slug", why))?;
                    self.risk.read_model(slug.as_str(), &file)?;
                }
                ModelTerms {
                    description: form.description,
                    ..terms
                }
            }
            (None | Some(Value::Null), None) => {
                return Err(missing("file", "Give the file that the trainer wrote."));
            }
            (Some(_), _) => {
                let message = "file must be a text: what the trainer wrote.";
                return Err(ApiError::invalid("file", message));
            }
        };
        encode(SettingKind::MODEL, &terms)
    }

    /// A file is no secret, but too long to be remembered in full.
    fn mask(&self, definition: &mut Map<String, Value>) -> Result<(), ApiError> {
        if let Some(Value::String(file)) = definition.get_mut("file") {
            *file = model_hash(file.as_bytes());
        }
        Ok(())
    }

    fn render(&self, setting: &Setting) -> Result<Value, ApiError> {
        let object = self.object(setting)?;
        Ok(serde_json::to_value(object).expect("an object is JSON"))
    }

    fn reveal(&self, _setting: &Setting) -> Result<Option<String>, ApiError> {
        Ok(None)
    }

    fn put_parts(
        &self,
        engine: &Engine,
        actor: Actor,
        definition: &Map<String, Value>,
    ) -> Result<(), ApiError> {
        let file = definition.get("file").and_then(Value::as_str);
        let mut named = HashSet::new();
        let mut puts = Vec::new();
        for part in model_parts(file.unwrap_or_default().as_bytes()) {
            let slug = Slug::new(&part_slug(part)).expect("hexadecimal digits are a slug");
            let there = find_part(&self.reader, slug.as_str());
            if there.is_none() && named.insert(slug.clone()) {
                puts.push(put_part(actor, slug, part));
            }
        }
        send(engine, puts)
    }

    fn with_parts(
        &self,
        engine: &Engine,
        actor: Actor,
        change: &mut dyn FnMut() -> Result<Settled, ApiError>,
    ) -> Result<Settled, ApiError> {
        let _only_change = lock(&CHANGES);
        let settled = change();
        if let Err(error) = send(engine, deletes_of_unused(&self.reader, actor)) {
            // The next change of a model tries again.
            tracing::warn!(error = %error.message(), "parts that no model names can't be deleted now");
        }
        settled
    }
}

fn put_part(actor: Actor, slug: Slug, part: &[u8]) -> Command {
    let revision = Revision {
        id: random_setting_id(),
        kind: SettingKind::MODEL_PART,
        managed_by: None,
        replaces: 0,
        body: SettingBody::new(part).expect("a part is bounded, and not empty"),
        slug,
    };
    let request = request_digest("put_model_part", None, &revision.slug.as_str());
    revision.into_command(actor, random_key(), request)
}

/// Returns the commands that delete the parts that no model names. None while a model can't be read: it may name any.
fn deletes_of_unused(reader: &Reader, actor: Actor) -> Vec<Command> {
    let mut named = HashSet::new();
    for model in reader.settings(SettingKind::MODEL, None) {
        match ModelTerms::from_setting(&model) {
            Ok(terms) => named.extend(terms.parts),
            Err(_) => return Vec::new(),
        }
    }
    let parts = reader.settings(SettingKind::MODEL_PART, None).into_iter();
    let unused = parts.filter(|part| !named.contains(part.slug.as_str()));
    unused
        .map(|part| delete_command(actor, random_key(), part.id, part.kind, part.revision))
        .collect()
}

/// Has commands about parts decided. Blocks until their records are durable.
fn send(engine: &Engine, commands: Vec<Command>) -> Result<(), ApiError> {
    let mut commands = commands.into_iter().peekable();
    while commands.peek().is_some() {
        let some: Vec<Command> = commands.by_ref().take(PARTS_AT_ONCE).collect();
        for settled in submit_all(engine, some)? {
            let refused = || refusal(&engine.reader(), &settled.record);
            match settled.record.outcome.rejection {
                None => {}
                Some(Rejection::TooManySettings) => return Err(refused().with_message(NO_ROOM)),
                Some(_) => return Err(refused()),
            }
        }
    }
    Ok(())
}

impl DefinedType for ModelType {
    type Object = TreeModelObject;

    fn reader(&self) -> &Reader {
        &self.reader
    }

    /// Without the file, which stays if a change gives no other.
    fn definition(&self, setting: &Setting) -> Result<Map<String, Value>, ApiError> {
        let description = terms_of(setting)?.description;
        let description = description.map(|text| ("description".to_owned(), Value::String(text)));
        Ok(Map::from_iter(description))
    }

    fn object(&self, setting: &Setting) -> Result<TreeModelObject, ApiError> {
        Ok(tree_model(&self.reader, setting, terms_of(setting)?))
    }
}

fn terms_of(setting: &Setting) -> Result<ModelTerms, ApiError> {
    ModelTerms::from_setting(setting).map_err(|error| unreadable(setting, &error))
}

/// The content of the part with this slug, if it is there.
fn find_part(reader: &Reader, slug: &str) -> Option<SettingBody> {
    let slug = Slug::new(slug).ok()?;
    let part = reader.setting_by_slug(OwnerId::PLATFORM, SettingKind::MODEL_PART, &slug)?;
    Some(part.body)
}
