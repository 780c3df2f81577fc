//! Redis.

mod connections;
mod messages;
mod streams;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, RedisConnectionInfo, Value};
use tributary_connect::port::{Adapter, Binder, Doing};
use tributary_connect::redis::Redis;

use super::engine::Engine;
use super::proxy::Proxy;
use super::{Rig, USER, binder, check_binders, check_bindings, group, in_time, nameless};

struct RedisRig {
    engine: Arc<Engine>,
    proxy: Proxy,
    adapter: Redis,
    queues: AtomicU64,
}

/// A connection without the adapter and the proxy.
struct Client(MultiplexedConnection);

impl Client {
    /// Sends a command that is given by its words.
    async fn say<W: AsRef<[u8]>>(&mut self, words: &[W]) -> Value {
        let mut words = words.iter().map(AsRef::as_ref);
        let mut command = redis::Cmd::new();
        command.arg(words.next().expect("a command has a name"));
        for word in words {
            command.arg(word);
        }
        let answer = command.query_async(&mut self.0);
        in_time("a command", answer).await.expect("it is up")
    }
}

impl RedisRig {
    async fn start() -> Option<RedisRig> {
        let engine = Engine::start("redis").await?;
        Some(RedisRig {
            proxy: Proxy::start(engine.address()).await,
            engine,
            adapter: Redis::new(),
            queues: AtomicU64::new(0),
        })
    }

    async fn connect(&self) -> Client {
        let login = RedisConnectionInfo::default()
            .set_username(USER)
            .set_password(USER);
        in_time("connecting", async {
            loop {
                let stream = tokio::net::TcpStream::connect(self.engine.address()).await;
                let stream = stream.expect("it listens");
                // Its own patience ends after half a second.
                let config = AsyncConnectionConfig::new().set_response_timeout(None);
                match MultiplexedConnection::new_with_config(&login, stream, config).await {
                    Ok((connection, driver)) => {
                        tokio::spawn(driver);
                        return Client(connection);
                    }
                    // It may still read its data in.
                    Err(_) => tokio::time::sleep(std::time::Duration::from_millis(50)).await,
                }
            }
        })
        .await
    }

    fn new_name(&self) -> String {
        format!("queue:{}", self.queues.fetch_add(1, Ordering::Relaxed))
    }
}

impl Rig for RedisRig {
    fn adapter(&self) -> &dyn Adapter {
        &self.adapter
    }

    fn binder(&self) -> Binder {
        binder(&format!("redis://{}", self.proxy.address()))
    }

    fn tells_backlog(&self) -> bool {
        true
    }

    fn make_queue(&self) -> Doing<'_, String> {
        Box::pin(async {
            let queue = self.new_name();
            let dead_letters = format!("{queue}.tributary.dlq");
            let mut client = self.connect().await;
            for (stream, group) in [(&queue, "tributary"), (&dead_letters, "operators")] {
                client
                    .say(&["XGROUP", "CREATE", stream, group, "0", "MKSTREAM"])
                    .await;
            }
            queue
        })
    }

    fn put<'a>(&'a self, queue: &'a str, bodies: &'a [String]) -> Doing<'a, ()> {
        Box::pin(async move {
            let mut client = self.connect().await;
            for body in bodies {
                client.say(&["XADD", queue, "*", "body", body]).await;
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
async fn redis_keeps_the_contract() {
    if let Some(rig) = RedisRig::start().await {
        super::pass(&rig).await;
    }
}

/// What only Redis has, on one server.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_keeps_what_is_said_of_it() {
    let Some(rig) = RedisRig::start().await else {
        return;
    };
    streams::pass(&rig).await;
    messages::pass(&rig).await;
    connections::pass(&rig).await;
}

#[test]
fn what_redis_can_t_use_is_told() {
    let adapter = Redis::new();
    check_binders(&adapter, "rediss://localhost", &[]);
    let nobody = nameless(binder("rediss://localhost"));
    adapter.check_binder(&nobody).expect("it is fit");
    check_bindings(&adapter, "a:b c", &[("group", group(""))]);
}
