//! Whether a caller may see and do what a command names: an owner's key. A platform key sees and may do everything.

use std::borrow::Cow;
use std::sync::Arc;

use tributary_engine::Reader;
use tributary_ledger::{
    AccountId, AccountKind, Actor, Body, Command, HoldRefusal, OpenAccount, Overdraft, OwnerId,
    Pay, Payment, PaymentId, PaymentKind, PaymentShare, PaymentStatus, Refund, ReturnPayout,
    ReviewKind, SettlePayout, Updated,
};
use tributary_messaging::{Messaging, Subscription, SubscriptionId};

use crate::caller::Caller;
use crate::code::ErrorCode;
use crate::error::ApiError;
use crate::failures::read_error;
use crate::form::queue::no_mailbox;
use crate::subscriptions::require_messaging;
use crate::visibility::must_see_payment;

/// Checks what the caller may see (404), then what the caller may do with it (403). `subject` is the field that names it.
pub(super) fn check_permission(
    reader: &Reader,
    messaging: Option<&Arc<Messaging>>,
    caller: &Caller,
    command: &Command,
    subject: &str,
) -> Result<(), ApiError> {
    if let Body::Pay(pay) = &command.body {
        check_mailbox(messaging, caller.actor.owner, pay)?;
    }
    if caller.is_platform() {
        return Ok(());
    }
    match &command.body {
        Body::Pay(pay) => {
            must_own_account(reader, caller, pay.source, subject)?;
            let paid = pay.kind == PaymentKind::Payout && pay.hold.is_none();
            platform_only_if(
                pay.kind == PaymentKind::Adjustment || pay.reference_scope.is_some() || paid,
            )
        }
        Body::FreezeAccount(account) | Body::UnfreezeAccount(account) => {
            must_own_account(reader, caller, *account, subject)?;
            platform_only_if(true)
        }
        Body::CloseAccount(account) => must_own_account(reader, caller, *account, subject),
        Body::Capture(capture) => {
            let payment = visible_now(reader, caller, capture.payment, subject)?;
            payment
                .check_capture_by(caller.actor.owner, capture, |id| reader.account_owner(id))
                .map_err(|refusal| may_not_capture(refusal, subject))
        }
        Body::Void(payment) => {
            let payment = visible_now(reader, caller, *payment, subject)?;
            let waits = payment.queue.is_some() || payment.status == PaymentStatus::InReview;
            let own = waits && payment.actor.owner == caller.actor.owner;
            let released =
                payment.check_release_by(caller.actor.owner, |id| reader.account_owner(id));
            match released {
                Err(refusal) if !own => Err(may_not_void(refusal, subject)),
                _ => Ok(()),
            }
        }
        Body::Approve(approve) => {
            let payment = visible_now(reader, caller, approve.payment, subject)?;
            let review = payment.review.as_ref();
            let is_challenge = review.is_some_and(|review| review.kind == ReviewKind::Challenge);
            let own = approve.by_payer && payment.actor.owner == caller.actor.owner;
            refuse_unless(own && is_challenge, || {
                let message = "Only a platform key may approve the payment, or with challenge, where it has one, the owner whose key asked for it.";
                forbidden(subject, message)
            })
        }
        Body::Refund(refund) => {
            let payment = visible_now(reader, caller, refund.payment, subject)?;
            let may = may_refund(reader, caller.actor, &payment, refund);
            refuse_unless(may, || {
                may_not_refund(reader, caller.actor, &payment, refund)
            })
        }
        Body::SettlePayout(SettlePayout { payout, .. })
        | Body::ReturnPayout(ReturnPayout { payout, .. }) => {
            visible_now(reader, caller, *payout, subject)?;
            platform_only_if(true)
        }
        Body::OpenAccount(open) => refuse_unless(may_open(reader, caller, open), || {
            may_not_open(reader, caller, open)
        }),
        Body::Publish(_) => Ok(()),
        Body::Update(update) => check_update(reader, caller, &update.object, subject),
        _ => platform_only_if(true),
    }
}

/// A mailbox must be a subscription of the caller's owner, or one of the platform's that does not want another owner's events
/// only.
fn check_mailbox(
    messaging: Option<&Arc<Messaging>>,
    owner: OwnerId,
    pay: &Pay,
) -> Result<(), ApiError> {
    let Some(reply_to) = pay.queue.as_ref().and_then(|queue| queue.terms.reply_to) else {
        return Ok(());
    };
    let mailbox = require_messaging(messaging)?.get(SubscriptionId(reply_to.0.get()));
    let takes = |mailbox: &Subscription| {
        let wanted = mailbox.terms.filter.owner;
        let common = mailbox.scope == OwnerId::PLATFORM;
        mailbox.scope == owner || common && wanted.is_none_or(|wanted| wanted == owner)
    };
    let found = mailbox.filter(takes);
    found.map(drop).ok_or_else(|| no_mailbox("queue.reply_to"))
}

fn must_own_account(
    reader: &Reader,
    caller: &Caller,
    account: AccountId,
    subject: &str,
) -> Result<(), ApiError> {
    if reader.account_owner(account) == Some(caller.actor.owner) {
        return Ok(());
    }
    Err(ApiError::not_found("account", subject))
}

/// The payment as it is now, if the caller may see it.
fn visible_now(
    reader: &Reader,
    caller: &Caller,
    payment: PaymentId,
    subject: &str,
) -> Result<Payment, ApiError> {
    must_see_payment(reader, caller, payment, subject)?;
    let now = reader.payment(payment).map_err(read_error)?;
    now.ok_or_else(|| ApiError::not_found("payment", subject))
}

/// An owner updates its own accounts, the payments that it asked for, and what it says of itself.
fn check_update(
    reader: &Reader,
    caller: &Caller,
    object: &Updated,
    subject: &str,
) -> Result<(), ApiError> {
    match object {
        Updated::Account(account) => must_own_account(reader, caller, *account, subject),
        Updated::Payment(payment) => {
            let payment = visible_now(reader, caller, *payment, subject)?;
            refuse_unless(payment.actor.owner == caller.actor.owner, || {
                let message = "Only the owner whose key asked for the payment, or a platform key, may change its text.";
                forbidden(subject, message)
            })
        }
        Updated::Owner(owner, change) => {
            if *owner != caller.actor.owner {
                return Err(ApiError::not_found("owner", subject));
            }
            platform_only_if(!change.is_empty())
        }
    }
}

fn owns(reader: &Reader, actor: Actor, account: AccountId) -> bool {
    reader.account_owner(account) == Some(actor.owner)
}

/// An owner lets only its own accounts give.
fn may_refund(reader: &Reader, actor: Actor, payment: &Payment, refund: &Refund) -> bool {
    let gives = |share: &&PaymentShare| match share.is_fee {
        true => refund.refund_fee,
        false => refund.splits.is_empty(),
    };
    let givers = payment.shares.iter().filter(gives);
    let named = refund.splits.iter().map(|part| part.account);
    let mut givers = givers.map(|share| share.account).chain(named).peekable();
    givers.peek().is_some() && givers.all(|account| owns(reader, actor, account))
}

/// An owner opens wallets and merchant accounts for itself, without overdraft.
fn may_open(reader: &Reader, caller: &Caller, open: &OpenAccount) -> bool {
    let plain = matches!(open.kind, AccountKind::Wallet | AccountKind::Merchant)
        && open.overdraft == Overdraft::NONE;
    plain && reader.owner_by_name(&open.owner) == Some(caller.actor.owner)
}

fn platform_only_if(applies: bool) -> Result<(), ApiError> {
    if !applies {
        return Ok(());
    }
    let message = "Only a platform key may do this.";
    Err(ApiError::new(ErrorCode::PlatformOnly, message))
}

fn refuse_unless(allowed: bool, error: impl FnOnce() -> ApiError) -> Result<(), ApiError> {
    if allowed { Ok(()) } else { Err(error()) }
}

fn forbidden(param: &str, message: impl Into<Cow<'static, str>>) -> ApiError {
    ApiError::new(ErrorCode::Forbidden, message).param(param)
}

/// Says what of the capture an owner may not ask for.
fn may_not_capture(refusal: HoldRefusal, subject: &str) -> ApiError {
    let owners =
        "Only the owner of every account that this capture pays may ask for it, or a platform key.";
    match refusal {
        HoldRefusal::PlatformOnly => forbidden(
            subject,
            "Only a platform key may capture a payment of this kind.",
        ),
        HoldRefusal::NotPayee => forbidden(subject, owners),
        HoldRefusal::OtherOwnersSplit(index) => {
            forbidden(&format!("splits[{index}].account"), owners)
        }
        HoldRefusal::OtherOwnersPart => forbidden(
            "splits",
            "This capture would also pay accounts of other owners: name your own accounts in splits, or use a platform key.",
        ),
        HoldRefusal::ReleasesOthers => forbidden(
            "final",
            "A final capture would release what is held for payees of other owners: leave out final, or use a platform key.",
        ),
    }
}

/// Says who may void the payment.
fn may_not_void(refusal: HoldRefusal, subject: &str) -> ApiError {
    let message = match refusal {
        HoldRefusal::PlatformOnly => "Only a platform key may void a payment of this kind.",
        _ => {
            "Only the owner of every payee for whom something is held may void the payment, or a platform key."
        }
    };
    forbidden(subject, message)
}

/// Says what of the refund takes from accounts that are not the caller's.
fn may_not_refund(reader: &Reader, actor: Actor, payment: &Payment, refund: &Refund) -> ApiError {
    let named = refund.splits.iter();
    let foreign = named
        .map(|part| part.account)
        .position(|account| !owns(reader, actor, account));
    if let Some(place) = foreign {
        let message = "An owner's key may refund the parts of its own accounts only; a platform key may refund all.";
        return forbidden(&format!("splits[{place}].account"), message);
    }
    let fees = payment.shares.iter().filter(|share| share.is_fee);
    let foreign_fee = |share: &PaymentShare| !owns(reader, actor, share.account);
    if refund.refund_fee && fees.into_iter().any(foreign_fee) {
        let message =
            "Only a platform key, or a key of the owner of the fee accounts, may give back fees.";
        return forbidden("refund_fee", message);
    }
    let message = "A refund by amount takes from every payee, also from accounts of other owners: name your own parts in \
                   splits, or use a platform key.";
    forbidden("splits", message)
}

/// Says what of the account an owner's key may not ask for.
fn may_not_open(reader: &Reader, caller: &Caller, open: &OpenAccount) -> ApiError {
    let own = reader.owner_by_name(&open.owner) == Some(caller.actor.owner);
    let param = match (own, open.overdraft == Overdraft::NONE) {
        (false, _) => "owner",
        (true, false) => "overdraft",
        (true, true) => "kind",
    };
    forbidden(
        param,
        "An owner's key opens wallets and merchant accounts without overdraft for its own owner; a platform key opens any.",
    )
}
