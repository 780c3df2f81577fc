//! A rule set and what it finds.

use super::SCORE_MAX;
use crate::expression::{Expression, Fields};

/// What is done with a payment: what comes later is stricter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effect {
    /// Nothing.
    Allow,
    /// Its amount is held until the platform approves it.
    Review,
    /// Its amount is held until its payer or the platform approves it.
    Challenge,
    /// It is refused.
    Block,
}

/// What a rule without a value does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnError {
    /// It is left out.
    Skip,
    /// It has the payment reviewed.
    Review,
    /// It blocks the payment.
    Block,
}

/// A rule.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Condition over the payment and the features.
    pub when: Expression,
    /// What is done with the payment.
    pub effect: Option<Effect>,
    /// What is added to the score.
    pub points: i64,
    /// Places of the rules that do not count where this one holds.
    pub overrides: Vec<usize>,
}

/// Rules that are applied together.
#[derive(Clone, Debug)]
pub struct RuleSet {
    /// The rules.
    pub rules: Vec<Rule>,
    /// Scores from which on something is done with a payment.
    pub thresholds: Vec<(i64, Effect)>,
    /// What a rule without a value does.
    pub on_error: OnError,
}

/// What a rule set found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What is done with the payment.
    pub effect: Effect,
    /// Sum of the points of the rules that fired, from 0 to [`SCORE_MAX`].
    pub score: i64,
    /// Places of the rules whose condition holds and that count, ascending.
    pub fired: Vec<usize>,
    /// Places of the rules whose condition holds and that another one overrides, ascending.
    pub overridden: Vec<usize>,
    /// Places of the rules whose condition has no value and that no other one overrides, ascending.
    pub without_value: Vec<usize>,
}

impl RuleSet {
    /// Applies every rule. The order of the rules does not matter.
    ///
    /// # Panics
    /// If a rule overrides a place at which no rule stands, or `when` is no condition.
    #[must_use]
    pub fn apply<F: Fields + ?Sized>(&self, fields: &F) -> Finding {
        let held: Vec<Option<bool>> = self
            .rules
            .iter()
            .map(|rule| rule.when.holds(fields).ok())
            .collect();
        let mut counts = vec![true; self.rules.len()];
        for (rule, held) in self.rules.iter().zip(&held) {
            if *held == Some(true) {
                rule.overrides.iter().for_each(|at| counts[*at] = false);
            }
        }
        let places = |wanted: Option<bool>, counted: bool| -> Vec<usize> {
            let all = held.iter().zip(&counts).enumerate();
            all.filter(|(_, (held, counts))| **held == wanted && **counts == counted)
                .map(|(at, _)| at)
                .collect()
        };
        let fired = places(Some(true), true);
        let without_value = places(None, true);
        let rules = || fired.iter().map(|at| &self.rules[*at]);
        let points: i64 = rules().map(|rule| rule.points).sum();
        let score = points.clamp(0, SCORE_MAX);
        let reached = self.thresholds.iter().filter(|(least, _)| score >= *least);
        let by_score = reached.map(|(_, effect)| *effect);
        let by_error = match self.on_error {
            _ if without_value.is_empty() => Effect::Allow,
            OnError::Skip => Effect::Allow,
            OnError::Review => Effect::Review,
            OnError::Block => Effect::Block,
        };
        let effects = rules().filter_map(|rule| rule.effect).chain(by_score);
        Finding {
            effect: effects
                .max()
                .map_or(by_error, |effect| effect.max(by_error)),
            score,
            overridden: places(Some(true), false),
            fired,
            without_value,
        }
    }
}
