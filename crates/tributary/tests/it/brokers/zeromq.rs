//! ZeroMQ, with the program of `examples/zeromq`, whose library is `pyzmq`. There is no broker: it is the server that is killed.

use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;
use tributary_testkit::ports::free_port;

use super::client::{Client, check_paid_once, open_account};
use super::example::{check_all_answered, check_books, kill_and_restart, kill_points, orders};
use crate::support::{PATIENCE, Server, repository, tool};

/// Where Tributary listens, and the file with the key of those who order.
struct Place {
    port: u16,
    key_file: String,
    /// Id of the binder.
    binder: String,
}

fn url(port: u16) -> String {
    format!("tcp://127.0.0.1:{port}")
}

/// Takes orders in, as `examples/zeromq/settings.toml` does, and waits until somebody listens.
fn bind(server: &Server, folder: &Path) -> Place {
    open_account(server, "wallet-anna", "external");
    open_account(server, "shop", "merchant");
    let key = json!({"owner": "platform", "access": "write"});
    let key = server.post("/v1/api_keys", "binding", &key).ok();
    let key_file = folder.join("order-key");
    std::fs::write(&key_file, key["secret"].as_str().expect("a secret")).expect("it is written");
    let port = free_port();
    let binder = json!({"slug": "peers", "type": "zeromq", "url": url(port)});
    let binder = server.post("/v1/binders", "binder", &binder).ok();
    let binding = json!({
        "slug": "orders", "binder": "peers", "direction": "in", "destination": "payment_order",
        "acts_as": key["id"], "identity_from": "message_id",
        "consumer": {"back_off_initial_interval": 50, "back_off_max_interval": 500},
        "reply": {"allow": ["peer-*"]},
        "map": {
            "currency": "EUR", "source": "wallet-anna", "destination": "shop",
            "reference": "{order_id}", "amount": {"field": "amount", "unit": "minor"},
        },
    });
    server.post("/v1/bindings", "orders", &binding).ok();
    wait_for_listener(server, port, true);
    Place {
        port,
        key_file: key_file.to_str().expect("a path in UTF-8").to_owned(),
        binder: binder["id"].as_str().expect("an id").to_owned(),
    }
}

fn wait_for_listener(server: &Server, port: u16, listens: bool) {
    let begun = Instant::now();
    while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok() != listens {
        assert!(begun.elapsed() < PATIENCE, "{port}\n{}", server.log());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Starts to place orders; none if there is no Python with its library.
fn order(place: &Place, key_file: &str, first: u64, count: u64) -> Option<Client> {
    let mut program = Command::new(tool("tools-python")?);
    program
        .arg(repository().join("examples/zeromq/place_orders.py"))
        .args(["--url", &url(place.port), "--key-file", key_file])
        .args(["--first", &first.to_string(), "--count", &count.to_string()])
        .stdin(Stdio::null());
    Some(Client::start(program))
}

#[test]
fn orders_of_a_foreign_client_are_paid_once_and_answered() {
    let page = repository().join("docs/brokers/zeromq.md");
    let page = std::fs::read_to_string(page).expect("a page");
    let program = repository().join("examples/zeromq/place_orders.py");
    let program = std::fs::read_to_string(program).expect("a program");
    assert!(page.contains(&program), "the page shows another program");
    let directory = tempfile::tempdir().expect("directory");
    let server = Server::start(&directory.path().join("data"));
    let mut place = bind(&server, directory.path());
    let Some(placing) = order(&place, &place.key_file, 123_456, 50) else {
        return;
    };
    let results = placing.succeed().answered();
    assert_eq!(results.len(), 50);
    assert!(results.values().all(|kind| kind == "payment.captured"));
    // The same orders once more, at another address: each is answered again, and none is paid again.
    let old = place.port;
    place.port = free_port();
    let moved = json!({"url": url(place.port)});
    let path = format!("/v1/binders/{}", place.binder);
    let patched = server.request("PATCH", &path, Some("move"), Some(&moved));
    patched.expect("it answers").ok();
    wait_for_listener(&server, place.port, true);
    wait_for_listener(&server, old, false);
    let again = order(&place, &place.key_file, 123_456, 50).expect("it was there");
    assert_eq!(again.succeed().answered(), results);
    check_paid_once(&server, 123_456, 50);
    // Another key, even one that may do more, is not the one that the binding acts as.
    let stranger = order(&place, server.key_file(), 1, 1).expect("it was there");
    let ended = stranger.finish();
    assert!(!ended.status.success(), "{ended:?}");
    assert!(ended.err.contains("api_key_invalid"), "{ended:?}");
    check_paid_once(&server, 123_456, 50);
    let bindings = server.get("/v1/bindings");
    let id = bindings["data"][0]["id"].as_str().expect("an id");
    let begun = Instant::now();
    loop {
        // Counted since the address changed.
        let figures = server.get(&format!("/v1/bindings/{id}/figures"));
        let counts = ["decided", "repeated", "dead_letters", "in_hand"];
        let counts = counts.map(|name| figures[name].as_u64().expect("a count"));
        if figures["standing"] == "running" && counts == [0, 50, 1, 0] {
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "{figures}\n{}", server.log());
        std::thread::sleep(Duration::from_millis(20));
    }
    let message = server.get(&format!("/v1/bindings/{id}/messages/123456"));
    assert_eq!(message["result"]["reference"], json!("123456"), "{message}");
    let out = json!({"slug": "events", "binder": "peers", "direction": "out", "destination": "x"});
    let refused = server.post("/v1/bindings", "events", &out);
    assert_eq!(refused.status, 400);
    assert_eq!(refused.json()["error"]["param"], json!("direction"));
    assert!(server.stop().success());
}

#[test]
fn a_server_that_is_killed_loses_and_doubles_no_order() {
    let directory = tempfile::tempdir().expect("directory");
    let data = directory.path().join("data");
    let mut server = Server::start(&data);
    let place = bind(&server, directory.path());
    let (first, each) = (1_000, orders() / 2);
    for run in 0..2 {
        let before = run * each;
        let Some(mut placing) = order(&place, &place.key_file, first + before, each) else {
            return;
        };
        for point in kill_points(each) {
            placing.wait_for_progress(&server, before + point);
            server = kill_and_restart(server, &data);
        }
        check_all_answered(placing, &server, before, each);
    }
    check_paid_once(&server, first, 2 * each);
    check_books(server, &data);
}
