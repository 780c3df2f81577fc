//! The bodies of requests about payments in review.

use serde::Deserialize;
use tributary_engine::{IdKind, Ids};
use tributary_ledger::{Approve, Body, Investigate, PaymentId, RiskLabel};
use utoipa::ToSchema;

use crate::draft::CommandDraft;
use crate::error::ApiError;
use crate::form::json::given;
use crate::form::request::notes;
use crate::form::value::{DescriptionText, LabelText, MetadataForm};

/// Approve a payment that is in review.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PaymentApprove {
    /// `challenge` of the payment: its payer confirmed it to you, by whatever you trust. Left out, the platform approves it.
    challenge: Option<String>,
}

/// Say who looks into a payment, and what it was. A field that is left out keeps its value.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CaseUpdate {
    /// `investigating` while somebody looks into it; only while the payment is in review.
    state: Option<OpenCaseState>,
    /// The person or team who does; null for nobody. Only while the payment is in review.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<LabelText>)]
    assignee: Option<Option<LabelText>>,
    /// What the payment was, as far as you know now. Any payment can have one, also years later.
    label: Option<RiskLabelForm>,
    /// A note for the payment's timeline, which only the platform sees.
    note: Option<DescriptionText>,
    /// Names and addresses of what belongs to it, such as a ticket; they go with the note.
    links: Option<MetadataForm>,
}

/// Where a case stands while its payment is in review.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema, PartialEq)]
#[serde(rename_all = "snake_case")]
pub enum OpenCaseState {
    /// Nobody has begun.
    Open,
    /// Somebody is looking into it.
    Investigating,
}

/// What a payment was.
#[derive(Clone, Copy, Debug, Deserialize, serde::Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = RiskLabel)]
pub enum RiskLabelForm {
    /// Fraud.
    Fraud,
    /// No fraud.
    Genuine,
}

impl RiskLabelForm {
    /// Returns the form of a label.
    pub fn new(label: RiskLabel) -> RiskLabelForm {
        match label {
            RiskLabel::Fraud => RiskLabelForm::Fraud,
            RiskLabel::Genuine => RiskLabelForm::Genuine,
        }
    }

    fn ledger(self) -> RiskLabel {
        match self {
            RiskLabelForm::Fraud => RiskLabel::Fraud,
            RiskLabelForm::Genuine => RiskLabel::Genuine,
        }
    }
}

impl PaymentApprove {
    /// The draft to approve `payment`.
    ///
    /// # Errors
    /// If the challenge is not that of the payment.
    pub fn into_draft(self, ids: &Ids, payment: PaymentId) -> Result<CommandDraft, ApiError> {
        if let Some(challenge) = &self.challenge
            && ids.decode(IdKind::Challenge, challenge) != Some(payment.0)
        {
            let message = "challenge must be that of the payment, as the payment shows it.";
            return Err(ApiError::invalid("challenge", message));
        }
        Ok(CommandDraft::new(Body::Approve(Approve {
            payment,
            by_payer: self.challenge.is_some(),
        })))
    }
}

impl CaseUpdate {
    /// The draft to record this about `payment`.
    ///
    /// # Errors
    /// If nothing is given, or the note and the links are too long.
    pub fn into_draft(self, payment: PaymentId) -> Result<CommandDraft, ApiError> {
        let text = notes(self.note, self.links)?;
        let found = Investigate {
            payment,
            investigating: self
                .state
                .map(|state| state == OpenCaseState::Investigating),
            assignee: self.assignee.map(|name| name.map(|name| name.0)),
            label: self.label.map(RiskLabelForm::ledger),
        };
        let says_nothing =
            found.investigating.is_none() && found.assignee.is_none() && found.label.is_none();
        if says_nothing && text.is_none() {
            let message = "Give state, assignee, label, note or links.";
            return Err(ApiError::invalid("state", message));
        }
        CommandDraft::new(Body::Investigate(Box::new(found))).with_notes(None, text)
    }
}
