//! Every caller is bounded: in size, in number, in time.

use std::io::{ErrorKind, Read, Write};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::json;
use tributary_server::{RateLimit, Server, ServerConfig, TlsFiles};

use crate::client::{PATIENCE, connect, read_answer, send, until};
use crate::fixture::{Fixture, no_services, pay};

#[test]
fn a_caller_who_takes_no_answers_is_cut_off() {
    let server = Fixture::with(|config| config.limits.write_timeout = Duration::from_millis(300));
    let mut stream = connect(server.addr);
    // More answers than the buffers between the two hold; the server closes, so that not all can be asked for.
    let ask = b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(500);
    let _cut_off = stream.write_all(&ask);
    // The one that asks for the metrics is open too.
    until("the connection is still open", || {
        (server.metric("tributary_http_connections") == "1").then_some(())
    });
    let mut taken = Vec::new();
    let _reset = stream.read_to_end(&mut taken);
    assert!(taken.starts_with(b"HTTP/1.1 200"));
}

/// Whether the server closes the connection, and does not only say nothing.
fn is_closed(mut stream: std::net::TcpStream) -> bool {
    let waits = [ErrorKind::WouldBlock, ErrorKind::TimedOut];
    match stream.read_to_end(&mut Vec::new()) {
        Ok(_) => true,
        Err(reset) => !waits.contains(&reset.kind()),
    }
}

#[test]
fn a_caller_who_dawdles_is_cut_off() {
    let server =
        Fixture::with(|config| config.limits.header_read_timeout = Duration::from_millis(300));
    for head in ["", "GET /health/live HTT", "P"] {
        let mut stream = connect(server.addr);
        stream
            .write_all(head.as_bytes())
            .expect("the server listens");
        assert!(is_closed(stream), "{head:?} holds a connection");
    }
    // Neither is a connection kept for another request that never comes.
    loop {
        let mut stream = connect(server.addr);
        let sent = stream.write_all(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let mut begun = [0; 12];
        // If this thread stood still before it asked, it was cut off for that.
        if sent.is_err() || stream.read_exact(&mut begun).is_err() {
            continue;
        }
        assert_eq!(&begun, b"HTTP/1.1 200");
        assert!(is_closed(stream), "an idle connection stays");
        break;
    }
    // One byte now and then is no way around it.
    let mut stream = connect(server.addr);
    let started = Instant::now();
    for byte in b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n" {
        std::thread::sleep(Duration::from_millis(50));
        if stream.write_all(&[*byte]).is_err() {
            break;
        }
    }
    let mut rest = Vec::new();
    let _reset = stream.read_to_end(&mut rest);
    assert!(
        !rest.starts_with(b"HTTP/1.1 200"),
        "it was answered after {:?}",
        started.elapsed()
    );
}

#[test]
fn a_head_that_is_too_large_is_refused() {
    let server = Fixture::with(|config| config.limits.header_bytes_max = 8_192);
    let answer = send(
        server.addr,
        "GET",
        "/health/live",
        &[("X", &"x".repeat(20_000))],
        b"",
    );
    assert_eq!(answer.status, 431);
    let somewhat = [("X", &*"x".repeat(8_192))];
    let answer = send(server.addr, "GET", "/health/live", &somewhat, b"");
    assert_eq!((answer.status, &*answer.code()), (431, "head_too_large"));
    let many: Vec<(String, String)> = (0..200)
        .map(|index| (format!("X-{index}"), "x".to_owned()))
        .collect();
    let many: Vec<(&str, &str)> = many
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    assert_eq!(
        send(server.addr, "GET", "/health/live", &many, b"").status,
        431
    );
}

#[test]
fn a_key_keeps_its_rate() {
    let rate = RateLimit {
        requests_per_second: 1,
        burst: 3,
    };
    let server = Fixture::with(|config| config.limits.rate = Some(rate));
    let begun = Instant::now();
    let mut served = 0;
    let refused = loop {
        let answer = server.get("/v1/accounts");
        if answer.status != 200 {
            break answer;
        }
        served += 1;
        // Each second earns another one: on a machine that is slow some more are served.
        let earned = 3 + begun.elapsed().as_secs();
        assert!(served <= earned, "{served} served, {earned} earned");
        assert!(begun.elapsed() < PATIENCE, "none is refused");
    };
    assert!(served >= 3);
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (429, "rate_limited")
    );
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert_eq!(
        send(server.addr, "GET", "/health/live", &[], b"").status,
        200,
        "health has no rate"
    );
}

#[test]
fn stopping_answers_what_is_in_flight() {
    let mut server = Fixture::start();
    let (buyer, shop) = (
        server.wallet("ann", 100),
        server.account("shop", "merchant"),
    );
    let addr = server.addr;
    let running = server.running.take().expect("it runs");
    let shared = Arc::new(server);
    shared.faults.hold();
    let in_flight = {
        let (server, body) = (shared.clone(), pay(&buyer, &shop, 10));
        std::thread::spawn(move || server.post_key("/v1/payments", "k", &body))
    };
    let idle = connect(addr);
    // Those two, and the one that asks.
    until("both are there", || {
        let in_flight = shared.metric("tributary_http_requests_in_flight");
        let connections = shared.metric("tributary_http_connections");
        (in_flight == "2" && connections == "3").then_some(())
    });
    let stopping = std::thread::spawn(move || running.shutdown());
    until("it takes no more connections", || {
        std::net::TcpStream::connect(addr).err()
    });
    std::thread::sleep(Duration::from_millis(300));
    assert!(
        !stopping.is_finished(),
        "it waits for the request in flight"
    );
    shared.faults.release();
    in_flight.join().expect("no panic").expect(201);
    stopping
        .join()
        .expect("it stops, although an idle connection is open");
    drop(idle);
}

#[test]
fn a_full_disk_refuses_writes_reads_on_and_goes_on_by_itself() {
    let server = Fixture::start();
    let (buyer, shop) = (
        server.wallet("ann", 100),
        server.account("shop", "merchant"),
    );
    let before = server.post_key("/v1/payments", "before", &pay(&buyer, &shop, 1_000));
    assert_eq!(before.code(), "insufficient_funds");
    server.faults.full.store(true, Ordering::SeqCst);
    let refused = server.post_key("/v1/payments", "k", &pay(&buyer, &shop, 10));
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (503, "storage_full")
    );
    assert!(refused.header("retry-after").is_some());
    assert_eq!(server.posted(&buyer), 100);
    assert_eq!(
        send(server.addr, "GET", "/health/ready", &[], b"").code(),
        "storage_full"
    );
    // Whoever repeats what was accepted before gets its first answer, alone and in a batch.
    let repeated = server.post_key("/v1/payments", "before", &pay(&buyer, &shop, 1_000));
    assert_eq!(
        (repeated.status, &*repeated.code()),
        (402, "insufficient_funds")
    );
    assert_eq!(repeated.header("idempotent-replayed"), Some("true"));
    let other = server.post_key("/v1/payments", "before", &pay(&buyer, &shop, 1));
    assert_eq!(other.code(), "idempotency_key_reused");
    let batch = |key: &str| {
        let command = json!({"idempotency_key": key, "payment": pay(&buyer, &shop, 1_000)});
        server.post_raw(
            &server.platform,
            "/v1/batches",
            None,
            json!([command]).to_string().as_bytes(),
        )
    };
    assert_eq!(batch("before").expect(200)["results"][0]["replayed"], true);
    assert_eq!(batch("after").code(), "storage_full");
    assert_eq!(
        send(server.addr, "GET", "/health/ready", &[], b"").code(),
        "storage_full",
        "a repetition tells of no space"
    );
    server.faults.full.store(false, Ordering::SeqCst);
    server
        .post_key("/v1/payments", "k", &pay(&buyer, &shop, 10))
        .expect(201);
    assert_eq!(
        send(server.addr, "GET", "/health/ready", &[], b"").status,
        200
    );
}

/// Files of a certificate for `localhost`, and the settings of a client that trusts it.
pub(crate) fn tls() -> (TlsFiles, rustls::ClientConfig) {
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/tls");
    let files = TlsFiles {
        certificate: dir.join("certificate.pem"),
        key: dir.join("key.pem"),
    };
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(&files.certificate).expect("it is there") {
        roots
            .add(certificate.expect("a certificate"))
            .expect("a root");
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    (files, config)
}

#[test]
fn tls_is_spoken_with_the_files_given() {
    let (files, config) = tls();
    let server = Fixture::with(|config| config.tls = Some(files.clone()));
    let name = "localhost".try_into().expect("a name");
    let client = rustls::ClientConnection::new(Arc::new(config), name).expect("a client");
    let mut stream = rustls::StreamOwned::new(client, connect(server.addr));
    stream
        .write_all(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .expect("TLS works");
    assert_eq!(read_answer(stream).expect(200), json!({"status": "live"}));

    let swapped = TlsFiles {
        certificate: files.key,
        key: files.certificate,
    };
    let config = ServerConfig {
        listen: ([127, 0, 0, 1], 0).into(),
        tls: Some(swapped),
        ..ServerConfig::default()
    };
    let services = no_services(&server.engine);
    let error = Server::start(config, server.engine.clone(), services)
        .expect_err("a key is no certificate");
    assert!(error.to_string().contains("key.pem"), "{error}");
}

#[test]
fn damage_is_told_alike_to_reads_and_repetitions_and_ready_warns_of_it() {
    let server = Fixture::start();
    let (buyer, shop) = (
        server.wallet("ann", 100),
        server.account("shop", "merchant"),
    );
    let ready = || send(server.addr, "GET", "/health/ready", &[], b"").expect(200);
    assert_eq!(ready()["warnings"], json!([]));
    let paid = server.post_key("/v1/payments", "k", &pay(&buyer, &shop, 10));
    let paid = paid.expect(201);
    server.faults.damage(server.reader().head().position);
    let id = paid["id"].as_str().expect("an id");
    let read = server.get(&format!("/v1/payments/{id}"));
    let repeated = server.post_key("/v1/payments", "k", &pay(&buyer, &shop, 10));
    for answer in [read, repeated] {
        assert_eq!((answer.status, &*answer.code()), (500, "record_damaged"));
    }
    assert_eq!(ready()["warnings"][0]["code"], "record_damaged");
}

#[test]
fn a_server_is_ready_only_when_its_start_is_over() {
    let server = Fixture::with(|config| config.ready_at_start = false);
    let ready = || send(server.addr, "GET", "/health/ready", &[], b"");
    assert_eq!((ready().status, &*ready().code()), (503, "unavailable"));
    assert_eq!(server.metric("tributary_ready"), "0");
    assert_eq!(
        send(server.addr, "GET", "/health/live", &[], b"").status,
        200
    );
    server.running.as_ref().expect("it runs").set_ready();
    assert_eq!(ready().status, 200);
    assert_eq!(server.metric("tributary_ready"), "1");
}
