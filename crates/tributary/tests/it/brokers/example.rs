//! What is asked of every broker whose example is `place_orders.py`: orders are paid once and answered, whoever is killed meanwhile.

use std::collections::BTreeMap;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::engine::Engine;
use crate::crash::verify;
use crate::support::{PATIENCE, Server, all_pages, repository, tool};

/// An example of `examples/NAME`, and where its broker is.
#[derive(Clone, Copy)]
pub(super) struct Example {
    /// Name of the folder, of the engine and of the type of the binder.
    pub(super) name: &'static str,
    /// How urls begin: `nats://`.
    pub(super) scheme: &'static str,
    /// User of the broker, whose password is the same; none if it has no users.
    pub(super) user: Option<&'static str>,
    /// A program of another language that places so many orders from the first one on, if there is one.
    pub(super) other: Option<fn(&Engine, u64, u64) -> Command>,
    /// Where orders are sent.
    pub(super) orders: &'static str,
    /// Where replies are read.
    pub(super) replies: &'static str,
}

impl Example {
    fn url(&self, engine: &Engine) -> String {
        format!("{}{}", self.scheme, engine.address())
    }

    /// The program; none if there is no Python with its library.
    fn program(&self, engine: &Engine, arguments: &[&str]) -> Option<Command> {
        // An engine may bring the library of its clients along.
        let own = repository().join(format!("target/engines/{}/python/bin/python", self.name));
        let python = if own.exists() {
            own
        } else {
            tool("tools-python")?
        };
        let mut command = Command::new(python);
        let program = format!("examples/{}/place_orders.py", self.name);
        let user = self.user.map(|user| format!("{user}:{user}@"));
        let user = user.unwrap_or_default();
        let url = format!("{}{user}{}", self.scheme, engine.address());
        command
            .arg(repository().join(program))
            .args(["--url", &url, "--wait", "100"])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        Some(command)
    }

    /// Starts to place orders.
    pub(super) fn place(&self, engine: &Engine, first: u64, count: u64) -> Child {
        let (first, count) = (first.to_string(), count.to_string());
        let program = self.program(engine, &["--first", &first, "--count", &count]);
        let mut program = program.expect("it was there a moment ago");
        program.spawn().expect("it runs")
    }

    /// Joins the orders to the system, as the settings of the example do.
    fn bind(&self, server: &Server, engine: &Engine) {
        open_account(server, "wallet-anna", "external");
        open_account(server, "shop", "merchant");
        let key = json!({"owner": "platform", "access": "write"});
        let key = server.post("/v1/api_keys", "binding", &key).ok();
        let binder = json!({
            "slug": "main", "type": self.name, "url": self.url(engine),
            "username": self.user, "password": self.user,
        });
        server.post("/v1/binders", "binder", &binder).ok();
        let binding = json!({
            "slug": "orders", "binder": "main", "direction": "in", "destination": self.orders,
            "acts_as": key["id"], "identity_from": "field order_id",
            "consumer": {"back_off_initial_interval": 50, "back_off_max_interval": 500},
            "reply": {"allow": [self.replies]},
            "map": {
                "currency": "EUR", "source": "wallet-anna", "destination": "shop",
                "reference": "{order_id}", "amount": {"field": "amount", "unit": "minor"},
            },
        });
        server.post("/v1/bindings", "orders", &binding).ok();
    }

    /// Starts the broker with what the example declares; none if the test is to be skipped.
    pub(super) fn start(&self) -> Option<Engine> {
        self.start_on(self.name)
    }

    /// The same with another engine of this type of broker.
    pub(super) fn start_on(&self, engine: &str) -> Option<Engine> {
        let engine = Engine::start(engine)?;
        let mut declare = self.program(&engine, &["--declare-only"])?;
        succeed(declare.spawn().expect("it runs"), "declaring");
        Some(engine)
    }

    /// A client that knows nothing of Tributary places orders, twice.
    pub(super) fn orders_are_paid_once_and_answered(&self) {
        if let Some(engine) = self.start() {
            self.pay_and_answer(&engine);
        }
    }

    /// The same, with a broker that has all destinations.
    pub(super) fn pay_and_answer(&self, engine: &Engine) {
        let directory = tempfile::tempdir().expect("directory");
        let server = Server::start(&directory.path().join("data"));
        self.bind(&server, engine);
        let run = || {
            let output = succeed(self.place(engine, 123_456, 50), "the client");
            answered(&output)
        };
        let results = run();
        assert_eq!(results.len(), 50);
        assert!(results.values().all(|kind| kind == "payment.captured"));
        // The same orders once more: each is answered again, and none is paid again.
        assert_eq!(run(), results);
        let mut count = 50;
        check_paid_once(&server, 123_456, count);
        if let Some(other) = self.other {
            let mut other = other(engine, 123_456 + count, 10);
            let other = other.stdin(Stdio::null());
            let pipes = other.stdout(Stdio::piped()).stderr(Stdio::piped());
            let output = succeed(pipes.spawn().expect("it runs"), "the other client");
            assert_eq!(answered(&output).len(), 10);
            count += 10;
            check_paid_once(&server, 123_456, count);
        }
        let bindings = server.get("/v1/bindings");
        let id = bindings["data"][0]["id"].as_str().expect("an id");
        // The last reply may be here before it is counted.
        let begun = Instant::now();
        loop {
            let figures = server.get(&format!("/v1/bindings/{id}/figures"));
            let counts = ["decided", "sent", "repeated", "dead_letters", "in_hand"];
            let counts = counts.map(|name| figures[name].as_u64().expect("a count"));
            let [decided, sent, repeated, dead_letters, in_hand] = counts;
            // A broker may deliver an order once more than it was sent.
            let is_done =
                [decided, sent, dead_letters, in_hand] == [count, count, 0, 0] && repeated >= 50;
            if figures["standing"] == "running" && is_done {
                break;
            }
            assert!(begun.elapsed() < PATIENCE, "{figures}\n{}", server.log());
            std::thread::sleep(Duration::from_millis(20));
        }
        let message = server.get(&format!("/v1/bindings/{id}/messages/123456"));
        assert_eq!(message["result"]["reference"], json!("123456"), "{message}");
        assert!(server.stop().success());
    }

    /// The server is killed with orders in its hands, and then the broker.
    pub(super) fn killed_server_and_broker_lose_and_double_no_order(&self) {
        if let Some(engine) = self.start() {
            self.kill_server_and_broker(engine);
        }
    }

    /// The same, with a broker that has all destinations.
    pub(super) fn kill_server_and_broker(&self, mut engine: Engine) {
        let directory = tempfile::tempdir().expect("directory");
        let data = directory.path().join("data");
        let mut server = Server::start(&data);
        self.bind(&server, &engine);
        let (first, count) = (1_000, 400);
        let placing = self.place(&engine, first, count);
        wait_for_payments(&server, 50);
        server.kill();
        let address = server.address.clone();
        drop(server);
        let listen = address.trim_start_matches("http://");
        let server = Server::start_at(&data, listen);
        let output = succeed(placing, "the client");
        assert_eq!(answered(&output).len() as u64, count, "{}", server.log());

        // The broker goes with orders in its queue, in the server's hands, and on the way; the client sends again what was not
        // confirmed.
        let placing = self.place(&engine, first + count, count);
        wait_for_payments(&server, count + 50);
        engine.kill();
        engine.restart();
        let output = succeed(placing, "the client");
        assert_eq!(answered(&output).len() as u64, count, "{}", server.log());
        check_paid_once(&server, first, 2 * count);
        assert!(server.stop().success());
        let verified: Value = verify(&data);
        assert_eq!(verified["ok"], json!(true), "{verified}");
    }
}

pub(super) fn open_account(server: &Server, name: &str, kind: &str) {
    let mut body =
        json!({"owner": "platform", "currency": "EUR", "kind": kind, "external_id": name});
    if kind == "external" {
        body["overdraft"] = json!("unlimited");
    }
    server
        .post("/v1/accounts", &format!("account-{name}"), &body)
        .ok();
}

/// The orders that an example says were answered, and by which event.
pub(super) fn answered(output: &Output) -> BTreeMap<String, String> {
    let text = String::from_utf8_lossy(&output.stdout);
    let lines = text.lines().filter_map(|line| line.split_once(' '));
    lines
        .map(|(order, kind)| (order.to_owned(), kind.to_owned()))
        .collect()
}

/// Checks that each of the orders was paid once.
#[track_caller]
pub(super) fn check_paid_once(server: &Server, first: u64, count: u64) {
    let payments = all_pages(server, "/v1/payments");
    let mut references: Vec<u64> = payments
        .iter()
        .map(|payment| {
            assert_eq!(payment["amount"], json!(100), "{payment}");
            let reference = payment["reference"].as_str().expect("an order has one");
            reference.parse().expect("a number")
        })
        .collect();
    references.sort_unstable();
    let expected: Vec<u64> = (first..first + count).collect();
    assert_eq!(references, expected);
}

/// Waits for a program that must succeed.
pub(super) fn succeed(mut child: Child, what: &str) -> Output {
    let begun = Instant::now();
    while child.try_wait().expect("it is our child").is_none() {
        if begun.elapsed() > 2 * PATIENCE {
            let _ = child.kill();
            let output = child.wait_with_output().expect("it has ended");
            panic!("{what} does not end: {output:?}");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let output = child.wait_with_output().expect("it has ended");
    assert!(output.status.success(), "{what}: {output:?}");
    output
}

/// Waits until that many payments are there.
pub(super) fn wait_for_payments(server: &Server, count: u64) {
    let begun = Instant::now();
    loop {
        let balances = server.get("/v1/accounts?limit=10");
        let accounts = balances["data"].as_array().expect("a list");
        let shop = accounts.iter().find(|one| one["external_id"] == "shop");
        let balance = shop.and_then(|shop| shop["posted"].as_i64());
        if balance.unwrap_or_default() >= 100 * i64::try_from(count).expect("few") {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "{balances}\n{}", server.log());
        std::thread::sleep(Duration::from_millis(20));
    }
}
