//! The server: REST and gRPC in, commands to the engine, records out as JSON or protobuf.
//!
//! It checks the form of what comes in and who sends it, and bounds how much of it there may be. **It must not know** any
//! rule about money: whether a payment may be made, and what it changes, is the ledger's to say. The answer to a write is made
//! from its record, never from later state, so the repetition of a write gets the first answer.

mod app;
mod auth;
mod code;
mod config;
mod docs_page;
mod error;
mod error_pages;
mod form;
mod grpc;
mod metrics;
mod openapi;
mod rate;
mod render;
mod routes;
mod serve;
mod submit;
mod time;
mod token;
mod waits;
pub mod webhooks;

pub use code::{ErrorCode, ErrorType};
pub use config::{Limits, ServerConfig, TlsFiles, WebhookConfig};
pub use error_pages::{PAGES, find as error_page};
pub use openapi::openapi_json;
pub use rate::RateLimit;
pub use serve::{Running, Server, StartError, take_short_turns};
pub use token::Secret;

use tributary_engine::{Engine, Ids, Refused, Reply};
use tributary_ledger::{Access, Actor, Body, Command, CreateApiKey, Key, Label, OwnerName};

/// The token that opens a server whose configuration has `internal`: it acts as the system itself, in the platform's name.
pub fn internal_token(ids: &Ids, internal: &Secret) -> String {
    internal.token(ids, auth::INTERNAL_KEY)
}

/// Creates the first platform key of a journal that has no API key yet, and returns its token: show it once, it can't be
/// shown again. None if there is a key already. Blocks until the key is durable.
pub fn create_first_key(engine: &Engine) -> Result<Option<String>, Refused> {
    if !engine.reader().api_keys().is_empty() {
        return Ok(None);
    }
    let secret = Secret::random();
    let command = Command {
        // Keys that begin with a zero byte are the system's own.
        key: Key::from_bytes(b"\0first platform key").expect("short enough"),
        actor: Actor::SYSTEM,
        linked: false,
        effective_at: None,
        text: None,
        body: Body::CreateApiKey(CreateApiKey {
            owner: OwnerName::platform(),
            access: Access::Write,
            secret_hash: secret.hash(),
            label: Label::new("first platform key").ok(),
        }),
    };
    let replies = engine.execute_blocking(vec![command])?;
    let created = replies.into_iter().find_map(|reply| match reply {
        Reply::Done {
            record,
            replayed: false,
        } => record.outcome.api_key.clone(),
        _ => None,
    });
    Ok(created.map(|key| secret.token(engine.reader().ids(), key.id)))
}
