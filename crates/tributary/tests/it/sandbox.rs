//! A sandbox in a real directory: its clock survives a kill and a backup, and nobody serves it by mistake.

use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use crate::support::{Server, json_for, run, run_for, text};

const WEEK: i64 = 7 * 86_400;

fn start(data: &Path) -> Server {
    Server::start_with_arguments(data, &["--sandbox"])
}

/// By how many seconds ledger time is ahead of the right time, within what a slow machine may take to answer.
fn ahead(server: &Server) -> i64 {
    let clock = server.get("/v1/clock");
    let time = clock["ledger_time"].as_str().expect("a time");
    let time: Timestamp = time.parse().expect("RFC 3339");
    time.duration_since(Timestamp::now()).as_secs()
}

fn is_about(seconds: i64, wanted: i64) -> bool {
    SignedDuration::from_secs(seconds - wanted).abs() < SignedDuration::from_secs(600)
}

#[test]
fn the_clock_of_a_sandbox_survives_a_kill_and_a_backup() {
    let directory = tempfile::tempdir().expect("a directory");
    let paths = ["data", "backup", "restored"].map(|name| directory.path().join(name));
    let [data, backup, restored] = &paths;
    let mut server = start(data);
    assert!(is_about(ahead(&server), 0));
    let week = json!({"advance_seconds": WEEK});
    server.post("/v1/sandbox/clock", "a week", &week).ok();
    assert!(is_about(ahead(&server), WEEK));
    server.kill();

    let server = start(data);
    assert!(is_about(ahead(&server), WEEK), "a record, not a wish");
    let again = server.post("/v1/sandbox/clock", "a week", &week).ok();
    assert_eq!(again["advanced_ms"], WEEK * 1_000);
    assert!(is_about(ahead(&server), WEEK), "decided once");
    let url = server.url();
    let key_file = server.key_file().to_owned();
    run_for(
        0,
        &[
            "backup",
            text(backup),
            "--server",
            &url,
            "--api-key-file",
            &key_file,
        ],
    );
    assert!(server.stop().success());
    json_for(0, &["verify", "--data", text(data), "--json"]);

    run_for(0, &["restore", text(backup), "--data", text(restored)]);
    std::fs::copy(key_file, restored.with_extension("platform-key")).expect("it can be copied");
    let server = start(restored);
    assert!(is_about(ahead(&server), WEEK));
    let more = json!({"advance_seconds": 3_600});
    server.post("/v1/sandbox/clock", "an hour", &more).ok();
    assert!(is_about(ahead(&server), WEEK + 3_600));
    assert!(server.stop().success());
    for sandbox in [data, restored] {
        refuses(sandbox, &[], "is a sandbox");
    }
}

#[test]
fn a_directory_that_is_no_sandbox_never_becomes_one() {
    let directory = tempfile::tempdir().expect("a directory");
    let data = directory.path().join("data");
    assert!(Server::start(&data).stop().success());
    refuses(&data, &["--sandbox"], "is no sandbox");
    let server = Server::start(&data);
    let body = json!({"advance_seconds": 1});
    let refused = server.post("/v1/sandbox/clock", "moved", &body);
    assert_eq!(refused.json()["error"]["code"], "sandbox_only");
}

/// `serve` ends with a usage error that says why.
fn refuses(data: &Path, arguments: &[&str], why: &str) {
    let serve = ["serve", "--listen", "127.0.0.1:0", "--data", text(data)];
    let output = run(&[&serve, arguments].concat());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains(why), "{said}");
}
