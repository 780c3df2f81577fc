//! The metrics by name, type and labels: dashboards and alerts depend on them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::json;

use crate::alerts::page_of_deliveries;
use crate::cluster::page_of_node;
use crate::fixture::{Fixture, pay};

/// Suffixes of the series of a histogram.
const HISTOGRAM_SUFFIXES: [&str; 3] = ["_bucket", "_sum", "_count"];

/// Serves what the deliveries alone do not show: a queued payment and a command that its caller may not submit.
fn page() -> String {
    let server = Fixture::with_subscriptions();
    let (buyer, shop) = (server.wallet("ann", 9), server.account("shop", "merchant"));
    let mut body = pay(&buyer, &shop, 1);
    body["queue"] = json!({});
    server.post("/v1/payments", &body).expect(202);
    let token = server.token("bob", "write");
    let foreign = json!({"owner": "ann", "currency": "EUR"});
    assert_eq!(server.post_as(&token, "/v1/accounts", &foreign).status, 403);
    let rules = json!({
        "slug": "quiet", "state": "shadow",
        "rules": [{"name": "never", "when": "amount < 0", "points": 1}],
    });
    server.post("/v1/rule_sets", &rules).expect(201);
    page_of_deliveries(&server)
}

/// The label names of a series: `{a="1",b="2"}`.
fn label_names(labels: &str) -> Vec<String> {
    let labels = labels.trim_start_matches('{').trim_end_matches('}');
    let mut names: Vec<String> = labels
        .split(',')
        .filter_map(|label| label.split_once('='))
        .map(|(name, _)| name.to_owned())
        .collect();
    names.sort();
    names
}

/// One line per metric: its name, type and label names. Also checks that every series belongs to the metric before it.
fn outline(page: &str) -> String {
    let mut types: BTreeMap<&str, &str> = BTreeMap::new();
    let mut metrics: BTreeSet<String> = BTreeSet::new();
    let mut helped: BTreeSet<&str> = BTreeSet::new();
    let mut current = "";
    for line in page.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, text) = help.split_once(' ').expect("a name and a text");
            assert!(text.len() > 10 && text.ends_with('.'), "{line}");
            assert!(!text.ends_with(".."), "{line}");
            helped.insert(name);
            continue;
        }
        if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').expect("a name and a type");
            assert!(types.insert(name, kind).is_none(), "{name} comes twice");
            assert!(helped.contains(name), "{name} has no help");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            current = name;
            continue;
        }
        let (series, value) = line.rsplit_once(' ').expect("a series and a value");
        value.parse::<f64>().expect("a number");
        let (name, labels) = match series.find('{') {
            Some(brace) => series.split_at(brace),
            None => (series, ""),
        };
        let mut labels = label_names(labels);
        if types[current] == "histogram" {
            let suffix = name.strip_prefix(current).expect("a series of the metric");
            assert!(HISTOGRAM_SUFFIXES.contains(&suffix), "{line}");
            labels.retain(|label| label != "le");
        } else {
            assert_eq!(name, current, "{line}");
        }
        let labels = labels.iter().map(|label| format!(" {label}"));
        let labels: String = labels.collect();
        metrics.insert(format!("{current} {}{labels}\n", types[current]));
    }
    metrics.into_iter().collect()
}

/// `UPDATE=1 cargo test -p tributary-server` writes the list anew.
#[test]
fn names_types_and_labels_of_the_metrics_stay() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/metrics.txt");
    let pages = [outline(&page()), outline(&page_of_node())];
    let lines: BTreeSet<&str> = pages
        .iter()
        .flat_map(|page| page.split_inclusive('\n'))
        .collect();
    let made: String = lines.into_iter().collect();
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &made).expect("it can be written");
    }
    let stored = std::fs::read_to_string(&path).expect("metrics.txt is there");
    assert_eq!(
        stored, made,
        "if this is wanted, run the tests with UPDATE=1"
    );
}

#[test]
fn money_moved_is_told_in_minor_units_of_each_currency() {
    let server = Fixture::start();
    let wallet = server.wallet("ann", 1_000);
    let shop = server.account("shop", "merchant");
    let paid = server
        .post("/v1/payments", &pay(&wallet, &shop, 250))
        .expect(201);
    let refund = json!({"payment": paid["id"], "amount": 50});
    server.post("/v1/refunds", &refund).expect(201);
    // What is refused or only held moves nothing.
    assert_eq!(
        server
            .post("/v1/payments", &pay(&wallet, &shop, 9_999))
            .status,
        402
    );
    let hold = crate::fixture::hold(&wallet, &shop, 100);
    server.post("/v1/payments", &hold).expect(201);
    let page = String::from_utf8(server.get("/metrics").body).expect("text");
    let line = "tributary_money_moved_total{currency=\"EUR\"} 1300";
    assert!(page.lines().any(|known| known == line), "{page}");
    assert!(page.contains("tributary_build_info{version=\""), "{page}");
}
