//! Three nodes are restarted one by one, then upgraded to a program that writes a newer format, under load.
//!
//! `scripts/cluster-test upgrade` builds the newer program and runs this; without it, only the restarts are tried.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::http;
use crate::nodes::cluster::{Cluster, decide, find_leader, until};
use crate::nodes::{Kind, Scene, moved};
use crate::support::{PROGRAM, Server, all_pages, text};

const WRITERS: usize = 3;

/// What the writers were answered, and how long that took at most.
#[derive(Default)]
struct Answers {
    payments: BTreeMap<String, u64>,
    slowest: Duration,
}

/// The program that writes the next format, if it was built.
fn newer() -> Option<PathBuf> {
    std::env::var_os("TRIBUTARY_TEST_NEWER_PROGRAM").map(PathBuf::from)
}

#[test]
fn nodes_are_restarted_and_upgraded_one_by_one_under_load_over_postgresql() {
    play(Kind::Postgresql);
}

#[test]
fn nodes_are_restarted_and_upgraded_one_by_one_under_load_over_kafka() {
    // The restarts alone are tried on the other log.
    if newer().is_some() {
        play(Kind::Kafka);
    }
}

fn play(kind: Kind) {
    let Some(mut scene) = Scene::new(kind) else {
        return;
    };
    let cluster = &mut scene.cluster;
    moved(cluster);
    cluster.give_keys(1);
    cluster.give_keys(2);
    let mut nodes: Vec<Option<Server>> = (0..3).map(|node| Some(cluster.start(node))).collect();
    let token = nodes[0].as_ref().expect("it runs").key.clone();
    let (answers, is_done) = (Mutex::new(Answers::default()), AtomicBool::new(false));
    let addresses = cluster.addresses.clone();
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let (addresses, token, answers, is_done) = (&addresses, &*token, &answers, &is_done);
            scope.spawn(move || write(writer, addresses, token, answers, is_done));
        }
        let played = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            roll(cluster, &mut nodes, &answers, "restarted");
            if let Some(newer) = newer() {
                upgrade(cluster, &mut nodes, &answers, newer);
            }
        }));
        is_done.store(true, Ordering::Relaxed);
        if let Err(panic) = played {
            std::panic::resume_unwind(panic);
        }
    });
    let answers = answers.into_inner().expect("no holder panics");
    for node in nodes.iter().flatten() {
        until("a node has everything", || {
            let payments = all_pages(node, "/v1/payments");
            let there: BTreeMap<String, u64> = payments
                .iter()
                .map(|payment| {
                    let id = payment["id"].as_str().expect("an id").to_owned();
                    (id, payment["amount"].as_u64().expect("an amount"))
                })
                .collect();
            (there == answers.payments && payments.len() == there.len()).then_some(())
        });
    }
    for node in nodes.into_iter().flatten() {
        assert!(node.stop().success());
    }
    for node in 0..3 {
        cluster.run_for(0, node, &["verify", "--json"]);
        let verified = crate::support::program(&cluster.program)
            .args(["verify", "--data", text(&cluster.data(node))])
            .output()
            .expect("the binary runs");
        assert!(verified.status.success(), "{verified:?}");
    }
    eprintln!("{} payments, each once", answers.payments.len());
}

/// Restarts each node in turn, the leader last, each as soon as the one before is ready.
fn roll(cluster: &Cluster, nodes: &mut [Option<Server>], answers: &Mutex<Answers>, what: &str) {
    answers.lock().expect("no holder panics").slowest = Duration::ZERO;
    let leading = until("a node leads", || find_leader(nodes));
    for node in (0..3).filter(|node| *node != leading).chain([leading]) {
        restart(cluster, nodes, node);
    }
    more(answers);
    let slowest = answers.lock().expect("no holder panics").slowest;
    eprintln!(
        "all nodes {what}: the slowest answer took {} ms",
        slowest.as_millis()
    );
    // The long form is measured, too; a test may run on a machine of any speed.
    assert!(
        newer().is_none() || slowest < Duration::from_secs(5),
        "a client that repeats its request for 5 s was not answered"
    );
}

fn restart(cluster: &Cluster, nodes: &mut [Option<Server>], node: usize) {
    assert!(nodes[node].take().expect("it runs").stop().success());
    nodes[node] = Some(cluster.start(node));
    until("it is ready", || {
        let answer = http::request(
            &cluster.addresses[node],
            "GET",
            "/health/ready",
            "",
            None,
            None,
        );
        answer
            .is_ok_and(|answer| answer.status == 200)
            .then_some(())
    });
}

/// Waits until payments go on.
fn more(answers: &Mutex<Answers>) {
    let count = || answers.lock().expect("no holder panics").payments.len();
    let before = count();
    until("payments are made", || {
        (count() > before + 30).then_some(())
    });
}

fn upgrade(
    cluster: &mut Cluster,
    nodes: &mut [Option<Server>],
    answers: &Mutex<Answers>,
    newer: PathBuf,
) {
    let discover = format!("static://{}", cluster.addresses.join(","));
    let finalize = |cluster: &Cluster, token: &str| {
        let finalized = crate::support::program(&cluster.program)
            .args([
                "cluster",
                "finalize-upgrade",
                "--json",
                "--discover",
                &discover,
            ])
            .env("TRIBUTARY_API_KEY", token)
            .output();
        finalized.expect("the binary runs")
    };
    let token = nodes[0].as_ref().expect("it runs").key.clone();
    let versions = |nodes: &[Option<Server>], node: usize| -> (Value, Value) {
        let status = nodes[node].as_ref().expect("it runs").get("/v1/cluster");
        (
            status["written"]["format"].clone(),
            status["newest"]["format"].clone(),
        )
    };
    cluster.program = newer.clone();
    // One node is newer: it may lead, and nothing changes for the others.
    restart(cluster, nodes, 0);
    nodes[0].as_ref().expect("it runs").post(
        "/v1/cluster/hand_over",
        "",
        &json!({ "to": "node-0" }),
    );
    until("the newer node leads", || {
        (find_leader(nodes) == Some(0)).then_some(())
    });
    more(answers);
    assert_eq!(versions(nodes, 0), (json!(1), json!(2)));
    let refused = finalize(cluster, &token);
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    let why = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(why.contains("nothing was changed"), "{why}");
    assert_eq!(versions(nodes, 1), (json!(1), json!(1)));
    roll(cluster, nodes, answers, "upgraded");
    assert_eq!(versions(nodes, 2), (json!(1), json!(2)));
    let done = finalize(cluster, &token);
    assert!(done.status.success(), "{done:?}");
    more(answers);
    assert_eq!(versions(nodes, 2), (json!(2), json!(2)));
    assert!(finalize(cluster, &token).status.success(), "twice is once");
    // An older program on the same directory says what it needs, and changes nothing.
    assert!(nodes[1].take().expect("it runs").stop().success());
    cluster.program = PathBuf::from(PROGRAM);
    let why = cluster.try_start(1).err().expect("it is refused");
    assert!(why.contains("newer"), "{why}");
    eprintln!("the older program said: {}", why.trim());
    cluster.program = newer;
    nodes[1] = Some(cluster.start(1));
    roll(cluster, nodes, answers, "restarted in the newer format");
}

/// Pays through any node until it is done, each payment repeated under its key until it is made.
fn write(
    writer: usize,
    addresses: &[String],
    token: &str,
    answers: &Mutex<Answers>,
    is_done: &AtomicBool,
) {
    let accounts = until("there are accounts", || {
        let found = http::request(&addresses[0], "GET", "/v1/accounts", token, None, None).ok()?;
        Some(found.json()["data"].clone())
    });
    let id = |name: &str| {
        let accounts = accounts.as_array().expect("a list");
        let found = accounts.iter().find(|one| one["external_id"] == name);
        found.expect("it was opened before")["id"].clone()
    };
    let (source, wallet) = (id("source"), id(&format!("wallet-{writer}")));
    for count in 0_u64.. {
        if is_done.load(Ordering::Relaxed) {
            break;
        }
        let (key, amount) = (format!("w{writer}-{count}"), 1 + count % 97);
        let body =
            json!({ "amount": amount, "currency": "EUR", "source": source, "destination": wallet });
        let begun = Instant::now();
        let first = writer + count as usize;
        let made = decide(addresses, token, ("/v1/transfers", &key, &body), first);
        let mut answers = answers.lock().expect("no holder panics");
        answers.slowest = answers.slowest.max(begun.elapsed());
        let id = made["id"].as_str().expect("an id").to_owned();
        answers.payments.insert(id, amount);
    }
}
