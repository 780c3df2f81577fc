//! API keys as their holders see them: `tk_`, the key's id, `_`, and 256 random bits in hexadecimal.
//!
//! The id in front lets the server find the key without an index; the journal stores only a hash of the bits.

use subtle::ConstantTimeEq;
use tributary_engine::{IdKind, Ids};
use tributary_ledger::{ApiKeyId, Key, OwnerId};

const PREFIX: &str = "tk_";
/// Characters of an id after its prefix and underscore.
const ID_CHARS: usize = 26;
const SECRET_BYTES: usize = 32;
const TOKEN_CHARS: usize = PREFIX.len() + ID_CHARS + 1 + 2 * SECRET_BYTES;
/// Domain of the stored hash: a secret of another kind can never match it.
const HASH_CONTEXT: &str = "tributary 2026 api key secret v1";

/// The random part of an API key. It is shown once and never stored; `Debug` does not show it.
#[derive(Clone)]
pub struct Secret([u8; SECRET_BYTES]);

impl Secret {
    /// A new secret from the operating system's randomness.
    ///
    /// # Panics
    /// If the operating system has no randomness to give: no key can be made then.
    pub fn random() -> Secret {
        let mut bytes = [0; SECRET_BYTES];
        getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
        Secret(bytes)
    }

    /// Returns the hash of the secret, which the journal stores.
    pub fn hash(&self) -> [u8; 32] {
        blake3::derive_key(HASH_CONTEXT, &self.0)
    }

    /// Whether it is the secret with this hash; takes the same time for every wrong one.
    pub fn matches(&self, hash: &[u8; 32]) -> bool {
        self.hash().ct_eq(hash).into()
    }

    /// The whole key as its holder gets it.
    pub fn token(&self, ids: &Ids, key: ApiKeyId) -> String {
        let id = ids.encode(IdKind::ApiKey, key.0);
        let body = id.rsplit('_').next().expect("an id has a body");
        let mut token = String::with_capacity(TOKEN_CHARS);
        token.push_str(PREFIX);
        token.push_str(body);
        token.push('_');
        token.push_str(&hex::encode(self.0));
        token
    }
}

/// Makes the secrets of API keys from the idempotency keys of the requests that ask for them: a repetition of a request, whose first
/// answer was lost, finds the secret again. `Debug` does not show the key.
#[derive(Clone)]
pub struct SecretSource([u8; SECRET_BYTES]);

impl SecretSource {
    /// A source with this key, which must be secret and stay the same.
    pub fn new(key: [u8; SECRET_BYTES]) -> SecretSource {
        SecretSource(key)
    }

    /// Returns the secret for a request of an owner under this idempotency key.
    pub fn secret(&self, owner: OwnerId, key: &Key) -> Secret {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher.update(&owner.0.to_le_bytes());
        hasher.update(key.as_bytes());
        Secret(hasher.finalize().into())
    }
}

impl std::fmt::Debug for SecretSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecretSource(…)")
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Splits a token into the key that it claims to be and the secret that must prove it.
pub fn parse(ids: &Ids, token: &str) -> Option<(ApiKeyId, Secret)> {
    if token.len() != TOKEN_CHARS || !token.is_ascii() {
        return None;
    }
    let (body, secret) = token.strip_prefix(PREFIX)?.split_at(ID_CHARS);
    let secret = secret.strip_prefix('_')?;
    let id = ids.decode_body(IdKind::ApiKey, body)?;
    // Lower case only: a key has one spelling.
    if secret.bytes().any(|digit| digit.is_ascii_uppercase()) {
        return None;
    }
    let mut bytes = [0u8; SECRET_BYTES];
    hex::decode_to_slice(secret, &mut bytes).ok()?;
    Some((ApiKeyId(id), Secret(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_follows_from_its_source_owner_and_idempotency_key() {
        let key = |text: &str| Key::from_bytes(text.as_bytes()).expect("a key");
        let source = SecretSource::new([1; 32]);
        let secret = source.secret(OwnerId(7), &key("a"));
        assert!(source.secret(OwnerId(7), &key("a")).matches(&secret.hash()));
        for other in [
            source.secret(OwnerId(8), &key("a")),
            source.secret(OwnerId(7), &key("b")),
            SecretSource::new([2; 32]).secret(OwnerId(7), &key("a")),
        ] {
            assert!(!other.matches(&secret.hash()));
        }
        assert_eq!(format!("{source:?}"), "SecretSource(…)");
    }

    #[test]
    fn a_token_names_its_key_and_proves_its_secret() {
        let ids = Ids::new(&[3; 16], &[(1, 1)]);
        let secret = Secret::random();
        let token = secret.token(&ids, ApiKeyId(42));
        assert_eq!(token.len(), TOKEN_CHARS);
        let (key, parsed) = parse(&ids, &token).expect("its own token");
        assert_eq!(key, ApiKeyId(42));
        assert!(parsed.matches(&secret.hash()));
        assert!(!Secret::random().matches(&secret.hash()));
        for wrong in [
            "",
            "tk_",
            &token[1..],
            &token.to_uppercase(),
            &token.replace("tk_", "sk_"),
        ] {
            assert!(parse(&ids, wrong).is_none(), "{wrong}");
        }
        assert_eq!(format!("{secret:?}"), "Secret(…)");
    }
}
