//! RabbitMQ.

mod connections;
mod messages;
mod queues;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use lapin::options::{BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use tributary_connect::port::{Adapter, Binder, Doing};
use tributary_connect::rabbitmq::RabbitMq;

use super::engine::{Engine, blocking};
use super::proxy::Proxy;
use super::{Rig, USER, binder, binding, check_binders, check_bindings, in_time};

struct RabbitMqRig {
    engine: Arc<Engine>,
    proxy: Proxy,
    adapter: RabbitMq,
    queues: AtomicU64,
    /// The queue of dead letters that was made last.
    made: Mutex<Option<String>>,
}

impl RabbitMqRig {
    async fn start() -> Option<RabbitMqRig> {
        let engine = Engine::start("rabbitmq").await?;
        Some(RabbitMqRig {
            proxy: Proxy::start(engine.address()).await,
            engine,
            adapter: RabbitMq::new(),
            queues: AtomicU64::new(0),
            made: Mutex::default(),
        })
    }

    /// A connection of lapin, without the adapter and the proxy.
    async fn connect(&self) -> Connection {
        let url = format!("amqp://{USER}:{USER}@{}/%2f", self.engine.address());
        in_time("connecting", async {
            loop {
                match Connection::connect(&url, ConnectionProperties::default()).await {
                    Ok(connection) => return connection,
                    Err(_) => tokio::time::sleep(std::time::Duration::from_millis(100)).await,
                }
            }
        })
        .await
    }

    fn new_name(&self) -> String {
        format!("queue-{}", self.queues.fetch_add(1, Ordering::Relaxed))
    }

    /// Waits until the queues that were made are on the disk. RabbitMQ keeps their names back for up to three seconds; killed before,
    /// it forgets a quorum queue, or leaves it without a leader for ever.
    async fn wait_for_queues(&self) {
        let made = self.made.lock().expect("nobody panics").clone();
        let Some(name) = made else {
            return;
        };
        let node = self.engine.folder().join("data/rabbit@localhost");
        let is_in = |file: &str| {
            let bytes = std::fs::read(node.join(file)).unwrap_or_default();
            let mut parts = bytes.windows(name.len());
            parts.any(|part| part == name.as_bytes())
        };
        let tables = [
            "LATEST.LOG",
            "rabbit_durable_queue.DCD",
            "rabbit_durable_queue.DCL",
        ];
        in_time("writing a queue to the disk", async {
            while !is_in("quorum/rabbit@localhost/names.dets")
                || !tables.iter().any(|file| is_in(file))
            {
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        })
        .await;
    }

    /// Runs a command of the broker's own command line.
    async fn rabbitmqctl(&self, arguments: &[&str]) {
        let mut command = std::process::Command::new(self.engine.folder().join("rabbitmqctl"));
        command.args(arguments);
        let done = blocking(move || command.output())
            .await
            .expect("it can be started");
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(done.status.success(), "{arguments:?}: {said}");
    }
}

async fn declare(channel: &Channel, queue: &str, arguments: &[(&str, AMQPValue)]) {
    let mut table = FieldTable::default();
    for (name, value) in arguments {
        table.insert((*name).into(), value.clone());
    }
    let durable = QueueDeclareOptions {
        durable: true,
        ..QueueDeclareOptions::default()
    };
    let declared = channel.queue_declare(queue.into(), durable, table).await;
    declared.expect("it can be declared");
}

fn text(text: &str) -> AMQPValue {
    AMQPValue::LongString(text.into())
}

impl Rig for RabbitMqRig {
    fn adapter(&self) -> &dyn Adapter {
        &self.adapter
    }

    fn binder(&self) -> Binder {
        binder(&format!("amqp://{}/%2f", self.proxy.address()))
    }

    fn tells_backlog(&self) -> bool {
        true
    }

    fn make_queue(&self) -> Doing<'_, String> {
        Box::pin(async {
            let queue = self.new_name();
            let dead_letters = format!("{queue}.tributary.dlq");
            let connection = self.connect().await;
            let channel = connection.create_channel().await.expect("it is up");
            let arguments = [
                ("x-queue-type", text("quorum")),
                ("x-dead-letter-exchange", text("")),
                ("x-dead-letter-routing-key", text(&dead_letters)),
            ];
            declare(&channel, &queue, &arguments).await;
            // The last one, so that both are on the disk when this one is.
            declare(&channel, &dead_letters, &[("x-queue-type", text("quorum"))]).await;
            *self.made.lock().expect("nobody panics") = Some(dead_letters);
            queue
        })
    }

    fn put<'a>(&'a self, queue: &'a str, bodies: &'a [String]) -> Doing<'a, ()> {
        Box::pin(async move {
            let connection = self.connect().await;
            let channel = connection.create_channel().await.expect("it is up");
            let confirms = channel.confirm_select(ConfirmSelectOptions::default());
            confirms.await.expect("it is up");
            for body in bodies {
                let persistent = BasicProperties::default().with_delivery_mode(2);
                let options = BasicPublishOptions::default();
                channel
                    .basic_publish(
                        "".into(),
                        queue.into(),
                        options,
                        body.as_bytes(),
                        persistent,
                    )
                    .await
                    .expect("it is up")
                    .await
                    .expect("it is confirmed");
            }
        })
    }

    fn kill(&self) -> Doing<'_, ()> {
        Box::pin(async {
            self.wait_for_queues().await;
            self.engine.kill().await;
        })
    }

    fn restart(&self) -> Doing<'_, ()> {
        self.engine.restart()
    }

    fn cut(&self) {
        self.proxy.cut();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rabbitmq_keeps_the_contract() {
    if let Some(rig) = RabbitMqRig::start().await {
        super::pass(&rig).await;
    }
}

/// What only RabbitMQ has, on one broker: it takes a while to start.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rabbitmq_keeps_what_is_said_of_it() {
    let Some(rig) = RabbitMqRig::start().await else {
        return;
    };
    queues::pass(&rig).await;
    messages::pass(&rig).await;
    connections::pass(&rig).await;
}

#[test]
fn what_rabbitmq_can_t_use_is_told() {
    let adapter = RabbitMq::new();
    check_binders(
        &adapter,
        "amqps://localhost",
        &[("username", |binder| binder.username = None)],
    );
    let long = binding(&"q".repeat(250), 1);
    check_bindings(&adapter, "q", &[("destination", long)]);
}
