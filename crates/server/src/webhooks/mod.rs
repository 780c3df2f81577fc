//! Webhooks: events sent to the URLs of those who subscribed, signed by Standard Webhooks 1.0.
//!
//! A [`Sender`] makes one attempt of each [`Job`] and says what came of it. It must not know where events come from: the feed
//! gives it what subscriptions have to be given, and notes what came of it there.

mod address;
mod endpoint;
mod exchange;
mod feed;
mod kept;
mod retry;
mod schedule;
mod seal;
mod sender;
mod signature;
pub(crate) mod target;
mod trust;

pub use address::{EndpointUrl, Rules, URL_BYTES_MAX, UrlRefused};
pub use endpoint::{Endpoint, EndpointUnreadable};
pub use exchange::{AttemptError, Resolver};
pub use feed::FeedError;
pub(crate) use feed::{Feed, start_if_wanted};
pub(crate) use kept::Kept;
pub use retry::{JITTER_PERCENT, RETRY_AFTER_MAX, RETRY_DELAYS};
pub(crate) use seal::Keyring;
pub use seal::{MasterKey, MasterKeyError, Unsealable};
pub use sender::{Attempt, Figures, Job, Outcome, PER_HOST_MAX, Sender, SenderError, Settings};
pub use signature::{
    LIVE_SECRETS_MAX, NotASecret, OVERLAP_SECONDS_DEFAULT, SigningSecret, SigningSecrets,
    TooManySecrets,
};
