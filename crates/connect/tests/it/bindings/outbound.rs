//! Replies, and events that go out.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tributary_api::brokers::{BindingFigures, Standing};
use tributary_api::time::parse_timestamp;
use tributary_connect::port::Message;
use tributary_ledger::Overdraft;

use super::scene::{ORDERS, REPLIES, Scene, header, message, with_header};

fn body(message: &Message) -> Value {
    serde_json::from_slice(&message.body).expect("JSON")
}

#[test]
fn every_order_that_asks_is_answered_at_once_and_queued_ones_when_they_have_run() {
    let scene = Scene::new();
    scene.apply(&[scene.binder(), scene.orders()]);
    let mut queued = scene.payment("anna", 5);
    queued["payment"]["queue"] = json!({});
    for (id, order) in [
        ("done", scene.payment("anna", 1)),
        ("refused", scene.payment("poor", 1)),
        ("queued", queued),
    ] {
        let mut order = with_header(message(id, &order), "reply-to", REPLIES);
        order.correlation_id = Some(id.to_owned());
        assert!(scene.broker.put(ORDERS, &order));
        scene.broker.put(
            ORDERS,
            &message(&format!("{id}-silent"), &scene.payment("anna", 1)),
        );
    }
    let replies = scene.take(REPLIES, 3);
    let types: BTreeMap<_, _> = replies
        .iter()
        .map(|reply| {
            let id = reply.correlation_id.clone().expect("it is repeated");
            (id, body(reply)["type"].as_str().expect("a type").to_owned())
        })
        .collect();
    let expected = [
        ("done", "payment.captured"),
        ("queued", "payment.captured"),
        ("refused", "payment.failed"),
    ];
    let expected = expected.map(|(id, kind)| (id.to_owned(), kind.to_owned()));
    assert_eq!(types, BTreeMap::from(expected));
    for reply in &replies {
        assert_eq!(header(reply, "tributary-hops"), Some("1"));
        assert_eq!(header(reply, "ce_specversion"), Some("1.0"));
        assert_eq!(header(reply, "ce_id"), body(reply)["id"].as_str());
    }
}

#[test]
fn an_order_that_is_sent_again_is_answered_again_where_the_new_message_asks() {
    let scene = Scene::new();
    scene.broker.declare("payment_replies_2");
    scene.apply(&[scene.binder(), scene.orders()]);
    let order = message("order-1", &scene.payment("anna", 1));
    assert!(
        scene
            .broker
            .put(ORDERS, &with_header(order.clone(), "reply-to", REPLIES))
    );
    let first = scene.take(REPLIES, 1);
    let again = with_header(order, "reply-to", "payment_replies_2");
    assert!(scene.broker.put(ORDERS, &again));
    let second = scene.take("payment_replies_2", 1);
    assert_eq!(first[0].body, second[0].body);
    assert_eq!(scene.balance("shop"), 1);
}

#[test]
fn a_reply_is_xml_where_the_binding_says_so() {
    let scene = Scene::new();
    let mut orders = scene.orders();
    orders["reply"]["content_type"] = json!("application/xml");
    scene.apply(&[scene.binder(), orders]);
    let order = message("order-1", &scene.payment("anna", 1));
    assert!(
        scene
            .broker
            .put(ORDERS, &with_header(order, "reply-to", REPLIES))
    );
    let replies = scene.take(REPLIES, 1);
    assert_eq!(replies[0].content_type.as_deref(), Some("application/xml"));
    let text = std::str::from_utf8(&replies[0].body).expect("text");
    assert!(text.contains("<type>payment.captured</type>"), "{text}");
}

#[test]
fn a_reply_queue_that_is_gone_blocks_nobody() {
    let scene = Scene::new();
    scene.apply(&[scene.binder(), scene.orders()]);
    let lost = with_header(
        message("lost", &scene.payment("anna", 1)),
        "reply-to",
        "payment_replies_gone",
    );
    assert!(scene.broker.put(ORDERS, &lost));
    for number in 0..20 {
        let order = message(&format!("order-{number}"), &scene.payment("anna", 1));
        assert!(
            scene
                .broker
                .put(ORDERS, &with_header(order, "reply-to", REPLIES))
        );
    }
    assert_eq!(scene.take(REPLIES, 20).len(), 20);
    // The queue comes back, and so does the reply.
    scene.broker.declare("payment_replies_gone");
    assert_eq!(scene.take("payment_replies_gone", 1).len(), 1);
}

/// The way out is in trouble until something could be sent again, and an outage is one lost connection, however often it is tried.
#[test]
fn a_binding_that_cannot_send_says_so_until_it_can() {
    let scene = Scene::new();
    scene.broker.declare("payment_events");
    // The figures are those of the binding `orders`.
    let out = json!({
        "kind": "binding", "slug": "orders", "binder": "main", "direction": "out",
        "destination": "payment_events",
    });
    let subscription = json!({
        "kind": "subscription", "slug": "all", "binding": "orders", "events": ["account.*"],
    });
    scene.apply(&[scene.binder(), out]);
    scene.apply(&[subscription]);
    scene.open_account("first", Overdraft::NONE);
    scene.wait_for("it is sent", |figures| {
        figures.sent == 1 && figures.standing == Standing::Running
    });
    scene.broker.set_down(true);
    scene.open_account("second", Overdraft::NONE);
    let waits = |figures: &BindingFigures| {
        let kind = Some("unreachable");
        matches!(&figures.standing, Standing::Waiting { kind: told, .. } if *told == kind)
            && figures.reconnects == 1
    };
    scene.wait_for("it waits", waits);
    // Over several attempts, which come after a second and then after two.
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(4) {
        let figures = scene.figures().expect("it is at work");
        assert!(waits(&figures), "{figures:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
    scene.broker.set_down(false);
    scene.wait_for("it is sent", |figures| {
        figures.sent == 2 && figures.standing == Standing::Running
    });
    assert_eq!(scene.take("payment_events", 2).len(), 2);
}

#[test]
fn a_reply_to_somebody_who_has_gone_is_done_with_and_given_to_whoever_asks_again() {
    let scene = Scene::new();
    scene.apply(&[scene.binder(), scene.orders()]);
    scene.broker.set_absent(REPLIES, true);
    let order = message("order-1", &scene.payment("anna", 1));
    let order = with_header(order, "reply-to", REPLIES);
    assert!(scene.broker.put(ORDERS, &order));
    scene.wait_for("it is decided", |figures| figures.decided == 1);
    let replies = || {
        let sinks = scene.messaging.sinks();
        let (subscription, _) = sinks.first().copied()?;
        scene.messaging.figures(subscription).ok()
    };
    let begun = std::time::Instant::now();
    loop {
        if let Some((figures, _)) = replies()
            && figures.acknowledged == 1
        {
            assert_eq!((figures.waiting, figures.dead, figures.failed), (0, 0, 0));
            break;
        }
        assert!(begun.elapsed() < crate::PATIENCE, "{:?}", replies());
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    // Asked again while the asker has gone, too.
    assert!(scene.broker.put(ORDERS, &order));
    scene.wait_for("it is repeated", |figures| figures.repeated == 1);
    let figures = scene.figures().expect("it runs");
    assert_eq!((figures.sent, figures.reconnects), (0, 0));
    scene.broker.set_absent(REPLIES, false);
    assert!(scene.broker.put(ORDERS, &order));
    let replies = scene.take(REPLIES, 1);
    assert_eq!(body(&replies[0])["type"], json!("payment.captured"));
    assert_eq!(scene.balance("shop"), 1);
}

#[test]
fn events_go_out_in_the_order_of_their_object_and_outlive_a_broker_that_is_down() {
    let scene = Scene::new();
    scene.broker.declare("payment_events");
    let out = json!({
        "kind": "binding", "slug": "events", "binder": "main", "direction": "out",
        "destination": "payment_events", "routing_key": "{type}",
    });
    scene.apply(&[scene.binder(), scene.orders(), out]);
    let subscription = json!({
        "kind": "subscription", "slug": "all", "binding": "events", "events": ["payment.*"],
    });
    scene.apply(&[subscription]);
    scene.broker.set_down(true);
    scene.broker.set_down(false);
    for number in 0..30 {
        let mut order = scene.payment("anna", 10);
        order["payment"]["capture_method"] = json!("manual");
        order["payment"]["expires_at"] = json!("2099-01-01T00:00:00Z");
        scene.put(&format!("order-{number}"), &order);
    }
    scene.wait_for("all are decided", |figures| figures.decided == 30);
    let authorized = scene.take("payment_events", 30);
    for (number, event) in authorized.iter().enumerate() {
        let payment = body(event)["data"]["object"]["id"].clone();
        scene.put(
            &format!("capture-{number}"),
            &json!({"capture": {"payment": payment, "amount": 4, "final": false}}),
        );
        scene.put(
            &format!("void-{number}"),
            &json!({"void": {"payment": payment}}),
        );
        if number == 10 {
            scene.broker.set_down(true);
            scene.broker.set_down(false);
        }
    }
    let mut rest = Vec::new();
    let mut seen = BTreeMap::<String, Vec<String>>::new();
    while seen.values().map(Vec::len).sum::<usize>() < 60 {
        rest.extend(scene.take("payment_events", 1));
        let event = body(rest.last().expect("one was taken"));
        let object = event["data"]["object"]["id"]
            .as_str()
            .expect("an id")
            .to_owned();
        let kind = event["type"].as_str().expect("a type").to_owned();
        let kinds = seen.entry(object).or_default();
        // The same event may come twice; the first occurrences are in order.
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    for kinds in seen.values() {
        assert_eq!(kinds.len(), 2, "{kinds:?}");
        assert!(kinds[0].contains("captured"), "{kinds:?}");
    }
}

#[test]
fn events_of_the_platform_say_who_paid_whom_and_what_moved() {
    let scene = Scene::new();
    scene.broker.declare("payment_events");
    let out = json!({
        "kind": "binding", "slug": "events", "binder": "main", "direction": "out",
        "destination": "payment_events",
    });
    scene.apply(&[scene.binder(), scene.orders(), out]);
    let subscription = json!({
        "kind": "subscription", "slug": "all", "binding": "events", "events": ["payment.*", "account.opened"],
    });
    scene.apply(&[subscription]);
    let mut order = scene.payment("anna", 10);
    order["payment"]["capture_method"] = json!("manual");
    order["payment"]["expires_at"] = json!("2099-01-01T00:00:00Z");
    scene.put("order", &order);
    let authorized = scene.take("payment_events", 1).remove(0);
    let payment = body(&authorized)["data"]["object"]["id"].clone();
    let capture = json!({"capture": {"payment": payment, "amount": 4, "final": false}});
    scene.put("capture", &capture);
    let captured = scene.take("payment_events", 1).remove(0);
    scene.open_account("other", Overdraft::NONE);
    let opened = scene.take("payment_events", 1).remove(0);
    let number = |message: &Message, name: &str| {
        let text = header(message, name).map(str::to_owned);
        text.and_then(|text| text.parse::<u64>().ok())
    };
    let mut before = 0;
    for (message, moved) in [
        (&authorized, Some(0)),
        (&captured, Some(4)),
        (&opened, None),
    ] {
        let sequence = header(message, "ce_sequence").expect("a position");
        assert_eq!(sequence.len(), 20, "{sequence}");
        let sequence = number(message, "ce_sequence").expect("a number");
        assert!(sequence > before, "{sequence}");
        before = sequence;
        let created = body(message)["created"].as_str().and_then(parse_timestamp);
        let created = created.map(|nanos| nanos / 1_000_000);
        assert!(created.is_some() && number(message, "ce_recordedms") == created);
        assert_eq!(number(message, "ce_amountmoved"), moved);
        assert_eq!(number(message, "ce_waitedms").is_some(), moved.is_some());
        let platform = moved.map(|_| "platform");
        assert_eq!(header(message, "ce_payer"), platform);
        assert_eq!(header(message, "ce_payee"), platform);
    }
}
