//! The bytes of a connection: TCP, with TLS or without, in the form that fe2o3-amqp reads and writes.
//!
//! fe2o3-amqp's own TLS would trust certificates by rules of its own, and it waits for a broker as long as it takes. So it is given a
//! socket that is connected already, that can be closed from outside, and that says when something was last read.

use std::fmt;
use std::io;
use std::net::Shutdown;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::screen::{Product, Screen};
use super::server::Server;
use crate::trust;

/// Ends a connection when it is dropped, whatever fe2o3-amqp waits for: its tasks end with the connection.
#[derive(Debug)]
pub(super) struct Cutter(std::net::TcpStream);

impl Drop for Cutter {
    fn drop(&mut self) {
        // It fails if the broker has closed the connection before.
        let _ = self.0.shutdown(Shutdown::Both);
    }
}

/// When something was last read.
#[derive(Clone, Debug)]
pub(super) struct Pulse {
    begun: Instant,
    /// Milliseconds since then.
    read_ms: Arc<AtomicU64>,
}

impl Pulse {
    fn new() -> Pulse {
        Pulse {
            begun: Instant::now(),
            read_ms: Arc::default(),
        }
    }

    fn beat(&self) {
        let ms = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.read_ms.store(ms, Ordering::Relaxed);
    }

    /// Ends when nothing has been read for `time`.
    pub(super) async fn silent_for(&self, time: Duration) {
        loop {
            let read = Duration::from_millis(self.read_ms.load(Ordering::Relaxed));
            let silent = self.begun.elapsed().saturating_sub(read);
            let Some(left) = time.checked_sub(silent).filter(|left| !left.is_zero()) else {
                return;
            };
            tokio::time::sleep(left).await;
        }
    }
}

/// Connects to a server, with TLS if its url says so.
///
/// # Errors
/// What went wrong, for an operator.
pub(super) async fn connect(
    server: &Server,
    trusted_roots: Option<&str>,
    product: Product,
) -> Result<(Socket, Pulse, Cutter), String> {
    let stream = TcpStream::connect((server.host.as_str(), server.port))
        .await
        .map_err(|error| error.to_string())?;
    let (stream, cutter) = share(stream).map_err(|error| error.to_string())?;
    let stream: Box<dyn Bytes> = match server.is_tls {
        false => Box::new(stream),
        true => {
            let name = ServerName::try_from(server.host.clone())
                .map_err(|_| "its name can't be in a certificate".to_owned())?;
            let stream = trust::broker_connector(trusted_roots)?
                .connect(name, stream)
                .await;
            Box::new(stream.map_err(|error| format!("TLS failed: {error}"))?)
        }
    };
    let pulse = Pulse::new();
    let socket = Socket {
        stream,
        screen: Screen::new(product),
        pulse: pulse.clone(),
    };
    Ok((socket, pulse, cutter))
}

fn share(stream: TcpStream) -> io::Result<(TcpStream, Cutter)> {
    stream.set_nodelay(true)?;
    let stream = stream.into_std()?;
    let cutter = Cutter(stream.try_clone()?);
    Ok((TcpStream::from_std(stream)?, cutter))
}

trait Bytes: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Bytes for T {}

/// A connection as fe2o3-amqp takes it.
pub(super) struct Socket {
    stream: Box<dyn Bytes>,
    screen: Screen,
    pulse: Pulse,
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Socket")
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Socket {
            stream,
            screen,
            pulse,
        } = &mut *self;
        if buffer.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        loop {
            let target = buffer.initialize_unfilled();
            let garbled = |_| {
                let what = "it sends what is no AMQP 1.0";
                io::Error::new(io::ErrorKind::InvalidData, what)
            };
            let count = screen.take(target).map_err(garbled)?;
            if count > 0 {
                buffer.advance(count);
                return Poll::Ready(Ok(()));
            }
            let reading = pin!(stream.read_buf(screen.bytes()));
            if ready!(reading.poll(context))? == 0 {
                return Poll::Ready(Ok(()));
            }
            pulse.beat();
        }
    }
}

impl AsyncWrite for Socket {
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

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
