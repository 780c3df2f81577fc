//! etcd 3.4 or newer, through its JSON gateway: a node is a key under a lease, which ends with the node; the configuration is a key.
//!
//! In this JSON, keys and values are base64, and numbers of 64 bits are texts.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hyper::Method;
use hyper::header::{AUTHORIZATION, HeaderName, HeaderValue};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::http::{Answer, Http, REQUEST_TIMEOUT, Stream};
use super::keeper::{self, Registration, Versioned};
use super::place::Place;
use super::port::{
    Access, Announcement, ConfigurationSource, Discovery, DiscoveryError, Node, Watch, runtime,
};

/// A node that is gone is forgotten after so many seconds.
const LEASE_SECONDS: u64 = 10;
/// How long a watch waits for a change before the key is read all the same: a connection may be dead without anybody noticing.
const WAIT: Duration = Duration::from_secs(60);
/// Maximum number of nodes that are read.
const NODES_MAX: u64 = 1_000;
/// etcd's code for a token that is missing, wrong or too old (that of gRPC).
const UNAUTHENTICATED: u16 = 401;

/// A prefix of keys, or a key, of etcd.
#[derive(Clone)]
pub(super) struct Etcd {
    http: Http,
    /// Name and password, and the token that they were exchanged for.
    user: Option<(String, String)>,
    token: Arc<Mutex<Option<HeaderValue>>>,
    path: String,
}

impl Etcd {
    pub(super) fn open(place: Place, access: &Access) -> Result<Etcd, DiscoveryError> {
        let http = Http::open(&place, access)?;
        let user = access.credential.as_deref().map(|credential| {
            let parts = credential.split_once(':');
            let (name, password) = parts.ok_or_else(|| {
                http.unfit("the credential must be a name, a colon and a password")
            })?;
            Ok((name.to_owned(), password.to_owned()))
        });
        Ok(Etcd {
            user: user.transpose()?,
            http,
            token: Arc::default(),
            path: place.path,
        })
    }

    /// Key of a node; of all nodes, the prefix.
    fn node_key(&self, name: &str) -> String {
        format!("{}/nodes/{name}", self.path)
    }

    /// Sends a request, and reads the answer to one that succeeded.
    async fn post(&self, path: &str, body: &Value) -> Result<Value, DiscoveryError> {
        let answer = self.request(path, body).await?;
        answer.require_success(&self.http)?.json(&self.http)
    }

    async fn request(&self, path: &str, body: &Value) -> Result<Answer, DiscoveryError> {
        let send = async |token: Option<(HeaderName, HeaderValue)>| {
            let (token, body) = (token.as_ref(), Some(body));
            let sent = self
                .http
                .send(Method::POST, path, token, body, REQUEST_TIMEOUT);
            sent.await
        };
        let answer = send(self.token(false).await?).await?;
        if answer.status == UNAUTHENTICATED && self.user.is_some() {
            return send(self.token(true).await?).await;
        }
        Ok(answer)
    }

    /// Returns the token for a request, a new one if there is none or `anew`; none if nobody has to have one.
    async fn token(&self, anew: bool) -> Result<Option<(HeaderName, HeaderValue)>, DiscoveryError> {
        let Some((name, password)) = &self.user else {
            return Ok(None);
        };
        let kept = self.kept_token().clone().filter(|_| !anew);
        if let Some(token) = kept {
            return Ok(Some((AUTHORIZATION, token)));
        }
        let body = json!({"name": name, "password": password});
        let path = "/v3/auth/authenticate";
        let answer = self
            .http
            .send(Method::POST, path, None, Some(&body), REQUEST_TIMEOUT)
            .await?;
        let answer: Value = answer.require_success(&self.http)?.json(&self.http)?;
        let token = answer["token"]
            .as_str()
            .and_then(|token| HeaderValue::from_str(token).ok());
        let mut token = token.ok_or_else(|| self.http.trouble("its answer has no token"))?;
        token.set_sensitive(true);
        *self.kept_token() = Some(token.clone());
        Ok(Some((AUTHORIZATION, token)))
    }

    fn kept_token(&self) -> std::sync::MutexGuard<'_, Option<HeaderValue>> {
        self.token.lock().expect("no holder of the lock panics")
    }

    async fn list(&self) -> Result<Vec<Node>, DiscoveryError> {
        let prefix = self.node_key("");
        // The prefix ends with a slash, which the next byte follows.
        let end = format!("{}0", prefix.trim_end_matches('/'));
        let body = json!({"key": BASE64.encode(&prefix), "range_end": BASE64.encode(end), "limit": NODES_MAX});
        let answer = self.post("/v3/kv/range", &body).await?;
        let pairs = answer["kvs"].as_array().map_or(&[][..], Vec::as_slice);
        let mut nodes = Vec::new();
        for pair in pairs {
            let node = value_of(pair).and_then(|value| serde_json::from_slice(&value).ok());
            nodes.push(node.ok_or_else(|| {
                self.http
                    .unfit(format!("a key below {prefix} holds no node"))
            })?);
        }
        nodes.sort();
        Ok(nodes)
    }

    /// Reads the key. Returns the number of the last change of anything in etcd, too.
    async fn get(&self) -> Result<(u64, Value), DiscoveryError> {
        let body = json!({"key": BASE64.encode(&self.path)});
        let answer = self.post("/v3/kv/range", &body).await?;
        let revision = number_of(&answer["header"]["revision"]);
        let revision = revision.ok_or_else(|| self.http.trouble("its answer has no revision"))?;
        match answer["kvs"].get(0) {
            Some(pair) => Ok((revision, pair.clone())),
            None => Err(self.http.unfit(format!("it has no key {}", self.path))),
        }
    }
}

/// Returns the bytes of a value.
fn value_of(pair: &Value) -> Option<Vec<u8>> {
    // An empty value is left out.
    BASE64
        .decode(pair["value"].as_str().unwrap_or_default())
        .ok()
}

/// Reads a number of 64 bits.
fn number_of(value: &Value) -> Option<u64> {
    value.as_str()?.parse().ok()
}

impl Discovery for Etcd {
    fn announce(&self, node: Node) -> Result<Announcement, DiscoveryError> {
        let leased = Leased {
            etcd: self.clone(),
            lease: None,
        };
        keeper::announce(leased, node)
    }

    fn nodes(&self) -> Result<Vec<Node>, DiscoveryError> {
        runtime()?.block_on(self.list())
    }
}

impl ConfigurationSource for Etcd {
    fn read(&self) -> Result<String, DiscoveryError> {
        let (_, pair) = runtime()?.block_on(self.get())?;
        let text = value_of(&pair).and_then(|text| String::from_utf8(text).ok());
        text.ok_or_else(|| {
            self.http
                .unfit(format!("the key {} does not hold a text", self.path))
        })
    }

    fn watch(&self, changed: Box<dyn Fn() + Send>) -> Result<Watch, DiscoveryError> {
        let mut text = Text {
            etcd: self.clone(),
            revision: 0,
        };
        let seen = runtime()?.block_on(text.version())?;
        keeper::watch(text, seen, changed)
    }
}

/// A node's key, and the lease that it is under.
struct Leased {
    etcd: Etcd,
    lease: Option<String>,
}

impl Leased {
    /// Renews the lease. False if it has ended.
    async fn renew(&self, lease: &str) -> Result<bool, DiscoveryError> {
        let answer = self
            .etcd
            .post("/v3/lease/keepalive", &json!({"ID": lease}))
            .await?;
        // A lease that has ended is answered too, without a time to live.
        Ok(number_of(&answer["result"]["TTL"]).is_some_and(|seconds| seconds > 0))
    }
}

impl Registration for Leased {
    const KEEP_EVERY: Duration = Duration::from_secs(LEASE_SECONDS / 3);

    async fn register(&mut self, node: &Node) -> Result<(), DiscoveryError> {
        let etcd = &self.etcd;
        let granted = etcd
            .post("/v3/lease/grant", &json!({"TTL": LEASE_SECONDS}))
            .await?;
        let lease = granted["ID"].as_str();
        let lease = lease
            .ok_or_else(|| etcd.http.trouble("its answer has no lease"))?
            .to_owned();
        let value = serde_json::to_vec(node).expect("a node is JSON");
        let body = json!({
            "key": BASE64.encode(etcd.node_key(&node.name)),
            "value": BASE64.encode(value),
            "lease": lease,
        });
        // Before the key is there: a lease whose key may have been put must be known.
        self.lease = Some(lease);
        etcd.post("/v3/kv/put", &body).await.map(|_| ())
    }

    async fn keep(&mut self, _node: &Node) -> Result<bool, DiscoveryError> {
        match &self.lease {
            Some(lease) => self.renew(lease).await,
            None => Ok(false),
        }
    }

    async fn withdraw(&mut self, _node: &Node) -> Result<(), DiscoveryError> {
        let Some(lease) = &self.lease else {
            return Ok(());
        };
        let body = json!({"ID": lease});
        let answer = self.etcd.request("/v3/lease/revoke", &body).await?;
        match answer.status {
            // It has ended already.
            404 => Ok(()),
            _ => answer.require_success(&self.etcd.http).map(|_| ()),
        }
    }
}

/// A watched key.
struct Text {
    etcd: Etcd,
    /// Number of the last change, of whatever key, when this key was read: what follows is watched.
    revision: u64,
}

impl Versioned for Text {
    async fn version(&mut self) -> Result<u64, DiscoveryError> {
        let (revision, pair) = self.etcd.get().await?;
        self.revision = revision;
        let version = number_of(&pair["mod_revision"]);
        version.ok_or_else(|| self.etcd.http.trouble("its answer has no mod_revision"))
    }

    async fn wait(&mut self) -> Result<(), DiscoveryError> {
        let etcd = &self.etcd;
        let body = json!({"create_request": {
            "key": BASE64.encode(&etcd.path),
            "start_revision": (self.revision + 1).to_string(),
        }});
        let token = etcd.token(false).await?;
        let mut stream = match etcd.http.stream("/v3/watch", token.as_ref(), &body).await {
            Ok(stream) => stream,
            Err(error) => {
                // The token may be too old.
                etcd.kept_token().take();
                return Err(error);
            }
        };
        // Without a change the key is read all the same.
        let change = first_change(&mut stream, &etcd.http);
        timeout(WAIT, change).await.unwrap_or(Ok(()))
    }
}

/// Waits for a change, or for the end of the watch: etcd ends one that begins before what it still knows.
async fn first_change(stream: &mut Stream, http: &Http) -> Result<(), DiscoveryError> {
    while let Some(line) = stream.next_line(http).await? {
        let result = &line["result"];
        if result["events"].is_array() || result["canceled"] == true {
            return Ok(());
        }
        if !line["error"].is_null() {
            return Err(http.trouble(format!("it ended the watch: {}", line["error"])));
        }
    }
    Ok(())
}
