//! The reference.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use tributary_connect::memory::{Broker, Memory};
use tributary_connect::port::{Adapter, Binder, Doing, Secret};

use super::{Rig, outgoing};

struct MemoryRig {
    broker: Arc<Broker>,
    adapter: Memory,
    queues: AtomicU64,
}

impl Rig for MemoryRig {
    fn adapter(&self) -> &dyn Adapter {
        &self.adapter
    }

    fn binder(&self) -> Binder {
        Binder {
            slug: "memory".to_owned(),
            url: "memory:".to_owned(),
            username: None,
            password: Some(Secret::new("right")),
            trusted_roots: None,
        }
    }

    fn tells_backlog(&self) -> bool {
        true
    }

    fn make_queue(&self) -> Doing<'_, String> {
        let number = self.queues.fetch_add(1, Ordering::Relaxed);
        let queue = format!("queue-{number}");
        self.broker.declare(&queue);
        self.broker.declare(&format!("{queue}.tributary.dlq"));
        Box::pin(async { queue })
    }

    fn put<'a>(&'a self, queue: &'a str, bodies: &'a [String]) -> Doing<'a, ()> {
        for body in bodies {
            let mut message = outgoing(self, queue, body);
            message.body = Bytes::from(body.clone());
            assert!(self.broker.put(queue, &message));
        }
        Box::pin(async {})
    }

    fn kill(&self) -> Doing<'_, ()> {
        self.broker.set_down(true);
        Box::pin(async {})
    }

    fn restart(&self) -> Doing<'_, ()> {
        self.broker.set_down(false);
        Box::pin(async {})
    }

    fn cut(&self) {
        self.broker.cut();
    }
}

#[tokio::test]
async fn the_broker_in_memory_keeps_the_contract() {
    let broker = Broker::new();
    broker.set_password(Some("right"));
    let rig = MemoryRig {
        adapter: Memory::new(broker.clone()),
        broker,
        queues: AtomicU64::new(0),
    };
    super::pass(&rig).await;
}
