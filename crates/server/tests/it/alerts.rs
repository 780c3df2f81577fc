//! The alert rules that come with the product: each is whole, and asks for nothing that the server does not show.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::client::until;
use crate::cluster::page_of_node;
use crate::fixture::{Fixture, id};

const RULES: &str = include_str!("../../../../docs/alerts.yml");

/// The values of the lines that begin like this, in order.
fn values<'a>(start: &str) -> Vec<&'a str> {
    let lines = RULES.lines().map(str::trim_start);
    lines.filter_map(|line| line.strip_prefix(start)).collect()
}

fn is_name(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || letter == '_'
}

/// The metrics in an expression, each with its labels.
fn metrics(expression: &str) -> Vec<(&str, Vec<&str>)> {
    let of_prefix = |prefix| expression.match_indices(prefix).map(|(at, _)| at);
    let begins = of_prefix("tributary_").chain(of_prefix("process_"));
    // Not within a longer name.
    let begins = begins.filter(|at| !expression[..*at].ends_with(is_name));
    let metric = |at: usize| {
        let rest = &expression[at..];
        let end = rest.find(|letter| !is_name(letter)).unwrap_or(rest.len());
        let labels = rest[end..].strip_prefix('{').map(|rest| {
            let labels = rest.split_once('}').expect("braces are closed").0;
            let name = |label: &'_ str| label.find(['=', '!']).expect("a label has a value");
            labels.split(',').map(move |label| &label[..name(label)])
        });
        (&rest[..end], labels.into_iter().flatten().collect())
    };
    begins.map(metric).collect()
}

/// The page of a server with a subscription and deliveries at work, and that of a node of a cluster.
fn page() -> String {
    page_of_deliveries(&Fixture::with_subscriptions()) + &page_of_node()
}

/// Makes a binding, a subscription and deliveries, and returns the page.
pub(crate) fn page_of_deliveries(server: &Fixture) -> String {
    let binder = json!({"slug": "main", "type": "memory", "url": "memory:"});
    server.post("/v1/binders", &binder).expect(201);
    let key = json!({"owner": "platform", "access": "write"});
    let key = server.post("/v1/api_keys", &key).expect(201);
    let binding = json!({
        "slug": "orders", "binder": "main", "direction": "in", "destination": "payment_order",
        "acts_as": key["id"], "identity_from": "message_id",
    });
    server.post("/v1/bindings", &binding).expect(201);
    let stream = json!({
        "slug": "orders", "from": [{"event": "app.order.made"}], "key": ["owner"],
        "window": {"type": "tumbling", "size_seconds": 60}, "emit": {"orders": "count()"},
    });
    let stream = server.post("/v1/streams", &stream).expect(201);
    let figures = format!("/v1/streams/{}/figures", id(&stream));
    until("the stream runs", || {
        (server.get(&figures).status == 200).then_some(())
    });
    let terms = json!({"events": ["app.#"], "workers": 20});
    let made = server.post("/v1/subscriptions", &terms).expect(201);
    let path = format!("/v1/subscriptions/{}", id(&made));
    for number in 0..10 {
        let event = json!({"type": "app.order.made", "data": number});
        server.post("/v1/events", &event).expect(201);
    }
    let mut done = 0;
    while done < 10 {
        let wanted = json!({"max": 10, "wait_seconds": 20});
        let taken = server.post(&format!("{path}/receive"), &wanted).expect(200);
        let taken = taken["data"].as_array().expect("a list");
        let receipts: Vec<&Value> = taken.iter().map(|one| &one["receipt"]).collect();
        server.clock.advance(1);
        let acked = json!({"receipts": receipts});
        server.post(&format!("{path}/ack"), &acked).expect(200);
        done += taken.len();
    }
    server.get("/nothing");
    let page = server.get("/metrics");
    assert_eq!(page.status, 200);
    String::from_utf8(page.body).expect("text")
}

#[test]
fn every_rule_is_whole_and_asks_for_what_the_server_shows() {
    let page = page();
    let (names, expressions) = (values("- alert: "), values("expr: "));
    let (summaries, severities) = (values("summary: "), values("labels: {severity: "));
    assert!(names.len() > 10);
    for list in [&expressions, &summaries, &severities] {
        assert_eq!(list.len(), names.len(), "{list:?}");
    }
    assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len());
    for (name, (expression, summary)) in names.iter().zip(expressions.iter().zip(&summaries)) {
        let metrics = metrics(expression);
        assert!(!metrics.is_empty(), "{name} asks for nothing");
        for (metric, labels) in &metrics {
            let lines: Vec<&str> = page
                .lines()
                .filter_map(|line| line.strip_prefix(metric))
                .filter(|rest| rest.starts_with([' ', '{']))
                .collect();
            assert!(!lines.is_empty(), "{name}: {metric} is not shown\n{page}");
            for label in labels {
                let given = |line: &&str| {
                    line.contains(&format!("{{{label}=\""))
                        || line.contains(&format!(",{label}=\""))
                };
                assert!(lines.iter().any(given), "{name}: {metric} has no {label}");
            }
            // What a summary names must be told apart by the metric.
            for label in ["subscription", "binding"] {
                if summary.contains(&format!("$labels.{label}")) {
                    let label = format!("{{{label}=\"");
                    assert!(lines.iter().all(|line| line.starts_with(&label)));
                }
            }
        }
        // A colon and a space, or a hash, would end a plain scalar of YAML.
        assert!(
            !summary.contains(": ") && !summary.contains(" #") && summary.ends_with('.'),
            "{name}: {summary}"
        );
    }
    assert!(!RULES.contains('\t'));
}
