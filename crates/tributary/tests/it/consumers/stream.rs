//! A consumer over gRPC: HTTP/2 by `h2`, messages by the definition.

use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use prost::Message;
use tokio::net::TcpStream;

use super::{Event, Site, TAKEN_MAX};
use crate::crash::Random;

/// The messages that a consumer needs (`proto/tributary/v1/subscriptions.proto`).
#[derive(Clone, PartialEq, Message)]
struct ReceiveRequest {
    #[prost(bytes = "vec", tag = "1")]
    subscription: Vec<u8>,
    #[prost(uint32, tag = "2")]
    batch_max: u32,
    #[prost(uint64, repeated, tag = "5")]
    ack_responses: Vec<u64>,
}

#[derive(Clone, PartialEq, Message)]
struct ReceiveResponse {
    #[prost(uint64, tag = "1")]
    number: u64,
    #[prost(message, repeated, tag = "2")]
    events: Vec<DeliveredEvent>,
}

#[derive(Clone, PartialEq, Message)]
struct DeliveredEvent {
    #[prost(bytes = "vec", tag = "1")]
    id: Vec<u8>,
    #[prost(string, tag = "2")]
    kind: String,
    #[prost(string, tag = "4")]
    key: String,
    #[prost(bytes = "vec", tag = "6")]
    data: Vec<u8>,
}

impl DeliveredEvent {
    fn event(self) -> Event {
        Event {
            id: u128::from_be_bytes(self.id.try_into().expect("16 bytes")),
            key: self.key,
            kind: self.kind,
            data: serde_json::from_slice(&self.data).expect("JSON"),
        }
    }
}

/// A message with its prefix: not compressed, and its length.
fn framed(message: &impl Message) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_u8(0);
    bytes.put_u32(message.encoded_len() as u32);
    message.encode(&mut bytes).expect("there is room");
    bytes.freeze()
}

/// The first message of what came, if it is whole.
fn take(came: &mut BytesMut) -> Option<ReceiveResponse> {
    let len = u32::from_be_bytes(*came.get(1..)?.first_chunk()?) as usize;
    if came.len() < 5 + len {
        return None;
    }
    came.advance(5);
    Some(ReceiveResponse::decode(came.split_to(len)).expect("a response"))
}

impl Site {
    /// One consumer over gRPC. A crash takes its connection with it.
    pub(super) fn stream(&self, mut random: Random) {
        while !self.stopped() {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            // Its error: the server went away, or is not there yet.
            drop(runtime.block_on(self.one_life(&mut random)));
            drop(runtime);
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    async fn one_life(&self, random: &mut Random) -> Result<(), Box<dyn std::error::Error>> {
        let socket = TcpStream::connect(&self.grpc).await?;
        socket.set_nodelay(true)?;
        let (client, connection) = h2::client::handshake(socket).await?;
        tokio::spawn(connection);
        let uri = format!("http://{}/tributary.v1.Subscriptions/Receive", self.grpc);
        let request = hyper::Request::post(uri)
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("authorization", format!("Bearer {}", self.token))
            .body(())?;
        let (response, mut send) = client.ready().await?.send_request(request, false)?;
        let first = ReceiveRequest {
            subscription: self.subscription.as_bytes().to_vec(),
            batch_max: TAKEN_MAX,
            ..ReceiveRequest::default()
        };
        send.send_data(framed(&first), false)?;
        let mut body = response.await?.into_body();
        let mut came = BytesMut::new();
        loop {
            while let Some(response) = take(&mut came) {
                let events = response.events.into_iter().map(DeliveredEvent::event);
                let events: Vec<Event> = events.collect();
                if events.is_empty() {
                    continue;
                }
                if !self.work(&events, random) {
                    return Ok(());
                }
                let done = ReceiveRequest {
                    ack_responses: vec![response.number],
                    ..ReceiveRequest::default()
                };
                send.send_data(framed(&done), false)?;
            }
            tokio::select! {
                data = body.data() => {
                    let data = data.ok_or("the stream ended")??;
                    body.flow_control().release_capacity(data.len())?;
                    came.extend_from_slice(&data);
                }
                () = tokio::time::sleep(Duration::from_millis(100)) => {
                    if self.stopped() {
                        return Ok(());
                    }
                }
            }
        }
    }
}
