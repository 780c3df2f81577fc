//! Owners.

use crate::{AccountId, OwnerId, OwnerName};

/// Owner of accounts, API keys and settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Position of the record that first named the owner.
    pub id: OwnerId,
    /// Name of the owner, given by the platform.
    pub name: OwnerName,
    /// Last opened account; [`crate::Account::owner_prev`] leads to the others.
    pub last_account: Option<AccountId>,
    /// Position of the last record that changed the owner: it opened the last account or first named the owner. 0 only for the platform
    /// before its first account.
    pub changed_at: u64,
}

/// An [`Owner`] with a borrowed name. Only the ledger creates an `OwnerRef`, so the name is valid.
#[derive(Clone, Copy, Debug)]
pub struct OwnerRef<'a> {
    /// Position of the record that first named the owner.
    pub id: OwnerId,
    pub(crate) name: &'a [u8],
    pub(crate) last_account: Option<AccountId>,
}

impl Owner {
    pub(crate) fn borrowed(&self) -> OwnerRef<'_> {
        OwnerRef {
            id: self.id,
            name: self.name.as_bytes(),
            last_account: self.last_account,
        }
    }
}

impl OwnerRef<'_> {
    /// Returns the position of the last record that changed the owner.
    pub(crate) fn changed_at(&self) -> u64 {
        let id = self.id.0;
        self.last_account.map_or(id, |account| account.0.max(id))
    }

    /// Returns a copy with its own name.
    pub fn to_owner(self) -> Owner {
        Owner {
            id: self.id,
            name: OwnerName::from_bytes(self.name).expect("it is a name"),
            last_account: self.last_account,
            changed_at: self.changed_at(),
        }
    }
}
