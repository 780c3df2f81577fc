//! What must be true in the end, by a model that adds up for itself.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::clients::{Arrived, Asked, Effect, Seen, Written};
use crate::nodes::cluster::until;
use crate::support::{Server, all_pages, text, tributary};

/// How far from the sight of another term a delivery may be that goes back with it.
const SLACK: Duration = Duration::from_secs(3);
/// Balances of the past that are compared at each node.
const SAMPLES: usize = 50;

/// The journal, as one node exports it.
pub(super) struct Journal {
    records: Vec<Value>,
}

impl Journal {
    /// Exports the directory of a stopped node, and returns the bytes too.
    pub(super) fn export(data: &Path) -> (Journal, Vec<u8>) {
        let export = tributary()
            .args(["export", "--data", text(data), "--format", "jsonl"])
            .output()
            .expect("the binary runs");
        assert!(export.status.success(), "{export:?}");
        let lines = serde_json::Deserializer::from_slice(&export.stdout).into_iter();
        let records = lines.map(|line| line.expect("a line is JSON")).collect();
        (Journal { records }, export.stdout)
    }
}

/// Each wallet's balance after each of its payments, by position.
pub(super) struct Model(Vec<BTreeMap<u64, i64>>);

impl Model {
    fn balance_at(&self, wallet: usize, position: u64) -> i64 {
        let last = self.0[wallet].range(..=position).next_back();
        last.map_or(0, |(_, balance)| *balance)
    }

    /// Whether the wallet had this balance at one of these positions.
    fn had(&self, wallet: usize, balance: i64, positions: std::ops::RangeInclusive<u64>) -> bool {
        self.balance_at(wallet, *positions.start()) == balance
            || self.0[wallet]
                .range(positions)
                .any(|(_, had)| *had == balance)
    }
}

/// Checks that what was acknowledged is in the journal, once, at a position that keeps its place in time; and nothing else is.
/// Returns the model, and the id of the event of each write.
pub(super) fn check_writes(
    journal: &Journal,
    written: &[Vec<Written>],
    source: &str,
    wallets: &[String],
) -> (Model, BTreeSet<String>) {
    let mut by_key: HashMap<&str, &Value> = HashMap::new();
    for record in &journal.records {
        let key = record["idempotency_key"].as_str().expect("a text");
        if record["type"]
            .as_str()
            .is_some_and(|kind| kind.starts_with("payment."))
        {
            let before = by_key.insert(key, record);
            assert!(
                before.is_none(),
                "{key} was decided twice: {before:?} {record}"
            );
        }
    }
    let mut amounts = vec![BTreeMap::new(); wallets.len()];
    let (mut events, mut payments) = (BTreeSet::new(), BTreeMap::new());
    for write in written.iter().flatten() {
        let record = by_key.remove(&*write.key);
        let record =
            record.unwrap_or_else(|| panic!("it was acknowledged, and is lost: {write:?}"));
        assert_eq!(record["refused"], Value::Null, "{write:?} {record}");
        assert_eq!(
            record["payment"],
            json!(write.payment),
            "{write:?} {record}"
        );
        let position = record["position"].as_u64().expect("a position");
        assert!(
            position > write.before,
            "it stands before what was told before it was sent: {write:?} {record}"
        );
        assert!(
            position <= write.told,
            "its answer told less: {write:?} {record}"
        );
        let moves = write.effect != Effect::Holds;
        let postings = record["postings"].as_array().expect("a list");
        let moved: BTreeMap<&str, i64> = postings
            .iter()
            .map(|one| {
                (
                    one["account"].as_str().expect("an id"),
                    one["amount"].as_i64().expect("an amount"),
                )
            })
            .filter(|(_, amount)| *amount != 0)
            .collect();
        let wallet = &*wallets[write.wallet];
        let expected = BTreeMap::from([(wallet, write.amount), (source, -write.amount)]);
        assert_eq!(
            moved,
            if moves { expected } else { BTreeMap::new() },
            "{write:?} {record}"
        );
        if moves {
            amounts[write.wallet].insert(position, write.amount);
        }
        // A payment is made by one write, and a hold captured by one.
        let before = payments.insert(
            (&write.payment, write.effect == Effect::Captures),
            &write.key,
        );
        assert!(
            before.is_none(),
            "two writes were answered with one payment: {write:?} {before:?}"
        );
        events.insert(record["id"].as_str().expect("an id").to_owned());
    }
    assert!(by_key.is_empty(), "nobody was told of these: {by_key:?}");
    for amounts in &mut amounts {
        let mut balance = 0;
        for amount in amounts.values_mut() {
            balance += *amount;
            *amount = balance;
        }
    }
    (Model(amounts), events)
}

/// Checks that every read showed what it had to, and nothing of what came later.
pub(super) fn check_reads(model: &Model, seen: &[Seen]) {
    for one in seen {
        let holds = match one.asked {
            Asked::At => model.balance_at(one.wallet, one.position) == one.posted,
            Asked::Strict | Asked::AtLeast => {
                model.had(one.wallet, one.posted, one.position..=one.told)
            }
        };
        assert!(
            holds,
            "no such balance: {one:?}, at first {}, at last {}",
            model.balance_at(one.wallet, one.position),
            model.balance_at(one.wallet, one.told)
        );
    }
}

/// Checks at a node that runs that it has every payment once, and the balances of now and of the past.
pub(super) fn check_node(node: &Server, written: &[Vec<Written>], wallets: &[String]) {
    for (written, wallet) in written.iter().zip(wallets) {
        let moved = written.iter().filter(|one| one.effect != Effect::Holds);
        let sum: i64 = moved.map(|one| one.amount).sum();
        let path = format!("/v1/accounts/{wallet}");
        until("a node has everything", || {
            (node.get(&path)["posted"] == json!(sum)).then_some(())
        });
        let payments = all_pages(node, &format!("/v1/payments?account={wallet}"));
        let there: BTreeMap<&str, &Value> = payments
            .iter()
            .map(|payment| (payment["id"].as_str().expect("an id"), &payment["amount"]))
            .collect();
        assert_eq!(there.len(), payments.len(), "each once");
        let asked = written.iter().filter(|one| one.effect != Effect::Captures);
        let asked: BTreeMap<&str, i64> = asked.map(|one| (&*one.payment, one.amount)).collect();
        assert!(
            there.keys().eq(asked.keys()),
            "what is there is what was acknowledged"
        );
        for (payment, amount) in asked {
            assert_eq!(*there[payment], json!(amount), "{payment}");
        }
    }
    assert_eq!(node.get("/v1/trial_balance")["balanced"], true);
}

/// Balances of the past as a node that runs tells them, to be checked when the journal is there.
pub(super) fn ask_for_the_past(node: &Server, wallets: &[String]) -> Vec<Seen> {
    let head = node.get("/v1/journal/head")["position"]
        .as_u64()
        .expect("a position");
    let mut seen = Vec::new();
    for sample in 0..SAMPLES {
        let (wallet, position) = (
            sample % wallets.len(),
            1 + head * sample as u64 / SAMPLES as u64,
        );
        let balance = node.get(&format!(
            "/v1/accounts/{}/balance?at={position}",
            wallets[wallet]
        ));
        seen.push(Seen {
            asked: Asked::At,
            wallet,
            posted: balance["posted"].as_i64().expect("an amount"),
            position,
            told: position,
        });
    }
    seen
}

/// Another term, when it was seen from outside.
#[derive(Clone, Copy, Debug)]
pub(super) struct NewTerm(pub(super) Instant);

/// Checks that every event came at least once, and that within a term a capture never came before its hold. Returns how many came again.
pub(super) fn check_events(
    way: &str,
    events: &BTreeSet<String>,
    arrived: &[Arrived],
    terms: &[NewTerm],
) -> usize {
    let came: BTreeSet<&str> = arrived.iter().map(|one| &*one.event).collect();
    let missing: Vec<&String> = events
        .iter()
        .filter(|event| !came.contains(&***event))
        .collect();
    assert!(
        missing.is_empty(),
        "{way}: {} events never came: {missing:?}",
        missing.len()
    );
    let mut by_payment: BTreeMap<&str, Vec<&Arrived>> = BTreeMap::new();
    for one in arrived {
        by_payment.entry(&one.payment).or_default().push(one);
    }
    for (payment, events) in by_payment {
        for pair in events.windows(2) {
            let [earlier, later] = pair else { continue };
            if earlier.kind != "payment.captured" || later.kind != "payment.authorized" {
                continue;
            }
            let between = earlier.at - SLACK..=later.at + SLACK;
            let is_another_term = terms.iter().any(|NewTerm(at)| between.contains(at));
            assert!(
                is_another_term,
                "{way}: {payment} went back within a term: {events:?}, {terms:?}"
            );
        }
        let first = &events[0].kind;
        let has_hold = events.iter().any(|one| one.kind == "payment.authorized");
        assert!(
            !has_hold || first == "payment.authorized",
            "{way}: the capture of {payment} came first: {events:?}"
        );
    }
    arrived.len() - came.len()
}

/// A journal with a payment of 5 at position 3, and a hold of 7 at 4 that is captured at 6; and who was told so.
fn example() -> (Vec<Value>, Vec<Written>) {
    let record = |position: u64, kind: &str, key: &str, payment: &str, amount: i64| {
        json!({ "position": position, "id": format!("evt_{position}"), "type": kind, "idempotency_key": key,
            "payment": payment, "refused": null, "postings": [
                { "account": "source", "amount": -amount }, { "account": "wallet", "amount": amount }] })
    };
    let records = vec![
        record(3, "payment.captured", "a", "pay_1", 5),
        record(4, "payment.authorized", "b", "pay_2", 0),
        record(6, "payment.captured", "c", "pay_2", 7),
    ];
    let write = |key: &str, effect, payment: &str, amount, before, told| Written {
        key: key.to_owned(),
        effect,
        wallet: 0,
        payment: payment.to_owned(),
        amount,
        before,
        told,
    };
    let written = vec![
        write("a", Effect::Pays, "pay_1", 5, 2, 3),
        write("b", Effect::Holds, "pay_2", 7, 2, 5),
        write("c", Effect::Captures, "pay_2", 7, 5, 6),
    ];
    (records, written)
}

fn check_example(records: Vec<Value>, written: Vec<Written>) -> Model {
    let wallets = ["wallet".to_owned()];
    check_writes(&Journal { records }, &[written], "source", &wallets).0
}

/// Runs checks that must fail.
#[track_caller]
fn must_fail(check: impl FnOnce() + std::panic::UnwindSafe) {
    assert!(std::panic::catch_unwind(check).is_err(), "it is not found");
}

#[test]
fn writes_that_are_lost_doubled_changed_or_out_of_place_are_found() {
    let (records, written) = example();
    check_example(records, written);
    type Change = fn(&mut Vec<Value>, &mut Vec<Written>);
    let changes: [Change; 9] = [
        |records, _| drop(records.remove(0)),
        |records, _| records.push(records[0].clone()),
        |_, written| drop(written.remove(0)),
        |records, _| records[0]["payment"] = json!("pay_3"),
        |records, _| records[0]["refused"] = json!(1),
        |records, _| records[0]["postings"][1]["amount"] = json!(6),
        |records, _| records[1]["postings"][1]["amount"] = json!(6),
        |_, written| written[0].before = 3,
        |_, written| written[0].told = 2,
    ];
    for change in changes {
        let (mut records, mut written) = example();
        change(&mut records, &mut written);
        must_fail(|| drop(check_example(records, written)));
    }
}

#[test]
fn reads_that_show_too_little_or_too_much_are_found() {
    let seen = |asked, posted, position, told| Seen {
        asked,
        wallet: 0,
        posted,
        position,
        told,
    };
    let check = |seen: Seen| {
        let (records, written) = example();
        check_reads(&check_example(records, written), &[seen]);
    };
    for right in [
        seen(Asked::At, 5, 5, 5),
        seen(Asked::Strict, 5, 3, 5),
        seen(Asked::AtLeast, 12, 3, 6),
        seen(Asked::Strict, 0, 2, 2),
    ] {
        check(right);
    }
    for wrong in [
        seen(Asked::At, 12, 5, 6),
        seen(Asked::Strict, 0, 3, 6),
        seen(Asked::AtLeast, 12, 3, 5),
        seen(Asked::AtLeast, 7, 3, 6),
    ] {
        must_fail(|| check(wrong));
    }
}

#[test]
fn events_that_are_missing_or_go_back_are_found() {
    let now = Instant::now() + 10 * SLACK;
    let arrived = |came: &[(u64, &str, u32)]| -> Vec<Arrived> {
        let came = came.iter();
        came.map(|(event, kind, at)| Arrived {
            event: format!("evt_{event}"),
            kind: format!("payment.{kind}"),
            payment: "pay_2".to_owned(),
            at: now + *at * SLACK,
        })
        .collect()
    };
    let events = BTreeSet::from(["evt_4".to_owned(), "evt_6".to_owned()]);
    let check = |came: &[(u64, &str, u32)], terms: &[u32]| {
        let terms: Vec<NewTerm> = terms.iter().map(|at| NewTerm(now + *at * SLACK)).collect();
        check_events("test", &events, &arrived(came), &terms)
    };
    let (held, captured) = (|at| (4, "authorized", at), |at| (6, "captured", at));
    assert_eq!(check(&[held(0), captured(1)], &[]), 0);
    assert_eq!(check(&[held(0), held(1), captured(2)], &[]), 1);
    assert_eq!(
        check(&[held(0), captured(1), held(5), captured(6)], &[3]),
        2
    );
    must_fail(|| assert_eq!(check(&[held(0)], &[]), 0));
    must_fail(|| assert_eq!(check(&[captured(0), held(1)], &[0]), 0));
    must_fail(|| {
        assert_eq!(
            check(&[held(0), captured(1), held(5), captured(6)], &[9]),
            2
        )
    });
}
