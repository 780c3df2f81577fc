//! One thread's accept loops and their connections.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::{Duration, Instant};

use axum::Router;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tokio_rustls::TlsAcceptor;

use crate::admission::{Admitted, ConnectionPlace, End, Refused};
use crate::app::App;
use crate::serve::refusal::{grpc_answer, http_answer, refuse, too_many_connections};
use crate::serve::rest_service::RestService;
use crate::serve::timed_stream::TimedStream;
use crate::timeouts::TimeoutTimer;

/// Pause after a failed accept: usually the process has no file descriptors left for a moment.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Refused connections of one accept loop that are answered at the same time.
const REFUSALS_MAX: usize = 64;
/// Time for the request in flight of a connection that brought no valid API key in time.
const EXPIRED_GRACE: Duration = Duration::from_secs(5);

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
    pub(crate) stopped: watch::Receiver<bool>,
}

impl Accept {
    /// Accepts until told to stop, then waits for the connections, at most for the drain time-out.
    pub(crate) async fn run(self, listener: TcpListener) {
        let mut stopped = self.stopped.clone();
        let admission = self.app.shared.admission.clone();
        let refusals = Arc::new(Semaphore::new(REFUSALS_MAX));
        let mut expire = tokio::time::interval(admission.expire_every());
        expire.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut open = JoinSet::new();
        loop {
            let (stream, peer) = tokio::select! {
                biased;
                () = stop_requested(&mut stopped) => break,
                now = expire.tick() => {
                    admission.expire(now.into_std());
                    continue;
                }
                accepted = accept(&listener) => match accepted {
                    Some(accepted) => accepted,
                    None => continue,
                },
                Some(_done) = open.join_next() => continue,
            };
            match admission.admit(peer.ip(), Instant::now()) {
                Ok(admitted) => drop(open.spawn(self.connection(stream, admitted))),
                Err(why) => {
                    // Beyond so many at once they are only closed.
                    if let Ok(permit) = refusals.clone().try_acquire_owned() {
                        drop(open.spawn(self.refusal(stream, why, permit)));
                    }
                }
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
        admitted: Admitted,
    ) -> impl Future<Output = ()> + use<> {
        let (app, router) = (self.app.clone(), self.router.clone());
        let (tls, api) = (self.tls.clone(), self.api);
        let stopped = self.stopped.clone();
        async move {
            let place = admitted.0.clone();
            let _admitted = admitted;
            app.counters.connections.fetch_add(1, Ordering::Relaxed);
            let _open = Open(&app);
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "no TCP_NODELAY");
            }
            let stream = TimedStream::new(stream, app.shared.config.limits.write_timeout);
            let Some(tls) = tls else {
                return match api {
                    Api::Rest => serve_rest(&app, router, stream, place, stopped).await,
                    Api::Grpc => serve_grpc(&app, router, stream, place, stopped).await,
                };
            };
            let handshake = tokio::time::timeout(
                app.shared.config.limits.header_read_timeout,
                tls.accept(stream),
            );
            let handshake = tokio::select! {
                handshake = handshake => handshake,
                _end = place.must_end() => return,
            };
            match (handshake, api) {
                (Ok(Ok(stream)), Api::Rest) => {
                    serve_rest(&app, router, stream, place, stopped).await;
                }
                (Ok(Ok(stream)), Api::Grpc) => {
                    serve_grpc(&app, router, stream, place, stopped).await;
                }
                (Ok(Err(error)), _) => tracing::debug!(%error, "a TLS handshake failed"),
                (Err(_elapsed), _) => tracing::debug!("a TLS handshake took too long"),
            }
        }
    }

    /// Answers a connection that gets no place. Behind TLS it is only closed: a handshake would cost too much.
    fn refusal(
        &self,
        stream: TcpStream,
        why: Refused,
        permit: OwnedSemaphorePermit,
    ) -> impl Future<Output = ()> + use<> {
        let error = too_many_connections(why);
        let answer = match (&self.tls, self.api) {
            (Some(_), _) => None,
            (None, Api::Rest) => {
                let id = self.app.shared.request_ids.next();
                Some(http_answer(&error, &id.0))
            }
            (None, Api::Grpc) => Some(grpc_answer(&error)),
        };
        async move {
            let _permit = permit;
            if let Some(answer) = answer {
                refuse(stream, &answer).await;
            }
        }
    }
}

/// The next connection.
async fn accept(listener: &TcpListener) -> Option<(TcpStream, SocketAddr)> {
    match listener.accept().await {
        Ok(accepted) => Some(accepted),
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

/// Why a connection is ended before its other end closes it.
enum Ending {
    /// The server stops.
    Stopping,
    /// The place is lost.
    Place(End),
}

async fn ending(stopped: &mut watch::Receiver<bool>, place: &ConnectionPlace) -> Ending {
    tokio::select! {
        () = stop_requested(stopped) => Ending::Stopping,
        end = place.must_end() => Ending::Place(end),
    }
}

/// Lets a connection end that was told to end gracefully. If it was told because no valid API key had come, only for so long,
/// unless one has come since.
async fn finish<F: Future>(
    connection: F,
    why: Ending,
    place: &ConnectionPlace,
) -> Option<F::Output> {
    let mut connection = pin!(connection);
    if let Ending::Place(_) = why
        && let Ok(ended) = tokio::time::timeout(EXPIRED_GRACE, connection.as_mut()).await
    {
        return Some(ended);
    }
    match why {
        Ending::Place(_) if !place.is_authenticated() => None,
        _ => Some(connection.await),
    }
}

async fn serve_grpc<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    app: &App,
    router: Router,
    stream: S,
    place: Arc<ConnectionPlace>,
    mut stopped: watch::Receiver<bool>,
) {
    let header_bytes_max = app.shared.config.limits.header_bytes_max;
    let (router, known) = (TowerToHyperService::new(router), place.clone());
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(known.clone());
        router.call(request)
    });
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .initial_stream_window_size(WINDOW_BYTES.0)
        .initial_connection_window_size(WINDOW_BYTES.1)
        .max_frame_size(FRAME_BYTES)
        .max_concurrent_streams(CALLS_MAX)
        .max_header_list_size(u32::try_from(header_bytes_max).unwrap_or(u32::MAX))
        .keep_alive_interval(KEEP_ALIVE.0)
        .keep_alive_timeout(KEEP_ALIVE.1)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => Some(ended),
        why = ending(&mut stopped, &place) => match why {
            Ending::Place(End::Evicted) => return,
            why => {
                connection.as_mut().graceful_shutdown();
                finish(connection, why, &place).await
            }
        }
    };
    if let Some(Err(error)) = ended {
        app.shared.request_timeouts.count_connection(&error);
        tracing::debug!(%error, "a connection broke off");
    }
}

async fn serve_rest<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    app: &App,
    router: Router,
    stream: S,
    place: Arc<ConnectionPlace>,
    mut stopped: watch::Receiver<bool>,
) {
    let limits = &app.shared.config.limits;
    let rest = RestService::new(app.clone(), router, place.clone());
    let service = service_fn(|request| rest.answer(request));
    // The time-out begins when the connection is idle, too: a caller who sends nothing, or one byte a minute, is cut off.
    let connection = http1::Builder::new()
        .timer(TimeoutTimer(app.timeouts.clone()))
        .header_read_timeout(limits.header_read_timeout)
        // Twice what is taken, so that a head that is somewhat too large is read, and refused with words.
        .max_buf_size(2 * limits.header_bytes_max.max(8_192))
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let mut told = pin!(ending(&mut stopped, &place));
    let mut listens = false;
    let until_told = poll_fn(|context| {
        // Once it was asked it wakes this task, so it need not be asked again for each request, only when it has come.
        let ask = !std::mem::replace(&mut listens, true);
        if (ask || app.shared.draining.load(Ordering::Acquire) || place.end().is_some())
            && let Poll::Ready(why) = told.as_mut().poll(context)
        {
            return Poll::Ready(Err(why));
        }
        connection.as_mut().poll(context).map(Ok)
    });
    let ended = match until_told.await {
        Ok(ended) => Some(ended),
        Err(Ending::Place(End::Evicted)) => return,
        Err(why) => {
            connection.as_mut().graceful_shutdown();
            finish(connection, why, &place).await
        }
    };
    if let Some(Err(error)) = ended {
        app.shared.request_timeouts.count_connection(&error);
        tracing::debug!(error = %error, "a connection broke off");
    }
}
