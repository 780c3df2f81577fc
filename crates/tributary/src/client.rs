//! A blocking HTTP client for one server, with one keep-alive connection.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::client::conn::http1::SendRequest;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, RETRY_AFTER};
use hyper::{Method, Request, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_rustls::rustls;
use tributary_connect::trust::load_trusted_roots;

use crate::exit::usage_error;

/// Maximum wait for the head of a response and for each chunk of its body, in seconds.
const REQUEST_SECONDS_MAX: u64 = 60;
/// Maximum time for which a request is repeated while the server is unreachable or busy, in seconds.
const RETRY_SECONDS_MAX: u64 = 60;
/// Maximum size of a response that is read at once, in bytes.
const RESPONSE_BYTES_MAX: usize = 64 << 20;

/// A client of one server.
pub(crate) struct Client {
    runtime: tokio::runtime::Runtime,
    host: String,
    port: u16,
    tls: Option<tokio_rustls::TlsConnector>,
    api_key: String,
    connection: Option<SendRequest<Full<Bytes>>>,
}

/// Called with the headers and one chunk of a response.
pub(crate) type ChunkHandler<'a> =
    &'a mut dyn FnMut(&hyper::HeaderMap, &[u8]) -> anyhow::Result<ControlFlow<()>>;

/// A response of the server.
pub(crate) struct HttpResponse {
    pub(crate) status: u16,
    pub(crate) headers: hyper::HeaderMap,
    pub(crate) body: Bytes,
}

/// The server's response has another status than 2xx.
#[derive(Debug)]
pub(crate) struct RefusedRequest {
    pub(crate) status: u16,
    text: String,
}

impl std::fmt::Display for RefusedRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the server refused: {}", self.text)
    }
}

impl std::error::Error for RefusedRequest {}

impl HttpResponse {
    /// Parses the body as JSON.
    pub(crate) fn json(&self) -> anyhow::Result<serde_json::Value> {
        serde_json::from_slice(&self.body).with_context(|| {
            format!(
                "the server answered {} with a body that is not JSON",
                self.status
            )
        })
    }

    /// Describes an error response.
    pub(crate) fn error_text(&self) -> String {
        let json: serde_json::Value = serde_json::from_slice(&self.body).unwrap_or_default();
        match (
            json["error"]["code"].as_str(),
            json["error"]["message"].as_str(),
        ) {
            (Some(code), Some(message)) => format!("{code}: {message}"),
            _ => format!("HTTP status {}", self.status),
        }
    }

    /// Returns the response if its status is 2xx, otherwise the error.
    pub(crate) fn require_success(self) -> anyhow::Result<Self> {
        if (200..300).contains(&self.status) {
            return Ok(self);
        }
        Err(anyhow::Error::new(RefusedRequest {
            status: self.status,
            text: self.error_text(),
        }))
    }
}

/// Path for batches. The client asks for the ids of created objects only.
pub(crate) const BATCHES: &str = "/v1/batches";

impl Client {
    /// Creates a client for `http://host:port` or `https://host:port`, which connects at the first request.
    /// With `https`, `ca` is a file of certificates to trust (PEM); without it, those of the system are trusted.
    pub(crate) fn new(
        server: &str,
        api_key: &str,
        ca: Option<&std::path::Path>,
    ) -> anyhow::Result<Self> {
        let uri: Uri = server
            .parse()
            .map_err(|_| usage_error(format!("`{server}` is not a URL")))?;
        let tls = match uri.scheme_str() {
            Some("http") => None,
            Some("https") => Some(tls_connector(ca)?),
            _ => {
                return Err(usage_error(format!(
                    "`{server}` must begin with http:// or https://"
                )));
            }
        };
        if uri
            .path_and_query()
            .is_some_and(|path| path.as_str() != "/")
        {
            return Err(usage_error(format!(
                "`{server}` must be only http(s)://host:port"
            )));
        }
        let host = uri
            .host()
            .ok_or_else(|| usage_error(format!("`{server}` names no host")))?;
        let port = uri
            .port_u16()
            .unwrap_or(if tls.is_some() { 443 } else { 80 });
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let host = host.to_owned();
        Ok(Self {
            runtime,
            host,
            port,
            tls,
            api_key: api_key.to_owned(),
            connection: None,
        })
    }

    /// Sends a GET request.
    pub(crate) fn get(&mut self, path: &str) -> anyhow::Result<HttpResponse> {
        self.send(Method::GET, path, &Bytes::new())
    }

    /// Sends a GET request, and repeats it while the server is unreachable or busy.
    pub(crate) fn get_with_retry(&mut self, path: &str) -> anyhow::Result<HttpResponse> {
        self.send_with_retry(Method::GET, path, &Bytes::new())
    }

    /// Sends a POST request with JSON, and repeats it while the server is unreachable or busy. The body must contain idempotency
    /// keys.
    pub(crate) fn post_with_retry(
        &mut self,
        path: &str,
        body: Vec<u8>,
    ) -> anyhow::Result<HttpResponse> {
        self.send_with_retry(Method::POST, path, &Bytes::from(body))
    }

    fn send_with_retry(
        &mut self,
        method: Method,
        path: &str,
        body: &Bytes,
    ) -> anyhow::Result<HttpResponse> {
        let started = Instant::now();
        let mut pause = Duration::from_millis(100);
        let mut told = false;
        loop {
            let result = self.send(method.clone(), path, body);
            let wait = match &result {
                Ok(answer) if answer.status == 429 || answer.status == 503 => {
                    let after = answer
                        .headers
                        .get(RETRY_AFTER)
                        .and_then(|value| value.to_str().ok()?.parse().ok());
                    after.map_or(pause, Duration::from_secs)
                }
                Ok(_) => return result,
                Err(_) => pause,
            };
            if started.elapsed() + wait > Duration::from_secs(RETRY_SECONDS_MAX) {
                return result;
            }
            if !told {
                told = true;
                eprintln!("{}", self.waiting_text(&result));
            }
            std::thread::sleep(wait);
            pause = (pause * 2).min(Duration::from_millis(500));
        }
    }

    /// Says, once for each request, why the command seems to stand still.
    fn waiting_text(&self, result: &anyhow::Result<HttpResponse>) -> String {
        let (host, port) = (&self.host, self.port);
        match result {
            Ok(answer) => format!(
                "waiting for {host}:{port}, for {RETRY_SECONDS_MAX} s at most: {}",
                answer.error_text()
            ),
            Err(error) => {
                format!("waiting for the server, for {RETRY_SECONDS_MAX} s at most: {error:#}")
            }
        }
    }

    fn send(&mut self, method: Method, path: &str, body: &Bytes) -> anyhow::Result<HttpResponse> {
        let (status, headers, incoming) = self.send_request(method, path, body)?;
        let body = self.run_with_timeout(async move {
            let body = Limited::new(incoming, RESPONSE_BYTES_MAX).collect().await;
            Ok(body
                .map_err(|error| anyhow::anyhow!("the response was interrupted: {error}"))?
                .to_bytes())
        })?;
        Ok(HttpResponse {
            status,
            headers,
            body,
        })
    }

    /// Sends a GET request with a large response: calls `each` with every chunk until `each` breaks. Returns the
    /// headers.
    pub(crate) fn get_in_chunks(
        &mut self,
        path: &str,
        each: ChunkHandler<'_>,
    ) -> anyhow::Result<hyper::HeaderMap> {
        let (status, headers, mut incoming) =
            self.send_request(Method::GET, path, &Bytes::new())?;
        if status != 200 {
            let body =
                self.run_with_timeout(async move { Ok(incoming.collect().await?.to_bytes()) })?;
            return HttpResponse {
                status,
                headers,
                body,
            }
            .require_success()
            .map(|response| response.headers);
        }
        loop {
            let piece = self.run_with_timeout(async {
                let frame = incoming.frame().await.transpose();
                frame.map_err(|error| anyhow::anyhow!("the response was interrupted: {error}"))
            })?;
            match piece.map(Frame::into_data) {
                None => return Ok(headers),
                Some(Ok(bytes)) => {
                    if each(&headers, &bytes)?.is_break() {
                        // The rest of the response is still on this connection, so it cannot be reused.
                        self.connection = None;
                        return Ok(headers);
                    }
                }
                Some(Err(_trailers)) => {}
            }
        }
    }

    /// Sends a request and waits for the head of the answer.
    fn send_request(
        &mut self,
        method: Method,
        path: &str,
        body: &Bytes,
    ) -> anyhow::Result<(u16, hyper::HeaderMap, Incoming)> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, format!("{}:{}", self.host, self.port))
            .header(AUTHORIZATION, format!("Bearer {}", self.api_key));
        if !body.is_empty() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        if path == BATCHES {
            request = request.header("prefer", "return=minimal");
        }
        let request = request
            .body(Full::new(body.clone()))
            .context("the request cannot be built")?;
        let (host, port, tls) = (self.host.clone(), self.port, self.tls.clone());
        let open = self
            .connection
            .take()
            .filter(|connection| !connection.is_closed());
        let (connection, response) = self.run_with_timeout(async move {
            let mut connection = match open {
                Some(connection) => connection,
                None => connect(&host, port, tls).await?,
            };
            connection.ready().await?;
            let response = connection.send_request(request).await?;
            Ok((connection, response))
        })?;
        self.connection = Some(connection);
        let (head, body) = response.into_parts();
        Ok((head.status.as_u16(), head.headers, body))
    }

    fn run_with_timeout<T>(
        &self,
        work: impl Future<Output = anyhow::Result<T>>,
    ) -> anyhow::Result<T> {
        let limit = Duration::from_secs(REQUEST_SECONDS_MAX);
        self.runtime
            .block_on(async { tokio::time::timeout(limit, work).await })
            .map_err(|_| anyhow::anyhow!("no response within {REQUEST_SECONDS_MAX} s"))
            .and_then(|result| result)
            .with_context(|| format!("cannot reach {}:{}", self.host, self.port))
    }
}

/// Encodes a value for the query of a path.
pub(crate) fn encode_query_value(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

async fn connect(
    host: &str,
    port: u16,
    tls: Option<tokio_rustls::TlsConnector>,
) -> anyhow::Result<SendRequest<Full<Bytes>>> {
    // A host in brackets is an IPv6 address.
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let stream = TcpStream::connect((bare, port)).await?;
    stream.set_nodelay(true)?;
    match tls {
        None => handshake(TokioIo::new(stream)).await,
        Some(connector) => {
            let name = rustls::pki_types::ServerName::try_from(bare.to_owned())?;
            handshake(TokioIo::new(connector.connect(name, stream).await?)).await
        }
    }
}

async fn handshake<S>(stream: TokioIo<S>) -> anyhow::Result<SendRequest<Full<Bytes>>>
where
    TokioIo<S>: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    let (sender, connection) = hyper::client::conn::http1::handshake(stream).await?;
    // The task ends when the sender is dropped or the server closes the connection.
    tokio::spawn(async move { drop(connection.await) });
    Ok(sender)
}

fn tls_connector(ca: Option<&std::path::Path>) -> anyhow::Result<tokio_rustls::TlsConnector> {
    Ok(tokio_rustls::TlsConnector::from(Arc::new(tls_config(ca)?)))
}

/// Returns how to connect by TLS, trusting the certificates in a file, or those that the system trusts.
pub(crate) fn tls_config(ca: Option<&std::path::Path>) -> anyhow::Result<rustls::ClientConfig> {
    let roots = load_trusted_roots(ca).map_err(usage_error)?.ok_or_else(|| {
        usage_error(
            "this system has no list of trusted certificates: name the certificates to trust with --ca FILE (PEM)",
        )
    })?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    Ok(rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth())
}
