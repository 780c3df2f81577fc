//! `expand[]`: whole objects in place of ids, for whoever may see them.

use serde_json::{Value, json};

use crate::fixture::{Fixture, id};

struct Scene {
    server: Fixture,
    ann: String,
    shop: String,
    fee: String,
    payment: String,
    refund: String,
}

/// A payment of ann to the shop with a fee, of which a part is refunded.
fn scene() -> Scene {
    let server = Fixture::start();
    server
        .post("/v1/owners", &json!({"name": "shop", "kind": "company"}))
        .expect(201);
    let ann = server.wallet("ann", 1_000);
    let (shop, fee) = (
        server.account("shop", "merchant"),
        server.account("platform", "fee"),
    );
    let order = json!({"amount": 100, "currency": "EUR", "source": ann, "destination": shop,
        "fees": [{"account": fee, "amount": 10}], "description": "two crates"});
    let payment = id(&server.post("/v1/payments", &order).expect(201));
    let part = json!({"payment": payment, "amount": 20});
    let refund = id(&server.post("/v1/refunds", &part).expect(201));
    Scene {
        server,
        ann,
        shop,
        fee,
        payment,
        refund,
    }
}

impl Scene {
    fn get(&self, token: &str, path: &str) -> Value {
        self.server.get_as(token, path).expect(200)
    }

    /// What the platform is shown at this path.
    fn object(&self, path: &str) -> Value {
        self.get(&self.server.platform, path)
    }
}

#[test]
fn every_field_that_can_be_expanded_is_the_object_that_its_id_names() {
    let s = scene();
    let account = |id: &str| s.object(&format!("/v1/accounts/{id}"));
    let (ann, shop, fee) = (account(&s.ann), account(&s.shop), account(&s.fee));
    let (owner, payer) = (s.object("/v1/owners/shop"), s.object("/v1/owners/ann"));
    let payment = s.object(&format!("/v1/payments/{}", s.payment));
    let entries = format!("/v1/accounts/{}/entries", s.ann);
    let cases = [
        (
            format!("/v1/payments/{}", s.payment),
            "source",
            "/source",
            &ann,
        ),
        (
            format!("/v1/payments/{}", s.payment),
            "splits.account",
            "/splits/0/account",
            &shop,
        ),
        (
            format!("/v1/payments/{}", s.payment),
            "fees.account",
            "/fees/0/account",
            &fee,
        ),
        (
            format!("/v1/payments/{}", s.payment),
            "owner",
            "/owner",
            &owner,
        ),
        ("/v1/payments".to_owned(), "source", "/data/0/source", &ann),
        (
            "/v1/payments".to_owned(),
            "splits.account",
            "/data/0/splits/0/account",
            &shop,
        ),
        (
            format!("/v1/refunds/{}", s.refund),
            "payment",
            "/payment",
            &payment,
        ),
        (
            format!("/v1/refunds/{}", s.refund),
            "splits.account",
            "/splits/0/account",
            &shop,
        ),
        (
            "/v1/refunds".to_owned(),
            "payment",
            "/data/0/payment",
            &payment,
        ),
        (
            format!("/v1/accounts/{}", s.shop),
            "owner",
            "/owner",
            &owner,
        ),
        (
            "/v1/accounts?owner=shop".to_owned(),
            "owner",
            "/data/0/owner",
            &owner,
        ),
        (entries.clone(), "payment", "/data/0/payment", &payment),
        (
            entries.clone(),
            "counterparties.account",
            "/data/0/counterparties/0/account",
            &shop,
        ),
        (
            entries,
            "counterparties.owner",
            "/data/0/counterparties/0/owner",
            &owner,
        ),
        (format!("/v1/accounts/{}", s.ann), "owner", "/owner", &payer),
    ];
    for (path, field, pointer, expected) in cases {
        let plain = s.object(&path);
        let mark = if path.contains('?') { '&' } else { '?' };
        // The name of the parameter as browsers send it, and a field that is named twice.
        for query in [
            format!("expand[]={field}"),
            format!("expand%5B%5D={field}&expand[]={field}"),
        ] {
            let mut expanded = s.object(&format!("{path}{mark}{query}"));
            let place = expanded.pointer_mut(pointer).expect(pointer);
            assert_eq!(place, expected, "{path} {field}");
            *place = plain.pointer(pointer).expect(pointer).clone();
            if !field.contains('.') && expanded["object"] != "list" {
                // Nothing else has changed.
                assert_eq!(expanded, plain, "{path} {field}");
            }
        }
    }
    // Several at once, one step deep.
    let path = format!("/v1/payments/{}?expand[]=source&expand[]=owner", s.payment);
    let both = s.object(&path);
    assert_eq!((&both["source"], &both["owner"]), (&ann, &owner));
    assert_eq!(both["source"]["owner"], "ann");
}

#[test]
fn an_object_that_the_caller_may_not_see_stays_an_id() {
    let s = scene();
    let anns = s.server.token("ann", "read");
    let path = format!(
        "/v1/payments/{}?expand[]=source&expand[]=splits.account&expand[]=fees.account&expand[]=owner",
        s.payment
    );
    let seen = s.get(&anns, &path);
    assert_eq!(seen["source"]["id"], json!(s.ann));
    assert_eq!(seen["splits"][0]["account"], json!(s.shop));
    assert_eq!(seen["fees"][0]["account"], json!(s.fee));
    assert_eq!(seen["owner"], "shop");
    let lines = s.get(
        &anns,
        &format!(
            "/v1/accounts/{}/entries?expand[]=payment&expand[]=counterparties.account&expand[]=counterparties.owner",
            s.ann
        ),
    );
    let newest = &lines["data"][0];
    assert_eq!(newest["payment"]["id"], json!(s.payment));
    assert_eq!(newest["counterparties"][0]["account"], json!(s.shop));
    assert_eq!(newest["counterparties"][0]["owner"], Value::Null);
}

#[test]
fn a_field_that_cannot_be_expanded_is_refused() {
    let s = scene();
    let refused = |path: &str| {
        let error = s.server.get(path).expect(400)["error"].clone();
        (error["code"].clone(), error["param"].clone())
    };
    let payment = format!("/v1/payments/{}", s.payment);
    for (path, field) in [
        (payment.as_str(), "destination"),
        (&payment, "source.owner"),
        (&payment, ""),
        ("/v1/payments?limit=1", "splits"),
        ("/v1/refunds", "source"),
        ("/v1/accounts?owner=nobody", "payment"),
    ] {
        let mark = if path.contains('?') { '&' } else { '?' };
        let found = refused(&format!("{path}{mark}expand[]={field}"));
        assert_eq!(
            found,
            (json!("parameter_invalid"), json!("expand[]")),
            "{path} {field}"
        );
    }
    for (path, param) in [
        ("/v1/events?expand[]=object", "expand[]"),
        ("/v1/payments?expand=source", "expand"),
        ("/v1/trial_balance?expand[]=owner", "expand[]"),
    ] {
        assert_eq!(
            refused(path),
            (json!("parameter_unknown"), json!(param)),
            "{path}"
        );
    }
}
