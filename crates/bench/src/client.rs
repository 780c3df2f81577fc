//! Single requests to a server, outside the measured load.

use std::net::SocketAddr;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use serde_json::Value;

use crate::http_client::{HttpClient, HttpResponse, RequestTag, Workload};
use crate::payload::IdBytes;
use crate::requests::{Head, put_get, put_post};

/// Maximum time for which a request is repeated while the server is busy.
const RETRY_MAX: Duration = Duration::from_secs(60);
/// Time between two attempts.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// A blocking client with one connection.
pub(crate) struct Client {
    http: HttpClient,
    head: Head,
}

/// One request, and its response once it has arrived.
struct Exchange<'a> {
    request: Option<&'a [u8]>,
    response: Option<(u16, Vec<u8>)>,
}

impl Workload for Exchange<'_> {
    fn next_request(&mut self, into: &mut Vec<u8>) -> Option<RequestTag> {
        into.extend_from_slice(self.request.take()?);
        Some(RequestTag::default())
    }

    fn take_response(&mut self, _: RequestTag, response: HttpResponse<'_>) -> anyhow::Result<()> {
        self.response = Some((response.status, response.body.to_vec()));
        Ok(())
    }
}

impl Client {
    /// Connects to a server.
    pub(crate) fn connect(server: SocketAddr, token: &str) -> anyhow::Result<Client> {
        Ok(Client {
            http: HttpClient::open(server, 1)?,
            head: Head {
                host: server.to_string(),
                token: token.to_owned(),
            },
        })
    }

    /// Returns the body of the response to a GET request.
    pub(crate) fn get(&mut self, path: &str) -> anyhow::Result<Vec<u8>> {
        let mut request = Vec::new();
        put_get(&mut request, &self.head, format_args!("{path}"));
        self.send(&request).with_context(|| format!("GET {path}"))
    }

    /// Returns the JSON of the response to a GET request.
    pub(crate) fn get_json(&mut self, path: &str) -> anyhow::Result<Value> {
        let body = self.get(path)?;
        serde_json::from_slice(&body).with_context(|| format!("GET {path}: the body is not JSON"))
    }

    /// Sends a POST request with an idempotency key, and returns the JSON of the response.
    pub(crate) fn post_json(
        &mut self,
        path: &str,
        key: &IdBytes,
        body: &Value,
    ) -> anyhow::Result<Value> {
        let mut request = Vec::new();
        put_post(&mut request, &self.head, path, key, &body.to_string());
        let body = self
            .send(&request)
            .with_context(|| format!("POST {path}"))?;
        serde_json::from_slice(&body).with_context(|| format!("POST {path}: the body is not JSON"))
    }

    /// Sends a request, again while the server is busy, and returns the body of a successful response.
    fn send(&mut self, request: &[u8]) -> anyhow::Result<Vec<u8>> {
        let begun = Instant::now();
        loop {
            let mut exchange = Exchange {
                request: Some(request),
                response: None,
            };
            self.http
                .run(&mut exchange, None, &AtomicBool::new(false))?;
            match exchange.response.context("the server did not answer")? {
                (200..300, body) => return Ok(body),
                (429 | 503, _) if begun.elapsed() < RETRY_MAX => std::thread::sleep(RETRY_PAUSE),
                (status, body) => {
                    bail!("status {status}: {}", String::from_utf8_lossy(&body))
                }
            }
        }
    }
}
