//! What rule sets find.

use proptest::prelude::*;
use tributary_streams::expression::{Expression, FieldId, Fields, Scalar, Schema, Type, Value};
use tributary_streams::risk::{Effect, Finding, OnError, Rule, RuleSet};

/// A payment with an amount, and a feature that may be missing.
struct Payment {
    amount: i64,
    count: Option<i64>,
}

impl Fields for Payment {
    fn get(&self, field: FieldId) -> Option<Value<'_>> {
        let value = match field.index() {
            0 => Some(self.amount),
            _ => self.count,
        };
        value.map(|value| Value::Scalar(Scalar::Int(value)))
    }
}

fn rule(when: &str, effect: Option<Effect>, points: i64, overrides: &[usize]) -> Rule {
    let fields = [("amount", Type::Int), ("count", Type::Int)];
    let schema = Schema::new(fields.map(|(path, kind)| (path.to_owned(), kind)));
    Rule {
        when: Expression::compile_condition(when, &schema.expect("a schema")).expect("a condition"),
        effect,
        points,
        overrides: overrides.to_vec(),
    }
}

fn set(rules: Vec<Rule>) -> RuleSet {
    RuleSet {
        rules,
        thresholds: Vec::new(),
        on_error: OnError::Skip,
    }
}

fn finding(effect: Effect, score: i64, fired: &[usize]) -> Finding {
    Finding {
        effect,
        score,
        fired: fired.to_vec(),
        overridden: Vec::new(),
        without_value: Vec::new(),
    }
}

const RICH: Payment = Payment {
    amount: 1_000,
    count: Some(3),
};

#[test]
fn the_strictest_effect_counts_and_points_add_up_within_bounds() {
    let (allow, block) = (Some(Effect::Allow), Some(Effect::Block));
    let order = [
        Effect::Allow,
        Effect::Review,
        Effect::Challenge,
        Effect::Block,
    ];
    assert!(order.is_sorted(), "from the mildest to the strictest");
    let rules = vec![
        rule("amount > 500", allow, 30, &[]),
        rule("count >= 3", block, 20, &[]),
        rule("count > 3", block, 500, &[]),
    ];
    let found = set(rules.clone()).apply(&RICH);
    assert_eq!(found, finding(Effect::Block, 50, &[0, 1]));
    let small = Payment {
        amount: 1,
        count: Some(0),
    };
    assert_eq!(set(rules).apply(&small), finding(Effect::Allow, 0, &[]));
    let bounds = |points| {
        set(vec![rule("true", None, points, &[])])
            .apply(&RICH)
            .score
    };
    assert_eq!((bounds(1_001), bounds(-7)), (1_000, 0));
}

#[test]
fn a_score_does_what_its_thresholds_say_from_there_on() {
    let at = |block_at| {
        let rules = vec![
            rule("amount > 0", None, 70, &[]),
            rule("true", None, -10, &[]),
        ];
        RuleSet {
            thresholds: vec![(block_at, Effect::Block), (50, Effect::Review)],
            ..set(rules)
        }
        .apply(&RICH)
    };
    assert_eq!(at(60).effect, Effect::Block);
    assert_eq!(at(61).effect, Effect::Review);
}

#[test]
fn an_allowing_rule_overrides_those_that_it_names_and_no_other() {
    let block = Some(Effect::Block);
    let rules = vec![
        rule("count >= 1", block, 100, &[]),
        rule("amount >= 1", block, 100, &[]),
        rule("amount == 1000", Some(Effect::Allow), 0, &[0]),
    ];
    let found = set(rules.clone()).apply(&RICH);
    assert_eq!(found.effect, Effect::Block);
    assert_eq!((found.fired, found.overridden), (vec![1, 2], vec![0]));
    let small = Payment {
        amount: 0,
        count: Some(1),
    };
    assert_eq!(set(rules).apply(&small), finding(Effect::Block, 100, &[0]));
}

#[test]
fn a_rule_without_a_value_is_told_and_does_as_the_set_says() {
    let rules = vec![
        rule("count > 0", Some(Effect::Block), 100, &[]),
        rule("amount / 0 == 1", None, 100, &[]),
        rule("amount > 0", Some(Effect::Allow), 1, &[1]),
    ];
    let unknown = Payment {
        amount: 5,
        count: None,
    };
    let skips = set(rules.clone()).apply(&unknown);
    assert_eq!((skips.effect, skips.score), (Effect::Allow, 1));
    assert_eq!(skips.without_value, [0], "the second is overridden");
    for (on_error, effect) in [
        (OnError::Review, Effect::Review),
        (OnError::Block, Effect::Block),
    ] {
        let strict = RuleSet {
            on_error,
            ..set(rules.clone())
        };
        assert_eq!(strict.apply(&unknown).effect, effect);
    }
}

proptest! {
    /// What a set finds does not depend on the order of its rules.
    #[test]
    fn the_order_of_rules_does_not_matter(
        rules in proptest::collection::vec((0..6_i64, 0..4_u8, -400..700_i64, any::<bool>()), 1..8),
        turn in 0..8_usize,
        block_at in proptest::option::of(1..1_000_i64),
        count in proptest::option::of(0..6_i64),
    ) {
        let len = rules.len();
        let make = |turn: usize| {
            let places = (0..len).map(|at| (at + turn) % len);
            let made = places.clone().map(|at| {
                let (least, effect, points, overrides) = rules[at];
                let effect = [None, Some(Effect::Allow), Some(Effect::Review), Some(Effect::Block)]
                    [usize::from(effect)];
                let next = (at + 1) % len;
                let overridden = places.clone().position(|place| place == next).unwrap();
                let overrides = match overrides && len > 1 {
                    true => vec![overridden],
                    false => vec![],
                };
                rule(&format!("count >= {least}"), effect, points, &overrides)
            });
            let thresholds = block_at.map(|least| (least, Effect::Block)).into_iter().collect();
            RuleSet { thresholds, ..set(made.collect()) }
        };
        let payment = Payment { amount: 1, count };
        let (straight, turned) = (make(0).apply(&payment), make(turn % len).apply(&payment));
        prop_assert_eq!(straight.effect, turned.effect);
        prop_assert_eq!(straight.score, turned.score);
        prop_assert_eq!(straight.fired.len(), turned.fired.len());
        prop_assert_eq!(straight.overridden.len(), turned.overridden.len());
        prop_assert_eq!(straight.without_value.len(), turned.without_value.len());
    }
}
