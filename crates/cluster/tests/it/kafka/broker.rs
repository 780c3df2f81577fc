//! One broker, or one of several, behind a proxy.

use std::thread;
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use tributary_cluster::kafka::{KafkaLog, Mechanism, Options, User};
use tributary_cluster::log::Log;
use tributary_testkit::brokers;
use tributary_testkit::engine::Engine;
use tributary_testkit::proxy::Proxy;

use crate::contract::Rig;
use crate::members::in_time;

/// A broker of its own. Logs connect to it by the proxy, as a user; tests, without.
pub(super) struct Broker {
    pub(super) engine: Engine,
    pub(super) proxy: Proxy,
}

impl From<brokers::Broker> for Broker {
    fn from(broker: brokers::Broker) -> Broker {
        let brokers::Broker { engine, proxy } = broker;
        Broker { engine, proxy }
    }
}

impl Broker {
    /// Finds a broker, and does not start it yet; none if it is not installed.
    pub(super) fn find() -> Option<Broker> {
        brokers::Broker::find().map(Broker::from)
    }

    /// Starts a broker; none if it is not installed.
    pub(super) fn start() -> Option<Broker> {
        let broker = Broker::find()?;
        broker.engine.start();
        Some(broker)
    }

    /// Returns the log in a topic, which is made if there is none.
    pub(super) fn log(&self, topic: &str) -> KafkaLog {
        let mut log = self.open(topic, true);
        in_time("the topic is made", || log.create().is_ok());
        log
    }

    /// Returns the log in a topic, without looking whether there is one.
    pub(super) fn open(&self, topic: &str, allow_single_copy: bool) -> KafkaLog {
        let options = options(&[self], topic, allow_single_copy);
        KafkaLog::new(options).expect("the options are fit")
    }

    /// How tests connect.
    pub(super) fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.engine.address().to_string());
        config
    }

    /// Makes a topic with one copy.
    pub(super) fn create(&self, topic: &str, partitions: i32, settings: &[(&str, &str)]) {
        let mut new = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
        new.config = settings.to_vec();
        let admin = self.admin();
        in_time("a topic is made", || {
            let created = block_on(admin.create_topics([&new], &AdminOptions::new()));
            matches!(created.as_deref(), Ok([Ok(_)]))
        });
    }

    /// An administrator.
    pub(super) fn admin(&self) -> AdminClient<DefaultClientContext> {
        self.config().create().expect("the settings are fit")
    }
}

/// How logs connect.
pub(super) fn options(brokers: &[&Broker], topic: &str, allow_single_copy: bool) -> Options {
    let address = |broker: &&Broker| broker.proxy.address().to_string();
    Options {
        brokers: brokers.iter().map(address).collect(),
        topic: topic.to_owned(),
        user: Some(User {
            name: "tributary".to_owned(),
            password: "tributary".to_owned(),
            mechanism: Mechanism::Plain,
        }),
        trusted_roots: None,
        allow_single_copy,
    }
}

pub(super) fn block_on<T>(doing: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Runtime::new();
    runtime.expect("a runtime").block_on(doing)
}

/// A log in one topic of a broker.
pub(super) struct BrokerRig(pub(super) Broker);

/// The topic of the rigs.
pub(super) const TOPIC: &str = "journal";

impl Rig for BrokerRig {
    fn connect(&self) -> Box<dyn Log> {
        Box::new(self.0.log(TOPIC))
    }

    fn cut(&self) {
        self.0.proxy.cut();
    }

    fn kill(&self) {
        self.0.engine.kill();
        thread::sleep(Duration::from_millis(200));
        self.0.engine.start();
    }
}
