//! Reasons for which a command is refused.

macro_rules! rejections {
    ($($(#[doc = $doc:literal])+ $name:ident = $number:literal, $code:literal;)+) => {
        /// Reason for which a command is refused.
        ///
        /// If several reasons apply, the outcome has the one with the lowest number. Numbers and codes are never reused and
        /// never change their meaning; new ones are added in the gaps. 1xx: the actor; 2xx: the command by itself;
        /// 3xx: an object that it names does not exist; 4xx: not allowed to this actor; 5xx: the state of an object;
        /// 6xx: risk, balances and limits; 9xx: another command.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u16)]
        pub enum Rejection {
            $($(#[doc = $doc])+ $name = $number,)+
        }

        impl Rejection {
            /// All rejections, in order of precedence.
            pub const ALL: &'static [Rejection] = &[$(Rejection::$name),+];

            /// Returns the stored number.
            pub fn number(self) -> u16 {
                self as u16
            }

            /// Returns the rejection with this stored number.
            pub fn from_number(number: u16) -> Option<Self> {
                match number {
                    $($number => Some(Rejection::$name),)+
                    _ => None,
                }
            }

            /// Returns the published code.
            pub fn code(self) -> &'static str {
                match self {
                    $(Rejection::$name => $code,)+
                }
            }

            /// Returns a sentence that explains the rejection.
            pub fn message(self) -> &'static str {
                match self {
                    $(Rejection::$name => concat!($($doc),+).trim_ascii(),)+
                }
            }
        }
    };
}

rejections! {
    /// The API key of the actor does not exist.
    ActorKeyNotFound = 101, "actor_key_not_found";
    /// The API key of the actor was revoked.
    ActorKeyRevoked = 102, "actor_key_revoked";
    /// The API key of the actor belongs to another owner.
    ActorKeyMismatch = 103, "actor_key_mismatch";
    /// The API key of the actor may only read.
    ActorKeyReadOnly = 104, "actor_key_read_only";
    /// An amount, a share or a fee is zero.
    AmountZero = 201, "amount_zero";
    /// An amount, a share or a fee exceeds the maximum of 9007199254740991 minor units.
    AmountTooLarge = 202, "amount_too_large";
    /// The overdraft limit exceeds the maximum of 9007199254740991 minor units.
    OverdraftTooLarge = 203, "overdraft_too_large";
    /// The payment has no payee.
    PayeeMissing = 204, "payee_missing";
    /// The payment has more than 16 payees and fees together.
    TooManyShares = 205, "too_many_shares";
    /// The payment names the same account twice.
    DuplicateAccount = 206, "duplicate_account";
    /// An adjustment requires a reason.
    ReasonRequired = 207, "reason_required";
    /// The kind of the payment does not allow this hold.
    HoldNotAllowed = 208, "hold_not_allowed";
    /// The expiry time of the hold is not in the future.
    HoldAlreadyDue = 209, "hold_already_due";
    /// The fees exceed the amount of the payment.
    FeesExceedAmount = 210, "fees_exceed_amount";
    /// The shares do not sum to the amount less the fees.
    SplitMismatch = 211, "split_mismatch";
    /// The payment expires before it can run.
    QueueExpired = 212, "queue_expired";
    /// The kind of setting is unknown.
    SettingKindUnknown = 213, "setting_kind_unknown";
    /// The setting is larger than its kind allows.
    SettingTooLarge = 214, "setting_too_large";
    /// The new time is not in the future, or the clock would be moved by more than 100 years in all.
    TimeOutOfRange = 215, "time_out_of_range";
    /// The limit says nothing that can be kept.
    LimitInvalid = 216, "limit_invalid";
    /// An account does not exist.
    AccountNotFound = 301, "account_not_found";
    /// The payment does not exist.
    PaymentNotFound = 302, "payment_not_found";
    /// The API key does not exist.
    ApiKeyNotFound = 303, "api_key_not_found";
    /// The setting does not exist.
    SettingNotFound = 304, "setting_not_found";
    /// The owner does not exist.
    OwnerNotFound = 305, "owner_not_found";
    /// The payment has no payee with this account.
    PayeeNotFound = 310, "payee_not_found";
    /// The actor is not allowed to do this.
    Forbidden = 401, "forbidden";
    /// The currency of an account differs from the currency of the payment.
    CurrencyMismatch = 501, "currency_mismatch";
    /// An account is closed.
    AccountClosed = 502, "account_closed";
    /// An account that must pay is frozen.
    AccountFrozen = 503, "account_frozen";
    /// The account is not frozen.
    AccountNotFrozen = 504, "account_not_frozen";
    /// The account has a balance or a hold.
    AccountNotEmpty = 505, "account_not_empty";
    /// The reference is in use: it is unique per owner of the API key and scope.
    ReferenceInUse = 506, "reference_in_use";
    /// The owner already has an account with this external id.
    ExternalIdInUse = 507, "external_id_in_use";
    /// An owner with this name already exists.
    OwnerExists = 508, "owner_exists";
    /// Another owner already has this external id.
    OwnerExternalIdInUse = 509, "owner_external_id_in_use";
    /// The owner is inactive: no accounts and API keys can be made for it.
    OwnerInactive = 510, "owner_inactive";
    /// The owner that the scope of the reference names is neither payer nor payee of the payment.
    ReferenceScopeNotParty = 511, "reference_scope_not_party";
    /// The payment is not in review, or not by a challenge.
    PaymentNotInReview = 518, "payment_not_in_review";
    /// The payment is in review: it must be approved first.
    PaymentInReview = 519, "payment_in_review";
    /// The payment has no open hold and is not queued.
    PaymentNotOpen = 520, "payment_not_open";
    /// The hold has expired.
    HoldExpired = 521, "hold_expired";
    /// The hold has not expired yet.
    HoldNotDue = 522, "hold_not_due";
    /// The amount exceeds the amount held for the payment.
    CaptureExceedsHold = 523, "capture_exceeds_hold";
    /// The kind of the payment cannot be refunded, or nothing was captured.
    PaymentNotRefundable = 524, "payment_not_refundable";
    /// The captured amount is already fully refunded.
    PaymentAlreadyRefunded = 525, "payment_already_refunded";
    /// The amount exceeds the amount that can still be refunded.
    RefundExceedsCaptured = 526, "refund_exceeds_captured";
    /// The payment is not queued.
    PaymentNotQueued = 527, "payment_not_queued";
    /// The payment is not due to run yet.
    PaymentNotDue = 528, "payment_not_due";
    /// The queue is paused.
    QueuePaused = 529, "queue_paused";
    /// The API key is already revoked.
    ApiKeyAlreadyRevoked = 530, "api_key_already_revoked";
    /// The current revision of the setting differs from the revision to replace.
    SettingConflict = 531, "setting_conflict";
    /// The owner already has a setting of this kind with this slug.
    SlugInUse = 532, "slug_in_use";
    /// A setting with this id already exists.
    SettingIdInUse = 533, "setting_id_in_use";
    /// The owner, or all owners together, have reached the maximum number of settings of this kind.
    TooManySettings = 534, "too_many_settings";
    /// All settings together would exceed 145 MiB.
    SettingsFull = 535, "settings_full";
    /// The account or the owner already has 4 limits.
    TooManyLimits = 536, "too_many_limits";
    /// The payment is a payout, which is paid or failed instead.
    PaymentIsPayout = 540, "payment_is_payout";
    /// The payment is not a payout.
    PaymentNotPayout = 541, "payment_not_payout";
    /// The payout is not pending.
    PayoutNotPending = 542, "payout_not_pending";
    /// The payout is not paid.
    PayoutNotPaid = 543, "payout_not_paid";
    /// The amount exceeds the paid amount that has not come back.
    ReturnExceedsPaid = 544, "return_exceeds_paid";
    /// An amount exceeds what the payee has not captured of its part yet.
    CaptureExceedsPart = 550, "capture_exceeds_part";
    /// An amount exceeds what is left to refund of the payee's part.
    RefundExceedsPart = 551, "refund_exceeds_part";
    /// The rules for risk block the payment.
    PaymentBlocked = 600, "payment_blocked";
    /// The available balance of an account is too low.
    InsufficientFunds = 601, "insufficient_funds";
    /// A balance would exceed 9007199254740991 minor units.
    BalanceOverflow = 602, "balance_overflow";
    /// The rules for risk hold the payment for review, which is not possible for an adjustment or in a group.
    ReviewNotPossible = 605, "review_not_possible";
    /// The payment would exceed a limit on its payer.
    LimitExceeded = 610, "limit_exceeded";
    /// Another command of the group was refused.
    GroupAborted = 901, "group_aborted";
}

impl Rejection {
    /// Returns whether the actor is not allowed to do what the command requests. The record of such a refusal belongs to the actor alone:
    /// the record has no legs and no text.
    pub fn concerns_actor(self) -> bool {
        matches!(
            self,
            Rejection::ActorKeyNotFound
                | Rejection::ActorKeyRevoked
                | Rejection::ActorKeyMismatch
                | Rejection::ActorKeyReadOnly
                | Rejection::Forbidden
        )
    }
}

impl std::fmt::Display for Rejection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejections_are_listed_in_order_of_precedence() {
        assert!(
            Rejection::ALL
                .windows(2)
                .all(|pair| pair[0].number() < pair[1].number())
        );
        for rejection in Rejection::ALL {
            assert_eq!(Rejection::from_number(rejection.number()), Some(*rejection));
            assert!(rejection.message().ends_with('.') && !rejection.message().starts_with(' '));
        }
    }
}
