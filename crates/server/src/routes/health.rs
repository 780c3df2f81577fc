//! `/health/live`, `/health/ready`, `/health/leader` and `/metrics`.

use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tributary_api::brokers::{Standing, current_bindings};
use tributary_api::code::ErrorCode;
use tributary_api::leadership::Role;
use tributary_api::render::clock::{ClockObject, clock};
use tributary_api::render::cluster::role_word;
use utoipa::ToSchema;

use crate::app::{App, Shared};
use crate::auth::PlatformReading;
use crate::metrics::page::{CONTENT_TYPE, metrics_page};
use crate::readiness::require_ready;
use crate::response::{ErrorResponse, json};

/// Maximum number of bindings in trouble that are shown.
const BINDINGS_SHOWN_MAX: usize = 20;

/// The server answers.
#[derive(Serialize, ToSchema)]
pub(crate) struct Health {
    #[schema(value_type = String, pattern = "^live$")]
    status: &'static str,
}

/// The server takes commands.
#[derive(Serialize, ToSchema)]
pub(crate) struct Readiness {
    #[schema(value_type = String, pattern = "^ready$")]
    status: &'static str,
    /// The clock. A wall clock that is not in step is for people to look at: the server takes commands all the same.
    clock: ClockObject,
    /// What is wrong although commands are taken. Look at it soon.
    warnings: Vec<Warning>,
    /// Bindings to brokers that take or send nothing now although nobody paused them, at most 20.
    bindings: Vec<BindingTrouble>,
}

/// A binding that takes or sends nothing now. The server takes commands all the same.
#[derive(Serialize, ToSchema)]
#[schema(as = ReadinessBinding)]
pub(crate) struct BindingTrouble {
    /// Name of the binding.
    slug: String,
    #[schema(value_type = String, pattern = "^(waiting|stopped)$")]
    standing: &'static str,
    /// Kind of the trouble at the broker, such as `unreachable`; null if it is not there.
    #[schema(required)]
    trouble: Option<&'static str>,
}

/// Answers as long as the process serves at all.
#[utoipa::path(get, path = "/health/live", tag = "operations", operation_id = "getLive",
    responses((status = 200, description = "It serves.", body = Health)))]
pub(crate) async fn live() -> Response {
    json(200, &Health { status: "live" })
}

/// Something that is wrong although the server takes commands.
#[derive(Serialize, ToSchema)]
#[schema(as = ReadinessWarning)]
pub(crate) struct Warning {
    /// The error code that says more, such as `record_damaged`.
    #[schema(value_type = String)]
    code: &'static str,
    /// One sentence for a person.
    message: String,
}

/// Answers 200 while the server takes commands, 503 while it does not.
#[utoipa::path(get, path = "/health/ready", tag = "operations", operation_id = "getReady",
    responses((status = 200, description = "It takes commands.", body = Readiness)))]
pub(crate) async fn ready(State(app): State<App>) -> Result<Response, ErrorResponse> {
    require_ready(&app.shared)?;
    let mut bindings = bindings_in_trouble(&app.shared);
    let warnings = warnings(&app.shared, &bindings);
    bindings.truncate(BINDINGS_SHOWN_MAX);
    let readiness = Readiness {
        status: "ready",
        clock: clock(&app.shared.engine.clock_status()),
        warnings,
        bindings,
    };
    Ok(json(200, &readiness))
}

/// What this server is in its cluster.
#[derive(Serialize, ToSchema)]
pub(crate) struct LeaderHealth {
    /// `alone` for a server that is no node of a cluster.
    #[schema(value_type = String, pattern = "^(alone|leader|follower|stopped)$")]
    role: &'static str,
    /// URL of the leader, if this node follows one; null otherwise.
    #[schema(required)]
    leader_url: Option<String>,
}

/// Answers 200 on the server that decides: on the leader of a cluster, and on a server that is alone; 503 on others. For load balancers.
#[utoipa::path(get, path = "/health/leader", tag = "operations", operation_id = "getLeader",
    responses((status = 200, description = "It decides.", body = LeaderHealth),
        (status = 503, description = "It does not decide.", body = LeaderHealth)))]
pub(crate) async fn leader(State(app): State<App>) -> Response {
    let (status, health) = match &app.shared.cluster {
        None => (
            200,
            LeaderHealth {
                role: "alone",
                leader_url: None,
            },
        ),
        Some(node) => {
            let role = node.leadership.role();
            let status = if role == Role::Leader { 200 } else { 503 };
            let word = role_word(&role);
            let leader_url = match role {
                Role::Follower { leader } => leader.map(|leader| leader.url),
                Role::Leader | Role::Stopped { .. } => None,
            };
            (
                status,
                LeaderHealth {
                    role: word,
                    leader_url,
                },
            )
        }
    };
    json(status, &health)
}

/// Returns the bindings that do not work although nobody paused them.
fn bindings_in_trouble(shared: &Shared) -> Vec<BindingTrouble> {
    let bindings = current_bindings(&shared.reader).into_iter();
    let unpaused = bindings.filter(|binding| binding.terms.paused.is_none());
    let in_trouble = unpaused.filter_map(|binding| {
        let figures = shared.brokers.figures(binding.id)?;
        let (standing, trouble) = match figures.standing {
            Standing::Waiting { kind, .. } => ("waiting", kind),
            Standing::Stopped { .. } => ("stopped", None),
            Standing::Connecting | Standing::Running => return None,
        };
        Some(BindingTrouble {
            slug: binding.slug,
            standing,
            trouble,
        })
    });
    in_trouble.collect()
}

fn warnings(shared: &Shared, bindings: &[BindingTrouble]) -> Vec<Warning> {
    let damaged = shared.reader.store_stats().damaged;
    let mut warnings = Vec::new();
    if damaged > 0 {
        warnings.push(Warning {
            code: ErrorCode::RecordDamaged.as_str(),
            message: format!(
                "The journal is damaged in {damaged} places. Run tributary verify on a copy of the data directory."
            ),
        });
    }
    let bindings = bindings.len();
    if bindings > 0 {
        warnings.push(Warning {
            code: ErrorCode::MessagingUnavailable.as_str(),
            message: format!(
                "{bindings} bindings to brokers take or send no messages. GET /v1/bindings/{{id}}/figures says why."
            ),
        });
    }
    warnings
}

/// A caller who may see the metrics: anybody if they are public, else a platform key.
pub(crate) struct MetricsReader;

impl FromRequestParts<App> for MetricsReader {
    type Rejection = ErrorResponse;

    async fn from_request_parts(
        parts: &mut Parts,
        app: &App,
    ) -> Result<MetricsReader, ErrorResponse> {
        if !app.shared.config.public_metrics {
            PlatformReading::from_request_parts(parts, app).await?;
        }
        Ok(MetricsReader)
    }
}

/// Shows metrics for Prometheus. Platform keys only, unless the server is configured otherwise.
#[utoipa::path(get, path = "/metrics", tag = "operations", operation_id = "getMetrics",
    responses((status = 200, description = "Metrics in the Prometheus text format.", body = String, content_type = "text/plain; version=0.0.4")))]
pub(crate) async fn metrics(State(app): State<App>, _: MetricsReader) -> Response {
    let page = app.blocking(|shared| Ok(metrics_page(shared)));
    let page = match page.await {
        Ok(page) => page,
        Err(error) => return ErrorResponse(error).into_response(),
    };
    let kind = HeaderValue::from_static(CONTENT_TYPE);
    ([(header::CONTENT_TYPE, kind)], page).into_response()
}
