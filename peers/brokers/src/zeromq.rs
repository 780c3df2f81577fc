//! ZeroMQ, by zeromq: no broker. A `DEALER` sends requests and keeps each until it is answered, as `docs/brokers/zeromq.md` says; a
//! `ROUTER` answers each request and does nothing else.

use std::time::Instant;

use anyhow::{Result, bail};
use bytes::Bytes;
use zeromq::{DealerSocket, RouterSocket, Socket, SocketRecv, SocketSend, ZmqMessage};

use crate::{Options, in_time};

const VERSION: Bytes = Bytes::from_static(b"tributary/1");
const OK: Bytes = Bytes::from_static(b"OK");

/// Sends requests and waits for every answer.
pub(crate) async fn produce(options: &Options) -> Result<Instant> {
    let mut socket = DealerSocket::new();
    socket.connect(&options.url).await?;
    let destination = Bytes::from(options.destination.clone());
    let key = Bytes::from(options.key.clone());
    let begun = Instant::now();
    let (mut sent, mut answered) = (0, 0);
    while answered < options.messages {
        while sent < options.messages && sent - answered < u64::from(options.window) {
            let id = format!("{}-{sent}", options.destination).into();
            let body = options.body(sent).into();
            let frames = vec![
                VERSION,
                destination.clone(),
                id,
                key.clone(),
                Bytes::new(),
                body,
            ];
            let request = ZmqMessage::try_from(frames).expect("it has frames");
            in_time("a request", socket.send(request)).await??;
            sent += 1;
        }
        let answer = in_time("an answer", socket.recv()).await??;
        if answer.get(1) != Some(&OK) {
            bail!("a request was not taken: {answer:?}");
        }
        answered += 1;
    }
    Ok(begun)
}

/// Answers requests.
pub(crate) async fn consume(options: &Options) -> Result<Instant> {
    let mut socket = RouterSocket::new();
    socket.bind(&options.url).await?;
    let begun = Instant::now();
    for _ in 0..options.messages {
        let request = in_time("a request", socket.recv()).await??.into_vec();
        let [peer, _, _, id, ..] = &request[..] else {
            bail!("a request has too few frames");
        };
        let frames = vec![peer.clone(), VERSION, OK, id.clone()];
        let answer = ZmqMessage::try_from(frames).expect("it has frames");
        socket.send(answer).await?;
    }
    // The last answers are on their way when the other side has gone.
    let _gone = in_time("the other side", socket.recv()).await;
    Ok(begun)
}
