//! The kind `stream`: figures over windows of events, by key.

use std::sync::Arc;

use serde_json::{Map, Value, json};
use tributary_engine::{IdKind, Reader};
use tributary_ledger::{OwnerId, Setting, SettingBody, SettingId, SettingKind, Slug, Topic};

use super::SettingType;
use super::defined::{
    DefinedType, check_text, encode, parse_definition, paused, unreadable, within, writing_key,
};
use crate::caller::Caller;
use crate::error::ApiError;
use crate::form::stream::{ActForm, PublishForm, StreamCreate};
use crate::render::stream::{StreamObject, stream};
use crate::risk::NOTE_BYTES_MAX;
use crate::streaming::{ActTerms, Action, ENTRY_SECONDS_MAX, PublishTerms, StreamTerms, Streaming};

/// Maximum size of a slug or an id, bytes.
const SETTING_NAME_BYTES_MAX: usize = 64;

/// The kind `stream`.
#[derive(Clone)]
pub struct StreamType {
    reader: Reader,
    streaming: Arc<dyn Streaming>,
}

impl StreamType {
    /// Streams as `reader` shows them, which `streaming` checks.
    pub fn new(reader: Reader, streaming: Arc<dyn Streaming>) -> StreamType {
        StreamType { reader, streaming }
    }

    /// Returns what a form says, without a look at its expressions.
    fn read(
        &self,
        form: StreamCreate,
        before: Option<&StreamTerms>,
    ) -> Result<StreamTerms, ApiError> {
        let was = before.and_then(|before| before.paused.clone());
        let known = before.and_then(|before| before.publish.as_ref());
        let publish = form.publish.map(|publish| self.publish(publish, known));
        if publish.is_some() && form.act.is_some() {
            let message = "Give either publish or act, not both.";
            return Err(ApiError::invalid("act", message));
        }
        let known = before.and_then(|before| before.act.as_ref());
        let act = form.act.map(|act| self.act(act, known));
        Ok(StreamTerms {
            version: before.map_or(1, |before| before.version),
            from: form.from,
            data: form.data,
            key: form.key,
            time: form.time,
            window: form.window,
            emit: form.emit,
            having: form.having,
            publish: publish.transpose()?,
            act: act.transpose()?,
            start: form.start.unwrap_or_default(),
            bounds: form.bounds.unwrap_or_default(),
            paused: paused(form.paused, form.paused_reason, was)?,
        })
    }

    /// Returns what a form of a stream says, checked, as that of a stream that does not exist.
    ///
    /// # Errors
    /// The field that is wrong.
    pub fn checked(&self, form: StreamCreate) -> Result<StreamTerms, ApiError> {
        let terms = self.read(form, None)?;
        self.streaming.check(&terms)?;
        Ok(terms)
    }

    fn act(&self, form: ActForm, known: Option<&ActTerms>) -> Result<ActTerms, ApiError> {
        let known = known.map(|known| known.acts_as);
        let acts_as = writing_key(&self.reader, &form.acts_as, known);
        let acts_as = acts_as.map_err(|error| error.param("act.acts_as"))?;
        let action = form.action().ok_or_else(|| {
            let message = "act must have one of freeze_account, unfreeze_account, add_to_list, requeue_dead_letters and pause_binding.";
            ApiError::invalid("act", message)
        })?;
        if let Some((_, named)) = action.setting() {
            check_text(&setting_field(&action), named, SETTING_NAME_BYTES_MAX)?;
        }
        if let Action::AddToList(entry) = &action {
            if let Some(seconds) = entry.until_seconds {
                within(
                    "act.add_to_list.until_seconds",
                    seconds,
                    1,
                    ENTRY_SECONDS_MAX,
                )?;
            }
            if let Some(note) = &entry.note {
                check_text("act.add_to_list.note", note, NOTE_BYTES_MAX)?;
            }
        }
        let key = self.reader.api_key(acts_as);
        if action.needs_platform() && key.is_none_or(|key| key.owner != OwnerId::PLATFORM) {
            let message = "act.acts_as must be an API key of the platform.";
            return Err(ApiError::invalid("act.acts_as", message));
        }
        Ok(ActTerms { action, acts_as })
    }

    fn publish(
        &self,
        form: PublishForm,
        known: Option<&PublishTerms>,
    ) -> Result<PublishTerms, ApiError> {
        let topic = Topic::new(&form.event).ok();
        if !topic.is_some_and(|topic| topic.is_of_application()) {
            let message = "publish.event must be a type that begins with app. and goes on with words of a-z, 0-9, _ and - between dots.";
            return Err(ApiError::invalid("publish.event", message));
        }
        let known = known.map(|known| known.acts_as);
        let acts_as = writing_key(&self.reader, &form.acts_as, known);
        Ok(PublishTerms {
            event: form.event,
            acts_as: acts_as.map_err(|error| error.param("publish.acts_as"))?,
        })
    }
}

impl SettingType for StreamType {
    fn kind(&self) -> SettingKind {
        SettingKind::STREAM
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
        let form: StreamCreate = parse_definition(slug, definition)?;
        let before = before.map(terms_of).transpose()?;
        let mut terms = self.read(form, before.as_ref())?;
        self.streaming.check(&terms)?;
        if before.is_some_and(|before| !before.computes_as(&terms)) {
            terms.version += 1;
        }
        encode(SettingKind::STREAM, &terms)
    }

    fn mask(&self, _definition: &mut Map<String, Value>) -> Result<(), ApiError> {
        Ok(())
    }

    fn render(&self, setting: &Setting) -> Result<Value, ApiError> {
        let object = self.object(setting)?;
        Ok(serde_json::to_value(object).expect("an object is JSON"))
    }

    fn reveal(&self, _setting: &Setting) -> Result<Option<String>, ApiError> {
        Ok(None)
    }
}

impl DefinedType for StreamType {
    type Object = StreamObject;

    fn reader(&self) -> &Reader {
        &self.reader
    }

    fn definition(&self, setting: &Setting) -> Result<Map<String, Value>, ApiError> {
        let terms = terms_of(setting)?;
        let key = |publish: &PublishTerms| {
            let acts_as = self.reader.ids().encode(IdKind::ApiKey, publish.acts_as.0);
            json!({ "event": publish.event, "acts_as": acts_as })
        };
        let act = |act: &ActTerms| {
            let acts_as = self.reader.ids().encode(IdKind::ApiKey, act.acts_as.0);
            json!(ActForm::new(act.action.clone(), acts_as))
        };
        let definition = json!({
            "from": terms.from,
            "data": terms.data,
            "key": terms.key,
            "time": terms.time,
            "window": terms.window,
            "emit": terms.emit,
            "having": terms.having,
            "publish": terms.publish.as_ref().map(key),
            "act": terms.act.as_ref().map(act),
            "start": terms.start,
            "bounds": terms.bounds,
        });
        match definition {
            Value::Object(fields) => Ok(fields),
            _ => unreachable!("it was made as an object"),
        }
    }

    fn object(&self, setting: &Setting) -> Result<StreamObject, ApiError> {
        Ok(stream(&self.reader, setting, terms_of(setting)?))
    }
}

/// The field of the definition that names the setting that an action is about.
fn setting_field(action: &Action) -> String {
    let within = match action {
        Action::AddToList(_) => ".list",
        _ => "",
    };
    format!("act.{}{within}", action.name())
}

fn terms_of(setting: &Setting) -> Result<StreamTerms, ApiError> {
    StreamTerms::from_setting(setting).map_err(|error| unreadable(setting, &error))
}
