//! Settings: named, versioned bodies. The ledger reads only those of limits.

use std::fmt;
use std::sync::Arc;

use crate::{Context, Invalid, ManagedBy, OwnerId, SettingId, Slug};

/// Maximum size of the bodies of all living settings together, bytes. They stay in memory; parts of models may take 64 MiB of it.
pub const SETTINGS_BYTES_MAX: usize = 145 * 1024 * 1024;

/// Who may create, change and delete settings of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PutBy {
    /// Every owner, for itself.
    Anyone,
    /// Only the platform.
    Platform,
}

/// Number of a kind of settings, as in [`SETTING_KINDS`]. A record may carry a number that this version does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SettingKind(pub u16);

/// Rules for one kind of settings. They belong to the rules version: changing one raises [`crate::RULES_VERSION`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KindRules {
    /// Stored number.
    pub kind: SettingKind,
    /// Name in APIs and in event types.
    pub name: &'static str,
    /// Who may create, change and delete settings of this kind.
    pub put_by: PutBy,
    /// Maximum number of living settings of all owners, who share it as [`crate::SharedBound`] says.
    pub in_all: usize,
    /// Maximum size of a body, bytes.
    pub body_bytes_max: usize,
    /// Types of the events of this kind.
    pub events: SettingEvents,
}

/// Types of the events of one kind of settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SettingEvents {
    /// The first revision of a setting.
    pub created: &'static str,
    /// Every later revision.
    pub updated: &'static str,
    /// The end of a setting.
    pub deleted: &'static str,
    /// A refused command.
    pub refused: &'static str,
}

macro_rules! events {
    ($name:literal) => {
        SettingEvents {
            created: concat!($name, ".created"),
            updated: concat!($name, ".updated"),
            deleted: concat!($name, ".deleted"),
            refused: concat!($name, ".refused"),
        }
    };
}

/// Event types of kinds that this version does not know.
const UNKNOWN_EVENTS: SettingEvents = events!("setting");

/// Every kind of settings.
pub const SETTING_KINDS: &[KindRules] = &[
    KindRules {
        kind: SettingKind::SUBSCRIPTION,
        name: "subscription",
        put_by: PutBy::Anyone,
        in_all: 2_000,
        body_bytes_max: SettingBody::BYTES_MAX,
        events: events!("subscription"),
    },
    KindRules {
        kind: SettingKind::APPLIED_FILE,
        name: "applied_file",
        put_by: PutBy::Platform,
        in_all: 500,
        body_bytes_max: 1_024,
        events: events!("applied_file"),
    },
    KindRules {
        kind: SettingKind::MASTER_KEY,
        name: "master_key",
        put_by: PutBy::Platform,
        in_all: 1,
        body_bytes_max: 64,
        events: events!("master_key"),
    },
    KindRules {
        kind: SettingKind::BINDER,
        name: "binder",
        put_by: PutBy::Platform,
        in_all: 100,
        body_bytes_max: 16 * 1_024,
        events: events!("binder"),
    },
    KindRules {
        kind: SettingKind::BINDING,
        name: "binding",
        put_by: PutBy::Platform,
        in_all: 500,
        body_bytes_max: 16 * 1_024,
        events: events!("binding"),
    },
    KindRules {
        kind: SettingKind::STREAM,
        name: "stream",
        put_by: PutBy::Platform,
        in_all: 100,
        body_bytes_max: SettingBody::BYTES_MAX,
        events: events!("stream"),
    },
    KindRules {
        kind: SettingKind::LIMIT,
        name: "limit",
        put_by: PutBy::Platform,
        in_all: 10_000,
        body_bytes_max: 64,
        events: events!("limit"),
    },
    KindRules {
        kind: SettingKind::RULE_SET,
        name: "rule_set",
        put_by: PutBy::Platform,
        in_all: 20,
        body_bytes_max: SettingBody::BYTES_MAX,
        events: events!("rule_set"),
    },
    KindRules {
        kind: SettingKind::LIST,
        name: "list",
        put_by: PutBy::Platform,
        in_all: 100,
        body_bytes_max: SettingBody::BYTES_MAX,
        events: events!("list"),
    },
    KindRules {
        kind: SettingKind::MODEL,
        name: "model",
        put_by: PutBy::Platform,
        in_all: 20,
        body_bytes_max: SettingBody::BYTES_MAX,
        events: events!("model"),
    },
    KindRules {
        kind: SettingKind::MODEL_PART,
        name: "model_part",
        put_by: PutBy::Platform,
        in_all: 2_048,
        body_bytes_max: SettingBody::BYTES_MAX,
        events: events!("model_part"),
    },
];

impl SettingKind {
    /// A subscription to events.
    pub const SUBSCRIPTION: SettingKind = SettingKind(1);
    /// What `tributary apply` remembers of a file: its generation.
    pub const APPLIED_FILE: SettingKind = SettingKind(2);
    /// The id, never the bytes, of the master key that seals the secrets of other settings.
    pub const MASTER_KEY: SettingKind = SettingKind(3);
    /// A connection to a broker.
    pub const BINDER: SettingKind = SettingKind(4);
    /// A destination at a broker, joined to the system.
    pub const BINDING: SettingKind = SettingKind(5);
    /// Figures over windows of events, by key.
    pub const STREAM: SettingKind = SettingKind(6);
    /// The most that an account or an owner may pay within a time. The only kind whose body the ledger reads: see
    /// [`LimitTerms`](crate::LimitTerms).
    pub const LIMIT: SettingKind = SettingKind(7);
    /// Rules by which payments are assessed.
    pub const RULE_SET: SettingKind = SettingKind(8);
    /// Texts that rules look up.
    pub const LIST: SettingKind = SettingKind(9);
    /// A model that scores payments: what it is, and which parts its file has.
    pub const MODEL: SettingKind = SettingKind(10);
    /// A part of the file of a model. The slug is a hash of the content.
    pub const MODEL_PART: SettingKind = SettingKind(11);

    /// Returns the rules of this kind; none if this version does not know the kind.
    pub fn rules(self) -> Option<&'static KindRules> {
        SETTING_KINDS.iter().find(|rules| rules.kind == self)
    }

    /// Returns the kind with this name.
    pub fn from_name(name: &str) -> Option<SettingKind> {
        let rules = SETTING_KINDS.iter().find(|rules| rules.name == name);
        rules.map(|rules| rules.kind)
    }

    /// Returns the name in APIs; `setting` for a kind that this version does not know.
    pub fn name(self) -> &'static str {
        self.rules().map_or("setting", |rules| rules.name)
    }

    /// Types of the events of this kind.
    pub fn events(self) -> SettingEvents {
        self.rules().map_or(UNKNOWN_EVENTS, |rules| rules.events)
    }
}

/// Content of a setting. Clones share the bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct SettingBody(Arc<[u8]>);

impl SettingBody {
    /// Maximum size of a body of any kind, bytes.
    pub const BYTES_MAX: usize = 32 * 1024;

    /// Checks the size.
    ///
    /// # Errors
    /// A body has 1 to [`SettingBody::BYTES_MAX`] bytes.
    pub fn new(bytes: &[u8]) -> Result<Self, Invalid> {
        if bytes.is_empty() {
            return Err(Invalid::Empty);
        }
        if bytes.len() > Self::BYTES_MAX {
            return Err(Invalid::TooLong {
                bytes_max: Self::BYTES_MAX,
            });
        }
        Ok(SettingBody(bytes.into()))
    }

    /// Returns the bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for SettingBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SettingBody({} bytes)", self.0.len())
    }
}

/// A living setting as of its newest revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Id, a random number chosen by the creator.
    pub id: SettingId,
    /// Kind.
    pub kind: SettingKind,
    /// Owner of the key that created the setting.
    pub owner: OwnerId,
    /// Name, unique per owner and kind.
    pub slug: Slug,
    /// Name of the file or tool that manages the setting.
    pub managed_by: Option<ManagedBy>,
    /// Number of this revision, from 1.
    pub revision: u64,
    /// Content.
    pub body: SettingBody,
    /// Record of the first revision.
    pub created: Context,
    /// Record of this revision.
    pub changed: Context,
    /// Position of the record of the revision before; 0 for the first.
    pub prev: u64,
}

/// After-image of a put or a delete: the fields that the command does not contain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SettingChange {
    /// Number of the revision that the record makes. Of a delete: one past the last revision.
    pub revision: u64,
    /// Owner of the setting.
    pub owner: OwnerId,
    /// Record of the first revision.
    pub created: Context,
    /// Position of the record of the revision before; 0 for the first.
    pub prev: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SharedBound;

    /// Bytes have a bound for all owners and none for one: they need none while this holds.
    #[test]
    fn the_share_of_an_owner_in_settings_bounds_its_share_of_their_bytes() {
        let bytes = |count: fn(SharedBound) -> usize| -> usize {
            let kinds = SETTING_KINDS.iter();
            kinds
                .map(|rules| count(SharedBound::new(rules.in_all)) * rules.body_bytes_max)
                .sum()
        };
        let bound = SharedBound::new(SETTINGS_BYTES_MAX);
        assert!(bytes(SharedBound::of_owner) <= bound.of_owner());
        assert!(bytes(SharedBound::of_owners) <= bound.of_owners());
        assert!(bytes(SharedBound::in_all) <= bound.in_all());
    }

    #[test]
    fn kinds_have_numbers_names_and_limits_of_their_own() {
        for (at, rules) in SETTING_KINDS.iter().enumerate() {
            assert_eq!(rules.kind.rules(), Some(rules));
            assert_eq!(SettingKind::from_name(rules.name), Some(rules.kind));
            assert_eq!(rules.events.created, format!("{}.created", rules.name));
            assert!(rules.body_bytes_max <= SettingBody::BYTES_MAX);
            let before = &SETTING_KINDS[..at];
            assert!(before.iter().all(|other| other.kind.0 < rules.kind.0));
        }
        assert_eq!(SettingKind(0).rules(), None);
        assert_eq!(SettingKind(u16::MAX).name(), "setting");
        assert_eq!(SettingKind(u16::MAX).events().created, "setting.created");
    }
}
