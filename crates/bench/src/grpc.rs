//! A gRPC client that needs little processor time: HTTP/2 by `h2`, encoded messages, one stream per connection.

use std::net::SocketAddr;

use anyhow::{Context as _, bail};
use bytes::{Buf as _, Bytes, BytesMut};
use h2::client::SendRequest;
use h2::{RecvStream, SendStream};
use tokio::net::TcpStream;

use crate::payload::PREFIX_BYTES;

/// Flow-control window, in bytes.
const WINDOW_BYTES: u32 = 8 << 20;
/// Maximum size of an HTTP/2 frame, in bytes.
const FRAME_BYTES: u32 = 256 << 10;

/// Method that takes batches of commands and returns their results.
pub(crate) const SUBMIT: &str = "/tributary.v1.Ledger/SubmitStream";
/// Method that returns events and takes acknowledgements.
pub(crate) const RECEIVE: &str = "/tributary.v1.Subscriptions/Receive";

/// A bidirectional stream on its own connection.
pub(crate) struct GrpcStream {
    send: SendStream<Bytes>,
    state: ResponseState,
}

/// State of the response.
enum ResponseState {
    /// The server has not answered yet: it answers the first message.
    Opening(h2::client::ResponseFuture),
    Open(RecvStream, BytesMut),
}

impl GrpcStream {
    /// Connects and opens a stream of batches. The connection is driven by the runtime of the calling thread.
    pub(crate) async fn open(server: SocketAddr, token: &str) -> anyhow::Result<GrpcStream> {
        GrpcStream::open_method(server, token, SUBMIT).await
    }

    /// Connects and opens a stream of the given method.
    pub(crate) async fn open_method(
        server: SocketAddr,
        token: &str,
        method: &str,
    ) -> anyhow::Result<GrpcStream> {
        let stream = TcpStream::connect(server)
            .await
            .with_context(|| format!("cannot connect to {server}"))?;
        stream.set_nodelay(true)?;
        let (client, connection): (SendRequest<Bytes>, _) = h2::client::Builder::new()
            .initial_window_size(WINDOW_BYTES)
            .initial_connection_window_size(WINDOW_BYTES)
            .max_frame_size(FRAME_BYTES)
            .max_send_buffer_size(WINDOW_BYTES as usize)
            .handshake(stream)
            .await?;
        tokio::spawn(connection);
        let mut client = client.ready().await?;
        let request = hyper::Request::post(format!("http://{server}{method}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("authorization", format!("Bearer {token}"))
            .body(())?;
        let (state, send) = client.send_request(request, false)?;
        Ok(GrpcStream {
            send,
            state: ResponseState::Opening(state),
        })
    }

    /// Sends a message that begins with its gRPC prefix.
    pub(crate) async fn send(&mut self, mut message: Bytes) -> anyhow::Result<()> {
        while !message.is_empty() {
            self.send.reserve_capacity(message.len());
            let room = std::future::poll_fn(|context| self.send.poll_capacity(context)).await;
            let room = room.context("the server closed the stream")??;
            let piece = message.split_to(room.min(message.len()));
            self.send.send_data(piece, false)?;
        }
        Ok(())
    }

    /// Returns the next message. The future may be dropped: no message is lost.
    pub(crate) async fn next_message(&mut self) -> anyhow::Result<Bytes> {
        let (body, buffer) = self.body().await?;
        loop {
            if let Some((prefix, rest)) = buffer.split_first_chunk::<PREFIX_BYTES>() {
                let len = u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]) as usize;
                if rest.len() >= len {
                    buffer.advance(PREFIX_BYTES);
                    return Ok(buffer.split_to(len).freeze());
                }
                buffer.reserve(PREFIX_BYTES + len - buffer.len());
            }
            match body.data().await {
                Some(data) => {
                    let data = data?;
                    body.flow_control().release_capacity(data.len())?;
                    buffer.extend_from_slice(&data);
                }
                None => bail!("{}", describe_end(body).await),
            }
        }
    }

    /// Discards messages until the server ends the stream. Fails unless the final status is OK.
    pub(crate) async fn drain(&mut self) -> anyhow::Result<()> {
        let (body, _) = self.body().await?;
        while let Some(data) = body.data().await {
            body.flow_control().release_capacity(data?.len())?;
        }
        let trailers = body.trailers().await?.unwrap_or_default();
        match trailers.get("grpc-status") {
            Some(status) if status == "0" => Ok(()),
            status => {
                let status = status.and_then(|status| status.to_str().ok());
                bail!("{}", format_status(status.unwrap_or("?"), &trailers))
            }
        }
    }

    /// Tells the server that no more messages will be sent.
    pub(crate) fn finish_sending(&mut self) -> anyhow::Result<()> {
        Ok(self.send.send_data(Bytes::new(), true)?)
    }

    async fn body(&mut self) -> anyhow::Result<(&mut RecvStream, &mut BytesMut)> {
        if let ResponseState::Opening(response) = &mut self.state {
            let response = response.await?;
            let status = response.headers().get("grpc-status");
            if let Some(status) = status.filter(|status| *status != "0") {
                bail!(
                    "{}",
                    format_status(status.to_str().unwrap_or("?"), response.headers())
                );
            }
            self.state = ResponseState::Open(response.into_body(), BytesMut::new());
        }
        match &mut self.state {
            ResponseState::Open(body, buffer) => Ok((body, buffer)),
            ResponseState::Opening(_) => bail!("the stream did not open"),
        }
    }
}

/// Describes why the server ended the stream.
async fn describe_end(body: &mut RecvStream) -> String {
    match body.trailers().await {
        Ok(Some(trailers)) => {
            let status = trailers.get("grpc-status");
            let status = status.and_then(|status| status.to_str().ok());
            format_status(status.unwrap_or("?"), &trailers)
        }
        Ok(None) => "the server ended the stream without a status".to_owned(),
        Err(error) => format!("the stream was interrupted: {error}"),
    }
}

fn format_status(status: &str, headers: &hyper::HeaderMap) -> String {
    let of = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let code = of("tributary-code").unwrap_or("no code");
    let message = of("grpc-message").unwrap_or_default();
    format!("the server ended the stream with status {status} ({code}) {message}")
}
