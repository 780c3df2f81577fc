//! `GET /v1/events/stream`: events as they happen, over a real socket.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tributary_engine::IdKind;
use tributary_ledger::OwnerId;

use crate::client::{PATIENCE, connect, until};
use crate::fixture::{Fixture, id, pay};

/// What stands between two empty lines.
#[derive(Debug, Default, PartialEq)]
struct Block {
    id: Option<String>,
    event: Option<String>,
    data: Vec<String>,
    retry: Option<String>,
    comment: bool,
}

impl Block {
    fn data(&self) -> Value {
        assert_eq!(self.data.len(), 1, "one line of data: {self:?}");
        serde_json::from_str(&self.data[0]).expect("JSON")
    }
}

/// An open stream, read as a browser would.
pub(crate) struct Stream {
    reader: BufReader<TcpStream>,
    text: Vec<u8>,
    /// What was heard last, to go on from.
    last: Option<String>,
}

impl Stream {
    pub(crate) fn open(server: &Fixture, token: &str, query: &str, last: Option<&str>) -> Stream {
        Stream::try_open(server.addr, token, query, last).expect("it is answered")
    }

    /// None if the server closed the connection without an answer.
    fn try_open(addr: SocketAddr, token: &str, query: &str, last: Option<&str>) -> Option<Stream> {
        let mut stream = connect(addr);
        let last_line = last.map_or(String::new(), |last| format!("Last-Event-ID: {last}\r\n"));
        let head = format!(
            "GET /v1/events/stream{query} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n{last_line}\r\n"
        );
        stream.write_all(head.as_bytes()).ok()?;
        let mut opened = Stream {
            reader: BufReader::new(stream),
            text: Vec::new(),
            last: last.map(str::to_owned),
        };
        let mut head = vec![opened.try_line().filter(|line| !line.is_empty())?];
        while head.last().is_none_or(|line: &String| !line.is_empty()) {
            head.push(opened.line());
        }
        assert!(head[0].starts_with("HTTP/1.1 200"), "{head:?}");
        let kind = "content-type: text/event-stream".to_owned();
        assert!(head.contains(&kind), "{head:?}");
        let first = opened.block().expect("it begins");
        assert_eq!(
            (first.retry.as_deref(), first.data.len()),
            (Some("1000"), 0)
        );
        Some(opened)
    }

    fn line(&mut self) -> String {
        self.try_line().expect("it goes on")
    }

    fn try_line(&mut self) -> Option<String> {
        let mut line = String::new();
        self.reader.read_line(&mut line).ok()?;
        Some(line.trim_end().to_owned())
    }

    /// The next block, of any kind; none once the stream has ended as it should.
    fn block(&mut self) -> Option<Block> {
        loop {
            if let Some(end) = self.text.windows(2).position(|two| two == b"\n\n") {
                let text: Vec<u8> = self.text.drain(..end + 2).collect();
                let block = parse(std::str::from_utf8(&text).expect("UTF-8"));
                self.last = block.id.clone().or(self.last.take());
                return Some(block);
            }
            let size = usize::from_str_radix(&self.line(), 16).expect("the size of a chunk");
            let mut chunk = vec![0; size + 2];
            self.reader.read_exact(&mut chunk).expect("a chunk");
            if size == 0 {
                assert!(self.text.is_empty(), "it ends between two blocks");
                return None;
            }
            self.text.extend_from_slice(&chunk[..size]);
        }
    }

    /// Whether the stream ends as it should, with no further event.
    pub(crate) fn ends(&mut self) -> bool {
        while let Some(block) = self.block() {
            if !block.data.is_empty() {
                return false;
            }
        }
        true
    }

    /// The type of the next event.
    pub(crate) fn event_type(&mut self) -> String {
        self.event().event.expect("an event has a type")
    }

    /// The next event.
    fn event(&mut self) -> Block {
        loop {
            let block = self.block().expect("the stream goes on");
            if !block.data.is_empty() {
                return block;
            }
        }
    }

    /// The type of the next event.
    pub(crate) fn next_type(&mut self) -> String {
        self.event().event.expect("a type")
    }

    /// The ids of the next `count` events.
    fn ids(&mut self, count: usize) -> Vec<String> {
        let id = |_| self.event().id.expect("an id");
        (0..count).map(id).collect()
    }
}

fn parse(text: &str) -> Block {
    let mut block = Block::default();
    for line in text.lines().filter(|line| !line.is_empty()) {
        let (field, value) = line.split_once(':').expect("a field");
        let value = value.strip_prefix(' ').unwrap_or(value).to_owned();
        match field {
            "id" => block.id = Some(value),
            "event" => block.event = Some(value),
            "data" => block.data.push(value),
            "retry" => block.retry = Some(value),
            "" => block.comment = true,
            other => panic!("{other} is no field"),
        }
    }
    block
}

/// The ids of all events, the oldest first.
fn all_ids(server: &Fixture) -> Vec<String> {
    let head = server.reader().head().position;
    let ids = server.reader().ids().clone();
    let id = |position| ids.encode(IdKind::Event, position);
    (1..=head).map(id).collect()
}

/// The ids of events whose type begins so, the oldest first, from position `from` on.
fn ids_of(server: &Fixture, from: u64, kind: &str) -> Vec<String> {
    all_ids(server)[from as usize - 1..]
        .iter()
        .filter(|id| {
            let event = server.get(&format!("/v1/events/{id}")).expect(200);
            event["type"]
                .as_str()
                .is_some_and(|of| of.starts_with(kind))
        })
        .cloned()
        .collect()
}

#[test]
fn events_come_as_they_happen_and_as_they_are_shown_elsewhere() {
    let server = Fixture::start();
    let (buyer, shop) = (
        server.wallet("ann", 100),
        server.account("shop", "merchant"),
    );
    let mut stream = Stream::open(&server, &server.platform, "?events=payment.*", None);
    for amount in [1, 1_000, 2] {
        server.post("/v1/payments", &pay(&buyer, &shop, amount));
    }
    for kind in ["payment.captured", "payment.failed", "payment.captured"] {
        let block = stream.event();
        assert_eq!(block.event.as_deref(), Some(kind));
        let id = block.id.clone().expect("an id");
        let shown = server.get(&format!("/v1/events/{id}")).expect(200);
        assert_eq!(block.data(), shown);
    }
    // What an application published has no line of its own in it.
    let mut all = Stream::open(&server, &server.platform, "?events=app.%23", None);
    let body = b"{\"type\": \"app.order\", \"data\":\r\n{\"a\":\n1}}";
    let answer = server.post_raw(&server.platform, "/v1/events", Some("e"), body);
    answer.expect(201);
    assert_eq!(all.event().data()["data"], json!({"a": 1}));
}

#[test]
fn a_stream_goes_on_after_any_event_and_loses_and_doubles_nothing_while_payments_go_on() {
    let server = Fixture::start();
    let (buyer, shop) = (
        server.wallet("ann", 10_000),
        server.account("shop", "merchant"),
    );
    let from = server.reader().head().position + 1;
    server.clock.advance(60);
    const PAYMENTS: usize = 400;
    let mut seen: Vec<String> = Vec::new();
    std::thread::scope(|threads| {
        for _ in 0..2 {
            threads.spawn(|| {
                for _ in 0..PAYMENTS / 2 {
                    let body = pay(&buyer, &shop, 1);
                    server.post("/v1/payments", &body).expect(201);
                    // Not wanted by the stream.
                    server.account("other", "wallet");
                }
            });
        }
        // The first stream begins at a position, all others where the one before was lost.
        let query = format!(
            "?events=payment.captured&after={}",
            all_ids(&server)[from as usize - 2]
        );
        let mut last = None;
        let mut streams = 0;
        while seen.len() < PAYMENTS {
            let mut stream = Stream::open(&server, &server.platform, &query, last.as_deref());
            let count = (1 + streams * 7 % 31).min(PAYMENTS - seen.len());
            seen.extend(stream.ids(count));
            last = stream.last.clone();
            streams += 1;
        }
        assert!(streams > 20, "{streams}");
    });
    assert_eq!(seen, ids_of(&server, from, "payment.captured"));
    assert_eq!(seen.len(), PAYMENTS);
    // Wherever else it begins, it has exactly what is behind that.
    let all = all_ids(&server);
    let opened = &ids_of(&server, from, "account.")[PAYMENTS / 2];
    let behind_opened = all.iter().position(|id| id == opened).expect("it is there") as u64 + 2;
    let time = server.get(&format!("/v1/events/{}", seen[0])).expect(200);
    let time = time["created"].as_str().expect("a time");
    for (query, last, first) in [
        ("?events=payment.*&start=beginning".to_owned(), None, 1),
        (
            "?events=payment.*&start=now".to_owned(),
            Some(opened.as_str()),
            behind_opened,
        ),
        (
            format!("?events=payment.*&start={opened}"),
            None,
            behind_opened,
        ),
        (format!("?events=payment.*&start={time}"), None, from),
    ] {
        let wanted = ids_of(&server, first, "payment.");
        let mut stream = Stream::open(&server, &server.platform, &query, last);
        assert_eq!(stream.ids(wanted.len()), wanted, "{query}");
    }
}

#[test]
fn a_stream_that_heard_nothing_knows_where_to_go_on() {
    let server = Fixture::start();
    let (buyer, shop) = (
        server.wallet("ann", 100),
        server.account("shop", "merchant"),
    );
    let stream = Stream::open(&server, &server.platform, "", None);
    let last = stream.last.clone().expect("an id before any event");
    drop(stream);
    let paid = id(&server
        .post("/v1/payments", &pay(&buyer, &shop, 1))
        .expect(201));
    let mut again = Stream::open(&server, &server.platform, "", Some(&last));
    assert_eq!(again.event().data()["data"]["object"]["id"], json!(paid));
}

#[test]
fn a_stream_has_what_its_key_may_see_and_its_filter_wants() {
    let server = Fixture::start();
    let bank = server.account("platform", "external");
    let (ann, shop) = (
        server.wallet("ann", 100),
        server.account("shop", "merchant"),
    );
    let bob = server.wallet("bob", 100);
    let (of_ann, of_bob) = (server.token("ann", "read"), server.token("bob", "write"));
    let platform = &server.platform;
    let mut streams = [
        (platform, "?events=payment.*", vec![1, 2, 3, 4]),
        (&of_ann, "?events=payment.*,account.%23", vec![1, 3]),
        (&of_bob, "", vec![2, 4]),
        (&of_bob, "?owner=bob&currency=EUR", vec![2, 4]),
        (
            platform,
            "?owner=ann&currency=EUR&events=payment.*",
            vec![1, 3],
        ),
        (platform, "?currency=USD", vec![]),
    ]
    .map(|(token, query, wanted)| (Stream::open(&server, token, query, None), query, wanted));
    for (source, amount) in [(&ann, 1), (&bob, 2), (&ann, 3), (&bob, 4)] {
        server
            .post("/v1/payments", &pay(source, &shop, amount))
            .expect(201);
    }
    // Everybody whom it is not kept from hears of this last.
    for (token, kind) in [(platform, "x"), (&of_bob, "y")] {
        let body = json!({"type": format!("app.{kind}"), "data": null});
        server.post_as(token, "/v1/events", &body).expect(201);
    }
    let bob_made = server.account("bob", "wallet");
    let usd = json!({"owner": "platform", "currency": "USD", "kind": "external", "overdraft": "unlimited"});
    let usd = id(&server.post("/v1/accounts", &usd).expect(201));
    let usd_2 = json!({"owner": "ann", "currency": "USD", "kind": "wallet"});
    let usd_2 = id(&server.post("/v1/accounts", &usd_2).expect(201));
    let top_up = |source: &str, destination: &str, currency: &str| {
        let body = json!({"amount": 7, "currency": currency, "source": source, "destination": destination});
        server.post("/v1/top_ups", &body).expect(201);
    };
    for (destination, source, currency) in [
        (&ann, &bank, "EUR"),
        (&bob_made, &bank, "EUR"),
        (&usd_2, &usd, "USD"),
    ] {
        top_up(source, destination, currency);
    }
    for (stream, query, wanted) in &mut streams {
        let mut heard = Vec::new();
        loop {
            let data = stream.event().data();
            let object = &data["data"]["object"];
            if object["object"] != "payment" {
                continue;
            }
            match object["amount"].as_u64().expect("an amount") {
                7 => break,
                amount => heard.push(amount),
            }
        }
        assert_eq!(&heard, wanted, "{query}");
    }
    for (token, query, status, param) in [
        (&of_ann, "?owner=bob", 404, "owner"),
        (platform, "?owner=nobody", 404, "owner"),
        (platform, "?events=Payment", 400, "events"),
        (platform, "?events=", 400, "events"),
        (
            platform,
            &format!("?events=a{}", ",a".repeat(16)),
            400,
            "events",
        ),
        (platform, "?currency=EURO", 400, "currency"),
        (platform, "?start=yesterday", 400, "start"),
        (platform, "?after=evt_x", 404, "after"),
        (platform, "?after=now", 404, "after"),
        (platform, "?start=now&after=evt_x", 400, "after"),
        (platform, "?begin=now", 400, "begin"),
    ] {
        let answer = server.get_as(token, &format!("/v1/events/stream{query}"));
        assert_eq!(answer.status, status, "{query}");
        assert_eq!(answer.json()["error"]["param"], json!(param), "{query}");
    }
    // An id of an event that has not happened, or of another journal, is no place to go on from.
    let ahead = server
        .reader()
        .ids()
        .encode(IdKind::Event, server.reader().head().position + 1);
    for last in [ahead.as_str(), "evt_00000000000000000000000000", "1", "ä"] {
        let authorization = format!("Bearer {platform}");
        let headers = [
            ("Authorization", authorization.as_str()),
            ("Last-Event-ID", last),
        ];
        let answer = crate::client::send(server.addr, "GET", "/v1/events/stream", &headers, b"");
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (404, "resource_not_found"),
            "{last}"
        );
        assert_eq!(answer.json()["error"]["param"], "Last-Event-ID");
    }
    assert_eq!(server.get_as("x", "/v1/events/stream").status, 401);
}

#[test]
fn a_quiet_stream_is_kept_alive_and_learns_how_far_it_is() {
    let server = Fixture::start();
    // These bounds are to hold for the stream alone.
    let strict = server.beside(|limits| {
        limits.stream_heartbeat = Duration::from_millis(200);
        limits.header_read_timeout = Duration::from_millis(300);
        limits.write_timeout = Duration::from_millis(300);
    });
    let (mut stream, started) = loop {
        let started = Instant::now();
        let query = "?events=app.never";
        // If this thread stood still before it asked, it was cut off for that.
        if let Some(stream) = Stream::try_open(strict.addr(), &server.platform, query, None) {
            break (stream, started);
        }
    };
    let beat = |stream: &mut Stream| {
        let block = stream.block().expect("it goes on");
        assert!(block.comment && block.data.is_empty() && block.event.is_none());
        block.id
    };
    for _ in 0..5 {
        assert_eq!(beat(&mut stream), None, "nothing happened");
    }
    let took = started.elapsed();
    // Not sooner than they are due, and sooner than by the default of 15 seconds.
    assert!(
        (Duration::from_millis(900)..Duration::from_secs(60)).contains(&took),
        "{took:?}"
    );
    server.account("ann", "wallet");
    let newest = all_ids(&server).pop();
    let heard = until("it learns of it", || beat(&mut stream));
    let reader = server.reader();
    let heard = reader.ids().decode_cursor(OwnerId::PLATFORM, &heard);
    let newest = newest.and_then(|id| reader.ids().decode(IdKind::Event, &id));
    assert_eq!(heard, newest);
    // Also while something else happens all the time.
    let done = AtomicBool::new(false);
    std::thread::scope(|threads| {
        threads.spawn(|| {
            while !done.load(Ordering::SeqCst) {
                server.account("ann", "wallet");
            }
        });
        // On a slow machine nothing may have happened between two beats; then the next one has an id again.
        let (mut told, begun) = (0, Instant::now());
        while told < 5 && begun.elapsed() < PATIENCE {
            told += usize::from(beat(&mut stream).is_some());
        }
        done.store(true, Ordering::SeqCst);
        assert_eq!(told, 5, "it learns how far it is");
    });
}

#[test]
fn who_reads_slowly_delays_nobody_and_loses_nothing() {
    let server = Fixture::start();
    let (buyer, shop) = (
        server.wallet("ann", 100),
        server.account("shop", "merchant"),
    );
    // More than the buffers between the two hold.
    let text = "x".repeat(12_000);
    for number in 0..20 {
        let command = |at: u64| {
            let event =
                json!({"type": "app.large", "data": {"number": number * 80 + at, "text": text}});
            json!({"idempotency_key": format!("large-{number}-{at}"), "event": event})
        };
        let batch: Vec<Value> = (0..80).map(command).collect();
        server.post("/v1/batches", &json!(batch)).expect(200);
    }
    let mut slow = Stream::open(
        &server,
        &server.platform,
        "?start=beginning&events=app.*",
        None,
    );
    let mut quick = Stream::open(&server, &server.platform, "?events=payment.*", None);
    for _ in 0..20 {
        let paid = id(&server
            .post("/v1/payments", &pay(&buyer, &shop, 1))
            .expect(201));
        // If it waited for the slow one, it would wait in vain: that one reads nothing before this has come.
        assert_eq!(quick.event().data()["data"]["object"]["id"], json!(paid));
    }
    let numbers: Vec<u64> = (0..1_600)
        .map(|_| {
            slow.event().data()["data"]["number"]
                .as_u64()
                .expect("a number")
        })
        .collect();
    assert_eq!(numbers, (0..1_600).collect::<Vec<u64>>());
}

#[test]
fn streams_end_when_the_server_stops_and_go_on_with_the_next_one() {
    let mut server = Fixture::start();
    let (buyer, shop) = (
        server.wallet("ann", 100),
        server.account("shop", "merchant"),
    );
    let mut streams: Vec<Stream> = (0..10)
        .map(|_| Stream::open(&server, &server.platform, "?events=payment.*", None))
        .collect();
    server
        .post("/v1/payments", &pay(&buyer, &shop, 1))
        .expect(201);
    for stream in &mut streams {
        stream.event();
    }
    let started = Instant::now();
    server.restart();
    assert!(
        started.elapsed() < PATIENCE / 2,
        "{:?}: it waited for its drain time-out",
        started.elapsed()
    );
    let paid = id(&server
        .post("/v1/payments", &pay(&buyer, &shop, 2))
        .expect(201));
    for stream in &mut streams {
        assert_eq!(stream.block(), None, "it ended as it should");
        let last = stream.last.clone();
        let mut next = Stream::open(
            &server,
            &server.platform,
            "?events=payment.*",
            last.as_deref(),
        );
        assert_eq!(next.event().data()["data"]["object"]["id"], json!(paid));
    }
}

#[test]
fn places_are_bounded_and_free_again_when_a_caller_leaves_or_its_key_is_revoked() {
    let server = Fixture::with(|config| config.limits.streams_max = 2);
    let made = server.post("/v1/api_keys", &json!({"owner": "ann", "access": "read"}));
    let made = made.expect(201);
    let token = made["secret"].as_str().expect("it is shown").to_owned();
    let mut revoked = Stream::open(&server, &token, "", None);
    let leaves = Stream::open(&server, &server.platform, "", None);
    let full = server.get("/v1/events/stream");
    assert_eq!(
        (full.status, full.code().as_str()),
        (429, "too_many_streams")
    );
    assert_eq!(full.header("retry-after"), Some("5"));
    drop(leaves);
    until("a place is free again", || {
        (server.metric("tributary_event_streams") == "1").then_some(())
    });
    let _next = Stream::open(&server, &server.platform, "", None);
    server
        .post(&format!("/v1/api_keys/{}/revoke", id(&made)), &json!({}))
        .expect(200);
    let said = revoked.block().expect("it says why");
    assert!(said.comment && said.data.is_empty());
    assert_eq!(revoked.block(), None);
    until("a place is free again", || {
        (server.metric("tributary_event_streams") == "1").then_some(())
    });
    let again = server.get_as(&token, "/v1/events/stream");
    assert_eq!(again.code(), "api_key_invalid");
}

/// A read-only key is enough to open streams: its owner has a quarter of them, and a quarter is the platform's.
#[test]
fn one_owner_cannot_take_every_place() {
    let server = Fixture::with(|config| config.limits.streams_max = 8);
    let owners = ["ann", "bob", "cid", "dora"];
    let tokens = owners.map(|owner| server.token(owner, "read"));
    let refused = |token: &str| {
        let full = server.get_as(token, "/v1/events/stream");
        assert_eq!(
            (full.status, full.code().as_str()),
            (429, "too_many_streams")
        );
    };
    let mut open = Vec::new();
    for token in &tokens[..3] {
        open.extend([(); 2].map(|()| Stream::open(&server, token, "", None)));
        refused(token);
    }
    refused(&tokens[3]);
    let _platform = [(); 2].map(|()| Stream::open(&server, &server.platform, "", None));
    refused(&server.platform);
    drop(open);
    until("places are free again", || {
        (server.metric("tributary_event_streams") == "2").then_some(())
    });
    let _next = Stream::open(&server, &tokens[3], "", None);
}
