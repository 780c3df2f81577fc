//! `/health/live`, `/health/ready` and `/metrics`.

use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tributary_api::brokers::{Standing, current_bindings};
use tributary_api::code::ErrorCode;
use tributary_api::render::clock::{ClockObject, clock};
use utoipa::ToSchema;

use crate::app::{App, Shared};
use crate::auth::PlatformReading;
use crate::metrics::page::{CONTENT_TYPE, metrics_page};
use crate::readiness::require_ready;
use crate::response::{ErrorResponse, json};

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
    let readiness = Readiness {
        status: "ready",
        clock: clock(&app.shared.engine.clock_status()),
        warnings: warnings(&app.shared),
    };
    Ok(json(200, &readiness))
}

fn warnings(shared: &Shared) -> Vec<Warning> {
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
    let waiting = current_bindings(&shared.reader)
        .into_iter()
        .filter(|binding| binding.terms.paused.is_none())
        .filter_map(|binding| shared.brokers.figures(binding.id))
        .filter(|figures| {
            matches!(
                figures.standing,
                Standing::Waiting { .. } | Standing::Stopped { .. }
            )
        });
    let waiting = waiting.count();
    if waiting > 0 {
        warnings.push(Warning {
            code: ErrorCode::MessagingUnavailable.as_str(),
            message: format!(
                "{waiting} bindings to brokers take no messages. GET /v1/bindings/{{id}}/figures says why."
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
