//! Models: their files, the parts in which they are kept, what they score, and what is refused.

use serde_json::{Value, json};
use tributary_ledger::{Actor, Key, OwnerId, SettingBody, SettingId, SettingKind, Slug};

use crate::client::{Answer, send};
use crate::fixture::{Fixture, id, pay};
use crate::settings::is_replayed;

const MODELS: &str = "/v1/models";
/// A tree by hand: below an amount of 10,000 a margin of -2, else below 3 payments or without their number 0.5, else 3. The scores are
/// 1000 / (1 + e^-margin), rounded: 119, 622 and 953.
const XGBOOST: &str = include_str!("../../../../examples/models/large.json");
/// The same tree.
const LIGHTGBM: &str = include_str!("../../../../examples/models/large.txt");

/// Sends a file, of a type that curl sends if it is told none.
fn send_file(server: &Fixture, method: &str, path: &str, key: Option<&str>, file: &[u8]) -> Answer {
    let authorization = format!("Bearer {}", server.platform);
    let mut headers = vec![
        ("Authorization", authorization.as_str()),
        ("Content-Type", "application/x-www-form-urlencoded"),
    ];
    headers.extend(key.map(|key| ("Idempotency-Key", key)));
    send(server.addr, method, path, &headers, file)
}

fn make(server: &Fixture, slug: &str, file: &str) -> Value {
    let path = format!("{MODELS}?slug={slug}");
    send_file(server, "POST", &path, Some(slug), file.as_bytes()).expect(201)
}

/// Changes a model, with what the query says.
fn change(server: &Fixture, model: &Value, query: &str, file: &str) -> Answer {
    let path = format!("{MODELS}/{}?{query}", id(model));
    send_file(server, "PATCH", &path, None, file.as_bytes())
}

fn delete(server: &Fixture, model: &Value) -> Answer {
    let path = format!("{MODELS}/{}", id(model));
    send_file(server, "DELETE", &path, None, b"")
}

/// Slugs of the parts that are kept.
fn parts(server: &Fixture) -> Vec<String> {
    let reader = server.engine.reader();
    let parts = reader.settings(SettingKind::MODEL_PART, None).into_iter();
    parts.map(|part| part.slug.to_string()).collect()
}

/// A model of several parts: trees of one split each over the feature `amount`, and the last of them as given.
fn many_trees(count: usize, last: &str) -> String {
    let tree = r#"{"left_children":[1,-1,-1],"right_children":[2,-1,-1],"split_indices":[0,0,0],"split_conditions":[500,-0.0,0.0],"default_left":[0,0,0]}"#;
    let trees = vec![tree; count - 1].join(",");
    let last = tree.replace("-0.0,0.0", last);
    format!(
        r#"{{"learner":{{"feature_names":["amount"],"gradient_booster":{{"model":{{"trees":[{trees},{last}]}},"name":"gbtree"}},"learner_model_param":{{"base_score":"5E-1","num_class":"0","num_feature":"1","num_target":"1"}},"objective":{{"name":"binary:logistic"}}}}}}"#
    )
}

/// A rule set whose feature `score` is that of the model `large`.
fn rule_set(state: &str) -> Value {
    json!({
        "slug": "scored", "state": state, "where": "kind == 'pay'",
        "features": {"score": {
            "model": "large",
            "inputs": {"amount": "amount", "payments": "int(metadata.payments)"},
            "optional": ["payments"],
        }},
        "rules": [{"name": "fraud", "when": "score > 800", "effect": "block"}],
    })
}

/// What was found about a payment of this amount, whose metadata says this many payments: the report of the assessment.
fn assess(server: &Fixture, amount: u64, payments: Option<&str>) -> Value {
    let (ada, shop) = (
        server.wallet("ada", amount),
        server.account("shop", "merchant"),
    );
    let mut body = pay(&ada, &shop, amount);
    body["metadata"] = payments.map_or(json!({}), |count| json!({"payments": count}));
    let answer = server.post("/v1/payments", &body);
    let payment = match answer.status {
        201 => id(&answer.json()),
        _ => {
            assert_eq!(answer.code(), "payment_blocked");
            let told = answer.json();
            told["error"]["payment"].as_str().expect("an id").to_owned()
        }
    };
    let path = format!("/v1/payments/{payment}/timeline");
    let timeline = server.get(&path).expect(200);
    let mut entries = timeline["data"].as_array().expect("a list").iter();
    let decision = entries.find(|entry| entry["type"] == "decision");
    decision.expect("a decision")["assessment"].clone()
}

fn score(found: &Value) -> &Value {
    &found["report"]["rule_sets"][0]["features"]["score"]
}

#[test]
fn a_model_is_made_changed_listed_and_deleted() {
    let server = Fixture::with_subscriptions();
    for (format, file) in [("xgboost", XGBOOST), ("lightgbm", LIGHTGBM)] {
        let path = format!("{MODELS}?slug=large&description=by%20hand");
        let made = send_file(&server, "POST", &path, Some(format), file.as_bytes()).expect(201);
        assert!(id(&made).starts_with("mdl_"), "{made}");
        let expected = json!({
            "id": id(&made), "object": "model", "slug": "large", "managed_by": null, "revision": 1,
            "description": "by hand", "format": format, "trees": 1, "features": ["amount", "payments"],
            "bytes": file.len(), "hash": blake3::hash(file.as_bytes()).to_hex().to_string(),
            "created": made["created"], "updated": made["created"],
        });
        assert_eq!(made, expected);
        let path = format!("{MODELS}/{}", id(&made));
        assert_eq!(server.get(&path).expect(200), expected);
        assert_eq!(server.get(MODELS).expect(200)["data"], json!([expected]));
        assert_eq!(parts(&server).len(), 1);
        // Parts are nobody's to see.
        let settings = server.get("/v1/settings?limit=100").expect(200);
        assert!(!settings.to_string().contains("model_part"), "{settings}");
        let of_kind = server.get("/v1/settings?kind=model_part");
        assert_eq!(
            (of_kind.status, of_kind.code().as_str()),
            (400, "parameter_invalid")
        );
        // Without a file, the file stays.
        let renamed = change(
            &server,
            &made,
            "slug=larger&description=&managed_by=ann",
            "",
        );
        let renamed = renamed.expect(200);
        assert_eq!(
            [
                &renamed["slug"],
                &renamed["description"],
                &renamed["managed_by"],
                &renamed["hash"]
            ],
            [&json!("larger"), &json!(null), &json!("ann"), &made["hash"]]
        );
        let other = change(&server, &made, "managed_by=", &format!("{file}\n")).expect(200);
        assert_eq!(other["bytes"], file.len() + 1);
        assert_eq!(
            (&other["revision"], &other["managed_by"]),
            (&json!(3), &json!(null))
        );
        assert_eq!(parts(&server).len(), 1, "that of before is gone");
        let overtaken = change(&server, &made, "revision=2&slug=other", "");
        assert_eq!(overtaken.code(), "setting_conflict");
        let revisions = format!("/v1/settings/{}/revisions", id(&made));
        let revisions = server.get(&revisions).expect(200)["data"].clone();
        assert_eq!(revisions[2]["definition"], made, "a revision stays true");
        assert_eq!(delete(&server, &made).expect(200)["object"], "model");
        assert_eq!(server.get(&path).status, 404);
        assert_eq!(parts(&server), [""; 0]);
    }
    assert_eq!(server.engine.reader().settings_bytes(), 0);
}

#[test]
fn a_score_is_a_feature_and_the_record_says_of_which_model() {
    let server = Fixture::with_subscriptions();
    for (file, other) in [(XGBOOST, LIGHTGBM), (LIGHTGBM, XGBOOST)] {
        let key = file.len().to_string();
        let path = "/v1/models?slug=large";
        let made = send_file(&server, "POST", path, Some(&key), file.as_bytes());
        let model = made.expect(201);
        let set = server
            .post("/v1/rule_sets", &rule_set("active"))
            .expect(201);
        for (amount, payments, expected) in [
            (9_999, Some("7"), 119),
            (10_000, Some("2"), 622),
            (10_000, Some("3"), 953),
            (10_000, None, 622),
        ] {
            let found = assess(&server, amount, payments);
            assert_eq!(score(&found), expected, "{found}");
            let effect = if expected > 800 { "block" } else { "allow" };
            assert_eq!(found["effect"], effect);
            let hash = &model["hash"].as_str().expect("digits")[..16];
            let told = json!({"large": [id(&model), 1, hash]});
            assert_eq!(found["report"]["models"], told);
        }
        // An input that is wrong, rather than missing, is no missing value of the model.
        let found = assess(&server, 10_000, Some("many"));
        assert_eq!(score(&found), &json!(null));
        assert_eq!(
            found["report"]["rule_sets"][0]["without_value"],
            json!(["fraud"])
        );
        // The next payment is scored by the new file.
        let stricter = match file == XGBOOST {
            true => file.replace("-2, 3, 0.5", "2, 3, 0.5"),
            false => file.replace("leaf_value=-2", "leaf_value=2"),
        };
        change(&server, &model, "", &stricter).expect(200);
        let found = assess(&server, 5, None);
        assert_eq!(
            (score(&found), &found["report"]["models"]["large"][1]),
            (&json!(881), &json!(2))
        );
        change(&server, &model, "", other).expect(200);
        assert_eq!(score(&assess(&server, 5, None)), 119);
        // What is not optional must be there.
        let path = format!("/v1/rule_sets/{}", id(&set));
        let mut needed = rule_set("active");
        needed["features"]["score"]["optional"] = json!([]);
        let changed = json!({"features": needed["features"]});
        crate::settings::write(&server, &server.platform, "PATCH", &path, None, &changed)
            .expect(200);
        assert_eq!(score(&assess(&server, 10_000, None)), &json!(null));
        assert_eq!(score(&assess(&server, 10_000, Some("3"))), 953);
        delete(&server, &model).expect(200);
        let problems = server.get(&path).expect(200)["figures"]["problems"].clone();
        assert_eq!(
            problems,
            json!(["features.score: there is no model `large`"])
        );
        assert_eq!(score(&assess(&server, 10_000, Some("3"))), &json!(null));
        crate::settings::write(&server, &server.platform, "DELETE", &path, None, &json!({}))
            .expect(200);
    }
}

#[test]
fn scores_may_be_computed_of_other_features_but_not_of_scores() {
    let server = Fixture::with_subscriptions();
    make(&server, "large", XGBOOST);
    let list = json!({"slug": "known", "entries": [{"value": "ada"}]});
    server.post("/v1/lists", &list).expect(201);
    let mut set = rule_set("active");
    set["features"]["known"] = json!({"list": "known", "key": ["payer"]});
    // Before and behind it in the alphabet.
    for name in ["a_score", "score", "z_score"] {
        set["features"][name] = set["features"]["score"].clone();
        set["features"][name]["inputs"]["payments"] = json!("known ? 3 : 0");
    }
    set["rules"] = json!([
        {"name": "all", "when": "a_score == score && z_score == score && known && score > 900", "effect": "block"},
    ]);
    server.post("/v1/rule_sets", &set).expect(201);
    let found = assess(&server, 10_000, None);
    assert_eq!(score(&found), 953, "{found}");
    assert_eq!(found["report"]["rule_sets"][0]["fired"], json!(["all"]));
    set["slug"] = json!("second");
    set["features"]["z_score"]["inputs"]["payments"] = json!("a_score");
    let refused = server.post("/v1/rule_sets", &set);
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (400, "parameter_invalid")
    );
    let param = &refused.json()["error"]["param"];
    assert_eq!(param, "features.z_score.inputs.payments");
}

#[test]
fn a_rule_set_and_a_model_that_do_not_fit_are_refused() {
    let server = Fixture::with_subscriptions();
    let with = |field: &str, value: Value| {
        let mut set = rule_set("draft");
        set["features"]["score"][field] = value;
        set
    };
    let check = |set: &Value, param: &str, said: &str| {
        let refused = server.post("/v1/rule_sets", set);
        assert_eq!(refused.status, 400, "{set}");
        let error = refused.json()["error"].clone();
        assert_eq!(error["param"], param, "{error}");
        let message = error["message"].as_str().expect("a text");
        assert!(message.contains(said), "{message}");
    };
    // Before there is such a model, nobody knows what it needs.
    let mut early = with("inputs", json!({"amount": "amount", "age": "1"}));
    early["slug"] = json!("early");
    early["features"]["score"]["optional"] = json!([]);
    server.post("/v1/rule_sets", &early).expect(201);
    let model = make(&server, "large", XGBOOST);
    let one = with("inputs", json!({"payments": "1"}));
    check(
        &one,
        "features.score",
        "inputs has no `amount`, which the model `large` needs",
    );
    let three = with(
        "inputs",
        json!({"amount": "amount", "payments": "1", "age": "2"}),
    );
    check(&three, "features.score", "has no feature of this name");
    let many: serde_json::Map<_, _> = (0..257).map(|at| (format!("f{at}"), json!("1"))).collect();
    for (field, value, param, said) in [
        ("inputs", json!({}), "features.score.inputs", "1 to 256"),
        ("inputs", json!(many), "features.score.inputs", "1 to 256"),
        (
            "inputs",
            json!({"amount": "amount > 5", "payments": "1"}),
            "features.score.inputs.amount",
            "bool",
        ),
        (
            "inputs",
            json!({"amount": "amount +", "payments": "1"}),
            "features.score.inputs.amount",
            "at byte",
        ),
        (
            "optional",
            json!(["age"]),
            "features.score.optional[0]",
            "inputs has no `age`",
        ),
        (
            "optional",
            json!(["amount", "amount"]),
            "features.score.optional[1]",
            "twice",
        ),
        (
            "key",
            json!(["payer"]),
            "features.score.key",
            "does not go with model",
        ),
        (
            "value",
            json!("x"),
            "features.score.value",
            "does not go with model",
        ),
        (
            "at",
            json!("created"),
            "features.score.at",
            "does not go with model",
        ),
        (
            "stream",
            json!("hourly"),
            "features.score.model",
            "no two of them",
        ),
        ("model", json!("Not a slug"), "features.score.model", "slug"),
        (
            "model",
            json!(null),
            "features.score.inputs",
            "goes with model only",
        ),
    ] {
        check(&with(field, value), param, said);
    }
    let mut five = rule_set("draft");
    for number in 0..4 {
        five["features"][format!("s{number}")] = five["features"]["score"].clone();
    }
    check(&five, "features", "at most 4");
    // A model that rules at work use stays such that they fit.
    server
        .post("/v1/rule_sets", &rule_set("shadow"))
        .expect(201);
    let other = XGBOOST.replace("\"payments\"", "\"refunds\"");
    let refused = change(&server, &model, "", &other);
    assert_eq!(refused.status, 400);
    let message = refused.json()["error"]["message"].to_string();
    assert!(message.contains("inputs has no `refunds`"), "{message}");
    change(&server, &model, "slug=other", &other).expect(200);
}

#[test]
fn the_parts_of_a_model_are_put_once_and_deleted_when_no_model_names_them() {
    let server = Fixture::with_subscriptions();
    let file = many_trees(900, "-0.0,0.0");
    assert!(file.len() > 3 * SettingBody::BYTES_MAX);
    // A part that a crash left behind.
    let stray = put_stray(&server);
    let first = make(&server, "first", &file);
    let kept = parts(&server);
    assert_eq!(kept.len(), file.len().div_ceil(SettingBody::BYTES_MAX));
    assert!(!kept.contains(&stray));
    let records = server.engine.reader().published();
    let second = make(&server, "second", &file);
    assert_eq!(parts(&server), kept);
    assert_eq!(
        server.engine.reader().published(),
        records + 1,
        "only the model"
    );
    // The request again gives the first answer.
    let again = send_file(
        &server,
        "POST",
        "/v1/models?slug=second",
        Some("second"),
        file.as_bytes(),
    );
    assert!(is_replayed(&again));
    assert_eq!(again.expect(201), second);
    let other = send_file(
        &server,
        "POST",
        "/v1/models?slug=second",
        Some("second"),
        XGBOOST.as_bytes(),
    );
    assert_eq!(other.code(), "idempotency_key_reused");
    assert_eq!(
        parts(&server),
        kept,
        "the parts of what was refused are gone"
    );
    // The beginnings are the same, the ends are not.
    change(&server, &second, "", &many_trees(900, "-0.5,0.5")).expect(200);
    assert_eq!(parts(&server).len(), kept.len() + 1);
    delete(&server, &first).expect(200);
    assert_eq!(parts(&server).len(), kept.len());
    delete(&server, &second).expect(200);
    assert_eq!(parts(&server), [""; 0]);
}

/// Puts a part that no model names.
fn put_stray(server: &Fixture) -> String {
    let revision = tributary_api::settings::Revision {
        id: SettingId(1),
        kind: SettingKind::MODEL_PART,
        slug: Slug::new("0123").expect("a slug"),
        managed_by: None,
        replaces: 0,
        body: SettingBody::new(b"left behind").expect("it fits"),
    };
    let key = Key::from_bytes(b"stray").expect("a key");
    let command = revision.into_command(Actor::SYSTEM, key, [7; 16]);
    let replies = server.engine.execute_blocking(vec![command]);
    assert_eq!(replies.expect("it is taken").len(), 1);
    let there = server
        .engine
        .reader()
        .settings(SettingKind::MODEL_PART, Some(OwnerId::PLATFORM));
    there[0].slug.to_string()
}

#[test]
fn what_is_no_model_is_refused_and_nothing_is_kept() {
    let server = Fixture::with_subscriptions();
    let deep = {
        // A chain of splits: each one's left child is the next.
        let size = 70_001;
        let numbers = |cell: &dyn Fn(usize) -> i64| {
            let cells: Vec<String> = (0..size).map(|at| cell(at).to_string()).collect();
            cells.join(",")
        };
        let is_split = |at: usize| at.is_multiple_of(2) && at + 2 < size;
        let left = numbers(&|at| if is_split(at) { at as i64 + 2 } else { -1 });
        let right = numbers(&|at| if is_split(at) { at as i64 + 1 } else { -1 });
        let zeros = numbers(&|_| 0);
        let tree = format!(
            r#"{{"left_children":[{left}],"right_children":[{right}],"split_indices":[{zeros}],"split_conditions":[{zeros}],"default_left":[{zeros}]}}"#
        );
        let whole = many_trees(2, "-0.0,0.0");
        let trees = vec![tree; 2].join(",");
        let (start, rest) = whole.split_once("\"trees\":[").expect("trees");
        let (_, end) = rest.split_once("]}]").expect("their end");
        format!("{start}\"trees\":[{trees}]{end}")
    };
    let nested = format!("{}{}", "{\"learner\":".repeat(100_000), "}".repeat(100_000));
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (Vec::new(), "Give the file"),
        (b"hello".to_vec(), "neither a JSON object nor text"),
        (b"{}".to_vec(), "missing field `learner`"),
        (vec![0xff, 0xfe, 0], "binary"),
        (
            XGBOOST.as_bytes()[..300].to_vec(),
            "no model that XGBoost saved",
        ),
        (LIGHTGBM.as_bytes()[..200].to_vec(), "line"),
        (nested.into_bytes(), "no model that XGBoost saved"),
        (deep.into_bytes(), "the depths of all trees"),
        (
            XGBOOST
                .replace("[1, -1, 3, -1, -1]", "[0, -1, 3, -1, -1]")
                .into_bytes(),
            "two links lead to this node",
        ),
        (
            XGBOOST
                .replace("[2, -1, 4", "[2, -1, 999999999")
                .into_bytes(),
            "a link leads to this node",
        ),
        (
            XGBOOST
                .replacen("[0, 0, 1,", "[0, 0, 4000000000,", 1)
                .into_bytes(),
            "compares feature 4000000000",
        ),
        (
            XGBOOST.replace("\"2\"", "\"99999999999\"").into_bytes(),
            "2 names for 99999999999 features",
        ),
        (
            XGBOOST.replace("10000", "1e999").into_bytes(),
            "no number of 32 bits",
        ),
        (
            XGBOOST
                .replace("binary:logistic", "reg:squarederror")
                .into_bytes(),
            "only binary:logistic is read",
        ),
        (
            XGBOOST.replace("\"payments\"", "\"amount\"").into_bytes(),
            "two features have the name",
        ),
        (
            XGBOOST
                .replace("\"payments\"", &format!("\"{}\"", "x".repeat(257)))
                .into_bytes(),
            "257 bytes",
        ),
        (
            LIGHTGBM
                .replace("num_leaves=3", "num_leaves=2000000000")
                .into_bytes(),
            "tree 0",
        ),
        (
            LIGHTGBM
                .replace("left_child=-1 -2", "left_child=0 -2")
                .into_bytes(),
            "two links lead to this node",
        ),
        (
            LIGHTGBM
                .replace("objective=binary", "objective=lambdarank")
                .into_bytes(),
            "objective",
        ),
    ];
    let before = server.engine.reader().published();
    for (number, (file, said)) in cases.iter().enumerate() {
        let key = format!("key-{number}");
        let refused = send_file(&server, "POST", "/v1/models?slug=x", Some(&key), file);
        assert_eq!(
            refused.status,
            400,
            "{said}: {}",
            String::from_utf8_lossy(&refused.body)
        );
        let error = refused.json()["error"].clone();
        assert_eq!(error["param"], "file", "{error}");
        let message = error["message"].as_str().expect("a text");
        assert!(message.contains(said), "{said}: {message}");
        assert!(message.len() < 600, "{message}");
    }
    let no_slug = send_file(&server, "POST", MODELS, Some("k"), XGBOOST.as_bytes());
    assert_eq!(
        (no_slug.status, no_slug.code().as_str()),
        (400, "parameter_missing")
    );
    let unknown = send_file(
        &server,
        "POST",
        "/v1/models?slug=x&size=3",
        Some("k"),
        XGBOOST.as_bytes(),
    );
    assert_eq!(unknown.status, 400);
    assert_eq!(server.engine.reader().published(), before);
    assert_eq!(parts(&server), [""; 0]);
    assert_eq!(server.get(MODELS).expect(200)["data"], json!([]));
}

#[test]
fn a_file_of_16_mebibytes_is_taken_and_a_longer_one_is_not() {
    let server = Fixture::with_subscriptions();
    let longest = 16 * 1024 * 1024;
    let file = format!("{}{}", XGBOOST, " ".repeat(longest - XGBOOST.len()));
    let made = make(&server, "longest", &file);
    assert_eq!(made["bytes"], longest);
    // All parts but the first and the last are the same.
    assert_eq!(parts(&server).len(), 2);
    let longer = send_file(
        &server,
        "POST",
        "/v1/models?slug=longer",
        Some("k"),
        format!("{file} ").as_bytes(),
    );
    assert_eq!(
        (longer.status, longer.code().as_str()),
        (413, "body_too_large")
    );
}

#[test]
fn only_the_platform_sees_and_makes_models() {
    let server = Fixture::with_subscriptions();
    let model = make(&server, "large", XGBOOST);
    let shop = server.token("shop", "write");
    let path = format!("{MODELS}/{}", id(&model));
    for (method, path) in [
        ("GET", MODELS),
        ("GET", path.as_str()),
        ("POST", "/v1/models?slug=mine"),
        ("PATCH", path.as_str()),
        ("DELETE", path.as_str()),
    ] {
        let authorization = format!("Bearer {shop}");
        let headers = [
            ("Authorization", authorization.as_str()),
            ("Idempotency-Key", "k"),
        ];
        let refused = send(server.addr, method, path, &headers, XGBOOST.as_bytes());
        assert_eq!(refused.code(), "platform_only", "{method} {path}");
    }
}

#[test]
fn a_file_of_settings_has_models_and_puts_them_before_the_rules() {
    let server = Fixture::with_subscriptions();
    let mut set = rule_set("active");
    set["kind"] = json!("rule_set");
    let file = |model: &str| {
        let model =
            json!({"kind": "model", "slug": "large", "description": "by hand", "file": model});
        json!({"managed_by": "shop", "prune": true, "settings": [set, model]})
    };
    let apply = |file: &Value| server.post("/v1/settings/apply", file);
    let done = apply(&file(XGBOOST)).expect(200);
    assert_eq!(
        (&done["created"], &done["settings"][0]["kind"]),
        (&json!(2), &json!("model"))
    );
    assert_eq!(score(&assess(&server, 10_000, Some("3"))), 953);
    let same = apply(&file(XGBOOST)).expect(200);
    assert_eq!((&same["kept"], &same["changed"]), (&json!(2), &json!(0)));
    let other = apply(&file(LIGHTGBM)).expect(200);
    assert_eq!(
        other["settings"][0]["fields"],
        json!(["bytes", "format", "hash"])
    );
    assert_eq!(parts(&server).len(), 1);
    let wrong = apply(&file("tree\n"));
    assert_eq!(
        (wrong.status, &wrong.json()["error"]["param"]),
        (400, &json!("settings[1].file"))
    );
    let none = apply(&json!({"managed_by": "shop", "prune": true, "settings": []})).expect(200);
    assert_eq!(none["deleted"], 2);
    assert_eq!(parts(&server), [""; 0]);
}

#[test]
fn a_model_scores_after_a_restart_as_before() {
    let mut server = Fixture::with_subscriptions();
    make(&server, "large", XGBOOST);
    server
        .post("/v1/rule_sets", &rule_set("active"))
        .expect(201);
    let before = assess(&server, 10_000, Some("3"));
    server.restart();
    let after = assess(&server, 10_000, Some("3"));
    assert_eq!(score(&after), 953);
    assert_eq!(after["report"]["models"], before["report"]["models"]);
}
