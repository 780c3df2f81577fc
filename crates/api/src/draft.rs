//! Drafts of commands, as every interface reads them: a command without its caller and its idempotency key.

use tributary_ledger::{
    AccountId, Actor, Body, Command, Currency, Date, Destination, Fee, Fees, Hold, Key, OwnerId,
    Pay, Payees, PaymentKind, Queue, Reason, Reference, SHARES_MAX, Share, Text, Updated,
};

use crate::code::ErrorCode;
use crate::error::ApiError;

/// A command that a caller asks for, without the caller and the idempotency key.
#[derive(Clone, Debug)]
pub struct CommandDraft {
    /// Operation and arguments.
    pub body: Body,
    /// The date of the business, if given.
    pub effective_at: Option<Date>,
    /// Description and metadata.
    pub text: Option<Text>,
    /// Field or parameter that names the account or payment that the command is about.
    pub subject: &'static str,
}

impl CommandDraft {
    /// A draft that has no text and no date.
    pub fn new(body: Body) -> CommandDraft {
        let subject = match body {
            Body::Pay(_) => "source",
            Body::Capture(_)
            | Body::Void(_)
            | Body::Refund(_)
            | Body::Approve(_)
            | Body::Investigate(_) => "payment",
            Body::SettlePayout(_) | Body::ReturnPayout(_) => "payout",
            Body::FreezeAccount(_) | Body::UnfreezeAccount(_) | Body::CloseAccount(_) => "account",
            Body::Update(ref update) => match update.object {
                Updated::Account(_) => "account",
                Updated::Payment(_) => "payment",
                Updated::Owner(..) => "owner",
            },
            _ => "",
        };
        CommandDraft {
            body,
            effective_at: None,
            text: None,
            subject,
        }
    }

    /// Returns the command of an actor who asks for the draft under `key`. It has no origin: whoever makes commands of messages sets
    /// [`Command::origin`] before the command is submitted, which changes neither its digest nor what the caller may do.
    #[inline]
    pub fn into_command(self, actor: Actor, key: Key, linked: bool) -> Command {
        Command {
            key,
            actor,
            linked,
            effective_at: self.effective_at,
            text: self.text,
            origin: None,
            assessment: None,
            body: self.body,
        }
    }

    /// Returns the draft with a date and a text, as [`CommandDraft::set_notes`] sets them.
    ///
    /// # Errors
    /// As there.
    pub fn with_notes(
        mut self,
        effective_at: Option<Date>,
        text: Option<Text>,
    ) -> Result<CommandDraft, ApiError> {
        self.set_notes(effective_at, text)?;
        Ok(self)
    }

    /// Sets the date and the text. Neither goes with every command.
    ///
    /// # Errors
    /// If the command takes no date, or no text.
    pub fn set_notes(
        &mut self,
        effective_at: Option<Date>,
        text: Option<Text>,
    ) -> Result<(), ApiError> {
        let moves = matches!(
            self.body,
            Body::Pay(_) | Body::Refund(_) | Body::ReturnPayout(_)
        );
        if effective_at.is_some() && !moves {
            let message = "effective_at goes with payments, refunds and returns of payouts only.";
            return Err(ApiError::invalid("effective_at", message));
        }
        let takes_text = matches!(
            self.body,
            Body::OpenAccount(_) | Body::CreateOwner(_) | Body::Update(_) | Body::Investigate(_)
        );
        if text.is_some() && !moves && !takes_text {
            let message = "description and metadata go with payments, refunds, returns of payouts, new accounts, owners and updates only.";
            return Err(ApiError::invalid("description", message));
        }
        self.effective_at = effective_at;
        self.text = text;
        Ok(())
    }

    /// Returns the draft of a caller who named its subject by the id in the path.
    pub fn named_by_path(mut self) -> CommandDraft {
        self.subject = "id";
        self
    }

    /// Returns the draft of a caller who would rather not wait, if so: a payment is queued then.
    pub fn queued_if(mut self, not_now: bool) -> CommandDraft {
        if let Body::Pay(pay) = &mut self.body
            && not_now
        {
            pay.queue.get_or_insert_default();
        }
        self
    }
}

/// The parts of a payment as an interface has read them, before it is known that they go together.
#[derive(Debug)]
pub struct PaymentParts {
    /// Kind of payment.
    pub kind: PaymentKind,
    /// Account that pays.
    pub source: AccountId,
    /// The one payee.
    pub destination: Option<AccountId>,
    /// Several payees.
    pub splits: Option<Vec<Share>>,
    /// The fees.
    pub fees: Vec<Fee>,
    /// Total amount, in minor units.
    pub amount: u64,
    /// Of the amount.
    pub currency: Currency,
    /// When a hold comes due, if the money is only held.
    pub hold: Option<Hold>,
    /// Whether a payout is recorded as paid already. Any other payout is held until the platform settles it.
    pub paid: bool,
    /// The requester's own name for the payment.
    pub reference: Option<Reference>,
    /// Owner for whom the reference is unique; none = the requester.
    pub reference_scope: Option<OwnerId>,
    /// Why an adjustment was made.
    pub reason: Option<Reason>,
    /// How the payment is queued, if it is.
    pub queue: Option<Box<Queue>>,
}

impl PaymentParts {
    /// Returns the draft of the payment, if its parts go together. `hold_field` is the interface's name for the end of a hold.
    pub fn into_draft(self, hold_field: &str) -> Result<CommandDraft, ApiError> {
        let pays = self.kind == PaymentKind::Pay;
        let pays_out = self.kind == PaymentKind::Payout;
        let adjusts = self.kind == PaymentKind::Adjustment;
        for (given, fits, field) in [
            (self.hold.is_some(), pays, hold_field),
            (self.splits.is_some(), pays, "splits"),
            (self.paid, pays_out, "paid"),
            (self.reason.is_some(), adjusts, "reason"),
            (!self.fees.is_empty(), !adjusts, "fees"),
        ] {
            if given && !fits {
                let message = format!("{field} does not go with this kind of payment.");
                return Err(ApiError::invalid(field, message));
            }
        }
        if self.reference_scope.is_some() && self.reference.is_none() {
            let message = "reference_scope goes with reference only.";
            return Err(ApiError::invalid("reference_scope", message));
        }
        if adjusts && self.reason.is_none() {
            return Err(missing("reason", "reason is missing."));
        }
        check_fee_count(self.kind, self.fees.len())?;
        let fees = Fees::new(self.fees).expect("the number of fees was checked");
        let destination = match (self.destination, self.splits) {
            (Some(one), None) => Destination::One(one),
            (None, Some(splits)) => Destination::Split(payees(splits)?),
            (None, None) => return Err(missing("destination", "Give destination or splits.")),
            (Some(_), Some(_)) => {
                let message = "Give either destination or splits, not both.";
                return Err(ApiError::invalid("splits", message));
            }
        };
        Ok(CommandDraft::new(Body::Pay(Pay {
            kind: self.kind,
            source: self.source,
            destination,
            fees,
            amount: self.amount,
            currency: self.currency,
            hold: match pays_out && !self.paid {
                true => Some(Hold::OF_PAYOUT),
                false => self.hold,
            },
            reference: self.reference,
            reference_scope: self.reference_scope,
            reason: self.reason,
            queue: self.queue,
        })))
    }
}

fn payees(splits: Vec<Share>) -> Result<Payees, ApiError> {
    check_payee_count(splits.len())?;
    Ok(Payees::new(splits).expect("the number of payees was checked"))
}

/// Checks the number of fees of a payment. An interface checks this before the accounts are looked up: a wrong form is
/// answered in the same way whether the accounts exist or not.
#[inline]
pub(crate) fn check_fee_count(kind: PaymentKind, count: usize) -> Result<(), ApiError> {
    // Of a payment with splits, the ledger counts payees and fees together.
    let count_max = match kind {
        PaymentKind::Pay => SHARES_MAX,
        _ => SHARES_MAX - 1,
    };
    if count > count_max {
        let message = format!("Give at most {count_max} fees.");
        return Err(ApiError::invalid("fees", message));
    }
    Ok(())
}

/// Checks the number of payees of a payment with splits, as [`check_fee_count`] does that of the fees.
pub(crate) fn check_payee_count(count: usize) -> Result<(), ApiError> {
    if !(1..=SHARES_MAX).contains(&count) {
        return Err(ApiError::invalid("splits", "Give 1 to 16 payees."));
    }
    Ok(())
}

fn missing(param: &str, message: &'static str) -> ApiError {
    ApiError::new(ErrorCode::ParameterMissing, message).param(param)
}
