//! A leader that is reached over TLS.

use std::time::Duration;

use tributary_api::leadership::NodeAddress;
use tributary_server::{Running, Server, ServerConfig, Services};

use super::{Cluster, account_of};
use crate::fixture::{limits, no_services};
use crate::grpc::{batch, paying, platform};
use crate::limits::tls;

/// A server over the leader's engine that speaks TLS only, and its address.
fn over_tls(cluster: &Cluster) -> (Running, NodeAddress) {
    let free = ([127, 0, 0, 1], 0).into();
    let config = ServerConfig {
        listen: free,
        grpc_listen: Some(free),
        threads: 1,
        tls: Some(tls().0),
        limits: limits(),
        ..ServerConfig::default()
    };
    let engine = cluster.leader.engine.clone();
    let services = Services {
        leadership: Some(cluster.leads.clone() as _),
        ..no_services(&engine)
    };
    let running = Server::start(config, engine, services);
    let running = running.expect("it starts");
    let grpc = running.grpc_addr().expect("it listens");
    let address = NodeAddress {
        url: format!("https://localhost:{}", running.addr().port()),
        grpc_url: Some(format!("https://localhost:{}", grpc.port())),
        ..cluster.leader_address()
    };
    (running, address)
}

#[test]
fn a_leader_over_tls_is_trusted_by_the_certificates_that_are_configured() {
    let ca_file = tls().0.certificate;
    let cluster = Cluster::with(|config| config.peer_ca_file = Some(ca_file));
    let (buyer, shop) = cluster.payer_and_payee();
    let (_running, address) = over_tls(&cluster);
    cluster.follow(address);
    for _ in 0..3 {
        cluster
            .follower
            .post("/v1/accounts", &account_of("bob"))
            .expect(201);
    }
    let client = platform(&cluster.follower);
    let paid = client.submit(batch(vec![paying("k", &buyer, &shop, 1)]));
    assert_eq!(paid.expect("answered").results[0].code, "");
}

#[test]
fn a_leader_over_tls_that_is_not_trusted_gets_no_request() {
    let cluster = Cluster::with(|config| config.limits.request_timeout = Duration::from_secs(1));
    let (_running, address) = over_tls(&cluster);
    cluster.follow(address);
    let refused = cluster.follower.post("/v1/accounts", &account_of("bob"));
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (503, "unavailable")
    );
    assert_eq!(cluster.leader.reader().published(), 1);
}
