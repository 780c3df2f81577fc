//! The queueing model, applied to measured rates.

use tributary_api::render::model::ModelObject;
use tributary_api::transport::PushTransport;
use tributary_engine::{QueueFigures, RUN_AT_ONCE_MAX, Rates};
use tributary_messaging::{Kind, Subscription};
use tributary_streams::queueing::{self, Error, Load, Prediction};

/// Returns what the queueing model expects of the queue of payments.
pub(crate) fn queue_model(figures: &QueueFigures, length_max: usize) -> Option<ModelObject> {
    let length_max = u32::try_from(length_max).ok()?;
    let load = Load {
        arrivals: figures.rates.offered_per_second(),
        service: seconds(figures.rates.processing_average?),
        capacity: Some(length_max),
    };
    let workers = u32::try_from(RUN_AT_ONCE_MAX).expect("they are few");
    model(&load, workers.min(length_max))
}

/// What the model M/M/c expects of a subscription at its measured rates: c are its `workers`; of webhooks, if that is not said,
/// as many as are sent to one host at once.
pub(crate) fn subscription_model(
    transport: Option<&dyn PushTransport>,
    of: &Subscription,
    rates: &Rates,
) -> Option<ModelObject> {
    let policy = &of.terms.policy;
    let sent = || match of.terms.kind {
        Kind::Push { .. } => {
            transport.map(|transport| policy.in_flight_max.min(transport.concurrent_max()))
        }
        Kind::Pull | Kind::Sink { .. } => None,
    };
    let load = Load {
        arrivals: rates.arrivals_per_second(),
        service: seconds(rates.processing_average?),
        capacity: None,
    };
    model(&load, policy.workers.or_else(sent)?)
}

/// Returns what the model expects of `workers` under `load`; none if nothing was measured.
fn model(load: &Load, workers: u32) -> Option<ModelObject> {
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

fn seconds(nanos: u64) -> f64 {
    nanos as f64 / 1e9
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
