//! Owners.

use crate::{AccountId, OwnerId, OwnerName};

/// Somebody who owns accounts or API keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Position of the record that first named it.
    pub id: OwnerId,
    /// As the platform calls it.
    pub name: OwnerName,
    /// The account opened last; the others follow by [`crate::Account::owner_prev`].
    pub last_account: Option<AccountId>,
    /// Position of the record that changed it last, which opened its last account or first named it; 0 only for the platform
    /// before its first.
    pub changed_at: u64,
}
