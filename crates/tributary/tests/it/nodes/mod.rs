//! Three nodes over one log in a real PostgreSQL or Kafka: clients that repeat their requests through any of them, while nodes and the
//! log are killed.
//!
//! `scripts/cluster-test` runs the long form.

pub(crate) mod cluster;
mod limits;

use std::collections::{BTreeMap, BTreeSet};
use std::process::Output;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;
use tributary_testkit::engine::Engine;

use crate::crash::{Random, file, kills, verify};
use crate::support::{PATIENCE, Server, all_pages, text, tributary};
use crate::{bank, http};
use cluster::{Cluster, NODES, find_leader, open_account, until};

const WRITERS: usize = 3;

/// What kind of log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Postgresql,
    Kafka,
}

/// A server of a log, alone.
struct LogServer {
    kind: Kind,
    engine: Engine,
}

impl LogServer {
    /// Starts one; none if it is not installed.
    fn start(kind: Kind) -> Option<LogServer> {
        let engine = Engine::find(match kind {
            Kind::Postgresql => "postgresql",
            Kind::Kafka => "kafka",
        })?;
        engine.start();
        Some(LogServer { kind, engine })
    }

    fn url(&self) -> String {
        let address = self.engine.address();
        match self.kind {
            Kind::Postgresql => format!("postgresql://tributary@{address}/postgres"),
            Kind::Kafka => format!("kafka://{address}/payments"),
        }
    }
}

/// A cluster, its folder, and the server of its log.
pub(crate) struct Scene {
    pub(crate) cluster: Cluster,
    log: LogServer,
    folder: TempDir,
}

impl Scene {
    /// Starts the server of the log. None if it is not installed.
    pub(crate) fn new(kind: Kind) -> Option<Scene> {
        let log = LogServer::start(kind)?;
        let folder = tempfile::tempdir().expect("there is room");
        let single = ("TRIBUTARY_CLUSTER_ALLOW_SINGLE_COPY", "true".to_owned());
        Some(Scene {
            cluster: Cluster::new(folder.path(), &log.url(), &[single]),
            log,
            folder,
        })
    }

    /// Goes on over another log, and returns the one until now.
    fn replace_log(&mut self, log: LogServer) -> LogServer {
        self.cluster.log = log.url();
        std::mem::replace(&mut self.log, log)
    }
}

/// What a writer was told: payment and amount of each key.
type Told = BTreeMap<String, (String, u64)>;

/// Makes an existing directory a cluster of three.
pub(crate) fn moved(cluster: &Cluster) -> (u64, Value) {
    let data = cluster.data(0);
    let server = Server::start(&data);
    let post = |key: &str, body: &Value| server.post("/v1/accounts", key, body).ok();
    for name in ["source", "wallet-0", "wallet-1", "wallet-2"] {
        open_account(&post, name);
    }
    assert!(server.stop().success());
    let before = verify(&data);
    let init = cluster.run_for(0, 0, &["init", "--json"]);
    assert_eq!(init["position"], before["records"]);
    let again = cluster.run(0, &["init"]);
    assert!(
        String::from_utf8_lossy(&again.stdout).contains("on the log already"),
        "{again:?}"
    );
    // Neither the mirror nor a second directory can be used by mistake.
    let alone = tributary()
        .args(["serve", "--data", text(&data)])
        .output()
        .expect("the binary runs");
    assert_eq!(alone.status.code(), Some(2), "{alone:?}");
    assert!(
        String::from_utf8_lossy(&alone.stderr).contains("mirror of the shared log"),
        "{alone:?}"
    );
    let second = cluster.run(1, &["init"]);
    assert_eq!(second.status.code(), Some(2), "{second:?}");
    assert!(
        String::from_utf8_lossy(&second.stderr).contains("another journal already"),
        "{second:?}"
    );
    std::fs::remove_dir_all(cluster.data(1)).unwrap_or_default();
    (before["records"].as_u64().expect("a number"), init)
}

#[test]
fn payments_through_any_node_are_made_once_over_postgresql() {
    play(Kind::Postgresql);
}

#[test]
fn payments_through_any_node_are_made_once_over_kafka() {
    play(Kind::Kafka);
}

/// Clients pay through any node while leaders are killed and stopped, and the log is; then the cluster ends.
fn play(kind: Kind) {
    let Some(scene) = Scene::new(kind) else {
        return;
    };
    let cluster = &scene.cluster;
    let (records, _) = moved(cluster);
    cluster.give_keys(1);
    cluster.give_keys(2);
    let mut nodes: Vec<Option<Server>> = (0..3).map(|node| Some(cluster.start(node))).collect();
    let token = nodes[0].as_ref().expect("it runs").key.clone();
    let accounts = all_pages(nodes[2].as_ref().expect("it runs"), "/v1/accounts");
    let account = |name: &str| {
        let found = accounts.iter().find(|one| one["external_id"] == name);
        found.expect("it is on every node")["id"]
            .as_str()
            .expect("an id")
            .to_owned()
    };
    let source = account("source");
    let wallets: Vec<String> = (0..WRITERS)
        .map(|writer| account(&format!("wallet-{writer}")))
        .collect();
    let events = json!({ "name": "all", "slug": "all", "events": ["payment.#"] });
    let subscription = cluster.decide(&token, "/v1/subscriptions", "subscription", &events, 1);
    let subscription = subscription["id"].as_str().expect("an id").to_owned();
    let (is_done, written) = (AtomicBool::new(false), AtomicU64::new(0));
    let mut random = Random::new();
    let (received, all_came) = (Mutex::new(Vec::new()), AtomicBool::new(false));
    let told = std::thread::scope(|scope| {
        let writers: Vec<_> = wallets
            .iter()
            .enumerate()
            .map(|(writer, wallet)| {
                let (token, source) = (&token, &source);
                let (is_done, written) = (&is_done, &written);
                scope.spawn(move || -> Told {
                    let mut told = Told::new();
                    for count in 0_u64.. {
                        if is_done.load(Ordering::Relaxed) {
                            break;
                        }
                        let (key, amount) = (format!("w{writer}-{count}"), 1 + count % 97);
                        let body = json!({ "amount": amount, "currency": "EUR", "source": source, "destination": wallet });
                        let made = cluster.decide(token, "/v1/transfers", &key, &body, writer + count as usize);
                        let id = made["id"].as_str().expect("an id").to_owned();
                        told.insert(key, (id, amount));
                        written.fetch_add(1, Ordering::Relaxed);
                    }
                    told
                })
            })
            .collect();
        let receiver = {
            let (token, subscription) = (&token, &subscription);
            let (received, all_came) = (&received, &all_came);
            scope.spawn(move || receive(cluster, token, subscription, received, all_came))
        };
        for round in 0..kills() {
            let before = written.load(Ordering::Relaxed);
            until("payments are made", || {
                (written.load(Ordering::Relaxed) > before + 10).then_some(())
            });
            let Some(leading) = find_leader(&nodes) else {
                continue;
            };
            random.pause(20, 300);
            match round % 3 {
                0 => {
                    nodes[leading].as_mut().expect("it leads").kill();
                    nodes[leading] = Some(cluster.start(leading));
                }
                1 => {
                    let leaving = nodes[leading].take().expect("it leads");
                    assert!(leaving.stop().success());
                    nodes[leading] = Some(cluster.start(leading));
                }
                _ => {
                    scene.log.engine.kill();
                    scene.log.engine.start();
                }
            }
        }
        let before = written.load(Ordering::Relaxed);
        until("payments are made at the end", || {
            (written.load(Ordering::Relaxed) > before + 30).then_some(())
        });
        is_done.store(true, Ordering::Relaxed);
        let told: Vec<Told> = writers
            .into_iter()
            .map(|writer| writer.join().expect("a writer ends"))
            .collect();
        // Those whose answers were lost come again, each time later.
        let begun = Instant::now();
        let has_all = || {
            let received = received.lock().expect("no holder panics");
            let came: BTreeSet<&str> = received.iter().map(String::as_str).collect();
            let mut told = told.iter().flat_map(BTreeMap::values);
            told.all(|(id, _)| came.contains(&**id))
        };
        while !has_all() && begun.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(100));
        }
        all_came.store(true, Ordering::Relaxed);
        receiver.join().expect("the receiver ends");
        told
    });
    let received = received.into_inner().expect("no holder panics");
    check_payments(&nodes, &told, &wallets);
    check_events(&told, &received);
    let count: u64 = told.iter().map(|told| told.len() as u64).sum();
    for node in nodes.into_iter().flatten() {
        assert!(node.stop().success());
    }
    leave(cluster, records + count + 1);
}

/// Receives and acknowledges events from any node, until it is told that all came.
fn receive(
    cluster: &Cluster,
    token: &str,
    subscription: &str,
    received: &Mutex<Vec<String>>,
    all_came: &AtomicBool,
) {
    for attempt in 0_usize.. {
        if all_came.load(Ordering::Relaxed) {
            break;
        }
        let address = &cluster.addresses[attempt % NODES.len()];
        let wanted = json!({ "max": 50, "wait_seconds": 1, "visibility_seconds": 5 });
        let path = format!("/v1/subscriptions/{subscription}/receive");
        let taken = http::request(address, "POST", &path, token, None, Some(&wanted));
        let Some(taken) = taken.ok().filter(|taken| taken.status == 200) else {
            std::thread::sleep(Duration::from_millis(50));
            continue;
        };
        let taken = taken.json();
        let events = taken["data"].as_array().expect("a list");
        let receipts: Vec<&Value> = events.iter().map(|event| &event["receipt"]).collect();
        for event in events {
            let id = event["event"]["data"]["object"]["id"].as_str();
            let id = id.expect("an id").to_owned();
            received.lock().expect("no holder panics").push(id);
        }
        if !receipts.is_empty() {
            let path = format!("/v1/subscriptions/{subscription}/ack");
            let body = json!({ "receipts": receipts });
            let _may_be_lost = http::request(address, "POST", &path, token, None, Some(&body));
        }
    }
}

fn check_payments(nodes: &[Option<Server>], told: &[Told], wallets: &[String]) {
    for node in nodes.iter().flatten() {
        for (told, wallet) in told.iter().zip(wallets) {
            let sum: u64 = told.values().map(|(_, amount)| amount).sum();
            let path = format!("/v1/accounts/{wallet}");
            until("a node has everything", || {
                (node.get(&path)["posted"] == json!(sum)).then_some(())
            });
            let payments = all_pages(node, &format!("/v1/payments?account={wallet}"));
            let there: BTreeSet<&str> = payments
                .iter()
                .map(|payment| payment["id"].as_str().expect("an id"))
                .collect();
            let acknowledged: BTreeSet<&str> = told.values().map(|(id, _)| &**id).collect();
            assert_eq!(
                there, acknowledged,
                "what is there is what was acknowledged"
            );
            assert_eq!(payments.len(), told.len(), "each once");
        }
    }
}

/// Every event came, and of those that were acknowledged only few came again.
fn check_events(told: &[Told], received: &[String]) {
    let came: BTreeSet<&str> = received.iter().map(String::as_str).collect();
    for (id, _) in told.iter().flat_map(BTreeMap::values) {
        assert!(came.contains(&**id), "no event came of {id}");
    }
    let again = received.len() - came.len();
    eprintln!("{} events, {again} came again", came.len());
    assert!(
        again <= came.len() / 2 + 300,
        "{again} of {} events came again",
        came.len()
    );
}

/// One node ends the log and goes on alone; the others refuse to.
fn leave(cluster: &Cluster, records: u64) {
    for node in 0..3 {
        let verified = cluster.run_for(0, node, &["verify", "--json"]);
        assert_eq!(verified["position"], json!(records), "{verified}");
    }
    let left = cluster.run_for(0, 1, &["leave", "--json"]);
    assert_eq!(left["position"], json!(records), "{left}");
    assert_eq!(verify(&cluster.data(1))["records"], json!(records));
    let refused = cluster.run(2, &["leave"]);
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    let alone = Server::start(&cluster.data(1));
    let accounts = all_pages(&alone, "/v1/accounts");
    assert_eq!(accounts.len(), 4);
    assert!(alone.stop().success());
    let mirror = tributary()
        .args(["serve", "--data", text(&cluster.data(2))])
        .output()
        .expect("the binary runs");
    assert_eq!(mirror.status.code(), Some(2), "{mirror:?}");
}

/// What a directory holds, in all that can be told from outside.
fn contents(data: &std::path::Path) -> (Value, Vec<u8>) {
    let export = tributary()
        .args(["export", "--data", text(data), "--format", "jsonl"])
        .output()
        .expect("the binary runs");
    assert!(export.status.success(), "{export:?}");
    (verify(data)["head_hash"].clone(), export.stdout)
}

#[test]
fn real_payments_move_onto_postgresql_and_kafka_and_back_unchanged() {
    let Some(mut scene) = Scene::new(Kind::Postgresql) else {
        return;
    };
    let Some(csv) = file(scene.folder.path()) else {
        return;
    };
    let data = scene.cluster.data(0);
    bank::import(&csv, &data, 0);
    // What every first server adds, before anything is compared.
    assert!(Server::start(&data).stop().success());
    let before = contents(&data);
    for kind in [Kind::Postgresql, Kind::Kafka] {
        if kind != scene.log.kind {
            let Some(log) = LogServer::start(kind) else {
                return;
            };
            scene.replace_log(log);
        }
        let cluster = &scene.cluster;
        let moved = cluster.run_for(0, 0, &["init", "--json"]);
        assert_eq!(moved["hash"], before.0, "{kind:?}");
        assert_eq!(contents(&data), before, "{kind:?}");
        // Another node joins, and has the same.
        cluster.give_keys(1);
        let joined = cluster.start(1);
        until("it has everything", || {
            (joined.get("/v1/journal/head")["hash"] == before.0).then_some(())
        });
        assert!(joined.stop().success());
        assert_eq!(contents(&cluster.data(1)), before, "{kind:?}");
        std::fs::remove_dir_all(cluster.data(1)).expect("it is stopped");
        let left = cluster.run_for(0, 0, &["leave", "--json"]);
        assert_eq!(left["hash"], before.0, "{kind:?}");
        assert_eq!(contents(&data), before, "{kind:?}");
    }
    let alone = Server::start(&data);
    bank::check_balances(&alone, &csv);
    assert!(alone.stop().success());
}

#[test]
fn a_log_that_was_lost_is_made_anew_of_the_node_that_has_most() {
    let Some(mut scene) = Scene::new(Kind::Postgresql) else {
        return;
    };
    let cluster = &scene.cluster;
    let (records, _) = moved(cluster);
    for node in 1..3 {
        cluster.give_keys(node);
    }
    // The third node stays behind.
    let behind = cluster.start(2);
    until("it has everything so far", || {
        (behind.get("/v1/journal/head")["position"] == json!(records)).then_some(())
    });
    assert!(behind.stop().success());
    let nodes = [cluster.start(0), cluster.start(1)];
    let token = nodes[0].key.clone();
    let body = json!({ "owner": "platform", "currency": "EUR", "kind": "external",
        "external_id": "late", "overdraft": "unlimited" });
    cluster.decide(&token, "/v1/accounts", "late", &body, 0);
    for node in &nodes {
        until("both have it", || {
            (node.get("/v1/journal/head")["position"] == json!(records + 1)).then_some(())
        });
    }
    for node in nodes {
        assert!(node.stop().success());
    }
    let text_of = |output: &Output| String::from_utf8_lossy(&output.stdout).into_owned();
    let Some(log) = LogServer::start(Kind::Kafka) else {
        return;
    };
    let old = scene.replace_log(log);
    let cluster = &scene.cluster;
    let (ahead, mirror) = (cluster.data(0), cluster.data(2));
    let refused = cluster.run(
        2,
        &["recover", "--mirror", text(&ahead), "--old-log-is-gone"],
    );
    assert_eq!(refused.status.code(), Some(4), "{refused:?}");
    assert!(text_of(&refused).contains("lost: position"), "{refused:?}");
    let unsaid = cluster.run(0, &["recover", "--mirror", text(&mirror)]);
    assert_eq!(unsaid.status.code(), Some(2), "{unsaid:?}");
    let recovered = cluster.run_for(
        0,
        0,
        &[
            "recover",
            "--mirror",
            text(&mirror),
            "--old-log",
            &old.url(),
            "--json",
        ],
    );
    assert_eq!(recovered["position"], json!(records + 1), "{recovered}");
    let node = cluster.start(0);
    until("it serves what was there", || {
        (node.get("/v1/journal/head")["position"] == json!(records + 1)).then_some(())
    });
    cluster.decide(
        &token,
        "/v1/accounts",
        "later",
        &json!({ "owner": "platform", "currency": "EUR",
        "kind": "external", "external_id": "later", "overdraft": "unlimited" }),
        0,
    );
    assert!(node.stop().success());
    // A mirror of the old log does not go on with the new one.
    let settings = cluster.settings(1);
    let settings: Vec<(&str, &str)> = settings
        .iter()
        .map(|(name, value)| (*name, &**value))
        .collect();
    let stale = Server::try_start_with(&cluster.data(1), &cluster.addresses[1], &settings);
    let why = stale.err().expect("it is refused");
    assert!(why.contains("is a mirror of the log"), "{why}");
}
