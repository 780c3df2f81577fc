//! One thread's accept loops and their connections.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::app::App;
use crate::serve::rest_service::RestService;
use crate::serve::timed_stream::TimedStream;
use crate::timeouts::TimeoutTimer;

/// Pause after a failed accept: usually the process has no file descriptors left for a moment.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Bytes that a caller may send ahead on one gRPC call, and on all calls of a connection.
const WINDOW_BYTES: (u32, u32) = (4 << 20, 8 << 20);
/// Largest HTTP/2 frame, in bytes: a batch comes in few.
const FRAME_BYTES: u32 = 256 << 10;
/// Calls at once on one gRPC connection.
const CALLS_MAX: u32 = 200;
/// How often a gRPC connection is asked whether its other end is still there, and how long that may take to answer.
const KEEP_ALIVE: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(20));

/// Protocol of a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Api {
    /// HTTP/1.1, for REST.
    Rest,
    /// HTTP/2, for gRPC.
    Grpc,
}

/// State of an accept loop.
pub(crate) struct Accept {
    pub(crate) app: App,
    pub(crate) router: Router,
    pub(crate) api: Api,
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
            let stream = tokio::select! {
                biased;
                () = stop_requested(&mut stopped) => break,
                accepted = accept(&listener) => match accepted {
                    Some(stream) => stream,
                    None => continue,
                },
                Some(_done) = open.join_next() => continue,
            };
            // Not before: a loop that has nobody to serve must not keep a place from the others.
            let permit = tokio::select! {
                biased;
                () = stop_requested(&mut stopped) => break,
                permit = self.connections.clone().acquire_owned() => permit,
            };
            match permit {
                Ok(permit) => drop(open.spawn(self.connection(stream, permit))),
                Err(_closed) => break,
            }
        }
        drop(listener);
        let drain = async { while open.join_next().await.is_some() {} };
        let limit = self.app.shared.config.limits.drain_timeout;
        if tokio::time::timeout(limit, drain).await.is_err() {
            tracing::warn!("connections were cut: requests in flight outlasted the drain time-out");
        }
    }

    fn connection(
        &self,
        stream: TcpStream,
        permit: OwnedSemaphorePermit,
    ) -> impl Future<Output = ()> + use<> {
        let (app, router) = (self.app.clone(), self.router.clone());
        let (tls, stopped) = (self.tls.clone(), self.stopped.clone());
        let api = self.api;
        async move {
            let _permit = permit;
            app.counters.connections.fetch_add(1, Ordering::Relaxed);
            let _open = Open(&app);
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "no TCP_NODELAY");
            }
            let stream = TimedStream::new(stream, app.shared.config.limits.write_timeout);
            let Some(tls) = tls else {
                return match api {
                    Api::Rest => serve_rest(&app, router, stream, stopped).await,
                    Api::Grpc => serve_grpc(&app, router, stream, stopped).await,
                };
            };
            let handshake = tokio::time::timeout(
                app.shared.config.limits.header_read_timeout,
                tls.accept(stream),
            );
            match (handshake.await, api) {
                (Ok(Ok(stream)), Api::Rest) => {
                    serve_rest(&app, router, stream, stopped).await;
                }
                (Ok(Ok(stream)), Api::Grpc) => {
                    serve_grpc(&app, router, stream, stopped).await;
                }
                (Ok(Err(error)), _) => tracing::debug!(%error, "a TLS handshake failed"),
                (Err(_elapsed), _) => tracing::debug!("a TLS handshake took too long"),
            }
        }
    }
}

/// The next connection.
async fn accept(listener: &TcpListener) -> Option<TcpStream> {
    match listener.accept().await {
        Ok((stream, _)) => Some(stream),
        Err(error) => {
            tracing::warn!(%error, "a connection could not be accepted");
            tokio::time::sleep(ACCEPT_PAUSE).await;
            None
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

/// Waits until the server is to stop, or has gone.
async fn stop_requested(stopped: &mut watch::Receiver<bool>) {
    let _told_or_gone = stopped.wait_for(|stopped| *stopped).await.map(|_| ());
}

async fn serve_grpc<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    app: &App,
    router: Router,
    stream: S,
    mut stopped: watch::Receiver<bool>,
) {
    let header_bytes_max = app.shared.config.limits.header_bytes_max;
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .initial_stream_window_size(WINDOW_BYTES.0)
        .initial_connection_window_size(WINDOW_BYTES.1)
        .max_frame_size(FRAME_BYTES)
        .max_concurrent_streams(CALLS_MAX)
        .max_header_list_size(u32::try_from(header_bytes_max).unwrap_or(u32::MAX))
        .keep_alive_interval(KEEP_ALIVE.0)
        .keep_alive_timeout(KEEP_ALIVE.1)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop_requested(&mut stopped) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection broke off");
    }
}

async fn serve_rest<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    app: &App,
    router: Router,
    stream: S,
    mut stopped: watch::Receiver<bool>,
) {
    let limits = &app.shared.config.limits;
    let rest = RestService::new(app.clone(), router);
    let service = service_fn(|request| rest.answer(request));
    // The time-out begins when the connection is idle, too: a caller who sends nothing, or one byte a minute, is cut off.
    let connection = http1::Builder::new()
        .timer(TimeoutTimer(app.timeouts.clone()))
        .header_read_timeout(limits.header_read_timeout)
        // Twice what is taken, so that a head that is somewhat too large is read, and refused with words.
        .max_buf_size(2 * limits.header_bytes_max.max(8_192))
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let mut told = pin!(stop_requested(&mut stopped));
    let mut listens = false;
    let until_told = poll_fn(|context| {
        // Once it was asked it wakes this task, so it need not be asked again for each request, only when it has come.
        let ask = !std::mem::replace(&mut listens, true);
        if (ask || app.shared.draining.load(Ordering::Acquire))
            && told.as_mut().poll(context).is_ready()
        {
            return Poll::Ready(None);
        }
        connection.as_mut().poll(context).map(Some)
    });
    let ended = match until_told.await {
        Some(ended) => ended,
        None => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(error = %error, "a connection broke off");
    }
}
