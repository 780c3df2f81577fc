//! Consul: nodes are services of an agent, which asks for their health; the configuration is a key of its store.
//!
//! See the HTTP API of Consul: `/v1/agent/service`, `/v1/health/service`, `/v1/kv`, and "blocking queries".

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hyper::Method;
use hyper::header::{HeaderName, HeaderValue};
use serde::Deserialize;
use serde_json::{Value, json};

use super::http::{Answer, Http, REQUEST_TIMEOUT};
use super::keeper::{self, Registration, Versioned};
use super::place::{Place, Server};
use super::port::{
    Access, Announcement, ConfigurationSource, Discovery, DiscoveryError, Node, Watch, runtime,
};

/// How often the agent asks for the node's health.
const CHECK_INTERVAL: &str = "2s";
/// How long the agent waits for an answer of the node.
const CHECK_TIMEOUT: &str = "2s";
/// The agent forgets a node that is not ready for so long. A node that lives announces itself again.
const FORGET_AFTER: &str = "10m";
/// How long a blocking query waits for a change.
const WAIT_SECONDS: u64 = 60;
/// A blocking query takes a sixteenth longer than it is told, so that queries do not end all at once.
const WAIT_PATIENCE: Duration = Duration::from_secs(WAIT_SECONDS + WAIT_SECONDS / 16 + 5);
const TOKEN: HeaderName = HeaderName::from_static("x-consul-token");
const INDEX: HeaderName = HeaderName::from_static("x-consul-index");

/// A service, or a key, of Consul.
#[derive(Clone)]
pub(super) struct Consul {
    http: Http,
    token: Option<(HeaderName, HeaderValue)>,
    /// Name of the service, or the key.
    path: String,
}

impl Consul {
    pub(super) fn open(place: Place, access: &Access) -> Result<Consul, DiscoveryError> {
        let http = Http::open(&place, access)?;
        let token = access.credential.as_deref().map(|token| {
            let mut value = HeaderValue::from_str(token)
                .map_err(|_| http.unfit("the credential is not a token"))?;
            value.set_sensitive(true);
            Ok((TOKEN, value))
        });
        Ok(Consul {
            token: token.transpose()?,
            http,
            path: place.path,
        })
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        patience: Duration,
    ) -> Result<Answer, DiscoveryError> {
        let token = self.token.as_ref();
        self.http.send(method, path, token, body, patience).await
    }

    async fn list(&self) -> Result<Vec<Node>, DiscoveryError> {
        let path = format!("/v1/health/service/{}?passing=1", self.path);
        let answer = self.send(Method::GET, &path, None, REQUEST_TIMEOUT).await?;
        let entries: Vec<Entry> = answer.require_success(&self.http)?.json(&self.http)?;
        let mut nodes: Vec<Node> = entries.into_iter().map(Entry::into_node).collect();
        nodes.sort();
        Ok(nodes)
    }

    /// Asks for the key, at once or when its index is another one than `seen`. Returns the index, too.
    async fn get(&self, seen: Option<u64>) -> Result<(u64, Value), DiscoveryError> {
        let mut path = format!("/v1/kv/{}", self.path);
        let mut patience = REQUEST_TIMEOUT;
        if let Some(seen) = seen {
            path += &format!("?index={seen}&wait={WAIT_SECONDS}s");
            patience = WAIT_PATIENCE;
        }
        let answer = self.send(Method::GET, &path, None, patience).await?;
        if answer.status == 404 {
            return Err(self.http.unfit(format!("it has no key {}", self.path)));
        }
        let answer = answer.require_success(&self.http)?;
        let index = answer.headers.get(INDEX);
        let index = index.and_then(|index| index.to_str().ok()?.parse().ok());
        let index = index.ok_or_else(|| self.http.trouble("its answer has no X-Consul-Index"))?;
        let mut found: Vec<Value> = answer.json(&self.http)?;
        let pair = found
            .pop()
            .ok_or_else(|| self.http.trouble("its answer holds no key"))?;
        Ok((index, pair))
    }
}

impl Discovery for Consul {
    fn announce(&self, node: Node) -> Result<Announcement, DiscoveryError> {
        server_of(&node.url).ok_or_else(|| {
            self.http
                .unfit(format!("{} names no host and port to announce", node.url))
        })?;
        keeper::announce(self.clone(), node)
    }

    fn nodes(&self) -> Result<Vec<Node>, DiscoveryError> {
        runtime()?.block_on(self.list())
    }
}

impl ConfigurationSource for Consul {
    fn read(&self) -> Result<String, DiscoveryError> {
        let (_, pair) = runtime()?.block_on(self.get(None))?;
        let value = pair["Value"].as_str().unwrap_or_default();
        let text = BASE64.decode(value).ok();
        let text = text.and_then(|text| String::from_utf8(text).ok());
        text.ok_or_else(|| {
            self.http
                .unfit(format!("the key {} does not hold a text", self.path))
        })
    }

    fn watch(&self, changed: Box<dyn Fn() + Send>) -> Result<Watch, DiscoveryError> {
        let mut text = Text {
            consul: self.clone(),
            index: 0,
        };
        let seen = runtime()?.block_on(text.version())?;
        keeper::watch(text, seen, changed)
    }
}

/// A watched key.
struct Text {
    consul: Consul,
    /// Index of the last answer, which a blocking query waits to change.
    index: u64,
}

impl Versioned for Text {
    async fn version(&mut self) -> Result<u64, DiscoveryError> {
        let (index, pair) = self.consul.get(None).await?;
        self.index = index;
        let version = pair["ModifyIndex"].as_u64();
        version.ok_or_else(|| self.consul.http.trouble("its answer has no ModifyIndex"))
    }

    async fn wait(&mut self) -> Result<(), DiscoveryError> {
        // A query with the index 0 does not wait.
        let index = self.index.max(1);
        self.consul.get(Some(index)).await.map(|_| ())
    }
}

impl Registration for Consul {
    const KEEP_EVERY: Duration = Duration::from_secs(10);

    async fn register(&mut self, node: &Node) -> Result<(), DiscoveryError> {
        let server = server_of(&node.url);
        let server = server.ok_or_else(|| self.http.unfit("the node's url names no host"))?;
        let mut meta = json!({"url": node.url});
        if let Some(url) = &node.grpc_url {
            meta["grpc_url"] = json!(url);
        }
        let service = json!({
            "ID": node.name,
            "Name": self.path,
            "Address": server.host,
            "Port": server.port,
            "Meta": meta,
            "Check": {
                "CheckID": format!("service:{}", node.name),
                "Name": "ready",
                "HTTP": node.health_url,
                "Interval": CHECK_INTERVAL,
                "Timeout": CHECK_TIMEOUT,
                "DeregisterCriticalServiceAfter": FORGET_AFTER,
            },
        });
        let path = "/v1/agent/service/register";
        let answer = self
            .send(Method::PUT, path, Some(&service), REQUEST_TIMEOUT)
            .await?;
        answer.require_success(&self.http).map(|_| ())
    }

    async fn keep(&mut self, node: &Node) -> Result<bool, DiscoveryError> {
        let path = format!("/v1/agent/service/{}", node.name);
        let answer = self.send(Method::GET, &path, None, REQUEST_TIMEOUT).await?;
        match answer.status {
            404 => Ok(false),
            _ => answer.require_success(&self.http).map(|_| true),
        }
    }

    async fn withdraw(&mut self, node: &Node) -> Result<(), DiscoveryError> {
        let path = format!("/v1/agent/service/deregister/{}", node.name);
        let answer = self.send(Method::PUT, &path, None, REQUEST_TIMEOUT).await?;
        match answer.status {
            404 => Ok(()),
            _ => answer.require_success(&self.http).map(|_| ()),
        }
    }
}

/// Returns where a node's URL leads.
fn server_of(url: &str) -> Option<Server> {
    let uri: hyper::Uri = url.parse().ok()?;
    let default_port = match uri.scheme_str()? {
        "http" => 80,
        "https" => 443,
        _ => return None,
    };
    Some(Server {
        host: uri.host()?.trim_matches(['[', ']']).to_owned(),
        port: uri.port_u16().unwrap_or(default_port),
    })
}

/// A service as `/v1/health/service` has it.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    node: Member,
    service: Service,
}

/// A machine that runs an agent.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Member {
    #[serde(default)]
    address: String,
}

#[derive(Deserialize)]
struct Service {
    #[serde(rename = "ID")]
    id: String,
    #[serde(rename = "Address", default)]
    address: String,
    #[serde(rename = "Port", default)]
    port: u16,
    #[serde(rename = "Meta", default)]
    meta: Option<Meta>,
}

#[derive(Default, Deserialize)]
struct Meta {
    url: Option<String>,
    grpc_url: Option<String>,
}

impl Entry {
    /// What was announced by somebody else has no URL of its own; a service without an address is where its agent is.
    fn into_node(self) -> Node {
        let Service {
            id,
            address,
            port,
            meta,
        } = self.service;
        let meta = meta.unwrap_or_default();
        let host = if address.is_empty() {
            self.node.address
        } else {
            address
        };
        let url = meta
            .url
            .unwrap_or_else(|| format!("http://{}", Server { host, port }));
        Node {
            name: id,
            health_url: format!("{url}/health/ready"),
            url,
            grpc_url: meta.grpc_url,
        }
    }
}
