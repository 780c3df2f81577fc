//! API keys.

use crate::{ApiKeyId, Label, OwnerId};

/// Access that an API key grants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Access {
    /// The key can read.
    Read = 1,
    /// The key can read and submit commands.
    Write = 2,
}

/// Whether an API key is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum ApiKeyStatus {
    /// The key is valid.
    Active = 1,
    /// The key was revoked.
    Revoked = 2,
}

/// Maximum time for which the secret before a rotation stays valid, nanoseconds.
pub const API_KEY_OVERLAP_MAX: u64 = 30 * crate::DATE_NANOS;

/// Secret of an API key before its last rotation, which stays valid for a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PreviousSecret {
    /// Keyed hash of the secret.
    pub secret_hash: [u8; 32],
    /// Time from which the secret is not valid any more, nanoseconds since the Unix epoch.
    pub valid_until: u64,
}

/// State of an API key after its last record. Contains a hash of the secret, never the secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey {
    /// Position of the record that created the key.
    pub id: ApiKeyId,
    /// Owner for whom the key acts; [`OwnerId::PLATFORM`] is allowed to do everything.
    pub owner: OwnerId,
    /// Access that the key grants.
    pub access: Access,
    /// Whether the key is valid.
    pub status: ApiKeyStatus,
    /// Keyed hash of the secret.
    pub secret_hash: [u8; 32],
    /// Secret before the last rotation, if the rotation left it valid for a time. Boxed, since few keys have one.
    pub previous: Option<Box<PreviousSecret>>,
    /// Description of the use of the key.
    pub label: Option<Label>,
    /// Time of creation, nanoseconds since the Unix epoch.
    pub created_at: u64,
    /// Time of the last rotation, nanoseconds since the Unix epoch.
    pub rotated_at: Option<u64>,
    /// Time of revocation, nanoseconds since the Unix epoch.
    pub revoked_at: Option<u64>,
    /// Position of the last record that changed the key.
    pub changed_at: u64,
}

impl Access {
    /// Returns the value with this stored number, if there is one.
    pub fn from_number(number: u8) -> Option<Self> {
        [Self::Read, Self::Write]
            .into_iter()
            .find(|access| *access as u8 == number)
    }
}

impl ApiKeyStatus {
    /// Returns the value with this stored number, if there is one.
    pub fn from_number(number: u8) -> Option<Self> {
        [Self::Active, Self::Revoked]
            .into_iter()
            .find(|status| *status as u8 == number)
    }
}
