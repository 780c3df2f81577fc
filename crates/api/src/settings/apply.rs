//! Settings as a file says: what to create, change and delete so that the system is as the file says.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tributary_engine::{Engine, Reader};
use tributary_ledger::{
    AMOUNT_MAX, LIMITS_PER_SUBJECT_MAX, LimitSubject, LimitTerms, ManagedBy, OwnerId, Rejection,
    Setting, SettingBody, SettingId, SettingKind, Slug,
};
use utoipa::ToSchema;

use super::rule_set::{count_at_work, is_at_work, too_many_at_work};
use super::subscription::{parse_manager, parse_slug};
use super::{
    PutRequest, Revision, SettingType, SettingTypes, accepted, delete_command, put_setting,
    random_key, random_setting_id, refusal, request_digest, submit,
};
use crate::caller::Caller;
use crate::code::ErrorCode;
use crate::error::ApiError;
use crate::risk::AT_WORK_MAX;

/// Maximum number of settings in one file.
pub const SETTINGS_PER_FILE_MAX: usize = 2_000;
/// Maximum number of deletions that need no `prune_max`.
pub const PRUNE_MAX_DEFAULT: u32 = 10;
/// Fields of an object that differ from one revision to the next in any case.
const VARYING_FIELDS: [&str; 3] = ["revision", "updated", "figures"];

/// Make the settings of the caller as a file says.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SettingsApply {
    /// Name of the file, 1 to 64 of `a-z 0-9 . _ -`: its settings are marked with it. Needed for `generation` and `prune`.
    #[serde(default)]
    managed_by: Option<String>,
    /// Generation of the file: an older one than was applied before is skipped. Needs a platform key.
    #[serde(default)]
    #[schema(maximum = 9007199254740991_u64)]
    generation: Option<u64>,
    /// Only say what would be done.
    #[serde(default)]
    dry_run: bool,
    /// Delete the settings that have this `managed_by` and are not in `settings`.
    #[serde(default)]
    prune: bool,
    /// Maximum number of deletions; 10 if left out.
    #[serde(default)]
    prune_max: Option<u32>,
    /// Complete definitions, each with its `kind` and `slug`.
    #[schema(value_type = Vec<Object>)]
    settings: Vec<Map<String, Value>>,
}

/// What is done to a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = AppliedAction)]
pub enum Action {
    /// The setting is created.
    Create,
    /// The setting gets another revision.
    Change,
    /// The setting is as the file says already.
    Keep,
    /// The setting is deleted.
    Delete,
}

/// One setting of a plan.
struct Step {
    /// What is done.
    action: Action,
    /// Kind of the setting.
    kind: Arc<dyn SettingType>,
    /// Name of the setting.
    slug: Slug,
    /// The setting as it is; none for one that is created.
    before: Option<Setting>,
    /// Fields that change.
    fields: Vec<String>,
    definition: Map<String, Value>,
    managed_by: Option<ManagedBy>,
    /// Whose payments a limit counts, that is created or deleted.
    limits: Option<LimitSubject>,
    /// Whether this is a rule set that is in shadow or active once the step is done.
    is_at_work: bool,
}

/// What makes the settings as a file says.
struct Plan {
    /// Name of the file.
    managed_by: Option<ManagedBy>,
    /// Generation of the file.
    generation: Option<u64>,
    /// Whether the file is older than one that was applied before: then there are no steps.
    is_outdated: bool,
    /// What is done, in this order.
    steps: Vec<Step>,
}

/// Content of a setting of kind `applied_file`.
#[derive(Serialize, Deserialize)]
struct AppliedFile {
    generation: u64,
}

/// Compares a file with what is there. Checks every definition.
fn plan(
    reader: &Reader,
    types: &SettingTypes,
    caller: &Caller,
    file: &SettingsApply,
) -> Result<Plan, ApiError> {
    let managed_by = file
        .managed_by
        .as_deref()
        .map(parse_file_name)
        .transpose()?;
    if managed_by.is_none() && (file.prune || file.generation.is_some()) {
        let message = "A file with a generation, or one that prunes, needs a managed_by.";
        return Err(ApiError::new(ErrorCode::ParameterMissing, message).param("managed_by"));
    }
    if file
        .generation
        .is_some_and(|generation| generation > AMOUNT_MAX)
    {
        let message = format!("generation must be an integer from 0 to {AMOUNT_MAX}.");
        return Err(ApiError::invalid("generation", message));
    }
    if file.generation.is_some() && !caller.is_platform() {
        let message = "Only a platform key may apply a file with a generation.";
        return Err(ApiError::new(ErrorCode::PlatformOnly, message).param("generation"));
    }
    if file.settings.len() > SETTINGS_PER_FILE_MAX {
        let message = format!("settings must be at most {SETTINGS_PER_FILE_MAX}.");
        return Err(ApiError::invalid("settings", message));
    }
    let mut plan = Plan {
        managed_by,
        generation: file.generation,
        is_outdated: false,
        steps: Vec::new(),
    };
    if let (Some(name), Some(generation)) = (&plan.managed_by, file.generation)
        && applied_generation(reader, name).is_some_and(|(_, applied)| applied > generation)
    {
        plan.is_outdated = true;
        return Ok(plan);
    }
    let mut named = BTreeSet::new();
    for (at, definition) in file.settings.iter().enumerate() {
        let step = step(reader, types, caller, plan.managed_by.clone(), definition)
            .map_err(|error| error.within(&format!("settings[{at}]")))?;
        if !named.insert((step.kind.kind(), step.slug.clone())) {
            let message = format!("The slug {} is in the file twice.", step.slug);
            return Err(ApiError::invalid(&format!("settings[{at}].slug"), message));
        }
        plan.steps.push(step);
    }
    if file.prune {
        let unnamed = unnamed(reader, types, caller, &plan, &named);
        let most = file.prune_max.unwrap_or(PRUNE_MAX_DEFAULT) as usize;
        if unnamed.len() > most && !file.dry_run {
            let message = format!(
                "{} settings would be deleted, and prune_max allows {most}.",
                unnamed.len()
            );
            return Err(ApiError::invalid("prune_max", message));
        }
        plan.steps.extend(unnamed);
    }
    plan.check_room(reader)?;
    plan.steps.sort_by_key(Step::turn);
    Ok(plan)
}

/// When a step is done: the one that comes first is done first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Turn {
    /// A limit ends, which makes room for others.
    EndOfLimit,
    /// A setting is put that others may name.
    Put,
    /// A rule set ends, or rests from now on, which makes room for others.
    EndOfRules,
    /// A rule set is put, which names streams, lists and models.
    PutOfRules,
    /// A setting ends that others may have named.
    End,
}

impl Step {
    /// Returns when the step is done. Steps with the same turn are done in the order of the file.
    fn turn(&self) -> Turn {
        let ends = self.action == Action::Delete;
        match self.kind.kind() {
            SettingKind::LIMIT if ends => Turn::EndOfLimit,
            SettingKind::RULE_SET if !self.is_at_work => Turn::EndOfRules,
            SettingKind::RULE_SET => Turn::PutOfRules,
            _ if ends => Turn::End,
            _ => Turn::Put,
        }
    }

    /// Whether this is a rule set that was in shadow or active.
    fn was_at_work(&self) -> bool {
        let before = self.before.as_ref();
        before.is_some_and(|before| is_at_work(before.kind, &before.body))
    }

    /// The setting as it is, if it exists.
    fn id(&self) -> Option<SettingId> {
        Some(self.before.as_ref()?.id)
    }
}

impl Plan {
    /// Checks that there is room for what the file puts, so that applying it does not end in the middle.
    ///
    /// # Errors
    /// The first setting for which there is none.
    fn check_room(&self, reader: &Reader) -> Result<(), ApiError> {
        self.check_room_for_limits(reader)?;
        self.check_room_for_rules(reader)
    }

    /// Checks that no account or owner gets more limits than it may have.
    fn check_room_for_limits(&self, reader: &Reader) -> Result<(), ApiError> {
        let gone = self.steps.iter();
        let gone = gone.filter(|step| step.turn() == Turn::EndOfLimit);
        let gone: Vec<SettingId> = gone.filter_map(Step::id).collect();
        let mut counts: BTreeMap<LimitSubject, usize> = BTreeMap::new();
        for (at, step) in self.steps.iter().enumerate() {
            let Some(subject) = step.limits.filter(|_| step.action == Action::Create) else {
                continue;
            };
            let count = counts.entry(subject).or_insert_with(|| {
                let there = reader.limits(Some(subject)).into_iter();
                there.filter(|limit| !gone.contains(&limit.id)).count()
            });
            *count += 1;
            if *count > LIMITS_PER_SUBJECT_MAX {
                let message = format!(
                    "The account or the owner would have more than {LIMITS_PER_SUBJECT_MAX} limits."
                );
                return Err(ApiError::invalid(&format!("settings[{at}]"), message));
            }
        }
        Ok(())
    }

    /// Checks that no more rule sets are in shadow or active than may be.
    fn check_room_for_rules(&self, reader: &Reader) -> Result<(), ApiError> {
        let resting = self.steps.iter();
        let resting = resting.filter(|step| step.was_at_work() && !step.is_at_work);
        let resting: Vec<SettingId> = resting.filter_map(Step::id).collect();
        let mut count = count_at_work(reader, |id| !resting.contains(&id));
        for (at, step) in self.steps.iter().enumerate() {
            if !step.is_at_work || step.was_at_work() {
                continue;
            }
            count += 1;
            if count > AT_WORK_MAX {
                return Err(too_many_at_work().within(&format!("settings[{at}]")));
            }
        }
        Ok(())
    }
}

/// Whose payments the body of a setting counts, if it is a limit.
fn limited(kind: SettingKind, body: &SettingBody) -> Option<LimitSubject> {
    let terms = (kind == SettingKind::LIMIT).then(|| LimitTerms::from_body(body.as_bytes()));
    Some(terms?.ok()?.subject)
}

fn parse_file_name(text: &str) -> Result<ManagedBy, ApiError> {
    if Slug::new(text).is_err() {
        let message = "managed_by must be 1 to 64 of a-z, 0-9, dot, underscore and hyphen, and begin with a letter or a digit.";
        return Err(ApiError::invalid("managed_by", message));
    }
    parse_manager(text)
}

/// What is to be done to be as one definition says.
fn step(
    reader: &Reader,
    types: &SettingTypes,
    caller: &Caller,
    managed_by: Option<ManagedBy>,
    definition: &Map<String, Value>,
) -> Result<Step, ApiError> {
    let mut definition = definition.clone();
    let kind = take_text(&mut definition, "kind")?;
    let slug = parse_slug(&take_text(&mut definition, "slug")?)?;
    let kind = types.find(&kind).ok_or_else(|| {
        let message = format!("There is no kind of setting named {kind}.");
        ApiError::invalid("kind", message)
    })?;
    let before = reader.setting_by_slug(caller.actor.owner, kind.kind(), &slug);
    if let Some(manager) = before
        .as_ref()
        .and_then(|before| before.managed_by.as_ref())
        && managed_by.as_ref() != Some(manager)
    {
        let message = format!(
            "This setting is managed by {manager}: change it there, or give it another slug."
        );
        return Err(ApiError::invalid("managed_by", message));
    }
    let id = before
        .as_ref()
        .map_or_else(random_setting_id, |before| before.id);
    let body = kind.define(caller, id, &slug, &definition, before.as_ref())?;
    let mut step = Step {
        action: Action::Create,
        kind: kind.clone(),
        slug,
        before,
        fields: Vec::new(),
        definition,
        managed_by,
        limits: limited(kind.kind(), &body),
        is_at_work: is_at_work(kind.kind(), &body),
    };
    step.compare(body)?;
    Ok(step)
}

fn take_text(definition: &mut Map<String, Value>, name: &'static str) -> Result<String, ApiError> {
    match definition.remove(name) {
        Some(Value::String(text)) => Ok(text),
        Some(_) => Err(ApiError::invalid(name, format!("{name} must be a text."))),
        None => {
            let message = format!("{name} is missing.");
            Err(ApiError::new(ErrorCode::ParameterMissing, message).param(name))
        }
    }
}

/// The settings that the file manages and does not name any more.
fn unnamed(
    reader: &Reader,
    types: &SettingTypes,
    caller: &Caller,
    plan: &Plan,
    named: &BTreeSet<(SettingKind, Slug)>,
) -> Vec<Step> {
    let mut steps = Vec::new();
    for kind in types.iter() {
        for setting in reader.settings(kind.kind(), Some(caller.actor.owner)) {
            let is_named = named.contains(&(setting.kind, setting.slug.clone()));
            if setting.managed_by.is_none() || setting.managed_by != plan.managed_by || is_named {
                continue;
            }
            steps.push(Step {
                action: Action::Delete,
                kind: kind.clone(),
                slug: setting.slug.clone(),
                limits: limited(setting.kind, &setting.body),
                is_at_work: false,
                before: Some(setting),
                fields: Vec::new(),
                definition: Map::new(),
                managed_by: None,
            });
        }
    }
    steps
}

impl Step {
    /// Finds out what differs between the setting and its definition, whose content is `body`.
    fn compare(&mut self, body: SettingBody) -> Result<(), ApiError> {
        let Some(before) = &self.before else {
            self.action = Action::Create;
            return Ok(());
        };
        let mut fields = Vec::new();
        if body != before.body {
            let after = Setting {
                body,
                ..before.clone()
            };
            let (old, new) = (self.kind.render(before)?, self.kind.render(&after)?);
            let (old, new) = (old.as_object(), new.as_object());
            let (old, new) = (old.expect("an object"), new.expect("an object"));
            let names = old.keys().chain(new.keys()).collect::<BTreeSet<_>>();
            let differs = |name: &&&String| {
                !VARYING_FIELDS.contains(&name.as_str()) && old.get(**name) != new.get(**name)
            };
            fields.extend(names.iter().filter(differs).map(|name| name.to_string()));
            // Secrets are not shown.
            let secrets = self.kind.changed_secrets(before, &after)?;
            fields.extend(secrets.into_iter().map(str::to_owned));
            if fields.is_empty() {
                fields.push("secret".to_owned());
            }
        }
        if self.managed_by != before.managed_by {
            fields.push("managed_by".to_owned());
        }
        self.action = match fields.is_empty() {
            true => Action::Keep,
            false => Action::Change,
        };
        self.fields = fields;
        Ok(())
    }

    /// Returns the revision that makes the setting as its definition says, as things are now.
    fn revision(&self, reader: &Reader, caller: &Caller) -> Result<Revision, ApiError> {
        let kind = self.kind.kind();
        let before = reader.setting_by_slug(caller.actor.owner, kind, &self.slug);
        let id = before
            .as_ref()
            .map_or_else(random_setting_id, |before| before.id);
        Ok(Revision {
            id,
            kind,
            slug: self.slug.clone(),
            managed_by: self.managed_by.clone(),
            replaces: before.as_ref().map_or(0, |before| before.revision),
            body: self
                .kind
                .define(caller, id, &self.slug, &self.definition, before.as_ref())?,
        })
    }

    /// Returns the digest of what the file asks for.
    fn digest(&self) -> Result<[u8; 16], ApiError> {
        let mut definition = self.definition.clone();
        self.kind.mask(&mut definition)?;
        let id: Option<SettingId> = self.before.as_ref().map(|before| before.id);
        Ok(request_digest(
            "apply_setting",
            id,
            &(self.slug.as_str(), definition),
        ))
    }
}

/// The setting that remembers which generation of a file was applied, and that generation.
fn applied_generation(reader: &Reader, name: &ManagedBy) -> Option<(Setting, u64)> {
    let slug = Slug::new(name.as_str()).ok()?;
    let kind = SettingKind::APPLIED_FILE;
    let setting = reader.setting_by_slug(OwnerId::PLATFORM, kind, &slug)?;
    let applied: AppliedFile = serde_json::from_slice(setting.body.as_bytes()).ok()?;
    Some((setting, applied.generation))
}

impl Plan {
    /// Returns the revision that remembers the generation of the file; none if there is nothing to remember.
    fn generation_revision(&self, reader: &Reader) -> Option<Revision> {
        let (name, generation) = (self.managed_by.as_ref()?, self.generation?);
        let before = applied_generation(reader, name);
        if before
            .as_ref()
            .is_some_and(|(_, applied)| *applied >= generation)
        {
            return None;
        }
        let body = serde_json::to_vec(&AppliedFile { generation }).expect("a number is JSON");
        let (id, replaces) = match before {
            Some((setting, _)) => (setting.id, setting.revision),
            None => (random_setting_id(), 0),
        };
        Some(Revision {
            id,
            kind: SettingKind::APPLIED_FILE,
            slug: Slug::new(name.as_str()).expect("checked in the plan"),
            managed_by: None,
            replaces,
            body: SettingBody::new(&body).expect("it is short"),
        })
    }
}

/// Makes the settings of the caller as a file says, or only says what would be done. Blocks until all records are durable.
///
/// # Errors
/// Before anything is done, if a definition is wrong; else if a step fails: the steps before it are done then, and applying the file
/// again does the rest.
pub fn apply(
    engine: &Engine,
    types: &SettingTypes,
    caller: &Caller,
    file: &SettingsApply,
) -> Result<AppliedObject, ApiError> {
    let reader = engine.reader();
    let plan = plan(&reader, types, caller, file)?;
    let mut settings = Vec::with_capacity(plan.steps.len());
    for step in &plan.steps {
        settings.push(match file.dry_run {
            true => AppliedSettingObject::new(&reader, step, None),
            false => step.execute(engine, caller)?,
        });
    }
    if !file.dry_run && !plan.is_outdated {
        plan.remember_generation(engine, caller)?;
    }
    Ok(AppliedObject::new(&plan, file.dry_run, settings))
}

impl Step {
    fn execute(&self, engine: &Engine, caller: &Caller) -> Result<AppliedSettingObject, ApiError> {
        let reader = engine.reader();
        match (self.action, &self.before) {
            (Action::Create | Action::Change, _) => self.put(engine, caller),
            (Action::Delete, Some(before)) => {
                let (actor, revision) = (caller.actor, before.revision);
                let delete = delete_command(actor, random_key(), before.id, before.kind, revision);
                let mut change = || submit(engine, delete.clone());
                let record = self.kind.with_parts(engine, actor, &mut change)?.record;
                match record.outcome.rejection {
                    // Somebody else deleted it.
                    None | Some(Rejection::SettingNotFound) => {
                        Ok(AppliedSettingObject::new(&reader, self, None))
                    }
                    Some(_) => Err(refusal(&reader, &record)),
                }
            }
            _ => Ok(AppliedSettingObject::new(&reader, self, None)),
        }
    }

    fn put(&self, engine: &Engine, caller: &Caller) -> Result<AppliedSettingObject, ApiError> {
        let reader = engine.reader();
        let asked = PutRequest {
            actor: caller.actor,
            key: random_key(),
            request: self.digest()?,
            names_revision: false,
        };
        let derive = || {
            let revision = self.revision(&reader, caller)?;
            self.kind
                .put_parts(engine, caller.actor, &self.definition)?;
            Ok(revision)
        };
        let mut change = || put_setting(engine, &asked, derive);
        let settled = self.kind.with_parts(engine, caller.actor, &mut change)?;
        let made = accepted(&reader, &settled.record)?;
        self.kind.begin();
        let is_created = self.action == Action::Create;
        let mut object = AppliedSettingObject::new(&reader, self, is_created.then_some(made.id));
        if is_created && !self.definition.contains_key("secret") {
            object.secret = self.kind.reveal(&made)?;
        }
        Ok(object)
    }
}

impl Plan {
    fn remember_generation(&self, engine: &Engine, caller: &Caller) -> Result<(), ApiError> {
        let reader = engine.reader();
        if self.generation_revision(&reader).is_none() {
            return Ok(());
        }
        let name = self.managed_by.as_ref().map(|name| name.as_str());
        let asked = PutRequest {
            actor: caller.actor,
            key: random_key(),
            request: request_digest("apply_generation", None, &(name, self.generation)),
            names_revision: false,
        };
        let settled = put_setting(engine, &asked, || {
            let revision = self.generation_revision(&reader);
            let message = "A later generation of the file was applied at the same time.";
            revision.ok_or_else(|| ApiError::invalid("generation", message))
        })?;
        accepted(&reader, &settled.record).map(|_| ())
    }
}

/// What was done, or would be done, to make settings as a file says.
#[derive(Serialize, ToSchema)]
#[schema(as = AppliedSettings)]
pub struct AppliedObject {
    #[schema(pattern = "^applied_settings$")]
    object: &'static str,
    #[schema(required)]
    managed_by: Option<String>,
    #[schema(required)]
    generation: Option<u64>,
    /// Whether nothing was done because a later generation of the file was applied before.
    skipped: bool,
    /// Whether nothing was done because the request asked only what would be done.
    dry_run: bool,
    created: usize,
    changed: usize,
    deleted: usize,
    kept: usize,
    /// The settings of the file and those that are deleted, in the order in which it is done.
    settings: Vec<AppliedSettingObject>,
}

/// What was done, or would be done, to one setting.
#[derive(Serialize, ToSchema)]
#[schema(as = AppliedSetting)]
pub struct AppliedSettingObject {
    action: Action,
    #[schema(value_type = String)]
    kind: &'static str,
    slug: String,
    /// Id of the setting; null for one that would be created.
    #[schema(required)]
    id: Option<String>,
    /// Fields that change.
    fields: Vec<String>,
    /// The secret that was made for the setting, because the file has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
}

impl AppliedSettingObject {
    /// Returns what is done to a setting. `id` is that of a setting that was created.
    fn new(reader: &Reader, step: &Step, id: Option<SettingId>) -> AppliedSettingObject {
        let id = id.or(step.before.as_ref().map(|before| before.id));
        let kind = step.kind.kind();
        AppliedSettingObject {
            action: step.action,
            kind: kind.name(),
            slug: step.slug.to_string(),
            id: id.map(|id| reader.ids().encode_setting(kind, id)),
            fields: step.fields.clone(),
            secret: None,
        }
    }
}

impl AppliedObject {
    /// Returns what was done by a plan, or would be done.
    fn new(plan: &Plan, dry_run: bool, settings: Vec<AppliedSettingObject>) -> AppliedObject {
        let count = |action| settings.iter().filter(|one| one.action == action).count();
        AppliedObject {
            object: "applied_settings",
            managed_by: plan.managed_by.as_ref().map(ToString::to_string),
            generation: plan.generation,
            skipped: plan.is_outdated,
            dry_run,
            created: count(Action::Create),
            changed: count(Action::Change),
            deleted: count(Action::Delete),
            kept: count(Action::Keep),
            settings,
        }
    }
}
