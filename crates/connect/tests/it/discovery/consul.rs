//! The stand-in for Consul.

use std::process::Command;

use tributary_connect::discovery::port::Access;
use tributary_connect::discovery::{open_discovery, open_source};
use tributary_testkit::consul::ConsulStandIn;

use super::health::Health;
use super::{check_announcements, check_source, lists, node, open, wait_until};

fn url_of(consul: &ConsulStandIn) -> String {
    format!("consul://{}", consul.address())
}

#[test]
fn nodes_are_announced_until_they_end() {
    check_announcements(&url_of(&ConsulStandIn::start(None)));
}

#[test]
fn the_configuration_is_read_and_watched() {
    let consul = ConsulStandIn::start(None);
    check_source(&url_of(&consul), &|key, value| consul.put(key, value));
}

#[test]
fn a_node_is_listed_while_it_is_ready() {
    let consul = ConsulStandIn::start(None);
    let health = Health::start(false);
    let (discovery, a) = (
        open(&format!("{}/shop", url_of(&consul))),
        node("a", &health),
    );
    let _announced = discovery.announce(a.clone()).expect("announces");
    wait_until("it is registered", || consul.services() == ["a"]);
    assert_eq!(discovery.nodes(), Ok(Vec::new()));
    health.set_ready(true);
    lists(&*discovery, &[&a]);
    health.set_ready(false);
    lists(&*discovery, &[]);
}

#[test]
fn a_node_that_the_agent_forgot_is_announced_again() {
    let consul = ConsulStandIn::start(None);
    let health = Health::start(true);
    let (discovery, a) = (
        open(&format!("{}/shop", url_of(&consul))),
        node("a", &health),
    );
    let _announced = discovery.announce(a.clone()).expect("announces");
    lists(&*discovery, &[&a]);
    consul.forget_services();
    lists(&*discovery, &[&a]);
}

#[test]
fn an_agent_that_is_away_is_asked_again() {
    let consul = ConsulStandIn::start(None);
    consul.put("config", "one");
    consul.set_away(true);
    let health = Health::start(true);
    let (discovery, a) = (
        open(&format!("{}/shop", url_of(&consul))),
        node("a", &health),
    );
    let _announced = discovery
        .announce(a.clone())
        .expect("it begins all the same");
    assert!(discovery.nodes().is_err());
    consul.set_away(false);
    lists(&*discovery, &[&a]);

    let source = open_source(&format!("{}/config", url_of(&consul)), &Access::default());
    let (tell, told) = std::sync::mpsc::channel();
    let source = source.expect("a source");
    let _watch = source.watch(Box::new(move || tell.send(()).expect("it listens")));
    consul.set_away(true);
    consul.put("config", "two");
    consul.set_away(false);
    told.recv_timeout(crate::PATIENCE)
        .expect("the change is told");
    assert_eq!(source.read().as_deref(), Ok("two"));
}

#[test]
fn only_the_token_lets_in() {
    let consul = ConsulStandIn::start(Some("sesame"));
    consul.put("config", "text");
    for (credential, is_let_in) in [
        (Some("sesame"), true),
        (Some("wrong"), false),
        (None, false),
    ] {
        let access = Access {
            credential: credential.map(str::to_owned),
            ca_file: None,
        };
        let url = url_of(&consul);
        let source = open_source(&format!("{url}/config"), &access).expect("a source");
        let discovery = open_discovery(&format!("{url}/shop"), &access).expect("a registry");
        assert_eq!(source.read().is_ok(), is_let_in, "{credential:?}");
        assert_eq!(discovery.nodes().is_ok(), is_let_in, "{credential:?}");
    }
}

/// The official library drives the stand-in through all that we use, and sees our node as one of its own.
#[test]
#[ignore = "needs a program in Go: peers/consul/check builds and runs it"]
fn the_official_client_takes_the_stand_in_for_consul() {
    let program =
        std::env::var("TRIBUTARY_TEST_CONSUL_CLIENT").expect("peers/consul/check names it");
    let consul = ConsulStandIn::start(Some("sesame"));
    let health = Health::start(true);
    let access = Access {
        credential: Some("sesame".to_owned()),
        ca_file: None,
    };
    let discovery = open_discovery(&format!("{}/ours", url_of(&consul)), &access).expect("opens");
    let ours = node("a", &health);
    let _announced = discovery.announce(ours.clone()).expect("announces");
    let output = Command::new(program)
        .env("CONSUL_HTTP_ADDR", consul.address().to_string())
        .env("CONSUL_HTTP_TOKEN", "sesame")
        .args([&ours.url, &ours.health_url])
        .output();
    let output = output.expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    // What it registered and left, as we see it.
    let theirs = open_discovery(&format!("{}/theirs", url_of(&consul)), &access).expect("opens");
    let nodes = theirs.nodes().expect("lists");
    let urls: Vec<&str> = nodes.iter().map(|node| node.url.as_str()).collect();
    assert_eq!(urls, ["http://127.0.0.1:7"]);
    let source = open_source(&format!("{}/left/by-them", url_of(&consul)), &access).expect("opens");
    assert_eq!(source.read().as_deref(), Ok("their text"));
}
