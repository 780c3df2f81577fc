//! The one event of each record.

use crate::codec::{Operation, RecordRef};
use crate::{ObjectId, Pay, PaymentKind, QueueMode};

/// The routing key of a record's event: of a published one its topic. A record of an internal operation is no event
/// ([`Operation::is_internal`]).
pub fn event_type<'a>(record: &RecordRef<'a>) -> &'a str {
    let refused = record.rejection().is_some();
    let (held, captured, refunded) = record.progress().unwrap_or_default();
    if record.payment_kind() == Some(PaymentKind::Payout) {
        return payout_event(record, held);
    }
    match record.operation() {
        Operation::OpenAccount
        | Operation::FreezeAccount
        | Operation::UnfreezeAccount
        | Operation::CloseAccount
            if refused =>
        {
            "account.refused"
        }
        Operation::OpenAccount => "account.opened",
        Operation::FreezeAccount => "account.frozen",
        Operation::UnfreezeAccount => "account.unfrozen",
        Operation::CloseAccount => "account.closed",
        Operation::Pay if refused => "payment.failed",
        Operation::Pay if record.is_in_review() => "payment.in_review",
        Operation::Pay => made(false, record.is_queued(), record.is_hold()),
        Operation::Capture if refused => "payment.capture_refused",
        Operation::Capture if held > 0 => "payment.partially_captured",
        Operation::Capture => "payment.captured",
        Operation::Void if refused => "payment.void_refused",
        Operation::Void => "payment.voided",
        Operation::Expire if refused => "payment.expire_refused",
        Operation::Expire => "payment.expired",
        Operation::Run if refused && record.changes_payment() => "payment.failed",
        Operation::Run if refused => "payment.run_refused",
        Operation::Run if record.is_in_review() => "payment.in_review",
        Operation::Run if held > 0 => "payment.authorized",
        Operation::Run => "payment.captured",
        Operation::Approve if refused => "payment.approve_refused",
        Operation::Approve if held > 0 => "payment.authorized",
        Operation::Approve => "payment.captured",
        Operation::Investigate if refused => "case.refused",
        Operation::Investigate if record.label().is_some() => "payment.labelled",
        Operation::Investigate => "case.updated",
        Operation::Refund if refused => "payment.refund_refused",
        Operation::Refund if held == 0 && captured == refunded => "payment.refunded",
        Operation::Refund => "payment.partially_refunded",
        Operation::SettlePayout if refused => "payout.settle_refused",
        Operation::SettlePayout if captured > 0 => "payout.paid",
        Operation::SettlePayout => "payout.failed",
        Operation::ReturnPayout if refused => "payout.return_refused",
        Operation::ReturnPayout => "payout.returned",
        Operation::CreateApiKey | Operation::RotateApiKey | Operation::RevokeApiKey if refused => {
            "api_key.refused"
        }
        Operation::CreateApiKey => "api_key.created",
        Operation::RotateApiKey => "api_key.rotated",
        Operation::RevokeApiKey => "api_key.revoked",
        Operation::SetQueue if refused => "queue.refused",
        Operation::SetQueue => match record.queue_mode() {
            Some(QueueMode::Paused) => "queue.paused",
            Some(QueueMode::Draining) => "queue.draining",
            _ => "queue.resumed",
        },
        // Internal, and no event: named for those who list records.
        Operation::AdvanceTime if refused => "clock.refused",
        Operation::AdvanceTime => "clock.advanced",
        Operation::PutSetting | Operation::DeleteSetting => setting_event(record, refused),
        Operation::CreateOwner if refused => "owner.refused",
        Operation::CreateOwner => "owner.created",
        Operation::Update => update_event(record, refused),
        Operation::Publish if refused => "event.refused",
        Operation::Publish => record.topic().expect("a published event has one"),
    }
}

fn update_event(record: &RecordRef<'_>, refused: bool) -> &'static str {
    match record.updated().expect("an update has an object") {
        ObjectId::Account(_) if refused => "account.refused",
        ObjectId::Account(_) => "account.updated",
        ObjectId::Payment(_) if refused => "payment.update_refused",
        ObjectId::Payment(_) => "payment.updated",
        ObjectId::Owner(_) if refused => "owner.refused",
        ObjectId::Owner(_) => "owner.updated",
    }
}

/// Returns the type of the event of a record that creates, runs or takes back a payout.
/// The event of a payment that is made.
fn made(is_payout: bool, is_queued: bool, is_hold: bool) -> &'static str {
    match (is_payout, is_queued, is_hold) {
        (false, true, _) => "payment.queued",
        (false, false, true) => "payment.authorized",
        (false, false, false) => "payment.captured",
        (true, true, _) => "payout.queued",
        (true, false, true) => "payout.created",
        (true, false, false) => "payout.paid",
    }
}

impl Pay {
    /// Returns the type of the event that the payment will be if it is accepted.
    pub fn expected_event(&self) -> &'static str {
        let is_payout = self.kind == PaymentKind::Payout;
        made(is_payout, self.queue.is_some(), self.hold.is_some())
    }
}

fn payout_event(record: &RecordRef<'_>, held: u64) -> &'static str {
    match record.operation() {
        _ if record.rejection().is_some() => "payout.failed",
        _ if record.is_in_review() => "payout.in_review",
        Operation::Void => "payout.voided",
        Operation::Expire => "payout.expired",
        Operation::Pay => made(true, record.is_queued(), record.is_hold()),
        Operation::Run | Operation::Approve if held > 0 => "payout.created",
        _ => "payout.paid",
    }
}

fn setting_event(record: &RecordRef<'_>, refused: bool) -> &'static str {
    let named = record.setting().expect("a record of a setting names it");
    let events = named.kind.events();
    match record.setting_change() {
        _ if refused => events.refused,
        _ if record.operation() == Operation::DeleteSetting => events.deleted,
        Some(change) if change.revision == 1 => events.created,
        _ => events.updated,
    }
}
