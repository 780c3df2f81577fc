//! A limit is exact on a cluster whose leaders change.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde_json::{Value, json};

use super::cluster::{ask, find_leader, until};
use super::{Kind, Scene, moved};
use crate::support::{Server, all_pages};

/// Payments that the limit allows.
const ALLOWED: u64 = 5;

#[test]
fn a_limit_is_exact_while_leaders_change_over_postgresql() {
    play(Kind::Postgresql);
}

#[test]
fn a_limit_is_exact_while_leaders_change_over_kafka() {
    play(Kind::Kafka);
}

/// Clients pay through any node against one limit while leaders are killed and stopped.
fn play(kind: Kind) {
    let Some(scene) = Scene::new(kind) else {
        return;
    };
    let cluster = &scene.cluster;
    moved(cluster);
    cluster.give_keys(1);
    cluster.give_keys(2);
    let mut nodes: Vec<Option<Server>> = (0..3).map(|node| Some(cluster.start(node))).collect();
    let token = nodes[0].as_ref().expect("it runs").key.clone();
    let accounts = all_pages(nodes[1].as_ref().expect("it runs"), "/v1/accounts");
    let account = |name: &str| {
        let found = accounts.iter().find(|one| one["external_id"] == name);
        found.expect("it is on every node")["id"].clone()
    };
    let (source, wallet) = (account("source"), account("wallet-0"));
    let limit = json!({
        "slug": "few", "account": source, "window_seconds": 86_400, "payments_max": ALLOWED,
    });
    let limit = cluster.decide(&token, "/v1/limits", "limit", &limit, 2);
    let (is_done, asked) = (AtomicBool::new(false), AtomicU64::new(0));
    let answers: Vec<(u16, Value)> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..4)
            .map(|client| {
                let (token, source, wallet) = (&token, &source, &wallet);
                let (is_done, asked) = (&is_done, &asked);
                scope.spawn(move || -> Vec<(u16, Value)> {
                    let mut answers = Vec::new();
                    for count in 0_usize.. {
                        if is_done.load(Ordering::Relaxed) {
                            break;
                        }
                        let key = format!("c{client}-{count}");
                        let body = json!({
                            "amount": 3, "currency": "EUR", "source": source, "destination": wallet,
                        });
                        let request = ("/v1/transfers", &*key, &body);
                        let first = client + count;
                        answers.push(ask(&cluster.addresses, token, request, first));
                        asked.fetch_add(1, Ordering::Relaxed);
                    }
                    answers
                })
            })
            .collect();
        let more = |payments: u64| {
            let before = asked.load(Ordering::Relaxed);
            until("payments are asked for", || {
                (asked.load(Ordering::Relaxed) >= before + payments).then_some(())
            });
        };
        for round in 0..4 {
            // The first leader is killed while payments still pass.
            if round > 0 {
                more(20);
            }
            let leading = until("a node leads", || find_leader(&nodes));
            match round % 2 {
                0 => nodes[leading].as_mut().expect("it leads").kill(),
                _ => assert!(nodes[leading].take().expect("it leads").stop().success()),
            }
            nodes[leading] = Some(cluster.start(leading));
        }
        more(20);
        is_done.store(true, Ordering::Relaxed);
        let ended = clients.into_iter();
        ended
            .flat_map(|client| client.join().expect("a client ends"))
            .collect()
    });
    let passed = answers.iter().filter(|(status, _)| *status == 201).count();
    assert_eq!(passed as u64, ALLOWED, "of {}", answers.len());
    let refused = answers.iter().filter(|(status, _)| *status == 402);
    for (_, answer) in refused {
        assert_eq!(answer["error"]["code"], "limit_exceeded", "{answer}");
        assert_eq!(answer["error"]["limit"], limit["id"], "{answer}");
    }
    let limit = format!("/v1/limits/{}", limit["id"].as_str().expect("an id"));
    let wallet = format!("/v1/accounts/{}", wallet.as_str().expect("an id"));
    for node in nodes.iter().flatten() {
        until("a node has everything", || {
            (node.get(&wallet)["posted"] == json!(3 * ALLOWED)).then_some(())
        });
        assert_eq!(node.get(&limit)["usage"]["payments"], json!(ALLOWED));
    }
    for node in nodes.into_iter().flatten() {
        assert!(node.stop().success());
    }
}
