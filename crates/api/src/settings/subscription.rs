//! The kind `subscription`: its definition, its changes and its secrets.

use std::sync::Arc;

use serde::Serialize;
use serde_json::{Map, Value};
use tributary_engine::{Engine, Reader};
use tributary_ledger::codec::Record;
use tributary_ledger::{
    Actor, ApiKeyId, ManagedBy, OwnerId, Setting, SettingBody, SettingId, SettingKind, Slug,
};
use tributary_messaging::{
    Kind, Order, Policy, StartAt, Subscription, SubscriptionContent, SubscriptionId,
};

use super::{
    PutRequest, Revision, SettingType, put_setting, random_key, random_setting_id, request_digest,
    visible_setting,
};
use crate::caller::Caller;
use crate::code::ErrorCode;
use crate::error::ApiError;
use crate::failures::read_error;
use crate::form::json::parse_object;
use crate::form::subscription::{
    OVERLAP_SECONDS_DEFAULT, PauseSubscription, RotateSecret, SubscriptionCreate,
    SubscriptionUpdate, bad_setting,
};
use crate::render::subscription::{SubscriptionObject, subscription};
use crate::subscriptions::{change_target, filter_owner, newest_secret, subscription_not_found};
use crate::transport::{PushTransport, no_transport};

/// The kind `subscription`.
#[derive(Clone)]
pub struct SubscriptionType {
    reader: Reader,
    transport: Option<Arc<dyn PushTransport>>,
}

/// A change of a subscription that exists.
#[derive(Clone, Debug)]
pub enum Change {
    /// Other terms; what is left out stays.
    Update(Box<SubscriptionUpdate>),
    /// Another secret, as of this ledger time, nanoseconds since the Unix epoch.
    Rotate(RotateSecret, u64),
    /// Hand out nothing.
    Pause(PauseSubscription),
    /// Hand out events again.
    Resume,
}

impl Change {
    /// Checks the revision that the caller named, if it did.
    pub fn check_revision(&self) -> Result<(), ApiError> {
        match self.revision() {
            Some(0) => Err(ApiError::invalid(
                "revision",
                "revision must be at least 1.",
            )),
            _ => Ok(()),
        }
    }

    /// The revision that the caller named, if it did.
    pub fn revision(&self) -> Option<u64> {
        match self {
            Change::Update(update) => update.revision,
            Change::Rotate(rotate, _) => rotate.revision,
            Change::Pause(_) | Change::Resume => None,
        }
    }
}

impl SubscriptionType {
    /// Subscriptions as `reader` shows them, whose pushed events travel by `transport`.
    pub fn new(reader: Reader, transport: Option<Arc<dyn PushTransport>>) -> SubscriptionType {
        SubscriptionType { reader, transport }
    }

    fn transport(&self) -> Option<&dyn PushTransport> {
        self.transport.as_deref()
    }

    /// MAC of a secret, in hexadecimal digits.
    fn mac(&self, secret: &str) -> Result<String, ApiError> {
        let transport = self.transport().ok_or_else(no_transport)?;
        Ok(hex::encode(transport.mac_secret(secret)?))
    }

    /// Returns the digest of a request to create a subscription.
    pub fn digest_of_create(&self, form: &SubscriptionCreate) -> Result<[u8; 16], ApiError> {
        let mut form = form.clone();
        // Without a URL nothing is signed.
        let secret = form.secret.take().filter(|_| form.url.is_some());
        form.secret = secret.map(|secret| self.mac(&secret)).transpose()?;
        Ok(request_digest("create_subscription", None, &form))
    }

    /// Returns the digest of a request to change a subscription.
    pub fn digest_of_change(&self, id: SettingId, change: &Change) -> Result<[u8; 16], ApiError> {
        fn digest(operation: &str, id: SettingId, arguments: &impl Serialize) -> [u8; 16] {
            request_digest(operation, Some(id), arguments)
        }
        Ok(match change {
            Change::Update(update) => digest("update_subscription", id, update),
            Change::Rotate(rotate, _) => {
                let mut rotate = rotate.clone();
                rotate.secret = rotate.secret.map(|secret| self.mac(&secret)).transpose()?;
                digest("rotate_subscription", id, &rotate)
            }
            Change::Pause(pause) => digest("pause_subscription", id, pause),
            Change::Resume => digest("resume_subscription", id, &()),
        })
    }

    /// Checks a form and returns the first revision of the subscription that it asks for.
    pub fn create(&self, caller: &Caller, form: SubscriptionCreate) -> Result<Revision, ApiError> {
        let id = random_setting_id();
        let slug = form.slug.as_deref().map(parse_slug).transpose()?;
        let managed_by = form.managed_by.as_deref().map(parse_manager).transpose()?;
        let body = self.content_of(caller, id, form, None)?;
        let slug = match slug {
            Some(slug) => slug,
            None => default_slug(&self.reader, id),
        };
        Ok(Revision {
            id,
            kind: SettingKind::SUBSCRIPTION,
            slug,
            managed_by,
            replaces: 0,
            body,
        })
    }

    /// Finds the binding that a platform key names by its slug or id.
    fn binding(&self, caller: &Caller, named: &str) -> Result<SettingId, ApiError> {
        caller.must_be_platform()?;
        let kind = SettingKind::BINDING;
        let by_id = self.reader.ids().decode_setting(named);
        let setting = match by_id.filter(|(found, _)| *found == kind) {
            Some((_, id)) => self.reader.setting(id),
            None => {
                let slug = Slug::new(named).ok();
                slug.and_then(|slug| self.reader.setting_by_slug(OwnerId::PLATFORM, kind, &slug))
            }
        };
        let setting = setting.filter(|setting| setting.kind == kind);
        Ok(setting
            .ok_or_else(|| ApiError::not_found("binding", "binding"))?
            .id)
    }

    fn content_of(
        &self,
        caller: &Caller,
        id: SettingId,
        form: SubscriptionCreate,
        paused: Option<String>,
    ) -> Result<SettingBody, ApiError> {
        let owner = |name: &str| filter_owner(&self.reader, caller, name);
        let (kind, policy) = match (&form.url, &form.binding) {
            (None, None) => (Kind::Pull, Policy::default()),
            (None, Some(binding)) => {
                let binding = self.binding(caller, binding)?;
                (Kind::Sink { binding }, sink_policy())
            }
            (Some(_), Some(_)) => {
                let message = "Give either url or binding, not both.";
                return Err(ApiError::invalid("binding", message));
            }
            (Some(url), None) => {
                let transport = self.transport().ok_or_else(no_transport)?;
                let id = SubscriptionId(id.0);
                let target = transport.create_target(id, url, form.secret.as_deref())?;
                (Kind::Push { target }, transport.default_policy())
            }
        };
        let (mut terms, start) = form.terms(&self.reader, caller, kind, policy, owner)?;
        terms.paused = paused;
        let start = match start {
            // The position of the record itself, which is not known yet.
            StartAt::Now => None,
            other => Some(other.position(&self.reader).map_err(read_error)?),
        };
        let content = SubscriptionContent { terms, start };
        content.encode().map_err(bad_setting)
    }

    /// Returns the revision that a change makes of the newest one, if the caller may see the subscription.
    pub fn change(
        &self,
        caller: &Caller,
        id: SettingId,
        change: &Change,
    ) -> Result<Revision, ApiError> {
        let setting = self.visible(caller, Some(id))?;
        let mut content = content(&setting)?;
        let before = subscription_of(&setting)?;
        let terms = &mut content.terms;
        match change {
            Change::Update(update) => {
                if let Some(url) = &update.url {
                    terms.kind = change_target(self.transport(), &before, |transport, target| {
                        transport.change_url(before.id, target, url)
                    })?;
                }
                let owner = |name: &str| filter_owner(&self.reader, caller, name);
                SubscriptionUpdate::clone(update).change(terms, owner)?;
            }
            Change::Rotate(rotate, now) => {
                let (overlap, secret) = (rotate.overlap()?, rotate.secret.as_deref());
                terms.kind = self.rotated(&before, secret, overlap, *now)?;
            }
            Change::Pause(pause) => terms.paused = Some(pause.reason.clone()),
            Change::Resume => terms.paused = None,
        }
        let mut revision = Revision::after(&setting, content.encode().map_err(bad_setting)?);
        if let Change::Update(update) = change {
            if let Some(slug) = &update.slug {
                revision.slug = parse_slug(slug)?;
            }
            if let Some(managed_by) = &update.managed_by {
                revision.managed_by = managed_by.as_deref().map(parse_manager).transpose()?;
            }
        }
        revision.replaces = change.revision().unwrap_or(setting.revision);
        Ok(revision)
    }

    fn rotated(
        &self,
        before: &Subscription,
        secret: Option<&str>,
        overlap_seconds: u64,
        now: u64,
    ) -> Result<Kind, ApiError> {
        change_target(self.transport(), before, |transport, target| {
            transport.rotate_secret(before.id, target, secret, overlap_seconds, now)
        })
    }

    /// Returns the setting of a subscription, if it lives and the caller may see it.
    pub fn visible(&self, caller: &Caller, id: Option<SettingId>) -> Result<Setting, ApiError> {
        visible_setting(&self.reader, caller, SettingKind::SUBSCRIPTION, id)
            .ok_or_else(subscription_not_found)
    }

    /// Returns the secret that the record of a create or a rotation made, while that revision is the newest.
    pub fn secret_of(&self, record: &Record) -> Result<Option<String>, ApiError> {
        let Some(made) = record.setting() else {
            return Ok(None);
        };
        let newest = self.reader.setting(made.id);
        if newest.is_none_or(|newest| newest.changed.position != made.changed.position) {
            return Ok(None);
        }
        self.reveal(&made)
    }

    /// Returns the subscription as an object, without figures.
    pub fn object(&self, setting: &Setting) -> Result<SubscriptionObject, ApiError> {
        let of = subscription_of(setting)?;
        Ok(subscription(
            &self.reader,
            self.transport(),
            setting,
            &of,
            None,
        ))
    }

    /// What replaces `before` to be as a complete definition says.
    fn redefined(
        &self,
        caller: &Caller,
        before: &Setting,
        form: SubscriptionCreate,
        paused: Option<String>,
    ) -> Result<SettingBody, ApiError> {
        let old = content(before)?;
        let id = SubscriptionId(before.id.0);
        let mut kind = old.terms.kind.clone();
        match (&kind, &form.url, &form.binding) {
            (Kind::Pull, None, None) => {}
            (Kind::Sink { binding }, None, Some(named))
                if self.binding(caller, named)? == *binding => {}
            (Kind::Push { target }, Some(url), None) => {
                let transport = self.transport().ok_or_else(no_transport)?;
                let mut target = target.clone();
                if transport.target_url(&target).as_deref() != Some(url) {
                    target = transport.change_url(id, &target, url)?;
                }
                if let Some(secret) = &form.secret
                    && transport.newest_secret(id, &target)? != *secret
                {
                    let (secret, overlap) = (Some(secret.as_str()), OVERLAP_SECONDS_DEFAULT);
                    let now = self.reader.now();
                    target = transport.rotate_secret(id, &target, secret, overlap, now)?;
                }
                kind = Kind::Push { target };
            }
            _ => {
                let message = "A subscription stays fetched, sent or bound: delete it, and create another one.";
                return Err(ApiError::invalid("url", message));
            }
        }
        let policy = match &kind {
            Kind::Pull => Policy::default(),
            Kind::Sink { .. } => sink_policy(),
            Kind::Push { .. } => self.transport().ok_or_else(no_transport)?.default_policy(),
        };
        let owner = |name: &str| filter_owner(&self.reader, caller, name);
        let (mut terms, _) = form.terms(&self.reader, caller, kind, policy, owner)?;
        if terms.policy.order != old.terms.policy.order {
            let message =
                "The order of a subscription can't be changed: delete it, and create another one.";
            return Err(ApiError::invalid("order", message));
        }
        terms.paused = paused;
        let content = SubscriptionContent {
            terms,
            start: old.start,
        };
        content.encode().map_err(bad_setting)
    }
}

impl SettingType for SubscriptionType {
    fn kind(&self) -> SettingKind {
        SettingKind::SUBSCRIPTION
    }

    fn define(
        &self,
        caller: &Caller,
        id: SettingId,
        _slug: &Slug,
        definition: &Map<String, Value>,
        before: Option<&Setting>,
    ) -> Result<SettingBody, ApiError> {
        let mut definition = definition.clone();
        let wanted = definition.remove("paused");
        let wanted = wanted.map(|paused| {
            let message = "paused must be true or false.";
            paused
                .as_bool()
                .ok_or_else(|| ApiError::invalid("paused", message))
        });
        let was = match before {
            Some(before) => content(before)?.terms.paused,
            None => None,
        };
        // State that the definition does not mention stays.
        let paused = match wanted.transpose()? {
            None => was,
            Some(false) => None,
            Some(true) => Some(was.unwrap_or_default()),
        };
        let text = serde_json::to_vec(&definition).expect("it was JSON");
        let form: SubscriptionCreate = parse_object(&text)?;
        match before {
            None => self.content_of(caller, id, form, paused),
            Some(before) => self.redefined(caller, before, form, paused),
        }
    }

    fn mask(&self, definition: &mut Map<String, Value>) -> Result<(), ApiError> {
        if let Some(Value::String(secret)) = definition.get_mut("secret") {
            *secret = self.mac(secret)?;
        }
        Ok(())
    }

    fn render(&self, setting: &Setting) -> Result<Value, ApiError> {
        let object = self.object(setting)?;
        Ok(serde_json::to_value(object).expect("an object is JSON"))
    }

    fn reveal(&self, setting: &Setting) -> Result<Option<String>, ApiError> {
        newest_secret(self.transport(), &subscription_of(setting)?)
    }

    fn begin(&self) {
        if let Some(transport) = self.transport() {
            transport.begin();
        }
    }
}

/// Returns the subscription that a setting defines.
pub fn subscription_of(setting: &Setting) -> Result<Subscription, ApiError> {
    Subscription::from_setting(setting).map_err(|error| unreadable(setting, &error.to_string()))
}

fn content(setting: &Setting) -> Result<SubscriptionContent, ApiError> {
    let content = SubscriptionContent::decode(setting.body.as_bytes());
    content.map_err(|error| unreadable(setting, &error.to_string()))
}

fn unreadable(setting: &Setting, why: &str) -> ApiError {
    tracing::error!(
        setting = setting.id.0,
        position = setting.changed.position,
        why
    );
    ApiError::new(
        ErrorCode::MessagingUnavailable,
        "This subscription was written by a later version of the server, which can read it.",
    )
}

/// Reads a name of a setting.
pub fn parse_slug(text: &str) -> Result<Slug, ApiError> {
    Slug::new(text).map_err(|_| {
        let message =
            "slug must be 1 to 64 of a-z, 0-9, dot, underscore and hyphen, and begin with a letter or a digit.";
        ApiError::invalid("slug", message)
    })
}

/// Reads the name of what manages a setting.
pub fn parse_manager(text: &str) -> Result<ManagedBy, ApiError> {
    ManagedBy::new(text)
        .map_err(|error| ApiError::invalid("managed_by", format!("managed_by {error}.")))
}

/// Returns the slug of a setting for which none was chosen: what follows the prefix of its id.
fn default_slug(reader: &Reader, id: SettingId) -> Slug {
    let id = reader.ids().encode_setting(SettingKind::SUBSCRIPTION, id);
    let (_, text) = id.split_once('_').expect("an id has a prefix");
    Slug::new(text).expect("an id is lowercase letters and digits")
}

/// Pauses a subscription in the system's own name. Returns the owner of the subscription; none if it is gone or paused already.
/// Blocks until the change is durable.
///
/// # Errors
/// If the ledger does not take the command.
pub fn pause_as_system(
    engine: &Engine,
    id: SubscriptionId,
    why: &str,
) -> Result<Option<OwnerId>, ApiError> {
    let reader = engine.reader();
    let Some(setting) = reader.setting(SettingId(id.0)) else {
        return Ok(None);
    };
    let asked = PutRequest {
        actor: Actor {
            owner: setting.owner,
            api_key: ApiKeyId::SYSTEM,
        },
        key: random_key(),
        request: request_digest("pause_subscription", Some(setting.id), &why),
        names_revision: false,
    };
    let paused = put_setting(engine, &asked, || {
        let newest = reader.setting(setting.id);
        let newest = newest.ok_or_else(subscription_not_found)?;
        let mut content = content(&newest)?;
        if content.terms.paused.is_some() {
            // Whoever paused it was faster.
            return Err(subscription_not_found());
        }
        content.terms.paused = Some(why.to_owned());
        let body = content.encode().map_err(bad_setting)?;
        Ok(Revision::after(&newest, body))
    });
    match paused {
        Ok(settled) => {
            let is_done = settled.record.outcome.is_accepted();
            Ok(is_done.then_some(setting.owner))
        }
        Err(error) if error.code() == ErrorCode::ResourceNotFound.as_str() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Policy of a new subscription whose events go to a broker: events of an object keep their order.
fn sink_policy() -> Policy {
    Policy {
        order: Order::Object,
        ..Policy::default()
    }
}
