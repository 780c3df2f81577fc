//! `bench webhooks`: how long it is from a request to its webhook, with receivers of which some are slow, failing or hanging;
//! and whether any is lost when the server is killed.

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

use crate::http::{Answer, Pool, Tag, Work};
use crate::machine;
use crate::meter::{Latencies, Progress};
use crate::options;
use crate::payload::key;
use crate::report::tell;
use crate::requests::{Head, put_post};
use crate::server::Server;
use crate::skew::Random;

/// Connections that events are published over.
const CONNECTIONS: u32 = 16;
/// How long a slow receiver takes.
const SLOW: Duration = Duration::from_secs(3);
/// The longest wait for webhooks that must come.
const PATIENCE: Duration = Duration::from_secs(120);

/// How an endpoint behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    Healthy,
    Hanging,
    Slow,
    Failing,
}

fn manner(endpoint: u32, one_bad_in: u32) -> Manner {
    if one_bad_in == 0 || endpoint % one_bad_in != one_bad_in - 1 {
        return Manner::Healthy;
    }
    match endpoint / one_bad_in % 3 {
        0 => Manner::Hanging,
        1 => Manner::Slow,
        _ => Manner::Failing,
    }
}

/// What is in the events that are published here.
#[derive(Deserialize)]
struct Event {
    data: Sent,
}

#[derive(Deserialize)]
struct Sent {
    number: u64,
    at: u64,
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_nanos() as u64)
}

/// What has arrived at healthy endpoints.
struct Arrived {
    /// How often, by the event's number.
    counts: Vec<AtomicU32>,
    distinct: AtomicU64,
    repeated: AtomicU64,
    latencies: Mutex<Latencies>,
    /// Whether latencies count now.
    measuring: AtomicBool,
}

impl Arrived {
    fn note(&self, body: &[u8]) {
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

/// Runs `bench webhooks`.
pub(crate) fn run(options: &options::Webhooks) -> anyhow::Result<()> {
    let total = options.events + u64::from(options.kills) * options.events_per_kill;
    let arrived = Arc::new(Arrived {
        counts: (0..total).map(|_| AtomicU32::new(0)).collect(),
        distinct: AtomicU64::new(0),
        repeated: AtomicU64::new(0),
        latencies: Mutex::new(Latencies::new()),
        measuring: AtomicBool::new(true),
    });
    // Each receiver is a file, and so is each connection to it.
    raise_file_limit();
    let endpoints = receive(options, &arrived)?;
    let mut server = Server::own(&options.run)?;
    let mut posts = Posts::new(&server, options, &endpoints);
    subscribe(&server, &mut posts, endpoints.len() as u64)?;
    let process = server.process();
    let begun = Instant::now();
    posts.begin(options.events, "publish");
    publish(&server, &mut posts, Some(options.rate))?;
    let took = begun.elapsed();
    wait_for(&arrived, posts.for_healthy)?;
    arrived.measuring.store(false, Ordering::Relaxed);
    let memory = process.map(machine::memory).unwrap_or_default();
    for _ in 0..options.kills {
        posts.begin(options.events_per_kill, "publish before a kill");
        publish(&server, &mut posts, None)?;
        let waiting = posts.for_healthy - arrived.distinct.load(Ordering::Relaxed);
        server.kill()?;
        server.start_again()?;
        posts.waiting_at_kills.push(waiting);
        posts.head = head(&server);
        wait_for(&arrived, posts.for_healthy)?;
    }
    let summary = arrived
        .latencies
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .summary();
    let bad =
        (0..options.endpoints).filter(|at| manner(*at, options.one_bad_in) != Manner::Healthy);
    let result = json!({
        "mode": "webhooks",
        "endpoints": options.endpoints,
        "endpoints_slow_failing_or_hanging": bad.count(),
        "events": total,
        "events_per_second": options.events as f64 / took.as_secs_f64(),
        "events_for_healthy_endpoints": posts.for_healthy,
        "delivered": arrived.distinct.load(Ordering::Relaxed),
        "delivered_again": arrived.repeated.load(Ordering::Relaxed),
        "latency": "from the request to the webhook's arrival, at healthy endpoints, while nobody was killed",
        "p50_us": summary.p50_us,
        "p99_us": summary.p99_us,
        "p999_us": summary.p999_us,
        "max_us": summary.max_us,
        "kills": options.kills,
        "waiting_at_kills": posts.waiting_at_kills,
        "server_rss_bytes": memory.resident,
        "server_rss_anon_bytes": memory.anonymous,
        "processors": machine::processors(),
        "version": env!("CARGO_PKG_VERSION"),
    });
    drop(posts);
    server.stop()?;
    tell(&result, options.run.json);
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

fn head(server: &Server) -> Head {
    Head {
        host: server.addr.to_string(),
        token: server.token.clone(),
    }
}

/// Waits until all of so many events have arrived.
fn wait_for(arrived: &Arrived, count: u64) -> anyhow::Result<()> {
    let begun = Instant::now();
    loop {
        let here = arrived.distinct.load(Ordering::Relaxed);
        if here == count {
            return Ok(());
        }
        ensure!(
            begun.elapsed() < PATIENCE,
            "{} of {count} webhooks did not arrive",
            count - here
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn publish(server: &Server, posts: &mut Posts, rate: Option<f64>) -> anyhow::Result<()> {
    let mut pool = Pool::open(server.addr, CONNECTIONS)?;
    pool.run(posts, rate, &AtomicBool::new(false))?;
    if let Some(progress) = posts.progress.take() {
        progress.finish();
    }
    Ok(())
}

/// Makes a subscription for each endpoint.
fn subscribe(server: &Server, posts: &mut Posts, count: u64) -> anyhow::Result<()> {
    posts.subscribing = true;
    posts.begin(count, "subscribe");
    publish(server, posts, None)?;
    posts.subscribing = false;
    Ok(())
}

/// Subscriptions, and then events for one endpoint after the other, by chance.
struct Posts {
    head: Head,
    urls: Vec<String>,
    one_bad_in: u32,
    random: Random,
    run: u64,
    requests: u64,
    subscribing: bool,
    left: u64,
    /// Events that were published, and those of them that are for a healthy endpoint.
    events: u64,
    for_healthy: u64,
    waiting_at_kills: Vec<u64>,
    progress: Option<Progress>,
}

impl Posts {
    fn new(server: &Server, options: &options::Webhooks, endpoints: &[SocketAddr]) -> Posts {
        let url = |address: &SocketAddr| format!("http://{address}/hook");
        Posts {
            head: head(server),
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

    fn begin(&mut self, count: u64, what: &'static str) {
        self.left = count;
        self.progress = Some(Progress::new(what, "requests", count));
    }
}

impl Work for Posts {
    fn next(&mut self, into: &mut Vec<u8>) -> Option<Tag> {
        self.left = self.left.checked_sub(1)?;
        self.requests += 1;
        let key = key(self.run, self.requests);
        let body = if self.subscribing {
            let at = self.left as usize;
            json!({"url": self.urls[at], "events": [format!("app.bench.e{at}")]})
        } else {
            let at = self.random.below(self.urls.len() as u32);
            let number = self.events;
            self.events += 1;
            self.for_healthy += u64::from(manner(at, self.one_bad_in) == Manner::Healthy);
            json!({"type": format!("app.bench.e{at}"), "data": {"number": number, "at": now(), "text": "x".repeat(100)}})
        };
        let path = match self.subscribing {
            true => "/v1/subscriptions",
            false => "/v1/events",
        };
        put_post(into, &self.head, path, &key, &body.to_string());
        Some(Tag::default())
    }

    fn answered(&mut self, _: Tag, answer: Answer<'_>) -> anyhow::Result<()> {
        let said = String::from_utf8_lossy(&answer.body[..answer.body.len().min(300)]);
        ensure!(
            answer.status == 201,
            "the server answered {}: {said}",
            answer.status
        );
        if let Some(progress) = &mut self.progress {
            progress.add(1, answer.now);
        }
        Ok(())
    }
}

/// Opens a receiver for each endpoint, all on one thread, and gives their addresses.
fn receive(options: &options::Webhooks, arrived: &Arc<Arrived>) -> anyhow::Result<Vec<SocketAddr>> {
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
    let (arrived, one_bad_in) = (arrived.clone(), options.one_bad_in);
    let thread = std::thread::Builder::new().name("receivers".to_owned());
    // It ends with the process.
    thread.spawn(move || {
        runtime.block_on(async move {
            for (at, listener) in listeners.into_iter().enumerate() {
                let Ok(listener) = tokio::net::TcpListener::from_std(listener) else {
                    continue;
                };
                let manner = manner(at as u32, one_bad_in);
                tokio::spawn(accept(listener, manner, arrived.clone()));
            }
            std::future::pending::<()>().await;
        });
    })?;
    Ok(addresses)
}

async fn accept(listener: tokio::net::TcpListener, manner: Manner, arrived: Arc<Arrived>) {
    while let Ok((stream, _)) = listener.accept().await {
        let arrived = arrived.clone();
        let service = service_fn(move |request| answer(request, manner, arrived.clone()));
        tokio::spawn(async move {
            let connection = hyper::server::conn::http1::Builder::new();
            // Killed senders leave connections behind.
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
    manner: Manner,
    arrived: Arc<Arrived>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let mut response = Response::new(Full::default());
    match manner {
        Manner::Healthy => {
            if let Ok(body) = request.into_body().collect().await {
                arrived.note(&body.to_bytes());
            }
        }
        Manner::Hanging => std::future::pending().await,
        Manner::Slow => tokio::time::sleep(SLOW).await,
        Manner::Failing => *response.status_mut() = hyper::StatusCode::INTERNAL_SERVER_ERROR,
    }
    Ok(response)
}
