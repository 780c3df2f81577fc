//! The bytes of a connection: TCP, with TLS or without, in the form that lapin reads and writes.
//!
//! lapin's own TLS would trust certificates by rules of its own, and its connections can't be closed from outside while it waits for
//! the broker. So it is given a socket that is connected already.

use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use async_rs::traits::Reactor;
use async_rs::util::RuntimeParts;
use async_rs::{Runtime, Tokio};
use futures_util::Stream;
use tokio::io::{AsyncReadExt, AsyncWrite};

use super::screen::{Screen, Version};
use crate::dial::server_url::ServerUrl;
use crate::dial::{self, ByteStream, Cutter};

/// What lapin runs on: the tasks and timers of tokio, and our sockets.
pub(super) type Kit = RuntimeParts<Tokio, Sockets>;

/// Returns what lapin runs on within the current runtime of tokio.
pub(super) fn runtime() -> Runtime<Kit> {
    let tokio = Tokio::current();
    Runtime::new(RuntimeParts::new(tokio.clone(), Sockets(tokio)))
}

/// Connects to a server, with TLS if its url says so.
///
/// # Errors
/// What went wrong, for an operator.
pub(super) async fn connect(
    server: &ServerUrl,
    trusted_roots: Option<&str>,
    version: Version,
) -> Result<(Socket, Cutter), String> {
    let (stream, cutter) = dial::open_cut_stream(server, trusted_roots).await?;
    let screen = Screen::new(version);
    Ok((Socket { stream, screen }, cutter))
}

/// A connection as lapin takes it.
pub(super) struct Socket {
    stream: Box<dyn ByteStream>,
    screen: Screen,
}

impl futures_util::AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let Socket { stream, screen } = &mut *self;
        if buffer.is_empty() {
            return Poll::Ready(Ok(0));
        }
        loop {
            let garbled = |_| io::Error::new(io::ErrorKind::InvalidData, "it does not speak AMQP");
            let count = screen.take(buffer).map_err(garbled)?;
            if count > 0 {
                return Poll::Ready(Ok(count));
            }
            let reading = pin!(stream.read_buf(screen.bytes()));
            if ready!(reading.poll(context))? == 0 {
                return Poll::Ready(Ok(0));
            }
        }
    }
}

impl futures_util::AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_close(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// Timers of tokio, and the type of our sockets. lapin connects nothing by it.
#[derive(Clone, Debug)]
pub(super) struct Sockets(Tokio);

impl Reactor for Sockets {
    type TcpStream = Socket;
    type Sleep = <Tokio as Reactor>::Sleep;

    fn register<H>(
        &self,
        _socket: H,
    ) -> io::Result<impl futures_util::AsyncRead + futures_util::AsyncWrite + Send + Unpin + 'static>
    {
        Err::<Socket, _>(io::ErrorKind::Unsupported.into())
    }

    fn sleep(&self, time: Duration) -> Self::Sleep {
        self.0.sleep(time)
    }

    fn interval(&self, time: Duration) -> impl Stream<Item = Instant> + Send + 'static {
        self.0.interval(time)
    }

    fn tcp_connect_addr(
        &self,
        _address: SocketAddr,
    ) -> impl Future<Output = io::Result<Socket>> + Send + 'static {
        std::future::ready(Err(io::ErrorKind::Unsupported.into()))
    }
}
