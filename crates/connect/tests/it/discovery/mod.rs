//! Registries: what each of them promises, against etcd, and against a stand-in for Consul.

mod consul;
mod etcd;
mod health;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tributary_connect::discovery::port::{Access, Discovery, DiscoveryError, Node};
use tributary_connect::discovery::{is_place, open_discovery, open_source};

use crate::PATIENCE;
use health::Health;

fn open(url: &str) -> Box<dyn Discovery> {
    open_discovery(url, &Access::default()).expect(url)
}

/// A node whose health is `health`.
fn node(name: &str, health: &Health) -> Node {
    let url = format!("http://{}", health.address());
    Node {
        name: name.to_owned(),
        health_url: format!("{url}/health/ready"),
        grpc_url: Some(format!("{url}1")),
        url,
    }
}

/// Waits until this holds.
#[track_caller]
fn wait_until(what: &str, holds: impl Fn() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Waits until the registry lists just these.
#[track_caller]
fn lists(discovery: &dyn Discovery, nodes: &[&Node]) {
    let nodes: Vec<Node> = nodes.iter().copied().cloned().collect();
    wait_until(&format!("{nodes:?}"), || {
        discovery.nodes().as_ref() == Ok(&nodes)
    });
}

/// Announced nodes are listed until their announcement is dropped, each under the name of its service only.
fn check_announcements(url: &str) {
    let health = Health::start(true);
    let (a, b) = (node("a", &health), node("b", &health));
    let (here, elsewhere) = (open(&format!("{url}/shop")), open(&format!("{url}/shops")));
    assert_eq!(here.nodes(), Ok(Vec::new()));
    let of_b = here.announce(b.clone()).expect("announces");
    let of_a = here.announce(a.clone()).expect("announces");
    let _of_other = elsewhere.announce(node("c", &health)).expect("announces");
    lists(&*here, &[&a, &b]);
    drop(of_b);
    assert_eq!(here.nodes(), Ok(vec![a]), "it is withdrawn at once");
    drop(of_a);
    assert_eq!(here.nodes(), Ok(Vec::new()));
}

/// A configuration is read, each change of it is told, and other keys tell nothing. `put` sets a key.
fn check_source(url: &str, put: &dyn Fn(&str, &str)) {
    let source = open_source(&format!("{url}/shop/config"), &Access::default()).expect("a source");
    let error = source.read().expect_err("there is no key yet");
    assert!(
        matches!(&error, DiscoveryError::Unfit(text) if text.contains("no key shop/config")),
        "{error}"
    );
    assert!(source.watch(Box::new(|| {})).is_err());

    put("shop/config", "listen = \"é\"\n");
    assert_eq!(source.read().as_deref(), Ok("listen = \"é\"\n"));
    let count = Arc::new(AtomicUsize::new(0));
    let counter = count.clone();
    let watch = source.watch(Box::new(move || {
        counter.fetch_add(1, Ordering::SeqCst);
    }));
    let watch = watch.expect("watches");
    for turn in 1..=3 {
        put("shop/other", "x");
        put("shop/config2", "x");
        put("shop/config", &format!("turn {turn}"));
        wait_until("a change is told", || count.load(Ordering::SeqCst) >= turn);
        assert_eq!(source.read(), Ok(format!("turn {turn}")));
    }
    assert_eq!(count.load(Ordering::SeqCst), 3, "nothing else is told");
    drop(watch);
    put("shop/config", "");
    assert_eq!(source.read().as_deref(), Ok(""));
    assert_eq!(
        count.load(Ordering::SeqCst),
        3,
        "nothing is told after the watch"
    );
}

#[test]
fn a_list_and_dns_find_nodes_and_announce_none() {
    let listed = open("static://b:1,a.example:2,[::1]:3");
    let urls = |discovery: &dyn Discovery| -> Vec<String> {
        let nodes = discovery.nodes().expect("finds");
        nodes.into_iter().map(|node| node.url).collect()
    };
    assert_eq!(
        urls(&*listed),
        ["http://b:1", "http://a.example:2", "http://[::1]:3"]
    );
    let by_name = open("dns://localhost:8080");
    assert!(urls(&*by_name).contains(&"http://127.0.0.1:8080".to_owned()));
    assert!(matches!(
        open("dns://host.invalid:1").nodes(),
        Err(DiscoveryError::Unreachable(_))
    ));
    let health = Health::start(true);
    for discovery in [listed, by_name] {
        assert!(matches!(
            discovery.announce(node("a", &health)),
            Err(DiscoveryError::Unfit(_))
        ));
    }
}

#[test]
fn what_is_no_registry_is_refused() {
    for (url, is_one) in [
        ("consul://a/b", true),
        ("etcds://a/b", true),
        ("/etc/tributary.toml", false),
        ("https://a/b", false),
        ("etcd", false),
    ] {
        assert_eq!(is_place(url), is_one, "{url}");
    }
    for url in ["static://a:1", "dns://a:1", "etcd://a", "nothing://a/b"] {
        assert!(open_source(url, &Access::default()).is_err(), "{url}");
    }
    for url in ["dns://a:1,b:1", "consul://a"] {
        assert!(open_discovery(url, &Access::default()).is_err(), "{url}");
    }
    let access = Access {
        credential: Some("no-colon".to_owned()),
        ..Access::default()
    };
    assert!(open_discovery("etcd://a/b", &access).is_err());
}

#[test]
fn of_several_servers_one_that_is_there_is_enough() {
    let stand_in = tributary_testkit::consul::ConsulStandIn::start(None);
    let nobody = tributary_testkit::ports::free_port();
    stand_in.put("key", "text");
    let url = format!("consul://127.0.0.1:{nobody},{}/key", stand_in.address());
    let source = open_source(&url, &Access::default()).expect("a source");
    assert_eq!(source.read().as_deref(), Ok("text"));
}
