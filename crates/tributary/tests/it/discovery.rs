//! A server and its registry: it is announced while it runs, and follows the configuration that is kept there.

use std::process::Output;
use std::time::Instant;

use tributary_connect::discovery::open_discovery;
use tributary_connect::discovery::port::{Access, Discovery, Node};
use tributary_testkit::consul::ConsulStandIn;
use tributary_testkit::engine::Engine;

use crate::support::{PATIENCE, Server, text, tributary};

fn open(url: &str) -> Box<dyn Discovery> {
    open_discovery(url, &Access::default()).expect(url)
}

/// Waits until so many nodes are listed.
#[track_caller]
fn lists(discovery: &dyn Discovery, count: usize) -> Vec<Node> {
    let begun = Instant::now();
    loop {
        match discovery.nodes() {
            Ok(nodes) if nodes.len() == count => return nodes,
            found => assert!(begun.elapsed() < PATIENCE, "not {count}: {found:?}"),
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

/// A server is in the registry under its address while it runs, and no longer.
fn check_announcement(registry: &str) {
    let directory = tempfile::tempdir().expect("a directory");
    let discovery = open(registry);
    let settings = [
        ("TRIBUTARY_DISCOVERY_ANNOUNCE", registry),
        ("TRIBUTARY_GRPC_LISTEN", "127.0.0.1:0"),
    ];
    let data = directory.path().join("data");
    let server = Server::try_start_with(&data, "127.0.0.1:0", &settings).expect("starts");
    let [node] = &lists(&*discovery, 1)[..] else {
        panic!("one node");
    };
    assert_eq!(node.url, server.url());
    let grpc = server.grpc.as_ref().expect("gRPC");
    assert_eq!(node.grpc_url, Some(format!("http://{grpc}")));
    assert!(server.stop().success());
    assert_eq!(discovery.nodes(), Ok(Vec::new()));
}

#[test]
fn a_server_is_announced_to_consul_while_it_runs() {
    let consul = ConsulStandIn::start(None);
    check_announcement(&format!("consul://{}/tributary", consul.address()));
}

#[test]
fn a_server_is_announced_to_etcd_while_it_runs() {
    let Some(etcd) = Engine::find("etcd") else {
        return;
    };
    etcd.start();
    check_announcement(&format!("etcd://{}/tributary", etcd.address()));
}

#[test]
fn a_change_of_the_configuration_is_followed() {
    let directory = tempfile::tempdir().expect("a directory");
    let consul = ConsulStandIn::start(None);
    let put = |text: &str| consul.put("tributary/config", text);
    put("[limits]\nstreams_max = 5\n");
    let url = format!("consul://{}/tributary/config", consul.address());
    let settings = [
        ("TRIBUTARY_CONFIG", url.as_str()),
        ("TRIBUTARY_LOG_LEVEL", "info"),
    ];
    let data = directory.path().join("data");
    let server = Server::try_start_with(&data, "127.0.0.1:0", &settings).expect("starts");

    put("[limits]\nstreams_max = 7\nrequests_per_second_max = 9\n");
    server.has_logged(
        "changed=[\"limits.requests_per_second_max\"] needs_restart=[\"limits.streams_max\"]",
    );
    put("[limits]\nstreams_max = many\n");
    server.has_logged("was not reloaded, and nothing was changed");
    server.has_logged(&url);
    assert!(server.stop().success());
}

/// Runs `serve`, which must not start.
fn refused(data: &std::path::Path, settings: &[(&str, &str)]) -> Output {
    let mut command = tributary();
    command.args(["serve", "--data", text(data)]);
    command.envs(settings.iter().copied());
    command.output().expect("the binary runs")
}

#[test]
fn what_is_not_there_or_wrong_is_named() {
    let directory = tempfile::tempdir().expect("a directory");
    let consul = ConsulStandIn::start(None);
    let config = format!("consul://{}/nothing", consul.address());
    let data = directory.path().join("data");
    for (variable, value, code, part) in [
        (
            "TRIBUTARY_CONFIG",
            config.as_str(),
            1,
            "it has no key nothing",
        ),
        (
            "TRIBUTARY_CONFIG",
            "consul://nothing",
            2,
            "must end with a name",
        ),
        (
            "TRIBUTARY_DISCOVERY_ANNOUNCE",
            "static://a:1",
            2,
            "must begin with consul://",
        ),
        (
            "TRIBUTARY_DISCOVERY_ANNOUNCE",
            "etcd://a:b/c",
            2,
            "host:port",
        ),
    ] {
        let output = refused(&data, &[(variable, value)]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains(part), "{value}: {said}");
        assert_eq!(output.status.code(), Some(code), "{value}: {said}");
    }
    assert!(!data.exists(), "nothing was made");
}

#[test]
fn a_server_starts_without_its_registry_and_is_announced_later() {
    let directory = tempfile::tempdir().expect("a directory");
    let consul = ConsulStandIn::start(None);
    consul.set_away(true);
    let registry = format!("consul://{}/tributary", consul.address());
    let settings = [("TRIBUTARY_DISCOVERY_ANNOUNCE", registry.as_str())];
    let data = directory.path().join("data");
    let server = Server::try_start_with(&data, "127.0.0.1:0", &settings).expect("starts");
    server.has_logged("this node can't be announced");
    consul.set_away(false);
    assert_eq!(lists(&*open(&registry), 1)[0].url, server.url());
}
