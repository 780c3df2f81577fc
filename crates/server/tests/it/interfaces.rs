//! One intake: the same command gets the same answer over REST, in a batch and over gRPC.
//!
//! Every command is sent three times under one idempotency key, each time over another interface, and each interface is the
//! first in turn. What is recorded is answered with the same object by all three, two of which say that they repeat it; what is
//! refused before the ledger gets the same status, code and field from all three, and leaves no record.

use serde_json::{Value, json};

use crate::client::Answer;
use crate::fixture::{Fixture, id, pay};
use crate::grpc::client::{code, param};
use crate::grpc::messages::command::Body;
use crate::grpc::messages::{
    AccountId, Capture, Command, Fee, OpenAccount, Pay, PayeeAmount, Publish, Queue, Refund,
    ReturnPayout, SettlePayout, Split, Void, settle_payout, split,
};
use crate::grpc::{as_holder, batch, block};

/// What an interface answered, in the words of all three.
#[derive(Debug, PartialEq)]
struct Seen {
    /// 0 where the interface tells none.
    status: u16,
    code: String,
    /// Without what only says where in a batch it stands.
    param: String,
    /// The object; of gRPC only its id, and that of the capture.
    object: Value,
    replayed: bool,
}

/// The objects that commands are about.
struct Scene {
    server: Fixture,
    ann: String,
    bob: String,
    shop: String,
    bank: String,
    fees: String,
    ann_key: String,
    shop_key: String,
    foreign_mailbox: String,
}

impl Scene {
    fn new() -> Scene {
        let server = Fixture::with_subscriptions_and_grpc();
        let shop_key = server.token("shop", "write");
        let mailbox = server.post_as(&shop_key, "/v1/subscriptions", &json!({"events": []}));
        Scene {
            ann: server.wallet("ann", 100_000),
            bob: server.wallet("bob", 100_000),
            shop: server.account("shop", "merchant"),
            bank: server.account("platform", "external"),
            fees: server.account("platform", "fee"),
            ann_key: server.token("ann", "write"),
            foreign_mailbox: id(&mailbox.expect(201)),
            shop_key,
            server,
        }
    }

    fn paid(&self, source: &str) -> String {
        let paid = self
            .server
            .post("/v1/payments", &pay(source, &self.shop, 100));
        id(&paid.expect(201))
    }

    fn payout(&self, source: &str, paid: bool) -> String {
        let body = with(pay(source, &self.bank, 100), json!({"paid": paid}));
        id(&self.server.post("/v1/payouts", &body).expect(201))
    }

    fn held(&self, source: &str) -> String {
        let held = crate::fixture::hold(source, &self.shop, 100);
        id(&self.server.post("/v1/payments", &held).expect(201))
    }

    /// Sends the command over REST.
    fn over_rest(&self, token: &str, key: &str, operation: &str, fields: &Value) -> Seen {
        let mut body = fields.clone();
        let mut in_path = |field: &str| {
            let removed = body.as_object_mut().and_then(|body| body.remove(field));
            removed.map_or_else(String::new, |id| id.as_str().expect("text").to_owned())
        };
        let path = match operation {
            "freeze" | "unfreeze" | "close" => {
                format!("/v1/accounts/{}/{operation}", in_path("account"))
            }
            "capture" | "void" => format!("/v1/payments/{}/{operation}", in_path("payment")),
            "pay_payout" => format!("/v1/payouts/{}/pay", in_path("payout")),
            "fail_payout" => format!("/v1/payouts/{}/fail", in_path("payout")),
            "return_payout" => format!("/v1/payouts/{}/returns", in_path("payout")),
            noun => format!("/v1/{noun}s"),
        };
        let answer = self
            .server
            .post_raw(token, &path, Some(key), body.to_string().as_bytes());
        let json = answer.json();
        let replayed = answer.header("idempotent-replayed") == Some("true");
        seen(answer.status, &json["error"], json.clone(), replayed)
    }

    /// Sends the command as a batch of one.
    fn in_batch(&self, token: &str, key: &str, operation: &str, fields: &Value) -> Seen {
        let body = json!([{"idempotency_key": key, operation: fields}]);
        let answer: Answer = self.server.post_as(token, "/v1/batches", &body);
        let json = answer.json();
        if answer.status != 200 {
            return seen(answer.status, &json["error"], Value::Null, false);
        }
        let result = &json["results"][0];
        let status = result["status"].as_u64().expect("a status") as u16;
        let replayed = result["replayed"] == true;
        seen(status, &result["error"], result["result"].clone(), replayed)
    }

    /// Sends the command over gRPC.
    fn over_grpc(&self, token: &str, key: &str, operation: &str, fields: &Value) -> Seen {
        let command = Command {
            key: key.as_bytes().to_vec(),
            body: Some(message(operation, fields)),
            description: text(&fields["description"]),
            effective_at: fields["effective_at"].as_str().map(|_| 20_000),
            ..Command::default()
        };
        let (code, param, result) =
            match as_holder(&self.server, token).submit(batch(vec![command])) {
                Ok(answer) => (
                    String::new(),
                    String::new(),
                    Some(answer.results[0].clone()),
                ),
                Err(status) => (code(&status).to_owned(), param(&status).to_owned(), None),
            };
        let code = result.as_ref().map_or(code, |result| result.code.clone());
        let object = match &result {
            Some(result) if result.code.is_empty() => {
                json!({"id": result.id, "capture_id": result.capture_id})
            }
            _ => Value::Null,
        };
        Seen {
            status: 0,
            code,
            param: last_field(&param),
            object,
            replayed: result.is_some_and(|result| result.replayed),
        }
    }

    /// Sends the command over all three interfaces, beginning with the one whose turn it is, and compares the answers.
    fn check(&self, turn: usize, token: &str, (operation, fields): (&str, Value), expected: &str) {
        let what = format!("{operation} {fields}");
        let key = format!("case-{turn}");
        let head = || self.server.reader().head().position;
        let before = head();
        let mut seen: [Option<Seen>; 3] = [None, None, None];
        for step in 0..3 {
            let interface = (turn + step) % 3;
            let send = [Scene::over_rest, Scene::in_batch, Scene::over_grpc][interface];
            let answer = send(self, token, &key, operation, &fields);
            assert_eq!(answer.code, expected, "{what}: {answer:?}");
            let recorded = head() - before;
            let wanted = step > 0 && recorded > 0;
            assert_eq!(answer.replayed, wanted, "{what}: {answer:?}");
            assert!(recorded <= 1, "{what} is decided once");
            seen[interface] = Some(answer);
        }
        let [Some(rest), Some(in_batch), Some(grpc)] = seen else {
            unreachable!("each interface was asked");
        };
        assert_eq!(rest.status, in_batch.status, "{what}");
        assert_eq!(rest.param, in_batch.param, "{what}");
        if rest.code.is_empty() {
            assert_eq!(rest.object, in_batch.object, "{what}");
            let capture = rest.object["capture_id"].as_str();
            let ids = json!({
                "id": block(&id(&rest.object)),
                "capture_id": capture.map(block).unwrap_or_default(),
            });
            assert_eq!(grpc.object, ids, "{what}");
            assert_eq!(capture.is_some(), operation == "capture", "{what}");
        }
        if matches!(rest.status, 400 | 403 | 404) {
            assert_eq!(head(), before, "{what} leaves no record");
        }
        if rest.status == 400 {
            assert_eq!(
                rest.param,
                grpc.param.replace("hold_expires_at", "expires_at"),
                "{what}"
            );
        }
    }
}

fn seen(status: u16, error: &Value, object: Value, replayed: bool) -> Seen {
    Seen {
        status,
        code: text(&error["code"]),
        // In the path of REST the field has another name than in a body.
        param: last_field(&text(&error["param"])),
        object: if error.is_null() { object } else { Value::Null },
        replayed,
    }
}

/// The field itself, without the batch's place and the operation, and as a body names it.
fn last_field(param: &str) -> String {
    let in_batch = param.starts_with('[') || param.starts_with("commands[");
    let skipped = if in_batch { 2 } else { 0 };
    match param.split('.').skip(skipped).last().unwrap_or_default() {
        "account" | "payment" | "payout" => "id".to_owned(),
        last => last.to_owned(),
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// The message for the fields of an operation.
fn message(operation: &str, fields: &Value) -> Body {
    let bytes = |field: &str| fields[field].as_str().map(block).unwrap_or_default();
    let number = |field: &str| fields[field].as_u64();
    let payment = bytes("payment");
    let payee_amounts = || {
        list(&fields["splits"], |part| PayeeAmount {
            account: block(&text(&part["account"])),
            amount: part["amount"].as_u64().unwrap_or_default(),
        })
    };
    let kinds = ["payment", "transfer", "top_up", "payout", "adjustment"];
    match operation {
        "capture" => Body::Capture(Capture {
            payment,
            amount: number("amount"),
            r#final: fields["final"] == true,
            splits: payee_amounts(),
        }),
        "void" => Body::Void(Void { payment }),
        "refund" => Body::Refund(Refund {
            payment,
            amount: number("amount"),
            refund_fee: fields["refund_fee"] == true,
            splits: payee_amounts(),
        }),
        "pay_payout" | "fail_payout" => Body::SettlePayout(SettlePayout {
            payout: bytes("payout"),
            outcome: Some(match operation {
                "pay_payout" => settle_payout::Outcome::Paid(true),
                _ => settle_payout::Outcome::Failure(text(&fields["reason"])),
            }),
        }),
        "return_payout" => Body::ReturnPayout(ReturnPayout {
            payout: bytes("payout"),
            amount: number("amount"),
            reason: text(&fields["reason"]),
        }),
        "account" => Body::OpenAccount(OpenAccount {
            owner: text(&fields["owner"]),
            currency: 978,
            overdraft_unlimited: fields["overdraft"] == "unlimited",
            external_id: text(&fields["external_id"]),
            ..OpenAccount::default()
        }),
        "freeze" => Body::FreezeAccount(AccountId {
            account: bytes("account"),
        }),
        "unfreeze" => Body::UnfreezeAccount(AccountId {
            account: bytes("account"),
        }),
        "close" => Body::CloseAccount(AccountId {
            account: bytes("account"),
        }),
        "event" => Body::Publish(Publish {
            r#type: text(&fields["type"]),
            key: text(&fields["key"]),
            data: fields["data"].to_string(),
        }),
        kind => Body::Pay(Pay {
            source: bytes("source"),
            destination: bytes("destination"),
            amount: number("amount").expect("an amount"),
            currency: 978,
            kind: kinds.iter().position(|one| *one == kind).expect("a kind") as i32,
            splits: list(&fields["splits"], |split| Split {
                account: block(&text(&split["account"])),
                part: split["basis_points"]
                    .as_u64()
                    .map(|points| split::Part::BasisPoints(points as u32)),
            }),
            fees: list(&fields["fees"], |fee| Fee {
                account: block(&text(&fee["account"])),
                amount: fee["amount"].as_u64().unwrap_or_default(),
                basis_points: 0,
            }),
            hold_expires_at: fields["expires_at"].as_str().map(|_| HOLD_UNTIL),
            reference: text(&fields["reference"]),
            reference_scope: text(&fields["reference_scope"]),
            reason: text(&fields["reason"]),
            queue: fields["queue"].as_object().map(|queue| Queue {
                reply_to: queue.get("reply_to").map(text).unwrap_or_default(),
                correlation_id: queue.get("correlation_id").map(text).unwrap_or_default(),
                not_before: queue.get("not_before").map_or(0, |_| HOLD_UNTIL),
                ..Queue::default()
            }),
            paid: fields["paid"] == true,
        }),
    }
}

/// 2026-12-01T00:00:00Z in nanoseconds.
const HOLD_UNTIL: u64 = 1_796_083_200_000_000_000;

fn list<T>(items: &Value, item: impl Fn(&Value) -> T) -> Vec<T> {
    items
        .as_array()
        .map(|items| items.iter().map(item).collect())
        .unwrap_or_default()
}

fn with(mut object: Value, more: Value) -> Value {
    let fields = object.as_object_mut().expect("an object");
    fields.extend(more.as_object().expect("an object").clone());
    object
}

#[test]
fn what_the_platform_does_is_answered_alike() {
    let s = Scene::new();
    let move_money = |from: &str, to: &str| pay(from, to, 100);
    let paid_out = |from: &str| with(pay(from, &s.bank, 10), json!({"paid": true}));
    let split = json!({
        "amount": 1_000, "currency": "EUR", "source": s.ann, "reference": "order-1", "description": "A cup",
        "effective_at": "2024-10-04", "fees": [{"account": s.fees, "amount": 7}],
        "splits": [{"account": s.shop, "basis_points": 6_000}, {"account": s.bob, "basis_points": 4_000}],
    });
    let hold = crate::fixture::hold(&s.ann, &s.shop, 100);
    let scoped = |owner: &str| {
        let named = json!({"reference": "order-1", "reference_scope": owner});
        with(pay(&s.ann, &s.shop, 1), named)
    };
    let parts = |payment: &str, account: &str, amount: u64| json!({"payment": payment, "splits": [{"account": account, "amount": amount}]});
    let queued = with(
        move_money(&s.ann, &s.shop),
        json!({"queue": {"correlation_id": "c-1", "not_before": "2026-12-01T00:00:00Z"}}),
    );
    let cases = [
        (("payment", move_money(&s.ann, &s.shop)), ""),
        (("payment", split.clone()), ""),
        (("payment", hold), ""),
        (("payment", queued), ""),
        (("transfer", move_money(&s.ann, &s.bob)), ""),
        (("top_up", move_money(&s.bank, &s.ann)), ""),
        (("payout", move_money(&s.ann, &s.bank)), ""),
        (("payout", paid_out(&s.ann)), ""),
        (
            ("pay_payout", json!({"payout": s.payout(&s.ann, false)})),
            "",
        ),
        (
            (
                "fail_payout",
                json!({"payout": s.payout(&s.ann, false), "reason": "closed"}),
            ),
            "",
        ),
        (
            (
                "return_payout",
                json!({"payout": s.payout(&s.ann, true), "amount": 4, "reason": "unknown", "description": "d"}),
            ),
            "",
        ),
        (
            ("return_payout", json!({"payout": s.payout(&s.ann, true)})),
            "",
        ),
        (
            (
                "adjustment",
                with(move_money(&s.ann, &s.bob), json!({"reason": "r"})),
            ),
            "",
        ),
        (
            ("capture", json!({"payment": s.held(&s.ann), "amount": 30})),
            "",
        ),
        (
            (
                "capture",
                json!({"payment": s.held(&s.ann), "amount": 10, "final": true}),
            ),
            "",
        ),
        (("void", json!({"payment": s.held(&s.ann)})), ""),
        (
            (
                "refund",
                json!({"payment": s.paid(&s.ann), "amount": 10, "description": "d"}),
            ),
            "",
        ),
        (
            (
                "account",
                json!({"owner": "new", "currency": "EUR", "external_id": "x-1"}),
            ),
            "",
        ),
        (
            (
                "account",
                json!({"owner": "platform", "currency": "EUR", "overdraft": "unlimited"}),
            ),
            "",
        ),
        (
            (
                "freeze",
                json!({"account": s.server.account("ann", "wallet")}),
            ),
            "",
        ),
        (
            (
                "close",
                json!({"account": s.server.account("ann", "wallet")}),
            ),
            "",
        ),
        (
            (
                "event",
                json!({"type": "app.order.shipped", "key": "k", "data": {"n": 1}}),
            ),
            "",
        ),
        // Refused by the ledger, on record.
        (("payment", pay(&s.ann, &s.shop, 0)), "amount_zero"),
        (
            ("payment", pay(&s.ann, &s.shop, 9_000_000)),
            "insufficient_funds",
        ),
        (
            ("pay_payout", json!({"payout": s.payout(&s.ann, true)})),
            "payout_not_pending",
        ),
        (
            (
                "return_payout",
                json!({"payout": s.payout(&s.ann, true), "amount": 101}),
            ),
            "return_exceeds_paid",
        ),
        (("payment", split), "reference_in_use"),
        (("payment", scoped("shop")), ""),
        (("payment", scoped("bob")), "reference_scope_not_party"),
        (("payment", scoped("nobody")), "resource_not_found"),
        (
            ("capture", json!({"payment": s.held(&s.ann), "amount": 101})),
            "capture_exceeds_hold",
        ),
        (
            ("refund", json!({"payment": s.held(&s.ann)})),
            "payment_not_refundable",
        ),
        (("capture", parts(&s.held(&s.ann), &s.shop, 30)), ""),
        (
            ("capture", parts(&s.held(&s.ann), &s.bob, 30)),
            "payee_not_found",
        ),
        (
            ("capture", parts(&s.held(&s.ann), &s.shop, 101)),
            "capture_exceeds_hold",
        ),
        (("refund", parts(&s.paid(&s.ann), &s.shop, 30)), ""),
        (
            ("refund", parts(&s.paid(&s.ann), &s.shop, 0)),
            "amount_zero",
        ),
        (
            ("unfreeze", json!({"account": s.bob})),
            "account_not_frozen",
        ),
    ];
    for (turn, (command, expected)) in cases.into_iter().enumerate() {
        s.check(turn, &s.server.platform, command, expected);
    }
}

#[test]
fn what_an_owner_may_see_and_do_is_answered_alike() {
    let s = Scene::new();
    let invented = |prefix: &str| format!("{prefix}_{}", "0".repeat(26));
    let adjustment = |source: &str| with(pay(source, &s.shop, 1), json!({"reason": "r"}));
    let of_bob = s.held(&s.bob);
    let of_ann = s.held(&s.ann);
    let told = |to: &str| with(pay(&s.ann, &s.shop, 1), json!({"queue": {"reply_to": to}}));
    let scoped = |owner: &str| {
        let named = json!({"reference": "order-1", "reference_scope": owner});
        with(pay(&s.ann, &s.shop, 1), named)
    };
    let (absent, forbidden, platform) = ("resource_not_found", "forbidden", "platform_only");
    let account = |id: &str| json!({"account": id});
    let payment = |id: &str| json!({"payment": id});
    let payout = |id: &str| json!({"payout": id});
    let cases = [
        (("payment", pay(&s.ann, &s.shop, 10)), ""),
        (("payment", pay(&s.bob, &s.shop, 10)), absent),
        (("payment", pay(&invented("acct"), &s.shop, 10)), absent),
        (("transfer", pay(&s.bob, &s.ann, 10)), absent),
        (("top_up", pay(&s.bank, &s.ann, 10)), absent),
        (("payout", pay(&s.ann, &s.bank, 10)), ""),
        (
            (
                "payout",
                with(pay(&s.ann, &s.bank, 10), json!({"paid": true})),
            ),
            platform,
        ),
        (("pay_payout", payout(&s.payout(&s.ann, false))), platform),
        (("pay_payout", payout(&s.payout(&s.bob, false))), absent),
        (("pay_payout", payout(&invented("pay"))), absent),
        (("void", payment(&s.payout(&s.ann, false))), forbidden),
        (("return_payout", payout(&s.payout(&s.ann, true))), platform),
        (("return_payout", payout(&s.payout(&s.bob, true))), absent),
        (
            (
                "fail_payout",
                with(payout(&s.payout(&s.ann, false)), json!({"reason": "r"})),
            ),
            platform,
        ),
        (("adjustment", adjustment(&s.ann)), platform),
        (("adjustment", adjustment(&s.bob)), absent),
        (("adjustment", adjustment(&invented("acct"))), absent),
        (("freeze", account(&s.ann)), platform),
        (("freeze", account(&s.bob)), absent),
        (("freeze", account(&invented("acct"))), absent),
        (("unfreeze", account(&s.ann)), platform),
        (("close", account(&s.bob)), absent),
        (("close", account(&s.ann)), "account_not_empty"),
        (("capture", payment(&of_ann)), forbidden),
        (("capture", payment(&of_bob)), absent),
        (("capture", payment(&invented("pay"))), absent),
        (("void", payment(&of_ann)), forbidden),
        (("void", payment(&of_bob)), absent),
        (("refund", payment(&s.paid(&s.ann))), forbidden),
        (("refund", payment(&s.paid(&s.bob))), absent),
        (("account", json!({"currency": "EUR"})), ""),
        (
            ("account", json!({"currency": "EUR", "owner": "bob"})),
            forbidden,
        ),
        (
            ("account", json!({"currency": "EUR", "owner": "nobody"})),
            forbidden,
        ),
        (
            (
                "account",
                json!({"currency": "EUR", "overdraft": "unlimited"}),
            ),
            forbidden,
        ),
        (("payment", scoped("ann")), platform),
        (("payment", scoped("nobody")), platform),
        (("payment", told(&s.foreign_mailbox)), absent),
        (("payment", told(&invented("sub"))), absent),
        (("event", json!({"type": "app.a", "data": 1})), ""),
    ];
    for (turn, (command, expected)) in cases.into_iter().enumerate() {
        s.check(turn, &s.ann_key, command, expected);
    }
    for (turn, (command, expected)) in [
        (("capture", json!({"payment": of_ann, "amount": 10})), ""),
        (("void", payment(&of_ann)), ""),
        (("refund", json!({"payment": of_ann, "amount": 1})), ""),
    ]
    .into_iter()
    .enumerate()
    {
        s.check(turn, &s.shop_key, command, expected);
    }
    let metrics = String::from_utf8(s.server.get("/metrics").body).expect("UTF-8");
    let counted = metrics.lines().filter(|line| {
        line.starts_with("tributary_intake_refused_total{") && line.contains("code=\"forbidden\"")
    });
    let counted: Vec<&str> = counted.collect();
    assert_eq!(counted.len(), 1, "{counted:?}");
    assert!(
        counted[0].ends_with(" 21"),
        "seven commands over three interfaces: {counted:?}"
    );
}

#[test]
fn a_wrong_form_is_answered_alike_and_nothing_is_done() {
    let s = Scene::new();
    let plain = || pay(&s.ann, &s.shop, 1);
    let split = json!([{"account": s.shop, "basis_points": 10_000}]);
    let mut nobody = plain();
    nobody
        .as_object_mut()
        .expect("an object")
        .remove("destination");
    let fee = json!({"account": s.fees, "amount": 1});
    let cases = [
        (
            ("payment", with(plain(), json!({"splits": split}))),
            "parameter_invalid",
        ),
        (("payment", nobody), "parameter_missing"),
        (
            ("payment", with(plain(), json!({"reference": "a\u{1}b"}))),
            "parameter_invalid",
        ),
        (
            ("payment", with(plain(), json!({"reference": "r "}))),
            "parameter_invalid",
        ),
        (
            ("payment", with(plain(), json!({"reference": "\u{200b}"}))),
            "parameter_invalid",
        ),
        (
            ("payment", with(plain(), json!({"reference": "e\u{301}"}))),
            "parameter_invalid",
        ),
        (
            ("payment", with(plain(), json!({"reference_scope": "shop"}))),
            "parameter_invalid",
        ),
        (
            (
                "refund",
                json!({"payment": s.paid(&s.ann), "amount": 1, "splits": [{"account": s.shop, "amount": 1}]}),
            ),
            "parameter_invalid",
        ),
        (
            (
                "payment",
                with(plain(), json!({"reference": "x".repeat(65)})),
            ),
            "parameter_invalid",
        ),
        (
            ("transfer", with(plain(), json!({"fees": vec![fee; 16]}))),
            "parameter_invalid",
        ),
        (
            ("adjustment", with(plain(), json!({"reason": "\u{7f}"}))),
            "parameter_invalid",
        ),
        (("account", json!({"currency": "EUR"})), "parameter_missing"),
        (
            ("account", json!({"currency": "EUR", "owner": "a b"})),
            "parameter_invalid",
        ),
        (
            (
                "account",
                json!({"currency": "EUR", "owner": "a", "external_id": "\u{1}"}),
            ),
            "parameter_invalid",
        ),
        (
            (
                "account",
                json!({"currency": "EUR", "owner": "a", "external_id": " x"}),
            ),
            "parameter_invalid",
        ),
        (
            ("event", json!({"type": "order", "data": 1})),
            "parameter_invalid",
        ),
        (
            ("event", json!({"type": "app.a", "key": "\u{1}", "data": 1})),
            "parameter_invalid",
        ),
    ];
    for (turn, (command, expected)) in cases.into_iter().enumerate() {
        s.check(turn, &s.server.platform, command, expected);
    }
}

#[test]
fn the_members_of_a_group_are_answered_alike_also_when_they_are_repeated() {
    let s = Scene::new();
    let paying = |source: &str, amount| pay(source, &s.shop, amount);
    let groups = [
        (vec![paying(&s.ann, 1), paying(&s.ann, 2)], ["", ""], true),
        (
            vec![paying(&s.ann, 1), paying(&s.ann, 9_000_000)],
            ["group_aborted", "insufficient_funds"],
            true,
        ),
        (
            vec![paying(&s.ann, 1), paying(&s.bob, 1)],
            ["group_aborted", "resource_not_found"],
            false,
        ),
    ];
    for (turn, (members, expected, recorded)) in groups.into_iter().enumerate() {
        let key = |index: usize| format!("group-{turn}-{index}");
        let grpc = || {
            let commands = members.iter().enumerate().map(|(index, fields)| Command {
                key: key(index).into_bytes(),
                linked: index == 0,
                body: Some(message("payment", fields)),
                ..Command::default()
            });
            let answer = as_holder(&s.server, &s.ann_key).submit(batch(commands.collect()));
            let results = answer.expect("it is answered").results;
            let each = results.into_iter().map(|one| (one.code, one.replayed));
            each.collect::<Vec<_>>()
        };
        let rest = || {
            let items = members.iter().enumerate();
            let items = items
                .map(|(index, fields)| json!({"idempotency_key": key(index), "payment": fields}));
            let body = json!([{"group": items.collect::<Vec<_>>()}]);
            let done = s
                .server
                .post_as(&s.ann_key, "/v1/batches", &body)
                .expect(200);
            let results = done["results"].as_array().expect("results").iter();
            let each = results.map(|one| (text(&one["error"]["code"]), one["replayed"] == true));
            each.collect::<Vec<_>>()
        };
        let answers = match turn % 2 {
            0 => [grpc(), rest(), grpc()],
            _ => [rest(), grpc(), rest()],
        };
        for (step, answer) in answers.iter().enumerate() {
            let replayed = recorded && step > 0;
            let wanted = expected.map(|code| (code.to_owned(), replayed));
            assert_eq!(answer, &wanted, "group {turn}, step {step}");
        }
    }
}

#[test]
fn a_repetition_is_answered_although_the_caller_could_not_ask_for_it_any_more() {
    let s = Scene::new();
    let payment = s.held(&s.ann);
    // Queued payments may be taken back by whoever asked for them, until they run.
    let queued = with(
        pay(&s.ann, &s.shop, 10),
        json!({"queue": {"not_before": "2026-11-21T00:00:00Z"}}),
    );
    let queued = id(&s
        .server
        .post_as(&s.ann_key, "/v1/payments", &queued)
        .expect(202));
    let void = json!({"payment": queued});
    let first = s.over_rest(&s.ann_key, "void-1", "void", &void);
    assert_eq!((first.status, first.code.as_str()), (200, ""));
    // It is voided: under another key nobody but the payee could ask for it.
    let again = s.over_rest(&s.ann_key, "void-2", "void", &void);
    assert_eq!((again.status, again.code.as_str()), (403, "forbidden"));
    for send in [Scene::over_rest, Scene::in_batch] {
        let repeated = send(&s, &s.ann_key, "void-1", "void", &void);
        assert_eq!((repeated.replayed, &repeated.object), (true, &first.object));
    }
    // Another command under a used key is a conflict, even one that may not be asked for.
    let conflict = s.over_rest(
        &s.ann_key,
        "void-1",
        "capture",
        &json!({"payment": payment}),
    );
    assert_eq!(
        (conflict.status, conflict.code.as_str()),
        (422, "idempotency_key_reused")
    );
}
