//! `/v1/security/blocks`: what this node blocks because of abuse. Platform keys only.

use std::collections::BTreeMap;
use std::net::IpAddr;

use axum::extract::State;
use axum::response::Response;
use serde::Serialize;
use tributary_api::error::ApiError;
use tributary_api::schema::one_of;
use tributary_api::time::format_timestamp;
use tributary_engine::IdKind;
use tributary_ledger::ApiKeyId;
use utoipa::ToSchema;
use utoipa::openapi::schema::Object;

use crate::admission::Network;
use crate::app::{App, Shared};
use crate::auth::{PlatformReading, PlatformWriting};
use crate::extract::Id;
use crate::guard::{Block, Guard, Signal, Subject, named};
use crate::response::{ErrorResponse, json};

/// Maximum number of blocks that are shown.
const SHOWN_MAX: usize = 1_000;

/// Blocks that are in force on this node, those that end last first.
#[derive(Serialize, ToSchema)]
pub(crate) struct SecurityBlocks {
    #[schema(pattern = "^security_blocks$")]
    object: &'static str,
    /// At most 1,000 of them.
    data: Vec<SecurityBlock>,
    /// Number of all.
    total: usize,
}

/// API key or address that is blocked for a time.
#[derive(Serialize, ToSchema)]
pub(crate) struct SecurityBlock {
    #[schema(pattern = "^security_block$")]
    object: &'static str,
    /// Id of the API key; or the address, of IPv6 the first one with the same 64 bits.
    id: String,
    /// What is blocked.
    #[schema(schema_with = kinds)]
    kind: &'static str,
    /// The signal of which there were too many.
    #[schema(schema_with = reasons)]
    reason: &'static str,
    /// Signals in the minute before the block, by name.
    signals: BTreeMap<&'static str, u32>,
    /// Beginning of the block.
    #[schema(format = DateTime)]
    since: String,
    /// End of the block.
    #[schema(format = DateTime)]
    until: String,
}

fn kinds() -> Object {
    one_of(["api_key", "address"])
}

fn reasons() -> Object {
    one_of(Signal::ALL.map(Signal::name))
}

impl SecurityBlock {
    fn new(shared: &Shared, guard: &Guard, subject: Subject, block: &Block) -> SecurityBlock {
        let (kind, id) = subject.describe(shared.reader.ids());
        SecurityBlock {
            object: "security_block",
            id,
            kind,
            reason: block.reason.name(),
            signals: named(&block.counts),
            since: format_timestamp(guard.ledger_time(block.since)),
            until: format_timestamp(guard.ledger_time(block.until)),
        }
    }
}

/// Shows which API keys and addresses the node that is asked blocks now, because too many of their requests went wrong. Platform keys
/// only.
#[utoipa::path(get, path = "/v1/security/blocks", tag = "operations", operation_id = "listSecurityBlocks",
    responses((status = 200, description = "The blocks.", body = SecurityBlocks)))]
pub(crate) async fn list_all(State(app): State<App>, _: PlatformReading) -> Response {
    let guard = app.shared.guard.as_ref();
    let blocks = guard.map(Guard::blocks).unwrap_or_default();
    let shown = blocks.iter().take(SHOWN_MAX).zip(guard.into_iter().cycle());
    let shown = shown
        .map(|((subject, block), guard)| SecurityBlock::new(&app.shared, guard, *subject, block));
    let list = SecurityBlocks {
        object: "security_blocks",
        data: shown.collect(),
        total: blocks.len(),
    };
    json(200, &list)
}

/// Ends a block on the node that is asked. Counting begins anew. Platform keys that may write only.
#[utoipa::path(delete, path = "/v1/security/blocks/{id}", tag = "operations", operation_id = "liftSecurityBlock",
    params(("id" = String, Path, description = "Id of the API key, or the address.")),
    responses((status = 200, description = "The block, which is over.", body = SecurityBlock)))]
pub(crate) async fn lift(
    State(app): State<App>,
    PlatformWriting(caller): PlatformWriting,
    Id(id): Id,
) -> Result<Response, ErrorResponse> {
    let shared = &app.shared;
    let not_found = || ApiError::not_found("block on this node", "id");
    let subject = subject_of(shared, &id).ok_or_else(not_found)?;
    let guard = shared.guard.as_ref().ok_or_else(not_found)?;
    let lifted = guard.lift(subject).ok_or_else(not_found)?;
    let ids = shared.reader.ids();
    let api_key = ids.encode(IdKind::ApiKey, caller.actor.api_key.0);
    tracing::info!(id, api_key, "a block was lifted");
    Ok(json(
        200,
        &SecurityBlock::new(shared, guard, subject, &lifted),
    ))
}

fn subject_of(shared: &Shared, id: &str) -> Option<Subject> {
    if let Ok(address) = id.parse::<IpAddr>() {
        return Some(Subject::Address(Network::of_address(address)));
    }
    let key = shared.reader.ids().decode(IdKind::ApiKey, id)?;
    Some(Subject::Key(ApiKeyId(key)))
}
