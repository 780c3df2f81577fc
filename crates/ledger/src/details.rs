//! Details of objects that can change without any money: descriptions, metadata, and what is known of an owner.
//!
//! A text is not resident: [`TextState`] has the positions of the records that hold it. Objects that were never updated, and owners
//! that were never described, have no details.

use crate::{AccountId, Context, ExternalId, OwnerId, PaymentId};

/// An object whose details can be updated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ObjectId {
    /// An account.
    Account(AccountId),
    /// A payment.
    Payment(PaymentId),
    /// An owner.
    Owner(OwnerId),
}

/// Where the newest description and metadata of an object are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TextState {
    /// Revision of the object: 1 when it was created, and one more with each update.
    pub revision: u64,
    /// Position of the record that has the description; 0 = the record that created the object.
    pub description_at: u64,
    /// Position of the record that has the metadata; 0 = the record that created the object.
    pub metadata_at: u64,
    /// Position of the record that made this revision.
    pub changed_at: u64,
}

impl TextState {
    /// Returns the state after an update at `ctx` that gives a description, metadata, or both. `before`: the state before; none = the object was
    /// never updated.
    pub(crate) fn after(
        before: Option<TextState>,
        description: bool,
        metadata: bool,
        ctx: Context,
    ) -> TextState {
        let before = before.unwrap_or(TextState {
            revision: 1,
            description_at: 0,
            metadata_at: 0,
            changed_at: 0,
        });
        let at = |given: bool, before: u64| if given { ctx.position } else { before };
        TextState {
            revision: before.revision + 1,
            description_at: at(description, before.description_at),
            metadata_at: at(metadata, before.metadata_at),
            changed_at: ctx.position,
        }
    }
}

/// Kind of an owner. The platform has none: it is known by its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum OwnerKind {
    /// A natural person.
    Person = 1,
    /// A company or another organisation.
    Company = 2,
}

/// Whether new accounts and API keys can be made for an owner.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum OwnerStatus {
    /// New accounts and API keys can be made for the owner.
    #[default]
    Active = 1,
    /// No new accounts and API keys can be made for the owner. Accounts and keys that exist are not concerned.
    Inactive = 2,
}

/// What is known of an owner.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnerProfile {
    /// Kind, if it was ever given.
    pub kind: Option<OwnerKind>,
    /// Status.
    pub status: OwnerStatus,
    /// Name that the platform's own systems give to the owner, unique among owners.
    pub external_id: Option<ExternalId>,
}

/// Change of what is known of an owner. None of a field keeps it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProfileChange {
    /// New kind.
    pub kind: Option<OwnerKind>,
    /// New status.
    pub status: Option<OwnerStatus>,
    /// New external id; `Some(None)` removes it.
    pub external_id: Option<Option<ExternalId>>,
}

impl ProfileChange {
    /// Returns whether the change changes nothing.
    pub fn is_empty(&self) -> bool {
        *self == ProfileChange::default()
    }

    /// Returns the profile after the change.
    pub(crate) fn applied_to(&self, before: &OwnerProfile) -> OwnerProfile {
        OwnerProfile {
            kind: self.kind.or(before.kind),
            status: self.status.unwrap_or(before.status),
            external_id: match &self.external_id {
                Some(given) => given.clone(),
                None => before.external_id.clone(),
            },
        }
    }
}

/// Details of an account or an owner after their last change. Those of a payment are a part of the payment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Details {
    /// Account or owner, never a payment.
    pub object: ObjectId,
    /// Where the text is.
    pub text: TextState,
    /// What is known of the owner; none for an account.
    pub profile: Option<Box<OwnerProfile>>,
}

/// What an update concerns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Updated {
    /// The text of an account.
    Account(AccountId),
    /// The text of a payment.
    Payment(PaymentId),
    /// The text of an owner, and what is known of the owner.
    Owner(OwnerId, ProfileChange),
}

impl Updated {
    /// Returns the object.
    pub fn object(&self) -> ObjectId {
        match self {
            Updated::Account(id) => ObjectId::Account(*id),
            Updated::Payment(id) => ObjectId::Payment(*id),
            Updated::Owner(id, _) => ObjectId::Owner(*id),
        }
    }
}

impl ObjectId {
    /// Returns the number of the object among those of its kind.
    pub fn number(self) -> u64 {
        match self {
            ObjectId::Account(id) => id.0,
            ObjectId::Payment(id) => id.0,
            ObjectId::Owner(id) => id.0,
        }
    }
}

impl OwnerKind {
    /// Returns the value with this stored number, if there is one.
    pub fn from_number(number: u8) -> Option<Self> {
        [Self::Person, Self::Company]
            .into_iter()
            .find(|kind| *kind as u8 == number)
    }
}

impl OwnerStatus {
    /// Returns the value with this stored number, if there is one.
    pub fn from_number(number: u8) -> Option<Self> {
        [Self::Active, Self::Inactive]
            .into_iter()
            .find(|status| *status as u8 == number)
    }
}
