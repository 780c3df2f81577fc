//! Two servers as nodes of a cluster: one leads, and the other follows it.

mod forwarding;
mod grpc;
mod health;
mod proxy;
mod reads;
mod smuggling;
mod tls;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::{Value, json};
use tributary_api::leadership::{ClusterFigures, Confirmed, Leadership, NodeAddress, Role};
use tributary_engine::{Engine, NEWEST, Reader, Versions};
use tributary_server::ServerConfig;

use crate::client::{Answer, post, until};
use crate::fixture::{Fixture, Node};

/// The header by which a node marks what it forwards.
const FORWARDED_BY: &str = "Tributary-Forwarded-By";

/// The standing of a node, as a test says.
struct FakeLeadership {
    node: &'static str,
    state: Mutex<State>,
    /// Engine whose view a confirmed read must see; none if the log can't be reached.
    log: Mutex<Option<Reader>>,
}

struct State {
    role: Role,
    confirmed_ago: Option<Duration>,
    handed_over: Vec<Option<String>>,
    written: Versions,
}

impl FakeLeadership {
    fn new(node: &'static str, role: Role) -> Arc<FakeLeadership> {
        Arc::new(FakeLeadership {
            node,
            state: Mutex::new(State {
                role,
                confirmed_ago: Some(Duration::ZERO),
                handed_over: Vec::new(),
                written: Versions { rules: 0, ..NEWEST },
            }),
            log: Mutex::default(),
        })
    }

    fn set_role(&self, role: Role) {
        self.state.lock().expect("no holder panics").role = role;
    }

    fn set_confirmed_ago(&self, ago: Option<Duration>) {
        self.state.lock().expect("no holder panics").confirmed_ago = ago;
    }

    fn set_log(&self, log: Option<Reader>) {
        *self.log.lock().expect("no holder panics") = log;
    }
}

impl Leadership for FakeLeadership {
    fn role(&self) -> Role {
        self.state.lock().expect("no holder panics").role.clone()
    }

    fn figures(&self) -> ClusterFigures {
        let state = self.state.lock().expect("no holder panics");
        ClusterFigures {
            log_id: "06".repeat(16),
            node: self.node.to_owned(),
            term: 3,
            leader: Some("node-1".to_owned()),
            settled_position: 7,
            written: state.written,
            entries: 20,
            entries_ignored: 2,
            leader_changes: 1,
            confirmed_ago: state.confirmed_ago,
            appends: 4,
            append_time: Duration::from_millis(1_500),
            appends_unknown: 1,
        }
    }

    fn confirm(&self) -> Confirmed {
        let log = self.log.lock().expect("no holder panics");
        let position = log.as_ref().map(Reader::published);
        Box::pin(async move { position })
    }

    fn hand_over(&self, to: Option<&str>) {
        let mut state = self.state.lock().expect("no holder panics");
        state.handed_over.push(to.map(str::to_owned));
    }

    fn finalize_upgrade(&self) {
        self.state.lock().expect("no holder panics").written = NEWEST;
    }
}

/// Carries the leader's frames to the follower, while it is not held.
struct Pump {
    held: Arc<AtomicBool>,
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Pump {
    fn start(from: Reader, to: Engine) -> Pump {
        let (held, ends) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicBool::new(false)),
        );
        let (is_held, has_ended) = (held.clone(), ends.clone());
        let thread = std::thread::spawn(move || {
            let reader = to.reader();
            while !has_ended.load(Ordering::SeqCst) {
                let next = reader.published() + 1;
                if is_held.load(Ordering::SeqCst) || from.published() < next {
                    std::thread::sleep(Duration::from_millis(1));
                    continue;
                }
                let frame = from
                    .frame(next)
                    .expect("it can be read")
                    .expect("it is there");
                let (done, followed) = mpsc::channel();
                to.follow(frame, move |is_published| {
                    let _gone = done.send(is_published);
                });
                if !followed.recv().unwrap_or(false) {
                    return;
                }
            }
        });
        Pump {
            held,
            ends,
            thread: Some(thread),
        }
    }

    fn hold(&self) {
        self.held.store(true, Ordering::SeqCst);
    }

    fn release(&self) {
        self.held.store(false, Ordering::SeqCst);
    }
}

impl Drop for Pump {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("it does not panic");
        }
    }
}

/// A leader and its follower.
pub(crate) struct Cluster {
    pump: Pump,
    pub(crate) leader: Fixture,
    pub(crate) follower: Fixture,
    leads: Arc<FakeLeadership>,
    follows: Arc<FakeLeadership>,
}

impl Cluster {
    fn start() -> Cluster {
        Cluster::with(|_| ())
    }

    /// With changes to the configuration of the follower.
    fn with(change: impl FnOnce(&mut ServerConfig)) -> Cluster {
        Cluster::of_nodes(|_| (), change)
    }

    /// With changes to the configuration of both nodes.
    pub(crate) fn with_all(change: impl Fn(&mut ServerConfig)) -> Cluster {
        Cluster::of_nodes(&change, &change)
    }

    fn of_nodes(
        change_leader: impl FnOnce(&mut ServerConfig),
        change_follower: impl FnOnce(&mut ServerConfig),
    ) -> Cluster {
        let grpc = SocketAddr::from(([127, 0, 0, 1], 0));
        let leads = FakeLeadership::new("node-1", Role::Leader);
        let node = Node {
            leadership: leads.clone(),
            key: None,
        };
        let directory = tempfile::tempdir().expect("a directory");
        let leader = Fixture::node(Some(directory), node, |config| {
            config.grpc_listen = Some(grpc);
            change_leader(config);
        });
        let follows = FakeLeadership::new("node-2", Role::Follower { leader: None });
        let node = Node {
            leadership: follows.clone(),
            key: Some(leader.platform.clone()),
        };
        let follower = Fixture::node(None, node, |config| {
            config.grpc_listen = Some(grpc);
            change_follower(config);
        });
        follows.set_log(Some(leader.reader()));
        leads.set_log(Some(leader.reader()));
        let cluster = Cluster {
            pump: Pump::start(leader.reader(), follower.engine.clone()),
            leader,
            follower,
            leads,
            follows,
        };
        cluster.follow(cluster.leader_address());
        cluster.catch_up();
        cluster
    }

    fn leader_address(&self) -> NodeAddress {
        let running = self.leader.running.as_ref().expect("it runs");
        NodeAddress {
            name: "node-1".to_owned(),
            url: format!("http://{}", self.leader.addr),
            grpc_url: running.grpc_addr().map(|addr| format!("http://{addr}")),
        }
    }

    /// Has the follower follow the leader at this address.
    fn follow(&self, address: NodeAddress) {
        let leader = Some(address);
        self.follows.set_role(Role::Follower { leader });
    }

    /// Waits until the follower shows all that the leader shows.
    pub(crate) fn catch_up(&self) {
        let reader = self.follower.reader();
        let goal = self.leader.reader().published();
        until("the follower catches up", || {
            (reader.published() >= goal).then_some(())
        });
    }

    /// Number of requests that the follower forwarded, with this outcome.
    fn forwarded(&self, outcome: &str) -> u64 {
        let metric = format!("tributary_forwarded_requests_total{{outcome=\"{outcome}\"}}");
        self.follower.metric(&metric).parse().expect("a number")
    }

    /// A wallet with money and an account of a shop, both known to the follower.
    pub(crate) fn payer_and_payee(&self) -> (String, String) {
        let made = (
            self.leader.wallet("ann", 10_000),
            self.leader.account("shop", "merchant"),
        );
        self.catch_up();
        made
    }
}

/// The metrics of a follower.
pub(crate) fn page_of_node() -> String {
    let page = Cluster::start().follower.get("/metrics");
    String::from_utf8(page.body).expect("text")
}

/// Provokes the refusal of a second hop.
pub(crate) fn second_hop() -> Answer {
    let cluster = Cluster::start();
    let (addr, token) = (cluster.follower.addr, &cluster.leader.platform);
    let hop = [(FORWARDED_BY, "node-9")];
    post(addr, token, "/v1/accounts", Some("k"), &hop, b"{}")
}

/// The body of an account of a new owner.
fn account_of(owner: &str) -> Value {
    json!({"owner": owner, "currency": "EUR"})
}
