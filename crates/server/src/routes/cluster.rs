//! `/v1/cluster`: what this server is in its cluster. Platform keys only.

use std::time::{Duration, Instant};

use axum::extract::State;
use axum::response::Response;
use tributary_api::code::ErrorCode;
use tributary_api::error::ApiError;
use tributary_api::form::cluster::HandOver;
use tributary_api::render::cluster::{ClusterObject, cluster};
use tributary_engine::NEWEST;

use crate::app::App;
use crate::auth::{PlatformReading, PlatformWriting};
use crate::cluster::node::ClusterNode;
use crate::extract::OptionalJson;
use crate::response::{ErrorResponse, json};

/// How long an upgrade may take to be finalized.
const FINALIZE_WITHIN: Duration = Duration::from_secs(5);
/// How often it is looked whether it is.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Shows what this server is in its cluster, and how far it is. A server that is alone has no cluster. Platform keys only.
#[utoipa::path(get, path = "/v1/cluster", tag = "operations", operation_id = "getCluster",
    responses((status = 200, description = "The cluster, as this node knows it.", body = ClusterObject)))]
pub(crate) async fn get(
    State(app): State<App>,
    _: PlatformReading,
) -> Result<Response, ErrorResponse> {
    Ok(shown(&app, cluster_node(&app)?))
}

/// Has the leader hand over to another node: an election follows, during which writes wait. Returns before that. Nothing happens if the
/// node that is named is not there. Platform keys that may write only.
#[utoipa::path(post, path = "/v1/cluster/hand_over", tag = "operations", operation_id = "handOverLeadership",
    request_body(content = HandOver),
    responses((status = 200, description = "The cluster, as the leader knew it.", body = ClusterObject)))]
pub(crate) async fn hand_over(
    State(app): State<App>,
    _: PlatformWriting,
    OptionalJson(body): OptionalJson<HandOver>,
) -> Result<Response, ErrorResponse> {
    let node = cluster_node(&app)?;
    let answer = shown(&app, node);
    node.leadership.hand_over(body.to.as_deref());
    Ok(answer)
}

/// Has the leader decide and write records in the newest versions that it knows, and waits until it does. From then on a node that runs an
/// older program stops; so all nodes run the newer one before. Platform keys that may write only.
#[utoipa::path(post, path = "/v1/cluster/finalize_upgrade", tag = "operations", operation_id = "finalizeUpgrade",
    responses((status = 200, description = "The cluster, as the leader knows it.", body = ClusterObject)))]
pub(crate) async fn finalize_upgrade(
    State(app): State<App>,
    _: PlatformWriting,
) -> Result<Response, ErrorResponse> {
    let node = cluster_node(&app)?;
    node.leadership.finalize_upgrade();
    let begun = Instant::now();
    loop {
        if node.leadership.figures().written == NEWEST {
            return Ok(shown(&app, node));
        }
        if begun.elapsed() >= FINALIZE_WITHIN {
            return Err(ApiError::new(
                ErrorCode::OutcomeUnknown,
                "The log did not take the upgrade in time, or another node leads now. Ask again: finalizing twice changes nothing.",
            )
            .into());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn cluster_node(app: &App) -> Result<&ClusterNode, ApiError> {
    let node = app.shared.cluster.as_ref();
    node.ok_or_else(|| {
        ApiError::not_found("cluster", "cluster")
            .with_message("This server is alone: it is not a node of a cluster.")
    })
}

fn shown(app: &App, node: &ClusterNode) -> Response {
    let leadership = &node.leadership;
    let position = app.shared.reader.published();
    json(
        200,
        &cluster(leadership.role(), leadership.figures(), position),
    )
}
