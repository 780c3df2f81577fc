//! Three nodes behind HAProxy, over PostgreSQL under Patroni or three brokers of Kafka, in a fire: nodes and servers of the log are killed
//! and stopped, and connections cut, for as many minutes as are asked for. Every acknowledged payment is made once; what was answered
//! before a request was sent stands before it; events come at least once, those of a payment in order within a term.
//!
//! `scripts/cluster-test` runs these.

mod checks;
mod clients;
mod faults;
mod logs;
mod many;
mod report;

use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;
use tributary_testkit::engine::Engine;

use crate::crash::{Random, asked_for, verify};
use crate::http;
use crate::nodes::cluster::{Cluster, NODES, open_account};
use crate::support::{PATIENCE, Server, Stop, repository};
use checks::{Journal, NewTerm};
use clients::{Arrived, Clients, Written, take_webhooks};
use faults::{FAULTS, Nodes, strike, wait_for_writes};
use logs::LogServers;
use report::{Gap, Report};

const WRITERS: usize = 4;
/// Minutes of the short form.
const MINUTES: u64 = 2;

#[test]
#[ignore = "takes minutes: scripts/cluster-test patroni"]
fn a_cluster_over_patroni_in_a_fire_makes_every_payment_once() {
    play(logs::start_patroni());
}

#[test]
#[ignore = "takes minutes: scripts/cluster-test kafka"]
fn a_cluster_over_three_brokers_in_a_fire_makes_every_payment_once() {
    play(logs::start_kafka());
}

/// A cluster with its load balancer.
struct Site {
    cluster: Cluster,
    balancer: Engine,
    /// Where what the nodes log and the figures are kept.
    results: PathBuf,
    _folder: TempDir,
}

impl Site {
    /// Makes the folders. None if HAProxy is not installed.
    fn new(name: &str, log: &LogServers) -> Option<Site> {
        let balancer = Engine::find("haproxy")?;
        let folder = tempfile::tempdir().expect("there is room");
        let webhooks = [
            "TRIBUTARY_WEBHOOKS_ALLOW_HTTP",
            "TRIBUTARY_WEBHOOKS_ALLOW_PRIVATE",
        ];
        let more = webhooks.map(|name| (name, "true".to_owned()));
        let cluster = Cluster::new(folder.path(), &log.url(), &more);
        let results = repository().join("target/cluster-test").join(name);
        let _there_was_none = std::fs::remove_dir_all(&results);
        std::fs::create_dir_all(&results).expect("there is room");
        Some(Site {
            cluster,
            balancer,
            results,
            _folder: folder,
        })
    }

    /// Makes the first node's directory a cluster, starts all nodes and the load balancer, and returns the clients.
    fn start(&self, accounts: &[String]) -> (Nodes<'_>, Clients) {
        let cluster = &self.cluster;
        let init = cluster.run_for(0, 0, &["init", "--json"]);
        eprintln!("the log has {} records", init["position"]);
        (1..NODES.len()).for_each(|node| cluster.give_keys(node));
        let nodes = Nodes::start(cluster, &self.results);
        self.balancer
            .write("nodes", &(cluster.addresses.join("\n") + "\n"));
        self.balancer.start();
        let clients = Clients {
            balancer: self.balancer.address().to_string(),
            nodes: cluster.addresses.clone(),
            token: nodes.token(),
            source: accounts[0].clone(),
            wallets: accounts[1..].to_vec(),
            told: AtomicU64::new(0),
            written: AtomicU64::new(0),
            gap: Mutex::new(Gap::default()),
            is_done: AtomicBool::new(false),
            all_came: AtomicBool::new(false),
        };
        nodes.wait_until_ready();
        (nodes, clients)
    }
}

/// Keeps what the servers of a log have logged, also when the test fails.
struct KeepLogs<'a>(&'a LogServers, &'a Site);

impl Drop for KeepLogs<'_> {
    fn drop(&mut self) {
        self.0.keep_logs(&self.1.results);
    }
}

/// Opens the accounts of the clients on a server alone: a source, and a wallet for each writer.
fn open_accounts(server: &Server) -> Vec<String> {
    let post = |key: &str, body: &Value| server.post("/v1/accounts", key, body).ok();
    let wallets = (0..WRITERS).map(|wallet| format!("wallet-{wallet}"));
    let names = std::iter::once("source".to_owned()).chain(wallets);
    names.map(|name| open_account(&post, &name)).collect()
}

/// What was told to the clients, and came to the receivers.
struct Played {
    written: Vec<Vec<Written>>,
    seen: Vec<clients::Seen>,
    pulled: Vec<Arrived>,
    pushed: Vec<Arrived>,
    terms: Vec<NewTerm>,
}

fn play(log: Option<LogServers>) {
    let Some(log) = log else { return };
    let Some(site) = Site::new(log.name(), &log) else {
        return;
    };
    let _keep = KeepLogs(&log, &site);
    let alone = Server::start(&site.cluster.data(0));
    let accounts = open_accounts(&alone);
    assert!(alone.stop().success());
    let (mut nodes, clients) = site.start(&accounts);
    let (mut report, begun) = (Report::default(), Instant::now());
    let mut played = burn(&log, &mut nodes, &clients, &mut report);
    for node in nodes.servers.iter().flatten() {
        checks::check_node(node, &played.written, &clients.wallets);
        played
            .seen
            .extend(checks::ask_for_the_past(node, &clients.wallets));
    }
    nodes.stop();
    let (journal, exported) = Journal::export(&site.cluster.data(0));
    for (node, name) in NODES.iter().enumerate() {
        let data = site.cluster.data(node);
        assert_eq!(Journal::export(&data).1, exported, "{name}");
        assert_eq!(verify(&data)["ok"], true);
        site.cluster.run_for(0, node, &["verify", "--json"]);
    }
    let (model, events) =
        checks::check_writes(&journal, &played.written, &clients.source, &clients.wallets);
    checks::check_reads(&model, &played.seen);
    let terms = &played.terms;
    let pulled_again = checks::check_events("pull", &events, &played.pulled, terms);
    let pushed_again = checks::check_events("webhook", &events, &played.pushed, terms);
    let run = json!({
        "log": log.name(),
        "minutes": begun.elapsed().as_secs() / 60,
        "seed": asked_for("TRIBUTARY_TEST_SEED"),
        "writes": events.len(),
        "reads": played.seen.len(),
        "terms": terms.len(),
        "pulled_again": pulled_again,
        "pushed_again": pushed_again,
    });
    eprintln!("{run}");
    report.publish(&site.results.join("figures.json"), run);
}

/// Clients use the cluster while failures of all kinds happen in turn.
fn burn(log: &LogServers, nodes: &mut Nodes<'_>, clients: &Clients, report: &mut Report) -> Played {
    let receiver = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let hook = format!("http://{}/hooks", receiver.local_addr().expect("bound"));
    let pushed = Arc::new(Mutex::new(Vec::new()));
    take_webhooks(receiver, pushed.clone());
    let events = json!({ "slug": "pull", "events": ["payment.#"], "order": "object" });
    let pull = clients.decide("/v1/subscriptions", "pull", &events).json();
    let pull = pull["id"].as_str().expect("an id").to_owned();
    let events = json!({ "slug": "push", "events": ["payment.#"], "order": "object", "url": hook,
        "backoff": { "first_seconds": 1, "factor": 1, "max_seconds": 1 }, "attempts_max": 100 });
    clients.decide("/v1/subscriptions", "push", &events);
    let (pulled, terms) = (Mutex::new(Vec::new()), Mutex::new(Vec::new()));
    let (written, seen) = std::thread::scope(|scope| {
        let _end = [Stop(&clients.is_done), Stop(&clients.all_came)];
        let writers: Vec<_> = (0..WRITERS)
            .map(|wallet| scope.spawn(move || clients.write(wallet)))
            .collect();
        let reader = scope.spawn(|| clients.read());
        scope.spawn(|| clients.receive(&pull, &pulled));
        scope.spawn(|| watch_terms(clients, &terms));
        let (mut random, begun) = (Random::new(), Instant::now());
        let lasts =
            Duration::from_secs(60 * asked_for("TRIBUTARY_TEST_MINUTES").unwrap_or(MINUTES));
        let mut deck = Vec::new();
        while begun.elapsed() < lasts {
            if deck.is_empty() {
                deck = FAULTS.to_vec();
            }
            let fault = deck.swap_remove(random.below(deck.len() as u64) as usize);
            strike(fault, nodes, log, clients, &mut random, report);
        }
        wait_for_writes(clients, 30);
        clients.is_done.store(true, Ordering::Relaxed);
        let join = |writer: std::thread::ScopedJoinHandle<'_, Vec<Written>>| {
            writer.join().expect("a writer ends")
        };
        let written: Vec<Vec<Written>> = writers.into_iter().map(join).collect();
        let seen = reader.join().expect("the reader ends");
        // The checks say what is missing in the end.
        let count = written.iter().map(Vec::len).sum();
        let (lag, begun) = (|| [&pulled, &*pushed].map(count_events), Instant::now());
        eprintln!("{count} writes; of their events came {:?}", lag());
        while lag().iter().any(|came| *came < count) && begun.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(200));
        }
        (written, seen)
    });
    let arrived =
        |it: &Mutex<Vec<Arrived>>| std::mem::take(&mut *it.lock().expect("no holder panics"));
    Played {
        written,
        seen,
        pulled: arrived(&pulled),
        pushed: arrived(&pushed),
        terms: terms.into_inner().expect("no holder panics"),
    }
}

fn count_events(arrived: &Mutex<Vec<Arrived>>) -> usize {
    let arrived = arrived.lock().expect("no holder panics");
    let events = arrived.iter().map(|one| &*one.event);
    events.collect::<std::collections::BTreeSet<&str>>().len()
}

/// Looks which term it is, until the receivers end.
fn watch_terms(clients: &Clients, terms: &Mutex<Vec<NewTerm>>) {
    let mut last = 0;
    for count in 0.. {
        if clients.all_came.load(Ordering::Relaxed) {
            break;
        }
        let (node, token) = (&clients.nodes[count % NODES.len()], &clients.token);
        let timeout = Duration::from_secs(2);
        let cluster = http::request_within(timeout, node, "GET", "/v1/cluster", token, None, None);
        if let Ok(cluster) = cluster
            && cluster.status == 200
            && let Some(term) = cluster.json()["term"].as_u64()
            && term > last
        {
            last = term;
            let seen = NewTerm(Instant::now());
            terms.lock().expect("no holder panics").push(seen);
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}
