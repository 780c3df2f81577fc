//! Owners as objects, and updates of the text of objects, written a second time from the documents.

use tributary_ledger as ledger;
use tributary_ledger::{
    Body, Command, CreateOwner, ObjectId, OwnerKind, OwnerProfile, OwnerStatus, Rejection, Update,
    Updated, WorkingSet,
};

use super::{Model, PLATFORM};

/// Where the text of an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Text {
    /// Number of updates, and one.
    pub revision: u64,
    /// Position of the record with the description; 0 = the creation.
    pub description_at: u64,
    /// Position of the record with the metadata; 0 = the creation.
    pub metadata_at: u64,
    /// Position of the last update.
    pub changed_at: u64,
}

/// What is known of an owner.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Profile {
    /// Kind.
    pub kind: Option<OwnerKind>,
    /// Whether no accounts and API keys are made for the owner.
    pub inactive: bool,
    /// External id.
    pub external_id: Option<String>,
}

/// Details of an account or an owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Details {
    /// Text.
    pub text: Text,
    /// What is known; accounts have an empty profile.
    pub profile: Profile,
}

impl Text {
    fn updated(before: Option<Text>, update: &Update, position: u64) -> Text {
        let mut text = before.unwrap_or(Text {
            revision: 1,
            description_at: 0,
            metadata_at: 0,
            changed_at: 0,
        });
        text.revision += 1;
        text.changed_at = position;
        if update.description {
            text.description_at = position;
        }
        if update.metadata {
            text.metadata_at = position;
        }
        text
    }
}

impl Model {
    /// Performs an accepted creation of an owner.
    pub(super) fn create_owner(&mut self, create: &CreateOwner, position: u64) {
        let name = create.name.as_str().to_owned();
        self.state.owners.insert(name, position);
        let profile = Profile {
            kind: create.profile.kind,
            inactive: create.profile.status == OwnerStatus::Inactive,
            external_id: create.profile.external_id.as_ref().map(ToString::to_string),
        };
        let text = Text {
            revision: 1,
            description_at: position,
            metadata_at: position,
            changed_at: position,
        };
        let object = ObjectId::Owner(ledger::OwnerId(position));
        self.state.details.insert(object, Details { text, profile });
    }

    /// Performs an accepted update.
    pub(super) fn update(&mut self, update: &Update, position: u64) {
        if let Updated::Payment(id) = update.object {
            let payment = self.state.payments.get_mut(&id.0).expect("it exists");
            payment.text = Some(Text::updated(payment.text, update, position));
            payment.changed_at = position;
            return;
        }
        let object = update.object.object();
        let before = self.state.details.get(&object);
        let text = Text::updated(before.map(|before| before.text), update, position);
        let mut profile = before.map_or_else(Profile::default, |before| before.profile.clone());
        if let Updated::Owner(_, change) = &update.object {
            if change.kind.is_some() {
                profile.kind = change.kind;
            }
            if let Some(status) = change.status {
                profile.inactive = status == OwnerStatus::Inactive;
            }
            if let Some(external_id) = &change.external_id {
                profile.external_id = external_id.as_ref().map(ToString::to_string);
            }
        }
        self.state.details.insert(object, Details { text, profile });
    }

    /// Returns the owner with this external id.
    fn owner_by_external_id(&self, external_id: &str) -> Option<ObjectId> {
        let mut details = self.state.details.iter();
        let known = |details: &Details| details.profile.external_id.as_deref() == Some(external_id);
        details.find(|(_, one)| known(one)).map(|(id, _)| *id)
    }

    /// Returns the reasons against the creation of an owner.
    pub(super) fn reasons_against_owner(
        &self,
        create: &CreateOwner,
        actor: u64,
    ) -> Vec<(bool, Rejection)> {
        let external_id = create.profile.external_id.as_ref();
        let holder = external_id.and_then(|id| self.owner_by_external_id(id.as_str()));
        let known = self.state.owners.contains_key(create.name.as_str());
        vec![
            (actor != PLATFORM, Rejection::Forbidden),
            (known, Rejection::OwnerExists),
            (holder.is_some(), Rejection::OwnerExternalIdInUse),
        ]
    }

    /// Returns the reasons against an update.
    pub(super) fn reasons_against_update(
        &self,
        update: &Update,
        actor: u64,
    ) -> Vec<(bool, Rejection)> {
        let (missing, owner) = match &update.object {
            Updated::Account(id) => {
                let account = self.state.accounts.get(&id.0);
                (Rejection::AccountNotFound, account.map(|found| found.owner))
            }
            Updated::Payment(id) => {
                let payment = self.state.payments.get(&id.0);
                let asked_by = payment.map(|found| found.actor.owner.0);
                (Rejection::PaymentNotFound, asked_by)
            }
            Updated::Owner(id, _) => {
                let known = self.state.owners.values().any(|known| *known == id.0);
                (Rejection::OwnerNotFound, known.then_some(id.0))
            }
        };
        let mut reasons = vec![
            (owner.is_none(), missing),
            (
                actor != PLATFORM && owner != Some(actor),
                Rejection::Forbidden,
            ),
        ];
        if let Updated::Owner(id, change) = &update.object {
            let known_of = !change.is_empty();
            reasons.push((actor != PLATFORM && known_of, Rejection::Forbidden));
            let wanted = change.external_id.as_ref().and_then(Option::as_ref);
            let holder = wanted.and_then(|wanted| self.owner_by_external_id(wanted.as_str()));
            let other = holder.is_some_and(|holder| holder != ObjectId::Owner(*id));
            reasons.push((other, Rejection::OwnerExternalIdInUse));
        }
        reasons
    }

    /// Returns the owner of the setting that the command names.
    pub(super) fn setting_owner(&self, command: &Command) -> Option<u64> {
        let id = match &command.body {
            Body::PutSetting(put) => put.id,
            Body::DeleteSetting(delete) => delete.id,
            _ => return None,
        };
        self.state.settings.get(&id.0).map(|setting| setting.owner)
    }

    /// Returns the owners of whom a record is an event that touches no account. `deleted`: the owner of the setting before.
    pub(super) fn owners_concerned(
        &self,
        command: &Command,
        accepted: bool,
        deleted: Option<u64>,
    ) -> Vec<u64> {
        let mut owners = vec![command.actor.owner.0];
        owners.retain(|owner| *owner != PLATFORM);
        if !accepted {
            return owners;
        }
        let owner_of = |id: u64| self.state.accounts.get(&id).map(|found| found.owner);
        match &command.body {
            Body::CreateOwner(create) => owners.push(self.state.owners[create.name.as_str()]),
            Body::Update(update) => match &update.object {
                Updated::Owner(id, _) => owners.push(id.0),
                Updated::Account(id) => owners.extend(owner_of(id.0)),
                Updated::Payment(id) => {
                    let payment = &self.state.payments[&id.0];
                    owners.extend(self.viewers(payment));
                }
            },
            Body::PutSetting(_) | Body::DeleteSetting(_) => {
                owners.extend(deleted.or_else(|| self.setting_owner(command)));
            }
            _ => {}
        }
        owners
    }

    /// Returns whether no accounts and API keys are made for the owner with this name.
    pub(super) fn is_inactive(&self, name: &str) -> bool {
        let id = self.state.owners.get(name).copied();
        let object = id.map(|id| ObjectId::Owner(ledger::OwnerId(id)));
        let details = object.and_then(|object| self.state.details.get(&object));
        id != Some(PLATFORM) && details.is_some_and(|details| details.profile.inactive)
    }
}

fn text(state: &ledger::TextState) -> Text {
    Text {
        revision: state.revision,
        description_at: state.description_at,
        metadata_at: state.metadata_at,
        changed_at: state.changed_at,
    }
}

/// Returns the ledger's text of a payment as the model has it.
pub(super) fn text_of(payment: &ledger::Payment) -> Option<Text> {
    payment.text.as_deref().map(text)
}

/// Checks the details in a set against the model's. The error names the difference.
pub(super) fn check_details(model: &Model, set: &WorkingSet) -> Result<(), String> {
    let found = set.all_details().count();
    if found != model.state.details.len() {
        let expected = model.state.details.len();
        return Err(format!(
            "the ledger has {found} details, the model {expected}"
        ));
    }
    for (object, expected) in &model.state.details {
        let details = set.details(*object);
        let details = details.ok_or_else(|| format!("details of {object:?} are missing"))?;
        let known = OwnerProfile::default();
        let profile = details.profile.as_deref().unwrap_or(&known);
        let real = Details {
            text: text(&details.text),
            profile: Profile {
                kind: profile.kind,
                inactive: profile.status == OwnerStatus::Inactive,
                external_id: profile.external_id.as_ref().map(ToString::to_string),
            },
        };
        if real != *expected {
            return Err(format!(
                "details of {object:?}: the ledger has {real:?}, the model {expected:?}"
            ));
        }
        let named = profile.external_id.as_ref();
        let holder = named.and_then(|named| set.owner_by_external_id(named));
        if holder.map(ObjectId::Owner) != named.map(|_| *object) {
            return Err(format!("the external id of {object:?} names {holder:?}"));
        }
    }
    Ok(())
}
