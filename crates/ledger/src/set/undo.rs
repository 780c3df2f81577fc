//! What undoes the changes of a group.

use crate::{
    Account, AccountId, ApiKey, ApiKeyId, ExternalId, Owner, OwnerId, Payment, PaymentId,
    QueueState, Reference, Setting, SettingId,
};

/// What stood in the place of something that an open group changed.
#[derive(Clone)]
pub(super) enum Before {
    Account(AccountId, Option<Account>),
    Owner(OwnerId, Option<Owner>),
    Payment(PaymentId, Option<Payment>),
    ApiKey(ApiKeyId, Option<ApiKey>),
    Setting(SettingId, Option<Setting>),
    Queue(QueueState),
    Reference(OwnerId, Reference, Option<PaymentId>),
    External(OwnerId, ExternalId, Option<AccountId>),
}
