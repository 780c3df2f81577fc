//! An endpoint: where webhooks go and what signs them; and how that is stored.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};

use super::address::{EndpointUrl, UrlRefused};
use super::seal::{MasterKey, Unsealable};
use super::signature::{SigningSecret, SigningSecrets};

/// Receiver of webhooks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// The id of the subscription.
    pub id: String,
    /// URL of the receiver.
    pub url: EndpointUrl,
    /// Secrets that sign the webhooks.
    pub secrets: SigningSecrets,
}

/// Error of stored bytes that are no endpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EndpointUnreadable {
    /// The bytes are not what [`Endpoint::to_bytes`] makes.
    #[error("the stored endpoint is damaged")]
    Damaged,
    /// Its URL can't be read.
    #[error(transparent)]
    Url(#[from] UrlRefused),
    /// Its secrets can't be opened.
    #[error(transparent)]
    Secret(#[from] Unsealable),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    url: String,
    /// The newest first.
    secrets: Vec<StoredSecret>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredSecret {
    /// Base64 of what the master key sealed.
    sealed: String,
    /// Nanoseconds since 1970; the newest has no end.
    #[serde(skip_serializing_if = "Option::is_none")]
    end: Option<u64>,
}

impl Endpoint {
    /// Returns the bytes to store: JSON, with the secrets sealed for this endpoint alone.
    pub fn to_bytes(&self, key: &MasterKey) -> Vec<u8> {
        let place = place(&self.id);
        let seal = |secret: &SigningSecret, end| StoredSecret {
            sealed: BASE64.encode(key.seal(&place, secret.as_bytes())),
            end,
        };
        let earlier = self.secrets.earlier.iter();
        let secrets = std::iter::once(seal(&self.secrets.newest, None))
            .chain(earlier.map(|(secret, end)| seal(secret, Some(*end))))
            .collect();
        let url = self.url.as_str().to_owned();
        serde_json::to_vec(&Stored { url, secrets }).expect("text and numbers")
    }

    /// The endpoint that was stored under this id.
    pub fn from_bytes(
        id: &str,
        bytes: &[u8],
        key: &MasterKey,
    ) -> Result<Endpoint, EndpointUnreadable> {
        let stored: Stored =
            serde_json::from_slice(bytes).map_err(|_| EndpointUnreadable::Damaged)?;
        let place = place(id);
        let (mut newest, mut earlier) = (None, Vec::new());
        for secret in stored.secrets {
            let sealed = BASE64
                .decode(&secret.sealed)
                .map_err(|_| EndpointUnreadable::Damaged)?;
            let plain = key.open(&place, &sealed)?;
            let plain = SigningSecret::from_bytes(plain).ok_or(EndpointUnreadable::Damaged)?;
            match secret.end {
                Some(end) => earlier.push((plain, end)),
                None if newest.replace(plain).is_some() => return Err(EndpointUnreadable::Damaged),
                None => {}
            }
        }
        Ok(Endpoint {
            id: id.to_owned(),
            url: EndpointUrl::parse(&stored.url)?,
            secrets: SigningSecrets {
                newest: newest.ok_or(EndpointUnreadable::Damaged)?,
                earlier,
            },
        })
    }
}

/// The URL of an endpoint that was stored.
pub(super) fn stored_url(bytes: &[u8]) -> Option<String> {
    let stored: Stored = serde_json::from_slice(bytes).ok()?;
    Some(stored.url)
}

fn place(id: &str) -> String {
    format!("webhook endpoint {id}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_comes_back_as_it_was_stored_and_shows_no_secret() {
        let folder = tempfile::tempdir().expect("a folder");
        let key = |name| MasterKey::load(&folder.path().join(name), true).expect("a key");
        let (key, other) = (key("a"), key("b"));
        let first = SigningSecret::random();
        let mut secrets = SigningSecrets::new(first.clone());
        let next = SigningSecret::random();
        secrets.rotate(next.clone(), 5, 60).expect("room");
        let endpoint = Endpoint {
            id: "sub_1".to_owned(),
            url: EndpointUrl::parse("https://example.com/hooks?a=b").expect("a URL"),
            secrets,
        };
        let bytes = endpoint.to_bytes(&key);
        let text = String::from_utf8(bytes.clone()).expect("JSON");
        for secret in [first, next] {
            assert!(!text.contains(&secret.reveal()["whsec_".len()..]), "{text}");
        }
        assert_eq!(Endpoint::from_bytes("sub_1", &bytes, &key), Ok(endpoint));
        let moved = Endpoint::from_bytes("sub_2", &bytes, &key);
        assert_eq!(moved, Err(EndpointUnreadable::Secret(Unsealable::Damaged)));
        let error = Endpoint::from_bytes("sub_1", &bytes, &other).expect_err("another key");
        assert!(error.to_string().contains(&key.id()), "{error}");
        for wrong in [&b""[..], b"{}", br#"{"url":"https://a/","secrets":[]}"#] {
            let read = Endpoint::from_bytes("sub_1", wrong, &key);
            assert_eq!(read, Err(EndpointUnreadable::Damaged));
        }
    }
}
