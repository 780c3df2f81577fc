//! Examples of request bodies. A test sends each of them to a server.

use serde_json::{Value, json};

/// Ids of examples: of the right form, and of nothing that exists.
const PAYER: &str = "acct_6fz9w2m1k8q4v7t3x5c0n2r6s1";
const PAYEE: &str = "acct_1q8c4b7n0k6w2z9m5x3v8t7r4p";
const FEES: &str = "acct_3x5v8t7r4p1q8c4b7n0k6w2z9m";
const PAYMENT: &str = "pay_4b1w9k6z7q0c8n2m5x3v7t9r1p";
const EVENT: &str = "evt_4b1w9k6z7q0c8n2m5x3v7t9r1p";
const LATER_EVENT: &str = "evt_7t9r1p4b1w9k6z7q0c8n2m5x3v";
const RECEIPT: &str = "rcp_0";
const API_KEY: &str = "key_4b1w9k6z7q0c8n2m5x3v7t9r1p";

/// The body of an example request; none for operations without one.
pub(super) fn body(operation: &str) -> Option<Value> {
    Some(match operation {
        "createAccount" => json!({
            "owner": "ada", "kind": "wallet", "currency": "EUR", "external_id": "customer-17",
        }),
        "createApiKey" => json!({"owner": "shop", "access": "write", "label": "till 3"}),
        "rotateApiKey" => json!({"overlap_seconds": 86400}),
        "confirmClock" => json!({"wall_time": "2026-12-01T00:00:00Z"}),
        "handOverLeadership" => json!({"to": "node-2"}),
        "advanceSandboxClock" => json!({"advance_seconds": 604800}),
        "createOwner" => json!({"name": "acme", "kind": "company", "external_id": "crm-7"}),
        "updateOwner" => json!({"metadata": {"country": "DE"}}),
        "updateAccount" | "updatePayment" => json!({
            "description": "order 4711, gift wrapped", "metadata": {"basket": "3"},
        }),
        "createPayment" => json!({
            "amount": 1050, "currency": "EUR", "source": PAYER, "destination": PAYEE,
            "fees": [{"account": FEES, "amount": 30, "basis_points": 150}],
            "reference": "order-4711", "metadata": {"basket": "3"},
        }),
        "createTopUp" | "createPayout" | "createTransfer" => json!({
            "amount": 5000, "currency": "EUR", "source": PAYER, "destination": PAYEE,
        }),
        "createAdjustment" => json!({
            "amount": 100, "currency": "EUR", "source": PAYER, "destination": PAYEE,
            "reason": "refund of a fee that was charged twice",
        }),
        "capturePayment" => json!({"amount": 400, "final": true}),
        "failPayout" => json!({"reason": "the bank account is closed"}),
        "returnPayout" => json!({"amount": 200, "reason": "the name does not match"}),
        "createRefund" => json!({"payment": PAYMENT, "amount": 250}),
        "createBatch" => json!([
            {"idempotency_key": "order-4711", "payment": {
                "amount": 100, "currency": "EUR", "source": PAYER, "destination": PAYEE,
            }},
            {"group": [
                {"idempotency_key": "order-4712", "transfer": {
                    "amount": 50, "currency": "EUR", "source": PAYER, "destination": PAYEE,
                }},
                {"idempotency_key": "order-4713", "refund": {"payment": PAYMENT, "amount": 50}},
            ]},
        ]),
        "publishEvent" => json!({
            "type": "app.order.shipped", "key": "order-4711", "data": {"parcels": 2},
        }),
        "createSubscription" => json!({
            "url": "https://shop.example/hooks", "events": ["payment.*"], "order": "object",
        }),
        "updateSubscription" => json!({"revision": 1, "events": ["payment.#", "account.*"]}),
        "rotateSecret" => json!({"overlap_seconds": 3600}),
        "applySettings" => json!({
            "managed_by": "shop", "generation": 7, "dry_run": true,
            "settings": [{"kind": "subscription", "slug": "orders", "events": ["payment.#"]}],
        }),
        "createBinder" => json!({
            "slug": "main", "type": "rabbitmq", "url": "amqps://broker.example:5671",
            "username": "tributary", "password": "correct horse battery staple",
        }),
        "updateBinder" => json!({"password": "another horse"}),
        "createBinding" => json!({
            "slug": "orders", "binder": "main", "direction": "in", "destination": "payment_order",
            "acts_as": API_KEY, "identity_from": "field order_id",
            "consumer": {"concurrency": 4}, "reply": {"allow": ["replies.*"]},
        }),
        "updateBinding" => json!({"prefetch": 256}),
        "createList" => json!({
            "slug": "denied",
            "entries": [{"value": "ann", "until": "2026-12-01T00:00:00Z", "note": "stolen phone"}],
        }),
        "updateList" => json!({"add": [{"value": "bob"}], "remove": ["ann"]}),
        "createRuleSet" => json!({
            "slug": "cards", "state": "shadow",
            "features": {"is_denied": {"list": "denied", "key": ["payer"]}},
            "rules": [
                {"name": "denied", "when": "is_denied", "effect": "block"},
                {"name": "large", "when": "amount > 100000", "points": 60},
            ],
            "thresholds": {"block": 100},
        }),
        "updateRuleSet" => json!({"state": "active"}),
        "pauseBinding" => json!({"reason": "the bank is closed"}),
        "receiveEvents" => json!({"max": 100, "wait_seconds": 2}),
        "acknowledgeEvents" => json!({"receipts": [RECEIPT]}),
        "refuseEvents" => json!({
            "receipts": [RECEIPT], "delay_seconds": 60, "error": "the warehouse does not answer",
        }),
        "extendEvents" => json!({"receipts": [RECEIPT], "visibility_seconds": 120}),
        "rewindSubscription" => json!({"to": "beginning"}),
        "replaySubscription" => json!({"first": EVENT, "last": LATER_EVENT}),
        "requeueDeadLetters" | "dropDeadLetters" => json!({"events": [EVENT]}),
        "pauseSubscription" => json!({"reason": "the warehouse is closed"}),
        _ => return None,
    })
}
