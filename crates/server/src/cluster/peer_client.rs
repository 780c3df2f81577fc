//! Connections to other nodes.

use std::error::Error as _;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, Response};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};

/// Longest time to connect to a node.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Time after which an idle connection is closed: before the other node closes it, which waits 15 s for the next request.
const IDLE_TIMEOUT: Duration = Duration::from_secs(5);
/// How often a connection with calls in flight is asked whether its other end is still there, and how long that may take to answer.
const KEEP_ALIVE: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(5));
/// Bytes that the leader may send ahead on one gRPC call, and on all calls of a connection.
const WINDOW_BYTES: (u32, u32) = (4 << 20, 8 << 20);

/// Connections of one thread to other nodes, which are used again.
pub(crate) struct PeerClient(Client<HttpsConnector<HttpConnector>, Body>);

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum NoAnswer {
    /// Nothing was sent: there is no connection.
    NotSent(String),
    /// The request was sent, as a whole or in part.
    Lost(String),
}

impl PeerClient {
    /// Returns a client that speaks HTTP/1.1.
    pub(crate) fn for_rest(tls: &rustls::ClientConfig) -> PeerClient {
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls.clone())
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp());
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_timer(TokioTimer::new())
            .build(connector);
        PeerClient(client)
    }

    /// Returns a client that speaks HTTP/2.
    pub(crate) fn for_grpc(tls: &rustls::ClientConfig) -> PeerClient {
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls.clone())
            .https_or_http()
            .enable_http2()
            .wrap_connector(tcp());
        let client = Client::builder(TokioExecutor::new())
            .http2_only(true)
            .http2_initial_stream_window_size(WINDOW_BYTES.0)
            .http2_initial_connection_window_size(WINDOW_BYTES.1)
            .http2_keep_alive_interval(KEEP_ALIVE.0)
            .http2_keep_alive_timeout(KEEP_ALIVE.1)
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .build(connector);
        PeerClient(client)
    }

    /// Sends a request and waits for the head of the answer.
    pub(crate) async fn send(
        &self,
        request: Request<Body>,
    ) -> Result<Response<Incoming>, NoAnswer> {
        self.0.request(request).await.map_err(|error| {
            let why = match error.source() {
                Some(cause) => format!("{error}: {cause}"),
                None => error.to_string(),
            };
            match error.is_connect() {
                true => NoAnswer::NotSent(why),
                false => NoAnswer::Lost(why),
            }
        })
    }
}

fn tcp() -> HttpConnector {
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
    connector
}
