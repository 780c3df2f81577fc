//! One thread's accept loop and its connections.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::app::App;
use crate::serve::patience::Patient;

/// Pause after a failed accept: usually the process has no file descriptors left for a moment.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Header lines of one request.
const HEADERS_MAX: usize = 64;

/// What an accept loop works with.
pub(crate) struct Accept {
    pub(crate) app: App,
    pub(crate) router: Router,
    pub(crate) tls: Option<TlsAcceptor>,
    pub(crate) connections: Arc<Semaphore>,
    pub(crate) stopped: watch::Receiver<bool>,
}

impl Accept {
    /// Accepts until told to stop, then waits for the connections, at most for the drain time-out.
    pub(crate) async fn run(self, listener: TcpListener) {
        let mut stopped = self.stopped.clone();
        let mut open = JoinSet::new();
        loop {
            tokio::select! {
                biased;
                () = told_to_stop(&mut stopped) => break,
                accepted = self.accept(&listener) => {
                    if let Some((stream, permit)) = accepted {
                        open.spawn(self.connection(stream, permit));
                    }
                }
                Some(_done) = open.join_next() => {}
            }
        }
        drop(listener);
        let drain = async { while open.join_next().await.is_some() {} };
        let limit = self.app.shared.config.limits.drain_timeout;
        if tokio::time::timeout(limit, drain).await.is_err() {
            tracing::warn!("connections were cut: requests in flight outlasted the drain time-out");
        }
    }

    /// The next connection, once there may be one more.
    async fn accept(&self, listener: &TcpListener) -> Option<(TcpStream, OwnedSemaphorePermit)> {
        let permit = self.connections.clone().acquire_owned().await.ok()?;
        match listener.accept().await {
            Ok((stream, _)) => Some((stream, permit)),
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                None
            }
        }
    }

    fn connection(
        &self,
        stream: TcpStream,
        permit: OwnedSemaphorePermit,
    ) -> impl Future<Output = ()> + use<> {
        let (app, router) = (self.app.clone(), self.router.clone());
        let (tls, stopped) = (self.tls.clone(), self.stopped.clone());
        async move {
            let _permit = permit;
            app.counters.connections.fetch_add(1, Ordering::Relaxed);
            let _open = Open(&app);
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "no TCP_NODELAY");
            }
            let stream = Patient::new(stream, app.shared.config.limits.write_timeout);
            let Some(tls) = tls else {
                return serve(&app, router, stream, stopped).await;
            };
            let handshake = tokio::time::timeout(
                app.shared.config.limits.header_read_timeout,
                tls.accept(stream),
            );
            match handshake.await {
                Ok(Ok(stream)) => serve(&app, router, stream, stopped).await,
                Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
                Err(_elapsed) => tracing::debug!("a TLS handshake took too long"),
            }
        }
    }
}

/// Keeps the number of open connections right.
struct Open<'a>(&'a App);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.counters.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Waits until the server is told to stop, or has gone.
async fn told_to_stop(stopped: &mut watch::Receiver<bool>) {
    let _told_or_gone = stopped.wait_for(|stopped| *stopped).await.map(|_| ());
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    app: &App,
    router: Router,
    stream: S,
    mut stopped: watch::Receiver<bool>,
) {
    let limits = &app.shared.config.limits;
    // The time-out begins when the connection is idle, too: a caller who sends nothing, or one byte a minute, is cut off.
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_read_timeout)
        .max_buf_size(limits.header_bytes_max.max(8_192))
        .max_headers(HEADERS_MAX)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = told_to_stop(&mut stopped) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(error = %error, "a connection broke off");
    }
}
