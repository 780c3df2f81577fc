//! A command as it stands in a batch, read into the ledger's. Only its form is judged here.

use std::collections::BTreeMap;

use tributary_api::caller::Caller;
use tributary_api::code::ErrorCode;
use tributary_api::draft::{CommandDraft, PaymentParts};
use tributary_api::error::ApiError;
use tributary_api::form::owner::{TextChange, draft_owner_update};
use tributary_api::form::parts::check_splits;
use tributary_api::form::queue::{mailbox, no_mailbox};
use tributary_api::form::reference::reference_scope;
use tributary_api::form::request::{notes, owner_of_new_account, publish};
use tributary_api::form::value::{
    CorrelationText, DescriptionText, ExternalIdText, METADATA_ENTRIES_MAX, MetadataForm,
    OrderKeyText, OwnerText, ReasonText, ReferenceText, TopicText, metadata_entry,
};
use tributary_api::visibility::visible_owner;
use tributary_engine::{IdKind, Ids, Reader};
use tributary_ledger::{
    AccountId, AccountKind, Body, Capture, CreateOwner, Currency, Date, Fee, Hold, Key,
    OpenAccount, Overdraft, OwnerId, OwnerKind, OwnerName, OwnerProfile, OwnerStatus, Part,
    PayeeAmount, PayeeAmounts, PaymentId, PaymentKind, Priority, ProfileChange, Publish, Queue,
    Refund, ReturnPayout, SHARES_MAX, SettlePayout, Share, Text, Topic, Updated,
};
use tributary_messaging::{DeliveryIds, SubscriptionId};

use crate::grpc::wire::{Fields, Malformed, Value, zigzag};

/// Bytes of a key that may begin with a zero byte: a random number. Other such keys are the system's own.
const RANDOM_KEY_BYTES: usize = 16;
/// Days that a date may lie from 1970: the years 1 to 9999, as over REST.
const DATES: std::ops::RangeInclusive<i64> = -719_162..=2_932_896;

/// Field that names the scope of a reference.
const SCOPE: &str = "reference_scope";

/// Reads commands of one caller.
pub(crate) struct Form<'a> {
    reader: &'a Reader,
    caller: &'a Caller,
    ids: &'a Ids,
}

impl From<Malformed> for ApiError {
    fn from(_: Malformed) -> ApiError {
        ApiError::new(
            ErrorCode::ParameterInvalid,
            "The message is not one of this method.",
        )
    }
}

impl<'a> Form<'a> {
    pub(crate) fn new(reader: &'a Reader, caller: &'a Caller) -> Form<'a> {
        let ids = reader.ids();
        Form {
            reader,
            caller,
            ids,
        }
    }

    /// The draft of the command in `bytes`, and its idempotency key. Whether the command is linked to the next one is known even
    /// where it names something that is not there.
    pub(crate) fn draft(
        &self,
        bytes: &[u8],
        linked: &mut bool,
    ) -> Result<(Key, CommandDraft), ApiError> {
        let mut key = &[][..];
        let mut effective_at = None;
        let mut body = None;
        let mut notes = NotesForm::default();
        let mut fields = Fields(bytes);
        while let Some(field) = fields.next()? {
            match field {
                (1, Value::Bytes(bytes)) => key = bytes,
                (2, Value::Varint(number)) => *linked = number != 0,
                (number @ (3..=10 | 14..=18), Value::Bytes(bytes)) => {
                    if body.replace((number, bytes)).is_some() {
                        return Err(ApiError::invalid("body", "Give one body."));
                    }
                }
                (11, Value::Varint(number)) => effective_at = Some(date(zigzag(number))?),
                (12, Value::Bytes(bytes)) => notes.description(bytes)?,
                (13, Value::Bytes(bytes)) => notes.entry(bytes)?,
                (number, _) => return Err(unknown(number)),
            }
        }
        let key = ledger_key(key)?;
        let (number, bytes) = body.ok_or_else(|| missing("body"))?;
        if number == 16 {
            let update = self.update(bytes, notes);
            return Ok((key, update.map_err(|error| error.within(name_of(number)))?));
        }
        let mut draft = self
            .body(number, bytes)
            .map_err(|error| error.within(name_of(number)))?;
        let text = notes.text()?;
        if effective_at.is_some() || text.is_some() {
            draft.set_notes(effective_at, text)?;
        }
        Ok((key, draft))
    }

    fn body(&self, number: u32, bytes: &[u8]) -> Result<CommandDraft, ApiError> {
        let body = match number {
            3 => return self.pay(bytes),
            4 => Body::Capture(self.capture(bytes)?),
            5 => Body::Void(self.void(bytes)?),
            6 => Body::Refund(self.refund(bytes)?),
            7 => Body::OpenAccount(self.open_account(bytes)?),
            8 => Body::FreezeAccount(self.account_alone(bytes)?),
            9 => Body::UnfreezeAccount(self.account_alone(bytes)?),
            10 => Body::CloseAccount(self.account_alone(bytes)?),
            14 => Body::Publish(published(bytes)?),
            15 => Body::CreateOwner(Box::new(create_owner(bytes)?)),
            17 => Body::SettlePayout(self.settle_payout(bytes)?),
            18 => Body::ReturnPayout(self.return_payout(bytes)?),
            _ => return Err(unknown(number)),
        };
        Ok(CommandDraft::new(body))
    }

    fn pay(&self, bytes: &[u8]) -> Result<CommandDraft, ApiError> {
        let (mut source, mut destination) = (None, None);
        let (mut amount, mut currency, mut kind) = (0, 0, 0);
        let (mut hold, mut reference, mut scope, mut reason) = (None, None, None, None);
        let (mut splits, mut fees, mut queue) = (Vec::new(), Vec::new(), None);
        let mut paid = false;
        let mut fields = Fields(bytes);
        while let Some(field) = fields.next()? {
            match field {
                (1, Value::Bytes(id)) => source = Some(self.account(id, "source")?),
                (2, Value::Bytes(id)) => destination = Some(self.account(id, "destination")?),
                (3, Value::Fixed64(number)) => amount = number,
                (4, Value::Fixed32(number)) => currency = number,
                (5, Value::Varint(number)) => kind = number,
                (6, Value::Bytes(bytes)) => push(&mut splits, "splits", self.split(bytes))?,
                (7, Value::Bytes(bytes)) => push(&mut fees, "fees", self.fee(bytes))?,
                (8, Value::Fixed64(expires_at)) => hold = Some(Hold { expires_at }),
                (9 | 10 | 13, Value::Bytes([])) => {}
                (9, Value::Bytes(text)) => {
                    let text = utf8(text, "reference")?;
                    reference = Some(ReferenceText::parse(text, "reference")?);
                }
                (10, Value::Bytes(text)) => {
                    reason = Some(ReasonText::parse(utf8(text, "reason")?, "reason")?);
                }
                (11, Value::Bytes(bytes)) => {
                    queue = Some(Box::new(
                        self.queued(bytes).map_err(|error| error.within("queue"))?,
                    ));
                }
                (12, Value::Varint(number)) => paid = number != 0,
                (13, Value::Bytes(text)) => {
                    let name = OwnerText::parse(utf8(text, SCOPE)?, SCOPE)?;
                    scope = Some(OwnerText(name));
                }
                (number, _) => return Err(unknown(number)),
            }
        }
        let parts = PaymentParts {
            kind: kind_of(kind)?,
            source: source.ok_or_else(|| missing("source"))?,
            destination,
            splits: Some(splits).filter(|splits| !splits.is_empty()),
            fees,
            amount,
            currency: currency_of(currency)?,
            hold,
            paid,
            reference,
            reference_scope: reference_scope(self.reader, self.caller, scope)?,
            reason,
            queue,
        };
        parts.into_draft("hold_expires_at")
    }

    fn split(&self, bytes: &[u8]) -> Result<Share, ApiError> {
        let (mut account, mut part) = (None, None);
        let mut fields = Fields(bytes);
        while let Some(field) = fields.next()? {
            match field {
                (1, Value::Bytes(id)) => account = Some(self.account(id, "account")?),
                (2, Value::Fixed64(amount)) => part = Some(Part::Amount(amount)),
                (3, Value::Varint(points)) => part = Some(Part::BasisPoints(basis_points(points)?)),
                (number, _) => return Err(unknown(number)),
            }
        }
        Ok(Share {
            account: account.ok_or_else(|| missing("account"))?,
            part: part.ok_or_else(|| missing("part"))?,
        })
    }

    fn fee(&self, bytes: &[u8]) -> Result<Fee, ApiError> {
        let (mut account, mut flat, mut points) = (None, 0, 0);
        let mut fields = Fields(bytes);
        while let Some(field) = fields.next()? {
            match field {
                (1, Value::Bytes(id)) => account = Some(self.account(id, "account")?),
                (2, Value::Fixed64(amount)) => flat = amount,
                (3, Value::Varint(number)) => points = basis_points(number)?,
                (number, _) => return Err(unknown(number)),
            }
        }
        Ok(Fee {
            account: account.ok_or_else(|| missing("account"))?,
            flat,
            basis_points: points,
        })
    }

    fn capture(&self, bytes: &[u8]) -> Result<Capture, ApiError> {
        let (payment, amount, is_final, splits) = self.of_payment(bytes, true)?;
        Ok(Capture {
            payment,
            amount,
            is_final,
            splits,
        })
    }

    fn refund(&self, bytes: &[u8]) -> Result<Refund, ApiError> {
        let (payment, amount, refund_fee, splits) = self.of_payment(bytes, true)?;
        Ok(Refund {
            payment,
            amount,
            refund_fee,
            splits,
        })
    }

    fn void(&self, bytes: &[u8]) -> Result<PaymentId, ApiError> {
        self.of_payment(bytes, false)
            .map(|(payment, _, _, _)| payment)
    }

    fn settle_payout(&self, bytes: &[u8]) -> Result<SettlePayout, ApiError> {
        let (mut payout, mut outcome) = (None, None);
        let mut fields = Fields(bytes);
        while let Some(field) = fields.next()? {
            match field {
                (1, Value::Bytes(id)) => payout = Some(id),
                (2, Value::Varint(1)) => outcome = Some(None),
                (3, Value::Bytes(text)) => {
                    outcome = Some(Some(ReasonText::parse(utf8(text, "failure")?, "failure")?));
                }
                (number, _) => return Err(unknown(number)),
            }
        }
        Ok(SettlePayout {
            payout: self.payout(payout)?,
            failure: outcome.ok_or_else(|| missing("outcome"))?,
        })
    }

    fn return_payout(&self, bytes: &[u8]) -> Result<ReturnPayout, ApiError> {
        let (mut payout, mut amount, mut reason) = (None, None, None);
        let mut fields = Fields(bytes);
        while let Some(field) = fields.next()? {
            match field {
                (1, Value::Bytes(id)) => payout = Some(id),
                (2, Value::Fixed64(number)) => amount = Some(number),
                (3, Value::Bytes([])) => {}
                (3, Value::Bytes(text)) => {
                    reason = Some(ReasonText::parse(utf8(text, "reason")?, "reason")?);
                }
                (number, _) => return Err(unknown(number)),
            }
        }
        Ok(ReturnPayout {
            payout: self.payout(payout)?,
            amount,
            reason,
        })
    }

    fn payout(&self, id: Option<&[u8]>) -> Result<PaymentId, ApiError> {
        let id = id.ok_or_else(|| missing("payout"))?;
        let found = position(self.ids, IdKind::Payment, id).map(PaymentId);
        found.ok_or_else(|| ApiError::not_found("payment", "payout"))
    }

    /// A payment; where there is `more`, also an amount, a flag and amounts per payee.
    fn of_payment(
        &self,
        bytes: &[u8],
        more: bool,
    ) -> Result<(PaymentId, Option<u64>, bool, PayeeAmounts), ApiError> {
        let (mut payment, mut amount, mut flag) = (None, None, false);
        let mut splits = Vec::new();
        let mut fields = Fields(bytes);
        while let Some(field) = fields.next()? {
            match field {
                (1, Value::Bytes(id)) => payment = Some(id),
                (2, Value::Fixed64(number)) if more => amount = Some(number),
                (3, Value::Varint(number)) if more => flag = number != 0,
                (4, Value::Bytes(bytes)) if more => {
                    push(&mut splits, "splits", self.payee_amount(bytes))?;
                }
                (number, _) => return Err(unknown(number)),
            }
        }
        let given = Some(splits.len()).filter(|count| *count > 0);
        check_splits(amount, given)?;
        let id = payment.ok_or_else(|| missing("payment"))?;
        let payment = position(self.ids, IdKind::Payment, id).map(PaymentId);
        let payment = payment.ok_or_else(|| ApiError::not_found("payment", "payment"))?;
        let splits = PayeeAmounts::new(splits).expect("the number of payees was checked");
        Ok((payment, amount, flag, splits))
    }

    fn payee_amount(&self, bytes: &[u8]) -> Result<PayeeAmount, ApiError> {
        let (mut account, mut amount) = (None, 0);
        let mut fields = Fields(bytes);
        while let Some(field) = fields.next()? {
            match field {
                (1, Value::Bytes(id)) => account = Some(self.account(id, "account")?),
                (2, Value::Fixed64(number)) => amount = number,
                (number, _) => return Err(unknown(number)),
            }
        }
        let account = account.ok_or_else(|| missing("account"))?;
        Ok(PayeeAmount { account, amount })
    }

    fn open_account(&self, bytes: &[u8]) -> Result<OpenAccount, ApiError> {
        let (mut owner, mut external_id) = (None, None);
        let (mut currency, mut kind, mut overdraft, mut unlimited) = (0, 0, 0, false);
        let mut fields = Fields(bytes);
        while let Some(field) = fields.next()? {
            match field {
                (1, Value::Bytes(text)) if !text.is_empty() => owner = Some(utf8(text, "owner")?),
                (2, Value::Fixed32(number)) => currency = number,
                (3, Value::Varint(number)) => kind = number,
                (4, Value::Varint(number)) => overdraft = number,
                (5, Value::Varint(number)) => unlimited = number != 0,
                (6, Value::Bytes(text)) if !text.is_empty() => {
                    let text = utf8(text, "external_id")?;
                    external_id = Some(ExternalIdText::parse(text, "external_id")?);
                }
                (1 | 6, Value::Bytes(_)) => {}
                (number, _) => return Err(unknown(number)),
            }
        }
        if unlimited && overdraft != 0 {
            let message = "Give either a limit or overdraft_unlimited.";
            return Err(ApiError::invalid("overdraft", message));
        }
        let kind = match kind {
            0 => AccountKind::Wallet,
            1 => AccountKind::Merchant,
            2 => AccountKind::External,
            3 => AccountKind::Fee,
            4 => AccountKind::Suspense,
            _ => return Err(ApiError::invalid("kind", "There is no such kind.")),
        };
        Ok(OpenAccount {
            owner: self.owner(owner)?,
            currency: currency_of(currency)?,
            kind,
            overdraft: match unlimited {
                true => Overdraft::UNLIMITED,
                false => Overdraft::limited(overdraft),
            },
            external_id,
        })
    }

    fn owner(&self, named: Option<&str>) -> Result<OwnerName, ApiError> {
        let named = named.map(|text| OwnerText::parse(text, "owner").map(OwnerText));
        owner_of_new_account(self.reader, self.caller, named.transpose()?)
    }

    /// The draft of an update, which takes description and metadata of the command.
    fn update(&self, bytes: &[u8], notes: NotesForm) -> Result<CommandDraft, ApiError> {
        let (mut object, mut change) = (None, ProfileChange::default());
        let (mut clears_description, mut clears_metadata) = (false, false);
        let mut fields = Fields(bytes);
        while let Some(field) = fields.next()? {
            match field {
                (number @ 1..=3, Value::Bytes(id)) => {
                    if object.replace((number, id)).is_some() {
                        return Err(ApiError::invalid("object", "Give one object."));
                    }
                }
                (4, Value::Varint(number)) => clears_description = number != 0,
                (5, Value::Varint(number)) => clears_metadata = number != 0,
                (6, Value::Varint(number)) => change.kind = owner_kind(number)?,
                (7, Value::Varint(number)) => change.status = owner_status(number)?,
                (8, Value::Bytes([])) => {}
                (8, Value::Bytes(text)) => {
                    let text = utf8(text, "external_id")?;
                    change.external_id = Some(Some(ExternalIdText::parse(text, "external_id")?));
                }
                (9, Value::Varint(0)) => {}
                (9, Value::Varint(_)) => {
                    if matches!(change.external_id, Some(Some(_))) {
                        return Err(ApiError::invalid("external_id", GIVEN_AND_CLEARED));
                    }
                    change.external_id = Some(None);
                }
                (number, _) => return Err(unknown(number)),
            }
        }
        let text = notes.change(clears_description, clears_metadata)?;
        let (number, id) = object.ok_or_else(|| missing("object"))?;
        if number != 3 && !change.is_empty() {
            let message = "kind, status and external_id go with an owner only.";
            return Err(ApiError::invalid("kind", message));
        }
        match number {
            1 => text.into_draft(Updated::Account(self.account(id, "account")?)),
            2 => {
                let payment = position(self.ids, IdKind::Payment, id).map(PaymentId);
                let payment = payment.ok_or_else(|| ApiError::not_found("payment", "payment"))?;
                text.into_draft(Updated::Payment(payment))
            }
            _ => {
                let name = OwnerText::parse(utf8(id, "owner")?, "owner")?;
                let owner = visible_owner(self.reader, self.caller, &name, "owner")?;
                draft_owner_update(owner, change, text)
            }
        }
    }

    fn account_alone(&self, bytes: &[u8]) -> Result<AccountId, ApiError> {
        let mut account = None;
        let mut fields = Fields(bytes);
        while let Some(field) = fields.next()? {
            match field {
                (1, Value::Bytes(id)) => account = Some(self.account(id, "account")?),
                (number, _) => return Err(unknown(number)),
            }
        }
        account.ok_or_else(|| missing("account"))
    }

    fn queued(&self, bytes: &[u8]) -> Result<Queue, ApiError> {
        let mut queue = Queue::default();
        let mut fields = Fields(bytes);
        while let Some(field) = fields.next()? {
            match field {
                (1, Value::Varint(number)) => {
                    let priority = u8::try_from(number).ok().and_then(Priority::new);
                    let wrong = || ApiError::invalid("priority", "Give 0 to 9.");
                    queue.terms.priority = priority.ok_or_else(wrong)?;
                }
                (2, Value::Fixed64(time)) => queue.terms.not_before = time,
                (3, Value::Fixed64(time)) => queue.terms.expires_at = time,
                (4 | 5, Value::Bytes([])) => {}
                (4, Value::Bytes(id)) => {
                    let found = subscription_id(self.ids, id).and_then(mailbox);
                    let found = found.ok_or_else(|| no_mailbox("reply_to"))?;
                    queue.terms.reply_to = Some(found);
                }
                (5, Value::Bytes(text)) => {
                    let text = utf8(text, "correlation_id")?;
                    queue.correlation_id = Some(CorrelationText::parse(text, "correlation_id")?);
                }
                (number, _) => return Err(unknown(number)),
            }
        }
        Ok(queue)
    }

    #[inline]
    fn account(&self, id: &[u8], param: &str) -> Result<AccountId, ApiError> {
        position(self.ids, IdKind::Account, id)
            .map(AccountId)
            .ok_or_else(|| ApiError::not_found("account", param))
    }
}

fn published(bytes: &[u8]) -> Result<Publish, ApiError> {
    let (mut topic, mut key, mut data) = (None, None, None);
    let mut fields = Fields(bytes);
    while let Some(field) = fields.next()? {
        match field {
            (1, Value::Bytes(text)) => {
                // A topic is ASCII, so its bytes are checked alone; the form says what is wrong with others.
                topic = Some(match Topic::from_bytes(text) {
                    Ok(topic) if topic.is_of_application() => topic,
                    _ => TopicText::parse(utf8(text, "type")?, "type")?,
                });
            }
            (2, Value::Bytes([])) => key = None,
            (2, Value::Bytes(text)) => {
                key = Some(OrderKeyText::parse(utf8(text, "key")?, "key")?);
            }
            (3, Value::Bytes(text)) => data = Some(utf8(text, "data")?),
            (number, _) => return Err(unknown(number)),
        }
    }
    let topic = topic.ok_or_else(|| missing("type"))?;
    publish(topic, key, data.ok_or_else(|| missing("data"))?)
}

/// Message of an error where a value is given and cleared in one update.
const GIVEN_AND_CLEARED: &str = "Give a new value or clear the old one, not both.";

fn create_owner(bytes: &[u8]) -> Result<CreateOwner, ApiError> {
    let (mut name, mut profile) = (None, OwnerProfile::default());
    let mut fields = Fields(bytes);
    while let Some(field) = fields.next()? {
        match field {
            (1, Value::Bytes(text)) => {
                name = Some(OwnerText::parse(utf8(text, "name")?, "name")?);
            }
            (2, Value::Varint(number)) => profile.kind = owner_kind(number)?,
            (3, Value::Bytes([])) => {}
            (3, Value::Bytes(text)) => {
                let text = utf8(text, "external_id")?;
                profile.external_id = Some(ExternalIdText::parse(text, "external_id")?);
            }
            (number, _) => return Err(unknown(number)),
        }
    }
    let name = name.ok_or_else(|| missing("name"))?;
    Ok(CreateOwner { name, profile })
}

fn owner_kind(number: u64) -> Result<Option<OwnerKind>, ApiError> {
    Ok(match number {
        0 => None,
        1 => Some(OwnerKind::Person),
        2 => Some(OwnerKind::Company),
        _ => return Err(ApiError::invalid("kind", "There is no such kind.")),
    })
}

fn owner_status(number: u64) -> Result<Option<OwnerStatus>, ApiError> {
    Ok(match number {
        0 => None,
        1 => Some(OwnerStatus::Active),
        2 => Some(OwnerStatus::Inactive),
        _ => return Err(ApiError::invalid("status", "There is no such status.")),
    })
}

/// The position that an id names: 16 bytes, or text.
#[inline]
pub(crate) fn position(ids: &Ids, kind: IdKind, id: &[u8]) -> Option<u64> {
    match <[u8; 16]>::try_from(id) {
        Ok(block) => ids.position_of(kind, block),
        Err(_) => ids.decode(kind, std::str::from_utf8(id).ok()?),
    }
}

/// The position of a cursor of this owner: 16 bytes, or text.
pub(crate) fn cursor_position(ids: &Ids, owner: OwnerId, id: &[u8]) -> Option<u64> {
    match <[u8; 16]>::try_from(id) {
        Ok(block) => ids.decode_cursor_block(owner, block),
        Err(_) => ids.decode_cursor(owner, std::str::from_utf8(id).ok()?),
    }
}

/// The subscription that a message names, by its text or the 16 bytes behind it.
pub(crate) fn subscription_id(ids: &Ids, id: &[u8]) -> Option<SubscriptionId> {
    match <[u8; 16]>::try_from(id) {
        Ok(block) => ids.subscription_of(block),
        Err(_) => ids.decode_subscription(std::str::from_utf8(id).ok()?),
    }
}

/// Description and metadata on their way into one text.
#[derive(Default)]
struct NotesForm {
    description: Option<String>,
    metadata: BTreeMap<String, String>,
}

impl NotesForm {
    fn description(&mut self, bytes: &[u8]) -> Result<(), ApiError> {
        let text = DescriptionText::parse(utf8(bytes, "description")?, "description")?;
        self.description = Some(text).filter(|text| !text.is_empty());
        Ok(())
    }

    fn entry(&mut self, bytes: &[u8]) -> Result<(), ApiError> {
        let (mut name, mut value) = ("", "");
        let mut fields = Fields(bytes);
        while let Some(field) = fields.next()? {
            match field {
                (1, Value::Bytes(text)) => name = utf8(text, "metadata")?,
                (2, Value::Bytes(text)) => value = utf8(text, "metadata")?,
                (number, _) => return Err(unknown(number)),
            }
        }
        metadata_entry(name, value).map_err(|why| ApiError::invalid("metadata", why))?;
        if self
            .metadata
            .insert(name.to_owned(), value.to_owned())
            .is_some()
        {
            return Err(ApiError::invalid("metadata", "Names must differ."));
        }
        if self.metadata.len() > METADATA_ENTRIES_MAX {
            return Err(ApiError::invalid("metadata", "Give at most 20 entries."));
        }
        Ok(())
    }

    /// Returns what an update changes of a text.
    fn change(
        self,
        clears_description: bool,
        clears_metadata: bool,
    ) -> Result<TextChange, ApiError> {
        let given = |given: bool, clears: bool, field| match (given, clears) {
            (true, true) => Err(ApiError::invalid(field, GIVEN_AND_CLEARED)),
            _ => Ok(given || clears),
        };
        let (description, metadata) = (self.description, MetadataForm(self.metadata));
        let has_metadata = !metadata.0.is_empty();
        let new_description = given(description.is_some(), clears_description, "description")?;
        let new_metadata = given(has_metadata, clears_metadata, "metadata")?;
        Ok(TextChange {
            description: new_description.then(|| description.map(DescriptionText)),
            metadata: new_metadata.then(|| has_metadata.then_some(metadata)),
        })
    }

    fn text(self) -> Result<Option<Text>, ApiError> {
        if self.description.is_none() && self.metadata.is_empty() {
            return Ok(None);
        }
        notes(
            self.description.map(DescriptionText),
            Some(MetadataForm(self.metadata)),
        )
    }
}

fn ledger_key(bytes: &[u8]) -> Result<Key, ApiError> {
    if bytes.is_empty() {
        let message = "Each command has an idempotency key of 1 to 255 bytes.";
        return Err(ApiError::new(ErrorCode::IdempotencyKeyMissing, message).param("key"));
    }
    let reserved = bytes[0] == 0 && bytes.len() != RANDOM_KEY_BYTES;
    Key::from_bytes(bytes)
        .ok()
        .filter(|_| !reserved)
        .ok_or_else(|| {
            let message = "A key has 1 to 255 bytes; one that begins with a zero byte has 16.";
            ApiError::new(ErrorCode::IdempotencyKeyInvalid, message).param("key")
        })
}

/// Appends an item of a bounded list.
fn push<T>(
    items: &mut Vec<T>,
    name: &'static str,
    item: Result<T, ApiError>,
) -> Result<(), ApiError> {
    if items.len() == SHARES_MAX {
        return Err(too_many(name));
    }
    items.push(item.map_err(|error| error.within(name))?);
    Ok(())
}

fn kind_of(number: u64) -> Result<PaymentKind, ApiError> {
    Ok(match number {
        0 => PaymentKind::Pay,
        1 => PaymentKind::Transfer,
        2 => PaymentKind::TopUp,
        3 => PaymentKind::Payout,
        4 => PaymentKind::Adjustment,
        _ => return Err(ApiError::invalid("kind", "There is no such kind.")),
    })
}

fn currency_of(number: u32) -> Result<Currency, ApiError> {
    let known = u16::try_from(number).ok().map(Currency::from_numeric);
    known.and_then(Result::ok).ok_or_else(|| {
        let message = "This is not the number of an active ISO 4217 currency with a minor unit.";
        ApiError::invalid("currency", message)
    })
}

fn basis_points(number: u64) -> Result<u16, ApiError> {
    u16::try_from(number)
        .ok()
        .filter(|points| *points <= 10_000)
        .ok_or_else(|| ApiError::invalid("basis_points", "Give 0 to 10,000."))
}

fn date(days: i64) -> Result<Date, ApiError> {
    i32::try_from(days)
        .ok()
        .filter(|_| DATES.contains(&days))
        .map(Date)
        .ok_or_else(|| ApiError::invalid("effective_at", "Give a date of the years 1 to 9999."))
}

fn utf8<'b>(bytes: &'b [u8], param: &str) -> Result<&'b str, ApiError> {
    std::str::from_utf8(bytes).map_err(|_| ApiError::invalid(param, "This is not UTF-8."))
}

fn missing(param: &str) -> ApiError {
    ApiError::new(ErrorCode::ParameterMissing, "This field is missing.").param(param)
}

fn too_many(param: &str) -> ApiError {
    ApiError::invalid(param, "Give at most 16.")
}

/// A field that this server does not know could change what the command means.
fn unknown(number: u32) -> ApiError {
    ApiError::new(
        ErrorCode::ParameterUnknown,
        format!("Field {number} is not known here, or has another type."),
    )
}

fn name_of(number: u32) -> &'static str {
    match number {
        3 => "pay",
        4 => "capture",
        5 => "void",
        6 => "refund",
        7 => "open_account",
        8 => "freeze_account",
        9 => "unfreeze_account",
        14 => "publish",
        15 => "create_owner",
        16 => "update",
        17 => "settle_payout",
        18 => "return_payout",
        _ => "close_account",
    }
}
