//! Where a command came from that no caller sent by itself.

use serde::Serialize;
use tributary_engine::Reader;
use tributary_ledger::{Origin, SettingKind};
use utoipa::ToSchema;

use crate::streaming::RESULT_KEY;

/// Message from which a binding made a command, or result of a stream for which the stream did something.
#[derive(Serialize, ToSchema)]
#[schema(as = Origin)]
pub struct OriginObject {
    /// The binding; null if it was a stream.
    #[schema(required)]
    binding: Option<String>,
    /// The stream; null if it was a binding.
    #[schema(required)]
    stream: Option<String>,
    /// Revision of the binding, or version of the stream.
    #[schema(minimum = 1)]
    revision: u64,
    /// BLAKE3 hash of the bytes of the message, or id of the result: 64 hexadecimal digits.
    message: String,
    /// Number of messages that led to one another, with this one; of a stream, of streams whose results did.
    #[schema(minimum = 1, maximum = 8)]
    hops: u8,
    /// Where the sender wanted the result.
    #[schema(required)]
    reply_to: Option<String>,
    /// What the reply repeats of the message.
    #[schema(required)]
    correlation_id: Option<String>,
}

impl OriginObject {
    /// Returns the origin of a command with this idempotency key.
    pub fn new(reader: &Reader, key: &[u8], origin: &Origin) -> OriginObject {
        let reply = origin.reply();
        let correlation_id = reply.and_then(|reply| reply.correlation_id());
        let id = |kind| reader.ids().encode_setting(kind, origin.setting());
        let is_stream = key.starts_with(RESULT_KEY);
        OriginObject {
            binding: (!is_stream).then(|| id(SettingKind::BINDING)),
            stream: is_stream.then(|| id(SettingKind::STREAM)),
            revision: origin.revision(),
            message: hex::encode(origin.message()),
            hops: origin.hops(),
            reply_to: reply.map(|reply| reply.to().to_owned()),
            correlation_id: correlation_id.map(str::to_owned),
        }
    }
}
