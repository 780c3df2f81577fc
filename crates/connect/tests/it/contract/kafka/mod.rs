//! Kafka.

mod connections;
mod groups;
mod messages;
mod topics;

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::producer::{FutureProducer, FutureRecord};
use tokio::net::TcpListener;
use tributary_connect::kafka::Kafka;
use tributary_connect::port::{Adapter, Binder, Doing, Unfit};

use super::engine::{Engine, blocking, free_port};
use super::proxy::Proxy;
use super::{
    PATIENCE, Rig, binder, binding, check_binders, check_bindings, group, in_time, nameless,
};

/// How long a broker may take for one answer before it is asked again.
const SOON: Duration = Duration::from_secs(5);

struct KafkaRig {
    engine: Arc<Engine>,
    proxy: Proxy,
    adapter: Kafka,
    topics: AtomicU64,
}

impl KafkaRig {
    /// Starts a broker whose clients with a user find it behind a proxy.
    async fn start() -> Option<KafkaRig> {
        let listener = TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.expect("a port is free");
        let advertised = listener.local_addr().expect("it is bound").port();
        let port = free_port();
        let prepare = |folder: &Path| prepare(folder, port, advertised);
        let engine = Engine::start_prepared("kafka", prepare).await?;
        let behind = (std::net::Ipv4Addr::LOCALHOST, port).into();
        Some(KafkaRig {
            proxy: Proxy::serve(listener, behind),
            engine,
            adapter: Kafka::new(),
            topics: AtomicU64::new(0),
        })
    }

    /// How a client finds the broker without the proxy and without a user.
    fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.engine.address().to_string());
        config
    }

    fn new_name(&self) -> String {
        format!("topic-{}", self.topics.fetch_add(1, Ordering::Relaxed))
    }

    /// Makes a topic, as soon as the broker does, and waits until it tells others of it.
    async fn create(&self, topic: &str, partitions: i32, configuration: &[(&str, &str)]) {
        let mut new = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
        new.config = configuration.to_vec();
        let admin: AdminClient<DefaultClientContext> = self.config().create().expect("it is fit");
        let options = AdminOptions::new().request_timeout(Some(SOON));
        in_time("creating a topic", async {
            loop {
                let created = admin.create_topics([&new], &options).await;
                match created.as_deref() {
                    Ok([Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists))]) => break,
                    other => eprintln!("not yet: {other:?}"),
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        })
        .await;
        let topic = topic.to_owned();
        let is_told = move || {
            let told = admin.inner().fetch_metadata(Some(&topic), SOON);
            told.is_ok_and(|told| told.topics()[0].error().is_none())
        };
        blocking(move || {
            let begun = Instant::now();
            while !is_told() {
                assert!(begun.elapsed() < PATIENCE, "it is not told");
                std::thread::sleep(Duration::from_millis(20));
            }
        })
        .await;
    }

    /// Makes a topic of orders with so many partitions, and the one of its dead letters.
    async fn make_topic(&self, partitions: i32) -> String {
        let topic = self.new_name();
        self.create(&topic, partitions, &[]).await;
        self.create(&format!("error.{topic}.tributary"), 1, &[])
            .await;
        topic
    }

    /// Runs a program in Python that speaks to the broker by `kafka-python`: `server` is where it is. Returns what it printed.
    async fn python(&self, program: &str) -> String {
        let begin = format!("server = '{}'\n", self.engine.address());
        let mut command = Command::new("tools-python");
        command.args(["-c", &(begin + program)]);
        let done = blocking(move || command.output()).await;
        let done = done.expect("scripts/install-tools puts tools-python on the PATH");
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(done.status.success(), "{program}\n{said}");
        String::from_utf8(done.stdout).expect("it prints text")
    }
}

fn prepare(folder: &Path, port: u16, advertised: u16) {
    let folder = folder.join("sasl");
    std::fs::create_dir(&folder).expect("there is room");
    std::fs::write(folder.join("port"), port.to_string()).expect("there is room");
    std::fs::write(folder.join("advertised"), advertised.to_string()).expect("there is room");
}

impl Rig for KafkaRig {
    fn adapter(&self) -> &dyn Adapter {
        &self.adapter
    }

    fn binder(&self) -> Binder {
        binder(&format!("kafka://{}", self.proxy.address()))
    }

    fn tells_backlog(&self) -> bool {
        true
    }

    fn make_queue(&self) -> Doing<'_, String> {
        Box::pin(self.make_topic(1))
    }

    fn put<'a>(&'a self, queue: &'a str, bodies: &'a [String]) -> Doing<'a, ()> {
        Box::pin(async move {
            let producer: FutureProducer = self.config().create().expect("it is fit");
            let sending = bodies.iter().map(|body| {
                // With keys, they are spread over the partitions.
                let record = FutureRecord::to(queue).key(body).payload(body);
                producer.send(record, PATIENCE)
            });
            for sent in futures_util::future::join_all(sending).await {
                sent.expect("it is confirmed");
            }
        })
    }

    fn kill(&self) -> Doing<'_, ()> {
        self.engine.kill()
    }

    fn restart(&self) -> Doing<'_, ()> {
        self.engine.restart()
    }

    fn cut(&self) {
        self.proxy.cut();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kafka_keeps_the_contract() {
    if let Some(rig) = KafkaRig::start().await {
        super::pass(&rig).await;
    }
}

/// What only Kafka has, on one broker: it takes a while to start.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kafka_keeps_what_is_said_of_it() {
    let Some(rig) = KafkaRig::start().await else {
        return;
    };
    topics::pass(&rig).await;
    messages::pass(&rig).await;
    groups::pass(&rig).await;
    connections::pass(&rig).await;
}

#[test]
fn what_kafka_can_t_use_is_told() {
    let adapter = Kafka::new();
    check_binders(
        &adapter,
        "kafka://localhost",
        &[
            ("username", |binder| binder.username = None),
            ("username", |binder| {
                binder.url += "?sasl=plain";
                (binder.username, binder.password) = (None, None);
            }),
        ],
    );
    let nobody = nameless(binder("kafka://localhost"));
    adapter.check_binder(&nobody).expect("Kafka needs no user");
    // Without OpenSSL, what needs it says which feature has it.
    for url in ["kafkas://localhost", "kafka://localhost?sasl=scram-sha-512"] {
        let checked = adapter.check_binder(&binder(url));
        let is_told = |unfit: &Unfit| unfit.what.contains("kafka-tls");
        match cfg!(feature = "kafka-tls") {
            true => checked.expect("it is built"),
            false => assert!(checked.is_err_and(|unfit| is_told(&unfit))),
        }
    }
    let unfit = [
        ("destination", binding("a b", 1)),
        ("destination", binding(&"q".repeat(240), 1)),
        ("group", group("a/b")),
    ];
    check_bindings(&adapter, "q", &unfit);
    assert_eq!(adapter.dead_letters(&binding("q", 1)), "error.q.tributary");
}
