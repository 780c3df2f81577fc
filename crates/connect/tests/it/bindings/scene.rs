//! A system with bindings to a broker in memory, on a disk whose power can fail.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::{Value, json};
use tempfile::TempDir;
use tributary_api::brokers::{BindingFigures, Brokers, current_bindings};
use tributary_api::caller::Caller;
use tributary_api::risk::NoRisk;
use tributary_api::settings::apply::apply;
use tributary_api::settings::standard::standard_types;
use tributary_api::streaming::NoStreaming;
use tributary_connect::adapters::Adapters;
use tributary_connect::bindings::{Bindings, BindingsConfig};
use tributary_connect::memory::{Broker, Memory};
use tributary_connect::port::{Adapter, Binder, Binding, Declare, Message, Outgoing};
use tributary_connect::webhooks::{Keyring, MasterKey};
use tributary_engine::{AlwaysGranted, Engine, IdKind, Options, Ports, Reader, Reply, SystemClock};
use tributary_ledger::codec::Record;
use tributary_ledger::{
    Access, AccountKind, Actor, ApiKeyId, ApiKeyStatus, Body, Command, CreateApiKey, Currency,
    ExternalId, Key, OpenAccount, Overdraft, OwnerName,
};
use tributary_messaging::{HISTORY_BYTES_MAX, Messaging, Storage, start_engine};
use tributary_testkit::backends::EmbeddedFactory;
use tributary_testkit::disk::SimDisk;

use crate::PATIENCE;

/// Queue of the orders.
pub(super) const ORDERS: &str = "payment_order";
/// Queue of the orders' dead letters.
pub(super) const DEAD: &str = "payment_order.tributary.dlq";
/// Queue of replies.
pub(super) const REPLIES: &str = "payment_replies";

/// A running system and its broker.
pub(super) struct Scene {
    pub(super) broker: Arc<Broker>,
    pub(super) engine: Engine,
    pub(super) messaging: Arc<Messaging>,
    disk: SimDisk,
    adapters: Arc<Adapters>,
    bindings: Option<Arc<Bindings>>,
    keys: Arc<TempDir>,
    commands: Arc<AtomicU64>,
    refuses: bool,
}

impl Scene {
    /// A system with the accounts `anna` (which may go below zero), `shop` and `poor`, of the platform, and the queues above.
    pub(super) fn new() -> Scene {
        Scene::made(false)
    }

    /// As [`Scene::new`], but messages that can't be decided go back to their senders.
    pub(super) fn refusing() -> Scene {
        Scene::made(true)
    }

    fn made(refuses: bool) -> Scene {
        let broker = Broker::new();
        for queue in [ORDERS, DEAD, REPLIES] {
            broker.declare(queue);
        }
        let keys = Arc::new(tempfile::tempdir().expect("there is room"));
        let scene = Scene::open(broker, SimDisk::new(7), keys, Arc::default(), refuses);
        for (name, overdraft) in [
            ("anna", Overdraft::UNLIMITED),
            ("shop", Overdraft::NONE),
            ("poor", Overdraft::NONE),
        ] {
            scene.open_account(name, overdraft);
        }
        scene
    }

    fn open(
        broker: Arc<Broker>,
        disk: SimDisk,
        keys: Arc<TempDir>,
        commands: Arc<AtomicU64>,
        refuses: bool,
    ) -> Scene {
        let backend = EmbeddedFactory::on_disk(disk.disk()).open();
        let clock = Arc::new(SystemClock);
        let recovered = Engine::recover(backend, clock, Options::default());
        let storage = Storage::local(disk.disk(), HISTORY_BYTES_MAX, 1);
        let recovered = recovered.expect("it recovers");
        let started = start_engine(recovered, Ports::default(), Some(storage));
        let (engine, messaging) = started.expect("it starts");
        let key = MasterKey::load(&keys.path().join("key"), true).expect("a key");
        let adapter: Arc<dyn Adapter> = Arc::new(match refuses {
            true => Memory::refusing(broker.clone()),
            false => Memory::new(broker.clone()),
        });
        let ids = engine.reader().ids().clone();
        let adapters = Adapters::new(vec![adapter], Keyring::new(key), ids, engine.clock());
        let adapters = Arc::new(adapters);
        let mut scene = Scene {
            broker,
            engine,
            messaging: messaging.expect("deliveries are kept"),
            disk,
            adapters,
            bindings: None,
            keys,
            commands,
            refuses,
        };
        scene.start_bindings();
        scene
    }

    fn start_bindings(&mut self) {
        let config = BindingsConfig {
            adapters: self.adapters.clone(),
            permit: Arc::new(AlwaysGranted),
        };
        let (engine, messaging) = (self.engine.clone(), self.messaging.clone());
        let started = Bindings::start(engine, messaging, config);
        self.bindings = Some(started.expect("threads can be started"));
    }

    /// The system after a power failure, with what was on the disk.
    pub(super) fn crash(mut self, seed: u64) -> Scene {
        // What the old system still decides is on no disk that the new one finds: it must acknowledge nothing more.
        self.broker.set_down(true);
        let disk = self.disk.crash(seed);
        self.bindings.take();
        self.engine.shutdown();
        self.messaging.shutdown();
        let (broker, keys) = (self.broker.clone(), self.keys.clone());
        broker.set_down(false);
        Scene::open(broker, disk, keys, self.commands.clone(), self.refuses)
    }

    pub(super) fn reader(&self) -> Reader {
        self.engine.reader()
    }

    /// Has a command of the platform decided.
    #[track_caller]
    pub(super) fn execute(&self, body: Body) -> Record {
        let number = self.commands.fetch_add(1, Ordering::Relaxed);
        let command = Command {
            key: Key::from_bytes(format!("scene-{number}").as_bytes()).expect("short"),
            actor: Actor::SYSTEM,
            linked: false,
            effective_at: None,
            text: None,
            origin: None,
            assessment: None,
            body,
        };
        let replies = self.engine.execute_blocking(vec![command]);
        match replies.expect("it is decided").pop() {
            Some(Reply::Done { record, .. }) => (*record).clone(),
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn open_account(&self, name: &str, overdraft: Overdraft) {
        let record = self.execute(Body::OpenAccount(OpenAccount {
            owner: OwnerName::new("platform").expect("a name"),
            currency: Currency::from_code("EUR").expect("a currency"),
            kind: match overdraft {
                Overdraft::UNLIMITED => AccountKind::External,
                _ => AccountKind::Merchant,
            },
            overdraft,
            external_id: Some(ExternalId::new(name).expect("an id")),
        }));
        assert!(record.outcome.is_accepted(), "{record:?}");
    }

    /// Id of an account as the API has it.
    pub(super) fn account(&self, name: &str) -> String {
        let external_id = ExternalId::new(name).expect("an id");
        let platform = tributary_ledger::OwnerId::PLATFORM;
        let found = self.reader().account_by_external(platform, &external_id);
        let account = found.expect("it can be read").expect(name);
        self.reader().ids().encode(IdKind::Account, account.id.0)
    }

    /// What an account holds, in minor units.
    pub(super) fn balance(&self, name: &str) -> i64 {
        let id = self.account(name);
        let position = self.reader().ids().decode(IdKind::Account, &id);
        let id = tributary_ledger::AccountId(position.expect("an id"));
        let account = self.reader().account(id).expect(name);
        account.posted
    }

    /// Leaves no room on the disk.
    pub(super) fn fill_disk(&self) {
        self.disk.set_capacity(self.disk.used());
    }

    /// Gives the disk room again.
    pub(super) fn free_disk(&self) {
        self.disk.set_capacity(u64::MAX);
    }

    /// Makes an API key of the platform that may write.
    pub(super) fn api_key(&self) -> ApiKeyId {
        let record = self.execute(Body::CreateApiKey(CreateApiKey {
            owner: OwnerName::new("platform").expect("a name"),
            access: Access::Write,
            secret_hash: [3; 32],
            label: None,
        }));
        let key = record.outcome.api_key.as_ref().expect("it was made");
        assert_eq!(key.status, ApiKeyStatus::Active);
        key.id
    }

    pub(super) fn key_id(&self, key: ApiKeyId) -> String {
        self.reader().ids().encode(IdKind::ApiKey, key.0)
    }

    /// Makes the settings as a file says.
    #[track_caller]
    pub(super) fn apply(&self, settings: &[Value]) {
        let brokers: Arc<dyn Brokers> = self.adapters.clone();
        let types = standard_types(
            self.reader(),
            None,
            brokers,
            Arc::new(NoStreaming),
            Arc::new(NoRisk),
        );
        let file = json!({"managed_by": "scene", "settings": settings});
        let file = serde_json::from_value(file).expect("a file");
        if let Err(error) = apply(&self.engine, &types, &Caller::system(), &file) {
            panic!("{:?}: {}", error.parameter(), error.message());
        }
    }

    /// The binder.
    pub(super) fn binder(&self) -> Value {
        json!({"kind": "binder", "slug": "main", "type": "memory", "url": "memory:"})
    }

    /// A binding that takes orders in as commands, by a key of its own, with short waits.
    pub(super) fn orders(&self) -> Value {
        json!({
            "kind": "binding", "slug": "orders", "binder": "main", "direction": "in",
            "destination": ORDERS, "acts_as": self.key_id(self.api_key()),
            "identity_from": "message_id",
            "consumer": {"back_off_initial_interval": 10, "back_off_max_interval": 50},
            "reply": {"allow": ["payment_replies*"]},
        })
    }

    /// The body of a command that pays from `source` to `shop`.
    pub(super) fn payment(&self, source: &str, amount: u64) -> Value {
        json!({"payment": {
            "amount": amount, "currency": "EUR",
            "source": self.account(source), "destination": self.account("shop"),
        }})
    }

    /// Puts a message into the queue of orders.
    pub(super) fn put(&self, id: &str, body: &Value) {
        assert!(self.broker.put(ORDERS, &message(id, body)));
    }

    /// Takes every message out of a queue, and waits until there are `count`.
    #[track_caller]
    pub(super) fn take(&self, queue: &str, count: usize) -> Vec<Message> {
        let memory = Memory::new(self.broker.clone());
        let binder = Binder {
            slug: "test".to_owned(),
            url: "memory:".to_owned(),
            username: None,
            password: None,
            trusted_roots: None,
        };
        let binding = Binding {
            slug: "test".to_owned(),
            destination: queue.to_owned(),
            group: "test".to_owned(),
            concurrency: 1,
            prefetch: 1_000,
            declare: Declare::None,
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        runtime.expect("it starts").block_on(async {
            let mut source = memory
                .open_source(&binder, &binding)
                .await
                .expect("it is there");
            let mut taken = Vec::new();
            while taken.len() < count {
                let message = tokio::time::timeout(PATIENCE, source.receive()).await;
                let message = message.unwrap_or_else(|_| panic!("{queue} has {}", taken.len()));
                let message = message.expect("it is connected");
                source
                    .acknowledge(message.token)
                    .await
                    .expect("it is connected");
                taken.push(message);
            }
            taken
        })
    }

    /// Figures of the binding `orders`.
    pub(super) fn figures(&self) -> Option<BindingFigures> {
        let bindings = current_bindings(&self.reader());
        let orders = bindings.iter().find(|one| one.slug == "orders")?;
        self.adapters.figures(orders.id)
    }

    /// Waits until figures of the binding `orders` are so.
    #[track_caller]
    pub(super) fn wait_for(&self, what: &str, holds: impl Fn(&BindingFigures) -> bool) {
        let begun = Instant::now();
        loop {
            let figures = self.figures();
            if figures.as_ref().is_some_and(&holds) {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "{what}: {figures:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Number of records that came as messages, by what became of them.
    pub(super) fn decided(&self) -> BTreeMap<bool, usize> {
        let reader = self.reader();
        let mut decided = BTreeMap::new();
        for position in 1..=reader.published() {
            let record = reader.record(position).expect("it can be read");
            let record = record.expect("there are no gaps");
            if record.command.origin.is_some() {
                *decided.entry(record.outcome.is_accepted()).or_insert(0) += 1;
            }
        }
        decided
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.bindings.take();
        self.engine.shutdown();
        self.messaging.shutdown();
    }
}

/// A message with an id.
pub(super) fn message(id: &str, body: &Value) -> Outgoing {
    let adapter = Memory::new(Broker::new());
    Outgoing {
        address: adapter.address(ORDERS),
        key: None,
        body: Bytes::from(body.to_string()),
        content_type: "application/json".to_owned(),
        headers: Vec::new(),
        message_id: id.to_owned(),
        correlation_id: None,
    }
}

/// The message with another header.
pub(super) fn with_header(mut message: Outgoing, name: &str, value: &str) -> Outgoing {
    let value = Bytes::copy_from_slice(value.as_bytes());
    message.headers.push((name.to_owned(), value));
    message
}

/// Text of a header.
pub(super) fn header<'a>(message: &'a Message, name: &str) -> Option<&'a str> {
    let found = message.headers.iter().find(|(found, _)| found == name);
    found.map(|(_, value)| std::str::from_utf8(value).expect("text"))
}
