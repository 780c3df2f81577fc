//! Rules over a server: what they block, what is recorded, and that it is computed again from the journal after kills.

use serde_json::{Value, json};

use crate::streams::wait_for_figures;
use crate::support::{Server, json_for, run_for, text};

struct Scene {
    server: Server,
    /// Ids of the accounts of two payers and a shop.
    accounts: [String; 3],
}

fn text_of(value: &Value) -> String {
    value.as_str().expect("a text").to_owned()
}

impl Scene {
    fn new(server: Server) -> Scene {
        let open = |name: &str, kind: &str| {
            let mut body = json!({"owner": name, "currency": "EUR", "kind": kind});
            if kind == "wallet" {
                body["overdraft"] = json!("unlimited");
            }
            text_of(&server.post("/v1/accounts", name, &body).ok()["id"])
        };
        let accounts = [
            open("alice", "wallet"),
            open("bob", "wallet"),
            open("shop", "merchant"),
        ];
        Scene { server, accounts }
    }

    fn make(&self, path: &str, key: &str, body: &Value) -> String {
        let made = self.server.post(path, key, body).ok();
        format!("{path}/{}", text_of(&made["id"]))
    }

    fn payment(&self, payer: usize, amount: u64) -> Value {
        json!({
            "amount": amount, "currency": "EUR", "source": self.accounts[payer],
            "destination": self.accounts[2],
        })
    }

    /// Pays, and returns the code of the refusal, or `ok`.
    fn pay(&self, key: &str, payer: usize, amount: u64) -> String {
        let answer = self
            .server
            .post("/v1/payments", key, &self.payment(payer, amount));
        code_of(answer.status, &answer.json())
    }

    fn batch(&self, commands: &Value) -> Value {
        let answer = self
            .server
            .request("POST", "/v1/batches", None, Some(commands));
        answer.expect("answers").ok()
    }

    /// The assessment of the only record of a payment.
    fn assessment(&self, payment: &str) -> Value {
        let timeline = self.server.get(&format!("/v1/payments/{payment}/timeline"));
        let steps = timeline["data"].as_array().expect("a list").iter();
        let mut found = steps.map(|step| step["assessment"].clone());
        found
            .find(|found| found.is_object())
            .expect("it was assessed")
    }
}

fn code_of(status: u16, answer: &Value) -> String {
    match status {
        201 => "ok".to_owned(),
        _ => text_of(&answer["error"]["code"]),
    }
}

/// Counts payments by payer, the day before.
fn velocity() -> Value {
    json!({
        "slug": "velocity",
        "from": [{"event": "payment.captured", "where": "kind == \"pay\""}],
        "key": ["payer"],
        "window": {"type": "trailing", "size_seconds": 86_400},
        "emit": {"payments": "count()", "spent": "sum(amount)"},
    })
}

/// At most three payments, and nobody on the list.
fn rules(state: &str) -> Value {
    json!({
        "slug": format!("rules-{state}"),
        "state": state,
        "where": "kind == \"pay\"",
        "features": {
            "payments": {"stream": "velocity", "value": "payments", "key": ["payer"]},
            "spent": {"stream": "velocity", "value": "spent", "key": ["payer"]},
            "listed": {"list": "blocked", "key": ["payer"]},
        },
        "rules": [
            {"name": "often", "when": "payments + 1 > 3", "effect": "block"},
            {"name": "much", "when": "spent + amount > 1000", "points": 60},
            {"name": "large", "when": "amount > 500", "points": 40},
            {"name": "listed", "when": "listed", "effect": "block"},
        ],
        "thresholds": {"block": 100},
    })
}

/// Waits until the streams have taken everything.
fn settle(scene: &Scene, stream: &str) {
    wait_for_figures(&scene.server, stream, |_| true);
}

#[test]
fn rules_block_by_figures_lists_and_scores_and_tell_the_platform_why() {
    let folder = tempfile::tempdir().expect("there is room");
    let data = folder.path().join("data");
    let scene = Scene::new(Server::start(&data));
    let stream = scene.make("/v1/streams", "velocity", &velocity());
    let list = scene.make(
        "/v1/lists",
        "list",
        &json!({"slug": "blocked", "entries": []}),
    );
    let rule_set = scene.make("/v1/rule_sets", "rules", &rules("active"));
    for number in 0..3 {
        settle(&scene, &stream);
        assert_eq!(scene.pay(&format!("pay-{number}"), 0, 10), "ok");
    }
    settle(&scene, &stream);
    let body = scene.payment(0, 10);
    let blocked = scene.server.post("/v1/payments", "pay-3", &body);
    let told = blocked.json();
    assert_eq!(code_of(blocked.status, &told), "payment_blocked");
    assert!(!told.to_string().contains("often"), "{told}");
    // A score, by two rules; each alone is too little.
    assert_eq!(scene.pay("much", 1, 501), "ok");
    settle(&scene, &stream);
    assert_eq!(scene.pay("most", 1, 501), "payment_blocked");
    assert_eq!(scene.pay("little", 1, 499), "ok");
    // An entry counts for the very next payment.
    let add = json!({"add": [{"value": "bob"}]});
    scene
        .server
        .request("PATCH", &list, Some("add"), Some(&add))
        .expect("answers")
        .ok();
    assert_eq!(scene.pay("listed", 1, 1), "payment_blocked");
    let remove = json!({"remove": ["bob"]});
    scene
        .server
        .request("PATCH", &list, Some("remove"), Some(&remove))
        .expect("answers")
        .ok();
    assert_eq!(scene.pay("not-listed", 1, 1), "ok");

    let payment = text_of(&told["error"]["payment"]);
    let found = scene.assessment(&payment);
    assert_eq!(found["effect"], "block", "{found}");
    let report = &found["report"]["rule_sets"][0];
    assert_eq!(report["fired"], json!(["often"]));
    assert_eq!(
        report["features"],
        json!({"payments": 3, "spent": 30, "listed": false})
    );
    // A repetition has the first answer, though the rules are gone.
    scene
        .server
        .request("DELETE", &rule_set, None, None)
        .expect("answers")
        .ok();
    assert_eq!(scene.pay("pay-3", 0, 10), "payment_blocked");
    assert_eq!(scene.pay("pay-4", 0, 10), "ok");
    assert!(scene.server.stop().success());
}

#[test]
fn payments_of_one_request_count_for_each_other() {
    let folder = tempfile::tempdir().expect("there is room");
    let scene = Scene::new(Server::start(&folder.path().join("data")));
    let stream = scene.make("/v1/streams", "velocity", &velocity());
    scene.make(
        "/v1/lists",
        "list",
        &json!({"slug": "blocked", "entries": []}),
    );
    scene.make("/v1/rule_sets", "rules", &rules("active"));
    settle(&scene, &stream);
    let request = |key: &str, payer: usize| json!({"idempotency_key": key, "payment": scene.payment(payer, 10)});
    let items: Vec<Value> = (0..5)
        .flat_map(|number| {
            [
                request(&format!("a-{number}"), 0),
                request(&format!("b-{number}"), 1),
            ]
        })
        .collect();
    let answer = scene.batch(&json!(items));
    let results = answer["results"].as_array().expect("a list").iter();
    let blocked: Vec<bool> = results
        .map(|result| result.to_string().contains("payment_blocked"))
        .collect();
    assert_eq!(
        blocked,
        [[false; 6].as_slice(), &[true; 4]].concat(),
        "{answer}"
    );
    assert!(scene.server.stop().success());
}

#[test]
fn what_rules_found_is_computed_again_after_kills_also_in_shadow_and_in_a_backtest() {
    let folder = tempfile::tempdir().expect("there is room");
    let data = folder.path().join("data");
    let mut scene = Scene::new(Server::start(&data));
    let stream = scene.make("/v1/streams", "velocity", &velocity());
    let list = scene.make(
        "/v1/lists",
        "list",
        &json!({"slug": "blocked", "entries": []}),
    );
    scene.make("/v1/rule_sets", "shadow", &rules("shadow"));
    let mut strict = rules("active");
    strict["rules"] = json!([{"name": "often", "when": "payments + 1 > 6", "effect": "block"}]);
    scene.make("/v1/rule_sets", "active", &strict);
    let mut outcomes = Vec::new();
    for number in 0..24 {
        if number % 8 == 5 {
            scene.server.kill();
            scene.server = Server::start(&data);
        }
        if number == 11 {
            let add = json!({"add": [{"value": "bob", "until": "2100-01-01T00:00:00Z"}]});
            scene
                .server
                .request("PATCH", &list, Some("add"), Some(&add))
                .expect("answers")
                .ok();
        }
        settle(&scene, &stream);
        let amount = 10 + number * 7 % 400;
        let key = format!("pay-{number}");
        outcomes.push(scene.pay(&key, usize::from(number % 3 == 0), amount));
    }
    let blocked = outcomes
        .iter()
        .filter(|outcome| *outcome == "payment_blocked");
    assert_eq!(
        blocked.count(),
        (16 - 6) + (8 - 6),
        "only the active rules decide: {outcomes:?}"
    );
    let batch: Vec<Value> = (0..4)
        .map(|number| {
            let key = format!("batch-{number}");
            json!({"idempotency_key": key, "payment": scene.payment(1, 5)})
        })
        .collect();
    scene.batch(&json!(batch));
    settle(&scene, &stream);
    let asked = json!({"rule_set": rules("draft"), "fraud": "payer == \"bob\""});
    let answer = scene
        .server
        .post("/v1/risk/backtests", "backtest", &asked)
        .ok();
    assert_eq!(answer["assessed"], 28, "{answer}");
    assert_eq!(answer["compared"]["assessed"], 28, "{answer}");
    assert_eq!(answer["fraud"]["frauds"], 12, "{answer}");
    assert_eq!(answer["not_assessed"], 0, "{answer}");
    assert!(scene.server.stop().success());
    let verified = json_for(0, &["risk", "verify", "--data", text(&data), "--json"]);
    assert_eq!(verified["same"], 2 * 28, "{verified}");
    assert_eq!(verified["different"], 0, "{verified}");
    assert_eq!(verified["not_comparable"], 0, "{verified}");
}

#[test]
fn what_is_repeated_in_a_request_is_not_counted_again() {
    let folder = tempfile::tempdir().expect("there is room");
    let data = folder.path().join("data");
    let scene = Scene::new(Server::start(&data));
    let stream = scene.make("/v1/streams", "velocity", &velocity());
    let mut set = rules("active");
    set["features"] =
        json!({"payments": {"stream": "velocity", "value": "payments", "key": ["payer"]}});
    set["rules"] = json!([{"name": "often", "when": "payments + 1 > 3", "effect": "block"}]);
    scene.make("/v1/rule_sets", "rules", &set);
    settle(&scene, &stream);
    let batch = |keys: &[&str]| -> Vec<bool> {
        let commands = keys
            .iter()
            .map(|key| json!({"idempotency_key": key, "payment": scene.payment(0, 10)}));
        let answer = scene.batch(&Value::Array(commands.collect()));
        let results = answer["results"].as_array().expect("a list").iter();
        let is_made = |result: &Value| !result.to_string().contains("payment_blocked");
        results.map(is_made).collect()
    };
    assert_eq!(batch(&["a", "b", "b", "b"]), [true; 4]);
    settle(&scene, &stream);
    assert_eq!(batch(&["a", "b", "c"]), [true; 3]);
    settle(&scene, &stream);
    assert_eq!(batch(&["c", "d"]), [true, false]);
    assert!(scene.server.stop().success());
    let verified = json_for(0, &["risk", "verify", "--data", text(&data), "--json"]);
    assert_eq!(verified["same"], 4, "{verified}");
    assert_eq!(verified["different"], 0, "{verified}");
    assert_eq!(verified["not_comparable"], 0, "{verified}");
}

#[test]
fn a_report_that_would_be_too_long_is_shortened() {
    let folder = tempfile::tempdir().expect("there is room");
    let scene = Scene::new(Server::start(&folder.path().join("data")));
    let slug = |number: usize| format!("{number:0>64}");
    for number in 0..96 {
        let list = json!({"slug": slug(number), "entries": []});
        scene.make("/v1/lists", &format!("list-{number}"), &list);
    }
    let long = |kind: &str, number: usize| format!("{kind}{number:0>31}");
    for set in 0..4 {
        let features = (0..24).map(|number| {
            let feature = json!({"list": slug(24 * set + number), "key": ["payer"]});
            (long("f", number), feature)
        });
        let fired =
            (0..8).map(|number| json!({"name": long("a", number), "when": "true", "points": 1}));
        let without = (0..8).map(
            |number| json!({"name": long("b", number), "when": "reference == \"\"", "points": 1}),
        );
        let rules: Vec<Value> = fired.chain(without).collect();
        let body = json!({
            "slug": format!("set-{set}"), "state": "shadow", "rules": rules,
            "features": features.collect::<serde_json::Map<_, _>>(),
        });
        scene.make("/v1/rule_sets", &format!("set-{set}"), &body);
    }
    let answer = scene
        .server
        .post("/v1/payments", "pay", &scene.payment(0, 10))
        .ok();
    let report = &scene.assessment(&text_of(&answer["id"]))["report"];
    assert_eq!(report["is_shortened"], true, "{report}");
    assert_eq!(report["rule_sets"][3]["score"], 8, "{report}");
    assert!(scene.server.stop().success());
}

/// A tree by hand over `amount` and `payments`.
const MODEL: &str = include_str!("../../../../examples/models/large.json");

#[test]
fn scores_are_computed_again_by_the_models_of_then_also_by_deleted_ones() {
    let folder = tempfile::tempdir().expect("there is room");
    let data = folder.path().join("data");
    let mut scene = Scene::new(Server::start(&data));
    let stream = scene.make("/v1/streams", "velocity", &velocity());
    let file = folder.path().join("risk.toml");
    let rules = r#"
        managed_by = "risk"
        [[rule_set]]
        slug = "scored"
        state = "active"
        where = 'kind == "pay"'
        rules = [{name = "fraud", when = "fraud > 800", effect = "block"}]
        [rule_set.features]
        payments = {stream = "velocity", value = "payments", key = ["payer"]}
        fraud = {model = "large", inputs = {amount = "amount", payments = "payments"}}
        [[model]]
        slug = "large"
        file = "large.json"
    "#;
    std::fs::write(&file, rules).expect("writes");
    let apply = |scene: &Scene, model: &str| {
        std::fs::write(folder.path().join("large.json"), model).expect("writes");
        let url = scene.server.url();
        let key = scene.server.key_file();
        let done = run_for(
            0,
            &[
                "apply",
                text(&file),
                "--server",
                &url,
                "--api-key-file",
                key,
            ],
        );
        assert!(done.contains("done:"), "{done}");
    };
    apply(&scene, MODEL);
    let pay = |scene: &Scene, key: &str, amount: u64| {
        settle(scene, &stream);
        scene.pay(key, 0, amount)
    };
    for number in 0..3 {
        assert_eq!(pay(&scene, &format!("large-{number}"), 10_000), "ok");
    }
    assert_eq!(pay(&scene, "fourth", 10_000), "payment_blocked");
    assert_eq!(pay(&scene, "small", 9_999), "ok");
    // A tree that scores 119 where the first one scored 953.
    apply(&scene, &MODEL.replace("0.5, 3]", "0.5, -2]"));
    assert_eq!(pay(&scene, "by-the-second", 10_000), "ok");
    scene.server.kill();
    scene.server = Server::start(&data);
    assert_eq!(pay(&scene, "after-the-kill", 10_000), "ok");
    let asked = json!({"rule_set": {
        "slug": "again",
        "features": {"fraud": {"model": "large", "inputs": {"amount": "amount", "payments": "1"}}},
        "rules": [{"name": "some", "when": "fraud > 600", "effect": "block"}],
    }});
    let tested = scene
        .server
        .post("/v1/risk/backtests", "backtest", &asked)
        .ok();
    assert_eq!(
        (&tested["assessed"], &tested["blocked"]),
        (&json!(7), &json!(6)),
        "{tested}"
    );
    let models = scene.server.get("/v1/models");
    let id = text_of(&models["data"][0]["id"]);
    let path = format!("/v1/models/{id}");
    let deleted = scene.server.request("DELETE", &path, None, None);
    deleted.expect("answers").ok();
    assert_eq!(pay(&scene, "without-a-model", 10_000), "ok");
    assert!(scene.server.stop().success());
    let verified = json_for(0, &["risk", "verify", "--data", text(&data), "--json"]);
    assert_eq!(verified["same"], 8, "{verified}");
    assert_eq!(verified["different"], 0, "{verified}");
    assert_eq!(verified["not_comparable"], 0, "{verified}");
}
