//! Reads records, in place or completely.

use super::assessment::{AssessmentRef, take_assessment};
use super::body::{
    ADVANCE_TIME, INVESTIGATE_FIXED, INVESTIGATE_LABEL, NO_TOPIC, PAY_FIXED, PAY_HOLD, PAY_QUEUE,
    PAY_SCOPE, PUBLISH_FIXED, PUT_SETTING_FIXED, SETTING_HEAD, take_advance_time, take_body,
};
use super::bytes::{Corrupt, Input, u16_at, u64_at};
use super::details::{
    CREATE_OWNER_FIXED, UPDATE_FIXED, object_id, take_details, take_optional_details,
};
use super::layout::{
    ASSESSMENT, EFFECTIVE, FLAGS, HEADER, LEG, LIMITS, LINKED, ORIGIN, REPLY, TEXT, check_version,
    is_simple, take_next,
};
use super::limits::{LIMIT_USE, check_setting, read_use, take_uses};
use super::objects::{
    currency, queue_mode, risk_label, take_account, take_api_key, take_owner, take_payment,
    take_setting_change,
};
use super::operation::Operation;
use super::origin::{OriginRef, read_origin};
use crate::{
    AccountId, Actor, ApiKeyId, Body, Command, Context, Currency, Date, Effect, Key, Leg, LimitUse,
    ObjectId, Outcome, OwnerId, Pay, Payment, PaymentId, PaymentKind, QueueMode, Reference,
    Rejection, ReplyTo, RiskLabel, SHARES_MAX, Setting, SettingChange, SettingId, SettingKind,
    Text, Topic,
};
use arrayvec::ArrayVec;

/// A completely decoded record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Position and time.
    pub ctx: Context,
    /// Digest of the command, taken when the command arrived.
    pub digest: [u8; 16],
    /// Command.
    pub command: Command,
    /// Outcome.
    pub outcome: Outcome,
}

/// Setting that a record names, read in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SettingRef<'a> {
    /// Id.
    pub id: SettingId,
    /// Kind.
    pub kind: SettingKind,
    /// Revision that is replaced or deleted; 0 = the setting is created, or any revision is deleted.
    pub replaces: u64,
    /// Content; empty for a delete.
    pub body: &'a [u8],
}

/// Bytes of a record with a checked structure, read in place without allocation.
#[derive(Clone, Copy, Debug)]
pub struct RecordRef<'a> {
    header: &'a [u8; HEADER],
    operation: Operation,
    rejection: Option<Rejection>,
    key: &'a [u8],
    body: &'a [u8],
    legs: &'a [[u8; LEG]],
    images: &'a [u8],
    /// Empty if there are none.
    limits: &'a [[u8; LIMIT_USE]],
    assessment: Option<AssessmentRef<'a>>,
    text: Option<(u8, &'a [u8])>,
    /// Empty if there is none.
    origin: &'a [u8],
}

impl<'a> RecordRef<'a> {
    /// Checks the structure of a record, so that all methods can read their fields. [`RecordRef::to_record`] checks the rest.
    pub fn parse(bytes: &'a [u8], format_version: u16) -> Result<Self, Corrupt> {
        check_version(format_version)?;
        let mut input = Input(take_next(bytes)?);
        let header: &[u8; HEADER] = input
            .take(HEADER)?
            .first_chunk()
            .expect("taken with this length");
        let operation = Operation::from_number(header[0])?;
        if header[1] & !FLAGS != 0 {
            return Err(Corrupt("unknown flags"));
        }
        let rejection = match u16_at(header, 2) {
            0 => None,
            number => Some(Rejection::from_number(number).ok_or(Corrupt("unknown rejection"))?),
        };
        let key = input.take(header[60].into())?;
        let body = input.take(u16_at(header, 4).into())?;
        let legs = input.take(usize::from(header[61]) * LEG)?.as_chunks().0;
        let images = input.take(u16_at(header, 62).into())?;
        let limits = match header[1] & LIMITS {
            0 => &[],
            _ => take_uses(&mut input)?,
        };
        let assessment = match header[1] & ASSESSMENT {
            0 => None,
            _ => Some(take_assessment(&mut input)?),
        };
        let has_text = header[1] & TEXT != 0;
        let text_len = usize::from(u16_at(header, 6));
        let text = if has_text {
            Some((input.u8()?, input.take(text_len)?))
        } else {
            None
        };
        let origin = match header[1] & ORIGIN {
            0 => &[],
            _ => std::mem::take(&mut input.0),
        };
        input.end()?;
        let record = RecordRef {
            header,
            operation,
            rejection,
            key,
            body,
            legs,
            images,
            limits,
            assessment,
            text,
            origin,
        };
        record.check(has_text, text_len)?;
        Ok(record)
    }

    fn check(&self, has_text: bool, text_len: usize) -> Result<(), Corrupt> {
        self.take_origin()?;
        let given = self.header[1] & EFFECTIVE != 0;
        if self.key.is_empty()
            || has_text != (text_len > 0)
            || (!given && self.header[56..60] != [0; 4])
        {
            return Err(Corrupt(
                "a part is there that should not be, or the other way round",
            ));
        }
        if u64_at(self.header, 8) == 0 {
            return Err(Corrupt("positions begin at 1"));
        }
        for leg in self.legs {
            currency(u16_at(leg, 54))?;
        }
        let accepted = self.rejection.is_none();
        let (body_min, image_min) = match self.operation {
            Operation::Pay => (PAY_FIXED, 8),
            Operation::OpenAccount if accepted => (OPEN_FIXED, 8),
            Operation::Capture
            | Operation::Refund
            | Operation::Void
            | Operation::Expire
            | Operation::Run
            | Operation::Approve
                if accepted =>
            {
                (8, IMAGE_REFUNDED + 8)
            }
            Operation::SettlePayout | Operation::ReturnPayout if accepted => (8, IMAGE_KIND + 1),
            Operation::Investigate if accepted => (INVESTIGATE_FIXED, IMAGE_KIND + 1),
            Operation::Investigate => (INVESTIGATE_FIXED, 0),
            Operation::OpenAccount => (OPEN_FIXED, 0),
            Operation::Publish => (PUBLISH_FIXED, 0),
            Operation::SetQueue => (1, 0),
            Operation::AdvanceTime => (ADVANCE_TIME, 0),
            Operation::PutSetting => (PUT_SETTING_FIXED, 0),
            Operation::DeleteSetting => (SETTING_HEAD, 0),
            Operation::CreateOwner if accepted => (CREATE_OWNER_FIXED, 8),
            Operation::CreateOwner => (CREATE_OWNER_FIXED, 0),
            Operation::Update => (UPDATE_FIXED, 0),
            _ => (8, 0),
        };
        if self.body.len() < body_min || self.images.len() < image_min {
            return Err(Corrupt("a part is too short"));
        }
        if self.header[1] & REPLY != 0 {
            let leaves = matches!(self.operation, Operation::Run | Operation::Void)
                && self.images.len() >= IMAGE_REFUNDED + 16;
            if !leaves || self.reply_to().is_none() {
                return Err(Corrupt("a reply to nothing"));
            }
        }
        let uses_limits = matches!(self.operation, Operation::Pay | Operation::Run);
        let refused = self.rejection.map(|why| why == Rejection::LimitExceeded);
        let fits = match refused {
            None => true,
            Some(by_limit) => self.limits.len() == usize::from(by_limit),
        };
        if !fits || !self.limits.is_empty() && !uses_limits {
            return Err(Corrupt("limits of no payment that uses them"));
        }
        let blocks = self.assessment.map(|found| found.effect == Effect::Block);
        let fits = match (blocks, self.rejection) {
            (Some(true), None) => false,
            (blocks, Some(Rejection::PaymentBlocked)) => blocks == Some(true),
            _ => true,
        };
        if !fits || blocks.is_some() && !uses_limits {
            return Err(Corrupt("an assessment that the outcome does not obey"));
        }
        self.check_parts()
    }

    /// Checks what belongs to one operation only.
    fn check_parts(&self) -> Result<(), Corrupt> {
        const SHORT: Corrupt = Corrupt("a part is too short");
        let room = |fixed: usize, words: usize| match self.body.len() >= fixed + words {
            true => Ok(()),
            false => Err(SHORT),
        };
        match self.operation {
            Operation::Pay => {
                currency(u16_at(self.body, 4))?;
                PaymentKind::from_number(self.body[0]).ok_or(Corrupt("unknown payment kind"))?;
                let scope = if self.body[1] & PAY_SCOPE != 0 { 8 } else { 0 };
                let words = scope + usize::from(self.body[6]) + usize::from(self.body[7]);
                room(PAY_FIXED, words)?;
            }
            Operation::OpenAccount => {
                let words = usize::from(self.body[3]) + usize::from(self.body[4]);
                room(OPEN_FIXED, words)?;
            }
            Operation::SetQueue => {
                queue_mode(self.body[0])?;
            }
            Operation::Investigate => {
                self.take_label()?;
            }
            Operation::Update => {
                self.take_updated()?;
                self.take_updated_payment()?;
            }
            Operation::AdvanceTime => {
                take_advance_time(&mut Input(self.body))?;
            }
            Operation::PutSetting => {
                self.take_setting_change()?;
                let words =
                    usize::from(self.body[SETTING_HEAD]) + usize::from(self.body[SETTING_HEAD + 1]);
                room(PUT_SETTING_FIXED, words)?;
            }
            Operation::DeleteSetting => {
                self.take_setting_change()?;
            }
            Operation::Publish => {
                let words = usize::from(self.body[0]) + usize::from(self.body[1]);
                room(PUBLISH_FIXED, words)?;
                Topic::check(self.published().0).map_err(|_| NO_TOPIC)?;
            }
            _ => {}
        }
        Ok(())
    }

    /// Topic, order key and data of a `Publish`.
    fn published(&self) -> (&'a [u8], &'a [u8], &'a [u8]) {
        let words = &self.body[PUBLISH_FIXED..];
        let (topic, rest) = words.split_at(usize::from(self.body[0]));
        let (key, data) = rest.split_at(usize::from(self.body[1]));
        (topic, key, data)
    }

    /// Position and time.
    pub fn context(&self) -> Context {
        Context {
            position: u64_at(self.header, 8),
            timestamp: u64_at(self.header, 16),
        }
    }

    /// What the command was.
    pub fn operation(&self) -> Operation {
        self.operation
    }

    /// Why it was refused.
    pub fn rejection(&self) -> Option<Rejection> {
        self.rejection
    }

    /// Who asked.
    pub fn actor(&self) -> Actor {
        Actor {
            owner: OwnerId(u64_at(self.header, 24)),
            api_key: ApiKeyId(u64_at(self.header, 32)),
        }
    }

    /// Idempotency key.
    pub fn key(&self) -> &'a [u8] {
        self.key
    }

    /// Digest of the command.
    pub fn digest(&self) -> [u8; 16] {
        *self.header[40..]
            .first_chunk()
            .expect("the header is longer")
    }

    /// Returns whether this command and the next were accepted or refused together.
    pub fn linked(&self) -> bool {
        self.header[1] & LINKED != 0
    }

    /// Returns the business date: as given, or the UTC date of the record.
    pub fn effective_at(&self) -> Date {
        self.effective_given()
            .unwrap_or(Date::from_timestamp(self.context().timestamp))
    }

    fn effective_given(&self) -> Option<Date> {
        let days = i32::from_le_bytes(
            *self.header[56..]
                .first_chunk()
                .expect("the header is longer"),
        );
        (self.header[1] & EFFECTIVE != 0).then_some(Date(days))
    }

    /// Returns the scheme and the bytes of the text, if there is one.
    pub fn text(&self) -> Option<(u8, &'a [u8])> {
        self.text
    }

    /// Returns the message from which the system made the command, if it did.
    pub fn origin(&self) -> Option<OriginRef<'a>> {
        self.take_origin().expect("checked when parsed")
    }

    /// Returns what the rules for risk found, if they looked.
    pub fn assessment(&self) -> Option<AssessmentRef<'a>> {
        self.assessment
    }

    fn take_origin(&self) -> Result<Option<OriginRef<'a>>, Corrupt> {
        match self.header[1] & ORIGIN {
            0 => Ok(None),
            _ => read_origin(self.origin).map(Some),
        }
    }

    /// Returns the payment that the record created (even as failed), changed or refused to change; of a return, the payout.
    pub fn payment(&self) -> Option<PaymentId> {
        match self.operation {
            Operation::Pay => Some(PaymentId(self.context().position)),
            Operation::Capture
            | Operation::Void
            | Operation::Expire
            | Operation::Run
            | Operation::Approve
            | Operation::Investigate
            | Operation::SettlePayout
            | Operation::ReturnPayout
            | Operation::Refund => Some(PaymentId(u64_at(self.body, 0))),
            Operation::Update => match self.updated() {
                Some(ObjectId::Payment(id)) => Some(id),
                _ => None,
            },
            _ => None,
        }
    }

    /// Returns the position of the record that created the subject of this record: a payment, an account, an API key or a setting. None if
    /// nothing was created, or an event was published.
    pub fn subject(&self) -> Option<u64> {
        match self.operation {
            Operation::OpenAccount | Operation::CreateApiKey | Operation::CreateOwner
                if self.rejection.is_some() =>
            {
                None
            }
            Operation::Publish | Operation::SetQueue | Operation::AdvanceTime => None,
            Operation::PutSetting | Operation::DeleteSetting => {
                self.setting_change().map(|change| change.created.position)
            }
            Operation::OpenAccount
            | Operation::CreateApiKey
            | Operation::CreateOwner
            | Operation::Pay => Some(self.context().position),
            Operation::Update => self.updated().map(ObjectId::number),
            Operation::FreezeAccount
            | Operation::UnfreezeAccount
            | Operation::CloseAccount
            | Operation::Capture
            | Operation::Void
            | Operation::Expire
            | Operation::Run
            | Operation::Approve
            | Operation::Investigate
            | Operation::Refund
            | Operation::SettlePayout
            | Operation::ReturnPayout
            | Operation::RotateApiKey
            | Operation::RevokeApiKey => Some(u64_at(self.body, 0)),
        }
    }

    /// Returns the kind of the payment that a `Pay` created, or that a `Run`, an `Approve`, a `Void` or an `Expire` changed.
    pub fn payment_kind(&self) -> Option<PaymentKind> {
        match self.operation {
            Operation::Pay => PaymentKind::from_number(self.body[0]),
            Operation::Run | Operation::Approve | Operation::Void | Operation::Expire => {
                let kind = self.images.get(IMAGE_KIND)?;
                PaymentKind::from_number(*kind)
            }
            _ => None,
        }
    }

    /// Returns the owner of the payment of a `Pay`, if the payment reached its payees or was refused: until a queued payment runs, it
    /// is not its owner's to see.
    pub fn payment_owner(&self) -> Option<OwnerId> {
        let waits = self.is_queued() && self.rejection.is_none();
        (self.operation == Operation::Pay && !waits).then(|| OwnerId(u64_at(self.images, 0)))
    }

    /// Returns the amount and the currency of a `Pay`.
    pub fn amount(&self) -> Option<(u64, Currency)> {
        let currency =
            || Currency::from_numeric(u16_at(self.body, 4)).expect("checked when parsed");
        (self.operation == Operation::Pay).then(|| (u64_at(self.body, 8), currency()))
    }

    /// Returns whether the record is a `Pay` that only holds the amount.
    pub fn is_hold(&self) -> bool {
        self.operation == Operation::Pay && self.body[1] & PAY_HOLD != 0
    }

    /// Returns whether the record made the payment wait for an approval: a `Pay` or a `Run`.
    pub fn is_in_review(&self) -> bool {
        let effect = self.assessment.map(|found| found.effect);
        let is_held = self.rejection.is_none() && !self.is_queued();
        is_held && matches!(effect, Some(Effect::Review(_)))
    }

    /// Returns what an `Investigate` says that the payment was, if it does.
    pub fn label(&self) -> Option<RiskLabel> {
        self.take_label().expect("checked when parsed")
    }

    fn take_label(&self) -> Result<Option<RiskLabel>, Corrupt> {
        match (self.operation, self.body.get(INVESTIGATE_LABEL)) {
            (Operation::Investigate, Some(&number)) if number > 0 => risk_label(number).map(Some),
            _ => Ok(None),
        }
    }

    /// Returns whether the record is a `Pay` that queues the payment.
    pub fn is_queued(&self) -> bool {
        self.operation == Operation::Pay && self.body[1] & PAY_QUEUE != 0
    }

    /// Returns whether the record created or changed a payment: when accepted, a refused `Pay`, and a `Run` that made the payment fail.
    pub fn changes_payment(&self) -> bool {
        let refused_run = self.operation == Operation::Run && self.rejection.is_some();
        match self.operation {
            Operation::Pay => true,
            _ if refused_run => !self.images.is_empty(),
            _ => self.rejection.is_none() && self.payment().is_some(),
        }
    }

    /// Returns the receiver of the result, for the record that takes a queued payment out of the queue.
    pub fn reply_to(&self) -> Option<ReplyTo> {
        let reply = || u64_at(self.images, self.images.len() - 8);
        (self.header[1] & REPLY != 0)
            .then(reply)
            .and_then(ReplyTo::new)
    }

    /// Returns the reference of a `Pay`, if given.
    pub fn reference(&self) -> Option<&'a [u8]> {
        if self.operation != Operation::Pay || self.body[6] == 0 {
            return None;
        }
        let end = self.body.len() - usize::from(self.body[7]);
        Some(&self.body[end - usize::from(self.body[6])..end])
    }

    /// Returns the owner for whom the reference of a `Pay` is unique, if the platform named one.
    pub fn reference_scope(&self) -> Option<OwnerId> {
        let given = self.operation == Operation::Pay && self.body[1] & PAY_SCOPE != 0;
        given.then(|| OwnerId(u64_at(self.body, PAY_FIXED)))
    }

    /// Returns the external id of an `OpenAccount`, if given.
    pub fn external_id(&self) -> Option<&'a [u8]> {
        if self.operation != Operation::OpenAccount || self.body[4] == 0 {
            return None;
        }
        Some(&self.body[self.body.len() - usize::from(self.body[4])..])
    }

    /// Returns the mode of a `SetQueue`.
    pub fn queue_mode(&self) -> Option<QueueMode> {
        let mode = || queue_mode(self.body[0]).expect("checked when parsed");
        (self.operation == Operation::SetQueue).then(mode)
    }

    /// Returns the setting that a put or a delete names.
    pub fn setting(&self) -> Option<SettingRef<'a>> {
        let body = match self.operation {
            Operation::PutSetting => {
                let words = &self.body[SETTING_HEAD..];
                &words[2 + usize::from(words[0]) + usize::from(words[1])..]
            }
            Operation::DeleteSetting => &[],
            _ => return None,
        };
        Some(SettingRef {
            id: SettingId(u64_at(self.body, 0)),
            kind: SettingKind(u16_at(self.body, 16)),
            replaces: u64_at(self.body, 8),
            body,
        })
    }

    /// Returns the change of the setting by an accepted put or delete.
    pub fn setting_change(&self) -> Option<SettingChange> {
        self.take_setting_change().expect("checked when parsed")
    }

    fn take_setting_change(&self) -> Result<Option<SettingChange>, Corrupt> {
        let changes = matches!(
            self.operation,
            Operation::PutSetting | Operation::DeleteSetting
        );
        if !changes || self.rejection.is_some() {
            return Ok(None);
        }
        take_setting_change(&mut Input(self.images), self.context()).map(Some)
    }

    /// Returns the object of an `Update`.
    pub fn updated(&self) -> Option<ObjectId> {
        self.take_updated().expect("checked when parsed")
    }

    fn take_updated(&self) -> Result<Option<ObjectId>, Corrupt> {
        if self.operation != Operation::Update {
            return Ok(None);
        }
        let id = u64_at(self.body, UPDATE_FIXED - 8);
        object_id(self.body[0], id).map(Some)
    }

    /// Returns the payment after an accepted `Update` of one.
    pub fn updated_payment(&self) -> Option<Payment> {
        self.take_updated_payment().expect("checked when parsed")
    }

    fn take_updated_payment(&self) -> Result<Option<Payment>, Corrupt> {
        let is_payment = matches!(self.take_updated()?, Some(ObjectId::Payment(_)));
        if !is_payment || self.rejection.is_some() {
            return Ok(None);
        }
        take_payment(&mut Input(self.images)).map(Some)
    }

    /// Returns the owner that an accepted `CreateOwner` created.
    pub fn created_owner(&self) -> Option<OwnerId> {
        let created = self.operation == Operation::CreateOwner && self.rejection.is_none();
        created.then(|| OwnerId(self.context().position))
    }

    /// Returns the topic of a `Publish`.
    pub fn topic(&self) -> Option<&'a str> {
        let topic = || std::str::from_utf8(self.published().0).expect("checked when parsed");
        (self.operation == Operation::Publish).then(topic)
    }

    /// Returns the order key of a `Publish`, if given.
    pub fn order_key(&self) -> Option<&'a [u8]> {
        let publish = self.operation == Operation::Publish && self.body[1] > 0;
        publish.then(|| self.published().1)
    }

    /// Returns the scheme and the bytes of the data of a `Publish`.
    pub fn data(&self) -> Option<(u8, &'a [u8])> {
        (self.operation == Operation::Publish).then(|| (self.body[2], self.published().2))
    }

    /// Returns the owner of the account of an accepted `OpenAccount`.
    pub fn account_owner(&self) -> Option<OwnerId> {
        let opened = self.operation == Operation::OpenAccount && self.rejection.is_none();
        opened.then(|| OwnerId(u64_at(self.images, 0)))
    }

    /// Returns `(held, captured, refunded)` after an accepted change of a payment.
    pub(crate) fn progress(&self) -> Option<(u64, u64, u64)> {
        let changes = matches!(
            self.operation,
            Operation::Capture
                | Operation::Void
                | Operation::Expire
                | Operation::Run
                | Operation::Approve
                | Operation::SettlePayout
                | Operation::Refund
        );
        let at = |at| u64_at(self.images, at);
        (changes && self.rejection.is_none())
            .then(|| (at(IMAGE_HELD), at(IMAGE_CAPTURED), at(IMAGE_REFUNDED)))
    }

    /// Returns the legs.
    pub fn legs(&self) -> impl ExactSizeIterator<Item = Leg> + 'a {
        self.legs.iter().map(read_leg)
    }

    /// Returns how the record used limits; if it was refused with [`Rejection::LimitExceeded`], the limit.
    pub fn limits(&self) -> impl ExactSizeIterator<Item = LimitUse> + 'a {
        self.limits.iter().map(read_use)
    }

    /// Returns the accounts of the legs.
    pub fn accounts(&self) -> impl ExactSizeIterator<Item = AccountId> + 'a {
        self.legs.iter().map(|leg| AccountId(u64_at(leg, 0)))
    }

    /// Returns what the record moves, from debited to credited accounts: each credit with its currency, in minor units.
    pub fn credits(&self) -> impl Iterator<Item = (Currency, u64)> + 'a {
        self.legs.iter().filter_map(|leg| {
            let amount = u64::try_from(u64_at(leg, 8) as i64).ok()?;
            let currency = currency(u16_at(leg, 54)).expect("checked when the record was parsed");
            (amount > 0).then_some((currency, amount))
        })
    }

    /// Returns the leg of an account, if there is one.
    pub fn find_leg(&self, account: AccountId) -> Option<Leg> {
        self.legs
            .iter()
            .find(|leg| u64_at(*leg, 0) == account.0)
            .map(read_leg)
    }

    /// Decodes the record completely.
    pub fn to_record(self) -> Result<Record, Corrupt> {
        let accounts: ArrayVec<AccountId, 255> = self
            .legs
            .iter()
            .map(|leg| AccountId(u64_at(leg, 0)))
            .collect();
        let legs = self.rejection.is_none().then_some(&accounts[..]);
        let text = match self.text {
            None => None,
            Some((scheme, bytes)) => {
                Some(Text::new(scheme, bytes).map_err(|_| Corrupt("not a text"))?)
            }
        };
        let command = Command {
            key: Key::from_bytes(self.key).map_err(|_| Corrupt("not a key"))?,
            actor: self.actor(),
            linked: self.linked(),
            effective_at: self.effective_given(),
            text,
            origin: self.origin().map(|origin| Box::new(origin.to_origin())),
            assessment: self.assessment.map(|found| Box::new(found.to_assessment())),
            body: take_body(self.operation, self.body, legs, self.digest())?,
        };
        let outcome = self.outcome(&command)?;
        Ok(Record {
            ctx: self.context(),
            digest: self.digest(),
            command,
            outcome,
        })
    }

    fn outcome(&self, command: &Command) -> Result<Outcome, Corrupt> {
        let mut outcome = Outcome {
            rejection: self.rejection,
            legs: self.legs().collect(),
            limits: self.limits().collect(),
            ..Outcome::default()
        };
        let mut input = Input(self.images);
        match &command.body {
            Body::Pay(pay) => outcome.payment = Some(self.created(command, pay, &mut input)?),
            Body::Run(_) if self.changes_payment() => {
                outcome.payment = Some(take_payment(&mut input)?);
            }
            Body::Refund(_) | Body::ReturnPayout(_)
                if self.rejection == Some(Rejection::InsufficientFunds) =>
            {
                outcome.short_of_funds = Some(AccountId(input.u64()?));
            }
            _ if self.rejection.is_some() => {}
            Body::OpenAccount(_) => {
                outcome.owner = Some(Box::new(take_owner(&mut input)?.to_owner()));
                outcome.account = Some(Box::new(take_account(&mut input)?));
            }
            Body::FreezeAccount(_) | Body::UnfreezeAccount(_) | Body::CloseAccount(_) => {
                outcome.account = Some(Box::new(take_account(&mut input)?));
                outcome.details = take_optional_details(&mut input)?.map(Box::new);
            }
            Body::CreateOwner(_) => {
                outcome.owner = Some(Box::new(take_owner(&mut input)?.to_owner()));
                outcome.details = Some(Box::new(take_details(&mut input)?));
            }
            Body::Update(update) => match update.object.object() {
                ObjectId::Payment(_) => {
                    outcome.payment = Some(take_payment(&mut input)?);
                    for _ in 0..input.u8()? {
                        outcome.payment_owners.push(OwnerId(input.u64()?));
                    }
                }
                ObjectId::Account(_) => {
                    outcome.account = Some(Box::new(take_account(&mut input)?));
                    outcome.details = Some(Box::new(take_details(&mut input)?));
                }
                ObjectId::Owner(_) => {
                    outcome.details = Some(Box::new(take_details(&mut input)?));
                }
            },
            Body::Capture(_)
            | Body::Void(_)
            | Body::Expire(_)
            | Body::Approve(_)
            | Body::Investigate(_)
            | Body::Refund(_) => {
                outcome.payment = Some(take_payment(&mut input)?);
            }
            Body::SettlePayout(_) => outcome.payment = Some(take_payment(&mut input)?),
            Body::ReturnPayout(_) => {
                outcome.payment = Some(take_payment(&mut input)?);
                outcome.payout = Some(Box::new(take_payment(&mut input)?));
            }
            Body::CreateApiKey(_) => {
                outcome.owner = if input.flag()? {
                    Some(Box::new(take_owner(&mut input)?.to_owner()))
                } else {
                    None
                };
                outcome.api_key = Some(Box::new(take_api_key(&mut input)?));
            }
            Body::RotateApiKey { .. } | Body::RevokeApiKey(_) => {
                outcome.api_key = Some(Box::new(take_api_key(&mut input)?))
            }
            Body::PutSetting(_) | Body::DeleteSetting(_) => {
                let change = take_setting_change(&mut input, self.context())?;
                if let Body::PutSetting(put) = &command.body {
                    check_setting(&put.to_setting(&change, self.context()))?;
                }
                outcome.setting = Some(Box::new(change));
            }
            Body::Publish(_) | Body::Run(_) | Body::SetQueue(_) | Body::AdvanceTime(_) => {}
        }
        if self.header[1] & REPLY != 0 {
            outcome.reply_to = ReplyTo::new(input.u64()?);
        }
        input.end()?;
        Ok(outcome)
    }

    fn created(
        &self,
        command: &Command,
        pay: &Pay,
        input: &mut Input<'_>,
    ) -> Result<Payment, Corrupt> {
        let owner = OwnerId(input.u64()?);
        if let Some(rejection) = self.rejection {
            return Ok(Payment::created(
                command,
                pay,
                self.context(),
                owner,
                Err(rejection),
            ));
        }
        let shares = pay.payees() + pay.fees.len();
        if shares > SHARES_MAX {
            return Err(Corrupt("an accepted payment with too many shares"));
        }
        let mut amounts = [0; SHARES_MAX];
        let amounts = &mut amounts[..shares];
        if is_simple(pay) {
            amounts[0] = pay.amount;
        } else {
            for amount in amounts.iter_mut() {
                *amount = input.u64()?;
            }
        }
        Ok(Payment::created(
            command,
            pay,
            self.context(),
            owner,
            Ok(amounts),
        ))
    }
}

/// Size of the fixed part of an `OpenAccount`, bytes.
const OPEN_FIXED: usize = 13;

/// Offsets in the image of a payment.
const IMAGE_HELD: usize = 16;
const IMAGE_CAPTURED: usize = 24;
const IMAGE_REFUNDED: usize = 32;
const IMAGE_KIND: usize = 110;

fn read_leg(bytes: &[u8; LEG]) -> Leg {
    let numbered = u64_at(bytes, 48);
    Leg {
        account: AccountId(u64_at(bytes, 0)),
        amount: u64_at(bytes, 8) as i64,
        posted_after: u64_at(bytes, 16) as i64,
        held_after: u64_at(bytes, 24),
        prev: u64_at(bytes, 32),
        skip: u64_at(bytes, 40),
        seq: numbered & crate::chain::SEQ_MAX,
        currency: Currency::from_numeric((numbered >> 48) as u16).expect("checked when parsed"),
    }
}

impl Record {
    /// Returns the setting as the record left it, if the record accepted a put of one.
    pub fn setting(&self) -> Option<Setting> {
        match (&self.command.body, &self.outcome.setting) {
            (Body::PutSetting(put), Some(change)) => Some(put.to_setting(change, self.ctx)),
            _ => None,
        }
    }

    /// Returns the reference of the payment, if the record accepted a payment with one.
    pub fn reference(&self) -> Option<&Reference> {
        match &self.command.body {
            Body::Pay(pay) if self.outcome.is_accepted() => pay.reference.as_ref(),
            _ => None,
        }
    }
}
