//! Payments in review over HTTP: held by rules, approved, confirmed, declined or expired; and cases.

use serde_json::{Value, json};
use tributary_ledger::{Effect, ReviewKind, ReviewTerms};

use crate::bindings::with;
use crate::client::{Answer, until};
use crate::fixture::{Fixture, id, pay};

const HELD_SECONDS: u32 = 60;

fn hold(server: &Fixture, kind: ReviewKind) {
    let terms = ReviewTerms {
        kind,
        seconds: HELD_SECONDS,
    };
    server.rules.find(Effect::Review(terms), br#"{"score": 7}"#);
}

struct Scene {
    server: Fixture,
    ann: String,
    shop: String,
    anns: String,
    shops: String,
}

impl Scene {
    fn new(kind: ReviewKind) -> Scene {
        let server = Fixture::with_subscriptions();
        let (ann, shop) = (
            server.wallet("ann", 1_000),
            server.account("shop", "merchant"),
        );
        hold(&server, kind);
        Scene {
            anns: server.token("ann", "write"),
            shops: server.token("shop", "write"),
            server,
            ann,
            shop,
        }
    }

    /// A payment that Ann asks for, which the rules hold.
    fn held(&self, amount: u64) -> Value {
        let body = pay(&self.ann, &self.shop, amount);
        let payment = self.server.post_as(&self.anns, "/v1/payments", &body);
        let payment = payment.expect(201);
        assert_eq!(payment["status"], "in_review");
        assert_eq!(payment["amount_held"], amount);
        assert!(payment["expires_at"].is_string());
        payment
    }

    fn approve(&self, key: &str, payment: &Value, body: &Value) -> Answer {
        let url = format!("/v1/payments/{}/approve", id(payment));
        self.server.post_as(key, &url, body)
    }

    fn balance(&self, account: &str) -> (i64, i64) {
        let path = format!("/v1/accounts/{account}/balance");
        let balance = self.server.get(&path).expect(200);
        let of = |name: &str| balance[name].as_i64().expect("a number");
        (of("posted"), of("available"))
    }

    fn cases(&self, query: &str) -> Vec<String> {
        let page = self.server.get(&format!("/v1/cases{query}")).expect(200);
        let cases = page["data"].as_array().expect("a list").iter();
        cases.map(id).collect()
    }

    fn note(&self, payment: &Value, body: &Value) -> Answer {
        crate::owners::patch(&self.server, &format!("/v1/cases/{}", id(payment)), body)
    }

    fn case(&self, payment: &Value) -> Value {
        let path = format!("/v1/cases/{}", id(payment));
        self.server.get(&path).expect(200)
    }
}

#[test]
fn a_review_is_ended_by_the_platform_and_by_nobody_else() {
    let s = Scene::new(ReviewKind::Review);
    let first = s.held(100);
    assert_eq!(first.get("challenge"), None);
    assert_eq!(s.balance(&s.ann), (1_000, 900));
    for key in [&s.anns, &s.shops] {
        let refused = s.approve(key, &first, &json!({})).expect(403);
        assert_eq!(refused["error"]["code"], "forbidden");
    }
    let second = s.held(50);
    assert_eq!(s.cases(""), [id(&first), id(&second)]);
    let approved = s.approve(&s.server.platform, &first, &json!({}));
    let approved = approved.expect(200);
    assert_eq!(approved["status"], "captured");
    assert_eq!(approved["expires_at"], Value::Null);
    assert_eq!(s.balance(&s.shop), (100, 100));
    let url = format!("/v1/payments/{}/void", id(&second));
    let declined = s.server.post(&url, &json!({})).expect(200);
    assert_eq!(declined["status"], "voided");
    assert_eq!(s.balance(&s.ann), (900, 900));
    assert!(s.cases("").is_empty());
    let ended = [&first, &second].map(|payment| s.case(payment)["outcome"].clone());
    assert_eq!(ended, [json!("approved"), json!("declined")]);
    let events = s.server.get("/v1/events?limit=100").expect(200).to_string();
    for event in ["payment.in_review", "payment.captured", "payment.voided"] {
        assert!(events.contains(event), "{event} in {events}");
    }
}

#[test]
fn the_payer_confirms_a_challenge_by_whoever_asked_for_the_payment() {
    let s = Scene::new(ReviewKind::Challenge);
    let (first, second) = (s.held(100), s.held(50));
    let confirm = |payment: &Value| json!({"challenge": payment["challenge"]});
    let path = format!("/v1/payments/{}", id(&first));
    let shown = |key: &str| {
        s.server
            .get_as(key, &path)
            .expect(200)
            .get("challenge")
            .cloned()
    };
    assert_eq!(shown(&s.anns).as_ref(), Some(&first["challenge"]));
    assert_eq!(
        shown(&s.server.platform).as_ref(),
        Some(&first["challenge"])
    );
    assert_eq!(shown(&s.shops), None, "it is for who asked");
    let events = s
        .server
        .get_as(&s.shops, "/v1/events?limit=100")
        .expect(200);
    assert!(!events.to_string().contains("chal_"));
    let other = s.approve(&s.anns, &first, &confirm(&second)).expect(400);
    assert_eq!(other["error"]["param"], "challenge");
    s.approve(&s.anns, &first, &json!({})).expect(403);
    s.approve(&s.shops, &first, &confirm(&first)).expect(403);
    let confirmed = s.approve(&s.anns, &first, &confirm(&first));
    let confirmed = confirmed.expect(200);
    assert_eq!(confirmed["status"], "captured");
    assert_eq!(confirmed.get("challenge"), None);
    assert_eq!(s.case(&first)["outcome"], "confirmed");
    assert_eq!(s.case(&first)["kind"], "challenge");
    // Who asked for it may take it back.
    let url = format!("/v1/payments/{}/void", id(&second));
    s.server.post_as(&s.anns, &url, &json!({})).expect(200);
    assert_eq!(s.case(&second)["outcome"], "cancelled");
}

#[test]
fn a_payment_that_nobody_approves_expires() {
    let s = Scene::new(ReviewKind::Challenge);
    let approved = s.held(10);
    s.approve(&s.server.platform, &approved, &json!({}))
        .expect(200);
    let held = s.held(100);
    let path = format!("/v1/payments/{}", id(&held));
    s.server.clock.advance(HELD_SECONDS.into());
    until("the payment has expired", || {
        let payment = s.server.get(&path).expect(200);
        (payment["status"] == "expired").then_some(())
    });
    assert_eq!(s.case(&held)["outcome"], "expired");
    assert_eq!(s.balance(&s.ann), (990, 990));
    let events = s.server.get("/v1/events?limit=100").expect(200).to_string();
    assert!(
        !events.contains("expire_refused"),
        "the approved one does not come due: {events}"
    );
    let metrics = String::from_utf8(s.server.get("/metrics").body).expect("UTF-8");
    for (outcome, count) in [("approved", 1), ("expired", 1), ("declined", 0)] {
        let line = format!("tributary_reviews_ended_total{{outcome=\"{outcome}\"}} {count}");
        assert!(metrics.contains(&line), "{line} in {metrics}");
    }
    let late = s.approve(&s.anns, &held, &json!({"challenge": held["challenge"]}));
    let late = late.expect(402);
    assert_eq!(late["error"]["code"], "payment_not_in_review");
}

#[test]
fn a_hold_and_a_queued_payment_become_what_they_asked_for() {
    let s = Scene::new(ReviewKind::Review);
    let platform = &s.server.platform;
    let manual = with(
        &pay(&s.ann, &s.shop, 30),
        &json!({"capture_method": "manual", "expires_at": "2026-12-31T00:00:00Z"}),
    );
    let manual = s.server.post("/v1/payments", &manual).expect(201);
    assert_eq!(manual["status"], "in_review");
    let manual = s.approve(platform, &manual, &json!({})).expect(200);
    assert_eq!(manual["status"], "authorized");
    let queued = with(&pay(&s.ann, &s.shop, 20), &json!({"queue": {}}));
    let queued = s.server.post("/v1/payments", &queued).expect(202);
    let path = format!("/v1/payments/{}", id(&queued));
    let held = until("the payment is held", || {
        let payment = s.server.get(&path).expect(200);
        (payment["status"] == "in_review").then_some(payment)
    });
    let moved = s.approve(platform, &held, &json!({})).expect(200);
    assert_eq!(moved["status"], "captured");
}

#[test]
fn cases_are_worked_on_and_payments_labelled_and_only_the_platform_sees_it() {
    let s = Scene::new(ReviewKind::Review);
    let (first, second) = (s.held(100), s.held(50));
    let begin = json!({"state": "investigating", "assignee": "fraud team", "note": "Asked the payer.",
        "links": {"ticket": "https://tickets.example/4711"}});
    let case = s.note(&first, &begin).expect(200);
    assert_eq!(
        (&case["state"], &case["assignee"]),
        (&json!("investigating"), &json!("fraud team"))
    );
    assert_eq!(case["payment"]["id"], first["id"]);
    assert_eq!(s.cases("?state=open"), [id(&second)]);
    assert_eq!(s.cases("?state=investigating"), [id(&first)]);
    assert_eq!(s.cases("?assignee=fraud%20team"), [id(&first)]);
    assert_eq!(s.cases("?limit=1"), [id(&first)]);
    let page = s.server.get("/v1/cases?limit=1").expect(200);
    let next = page["next_cursor"].as_str().expect("there is more");
    assert_eq!(s.cases(&format!("?starting_after={next}")), [id(&second)]);
    s.note(&second, &json!({"label": "fraud"})).expect(200);
    let plain = {
        s.server.rules.find(Effect::Allow, b"{}");
        s.server
            .post("/v1/payments", &pay(&s.ann, &s.shop, 1))
            .expect(201)
    };
    let unknown = format!("/v1/cases/{}", id(&plain));
    s.server.get(&unknown).expect(404);
    let refused = s
        .note(&plain, &json!({"note": "Nothing to see."}))
        .expect(402);
    assert_eq!(refused["error"]["code"], "payment_not_in_review");
    s.note(&plain, &json!({"label": "genuine"})).expect(200);
    assert_eq!(s.case(&plain)["label"], "genuine");
    assert_eq!(s.case(&plain)["state"], Value::Null);
    s.note(&plain, &json!({"note": "A refund."})).expect(200);
    let seen = s
        .server
        .get(&format!("/v1/payments/{}", id(&plain)))
        .expect(200);
    assert_eq!(
        seen["last_event"], plain["last_event"],
        "no owner learns of it"
    );
    s.note(&plain, &json!({})).expect(400);
    s.note(&plain, &json!({"state": "closed"})).expect(400);

    let timeline = |key: &str| {
        let path = format!("/v1/payments/{}/timeline", id(&first));
        let page = s.server.get_as(key, &path).expect(200);
        page["data"].as_array().expect("a list").clone()
    };
    let notes: Vec<Value> = timeline(&s.server.platform)
        .into_iter()
        .filter(|entry| entry["type"] == "note")
        .collect();
    assert_eq!(notes.len(), 1, "{notes:?}");
    assert_eq!(notes[0]["note"]["text"], "Asked the payer.");
    assert_eq!(
        notes[0]["note"]["links"]["ticket"],
        "https://tickets.example/4711"
    );
    for key in [&s.anns, &s.shops] {
        let seen = [
            timeline(key).iter().map(Value::to_string).collect(),
            s.server
                .get_as(key, "/v1/events?limit=100")
                .expect(200)
                .to_string(),
        ];
        for secret in ["fraud", "genuine", "case", "Asked"] {
            assert!(!seen.concat().contains(secret), "{secret} in {seen:?}");
        }
        assert_eq!(s.server.get_as(key, "/v1/cases").status, 403);
    }
    let types = s.server.get("/v1/events?limit=100").expect(200).to_string();
    for event in ["case.updated", "payment.labelled"] {
        assert!(types.contains(event), "{event} in {types}");
    }
}

#[test]
fn a_label_hides_nothing_of_why_a_payment_failed() {
    let s = Scene::new(ReviewKind::Review);
    s.server.rules.find(Effect::Allow, b"{}");
    let queued = with(&pay(&s.ann, &s.shop, 9_000), &json!({"queue": {}}));
    let queued = s.server.post("/v1/payments", &queued).expect(202);
    let bank = s.server.account("platform", "external");
    let body = json!({"amount": 10, "currency": "EUR", "source": s.ann, "destination": bank});
    let payout = s.server.post("/v1/payouts", &body).expect(201);
    let url = format!("/v1/payouts/{}/fail", id(&payout));
    s.server
        .post(&url, &json!({"reason": "account closed"}))
        .expect(200);
    for payment in [&queued, &payout] {
        let path = format!("/v1/payments/{}", id(payment));
        let shown = || s.server.get_as(&s.anns, &path).expect(200);
        until("the payment has failed", || {
            (shown()["status"] == "failed").then_some(())
        });
        let before = shown();
        s.note(payment, &json!({"label": "fraud"})).expect(200);
        assert_eq!(shown(), before);
    }
}
