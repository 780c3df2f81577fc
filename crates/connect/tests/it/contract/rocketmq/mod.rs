//! RocketMQ itself, in a process of its own, behind a proxy that cuts its connections.

mod connections;
mod messages;
mod topics;

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tributary_connect::port::{Adapter, Binder, Binding, Declare, Doing, Source};
use tributary_connect::rocketmq::RocketMq;

use super::engine::{Engine, blocking};
use super::proxy::Proxy;
use super::{
    PATIENCE, Rig, binder, binding, check_binders, check_bindings, group, nameless, source,
};

struct RocketMqRig {
    engine: Arc<Engine>,
    proxy: Proxy,
    adapter: RocketMq,
    topics: AtomicU64,
}

impl RocketMqRig {
    async fn start() -> Option<RocketMqRig> {
        let engine = Engine::start("rocketmq").await?;
        let rig = RocketMqRig {
            proxy: Proxy::start(engine.address()).await,
            engine,
            adapter: RocketMq::new(),
            topics: AtomicU64::new(0),
        };
        rig.make_group("tributary", &[]).await;
        Some(rig)
    }

    fn new_name(&self) -> String {
        let number = self.topics.fetch_add(1, Ordering::Relaxed);
        format!("topic-{number}")
    }

    /// Runs a command at the admin port until it says that it has done its work.
    async fn admin(&self, arguments: &[&str], done: &'static str) -> String {
        let lines = arguments.join("\n") + "\n\n";
        let file = self.engine.folder().join("admin-port");
        blocking(move || {
            let begun = Instant::now();
            loop {
                let said = run_command(&file, &lines);
                match &said {
                    Ok(text) if text.contains(done) => return text.clone(),
                    // A broker that listens may not be known to the name server yet.
                    _ => assert!(begun.elapsed() < PATIENCE, "{lines}: {said:?}"),
                }
                std::thread::sleep(Duration::from_millis(200));
            }
        })
        .await
    }

    /// Makes a topic of this type, with so many queues.
    async fn make_topic(&self, name: &str, kind: &str, queues: u32) {
        let (queues, kind) = (queues.to_string(), format!("+message.type={kind}"));
        let make = ["updateTopic", "-c", "DefaultCluster", "-t", name];
        let options = ["-r", &queues, "-w", &queues, "-a", &kind];
        self.admin(&[&make[..], &options].concat(), "success").await;
    }

    /// Reads a topic of dead letters, which has none of its own.
    async fn dead_letters(&self, topic: &str) -> Box<dyn Source> {
        let blind = Binding {
            declare: Declare::None,
            ..binding(topic, 10)
        };
        source(self, &blind).await
    }

    /// Makes a group that gives up no message.
    async fn make_group(&self, name: &str, options: &[&str]) {
        let make = ["updateSubGroup", "-c", "DefaultCluster", "-g", name];
        let patient = ["-r", "1000000"];
        let command = [&make[..], &patient, options].concat();
        self.admin(&command, "success").await;
    }
}

fn run_command(port: &std::path::Path, lines: &str) -> std::io::Result<String> {
    let port = std::fs::read_to_string(port)?;
    let port = port.trim().parse().map_err(std::io::Error::other)?;
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(lines.as_bytes())?;
    let mut said = String::new();
    stream.read_to_string(&mut said)?;
    Ok(said)
}

impl Rig for RocketMqRig {
    fn adapter(&self) -> &dyn Adapter {
        &self.adapter
    }

    fn binder(&self) -> Binder {
        binder(&format!("http://{}", self.proxy.address()))
    }

    fn make_queue(&self) -> Doing<'_, String> {
        Box::pin(async {
            let topic = self.new_name();
            self.make_topic(&topic, "FIFO", 1).await;
            self.make_topic(&format!("{topic}_tributary_dlq"), "NORMAL", 1)
                .await;
            topic
        })
    }

    fn put<'a>(&'a self, queue: &'a str, bodies: &'a [String]) -> Doing<'a, ()> {
        Box::pin(async move {
            let mut command = vec!["send", queue];
            command.extend(bodies.iter().map(String::as_str));
            self.admin(&command, "sent").await;
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
#[ignore = "needs RocketMQ: scripts/engines-test"]
async fn rocketmq_keeps_the_contract() {
    if let Some(rig) = RocketMqRig::start().await {
        super::pass(&rig).await;
    }
}

/// What only RocketMQ has, on one broker: it takes a while to start.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs RocketMQ: scripts/engines-test"]
async fn rocketmq_keeps_what_is_said_of_it() {
    let Some(rig) = RocketMqRig::start().await else {
        return;
    };
    topics::pass(&rig).await;
    messages::pass(&rig).await;
    connections::pass(&rig).await;
}

#[test]
fn what_rocketmq_can_t_use_is_told() {
    let adapter = RocketMq::new();
    check_binders(
        &adapter,
        "https://localhost",
        &[
            ("username", |binder| binder.username = None),
            ("username", |binder| {
                binder.username = Some("a,b".to_owned())
            }),
        ],
    );
    let nobody = nameless(binder("https://localhost"));
    adapter.check_binder(&nobody).expect("it is fit");
    let create = Binding {
        declare: Declare::Create,
        ..binding("q", 1)
    };
    let unfit = [
        ("destination", binding("payment.order", 1)),
        ("destination", binding(&"q".repeat(120), 1)),
        ("group", group("a.b")),
        ("group", group(&"g".repeat(121))),
        ("declare", create),
    ];
    check_bindings(&adapter, "q", &unfit);
}
