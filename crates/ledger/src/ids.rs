//! Ids of objects: for most, the position of the record that created the object.

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u64);
    };
}

id!(
    /// Position of the record that opened the account.
    AccountId
);
id!(
    /// Position of the record that created the payment.
    PaymentId
);
id!(
    /// Position of the record that created the API key; [`ApiKeyId::SYSTEM`] is the system itself.
    ApiKeyId
);
id!(
    /// Position of the record that first named the owner; [`OwnerId::PLATFORM`] is the platform itself.
    OwnerId
);

id!(
    /// Random number that names a setting, chosen by its creator and never 0.
    SettingId
);

impl ApiKeyId {
    /// The system itself (first start, timers), which is trusted and has no key.
    pub const SYSTEM: ApiKeyId = ApiKeyId(0);
}

impl OwnerId {
    /// The platform, which is allowed to do everything and owns fee, suspense and external accounts.
    pub const PLATFORM: OwnerId = OwnerId(0);
}

/// Optional account id in eight bytes.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct MaybeAccount(u64);

impl MaybeAccount {
    /// Returns the account, if there is one.
    pub fn get(self) -> Option<AccountId> {
        // Positions begin at 1.
        (self.0 != 0).then_some(AccountId(self.0))
    }
}

impl From<Option<AccountId>> for MaybeAccount {
    fn from(account: Option<AccountId>) -> Self {
        MaybeAccount(account.map_or(0, |account| account.0))
    }
}

impl std::fmt::Debug for MaybeAccount {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.get().fmt(f)
    }
}
