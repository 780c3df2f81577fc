//! The nodes of a cluster over a log, wherever that is: their folders, their addresses, and how they are started and asked.

use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tributary_testkit::ports::free_port;

use crate::http;
use crate::support::{PATIENCE, PROGRAM, Server, program, text};

pub(crate) const NODES: [&str; 3] = ["node-0", "node-1", "node-2"];

/// Folders and addresses of the nodes, and the URL of their log.
pub(crate) struct Cluster {
    folder: PathBuf,
    pub(crate) log: String,
    pub(crate) addresses: [String; 3],
    more: Vec<(&'static str, String)>,
    /// The binary that runs the nodes and their commands.
    pub(crate) program: PathBuf,
}

impl Cluster {
    /// Keeps the nodes' folders in `folder`. `more`: further settings of every node.
    pub(crate) fn new(folder: &Path, log: &str, more: &[(&'static str, String)]) -> Cluster {
        std::fs::write(folder.join("password"), "tributary").expect("there is room");
        Cluster {
            folder: folder.to_owned(),
            log: log.to_owned(),
            addresses: [(); 3].map(|()| format!("127.0.0.1:{}", free_port())),
            more: more.to_vec(),
            program: PathBuf::from(PROGRAM),
        }
    }

    pub(crate) fn data(&self, node: usize) -> PathBuf {
        self.folder.join(NODES[node])
    }

    pub(crate) fn settings(&self, node: usize) -> Vec<(&'static str, String)> {
        let password = self.folder.join("password");
        let mut settings = vec![
            ("TRIBUTARY_CLUSTER_LOG", self.log.clone()),
            (
                "TRIBUTARY_CLUSTER_PASSWORD_FILE",
                text(&password).to_owned(),
            ),
            ("TRIBUTARY_CLUSTER_NODE", NODES[node].to_owned()),
            (
                "TRIBUTARY_CLUSTER_URL",
                format!("http://{}", self.addresses[node]),
            ),
        ];
        settings.extend(self.more.clone());
        settings
    }

    /// Runs a command of a node to its end.
    pub(crate) fn run(&self, node: usize, arguments: &[&str]) -> Output {
        let data = self.data(node);
        let output = program(&self.program)
            .args(["cluster"])
            .args(arguments)
            .args(["--data", text(&data)])
            .env(
                "TRIBUTARY_PLATFORM_KEY_FILE",
                data.with_extension("platform-key"),
            )
            .envs(self.settings(node))
            .output();
        output.expect("the binary runs")
    }

    pub(crate) fn run_for(&self, code: i32, node: usize, arguments: &[&str]) -> Value {
        let output = self.run(node, arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?} {output:?}");
        serde_json::from_slice(&output.stdout).unwrap_or(Value::Null)
    }

    /// Gives a node what it must bring along to join.
    pub(crate) fn give_keys(&self, node: usize) {
        for extension in ["key", "platform-key"] {
            let (from, to) = (self.data(0), self.data(node));
            std::fs::copy(from.with_extension(extension), to.with_extension(extension))
                .expect("the first node has it");
        }
    }

    /// Starts a node. Otherwise returns what it said.
    pub(crate) fn try_start(&self, node: usize) -> Result<Server, String> {
        let settings = self.settings(node);
        let settings: Vec<(&str, &str)> = settings
            .iter()
            .map(|(name, value)| (*name, &**value))
            .collect();
        let (data, listen) = (self.data(node), &self.addresses[node]);
        Server::try_start_as(program(&self.program), &data, listen, &settings, &[])
    }

    pub(crate) fn start(&self, node: usize) -> Server {
        let begun = Instant::now();
        loop {
            match self.try_start(node) {
                Ok(server) => return server,
                Err(output) if output.contains("cannot listen") && begun.elapsed() < PATIENCE => {
                    std::thread::sleep(Duration::from_millis(50));
                }
                Err(output) => panic!("{} did not start: {output}", NODES[node]),
            }
        }
    }

    /// Sends a request to one node after another until one decides it.
    pub(crate) fn decide(
        &self,
        token: &str,
        path: &str,
        key: &str,
        body: &Value,
        first: usize,
    ) -> Value {
        decide(&self.addresses, token, (path, key, body), first)
    }
}

/// Sends a request, a path with a key and a body, to one of the addresses after another until one decides it, and accepts it.
pub(crate) fn decide(
    addresses: &[String],
    token: &str,
    request: (&str, &str, &Value),
    first: usize,
) -> Value {
    let (status, answer) = ask(addresses, token, request, first);
    assert!(status < 300, "{answer}");
    answer
}

/// Like [`decide`], but the payment may also be refused. Returns the status and the answer.
pub(crate) fn ask(
    addresses: &[String],
    token: &str,
    (path, key, body): (&str, &str, &Value),
    first: usize,
) -> (u16, Value) {
    let begun = Instant::now();
    for attempt in first.. {
        let address = &addresses[attempt % addresses.len()];
        match http::request(address, "POST", path, token, Some(key), Some(body)) {
            Ok(answer) if (200..300).contains(&answer.status) || answer.status == 402 => {
                return (answer.status, answer.json());
            }
            // Nothing was written, or nobody knows yet.
            Ok(answer) => assert!(
                [429, 503, 504].contains(&answer.status),
                "{}",
                answer.json()
            ),
            Err(_) => {}
        }
        assert!(begun.elapsed() < PATIENCE, "nobody decides {path} {key}");
        std::thread::sleep(Duration::from_millis(20));
    }
    unreachable!()
}

/// Which of the nodes leads.
pub(crate) fn find_leader(nodes: &[Option<Server>]) -> Option<usize> {
    nodes.iter().position(|node| {
        node.as_ref().is_some_and(|node| {
            let health = http::request(&node.address, "GET", "/health/leader", "", None, None);
            health.is_ok_and(|answer| answer.status == 200)
        })
    })
}

/// Waits until something is found.
pub(crate) fn until<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(begun.elapsed() < PATIENCE, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Opens an account of the platform that may fall below zero.
pub(crate) fn open_account(post: &dyn Fn(&str, &Value) -> Value, name: &str) -> String {
    let body = json!({ "owner": "platform", "currency": "EUR", "kind": "external",
        "external_id": name, "overdraft": "unlimited" });
    let account = post(name, &body);
    account["id"].as_str().expect("an id").to_owned()
}
