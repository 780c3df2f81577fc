//! What is left of a system with 50 subscriptions when its process, its disk or its delivery log is lost.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use serde_json::{Value, json};
use standardwebhooks::Webhook;

use crate::support::{PATIENCE, Server, run_for, text};

/// Events published before the disaster.
const EVENTS: usize = 12;

/// A webhook as it arrived.
#[derive(Clone)]
struct Arrived {
    path: String,
    id: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Arrived {
    fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map_or("", |(_, value)| value)
    }
}

/// Receives webhooks: `/ok…` always accepts, `/bad…` always refuses, `/gate…` accepts once the gate is open.
struct Receiver {
    address: String,
    open: Arc<AtomicBool>,
    accepted: Arc<Mutex<Vec<Arrived>>>,
}

impl Receiver {
    fn start() -> Receiver {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let (open, accepted) = (Arc::new(AtomicBool::new(false)), Arc::default());
        let receiver = Receiver {
            address,
            open: Arc::clone(&open),
            accepted: Arc::clone(&accepted),
        };
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (open, accepted) = (Arc::clone(&open), Arc::clone(&accepted));
                std::thread::spawn(move || answer(stream, &open, &accepted));
            }
        });
        receiver
    }

    fn accepted(&self) -> Vec<Arrived> {
        self.accepted.lock().expect("no holder panics").clone()
    }

    fn forget(&self) {
        self.accepted.lock().expect("no holder panics").clear();
    }

    /// Ids of the events that were accepted at this path.
    fn ids(&self, path: &str) -> BTreeSet<String> {
        let at_path = |one: &Arrived| one.path == path;
        let accepted = self.accepted().into_iter().filter(at_path);
        accepted.map(|one| one.id).collect()
    }
}

/// Answers one request on a connection; a connection that breaks is of no interest.
fn answer(mut stream: TcpStream, open: &AtomicBool, accepted: &Mutex<Vec<Arrived>>) {
    let mut reader = BufReader::new(stream.try_clone().expect("a second handle"));
    let mut line = String::new();
    if reader.read_line(&mut line).is_err() {
        return;
    }
    let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).is_err() || line.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':') {
            headers.push((name.to_lowercase(), value.trim().to_owned()));
        }
    }
    let header = |name: &str| {
        let found = headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.clone()).unwrap_or_default()
    };
    let mut body = vec![0; header("content-length").parse().unwrap_or(0)];
    if reader.read_exact(&mut body).is_err() {
        return;
    }
    let takes = path.starts_with("/ok") || path.starts_with("/gate") && open.load(Ordering::SeqCst);
    if takes {
        let arrived = Arrived {
            id: header("webhook-id"),
            path,
            headers,
            body,
        };
        accepted.lock().expect("no holder panics").push(arrived);
    }
    let answer = if takes {
        "HTTP/1.1 204 Accepted\r\nconnection: close\r\n\r\n"
    } else {
        "HTTP/1.1 500 Refused\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    };
    drop(stream.write_all(answer.as_bytes()));
}

/// A subscription as it was made.
struct Made {
    path: String,
    /// Where its webhooks go, and the secret that signs them.
    hook: Option<(String, String)>,
}

/// The system before the disaster.
struct System {
    server: Server,
    receiver: Receiver,
    made: Vec<Made>,
    events: BTreeSet<String>,
}

fn until(what: &str, holds: impl Fn() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

fn start(data: &Path, master_key: &Path) -> Server {
    let settings = [
        ("TRIBUTARY_WEBHOOKS_ALLOW_HTTP", "true"),
        ("TRIBUTARY_WEBHOOKS_ALLOW_PRIVATE", "true"),
        ("TRIBUTARY_MASTER_KEY_FILE", text(master_key)),
    ];
    Server::try_start_with(data, "127.0.0.1:0", &settings).expect("it starts")
}

fn publish(server: &Server, key: &str) -> String {
    let body = json!({"type": "app.tick", "key": key, "data": {"number": key}});
    let made = server.post("/v1/events", key, &body).ok();
    made["id"].as_str().expect("an id").to_owned()
}

/// Takes what there is to take, and acknowledges nothing.
fn receive(server: &Server, path: &str, key: &str) -> Vec<Value> {
    let wanted = json!({"max": 100, "wait_seconds": 0});
    let taken = server.post(&format!("{path}/receive"), key, &wanted).ok();
    taken["data"].as_array().expect("a list").clone()
}

/// Takes until every wanted event was there.
fn receive_all(server: &Server, path: &str, wanted: &BTreeSet<String>) {
    let seen = Mutex::new(BTreeSet::new());
    let number = std::sync::atomic::AtomicUsize::new(0);
    until("every event is handed out", || {
        let key = format!("{path}-{}", number.fetch_add(1, Ordering::SeqCst));
        let taken = receive(server, path, &key);
        let receipts: Vec<Value> = taken.iter().map(|one| one["receipt"].clone()).collect();
        if !receipts.is_empty() {
            let body = json!({"receipts": receipts});
            server.post(&format!("{path}/ack"), &key, &body).ok();
        }
        let mut seen = seen.lock().expect("no holder panics");
        seen.extend(taken.iter().map(event_id));
        wanted.is_subset(&seen)
    });
}

fn event_id(delivery: &Value) -> String {
    let id = delivery["event"]["id"].as_str().or(delivery["id"].as_str());
    id.expect("a delivery names its event").to_owned()
}

/// The definition of a subscription, without what its deliveries change.
fn definition(server: &Server, path: &str) -> Value {
    let mut object = server.get(path);
    let fields = object.as_object_mut().expect("an object");
    fields.remove("figures");
    fields.remove("model");
    object
}

fn dead_letters(server: &Server, path: &str) -> Vec<Value> {
    let list = server.get(&format!("{path}/dead_letters?limit=100"));
    list["data"].as_array().expect("a list").clone()
}

/// Makes 50 subscriptions of all kinds, with webhooks under way and dead letters.
fn build(data: &Path, master_key: &Path) -> System {
    let server = start(data, master_key);
    let receiver = Receiver::start();
    let mut made = Vec::new();
    let mut subscribe = |key: String, body: Value| {
        let object = server.post("/v1/subscriptions", &key, &body).ok();
        let id = object["id"].as_str().expect("an id");
        let secret = object["secret"].as_str().map(str::to_owned);
        let url = body["url"].as_str();
        let target = url.map(|url| url.replace(&format!("http://{}", receiver.address), ""));
        made.push(Made {
            path: format!("/v1/subscriptions/{id}"),
            hook: target.zip(secret),
        });
    };
    for at in 0..20 {
        let order = if at % 2 == 0 { "object" } else { "none" };
        let attempts = if at < 2 { 1 } else { 16 };
        let body = json!({"events": ["app.#"], "order": order, "attempts_max": attempts,
            "name": format!("pull {at}"), "metadata": {"at": at.to_string()}});
        subscribe(format!("pull-{at}"), body);
    }
    let hook = |kind: &str, at: usize, attempts: u32| {
        json!({"url": format!("http://{}/{kind}/{at}", receiver.address), "events": ["app.#"],
            "attempts_max": attempts, "backoff": {"delays_seconds": [1]}})
    };
    for at in 0..15 {
        subscribe(format!("ok-{at}"), hook("ok", at, 16));
    }
    for at in 0..5 {
        subscribe(format!("bad-{at}"), hook("bad", at, 1));
    }
    for at in 0..5 {
        subscribe(format!("gate-{at}"), hook("gate", at, 1_000));
    }
    for at in 0..5 {
        subscribe(
            format!("mailbox-{at}"),
            json!({"events": [], "name": "results"}),
        );
    }
    assert_eq!(made.len(), 50);
    // One of each is changed after it was made.
    let path = &made[19].path;
    server
        .post(&format!("{path}/pause"), "pause", &json!({}))
        .ok();
    let (path, change) = (&made[18].path, json!({"name": "another name"}));
    let changed = server.request("PATCH", path, Some("patch"), Some(&change));
    changed.expect("answers").ok();
    let path = &made[20].path;
    let rotated = server
        .post(
            &format!("{path}/rotate_secret"),
            "rotate",
            &json!({"overlap_seconds": 0}),
        )
        .ok();
    let secret = rotated["secret"].as_str().expect("a secret").to_owned();
    made[20].hook.as_mut().expect("a webhook").1 = secret;

    let events: BTreeSet<String> = (0..EVENTS)
        .map(|at| publish(&server, &format!("event-{at}")))
        .collect();
    let system = System {
        server,
        receiver,
        made,
        events,
    };
    system.fail_two_pulls();
    system.wait_for_webhooks();
    system
}

impl System {
    fn hooks<'a>(&'a self, kind: &str) -> Vec<(&'a str, &'a str, &'a str)> {
        let of_kind = |made: &&Made| {
            let hook = made.hook.as_ref();
            hook.is_some_and(|(target, _)| target.starts_with(kind))
        };
        let parts = |made: &'a Made| {
            let Made { path, hook } = made;
            let (target, secret) = hook.as_ref().expect("filtered");
            (path.as_str(), target.as_str(), secret.as_str())
        };
        self.made.iter().filter(of_kind).map(parts).collect()
    }

    /// Two pulls refuse everything at once: all of it is dead.
    fn fail_two_pulls(&self) {
        for made in &self.made[..2] {
            let path = &made.path;
            let number = std::sync::atomic::AtomicUsize::new(0);
            until("everything refused is dead", || {
                let key = format!("nack-{path}-{}", number.fetch_add(1, Ordering::SeqCst));
                for one in receive(&self.server, path, &key) {
                    let body = json!({"receipts": [one["receipt"]], "error": "refused by a test"});
                    self.server.post(&format!("{path}/nack"), &key, &body).ok();
                }
                dead_letters(&self.server, path).len() == EVENTS
            });
        }
    }

    fn wait_for_webhooks(&self) {
        for (_, target, _) in self.hooks("/ok") {
            until("webhooks arrive", || {
                self.events.is_subset(&self.receiver.ids(target))
            });
        }
        for (path, ..) in self.hooks("/bad") {
            until("webhooks die", || {
                dead_letters(&self.server, path).len() == EVENTS
            });
        }
    }

    /// Every webhook that arrived bears a signature that its first secret verifies.
    fn signatures_verify(&self) {
        for kind in ["/ok", "/gate"] {
            for (_, target, secret) in self.hooks(kind) {
                let key = Webhook::new(secret).expect("a secret");
                let arrived = self.receiver.accepted().into_iter();
                for one in arrived.filter(|one| one.path == target) {
                    let time = one.header("webhook-timestamp").parse().expect("seconds");
                    let signed = key.sign(&one.id, time, &one.body).expect("it signs");
                    let signatures = one.header("webhook-signature");
                    assert!(signatures.split(' ').any(|one| one == signed), "{target}");
                }
            }
        }
    }

    fn definitions(&self, server: &Server) -> Vec<Value> {
        let paths = self.made.iter();
        paths.map(|made| definition(server, &made.path)).collect()
    }

    fn dead(&self, server: &Server) -> Vec<Vec<Value>> {
        let paths = self.made.iter();
        paths.map(|made| dead_letters(server, &made.path)).collect()
    }
}

fn folder() -> (tempfile::TempDir, PathBuf, PathBuf) {
    let directory = tempfile::tempdir().expect("directory");
    let (data, key) = (
        directory.path().join("data"),
        directory.path().join("master-key"),
    );
    (directory, data, key)
}

fn back_up(server: &Server, dir: &Path) {
    let url = server.url();
    run_for(
        0,
        &[
            "backup",
            text(dir),
            "--server",
            &url,
            "--api-key-file",
            server.key_file(),
            "--json",
        ],
    );
}

#[test]
fn a_backup_restored_elsewhere_has_subscriptions_secrets_and_dead_letters_and_delivers_on() {
    let (directory, data, master_key) = folder();
    let mut system = build(&data, &master_key);
    system.signatures_verify();
    let (definitions, dead) = (
        system.definitions(&system.server),
        system.dead(&system.server),
    );
    assert_eq!(
        dead.iter()
            .filter(|letters| letters.len() == EVENTS)
            .count(),
        7
    );
    let dir = directory.path().join("backup");
    back_up(&system.server, &dir);
    let lost = publish(&system.server, "after the backup");
    system.server.kill();

    let new = directory.path().join("new");
    run_for(0, &["restore", text(&dir), "--data", text(&new), "--json"]);
    std::fs::copy(
        data.with_extension("platform-key"),
        new.with_extension("platform-key"),
    )
    .expect("copies");
    let server = start(&new, &master_key);
    assert_eq!(system.definitions(&server), definitions);
    assert_eq!(system.dead(&server), dead);

    // What was under way goes on, and what is new is delivered and signed with the secrets of before.
    system.receiver.forget();
    system.receiver.open.store(true, Ordering::SeqCst);
    let event = publish(&server, "after the restore");
    for (_, target, _) in system.hooks("/gate") {
        until("deliveries go on", || {
            let ids = system.receiver.ids(target);
            system.events.is_subset(&ids) && ids.contains(&event)
        });
    }
    for (_, target, _) in system.hooks("/ok") {
        until("new events are delivered", || {
            system.receiver.ids(target).contains(&event)
        });
        assert!(!system.receiver.ids(target).contains(&lost));
    }
    system.signatures_verify();
    assert!(server.stop().success());
}

#[test]
fn a_lost_delivery_log_costs_repetitions_and_no_subscription() {
    let (_directory, data, master_key) = folder();
    let mut system = build(&data, &master_key);
    let definitions = system.definitions(&system.server);
    system.server.kill();
    std::fs::remove_dir_all(data.join("delivery")).expect("it is there");

    system.receiver.forget();
    system.receiver.open.store(true, Ordering::SeqCst);
    let server = start(&data, &master_key);
    assert_eq!(system.definitions(&server), definitions);
    let event = publish(&server, "after the loss");
    let mut wanted = system.events.clone();
    wanted.insert(event);
    for kind in ["/ok", "/gate"] {
        for (_, target, _) in system.hooks(kind) {
            until("everything is delivered again", || {
                wanted.is_subset(&system.receiver.ids(target))
            });
        }
    }
    system.signatures_verify();
    for made in &system.made[..19] {
        receive_all(&server, &made.path, &wanted);
    }
    // Whoever is paused is still paused.
    assert_eq!(
        receive(&server, &system.made[19].path, "paused"),
        [] as [Value; 0]
    );
    assert!(server.stop().success());
}

#[test]
fn a_delivery_log_of_another_history_is_set_aside() {
    let (directory, data, master_key) = folder();
    let mut system = build(&data, &master_key);
    let definitions = system.definitions(&system.server);
    let dir = directory.path().join("backup");
    back_up(&system.server, &dir);
    system.server.kill();

    // The same system, restored: it goes on differently.
    let fork = directory.path().join("fork");
    run_for(0, &["restore", text(&dir), "--data", text(&fork), "--json"]);
    std::fs::copy(
        data.with_extension("platform-key"),
        fork.with_extension("platform-key"),
    )
    .expect("copies");
    let mut other = start(&fork, &master_key);
    let events: Vec<String> = (0..EVENTS)
        .map(|at| publish(&other, &format!("fork-{at}")))
        .collect();
    let path = &system.made[2].path;
    let wanted = events.into_iter().collect();
    receive_all(&other, path, &wanted);
    // Durable before it is answered: the log rests on records that only this history has.
    let now = json!({"to": "now"});
    other.post(&format!("{path}/rewind"), "rewind", &now).ok();
    other.kill();
    // And another system altogether.
    let stranger = directory.path().join("stranger");
    let mut server = start(&stranger, &directory.path().join("another-key"));
    let body = json!({"events": ["app.#"], "attempts_max": 1});
    let made = server.post("/v1/subscriptions", "one", &body).ok();
    publish(&server, "one event");
    let id = made["id"].as_str().expect("an id");
    let its_path = format!("/v1/subscriptions/{id}");
    receive_all(&server, &its_path, &BTreeSet::new());
    server
        .post(&format!("{its_path}/rewind"), "rewind", &now)
        .ok();
    server.kill();

    for source in [&fork, &stranger] {
        std::fs::remove_dir_all(data.join("delivery")).expect("it is there");
        let copied = std::process::Command::new("cp")
            .args([
                "-r",
                text(&source.join("delivery")),
                text(&data.join("delivery")),
            ])
            .status();
        assert!(copied.expect("cp runs").success());
        // The journal has reached the positions that the other history's log names.
        let mut server = start(&data, &master_key);
        for at in 0..2 * EVENTS {
            publish(&server, &format!("{}-{at}", text(source)));
        }
        server.has_logged("set aside");
        assert_eq!(system.definitions(&server), definitions);
        receive_all(&server, path, &system.events);
        server.kill();
    }
}

/// Whether the server's metrics say that it has its master key.
fn has_master_key(server: &Server) -> bool {
    let metrics = server
        .request("GET", "/metrics", None, None)
        .expect("answers");
    let metrics = String::from_utf8_lossy(&metrics.body).into_owned();
    metrics.contains("\ntributary_master_key_up 1\n")
}

#[test]
fn a_server_with_another_master_key_serves_but_neither_seals_nor_delivers() {
    let directory = tempfile::tempdir().expect("directory");
    let (data, master_key) = (directory.path().join("data"), directory.path().join("key"));
    let server = start(&data, &master_key);
    assert!(has_master_key(&server) && master_key.exists());
    let receiver = Receiver::start();
    let body = json!({"url": format!("http://{}/ok/1", receiver.address), "events": ["app.#"]});
    server.post("/v1/subscriptions", "hook", &body).ok();
    assert!(server.stop().success());

    let mut wanted = BTreeSet::new();
    for (name, said) in [("missing", "is missing"), ("other", "are sealed under")] {
        let wrong = directory.path().join(name);
        if name == "other" {
            // The key of another system.
            let other = start(&directory.path().join("other-data"), &wrong);
            assert!(other.stop().success());
        }
        let server = start(&data, &wrong);
        server.has_logged(said);
        assert!(!has_master_key(&server));
        assert_eq!(wrong.exists(), name == "other", "no second key is made");
        wanted.insert(publish(&server, name));
        let refused = server.post("/v1/subscriptions", &format!("hook {name}"), &body);
        assert_eq!(
            (refused.status, &refused.json()["error"]["code"]),
            (503, &json!("messaging_unavailable"))
        );
        assert!(receiver.accepted().is_empty());
        assert!(server.stop().success());
    }

    let server = start(&data, &master_key);
    until("with its key it delivers what waited", || {
        wanted.is_subset(&receiver.ids("/ok/1"))
    });
    assert!(server.stop().success());
}
