//! A real server on a free port of the loopback, over a store in memory or whatever `TRIBUTARY_TEST_LOG` says, with a platform key.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tributary_api::brokers::Brokers;
use tributary_api::first_key::create_first_key;
use tributary_api::leadership::Leadership;
use tributary_api::risk::NoRisk;
use tributary_api::streaming::{DeadLetters, NoStreaming};
use tributary_api::transport::PushTransport;
use tributary_connect::adapters::Adapters;
use tributary_connect::memory;
use tributary_connect::webhooks::{Keyring, MasterKey, WebhookConfig, Webhooks};
use tributary_engine::{
    Clock, ClockReading, ClockSource, ClockStatus, DirDisk, Disk, Engine, Options, Permit, Ports,
    Reader, SteeredClock, SystemClock,
};
use tributary_messaging::{HISTORY_BYTES_MAX, Messaging, Storage, start_engine};
use tributary_server::{Limits, Running, Server, ServerConfig, Services};
use tributary_streams::driver::Streams;
use tributary_testkit::backends::new_meta;
use tributary_testkit::store::TestStore;

use crate::client::{Answer, PATIENCE, post, send, until};
use crate::faulty::{Faults, Faulty, FaultyDisk, FaultyLog};
use crate::leading::leadership_of;
use crate::rules::TestRules;

/// Payments that may be queued.
pub(crate) const QUEUE_LENGTH_MAX: usize = 20;

/// Longer than any test waits.
const NEVER: Duration = Duration::from_secs(3_600);

/// The clocks of an operating system, which stand still until they are moved.
#[derive(Clone)]
struct TestClocks(Arc<Mutex<ClockReading>>);

impl TestClocks {
    fn set(&self, change: impl FnOnce(&mut ClockReading)) {
        change(&mut self.0.lock().expect("no holder panics"));
    }
}

impl ClockSource for TestClocks {
    fn read(&self) -> ClockReading {
        *self.0.lock().expect("no holder panics")
    }
}

/// A clock that stands still until it is moved.
pub(crate) struct TestClock {
    clocks: TestClocks,
    steered: SteeredClock<TestClocks>,
}

/// 2026-11-20T00:00:00Z.
const START_SECONDS: u64 = 1_795_132_800;

impl Clock for TestClock {
    fn now(&self) -> u64 {
        self.steered.now()
    }

    fn running(&self) -> u64 {
        self.steered.running()
    }

    /// The real one: webhooks are verified by it.
    fn wall(&self) -> u64 {
        SystemClock.now()
    }

    fn start(&self, head: u64, offset: u64) {
        self.steered.start(head, offset);
    }

    fn set_offset(&self, offset: u64) {
        self.steered.set_offset(offset);
    }

    fn confirm(&self) {
        self.steered.confirm();
    }

    fn status(&self) -> ClockStatus {
        self.steered.status()
    }
}

impl TestClock {
    fn new() -> TestClock {
        let clocks = TestClocks(Arc::new(Mutex::new(ClockReading {
            boot: 0,
            wall: START_SECONDS * 1_000_000_000,
        })));
        TestClock {
            steered: SteeredClock::new(clocks.clone()),
            clocks,
        }
    }

    /// Lets time pass.
    pub(crate) fn advance(&self, seconds: u64) {
        let nanos = seconds * 1_000_000_000;
        self.clocks.set(|clocks| {
            clocks.boot += nanos;
            clocks.wall += nanos;
        });
    }

    /// Sets the wall clock, forwards or backwards.
    pub(crate) fn step_wall(&self, seconds: i64) {
        let nanos = seconds * 1_000_000_000;
        self.clocks
            .set(|clocks| clocks.wall = clocks.wall.saturating_add_signed(nanos));
    }
}

/// Where a server is.
enum Place {
    /// Over a store as `TRIBUTARY_TEST_LOG` says, and a node of a cluster if that is.
    Chosen,
    /// Over a store in memory, and no node.
    Alone,
    /// A node whose standing a test says.
    Node(Node),
}

/// What makes a server a node of a cluster.
pub(crate) struct Node {
    pub(crate) leadership: Arc<dyn Leadership>,
    /// The leader's platform key; none for the node that leads first.
    pub(crate) key: Option<String>,
}

pub(crate) struct Fixture {
    pub(crate) addr: SocketAddr,
    /// A platform key that may write.
    pub(crate) platform: String,
    pub(crate) engine: Engine,
    pub(crate) messaging: Option<Arc<Messaging>>,
    pub(crate) faults: Arc<Faults>,
    pub(crate) clock: Arc<TestClock>,
    /// What assesses payments.
    pub(crate) rules: Arc<TestRules>,
    pub(crate) running: Option<Running>,
    store: TestStore,
    /// Where subscriptions are kept, if they are.
    delivery: Option<tempfile::TempDir>,
    webhooks: Option<Arc<Webhooks>>,
    /// How webhooks are sent, if they are.
    webhook_config: Option<WebhookConfig>,
    keys: AtomicU64,
}

/// A server whose only adapter is that of the broker in memory. It seals passwords if it sends webhooks.
pub(crate) fn brokers(webhooks: Option<&WebhookConfig>, engine: &Engine) -> Arc<dyn Brokers> {
    let keyring = match webhooks {
        Some(config) => config.keyring.clone(),
        None => Keyring::unusable("this server has no key"),
    };
    let memory = memory::Memory::new(memory::Broker::new());
    let ids = engine.reader().ids().clone();
    Arc::new(Adapters::new(
        vec![Arc::new(memory)],
        keyring,
        ids,
        engine.clock(),
    ))
}

/// A server that does without others but for brokers.
pub(crate) fn no_services(engine: &Engine) -> Services {
    Services {
        messaging: None,
        transport: None,
        brokers: brokers(None, engine),
        streaming: Arc::new(NoStreaming),
        risk: Arc::new(NoRisk),
        leadership: None,
    }
}

/// Has streams work over the engine, if there is a permit. Their checkpoints are kept beside the deliveries.
fn start_streams(
    streams: &Arc<Streams>,
    engine: &Engine,
    permit: Option<Arc<dyn Permit>>,
    delivery: Option<&tempfile::TempDir>,
    messaging: Option<&Arc<Messaging>>,
) {
    if let Some(permit) = permit {
        let folder = delivery.map(|directory| directory.path().join("streams"));
        let dead_letters = messaging.map(|messaging| messaging.clone() as Arc<dyn DeadLetters>);
        let started = streams.start(engine.clone(), permit, folder.as_deref(), dead_letters);
        started.expect("a thread starts");
    }
}

/// Bounds that fit tests: a machine that stands still for some seconds comes up against none of them. A test of one of them sets it.
pub(crate) fn limits() -> Limits {
    Limits {
        unauthenticated_timeout: NEVER,
        header_read_timeout: NEVER,
        body_read_timeout: NEVER,
        write_timeout: NEVER,
        request_timeout: NEVER,
        drain_timeout: PATIENCE,
        ..Limits::default()
    }
}

impl Fixture {
    pub(crate) fn start() -> Fixture {
        Fixture::with(|_| ())
    }

    /// A server that is no node of a cluster, whatever the others are.
    pub(crate) fn alone() -> Fixture {
        Fixture::in_journal(false, None, None, Place::Alone, |_| ())
    }

    /// With a place for subscriptions.
    pub(crate) fn with_subscriptions() -> Fixture {
        let directory = tempfile::tempdir().expect("a directory");
        Fixture::over(Some(directory), None, |_| ())
    }

    /// With a place for subscriptions, over gRPC too.
    pub(crate) fn with_subscriptions_and_grpc() -> Fixture {
        let directory = tempfile::tempdir().expect("a directory");
        Fixture::over(Some(directory), None, |config| {
            config.grpc_listen = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
        })
    }

    /// With a place for subscriptions, whose webhooks may go to the loopback.
    pub(crate) fn with_webhooks() -> Fixture {
        let directory = tempfile::tempdir().expect("a directory");
        let master_key = MasterKey::load(&directory.path().join("key"), true);
        let webhooks = WebhookConfig {
            keyring: Keyring::new(master_key.expect("it is made")),
            settings: crate::webhooks::open_settings(),
        };
        Fixture::over(Some(directory), Some(webhooks), |_| ())
    }

    /// With a place for subscriptions, webhooks sent like this, and changes to the configuration.
    pub(crate) fn with_webhooks_and(
        webhooks: WebhookConfig,
        change: impl FnOnce(&mut ServerConfig),
    ) -> Fixture {
        let directory = tempfile::tempdir().expect("a directory");
        Fixture::over(Some(directory), Some(webhooks), change)
    }

    /// With changes to the configuration.
    pub(crate) fn with(change: impl FnOnce(&mut ServerConfig)) -> Fixture {
        Fixture::over(None, None, change)
    }

    /// A sandbox with a place for subscriptions, whose webhooks may go to the loopback.
    pub(crate) fn sandbox() -> Fixture {
        let directory = tempfile::tempdir().expect("a directory");
        let master_key = MasterKey::load(&directory.path().join("key"), true);
        let webhooks = WebhookConfig {
            keyring: Keyring::new(master_key.expect("it is made")),
            settings: crate::webhooks::open_settings(),
        };
        Fixture::in_journal(true, Some(directory), Some(webhooks), Place::Chosen, |_| ())
    }

    /// A node of a cluster. A node that does not lead at the start has no key of its own: it is given that of the leader.
    pub(crate) fn node(
        delivery: Option<tempfile::TempDir>,
        node: Node,
        change: impl FnOnce(&mut ServerConfig),
    ) -> Fixture {
        Fixture::in_journal(false, delivery, None, Place::Node(node), change)
    }

    fn over(
        delivery: Option<tempfile::TempDir>,
        webhook_config: Option<WebhookConfig>,
        change: impl FnOnce(&mut ServerConfig),
    ) -> Fixture {
        Fixture::in_journal(false, delivery, webhook_config, Place::Chosen, change)
    }

    fn in_journal(
        sandbox: bool,
        delivery: Option<tempfile::TempDir>,
        webhook_config: Option<WebhookConfig>,
        place: Place,
        change: impl FnOnce(&mut ServerConfig),
    ) -> Fixture {
        let meta = new_meta([1; 16], [7; 16], sandbox);
        let store = match &place {
            Place::Chosen | Place::Node(Node { key: None, .. }) => TestStore::in_memory_with(meta),
            // A node that follows is given what another one decides.
            Place::Alone | Place::Node(_) => TestStore::always_in_memory(meta),
        };
        let clock = Arc::new(TestClock::new());
        let System {
            engine,
            messaging,
            faults,
            streams,
            rules,
        } = System::start(&store, &clock, delivery.as_ref());
        let is_alone = !matches!(place, Place::Node(_));
        let (leadership, key) = match place {
            Place::Node(Node { leadership, key }) => (Some(leadership), key),
            Place::Chosen | Place::Alone => (leadership_of(&store), None),
        };
        // Nodes share the name space of keys.
        let first_key = if key.is_some() { 1_000_000 } else { 0 };
        let platform = key.unwrap_or_else(|| {
            create_first_key(&engine)
                .expect("it takes commands")
                .expect("there is no key yet")
        });
        let mut config = ServerConfig {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            threads: 2,
            limits: limits(),
            ..ServerConfig::default()
        };
        change(&mut config);
        let webhooks = start_webhooks(webhook_config.as_ref(), &engine, messaging.as_ref());
        let permit = is_alone.then(|| store.permit());
        let (folder, messages) = (delivery.as_ref(), messaging.as_ref());
        start_streams(&streams, &engine, permit, folder, messages);
        let services = Services {
            messaging: messaging.clone(),
            transport: webhooks.clone().map(|it| it as Arc<dyn PushTransport>),
            brokers: brokers(webhook_config.as_ref(), &engine),
            risk: streams.rules(),
            streaming: streams,
            leadership,
        };
        let running = Server::start(config, engine.clone(), services).expect("it starts");
        let addr = running.addr();
        Fixture {
            addr,
            platform,
            engine,
            messaging,
            faults,
            clock,
            rules,
            running: Some(running),
            store,
            delivery,
            webhooks,
            webhook_config,
            keys: AtomicU64::new(first_key),
        }
    }

    /// Stops the server and the engine and starts both again over the same journal.
    pub(crate) fn restart(&mut self) {
        drop(self.running.take());
        self.stop_engine();
        let system = System::start(&self.store, &self.clock, self.delivery.as_ref());
        self.engine = system.engine;
        self.messaging = system.messaging;
        self.faults = system.faults;
        self.rules = system.rules;
        assert_eq!(
            create_first_key(&self.engine).expect("it answers"),
            None,
            "there is a key already"
        );
        let config = ServerConfig {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            threads: 2,
            limits: limits(),
            ..ServerConfig::default()
        };
        let (engine, messaging) = (&self.engine, self.messaging.as_ref());
        self.webhooks = start_webhooks(self.webhook_config.as_ref(), engine, messaging);
        let permit = Some(self.store.permit());
        let delivery = self.delivery.as_ref();
        start_streams(&system.streams, engine, permit, delivery, messaging);
        let services = self.services(system.streams);
        let running = Server::start(config, engine.clone(), services).expect("it starts");
        self.addr = running.addr();
        self.running = Some(running);
        self.wait_until_it_leads();
    }

    /// A node of a cluster leads, and delivers, a moment after its start.
    pub(crate) fn wait_until_it_leads(&self) {
        let permit = self.store.permit();
        until("the server leads", || {
            let leads = self.get("/health/leader").status == 200;
            (leads && permit.is_granted()).then_some(())
        });
    }

    /// What others do for a server over this engine.
    fn services(&self, streams: Arc<Streams>) -> Services {
        let webhooks = self.webhooks.clone();
        Services {
            messaging: self.messaging.clone(),
            transport: webhooks.map(|it| it as Arc<dyn PushTransport>),
            brokers: brokers(self.webhook_config.as_ref(), &self.engine),
            risk: streams.rules(),
            streaming: streams,
            leadership: leadership_of(&self.store),
        }
    }

    fn stop_engine(&self) {
        if let Some(webhooks) = &self.webhooks {
            webhooks.stop();
        }
        self.engine.shutdown();
        if let Some(messaging) = &self.messaging {
            messaging.shutdown();
        }
    }

    /// The same without the place for subscriptions, as if it could not be opened.
    pub(crate) fn restart_without_subscriptions(&mut self) {
        let _kept = self.delivery.take();
        self.restart();
    }

    pub(crate) fn reader(&self) -> Reader {
        self.engine.reader()
    }

    pub(crate) fn new_key(&self) -> String {
        format!("test-{}", self.keys.fetch_add(1, Ordering::SeqCst))
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.get_as(&self.platform, path)
    }

    pub(crate) fn get_as(&self, token: &str, path: &str) -> Answer {
        send(
            self.addr,
            "GET",
            path,
            &[("Authorization", &format!("Bearer {token}"))],
            b"",
        )
    }

    /// A write under a new idempotency key.
    pub(crate) fn post(&self, path: &str, body: &Value) -> Answer {
        self.post_key(path, &self.new_key(), body)
    }

    pub(crate) fn post_key(&self, path: &str, key: &str, body: &Value) -> Answer {
        self.post_raw(&self.platform, path, Some(key), body.to_string().as_bytes())
    }

    pub(crate) fn post_as(&self, token: &str, path: &str, body: &Value) -> Answer {
        self.post_raw(
            token,
            path,
            Some(&self.new_key()),
            body.to_string().as_bytes(),
        )
    }

    pub(crate) fn post_raw(
        &self,
        token: &str,
        path: &str,
        key: Option<&str>,
        body: &[u8],
    ) -> Answer {
        post(self.addr, token, path, key, &[], body)
    }

    /// A write by somebody who has a preference.
    pub(crate) fn post_preferring(
        &self,
        preference: &str,
        path: &str,
        key: Option<&str>,
        body: &Value,
    ) -> Answer {
        let more = [("Prefer", preference)];
        let body = body.to_string();
        post(self.addr, &self.platform, path, key, &more, body.as_bytes())
    }

    /// What `/metrics` tells of one that has no labels.
    pub(crate) fn metric(&self, name: &str) -> String {
        let page = String::from_utf8(self.get("/metrics").body).expect("UTF-8");
        let mut lines = page.lines();
        let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.expect(name).to_owned()
    }

    /// Another server over the same engine, with bounds that nobody else comes up against.
    pub(crate) fn beside(&self, change: impl FnOnce(&mut Limits)) -> Running {
        let mut config = ServerConfig {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            threads: 1,
            limits: limits(),
            ..ServerConfig::default()
        };
        change(&mut config.limits);
        let services = self.services(Streams::new(self.reader()));
        Server::start(config, self.engine.clone(), services).expect("it starts")
    }

    /// Opens an account and returns its id.
    pub(crate) fn account(&self, owner: &str, kind: &str) -> String {
        let mut body = json!({"owner": owner, "currency": "EUR", "kind": kind});
        if kind == "external" {
            body["overdraft"] = json!("unlimited");
        }
        id(&self.post("/v1/accounts", &body).expect(201))
    }

    /// Opens a wallet with so much in it.
    pub(crate) fn wallet(&self, owner: &str, amount: u64) -> String {
        let (bank, wallet) = (
            self.account("platform", "external"),
            self.account(owner, "wallet"),
        );
        let body =
            json!({"amount": amount, "currency": "EUR", "source": bank, "destination": wallet});
        self.post("/v1/top_ups", &body).expect(201);
        wallet
    }

    /// Makes an API key of the owner and returns it.
    pub(crate) fn token(&self, owner: &str, access: &str) -> String {
        let key = self
            .post("/v1/api_keys", &json!({"owner": owner, "access": access}))
            .expect(201);
        key["secret"].as_str().expect("it is shown").to_owned()
    }

    pub(crate) fn posted(&self, account: &str) -> i64 {
        self.get(&format!("/v1/accounts/{account}")).expect(200)["posted"]
            .as_i64()
            .expect("a balance")
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        self.faults.release();
        drop(self.running.take());
        self.stop_engine();
        if !std::thread::panicking() {
            self.store.check(&self.engine.reader());
        }
    }
}

fn start_webhooks(
    config: Option<&WebhookConfig>,
    engine: &Engine,
    messaging: Option<&Arc<Messaging>>,
) -> Option<Arc<Webhooks>> {
    let config = config?.clone();
    Webhooks::start(config, engine.clone(), messaging.cloned()).expect("it starts")
}

/// An engine and what works with it.
struct System {
    engine: Engine,
    messaging: Option<Arc<Messaging>>,
    faults: Arc<Faults>,
    /// Not started.
    streams: Arc<Streams>,
    rules: Arc<TestRules>,
}

impl System {
    fn start(
        store: &TestStore,
        clock: &Arc<TestClock>,
        delivery: Option<&tempfile::TempDir>,
    ) -> System {
        let faults: Arc<Faults> = Arc::default();
        let backend = Faulty {
            inner: store.open(),
            faults: faults.clone(),
        };
        let options = Options {
            queue_length_max: QUEUE_LENGTH_MAX,
            ..Options::default()
        };
        let recovered = Engine::recover(Box::new(backend), clock.clone(), options);
        let recovered = recovered.expect("it starts");
        let disk = delivery.map(|path| {
            let disk = FaultyDisk {
                disk: Arc::new(DirDisk::new(path.path())),
                faults: faults.clone(),
            };
            Arc::new(disk) as Arc<dyn Disk>
        });
        let storage = disk.map(|disk| match store.beside() {
            None => Storage::local(disk, HISTORY_BYTES_MAX, 0),
            Some(log) => Storage {
                log: Box::new(FaultyLog {
                    log,
                    faults: faults.clone(),
                }),
                history: disk,
                history_bytes_max: HISTORY_BYTES_MAX,
                process_number: 0,
            },
        });
        let streams = Streams::new(recovered.reader());
        let rules = Arc::new(TestRules::new(streams.rules()));
        let ports = Ports {
            judge: Some(rules.clone()),
            permit: store.permit(),
            ..Ports::default()
        };
        let (engine, messaging) = start_engine(recovered, ports, storage).expect("it starts");
        System {
            engine,
            messaging,
            faults,
            streams,
            rules,
        }
    }
}

/// The object's id.
#[track_caller]
pub(crate) fn id(object: &Value) -> String {
    object["id"].as_str().expect("an id").to_owned()
}

/// A plain payment's body.
pub(crate) fn pay(source: &str, destination: &str, amount: u64) -> Value {
    json!({"amount": amount, "currency": "EUR", "source": source, "destination": destination})
}

/// A hold's body.
pub(crate) fn hold(source: &str, destination: &str, amount: u64) -> Value {
    let mut body = pay(source, destination, amount);
    body["capture_method"] = json!("manual");
    body["expires_at"] = json!("2026-12-01T00:00:00Z");
    body
}
