//! A real etcd.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};
use tributary_connect::discovery::port::Access;
use tributary_connect::discovery::{open_discovery, open_source};
use tributary_testkit::engine::Engine;

use super::health::Health;
use super::{check_announcements, check_source, lists, node, open, wait_until};
use crate::PATIENCE;

/// Makes a certificate for the server, and the one that signed it.
const MAKE_CERTIFICATES: &str = r#"
    new="-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
    openssl req -x509 $new -days 30 -subj /CN=ca -keyout ca-key.pem -out ca.pem
    openssl req $new -subj /CN=server -keyout key.pem -out request.pem
    echo subjectAltName=IP:127.0.0.1 >names
    openssl x509 -req -in request.pem -CA ca.pem -CAkey ca-key.pem -CAcreateserial -days 30 -extfile names -out cert.pem
"#;

fn start() -> Option<Engine> {
    let engine = Engine::find("etcd")?;
    start_again(&engine);
    Some(engine)
}

/// Starts it, and waits until it has a leader.
fn start_again(engine: &Engine) {
    engine.start();
    wait_until("etcd answers", || {
        post(engine, "/v3/kv/range", &json!({"key": BASE64.encode("a")})).is_ok()
    });
}

fn url_of(engine: &Engine) -> String {
    format!("etcd://{}", engine.address())
}

/// Sends a request without our adapter.
fn post(engine: &Engine, path: &str, body: &Value) -> Result<String, String> {
    let exchange = || -> std::io::Result<String> {
        let body = body.to_string();
        let mut stream = TcpStream::connect(engine.address())?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let length = body.len();
        write!(
            stream,
            "POST {path} HTTP/1.1\r\nHost: etcd\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
        )?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    };
    let text = exchange().map_err(|error| error.to_string())?;
    match text.starts_with("HTTP/1.1 200") {
        true => Ok(text),
        false => Err(text),
    }
}

fn put(engine: &Engine, key: &str, value: &str) {
    let body = json!({"key": BASE64.encode(key), "value": BASE64.encode(value)});
    post(engine, "/v3/kv/put", &body).expect("puts");
}

#[test]
fn nodes_are_announced_until_they_end() {
    let Some(engine) = start() else { return };
    check_announcements(&url_of(&engine));
}

#[test]
fn the_configuration_is_read_and_watched() {
    let Some(engine) = start() else { return };
    check_source(&url_of(&engine), &|key, value| put(&engine, key, value));
}

#[test]
fn a_watch_goes_on_after_etcd_was_killed_and_after_old_changes_are_forgotten() {
    let Some(engine) = start() else { return };
    put(&engine, "config", "one");
    let source = open_source(&format!("{}/config", url_of(&engine)), &Access::default());
    let (tell, told) = std::sync::mpsc::channel();
    let source = source.expect("a source");
    let _watch = source.watch(Box::new(move || tell.send(()).expect("it listens")));
    for turn in 0..3 {
        put(&engine, "other", &format!("{turn}"));
    }
    engine.kill();
    start_again(&engine);
    post(&engine, "/v3/kv/compaction", &json!({"revision": "4"})).expect("compacts");
    put(&engine, "config", "two");
    told.recv_timeout(PATIENCE).expect("the change is told");
    assert_eq!(source.read().as_deref(), Ok("two"));
}

#[test]
fn a_lease_that_ended_is_taken_anew_and_a_node_that_is_gone_is_forgotten() {
    let Some(engine) = start() else { return };
    let health = Health::start(true);
    let (discovery, a) = (
        open(&format!("{}/shop", url_of(&engine))),
        node("a", &health),
    );
    let announced = discovery.announce(a.clone()).expect("announces");
    lists(&*discovery, &[&a]);
    // Somebody ends the lease.
    let leases = post(&engine, "/v3/lease/leases", &json!({})).expect("lists");
    let begin = leases.find("\"ID\":\"").expect("a lease") + 6;
    let lease = leases[begin..]
        .split('"')
        .next()
        .expect("an end")
        .to_owned();
    post(&engine, "/v3/lease/revoke", &json!({"ID": lease})).expect("revokes");
    assert_eq!(discovery.nodes(), Ok(Vec::new()));
    lists(&*discovery, &[&a]);
    // The node can't withdraw itself: its lease ends by itself.
    engine.kill();
    drop(announced);
    start_again(&engine);
    let begun = Instant::now();
    lists(&*discovery, &[]);
    assert!(
        begun.elapsed() < Duration::from_secs(60),
        "{:?}",
        begun.elapsed()
    );
}

#[test]
fn only_name_and_password_let_in() {
    let Some(engine) = start() else { return };
    put(&engine, "config", "text");
    for (path, body) in [
        ("user/add", json!({"name": "root", "password": "sesame:1"})),
        ("user/grant", json!({"user": "root", "role": "root"})),
        ("enable", json!({})),
    ] {
        post(&engine, &format!("/v3/auth/{path}"), &body).expect(path);
    }
    let health = Health::start(true);
    for (credential, is_let_in) in [
        (Some("root:sesame:1"), true),
        (Some("root:wrong"), false),
        (None, false),
    ] {
        let access = Access {
            credential: credential.map(str::to_owned),
            ca_file: None,
        };
        let source = open_source(&format!("{}/config", url_of(&engine)), &access).expect("opens");
        assert_eq!(source.read().is_ok(), is_let_in, "{credential:?}");
        if is_let_in {
            let discovery = open_discovery(&format!("{}/shop", url_of(&engine)), &access);
            let discovery = discovery.expect("opens");
            let _announced = discovery.announce(node("a", &health)).expect("announces");
            lists(&*discovery, &[&node("a", &health)]);
            // A token of before is not known after a start.
            engine.kill();
            engine.start();
            wait_until("it is let in again", || discovery.nodes().is_ok());
        }
    }
}

#[test]
fn tls_trusts_the_file_and_nobody_else() {
    let Some(engine) = Engine::find("etcd") else {
        return;
    };
    let folder = engine.folder().join("tls");
    std::fs::create_dir(&folder).expect("a folder");
    let made = Command::new("sh")
        .args(["-e", "-c", MAKE_CERTIFICATES])
        .current_dir(&folder)
        .output()
        .expect("a shell runs");
    let said = String::from_utf8_lossy(&made.stderr);
    assert!(made.status.success(), "{said}");
    engine.start();
    let url = format!("etcds://{}/shop", engine.address());
    let trusting = Access {
        credential: None,
        ca_file: Some(folder.join("ca.pem")),
    };
    let discovery = open_discovery(&url, &trusting).expect("opens");
    wait_until("it answers over TLS", || match discovery.nodes() {
        Err(error) => {
            assert!(!error.to_string().contains("TLS failed"), "{error}");
            false
        }
        Ok(nodes) => nodes.is_empty(),
    });
    let error = open(&url).nodes().expect_err("nobody signed it");
    assert!(error.to_string().contains("TLS failed"), "{error}");
}
