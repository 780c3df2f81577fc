//! The origin of a command that came as a message: a fact that the system records beside the command.

use crate::{Invalid, SettingId};

/// Where a command came from that no caller sent by itself: a message that a setting, a binding, turned into the command. The origin
/// is no part of the command's digest: the same message under a later revision is a repetition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    setting: SettingId,
    revision: u64,
    message: [u8; 32],
    hops: u8,
    reply: Option<ReplyAddress>,
}

impl Origin {
    /// Maximum number of hops: a message that would take one more goes round in a circle.
    pub const HOPS_MAX: u8 = 8;

    /// Returns the origin of a message. `message` is the BLAKE3 hash of the bytes of its body; `hops` counts this command among those
    /// that led to one another through messages: 1 for the message of a sender outside.
    ///
    /// None if the setting or the revision is 0, or `hops` is not 1 to [`Origin::HOPS_MAX`].
    pub fn new(
        setting: SettingId,
        revision: u64,
        message: [u8; 32],
        hops: u8,
        reply: Option<ReplyAddress>,
    ) -> Option<Origin> {
        Self::is_sound(setting, revision, hops).then_some(Origin {
            setting,
            revision,
            message,
            hops,
            reply,
        })
    }

    /// Returns whether [`Origin::new`] takes these.
    pub(crate) fn is_sound(setting: SettingId, revision: u64, hops: u8) -> bool {
        setting.0 != 0 && revision != 0 && (1..=Self::HOPS_MAX).contains(&hops)
    }

    /// Returns the setting that made the command.
    pub fn setting(&self) -> SettingId {
        self.setting
    }

    /// Returns the revision of the setting.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Returns the BLAKE3 hash of the bytes of the message's body.
    pub fn message(&self) -> &[u8; 32] {
        &self.message
    }

    /// Returns the number of hops, 1 to [`Origin::HOPS_MAX`].
    pub fn hops(&self) -> u8 {
        self.hops
    }

    /// Returns where the sender wants the result, if it does.
    pub fn reply(&self) -> Option<&ReplyAddress> {
        self.reply.as_ref()
    }
}

/// Address of the result of a command, as the sender of its message wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplyAddress {
    to: Box<str>,
    correlation_id: Option<Box<str>>,
}

impl ReplyAddress {
    /// Maximum size of an address and of a correlation id, bytes.
    pub const BYTES_MAX: usize = 512;

    /// Checks the lengths.
    ///
    /// # Errors
    /// Address and correlation id have 1 to [`ReplyAddress::BYTES_MAX`] bytes.
    pub fn new(to: &str, correlation_id: Option<&str>) -> Result<ReplyAddress, Invalid> {
        let check = |text: &str| match text.len() {
            0 => Err(Invalid::Empty),
            1..=Self::BYTES_MAX => Ok(text.into()),
            _ => Err(Invalid::TooLong {
                bytes_max: Self::BYTES_MAX,
            }),
        };
        Ok(ReplyAddress {
            to: check(to)?,
            correlation_id: correlation_id.map(check).transpose()?,
        })
    }

    /// Returns the address.
    pub fn to(&self) -> &str {
        &self.to
    }

    /// Returns what the reply repeats of the message, if the message said it.
    pub fn correlation_id(&self) -> Option<&str> {
        self.correlation_id.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_names_a_revision_and_has_1_to_8_hops() {
        let new = |setting, revision, hops| {
            Origin::new(SettingId(setting), revision, [7; 32], hops, None).is_some()
        };
        assert!(new(1, 1, 1) && new(u64::MAX, u64::MAX, 8));
        for (setting, revision, hops) in [(0, 1, 1), (1, 0, 1), (1, 1, 0), (1, 1, 9)] {
            assert!(!new(setting, revision, hops), "{setting} {revision} {hops}");
        }
    }

    #[test]
    fn an_address_and_its_correlation_id_have_1_to_512_bytes() {
        let most = "r".repeat(ReplyAddress::BYTES_MAX);
        let more = "r".repeat(ReplyAddress::BYTES_MAX + 1);
        let long = Invalid::TooLong { bytes_max: 512 };
        for (to, correlation_id, expected) in [
            ("replies", None, None),
            (&most, Some(&*most), None),
            ("", None, Some(Invalid::Empty)),
            ("replies", Some(""), Some(Invalid::Empty)),
            (&more, None, Some(long)),
            ("replies", Some(&more), Some(long)),
        ] {
            assert_eq!(ReplyAddress::new(to, correlation_id).err(), expected);
        }
        let both = ReplyAddress::new("replies", Some("order-7")).expect("a sound address");
        assert_eq!(
            (both.to(), both.correlation_id()),
            ("replies", Some("order-7"))
        );
    }
}
