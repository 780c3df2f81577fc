//! Messages that go out.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::Semaphore;

use super::api::{NO_RESPONDERS, Refusal};
use super::headers::Headers;
use super::link::{ANSWER_TIMEOUT, Link};
use super::message::to_headers;
use super::streams;
use super::subject::{check_subject, is_inbox};
use super::wire::Incoming;
use crate::dial;
use crate::port::{Doing, Outgoing, SendError, Sink, Trouble, TroubleKind};

/// Maximum number of bytes that wait for their confirm in one sink.
const UNCONFIRMED_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Bytes that a message counts beside its body, which bounds the number of messages too.
const MESSAGE_BYTES: usize = 4 * 1024;
/// Time without a confirm after which the sink asks whether any stream keeps the subject.
const LOOK_AFTER: Duration = Duration::from_secs(5);
/// JetStream's code for a message that the stream has no room for, or that it can't write.
const STORE_FAILED: u64 = 10_077;

/// A connection for messages that go out.
pub(super) struct NatsSink {
    link: Link,
    room: Arc<Semaphore>,
}

impl NatsSink {
    pub(super) fn new(link: Link) -> NatsSink {
        NatsSink {
            link,
            room: Arc::new(Semaphore::new(UNCONFIRMED_BYTES_MAX)),
        }
    }

    async fn publish(&self, message: &Outgoing) -> Result<(), SendError> {
        let subject = message.address.dotted();
        check_subject(&subject).map_err(|what| {
            refused(
                TroubleKind::Refused,
                format!("the subject {subject:?} {what}"),
            )
        })?;
        let headers = to_headers(message);
        let size = headers.len() + message.body.len();
        if size > self.link.max_payload() {
            let text = format!(
                "the message has {size} bytes with its headers; {} allows {} (max_payload)",
                self.link.place(),
                self.link.max_payload()
            );
            return Err(refused(TroubleKind::Refused, text));
        }
        let bytes = (size + MESSAGE_BYTES).min(UNCONFIRMED_BYTES_MAX);
        let bytes = u32::try_from(bytes).expect("the maximum is less");
        let _room = self
            .room
            .acquire_many(bytes)
            .await
            .expect("nobody closes it");
        let answer = self.link.ask(&subject, &headers, &message.body);
        let mut answer = answer.map_err(SendError::Disconnected)?;
        if is_inbox(&subject) {
            // No stream keeps it, so nothing confirms it. But the server says at once if nobody listens there.
            self.link.flush().await.map_err(SendError::Disconnected)?;
            return match answer.poll() {
                Some(Ok(said)) if !is_nobody(&said) => self.judge(&subject, &said),
                Some(Ok(_)) => {
                    let text = format!("whoever waits for the reply {subject} has gone");
                    Err(refused(TroubleKind::DestinationMissing, text))
                }
                Some(Err(trouble)) => Err(of_user(trouble)),
                None => Ok(()),
            };
        }
        let said = match tokio::time::timeout(LOOK_AFTER, answer.wait()).await {
            Ok(said) => said,
            Err(_) => {
                self.look_for_stream(&subject).await?;
                answer.wait().await
            }
        };
        let said = said.map_err(of_user)?;
        if is_nobody(&said) {
            self.look_for_stream(&subject).await?;
            let text = format!(
                "the stream of {subject} at {} takes nothing now: it has no leader",
                self.link.place()
            );
            let trouble = Trouble::new(TroubleKind::Unreachable, text);
            return Err(SendError::Disconnected(trouble));
        }
        self.judge(&subject, &said)
    }

    /// Fails if no stream keeps what is sent to a subject.
    async fn look_for_stream(&self, subject: &str) -> Result<(), SendError> {
        match streams::find(&self.link, subject).await {
            Ok(Some(_)) => Ok(()),
            Ok(None) => Err(SendError::Refused(streams::missing(&self.link, subject))),
            Err(trouble) => Err(SendError::Disconnected(trouble)),
        }
    }

    /// Reads what the stream says about a message.
    fn judge(&self, subject: &str, said: &Incoming) -> Result<(), SendError> {
        let place = self.link.place();
        let said: Value = serde_json::from_slice(&said.body).unwrap_or_default();
        if let Some(refusal) = Refusal::of(&said) {
            let trouble = refusal.trouble(&self.link, &format!("keep a message for {subject}"));
            let is_full = refusal.code == STORE_FAILED && refusal.description.contains("maximum");
            return Err(match refusal.status == 503 && !is_full {
                true => SendError::Disconnected(trouble),
                false => SendError::Refused(Trouble {
                    kind: TroubleKind::Refused,
                    ..trouble
                }),
            });
        }
        if said["stream"].is_string() && said["seq"].is_u64() {
            return Ok(());
        }
        let text = format!(
            "something at {place} that is no stream answered a message for {subject}: bind the subject to a stream"
        );
        Err(refused(TroubleKind::Refused, text))
    }
}

fn is_nobody(said: &Incoming) -> bool {
    Headers::parse(&said.headers).status == Some(NO_RESPONDERS)
}

fn refused(kind: TroubleKind, text: String) -> SendError {
    SendError::Refused(Trouble::new(kind, text))
}

/// That a user may not publish to a subject concerns this subject only; everything else the connection.
fn of_user(trouble: Trouble) -> SendError {
    match trouble.kind {
        TroubleKind::CredentialsRefused => SendError::Refused(trouble),
        _ => SendError::Disconnected(trouble),
    }
}

impl Sink for NatsSink {
    fn send<'a>(&'a self, message: &'a Outgoing) -> Doing<'a, Result<(), SendError>> {
        let publishing = self.publish(message);
        Box::pin(dial::confirm_in_time(
            self.link.place(),
            ANSWER_TIMEOUT,
            publishing,
        ))
    }
}
