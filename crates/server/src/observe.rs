//! The layer that every request passes: its id, its place in log and metrics, and the body of its error.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::{Duration, Instant};

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tributary_api::caller::Caller;
use tributary_api::error::ApiError;
use tributary_api::failures::internal_error;
use tributary_engine::IdKind;

use crate::accept::prefers_xml;
use crate::admission::ConnectionPlace;
use crate::app::{App, RequestId};
use crate::auth::error_of_sender;
use crate::cluster::headers::is_forwarded;
use crate::cluster::places::shows_position;
use crate::cluster::position::{POSITION, position_text};
use crate::cluster::{grpc, rest};
use crate::failed_request::Failed;
use crate::grpc::status::status_of;
use crate::metrics::requests::{Counters, method_label};
use crate::request_head::RequestHead;
use crate::request_notes::RequestNotes;
use crate::response::{ErrorResponse, REPLAYED, error_response, into_xml};
use crate::version::{API_VERSION, CURRENT_VERSION};

/// Names the request in the answer and in the log.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("request-id");

/// Routes that are asked all the time, by programs that watch the server.
const ROUTINE_ROUTES: [&str; 6] = [
    "/metrics",
    "/health/leader",
    "/health/live",
    "/health/ready",
    "/grpc.health.v1.Health/Check",
    "/grpc.health.v1.Health/Watch",
];

/// Route of the OpenAPI document, which is JSON for whoever asks.
const OPENAPI_ROUTE: &str = "/openapi.json";

/// Keeps the number of requests in flight right, whatever becomes of one.
struct InFlight<'a>(&'a Counters);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Gives every call of gRPC its id, its line in the log and its place in the metrics.
pub(crate) async fn observe_grpc(State(app): State<App>, request: Request, next: Next) -> Response {
    let observed = Observed::begin(&app, request.method(), request.headers());
    let route = matched_route(&request);
    let known = route.as_ref().map(MatchedPath::as_str);
    if let Some(error) = observed.refusal(known, request.extensions().get()) {
        let response = status_of(&error).into_http();
        return observed.end(route_label(known), None, response).await;
    }
    let handle = async |request| grpc::answer(&app, known, request, next).await;
    observed.handle(known, request, handle).await
}

/// Gives every request of REST its id, its line in the log and its place in the metrics, and every error its body. Checks the head of
/// the request first.
pub(crate) async fn observe_rest(State(app): State<App>, request: Request, next: Next) -> Response {
    let observed = Observed::begin(&app, request.method(), request.headers());
    let route = matched_route(&request);
    let known = route.as_ref().map(MatchedPath::as_str);
    if let Some(error) = observed.refusal(known, request.extensions().get()) {
        let response = ErrorResponse(error).into_response();
        return observed.end(route_label(known), None, response).await;
    }
    let (limits, parameters) = (&app.shared.config.limits, &app.shared.parameters);
    let handle = async |request: Request| {
        if let Err(error) = RequestHead::of_request(&request).check(limits, parameters, known) {
            let error = error_of_sender(request.headers(), &app.shared, error);
            return ErrorResponse(error).into_response();
        }
        rest::answer(&app, known, request, next).await
    };
    observed.handle(known, request, handle).await
}

/// Empty notes of a request, which brings its connection along.
fn notes_of(request: &mut Request) -> RequestNotes {
    RequestNotes::new(request.extensions_mut().remove::<Arc<ConnectionPlace>>())
}

fn matched_route(request: &Request) -> Option<MatchedPath> {
    request.extensions().get::<MatchedPath>().cloned()
}

/// The route as a label; `none` if the path leads nowhere, so that callers can't make up labels.
fn route_label(route: Option<&str>) -> &str {
    route.unwrap_or("none")
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
    /// Whether another node of the cluster forwarded the request: its address is that of the node.
    is_forwarded: bool,
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
            is_forwarded: app.shared.cluster.is_some() && is_forwarded(headers),
            _in_flight: InFlight(&app.counters),
        }
    }

    /// Returns the error of a request whose address is blocked, before anything of it is looked at. Programs that watch the server are
    /// always answered.
    pub(crate) fn refusal(
        &self,
        route: Option<&str>,
        connection: Option<&Arc<ConnectionPlace>>,
    ) -> Option<ApiError> {
        let guard = self.app.shared.guard.as_ref()?;
        let is_routine = || route.is_some_and(|route| ROUTINE_ROUTES.contains(&route));
        if guard.blocks_no_address() || self.is_forwarded || is_routine() {
            return None;
        }
        guard.check_address(connection?).err()
    }

    /// Has the request handled, and ends with the answer.
    async fn handle(
        self,
        route: Option<&str>,
        mut request: Request,
        handle: impl AsyncFnOnce(Request) -> Response,
    ) -> Response {
        let notes = notes_of(&mut request);
        request.extensions_mut().insert(self.id.clone());
        let mut handler = pin!(notes.scope(handle(request)));
        let response = catch_panic(handler.as_mut()).await;
        let notes = handler.as_mut().take_value();
        let response = response.unwrap_or_else(failure);
        self.end(route_label(route), notes, response).await
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
        let caller = notes.as_ref().and_then(|notes| notes.caller.get());
        // The answer of another node names the request by which that node knows it, and the position there.
        let elsewhere = response.headers().get(REQUEST_ID).cloned();
        // An answer of gRPC says only beside its status what went wrong.
        if status >= 400 || !route.starts_with("/v1/") {
            let connection = notes.as_ref().and_then(RequestNotes::connection);
            let failed = Failed {
                caller,
                connection: connection.map(|connection| &**connection),
                is_forwarded: self.is_forwarded,
                is_answered_elsewhere: elsewhere.is_some(),
            };
            failed.count(&self.app.shared, &response, code);
        }
        let id = elsewhere.unwrap_or_else(|| {
            HeaderValue::try_from(self.id.0.as_str()).expect("a request id is plain text")
        });
        self.log(&id, route, status, code, caller, took);
        let headers = response.headers_mut();
        headers.insert(REQUEST_ID, id);
        headers.insert(API_VERSION, HeaderValue::from_static(CURRENT_VERSION));
        if let Some(caller) = caller.filter(|_| shows_position(route))
            && !headers.contains_key(POSITION)
        {
            let reader = &self.app.shared.reader;
            let position = position_text(reader.ids(), &caller, reader.published());
            headers.insert(POSITION, position);
        }
        response
    }
}

impl Observed<'_> {
    /// Logs the request: probes and scrapes, which come all the time, at the level debug.
    fn log(
        &self,
        id: &HeaderValue,
        route: &str,
        status: u16,
        code: &str,
        caller: Option<Caller>,
        took: Duration,
    ) {
        let is_routine = ROUTINE_ROUTES.contains(&route) && status < 400;
        if is_routine && !tracing::enabled!(tracing::Level::DEBUG)
            || !tracing::enabled!(tracing::Level::INFO)
        {
            return;
        }
        let api_key = caller.map(|caller| caller.actor.api_key);
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
        let id = id.to_str().unwrap_or_default();
        let (method, took_us) = (self.method, took.as_micros() as u64);
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicBool;

    use axum::Router;
    use axum::body::Bytes;
    use axum::routing::get;
    use hyper_util::service::TowerToHyperService;
    use tokio::sync::watch;
    use tributary_api::intake::Intake;
    use tributary_api::risk::NoRisk;
    use tributary_api::settings::SettingTypes;
    use tributary_api::streaming::NoStreaming;
    use tributary_connect::adapters::Adapters;
    use tributary_connect::webhooks::Keyring;
    use tributary_engine::{Engine, JournalMeta, Memory, Options, SubmitQueue, SystemClock};

    use crate::admission::Admission;
    use crate::app::{RequestIds, Shared};
    use crate::config::ServerConfig;
    use crate::metrics::request_timeouts::RequestTimeouts;
    use crate::parameters::QueryParameters;
    use crate::rate::RateLimiter;
    use crate::streams::Streams;

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
                cluster: None,
                messaging: None,
                transport: None,
                brokers: Arc::new(Adapters::new(
                    Vec::new(),
                    Keyring::unusable("this server has no key"),
                    engine.reader().ids().clone(),
                    engine.clock(),
                )),
                streaming: Arc::new(NoStreaming),
                risk: Arc::new(NoRisk),
                setting_types: SettingTypes::default(),
                rate: RateLimiter::new(None),
                guard: None,
                request_timeouts: RequestTimeouts::default(),
                threads: Vec::new(),
                openapi: Bytes::new(),
                docs: Bytes::new(),
                parameters: QueryParameters::default(),
                draining: AtomicBool::new(false),
                started: AtomicBool::new(true),
                stopped: watch::channel(false).1,
                request_ids: RequestIds::new(),
                streams: Streams::new(1),
                statement_pages: None,
                admission: Admission::new(ServerConfig::default().limits.connections()),
            }),
            counters: Arc::default(),
            submit_queue: Arc::new(SubmitQueue::new(engine.clone())),
            timeouts: Arc::default(),
            peers: None,
        };
        async fn broken() -> Response {
            panic!("a secret of the inside")
        }
        let router: Router = Router::new()
            .route("/", get(broken))
            .layer(axum::middleware::from_fn_with_state(
                app.clone(),
                observe_grpc,
            ))
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
