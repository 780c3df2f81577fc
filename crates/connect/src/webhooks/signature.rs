//! Secrets and signatures of Standard Webhooks 1.0, the symmetric scheme `v1` (HMAC-SHA256).

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ring::hmac;

/// Secrets that sign at once, at most; the header grows by 48 bytes with each.
pub const LIVE_SECRETS_MAX: usize = 5;

const PREFIX: &str = "whsec_";
/// Length of a secret by the specification, in bytes: 192 to 512 bits.
const BYTES: std::ops::RangeInclusive<usize> = 24..=64;
const RANDOM_BYTES: usize = 32;
const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// Why a text is no signing secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a signing secret is `whsec_` and the base64 of 24 to 64 bytes")]
pub struct NotASecret;

/// More than [`LIVE_SECRETS_MAX`] secrets would sign at once: an earlier one has to come to its end first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "{LIVE_SECRETS_MAX} secrets sign already; wait until one ends, or rotate without an overlap"
)]
pub struct TooManySecrets;

/// Secret that sender and receiver share. `Debug` does not show the secret.
#[derive(Clone, PartialEq, Eq)]
pub struct SigningSecret(Vec<u8>);

impl SigningSecret {
    /// A new secret from the operating system's randomness.
    ///
    /// # Panics
    /// If the operating system has no randomness to give.
    pub fn random() -> SigningSecret {
        let mut bytes = vec![0; RANDOM_BYTES];
        getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
        SigningSecret(bytes)
    }

    /// Reads the text that the receiver keeps, `whsec_…`.
    pub fn parse(text: &str) -> Result<SigningSecret, NotASecret> {
        let body = text.strip_prefix(PREFIX).ok_or(NotASecret)?;
        let bytes = BASE64.decode(body).map_err(|_| NotASecret)?;
        SigningSecret::from_bytes(bytes).ok_or(NotASecret)
    }

    pub(super) fn from_bytes(bytes: Vec<u8>) -> Option<SigningSecret> {
        BYTES.contains(&bytes.len()).then_some(SigningSecret(bytes))
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The text that the receiver keeps: show it to its owner only.
    pub fn reveal(&self) -> String {
        format!("{PREFIX}{}", BASE64.encode(&self.0))
    }

    /// `v1,` and the base64 of the signature of `id.seconds.body`.
    fn sign(&self, id: &str, seconds: u64, body: &[u8]) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.0);
        let mut context = hmac::Context::with_key(&key);
        context.update(format!("{id}.{seconds}.").as_bytes());
        context.update(body);
        format!("v1,{}", BASE64.encode(context.sign()))
    }
}

impl fmt::Debug for SigningSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningSecret(…)")
    }
}

/// The secrets of one endpoint: the newest, and earlier ones that still sign for a while. Never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SigningSecrets {
    pub(super) newest: SigningSecret,
    /// With the ledger time when each ends, in nanoseconds since 1970.
    pub(super) earlier: Vec<(SigningSecret, u64)>,
}

impl SigningSecrets {
    /// One secret, without end.
    pub fn new(secret: SigningSecret) -> SigningSecrets {
        SigningSecrets {
            newest: secret,
            earlier: Vec::new(),
        }
    }

    /// The one that signs until the next rotation.
    pub fn newest(&self) -> &SigningSecret {
        &self.newest
    }

    /// Lets `next` sign from now on, and the newest so far for `overlap_seconds` more. Those before it keep their ends. `now` is
    /// ledger time in nanoseconds since 1970: a wall clock that is wrong for a moment ends no secret. Nothing is changed if it fails.
    pub fn rotate(
        &mut self,
        next: SigningSecret,
        now: u64,
        overlap_seconds: u64,
    ) -> Result<(), TooManySecrets> {
        let live = self.earlier.iter().filter(|(_, end)| *end > now).count();
        let stays = usize::from(overlap_seconds > 0);
        if 1 + stays + live > LIVE_SECRETS_MAX {
            return Err(TooManySecrets);
        }
        self.earlier.retain(|(_, end)| *end > now);
        let last = std::mem::replace(&mut self.newest, next);
        if overlap_seconds > 0 {
            let overlap = overlap_seconds.saturating_mul(NANOS_PER_SECOND);
            self.earlier.push((last, now.saturating_add(overlap)));
        }
        Ok(())
    }

    /// The value of `webhook-signature`, signed as of `signed_at` (the wall clock, nanoseconds since 1970): one signature per secret
    /// that is live at the ledger time `now`, the newest secret's first.
    ///
    /// # Panics
    /// If the id holds a full stop: the parts of what is signed could be told apart in two ways then.
    pub fn header(&self, id: &str, signed_at: u64, now: u64, body: &[u8]) -> String {
        assert!(!id.contains('.'), "an id of a webhook holds no full stop");
        let seconds = signed_at / NANOS_PER_SECOND;
        let mut header = self.newest.sign(id, seconds, body);
        for (secret, end) in &self.earlier {
            if *end > now {
                header.push(' ');
                header.push_str(&secret.sign(id, seconds, body));
            }
        }
        header
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = NANOS_PER_SECOND;

    #[test]
    fn a_secret_is_whsec_and_the_base64_of_24_to_64_bytes() {
        for (bytes, allowed) in [(0, false), (23, false), (24, true), (64, true), (65, false)] {
            let text = format!("whsec_{}", BASE64.encode(vec![7; bytes]));
            let parsed = SigningSecret::parse(&text);
            assert_eq!(parsed.is_ok(), allowed, "{bytes}");
            if let Ok(secret) = parsed {
                assert_eq!(secret.reveal(), text);
            }
        }
        let good = SigningSecret::random().reveal();
        for wrong in ["", "whsec_", "whsec_!!!!", &good[6..], &good.to_uppercase()] {
            assert_eq!(SigningSecret::parse(wrong), Err(NotASecret), "{wrong}");
        }
        assert!(!format!("{:?}", SigningSecret::random()).contains("whsec_"));
    }

    #[test]
    fn every_live_secret_signs_and_none_after_its_end() {
        let [a, b, c] = std::array::from_fn(|_| SigningSecret::random());
        let signed = |secrets: &SigningSecrets, now: u64| -> Vec<bool> {
            let header = secrets.header("evt_1", now, now, b"{}");
            let found: Vec<&str> = header.split(' ').collect();
            let by = [&a, &b, &c].map(|secret| secret.sign("evt_1", now / SECOND, b"{}"));
            assert!(found.iter().all(|one| by.iter().any(|by| by == one)));
            by.iter().map(|by| found.contains(&by.as_str())).collect()
        };
        let mut secrets = SigningSecrets::new(a.clone());
        assert_eq!(signed(&secrets, 0), [true, false, false]);
        secrets.rotate(b.clone(), 10 * SECOND, 100).expect("room");
        assert_eq!(signed(&secrets, 10 * SECOND), [true, true, false]);
        secrets.rotate(c.clone(), 50 * SECOND, 100).expect("room");
        // A second rotation does not shorten what the first one promised.
        assert_eq!(signed(&secrets, 110 * SECOND - 1), [true, true, true]);
        assert_eq!(signed(&secrets, 110 * SECOND), [false, true, true]);
        assert_eq!(signed(&secrets, 150 * SECOND), [false, false, true]);
        let first = secrets.header("evt_1", 60 * SECOND, 60 * SECOND, b"{}");
        assert!(
            first.starts_with(&c.sign("evt_1", 60, b"{}")),
            "newest first"
        );
        // Without an overlap the old one ends at once: it has leaked.
        secrets.rotate(a.clone(), 60 * SECOND, 0).expect("room");
        assert_eq!(signed(&secrets, 60 * SECOND), [true, true, false]);
    }

    #[test]
    fn rotations_in_a_row_are_bounded_and_a_refused_one_changes_nothing() {
        let mut secrets = SigningSecrets::new(SigningSecret::random());
        for _ in 1..LIVE_SECRETS_MAX {
            let next = SigningSecret::random();
            secrets.rotate(next, SECOND, 60).expect("room");
        }
        let before = secrets.clone();
        let refused = secrets.rotate(SigningSecret::random(), SECOND, 60);
        assert_eq!((refused, &secrets), (Err(TooManySecrets), &before));
        let next = SigningSecret::random();
        secrets
            .rotate(next, 61 * SECOND, 60)
            .expect("they have ended");
        assert_eq!(secrets.earlier.len(), 1);
    }
}
