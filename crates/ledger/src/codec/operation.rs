//! The operation of a command, as a number.

use super::bytes::Corrupt;
use crate::Body;

/// Operation of a command: the first byte of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Operation {
    /// Open an account.
    OpenAccount = 1,
    /// Freeze an account.
    FreezeAccount = 2,
    /// Unfreeze an account.
    UnfreezeAccount = 3,
    /// Close an account.
    CloseAccount = 4,
    /// Move or hold money.
    Pay = 5,
    /// Capture a hold.
    Capture = 6,
    /// Release a hold, or cancel a queued payment.
    Void = 7,
    /// Release a hold that has expired.
    Expire = 8,
    /// Refund.
    Refund = 9,
    /// Create an API key.
    CreateApiKey = 10,
    /// Replace the secret of an API key.
    RotateApiKey = 11,
    /// Revoke an API key.
    RevokeApiKey = 12,
    /// Publish an event.
    Publish = 13,
    /// Decide a queued payment.
    Run = 14,
    /// Pause, drain or resume the queue.
    SetQueue = 15,
    /// Create or replace a setting.
    PutSetting = 16,
    /// Delete a setting.
    DeleteSetting = 17,
    /// Create an owner.
    CreateOwner = 18,
    /// Update the details of an object.
    Update = 19,
    /// Move the clock forwards.
    AdvanceTime = 20,
    /// Pay or fail a pending payout.
    SettlePayout = 21,
    /// Return a paid payout.
    ReturnPayout = 22,
    /// Approve a payment that is in review.
    Approve = 23,
    /// Record what people find out about a payment.
    Investigate = 24,
}

impl Operation {
    /// All operations, ordered by number.
    pub const ALL: [Operation; 24] = [
        Self::OpenAccount,
        Self::FreezeAccount,
        Self::UnfreezeAccount,
        Self::CloseAccount,
        Self::Pay,
        Self::Capture,
        Self::Void,
        Self::Expire,
        Self::Refund,
        Self::CreateApiKey,
        Self::RotateApiKey,
        Self::RevokeApiKey,
        Self::Publish,
        Self::Run,
        Self::SetQueue,
        Self::PutSetting,
        Self::DeleteSetting,
        Self::CreateOwner,
        Self::Update,
        Self::AdvanceTime,
        Self::SettlePayout,
        Self::ReturnPayout,
        Self::Approve,
        Self::Investigate,
    ];

    /// Returns whether records of the operation are internal: they have a position and are no events.
    pub fn is_internal(self) -> bool {
        self == Self::AdvanceTime
    }

    /// Returns the operation of a body.
    pub fn from_body(body: &Body) -> Self {
        match body {
            Body::OpenAccount(_) => Self::OpenAccount,
            Body::FreezeAccount(_) => Self::FreezeAccount,
            Body::UnfreezeAccount(_) => Self::UnfreezeAccount,
            Body::CloseAccount(_) => Self::CloseAccount,
            Body::Pay(_) => Self::Pay,
            Body::Capture(_) => Self::Capture,
            Body::Void(_) => Self::Void,
            Body::Expire(_) => Self::Expire,
            Body::Refund(_) => Self::Refund,
            Body::CreateApiKey(_) => Self::CreateApiKey,
            Body::RotateApiKey { .. } => Self::RotateApiKey,
            Body::RevokeApiKey(_) => Self::RevokeApiKey,
            Body::Publish(_) => Self::Publish,
            Body::Run(_) => Self::Run,
            Body::SetQueue(_) => Self::SetQueue,
            Body::PutSetting(_) => Self::PutSetting,
            Body::DeleteSetting(_) => Self::DeleteSetting,
            Body::CreateOwner(_) => Self::CreateOwner,
            Body::Update(_) => Self::Update,
            Body::AdvanceTime(_) => Self::AdvanceTime,
            Body::SettlePayout(_) => Self::SettlePayout,
            Body::ReturnPayout(_) => Self::ReturnPayout,
            Body::Approve(_) => Self::Approve,
            Body::Investigate(_) => Self::Investigate,
        }
    }

    pub(super) fn from_number(number: u8) -> Result<Self, Corrupt> {
        let at = usize::from(number)
            .checked_sub(1)
            .ok_or(Corrupt("no operation"))?;
        Self::ALL
            .get(at)
            .copied()
            .ok_or(Corrupt("unknown operation"))
    }
}
