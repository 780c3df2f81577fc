//! Promises of the cache of statement pages: with it, every answer is byte for byte what it is without it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde_json::json;
use tributary_engine::CachePolicy;
use tributary_server::Running;

use crate::client::{Answer, send};
use crate::fixture::{Fixture, hold, id, pay};

fn cached(policy: CachePolicy, bytes_max: u64) -> Fixture {
    Fixture::with(|config| {
        config.statement_cache_bytes_max = bytes_max;
        config.cache_policy = policy;
    })
}

/// Reads past the cache: by another server over the same engine.
fn uncached(server: &Running, token: &str, path: &str) -> Answer {
    let authorization = format!("Bearer {token}");
    let headers = [("Authorization", authorization.as_str())];
    send(server.addr(), "GET", path, &headers, b"")
}

#[test]
fn pages_are_alike_with_and_without_the_cache_for_every_caller() {
    for (policy, bytes_max) in [
        (CachePolicy::TinyLfu, 8_000_000),
        (CachePolicy::Lru, 8_000_000),
        // So small that pages leave all the time.
        (CachePolicy::Lru, 6_000),
    ] {
        let server = cached(policy, bytes_max);
        let beside = server.beside(|_| ());
        let (wallet, shop) = (
            server.wallet("ann", 100_000),
            server.account("shop", "merchant"),
        );
        let tokens = [
            server.platform.clone(),
            server.token("ann", "read"),
            server.token("shop", "write"),
            server.token("stranger", "read"),
        ];
        let check = || {
            let newest = format!("/v1/accounts/{wallet}/entries?limit=2");
            let page = server.get(&newest).expect(200);
            let last = &page["data"][1]["id"];
            let mut queries = vec![
                String::new(),
                "?limit=1".to_owned(),
                "?limit=100".to_owned(),
                "?created[gte]=2020-01-01T00:00:00Z".to_owned(),
                "?created[lt]=2020-01-01T00:00:00Z".to_owned(),
                "?expand[]=data.payment".to_owned(),
                "?limit=0".to_owned(),
            ];
            if let Some(last) = last.as_str() {
                queries.push(format!("?limit=2&starting_after={last}"));
                queries.push(format!("?limit=2&ending_before={last}"));
            }
            for account in [&wallet, &shop] {
                for (query, token) in queries
                    .iter()
                    .flat_map(|query| tokens.iter().map(move |token| (query, token)))
                {
                    let path = format!("/v1/accounts/{account}/entries{query}");
                    let plain = uncached(&beside, token, &path);
                    // The second answer comes out of the cache.
                    for _ in 0..2 {
                        let answer = server.get_as(token, &path);
                        assert_eq!(answer.status, plain.status, "{path}");
                        if answer.status == 200 {
                            assert_eq!(answer.body, plain.body, "{path}");
                            assert_eq!(answer.header("content-type"), plain.header("content-type"));
                        }
                    }
                }
            }
        };
        check();
        let paid = server.post("/v1/payments", &pay(&wallet, &shop, 250));
        let paid = id(&paid.expect(201));
        check();
        let refund = json!({"payment": paid, "amount": 50, "description": "broken"});
        server.post("/v1/refunds", &refund).expect(201);
        check();
        let held = id(&server
            .post("/v1/payments", &hold(&wallet, &shop, 100))
            .expect(201));
        check();
        let capture = format!("/v1/payments/{held}/capture");
        server.post(&capture, &json!({})).expect(200);
        check();
        let page = String::from_utf8(server.get("/metrics").body).expect("text");
        let hits = "tributary_cache_hits_total{cache=\"statements\"} ";
        let hits = page.lines().find_map(|line| line.strip_prefix(hits));
        assert_ne!(hits, Some("0"), "{page}");
    }
}

#[test]
fn no_reader_sees_fewer_lines_than_were_answered_or_seen_before() {
    const PAYMENTS: u64 = 60;
    let server = cached(CachePolicy::TinyLfu, 1_000_000);
    let (wallet, shop) = (
        server.wallet("ann", 100_000),
        server.account("shop", "merchant"),
    );
    let path = format!("/v1/accounts/{shop}/entries?limit=1");
    let balance = || {
        let page = server.get(&path).expect(200);
        page["data"][0]["balance"].as_u64().unwrap_or_default()
    };
    let (answered, done) = (AtomicU64::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let mut seen = 0;
                while !done.load(Ordering::SeqCst) {
                    let least = answered.load(Ordering::SeqCst).max(seen);
                    seen = balance();
                    assert!(seen >= least, "{seen} after {least}");
                }
            });
        }
        let writer = scope.spawn(|| {
            for count in 1..=PAYMENTS {
                server
                    .post("/v1/payments", &pay(&wallet, &shop, 1))
                    .expect(201);
                answered.store(count, Ordering::SeqCst);
                assert_eq!(balance(), count, "it reads what it wrote");
            }
        });
        let ended = writer.join();
        done.store(true, Ordering::SeqCst);
        assert!(ended.is_ok());
    });
}
