//! Webhooks as the transport of subscriptions: makes, shows and changes their endpoints, and starts what sends.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tributary_api::code::ErrorCode;
use tributary_api::error::ApiError;
use tributary_api::transport::PushTransport;
use tributary_engine::Engine;
use tributary_messaging::{Backoff, DeliveryIds, Messaging, Policy, SubscriptionId};

use super::address::EndpointUrl;
use super::endpoint::{Endpoint, stored_url};
use super::feed::{Feed, FeedError};
use super::retry_after::{JITTER_PERCENT, RETRY_DELAYS};
use super::seal::{Keyring, MasterKey};
use super::sender::check_settings;
use super::settings::{PER_HOST_MAX, Settings};
use super::signature::{SigningSecret, SigningSecrets};

/// How webhooks are sent.
#[derive(Clone, Debug)]
pub struct WebhookConfig {
    /// The key that seals their secrets.
    pub keyring: Keyring,
    /// Where to they may go, and how.
    pub settings: Settings,
}

/// Webhooks of one system. Sending starts when the first subscription wants it, and ends with [`Webhooks::stop`].
pub struct Webhooks {
    settings: Settings,
    keyring: Keyring,
    engine: Engine,
    messaging: Arc<Messaging>,
    sending: Mutex<Sending>,
}

enum Sending {
    /// No subscription wants webhooks yet.
    Idle,
    Started {
        _feed: Feed,
    },
    Stopped,
}

impl std::fmt::Debug for Webhooks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Webhooks")
    }
}

impl Webhooks {
    /// Starts sending webhooks, if a subscription wants them already. None if no subscriptions are kept here.
    ///
    /// # Errors
    /// If the certificates to trust can't be read, or a thread does not start.
    pub fn start(
        config: WebhookConfig,
        engine: Engine,
        messaging: Option<Arc<Messaging>>,
    ) -> Result<Option<Arc<Webhooks>>, FeedError> {
        check_settings(&config.settings)?;
        let Some(messaging) = messaging else {
            return Ok(None);
        };
        let webhooks = Webhooks {
            settings: config.settings,
            keyring: config.keyring,
            engine,
            messaging,
            sending: Mutex::new(Sending::Idle),
        };
        webhooks.start_if_wanted()?;
        Ok(Some(Arc::new(webhooks)))
    }

    /// Starts sending, where a subscription wants webhooks and nothing sends them yet.
    fn start_if_wanted(&self) -> Result<(), FeedError> {
        let mut sending = self.sending();
        if matches!(*sending, Sending::Idle) && !self.messaging.push_subscriptions().is_empty() {
            *sending = Sending::Started {
                _feed: Feed::start(
                    self.engine.clone(),
                    self.messaging.clone(),
                    self.keyring.clone(),
                    self.settings.clone(),
                )?,
            };
        }
        Ok(())
    }

    /// Stops sending for good. Attempts under way are cut off and made again after the next start.
    pub fn stop(&self) {
        let before = std::mem::replace(&mut *self.sending(), Sending::Stopped);
        drop(before);
    }

    fn sending(&self) -> MutexGuard<'_, Sending> {
        self.sending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn endpoint(&self, id: SubscriptionId, target: &[u8]) -> Result<Endpoint, ApiError> {
        let name = self.name(id);
        Endpoint::from_bytes(&name, target, self.key()?).map_err(|error| {
            tracing::error!(subscription = name, %error, "an endpoint can't be read");
            unavailable(
                "The secret of this webhook can't be read. The operator must look at the master key.",
            )
        })
    }

    /// Changes a stored endpoint.
    fn change(
        &self,
        id: SubscriptionId,
        target: &[u8],
        change: impl FnOnce(&mut Endpoint) -> Result<(), ApiError>,
    ) -> Result<Vec<u8>, ApiError> {
        let mut endpoint = self.endpoint(id, target)?;
        change(&mut endpoint)?;
        Ok(endpoint.to_bytes(self.key()?))
    }

    fn name(&self, id: SubscriptionId) -> String {
        self.engine.reader().ids().encode_subscription(id)
    }

    /// Returns `url`, if the rules allow it.
    fn allowed(&self, url: &str) -> Result<EndpointUrl, ApiError> {
        let parsed = EndpointUrl::parse(url);
        let checked = parsed.and_then(|url| self.settings.rules.check(&url).map(|()| url));
        checked.map_err(|error| ApiError::invalid("url", format!("{error}.")))
    }

    fn key(&self) -> Result<&MasterKey, ApiError> {
        self.keyring.key().map_err(|error| {
            tracing::error!(%error, "the master key can't be used");
            unavailable(
                "Webhooks need the master key, which can't be used. The operator must look at it.",
            )
        })
    }
}

impl PushTransport for Webhooks {
    fn create_target(
        &self,
        id: SubscriptionId,
        url: &str,
        secret: Option<&str>,
    ) -> Result<Vec<u8>, ApiError> {
        let secret = secret_or_new(secret)?;
        let endpoint = Endpoint {
            id: self.name(id),
            url: self.allowed(url)?,
            secrets: SigningSecrets::new(secret),
        };
        Ok(endpoint.to_bytes(self.key()?))
    }

    fn target_url(&self, target: &[u8]) -> Option<String> {
        stored_url(target)
    }

    fn newest_secret(&self, id: SubscriptionId, target: &[u8]) -> Result<String, ApiError> {
        let endpoint = self.endpoint(id, target)?;
        Ok(endpoint.secrets.newest().reveal())
    }

    fn change_url(
        &self,
        id: SubscriptionId,
        target: &[u8],
        url: &str,
    ) -> Result<Vec<u8>, ApiError> {
        self.change(id, target, |endpoint| {
            endpoint.url = self.allowed(url)?;
            Ok(())
        })
    }

    fn rotate_secret(
        &self,
        id: SubscriptionId,
        target: &[u8],
        secret: Option<&str>,
        overlap_seconds: u64,
        now: u64,
    ) -> Result<Vec<u8>, ApiError> {
        let secret = secret_or_new(secret)?;
        self.change(id, target, |endpoint| {
            let rotated = endpoint.secrets.rotate(secret, now, overlap_seconds);
            rotated.map_err(|error| ApiError::invalid("overlap_seconds", format!("{error}.")))
        })
    }

    fn mac_secret(&self, secret: &str) -> Result<[u8; 32], ApiError> {
        Ok(self.key()?.mac(secret.as_bytes()))
    }

    /// The delays that Standard Webhooks names.
    fn default_policy(&self) -> Policy {
        let nanos = |delay: &Duration| delay.as_nanos() as u64;
        Policy {
            attempts_max: RETRY_DELAYS.len() as u32 + 1,
            backoff: Backoff::List(RETRY_DELAYS.iter().map(nanos).collect()),
            jitter: JITTER_PERCENT as u8,
            in_flight_max: 100,
            ..Policy::default()
        }
    }

    fn concurrent_max(&self) -> u32 {
        PER_HOST_MAX
    }

    fn can_seal(&self) -> bool {
        self.keyring.key().is_ok()
    }

    fn begin(&self) {
        if let Err(error) = self.start_if_wanted() {
            tracing::error!(%error, "webhooks can't be sent until the next start");
        }
    }
}

fn secret_or_new(secret: Option<&str>) -> Result<SigningSecret, ApiError> {
    let Some(text) = secret else {
        return Ok(SigningSecret::random());
    };
    SigningSecret::parse(text).map_err(|error| ApiError::invalid("secret", format!("{error}.")))
}

fn unavailable(message: &'static str) -> ApiError {
    ApiError::new(ErrorCode::MessagingUnavailable, message)
}
