//! Logs that survive the loss of a server: PostgreSQL under Patroni, and three brokers of Kafka.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use tributary_testkit::brokers::{Broker, Partition, find_partition};
use tributary_testkit::engine::Engine;
use tributary_testkit::ports::free_port;
use tributary_testkit::proxy::Proxy;

use super::report::Gap;
use crate::http;
use crate::nodes::cluster::until;
use crate::support::{Stop, repository};

/// The topic of the log in Kafka.
const TOPIC: &str = "payments";
/// How long a statement of the bare client may wait for a standby before it is given up.
const BARE_PATIENCE: Duration = Duration::from_secs(30);
/// Pause between two statements of the bare client.
const BARE_PAUSE: Duration = Duration::from_millis(50);

/// The servers of a log.
pub(super) enum LogServers {
    Patroni(Patroni),
    Kafka([Broker; 3]),
}

impl LogServers {
    pub(super) fn name(&self) -> &'static str {
        match self {
            LogServers::Patroni(_) => "patroni",
            LogServers::Kafka(_) => "kafka",
        }
    }

    /// Where nodes find the log: at proxies, so that connections can be cut.
    pub(super) fn url(&self) -> String {
        let join = |proxies: [&Proxy; 3]| proxies.map(|it| it.address().to_string()).join(",");
        match self {
            LogServers::Patroni(patroni) => {
                let hosts = join(patroni.members.each_ref().map(|one| &one.proxy));
                format!("postgresql://tributary@{hosts}/postgres")
            }
            LogServers::Kafka(brokers) => {
                let hosts = join(brokers.each_ref().map(|one| &one.proxy));
                format!("kafka://tributary@{hosts}/{TOPIC}?mechanism=plain")
            }
        }
    }

    /// Cuts the connections of all nodes.
    pub(super) fn cut(&self) {
        match self {
            LogServers::Patroni(patroni) => patroni.members.iter().for_each(|it| it.proxy.cut()),
            LogServers::Kafka(brokers) => brokers.iter().for_each(|it| it.proxy.cut()),
        }
    }

    /// The server that takes what is appended.
    pub(super) fn first(&self) -> usize {
        match self {
            LogServers::Patroni(patroni) => until("there is a primary", || patroni.find("primary")),
            LogServers::Kafka(brokers) => until("a broker leads", || {
                partition(brokers).map(|partition| partition.leader)
            }),
        }
    }

    /// A server for whose acknowledgement the first one waits.
    pub(super) fn second(&self) -> usize {
        match self {
            LogServers::Patroni(patroni) => until("there is a standby", || patroni.find("sync")),
            LogServers::Kafka(brokers) => (self.first() + 1) % brokers.len(),
        }
    }

    /// Kills a server with all its processes.
    pub(super) fn kill(&self, server: usize) {
        self.engine(server).kill();
    }

    /// Starts a server that was killed.
    pub(super) fn start(&self, server: usize) {
        self.engine(server).start();
    }

    fn engine(&self, server: usize) -> &Engine {
        match self {
            LogServers::Patroni(patroni) => &patroni.members[server].engine,
            LogServers::Kafka(brokers) => &brokers[server].engine,
        }
    }

    /// Copies what the servers logged.
    pub(super) fn keep_logs(&self, folder: &Path) {
        for server in 0..3 {
            let log = self.engine(server).folder().join("log.txt");
            let _there_is_none = std::fs::copy(log, folder.join(format!("server-{server}.log")));
        }
    }

    /// Waits until every server has everything, and any may be lost.
    pub(super) fn wait_until_whole(&self) {
        until("every server of the log has everything", || {
            let is_whole = match self {
                LogServers::Patroni(patroni) => patroni.is_whole(),
                LogServers::Kafka(brokers) => {
                    partition(brokers).is_some_and(|partition| partition.in_sync == brokers.len())
                }
            };
            is_whole.then_some(())
        });
    }

    /// Runs `work`, and tells meanwhile how long a bare client of the same servers could not write, if there is one to compare with.
    pub(super) fn beside_bare_client<T>(&self, work: impl FnOnce() -> T) -> (T, Option<Duration>) {
        let LogServers::Patroni(patroni) = self else {
            return (work(), None);
        };
        let (is_done, gap) = (AtomicBool::new(false), Mutex::new(Gap::default()));
        std::thread::scope(|scope| {
            let _end = Stop(&is_done);
            scope.spawn(|| {
                while !is_done.load(Ordering::Relaxed) {
                    if patroni.insert() {
                        gap.lock().expect("no holder panics").accept();
                    }
                    std::thread::sleep(BARE_PAUSE);
                }
            });
            until("the bare client writes", || {
                gap.lock()
                    .expect("no holder panics")
                    .is_begun()
                    .then_some(())
            });
            gap.lock().expect("no holder panics").reset();
            let done = work();
            let longest = gap.lock().expect("no holder panics").longest();
            (done, Some(longest))
        })
    }
}

/// Starts the brokers; none if they are not installed.
pub(super) fn start_kafka() -> Option<LogServers> {
    Broker::start_three().map(LogServers::Kafka)
}

fn partition(brokers: &[Broker; 3]) -> Option<Partition> {
    let addresses = brokers.each_ref().map(|broker| broker.engine.address());
    find_partition(&addresses, TOPIC)
}

/// PostgreSQL under Patroni: a primary, its synchronous standby, and one more, which takes the place of either.
pub(super) struct Patroni {
    members: [Member; 3],
    /// Where the members agree on who is the primary.
    _etcd: Engine,
}

struct Member {
    engine: Engine,
    proxy: Proxy,
    rest: SocketAddr,
}

/// Starts PostgreSQL under Patroni, with a table for the bare client; none if it is not installed.
pub(super) fn start_patroni() -> Option<LogServers> {
    let etcd = Engine::find("etcd")?;
    etcd.start();
    let find = |number: usize| {
        let engine = Engine::find("patroni")?;
        let (rest, agree) = (free_port(), etcd.address().port());
        engine.write("member", &format!("member-{number} {rest} {agree}\n"));
        let proxy = Proxy::start(engine.address().port());
        let rest = SocketAddr::from(([127, 0, 0, 1], rest));
        Some(Member {
            engine,
            proxy,
            rest,
        })
    };
    let members = [find(0)?, find(1)?, find(2)?];
    // The others copy the first one, and listen when they have.
    std::thread::scope(|scope| {
        for member in &members {
            scope.spawn(|| member.engine.start());
        }
    });
    let patroni = Patroni {
        members,
        _etcd: etcd,
    };
    until("PostgreSQL is whole", || patroni.is_whole().then_some(()));
    until("there is a table", || {
        patroni
            .query("CREATE TABLE bare (id bigint GENERATED ALWAYS AS IDENTITY)")
            .then_some(())
    });
    Some(LogServers::Patroni(patroni))
}

impl Patroni {
    /// The member that says yes to a question about its role.
    fn find(&self, role: &str) -> Option<usize> {
        let says_yes = |member: &Member| {
            let asked = get(member.rest, &format!("/{role}"));
            asked.is_some_and(|answer| answer.status == 200)
        };
        self.members.iter().position(says_yes)
    }

    /// Whether there are a primary, a synchronous standby, and one more member that follows.
    fn is_whole(&self) -> bool {
        let cluster = self.members.iter().find_map(|member| {
            let answer = get(member.rest, "/cluster")?;
            serde_json::from_slice::<Value>(&answer.body).ok()
        });
        let Some(cluster) = cluster else {
            return false;
        };
        let members = cluster["members"].as_array().map_or(&[][..], Vec::as_slice);
        let runs = |member: &&Value| {
            ["running", "streaming"].contains(&member["state"].as_str().unwrap_or(""))
                && (member["role"] == "leader" || member["lag"] == 0)
        };
        let mut roles: Vec<&str> = members
            .iter()
            .filter(runs)
            .filter_map(|member| member["role"].as_str())
            .collect();
        roles.sort_unstable();
        roles == ["leader", "replica", "sync_standby"]
    }

    /// Whether a row of the bare client is acknowledged.
    fn insert(&self) -> bool {
        self.query("INSERT INTO bare DEFAULT VALUES")
    }

    /// Runs a statement at the primary, by PostgreSQL's own program. Whether it is acknowledged.
    fn query(&self, statement: &str) -> bool {
        let folder = repository().join("target/engines/postgresql/usr/lib");
        let hosts = self
            .members
            .each_ref()
            .map(|member| member.engine.address().to_string());
        let url = format!(
            "postgresql://tributary:tributary@{}/postgres?target_session_attrs=read-write&connect_timeout=2",
            hosts.join(",")
        );
        let libraries = folder.join(format!("{}-linux-gnu", std::env::consts::ARCH));
        let mut child = Command::new(folder.join("postgresql/15/bin/psql"))
            .args([&url, "-qc", statement])
            .env("LD_LIBRARY_PATH", libraries)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("scripts/install-engines postgresql installs it");
        let begun = Instant::now();
        loop {
            match child.try_wait().expect("it is our child") {
                Some(status) => return status.success(),
                None if begun.elapsed() > BARE_PATIENCE => {
                    let _ended = child.kill();
                    let _reaped = child.wait();
                    return false;
                }
                None => std::thread::sleep(Duration::from_millis(5)),
            }
        }
    }
}

fn get(address: SocketAddr, path: &str) -> Option<http::Answer> {
    let timeout = Duration::from_secs(2);
    let address = address.to_string();
    http::request_within(timeout, &address, "GET", path, "", None, None).ok()
}
