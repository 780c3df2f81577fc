//! Records and objects as bytes. All integers are little-endian.
//!
//! A record of format 1 (objects as `account`, `payment`, …: see the source of `objects`):
//! ```text
//!  0 operation u8      1 flags u8 (1 linked, 2 text, 4 effective_at, 8 reply_to, 16 origin, 64 limits, 128 assessment)
//!  2 rejection u16 (0 = accepted)
//!  4 body_len u16      6 text_len u16 (without its scheme byte)
//!  8 position u64     16 timestamp u64    24 actor.owner u64    32 actor.api_key u64
//! 40 digest [16]      56 effective_at i32 (0 if not given)
//! 60 key_len u8       61 leg_count u8     62 image_len u16
//! 64 key · body · legs · images · [limits] · [assessment] · [scheme u8 · text] · [origin]
//! ```
//! leg (56 bytes): account u64 · amount, posted_after i64 · held_after, prev, skip u64 · seq u48 · currency u16
//!
//! assessment: effect u8 (0 allow, 1 block, 2 review) · [review: kind u8 · seconds u32] · length u16 · report
//! limits: count u8 · count × (setting, bucket, payments, amount u64): see `LimitUse`
//!
//! origin: setting, revision u64 · message [32] · hops u8 · to_len, correlation_id_len u16 (0 = none) · to · correlation_id
//!
//! body, by operation:
//! ```text
//! open_account     currency u16 · kind, owner_len, external_len u8 · overdraft u64 (2^64-1 = unlimited) · owner · external_id
//! freeze/unfreeze/close_account          account u64
//! pay              kind, flags (1 hold, 2 split, 4 queue, 8 scope), payees, fees u8 · currency u16 · reference_len, reason_len u8 ·
//!                  amount u64 · [reference_scope u64] · [expires_at u64] · [queue] · [rejected: source, payees, fees u64 each] ·
//!                  split: payees × (0 amount | 1 basis points u8 · u64) · fees × (flat u64 · basis_points u16) · reference · reason
//! capture, refund  payment u64 · flags u8 (1 amount given, 2 final / refund the fee, 4 splits) · amount u64 (0 if not given) ·
//!                  [splits u8 · splits × (account, amount u64)]
//!                  queue: priority, correlation_id_len u8 · not_before, expires_at, reply_to (0 = none) u64 · correlation_id
//! void, expire, run  payment u64
//! approve          payment u64 · by_payer u8
//! investigate      payment u64 · stage u8 (0 not given, 1 investigating, 2 open) · label u8 (0 = not given) · assignee_given u8 ·
//!                  assignee_len u8 (0 = removed) · assignee
//! settle_payout    payout u64 · failure (none = paid)
//! return_payout    payout u64 · flags u8 (1 amount given) · amount u64 (0 if not given) · reason
//! create_api_key   access, owner_len, label_len u8 · secret_hash [32] · owner · label
//! rotate_api_key   api_key u64 · secret_hash [32] · overlap u64
//! revoke_api_key   api_key u64
//! publish          topic_len, key_len, scheme u8 · topic · key · data
//! set_queue        mode u8
//! put_setting      id, replaces u64 (0 = create) · kind u16 · slug_len, managed_by_len u8 · slug · managed_by · content
//! delete_setting   id, replaces u64 (0 = any) · kind u16
//! create_owner     kind u8 (0 = none) · status, name_len, external_len u8 · name · external_id
//! update           object u8 (1 account, 2 payment, 3 owner) · given u8 (1 description, 2 metadata, 4 external id) ·
//!                  kind, status u8 (0 = not given) · external_len u8 (0 = removed) · id u64 · external_id
//! advance_time     kind u8 (1 = by nanoseconds, 2 = to a time) · value u64
//! ```
//! An accepted `pay` does not repeat its accounts, unless it is queued: its legs are those of source, payees and fees, in this order.
//! One that is queued has a leg of its source only.
//!
//! images (after-images), by operation, of accepted records only where nothing else is said:
//! ```text
//! open_account                     owner · account
//! freeze/unfreeze/close_account    account · has_details u8 · [details]
//! pay                              owner of the payment u64 · if accepted and split or with fees: amount u64 per share
//! capture, refund, void, expire, approve, investigate    payment · [reply_to u64]
//! refund, return_payout            of one that is refused for lack of funds: the account that lacks them u64
//! run                              payment, also of a rejected one by which the payment failed · [reply_to u64]
//! settle_payout                    payment
//! return_payout                    payment of the return · payment of the payout
//! create_api_key                   has_owner u8 · [owner] · api_key
//! rotate/revoke_api_key            api_key
//! create_owner                     owner · details
//! update                           payment · owners u8 · owner u64 each, or account · details, or the details of an owner
//! publish, set_queue, advance_time none
//! put_setting, delete_setting      revision, owner, created position, created timestamp, position of the revision before (0 = none) u64
//! ```
//! The content of a setting is not repeated: a put is its own after-image. The digest of a put is the digest of the caller's request.
//! `reply_to` is present in the record that takes a payment with a receiver out of the queue. The payment that a `pay` creates
//! is derived from command, context and these amounts without deciding again.

mod assessment;
mod body;
mod bytes;
mod details;
mod layout;
mod limits;
mod objects;
mod operation;
mod origin;
mod packed;
mod record;

pub use assessment::AssessmentRef;
pub use bytes::Corrupt;
pub use limits::LIMIT_USES_BYTES_MAX;
pub use operation::Operation;
pub use origin::OriginRef;
pub use packed::{decode_accounts, decode_owners, encode_accounts, encode_owners};
pub use record::{Record, RecordRef, SettingRef};

use crate::{
    Account, ApiKey, Body, Command, Context, CreateApiKey, Details, Leg, LimitCounts, Outcome,
    Owner, OwnerRef, Payment, QueueState, Rejection, Setting, Text, TimeOffset,
};
use std::borrow::Cow;

use bytes::{Input, Put, len_u8};
use layout::{
    ASSESSMENT, EFFECTIVE, HEADER, LEG, LIMITS, LINKED, ORIGIN, REPLY, TEXT, check_version,
    is_simple,
};

/// Key that separates digests of commands from other uses of the hash.
pub const DIGEST_KEY: &[u8; 32] = b"tributary command digest, v1\0\0\0\0";

/// Appends the record of a command and its outcome. `digest` is the [`Command::digest`] taken when the command arrived; `format_version`
/// says which layouts may be used, at most [`crate::FORMAT_VERSION`].
pub fn encode(
    command: &Command,
    digest: &[u8; 16],
    outcome: &Outcome,
    ctx: Context,
    format_version: u16,
    into: &mut Vec<u8>,
) {
    assert!(
        check_version(format_version).is_ok(),
        "only a known format is written"
    );
    let start = into.len();
    let key = command.key.as_bytes();
    into.reserve(HEADER + key.len() + 64 + LEG * outcome.legs.len());
    into.put(&[0; HEADER]);
    into.word(key);
    let body_at = into.len();
    body::put_body(&command.body, !outcome.is_accepted(), into);
    let legs_at = into.len();
    outcome.legs.iter().for_each(|leg| put_leg(leg, into));
    let images_at = into.len();
    put_images(command, outcome, into);
    if let Some(reply_to) = outcome.reply_to {
        into.u64(reply_to.0.get());
    }
    let images_end = into.len();
    if !outcome.limits.is_empty() {
        limits::put_uses(&outcome.limits, into);
    }
    if let Some(assessment) = &command.assessment {
        assessment::put_assessment(assessment, into);
    }
    let text = recorded_text(command, outcome);
    if let Some(text) = text {
        into.u8(text.scheme());
        into.put(text.as_bytes());
    }
    if let Some(origin) = &command.origin {
        origin::put_origin(origin, into);
    }

    let header: &mut [u8; HEADER] = into[start..]
        .first_chunk_mut()
        .expect("room was made for it first");
    header[0] = Operation::from_body(&command.body) as u8;
    let reply = if outcome.reply_to.is_some() { REPLY } else { 0 };
    let origin = if command.origin.is_some() { ORIGIN } else { 0 };
    let limits = if outcome.limits.is_empty() { 0 } else { LIMITS };
    let assessment = command.assessment.as_ref().map_or(0, |_| ASSESSMENT);
    header[1] = flags(command, text) | reply | origin | limits | assessment;
    header[2..4].copy_from_slice(
        &outcome
            .rejection
            .map_or(0, |rejection| rejection.number())
            .to_le_bytes(),
    );
    header[4..6].copy_from_slice(&short(legs_at - body_at));
    header[6..8].copy_from_slice(&short(text.map_or(0, |text| text.as_bytes().len())));
    header[8..16].copy_from_slice(&ctx.position.to_le_bytes());
    header[16..24].copy_from_slice(&ctx.timestamp.to_le_bytes());
    header[24..32].copy_from_slice(&command.actor.owner.0.to_le_bytes());
    header[32..40].copy_from_slice(&command.actor.api_key.0.to_le_bytes());
    header[40..56].copy_from_slice(digest);
    header[56..60].copy_from_slice(&command.effective_at.map_or(0, |date| date.0).to_le_bytes());
    header[60] = len_u8(key);
    header[61] = u8::try_from(outcome.legs.len()).expect("a record has at most 17 legs");
    header[62..64].copy_from_slice(&short(images_end - images_at));
    if format_version > 1 {
        layout::put_next(start, into);
    }
}

/// Decodes a record completely.
pub fn decode(bytes: &[u8], format_version: u16) -> Result<Record, Corrupt> {
    RecordRef::parse(bytes, format_version)?.to_record()
}

/// Returns the text to record: none if the actor is not allowed to do what the command requests.
fn recorded_text<'a>(command: &'a Command, outcome: &Outcome) -> Option<&'a Text> {
    let refused = outcome.rejection.is_some_and(Rejection::concerns_actor);
    command.text.as_ref().filter(|_| !refused)
}

/// Returns the flags of what the caller sent, which the digest covers.
fn flags(command: &Command, text: Option<&Text>) -> u8 {
    let linked = if command.linked { LINKED } else { 0 };
    let text = if text.is_some() { TEXT } else { 0 };
    let effective = if command.effective_at.is_some() {
        EFFECTIVE
    } else {
        0
    };
    linked | text | effective
}

fn short(len: usize) -> [u8; 2] {
    u16::try_from(len)
        .expect("parts of a record are shorter than 64 KiB")
        .to_le_bytes()
}

fn put_leg(leg: &Leg, into: &mut Vec<u8>) {
    assert!(
        leg.seq <= crate::chain::SEQ_MAX,
        "a leg's number fits 48 bits"
    );
    let words = [
        leg.account.0,
        leg.amount as u64,
        leg.posted_after as u64,
        leg.held_after,
        leg.prev,
        leg.skip,
        leg.seq | u64::from(leg.currency.numeric()) << 48,
    ];
    // Written in place: copying bytes just after writing them in smaller pieces would stall.
    let start = into.len();
    into.put(&[0; LEG]);
    let places = into[start..].as_chunks_mut::<8>().0;
    for (place, word) in places.iter_mut().zip(words) {
        *place = word.to_le_bytes();
    }
}

fn put_images(command: &Command, outcome: &Outcome, into: &mut Vec<u8>) {
    match &command.body {
        Body::Pay(pay) => {
            let payment = outcome
                .payment
                .as_ref()
                .expect("a pay has a payment, failed or not");
            into.u64(payment.owner.0);
            if outcome.is_accepted() {
                let named = match pay.queue {
                    Some(_) => 1,
                    None => usize::MAX,
                };
                let same = pay
                    .accounts()
                    .take(named)
                    .eq(outcome.legs.iter().map(|leg| leg.account));
                assert!(
                    same,
                    "an accepted payment has one leg per account, in order, and a queued one that of its source"
                );
            }
            if outcome.is_accepted() && !is_simple(pay) {
                payment
                    .shares
                    .iter()
                    .for_each(|share| into.u64(share.amount));
            }
        }
        Body::Run(_) => {
            if let Some(payment) = &outcome.payment {
                objects::put_payment(payment, into);
            }
        }
        Body::Refund(_) | Body::ReturnPayout(_)
            if outcome.rejection == Some(Rejection::InsufficientFunds) =>
        {
            let account = outcome.short_of_funds;
            into.u64(account.expect("an account lacks the funds").0);
        }
        _ if !outcome.is_accepted() => {}
        Body::OpenAccount(_)
        | Body::FreezeAccount(_)
        | Body::UnfreezeAccount(_)
        | Body::CloseAccount(_) => {
            if let Some(owner) = &outcome.owner {
                objects::put_owner(owner.borrowed(), into);
            }
            objects::put_account(
                outcome
                    .account
                    .as_ref()
                    .expect("an accepted change of an account has it"),
                into,
            );
            if !matches!(command.body, Body::OpenAccount(_)) {
                details::put_optional_details(outcome.details.as_deref(), into);
            }
        }
        Body::Capture(_)
        | Body::Void(_)
        | Body::Expire(_)
        | Body::Approve(_)
        | Body::Investigate(_)
        | Body::Refund(_) => {
            objects::put_payment(
                outcome
                    .payment
                    .as_ref()
                    .expect("an accepted change of a payment has it"),
                into,
            );
        }
        Body::SettlePayout(_) | Body::ReturnPayout(_) => {
            let payment = outcome.payment.as_ref();
            objects::put_payment(
                payment.expect("an accepted change of a payout has it"),
                into,
            );
            if let Some(payout) = &outcome.payout {
                objects::put_payment(payout, into);
            }
        }
        Body::CreateApiKey(_) | Body::RotateApiKey { .. } | Body::RevokeApiKey(_) => {
            put_key_images(command, outcome, into)
        }
        Body::PutSetting(_) | Body::DeleteSetting(_) => {
            let change = outcome.setting.as_ref();
            let change = change.expect("an accepted change of a setting has it");
            objects::put_setting_change(change, into);
        }
        Body::CreateOwner(_) => {
            let owner = outcome.owner.as_ref();
            let owner = owner.expect("an accepted creation of an owner has it");
            objects::put_owner(owner.borrowed(), into);
            put_changed_details(outcome, into);
        }
        Body::Update(_) => match &outcome.payment {
            Some(payment) => {
                objects::put_payment(payment, into);
                let owners = &outcome.payment_owners;
                into.u8(u8::try_from(owners.len()).expect("a payment has at most 18 owners"));
                owners.iter().for_each(|owner| into.u64(owner.0));
            }
            None => {
                if let Some(account) = &outcome.account {
                    objects::put_account(account, into);
                }
                put_changed_details(outcome, into);
            }
        },
        Body::Publish(_) | Body::SetQueue(_) | Body::AdvanceTime(_) => {}
    }
}

fn put_changed_details(outcome: &Outcome, into: &mut Vec<u8>) {
    let changed = outcome.details.as_ref();
    details::put_details(changed.expect("an accepted update has it"), into);
}

fn put_key_images(command: &Command, outcome: &Outcome, into: &mut Vec<u8>) {
    if matches!(command.body, Body::CreateApiKey(_)) {
        into.u8(u8::from(outcome.owner.is_some()));
        if let Some(owner) = &outcome.owner {
            objects::put_owner(owner.borrowed(), into);
        }
    }
    objects::put_api_key(
        outcome
            .api_key
            .as_ref()
            .expect("an accepted change of an API key has it"),
        into,
    );
}

fn whole<'a, T>(
    bytes: &'a [u8],
    format_version: u16,
    take: impl FnOnce(&mut Input<'a>) -> Result<T, Corrupt>,
) -> Result<T, Corrupt> {
    check_version(format_version)?;
    let mut input = Input(bytes);
    let object = take(&mut input)?;
    input.end()?;
    Ok(object)
}

/// Appends the bytes of an account.
pub fn encode_account(account: &Account, into: &mut Vec<u8>) {
    objects::put_account(account, into);
}

/// Decodes an account.
pub fn decode_account(bytes: &[u8], format_version: u16) -> Result<Account, Corrupt> {
    whole(bytes, format_version, objects::take_account)
}

/// Appends the bytes of an owner.
pub fn encode_owner(owner: &Owner, into: &mut Vec<u8>) {
    objects::put_owner(owner.borrowed(), into);
}

/// Decodes an owner.
pub fn decode_owner(bytes: &[u8], format_version: u16) -> Result<Owner, Corrupt> {
    decode_owner_ref(bytes, format_version).map(OwnerRef::to_owner)
}

/// Decodes an owner in place.
pub fn decode_owner_ref(bytes: &[u8], format_version: u16) -> Result<OwnerRef<'_>, Corrupt> {
    whole(bytes, format_version, objects::take_owner)
}

/// Appends the bytes of a payment.
pub fn encode_payment(payment: &Payment, into: &mut Vec<u8>) {
    objects::put_payment(payment, into);
}

/// Decodes a payment.
pub fn decode_payment(bytes: &[u8], format_version: u16) -> Result<Payment, Corrupt> {
    whole(bytes, format_version, objects::take_payment)
}

/// Appends the bytes of an API key.
pub fn encode_api_key(key: &ApiKey, into: &mut Vec<u8>) {
    objects::put_api_key(key, into);
}

/// Appends the bytes of the state of the queue.
pub fn encode_queue(queue: &QueueState, into: &mut Vec<u8>) {
    objects::put_queue_state(queue, into);
}

/// Decodes the state of the queue.
pub fn decode_queue(bytes: &[u8], format_version: u16) -> Result<QueueState, Corrupt> {
    whole(bytes, format_version, objects::take_queue_state)
}

/// Appends the bytes of the time that was added to the clock.
pub fn encode_time_offset(offset: &TimeOffset, into: &mut Vec<u8>) {
    objects::put_time_offset(offset, into);
}

/// Decodes the time that was added to the clock.
pub fn decode_time_offset(bytes: &[u8], format_version: u16) -> Result<TimeOffset, Corrupt> {
    whole(bytes, format_version, objects::take_time_offset)
}

/// Appends the bytes of a setting.
pub fn encode_setting(setting: &Setting, into: &mut Vec<u8>) {
    objects::put_setting(setting, into);
}

/// Decodes a setting.
pub fn decode_setting(bytes: &[u8], format_version: u16) -> Result<Setting, Corrupt> {
    whole(bytes, format_version, objects::take_setting)
}

/// Appends the bytes of what a limit has counted.
pub fn encode_limit_counts(counts: &LimitCounts, into: &mut Vec<u8>) {
    limits::put_counts(counts, into);
}

/// Decodes what a limit has counted.
pub fn decode_limit_counts(bytes: &[u8], format_version: u16) -> Result<LimitCounts, Corrupt> {
    whole(bytes, format_version, limits::take_counts)
}

/// Appends the bytes of the details of an account or owner.
pub fn encode_details(changed: &Details, into: &mut Vec<u8>) {
    details::put_details(changed, into);
}

/// Decodes the details of an account or owner.
pub fn decode_details(bytes: &[u8], format_version: u16) -> Result<Details, Corrupt> {
    whole(bytes, format_version, details::take_details)
}

/// Decodes an API key.
pub fn decode_api_key(bytes: &[u8], format_version: u16) -> Result<ApiKey, Corrupt> {
    whole(bytes, format_version, objects::take_api_key)
}

impl Command {
    /// Returns a digest of the request and the actor's owner, but not of the idempotency key or the API key: the same request under a
    /// rotated API key still matches. The digest is the first 16 bytes of BLAKE3, keyed with [`DIGEST_KEY`], over
    /// `actor.owner u64 ‖ flags u8 ‖ effective_at i32 ‖ operation u8 ‖ body_len u32 ‖ body with its accounts ‖
    /// scheme u8 ‖ text` (flags as in a record, without those of `reply_to` and origin; scheme and text only if there is one). The
    /// hash of a secret counts as zeros: the caller who repeats a request for a new secret does not know the secret of the first
    /// attempt.
    ///
    /// The digest of a [`crate::PutSetting`] is the field `request`.
    pub fn digest(&self) -> [u8; 16] {
        self.digest_with(&mut Vec::with_capacity(256))
    }

    /// Like [`Command::digest`], with memory that the caller reuses.
    pub fn digest_with(&self, bytes: &mut Vec<u8>) -> [u8; 16] {
        if let Body::PutSetting(put) = &self.body {
            return put.request;
        }
        bytes.clear();
        bytes.u64(self.actor.owner.0);
        bytes.u8(flags(self, self.text.as_ref()));
        bytes.i32(self.effective_at.map_or(0, |date| date.0));
        bytes.u8(Operation::from_body(&self.body) as u8);
        let len_at = bytes.len();
        bytes.put(&[0; 4]);
        body::put_body(&without_secret(&self.body), true, bytes);
        let body_len =
            u32::try_from(bytes.len() - len_at - 4).expect("a body is shorter than 64 KiB");
        bytes[len_at..len_at + 4].copy_from_slice(&body_len.to_le_bytes());
        if let Some(text) = &self.text {
            bytes.u8(text.scheme());
            bytes.put(text.as_bytes());
        }
        // A plain payment is 50 bytes: one block of the hash, which a prefix instead of a key would make two.
        *blake3::keyed_hash(DIGEST_KEY, bytes)
            .as_bytes()
            .first_chunk()
            .expect("32 bytes hold 16")
    }
}

/// Returns the body with zeros in place of the hash of a secret.
fn without_secret(body: &Body) -> Cow<'_, Body> {
    match body {
        Body::CreateApiKey(create) => Cow::Owned(Body::CreateApiKey(CreateApiKey {
            secret_hash: [0; 32],
            ..create.clone()
        })),
        Body::RotateApiKey {
            api_key, overlap, ..
        } => Cow::Owned(Body::RotateApiKey {
            api_key: *api_key,
            secret_hash: [0; 32],
            overlap: *overlap,
        }),
        other => Cow::Borrowed(other),
    }
}
