//! ActiveMQ Classic and ActiveMQ Artemis.

mod connections;
mod messages;
mod queues;
mod raw;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use fe2o3_amqp::connection::ConnectionHandle;
use fe2o3_amqp::sasl_profile::SaslProfile;
use fe2o3_amqp::session::SessionHandle;
use fe2o3_amqp::types::messaging::{Data, Header, Message as AmqpMessage, Source, Target};
use fe2o3_amqp::types::primitives::{Array, Binary, Symbol};
use fe2o3_amqp::{Connection, Receiver, Sender, Session};
use tokio::net::TcpStream;
use tributary_connect::activemq::ActiveMq;
use tributary_connect::port::{Adapter, Binder, Doing, Secret};

use super::engine::Engine;
use super::proxy::Proxy;
use super::{Rig, USER, binder, binding, check_binders, check_bindings, in_time, nameless, user};

/// Name and password of who makes queues.
const ADMIN: &str = "admin";
/// Name and password of who uses queues, and may ask Artemis about them.
const MANAGER: &str = "manager";

struct ActiveMqRig {
    engine: Arc<Engine>,
    proxy: Proxy,
    adapter: ActiveMq,
    /// Name and password of the adapter's user.
    user: &'static str,
    queues: AtomicU64,
}

/// A client that is not the adapter.
struct Client {
    session: SessionHandle<()>,
    connection: ConnectionHandle<()>,
}

impl ActiveMqRig {
    /// Starts `activemq` or `artemis`.
    async fn start(engine: &'static str, user: &'static str) -> Option<ActiveMqRig> {
        let engine = Engine::start(engine).await?;
        Some(ActiveMqRig {
            proxy: Proxy::start(engine.address()).await,
            engine,
            adapter: ActiveMq::new(),
            user,
            queues: AtomicU64::new(0),
        })
    }

    async fn client(&self, user: &str) -> Client {
        in_time("connecting", async {
            loop {
                match self.log_in(user).await {
                    Some(client) => return client,
                    None => tokio::time::sleep(Duration::from_millis(100)).await,
                }
            }
        })
        .await
    }

    async fn log_in(&self, user: &str) -> Option<Client> {
        let stream = TcpStream::connect(self.engine.address()).await.ok()?;
        let number = self.queues.fetch_add(1, Ordering::Relaxed);
        let mut connection = Connection::builder()
            .container_id(format!("client-{number}"))
            .scheme("amqp")
            .sasl_profile(SaslProfile::Plain {
                username: user.to_owned(),
                password: user.to_owned(),
            })
            .open_with_stream(stream)
            .await
            .ok()?;
        let session = Session::begin(&mut connection).await.ok()?;
        Some(Client {
            session,
            connection,
        })
    }

    /// Makes a queue of this name. Killed, ActiveMQ Classic forgets one that never held anything.
    async fn make(&self, queue: &str) {
        let mut client = self.client(ADMIN).await;
        let mut receiver = client.receiver(queue).await;
        receiver.set_credit(1).await.expect("it is up");
        let mut sender = client.sender(queue).await;
        let sent = sender.send(durable(b"first")).await;
        assert!(sent.expect("it is up").is_accepted());
        let first = receiver.recv::<Data>().await.expect("it is up");
        receiver.accept(&first).await.expect("it is up");
        receiver.close().await.expect("it is up");
        client.close().await;
    }

    fn new_name(&self, prefix: &str) -> String {
        let number = self.queues.fetch_add(1, Ordering::Relaxed);
        format!("{prefix}queue-{number}")
    }
}

impl Client {
    async fn receiver(&mut self, queue: &str) -> Receiver {
        let source = Source::builder()
            .address(queue)
            .capabilities(capability())
            .build();
        let attached = Receiver::builder()
            .name(format!("read {queue}"))
            .source(source)
            .credit_mode(fe2o3_amqp::link::receiver::CreditMode::Manual)
            .attach(&mut self.session)
            .await;
        attached.expect("it may be read")
    }

    async fn sender(&mut self, queue: &str) -> Sender {
        let target = Target::builder()
            .address(queue)
            .capabilities(capability())
            .build();
        let attached = Sender::builder()
            .name(format!("write {queue}"))
            .target(target)
            .attach(&mut self.session)
            .await;
        attached.expect("it may be written")
    }

    async fn close(mut self) {
        self.connection.close().await.expect("it is up");
    }
}

fn capability() -> Array<Symbol> {
    Array::from(vec![Symbol::from("queue")])
}

/// A message that lasts.
fn durable(body: &[u8]) -> AmqpMessage<Data> {
    let header = Header {
        durable: true,
        ..Header::default()
    };
    let body = Binary::from(body.to_vec());
    AmqpMessage::builder().header(header).data(body).build()
}

impl Rig for ActiveMqRig {
    fn adapter(&self) -> &dyn Adapter {
        &self.adapter
    }

    fn binder(&self) -> Binder {
        let binder = binder(&format!("amqp://{}", self.proxy.address()));
        user(binder, self.user, self.user)
    }

    fn tells_backlog(&self) -> bool {
        self.user == MANAGER
    }

    fn make_queue(&self) -> Doing<'_, String> {
        Box::pin(async {
            let queue = self.new_name("");
            self.make(&format!("{queue}.tributary.dlq")).await;
            self.make(&queue).await;
            queue
        })
    }

    fn put<'a>(&'a self, queue: &'a str, bodies: &'a [String]) -> Doing<'a, ()> {
        Box::pin(async move {
            let mut client = self.client(USER).await;
            let mut sender = client.sender(queue).await;
            for body in bodies {
                let outcome = sender.send(durable(body.as_bytes())).await;
                assert!(outcome.expect("it is up").is_accepted());
            }
            sender.close().await.expect("it is up");
            client.close().await;
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
#[ignore = "needs ActiveMQ: scripts/engines-test"]
async fn activemq_classic_keeps_the_contract() {
    if let Some(rig) = ActiveMqRig::start("activemq", USER).await {
        super::pass(&rig).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs ActiveMQ: scripts/engines-test"]
async fn artemis_keeps_the_contract() {
    if let Some(rig) = ActiveMqRig::start("artemis", MANAGER).await {
        super::pass(&rig).await;
    }
}

/// What only brokers with AMQP 1.0 have, on one broker: it takes a while to start.
async fn keep_what_is_said(engine: &'static str) {
    let Some(rig) = ActiveMqRig::start(engine, USER).await else {
        return;
    };
    messages::pass(&rig).await;
    queues::pass(&rig).await;
    if engine == "artemis" {
        queues::destinations_that_lose_messages_are_refused(&rig).await;
        messages::a_message_that_is_too_large_is_told(&rig).await;
    }
    connections::pass(&rig).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs ActiveMQ: scripts/engines-test"]
async fn activemq_classic_keeps_what_is_said_of_it() {
    keep_what_is_said("activemq").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs ActiveMQ: scripts/engines-test"]
async fn artemis_keeps_what_is_said_of_it() {
    keep_what_is_said("artemis").await;
}

#[test]
fn what_activemq_can_t_use_is_told() {
    let adapter = ActiveMq::new();
    check_binders(
        &adapter,
        "amqps://localhost",
        &[
            ("username", |binder| binder.username = None),
            ("password", |binder| {
                binder.password = Some(Secret::new("x".repeat(400)));
            }),
        ],
    );
    let nobody = nameless(binder("amqps://localhost"));
    adapter.check_binder(&nobody).expect("it is fit");
    let qualified = binding("payment::q", 1);
    adapter.check_binding(&qualified).expect("it is fit");
    assert_eq!(adapter.dead_letters(&qualified), "q.tributary.dlq");
    let unfit = [
        ("destination", binding("topic://q", 1)),
        ("destination", binding("q,r", 1)),
        ("destination", binding(&"q".repeat(500), 1)),
    ];
    check_bindings(&adapter, "q", &unfit);
}
