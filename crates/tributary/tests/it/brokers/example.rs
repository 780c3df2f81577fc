//! What is asked of every broker whose example is `place_orders.py`: orders are paid once and answered, whoever is killed meanwhile.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tributary_testkit::engine::Engine;

use super::client::{Client, check_paid_once, open_account};
use crate::crash::{asked_for, verify};
use crate::support::{PATIENCE, Server, repository, tool};

/// Orders that are placed while somebody is killed, unless `TRIBUTARY_TEST_ORDERS` says more.
const ORDERS: u64 = 800;
/// Orders from one kill to the next, if there are many.
const ORDERS_BETWEEN_KILLS: u64 = 10_000;

/// Makes a program that places so many orders from the first one on; none if its library is missing.
type Other = fn(engine: &Engine, first: u64, count: u64) -> Option<Command>;

/// An example of `examples/NAME`, and where its broker is.
#[derive(Clone, Copy)]
pub(super) struct Example {
    /// Name of the folder, of the engine and of the type of the binder.
    pub(super) name: &'static str,
    /// How urls begin: `nats://`.
    pub(super) scheme: &'static str,
    /// User of the broker, whose password is the same; none if it has no users.
    pub(super) user: Option<&'static str>,
    /// A program of another language, if there is one.
    pub(super) other: Option<Other>,
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
            .stdin(Stdio::null());
        Some(command)
    }

    /// Starts to place orders.
    pub(super) fn place(&self, engine: &Engine, first: u64, count: u64) -> Client {
        let (first, count) = (first.to_string(), count.to_string());
        let program = self.program(engine, &["--first", &first, "--count", &count]);
        Client::start(program.expect("it was there a moment ago"))
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
        let engine = Engine::find(engine)?;
        engine.start();
        Client::start(self.program(&engine, &["--declare-only"])?).succeed();
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
        let run = || self.place(engine, 123_456, 50).succeed().answered();
        let results = run();
        assert_eq!(results.len(), 50);
        assert!(results.values().all(|kind| kind == "payment.captured"));
        // The same orders once more: each is answered again, and none is paid again.
        assert_eq!(run(), results);
        let mut count = 50;
        check_paid_once(&server, 123_456, count);
        let other = self.other.and_then(|other| other(engine, 123_506, 10));
        if let Some(other) = other {
            assert_eq!(Client::start(other).succeed().answered().len(), 10);
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

    /// The server and the broker are killed with orders in their hands.
    pub(super) fn killed_server_and_broker_lose_and_double_no_order(&self) {
        if let Some(engine) = self.start() {
            self.kill_server_and_broker(engine);
        }
    }

    /// The same, with a broker that has all destinations.
    pub(super) fn kill_server_and_broker(&self, engine: Engine) {
        let directory = tempfile::tempdir().expect("directory");
        let data = directory.path().join("data");
        let mut server = Server::start(&data);
        self.bind(&server, &engine);
        // The first run begins with a kill of the server, the second with one of the broker. The client sends again what was not
        // confirmed.
        let (first, each) = (1_000, orders() / 2);
        for run in 0..2 {
            let before = run * each;
            let mut placing = self.place(&engine, first + before, each);
            for (number, point) in kill_points(each).enumerate() {
                placing.wait_for_progress(&server, before + point);
                if (number as u64 + run).is_multiple_of(2) {
                    server = kill_and_restart(server, &data);
                } else {
                    engine.kill();
                    engine.start();
                }
            }
            check_all_answered(placing, &server, before, each);
        }
        check_paid_once(&server, first, 2 * each);
        check_books(server, &data);
    }
}

/// Number of orders that are placed while somebody is killed.
pub(super) fn orders() -> u64 {
    asked_for("TRIBUTARY_TEST_ORDERS").unwrap_or(ORDERS)
}

/// After how much progress somebody is killed while so many orders are placed. Each makes progress twice: paid, and answered.
pub(super) fn kill_points(orders: u64) -> impl Iterator<Item = u64> {
    let kills = (orders / ORDERS_BETWEEN_KILLS).max(1);
    (0..kills).map(move |kill| 50 + kill * 2 * orders / kills)
}

/// Kills the server, and starts it at the same address.
pub(super) fn kill_and_restart(mut server: Server, data: &Path) -> Server {
    server.kill();
    let address = server.address.clone();
    drop(server);
    Server::start_at(data, address.trim_start_matches("http://"))
}

/// Waits for a client whose orders must all be answered, after so many that were paid `before` it.
#[track_caller]
pub(super) fn check_all_answered(mut placing: Client, server: &Server, before: u64, orders: u64) {
    placing.wait_for_progress(server, before + 2 * orders);
    let results = placing.succeed().answered();
    assert_eq!(results.len() as u64, orders, "{}", server.log());
    assert!(results.values().all(|kind| kind == "payment.captured"));
}

/// Stops the server, and checks its journal.
pub(super) fn check_books(server: Server, data: &Path) {
    assert!(server.stop().success());
    let verified: Value = verify(data);
    assert_eq!(verified["ok"], json!(true), "{verified}");
}
