//! The state that handlers share, and the layer that every request passes.

use std::fmt::Write as _;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::sync::watch;
use tributary_api::brokers::Brokers;
use tributary_api::error::ApiError;
use tributary_api::failures::{internal_error, outcome_unknown};
use tributary_api::intake::Intake;
use tributary_api::settings::SettingTypes;
use tributary_api::subscriptions::require_messaging;
use tributary_api::transport::PushTransport;
use tributary_engine::{Engine, IdKind, Reader, SubmitQueue};
use tributary_ledger::{ApiKeyId, OwnerId};
use tributary_messaging::Messaging;

use crate::accept::prefers_xml;
use crate::admission::{Admission, ConnectionPlace};
use crate::config::ServerConfig;
use crate::metrics::requests::{Counters, method_label};
use crate::parameters::QueryParameters;
use crate::rate::RateLimiter;
use crate::request_head::RequestHead;
use crate::request_notes::RequestNotes;
use crate::response::{ErrorResponse, REPLAYED, error_response, into_xml};
use crate::streams::Streams;
use crate::timeouts::Timeouts;
use crate::version::{API_VERSION, CURRENT_VERSION};

/// Names the request in the answer and in the log.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("request-id");

/// Routes that are asked all the time, by programs that watch the server.
const ROUTINE_ROUTES: [&str; 5] = [
    "/metrics",
    "/health/live",
    "/health/ready",
    "/grpc.health.v1.Health/Check",
    "/grpc.health.v1.Health/Watch",
];

/// Route of the OpenAPI document, which is JSON for whoever asks.
const OPENAPI_ROUTE: &str = "/openapi.json";

/// State of a handler: shared by all threads, except the counters, the queue to the writer and the time-outs of its own
/// thread.
#[derive(Clone)]
pub(crate) struct App {
    pub(crate) shared: Arc<Shared>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) submit_queue: Arc<SubmitQueue>,
    pub(crate) timeouts: Arc<Timeouts>,
}

/// State that all threads share.
pub(crate) struct Shared {
    pub(crate) config: ServerConfig,
    pub(crate) engine: Engine,
    /// The subscriptions; none where they are not kept, or could not be read.
    pub(crate) messaging: Option<Arc<Messaging>>,
    /// Transport of subscriptions that have a URL; none where webhooks are not sent.
    pub(crate) transport: Option<Arc<dyn PushTransport>>,
    /// What checks binders and bindings.
    pub(crate) brokers: Arc<dyn Brokers>,
    /// The kinds of settings that can be applied.
    pub(crate) setting_types: SettingTypes,
    pub(crate) reader: Reader,
    /// Intake of commands.
    pub(crate) intake: Intake,
    pub(crate) rate: RateLimiter,
    /// The counters of every thread, for a scrape.
    pub(crate) threads: Vec<Arc<Counters>>,
    pub(crate) openapi: Bytes,
    pub(crate) docs: Bytes,
    /// Query parameters of each route.
    pub(crate) parameters: QueryParameters,
    pub(crate) draining: AtomicBool,
    /// Whether the start is over.
    pub(crate) started: AtomicBool,
    /// True once the server is told to stop: what lasts, ends itself then.
    pub(crate) stopped: watch::Receiver<bool>,
    pub(crate) request_ids: RequestIds,
    /// Places for event streams.
    pub(crate) streams: Streams,
    /// Places for connections.
    pub(crate) admission: Arc<Admission>,
}

/// The id of the request at hand.
#[derive(Clone, Debug)]
pub(crate) struct RequestId(pub(crate) String);

/// Makes request ids: a random number for the process, and a count.
pub(crate) struct RequestIds {
    /// Beginning of all request ids of this process.
    process: String,
    count: AtomicU64,
}

impl RequestIds {
    pub(crate) fn new() -> RequestIds {
        let mut bytes = [0; 8];
        getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
        RequestIds {
            process: format!("req_{:016x}", u64::from_le_bytes(bytes)),
            count: AtomicU64::new(0),
        }
    }

    pub(crate) fn next(&self) -> RequestId {
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        let mut id = String::with_capacity(self.process.len() + 16);
        id.push_str(&self.process);
        write!(id, "{count:010x}").expect("memory takes what is written");
        RequestId(id)
    }
}

/// Keeps the number of requests in flight right, whatever becomes of one.
struct InFlight<'a>(&'a Counters);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Gives every request its id, its line in the log and its place in the metrics, and every error its body.
pub(crate) async fn observe(State(app): State<App>, request: Request, next: Next) -> Response {
    let observed = Observed::begin(&app, request.method(), request.headers());
    let route = matched_route(&request);
    observed.handle(route, request, next).await
}

/// [`observe`] for REST: checks the head of the request first.
pub(crate) async fn observe_rest(State(app): State<App>, request: Request, next: Next) -> Response {
    let observed = Observed::begin(&app, request.method(), request.headers());
    let route = matched_route(&request);
    let known = route.as_ref().map(MatchedPath::as_str);
    let (limits, parameters) = (&app.shared.config.limits, &app.shared.parameters);
    if let Err(error) = RequestHead::of_request(&request).check(limits, parameters, known) {
        let response = ErrorResponse(error).into_response();
        return observed.end(route_label(&route), None, response).await;
    }
    observed.handle(route, request, next).await
}

/// Empty notes of a request, which brings its connection along.
fn notes_of(request: &mut Request) -> RequestNotes {
    RequestNotes::new(request.extensions_mut().remove::<Arc<ConnectionPlace>>())
}

fn matched_route(request: &Request) -> Option<MatchedPath> {
    request.extensions().get::<MatchedPath>().cloned()
}

/// The route as a label; `none` if the path leads nowhere, so that callers can't make up labels.
fn route_label(route: &Option<MatchedPath>) -> &str {
    route.as_ref().map_or("none", MatchedPath::as_str)
}

/// Returns the answer to a request whose handler panicked.
pub(crate) fn failure() -> Response {
    ErrorResponse(internal_error()).into_response()
}

/// One request, from its head to its answer.
pub(crate) struct Observed<'a> {
    app: &'a App,
    started: Instant,
    method: &'static str,
    /// Whether an answer in JSON is turned into XML.
    wants_xml: bool,
    id: RequestId,
    _in_flight: InFlight<'a>,
}

impl<'a> Observed<'a> {
    /// The head of a request has arrived.
    pub(crate) fn begin(app: &'a App, method: &Method, headers: &HeaderMap) -> Observed<'a> {
        app.counters.in_flight.fetch_add(1, Ordering::Relaxed);
        Observed {
            app,
            started: Instant::now(),
            method: method_label(method),
            wants_xml: headers.contains_key(header::ACCEPT) && prefers_xml(headers),
            id: app.shared.request_ids.next(),
            _in_flight: InFlight(&app.counters),
        }
    }

    /// Has the request handled, and ends with the answer.
    async fn handle(
        self,
        route: Option<MatchedPath>,
        mut request: Request,
        next: Next,
    ) -> Response {
        let notes = notes_of(&mut request);
        request.extensions_mut().insert(self.id.clone());
        let mut handler = pin!(notes.scope(next.run(request)));
        let response = catch_panic(handler.as_mut()).await;
        let notes = handler.as_mut().take_value();
        let response = response.unwrap_or_else(failure);
        self.end(route_label(&route), notes, response).await
    }

    /// Finishes the answer. `notes`: what the handler found out, if it ran.
    pub(crate) async fn end(
        self,
        route: &str,
        notes: Option<RequestNotes>,
        mut response: Response,
    ) -> Response {
        let mut code = "";
        if let Some(error) = response.extensions_mut().remove::<ApiError>() {
            code = error.code();
            let mut full = error_response(&error, &self.id.0);
            for name in [header::ALLOW, REPLAYED] {
                if let Some(value) = response.headers_mut().remove(&name) {
                    full.headers_mut().insert(name, value);
                }
            }
            response = full;
        }
        if self.wants_xml && route != OPENAPI_ROUTE {
            response = into_xml(response).await;
        }
        let (method, status) = (self.method, response.status().as_u16());
        let took = self.started.elapsed();
        self.app.counters.count(method, route, status, took);
        let api_key = notes.and_then(|notes| notes.api_key.get());
        self.log(route, status, code, api_key, took);
        let value = HeaderValue::try_from(self.id.0).expect("a request id is plain text");
        response.headers_mut().insert(REQUEST_ID, value);
        let version = HeaderValue::from_static(CURRENT_VERSION);
        response.headers_mut().insert(API_VERSION, version);
        response
    }
}

impl Observed<'_> {
    /// Logs the request: probes and scrapes, which come all the time, at the level debug.
    fn log(&self, route: &str, status: u16, code: &str, api_key: Option<ApiKeyId>, took: Duration) {
        let is_routine = ROUTINE_ROUTES.contains(&route) && status < 400;
        if is_routine && !tracing::enabled!(tracing::Level::DEBUG)
            || !tracing::enabled!(tracing::Level::INFO)
        {
            return;
        }
        let api_key = api_key.map_or_else(String::new, |key| match key.0 {
            // The program itself, which has no key that is recorded.
            0 => "internal".to_owned(),
            position => self
                .app
                .shared
                .reader
                .ids()
                .encode(IdKind::ApiKey, position),
        });
        let (id, method, took_us) = (&self.id.0, self.method, took.as_micros() as u64);
        if is_routine {
            tracing::debug!(request_id = %id, method, route, status, code, api_key, took_us, "request");
        } else {
            tracing::info!(request_id = %id, method, route, status, code, api_key, took_us, "request");
        }
    }
}

/// Runs a handler; nothing if it panicked. The panic is in the log by way of the panic hook.
pub(crate) async fn catch_panic(
    mut handler: Pin<&mut impl Future<Output = Response>>,
) -> Option<Response> {
    std::future::poll_fn(move |context| {
        // The handler is never polled again after a panic.
        match std::panic::catch_unwind(AssertUnwindSafe(|| handler.as_mut().poll(context))) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(response)) => Poll::Ready(Some(response)),
            Err(_panic) => Poll::Ready(None),
        }
    })
    .await
}

impl Shared {
    /// Returns the subscriptions, or the error of a server that keeps none.
    pub(crate) fn messaging(&self) -> Result<&Arc<Messaging>, ApiError> {
        require_messaging(self.messaging.as_ref())
    }

    /// Returns the transport of subscriptions that have a URL.
    pub(crate) fn transport(&self) -> Option<&dyn PushTransport> {
        self.transport.as_deref()
    }
}

impl App {
    /// [`App::blocking`] for work that waits for the ledger: no longer than a request may.
    pub(crate) async fn blocking_within<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Shared) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let timeout = self.shared.config.limits.request_timeout;
        let done = self.timeouts.within(timeout, self.blocking(work)).await;
        done.ok_or_else(outcome_unknown)?
    }

    /// [`App::blocking`] for a read by a key of this owner, who has a share of the reads at once.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        owner: OwnerId,
        work: impl FnOnce(&Shared) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let place = self.shared.streams.read(owner)?;
        self.blocking(move |shared| {
            // Kept until the work is done, also when nobody waits for it any more.
            let _place = place;
            work(shared)
        })
        .await
    }

    /// Runs what may read much from disk on a thread that may block.
    pub(crate) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Shared) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let shared = self.shared.clone();
        match tokio::task::spawn_blocking(move || work(&shared)).await {
            Ok(result) => result,
            Err(_panicked) => Err(internal_error()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::Router;
    use axum::routing::get;
    use hyper_util::service::TowerToHyperService;
    use tributary_connect::adapters::Adapters;
    use tributary_connect::webhooks::Keyring;
    use tributary_engine::{JournalMeta, Memory, Options, SystemClock};

    #[tokio::test]
    async fn a_panic_is_answered_with_internal_error_and_nothing_more() {
        let meta = JournalMeta {
            cluster_id: [1; 16],
            id_key: [1; 16],
            sandbox: false,
            epochs: vec![(1, 1)],
        };
        let engine = Engine::start(
            Box::new(Memory::new(meta)),
            Arc::new(SystemClock),
            Options::default(),
        );
        let engine = engine.expect("it starts");
        let app = App {
            shared: Arc::new(Shared {
                config: ServerConfig::default(),
                reader: engine.reader(),
                intake: Intake::new(engine.reader(), None),
                engine: engine.clone(),
                messaging: None,
                transport: None,
                brokers: Arc::new(Adapters::new(
                    Vec::new(),
                    Keyring::unusable("this server has no key"),
                    engine.reader().ids().clone(),
                    engine.clock(),
                )),
                setting_types: SettingTypes::default(),
                rate: RateLimiter::new(None),
                threads: Vec::new(),
                openapi: Bytes::new(),
                docs: Bytes::new(),
                parameters: QueryParameters::default(),
                draining: AtomicBool::new(false),
                started: AtomicBool::new(true),
                stopped: watch::channel(false).1,
                request_ids: RequestIds::new(),
                streams: Streams::new(1),
                admission: Admission::new(ServerConfig::default().limits.connections()),
            }),
            counters: Arc::default(),
            submit_queue: Arc::new(SubmitQueue::new(engine.clone())),
            timeouts: Arc::default(),
        };
        async fn broken() -> Response {
            panic!("a secret of the inside")
        }
        let router: Router = Router::new()
            .route("/", get(broken))
            .layer(axum::middleware::from_fn_with_state(app.clone(), observe))
            .with_state(app.clone());
        let request = Request::new(axum::body::Body::empty());
        let response =
            hyper::service::Service::call(&TowerToHyperService::new(router), request).await;
        let (parts, body) = response.expect("an answer").into_parts();
        let body = http_body_util::BodyExt::collect(body)
            .await
            .expect("a body")
            .to_bytes();
        let text = String::from_utf8(body.to_vec()).expect("UTF-8");
        assert_eq!(parts.status.as_u16(), internal_error().status());
        assert!(
            text.contains("\"code\":\"internal_error\"") && !text.contains("inside"),
            "{text}"
        );
        assert_eq!(app.counters.in_flight.load(Ordering::Relaxed), 0);
        engine.shutdown();
    }
}
