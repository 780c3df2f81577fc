//! Webhooks: events sent to the URLs of those who subscribed, signed by Standard Webhooks 1.0.
//!
//! A [`Sender`] makes one attempt of each [`Job`] and says what came of it. It must not know where events come from: the feed
//! gives it what subscriptions have to be given, and notes what came of it there.

mod address;
mod endpoint;
mod exchange;
mod feed;
mod job;
mod retry_after;
mod schedule;
mod seal;
mod sender;
mod settings;
mod signature;
mod transport;

pub use address::{EndpointUrl, Rules, URL_BYTES_MAX, UrlRefused};
pub use endpoint::{Endpoint, EndpointUnreadable};
pub use exchange::AttemptError;
pub use feed::FeedError;
pub use job::Job;
pub use retry_after::{JITTER_PERCENT, RETRY_AFTER_MAX, RETRY_DELAYS};
pub use seal::{Keyring, MasterKey, MasterKeyError, Unsealable};
pub use sender::{Attempt, Figures, Outcome, Sender, SenderError};
pub use settings::{PER_HOST_MAX, Resolver, Settings};
pub use signature::{LIVE_SECRETS_MAX, NotASecret, SigningSecret, SigningSecrets, TooManySecrets};
pub use transport::{WebhookConfig, Webhooks};
