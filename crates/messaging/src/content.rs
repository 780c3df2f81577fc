//! Content of a setting of kind subscription: a version byte, where the subscription begins, and its terms.

use tributary_ledger::{Setting, SettingBody, SettingId, SettingKind};

use crate::codec::{self, Unreadable};
use crate::settings::{
    BadSetting, Filter, Kind, Order, Policy, Subscription, SubscriptionId, Terms,
};

/// First byte of the content. A later layout gets the next number.
const VERSION: u8 = 1;

/// Content of a setting of kind subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscriptionContent {
    /// Definition and state of the subscription.
    pub terms: Terms,
    /// Position after which events are delivered, 0 for all; none for events after the first record of the setting.
    pub start: Option<u64>,
}

/// The content of a setting is not that of a subscription of this version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the content of a subscription can't be read: it was written by a later version, or is damaged"
)]
pub struct UnreadableContent;

impl From<Unreadable> for UnreadableContent {
    fn from(_: Unreadable) -> Self {
        UnreadableContent
    }
}

impl SubscriptionContent {
    /// The body of the setting.
    ///
    /// # Errors
    /// If the terms are out of their bounds.
    pub fn encode(&self) -> Result<SettingBody, BadSetting> {
        self.terms.check()?;
        let mut bytes = vec![VERSION];
        codec::encode_terms(&self.terms, self.start, &mut bytes);
        SettingBody::new(&bytes).map_err(|_| BadSetting {
            field: "subscription",
            what: "must take at most 32 KiB in all",
        })
    }

    /// The content that a body holds.
    ///
    /// # Errors
    /// If the bytes are not exactly one content of this version, within its bounds.
    pub fn decode(body: &[u8]) -> Result<SubscriptionContent, UnreadableContent> {
        let (&version, rest) = body.split_first().ok_or(UnreadableContent)?;
        if version != VERSION {
            return Err(UnreadableContent);
        }
        let (terms, start) = codec::decode_terms(rest)?;
        Ok(SubscriptionContent { terms, start })
    }

    /// The subscription that a setting of this kind is; none if it is not one.
    ///
    /// # Errors
    /// As of [`SubscriptionContent::decode`].
    pub(crate) fn of_setting(
        kind: SettingKind,
        id: SettingId,
        body: &[u8],
    ) -> Option<Result<SubscriptionContent, UnreadableContent>> {
        match kind {
            SettingKind::SUBSCRIPTION => Some(SubscriptionContent::decode(body)),
            SettingKind::BINDING => Some(Ok(SubscriptionContent::of_replies(id))),
            _ => None,
        }
    }

    /// The replies of a binding: a subscription that wants no event but those that name it.
    fn of_replies(binding: SettingId) -> SubscriptionContent {
        SubscriptionContent {
            terms: Terms {
                filter: Filter {
                    patterns: Vec::new(),
                    currency: None,
                    owner: None,
                },
                kind: Kind::Sink { binding },
                policy: Policy {
                    order: Order::Object,
                    ..Policy::default()
                },
                paused: None,
                name: String::new(),
                metadata: String::new(),
            },
            start: None,
        }
    }
}

impl Subscription {
    /// Returns the kind of the setting that defines the subscription: the replies of a binding belong to the binding.
    pub fn setting_kind(&self) -> SettingKind {
        match self.terms.kind {
            Kind::Sink { binding } if binding.0 == self.id.0 => SettingKind::BINDING,
            _ => SettingKind::SUBSCRIPTION,
        }
    }

    /// The subscription that a setting defines.
    ///
    /// # Errors
    /// If the setting's content can't be read.
    pub fn from_setting(setting: &Setting) -> Result<Subscription, UnreadableContent> {
        let body = setting.body.as_bytes();
        let content = SubscriptionContent::of_setting(setting.kind, setting.id, body);
        let content = content.ok_or(UnreadableContent)??;
        Ok(Subscription {
            id: SubscriptionId(setting.id.0),
            scope: setting.owner,
            created_at: setting.created.timestamp,
            terms: content.terms,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Filter, Kind, Pattern, Policy};

    fn content(start: Option<u64>) -> SubscriptionContent {
        SubscriptionContent {
            terms: Terms {
                filter: Filter {
                    patterns: vec![Pattern::new("payment.#").expect("a pattern")],
                    currency: None,
                    owner: None,
                },
                kind: Kind::Push { target: vec![7; 9] },
                policy: Policy::default(),
                paused: None,
                name: "orders".into(),
                metadata: "{}".into(),
            },
            start,
        }
    }

    #[test]
    fn content_comes_back_and_nothing_else_is_read() {
        for start in [None, Some(0), Some(u64::MAX)] {
            let content = content(start);
            let body = content.encode().expect("within its bounds");
            let bytes = body.as_bytes();
            assert_eq!(SubscriptionContent::decode(bytes), Ok(content));
            for cut in 0..bytes.len() {
                assert!(SubscriptionContent::decode(&bytes[..cut]).is_err());
            }
            let longer = [bytes, &[0]].concat();
            assert!(SubscriptionContent::decode(&longer).is_err());
            let later = [&[VERSION + 1], &bytes[1..]].concat();
            assert!(SubscriptionContent::decode(&later).is_err());
        }
    }

    #[test]
    fn content_beyond_its_bounds_is_not_written() {
        let mut long = content(None);
        long.terms.name = "n".repeat(Terms::NAME_BYTES_MAX + 1);
        let bad = long.encode().expect_err("the name is too long");
        assert_eq!(bad.field, "name");
    }

    /// Every bound reached at once still fits a setting.
    #[test]
    fn the_largest_content_fits_a_setting() {
        let mut largest = content(Some(1));
        let terms = &mut largest.terms;
        let pattern = Pattern::new(&"p".repeat(Pattern::BYTES_MAX)).expect("a pattern");
        terms.filter.patterns = vec![pattern; Filter::PATTERNS_MAX];
        terms.kind = Kind::Push {
            target: vec![0; Terms::TARGET_BYTES_MAX],
        };
        terms.paused = Some("w".repeat(Terms::NAME_BYTES_MAX));
        terms.name = "n".repeat(Terms::NAME_BYTES_MAX);
        terms.metadata = "m".repeat(Terms::METADATA_BYTES_MAX);
        assert!(largest.encode().is_ok());
    }
}
