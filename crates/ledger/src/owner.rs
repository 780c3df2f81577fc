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

/// An [`Owner`] whose name is somewhere else. Nothing but the ledger makes one, so the name is one.
#[derive(Clone, Copy, Debug)]
pub struct OwnerRef<'a> {
    /// Position of the record that first named it.
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
    /// Position of the record that changed it last.
    pub(crate) fn changed_at(&self) -> u64 {
        let id = self.id.0;
        self.last_account.map_or(id, |account| account.0.max(id))
    }

    /// The owner with a name of its own.
    pub fn to_owner(self) -> Owner {
        Owner {
            id: self.id,
            name: OwnerName::from_bytes(self.name).expect("it is a name"),
            last_account: self.last_account,
            changed_at: self.changed_at(),
        }
    }
}
