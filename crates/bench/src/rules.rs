//! Rules of the server over all payments: a hundred over twenty features, none of which blocks one.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::{Map, Value, json};

use crate::books::preparation_key;
use crate::client::Client;

/// Number of rules.
const RULES: usize = 100;
/// Keys of the streams that the features are figures of.
const KEYS: [&[&str]; 4] = [
    &["payer"],
    &["payee"],
    &["payer", "currency"],
    &["payee", "currency"],
];
/// What each stream computes over the day before.
const FIGURES: [(&str, &str); 5] = [
    ("payments", "count()"),
    ("amount", "sum(amount_moved)"),
    ("least", "min(amount_moved)"),
    ("most", "max(amount_moved)"),
    ("payers", "distinct(payer)"),
];
/// Numbers of the preparations under which streams and rules are made.
const STREAM_KEY: u64 = 5;
const RULES_KEY: u64 = 6;
/// Longest wait until the streams run.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// A rule set that assesses every payment.
pub(crate) struct Rules {
    id: String,
}

impl Rules {
    /// Number of records that making them adds.
    pub(crate) const RECORDS: u64 = KEYS.len() as u64 + 1;

    /// Makes the streams and the rules, and waits until no feature is missing.
    pub(crate) fn create(client: &mut Client, run: u64) -> anyhow::Result<Rules> {
        let mut features = Map::new();
        for (number, key) in (0..).zip(KEYS) {
            let slug = format!("bench-rules-{run:016x}-{number}");
            let emit: Map<String, Value> = FIGURES
                .map(|(name, figure)| (name.to_owned(), json!(figure)))
                .into_iter()
                .collect();
            let stream = json!({
                "slug": slug,
                "from": [{"event": "payment.captured", "where": "kind == \"pay\""}],
                "key": key,
                "window": {"type": "trailing", "size_seconds": 86_400},
                "emit": emit,
            });
            client.post_json(
                "/v1/streams",
                &preparation_key(run, STREAM_KEY, number),
                &stream,
            )?;
            for (name, _) in FIGURES {
                let feature = json!({"stream": slug, "value": name, "key": key});
                features.insert(format!("f{number}_{name}"), feature);
            }
        }
        let names: Vec<&String> = features.keys().collect();
        let rules: Vec<Value> = (0..RULES)
            .map(|number| {
                let feature = names[number % names.len()];
                let when = format!(
                    "amount > 0 && has({feature}) && {feature} + amount > {}",
                    1_000_000_000_000_u64 + number as u64
                );
                json!({"name": format!("rule_{number}"), "when": when, "effect": "block"})
            })
            .collect();
        let set = json!({
            "slug": format!("bench-rules-{run:016x}"), "state": "active", "features": features, "rules": rules,
        });
        let key = preparation_key(run, RULES_KEY, 0);
        let made = client.post_json("/v1/rule_sets", &key, &set)?;
        let id = made["id"].as_str().context("the rule set has no id")?;
        let rules = Rules { id: id.to_owned() };
        let begun = std::time::Instant::now();
        loop {
            let problems = rules.figures(client)?["problems"].take();
            if problems == json!([]) {
                return Ok(rules);
            }
            ensure!(
                begun.elapsed() < WAIT_MAX,
                "features are missing: {problems}"
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn figures(&self, client: &mut Client) -> anyhow::Result<Value> {
        let set = client.get_json(&format!("/v1/rule_sets/{}", self.id))?;
        Ok(set["figures"].clone())
    }

    /// Checks that every payment was assessed, and none blocked.
    pub(crate) fn check(&self, client: &mut Client, payments: u64) -> anyhow::Result<()> {
        let figures = self.figures(client)?;
        ensure!(
            figures["assessed"] == payments
                && figures["blocked"] == 0
                && figures["without_value"] == 0,
            "{payments} payments were to be assessed: {figures}"
        );
        Ok(())
    }
}
