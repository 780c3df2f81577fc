//! Leadership is handed over while the books have many accounts.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde_json::json;

use super::faults::wait_for_writes;
use super::logs::{self, LogServers};
use super::report::{Cost, Report};
use super::{Site, WRITERS, checks, open_accounts};
use crate::crash::asked_for;
use crate::support::{Server, Stop, json_for, text};

/// Accounts, unless `TRIBUTARY_TEST_ACCOUNTS` says more.
const ACCOUNTS: u64 = 20_000;
/// How often leadership is handed over.
const HAND_OVERS: u64 = 10;
/// Pause after a hand-over.
const PAUSE: Duration = Duration::from_secs(3);
/// How rows become accounts: each opens one, and pays into it.
const MAP: &str = r#"
name = "many"
key = "{id}"
currency = "EUR"
amount = { column = "amount", unit = "minor" }
date = { column = "date" }

[accounts.customer]
external_id = "{id}"
owner = "customer-{id}"
kind = "wallet"

[accounts.bank]
external_id = "bank"
kind = "external"
overdraft = "unlimited"

[[rules]]
payment = "top_up"
from = "bank"
to = "customer"
"#;

#[test]
#[ignore = "takes minutes: scripts/cluster-test hand-over"]
fn leadership_over_patroni_is_handed_over_with_many_accounts() {
    hand_over(logs::start_patroni());
}

#[test]
#[ignore = "takes minutes: scripts/cluster-test hand-over"]
fn leadership_over_three_brokers_is_handed_over_with_many_accounts() {
    hand_over(logs::start_kafka());
}

fn hand_over(log: Option<LogServers>) {
    let Some(log) = log else { return };
    let name = format!("hand-over-{}", log.name());
    let Some(site) = Site::new(&name, &log) else {
        return;
    };
    let accounts = asked_for("TRIBUTARY_TEST_ACCOUNTS").unwrap_or(ACCOUNTS);
    let begun = Instant::now();
    open_many(&site.cluster.data(0), &site.results, accounts);
    let alone = Server::start(&site.cluster.data(0));
    let opened = open_accounts(&alone);
    assert!(alone.stop().success());
    eprintln!("{accounts} accounts after {:.0?}", begun.elapsed());
    let (nodes, clients) = site.start(&opened);
    eprintln!("three nodes have them after {:.0?}", begun.elapsed());
    let mut report = Report::default();
    let written: Vec<_> = std::thread::scope(|scope| {
        let _end = Stop(&clients.is_done);
        let clients = &clients;
        let writers = (0..WRITERS).map(|wallet| scope.spawn(move || clients.write(wallet)));
        let writers: Vec<_> = writers.collect();
        for _ in 0..HAND_OVERS {
            wait_for_writes(clients, 20);
            let before = nodes.leader();
            clients.gap().reset();
            nodes.hand_over();
            std::thread::sleep(PAUSE);
            wait_for_writes(clients, 20);
            assert_ne!(nodes.leader(), before, "another node leads");
            let gap = clients.gap().longest();
            report.add("hand-over", Cost { gap, bare: None });
        }
        clients.is_done.store(true, Ordering::Relaxed);
        let writers = writers.into_iter();
        writers
            .map(|writer| writer.join().expect("a writer ends"))
            .collect()
    });
    for node in nodes.servers.iter().flatten() {
        checks::check_node(node, &written, &clients.wallets);
    }
    nodes.stop();
    let writes: usize = written.iter().map(Vec::len).sum();
    let run = json!({ "log": log.name(), "accounts": accounts, "writes": writes });
    report.publish(&site.results.join("figures.json"), run);
}

/// Opens accounts, each with an owner of its own, by an import.
fn open_many(data: &Path, folder: &Path, accounts: u64) {
    let (csv, map) = (folder.join("many.csv"), folder.join("many.toml"));
    let mut rows = "id,date,amount\n".to_owned();
    for account in 0..accounts {
        writeln!(rows, "{account},2026-03-01,100").expect("a text can grow");
    }
    std::fs::File::create(&csv)
        .and_then(|mut file| file.write_all(rows.as_bytes()))
        .expect("there is room");
    std::fs::write(&map, MAP).expect("there is room");
    let arguments = [
        "import",
        text(&csv),
        "--map",
        text(&map),
        "--data",
        text(data),
        "--json",
    ];
    let imported = json_for(0, &arguments);
    assert_eq!(imported["payments_made"], json!(accounts), "{imported}");
    std::fs::remove_file(csv).expect("it was made");
}
