//! Listening: one thread per core, each with its own listener on the same address and its own single-threaded runtime.
//! gRPC has threads of its own: decoding a large batch takes milliseconds, for which no small request should wait.

mod connection;
pub(crate) mod refusal;
mod rest_service;
mod timed_stream;
mod tls;
mod turns;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use axum::Router;
use axum::middleware::from_fn_with_state;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tributary_api::brokers::Brokers;
use tributary_api::intake::Intake;
use tributary_api::leadership::Leadership;
use tributary_api::risk::Risk;
use tributary_api::settings::standard::standard_types;
use tributary_api::streaming::Streaming;
use tributary_api::transport::PushTransport;
use tributary_engine::{Engine, SubmitQueue};
use tributary_messaging::Messaging;

use crate::admission::Admission;
use crate::app::{App, RequestIds, Shared};
use crate::cluster::node::{ClusterNode, Leader};
use crate::cluster::peer_client::PeerClient;
use crate::config::{Reloadable, ServerConfig};
use crate::guard::{Guard, publish_reports};
use crate::metrics::request_timeouts::RequestTimeouts;
use crate::observe::observe_rest;
use crate::parameters::QueryParameters;
use crate::rate::RateLimiter;
use crate::serve::connection::{Accept, Api};
use crate::serve::tls::CurrentCertificate;
use crate::statement_pages::StatementPages;
use crate::streams::Streams;
use crate::{docs_page, openapi};
pub use turns::take_short_turns;

/// Connections that the kernel keeps waiting for one listener.
const BACKLOG: i32 = 1_024;
/// Threads of one core's runtime for reads that may block.
const BLOCKING_THREADS_MAX: usize = 16;

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address can't be listened on.
    #[error("cannot listen on {addr}: {source}")]
    Listen {
        /// The address.
        addr: SocketAddr,
        /// Error of the operating system.
        source: io::Error,
    },
    /// The certificate or its key can't be used.
    #[error("TLS: {0}")]
    Tls(String),
    /// A thread or its runtime could not be started.
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
}

/// What other crates do for a server.
pub struct Services {
    /// Keeps subscriptions; none where they are not kept, or could not be read.
    pub messaging: Option<Arc<Messaging>>,
    /// Sends the events of subscriptions that have a URL; none where webhooks are not sent.
    pub transport: Option<Arc<dyn PushTransport>>,
    /// Checks binders and bindings.
    pub brokers: Arc<dyn Brokers>,
    /// Checks and runs streams.
    pub streaming: Arc<dyn Streaming>,
    /// Checks and applies rule sets.
    pub risk: Arc<dyn Risk>,
    /// Says who leads, which makes the server a node of a cluster; none for a server that is alone.
    pub leadership: Option<Arc<dyn Leadership>>,
}

/// The server: REST, and gRPC where it is asked for.
pub struct Server;

/// A server that runs. It stops when [`Running::shutdown`] is called or when this is dropped.
#[derive(Debug)]
pub struct Running {
    addr: SocketAddr,
    grpc_addr: Option<SocketAddr>,
    certificate: Option<Arc<CurrentCertificate>>,
    shared: Arc<Draining>,
    threads: Vec<JoinHandle<()>>,
}

/// How the threads learn that they must stop.
struct Draining {
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
}

impl std::fmt::Debug for Draining {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Draining")
    }
}

impl Server {
    /// Listens and serves `engine`, and its subscriptions if there are any, until told to stop. A node of a cluster forwards to the leader
    /// what only the leader can answer. Returns once every listener is open.
    pub fn start(
        config: ServerConfig,
        engine: Engine,
        services: Services,
    ) -> Result<Running, StartError> {
        let files = config.tls.as_ref();
        let certificate = files.map(CurrentCertificate::load).transpose();
        let certificate = certificate.map_err(StartError::Tls)?.map(Arc::new);
        let tls = |protocol: &[u8]| {
            let certificate = certificate.as_ref();
            certificate
                .map(|certificate| tls::acceptor(certificate, protocol))
                .transpose()
                .map_err(StartError::Tls)
        };
        let (rest_tls, grpc_tls) = (tls(b"http/1.1")?, tls(b"h2")?);
        let ca_file = config.peer_ca_file.as_deref();
        let leadership = services.leadership.clone();
        let cluster = leadership.map(|leadership| ClusterNode::new(leadership, ca_file));
        let cluster = cluster.transpose().map_err(StartError::Tls)?;
        let count = match config.threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            count => count,
        };
        let (addr, listeners) = listen(config.listen, count)?;
        let grpc = config
            .grpc_listen
            .map(|addr| listen(addr, count))
            .transpose()?;
        let (grpc_addr, grpc_listeners) = match grpc {
            Some((addr, listeners)) => (Some(addr), listeners),
            None => (None, Vec::new()),
        };
        let (router, document) = openapi::build();
        let parameters = QueryParameters::from_document(&document);
        let (stop, stopped) = watch::channel(false);
        let threads = listeners.len() + grpc_listeners.len();
        let shared = shared(
            config,
            (engine, cluster),
            services,
            threads,
            parameters,
            stopped.clone(),
        );
        let mut running = Running {
            addr,
            grpc_addr,
            certificate,
            shared: Arc::new(Draining {
                shared: shared.clone(),
                stop,
            }),
            threads: Vec::with_capacity(threads),
        };
        let mut apps = shared.threads.iter().map(|counters| App {
            shared: shared.clone(),
            counters: counters.clone(),
            submit_queue: Arc::new(SubmitQueue::new(shared.engine.clone())),
            timeouts: Arc::default(),
            peers: None,
        });
        let peers = |new: fn(&rustls::ClientConfig) -> PeerClient| {
            let node = shared.cluster.as_ref();
            node.map(|node| Arc::new(new(&node.tls)))
        };
        let accept = |app: App, api: Api, router: Router, tls: &Option<TlsAcceptor>| Accept {
            app,
            router,
            api,
            tls: tls.clone(),
            stopped: stopped.clone(),
        };
        for ((index, listener), mut app) in listeners.into_iter().enumerate().zip(&mut apps) {
            app.peers = peers(PeerClient::for_rest);
            let router = router
                .clone()
                .layer(from_fn_with_state(app.clone(), observe_rest))
                .with_state(app.clone());
            let rest = accept(app, Api::Rest, router, &rest_tls);
            let name = format!("http-{index}");
            let reports = (index == 0).then(|| report_abuse(shared.clone()));
            running
                .threads
                .push(spawn(name, listener, rest, take_short_turns, reports)?);
        }
        for ((index, listener), mut app) in grpc_listeners.into_iter().enumerate().zip(&mut apps) {
            app.peers = peers(PeerClient::for_grpc);
            let router = crate::grpc::router(&app);
            let grpc = accept(app, Api::Grpc, router, &grpc_tls);
            let no_reports: Option<std::future::Ready<()>> = None;
            running.threads.push(spawn(
                format!("grpc-{index}"),
                listener,
                grpc,
                || {},
                no_reports,
            )?);
        }
        tracing::info!(%addr, grpc = ?grpc_addr, threads = count, tls = rest_tls.is_some(), "listening");
        Ok(running)
    }
}

fn shared(
    config: ServerConfig,
    (engine, cluster): (Engine, Option<ClusterNode>),
    services: Services,
    threads: usize,
    parameters: QueryParameters,
    stopped: watch::Receiver<bool>,
) -> Arc<Shared> {
    let Services {
        messaging,
        transport,
        brokers,
        streaming,
        risk,
        leadership: _,
    } = services;
    let document = openapi::openapi_json();
    Arc::new(Shared {
        setting_types: standard_types(
            engine.reader(),
            transport.clone(),
            brokers.clone(),
            streaming.clone(),
            risk.clone(),
        ),
        brokers,
        streaming,
        risk,
        rate: RateLimiter::new(config.limits.rate),
        guard: (config.limits.abuse.as_ref()).map(|limits| Guard::new(limits, engine.clock())),
        request_timeouts: RequestTimeouts::default(),
        reader: engine.reader(),
        intake: Intake::new(engine.reader(), messaging.clone()),
        engine,
        cluster,
        messaging,
        transport,
        threads: (0..threads).map(|_| Arc::default()).collect(),
        docs: docs_page::page(&document).into(),
        openapi: document.into(),
        parameters,
        draining: AtomicBool::new(false),
        started: AtomicBool::new(config.ready_at_start),
        stopped,
        request_ids: RequestIds::new(),
        streams: Streams::new(config.limits.streams_max),
        admission: Admission::new(config.limits.connections()),
        statement_pages: StatementPages::new(config.statement_cache_bytes_max, config.cache_policy),
        config,
    })
}

impl Running {
    /// The address that it listens on.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The address that it listens on for gRPC, if it does.
    pub fn grpc_addr(&self) -> Option<SocketAddr> {
        self.grpc_addr
    }

    /// Puts into force what can change while the server runs. New connections get the new certificate; open ones go on.
    ///
    /// # Errors
    /// If the certificate or its key can't be used, or TLS would begin or end. Nothing has changed then.
    pub fn reload(&self, wanted: Reloadable) -> Result<(), StartError> {
        let certificate = match (&self.certificate, &wanted.tls) {
            (Some(current), Some(files)) => {
                let read = tls::read(files).map_err(StartError::Tls)?;
                Some((current, read))
            }
            (None, None) => None,
            _ => {
                let message = "it cannot begin or end while the server runs";
                return Err(StartError::Tls(message.to_owned()));
            }
        };
        if let Some((current, read)) = certificate {
            current.replace(read);
        }
        self.shared.shared.rate.set_limit(wanted.rate);
        Ok(())
    }

    /// Has `/health/ready` answer 200 from now on, as long as the engine takes commands.
    pub fn set_ready(&self) {
        self.shared.shared.started.store(true, Ordering::Release);
    }

    /// Takes no more connections, answers the requests in flight, at most for the drain time-out, and stops. Blocks until
    /// done. Shut the engine down after this, not before.
    pub fn shutdown(mut self) {
        self.stop();
    }

    fn stop(&mut self) {
        self.shared.shared.draining.store(true, Ordering::Release);
        let _threads_gone = self.shared.stop.send(true);
        for thread in self.threads.drain(..) {
            let _panicked = thread.join();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
    }
}

/// `count` listeners on the same address, among which the kernel spreads the connections, and that address.
fn listen(
    addr: SocketAddr,
    count: usize,
) -> Result<(SocketAddr, Vec<std::net::TcpListener>), StartError> {
    let mut listeners = Vec::with_capacity(count);
    let mut bound = addr;
    for _ in 0..count {
        let listener = listener(bound).map_err(|source| StartError::Listen { addr, source })?;
        // With port 0 the first listener finds the port for the others.
        bound = listener
            .local_addr()
            .map_err(|source| StartError::Listen { addr, source })?;
        listeners.push(listener);
    }
    Ok((bound, listeners))
}

fn listener(addr: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Publishes what is found about abuse, for ever.
async fn report_abuse(shared: Arc<Shared>) {
    let Some(guard) = &shared.guard else {
        return;
    };
    let node = shared.cluster.as_ref();
    let name = node.map(|node| node.name.as_str());
    let leads = || node.is_none_or(|node| node.leader() == Leader::ThisNode);
    publish_reports(guard, &shared.engine, name, leads).await;
}

/// Starts a serving thread. It and those that read for it call `begin` first. The thread does `besides` as long as it runs.
fn spawn(
    name: String,
    listener: std::net::TcpListener,
    accept: Accept,
    begin: fn(),
    besides: Option<impl Future<Output = ()> + Send + 'static>,
) -> Result<JoinHandle<()>, StartError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .on_thread_start(begin)
        .build()
        .map_err(StartError::Thread)?;
    let thread = std::thread::Builder::new().name(name);
    let run = move || {
        begin();
        runtime.block_on(async move {
            // They end with the runtime.
            let (submit_queue, timeouts) =
                (accept.app.submit_queue.clone(), accept.app.timeouts.clone());
            let _carrying = tokio::spawn(async move { submit_queue.run().await });
            let _waiting = tokio::spawn(async move { timeouts.run().await });
            let _besides = besides.map(tokio::spawn);
            match TcpListener::from_std(listener) {
                Ok(listener) => accept.run(listener).await,
                Err(error) => tracing::error!(%error, "a listener failed"),
            }
        });
        // A read that hangs on a disk must not hold up the end.
        runtime.shutdown_timeout(Duration::from_secs(1));
    };
    thread.spawn(run).map_err(StartError::Thread)
}
