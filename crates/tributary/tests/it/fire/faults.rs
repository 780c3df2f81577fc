//! What is done to a cluster: to its nodes, and to the servers of its log.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::clients::Clients;
use super::logs::LogServers;
use super::report::{Cost, Report};
use crate::crash::Random;
use crate::http;
use crate::nodes::cluster::{Cluster, NODES, find_leader, until};
use crate::support::{Server, tributary};

/// Writes that must be accepted before a failure, and after it.
const WRITES: u64 = 20;
/// How long the consequences of a failure are waited for after writes are accepted again.
const SETTLES: Duration = Duration::from_secs(2);
/// Time in which the load balancer learns that a node is back.
const BALANCER_LEARNS: Duration = Duration::from_secs(3);

/// A kind of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    LeaderKilled,
    FollowerKilled,
    LeaderStopped,
    HandOver,
    ConnectionsCut,
    /// Of the log: the one that takes what is appended.
    FirstServerKilled,
    /// Of the log: one for whose acknowledgement the first one waits.
    SecondServerKilled,
}

pub(super) const FAULTS: [Fault; 7] = [
    Fault::LeaderKilled,
    Fault::FollowerKilled,
    Fault::LeaderStopped,
    Fault::HandOver,
    Fault::ConnectionsCut,
    Fault::FirstServerKilled,
    Fault::SecondServerKilled,
];

impl Fault {
    fn name(self, log: &LogServers) -> &'static str {
        match (self, log) {
            (Fault::LeaderKilled, _) => "leader killed",
            (Fault::FollowerKilled, _) => "follower killed",
            (Fault::LeaderStopped, _) => "leader stopped by SIGTERM",
            (Fault::HandOver, _) => "hand-over",
            (Fault::ConnectionsCut, _) => "connections to the log cut",
            (Fault::FirstServerKilled, LogServers::Patroni(_)) => "PostgreSQL primary killed",
            (Fault::SecondServerKilled, LogServers::Patroni(_)) => "PostgreSQL standby killed",
            (Fault::FirstServerKilled, LogServers::Kafka(_)) => "broker that leads killed",
            (Fault::SecondServerKilled, LogServers::Kafka(_)) => "another broker killed",
        }
    }
}

/// The nodes that run, and what they logged.
pub(super) struct Nodes<'a> {
    cluster: &'a Cluster,
    pub(super) servers: Vec<Option<Server>>,
    logs: PathBuf,
}

impl<'a> Nodes<'a> {
    /// Starts all nodes. What they log is kept in `logs` in the end.
    pub(super) fn start(cluster: &'a Cluster, logs: &Path) -> Nodes<'a> {
        let servers = (0..NODES.len()).map(|node| Some(cluster.start(node)));
        Nodes {
            cluster,
            servers: servers.collect(),
            logs: logs.to_owned(),
        }
    }

    /// The platform key.
    pub(super) fn token(&self) -> String {
        self.servers[0].as_ref().expect("it runs").key.clone()
    }

    pub(super) fn leader(&self) -> usize {
        until("a node leads", || find_leader(&self.servers))
    }

    fn start_again(&mut self, node: usize) {
        self.servers[node] = Some(self.cluster.start(node));
    }

    fn take(&mut self, node: usize) -> Server {
        self.keep_log(node);
        self.servers[node].take().expect("it runs")
    }

    fn keep_log(&self, node: usize) {
        let Some(server) = &self.servers[node] else {
            return;
        };
        let path = self.logs.join(format!("{}.log", NODES[node]));
        let before = std::fs::read_to_string(&path).unwrap_or_default();
        let _no_room = std::fs::write(path, before + &server.log() + "---- ended\n");
    }

    /// Waits until every node is ready.
    pub(super) fn wait_until_ready(&self) {
        for server in self.servers.iter().flatten() {
            until("every node is ready", || {
                let health = http::request(&server.address, "GET", "/health/ready", "", None, None);
                (health.ok()?.status == 200).then_some(())
            });
        }
    }

    /// Stops all nodes.
    pub(super) fn stop(mut self) {
        for node in 0..NODES.len() {
            assert!(self.take(node).stop().success());
        }
    }

    /// Has the leader hand over, by the command.
    pub(super) fn hand_over(&self) {
        let leader = self.servers[self.leader()].as_ref().expect("it leads");
        let done = tributary()
            .args(["cluster", "hand-over", "--server", &leader.url()])
            .args(["--api-key-file", leader.key_file()])
            .output()
            .expect("the binary runs");
        assert!(done.status.success(), "{done:?}");
    }
}

impl Drop for Nodes<'_> {
    fn drop(&mut self) {
        (0..NODES.len()).for_each(|node| self.keep_log(node));
    }
}

/// Waits until so many writes more are accepted.
pub(super) fn wait_for_writes(clients: &Clients, count: u64) {
    let goal = clients.written.load(Ordering::Relaxed) + count;
    until("writes are accepted", || {
        (clients.written.load(Ordering::Relaxed) >= goal).then_some(())
    });
}

/// Has a failure happen to a cluster that is whole, waits until it is whole again, and tells what that cost.
pub(super) fn strike(
    fault: Fault,
    nodes: &mut Nodes<'_>,
    log: &LogServers,
    clients: &Clients,
    random: &mut Random,
    report: &mut Report,
) {
    nodes.wait_until_ready();
    log.wait_until_whole();
    std::thread::sleep(BALANCER_LEARNS);
    wait_for_writes(clients, WRITES);
    random.pause(20, 500);
    let mut play = || {
        clients.gap().reset();
        suffer(fault, nodes, log, clients, random);
        clients.gap().longest()
    };
    let hits_log = [Fault::FirstServerKilled, Fault::SecondServerKilled].contains(&fault);
    let (gap, bare) = match hits_log {
        true => log.beside_bare_client(play),
        false => (play(), None),
    };
    report.add(fault.name(log), Cost { gap, bare });
}

/// Has the failure happen, and ends it once writes are accepted again.
fn suffer(
    fault: Fault,
    nodes: &mut Nodes<'_>,
    log: &LogServers,
    clients: &Clients,
    random: &mut Random,
) {
    let settle = || {
        wait_for_writes(clients, WRITES);
        std::thread::sleep(SETTLES);
    };
    match fault {
        Fault::LeaderKilled | Fault::FollowerKilled => {
            let leader = nodes.leader();
            let node = match fault {
                Fault::LeaderKilled => leader,
                _ => (leader + 1 + random.below(2) as usize) % NODES.len(),
            };
            nodes.take(node).kill();
            settle();
            nodes.start_again(node);
        }
        Fault::LeaderStopped => {
            let node = nodes.leader();
            assert!(nodes.take(node).stop().success());
            settle();
            nodes.start_again(node);
        }
        Fault::HandOver => nodes.hand_over(),
        Fault::ConnectionsCut => log.cut(),
        Fault::FirstServerKilled | Fault::SecondServerKilled => {
            let server = match fault {
                Fault::FirstServerKilled => log.first(),
                _ => log.second(),
            };
            log.kill(server);
            settle();
            log.start(server);
            log.wait_until_whole();
        }
    }
    settle();
    nodes.wait_until_ready();
}
