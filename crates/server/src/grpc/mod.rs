//! gRPC: the same commands, rules, keys and answers as REST, in batches. `proto/tributary/v1/` says it in full.
//!
//! Batches are read from their bytes straight into commands, and answers written straight into bytes: [`wire`] knows
//! protobuf, [`batch`] the messages of a batch, [`delivery`] those with events. Everything else goes through generated messages.

mod batch;
mod codec;
mod delivery;
mod form;
mod health;
mod read;
mod receive;
pub(crate) mod status;
mod stream;
mod submit;
mod wire;

#[rustfmt::skip]
#[allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    clippy::doc_markdown,
    clippy::large_enum_variant,
    reason = "generated from proto/, and compared by a test"
)]
mod messages;

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::Router;
use axum::extract::State;
use axum::http::{Request, Response};
use axum::middleware::from_fn_with_state;
use axum::routing::post;
use bytes::Bytes;
use tonic::body::Body;
use tonic::server::{Grpc, ServerStreamingService, StreamingService, UnaryService};
use tonic::{Status, Streaming};

use crate::app::App;
use crate::grpc::codec::{Messages, Raw};
use crate::grpc::receive::Responses;
use crate::grpc::status::status_of;
use crate::observe::observe_grpc;
use tributary_api::code::ErrorCode;

/// Descriptors that reflection serves.
const DESCRIPTORS: &[u8] = include_bytes!("descriptors.bin");

type AxumBody = axum::body::Body;

/// The gRPC services as a router.
pub(crate) fn router(app: &App) -> Router {
    let reflection = || tonic_reflection::server::Builder::configure();
    let described = "the descriptors are those of the definition: a test compares them";
    let v1 = reflection()
        .register_encoded_file_descriptor_set(DESCRIPTORS)
        .build_v1()
        .expect(described);
    let v1alpha = reflection()
        .register_encoded_file_descriptor_set(DESCRIPTORS)
        .build_v1alpha()
        .expect(described);
    Router::new()
        .route("/tributary.v1.Ledger/Submit", post(submit))
        .route("/tributary.v1.Ledger/SubmitStream", post(submit_stream))
        .route("/tributary.v1.Ledger/GetAccount", post(get_account))
        .route("/tributary.v1.Ledger/GetPayment", post(get_payment))
        .route("/tributary.v1.Ledger/GetOwner", post(get_owner))
        .route("/tributary.v1.Ledger/ListEntries", post(list_entries))
        .route("/tributary.v1.Subscriptions/Receive", post(receive))
        .route("/grpc.health.v1.Health/Check", post(check_health))
        .route("/grpc.health.v1.Health/Watch", post(watch_health))
        .route_service(
            "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
            v1,
        )
        .route_service(
            "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
            v1alpha,
        )
        .fallback(unknown)
        .layer(from_fn_with_state(app.clone(), observe_grpc))
        .with_state(app.clone())
}

async fn unknown() -> Response<Body> {
    Status::unimplemented("There is no such method.").into_http()
}

async fn submit(State(app): State<App>, request: Request<AxumBody>) -> Response<Body> {
    let method = Method(app.clone(), |app, request| async move {
        submit::submit(&app, request).await
    });
    let mut server = Grpc::new(Raw).max_decoding_message_size(body_bytes_max(&app));
    within_time(&app, server.unary(method, request)).await
}

async fn submit_stream(State(app): State<App>, request: Request<AxumBody>) -> Response<Body> {
    let mut server = Grpc::new(Raw).max_decoding_message_size(body_bytes_max(&app));
    let method = Stream(app, stream::submit_stream);
    server.streaming(method, request).await
}

async fn receive(State(app): State<App>, request: Request<AxumBody>) -> Response<Body> {
    let mut server = Grpc::new(Raw).max_decoding_message_size(body_bytes_max(&app));
    let method: Stream<Responses> = Stream(app, receive::receive);
    server.streaming(method, request).await
}

async fn get_account(State(app): State<App>, request: Request<AxumBody>) -> Response<Body> {
    let method = Method(app.clone(), |app, request| async move {
        read::get_account(&app, request).await
    });
    within_time(&app, Grpc::new(Messages::new()).unary(method, request)).await
}

async fn get_payment(State(app): State<App>, request: Request<AxumBody>) -> Response<Body> {
    let method = Method(app.clone(), |app, request| async move {
        read::get_payment(&app, request).await
    });
    within_time(&app, Grpc::new(Messages::new()).unary(method, request)).await
}

async fn get_owner(State(app): State<App>, request: Request<AxumBody>) -> Response<Body> {
    let method = Method(app.clone(), |app, request| async move {
        read::get_owner(&app, request).await
    });
    within_time(&app, Grpc::new(Messages::new()).unary(method, request)).await
}

async fn list_entries(State(app): State<App>, request: Request<AxumBody>) -> Response<Body> {
    let method = Method(app.clone(), |app, request| async move {
        read::list_entries(&app, request).await
    });
    within_time(&app, Grpc::new(Messages::new()).unary(method, request)).await
}

async fn check_health(State(app): State<App>, request: Request<AxumBody>) -> Response<Body> {
    let method = Method(app.clone(), |app, request| async move {
        health::check(&app, &request)
    });
    within_time(&app, Grpc::new(Messages::new()).unary(method, request)).await
}

async fn watch_health(State(app): State<App>, request: Request<AxumBody>) -> Response<Body> {
    let mut server = Grpc::new(Messages::new());
    within_time(
        &app,
        server.server_streaming(WatchHealth(app.clone()), request),
    )
    .await
}

fn body_bytes_max(app: &App) -> usize {
    app.shared.config.limits.body_bytes_max
}

/// Ends a call whose message does not arrive. An answer that takes long is cut off by the call itself, which comes first.
async fn within_time(app: &App, call: impl Future<Output = Response<Body>>) -> Response<Body> {
    let limits = &app.shared.config.limits;
    let limit = limits.body_read_timeout + limits.request_timeout;
    match tokio::time::timeout(limit, call).await {
        Ok(response) => response,
        Err(_elapsed) => status_of(&tributary_api::error::ApiError::new(
            ErrorCode::RequestTimeout,
            "The message did not arrive in time.",
        ))
        .into_http(),
    }
}

/// A method as what `tonic` calls.
struct Method<F>(App, F);

impl<F, T, U, R> UnaryService<T> for Method<F>
where
    F: FnMut(App, tonic::Request<T>) -> R,
    R: Future<Output = Result<U, Status>> + Send + 'static,
{
    type Response = U;
    type Future = Boxed<U>;

    fn call(&mut self, request: tonic::Request<T>) -> Boxed<U> {
        let answer = self.1(self.0.clone(), request);
        Boxed(Box::pin(
            async move { answer.await.map(tonic::Response::new) },
        ))
    }
}

/// The answer of a method that is on its way.
struct Boxed<U>(Pin<Box<dyn Future<Output = Result<tonic::Response<U>, Status>> + Send>>);

impl<U> Future for Boxed<U> {
    type Output = Result<tonic::Response<U>, Status>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(context)
    }
}

/// `Watch` of the health.
struct WatchHealth(App);

impl ServerStreamingService<health::HealthCheckRequest> for WatchHealth {
    type Response = health::HealthCheckResponse;
    type ResponseStream = health::Watched;
    type Future = std::future::Ready<Result<tonic::Response<health::Watched>, Status>>;

    fn call(&mut self, request: tonic::Request<health::HealthCheckRequest>) -> Self::Future {
        let watched = health::watch(&self.0, request);
        std::future::ready(Ok(tonic::Response::new(watched)))
    }
}

/// A method with a stream of messages in and out.
struct Stream<S>(
    App,
    fn(&App, tonic::Request<Streaming<Bytes>>) -> Result<S, Status>,
);

impl<S> StreamingService<Bytes> for Stream<S>
where
    S: futures_core::Stream<Item = Result<Bytes, Status>>,
{
    type Response = Bytes;
    type ResponseStream = S;
    type Future = std::future::Ready<Result<tonic::Response<S>, Status>>;

    fn call(&mut self, request: tonic::Request<Streaming<Bytes>>) -> Self::Future {
        std::future::ready(self.1(&self.0, request).map(tonic::Response::new))
    }
}
