//! A program that is a client of a broker: how far it is, and what it printed.

use std::collections::BTreeMap;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use serde_json::json;
use tempfile::NamedTempFile;

use crate::support::{PATIENCE, Server, each_item};

/// A running client. It prints to files, since pipes hold little; killed when dropped.
pub(super) struct Client {
    process: Child,
    out: NamedTempFile,
    err: NamedTempFile,
}

/// How a client ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) status: ExitStatus,
    pub(super) out: String,
    pub(super) err: String,
}

impl Client {
    pub(super) fn start(mut command: Command) -> Client {
        let file = || NamedTempFile::new().expect("there is room");
        let (out, err) = (file(), file());
        let write = |file: &NamedTempFile| file.reopen().expect("it is there");
        command.stdout(write(&out)).stderr(write(&err));
        Client {
            process: command.spawn().expect("it runs"),
            out,
            err,
        }
    }

    /// What it printed until now.
    fn printed(&self) -> String {
        std::fs::read_to_string(self.out.path()).expect("it prints text")
    }

    fn has_ended(&mut self) -> bool {
        self.process.try_wait().expect("it is our child").is_some()
    }

    /// Kills it, and returns how far it came.
    pub(super) fn kill(mut self) -> Ended {
        self.process.kill().expect("it is our child");
        self.finish()
    }

    /// Waits until it ends by itself, which may take long only while it prints.
    pub(super) fn finish(mut self) -> Ended {
        let mut patience = Patience::new();
        while !self.has_ended() {
            let printed = self.out.as_file().metadata().expect("it is open").len();
            assert!(patience.lasts(printed), "it does not end");
            std::thread::sleep(Duration::from_millis(20));
        }
        Ended {
            status: self.process.wait().expect("it is our child"),
            out: self.printed(),
            err: std::fs::read_to_string(self.err.path()).unwrap_or_default(),
        }
    }

    /// Waits until it ends by itself, which must be a success.
    #[track_caller]
    pub(super) fn succeed(self) -> Ended {
        let ended = self.finish();
        assert!(ended.status.success(), "{ended:?}");
        ended
    }

    /// Waits until as many orders are paid by the server and answered to this client, one count added to the other.
    #[track_caller]
    pub(super) fn wait_for_progress(&mut self, server: &Server, count: u64) {
        let mut patience = Patience::new();
        loop {
            let has_ended = self.has_ended();
            let (paid, answered) = (paid(server), self.printed().lines().count() as u64);
            if paid + answered >= count {
                return;
            }
            let how = || {
                let err = std::fs::read_to_string(self.err.path());
                let log = server.log();
                format!("{paid} paid, {answered} answered of {count}: {err:?}\n{log}")
            };
            assert!(!has_ended, "it ended: {}", how());
            assert!(patience.lasts(paid + answered), "{}", how());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Ended {
    /// The orders that an example says were answered, and by which event.
    pub(super) fn answered(&self) -> BTreeMap<String, String> {
        let lines = self.out.lines().filter_map(|line| line.split_once(' '));
        lines
            .map(|(order, kind)| (order.to_owned(), kind.to_owned()))
            .collect()
    }
}

/// How long nothing may go on.
struct Patience {
    progress: u64,
    since: Instant,
}

impl Patience {
    fn new() -> Patience {
        Patience {
            progress: 0,
            since: Instant::now(),
        }
    }

    /// Whether to wait longer: something went on lately.
    fn lasts(&mut self, progress: u64) -> bool {
        if progress > self.progress {
            *self = Patience {
                progress,
                since: Instant::now(),
            };
        }
        self.since.elapsed() < PATIENCE
    }
}

/// Number of orders that the shop was paid: each is of 100.
fn paid(server: &Server) -> u64 {
    let balances = server.get("/v1/accounts?limit=10");
    let accounts = balances["data"].as_array().expect("a list");
    let shop = accounts.iter().find(|one| one["external_id"] == "shop");
    let balance = shop.and_then(|shop| shop["posted"].as_u64());
    balance.expect("the shop has a balance") / 100
}

/// Checks that each of the orders was paid once.
#[track_caller]
pub(super) fn check_paid_once(server: &Server, first: u64, count: u64) {
    let mut references: Vec<u64> = Vec::new();
    each_item(server, "/v1/payments", |payment| {
        assert_eq!(payment["amount"], json!(100), "{payment}");
        let reference = payment["reference"].as_str().expect("an order has one");
        references.push(reference.parse().expect("a number"));
    });
    references.sort_unstable();
    let expected: Vec<u64> = (first..first + count).collect();
    let differs = references.iter().zip(&expected).find(|(is, be)| is != be);
    let found = references.len();
    assert!(
        references == expected,
        "{found} of {count} payments, first other: {differs:?}"
    );
}

/// Opens an account whose external id is its name.
pub(super) fn open_account(server: &Server, name: &str, kind: &str) {
    let mut body =
        json!({"owner": "platform", "currency": "EUR", "kind": kind, "external_id": name});
    if kind == "external" {
        body["overdraft"] = json!("unlimited");
    }
    let key = format!("account-{name}");
    server.post("/v1/accounts", &key, &body).ok();
}
