//! Events as sinks send them: the body of a webhook, and the attributes of CloudEvents.

use serde_json::json;
use tributary_api::render::cloud_event::attributes;
use tributary_api::render::event::outgoing_event;

use crate::fixture::{Fixture, id, pay};

#[test]
fn an_event_that_is_sent_is_the_event_that_is_read_and_names_its_object() {
    let server = Fixture::start();
    let reader = server.reader();
    let (buyer, shop) = (
        server.wallet("ann", 1_000),
        server.account("shop", "merchant"),
    );
    let paid = id(&server
        .post("/v1/payments", &pay(&buyer, &shop, 100))
        .expect(201));
    let refused = server.post("/v1/payments", &pay(&buyer, &shop, 100_000));
    let refused = refused.json()["error"]["payment"]
        .as_str()
        .map(str::to_owned);
    let refund = json!({"payment": paid, "amount": 10});
    server.post("/v1/refunds", &refund).expect(201);
    let too_much = json!({"payment": paid, "amount": 1_000});
    server.post("/v1/refunds", &too_much).expect(402);
    let freeze = format!("/v1/accounts/{shop}/freeze");
    server.post(&freeze, &json!({})).expect(200);
    let event = json!({"type": "app.order.shipped", "key": "o-1", "data": {"a": 1}});
    server.post("/v1/events", &event).expect(201);
    let loose = json!({"type": "app.order.shipped", "data": 1});
    server.post("/v1/events", &loose).expect(201);
    let owner = json!({"name": "eve"});
    server.post("/v1/owners", &owner).expect(201);
    let key = json!({"owner": "shop", "access": "read"});
    let key = id(&server.post("/v1/api_keys", &key).expect(201));
    let more = [
        Some(paid.clone()),
        refused,
        Some(paid.clone()),
        Some(paid),
        Some(shop),
        Some("o-1".to_owned()),
        None,
        Some("eve".to_owned()),
        Some(key),
    ];
    let head = reader.head().position;
    for position in 1..=head {
        let sent = outgoing_event(&reader, position).expect("an event");
        let read = server.get(&format!("/v1/events/{}", sent.event.id()));
        assert_eq!(read.status, 200);
        assert_eq!(read.body, sent.body, "the two are the same byte for byte");
    }
    let last = head - more.len() as u64;
    for (position, subject) in (last + 1..).zip(more) {
        let sent = outgoing_event(&reader, position).expect("an event");
        assert_eq!(
            sent.subject,
            subject,
            "{}",
            String::from_utf8_lossy(&sent.body)
        );
        let event = sent.event.id().to_owned();
        let found = attributes(&sent, "/tributary");
        let named = |name: &str| {
            let found = found.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| value.as_str())
        };
        assert_eq!(named("specversion"), Some("1.0"));
        assert_eq!(named("id"), Some(event.as_str()));
        assert_eq!(named("source"), Some("/tributary"));
        assert_eq!(named("type"), Some(sent.event.kind()));
        assert_eq!(named("subject"), subject.as_deref());
        assert_eq!(named("time"), Some("2026-11-20T00:00:00Z"));
        assert_eq!(named("datacontenttype"), Some("application/json"));
    }
    assert!(outgoing_event(&reader, head + 1).is_err());
}
