//! Mode `webhooks`: measures the time from a request to its webhook, with some receivers that are slow, failing or hanging,
//! and checks that no webhook is lost when the server is killed.

use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, ensure};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::Deserialize;
use serde_json::json;

use crate::http_client::{HttpClient, HttpResponse, RequestTag, Workload};
use crate::machine;
use crate::meter::{Latencies, Progress};
use crate::options;
use crate::payload::idempotency_key;
use crate::report::print_result;
use crate::requests::{Head, put_post};
use crate::server::Server;
use crate::skew::Random;

/// Number of connections over which events are published.
const CONNECTIONS: u32 = 16;
/// Response time of a slow receiver.
const SLOW: Duration = Duration::from_secs(3);
/// Maximum wait for outstanding webhooks.
const WAIT_MAX: Duration = Duration::from_secs(120);

/// Behavior of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ReceiverBehavior {
    Healthy,
    Hanging,
    Slow,
    Failing,
}

fn receiver_behavior(endpoint: u32, one_bad_in: u32) -> ReceiverBehavior {
    if one_bad_in == 0 || endpoint % one_bad_in != one_bad_in - 1 {
        return ReceiverBehavior::Healthy;
    }
    match endpoint / one_bad_in % 3 {
        0 => ReceiverBehavior::Hanging,
        1 => ReceiverBehavior::Slow,
        _ => ReceiverBehavior::Failing,
    }
}

/// The published event, as a webhook carries it.
#[derive(Deserialize)]
struct Event {
    data: EventData,
}

#[derive(Deserialize)]
struct EventData {
    number: u64,
    at: u64,
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_nanos() as u64)
}

/// Webhooks that arrived at healthy endpoints.
struct Arrivals {
    /// Number of arrivals of each event.
    counts: Vec<AtomicU32>,
    distinct: AtomicU64,
    repeated: AtomicU64,
    latencies: Mutex<Latencies>,
    /// Whether latencies are recorded.
    measuring: AtomicBool,
}

impl Arrivals {
    fn record(&self, body: &[u8]) {
        let Ok(Event { data }) = serde_json::from_slice(body) else {
            return;
        };
        let Some(count) = self.counts.get(data.number as usize) else {
            return;
        };
        if count.fetch_add(1, Ordering::Relaxed) > 0 {
            self.repeated.fetch_add(1, Ordering::Relaxed);
            return;
        }
        self.distinct.fetch_add(1, Ordering::Relaxed);
        if self.measuring.load(Ordering::Relaxed) {
            let latency = Duration::from_nanos(now().saturating_sub(data.at));
            let mut latencies = self
                .latencies
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            latencies.record(latency);
        }
    }
}

/// Runs the mode `webhooks`.
pub(crate) fn run(options: &options::WebhooksOptions) -> anyhow::Result<()> {
    let total = options.events + u64::from(options.kills) * options.events_per_kill;
    let arrivals = Arc::new(Arrivals {
        counts: (0..total).map(|_| AtomicU32::new(0)).collect(),
        distinct: AtomicU64::new(0),
        repeated: AtomicU64::new(0),
        latencies: Mutex::new(Latencies::new()),
        measuring: AtomicBool::new(true),
    });
    // Each receiver and each connection needs an open file.
    raise_file_limit();
    let endpoints = receive(options, &arrivals)?;
    let mut server = Server::start_new(&options.run)?;
    let mut load = WebhookLoad::new(&server, options, &endpoints);
    subscribe(&server, &mut load, endpoints.len() as u64)?;
    let process = server.process();
    let begun = Instant::now();
    load.begin_part(options.events, "publish");
    publish(&server, &mut load, Some(options.rate))?;
    let took = begun.elapsed();
    wait_for(&arrivals, load.for_healthy)?;
    arrivals.measuring.store(false, Ordering::Relaxed);
    let memory = process.map(machine::read_memory).unwrap_or_default();
    for _ in 0..options.kills {
        load.begin_part(options.events_per_kill, "publish before a kill");
        publish(&server, &mut load, None)?;
        let waiting = load.for_healthy - arrivals.distinct.load(Ordering::Relaxed);
        server.kill()?;
        server.restart()?;
        load.waiting_at_kills.push(waiting);
        load.head = request_head(&server);
        wait_for(&arrivals, load.for_healthy)?;
    }
    let summary = arrivals
        .latencies
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .summary();
    let bad = (0..options.endpoints)
        .filter(|at| receiver_behavior(*at, options.one_bad_in) != ReceiverBehavior::Healthy);
    let result = json!({
        "mode": "webhooks",
        "endpoints": options.endpoints,
        "endpoints_slow_failing_or_hanging": bad.count(),
        "events": total,
        "events_per_second": options.events as f64 / took.as_secs_f64(),
        "events_for_healthy_endpoints": load.for_healthy,
        "delivered": arrivals.distinct.load(Ordering::Relaxed),
        "delivered_again": arrivals.repeated.load(Ordering::Relaxed),
        "latency": "from the request to the webhook's arrival, at healthy endpoints, while nobody was killed",
        "p50_us": summary.p50_us,
        "p99_us": summary.p99_us,
        "p999_us": summary.p999_us,
        "max_us": summary.max_us,
        "kills": options.kills,
        "waiting_at_kills": load.waiting_at_kills,
        "server_rss_bytes": memory.resident,
        "server_rss_anon_bytes": memory.anonymous,
        "processors": machine::count_processors(),
        "version": env!("CARGO_PKG_VERSION"),
    });
    drop(load);
    server.stop()?;
    print_result(&result, options.run.json);
    Ok(())
}

/// Raises the limit on open files as far as the system lets this process.
fn raise_file_limit() {
    let maximum = getrlimit(Resource::Nofile).maximum;
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    // Where this is refused, opening a receiver fails with a clear error.
    let _refused = setrlimit(Resource::Nofile, raised);
}

fn request_head(server: &Server) -> Head {
    Head {
        host: server.addr.to_string(),
        token: server.token.clone(),
    }
}

/// Waits until `count` events have arrived.
fn wait_for(arrivals: &Arrivals, count: u64) -> anyhow::Result<()> {
    let begun = Instant::now();
    loop {
        let here = arrivals.distinct.load(Ordering::Relaxed);
        if here == count {
            return Ok(());
        }
        ensure!(
            begun.elapsed() < WAIT_MAX,
            "{} of {count} webhooks did not arrive",
            count - here
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn publish(server: &Server, load: &mut WebhookLoad, rate: Option<f64>) -> anyhow::Result<()> {
    let mut http = HttpClient::open(server.addr, CONNECTIONS)?;
    http.run(load, rate, &AtomicBool::new(false))?;
    if let Some(progress) = load.progress.take() {
        progress.finish();
    }
    Ok(())
}

/// Creates a subscription for each endpoint.
fn subscribe(server: &Server, load: &mut WebhookLoad, count: u64) -> anyhow::Result<()> {
    load.subscribing = true;
    load.begin_part(count, "subscribe");
    publish(server, load, None)?;
    load.subscribing = false;
    Ok(())
}

/// A load of new subscriptions, then of events for random endpoints.
struct WebhookLoad {
    head: Head,
    urls: Vec<String>,
    one_bad_in: u32,
    random: Random,
    run: u64,
    requests: u64,
    subscribing: bool,
    left: u64,
    /// Number of published events, and of those for a healthy endpoint.
    events: u64,
    for_healthy: u64,
    waiting_at_kills: Vec<u64>,
    progress: Option<Progress>,
}

impl WebhookLoad {
    fn new(
        server: &Server,
        options: &options::WebhooksOptions,
        endpoints: &[SocketAddr],
    ) -> WebhookLoad {
        let url = |address: &SocketAddr| format!("http://{address}/hook");
        WebhookLoad {
            head: request_head(server),
            urls: endpoints.iter().map(url).collect(),
            one_bad_in: options.one_bad_in,
            random: Random::new(options.seed),
            run: now(),
            requests: 0,
            subscribing: false,
            left: 0,
            events: 0,
            for_healthy: 0,
            waiting_at_kills: Vec::new(),
            progress: None,
        }
    }

    fn begin_part(&mut self, count: u64, what: &'static str) {
        self.left = count;
        self.progress = Some(Progress::new(what, "requests", count));
    }
}

impl Workload for WebhookLoad {
    fn next_request(&mut self, into: &mut Vec<u8>) -> Option<RequestTag> {
        self.left = self.left.checked_sub(1)?;
        self.requests += 1;
        let key = idempotency_key(self.run, self.requests);
        let body = if self.subscribing {
            let at = self.left as usize;
            json!({"url": self.urls[at], "events": [format!("app.bench.e{at}")]})
        } else {
            let at = self.random.below(self.urls.len() as u32);
            let number = self.events;
            self.events += 1;
            self.for_healthy +=
                u64::from(receiver_behavior(at, self.one_bad_in) == ReceiverBehavior::Healthy);
            json!({"type": format!("app.bench.e{at}"), "data": {"number": number, "at": now(), "text": "x".repeat(100)}})
        };
        let path = match self.subscribing {
            true => "/v1/subscriptions",
            false => "/v1/events",
        };
        put_post(into, &self.head, path, &key, &body.to_string());
        Some(RequestTag::default())
    }

    fn take_response(&mut self, _: RequestTag, response: HttpResponse<'_>) -> anyhow::Result<()> {
        let said = String::from_utf8_lossy(&response.body[..response.body.len().min(300)]);
        ensure!(
            response.status == 201,
            "the server answered {}: {said}",
            response.status
        );
        if let Some(progress) = &mut self.progress {
            progress.add(1, response.now);
        }
        Ok(())
    }
}

/// Opens a receiver for each endpoint, all on one thread, and returns their addresses.
fn receive(
    options: &options::WebhooksOptions,
    arrivals: &Arc<Arrivals>,
) -> anyhow::Result<Vec<SocketAddr>> {
    let (mut listeners, mut addresses) = (Vec::new(), Vec::new());
    for _ in 0..options.endpoints {
        let listener = TcpListener::bind(("127.0.0.1", 0)).context("cannot open a receiver")?;
        listener.set_nonblocking(true)?;
        addresses.push(listener.local_addr()?);
        listeners.push(listener);
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (arrivals, one_bad_in) = (arrivals.clone(), options.one_bad_in);
    let thread = std::thread::Builder::new().name("receivers".to_owned());
    // The thread ends with the process.
    thread.spawn(move || {
        runtime.block_on(async move {
            for (at, listener) in listeners.into_iter().enumerate() {
                let Ok(listener) = tokio::net::TcpListener::from_std(listener) else {
                    continue;
                };
                let behavior = receiver_behavior(at as u32, one_bad_in);
                tokio::spawn(accept(listener, behavior, arrivals.clone()));
            }
            std::future::pending::<()>().await;
        });
    })?;
    Ok(addresses)
}

async fn accept(
    listener: tokio::net::TcpListener,
    behavior: ReceiverBehavior,
    arrivals: Arc<Arrivals>,
) {
    while let Ok((stream, _)) = listener.accept().await {
        let arrivals = arrivals.clone();
        let service = service_fn(move |request| answer(request, behavior, arrivals.clone()));
        tokio::spawn(async move {
            let connection = hyper::server::conn::http1::Builder::new();
            // A killed server leaves broken connections behind.
            drop(
                connection
                    .serve_connection(TokioIo::new(stream), service)
                    .await,
            );
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    behavior: ReceiverBehavior,
    arrivals: Arc<Arrivals>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let mut response = Response::new(Full::default());
    match behavior {
        ReceiverBehavior::Healthy => {
            if let Ok(body) = request.into_body().collect().await {
                arrivals.record(&body.to_bytes());
            }
        }
        ReceiverBehavior::Hanging => std::future::pending().await,
        ReceiverBehavior::Slow => tokio::time::sleep(SLOW).await,
        ReceiverBehavior::Failing => {
            *response.status_mut() = hyper::StatusCode::INTERNAL_SERVER_ERROR
        }
    }
    Ok(response)
}
