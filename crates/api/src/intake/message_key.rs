//! Idempotency keys of commands that came as messages.

use tributary_ledger::Key;

/// First bytes of a message's key. Keys that begin with a zero byte are reserved: no caller can send one over REST, and over gRPC only
/// those of 16 bytes, which this key is not.
const PREFIX: &[u8; 8] = b"\0message";

/// What gave a message the id by which it is recognised when it comes again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdentityKind {
    /// A field of its body.
    Field,
    /// `source` and `id` of a CloudEvent.
    CloudEvents,
    /// The id that its sender gave to the broker.
    MessageId,
    /// The id that the broker gave it: another one if the sender sends it again.
    Broker,
}

impl IdentityKind {
    /// Returns the name, which is part of every key: it never changes.
    pub fn as_str(self) -> &'static str {
        match self {
            IdentityKind::Field => "field",
            IdentityKind::CloudEvents => "cloudevents",
            IdentityKind::MessageId => "message_id",
            IdentityKind::Broker => "broker",
        }
    }
}

/// Returns the idempotency key of the command that a message asks for, in the name space of the owner as whom its binding acts.
/// `identity` is the name that the binding gives to the stream of messages, `source` that of a CloudEvent, else empty. The key is
/// [`PREFIX`] and the first 24 bytes of BLAKE3 over the four parts, each with its length before it.
///
/// A key that was used leads to its record by [`tributary_engine::Reader::record_by_key`]; the hash in the record's
/// [`tributary_ledger::Origin`] says whether the message is the same.
pub fn message_key(identity: &str, kind: IdentityKind, source: &str, id: &[u8]) -> Key {
    let mut hasher = blake3::Hasher::new();
    let parts = [
        identity.as_bytes(),
        kind.as_str().as_bytes(),
        source.as_bytes(),
        id,
    ];
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    let mut bytes = PREFIX.to_vec();
    bytes.extend_from_slice(&hasher.finalize().as_bytes()[..24]);
    Key::from_bytes(&bytes).expect("it is short")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Once a message was decided, the key finds its record for ever.
    #[test]
    fn a_message_has_the_same_key_for_ever() {
        let key = message_key("orders", IdentityKind::Field, "", b"123456");
        assert_eq!(&key.as_bytes()[..8], PREFIX);
        assert_eq!(
            hex::encode(&key.as_bytes()[8..]),
            "fe2f6c01310ba1f55774ee76c898c791f77bc7f00ac12fb7"
        );
    }

    #[test]
    fn messages_that_differ_in_any_part_have_different_keys() {
        let key = message_key("orders", IdentityKind::CloudEvents, "/shop", b"7");
        for other in [
            message_key("refunds", IdentityKind::CloudEvents, "/shop", b"7"),
            message_key("orders", IdentityKind::MessageId, "/shop", b"7"),
            message_key("orders", IdentityKind::CloudEvents, "/shop7", b""),
            message_key("orders", IdentityKind::CloudEvents, "/sho", b"p7"),
            message_key("orders", IdentityKind::CloudEvents, "/shop", b"8"),
            message_key("", IdentityKind::CloudEvents, "orders/shop", b"7"),
        ] {
            assert_ne!(key, other);
        }
    }
}
