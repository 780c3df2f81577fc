//! `grpc.health.v1.Health`, the standard service by which load balancers and orchestrators ask whether a server takes work. It
//! needs no API key, and says what `/health/ready` says.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_core::Stream;
use prost::{Enumeration, Message};
use tokio::time::{Interval, MissedTickBehavior};
use tonic::{Request, Status};

use crate::app::{App, Shared};
use crate::readiness::require_ready;

/// Interval at which a watched status is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Services whose health can be asked for; the empty name is the server as a whole.
const SERVICES: [&str; 3] = ["", "tributary.v1.Ledger", "tributary.v1.Subscriptions"];

/// The service whose health is asked for.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct HealthCheckRequest {
    #[prost(string, tag = "1")]
    pub(crate) service: String,
}

/// Health of a service.
#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct HealthCheckResponse {
    #[prost(enumeration = "ServingStatus", tag = "1")]
    status: i32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Enumeration)]
#[repr(i32)]
enum ServingStatus {
    Unknown = 0,
    Serving = 1,
    NotServing = 2,
    ServiceUnknown = 3,
}

/// `Check`: the health now.
pub(super) fn check(
    app: &App,
    request: &Request<HealthCheckRequest>,
) -> Result<HealthCheckResponse, Status> {
    match serving_status(&app.shared, &request.get_ref().service) {
        ServingStatus::ServiceUnknown => Err(Status::not_found("There is no such service.")),
        status => Ok(response(status)),
    }
}

/// `Watch`: the health now and whenever it changes.
pub(super) fn watch(app: &App, request: Request<HealthCheckRequest>) -> Watched {
    let mut looks = tokio::time::interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    Watched {
        shared: app.shared.clone(),
        service: request.into_inner().service,
        told: None,
        looks,
    }
}

fn response(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse {
        status: status.into(),
    }
}

fn serving_status(shared: &Shared, service: &str) -> ServingStatus {
    if !SERVICES.contains(&service) {
        ServingStatus::ServiceUnknown
    } else if require_ready(shared).is_ok() {
        ServingStatus::Serving
    } else {
        ServingStatus::NotServing
    }
}

/// The changes of a service's health. Ends when the server stops.
pub(super) struct Watched {
    shared: Arc<Shared>,
    service: String,
    told: Option<ServingStatus>,
    looks: Interval,
}

impl Stream for Watched {
    type Item = Result<HealthCheckResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if self.looks.poll_tick(context).is_pending() {
                return Poll::Pending;
            }
            let stopped = *self.shared.stopped.borrow();
            let status = serving_status(&self.shared, &self.service);
            if self.told != Some(status) {
                self.told = Some(status);
                return Poll::Ready(Some(Ok(response(status))));
            }
            if stopped {
                return Poll::Ready(None);
            }
        }
    }
}
