//! Metrics of bindings to brokers.

use prometheus_client::registry::Registry;
use tributary_api::brokers::{BindingFigures, Direction, Standing, current_bindings};

use crate::app::Shared;
use crate::metrics::families::{Families, Labels, seconds};

/// One binding at the time of the scrape.
struct BindingState {
    figures: BindingFigures,
    is_paused: bool,
    direction: Direction,
    /// Time of the scrape, nanoseconds since the Unix epoch.
    now: u64,
}

impl BindingState {
    /// A figure that only a binding has that takes messages in.
    fn inward<T>(&self, figure: T) -> Option<T> {
        (self.direction == Direction::In).then_some(figure)
    }
}

/// Registers every binding. The label is its slug: there are no more of them than there may be bindings.
pub(super) fn register_bindings(registry: &mut Registry, shared: &Shared) {
    let states = read_states(shared);
    let mut families = Families { registry, states };
    families.register_standing();
    families.register_messages();
    families.register_totals();
    families.register_times();
}

fn read_states(shared: &Shared) -> Vec<(Labels, BindingState)> {
    let now = shared.engine.now();
    let bindings = current_bindings(&shared.reader).into_iter();
    let states = bindings.map(|binding| {
        let figures = shared.brokers.figures(binding.id);
        let state = BindingState {
            figures: figures.unwrap_or_else(|| BindingFigures::stopped("it is not at work here")),
            is_paused: binding.terms.paused.is_some(),
            direction: binding.terms.direction,
            now,
        };
        (vec![("binding", binding.slug)], state)
    });
    states.collect()
}

impl Families<'_, BindingState> {
    fn register_standing(&mut self) {
        self.gauge(
            "tributary_binding_up",
            "1 while the binding is connected to its broker and takes or sends messages, else 0",
            |state| Some(u64::from(state.figures.standing == Standing::Running)),
        );
        self.gauge(
            "tributary_binding_paused",
            "1 while somebody has paused the binding, else 0",
            |state| Some(u64::from(state.is_paused)),
        );
    }

    fn register_messages(&mut self) {
        self.gauge(
            "tributary_binding_lag",
            "Messages that wait at the broker, as it told last; left out where it does not tell",
            |state| state.figures.lag,
        );
        self.gauge(
            "tributary_binding_in_hand",
            "Messages received and not yet acknowledged",
            |state| state.inward(state.figures.in_hand),
        );
        self.gauge(
            "tributary_binding_oldest_seconds",
            "Time since the oldest message was received that is not acknowledged, in seconds; 0 without such a message",
            |state| {
                let oldest = state.figures.oldest_in_hand.unwrap_or(state.now);
                state.inward(seconds(state.now.saturating_sub(oldest)))
            },
        );
    }

    fn register_totals(&mut self) {
        self.counter(
            "tributary_binding_received_total",
            "Messages received from the broker",
            |state| state.inward(state.figures.received),
        );
        self.counter(
            "tributary_binding_redelivered_total",
            "Messages received that the broker says it had delivered before",
            |state| state.inward(state.figures.redelivered),
        );
        self.counter(
            "tributary_binding_decided_total",
            "Messages decided, accepted or refused by the ledger",
            |state| state.inward(state.figures.decided),
        );
        self.counter(
            "tributary_binding_repeated_total",
            "Messages that had been decided before",
            |state| state.inward(state.figures.repeated),
        );
        self.counter(
            "tributary_binding_left_out_total",
            "Messages that a rule of the map leaves out",
            |state| state.inward(state.figures.left_out),
        );
        self.counter(
            "tributary_binding_dead_letters_total",
            "Messages that could not be decided and went to the destination of dead letters",
            |state| state.inward(state.figures.dead_letters),
        );
        self.counter(
            "tributary_binding_sent_total",
            "Events or replies that the broker confirmed",
            |state| Some(state.figures.sent),
        );
        self.counter(
            "tributary_binding_reconnects_total",
            "Connections to the broker that were lost",
            |state| Some(state.figures.reconnects),
        );
    }

    fn register_times(&mut self) {
        self.gauge(
            "tributary_binding_received_per_second",
            "Messages received per second, over the last minute",
            |state| state.inward(state.figures.rates.arrivals_per_second()),
        );
        self.gauge(
            "tributary_binding_done_per_second",
            "Messages acknowledged, or events that the broker confirmed, per second, over the last minute",
            |state| Some(state.figures.rates.done_per_second()),
        );
        self.gauge(
            "tributary_binding_processing_seconds",
            "Average time from the receipt of a message to its durable record, or to the broker's confirmation of an event, over the last minute, in seconds",
            |state| state.figures.rates.processing_average.map(seconds),
        );
        self.gauge(
            "tributary_binding_processing_longest_seconds",
            "Longest time from the receipt of a message to its durable record, or to the broker's confirmation of an event, over the last minute, in seconds",
            |state| state.figures.rates.processing_longest.map(seconds),
        );
    }
}
