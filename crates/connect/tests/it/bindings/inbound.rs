//! Messages that come in.

use std::collections::BTreeMap;

use serde_json::json;
use tributary_api::brokers::Standing;
use tributary_ledger::{Body, Overdraft};

use super::scene::{DEAD, ORDERS, Scene, header, message, with_header};

#[test]
fn a_message_is_a_command_and_is_acknowledged_when_its_record_is_durable() {
    let scene = Scene::new();
    scene.apply(&[scene.binder(), scene.orders()]);
    for number in 0..50 {
        scene.put(&format!("order-{number}"), &scene.payment("anna", 100));
    }
    // A refusal by the ledger is an answer, too.
    scene.put("too-much", &scene.payment("poor", 1));
    scene.wait_for("all are decided", |figures| figures.decided == 51);
    assert_eq!(scene.decided(), BTreeMap::from([(true, 50), (false, 1)]));
    assert_eq!(scene.balance("shop"), 5_000);
    scene.wait_for("all are acknowledged", |figures| figures.in_hand == 0);
}

#[test]
fn a_message_that_comes_again_is_decided_once_also_under_another_map() {
    let scene = Scene::new();
    let mut orders = scene.orders();
    orders["identity_from"] = json!("field order_id");
    orders["map"] = json!({
        "currency": "EUR", "source": "anna", "destination": "shop",
        "amount": {"field": "amount", "unit": "minor"},
    });
    scene.apply(&[scene.binder(), orders.clone()]);
    let order = json!({"order_id": "123456", "amount": 100});
    scene.put("", &order);
    scene.put("", &order);
    scene.wait_for("both are done", |figures| {
        figures.decided + figures.repeated == 2
    });
    assert_eq!(scene.balance("shop"), 100);
    // Under this map the message could not be mapped at all.
    orders["map"]["source"] = json!("nobody");
    scene.apply(&[scene.binder(), orders.clone()]);
    scene.wait_for("the change is there", |figures| figures.received == 0);
    scene.put("", &order);
    scene.wait_for("it is recognised", |figures| figures.repeated == 1);
    // And under this one it would pay another amount.
    orders["map"]["source"] = json!("anna");
    orders["map"]["amount"]["unit"] = json!("decimal");
    scene.apply(&[scene.binder(), orders]);
    scene.wait_for("the change is there", |figures| figures.received == 0);
    scene.put("", &order);
    scene.wait_for("it is recognised again", |figures| figures.repeated == 1);
    assert_eq!(scene.balance("shop"), 100);
    assert_eq!(scene.decided(), BTreeMap::from([(true, 1)]));
    // Other bytes under the same id are another message.
    scene.put("", &json!({"order_id": "123456", "amount": 999}));
    let dead = scene.take(DEAD, 1);
    assert_eq!(
        header(&dead[0], "x-exception-code"),
        Some("identity_reused")
    );
    assert_eq!(scene.balance("shop"), 100);
}

#[test]
fn another_binding_with_the_same_identity_goes_on_and_one_with_another_begins_anew() {
    let scene = Scene::new();
    scene.apply(&[scene.binder(), scene.orders()]);
    scene.put("order-1", &scene.payment("anna", 100));
    scene.wait_for("it is decided", |figures| figures.decided == 1);
    let mut successor = scene.orders();
    successor["slug"] = json!("successor");
    successor["identity"] = json!("orders");
    let mut stranger = scene.orders();
    stranger["slug"] = json!("stranger");
    stranger["destination"] = json!("other_order");
    scene.broker.declare("other_order");
    scene.broker.declare("other_order.tributary.dlq");
    let mut paused = scene.orders();
    paused["paused"] = json!(true);
    scene.apply(&[scene.binder(), paused, successor, stranger]);
    scene.put("order-1", &scene.payment("anna", 100));
    assert!(scene.broker.put(
        "other_order",
        &message("order-1", &scene.payment("anna", 7))
    ));
    scene.put("order-2", &scene.payment("anna", 10));
    wait_for_balance(&scene, "shop", 117);
}

fn wait_for_balance(scene: &Scene, name: &str, balance: i64) {
    let begun = std::time::Instant::now();
    while scene.balance(name) != balance {
        assert!(begun.elapsed() < crate::PATIENCE, "{}", scene.balance(name));
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

#[test]
fn what_can_not_be_decided_is_a_dead_letter_with_its_bytes_and_its_reason() {
    let scene = Scene::new();
    scene.apply(&[scene.binder(), scene.orders()]);
    let good = scene.payment("anna", 1);
    let mut absent = good.clone();
    absent["payment"]["source"] = json!(format!("{}x", scene.account("anna")));
    let mut keyed = good.clone();
    keyed["idempotency_key"] = json!("k");
    let mut raw = message("bytes", &good);
    raw.body = bytes::Bytes::from_static(b"\xff{");
    let mut text = message("text", &good);
    text.content_type = "text/plain".to_owned();
    let round = with_header(message("round", &good), "tributary-hops", "8");
    let reply = with_header(message("reply", &good), "reply-to", "elsewhere");
    let back = with_header(message("back", &good), "reply-to", ORDERS);
    let poison = [
        (message("", &good), "message_unidentified"),
        (raw, "json_malformed"),
        (text, "content_type_unsupported"),
        (
            message("field", &json!({"payment": {"amount": 1}})),
            "parameter_missing",
        ),
        (
            message("other", &json!({"nothing": {}})),
            "parameter_unknown",
        ),
        (message("keyed", &keyed), "parameter_invalid"),
        (message("absent", &absent), "parameter_invalid"),
        (round, "too_many_hops"),
        (reply, "reply_not_allowed"),
        (back, "reply_not_allowed"),
    ];
    for (number, (message, _)) in poison.iter().enumerate() {
        assert!(scene.broker.put(ORDERS, message));
        // Between two of them, orders go on.
        scene.put(&format!("good-{number}"), &good);
    }
    let dead = scene.take(DEAD, poison.len());
    let mut expected: Vec<_> = poison
        .iter()
        .map(|(message, code)| (message.body.clone(), Some(*code)))
        .collect();
    let mut found: Vec<_> = dead
        .iter()
        .map(|letter| (letter.body.clone(), header(letter, "x-exception-code")))
        .collect();
    expected.sort();
    found.sort();
    assert_eq!(found, expected);
    for letter in &dead {
        assert_eq!(header(letter, "x-original-destination"), Some(ORDERS));
        assert!(header(letter, "x-exception-message").is_some_and(|text| text.len() > 10));
    }
    scene.wait_for("the others are decided", |figures| {
        figures.decided == poison.len() as u64
    });
    assert_eq!(scene.balance("shop"), poison.len() as i64);
}

#[test]
fn what_can_not_be_decided_goes_back_to_its_sender_where_no_broker_keeps_it() {
    let scene = Scene::refusing();
    scene.apply(&[scene.binder(), scene.orders()]);
    let mut text = message("text", &scene.payment("anna", 1));
    text.content_type = "text/plain".to_owned();
    assert!(scene.broker.put(ORDERS, &text));
    // What is not there may come: it is tried first.
    let mut absent = scene.payment("anna", 1);
    absent["payment"]["source"] = json!("acc_none");
    scene.put("absent", &absent);
    scene.put("good", &scene.payment("anna", 1));
    scene.wait_for("all are done with", |figures| {
        figures.decided == 1 && figures.dead_letters == 2 && figures.in_hand == 0
    });
    let refusals = scene.broker.refusals();
    let mut codes: Vec<(&str, &str)> = refusals
        .iter()
        .map(|(message, refusal)| (message.message_id.as_str(), refusal.code.as_str()))
        .collect();
    codes.sort_unstable();
    let expected = [
        ("absent", "parameter_invalid"),
        ("text", "content_type_unsupported"),
    ];
    assert_eq!(codes, expected);
    for (_, refusal) in &refusals {
        assert!(refusal.message.len() > 10, "{refusal:?}");
    }
    // They do not come again, and nobody else has them.
    let scene = scene.crash(1);
    scene.put("last", &scene.payment("anna", 1));
    scene.wait_for("the last one is decided", |figures| figures.decided == 1);
    scene.broker.put(DEAD, &message("only", &json!({})));
    let dead = scene.take(DEAD, 1);
    assert_eq!(dead[0].message_id.as_deref(), Some("only"));
    assert_eq!(scene.broker.refusals().len(), 2);
}

#[test]
fn an_account_that_comes_late_is_waited_for() {
    let scene = Scene::new();
    let mut orders = scene.orders();
    orders["map"] = json!({
        "currency": "EUR", "source": "anna", "destination": "{to}",
        "amount": {"field": "amount", "unit": "minor"},
    });
    orders["consumer"]["max_attempts"] = json!(100);
    scene.apply(&[scene.binder(), orders]);
    scene.put("order-1", &json!({"to": "late", "amount": 3}));
    scene.wait_for("it is tried", |figures| figures.in_hand == 1);
    scene.open_account("late", Overdraft::NONE);
    scene.wait_for("it is decided, and no repetition", |figures| {
        figures.in_hand == 0 && (figures.decided, figures.repeated) == (1, 0)
    });
    assert_eq!(scene.balance("late"), 3);
}

#[test]
fn a_binding_waits_while_its_key_is_revoked() {
    let scene = Scene::new();
    let key = scene.api_key();
    let mut orders = scene.orders();
    orders["acts_as"] = json!(scene.key_id(key));
    scene.apply(&[scene.binder(), orders]);
    scene.put("order-1", &scene.payment("anna", 1));
    scene.wait_for("it is decided", |figures| figures.decided == 1);
    scene.execute(Body::RevokeApiKey(key));
    scene.wait_for(
        "it waits",
        |figures| matches!(&figures.standing, Standing::Stopped { why } if why.contains("acts_as")),
    );
    scene.put("order-2", &scene.payment("anna", 1));
    // Another key: it goes on where it stood.
    scene.apply(&[scene.binder(), scene.orders()]);
    wait_for_balance(&scene, "shop", 2);
}

#[test]
fn a_full_disk_keeps_messages_at_the_broker_until_there_is_room() {
    let scene = Scene::new();
    scene.apply(&[scene.binder(), scene.orders()]);
    scene.put("order-1", &scene.payment("anna", 1));
    scene.wait_for("it is decided", |figures| figures.decided == 1);
    scene.fill_disk();
    for number in 0..500 {
        scene.put(&format!("late-{number}"), &scene.payment("anna", 1));
    }
    scene.wait_for("it waits", |figures| {
        matches!(&figures.standing, Standing::Waiting { kind: None, .. })
    });
    // What was given back is in nobody's hand.
    scene.wait_for("nothing is in hand", |figures| figures.in_hand == 0);
    scene.free_disk();
    wait_for_balance(&scene, "shop", 501);
    assert_eq!(scene.decided(), BTreeMap::from([(true, 501)]));
    scene.wait_for("redeliveries are counted", |figures| {
        figures.redelivered > 0
    });
}

#[test]
fn figures_tell_what_waits_at_the_broker_and_what_is_in_hand() {
    let scene = Scene::new();
    let mut orders = scene.orders();
    orders["map"] = json!({
        "currency": "EUR", "source": "anna", "destination": "{to}",
        "amount": {"field": "amount", "unit": "minor"},
    });
    orders["prefetch"] = json!(2);
    orders["consumer"] = json!({
        "max_attempts": 100, "back_off_initial_interval": 200, "back_off_max_interval": 200,
    });
    let put = |id: &str, to: &str| scene.put(id, &json!({"to": to, "amount": 3}));
    for number in 0..5 {
        put(&format!("order-{number}"), "late");
    }
    scene.apply(&[scene.binder(), orders]);
    scene.wait_for("two are in hand, the others wait", |figures| {
        figures.in_hand == 2 && figures.oldest_in_hand.is_some() && figures.lag >= Some(3)
    });
    scene.open_account("late", Overdraft::NONE);
    wait_for_balance(&scene, "late", 15);
    scene.wait_for("it is told how long they took", |figures| {
        let rates = figures.rates;
        let times = (rates.processing_average, rates.processing_longest);
        figures.in_hand == 0 && times.0.is_some() && times.1 >= times.0
    });
    // What a lost connection held is in hand no more, and comes again.
    put("order-5", "later");
    scene.wait_for("one is in hand", |figures| figures.in_hand == 1);
    scene.broker.set_down(true);
    scene.wait_for("nobody knows what waits", |figures| {
        figures.in_hand == 0
            && figures.lag.is_none()
            && matches!(figures.standing, Standing::Waiting { .. })
    });
    scene.broker.set_down(false);
    scene.wait_for("one is in hand again", |figures| {
        figures.in_hand == 1 && figures.redelivered == 1 && figures.reconnects == 1
    });
    scene.open_account("later", Overdraft::NONE);
    wait_for_balance(&scene, "later", 3);
}

#[test]
fn power_failures_and_cut_connections_lose_and_double_nothing() {
    let mut scene = Scene::new();
    scene.apply(&[scene.binder(), scene.orders()]);
    let count = 300;
    for number in 0..count {
        scene.put(&format!("order-{number}"), &scene.payment("anna", 1));
    }
    for seed in 0..4 {
        let before = scene.balance("shop");
        if seed % 2 == 0 {
            scene.broker.cut();
        }
        scene.wait_for("some are decided", |_| {
            before == count || scene.balance("shop") > before
        });
        scene = scene.crash(seed);
    }
    wait_for_balance(&scene, "shop", count);
    scene.wait_for("all are acknowledged", |figures| figures.in_hand == 0);
    assert_eq!(scene.decided(), BTreeMap::from([(true, count as usize)]));
}
