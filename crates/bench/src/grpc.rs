//! A lean gRPC client: HTTP/2 by `h2`, messages as bytes, one stream of batches per connection.

use std::net::SocketAddr;

use anyhow::{Context as _, bail};
use bytes::{Buf as _, Bytes, BytesMut};
use h2::client::SendRequest;
use h2::{RecvStream, SendStream};
use tokio::net::TcpStream;

use crate::payload::PREFIX_BYTES;

/// Bytes that the server may send ahead.
const WINDOW_BYTES: u32 = 8 << 20;
/// Largest frame, in bytes.
const FRAME_BYTES: u32 = 256 << 10;

/// Batches in, answers out.
pub(crate) const SUBMIT: &str = "/tributary.v1.Ledger/SubmitStream";
/// Acknowledgements in, events out.
pub(crate) const RECEIVE: &str = "/tributary.v1.Subscriptions/Receive";

/// A stream of batches on a connection of its own.
pub(crate) struct Batches {
    send: SendStream<Bytes>,
    answers: Answers,
}

/// What comes back.
enum Answers {
    /// The server has not answered yet: it does with the first batch.
    Opening(h2::client::ResponseFuture),
    Open(RecvStream, BytesMut),
}

impl Batches {
    /// Connects and opens the stream. Needs a runtime of the same thread, where the connection lives on.
    pub(crate) async fn open(server: SocketAddr, token: &str) -> anyhow::Result<Batches> {
        Batches::open_at(server, token, SUBMIT).await
    }

    /// The same for another method.
    pub(crate) async fn open_at(
        server: SocketAddr,
        token: &str,
        method: &str,
    ) -> anyhow::Result<Batches> {
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
        let (answers, send) = client.send_request(request, false)?;
        Ok(Batches {
            send,
            answers: Answers::Opening(answers),
        })
    }

    /// Sends a message with its prefix.
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

    /// The next answer's message. May be given up and asked for again.
    pub(crate) async fn answer(&mut self) -> anyhow::Result<Bytes> {
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
                None => bail!("{}", ended(body).await),
            }
        }
    }

    /// Takes what still comes, until the server ends the stream as it should.
    pub(crate) async fn rest(&mut self) -> anyhow::Result<()> {
        let (body, _) = self.body().await?;
        while let Some(data) = body.data().await {
            body.flow_control().release_capacity(data?.len())?;
        }
        let trailers = body.trailers().await?.unwrap_or_default();
        match trailers.get("grpc-status") {
            Some(status) if status == "0" => Ok(()),
            status => {
                let status = status.and_then(|status| status.to_str().ok());
                bail!("{}", said(status.unwrap_or("?"), &trailers))
            }
        }
    }

    /// Ends the stream: no more batches.
    pub(crate) fn end(&mut self) -> anyhow::Result<()> {
        Ok(self.send.send_data(Bytes::new(), true)?)
    }

    async fn body(&mut self) -> anyhow::Result<(&mut RecvStream, &mut BytesMut)> {
        if let Answers::Opening(response) = &mut self.answers {
            let response = response.await?;
            let status = response.headers().get("grpc-status");
            if let Some(status) = status.filter(|status| *status != "0") {
                bail!(
                    "{}",
                    said(status.to_str().unwrap_or("?"), response.headers())
                );
            }
            self.answers = Answers::Open(response.into_body(), BytesMut::new());
        }
        match &mut self.answers {
            Answers::Open(body, buffer) => Ok((body, buffer)),
            Answers::Opening(_) => bail!("the stream did not open"),
        }
    }
}

/// Why the server ended the stream.
async fn ended(body: &mut RecvStream) -> String {
    match body.trailers().await {
        Ok(Some(trailers)) => {
            let status = trailers.get("grpc-status");
            let status = status.and_then(|status| status.to_str().ok());
            said(status.unwrap_or("?"), &trailers)
        }
        Ok(None) => "the server ended the stream without a word".to_owned(),
        Err(error) => format!("the stream broke off: {error}"),
    }
}

fn said(status: &str, headers: &hyper::HeaderMap) -> String {
    let of = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let code = of("tributary-code").unwrap_or("no code");
    let message = of("grpc-message").unwrap_or_default();
    format!("the server ended the stream with status {status} ({code}) {message}")
}
