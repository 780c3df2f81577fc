//! The origin of a command as bytes.

use super::bytes::{Corrupt, Input, Put};
use crate::{Origin, ReplyAddress, SettingId};

/// Origin of a command, read in place. As in [`Origin`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OriginRef<'a> {
    /// Setting that made the command.
    pub setting: SettingId,
    /// Revision of the setting.
    pub revision: u64,
    /// BLAKE3 hash of the bytes of the message's body.
    pub message: &'a [u8; 32],
    /// Number of hops.
    pub hops: u8,
    /// Where the sender wants the result; empty if it does not.
    pub reply_to: &'a str,
    /// What the reply repeats of the message; empty if the message did not say it.
    pub correlation_id: &'a str,
}

impl OriginRef<'_> {
    /// Returns the origin.
    pub fn to_origin(self) -> Origin {
        let correlation_id = Some(self.correlation_id).filter(|text| !text.is_empty());
        let reply = match self.reply_to {
            "" => None,
            to => Some(ReplyAddress::new(to, correlation_id).expect("checked when read")),
        };
        let origin = Origin::new(self.setting, self.revision, *self.message, self.hops, reply);
        origin.expect("checked when read")
    }

    /// Whether [`Origin::new`] and [`ReplyAddress::new`] take it, without making either.
    fn is_sound(&self) -> bool {
        Origin::is_sound(self.setting, self.revision, self.hops)
            && self.reply_to.len() <= ReplyAddress::BYTES_MAX
            && self.correlation_id.len() <= ReplyAddress::BYTES_MAX
            && (!self.reply_to.is_empty() || self.correlation_id.is_empty())
    }
}

pub(super) fn put_origin(origin: &Origin, into: &mut Vec<u8>) {
    let reply = origin.reply();
    let to = reply.map_or("", |reply| reply.to());
    let correlation_id = reply.and_then(|reply| reply.correlation_id());
    let correlation_id = correlation_id.unwrap_or("");
    into.u64(origin.setting().0);
    into.u64(origin.revision());
    into.put(origin.message());
    into.u8(origin.hops());
    for text in [to, correlation_id] {
        into.u16(u16::try_from(text.len()).expect("addresses are at most 512 bytes"));
    }
    into.put(to.as_bytes());
    into.put(correlation_id.as_bytes());
}

/// Reads what [`put_origin`] writes.
pub(super) fn read_origin(bytes: &[u8]) -> Result<OriginRef<'_>, Corrupt> {
    let mut input = Input(bytes);
    let (setting, revision) = (SettingId(input.u64()?), input.u64()?);
    let message = input.take(32)?.first_chunk().expect("32 bytes");
    let hops = input.u8()?;
    let (to_len, correlation_id_len) = (input.u16()?, input.u16()?);
    let text = |bytes| str::from_utf8(bytes).map_err(|_| Corrupt("an address is not UTF-8"));
    let origin = OriginRef {
        setting,
        revision,
        message,
        hops,
        reply_to: text(input.take(to_len.into())?)?,
        correlation_id: text(input.take(correlation_id_len.into())?)?,
    };
    input.end()?;
    match origin.is_sound() {
        true => Ok(origin),
        false => Err(Corrupt("not an origin")),
    }
}
