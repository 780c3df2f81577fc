//! Queued payments: they begin for their payee when they run, and never if they move no money.

use serde_json::{Value, json};
use tributary_engine::IdKind;

use super::{TEXT, World};
use crate::client::{Answer, until};
use crate::fixture::{Fixture, hold, id, pay};
use crate::grpc::messages::{GetPaymentRequest, PaymentState};
use crate::grpc::{as_holder, block, client::code};
use crate::owners::patch_as;
use crate::stream::Stream;

/// When the queued payments of these tests run.
const LATER: &str = "2026-11-20T00:01:00Z";

fn waiting(body: Value) -> Value {
    let mut body = World::with_text(body);
    body["queue"] = json!({ "not_before": LATER });
    body
}

fn status(server: &Fixture, payment: &str) -> String {
    let path = format!("/v1/payments/{payment}");
    let shown = server.get(&path).expect(200);
    shown["status"].as_str().expect("a status").to_owned()
}

/// Waits until the payments are queued no more.
fn run(server: &Fixture, payments: &[String]) {
    server.clock.advance(3_600);
    until("the payments have run", || {
        let ended = |payment: &String| status(server, payment) != "queued";
        payments.iter().all(ended).then_some(())
    });
}

fn ids(page: &Value) -> Vec<String> {
    let items = page["data"].as_array().expect("items");
    items.iter().map(id).collect()
}

impl World {
    /// Queues the payment in the intruder's name, and returns its id.
    fn queue(&self, path: &str, body: &Value) -> String {
        id(&self.server.post_as(&self.intruder, path, body).expect(202))
    }

    fn ask(&self, path: &str) -> Answer {
        self.server.get_as(&self.victim, path)
    }

    fn event_of(&self, payment: &str) -> String {
        let shown = self.server.get(&format!("/v1/payments/{payment}"));
        let event = &shown.expect(200)["last_event"];
        event.as_str().expect("an event").to_owned()
    }

    /// The victim is told of the payment what it is told of an invented one.
    fn check_hidden(&self, payment: &str, event: &str) {
        let ids = self.server.reader().ids().clone();
        let invented = (
            ids.encode(IdKind::Payment, 1 << 40),
            ids.encode(IdKind::Event, 1 << 40),
        );
        let told = |answer: Answer, (payment, event): (&str, &str)| {
            let mut body = answer.json();
            if let Some(error) = body["error"].as_object_mut() {
                error.remove("request_id");
            }
            let body = body.to_string();
            let body = body.replace(payment, "PAYMENT").replace(event, "EVENT");
            (answer.status, body)
        };
        let paths = [
            "/v1/payments/{pay}",
            "/v1/payments/{pay}/timeline",
            "/v1/payments?starting_after={pay}",
            "/v1/payments?ending_before={pay}",
            "/v1/refunds?payment={pay}",
            "/v1/events?object={pay}",
            "/v1/events?starting_after={evt}",
            "/v1/events/{evt}",
            "/v1/attempts?event={evt}",
            "/v1/subscriptions/{sub}/attempts?event={evt}",
        ];
        let named = |text: &str, (payment, event): (&str, &str)| {
            let text = text.replace("{pay}", payment).replace("{evt}", event);
            text.replace("{sub}", &self.mailbox)
        };
        let (found, none) = ((payment, event), (&*invented.0, &*invented.1));
        for path in paths {
            let (real, other) = (named(path, found), named(path, none));
            let (real, other) = (self.ask(&real), self.ask(&other));
            assert_eq!(told(real, found), told(other, none), "{path}");
        }
        let posts = [
            ("/v1/payments/{pay}/void", "{}"),
            ("/v1/payments/{pay}/capture", "{}"),
            ("/v1/refunds", r#"{"payment":"{pay}"}"#),
        ];
        let post = |path: &str, body: &str, of| {
            let body: Value = serde_json::from_str(&named(body, of)).expect("JSON");
            let path = named(path, of);
            told(self.server.post_as(&self.victim, &path, &body), of)
        };
        for (path, body) in posts {
            assert_eq!(post(path, body, found), post(path, body, none), "{path}");
            assert_eq!(post(path, body, found).0, 404, "{path}");
        }
        let change = json!({ "description": TEXT });
        let path = named("/v1/payments/{pay}", found);
        let refused = patch_as(&self.server, &self.victim, &path, &change);
        assert_eq!(refused.status, 404);
        let client = as_holder(&self.server, &self.victim);
        let request = GetPaymentRequest { id: block(payment) };
        let told: Result<PaymentState, _> = client.call("/tributary.v1.Ledger/GetPayment", request);
        assert_eq!(code(&told.expect_err("hidden")), "resource_not_found");
    }

    /// The victim's lists by what the payment is.
    fn searches(&self, payer: &str) -> Vec<String> {
        [
            "reference=order-0".to_owned(),
            "metadata_key=note".to_owned(),
            format!("counterparty={payer}"),
            "status=queued".to_owned(),
            "kind=transfer".to_owned(),
            "amount[lte]=5".to_owned(),
        ]
        .iter()
        .map(|query| format!("/v1/payments?limit=100&{query}"))
        .collect()
    }

    fn orders(&self, payer: &str) -> Vec<(&'static str, Value)> {
        let to = &self.account;
        let mut split = pay(payer, to, 5);
        let fields = split.as_object_mut().expect("an object");
        fields.remove("destination");
        let parts = json!([{"account": to, "amount": 4}, {"account": self.empty, "amount": 1}]);
        fields.insert("splits".to_owned(), parts);
        let orders = [
            ("/v1/payments", pay(payer, to, 5)),
            ("/v1/payments", hold(payer, to, 5)),
            ("/v1/payments", split),
            ("/v1/transfers", pay(payer, to, 5)),
        ];
        let named = |(at, (path, body)): (usize, (&'static str, Value))| {
            let mut body = waiting(body);
            body["reference"] = json!(format!("order-{at}"));
            (path, body)
        };
        orders.into_iter().enumerate().map(named).collect()
    }
}

#[test]
fn a_queued_payment_begins_for_its_payee_when_it_runs() {
    let mut world = World::new();
    let payer = world.server.wallet("ivan", 100);
    let mut stream = Stream::open(&world.server, &world.victim, "", None);
    let before = world.seen();
    let found = |world: &World| -> Vec<String> {
        let searches = world.searches(&payer);
        let page = |path: &String| ids(&world.ask(path).expect(200));
        searches.iter().flat_map(page).collect()
    };
    let had = found(&world);
    let mut queued = Vec::new();
    for (path, body) in world.orders(&payer) {
        let payment = world.queue(path, &body);
        let event = world.event_of(&payment);
        queued.push((payment, event));
    }
    let change = json!({"description": format!("{TEXT}, again")});
    for (payment, event) in &queued {
        let path = format!("/v1/payments/{payment}");
        patch_as(&world.server, &world.intruder, &path, &change).expect(200);
        let changed = world.event_of(payment);
        for event in [event, &changed] {
            world.check_hidden(payment, event);
        }
        world.server.get_as(&world.intruder, &path).expect(200);
    }
    assert_eq!(world.seen(), before);
    assert_eq!(found(&world), had);
    let payments: Vec<String> = queued.iter().map(|(payment, _)| payment.clone()).collect();
    run(&world.server, &payments);

    // From now on they are payments like others: newest first, in pages that begin at any of them.
    let newest: Vec<String> = payments.iter().rev().cloned().collect();
    let listed = ids(&world.ask("/v1/payments?limit=100").expect(200));
    assert_eq!(listed[..4], newest[..]);
    for by in ["", &format!("&account={}", world.account)] {
        for at in 0..3 {
            let path = format!("/v1/payments?limit=1{by}&starting_after={}", newest[at]);
            assert_eq!(ids(&world.ask(&path).expect(200)), [newest[at + 1].clone()]);
            let path = format!("/v1/payments?limit=1{by}&ending_before={}", newest[at + 1]);
            assert_eq!(ids(&world.ask(&path).expect(200)), [newest[at].clone()]);
        }
    }
    let mut expected = had;
    expected.extend([&newest[..], &newest, &newest[..1], &newest].concat());
    let mut now = found(&world);
    now.sort();
    expected.sort();
    assert_eq!(now, expected);
    for (payment, event) in &queued {
        let shown = world.ask(&format!("/v1/payments/{payment}")).expect(200);
        assert_eq!(shown["description"], change["description"]);
        assert_eq!(shown["metadata"]["note"], TEXT);
        let path = format!("/v1/events?object={payment}");
        let events = world.ask(&path).expect(200);
        assert_eq!(events["data"].as_array().map(Vec::len), Some(1), "{events}");
        let path = format!("/v1/payments/{payment}/timeline");
        let told = world.ask(&path).expect(200).to_string();
        assert!(
            !told.contains(event) && told.contains("queue_left"),
            "{told}"
        );
        world.ask(&format!("/v1/events/{event}")).expect(404);
        let client = as_holder(&world.server, &world.victim);
        let request = GetPaymentRequest { id: block(payment) };
        let told: Result<PaymentState, _> = client.call("/tributary.v1.Ledger/GetPayment", request);
        assert_eq!(told.expect("shown").public_id, *payment);
    }
    let payer_lists = format!("/v1/payments?limit=4&account={payer}");
    let own = world.server.get_as(&world.intruder, &payer_lists);
    assert_eq!(ids(&own.expect(200)), newest);
    let events = world.delivered();
    let theirs = |event: &&Value| event.to_string().contains(TEXT);
    let mut types: Vec<&str> = events
        .iter()
        .filter(theirs)
        .map(|event| event["type"].as_str().expect("a type"))
        .collect();
    types.sort_unstable();
    let captured = ["payment.captured"; 3];
    assert_eq!(types, [&["payment.authorized"][..], &captured].concat());
    let mut streamed = Vec::new();
    loop {
        let event = stream.next_type();
        if event == "app.last" {
            break;
        }
        streamed.push(event);
    }
    streamed.sort_unstable();
    assert_eq!(streamed, types);
    let seen = world.seen();
    world.server.restart();
    assert_eq!(world.seen(), seen);
}

#[test]
fn a_queued_payment_that_moves_nothing_is_never_shown_to_its_payee() {
    let mut world = World::new();
    let payer = world.server.wallet("ivan", 20);
    let before = world.seen();
    let mut events = Vec::new();
    let mut note = |world: &World, payments: &[String]| {
        let noted = |payment: &String| (payment.clone(), world.event_of(payment));
        events.extend(payments.iter().map(noted));
    };
    let voided: Vec<String> = [
        pay(&payer, &world.account, 1),
        hold(&payer, &world.account, 1),
    ]
    .into_iter()
    .map(|body| world.queue("/v1/payments", &waiting(body)))
    .collect();
    note(&world, &voided);
    for payment in &voided {
        let path = format!("/v1/payments/{payment}/void");
        let void = world.server.post_as(&world.intruder, &path, &json!({}));
        void.expect(200);
    }
    // A group of which one is queued and one is refused: none is accepted.
    let group = json!([{"group": [
        {"idempotency_key": "a", "payment": waiting(pay(&payer, &world.account, 1))},
        {"idempotency_key": "b", "payment": World::with_text(pay(&payer, &world.account, 30))},
    ]}]);
    let done = world.server.post_as(&world.intruder, "/v1/batches", &group);
    let text = done.expect(200).to_string();
    assert!(text.contains("insufficient_funds"), "{text}");
    let mut queued = voided.clone();
    for (path, mut body) in world.orders(&payer).into_iter().take(2) {
        // More than there is.
        body["amount"] = json!(21);
        queued.push(world.queue(path, &body));
    }
    let mut expiring = waiting(pay(&payer, &world.account, 5));
    expiring["queue"]["expires_at"] = json!("2026-11-20T00:02:00Z");
    queued.push(world.queue("/v1/payments", &expiring));
    let chain = json!([{"group": [
        {"idempotency_key": "c", "payment": waiting(pay(&payer, &world.account, 30))},
        {"idempotency_key": "d", "payment": waiting(pay(&payer, &world.account, 31))},
    ]}]);
    let done = world.server.post_as(&world.intruder, "/v1/batches", &chain);
    for result in done.expect(200)["results"].as_array().expect("results") {
        queued.push(id(&result["result"]));
    }
    note(&world, &queued);
    assert_eq!(world.seen(), before);
    run(&world.server, &queued);
    note(&world, &queued);
    for (at, payment) in queued.iter().enumerate() {
        let expected = match voided.contains(payment) {
            true => "voided",
            false => "failed",
        };
        assert_eq!(status(&world.server, payment), expected, "{at}");
        let path = format!("/v1/payments/{payment}");
        let change = json!({ "description": TEXT });
        patch_as(&world.server, &world.intruder, &path, &change).expect(200);
        world.server.get_as(&world.intruder, &path).expect(200);
    }
    note(&world, &queued);
    for (payment, event) in &events {
        world.check_hidden(payment, event);
    }
    world.server.restart();
    assert_eq!(world.seen(), before);
    let delivered = format!("{:?}", world.delivered());
    assert!(!delivered.contains(TEXT), "{delivered}");
    assert_eq!(world.server.posted(&payer), 20);
}

/// The platform asks, for a payer: the payer sees it, and the payee from the run on.
#[test]
fn a_payment_that_the_platform_queued_begins_for_its_payee_when_it_runs() {
    let world = World::new();
    let payer = world.server.wallet("ann", 10);
    let ann = world.server.token("ann", "read");
    let before = world.seen();
    let send = |amount| {
        let body = waiting(pay(&payer, &world.account, amount));
        id(&world.server.post("/v1/payments", &body).expect(202))
    };
    let queued = [send(10), send(1)];
    for payment in &queued {
        world.check_hidden(payment, &world.event_of(payment));
        let path = format!("/v1/payments/{payment}");
        world.server.get_as(&ann, &path).expect(200);
    }
    assert_eq!(world.seen(), before);
    run(&world.server, &queued);
    assert_eq!(status(&world.server, &queued[0]), "captured");
    let path = format!("/v1/payments/{}", queued[0]);
    assert_eq!(world.ask(&path).expect(200)["description"], TEXT);
    assert_eq!(status(&world.server, &queued[1]), "failed");
    world.check_hidden(&queued[1], &world.event_of(&queued[1]));
    let path = format!("/v1/payments/{}", queued[1]);
    world.server.get_as(&ann, &path).expect(200);
}
