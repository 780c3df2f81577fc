//! Messages that go out.

use std::sync::Arc;

use redis::{RedisError, Value};
use tokio::sync::Semaphore;

use super::link::{ANSWER_TIMEOUT, Link};
use super::message::to_fields;
use super::streams;
use crate::dial;
use crate::port::{Doing, Outgoing, SendError, Sink, Trouble, TroubleKind};

/// Maximum number of bytes that wait for their confirm in one sink.
const UNCONFIRMED_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Bytes that a message counts beside its body, which bounds the number of messages too.
const MESSAGE_BYTES: usize = 4 * 1024;

/// A connection for messages that go out.
pub(super) struct RedisSink {
    link: Link,
    room: Arc<Semaphore>,
}

impl RedisSink {
    pub(super) fn new(link: Link) -> RedisSink {
        RedisSink {
            link,
            room: Arc::new(Semaphore::new(UNCONFIRMED_BYTES_MAX)),
        }
    }

    async fn publish(&self, message: &Outgoing) -> Result<(), SendError> {
        let stream = &message.address.destination;
        if stream.is_empty() {
            let text = "a message without a stream can't be sent";
            return Err(SendError::Refused(Trouble::new(TroubleKind::Refused, text)));
        }
        let fields = to_fields(message);
        let size: usize = fields
            .iter()
            .map(|(name, value)| name.len() + value.len())
            .sum();
        let bytes = (size + MESSAGE_BYTES).min(UNCONFIRMED_BYTES_MAX);
        let bytes = u32::try_from(bytes).expect("the maximum is less");
        let _room = self
            .room
            .acquire_many(bytes)
            .await
            .expect("nobody closes it");
        // A stream that does not exist would be made, and nobody would read it.
        let mut command = redis::cmd("XADD");
        command.arg(stream).arg("NOMKSTREAM").arg("*");
        for (name, value) in fields {
            command.arg(name).arg(value);
        }
        match self.link.call(command).await {
            Ok(Value::Nil) => Err(SendError::Refused(streams::missing(&self.link, stream))),
            Ok(_) => Ok(()),
            Err(error) => Err(self.judge(stream, &error)),
        }
    }

    /// That this stream can't be written concerns this message only; everything else the connection.
    fn judge(&self, stream: &str, error: &RedisError) -> SendError {
        let trouble = self
            .link
            .describe(&format!("take a message for {stream}"), error);
        let is_about_stream = trouble.kind == TroubleKind::DestinationUnfit
            || trouble.kind == TroubleKind::Refused
            || streams::is_refused(error);
        match is_about_stream {
            true => SendError::Refused(trouble),
            false => SendError::Disconnected(trouble),
        }
    }
}

impl Sink for RedisSink {
    fn send<'a>(&'a self, message: &'a Outgoing) -> Doing<'a, Result<(), SendError>> {
        let publishing = self.publish(message);
        Box::pin(dial::confirm_in_time(
            self.link.place(),
            ANSWER_TIMEOUT,
            publishing,
        ))
    }
}
