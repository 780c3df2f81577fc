//! Objects as bytes: in checkpoints, database rows, and the after-images of records.
//!
//! ```text
//! account  id, owner, owner_prev (0 = none) u64 · posted i64 · held, overdraft (2^64-1 = unlimited), opened_at, last, seq u64 ·
//!          currency u16 · kind, status, has_marks u8 · [4 marks u64]
//! owner    id, last_account (0 = none), changed_at u64 · name_len u8 · name
//! payment  id, amount, held, captured, refunded, fee_refunded, owner, actor.owner, actor.api_key, source, expires_at,
//!          created_at, changed_at u64 · effective_at i32 · currency u16 · kind, status, reached_payees u8 ·
//!          [if queued: priority u8 · not_before, expires_at, reply_to u64 (0 = none)] · shares u8 · shares × (account, amount, captured, refunded,
//!          refunded_with_fee u64 · is_fee u8)
//!          · flags u8 (1 text, 2 split_base, 4 review, 8 label, 16 shown_at) · [text] · [split_base: payees × (captured, refunded, refunded_with_fee u64)] ·
//!          [review: kind, stage, has_hold u8 · [expires_at u64] · assignee_len u8 · assignee] · [label u8] · [shown_at u64]
//! text     revision, description_at, metadata_at (0 = the record that created the object), changed_at u64
//! details  object u8 (1 account, 3 owner) · id u64 · text · has_profile u8 · [kind u8 (0 = none) · status, external_len u8 · external_id]
//! api_key  id, owner, created_at, rotated_at, revoked_at, changed_at u64 · secret_hash [32] ·
//!          access, status, flags (1 rotated, 2 revoked, 4 previous), label_len u8 · label · [previous secret_hash [32] · valid_until u64]
//! queue    mode u8 · changed_at u64
//! setting  id, owner, revision, prev, created position, created timestamp, changed position, changed timestamp u64 · kind u16 ·
//!          slug_len, managed_by_len u8 · slug · managed_by · content_len u16 · content
//! ```

use super::bytes::{Corrupt, Input, Put, len_u8};
use super::limits::check_setting;
use crate::chain::{Chain, SEQ_MAX};
use crate::{
    AMOUNT_MAX, Access, Account, AccountId, AccountKind, AccountStatus, Actor, ApiKey, ApiKeyId,
    ApiKeyStatus, Context, Currency, Date, Hold, Label, ManagedBy, Overdraft, OwnerId, OwnerName,
    OwnerRef, Payment, PaymentId, PaymentKind, PaymentShare, PaymentStatus, PreviousSecret,
    Priority, QueueMode, QueueState, QueueTerms, ReplyTo, Review, ReviewKind, ReviewStage,
    RiskLabel, Setting, SettingBody, SettingChange, SettingId, SettingKind, Slug, SplitBase,
    TextState, TimeOffset,
};

pub(super) fn currency(numeric: u16) -> Result<Currency, Corrupt> {
    Currency::from_numeric(numeric).map_err(|_| Corrupt("unknown currency"))
}

/// Reads an optional account id; 0 = none, because positions begin at 1.
pub(super) fn account_or_none(raw: u64) -> Option<AccountId> {
    (raw != 0).then_some(AccountId(raw))
}

pub(super) fn put_account(account: &Account, into: &mut Vec<u8>) {
    into.u64(account.id.0);
    into.u64(account.owner.0);
    into.u64(account.owner_prev.get().map_or(0, |id| id.0));
    into.i64(account.posted);
    into.u64(account.held);
    into.u64(account.overdraft.raw());
    into.u64(account.opened_at);
    into.u64(account.chain.last());
    into.u64(account.chain.seq());
    into.u16(account.currency.numeric());
    into.u8(account.kind as u8);
    into.u8(account.status as u8);
    let marks = account.chain.marks();
    into.u8(u8::from(marks != [0; 4]));
    if marks != [0; 4] {
        marks.iter().for_each(|mark| into.u64(*mark));
    }
}

pub(super) fn take_account(input: &mut Input<'_>) -> Result<Account, Corrupt> {
    let id = AccountId(input.u64()?);
    let owner = OwnerId(input.u64()?);
    let owner_prev = account_or_none(input.u64()?).into();
    let posted = input.i64()?;
    let held = input.u64()?;
    let overdraft = Overdraft::from_raw(input.u64()?);
    let opened_at = input.u64()?;
    let (last, seq) = (input.u64()?, input.u64()?);
    let currency = currency(input.u16()?)?;
    let (kind, status) = kind_and_status(input)?;
    let mut marks = [0; 4];
    if input.flag()? {
        for mark in &mut marks {
            *mark = input.u64()?;
        }
        if marks == [0; 4] {
            return Err(Corrupt("marks without any"));
        }
    }
    let chain = Chain::from_parts(last, seq, marks);
    checked(Account {
        id,
        owner,
        owner_prev,
        posted,
        held,
        overdraft,
        opened_at,
        chain,
        currency,
        kind,
        status,
    })
}

pub(super) fn kind_and_status(
    input: &mut Input<'_>,
) -> Result<(AccountKind, AccountStatus), Corrupt> {
    let kind = AccountKind::from_number(input.u8()?).ok_or(Corrupt("unknown account kind"))?;
    let status =
        AccountStatus::from_number(input.u8()?).ok_or(Corrupt("unknown account status"))?;
    Ok((kind, status))
}

/// Checks that the balances of the account are within their bounds.
pub(super) fn checked(account: Account) -> Result<Account, Corrupt> {
    if account.posted.unsigned_abs() > AMOUNT_MAX || account.held > AMOUNT_MAX {
        return Err(Corrupt("a balance out of bounds"));
    }
    if account.chain.seq() > SEQ_MAX {
        return Err(Corrupt("a chain too long"));
    }
    Ok(account)
}

pub(super) fn put_owner(owner: OwnerRef<'_>, into: &mut Vec<u8>) {
    into.u64(owner.id.0);
    into.u64(owner.last_account.map_or(0, |id| id.0));
    into.u64(owner.changed_at());
    into.u8(len_u8(owner.name));
    into.put(owner.name);
}

pub(super) fn take_owner<'a>(input: &mut Input<'a>) -> Result<OwnerRef<'a>, Corrupt> {
    let id = OwnerId(input.u64()?);
    let last_account = account_or_none(input.u64()?);
    let changed_at = input.u64()?;
    let len = input.u8()?;
    let name = owner_name_bytes(input.take(len.into())?)?;
    let owner = OwnerRef {
        id,
        name,
        last_account,
    };
    if changed_at != owner.changed_at() {
        return Err(Corrupt("an owner that nothing changed then"));
    }
    Ok(owner)
}

pub(super) fn owner_name_bytes(bytes: &[u8]) -> Result<&[u8], Corrupt> {
    let checked = OwnerName::check(bytes).map(|()| bytes);
    checked.map_err(|_| Corrupt("not an owner's name"))
}

pub(super) fn owner_name(bytes: &[u8]) -> Result<OwnerName, Corrupt> {
    OwnerName::from_bytes(bytes).map_err(|_| Corrupt("not an owner's name"))
}

const TEXT: u8 = 1;
const SPLIT_BASE: u8 = 2;
const REVIEW: u8 = 4;
const LABEL: u8 = 8;
const SHOWN: u8 = 16;

pub(super) fn put_payment(payment: &Payment, into: &mut Vec<u8>) {
    let amounts = [
        payment.amount,
        payment.held,
        payment.captured,
        payment.refunded,
        payment.fee_refunded,
    ];
    let parties = [
        payment.owner.0,
        payment.actor.owner.0,
        payment.actor.api_key.0,
        payment.source.0,
    ];
    let times = [payment.expires_at, payment.created_at, payment.changed_at];
    into.u64(payment.id.0);
    amounts
        .iter()
        .chain(&parties)
        .chain(&times)
        .for_each(|value| into.u64(*value));
    into.i32(payment.effective_at.0);
    into.u16(payment.currency.numeric());
    into.u8(payment.kind as u8);
    into.u8(payment.status as u8);
    into.u8(u8::from(payment.reached_payees));
    assert!(
        payment.queue.is_some() == (payment.status == PaymentStatus::Queued),
        "a queued payment has terms, and no other"
    );
    if let Some(terms) = &payment.queue {
        into.u8(terms.priority.number());
        into.u64(terms.not_before);
        into.u64(terms.expires_at);
        into.u64(ReplyTo::raw(terms.reply_to));
    }
    into.u8(u8::try_from(payment.shares.len()).expect("at most 32 shares, of a failed payment"));
    for share in &payment.shares {
        [
            share.account.0,
            share.amount,
            share.captured,
            share.refunded,
            share.refunded_with_fee,
        ]
        .iter()
        .for_each(|value| into.u64(*value));
        into.u8(u8::from(share.is_fee));
    }
    let flag = |is_there: bool, flag: u8| if is_there { flag } else { 0 };
    into.u8(flag(payment.text.is_some(), TEXT)
        | flag(payment.split_base.is_some(), SPLIT_BASE)
        | flag(payment.review.is_some(), REVIEW)
        | flag(payment.label.is_some(), LABEL)
        | flag(payment.shown_at.is_some(), SHOWN));
    if let Some(text) = &payment.text {
        put_text_state(text, into);
    }
    if let Some(base) = &payment.split_base {
        assert_eq!(base.len(), payment.payees().len(), "one base per payee");
        base.iter()
            .flat_map(|base| [base.captured, base.refunded, base.refunded_with_fee])
            .for_each(|value| into.u64(value));
    }
    if let Some(review) = &payment.review {
        put_review(review, into);
    }
    if let Some(label) = payment.label {
        into.u8(label as u8);
    }
    if let Some(shown_at) = payment.shown_at {
        into.u64(shown_at);
    }
}

fn put_review(review: &Review, into: &mut Vec<u8>) {
    into.u8(review.kind as u8);
    into.u8(review.stage as u8);
    into.u8(u8::from(review.hold.is_some()));
    if let Some(hold) = review.hold {
        into.u64(hold.expires_at);
    }
    let assignee = review.assignee.as_ref();
    let assignee = assignee.map_or(&[][..], |name| name.as_bytes());
    into.u8(len_u8(assignee));
    into.put(assignee);
}

fn take_review(input: &mut Input<'_>) -> Result<Review, Corrupt> {
    let kind = review_kind(input.u8()?)?;
    let stage = ReviewStage::from_number(input.u8()?).ok_or(Corrupt("unknown stage"))?;
    let hold = match input.flag()? {
        true => Some(Hold {
            expires_at: input.u64()?,
        }),
        false => None,
    };
    let len = input.u8()?;
    Ok(Review {
        kind,
        stage,
        hold,
        assignee: label(input.take(len.into())?)?,
    })
}

pub(super) fn review_kind(number: u8) -> Result<ReviewKind, Corrupt> {
    ReviewKind::from_number(number).ok_or(Corrupt("unknown kind of review"))
}

pub(super) fn risk_label(number: u8) -> Result<RiskLabel, Corrupt> {
    RiskLabel::from_number(number).ok_or(Corrupt("unknown label"))
}

pub(super) fn take_payment(input: &mut Input<'_>) -> Result<Payment, Corrupt> {
    let id = PaymentId(input.u64()?);
    let (amount, held, captured) = (input.u64()?, input.u64()?, input.u64()?);
    let (refunded, fee_refunded) = (input.u64()?, input.u64()?);
    let owner = OwnerId(input.u64()?);
    let actor = Actor {
        owner: OwnerId(input.u64()?),
        api_key: ApiKeyId(input.u64()?),
    };
    let source = AccountId(input.u64()?);
    let (expires_at, created_at, changed_at) = (input.u64()?, input.u64()?, input.u64()?);
    let effective_at = Date(input.i32()?);
    let currency = currency(input.u16()?)?;
    let kind = payment_kind(input.u8()?)?;
    let status =
        PaymentStatus::from_number(input.u8()?).ok_or(Corrupt("unknown payment status"))?;
    let reached_payees = input.flag()?;
    let queue = if status == PaymentStatus::Queued {
        Some(Box::new(QueueTerms {
            priority: priority(input.u8()?)?,
            not_before: input.u64()?,
            expires_at: input.u64()?,
            reply_to: ReplyTo::new(input.u64()?),
        }))
    } else {
        None
    };
    if captured.checked_add(held).is_none_or(|used| used > amount)
        || refunded > captured
        || fee_refunded > refunded
    {
        return Err(Corrupt("a payment's amounts out of bounds"));
    }
    let has_moved = captured > 0 || held > 0;
    if (queue.is_some() && reached_payees) || (has_moved && !reached_payees) {
        return Err(Corrupt(
            "a payment that cannot have reached its payees, or must have",
        ));
    }
    let shares = (0..input.u8()?)
        .map(|_| take_share(input))
        .collect::<Result<_, _>>()?;
    let flags = input.u8()?;
    if flags & !(TEXT | SPLIT_BASE | REVIEW | LABEL | SHOWN) != 0 {
        return Err(Corrupt("unknown flags"));
    }
    let text = if flags & TEXT != 0 {
        Some(Box::new(take_text_state(input)?))
    } else {
        None
    };
    let mut payment = Payment {
        id,
        kind,
        status,
        owner,
        actor,
        currency,
        source,
        amount,
        held,
        captured,
        refunded,
        fee_refunded,
        expires_at,
        created_at,
        effective_at,
        changed_at,
        shown_at: None,
        queue,
        text,
        review: None,
        label: None,
        reached_payees,
        split_base: None,
        shares,
    };
    if flags & SPLIT_BASE != 0 {
        let base = payment
            .payees()
            .iter()
            .map(|share| take_split_base(share, input));
        payment.split_base = Some(Box::new(base.collect::<Result<_, _>>()?));
    }
    if flags & REVIEW != 0 {
        payment.review = Some(Box::new(take_review(input)?));
    }
    if flags & LABEL != 0 {
        payment.label = Some(risk_label(input.u8()?)?);
    }
    if flags & SHOWN != 0 {
        payment.shown_at = Some(input.u64()?);
    }
    if payment.shown_at() > payment.changed_at {
        return Err(Corrupt("a payment that changed after its last change"));
    }
    let review = payment.review.as_ref();
    let waits = review.is_some_and(|review| review.stage.is_open());
    if waits != (status == PaymentStatus::InReview) || waits && held != amount {
        return Err(Corrupt(
            "a payment in review that is not held, or the other way round",
        ));
    }
    Ok(payment)
}

fn take_split_base(share: &PaymentShare, input: &mut Input<'_>) -> Result<SplitBase, Corrupt> {
    let base = SplitBase {
        captured: input.u64()?,
        refunded: input.u64()?,
        refunded_with_fee: input.u64()?,
    };
    let alone = |refunded: u64, with_fee: u64| refunded.checked_sub(with_fee);
    let alone_then = alone(base.refunded, base.refunded_with_fee);
    if base.captured > share.captured
        || base.refunded_with_fee > share.refunded_with_fee
        || alone_then.is_none()
        || alone_then > alone(share.refunded, share.refunded_with_fee)
    {
        return Err(Corrupt("a share's amounts out of bounds"));
    }
    Ok(base)
}

pub(super) fn put_text_state(text: &TextState, into: &mut Vec<u8>) {
    into.u64(text.revision);
    into.u64(text.description_at);
    into.u64(text.metadata_at);
    into.u64(text.changed_at);
}

pub(super) fn take_text_state(input: &mut Input<'_>) -> Result<TextState, Corrupt> {
    let text = TextState {
        revision: input.u64()?,
        description_at: input.u64()?,
        metadata_at: input.u64()?,
        changed_at: input.u64()?,
    };
    let newest = text.description_at.max(text.metadata_at);
    if text.revision == 0 || newest > text.changed_at {
        return Err(Corrupt("a text that nothing changed then"));
    }
    Ok(text)
}

fn take_share(input: &mut Input<'_>) -> Result<PaymentShare, Corrupt> {
    let account = AccountId(input.u64()?);
    let (amount, captured, refunded) = (input.u64()?, input.u64()?, input.u64()?);
    let refunded_with_fee = input.u64()?;
    let is_fee = input.flag()?;
    if refunded_with_fee > if is_fee { 0 } else { refunded } {
        return Err(Corrupt("a share's amounts out of bounds"));
    }
    Ok(PaymentShare {
        account,
        is_fee,
        amount,
        captured,
        refunded,
        refunded_with_fee,
    })
}

pub(super) fn payment_kind(number: u8) -> Result<PaymentKind, Corrupt> {
    PaymentKind::from_number(number).ok_or(Corrupt("unknown payment kind"))
}

pub(super) fn priority(number: u8) -> Result<Priority, Corrupt> {
    Priority::new(number).ok_or(Corrupt("unknown priority"))
}

pub(super) fn queue_mode(number: u8) -> Result<QueueMode, Corrupt> {
    QueueMode::from_number(number).ok_or(Corrupt("unknown mode of the queue"))
}

pub(super) fn put_queue_state(queue: &QueueState, into: &mut Vec<u8>) {
    into.u8(queue.mode as u8);
    into.u64(queue.changed_at);
}

pub(super) fn take_queue_state(input: &mut Input<'_>) -> Result<QueueState, Corrupt> {
    Ok(QueueState {
        mode: queue_mode(input.u8()?)?,
        changed_at: input.u64()?,
    })
}

pub(super) fn put_time_offset(offset: &TimeOffset, into: &mut Vec<u8>) {
    into.u64(offset.nanos);
    into.u64(offset.changed_at);
}

pub(super) fn take_time_offset(input: &mut Input<'_>) -> Result<TimeOffset, Corrupt> {
    Ok(TimeOffset {
        nanos: input.u64()?,
        changed_at: input.u64()?,
    })
}

pub(super) fn access(number: u8) -> Result<Access, Corrupt> {
    Access::from_number(number).ok_or(Corrupt("unknown access"))
}

pub(super) fn label(bytes: &[u8]) -> Result<Option<Label>, Corrupt> {
    if bytes.is_empty() {
        return Ok(None);
    }
    Label::from_bytes(bytes)
        .map(Some)
        .map_err(|_| Corrupt("not a label"))
}

const ROTATED: u8 = 1;
const REVOKED: u8 = 2;
const PREVIOUS: u8 = 4;

pub(super) fn put_api_key(key: &ApiKey, into: &mut Vec<u8>) {
    let times = [
        key.created_at,
        key.rotated_at.unwrap_or(0),
        key.revoked_at.unwrap_or(0),
        key.changed_at,
    ];
    into.u64(key.id.0);
    into.u64(key.owner.0);
    times.iter().for_each(|time| into.u64(*time));
    into.put(&key.secret_hash);
    into.u8(key.access as u8);
    into.u8(key.status as u8);
    into.u8(if key.rotated_at.is_some() { ROTATED } else { 0 }
        | if key.revoked_at.is_some() { REVOKED } else { 0 }
        | if key.previous.is_some() { PREVIOUS } else { 0 });
    let label = key.label.as_ref().map_or(&[][..], |label| label.as_bytes());
    into.u8(len_u8(label));
    into.put(label);
    if let Some(previous) = &key.previous {
        into.put(&previous.secret_hash);
        into.u64(previous.valid_until);
    }
}

pub(super) fn take_api_key(input: &mut Input<'_>) -> Result<ApiKey, Corrupt> {
    let id = ApiKeyId(input.u64()?);
    let owner = OwnerId(input.u64()?);
    let (created_at, rotated, revoked, changed_at) =
        (input.u64()?, input.u64()?, input.u64()?, input.u64()?);
    let secret_hash = input.array()?;
    let access = access(input.u8()?)?;
    let status = ApiKeyStatus::from_number(input.u8()?).ok_or(Corrupt("unknown API key status"))?;
    let flags = input.u8()?;
    if flags & !(ROTATED | REVOKED | PREVIOUS) != 0 {
        return Err(Corrupt("unknown flags"));
    }
    let len = input.u8()?;
    let label = label(input.take(len.into())?)?;
    if (flags & ROTATED == 0 && rotated != 0) || (flags & REVOKED == 0 && revoked != 0) {
        return Err(Corrupt("a time that is not flagged"));
    }
    let previous = if flags & PREVIOUS != 0 {
        Some(Box::new(PreviousSecret {
            secret_hash: input.array()?,
            valid_until: input.u64()?,
        }))
    } else {
        None
    };
    let rotated_at = (flags & ROTATED != 0).then_some(rotated);
    let revoked_at = (flags & REVOKED != 0).then_some(revoked);
    Ok(ApiKey {
        id,
        owner,
        access,
        status,
        secret_hash,
        previous,
        label,
        created_at,
        rotated_at,
        revoked_at,
        changed_at,
    })
}

pub(super) fn put_setting_names(slug: &Slug, managed_by: Option<&ManagedBy>, into: &mut Vec<u8>) {
    let managed_by = managed_by.map_or(&[][..], |name| name.as_bytes());
    into.u8(len_u8(slug.as_bytes()));
    into.u8(len_u8(managed_by));
    into.put(slug.as_bytes());
    into.put(managed_by);
}

pub(super) fn take_setting_names(
    input: &mut Input<'_>,
) -> Result<(Slug, Option<ManagedBy>), Corrupt> {
    let (slug_len, managed_by_len) = (input.u8()?, input.u8()?);
    let slug = Slug::from_bytes(input.take(slug_len.into())?);
    let slug = slug.map_err(|_| Corrupt("not a slug"))?;
    let managed_by = match input.take(managed_by_len.into())? {
        [] => None,
        bytes => Some(ManagedBy::from_bytes(bytes).map_err(|_| Corrupt("not a manager's name"))?),
    };
    Ok((slug, managed_by))
}

pub(super) fn setting_body(bytes: &[u8]) -> Result<SettingBody, Corrupt> {
    SettingBody::new(bytes).map_err(|_| Corrupt("not the content of a setting"))
}

pub(super) fn put_setting(setting: &Setting, into: &mut Vec<u8>) {
    into.u64(setting.id.0);
    into.u64(setting.owner.0);
    into.u64(setting.revision);
    into.u64(setting.prev);
    put_context(setting.created, into);
    put_context(setting.changed, into);
    into.u16(setting.kind.0);
    put_setting_names(&setting.slug, setting.managed_by.as_ref(), into);
    let body = setting.body.as_bytes();
    into.u16(u16::try_from(body.len()).expect("a body has at most 32 KiB"));
    into.put(body);
}

pub(super) fn take_setting(input: &mut Input<'_>) -> Result<Setting, Corrupt> {
    let id = SettingId(input.u64()?);
    let owner = OwnerId(input.u64()?);
    let (revision, prev) = (input.u64()?, input.u64()?);
    let (created, changed) = (take_context(input)?, take_context(input)?);
    let kind = SettingKind(input.u16()?);
    let (slug, managed_by) = take_setting_names(input)?;
    let body_len = input.u16()?;
    let body = setting_body(input.take(body_len.into())?)?;
    check_revision(revision, prev, created, changed)?;
    let setting = Setting {
        id,
        kind,
        owner,
        slug,
        managed_by,
        revision,
        body,
        created,
        changed,
        prev,
    };
    check_setting(&setting)?;
    Ok(setting)
}

pub(super) fn put_setting_change(change: &SettingChange, into: &mut Vec<u8>) {
    into.u64(change.revision);
    into.u64(change.owner.0);
    put_context(change.created, into);
    into.u64(change.prev);
}

pub(super) fn take_setting_change(
    input: &mut Input<'_>,
    ctx: Context,
) -> Result<SettingChange, Corrupt> {
    let revision = input.u64()?;
    let owner = OwnerId(input.u64()?);
    let created = take_context(input)?;
    let prev = input.u64()?;
    check_revision(revision, prev, created, ctx)?;
    Ok(SettingChange {
        revision,
        owner,
        created,
        prev,
    })
}

/// The first revision is its own creation; a later revision follows a revision at or after the creation.
fn check_revision(
    revision: u64,
    prev: u64,
    created: Context,
    changed: Context,
) -> Result<(), Corrupt> {
    let is_sound = match revision {
        0 => false,
        1 => prev == 0 && created == changed,
        _ => created.position <= prev && prev < changed.position,
    };
    if is_sound && created.position > 0 {
        return Ok(());
    }
    Err(Corrupt("a revision out of order"))
}

fn put_context(ctx: Context, into: &mut Vec<u8>) {
    into.u64(ctx.position);
    into.u64(ctx.timestamp);
}

fn take_context(input: &mut Input<'_>) -> Result<Context, Corrupt> {
    Ok(Context {
        position: input.u64()?,
        timestamp: input.u64()?,
    })
}
