//! Metrics of subscriptions and their deliveries.

use prometheus_client::registry::Registry;
use tributary_api::render::model::ModelObject;
use tributary_ledger::SettingId;
use tributary_messaging::{Figures, Messaging, Subscription};

use crate::app::Shared;
use crate::metrics::families::{Families, Labels, register_flag, seconds};
use crate::model::subscription_model;

/// One subscription at the time of the scrape.
struct SubscriptionState {
    figures: Figures,
    is_stalled: bool,
    is_paused: bool,
    model: Option<ModelObject>,
    /// Position of the last published record of the journal.
    head: u64,
    /// Time of the scrape, nanoseconds since the Unix epoch.
    now: u64,
}

/// Returns the label of a subscription: its id. Replies of a binding have the id of the binding, by which the API finds them.
fn labels(shared: &Shared, one: &Subscription) -> Labels {
    let id = SettingId(one.id.0);
    let id = shared.reader.ids().encode_setting(one.setting_kind(), id);
    vec![("subscription", id)]
}

/// Registers every subscription, and the state of the logs of deliveries; nothing if there is no place for subscriptions.
pub(super) fn register_subscriptions(registry: &mut Registry, shared: &Shared) {
    let Some(messaging) = shared.messaging.as_ref() else {
        return;
    };
    let states = read_states(shared, messaging);
    let mut families = Families { registry, states };
    families.register_events();
    families.register_totals();
    families.register_flags();
    families.register_rates();
    families.register_model();
    register_flag(
        registry,
        "tributary_delivery_log_up",
        "1 while the delivery log can be written, else 0",
        messaging.log_is_written(),
    );
    register_flag(
        registry,
        "tributary_history_up",
        "1 while the history of deliveries can be written or is turned off, else 0",
        messaging.history_is_written(),
    );
}

fn read_states(shared: &Shared, messaging: &Messaging) -> Vec<(Labels, SubscriptionState)> {
    let (head, now) = (shared.reader.published(), messaging.now());
    let states = messaging.subscriptions().into_iter().filter_map(|one| {
        let (figures, stalled) = messaging.figures(one.id).ok()?;
        let state = SubscriptionState {
            is_stalled: stalled.is_some(),
            is_paused: one.terms.paused.is_some(),
            model: subscription_model(shared.transport(), &one, &figures.rates),
            figures,
            head,
            now,
        };
        Some((labels(shared, &one), state))
    });
    states.collect()
}

impl Families<'_, SubscriptionState> {
    fn register_events(&mut self) {
        self.gauge(
            "tributary_subscription_waiting",
            "Matching events in memory that wait for delivery",
            |state| Some(state.figures.waiting),
        );
        self.gauge(
            "tributary_subscription_lag",
            "Events that the subscription has not looked at yet",
            |state| Some(state.head.saturating_sub(state.figures.scanned)),
        );
        self.gauge(
            "tributary_subscription_in_flight",
            "Events handed out to receivers and not yet acknowledged",
            |state| Some(state.figures.in_flight),
        );
        self.gauge(
            "tributary_subscription_retrying",
            "Events that wait for another attempt",
            |state| Some(state.figures.retrying),
        );
        self.gauge(
            "tributary_subscription_dead_letters",
            "Dead letters: events given up after too many attempts",
            |state| Some(state.figures.dead),
        );
        self.gauge(
            "tributary_subscription_oldest_seconds",
            "Age of the oldest event that is not done, in seconds; 0 without such an event",
            |state| {
                let oldest = state.figures.oldest.unwrap_or(state.now);
                Some(seconds(state.now.saturating_sub(oldest)))
            },
        );
    }

    fn register_totals(&mut self) {
        self.counter(
            "tributary_subscription_handed_out_total",
            "Deliveries of events to receivers, each attempt counted",
            |state| Some(state.figures.handed_out),
        );
        self.counter(
            "tributary_subscription_acknowledged_total",
            "Events acknowledged by receivers",
            |state| Some(state.figures.acknowledged),
        );
        self.counter(
            "tributary_subscription_failed_total",
            "Delivery attempts that receivers refused or did not answer in time",
            |state| Some(state.figures.failed),
        );
        self.counter(
            "tributary_subscription_expired_total",
            "Events dropped because they were older than the subscription allows",
            |state| Some(state.figures.expired),
        );
    }

    fn register_flags(&mut self) {
        self.gauge(
            "tributary_subscription_stalled",
            "1 while the subscription takes no new events or hands none out, because of too many dead letters, retries or events in the hands of receivers, else 0",
            |state| Some(u64::from(state.is_stalled)),
        );
        self.gauge(
            "tributary_subscription_paused",
            "1 while the subscription is paused, else 0",
            |state| Some(u64::from(state.is_paused)),
        );
    }

    fn register_rates(&mut self) {
        self.gauge(
            "tributary_subscription_arrivals_per_second",
            "Matching events per second, over the last minute",
            |state| Some(state.figures.rates.arrivals_per_second()),
        );
        self.gauge(
            "tributary_subscription_done_per_second",
            "Acknowledged events per second, over the last minute",
            |state| Some(state.figures.rates.done_per_second()),
        );
        self.gauge(
            "tributary_subscription_wait_seconds",
            "Average time from an event to its first delivery, over the last minute, in seconds",
            |state| state.figures.rates.wait_average.map(seconds),
        );
        self.gauge(
            "tributary_subscription_processing_seconds",
            "Average time from a delivery to its acknowledgement, over the last minute, in seconds",
            |state| state.figures.rates.processing_average.map(seconds),
        );
    }

    /// Registers the queueing model's expectations at the measured rates.
    fn register_model(&mut self) {
        self.gauge(
            "tributary_subscription_expected_unstable",
            "1 while more events arrive than the workers can process according to the queueing model, else 0",
            |state| Some(u64::from(state.model.as_ref()?.unstable)),
        );
        self.gauge(
            "tributary_subscription_expected_utilisation_ratio",
            "Share of the workers that the queueing model expects to be busy, from 0 to 1",
            |state| state.model.as_ref()?.utilisation,
        );
        self.gauge(
            "tributary_subscription_expected_waiting_ratio",
            "Probability that an event has to wait, as the queueing model expects, from 0 to 1",
            |state| state.model.as_ref()?.waits,
        );
        self.gauge(
            "tributary_subscription_expected_wait_seconds",
            "Average wait that the queueing model expects, in seconds",
            |state| state.model.as_ref()?.wait_seconds,
        );
        self.gauge(
            "tributary_subscription_expected_length",
            "Average number of waiting events that the queueing model expects",
            |state| state.model.as_ref()?.length,
        );
    }
}
