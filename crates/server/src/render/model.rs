//! What queueing theory expects of a pool with measured rates, beside what was observed.

use serde::Serialize;
use tributary_streams::queueing::{self, Error, Load, Prediction};
use utoipa::ToSchema;

/// What the model M/M/c (M/M/c/K where there is a bound) expects of the rates of the last minute, in a steady state:
/// docs/queueing.md tells when it holds.
#[derive(Serialize, ToSchema)]
#[schema(as = QueueModel)]
pub(crate) struct ModelObject {
    /// How many are worked on at once, at most: c.
    pub(crate) workers: u32,
    /// More arrives than the workers can do, and there is no bound: the queue grows for as long as that lasts.
    pub(crate) unstable: bool,
    /// Mean share of the workers that are busy, 0 to 1.
    #[schema(required)]
    pub(crate) utilisation: Option<f64>,
    /// Probability that an arrival has to wait, 0 to 1.
    #[schema(required)]
    pub(crate) waits: Option<f64>,
    /// Mean wait, over those also that do not wait.
    #[schema(required)]
    pub(crate) wait_seconds: Option<f64>,
    /// Mean number of those that wait.
    #[schema(required)]
    pub(crate) length: Option<f64>,
}

/// What is expected of `workers` under `load`; none if that is no load that the model knows, as when nothing was measured.
pub(crate) fn model(load: &Load, workers: u32) -> Option<ModelObject> {
    let prediction = match queueing::predict(load, workers) {
        Ok(prediction) => Some(prediction),
        Err(Error::Unstable { .. }) => None,
        Err(_) => return None,
    };
    let figure = |of: fn(&Prediction) -> f64| prediction.as_ref().map(of);
    Some(ModelObject {
        workers,
        unstable: prediction.is_none(),
        utilisation: figure(|of| of.utilisation),
        waits: figure(|of| of.waiting_probability),
        wait_seconds: figure(|of| of.wait),
        length: figure(|of| of.queue_length),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(arrivals: f64, service: f64) -> Load {
        Load {
            arrivals,
            service,
            capacity: None,
        }
    }

    /// The example that docs/queueing.md reckons by hand.
    #[test]
    fn it_tells_what_the_theory_expects() {
        let model = model(&load(100.0, 0.02), 3).expect("a model");
        let near = |value: Option<f64>, wanted: f64| {
            assert!(value.is_some_and(|value| (value - wanted).abs() < 1e-9));
        };
        assert!(!model.unstable);
        near(model.utilisation, 2.0 / 3.0);
        near(model.waits, 4.0 / 9.0);
        near(model.wait_seconds, 4.0 / 450.0);
        near(model.length, 8.0 / 9.0);
    }

    #[test]
    fn what_has_no_steady_state_is_told_and_what_was_not_measured_has_no_model() {
        let unstable = model(&load(100.0, 0.02), 2).expect("a model");
        assert!(unstable.unstable && unstable.length.is_none());
        assert!(model(&load(100.0, 0.0), 2).is_none());
        assert!(model(&load(100.0, 0.02), 0).is_none());
    }
}
