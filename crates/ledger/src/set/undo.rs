//! Entries of the undo log of a group.

use crate::{
    Account, AccountId, ApiKey, ApiKeyId, Details, ExternalId, Limit, ObjectId, Owner, OwnerId,
    Payment, PaymentId, QueueState, Reference, ReferenceSpace, Setting, SettingId, TimeOffset,
};

/// State of an object before an open group changed it.
#[derive(Clone)]
pub(super) enum UndoEntry {
    Account(AccountId, Option<Account>),
    Owner(OwnerId, Option<Owner>),
    Payment(PaymentId, Option<Payment>),
    ApiKey(ApiKeyId, Option<ApiKey>),
    Setting(SettingId, Option<Setting>),
    Limit(SettingId, Option<Limit>),
    Details(ObjectId, Option<Details>),
    Queue(QueueState),
    TimeOffset(TimeOffset),
    Reference(ReferenceSpace, Reference, Option<PaymentId>),
    External(OwnerId, ExternalId, Option<AccountId>),
}
