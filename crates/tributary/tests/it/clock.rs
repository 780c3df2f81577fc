//! The real server under a wall clock that is set, by libfaketime, to anything while it runs.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jiff::{Span, Timestamp};
use serde_json::{Value, json};

use crate::support::{PATIENCE, Server, text, tool};

/// A directory of data, and the file that says by how many seconds the wall clock is wrong.
struct Machine {
    data: PathBuf,
    error: PathBuf,
    faketime: PathBuf,
}

impl Machine {
    fn new(directory: &Path, faketime: PathBuf) -> Machine {
        let machine = Machine {
            data: directory.join("data"),
            error: directory.join("error"),
            faketime,
        };
        machine.set_wall_clock(0);
        machine
    }

    /// Sets the wall clock beside the right time.
    fn set_wall_clock(&self, error_seconds: i64) {
        let beside = self.error.with_extension("new");
        std::fs::write(&beside, format!("{error_seconds:+}\n")).expect("it can be written");
        std::fs::rename(&beside, &self.error).expect("it can be renamed");
    }

    fn start(&self) -> Server {
        let settings = [
            ("LD_PRELOAD", text(&self.faketime)),
            ("FAKETIME_TIMESTAMP_FILE", text(&self.error)),
            ("FAKETIME_NO_CACHE", "1"),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        ];
        Server::try_start_with(&self.data, "127.0.0.1:0", &settings).expect("it starts")
    }
}

fn until<T>(what: &str, look: impl Fn() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn until_clock(server: &Server, status: &str) {
    until(status, || {
        (server.get("/v1/clock")["status"] == status).then_some(())
    });
}

/// The right time in so many seconds.
fn right_time(seconds: i64) -> String {
    let time = Timestamp::now() + Span::new().seconds(seconds);
    time.to_string()
}

fn is_right(time: &Value) -> bool {
    let time: Timestamp = time.as_str().expect("a time").parse().expect("RFC 3339");
    // As long as a slow machine may take to answer.
    time.duration_since(Timestamp::now()).abs() < jiff::SignedDuration::from_secs(600)
}

fn open(server: &Server, owner: &str, kind: &str) -> String {
    let mut body = json!({"owner": owner, "currency": "EUR", "kind": kind});
    if kind == "external" {
        body["overdraft"] = json!("unlimited");
    }
    let account = server
        .post("/v1/accounts", &format!("open {owner}"), &body)
        .ok();
    account["id"].as_str().expect("an id").to_owned()
}

#[test]
fn a_wall_clock_that_is_set_while_the_server_runs_harms_no_payment() {
    let Some(faketime) = tool("libfaketime.so") else {
        return;
    };
    let directory = tempfile::tempdir().expect("a directory");
    let machine = Machine::new(directory.path(), faketime);
    let server = machine.start();
    let (bank, shop) = (
        open(&server, "platform", "external"),
        open(&server, "shop", "merchant"),
    );
    let pay = |key: &str, more: Value| {
        let mut body = json!({"amount": 5, "currency": "EUR", "source": bank, "destination": shop});
        let more = more.as_object().expect("an object").clone();
        body.as_object_mut().expect("an object").extend(more);
        server.post("/v1/payments", key, &body).ok()
    };
    let status = |payment: &Value| {
        let id = payment["id"].as_str().expect("an id");
        server.get(&format!("/v1/payments/{id}"))["status"].clone()
    };
    until_clock(&server, "in_step");

    // Two hours ahead, for a while.
    machine.set_wall_clock(7_200);
    until_clock(&server, "wall_ahead");
    assert_eq!(server.get("/health/ready")["clock"]["status"], "wall_ahead");
    let hold = |seconds| json!({"capture_method": "manual", "expires_at": right_time(seconds)});
    let held = pay("within the two hours", hold(3_600));
    assert_eq!(held["status"], "authorized");
    assert!(is_right(&held["created"]), "{held}");
    let later = pay("later", json!({"queue": {"not_before": right_time(3_600)}}));
    let expires = pay(
        "expires",
        json!({"queue": {"not_before": right_time(3_500), "expires_at": right_time(3_600)}}),
    );
    machine.set_wall_clock(0);
    until_clock(&server, "in_step");
    server.has_logged("the wall clock was set");
    let now = pay("after", json!({}));
    assert!(is_right(&now["created"]), "{now}");
    let soon = pay("soon", hold(15));
    until("what is due expires", || {
        (status(&soon) == "expired").then_some(())
    });
    for payment in [&later, &expires] {
        assert_eq!(status(payment), "queued", "{payment}");
    }
    assert_eq!(status(&held), "authorized");

    // Two hours behind: time goes on, and a visibility takes what it takes.
    let terms = json!({"events": ["payment.expired"], "start": "beginning"});
    let made = server
        .post("/v1/subscriptions", "subscription", &terms)
        .ok();
    let receive = |seconds: u64| {
        let path = format!(
            "/v1/subscriptions/{}/receive",
            made["id"].as_str().expect("an id")
        );
        let wanted = json!({"max": 1, "wait_seconds": 20, "visibility_seconds": seconds});
        let taken = server
            .request("POST", &path, None, Some(&wanted))
            .expect("it answers")
            .ok();
        taken["data"].as_array().expect("a list").len()
    };
    until("the event is there", || (receive(1) == 1).then_some(()));
    machine.set_wall_clock(-7_200);
    until_clock(&server, "wall_behind");
    until("it comes again", || (receive(1) == 1).then_some(()));
    let before = pay("behind", json!({}));
    assert!(is_right(&before["created"]), "{before}");

    // A start under a clock that is behind goes on from the last record.
    assert!(server.stop().success());
    let server = machine.start();
    assert_eq!(server.get("/health/ready")["status"], "ready");
    until_clock(&server, "wall_behind");
    server.has_logged("the wall clock is behind the last record");
    let clock = server.get("/v1/clock");
    assert!(is_right(&clock["ledger_time"]), "{clock}");
    machine.set_wall_clock(0);
    until_clock(&server, "in_step");

    // A clock that is far ahead and right is confirmed.
    machine.set_wall_clock(86_400);
    until_clock(&server, "wall_ahead");
    let right = json!({"wall_time": server.get("/v1/clock")["wall_time"]});
    let confirmed = server.request("POST", "/v1/clock/confirm", None, Some(&right));
    assert_eq!(confirmed.expect("it answers").ok()["status"], "in_step");
    let id = later["id"].as_str().expect("an id");
    until("its time has come", || {
        (server.get(&format!("/v1/payments/{id}"))["status"] == "captured").then_some(())
    });
}
