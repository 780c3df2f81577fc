//! Owners as objects, and updates of what objects say: a field that is left out keeps its value, null removes it.

use serde::{Deserialize, Serialize};
use tributary_engine::{IdKind, Ids, Reader};
use tributary_ledger::{
    AccountId, Body, CreateOwner, OwnerId, OwnerKind, OwnerProfile, OwnerStatus, PaymentId,
    ProfileChange, Update, Updated,
};
use utoipa::ToSchema;

use crate::caller::Caller;
use crate::code::ErrorCode;
use crate::draft::CommandDraft;
use crate::error::ApiError;
use crate::form::json::given;
use crate::form::request::{notes, payment};
use crate::form::value::{
    AccountText, DescriptionText, ExternalIdText, MetadataForm, OwnerText, PaymentText,
};
use crate::visibility::visible_owner;

/// Create an owner, before its first account or API key.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OwnerCreate {
    /// Name of the owner, which never changes.
    name: OwnerText,
    /// Kind of owner; not known if left out.
    kind: Option<OwnerKindForm>,
    /// Name of the owner in your own systems, unique among owners.
    external_id: Option<ExternalIdText>,
    description: Option<DescriptionText>,
    metadata: Option<MetadataForm>,
}

/// Update an owner. A field that is left out keeps its value.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OwnerUpdate {
    /// Kind of owner. Platform keys only.
    kind: Option<OwnerKindForm>,
    /// Whether new accounts and API keys can be made for the owner. Platform keys only.
    status: Option<OwnerStatusForm>,
    /// Name of the owner in your own systems, unique among owners; null removes it. Platform keys only.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<ExternalIdText>)]
    external_id: Option<Option<ExternalIdText>>,
    /// New description; null removes it.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<DescriptionText>)]
    description: Option<Option<DescriptionText>>,
    /// New metadata, in place of all that there was; null removes all.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<MetadataForm>)]
    metadata: Option<Option<MetadataForm>>,
}

/// Update the text of an account or a payment. A field that is left out keeps its value.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TextUpdate {
    /// New description; null removes it.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<DescriptionText>)]
    description: Option<Option<DescriptionText>>,
    /// New metadata, in place of all that there was; null removes all.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<MetadataForm>)]
    metadata: Option<Option<MetadataForm>>,
}

/// Update an account, within a batch. A field that is left out keeps its value.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BatchAccountUpdate {
    account: AccountText,
    /// New description; null removes it.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<DescriptionText>)]
    description: Option<Option<DescriptionText>>,
    /// New metadata, in place of all that there was; null removes all.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<MetadataForm>)]
    metadata: Option<Option<MetadataForm>>,
}

/// Update a payment, within a batch. A field that is left out keeps its value.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BatchPaymentUpdate {
    payment: PaymentText,
    /// New description; null removes it.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<DescriptionText>)]
    description: Option<Option<DescriptionText>>,
    /// New metadata, in place of all that there was; null removes all.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<MetadataForm>)]
    metadata: Option<Option<MetadataForm>>,
}

/// Update an owner, within a batch. A field that is left out keeps its value.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BatchOwnerUpdate {
    owner: OwnerText,
    /// Kind of owner. Platform keys only.
    kind: Option<OwnerKindForm>,
    /// Whether new accounts and API keys can be made for the owner. Platform keys only.
    status: Option<OwnerStatusForm>,
    /// Name of the owner in your own systems, unique among owners; null removes it. Platform keys only.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<ExternalIdText>)]
    external_id: Option<Option<ExternalIdText>>,
    /// New description; null removes it.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<DescriptionText>)]
    description: Option<Option<DescriptionText>>,
    /// New metadata, in place of all that there was; null removes all.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<MetadataForm>)]
    metadata: Option<Option<MetadataForm>>,
}

/// Kind of owner that can be given.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, ToSchema, PartialEq)]
#[serde(rename_all = "snake_case")]
#[schema(as = OwnerKind)]
pub enum OwnerKindForm {
    /// A natural person.
    Person,
    /// A company or another organisation.
    Company,
}

/// Status of an owner.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, ToSchema, PartialEq)]
#[serde(rename_all = "snake_case")]
#[schema(as = OwnerStatus)]
pub enum OwnerStatusForm {
    /// New accounts and API keys can be made for the owner.
    Active,
    /// No new accounts and API keys can be made for the owner; those that exist go on.
    Inactive,
}

impl OwnerKindForm {
    /// Returns the ledger's value.
    pub fn ledger(self) -> OwnerKind {
        match self {
            OwnerKindForm::Person => OwnerKind::Person,
            OwnerKindForm::Company => OwnerKind::Company,
        }
    }
}

impl OwnerStatusForm {
    /// Returns the ledger's value.
    pub fn ledger(self) -> OwnerStatus {
        match self {
            OwnerStatusForm::Active => OwnerStatus::Active,
            OwnerStatusForm::Inactive => OwnerStatus::Inactive,
        }
    }

    /// Returns the form of a status.
    pub fn new(status: OwnerStatus) -> OwnerStatusForm {
        match status {
            OwnerStatus::Active => OwnerStatusForm::Active,
            OwnerStatus::Inactive => OwnerStatusForm::Inactive,
        }
    }
}

impl OwnerCreate {
    /// Returns the draft to create the owner.
    pub fn into_draft(self) -> Result<CommandDraft, ApiError> {
        let create = CreateOwner {
            name: self.name.0,
            profile: OwnerProfile {
                kind: self.kind.map(OwnerKindForm::ledger),
                status: OwnerStatus::Active,
                external_id: self.external_id.map(|text| text.0),
            },
        };
        let text = notes(self.description, self.metadata)?;
        CommandDraft::new(Body::CreateOwner(Box::new(create))).with_notes(None, text)
    }
}

/// New description and metadata of an object; none keeps what is there, `Some(None)` removes it.
#[derive(Debug, Default)]
pub struct TextChange {
    /// Description.
    pub description: Option<Option<DescriptionText>>,
    /// Metadata.
    pub metadata: Option<Option<MetadataForm>>,
}

impl TextChange {
    /// Returns the draft of an update.
    ///
    /// # Errors
    /// If nothing changes, or the text is too long.
    pub fn into_draft(self, object: Updated) -> Result<CommandDraft, ApiError> {
        let (description, metadata) = (self.description.is_some(), self.metadata.is_some());
        let other = matches!(&object, Updated::Owner(_, change) if !change.is_empty());
        if !description && !metadata && !other {
            let message = "Give what changes: description, metadata or another field.";
            return Err(ApiError::new(ErrorCode::ParameterMissing, message).param("description"));
        }
        let text = notes(self.description.flatten(), self.metadata.flatten())?;
        let update = Update {
            object,
            description,
            metadata,
        };
        CommandDraft::new(Body::Update(Box::new(update))).with_notes(None, text)
    }
}

impl TextUpdate {
    /// Returns the draft to update an account.
    pub fn of_account(self, account: AccountId) -> Result<CommandDraft, ApiError> {
        self.change().into_draft(Updated::Account(account))
    }

    /// Returns the draft to update a payment.
    pub fn of_payment(self, payment: PaymentId) -> Result<CommandDraft, ApiError> {
        self.change().into_draft(Updated::Payment(payment))
    }

    fn change(self) -> TextChange {
        TextChange {
            description: self.description,
            metadata: self.metadata,
        }
    }
}

impl BatchAccountUpdate {
    /// Returns the draft to update the account.
    pub fn into_draft(self, ids: &Ids) -> Result<CommandDraft, ApiError> {
        let position = ids.position_of(IdKind::Account, self.account.0);
        let account = position.ok_or_else(|| ApiError::not_found("account", "account"))?;
        let change = TextChange {
            description: self.description,
            metadata: self.metadata,
        };
        change.into_draft(Updated::Account(AccountId(account)))
    }
}

impl BatchPaymentUpdate {
    /// Returns the draft to update the payment.
    pub fn into_draft(self, ids: &Ids) -> Result<CommandDraft, ApiError> {
        let change = TextChange {
            description: self.description,
            metadata: self.metadata,
        };
        change.into_draft(Updated::Payment(payment(ids, &self.payment)?))
    }
}

impl OwnerUpdate {
    /// Returns the draft to update an owner.
    pub fn into_draft(self, owner: OwnerId) -> Result<CommandDraft, ApiError> {
        let change = ProfileChange {
            kind: self.kind.map(OwnerKindForm::ledger),
            status: self.status.map(OwnerStatusForm::ledger),
            external_id: self.external_id.map(|id| id.map(|text| text.0)),
        };
        let text = TextChange {
            description: self.description,
            metadata: self.metadata,
        };
        draft_owner_update(owner, change, text)
    }
}

impl BatchOwnerUpdate {
    /// Returns the draft to update the owner.
    pub fn into_draft(self, reader: &Reader, caller: &Caller) -> Result<CommandDraft, ApiError> {
        let owner = visible_owner(reader, caller, &self.owner.0, "owner")?;
        let update = OwnerUpdate {
            kind: self.kind,
            status: self.status,
            external_id: self.external_id,
            description: self.description,
            metadata: self.metadata,
        };
        update.into_draft(owner)
    }
}

/// Returns the draft to update an owner.
///
/// # Errors
/// If nothing changes, the text is too long, or a kind or status is given for the platform.
pub fn draft_owner_update(
    owner: OwnerId,
    change: ProfileChange,
    text: TextChange,
) -> Result<CommandDraft, ApiError> {
    if owner == OwnerId::PLATFORM {
        for (given, field) in [
            (change.kind.is_some(), "kind"),
            (change.status.is_some(), "status"),
        ] {
            if given {
                let message = format!("The {field} of the platform can't be changed.");
                return Err(ApiError::invalid(field, message));
            }
        }
    }
    text.into_draft(Updated::Owner(owner, change))
}
