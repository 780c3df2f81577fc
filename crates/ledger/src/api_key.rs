//! API keys.

use crate::{ApiKeyId, Label, OwnerId};

/// What a key may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Access {
    /// Reading only.
    Read = 1,
    /// Reading and commands.
    Write = 2,
}

/// Whether a key opens anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum ApiKeyStatus {
    /// Yes.
    Active = 1,
    /// Not any more.
    Revoked = 2,
}

/// A key as of its last record. The secret itself is never here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey {
    /// Position of the record that created it.
    pub id: ApiKeyId,
    /// In whose name it acts; [`OwnerId::PLATFORM`] may do everything.
    pub owner: OwnerId,
    /// Read or write.
    pub access: Access,
    /// Whether it opens anything.
    pub status: ApiKeyStatus,
    /// Keyed hash of the secret.
    pub secret_hash: [u8; 32],
    /// What it is for.
    pub label: Option<Label>,
    /// Nanoseconds since the Unix epoch.
    pub created_at: u64,
    /// Nanoseconds since the Unix epoch.
    pub rotated_at: Option<u64>,
    /// Nanoseconds since the Unix epoch.
    pub revoked_at: Option<u64>,
    /// Position of the record that changed it last.
    pub changed_at: u64,
}

impl Access {
    /// The stored number.
    pub fn from_number(number: u8) -> Option<Self> {
        [Self::Read, Self::Write]
            .into_iter()
            .find(|access| *access as u8 == number)
    }
}

impl ApiKeyStatus {
    /// The stored number.
    pub fn from_number(number: u8) -> Option<Self> {
        [Self::Active, Self::Revoked]
            .into_iter()
            .find(|status| *status as u8 == number)
    }
}
