//! What answers like an agent of Consul, as far as we use Consul: no server of Consul can be had from a package registry.
//!
//! It keeps services and a key-value store in memory, asks services for their health, and knows blocking queries. Consul's own client
//! library for Go takes it for Consul: `peers/consul/check`.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

/// Pause between two questions for the health of every service, whatever interval it asks for.
const CHECK_EVERY: Duration = Duration::from_millis(100);
/// Longest wait for an answer of a service.
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a blocking query waits that does not say how long.
const WAIT_DEFAULT: Duration = Duration::from_secs(300);
/// Maximum size of a body, in bytes.
const BODY_BYTES_MAX: usize = 1 << 20;

/// A stand-in for an agent of Consul, on a port of the loopback address. It ends when this is dropped.
pub struct ConsulStandIn {
    shared: Arc<Shared>,
    address: SocketAddr,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    is_over: AtomicBool,
    /// Whether it closes every connection unanswered.
    is_away: AtomicBool,
    /// Token that every request must have; none if no request needs one.
    token: Option<String>,
}

#[derive(Default)]
struct State {
    /// Grows with each change.
    index: u64,
    services: BTreeMap<String, Service>,
    pairs: BTreeMap<String, Pair>,
}

struct Service {
    /// As it was registered.
    registration: Value,
    is_passing: bool,
    created: u64,
    modified: u64,
}

#[derive(Clone)]
struct Pair {
    value: Vec<u8>,
    created: u64,
    modified: u64,
}

struct Request {
    method: String,
    path: String,
    query: BTreeMap<String, String>,
    token: Option<String>,
    body: Vec<u8>,
}

/// Status, index if it has one, body, and whether that is JSON.
type Answer = (u16, Option<u64>, Vec<u8>, bool);

impl ConsulStandIn {
    /// Starts one. With `token`, only who has the token may do anything.
    ///
    /// # Panics
    /// If there is no port.
    #[must_use]
    pub fn start(token: Option<&str>) -> ConsulStandIn {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let address = listener.local_addr().expect("it is bound");
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            changed: Condvar::new(),
            is_over: AtomicBool::new(false),
            is_away: AtomicBool::new(false),
            token: token.map(str::to_owned),
        });
        let server = shared.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if server.is_over.load(Ordering::Relaxed) {
                    return;
                }
                let server = server.clone();
                std::thread::spawn(move || server.serve(stream.expect("a connection")));
            }
        });
        let checker = shared.clone();
        std::thread::spawn(move || checker.check_services());
        ConsulStandIn { shared, address }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sets a key, as an operator would.
    pub fn put(&self, key: &str, value: &str) {
        self.shared.put(key, value.as_bytes());
    }

    /// Names of the services that are registered.
    #[must_use]
    pub fn services(&self) -> Vec<String> {
        self.shared.state().services.keys().cloned().collect()
    }

    /// Forgets every service, as an agent that lost its data.
    pub fn forget_services(&self) {
        self.shared.change(|state, _| state.services.clear());
    }

    /// Answers nobody, or again everybody.
    pub fn set_away(&self, is_away: bool) {
        self.shared.is_away.store(is_away, Ordering::Relaxed);
        self.shared.changed.notify_all();
    }
}

impl Drop for ConsulStandIn {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
        self.shared.changed.notify_all();
        // It waits for a connection.
        let _ = TcpStream::connect(self.address);
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(&self, change: impl FnOnce(&mut State, u64) -> T) -> T {
        let mut state = self.state();
        state.index += 1;
        let index = state.index;
        let result = change(&mut state, index);
        self.changed.notify_all();
        result
    }

    fn put(&self, key: &str, value: &[u8]) {
        self.change(|state, index| {
            let created = state.pairs.get(key).map_or(index, |pair| pair.created);
            let pair = Pair {
                value: value.to_owned(),
                created,
                modified: index,
            };
            state.pairs.insert(key.to_owned(), pair);
        });
    }

    /// Answers the requests of one connection.
    fn serve(&self, stream: TcpStream) {
        let mut reader = BufReader::new(stream.try_clone().expect("a stream can be shared"));
        let mut writer = stream;
        while let Some(request) = read_request(&mut reader) {
            if self.is_away.load(Ordering::Relaxed) {
                return;
            }
            let answer = self.answer(&request);
            if self.is_away.load(Ordering::Relaxed) || write_answer(&mut writer, answer).is_err() {
                return;
            }
        }
    }

    fn answer(&self, request: &Request) -> Answer {
        if self.token.is_some() && self.token != request.token {
            return text(403, "Permission denied: anonymous token lacks permission");
        }
        let path = request.path.as_str();
        let after = |prefix: &str| path.strip_prefix(prefix).map(str::to_owned);
        match request.method.as_str() {
            "PUT" if path == "/v1/agent/service/register" => self.register(&request.body),
            "PUT" if let Some(id) = after("/v1/agent/service/deregister/") => {
                match self.change(|state, _| state.services.remove(&id)) {
                    Some(_) => text(200, ""),
                    None => unknown_service(&id),
                }
            }
            "GET" if let Some(id) = after("/v1/agent/service/") => {
                match self.state().services.get(&id) {
                    Some(service) => ok(None, &service.render()),
                    None => unknown_service(&id),
                }
            }
            "GET" if let Some(name) = after("/v1/health/service/") => self.health(&name, request),
            "GET" if let Some(key) = after("/v1/kv/") => self.get(&key, request),
            "PUT" if let Some(key) = after("/v1/kv/") => {
                self.put(&key, &request.body);
                ok(None, &json!(true))
            }
            "DELETE" if let Some(key) = after("/v1/kv/") => {
                self.change(|state, _| state.pairs.remove(&key));
                ok(None, &json!(true))
            }
            _ => text(404, "this stand-in does not know the path"),
        }
    }

    fn register(&self, body: &[u8]) -> Answer {
        let Ok(registration) = serde_json::from_slice::<Value>(body) else {
            return text(400, "Request decode failed");
        };
        let Some(name) = registration["Name"]
            .as_str()
            .filter(|name| !name.is_empty())
        else {
            return text(400, "Missing service name");
        };
        let id = registration["ID"].as_str().unwrap_or(name).to_owned();
        // A service without a check passes; one with a check does not before it was asked.
        let is_passing = registration["Check"].is_null();
        self.change(|state, index| {
            let known = state.services.get(&id);
            let service = Service {
                is_passing: known.map_or(is_passing, |known| known.is_passing),
                created: known.map_or(index, |known| known.created),
                registration,
                modified: index,
            };
            state.services.insert(id, service);
        });
        text(200, "")
    }

    fn health(&self, name: &str, request: &Request) -> Answer {
        let of_name = |state: &State| {
            let all = state.services.values();
            let of_name = all.filter(|service| service.registration["Name"] == name);
            let passing =
                of_name.filter(|s| s.is_passing || !request.query.contains_key("passing"));
            let found: Vec<(u64, Value)> =
                passing.map(|s| (s.modified, s.render_health())).collect();
            found
        };
        let state = self.wait_for_change(request, |state| state.index);
        let found: Vec<Value> = of_name(&state)
            .into_iter()
            .map(|(_, entry)| entry)
            .collect();
        ok(Some(state.index.max(1)), &json!(found))
    }

    fn get(&self, key: &str, request: &Request) -> Answer {
        // The index of a key is that of its last change, of a missing one that of everything.
        let index_of = |state: &State| {
            state
                .pairs
                .get(key)
                .map_or(state.index, |pair| pair.modified)
        };
        let state = self.wait_for_change(request, index_of);
        let index = Some(index_of(&state).max(1));
        let Some(pair) = state.pairs.get(key) else {
            return (404, index, Vec::new(), false);
        };
        if request.query.contains_key("raw") {
            return (200, index, pair.value.clone(), false);
        }
        let value = match pair.value.is_empty() {
            true => Value::Null,
            false => json!(BASE64.encode(&pair.value)),
        };
        let pair = json!({
            "LockIndex": 0, "Key": key, "Flags": 0, "Value": value,
            "CreateIndex": pair.created, "ModifyIndex": pair.modified,
        });
        ok(index, &json!([pair]))
    }

    /// Waits as a blocking query does: while the index is not above the one that the request has seen.
    fn wait_for_change(
        &self,
        request: &Request,
        index_of: impl Fn(&State) -> u64,
    ) -> MutexGuard<'_, State> {
        let seen = request
            .query
            .get("index")
            .and_then(|index| index.parse().ok());
        let seen: u64 = seen.unwrap_or(0);
        let wait = request.query.get("wait").and_then(|wait| parse_wait(wait));
        let deadline = Instant::now() + wait.unwrap_or(WAIT_DEFAULT);
        let mut state = self.state();
        while seen > 0 && index_of(&state) <= seen {
            let left = deadline.saturating_duration_since(Instant::now());
            let is_over =
                self.is_over.load(Ordering::Relaxed) || self.is_away.load(Ordering::Relaxed);
            if left.is_zero() || is_over {
                break;
            }
            let waited = self.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        state
    }

    /// Asks every service for its health, again and again.
    fn check_services(&self) {
        while !self.is_over.load(Ordering::Relaxed) {
            let services: Vec<(String, String)> = {
                let state = self.state();
                let urls = state.services.iter().filter_map(|(id, service)| {
                    let url = service.registration["Check"]["HTTP"].as_str()?;
                    Some((id.clone(), url.to_owned()))
                });
                urls.collect()
            };
            for (id, url) in services {
                let is_passing = is_healthy(&url);
                let state = self.state();
                let differs = state
                    .services
                    .get(&id)
                    .is_some_and(|service| service.is_passing != is_passing);
                drop(state);
                if differs {
                    self.change(|state, index| {
                        if let Some(service) = state.services.get_mut(&id) {
                            (service.is_passing, service.modified) = (is_passing, index);
                        }
                    });
                }
            }
            std::thread::sleep(CHECK_EVERY);
        }
    }
}

impl Service {
    /// The object of `/v1/agent/service` and of `Service` in `/v1/health/service`.
    fn render(&self) -> Value {
        let given = &self.registration;
        json!({
            "ID": given["ID"].as_str().or(given["Name"].as_str()),
            "Service": given["Name"],
            "Tags": given["Tags"].as_array().cloned().unwrap_or_default(),
            "Meta": given["Meta"].as_object().cloned().unwrap_or_default(),
            "Address": given["Address"].as_str().unwrap_or_default(),
            "Port": given["Port"].as_u64().unwrap_or_default(),
            "Weights": {"Passing": 1, "Warning": 1},
            "EnableTagOverride": false,
            "CreateIndex": self.created,
            "ModifyIndex": self.modified,
        })
    }

    fn render_health(&self) -> Value {
        let (service, check) = (self.render(), &self.registration["Check"]);
        let mut checks = Vec::new();
        if !check.is_null() {
            checks.push(json!({
                "Node": "stand-in",
                "CheckID": check["CheckID"],
                "Name": check["Name"],
                "Status": if self.is_passing { "passing" } else { "critical" },
                "ServiceID": service["ID"],
                "ServiceName": service["Service"],
                "Type": "http",
                "CreateIndex": self.created,
                "ModifyIndex": self.modified,
            }));
        }
        json!({
            "Node": {"ID": "", "Node": "stand-in", "Address": "127.0.0.1", "Datacenter": "dc1", "CreateIndex": 1, "ModifyIndex": 1},
            "Service": service,
            "Checks": checks,
        })
    }
}

fn ok(index: Option<u64>, body: &Value) -> Answer {
    (200, index, body.to_string().into_bytes(), true)
}

fn text(status: u16, text: &str) -> Answer {
    (status, None, text.as_bytes().to_vec(), false)
}

fn unknown_service(id: &str) -> Answer {
    text(404, &format!("unknown service ID: {id}"))
}

/// Reads a duration such as `60s` or `60000ms`.
fn parse_wait(text: &str) -> Option<Duration> {
    match text.strip_suffix("ms") {
        Some(number) => Some(Duration::from_millis(number.parse().ok()?)),
        None => Some(Duration::from_secs(text.strip_suffix('s')?.parse().ok()?)),
    }
}

/// Whether a GET is answered with 2xx.
fn is_healthy(url: &str) -> bool {
    let ask = || -> std::io::Result<bool> {
        let rest = url.strip_prefix("http://").unwrap_or_default();
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        let mut stream = TcpStream::connect(host)?;
        stream.set_read_timeout(Some(CHECK_TIMEOUT))?;
        write!(
            stream,
            "GET /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
        )?;
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line)?;
        Ok(line.starts_with("HTTP/1.1 2"))
    };
    ask().unwrap_or(false)
}

/// Reads the next request of a connection; none at its end.
fn read_request(reader: &mut BufReader<TcpStream>) -> Option<Request> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
    let mut words = line.split_whitespace();
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let (mut length, mut token, mut is_chunked) = (0, None, false);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
        let Some((name, value)) = line.split_once(':') else {
            break;
        };
        let value = value.trim();
        match name.to_ascii_lowercase().as_str() {
            "content-length" => {
                length = value
                    .parse()
                    .ok()
                    .filter(|length| *length <= BODY_BYTES_MAX)?
            }
            "transfer-encoding" => is_chunked = value == "chunked",
            "x-consul-token" => token = Some(value.to_owned()).filter(|token| !token.is_empty()),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    match is_chunked {
        true => body = read_chunks(reader)?,
        false => reader.read_exact(&mut body).ok()?,
    }
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let query = query
        .split('&')
        .filter(|part| !part.is_empty())
        .map(|part| {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            (name.to_owned(), value.to_owned())
        });
    Some(Request {
        method,
        path: path.to_owned(),
        query: query.collect(),
        token,
        body,
    })
}

/// Reads a body that comes in chunks, as Go sends one whose length it does not know.
fn read_chunks(reader: &mut BufReader<TcpStream>) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let length = usize::from_str_radix(line.trim(), 16).ok()?;
        let mut chunk = vec![0; length + 2];
        reader.read_exact(&mut chunk).ok()?;
        body.extend_from_slice(&chunk[..length]);
        if length == 0 {
            return Some(body);
        }
        if body.len() > BODY_BYTES_MAX {
            return None;
        }
    }
}

fn write_answer(writer: &mut TcpStream, answer: Answer) -> std::io::Result<()> {
    let (status, index, body, is_json) = answer;
    let kind = if is_json {
        "application/json"
    } else {
        "text/plain"
    };
    let mut head = format!(
        "HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n",
        body.len()
    );
    if let Some(index) = index {
        head += &format!(
            "X-Consul-Index: {index}\r\nX-Consul-Knownleader: true\r\nX-Consul-Lastcontact: 0\r\n"
        );
    }
    writer.write_all(format!("{head}\r\n").as_bytes())?;
    writer.write_all(&body)
}
