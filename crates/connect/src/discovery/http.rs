//! Requests to a registry: HTTP/1.1 with JSON, a connection for each. Of several servers the first that takes the connection answers.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use rustls::RootCertStore;
use rustls::pki_types::ServerName;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::place::{Place, Server};
use super::port::{Access, DiscoveryError};
use crate::trust;

/// Longest time until a server takes a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Longest time for a request that the server answers at once.
pub(super) const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// Maximum size of an answer, in bytes: a value of etcd has at most 1.5 MiB, and a third more as JSON.
const BODY_BYTES_MAX: usize = 4 << 20;
/// Maximum number of bytes of an answer that an error shows.
const ERROR_BYTES_MAX: usize = 200;

/// A client of one registry.
#[derive(Clone)]
pub(super) struct Http {
    /// For texts.
    name: String,
    servers: Vec<Server>,
    tls: Option<TlsConnector>,
}

/// An answer, read to its end.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    body: Bytes,
}

/// An answer that is read as it comes.
pub(super) struct Stream {
    body: Incoming,
    read: Vec<u8>,
    _connection: Connection,
}

/// A connection, which is closed when this is dropped.
struct Connection(AbortHandle);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Http {
    pub(super) fn open(place: &Place, access: &Access) -> Result<Http, DiscoveryError> {
        let unfit = |error: String| DiscoveryError::Unfit(format!("{}: {error}", place.name()));
        let tls = match place.is_tls {
            false => None,
            true => {
                let roots = trust::load_trusted_roots(access.ca_file.as_deref()).map_err(unfit)?;
                let roots = roots.unwrap_or_else(RootCertStore::empty);
                let config = trust::client_config(roots).map_err(unfit)?;
                Some(TlsConnector::from(Arc::new(config)))
            }
        };
        Ok(Http {
            name: place.name(),
            servers: place.servers.clone(),
            tls,
        })
    }

    /// Says that the registry is in trouble.
    pub(super) fn trouble(&self, what: impl std::fmt::Display) -> DiscoveryError {
        DiscoveryError::Unreachable(format!("{}: {what}", self.name))
    }

    /// Says that the registry does not take what it was asked.
    pub(super) fn unfit(&self, what: impl std::fmt::Display) -> DiscoveryError {
        DiscoveryError::Unfit(format!("{}: {what}", self.name))
    }

    /// Sends a request, and reads the answer to its end.
    pub(super) async fn send(
        &self,
        method: Method,
        path: &str,
        credential: Option<&(HeaderName, HeaderValue)>,
        body: Option<&Value>,
        patience: Duration,
    ) -> Result<Answer, DiscoveryError> {
        let exchange = async {
            let (response, _connection) = self.begin(method, path, credential, body).await?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, BODY_BYTES_MAX).collect().await;
            Ok(Answer {
                status: head.status.as_u16(),
                headers: head.headers,
                body: body.map_err(|error| self.trouble(error))?.to_bytes(),
            })
        };
        let late = |_| self.trouble("no answer in time");
        timeout(patience, exchange).await.map_err(late)?
    }

    /// Sends a request whose answer has no end.
    pub(super) async fn stream(
        &self,
        path: &str,
        credential: Option<&(HeaderName, HeaderValue)>,
        body: &Value,
    ) -> Result<Stream, DiscoveryError> {
        let begun = self.begin(Method::POST, path, credential, Some(body));
        let late = |_| self.trouble("no answer in time");
        let (response, connection) = timeout(REQUEST_TIMEOUT, begun).await.map_err(late)??;
        if !response.status().is_success() {
            return Err(self.trouble(format!("it answered {}", response.status())));
        }
        Ok(Stream {
            body: response.into_body(),
            read: Vec::new(),
            _connection: connection,
        })
    }

    async fn begin(
        &self,
        method: Method,
        path: &str,
        credential: Option<&(HeaderName, HeaderValue)>,
        body: Option<&Value>,
    ) -> Result<(Response<Incoming>, Connection), DiscoveryError> {
        let (stream, server) = self.connect().await?;
        let broken = |error: hyper::Error| self.trouble(error);
        let (mut requests, driver) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(broken)?;
        let connection = Connection(tokio::spawn(driver).abort_handle());
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, server.to_string())
            .header(USER_AGENT, concat!("tributary/", env!("CARGO_PKG_VERSION")));
        if let Some((name, value)) = credential {
            request = request.header(name, value);
        }
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let body = body.map_or_else(Bytes::new, |body| body.to_string().into());
        let request = request
            .body(Full::new(body))
            .map_err(|error| self.unfit(error))?;
        let response = requests.send_request(request).await.map_err(broken)?;
        Ok((response, connection))
    }

    /// Connects to the first server that takes the connection.
    async fn connect(&self) -> Result<(Box<dyn ByteStream>, &Server), DiscoveryError> {
        let mut failure = String::new();
        for server in &self.servers {
            match timeout(CONNECT_TIMEOUT, self.connect_to(server)).await {
                Ok(Ok(stream)) => return Ok((stream, server)),
                Ok(Err(error)) => failure = error,
                Err(_) => failure = "no answer in time".to_owned(),
            }
        }
        Err(self.trouble(format!("cannot connect: {failure}")))
    }

    async fn connect_to(&self, server: &Server) -> Result<Box<dyn ByteStream>, String> {
        let failed = |error: std::io::Error| error.to_string();
        let stream = TcpStream::connect((server.host.as_str(), server.port));
        let stream = stream.await.map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        let Some(tls) = &self.tls else {
            return Ok(Box::new(stream));
        };
        let name = ServerName::try_from(server.host.clone()).map_err(|error| error.to_string())?;
        let stream = tls.connect(name, stream).await;
        let stream = stream.map_err(|error| format!("TLS failed: {error}"))?;
        Ok(Box::new(stream))
    }
}

/// A connection, with or without TLS.
trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> ByteStream for T {}

impl Answer {
    /// Reads the body.
    pub(super) fn json<T: DeserializeOwned>(&self, http: &Http) -> Result<T, DiscoveryError> {
        let wrong = |error| http.trouble(format!("its answer can't be read: {error}"));
        serde_json::from_slice(&self.body).map_err(wrong)
    }

    /// Returns the answer if its status is 2xx. Another one is an error, which the same request may not meet again unless its status
    /// is 4xx.
    pub(super) fn require_success(self, http: &Http) -> Result<Answer, DiscoveryError> {
        if (200..300).contains(&self.status) {
            return Ok(self);
        }
        let text = String::from_utf8_lossy(&self.body);
        let text: String = text.trim().chars().take(ERROR_BYTES_MAX).collect();
        let what = format!("it answered {}: {text}", self.status);
        match self.status {
            // Too many requests, or too slow ones, are trouble that passes.
            408 | 425 | 429 => Err(http.trouble(what)),
            400..500 => Err(http.unfit(what)),
            _ => Err(http.trouble(what)),
        }
    }
}

impl Stream {
    /// Returns the next line; none at the end of the answer.
    pub(super) async fn next_line(&mut self, http: &Http) -> Result<Option<Value>, DiscoveryError> {
        loop {
            if let Some(end) = self.read.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.read.drain(..=end).collect();
                if line.trim_ascii().is_empty() {
                    continue;
                }
                let line = serde_json::from_slice(&line);
                return line.map(Some).map_err(|error| http.trouble(error));
            }
            let Some(frame) = self.body.frame().await else {
                return Ok(None);
            };
            let frame = frame.map_err(|error| http.trouble(error))?;
            self.read
                .extend_from_slice(frame.data_ref().map_or(&[], |data| &data[..]));
            if self.read.len() > BODY_BYTES_MAX {
                return Err(http.trouble("its answer is too long"));
            }
        }
    }
}
