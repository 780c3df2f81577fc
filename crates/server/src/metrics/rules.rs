//! Metrics of rule sets.

use prometheus_client::registry::Registry;
use tributary_api::risk::RuleSetFigures;
use tributary_ledger::SettingKind;

use crate::app::Shared;
use crate::metrics::families::{Families, Labels};

/// Registers every rule set in shadow or active. The label is its slug.
pub(super) fn register_rules(registry: &mut Registry, shared: &Shared) {
    let states = read_states(shared);
    let mut families = Families { registry, states };
    families.register_all();
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
