//! XML is a second way to say and to hear what JSON says.

use serde_json::json;

use crate::client::{Answer, send};
use crate::fixture::{Fixture, hold, id, pay};

const XML: &str = "application/xml";
const JSON: &str = "application/json";

impl Fixture {
    fn exchange(
        &self,
        (method, path): (&str, &str),
        key: Option<&str>,
        content_type: &str,
        accept: &str,
        body: &str,
    ) -> Answer {
        let authorization = format!("Bearer {}", self.platform);
        let mut headers = vec![
            ("Authorization", authorization.as_str()),
            ("Content-Type", content_type),
            ("Accept", accept),
        ];
        headers.extend(key.map(|key| ("Idempotency-Key", key)));
        send(self.addr, method, path, &headers, body.as_bytes())
    }
}

fn text(answer: &Answer) -> String {
    String::from_utf8(answer.body.clone()).expect("UTF-8")
}

fn payment(source: &str, destination: &str, amount: u64) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<order>\n  <amount>{amount}</amount>\n  <currency>EUR</currency>\n  \
         <source>{source}</source>\n  <destination>{destination}</destination>\n</order>\n"
    )
}

/// The two ways have one digest: whichever comes second is a repetition.
#[test]
fn a_payment_in_xml_and_in_json_is_one_payment() {
    let server = Fixture::start();
    let (buyer, shop) = (
        server.wallet("ann", 1_000),
        server.account("shop", "merchant"),
    );
    let post = ("POST", "/v1/payments");
    let (xml, json) = (
        payment(&buyer, &shop, 100),
        pay(&buyer, &shop, 100).to_string(),
    );
    for (key, first, second) in [
        ("a", (XML, &xml), (JSON, &json)),
        ("b", (JSON, &json), ("text/xml; charset=utf-8", &xml)),
    ] {
        let made = server.exchange(post, Some(key), first.0, JSON, first.1);
        made.expect(201);
        assert_eq!(made.header("idempotent-replayed"), None);
        let again = server.exchange(post, Some(key), second.0, JSON, second.1);
        assert_eq!(again.header("idempotent-replayed"), Some("true"));
        assert_eq!(again.body, made.body);
    }
    let other = payment(&buyer, &shop, 101);
    let conflict = server.exchange(post, Some("a"), XML, JSON, &other);
    assert_eq!(
        (conflict.status, conflict.code().as_str()),
        (422, "idempotency_key_reused")
    );
    assert_eq!(server.posted(&shop), 200);
}

#[test]
fn answers_and_errors_come_as_xml_to_those_who_want_it() {
    let server = Fixture::start();
    let (buyer, shop) = (
        server.wallet("ann", 1_000),
        server.account("shop", "merchant"),
    );
    let body = payment(&buyer, &shop, 100).replace(
        "</order>",
        "<metadata><order_x0020_no>&lt;7&gt;</order_x0020_no></metadata></order>",
    );
    let made = server.exchange(("POST", "/v1/payments"), Some("a"), XML, XML, &body);
    assert_eq!((made.status, made.header("content-type")), (201, Some(XML)));
    assert_eq!(
        made.header("content-length"),
        Some(made.body.len().to_string().as_str())
    );
    let found = text(&made);
    for part in [
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<response><id>pay_",
        "<amount>100</amount>",
        "<status>captured</status>",
        "<metadata><order_x0020_no>&lt;7&gt;</order_x0020_no></metadata>",
    ] {
        assert!(found.contains(part), "{part}: {found}");
    }
    let get = |accept: &str, path: &str| server.exchange(("GET", path), None, JSON, accept, "");
    let list = get("application/xml, */*;q=0.1", "/v1/payments");
    assert!(text(&list).contains("<data><id>pay_"), "{}", text(&list));
    for accept in [JSON, "*/*", "application/xml;q=0.5, */*;q=0.6", "text/html"] {
        let answer = get(accept, "/v1/payments");
        assert_eq!(answer.header("content-type"), Some(JSON), "{accept}");
        answer.expect(200);
    }
    // The door without a router, the router, no route, and a head that is refused.
    let poor = payment(&buyer, &shop, 1_000_000);
    for (answer, status, parts) in [
        (
            server.exchange(("POST", "/v1/payments"), Some("b"), XML, XML, &poor),
            402,
            ["<code>insufficient_funds</code>", "<param>source</param>"],
        ),
        (
            server.exchange(("POST", "/v1/payments"), None, XML, XML, &poor),
            400,
            ["<code>idempotency_key_missing</code>", "<error><type>"],
        ),
        (
            get(XML, "/v1/payments/pay_x"),
            404,
            ["<code>resource_not_found</code>", "<param>id</param>"],
        ),
        (
            get(XML, "/v1/nothing"),
            404,
            ["<code>route_not_found</code>", "<request_id>req_"],
        ),
        (
            get(XML, "/v1/payments?a=b"),
            400,
            ["<code>parameter_unknown</code>", "<param>a</param>"],
        ),
    ] {
        let found = text(&answer);
        assert_eq!(
            (answer.status, answer.header("content-type")),
            (status, Some(XML)),
            "{found}"
        );
        assert!(parts.iter().all(|part| found.contains(part)), "{found}");
    }
    assert_eq!(get(XML, "/openapi.json").json()["openapi"], "3.1.0");
    assert!(
        get(XML, "/metrics")
            .header("content-type")
            .is_some_and(
                |it| it.starts_with("application/openmetrics") || it.starts_with("text/plain")
            )
    );
}

/// Codes and the named fields are those of JSON.
#[test]
fn what_is_wrong_in_xml_is_told_as_in_json() {
    let server = Fixture::start();
    let before = server.reader().head().position;
    for (path, body, code, param) in [
        (
            "/v1/payments",
            "<p><amount>1</amount><tip>1</tip></p>",
            "parameter_unknown",
            json!("tip"),
        ),
        (
            "/v1/payments",
            "<p><amount>1</amount></p>",
            "parameter_missing",
            json!("currency"),
        ),
        (
            "/v1/payments",
            "<p><amount>1.5</amount></p>",
            "parameter_invalid",
            json!("amount"),
        ),
        (
            "/v1/payments",
            "<p><amount>1</amount><amount>1</amount></p>",
            "parameter_invalid",
            json!("amount"),
        ),
        (
            "/v1/payments",
            "<p><splits><account>x</account></splits></p>",
            "parameter_invalid",
            json!("splits[0].account"),
        ),
        (
            "/v1/payments",
            "<p amount=\"1\"/>",
            "xml_malformed",
            json!(null),
        ),
        (
            "/v1/payments",
            "<!DOCTYPE p [<!ENTITY e SYSTEM \"file:///etc/passwd\">]><p><currency>&e;</currency></p>",
            "xml_malformed",
            json!(null),
        ),
        ("/v1/payments", "", "xml_malformed", json!(null)),
        ("/v1/payments", "{}", "xml_malformed", json!(null)),
        (
            "/v1/batches",
            "<b><c><idempotency_key>k</idempotency_key><void><payment>x</payment></void></c></b>",
            "parameter_invalid",
            json!("[0].void.payment"),
        ),
        ("/v1/batches", "<b/>", "parameter_invalid", json!(null)),
    ] {
        let key = (path != "/v1/batches").then_some("k");
        let answer = server.exchange(("POST", path), key, XML, JSON, body);
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (400, code),
            "{body}: {}",
            text(&answer)
        );
        assert_eq!(answer.json()["error"]["param"], param, "{body}");
    }
    for content_type in [
        "application/xml; charset=iso-8859-1",
        "application/xhtml+xml",
        "text/plain",
    ] {
        let answer = server.exchange(
            ("POST", "/v1/payments"),
            Some("k"),
            content_type,
            JSON,
            "<p/>",
        );
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (415, "content_type_unsupported")
        );
    }
    assert_eq!(
        server.reader().head().position,
        before,
        "nothing was recorded"
    );
}

/// Every kind of write takes XML, since all read their bodies in one place.
#[test]
fn every_kind_of_body_can_be_xml() {
    let server = Fixture::start();
    let (buyer, shop) = (
        server.wallet("ann", 1_000),
        server.account("shop", "merchant"),
    );
    let held = id(&server
        .post("/v1/payments", &hold(&buyer, &shop, 100))
        .expect(201));
    let batch = format!(
        "<batch><command><idempotency_key>b1</idempotency_key>{}</command>\
         <command><group><idempotency_key>b2</idempotency_key><freeze><account>{shop}</account></freeze></group>\
         <group><idempotency_key>b3</idempotency_key><unfreeze><account>{shop}</account></unfreeze></group></command></batch>",
        payment(&buyer, &shop, 10)
            .replace("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n", "")
            .replace("order>", "payment>"),
    );
    let xsi = "xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\"";
    let capture = format!("/v1/payments/{held}/capture");
    let (account, published) = (
        format!("/v1/accounts/{shop}"),
        "<e><type>app.a.b</type><data><order>007</order><item>1</item><item>2</item></data></e>",
    );
    for (method, path, key, body, status, part) in [
        (
            "POST",
            capture.as_str(),
            Some("1"),
            "<capture/>",
            200,
            "\"status\":\"captured\"",
        ),
        (
            "POST",
            &format!("/v1/accounts/{shop}/freeze"),
            Some("2"),
            "",
            200,
            "\"status\":\"frozen\"",
        ),
        (
            "POST",
            &format!("/v1/accounts/{shop}/unfreeze"),
            Some("3"),
            "<nothing> </nothing>",
            200,
            "\"status\":\"open\"",
        ),
        ("POST", "/v1/batches", None, &batch, 200, "\"status\":201"),
        (
            "PATCH",
            &account,
            Some("4"),
            "<a><description>x</description></a>",
            200,
            "\"description\":\"x\"",
        ),
        (
            "PATCH",
            &account,
            Some("5"),
            &format!("<a {xsi}><description xsi:nil=\"true\"/></a>"),
            200,
            "\"description\":null",
        ),
        (
            "POST",
            "/v1/events",
            Some("6"),
            published,
            201,
            "\"data\":{\"order\":\"007\",\"item\":[\"1\",\"2\"]}",
        ),
    ] {
        let answer = server.exchange((method, path), key, XML, JSON, body);
        assert_eq!(answer.status, status, "{path}: {}", text(&answer));
        assert!(text(&answer).contains(part), "{path}: {}", text(&answer));
    }
}
