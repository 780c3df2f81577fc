//! The queueing model's expectation, to compare with observed figures.

use serde::Serialize;
use utoipa::ToSchema;

/// What the model M/M/c (M/M/c/K where there is a bound) expects of the rates of the last minute, in a steady state:
/// docs/queueing.md tells when it holds.
#[derive(Serialize, ToSchema)]
#[schema(as = QueueModel)]
pub struct ModelObject {
    /// How many are worked on at once, at most: c.
    pub workers: u32,
    /// More arrives than the workers can do, and there is no bound: the queue grows for as long as that lasts.
    pub unstable: bool,
    /// Mean share of the workers that are busy, 0 to 1.
    #[schema(required)]
    pub utilisation: Option<f64>,
    /// Probability that an arrival has to wait, 0 to 1.
    #[schema(required)]
    pub waits: Option<f64>,
    /// Mean wait, over those also that do not wait.
    #[schema(required)]
    pub wait_seconds: Option<f64>,
    /// Mean number of those that wait.
    #[schema(required)]
    pub length: Option<f64>,
}
