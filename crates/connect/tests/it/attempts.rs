//! One attempt: what counts as delivered, where it may go, how long it may take.

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::Response;
use tokio::sync::watch;
use tributary_connect::webhooks::{AttemptError, Outcome, Rules, Settings, UrlRefused};

use crate::receiver::{Receiver, Reply, status};
use crate::{Sending, endpoint, job, open};

fn answer(status: u16, headers: &[(&str, &str)], body: Vec<u8>) -> Reply {
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(*name, *value);
    }
    let body = Full::new(Bytes::from(body));
    Reply::Answer(response.body(body).expect("a response"))
}

#[test]
fn two_hundreds_are_delivered_gone_is_gone_and_all_else_is_tried_again() {
    let receiver = Receiver::start(|seen| {
        let code = seen.path.trim_start_matches('/');
        status(code.parse().expect("a status"))
    });
    let sending = Sending::start(open());
    let retry = Outcome::Retry { after: None };
    for (code, outcome) in [
        (200, Outcome::Delivered),
        (201, Outcome::Delivered),
        (204, Outcome::Delivered),
        (299, Outcome::Delivered),
        (300, retry),
        (304, retry),
        (400, retry),
        (401, retry),
        (404, retry),
        (410, Outcome::Gone),
        (429, retry),
        (500, retry),
        (503, retry),
        (599, retry),
    ] {
        let to = endpoint(&format!("http://{}/{code}", receiver.addr));
        let attempt = sending.send(job(&to, code.into()));
        assert_eq!((attempt.status, attempt.outcome), (Some(code), outcome));
        assert!(
            attempt
                .response_head
                .starts_with(&format!("HTTP/1.1 {code}"))
        );
    }
}

#[test]
fn a_redirect_is_not_followed() {
    let receiver = Receiver::start(|seen| match seen.path.as_str() {
        "/from" => answer(307, &[("location", "/to")], Vec::new()),
        _ => status(200),
    });
    let sending = Sending::start(open());
    let to = endpoint(&format!("http://{}/from", receiver.addr));
    let attempt = sending.send(job(&to, 1));
    assert_eq!(attempt.outcome, Outcome::Retry { after: None });
    assert_eq!(attempt.status, Some(307));
    assert_eq!(receiver.seen().len(), 1);
}

#[test]
fn what_the_receiver_asks_to_wait_and_the_head_of_its_answer_are_told_within_bounds() {
    let receiver = Receiver::start(|seen| match seen.path.as_str() {
        "/soon" => answer(
            503,
            &[("retry-after", "120"), ("x-why", "busy")],
            Vec::new(),
        ),
        "/never" => answer(429, &[("retry-after", "99999999")], Vec::new()),
        "/much" => answer(200, &[("x-much", &"é".repeat(5_000))], vec![b'x'; 1 << 20]),
        path => panic!("{path}"),
    });
    let sending = Sending::start(open());
    let attempt = |path: &str| {
        let to = endpoint(&format!("http://{}{path}", receiver.addr));
        sending.send(job(&to, 1))
    };
    let after = Some(Duration::from_secs(120));
    let soon = attempt("/soon");
    assert_eq!(soon.outcome, Outcome::Retry { after });
    assert!(soon.response_head.contains("\nx-why: busy\n"), "{soon:?}");
    let after = Some(Duration::from_secs(24 * 3_600));
    assert_eq!(attempt("/never").outcome, Outcome::Retry { after });
    // A mebibyte of body is not read to its end; the status counts all the same.
    let much = attempt("/much");
    assert_eq!(much.outcome, Outcome::Delivered);
    assert!(much.response_head.len() <= 4_096);
}

#[test]
fn a_host_that_leads_to_a_private_address_is_refused_and_not_connected_to() {
    let receiver = Receiver::start(|_| status(200));
    let strict = Settings {
        rules: Rules {
            allow_http: true,
            allow_hosts: vec!["allowed.test".to_owned()],
            ..Rules::default()
        },
        ..open()
    };
    let sending = Sending::start(strict);
    let port = receiver.addr.port();
    let urls = [
        "inside.test",
        "localhost",
        "127.0.0.1",
        "[::1]",
        "[::ffff:127.0.0.1]",
    ];
    for host in urls {
        let to = endpoint(&format!("http://{host}:{port}/"));
        let attempt = sending.send(job(&to, 1));
        let error = attempt.error.expect("it is refused");
        let refused = AttemptError::Refused(UrlRefused::Scheme);
        assert_eq!(error.code(), refused.code(), "{host}: {error}");
        let text = error.to_string();
        let named = text.contains("127.") || text.contains("::") || text.contains("loopback");
        let is_name = host.contains(".test") || host == "localhost";
        // An address in the URL is the subscriber's own; what a name leads to is not.
        assert_eq!(named, !is_name, "{host}: {text}");
        assert_eq!(attempt.outcome, Outcome::Retry { after: None });
    }
    assert_eq!(receiver.book().connections, 0);
    let to = endpoint(&format!("http://allowed.test:{port}/"));
    assert_eq!(sending.send(job(&to, 1)).outcome, Outcome::Delivered);
}

/// The name is looked up once for a connection, and exactly what was checked is connected to.
#[test]
fn a_name_that_leads_elsewhere_at_the_second_look_up_gains_nothing() {
    let receiver = Receiver::start(|_| status(200));
    let lookups = Arc::new(AtomicUsize::new(0));
    let counted = lookups.clone();
    let sending = Sending::start(Settings {
        resolver: Arc::new(move |_| {
            let first = counted.fetch_add(1, Ordering::SeqCst) == 0;
            // Nobody listens at the second one.
            Ok(vec![IpAddr::from([127, 0, 0, if first { 1 } else { 2 }])])
        }),
        ..open()
    });
    let to = endpoint(&format!("http://a.test:{}/", receiver.addr.port()));
    for event in 0..20 {
        assert_eq!(sending.send(job(&to, event)).outcome, Outcome::Delivered);
    }
    assert_eq!(lookups.load(Ordering::SeqCst), 1);
    assert_eq!(receiver.book().connections, 1, "it is kept alive");
}

#[test]
fn no_address_and_nobody_there_are_told_apart_and_the_next_address_is_tried() {
    let receiver = Receiver::start(|_| status(200));
    let sending = Sending::start(Settings {
        resolver: Arc::new(|name| match name {
            "none.test" => Err(io::Error::other("no such name")),
            "empty.test" => Ok(Vec::new()),
            _ => Ok(vec![
                IpAddr::from([127, 0, 0, 2]),
                IpAddr::from([127, 0, 0, 1]),
            ]),
        }),
        ..open()
    });
    let port = receiver.addr.port();
    let code = |host: &str| {
        let to = endpoint(&format!("http://{host}:{port}/"));
        let error = sending.send(job(&to, 1)).error;
        error.map(|error| error.code())
    };
    assert_eq!(code("none.test"), Some("host_not_found"));
    assert_eq!(code("empty.test"), Some("host_not_found"));
    assert_eq!(code("127.0.0.3"), Some("cannot_connect"));
    assert_eq!(code("two.test"), None);
}

#[test]
fn tls_is_for_the_name_in_the_url_and_by_trusted_certificates_only() {
    let receiver = Receiver::start_tls(|_| status(200));
    let certificate =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../server/tests/it/tls/certificate.pem");
    let port = receiver.addr.port();
    let code = |settings: Settings, host: &str| {
        let to = endpoint(&format!("https://{host}:{port}/"));
        let attempt = Sending::start(settings).send(job(&to, 1));
        attempt.error.map(|error| error.code())
    };
    let trusting = || Settings {
        ca_file: Some(certificate.clone()),
        ..open()
    };
    assert_eq!(code(trusting(), "localhost"), None);
    assert_eq!(code(trusting(), "127.0.0.1"), None);
    assert_eq!(code(trusting(), "other.test"), Some("tls_failed"));
    assert_eq!(code(open(), "localhost"), Some("tls_failed"));
    assert_eq!(receiver.seen().len(), 2);
}

#[test]
fn a_receiver_that_does_not_answer_is_left_after_the_time_out() {
    let receiver = Receiver::start(|_| Reply::Hang);
    let sending = Sending::start(Settings {
        timeout: Duration::from_millis(300),
        slow_after: Duration::from_millis(50),
        ..open()
    });
    let to = endpoint(&format!("http://{}/", receiver.addr));
    let attempt = sending.send(job(&to, 1));
    assert_eq!(attempt.error, Some(AttemptError::TimedOut));
    assert!(attempt.took >= Duration::from_millis(300));
    assert_eq!(sending.sender.figures().under_way, 0);
    // The request is ended, not left behind.
    while receiver.book().under_way.values().sum::<usize>() > 0 {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Answers each connection's first request with these bytes, then closes it if it is told to.
fn raw(reply: Vec<u8>, close: bool) -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let addr = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        let mut open = Vec::new();
        for stream in listener.incoming().take(30) {
            let mut stream = stream.expect("a connection");
            let mut buffer = [0; 4_096];
            // The requests of these tests come in one piece.
            let _ = stream.read(&mut buffer);
            let _ = stream.write_all(&reply);
            if !close {
                open.push(stream);
            }
        }
    });
    addr
}

#[test]
fn odd_answers_neither_hang_nor_count_as_delivered_without_a_head() {
    let huge = [&b"HTTP/1.1 200 OK\r\nx: "[..], &vec![b'a'; 1 << 20]].concat();
    let delivered = Some(Outcome::Delivered);
    let sending = Sending::start(open());
    // For those that end by it, if by nothing else.
    let short = Sending::start(Settings {
        timeout: Duration::from_secs(2),
        ..open()
    });
    for (reply, close, outcome) in [
        (&b""[..], true, None),
        (b"garbage\r\n\r\n", false, None),
        (b"HTTP/1.1 200 OK\r\nx: y", true, None),
        (b"HTTP/1.1 200 OK\r\nx: y", false, None),
        (&huge, false, None),
        // The body does not come: the head has said enough.
        (
            b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc",
            false,
            delivered,
        ),
        (
            b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc",
            true,
            delivered,
        ),
        (
            b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
            false,
            delivered,
        ),
    ] {
        let to = endpoint(&format!("http://{}/", raw(reply.to_vec(), close)));
        let attempt = match outcome {
            Some(_) => sending.send(job(&to, 1)),
            None => short.send(job(&to, 1)),
        };
        let text = String::from_utf8_lossy(&reply[..reply.len().min(60)]);
        match outcome {
            Some(outcome) => assert_eq!(attempt.outcome, outcome, "{text}: {attempt:?}"),
            None => assert!(attempt.error.is_some(), "{text}: {attempt:?}"),
        }
    }
}

/// Many receivers close what they were to keep alive, without a word.
#[test]
fn a_kept_connection_that_the_receiver_has_closed_costs_no_attempt() {
    let reply = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_vec();
    let addr = raw(reply, true);
    let sending = Sending::start(open());
    let to = endpoint(&format!("http://{addr}/"));
    for event in 0..20 {
        let attempt = sending.send(job(&to, event));
        assert_eq!(attempt.outcome, Outcome::Delivered, "{attempt:?}");
    }
}

#[test]
fn a_sender_that_stops_ends_what_is_under_way_and_starts_nothing_more() {
    let (open_gate, gate) = watch::channel(false);
    let receiver = Receiver::start(move |_| Reply::AtGate(gate.clone()));
    let sending = Sending::start(open());
    let to = endpoint(&format!("http://{}/", receiver.addr));
    for event in 0..3 {
        sending.offer(job(&to, event));
    }
    while receiver.book().seen.is_empty() {
        std::thread::sleep(Duration::from_millis(1));
    }
    let Sending { sender, done } = sending;
    let known = Arc::strong_count(&to);
    let stopping = std::thread::spawn(move || sender.stop(crate::PATIENCE));
    // It has begun to stop when it has dropped the two that wait.
    while Arc::strong_count(&to) > known - 2 {
        assert!(!stopping.is_finished(), "it waits for what is under way");
        std::thread::sleep(Duration::from_millis(1));
    }
    open_gate.send(true).expect("it listens");
    stopping.join().expect("it stops");
    let done: Vec<_> = done.into_inner().expect("nobody panics").iter().collect();
    assert_eq!(done.len(), 1);
    assert_eq!(done[0].1.outcome, Outcome::Delivered);
    assert_eq!(receiver.seen().len(), 1);

    // With no patience it is cut off.
    let receiver = Receiver::start(|_| Reply::Hang);
    let sending = Sending::start(open());
    sending.offer(job(&endpoint(&format!("http://{}/", receiver.addr)), 1));
    assert!(sending.is_quiet_for(Duration::from_millis(100)));
    sending.sender.stop(Duration::ZERO);
    assert_eq!(
        sending
            .done
            .into_inner()
            .expect("nobody panics")
            .iter()
            .count(),
        0
    );
}
