//! Streams that wait for answers, and streams that do something for each result.

use serde_json::{Value, json};

use crate::bindings::with;
use crate::client::until;
use crate::fixture::{Fixture, hold, id, pay};
use crate::streams::{STREAMS, Shop, api_key, brief, events, path_of, rows, settled};

#[test]
fn a_stream_tells_what_got_no_answer_in_time_and_how_long_the_others_waited() {
    let mut server = Fixture::start();
    let (wallet, merchant) = (
        server.wallet("ann", 100_000),
        server.account("shop", "merchant"),
    );
    let waits = |slug: &str, give: &str| {
        json!({
            "slug": slug,
            "from": [{"event": "payment.authorized"}],
            "key": ["payment"],
            "window": {
                "type": "await", "within_seconds": 60, "give": give,
                "until": [{"event": "payment.captured"}, {"event": "payment.voided"}],
            },
            "emit": {"amount": "first(amount)"},
        })
    };
    let forgotten = waits("forgotten", "unanswered");
    let forgotten = path_of(&server.post(STREAMS, &forgotten).expect(201));
    let quick = with(
        &waits("quick", "answered"),
        &json!({"having": "window_end - window_start <= 20000"}),
    );
    let quick = path_of(&server.post(STREAMS, &quick).expect(201));
    let holds: Vec<String> = [10, 20, 30, 40]
        .map(|amount| {
            let held = server.post("/v1/payments", &hold(&wallet, &merchant, amount));
            id(&held.expect(201))
        })
        .to_vec();
    let step = |server: &Fixture, hold: usize, step: &str| {
        let path = format!("/v1/payments/{}/{step}", holds[hold]);
        server.post(&path, &json!({})).expect(200);
    };
    server.clock.advance(20);
    step(&server, 0, "capture");
    settled(&server, &forgotten);
    assert_eq!(rows(&server, &forgotten, "open").len(), 3);
    server.restart();
    server.clock.advance(39);
    step(&server, 1, "void");
    settled(&server, &forgotten);
    assert_eq!(rows(&server, &forgotten, "open").len(), 2);
    // An answer at the end is too late; the leader ends the waits itself.
    server.clock.advance(1);
    until("the waits are over", || {
        (rows(&server, &forgotten, "final").len() == 2).then_some(())
    });
    step(&server, 2, "capture");
    settled(&server, &forgotten);
    settled(&server, &quick);
    let mut shown = rows(&server, &forgotten, "final");
    shown.sort_by_key(|row| row["values"]["amount"].as_u64());
    let expected = [
        json!([{"payment": holds[2]}, {"amount": 30}]),
        json!([{"payment": holds[3]}, {"amount": 40}]),
    ];
    assert_eq!(brief(&shown), expected);
    assert_eq!(shown[0]["window_end"], "2026-11-20T00:01:00Z");
    let shown = rows(&server, &quick, "final");
    assert_eq!(
        brief(&shown),
        [json!([{"payment": holds[0]}, {"amount": 10}])]
    );
    assert_eq!(shown[0]["window_end"], "2026-11-20T00:00:20Z");
    // Answers are no events that are counted.
    let wrong = [
        (json!({"until": []}), "window.until"),
        (
            json!({"until": [{"event": "payment.authorized"}]}),
            "window.until[0].event",
        ),
        (json!({"within_seconds": 0}), "window.within_seconds"),
    ];
    for (change, param) in wrong {
        let sound = waits("wrong", "answered");
        let window = with(&sound["window"], &change);
        let answer = server.post(STREAMS, &with(&sound, &json!({"window": window})));
        assert_eq!(answer.expect(400)["error"]["param"], param, "{change}");
    }
}

/// Freezes whoever is declined three times in a minute.
fn probing(acts_as: &str) -> Value {
    json!({
        "slug": "probing",
        "from": [{"event": "payment.failed"}],
        "key": ["source"],
        "window": {"type": "trailing", "size_seconds": 60},
        "emit": {"declines": "count()"},
        "having": "declines == 3",
        "act": {"freeze_account": "source", "acts_as": acts_as},
    })
}

#[test]
fn a_stream_freezes_an_account_once_and_not_again_when_it_is_computed_again() {
    let mut server = Fixture::start();
    let acts_as = api_key(&server);
    let path = path_of(&server.post(STREAMS, &probing(&acts_as)).expect(201));
    let (wallet, merchant) = {
        let shop = Shop::open(&server);
        (shop.wallet.clone(), shop.merchant.clone())
    };
    let decline = |server: &Fixture| {
        let too_much = pay(&wallet, &merchant, 1_000_000);
        server.post("/v1/payments", &too_much).expect(402);
    };
    let status = |server: &Fixture| {
        let account = server.get(&format!("/v1/accounts/{wallet}")).expect(200);
        account["status"].clone()
    };
    (0..2).for_each(|_| decline(&server));
    settled(&server, &path);
    assert_eq!(status(&server), "open");
    decline(&server);
    until("the account is frozen", || {
        (status(&server) == "frozen").then_some(())
    });
    settled(&server, &path);
    assert_eq!(events(&server, "account.frozen").len(), 1);
    let unfreeze = format!("/v1/accounts/{wallet}/unfreeze");
    server.post(&unfreeze, &json!({})).expect(200);
    server.restart();
    let figures = settled(&server, &path);
    assert_eq!(figures["results"], 1);
    assert_eq!(
        status(&server),
        "open",
        "what was done once is not done again"
    );
    // Who is frozen already is not frozen again: the ledger refuses it, which is counted.
    server.clock.advance(60);
    let freeze = format!("/v1/accounts/{wallet}/freeze");
    server.post(&freeze, &json!({})).expect(200);
    (0..3).for_each(|_| decline(&server));
    let refused = until("the ledger refuses it", || {
        let figures = settled(&server, &path);
        (figures["results"] == 2).then(|| figures["refused"].clone())
    });
    assert_eq!(refused, 1);
}

#[test]
fn what_a_stream_may_do_is_checked() {
    let server = Fixture::start();
    let acts_as = api_key(&server);
    let sound = probing(&acts_as);
    let of_owner = id(&server
        .post("/v1/api_keys", &json!({"owner": "shop", "access": "write"}))
        .expect(201));
    let act =
        |field: &str, acts_as: &str| json!({"act": {"freeze_account": field, "acts_as": acts_as}});
    let publish = json!({"publish": {"event": "app.probing", "acts_as": acts_as}});
    let wrong = [
        (act("destination", &acts_as), "act.freeze_account"),
        (act("source", &of_owner), "act.acts_as"),
        (publish, "act"),
    ];
    for (change, param) in wrong {
        let answer = server.post(STREAMS, &with(&sound, &change));
        assert_eq!(answer.expect(400)["error"]["param"], param, "{change}");
    }
}
