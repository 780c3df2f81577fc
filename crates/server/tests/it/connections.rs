//! Idle connections keep nobody out: they give way, expire, or the new one is refused at once.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use socket2::{Domain, Socket, Type};
use tributary_server::ServerConfig;

use crate::client::{Answer, PATIENCE, connect, read_answer, send, until};
use crate::fixture::Fixture;
use crate::grpc::block;
use crate::grpc::client::Client;
use crate::grpc::messages::{Account, GetAccountRequest};
use crate::limits::tls;

/// A server with bounds on connections: in all, and for each address.
fn server_with(
    all_max: usize,
    per_address_max: usize,
    change: impl FnOnce(&mut ServerConfig),
) -> Fixture {
    Fixture::with(|config| {
        // One accept loop for each port: connections are accepted in the order in which they were opened.
        config.threads = 1;
        config.limits.connections_max = all_max;
        config.limits.connections_per_address_max = per_address_max;
        config.grpc_listen = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
        change(config);
    })
}

fn grpc_addr(server: &Fixture) -> SocketAddr {
    let running = server.running.as_ref().expect("it runs");
    running.grpc_addr().expect("it serves gRPC")
}

/// Sends a request on a connection that stays open, and returns the status of the answer; none if the server has closed it.
fn ask_on(stream: &mut (impl Read + Write), token: &str) -> Option<u16> {
    let request = format!(
        "GET /v1/accounts HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).ok()?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    let head = String::from_utf8(head)
        .expect("a head is text")
        .to_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    let length = length
        .and_then(|length| length.parse().ok())
        .expect("a length");
    stream.read_exact(&mut vec![0; length]).ok()?;
    head.split(' ').nth(1)?.parse().ok()
}

/// A connection over which a valid key has come.
fn authenticated(server: &Fixture) -> TcpStream {
    let mut stream = connect(server.addr);
    assert_eq!(ask_on(&mut stream, &server.platform), Some(200));
    stream
}

/// Whether the server closes the connection within the patience of a test.
fn is_closed(mut stream: TcpStream) -> bool {
    match stream.read_to_end(&mut Vec::new()) {
        Ok(_) => true,
        Err(error) => ![ErrorKind::WouldBlock, ErrorKind::TimedOut].contains(&error.kind()),
    }
}

/// Opens a connection from this address of the loopback.
fn connect_from(address: [u8; 4], to: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    let from = SocketAddr::from((Ipv4Addr::from(address), 0));
    socket
        .bind(&from.into())
        .expect("all of 127/8 is the loopback");
    socket.connect(&to.into()).expect("the server listens");
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
    stream
}

/// What the server says to a connection that asks for nothing but the health.
fn health(mut stream: TcpStream) -> Answer {
    let request = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let _refused_before = stream.write_all(request);
    read_answer(stream)
}

#[test]
fn idle_connections_without_a_key_give_way_to_new_ones() {
    let server = server_with(8, 8, |_| ());
    let mut kept = authenticated(&server);
    let mut idle: Vec<TcpStream> = Vec::new();
    for round in 0..4 {
        idle.extend((0..8).map(|_| connect(server.addr)));
        // As many idle ones as there are places, again and again: a new client is served nevertheless.
        assert_eq!(server.get("/v1/accounts").status, 200, "round {round}");
        assert_eq!(
            ask_on(&mut kept, &server.platform),
            Some(200),
            "round {round}"
        );
    }
    let first = idle.remove(0);
    assert!(is_closed(first), "the oldest one gave way");
    let page = String::from_utf8(server.get("/metrics").body).expect("text");
    let evicted = page
        .lines()
        .find_map(|line| {
            line.strip_prefix("tributary_connections_closed_total{reason=\"evicted\"} ")
        })
        .expect("it is counted");
    assert!(evicted.parse::<u64>().expect("a number") > 16, "{evicted}");
}

#[test]
fn idle_connections_without_a_key_give_way_to_new_ones_over_grpc() {
    let server = server_with(8, 8, |_| ());
    let account = server.account("ann", "wallet");
    let idle: Vec<TcpStream> = (0..20).map(|_| connect(grpc_addr(&server))).collect();
    let client = Client::new(grpc_addr(&server), &server.platform);
    let request = GetAccountRequest {
        id: block(&account),
    };
    let answer: Result<Account, _> = client.call("/tributary.v1.Ledger/GetAccount", request);
    assert_eq!(answer.expect("it is served").public_id, account);
    // They took no place from those that speak REST, either.
    assert_eq!(server.get("/v1/accounts").status, 200);
    drop(idle);
}

#[test]
fn unfinished_tls_handshakes_give_way_to_new_connections() {
    let (files, config) = tls();
    let server = server_with(4, 4, |config| config.tls = Some(files));
    let idle: Vec<TcpStream> = (0..20).map(|_| connect(server.addr)).collect();
    let name = "localhost".try_into().expect("a name");
    let client =
        rustls::ClientConnection::new(std::sync::Arc::new(config), name).expect("a client");
    let mut stream = rustls::StreamOwned::new(client, connect(server.addr));
    assert_eq!(ask_on(&mut stream, &server.platform), Some(200));
    drop(idle);
}

#[test]
fn a_connection_too_many_is_refused_at_once_when_all_others_brought_a_key() {
    let server = server_with(2, 2, |_| ());
    let held: Vec<TcpStream> = (0..2).map(|_| authenticated(&server)).collect();
    let refused = send(server.addr, "GET", "/health/live", &[], b"");
    assert_eq!(
        (refused.status, &*refused.code()),
        (503, "too_many_connections")
    );
    assert_eq!(refused.header("retry-after"), Some("1"));
    // Also one that says nothing is told so.
    let refused = read_answer(connect(server.addr));
    assert_eq!(
        (refused.status, &*refused.code()),
        (503, "too_many_connections")
    );
    // gRPC shares the places, and says it in its own way.
    let mut stream = connect(grpc_addr(&server));
    let mut said = Vec::new();
    let _reset = stream.read_to_end(&mut said);
    let said = String::from_utf8_lossy(&said);
    assert!(said.contains("as many connections"), "{said:?}");
    drop(held);
    until("places are free again", || {
        (send(server.addr, "GET", "/health/live", &[], b"").status == 200).then_some(())
    });
}

#[test]
fn one_address_cannot_take_the_places_of_others() {
    let server = server_with(10, 2, |_| ());
    let mut held: Vec<TcpStream> = Vec::new();
    for _ in 0..2 {
        let mut stream = connect_from([127, 0, 0, 2], server.addr);
        assert_eq!(ask_on(&mut stream, &server.platform), Some(200));
        held.push(stream);
    }
    let refused = health(connect_from([127, 0, 0, 2], server.addr));
    assert_eq!(
        (refused.status, &*refused.code()),
        (503, "too_many_connections")
    );
    let message = refused.json()["error"]["message"].to_string();
    assert!(message.contains("from this address"), "{message}");
    assert_eq!(
        health(connect_from([127, 0, 0, 3], server.addr)).status,
        200
    );
    // Idle ones of an address give way only to others of the same address.
    let other = connect_from([127, 0, 0, 4], server.addr);
    let idle: Vec<TcpStream> = (0..5)
        .map(|_| connect_from([127, 0, 0, 3], server.addr))
        .collect();
    let mut idle = idle.into_iter();
    assert!(
        is_closed(idle.next().expect("five")),
        "the first of them gave way"
    );
    assert_eq!(
        health(other).status,
        200,
        "that of the other address did not"
    );
}

#[test]
fn a_connection_that_never_brings_a_key_is_closed_after_a_while() {
    let server = server_with(100, 100, |config| {
        config.limits.unauthenticated_timeout = Duration::from_millis(500);
    });
    // On a machine that stands still the key may come too late: then another connection is tried.
    let mut kept = until("a connection with a key", || {
        let mut stream = connect(server.addr);
        let asked = [(); 2].map(|()| ask_on(&mut stream, &server.platform));
        (asked == [Some(200); 2]).then_some(stream)
    });
    let silent = connect(server.addr);
    let grpc = connect(grpc_addr(&server));
    let mut busy = connect(server.addr);
    // One that asks for what takes no key, as often as it likes, is no better.
    let ask = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n";
    until("it is closed", || {
        let mut some = [0; 4096];
        let lives =
            busy.write_all(ask).is_ok() && matches!(busy.read(&mut some), Ok(bytes) if bytes > 0);
        (!lives).then_some(())
    });
    assert!(is_closed(silent), "a silent one is closed");
    assert!(is_closed(grpc), "over gRPC too");
    assert_eq!(
        ask_on(&mut kept, &server.platform),
        Some(200),
        "one with a key stays"
    );
}
