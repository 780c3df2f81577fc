//! What streams do for their results: each action, once, as whom it may be done, and how much of it.

use serde_json::{Value, json};

use crate::bindings::{BINDERS, BINDINGS, binder, binding, with};
use crate::client::{Answer, until};
use crate::fixture::{Fixture, id, pay};
use crate::rule_sets::{LISTS, patch as patch_list, path_of as path_of_list};
use crate::settings::write;
use crate::streams::{STREAMS, api_key, events, path_of, settled};

/// A stream with a result for each payment that is declined, by who pays and the account.
fn declines(slug: &str, act: &Value) -> Value {
    json!({
        "slug": slug,
        "from": [{"event": "payment.failed"}],
        "key": ["payer", "source"],
        "window": {"type": "trailing", "size_seconds": 60},
        "emit": {"declines": "count()"},
        "act": act,
    })
}

fn make(server: &Fixture, stream: &Value) -> String {
    path_of(&server.post(STREAMS, stream).expect(201))
}

fn patch(server: &Fixture, path: &str, body: &Value) -> Answer {
    write(server, &server.platform, "PATCH", path, None, body)
}

/// An account without money, which is declined whatever it pays.
fn poor(server: &Fixture, owner: &str) -> String {
    server.account(owner, "wallet")
}

fn decline(server: &Fixture, source: &str, destination: &str) {
    let declined = server.post("/v1/payments", &pay(source, destination, 1));
    declined.expect(402);
}

fn status(server: &Fixture, account: &str) -> Value {
    let account = server.get(&format!("/v1/accounts/{account}")).expect(200);
    account["status"].clone()
}

/// The figures once every result is done or refused, `count` in all.
fn acted(server: &Fixture, path: &str, count: u64) -> Value {
    until("all results are settled", || {
        let figures = settled(server, path);
        let number = |name: &str| figures[name].as_u64().expect("a number");
        (number("acted") + number("refused") == count).then_some(figures)
    })
}

fn entries(server: &Fixture, list: &Value) -> Vec<Value> {
    let list = server.get(&path_of_list(list)).expect(200);
    list["entries"].as_array().expect("entries").clone()
}

fn texts(server: &Fixture, list: &Value) -> Vec<String> {
    let entries = entries(server, list);
    let texts = entries.iter().map(|entry| entry["value"].as_str());
    texts.map(|text| text.expect("a text").to_owned()).collect()
}

#[test]
fn a_stream_adds_to_a_list_once_for_each_result_and_the_revision_says_why() {
    let mut server = Fixture::with_subscriptions();
    let acts_as = api_key(&server);
    let old = json!({"slug": "watched", "entries": [{"value": "old", "until": "2026-11-20T00:00:00.001Z"}]});
    let list = server.post(LISTS, &old).expect(201);
    server.clock.advance(1);
    let act = json!({
        "add_to_list": {"list": "watched", "value": "payer", "until_seconds": 3_600},
        "acts_as": acts_as,
    });
    let made = server
        .post(STREAMS, &declines("declines", &act))
        .expect(201);
    assert_eq!(made["act"], act);
    let path = path_of(&made);
    let (ann, shop) = (poor(&server, "ann"), server.account("shop", "merchant"));
    decline(&server, &ann, &shop);
    let figures = acted(&server, &path, 1);
    assert_eq!(
        (&figures["acted"], &figures["last_refusal"]),
        (&json!(1), &Value::Null)
    );
    let expected = json!([
        {"value": "ann", "until": "2026-11-20T01:00:01Z", "note": "stream declines"},
    ]);
    assert_eq!(
        json!(entries(&server, &list)),
        expected,
        "what is over is gone"
    );
    let revisions = server.get(&format!("/v1/settings/{}/revisions", id(&list)));
    let revisions = revisions.expect(200);
    let newest = &revisions["data"][0];
    assert_eq!(newest["changed_by_key"], json!(acts_as));
    let origin = &newest["origin"];
    assert_eq!(
        [
            &origin["stream"],
            &origin["binding"],
            &origin["revision"],
            &origin["hops"]
        ],
        [&made["id"], &Value::Null, &json!(1), &json!(1)]
    );
    assert!(revisions["data"][1].get("origin").is_none());
    // Somebody takes the entry off. Whoever computes the stream again adds it no more.
    patch_list(&server, &list, &json!({"remove": ["ann"]})).expect(200);
    server.restart();
    assert_eq!(acted(&server, &path, 1)["results"], 1);
    assert_eq!(texts(&server, &list), [""; 0]);
    // An entry that is there and ends no sooner stays as it is; the event says that nothing had to be done.
    let forever = json!({"add": [{"value": "ann", "note": "by hand"}]});
    let changed = patch_list(&server, &list, &forever).expect(200);
    decline(&server, &ann, &shop);
    assert_eq!(acted(&server, &path, 2)["refused"], 0);
    assert_eq!(server.get(&path_of_list(&list)).expect(200), changed);
    let told = events(&server, "stream.acted");
    let data = &told[0]["data"];
    let expected = json!({
        "stream": id(&made), "version": 1, "key": {"payer": "ann", "source": ann}, "revision": 1,
        "window_start": data["window_start"], "window_end": data["window_end"],
        "action": "add_to_list", "setting": id(&list), "value": "ann", "acts_as": acts_as, "done": 0,
    });
    assert_eq!((told.len(), data), (1, &expected));
}

#[test]
fn changes_at_the_same_time_lose_no_entry() {
    let server = Fixture::with_subscriptions();
    let acts_as = api_key(&server);
    let list = server.post(LISTS, &json!({"slug": "watched"})).expect(201);
    let shop = server.account("shop", "merchant");
    let stream = |slug: &str, value: &str| {
        let act = json!({"add_to_list": {"list": id(&list), "value": value}, "acts_as": acts_as});
        make(&server, &declines(slug, &act))
    };
    let (by_payer, by_source) = (stream("payers", "payer"), stream("sources", "source"));
    let names: Vec<String> = (0..12).map(|number| format!("owner{number}")).collect();
    let accounts: Vec<String> = names.iter().map(|name| poor(&server, name)).collect();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0..20 {
                let add = json!({"add": [{"value": format!("hand{number}")}]});
                patch_list(&server, &list, &add).expect(200);
            }
        });
        accounts
            .iter()
            .for_each(|account| decline(&server, account, &shop));
    });
    for path in [&by_payer, &by_source] {
        assert_eq!(acted(&server, path, 12)["acted"], 12);
    }
    let mut found = texts(&server, &list);
    found.sort();
    let by_hand = (0..20).map(|number| format!("hand{number}"));
    let mut expected: Vec<String> = names.into_iter().chain(accounts).chain(by_hand).collect();
    expected.sort();
    assert_eq!(found, expected);
}

#[test]
fn a_stream_has_dead_letters_delivered_again_as_the_owner_of_the_subscription() {
    let server = Fixture::with_subscriptions();
    let shops = server.token("shop", "write");
    let body = json!({"slug": "orders", "events": ["account.*"], "attempts_max": 1});
    let subscription = server
        .post_as(&shops, "/v1/subscriptions", &body)
        .expect(201);
    let path = format!("/v1/subscriptions/{}", id(&subscription));
    let shop = server.account("shop", "merchant");
    let received = server
        .post(&format!("{path}/receive"), &json!({"max": 1}))
        .expect(200);
    let receipt = &received["data"][0]["receipt"];
    let nack = json!({"receipts": [receipt], "error": "not today"});
    server.post(&format!("{path}/nack"), &nack).expect(200);
    let figures = |name: &str| {
        let shown = server.get(&path).expect(200);
        shown["figures"][name].clone()
    };
    until("it is a dead letter", || {
        (figures("dead_letters") == 1).then_some(())
    });
    // A key of another owner sees no such subscription, and that stops nothing.
    let key = |owner: &str| {
        let body = json!({"owner": owner, "access": "write"});
        id(&server.post("/v1/api_keys", &body).expect(201))
    };
    let requeue = |slug: &str, owner: &str| {
        let act = json!({"requeue_dead_letters": id(&subscription), "acts_as": key(owner)});
        make(&server, &declines(slug, &act))
    };
    let (others, own) = (requeue("others", "ann"), requeue("own", "shop"));
    let ann = poor(&server, "ann");
    decline(&server, &ann, &shop);
    let refused = acted(&server, &others, 1);
    assert_eq!(refused["refused"], 1);
    let why = refused["last_refusal"].as_str().expect("why");
    assert!(why.contains("there is no subscription"), "{why}");
    assert_eq!(acted(&server, &own, 1)["acted"], 1);
    assert_eq!(figures("dead_letters"), 0);
    let again = server
        .post(&format!("{path}/receive"), &json!({"max": 1}))
        .expect(200);
    assert_eq!(again["data"][0]["event"], received["data"][0]["event"]);
    let told = events(&server, "stream.acted").pop().expect("it is told");
    let data = &told["data"];
    assert_eq!(
        [
            &data["action"],
            &data["setting"],
            &data["value"],
            &data["done"]
        ],
        [
            &json!("requeue_dead_letters"),
            &subscription["id"],
            &Value::Null,
            &json!(1)
        ]
    );
    let told = events(&server, "stream.action_refused")
        .pop()
        .expect("it is told");
    assert_eq!(told["data"]["why"], why);
}

#[test]
fn a_stream_pauses_a_binding_and_opens_an_account_again() {
    let server = Fixture::with_subscriptions();
    let acts_as = api_key(&server);
    server.post(BINDERS, &binder()).expect(201);
    let made = server.post(BINDINGS, &binding(&acts_as)).expect(201);
    let (ann, shop) = (poor(&server, "ann"), server.account("shop", "merchant"));
    let act = json!({"pause_binding": "orders", "acts_as": acts_as});
    let pausing = make(&server, &declines("guard", &act));
    decline(&server, &ann, &shop);
    acted(&server, &pausing, 1);
    let bound = server.get(&format!("{BINDINGS}/{}", id(&made))).expect(200);
    assert_eq!(
        (&bound["status"], &bound["paused_reason"]),
        (&json!("paused"), &json!("stream guard"))
    );
    decline(&server, &ann, &shop);
    assert_eq!(
        acted(&server, &pausing, 2)["acted"],
        2,
        "it is paused already"
    );
    assert_eq!(
        server.get(&format!("{BINDINGS}/{}", id(&made))).expect(200),
        bound
    );
    let frozen = json!({
        "slug": "pardon", "from": [{"event": "account.frozen", "fields": {"who": "\"all\""}}], "key": ["who"],
        "window": {"type": "trailing", "size_seconds": 60}, "emit": {"frozen": "count()"},
        "act": {"unfreeze_account": format!("\"{ann}\""), "acts_as": acts_as},
    });
    let pardon = make(&server, &frozen);
    let freeze = format!("/v1/accounts/{ann}/freeze");
    server.post(&freeze, &json!({})).expect(200);
    acted(&server, &pardon, 1);
    assert_eq!(status(&server, &ann), "open");
    let timeline = server
        .get(&format!("/v1/accounts/{ann}/timeline"))
        .expect(200);
    let all = timeline["data"].as_array().expect("a list").iter();
    let unfrozen = all.clone().find(|one| one["command"] == "unfreeze_account");
    let unfrozen = unfrozen.expect("it is there");
    assert_eq!(unfrozen["actor"]["api_key"], json!(acts_as));
    assert!(pardon.ends_with(unfrozen["origin"]["stream"].as_str().expect("an id")));
}

#[test]
fn what_cannot_be_done_is_refused_counted_and_told_and_the_next_result_acts() {
    let mut server = Fixture::with_subscriptions();
    let acts_as = api_key(&server);
    let shop = server.account("shop", "merchant");
    let act = json!({"add_to_list": {"list": "watched", "value": "payer"}, "acts_as": acts_as});
    let listing = make(&server, &declines("listing", &act));
    // The expression gives no account.
    let act = json!({"freeze_account": "payer", "acts_as": acts_as});
    let freezing = make(&server, &declines("freezing", &act));
    let why = settled(&server, &listing)["why"].to_string();
    assert!(why.contains("there is no list `watched`"), "{why}");
    let ann = poor(&server, "ann");
    decline(&server, &ann, &shop);
    let expected = [
        (&listing, "there is no list"),
        (&freezing, "not the id of an account"),
    ];
    for (path, part) in expected {
        let figures = acted(&server, path, 1);
        assert_eq!(
            (&figures["refused"], &figures["state"]),
            (&json!(1), &json!("running"))
        );
        let why = figures["last_refusal"].to_string();
        assert!(why.contains(part), "{why}");
    }
    let told = events(&server, "stream.action_refused");
    assert_eq!(told.len(), 2);
    // What was refused stays so; later results act.
    let list = server.post(LISTS, &json!({"slug": "watched"})).expect(201);
    server.restart();
    acted(&server, &listing, 1);
    let bob = poor(&server, "bob");
    decline(&server, &bob, &shop);
    assert_eq!(acted(&server, &listing, 2)["acted"], 1);
    assert_eq!(texts(&server, &list), ["bob"]);
    // With a key that is revoked, results wait, and the figures say why.
    server
        .post(&format!("/v1/api_keys/{acts_as}/revoke"), &json!({}))
        .expect(200);
    let cid = poor(&server, "cid");
    decline(&server, &cid, &shop);
    let why = until("it can't act", || {
        let figures = server.get(&format!("{listing}/figures")).expect(200);
        (figures["waiting"] == 1 && figures["why"].is_string()).then(|| figures["why"].to_string())
    });
    assert!(
        why.contains("nothing is done: The API key is revoked"),
        "{why}"
    );
    let metrics = String::from_utf8(server.get("/metrics").body).expect("text");
    assert!(
        metrics.contains("tributary_stream_acted_total{stream=\"listing\"} 1"),
        "{metrics}"
    );
}

#[test]
fn a_stream_that_would_do_too_much_pauses_itself_until_somebody_resumes_or_changes_it() {
    let mut server = Fixture::with_subscriptions();
    let acts_as = api_key(&server);
    let shop = server.account("shop", "merchant");
    let act = json!({"freeze_account": "source", "acts_as": acts_as});
    let bounds = json!({"bounds": {"actions_per_minute": 3}});
    let path = make(&server, &with(&declines("runaway", &act), &bounds));
    let accounts: Vec<String> = (0..8)
        .map(|number| poor(&server, &format!("owner{number}")))
        .collect();
    accounts
        .iter()
        .for_each(|account| decline(&server, account, &shop));
    let paused = |server: &Fixture| {
        until("it pauses itself", || {
            let stream = server.get(&path).expect(200);
            (stream["status"] == "paused").then(|| stream["paused_reason"].to_string())
        })
    };
    let frozen = |server: &Fixture| {
        let frozen = accounts
            .iter()
            .filter(|account| status(server, account) == "frozen");
        frozen.count()
    };
    let reason = paused(&server);
    assert!(
        reason.contains("more than 3 actions in a minute"),
        "{reason}"
    );
    assert_eq!(frozen(&server), 3);
    let told = events(&server, "stream.stopped");
    assert_eq!(told.len(), 1);
    assert!(path.ends_with(told[0]["data"]["stream"].as_str().expect("an id")));
    // It stays so, whatever time it is and whoever computes the stream.
    server.clock.advance(120);
    server.restart();
    let figures = until("the figures are there", || {
        let answer = server.get(&format!("{path}/figures"));
        (answer.status == 200).then(|| answer.json())
    });
    assert_eq!(figures["state"], "paused");
    assert_eq!(format!("{}", figures["why"]), reason);
    assert_eq!((paused(&server), frozen(&server)), (reason, 3));
    // Resumed, it does as much again.
    server
        .post(&format!("{path}/resume"), &json!({}))
        .expect(200);
    until("it goes on", || (frozen(&server) == 6).then_some(()));
    paused(&server);
    // Another definition drops what waits; a higher bound alone would not.
    let having = json!({"having": "declines < 100"});
    assert_eq!(patch(&server, &path, &having).expect(200)["version"], 2);
    server
        .post(&format!("{path}/resume"), &json!({}))
        .expect(200);
    let figures = until("only the new version is left", || {
        let figures = settled(&server, &path);
        (figures["version"] == 2).then_some(figures)
    });
    assert_eq!((&figures["waiting"], frozen(&server)), (&json!(0), 6));
    let late = poor(&server, "late");
    decline(&server, &late, &shop);
    until("new results act", || {
        (status(&server, &late) == "frozen").then_some(())
    });
    assert_eq!(frozen(&server), 6);
    assert_eq!(events(&server, "stream.stopped").len(), 2);
}

#[test]
fn what_an_action_says_is_checked() {
    let server = Fixture::start();
    let acts_as = api_key(&server);
    let owners = id(&server
        .post("/v1/api_keys", &json!({"owner": "shop", "access": "write"}))
        .expect(201));
    let list = |change: &Value| {
        let sound = json!({"list": "watched", "value": "payer"});
        json!({"add_to_list": with(&sound, change), "acts_as": acts_as})
    };
    let wrong = [
        (json!({"acts_as": acts_as}), "act"),
        (
            json!({"freeze_account": "source", "pause_binding": "x", "acts_as": acts_as}),
            "act",
        ),
        (
            json!({"freeze_account": "amount", "acts_as": acts_as}),
            "act.freeze_account",
        ),
        (
            json!({"unfreeze_account": "declines", "acts_as": acts_as}),
            "act.unfreeze_account",
        ),
        (
            json!({"pause_binding": "", "acts_as": acts_as}),
            "act.pause_binding",
        ),
        (
            json!({"pause_binding": "orders", "acts_as": owners}),
            "act.acts_as",
        ),
        (
            json!({"requeue_dead_letters": "x\n", "acts_as": acts_as}),
            "act.requeue_dead_letters",
        ),
        (list(&json!({"list": ""})), "act.add_to_list.list"),
        (
            list(&json!({"value": "declines > 3"})),
            "act.add_to_list.value",
        ),
        (
            list(&json!({"until_seconds": 0})),
            "act.add_to_list.until_seconds",
        ),
        (
            list(&json!({"note": "n".repeat(257)})),
            "act.add_to_list.note",
        ),
    ];
    for (act, param) in wrong {
        let answer = server.post(STREAMS, &declines("wrong", &act));
        assert_eq!(answer.expect(400)["error"]["param"], param, "{act}");
    }
    let unbound = json!({"bounds": {"actions_per_minute": 0}});
    let sound = declines("sound", &list(&json!({"value": "declines + 1"})));
    let answer = server.post(STREAMS, &with(&sound, &unbound)).expect(400);
    assert_eq!(answer["error"]["param"], "bounds.actions_per_minute");
    server.post(STREAMS, &sound).expect(201);
}
