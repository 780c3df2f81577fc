//! The body of a command as bytes.

use super::bytes::{Corrupt, Input, Put, len_u8, word};
use super::details;
use super::objects::{
    access, currency, label, owner_name, payment_kind, priority, put_setting_names, queue_mode,
    risk_label, setting_body, take_setting_names,
};
use super::operation::Operation;
use crate::{
    AccountId, AccountKind, AdvanceTime, ApiKeyId, Approve, Body, Capture, CorrelationId,
    CreateApiKey, Data, DeleteSetting, Destination, ExternalId, Fee, Fees, Hold, Investigate,
    NAMED_ACCOUNTS_MAX, OpenAccount, OrderKey, Overdraft, OwnerId, Part, Pay, PayeeAmount,
    PayeeAmounts, Payees, PaymentId, Publish, PutSetting, Queue, QueueTerms, Reason, Reference,
    Refund, ReplyTo, ReturnPayout, SHARES_MAX, SettingId, SettingKind, SettlePayout, Share, Topic,
};

pub(super) const PAY_HOLD: u8 = 1;
pub(super) const PAY_SPLIT: u8 = 2;
pub(super) const PAY_QUEUE: u8 = 4;
pub(super) const PAY_SCOPE: u8 = 8;

/// Length of the fixed part of a `Pay`.
pub(super) const PAY_FIXED: usize = 16;

const AMOUNT_GIVEN: u8 = 1;
const FINAL_OR_REFUND_FEE: u8 = 2;
const SPLITS_GIVEN: u8 = 4;

/// Appends the body. `accounts`: whether a `Pay` names its accounts. In an accepted record the legs name them, but not in that of a
/// queued payment, which has no legs of its payees.
pub(super) fn put_body(body: &Body, accounts: bool, into: &mut Vec<u8>) {
    match body {
        Body::OpenAccount(open) => put_open(open, into),
        Body::FreezeAccount(id) | Body::UnfreezeAccount(id) | Body::CloseAccount(id) => {
            into.u64(id.0)
        }
        Body::Pay(pay) => put_pay(pay, accounts, into),
        Body::Capture(capture) => put_change(
            capture.payment,
            capture.amount,
            capture.is_final,
            &capture.splits,
            into,
        ),
        Body::Void(id) | Body::Expire(id) | Body::Run(id) => into.u64(id.0),
        Body::Approve(approve) => {
            into.u64(approve.payment.0);
            into.u8(u8::from(approve.by_payer));
        }
        Body::Investigate(found) => put_investigate(found, into),
        Body::Refund(refund) => put_change(
            refund.payment,
            refund.amount,
            refund.refund_fee,
            &refund.splits,
            into,
        ),
        Body::SettlePayout(settle) => {
            into.u64(settle.payout.0);
            into.put(
                settle
                    .failure
                    .as_ref()
                    .map_or(&[][..], |word| word.as_bytes()),
            );
        }
        Body::ReturnPayout(give) => {
            put_change(
                give.payout,
                give.amount,
                false,
                &PayeeAmounts::default(),
                into,
            );
            into.put(give.reason.as_ref().map_or(&[][..], |word| word.as_bytes()));
        }
        Body::CreateApiKey(create) => put_create(create, into),
        Body::RotateApiKey {
            api_key,
            secret_hash,
            overlap,
        } => {
            into.u64(api_key.0);
            into.put(secret_hash);
            into.u64(*overlap);
        }
        Body::RevokeApiKey(id) => into.u64(id.0),
        Body::Publish(publish) => put_publish(publish, into),
        Body::SetQueue(mode) => into.u8(*mode as u8),
        Body::PutSetting(put) => {
            put_setting_head(put.id, put.replaces, put.kind, into);
            put_setting_names(&put.slug, put.managed_by.as_ref(), into);
            into.put(put.body.as_bytes());
        }
        Body::DeleteSetting(delete) => {
            put_setting_head(delete.id, delete.replaces, delete.kind, into);
        }
        Body::CreateOwner(create) => details::put_create_owner(create, into),
        Body::Update(update) => details::put_update(update, into),
        Body::AdvanceTime(advance) => {
            let (tag, value) = match advance {
                AdvanceTime::By(nanos) => (ADVANCE_BY, nanos),
                AdvanceTime::To(time) => (ADVANCE_TO, time),
            };
            into.u8(tag);
            into.u64(*value);
        }
    }
}

/// Decodes a body. `legs`: the accounts of an accepted `Pay`; none if the body names its accounts, as that of a queued payment does.
/// `digest`: the digest of the command.
pub(super) fn take_body(
    operation: Operation,
    bytes: &[u8],
    legs: Option<&[AccountId]>,
    digest: [u8; 16],
) -> Result<Body, Corrupt> {
    let mut input = Input(bytes);
    let body = match operation {
        Operation::OpenAccount => Body::OpenAccount(take_open(&mut input)?),
        Operation::FreezeAccount => Body::FreezeAccount(AccountId(input.u64()?)),
        Operation::UnfreezeAccount => Body::UnfreezeAccount(AccountId(input.u64()?)),
        Operation::CloseAccount => Body::CloseAccount(AccountId(input.u64()?)),
        Operation::Pay => Body::Pay(take_pay(&mut input, legs)?),
        Operation::Capture => {
            let (payment, amount, is_final, splits) = take_change(&mut input)?;
            Body::Capture(Capture {
                payment,
                amount,
                is_final,
                splits,
            })
        }
        Operation::Void => Body::Void(PaymentId(input.u64()?)),
        Operation::Expire => Body::Expire(PaymentId(input.u64()?)),
        Operation::Run => Body::Run(PaymentId(input.u64()?)),
        Operation::Approve => Body::Approve(Approve {
            payment: PaymentId(input.u64()?),
            by_payer: input.flag()?,
        }),
        Operation::Investigate => Body::Investigate(Box::new(take_investigate(&mut input)?)),
        Operation::Refund => {
            let (payment, amount, refund_fee, splits) = take_change(&mut input)?;
            Body::Refund(Refund {
                payment,
                amount,
                refund_fee,
                splits,
            })
        }
        Operation::SettlePayout => {
            let payout = PaymentId(input.u64()?);
            let failure = word(input.0, Reason::from_bytes)?;
            return Ok(Body::SettlePayout(SettlePayout { payout, failure }));
        }
        Operation::ReturnPayout => {
            let (payout, amount, flagged, splits) = take_change(&mut input)?;
            if flagged || !splits.is_empty() {
                return Err(Corrupt("unknown flags"));
            }
            let reason = word(input.0, Reason::from_bytes)?;
            return Ok(Body::ReturnPayout(ReturnPayout {
                payout,
                amount,
                reason,
            }));
        }
        Operation::CreateApiKey => Body::CreateApiKey(take_create(&mut input)?),
        Operation::RotateApiKey => Body::RotateApiKey {
            api_key: ApiKeyId(input.u64()?),
            secret_hash: input.array()?,
            overlap: input.u64()?,
        },
        Operation::RevokeApiKey => Body::RevokeApiKey(ApiKeyId(input.u64()?)),
        Operation::Publish => return take_publish(bytes).map(Body::Publish),
        Operation::SetQueue => Body::SetQueue(queue_mode(input.u8()?)?),
        Operation::PutSetting => {
            return take_put_setting(input, digest).map(|put| Body::PutSetting(Box::new(put)));
        }
        Operation::DeleteSetting => {
            let (id, replaces, kind) = take_setting_head(&mut input)?;
            Body::DeleteSetting(DeleteSetting { id, kind, replaces })
        }
        Operation::CreateOwner => {
            Body::CreateOwner(Box::new(details::take_create_owner(&mut input)?))
        }
        Operation::Update => Body::Update(Box::new(details::take_update(&mut input)?)),
        Operation::AdvanceTime => Body::AdvanceTime(take_advance_time(&mut input)?),
    };
    input.end()?;
    Ok(body)
}

fn put_open(open: &OpenAccount, into: &mut Vec<u8>) {
    let external = open
        .external_id
        .as_ref()
        .map_or(&[][..], |id| id.as_bytes());
    into.u16(open.currency.numeric());
    into.u8(open.kind as u8);
    into.u8(len_u8(open.owner.as_bytes()));
    into.u8(len_u8(external));
    into.u64(open.overdraft.raw());
    into.put(open.owner.as_bytes());
    into.put(external);
}

fn take_open(input: &mut Input<'_>) -> Result<OpenAccount, Corrupt> {
    let currency = currency(input.u16()?)?;
    let kind = AccountKind::from_number(input.u8()?).ok_or(Corrupt("unknown account kind"))?;
    let (owner_len, external_len) = (input.u8()?, input.u8()?);
    let overdraft = Overdraft::from_raw(input.u64()?);
    let owner = owner_name(input.take(owner_len.into())?)?;
    let external = input.take(external_len.into())?;
    let external_id = word(external, ExternalId::from_bytes)?;
    Ok(OpenAccount {
        owner,
        currency,
        kind,
        overdraft,
        external_id,
    })
}

fn put_pay(pay: &Pay, accounts: bool, into: &mut Vec<u8>) {
    let split: &[Share] = if let Destination::Split(payees) = &pay.destination {
        payees
    } else {
        &[]
    };
    let is_split = matches!(pay.destination, Destination::Split(_));
    let payees = if is_split { split.len() } else { 1 };
    let reference = pay
        .reference
        .as_ref()
        .map_or(&[][..], |word| word.as_bytes());
    let reason = pay.reason.as_ref().map_or(&[][..], |word| word.as_bytes());
    let hold = if pay.hold.is_some() { PAY_HOLD } else { 0 };
    let mut fixed = [0; PAY_FIXED];
    fixed[0] = pay.kind as u8;
    let queue = if pay.queue.is_some() { PAY_QUEUE } else { 0 };
    let scope = if pay.reference_scope.is_some() {
        PAY_SCOPE
    } else {
        0
    };
    fixed[1] = hold | if is_split { PAY_SPLIT } else { 0 } | queue | scope;
    fixed[2] = payees as u8;
    fixed[3] = pay.fees.len() as u8;
    fixed[4..6].copy_from_slice(&pay.currency.numeric().to_le_bytes());
    fixed[6] = len_u8(reference);
    fixed[7] = len_u8(reason);
    fixed[8..].copy_from_slice(&pay.amount.to_le_bytes());
    into.put(&fixed);
    if let Some(scope) = pay.reference_scope {
        into.u64(scope.0);
    }
    if let Some(hold) = pay.hold {
        into.u64(hold.expires_at);
    }
    if let Some(queue) = &pay.queue {
        put_queue(queue, into);
    }
    if accounts || pay.queue.is_some() {
        pay.accounts().for_each(|account| into.u64(account.0));
    }
    for share in split {
        let (tag, value) = match share.part {
            Part::Amount(amount) => (0, amount),
            Part::BasisPoints(points) => (1, u64::from(points)),
        };
        into.u8(tag);
        into.u64(value);
    }
    for fee in pay.fees.iter() {
        into.u64(fee.flat);
        into.u16(fee.basis_points);
    }
    into.word(reference);
    into.word(reason);
}

fn take_pay(input: &mut Input<'_>, legs: Option<&[AccountId]>) -> Result<Pay, Corrupt> {
    let kind = payment_kind(input.u8()?)?;
    let flags = input.u8()?;
    let (payees, fees) = (usize::from(input.u8()?), usize::from(input.u8()?));
    let split = flags & PAY_SPLIT != 0;
    if flags & !(PAY_HOLD | PAY_SPLIT | PAY_QUEUE | PAY_SCOPE) != 0
        || payees > SHARES_MAX
        || fees > SHARES_MAX
        || (!split && payees != 1)
    {
        return Err(Corrupt("a payment's shape"));
    }
    let currency = currency(input.u16()?)?;
    let (reference_len, reason_len) = (input.u8()?, input.u8()?);
    let amount = input.u64()?;
    let reference_scope = if flags & PAY_SCOPE != 0 {
        Some(OwnerId(input.u64()?))
    } else {
        None
    };
    let hold = if flags & PAY_HOLD != 0 {
        Some(Hold {
            expires_at: input.u64()?,
        })
    } else {
        None
    };
    let queue = if flags & PAY_QUEUE != 0 {
        Some(Box::new(take_queue(input)?))
    } else {
        None
    };
    let mut named = [AccountId(0); NAMED_ACCOUNTS_MAX];
    let named = &mut named[..1 + payees + fees];
    let other = Err(Corrupt("a payment has other legs than accounts"));
    match legs.filter(|_| queue.is_none()) {
        Some(legs) if legs.len() == named.len() => named.copy_from_slice(legs),
        Some(_) => return other,
        None => {
            for account in named.iter_mut() {
                *account = AccountId(input.u64()?);
            }
            if legs.is_some_and(|legs| *legs != named[..1]) {
                return other;
            }
        }
    }
    let (to, earning) = named[1..].split_at(payees);
    let destination = if split {
        let shares = to.iter().map(|account| {
            Ok(Share {
                account: *account,
                part: take_part(input)?,
            })
        });
        Destination::Split(
            Payees::new(shares.collect::<Result<_, _>>()?).ok_or(Corrupt("too many payees"))?,
        )
    } else {
        Destination::One(to[0])
    };
    let earning = earning.iter().map(|account| {
        Ok(Fee {
            account: *account,
            flat: input.u64()?,
            basis_points: input.u16()?,
        })
    });
    let fees = Fees::new(earning.collect::<Result<_, _>>()?).ok_or(Corrupt("too many fees"))?;
    let reference = word(input.take(reference_len.into())?, Reference::from_bytes)?;
    let reason = word(input.take(reason_len.into())?, Reason::from_bytes)?;
    Ok(Pay {
        kind,
        source: named[0],
        destination,
        fees,
        amount,
        currency,
        hold,
        reference,
        reference_scope,
        reason,
        queue,
    })
}

fn put_queue(queue: &Queue, into: &mut Vec<u8>) {
    let correlation_id = queue
        .correlation_id
        .as_ref()
        .map_or(&[][..], |word| word.as_bytes());
    into.u8(queue.terms.priority.number());
    into.u8(len_u8(correlation_id));
    into.u64(queue.terms.not_before);
    into.u64(queue.terms.expires_at);
    into.u64(ReplyTo::raw(queue.terms.reply_to));
    into.put(correlation_id);
}

fn take_queue(input: &mut Input<'_>) -> Result<Queue, Corrupt> {
    let priority = priority(input.u8()?)?;
    let correlation_id = input.u8()?;
    let terms = QueueTerms {
        priority,
        not_before: input.u64()?,
        expires_at: input.u64()?,
        reply_to: ReplyTo::new(input.u64()?),
    };
    Ok(Queue {
        terms,
        correlation_id: word(
            input.take(correlation_id.into())?,
            CorrelationId::from_bytes,
        )?,
    })
}

fn take_part(input: &mut Input<'_>) -> Result<Part, Corrupt> {
    let is_points = input.flag()?;
    let value = input.u64()?;
    if !is_points {
        return Ok(Part::Amount(value));
    }
    u16::try_from(value)
        .map(Part::BasisPoints)
        .map_err(|_| Corrupt("too many basis points"))
}

fn put_change(
    payment: PaymentId,
    amount: Option<u64>,
    second: bool,
    splits: &PayeeAmounts,
    into: &mut Vec<u8>,
) {
    into.u64(payment.0);
    into.u8(if amount.is_some() { AMOUNT_GIVEN } else { 0 }
        | if second { FINAL_OR_REFUND_FEE } else { 0 }
        | if splits.is_empty() { 0 } else { SPLITS_GIVEN });
    into.u64(amount.unwrap_or(0));
    if !splits.is_empty() {
        into.u8(splits.len() as u8);
    }
    for part in splits.iter() {
        into.u64(part.account.0);
        into.u64(part.amount);
    }
}

fn take_change(
    input: &mut Input<'_>,
) -> Result<(PaymentId, Option<u64>, bool, PayeeAmounts), Corrupt> {
    let payment = PaymentId(input.u64()?);
    let flags = input.u8()?;
    let amount = input.u64()?;
    let given = flags & AMOUNT_GIVEN != 0;
    let known = AMOUNT_GIVEN | FINAL_OR_REFUND_FEE | SPLITS_GIVEN;
    if flags & !known != 0 || (!given && amount != 0) {
        return Err(Corrupt("a change of a payment"));
    }
    let splits = if flags & SPLITS_GIVEN != 0 {
        take_splits(input)?
    } else {
        PayeeAmounts::default()
    };
    Ok((
        payment,
        given.then_some(amount),
        flags & FINAL_OR_REFUND_FEE != 0,
        splits,
    ))
}

/// Length of the fixed part of an `Investigate`, and where in it the label is.
pub(super) const INVESTIGATE_FIXED: usize = 12;
pub(super) const INVESTIGATE_LABEL: usize = 9;

const BEGUN: u8 = 1;
const NOT_BEGUN: u8 = 2;
const ASSIGNEE_GIVEN: u8 = 1;

fn put_investigate(found: &Investigate, into: &mut Vec<u8>) {
    into.u64(found.payment.0);
    into.u8(found.investigating.map_or(0, |begun| match begun {
        true => BEGUN,
        false => NOT_BEGUN,
    }));
    into.u8(found.label.map_or(0, |label| label as u8));
    let assignee = found.assignee.as_ref();
    into.u8(assignee.map_or(0, |_| ASSIGNEE_GIVEN));
    let name = assignee.and_then(Option::as_ref);
    let name = name.map_or(&[][..], |name| name.as_bytes());
    into.u8(len_u8(name));
    into.put(name);
}

fn take_investigate(input: &mut Input<'_>) -> Result<Investigate, Corrupt> {
    let payment = PaymentId(input.u64()?);
    let investigating = match input.u8()? {
        0 => None,
        BEGUN => Some(true),
        NOT_BEGUN => Some(false),
        _ => return Err(Corrupt("unknown stage")),
    };
    let risk_label = match input.u8()? {
        0 => None,
        number => Some(risk_label(number)?),
    };
    let is_given = input.flag()?;
    let len = input.u8()?;
    let name = label(input.take(len.into())?)?;
    if name.is_some() && !is_given {
        return Err(Corrupt("a name that is not given"));
    }
    Ok(Investigate {
        payment,
        investigating,
        assignee: is_given.then_some(name),
        label: risk_label,
    })
}

fn take_splits(input: &mut Input<'_>) -> Result<PayeeAmounts, Corrupt> {
    let count = usize::from(input.u8()?);
    if !(1..=SHARES_MAX).contains(&count) {
        return Err(Corrupt("splits for no payee or for too many"));
    }
    let part = |_| {
        Ok(PayeeAmount {
            account: AccountId(input.u64()?),
            amount: input.u64()?,
        })
    };
    let parts = (0..count).map(part).collect::<Result<_, _>>()?;
    PayeeAmounts::new(parts).ok_or(Corrupt("too many payees"))
}

fn put_create(create: &CreateApiKey, into: &mut Vec<u8>) {
    let label = create
        .label
        .as_ref()
        .map_or(&[][..], |label| label.as_bytes());
    into.u8(create.access as u8);
    into.u8(len_u8(create.owner.as_bytes()));
    into.u8(len_u8(label));
    into.put(&create.secret_hash);
    into.put(create.owner.as_bytes());
    into.put(label);
}

fn take_create(input: &mut Input<'_>) -> Result<CreateApiKey, Corrupt> {
    let access = access(input.u8()?)?;
    let (owner_len, label_len) = (input.u8()?, input.u8()?);
    let secret_hash = input.array()?;
    let owner = owner_name(input.take(owner_len.into())?)?;
    let label = label(input.take(label_len.into())?)?;
    Ok(CreateApiKey {
        owner,
        access,
        secret_hash,
        label,
    })
}

/// Length of the body of an `AdvanceTime`.
pub(super) const ADVANCE_TIME: usize = 9;
const ADVANCE_BY: u8 = 1;
const ADVANCE_TO: u8 = 2;

pub(super) fn take_advance_time(input: &mut Input<'_>) -> Result<AdvanceTime, Corrupt> {
    let (tag, value) = (input.u8()?, input.u64()?);
    match tag {
        ADVANCE_BY => Ok(AdvanceTime::By(value)),
        ADVANCE_TO => Ok(AdvanceTime::To(value)),
        _ => Err(Corrupt("unknown way to move the clock")),
    }
}

/// Length of the fixed part of a `Publish`.
pub(super) const PUBLISH_FIXED: usize = 3;

fn put_publish(publish: &Publish, into: &mut Vec<u8>) {
    let topic = publish.topic.as_bytes();
    let key = publish.key.as_ref().map_or(&[][..], |key| key.as_bytes());
    into.u8(len_u8(topic));
    into.u8(len_u8(key));
    into.u8(publish.data.scheme());
    into.put(topic);
    into.put(key);
    into.put(publish.data.as_bytes());
}

fn take_publish(bytes: &[u8]) -> Result<Publish, Corrupt> {
    let mut input = Input(bytes);
    let (topic_len, key_len, scheme) = (input.u8()?, input.u8()?, input.u8()?);
    let topic = Topic::from_bytes(input.take(topic_len.into())?).map_err(|_| NO_TOPIC)?;
    let key = word(input.take(key_len.into())?, OrderKey::from_bytes)?;
    let data = Data::new(scheme, input.0).map_err(|_| Corrupt("not the data of an event"))?;
    Ok(Publish { topic, key, data })
}

/// Error: the bytes are not a topic.
pub(super) const NO_TOPIC: Corrupt = Corrupt("not a topic");

/// Length of the fixed part that a put and a delete of a setting begin with.
pub(super) const SETTING_HEAD: usize = 18;

/// Length of the fixed part of a `PutSetting`.
pub(super) const PUT_SETTING_FIXED: usize = SETTING_HEAD + 2;

fn put_setting_head(id: SettingId, replaces: u64, kind: SettingKind, into: &mut Vec<u8>) {
    into.u64(id.0);
    into.u64(replaces);
    into.u16(kind.0);
}

fn take_setting_head(input: &mut Input<'_>) -> Result<(SettingId, u64, SettingKind), Corrupt> {
    let (id, replaces) = (SettingId(input.u64()?), input.u64()?);
    Ok((id, replaces, SettingKind(input.u16()?)))
}

fn take_put_setting(mut input: Input<'_>, request: [u8; 16]) -> Result<PutSetting, Corrupt> {
    let (id, replaces, kind) = take_setting_head(&mut input)?;
    let (slug, managed_by) = take_setting_names(&mut input)?;
    let body = setting_body(input.0)?;
    Ok(PutSetting {
        id,
        kind,
        slug,
        managed_by,
        replaces,
        body,
        request,
    })
}
