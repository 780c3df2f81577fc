//! What users of other systems complained of and no other test here is named after.

use serde_json::json;

use crate::fixture::{Fixture, id, pay};

/// Payments to one account at the same time, and of each payer one after the other.
const PAYERS: usize = 16;
const EACH: u64 = 8;

/// Blnk #244 and #276: payments to one busy account failed on its lock.
#[test]
fn many_at_once_pay_one_account_and_none_is_refused_for_that() {
    let server = Fixture::start();
    let shop = server.account("shop", "merchant");
    let wallets: Vec<String> = (0..PAYERS)
        .map(|payer| server.wallet(&format!("payer-{payer}"), EACH))
        .collect();
    std::thread::scope(|scope| {
        for wallet in &wallets {
            scope.spawn(|| {
                for _ in 0..EACH {
                    server
                        .post("/v1/payments", &pay(wallet, &shop, 1))
                        .expect(201);
                }
            });
        }
    });
    assert_eq!(server.posted(&shop), PAYERS as i64 * EACH as i64);
    assert!(wallets.iter().all(|wallet| server.posted(wallet) == 0));
}

/// Formance ledger#1232: an event was lost when publishing it failed after the commit. Here the record is the event: what
/// was answered is listed, also by a server that was started anew.
#[test]
fn no_event_of_an_answered_payment_is_ever_lost() {
    let mut server = Fixture::start();
    let (buyer, shop) = (
        server.wallet("ann", 100),
        server.account("shop", "merchant"),
    );
    let paid: Vec<String> = (0..20)
        .map(|_| {
            id(&server
                .post("/v1/payments", &pay(&buyer, &shop, 1))
                .expect(201))
        })
        .collect();
    let refused = server.post("/v1/payments", &pay(&buyer, &shop, 1_000));
    assert_eq!(refused.status, 402);
    server.restart();
    let events = server.get("/v1/events?limit=100").expect(200);
    let of_type = |kind: &str| -> Vec<String> {
        let events = events["data"].as_array().expect("a list").iter();
        let found = events.filter(|event| event["type"] == kind);
        found.map(|event| id(&event["data"]["object"])).collect()
    };
    let mut captured = of_type("payment.captured");
    captured.reverse();
    assert!(
        captured.ends_with(&paid),
        "{captured:?} lacks some of {paid:?}"
    );
    assert_eq!(
        json!(of_type("payment.failed")).as_array().map(Vec::len),
        Some(1)
    );
}
