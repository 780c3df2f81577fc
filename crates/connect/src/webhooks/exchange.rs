//! One request and its answer: look the host up, check where it leads, connect to just that address, send, read.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{CONTENT_TYPE, HOST, RETRY_AFTER, USER_AGENT};
use hyper::{HeaderMap, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::address::{EndpointUrl, Host, Rules, UrlRefused};
use super::job::Job;
use super::settings::{Resolver, Settings};

/// Addresses of one host that are tried, at most.
const ADDRESSES_MAX: usize = 4;
/// The most that is read of a head, in bytes.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// The most that is read of a body, in bytes: a longer one costs the connection.
const BODY_BYTES_MAX: usize = 64 << 10;
/// The longest wait for the body: its status decides already, so a later one costs only the connection.
const BODY_PATIENCE: Duration = Duration::from_secs(1);
/// Maximum number of bytes kept of a head.
const HEAD_KEPT_BYTES_MAX: usize = 4_096;
/// Maximum number of bytes kept of an error text.
const ERROR_BYTES_MAX: usize = 256;
/// How long a connection is kept when nothing is sent over it.
const IDLE_MAX: Duration = Duration::from_secs(30);
/// How long a connection is used at all: the host's name may lead elsewhere by then.
const AGE_MAX: Duration = Duration::from_secs(300);
const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// Why an attempt had no answer. The texts are for the owner of the endpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AttemptError {
    /// The URL, or where it leads, may not be used.
    #[error(transparent)]
    Refused(#[from] UrlRefused),
    /// The host's name leads nowhere.
    #[error("the host was not found: {0}")]
    NotFound(String),
    /// No connection.
    #[error("cannot connect: {0}")]
    Connect(String),
    /// A connection, but no TLS on it: often a certificate that is not valid.
    #[error("TLS failed: {0}")]
    Tls(String),
    /// The connection broke, or what came back is no HTTP.
    #[error("the connection failed: {0}")]
    Broken(String),
    /// No answer in time.
    #[error("no answer in time")]
    TimedOut,
    /// The attempt was ended early because other receivers needed the place of a slow one.
    #[error("it took long and was ended for others")]
    CutShort,
}

impl AttemptError {
    /// A stable name of the kind.
    pub fn code(&self) -> &'static str {
        match self {
            AttemptError::Refused(_) => "url_refused",
            AttemptError::NotFound(_) => "host_not_found",
            AttemptError::Connect(_) => "cannot_connect",
            AttemptError::Tls(_) => "tls_failed",
            AttemptError::Broken(_) => "connection_failed",
            AttemptError::TimedOut => "timed_out",
            AttemptError::CutShort => "cut_short",
        }
    }
}

/// The head of an answer.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    /// Status line and headers, the first [`HEAD_KEPT_BYTES_MAX`] bytes.
    pub(super) head: String,
    pub(super) retry_after: Option<String>,
}

/// Facts about an attempt, recorded while it runs.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// Request line and headers, once they are made.
    pub(super) request_head: String,
    /// From the beginning to a new connection, with TLS; none where one was used again.
    pub(super) connected: Option<Duration>,
    /// From the beginning to the head of the answer.
    pub(super) answered: Option<Duration>,
}

type WebhookRequest = Request<Full<Bytes>>;

/// A connection to a receiver. It is closed when this is dropped, whatever is under way on it.
struct Connection {
    requests: SendRequest<Full<Bytes>>,
    driver: AbortHandle,
    opened: Instant,
    used: Instant,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// Connections that wait for the next request.
#[derive(Default)]
struct Idle {
    /// By origin; no entry is empty.
    kept: HashMap<Arc<str>, Vec<Connection>>,
    /// Of all origins.
    count: usize,
}

/// Sends requests, and keeps connections for the next one.
pub(super) struct Client {
    rules: Rules,
    tls: TlsConnector,
    resolver: Resolver,
    /// Bounds the look-ups for hosts that are held back, so that names that take long do not keep others from being found.
    held_back_lookups: Arc<Semaphore>,
    timeout: Duration,
    connect_timeout: Duration,
    idle: Mutex<Idle>,
    idle_per_host_max: usize,
    idle_max: usize,
}

impl Client {
    pub(super) fn new(settings: &Settings, tls: TlsConnector, held_back_lookups: usize) -> Client {
        Client {
            rules: settings.rules.clone(),
            tls,
            resolver: settings.resolver.clone(),
            held_back_lookups: Arc::new(Semaphore::new(held_back_lookups)),
            timeout: settings.timeout,
            connect_timeout: settings.connect_timeout,
            idle: Mutex::default(),
            idle_per_host_max: settings.per_host_max,
            idle_max: settings.under_way_max,
        }
    }

    /// Sends the job's webhook, signed as of `signed_at` (the wall clock) by the secrets that are live at the ledger time `now`; both in
    /// nanoseconds since 1970.
    pub(super) async fn post(
        &self,
        job: &Job,
        signed_at: u64,
        now: u64,
        held_back: bool,
        progress: &mut Progress,
    ) -> Result<Answer, AttemptError> {
        let begun = Instant::now();
        let url = &job.endpoint.url;
        self.rules.check(url)?;
        let request = request(job, signed_at, now);
        let line = format!("POST {} HTTP/1.1", url.path());
        progress.request_head = head_text(line, request.headers());
        let exchange = self.exchange(url, request, held_back, begun, &mut progress.connected);
        let (response, connection) = timeout(self.timeout, exchange)
            .await
            .map_err(|_| AttemptError::TimedOut)??;
        progress.answered = Some(begun.elapsed());
        let line = format!("{:?} {}", response.version(), response.status());
        let answer = Answer {
            status: response.status(),
            head: head_text(line, response.headers()),
            retry_after: response
                .headers()
                .get(RETRY_AFTER)
                .and_then(|value| value.to_str().ok())
                .map(str::to_owned),
        };
        let rest = timeout(BODY_PATIENCE, read_out(response.into_body()));
        if answer.status != StatusCode::SWITCHING_PROTOCOLS && rest.await == Ok(true) {
            self.keep(url.origin(), connection);
        }
        Ok(answer)
    }

    async fn exchange(
        &self,
        url: &EndpointUrl,
        request: WebhookRequest,
        held_back: bool,
        begun: Instant,
        connected: &mut Option<Duration>,
    ) -> Result<(Response<Incoming>, Connection), AttemptError> {
        while let Some(mut kept) = self.take(url.origin()) {
            if kept.requests.ready().await.is_err() {
                continue;
            }
            // The receiver may have closed it at this very moment. It sees the same id again if it had not.
            if let Ok(response) = kept.requests.send_request(request.clone()).await {
                return Ok((response, kept));
            }
            break;
        }
        let mut connection = self.connect(url, held_back).await?;
        *connected = Some(begun.elapsed());
        let sent = connection.requests.send_request(request).await;
        let response = sent.map_err(|error| AttemptError::Broken(brief(&error)))?;
        Ok((response, connection))
    }

    async fn connect(
        &self,
        url: &EndpointUrl,
        held_back: bool,
    ) -> Result<Connection, AttemptError> {
        let found = self.addresses(url, held_back).await?;
        let share = self.connect_timeout / found.len().max(1) as u32;
        let mut failure = AttemptError::NotFound("it has no address".to_owned());
        for address in found {
            let address = SocketAddr::new(address, url.port());
            match timeout(share, self.connect_to(url, address)).await {
                Ok(Ok(connection)) => return Ok(connection),
                Ok(Err(error)) => failure = error,
                Err(_) => failure = AttemptError::Connect("no answer in time".to_owned()),
            }
        }
        Err(failure)
    }

    /// Where the host's name leads now, as far as it may be used.
    async fn addresses(
        &self,
        url: &EndpointUrl,
        held_back: bool,
    ) -> Result<Vec<IpAddr>, AttemptError> {
        let found = match url.host() {
            Host::Address(address) => vec![*address],
            Host::Name(name) => self.look_up(name, held_back).await?,
        };
        let mut allowed = Vec::new();
        let mut refused = None;
        for address in found {
            match self.rules.check_address(url.host(), address) {
                Ok(()) => allowed.push(address),
                Err(error) => refused = Some(error),
            }
        }
        allowed.truncate(ADDRESSES_MAX);
        match refused {
            Some(error) if allowed.is_empty() => Err(error.into()),
            _ => Ok(allowed),
        }
    }

    async fn look_up(&self, name: &str, held_back: bool) -> Result<Vec<IpAddr>, AttemptError> {
        let permit = if held_back {
            let permit = self.held_back_lookups.clone().acquire_owned().await;
            Some(permit.expect("nobody closes it"))
        } else {
            None
        };
        let (resolver, name) = (self.resolver.clone(), name.to_owned());
        let found = tokio::task::spawn_blocking(move || {
            let found = resolver(&name);
            // Also if nobody waits for the answer any more.
            drop(permit);
            found
        });
        match found.await {
            Ok(Ok(addresses)) => Ok(addresses),
            Ok(Err(error)) => Err(AttemptError::NotFound(brief(&error))),
            Err(error) => Err(AttemptError::NotFound(brief(&error))),
        }
    }

    async fn connect_to(
        &self,
        url: &EndpointUrl,
        address: SocketAddr,
    ) -> Result<Connection, AttemptError> {
        let failed = |error: io::Error| AttemptError::Connect(brief(&error));
        let stream = TcpStream::connect(address).await.map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        if !url.is_https() {
            return open(stream).await;
        }
        let name = match url.host() {
            Host::Name(name) => ServerName::try_from(name.clone())
                .map_err(|error| AttemptError::Tls(brief(&error)))?,
            Host::Address(address) => ServerName::from(*address),
        };
        let stream = self.tls.connect(name, stream).await;
        open(stream.map_err(|error| AttemptError::Tls(brief(&error)))?).await
    }

    fn take(&self, origin: &Arc<str>) -> Option<Connection> {
        let mut idle = self.idle();
        let Idle { kept, count } = &mut *idle;
        let of_origin = kept.get_mut(origin)?;
        let mut taken = None;
        while taken.is_none()
            && let Some(last) = of_origin.pop()
        {
            *count -= 1;
            taken = Some(last).filter(usable);
        }
        if of_origin.is_empty() {
            kept.remove(origin);
        }
        taken
    }

    fn keep(&self, origin: &Arc<str>, mut connection: Connection) {
        connection.used = Instant::now();
        let mut idle = self.idle();
        if !usable(&connection) || idle.count >= self.idle_max {
            return;
        }
        let of_origin = idle.kept.entry(origin.clone()).or_default();
        if of_origin.len() < self.idle_per_host_max {
            of_origin.push(connection);
            idle.count += 1;
        }
    }

    /// Closes connections that have not been used for long.
    pub(super) fn close_idle(&self) {
        let mut idle = self.idle();
        idle.kept.retain(|_, of_origin| {
            of_origin.retain(usable);
            !of_origin.is_empty()
        });
        idle.count = idle.kept.values().map(Vec::len).sum();
    }

    /// Whether a connection to this origin is kept.
    pub(super) fn keeps(&self, origin: &str) -> bool {
        self.idle().kept.contains_key(origin)
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Idle> {
        self.idle.lock().expect("no holder of the lock panics")
    }
}

fn usable(connection: &Connection) -> bool {
    !connection.requests.is_closed()
        && connection.used.elapsed() < IDLE_MAX
        && connection.opened.elapsed() < AGE_MAX
}

async fn open<T>(stream: T) -> Result<Connection, AttemptError>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let broken = |error: hyper::Error| AttemptError::Broken(brief(&error));
    let (requests, driver) = http1::Builder::new()
        .max_buf_size(HEAD_BYTES_MAX)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(broken)?;
    let driver = tokio::spawn(driver).abort_handle();
    let now = Instant::now();
    let mut connection = Connection {
        requests,
        driver,
        opened: now,
        used: now,
    };
    connection.requests.ready().await.map_err(broken)?;
    Ok(connection)
}

fn request(job: &Job, signed_at: u64, now: u64) -> WebhookRequest {
    let url = &job.endpoint.url;
    let secrets = &job.endpoint.secrets;
    let signature = secrets.header(&job.event_id, signed_at, now, &job.body);
    Request::post(url.path())
        .header(HOST, url.authority())
        .header(
            USER_AGENT,
            concat!("Tributary-Webhooks/", env!("CARGO_PKG_VERSION")),
        )
        .header(CONTENT_TYPE, "application/json")
        .header("webhook-id", &job.event_id)
        .header("webhook-timestamp", signed_at / NANOS_PER_SECOND)
        .header("webhook-signature", signature)
        .body(Full::new(job.body.clone()))
        .expect("all its parts were checked")
}

/// Reads a body to its end; false if it is too long or breaks off.
async fn read_out(mut body: Incoming) -> bool {
    let mut read = 0;
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            return false;
        };
        read += frame.data_ref().map_or(0, Bytes::len);
        if read > BODY_BYTES_MAX {
            return false;
        }
    }
    true
}

/// The first line and the headers, a line each, at most [`HEAD_KEPT_BYTES_MAX`].
fn head_text(mut text: String, headers: &HeaderMap) -> String {
    text.push('\n');
    for (name, value) in headers {
        if text.len() > HEAD_KEPT_BYTES_MAX {
            break;
        }
        let value = String::from_utf8_lossy(value.as_bytes());
        text.push_str(&format!("{name}: {value}\n"));
    }
    shorten(&mut text, HEAD_KEPT_BYTES_MAX);
    text
}

/// Returns the text of an error with its causes.
fn brief(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    shorten(&mut text, ERROR_BYTES_MAX);
    text
}

fn shorten(text: &mut String, bytes_max: usize) {
    let end = (0..=bytes_max.min(text.len())).rev();
    let end = end.into_iter().find(|end| text.is_char_boundary(*end));
    text.truncate(end.unwrap_or(0));
}
