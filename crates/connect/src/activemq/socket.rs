//! The bytes of a connection: TCP, with TLS or without, in the form that fe2o3-amqp reads and writes.
//!
//! fe2o3-amqp's own TLS would trust certificates by rules of its own, and it waits for a broker as long as it takes. So it is given a
//! socket that is connected already, that can be closed from outside, and that says when something was last read.

use std::fmt;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

use super::screen::{Product, Screen};
use crate::dial::server_url::ServerUrl;
use crate::dial::{self, ByteStream, Cutter};

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
    server: &ServerUrl,
    trusted_roots: Option<&str>,
    product: Product,
) -> Result<(Socket, Pulse, Cutter), String> {
    let (stream, cutter) = dial::open_cut_stream(server, trusted_roots).await?;
    let pulse = Pulse::new();
    let socket = Socket {
        stream,
        screen: Screen::new(product),
        pulse: pulse.clone(),
    };
    Ok((socket, pulse, cutter))
}

/// A connection as fe2o3-amqp takes it.
pub(super) struct Socket {
    stream: Box<dyn ByteStream>,
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
