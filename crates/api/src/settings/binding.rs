//! The kind `binding`: a destination at a broker, joined to the system.

use std::sync::Arc;

use serde_json::{Map, Value, json};
use tributary_engine::{IdKind, Reader};
use tributary_ledger::{Setting, SettingBody, SettingId, SettingKind, Slug};

use super::SettingType;
use super::defined::{
    DefinedType, check_text, encode, missing, parse_definition, paused, unreadable, within,
    writing_key,
};
use crate::brokers::{
    BinderTerms, BindingTerms, Brokers, ConsumerTerms, Declare, Direction, EventTemplate,
    IdentityFrom, ReplyPattern, ReplyTerms, check_map,
};
use crate::caller::Caller;
use crate::error::ApiError;
use crate::form::binding::{BindingCreate, ConsumerForm, ReplyForm};
use crate::map::IdentityPath;
use crate::render::binding::{BindingObject, binding, consumer, reply};

/// Consumer group of a binding that names none.
const GROUP_DEFAULT: &str = "tributary";
/// Messages that a receiver has not acknowledged, if nothing is said.
const PREFETCH_DEFAULT: u16 = 64;
const PREFETCH_MAX: u16 = 1_000;
const CONCURRENCY_MAX: u16 = 16;
const ATTEMPTS_MAX: u32 = 100;
const MULTIPLIER_MAX: u32 = 10;
/// Maximum wait between two attempts, milliseconds: an hour.
const BACK_OFF_MS_MAX: u64 = 3_600_000;
/// Maximum number of patterns of addresses for replies.
const PATTERNS_MAX: usize = 16;
/// Maximum size of a destination and of a group, bytes.
const NAME_BYTES_MAX: usize = 255;
/// Maximum size of the name of a stream of messages, bytes.
const STREAM_BYTES_MAX: usize = 64;
/// Maximum size of a media type, bytes.
const CONTENT_TYPE_BYTES_MAX: usize = 128;

/// The kind `binding`.
#[derive(Clone)]
pub struct BindingType {
    reader: Reader,
    brokers: Arc<dyn Brokers>,
}

impl BindingType {
    /// Bindings as `reader` shows them, which `brokers` checks.
    pub fn new(reader: Reader, brokers: Arc<dyn Brokers>) -> BindingType {
        BindingType { reader, brokers }
    }

    /// Returns the type of the broker of the binder that a binding names, if there is such a binder.
    fn broker(&self, caller: &Caller, named: &str) -> Option<String> {
        let by_id = match self.reader.ids().decode_setting(named) {
            Some((SettingKind::BINDER, id)) => self.reader.setting(id),
            _ => None,
        };
        let by_slug = || {
            let slug = Slug::new(named).ok()?;
            let owner = caller.actor.owner;
            self.reader
                .setting_by_slug(owner, SettingKind::BINDER, &slug)
        };
        let binder = by_id.or_else(by_slug)?;
        Some(BinderTerms::from_setting(&binder).ok()?.broker)
    }

    fn terms(
        &self,
        slug: &Slug,
        form: BindingCreate,
        before: Option<&BindingTerms>,
    ) -> Result<BindingTerms, ApiError> {
        check_direction(&form, before)?;
        check_text("binder", &form.binder, NAME_BYTES_MAX)?;
        check_text("destination", &form.destination, NAME_BYTES_MAX)?;
        let group = form.group.unwrap_or_else(|| GROUP_DEFAULT.to_owned());
        check_text("group", &group, NAME_BYTES_MAX)?;
        check_content_type("content_type", form.content_type.as_deref())?;
        let known = before.and_then(|before| before.acts_as);
        let acts_as = match form.acts_as {
            Some(id) => Some(writing_key(&self.reader, &id, known)?),
            None if form.direction == Direction::In => {
                return Err(missing(
                    "acts_as",
                    "A binding in needs acts_as: an API key.",
                ));
            }
            None => None,
        };
        let identity = form.identity.unwrap_or_else(|| slug.to_string());
        check_text("identity", &identity, STREAM_BYTES_MAX)?;
        let identity_from = identity_from(form.direction, form.identity_from.as_deref())?;
        check_identity(&identity, identity_from.as_ref(), before)?;
        if let Some(map) = &form.map {
            check_map(map)?;
        }
        let producer = form.producer.unwrap_or_default();
        let was = before.and_then(|before| before.paused.clone());
        Ok(BindingTerms {
            direction: form.direction,
            binder: form.binder,
            destination: form.destination,
            group,
            content_type: form.content_type,
            acts_as,
            identity,
            identity_from,
            prefetch: within(
                "prefetch",
                form.prefetch.unwrap_or(PREFETCH_DEFAULT),
                1,
                PREFETCH_MAX,
            )?,
            declare: form.declare.unwrap_or(Declare::Check),
            consumer: consumer_terms(&form.consumer.unwrap_or_default())?,
            partition_key: template("producer.partition_key", producer.partition_key)?,
            routing_key: template("routing_key", form.routing_key)?,
            reply: reply_terms(form.reply)?,
            map: form.map,
            paused: paused(form.paused, form.paused_reason, was)?,
        })
    }
}

impl SettingType for BindingType {
    fn kind(&self) -> SettingKind {
        SettingKind::BINDING
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
        let form: BindingCreate = parse_definition(slug, definition)?;
        let before = before.map(terms_of).transpose()?;
        let terms = self.terms(slug, form, before.as_ref())?;
        // A binding may come before its binder: it waits then.
        if let Some(broker) = self.broker(caller, &terms.binder) {
            self.brokers.check_binding(&broker, slug.as_str(), &terms)?;
        }
        encode(SettingKind::BINDING, &terms)
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

impl DefinedType for BindingType {
    type Object = BindingObject;

    fn reader(&self) -> &Reader {
        &self.reader
    }

    fn definition(&self, setting: &Setting) -> Result<Map<String, Value>, ApiError> {
        let terms = terms_of(setting)?;
        let acts_as = terms.acts_as;
        let acts_as = acts_as.map(|key| self.reader.ids().encode(IdKind::ApiKey, key.0));
        let is_in = terms.direction == Direction::In;
        let mut definition = json!({
            "direction": terms.direction,
            "binder": terms.binder,
            "destination": terms.destination,
            "content_type": terms.content_type,
            "declare": terms.declare,
        });
        let of_direction = match is_in {
            true => json!({
                "group": terms.group,
                "acts_as": acts_as,
                "identity": terms.identity,
                "identity_from": terms.identity_from,
                "prefetch": terms.prefetch,
                "consumer": consumer(&terms.consumer),
                "reply": reply(&terms.reply),
                "map": terms.map,
            }),
            false => json!({
                "producer": {"partition_key": terms.partition_key},
                "routing_key": terms.routing_key,
            }),
        };
        match (&mut definition, of_direction) {
            (Value::Object(fields), Value::Object(more)) => {
                fields.extend(more);
                Ok(std::mem::take(fields))
            }
            _ => unreachable!("both were made as objects"),
        }
    }

    fn object(&self, setting: &Setting) -> Result<BindingObject, ApiError> {
        Ok(binding(&self.reader, setting, terms_of(setting)?))
    }
}

fn terms_of(setting: &Setting) -> Result<BindingTerms, ApiError> {
    BindingTerms::from_setting(setting).map_err(|error| unreadable(setting, &error))
}

/// Checks that the direction stays, and that no field is of the other direction.
fn check_direction(form: &BindingCreate, before: Option<&BindingTerms>) -> Result<(), ApiError> {
    if before.is_some_and(|before| before.direction != form.direction) {
        let message =
            "The direction of a binding can't be changed: delete it, and create another one.";
        return Err(ApiError::invalid("direction", message));
    }
    let is_in = form.direction == Direction::In;
    for (given, of_in, field) in [
        (form.group.is_some(), true, "group"),
        (form.acts_as.is_some(), true, "acts_as"),
        (form.identity.is_some(), true, "identity"),
        (form.identity_from.is_some(), true, "identity_from"),
        (form.prefetch.is_some(), true, "prefetch"),
        (form.consumer.is_some(), true, "consumer"),
        (form.reply.is_some(), true, "reply"),
        (form.map.is_some(), true, "map"),
        (form.producer.is_some(), false, "producer"),
        (form.routing_key.is_some(), false, "routing_key"),
    ] {
        if given && of_in != is_in {
            let direction = if of_in { "in" } else { "out" };
            let message = format!("{field} goes with direction {direction} only.");
            return Err(ApiError::invalid(field, message));
        }
    }
    Ok(())
}

fn identity_from(
    direction: Direction,
    text: Option<&str>,
) -> Result<Option<IdentityFrom>, ApiError> {
    match text {
        None if direction == Direction::In => {
            let message =
                "A binding in needs identity_from: field PATH, cloudevents, message_id or broker.";
            Err(missing("identity_from", message))
        }
        None => Ok(None),
        Some(text) => {
            let parsed = IdentityFrom::parse(text).ok_or_else(|| {
                let message =
                    "identity_from must be field PATH, cloudevents, message_id or broker.";
                ApiError::invalid("identity_from", message)
            })?;
            if let IdentityFrom::Field(path) = &parsed {
                IdentityPath::parse(path).map_err(|fault| {
                    let message = format!("identity_from names no field: {}.", fault.why);
                    ApiError::invalid("identity_from", message)
                })?;
            }
            Ok(Some(parsed))
        }
    }
}

/// Checks that what names messages changes only with the name of their stream: the same message would be decided twice otherwise.
fn check_identity(
    identity: &str,
    identity_from: Option<&IdentityFrom>,
    before: Option<&BindingTerms>,
) -> Result<(), ApiError> {
    let changes = before.is_some_and(|before| {
        before.identity == identity && before.identity_from.as_ref() != identity_from
    });
    if changes {
        let message = "identity_from can only be changed together with identity: messages that were decided before would be decided again.";
        return Err(ApiError::invalid("identity_from", message));
    }
    Ok(())
}

fn check_content_type(param: &'static str, text: Option<&str>) -> Result<(), ApiError> {
    let Some(text) = text else {
        return Ok(());
    };
    let essence = text.split(';').next().unwrap_or_default().trim();
    let sound = text.len() <= CONTENT_TYPE_BYTES_MAX
        && text.bytes().all(|byte| (b' '..=b'~').contains(&byte))
        && essence.split_once('/').is_some_and(|(kind, subtype)| {
            let plain = |part: &str| !part.is_empty() && !part.contains([' ', '/']);
            plain(kind) && plain(subtype)
        });
    if !sound {
        let message = format!(
            "{param} must be a media type such as application/json, at most {CONTENT_TYPE_BYTES_MAX} bytes."
        );
        return Err(ApiError::invalid(param, message));
    }
    Ok(())
}

fn consumer_terms(form: &ConsumerForm) -> Result<ConsumerTerms, ApiError> {
    let default = ConsumerTerms::default();
    let initial = form
        .back_off_initial_interval
        .unwrap_or(default.back_off_initial_interval);
    let initial = within(
        "consumer.back_off_initial_interval",
        initial,
        1,
        BACK_OFF_MS_MAX,
    )?;
    // A longer first wait than the default maximum needs no maximum of its own.
    let most = form
        .back_off_max_interval
        .unwrap_or(default.back_off_max_interval.max(initial));
    Ok(ConsumerTerms {
        concurrency: within(
            "consumer.concurrency",
            form.concurrency.unwrap_or(default.concurrency),
            1,
            CONCURRENCY_MAX,
        )?,
        max_attempts: within(
            "consumer.max_attempts",
            form.max_attempts.unwrap_or(default.max_attempts),
            1,
            ATTEMPTS_MAX,
        )?,
        back_off_initial_interval: initial,
        back_off_multiplier: within(
            "consumer.back_off_multiplier",
            form.back_off_multiplier
                .unwrap_or(default.back_off_multiplier),
            1,
            MULTIPLIER_MAX,
        )?,
        back_off_max_interval: within(
            "consumer.back_off_max_interval",
            most,
            initial,
            BACK_OFF_MS_MAX,
        )?,
    })
}

fn template(param: &'static str, text: Option<String>) -> Result<Option<EventTemplate>, ApiError> {
    let parsed = text.map(|text| EventTemplate::parse(&text)).transpose();
    parsed.map_err(|why| ApiError::invalid(param, format!("{param} {why}.")))
}

fn reply_terms(form: Option<ReplyForm>) -> Result<ReplyTerms, ApiError> {
    let Some(form) = form else {
        return Ok(ReplyTerms::default());
    };
    if form.allow.len() > PATTERNS_MAX {
        let message = format!("reply.allow must be at most {PATTERNS_MAX} addresses.");
        return Err(ApiError::invalid("reply.allow", message));
    }
    let pattern = |(at, text): (usize, &String)| {
        ReplyPattern::parse(text).ok_or_else(|| {
            let param = format!("reply.allow[{at}]");
            let message = format!(
                "{param} must be 1 to {} bytes without control characters, with no * but at its end.",
                ReplyPattern::BYTES_MAX
            );
            ApiError::invalid(&param, message)
        })
    };
    let allow = form.allow.iter().enumerate().map(pattern);
    let allow = allow.collect::<Result<_, _>>()?;
    check_content_type("reply.content_type", form.content_type.as_deref())?;
    Ok(ReplyTerms {
        allow,
        content_type: form.content_type,
    })
}
