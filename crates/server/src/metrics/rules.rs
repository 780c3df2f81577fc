//! Metrics of rule sets.

use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::registry::Registry;
use tributary_api::risk::RuleSetFigures;
use tributary_engine::Reader;
use tributary_ledger::{ReviewStage, SettingKind};

use crate::app::Shared;
use crate::metrics::families::{Families, Labelled, Labels, register_counters, register_gauge};

/// Registers every rule set in shadow or active. The label is its slug.
pub(super) fn register_rules(registry: &mut Registry, shared: &Shared) {
    let states = read_states(shared);
    let mut families = Families { registry, states };
    families.register_all();
    register_reviews(registry, &shared.reader);
}

/// Registers the payments that rules hold, and how they ended since the start.
fn register_reviews(registry: &mut Registry, reader: &Reader) {
    register_gauge(
        registry,
        "tributary_payments_in_review",
        "Payments that are held until somebody approves them",
        reader.in_review_len() as u64,
    );
    let ended = ReviewStage::ALL
        .into_iter()
        .filter(|stage| !stage.is_open());
    let ended = ended.map(|stage| {
        let labels = vec![("outcome", stage.name().to_owned())];
        (labels, ConstCounter::new(reader.reviews_ended(stage)))
    });
    register_counters(
        registry,
        "tributary_reviews_ended_total",
        "Payments that are no longer held for review or for their payers, by how that ended",
        Labelled(ended.collect()),
    );
}

fn read_states(shared: &Shared) -> Vec<(Labels, RuleSetFigures)> {
    let settings = shared.reader.settings(SettingKind::RULE_SET, None);
    let states = settings.into_iter().filter_map(|setting| {
        let figures = shared.risk.figures(setting.id)?;
        Some((vec![("rule_set", setting.slug.to_string())], figures))
    });
    states.collect()
}

impl Families<'_, RuleSetFigures> {
    fn register_all(&mut self) {
        self.counter(
            "tributary_rule_set_assessed_total",
            "Payments that the rule set assessed",
            |figures| Some(figures.assessed),
        );
        self.counter(
            "tributary_rule_set_blocked_total",
            "Payments that the rule set blocked, or in shadow would have blocked",
            |figures| Some(figures.blocked),
        );
        self.counter(
            "tributary_rule_set_held_total",
            "Payments that the rule set held for review or for their payers, or in shadow would have held",
            |figures| Some(figures.held),
        );
        self.counter(
            "tributary_rule_set_without_value_total",
            "Payments for which a rule had no value, for want of a field or a feature",
            |figures| Some(figures.without_value),
        );
        self.gauge(
            "tributary_rule_set_problems",
            "Features whose stream or list is not there, does not run, or is not as the rule set expects",
            |figures| Some(figures.problems.len() as u64),
        );
    }
}
