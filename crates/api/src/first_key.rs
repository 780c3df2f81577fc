//! The API key that a new journal begins with.

use tributary_engine::{Engine, Refused, Reply};
use tributary_ledger::{Access, Actor, Body, Command, CreateApiKey, Key, Label, OwnerName};

use crate::token::Secret;

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
        origin: None,
        assessment: None,
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
