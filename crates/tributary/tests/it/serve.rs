//! `serve` and `keys`, as a person meets them.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::http;
use crate::support::{
    FIRST_RECORDS, PATIENCE, Server, json_for, repository, run, run_for, signal, text, tributary,
    wait,
};

#[test]
fn the_demo_fills_a_day_and_its_curl_line_works_as_pasted() {
    let directory = tempfile::tempdir().expect("directory");
    let data = directory.path().join("data");
    let mut payments = Vec::new();
    // The second start finds the day there, and the line works again.
    for start in 0..2 {
        let mut child = tributary()
            .args([
                "serve",
                "--demo",
                "--listen",
                "127.0.0.1:0",
                "--data",
                text(&data),
            ])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the binary runs");
        let mut said = Vec::new();
        for line in BufReader::new(child.stdout.take().expect("piped")).lines() {
            said.push(line.expect("reads"));
            if said
                .last()
                .is_some_and(|line| line.starts_with("Stop with"))
            {
                break;
            }
        }
        let said = said.join("\n");
        assert!(said.contains("The books balance: EUR"), "{said}");
        let curl = said
            .lines()
            .find(|line| line.contains("curl -s"))
            .unwrap_or_else(|| panic!("no curl line: {said}"));
        let list = paste(curl.trim());
        assert_eq!(list["data"].as_array().map(Vec::len), Some(3), "{list}");
        payments.push(list);
        assert_eq!(
            said.contains("platform key (may do everything"),
            start == 0,
            "{said}"
        );
        signal(child.id(), "INT");
        assert!(wait(&mut child).success());
    }
    assert_eq!(payments[0], payments[1], "a second demo adds nothing");
    assert_eq!(
        json_for(0, &["verify", "--data", text(&data), "--json"])["ok"],
        true
    );
}

/// Does what the line says: with curl where there is one, else the same request.
fn paste(line: &str) -> serde_json::Value {
    if let Ok(output) = Command::new("sh").args(["-c", line]).output()
        && output.status.success()
    {
        return serde_json::from_slice(&output.stdout).expect("JSON");
    }
    let parts: Vec<&str> = line.split('\'').collect();
    let (address, path) = parts[1]
        .trim_start_matches("http://")
        .split_once('/')
        .expect("a path");
    let token = parts[3].trim_start_matches("Authorization: Bearer ");
    http::request(address, "GET", &format!("/{path}"), token, None, None)
        .expect("answers")
        .ok()
}

/// The master key is the source of the secrets, so a lost answer can be asked for again, also of the next process.
#[test]
fn a_lost_secret_of_an_api_key_is_shown_again_after_a_restart() {
    let directory = tempfile::tempdir().expect("directory");
    let data = directory.path().join("data");
    let body = json!({ "owner": "ada", "access": "read" });
    let mut answers = Vec::new();
    for _ in 0..2 {
        let server = Server::start(&data);
        answers.push(server.post("/v1/api_keys", "lost", &body).ok());
        answers.push(server.post("/v1/api_keys", "lost", &body).ok());
        assert!(server.stop().success());
    }
    assert!(answers[0]["secret"].is_string());
    assert!(answers.iter().all(|answer| *answer == answers[0]));
}

#[test]
fn balances_are_the_same_after_a_restart() {
    let directory = tempfile::tempdir().expect("directory");
    let data = directory.path().join("data");
    let server = Server::start(&data);
    let open = |name: &str, overdraft: serde_json::Value| {
        let body = json!({ "owner": "ada", "currency": "EUR", "external_id": name, "overdraft": overdraft });
        server.post("/v1/accounts", name, &body).ok()["id"]
            .as_str()
            .expect("an id")
            .to_owned()
    };
    let (from, to) = (open("from", json!(1_000)), open("to", json!(0)));
    let body = json!({ "amount": 700, "currency": "EUR", "source": from, "destination": to });
    let first = server.post("/v1/transfers", "once", &body);
    assert_eq!(first.status, 201);
    let before: Vec<_> = [&from, &to]
        .map(|id| server.get(&format!("/v1/accounts/{id}")))
        .into();
    let key = server.key.clone();
    assert!(server.stop().success());

    let server = Server::start(&data);
    assert_eq!(server.key, key, "no second platform key is made");
    let after: Vec<_> = [&from, &to]
        .map(|id| server.get(&format!("/v1/accounts/{id}")))
        .into();
    assert_eq!(before, after);
    let again = server.post("/v1/transfers", "once", &body);
    assert_eq!((again.status, again.json()), (201, first.json()));
    assert!(
        again.head.contains("idempotent-replayed: true"),
        "{}",
        again.head
    );
}

#[test]
fn a_term_signal_lets_the_requests_in_flight_finish() {
    let directory = tempfile::tempdir().expect("directory");
    let data = directory.path().join("data");
    let server = Server::start(&data);
    let (address, token) = (server.address.clone(), server.key.clone());
    let acknowledged = AtomicU64::new(0);
    let counted: u64 = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..4)
            .map(|writer| {
                let (address, token, acknowledged) = (&address, &token, &acknowledged);
                scope.spawn(move || {
                    let mut count = 0_u64;
                    loop {
                        let key = format!("{writer}-{count}");
                        let body = json!({ "owner": "o", "currency": "EUR", "external_id": key });
                        let path = "/v1/accounts";
                        match http::request(address, "POST", path, token, Some(&key), Some(&body)) {
                            Ok(answer) if answer.status == 201 => {
                                count += 1;
                                acknowledged.fetch_add(1, Ordering::Relaxed);
                            }
                            // Refused in form, or not connected at all: but never a broken answer to an accepted request.
                            Ok(answer) => return (assert_eq!(answer.status, 503), count).1,
                            Err(_) => return count,
                        }
                    }
                })
            })
            .collect();
        let begun = Instant::now();
        while acknowledged.load(Ordering::Relaxed) < 20 {
            assert!(begun.elapsed() < PATIENCE, "nothing is acknowledged");
            std::thread::sleep(Duration::from_millis(5));
        }
        assert!(server.stop().success());
        writers
            .into_iter()
            .map(|writer| writer.join().expect("ends"))
            .sum()
    });
    let verified = json_for(0, &["verify", "--data", text(&data), "--json"]);
    let accounts = verified["accounts"].as_u64().expect("a number");
    assert_eq!(accounts, counted, "a drained server leaves nobody in doubt");
}

#[test]
fn a_lost_platform_key_is_replaced_while_the_server_is_stopped() {
    let directory = tempfile::tempdir().expect("directory");
    let data = directory.path().join("data");
    let server = Server::start(&data);
    let said = run(&["keys", "--data", text(&data)]);
    assert_eq!(
        said.status.code(),
        Some(1),
        "a running server keeps the directory locked"
    );
    assert!(String::from_utf8_lossy(&said.stderr).contains("in use"));
    assert!(server.stop().success());
    let made = json_for(0, &["keys", "--data", text(&data), "--json"]);
    let server = Server::start(&data);
    let key = made["platform_key"].as_str().expect("a key");
    let answer = http::request(&server.address, "GET", "/v1/journal/head", key, None, None)
        .expect("answers");
    assert_eq!(answer.status, 200);
    run_for(
        2,
        &["keys", "--data", text(&directory.path().join("nowhere"))],
    );
}

#[test]
fn a_start_that_comes_to_nothing_does_not_use_up_the_platform_key() {
    let directory = tempfile::tempdir().expect("directory");
    let data = directory.path().join("data");
    let nowhere = directory.path().join("nowhere/key");
    let missing = [
        ("TRIBUTARY_TLS_CERTIFICATE", text(&nowhere)),
        ("TRIBUTARY_TLS_KEY", text(&nowhere)),
    ];
    let unwritable = [("TRIBUTARY_PLATFORM_KEY_FILE", text(&nowhere))];
    for settings in [&missing[..], &unwritable[..]] {
        let said = Server::try_start_with(&data, "127.0.0.1:0", settings)
            .err()
            .expect("must not start");
        assert!(said.contains("nowhere/key"), "{said}");
    }
    let server = Server::start(&data);
    assert_eq!(server.get("/v1/journal/head")["position"], FIRST_RECORDS);
    let mode = std::fs::metadata(server.key_file()).expect("it is there");
    assert_eq!(mode.permissions().mode() & 0o777, 0o600);
}

#[test]
fn two_servers_never_share_an_address_or_a_directory() {
    let directory = tempfile::tempdir().expect("directory");
    let (data, other) = (
        directory.path().join("data"),
        directory.path().join("other"),
    );
    let server = Server::start(&data);
    let said = Server::try_start(&other, &server.address)
        .err()
        .expect("must not start");
    assert!(said.contains("cannot listen"), "{said}");
    assert!(!other.exists(), "no directory is made for nothing");
    // The same command once more: the directory is the better reason.
    let said = Server::try_start(&data, &server.address)
        .err()
        .expect("must not start");
    assert!(said.contains("in use by another process"), "{said}");
    let said = Server::try_start(&data, "127.0.0.1:0")
        .err()
        .expect("must not start");
    assert!(said.contains("in use"), "{said}");
}

#[test]
fn import_and_backup_speak_tls_and_trust_only_what_they_are_told() {
    let directory = tempfile::tempdir().expect("directory");
    let path = |name: &str| text(&directory.path().join(name)).to_owned();
    let fixtures = repository().join("crates/server/tests/it/tls");
    let (certificate, key) = (fixtures.join("certificate.pem"), fixtures.join("key.pem"));
    let settings = [
        ("TRIBUTARY_TLS_CERTIFICATE", text(&certificate)),
        ("TRIBUTARY_TLS_KEY", text(&key)),
    ];
    let data = directory.path().join("data");
    let server = Server::try_start_with(&data, "127.0.0.1:0", &settings).expect("starts");
    let url = server
        .address
        .replace("https://127.0.0.1", "https://localhost");
    let backup = [
        "backup",
        &path("backup"),
        "--server",
        &url,
        "--api-key-file",
        server.key_file(),
    ];
    let without = run(&backup);
    // The system does not trust it.
    assert_ne!(without.status.code(), Some(0));
    run_for(0, &[&backup[..], &["--ca", text(&certificate)]].concat());
    assert_eq!(
        json_for(0, &["verify", "--data", &path("backup"), "--json"])["records"],
        FIRST_RECORDS
    );
}

/// A script waits until the server is ready, and then reads the key.
#[test]
fn a_server_is_not_ready_before_the_file_of_its_first_key_is_there() {
    for _ in 0..3 {
        let directory = tempfile::tempdir().expect("directory");
        let key_file = directory.path().join("key");
        // Free now; if another program takes it meanwhile, the server does not start.
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = free.local_addr().expect("an address").to_string();
        drop(free);
        let data = directory.path().join("data");
        let mut child = tributary()
            .args(["serve", "--listen", &address, "--data", text(&data)])
            .env("TRIBUTARY_PLATFORM_KEY_FILE", &key_file)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the binary runs");
        let begun = Instant::now();
        let is_ready = || {
            let answer = http::request(&address, "GET", "/health/ready", "", None, None);
            answer.is_ok_and(|answer| answer.status == 200)
        };
        while !is_ready() {
            assert!(begun.elapsed() < PATIENCE, "it is ready at last");
        }
        let key = std::fs::read_to_string(&key_file).expect("the file is there");
        let answer = http::request(&address, "GET", "/v1/accounts", key.trim(), None, None);
        assert_eq!(answer.expect("it answers").status, 200);
        signal(child.id(), "TERM");
        assert!(wait(&mut child).success());
    }
}

#[test]
fn a_line_of_the_log_names_key_and_route_and_is_flat_json() {
    let directory = tempfile::tempdir().expect("directory");
    let settings = [
        ("TRIBUTARY_LOG_LEVEL", "info"),
        ("TRIBUTARY_LOG_FORMAT", "json"),
    ];
    let data = directory.path().join("data");
    let server = Server::try_start_with(&data, "127.0.0.1:0", &settings).expect("starts");
    let keys = server.get("/v1/api_keys");
    let key = keys["data"][0]["id"].as_str().expect("an id").to_owned();
    for path in ["/health/live", "/health/ready", "/metrics"] {
        let answer = server.request("GET", path, None, None);
        assert_eq!(answer.expect("answers").status, 200);
    }
    let refused = http::request(
        &server.address,
        "GET",
        "/v1/accounts/acct_x",
        "",
        None,
        None,
    );
    assert_eq!(refused.expect("answers").status, 401);
    server.has_logged("api_key_missing");
    let log = server.log();
    let lines: Vec<serde_json::Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("not JSON: {line}")))
        .collect();
    let of_route = |route: &str| lines.iter().find(|line| line["route"] == route);
    let line = of_route("/v1/api_keys").expect("it is logged");
    assert_eq!(
        (&line["api_key"], &line["status"]),
        (&json!(key), &json!(200)),
        "{line}"
    );
    let line = of_route("/v1/accounts/{id}").expect("it is logged");
    assert_eq!(
        (&line["api_key"], &line["code"]),
        (&json!(""), &json!("api_key_missing")),
        "{line}"
    );
    for routine in ["/health/live", "/health/ready", "/metrics"] {
        assert_eq!(of_route(routine), None, "{routine} is logged at debug");
    }
    assert!(!log.contains(&server.key), "no key is in the log");
    let nested = |line: &serde_json::Value| {
        let fields = line.as_object().expect("an object");
        fields.values().any(serde_json::Value::is_object)
    };
    assert!(!lines.iter().any(nested), "{log}");
}
