//! An HTTP/1.1 client that needs little processor time: one thread, many keep-alive connections, one request at a time on
//! each, no allocation per request. Requests are sent as fast as responses arrive, or at a fixed arrival rate; then the
//! latency counts from the time at which a request was due.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Registry, Token};

use crate::alarm::Alarm;

/// Initial size of a response buffer, in bytes.
const ANSWER_BYTES: usize = 16 << 10;
/// Maximum size of a response, in bytes.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// Maximum time without any event while a response is outstanding.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// A source of requests that also processes the responses.
pub(crate) trait Workload {
    /// Appends the next request to `into` and returns its tag, or returns `None` after the last request.
    fn next_request(&mut self, into: &mut Vec<u8>) -> Option<RequestTag>;

    /// Processes the response to the request with this tag.
    fn take_response(&mut self, tag: RequestTag, response: HttpResponse<'_>) -> anyhow::Result<()>;
}

/// Identifies the request of a response.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RequestTag {
    pub(crate) kind: usize,
    pub(crate) number: u64,
}

/// A response.
pub(crate) struct HttpResponse<'a> {
    pub(crate) status: u16,
    pub(crate) head: &'a [u8],
    pub(crate) body: &'a [u8],
    /// Time from when the request was due until now.
    pub(crate) latency: Duration,
    pub(crate) now: Instant,
}

struct Connection {
    stream: TcpStream,
    request: Vec<u8>,
    sent: usize,
    answer: Vec<u8>,
    filled: usize,
    /// The outstanding request and the time at which it was due; `None` if the connection is idle.
    in_flight: Option<(RequestTag, Instant)>,
    /// Whether the request was sent a second time, because the server had closed the idle connection.
    resent: bool,
}

/// Result of reading from a connection.
enum ReadOutcome {
    Complete,
    Partial,
    /// The server closed the connection before the response began.
    Closed,
}

/// Open connections to one server.
pub(crate) struct HttpClient {
    server: SocketAddr,
    poll: Poll,
    events: Events,
    alarm: Alarm,
    connections: Vec<Connection>,
    /// Idle connections. The longest idle one is used first, because a server closes connections that are idle for long.
    idle: VecDeque<usize>,
}

/// Token of the alarm. Connections have tokens from 0.
const ALARM: Token = Token(usize::MAX - 1);

impl HttpClient {
    /// Opens `count` connections.
    pub(crate) fn open(server: SocketAddr, count: u32) -> anyhow::Result<HttpClient> {
        let poll = Poll::new()?;
        let alarm = Alarm::new(poll.registry(), ALARM)?;
        let mut connections = Vec::with_capacity(count as usize);
        for index in 0..count as usize {
            connections.push(Connection {
                stream: connect(server, poll.registry(), index)?,
                request: Vec::with_capacity(1 << 10),
                sent: 0,
                answer: vec![0; ANSWER_BYTES],
                filled: 0,
                in_flight: None,
                resent: false,
            });
        }
        Ok(HttpClient {
            server,
            poll,
            events: Events::with_capacity(1_024),
            alarm,
            connections,
            idle: (0..count as usize).collect(),
        })
    }

    /// Sends requests until there are no more or `stop` is set, and waits for all responses. With a rate, requests are due at
    /// equal distances. A request that finds no idle connection waits, and the wait counts as latency.
    pub(crate) fn run(
        &mut self,
        work: &mut dyn Workload,
        rate: Option<f64>,
        stop: &AtomicBool,
    ) -> anyhow::Result<()> {
        let begun = Instant::now();
        let mut sent_count = 0u64;
        let mut more = true;
        loop {
            more = more && !stop.load(Ordering::Relaxed);
            let mut now = Instant::now();
            let mut due = now;
            while more && !self.idle.is_empty() {
                if let Some(rate) = rate {
                    due = begun + Duration::from_secs_f64(sent_count as f64 / rate);
                    if due > now {
                        now = Instant::now();
                    }
                    if due > now {
                        break;
                    }
                } else {
                    due = Instant::now();
                }
                more = self.send_next(work, due)?;
                sent_count += u64::from(more);
            }
            let waiting = self.connections.len() - self.idle.len();
            if !more && waiting == 0 {
                return Ok(());
            }
            let wake_at = (more && !self.idle.is_empty()).then_some(due);
            self.wait_for_events(wake_at, waiting)?;
            self.read_responses(work)?;
        }
    }

    /// Sends the next request on an idle connection. Returns whether there was a request to send.
    fn send_next(&mut self, work: &mut dyn Workload, due: Instant) -> anyhow::Result<bool> {
        let Some(&index) = self.idle.front() else {
            return Ok(true);
        };
        let connection = &mut self.connections[index];
        connection.request.clear();
        let Some(tag) = work.next_request(&mut connection.request) else {
            return Ok(false);
        };
        self.idle.pop_front();
        connection.sent = 0;
        connection.filled = 0;
        connection.in_flight = Some((tag, due));
        connection.resent = false;
        connection.send()?;
        Ok(true)
    }

    fn wait_for_events(&mut self, wake_at: Option<Instant>, waiting: usize) -> anyhow::Result<()> {
        let timeout = self.alarm.set(wake_at)?.unwrap_or(WAIT_MAX);
        match self.poll.poll(&mut self.events, Some(timeout)) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
        if self.events.is_empty() && timeout == WAIT_MAX && waiting > 0 {
            bail!("no response for {} s", WAIT_MAX.as_secs());
        }
        Ok(())
    }

    /// Reads from every connection that is ready.
    fn read_responses(&mut self, work: &mut dyn Workload) -> anyhow::Result<()> {
        for event in &self.events {
            let index = event.token().0;
            let Some(connection) = self.connections.get_mut(index) else {
                continue;
            };
            if connection.in_flight.is_none() {
                if event.is_read_closed() {
                    connection.stream = connect(self.server, self.poll.registry(), index)?;
                }
                continue;
            }
            if connection.sent < connection.request.len() {
                connection.send()?;
            }
            let received = connection.receive(work)?;
            let closed = event.is_read_closed() || matches!(received, ReadOutcome::Closed);
            if closed && !matches!(received, ReadOutcome::Partial) {
                connection.stream = connect(self.server, self.poll.registry(), index)?;
            }
            match received {
                ReadOutcome::Complete => self.idle.push_back(index),
                ReadOutcome::Partial => {}
                ReadOutcome::Closed if connection.resent => {
                    bail!("the server closes connections instead of answering")
                }
                ReadOutcome::Closed => {
                    // The server closed an idle connection. Every write has an idempotency key, so that repetition is safe.
                    connection.resent = true;
                    connection.sent = 0;
                    connection.send()?;
                }
            }
        }
        Ok(())
    }
}

fn connect(server: SocketAddr, registry: &Registry, index: usize) -> anyhow::Result<TcpStream> {
    let stream = std::net::TcpStream::connect(server)
        .with_context(|| format!("cannot connect to {server}"))?;
    stream.set_nodelay(true)?;
    stream.set_nonblocking(true)?;
    let mut stream = TcpStream::from_std(stream);
    let interest = Interest::READABLE | Interest::WRITABLE;
    registry.register(&mut stream, Token(index), interest)?;
    Ok(stream)
}

impl Connection {
    fn send(&mut self) -> anyhow::Result<()> {
        while self.sent < self.request.len() {
            match self.stream.write(&self.request[self.sent..]) {
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // The next read reports it.
                Err(error) if is_closed(&error) => return Ok(()),
                Err(error) => return Err(error).context("a request could not be sent"),
            }
        }
        Ok(())
    }

    /// Reads available bytes, and passes the response to `work` when it is complete.
    fn receive(&mut self, work: &mut dyn Workload) -> anyhow::Result<ReadOutcome> {
        loop {
            if self.filled == self.answer.len() {
                if self.filled >= ANSWER_BYTES_MAX {
                    bail!("a response has more than {ANSWER_BYTES_MAX} bytes");
                }
                self.answer.resize(self.filled * 2, 0);
            }
            match self.stream.read(&mut self.answer[self.filled..]) {
                Ok(0) if self.filled == 0 => return Ok(ReadOutcome::Closed),
                Ok(0) => bail!("the server closed a connection within a response"),
                Ok(count) => self.filled += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    return Ok(ReadOutcome::Partial);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) if self.filled == 0 && is_closed(&error) => {
                    return Ok(ReadOutcome::Closed);
                }
                Err(error) => return Err(error).context("a response could not be read"),
            }
            let Some((status, head, end)) = parse_response(&self.answer[..self.filled])? else {
                continue;
            };
            if end != self.filled {
                bail!("the server sent more than one response");
            }
            let (tag, due) = self
                .in_flight
                .take()
                .context("a response arrived without a request")?;
            let now = Instant::now();
            let response = HttpResponse {
                status,
                head: &self.answer[..head],
                body: &self.answer[head..end],
                latency: now.duration_since(due),
                now,
            };
            work.take_response(tag, response)?;
            return Ok(ReadOutcome::Complete);
        }
    }
}

fn is_closed(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::ConnectionAborted
    )
}

/// Returns status, end of the head and end of the body, or `None` while the response is incomplete.
fn parse_response(bytes: &[u8]) -> anyhow::Result<Option<(u16, usize, usize)>> {
    let Some(head) = memchr::memmem::find(bytes, b"\r\n\r\n") else {
        return Ok(None);
    };
    let head = head + 4;
    let status = bytes
        .get(9..12)
        .and_then(|digits| std::str::from_utf8(digits).ok())
        .and_then(|digits| digits.parse().ok())
        .context("this is not an HTTP response")?;
    let len = content_length(&bytes[..head]).context("a response has no content-length")?;
    let end = head + len;
    Ok((bytes.len() >= end).then_some((status, head, end)))
}

/// Returns the `content-length` of a head.
fn content_length(head: &[u8]) -> Option<usize> {
    const NAME: &[u8] = b"\r\ncontent-length: ";
    let at = head
        .windows(NAME.len())
        .position(|window| window[2] | 0x20 == b'c' && window.eq_ignore_ascii_case(NAME))?;
    let digits = &head[at + NAME.len()..];
    let end = digits.iter().position(|byte| !byte.is_ascii_digit())?;
    std::str::from_utf8(&digits[..end]).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead as _, BufReader};

    #[test]
    fn an_answer_is_whole_when_its_body_is() {
        let answer = b"HTTP/1.1 201 Created\r\nContent-Length: 5\r\nx: y\r\n\r\nhello";
        for cut in 0..answer.len() {
            assert_eq!(
                parse_response(&answer[..cut]).expect("an answer"),
                None,
                "{cut}"
            );
        }
        let (status, head, end) = parse_response(answer).expect("an answer").expect("whole");
        assert_eq!((status, &answer[head..end]), (201, &b"hello"[..]));
        assert!(parse_response(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
    }

    struct Count {
        left: u32,
        latencies: Vec<Duration>,
    }

    impl Workload for Count {
        fn next_request(&mut self, into: &mut Vec<u8>) -> Option<RequestTag> {
            self.left = self.left.checked_sub(1)?;
            into.extend_from_slice(b"GET / HTTP/1.1\r\n\r\n");
            Some(RequestTag::default())
        }

        fn take_response(
            &mut self,
            _: RequestTag,
            response: HttpResponse<'_>,
        ) -> anyhow::Result<()> {
            assert_eq!((response.status, response.body), (200, &b"ok"[..]));
            self.latencies.push(response.latency);
            Ok(())
        }
    }

    /// A server that answers each request after a pause, one connection only.
    fn slow(pause: Duration) -> SocketAddr {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a connection");
            let mut lines = BufReader::new(stream.try_clone().expect("a clone")).lines();
            while let Some(Ok(line)) = lines.next() {
                if line.is_empty() {
                    std::thread::sleep(pause);
                    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
                    stream.write_all(answer).expect("it is taken");
                }
            }
        });
        address
    }

    /// Twice as many requests arrive as can be served: each waits longer than the one before, and that must be seen.
    #[test]
    fn waiting_for_a_connection_counts_as_latency() {
        let server = slow(Duration::from_millis(20));
        let mut http = HttpClient::open(server, 1).expect("it opens");
        let mut work = Count {
            left: 20,
            latencies: Vec::new(),
        };
        http.run(&mut work, Some(100.0), &AtomicBool::new(false))
            .expect("all are answered");
        let last = work.latencies.last().expect("there are answers");
        // The last is due after 190 ms and answered after 400 ms or more.
        assert!(*last >= Duration::from_millis(180), "{last:?}");
        assert!(work.latencies[0] < *last);
    }

    /// A server that closes each connection after its first answer.
    fn closing() -> SocketAddr {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.expect("a connection");
                let mut request = [0; 64];
                let count = stream.read(&mut request).expect("a request");
                assert!(request[..count].ends_with(b"\r\n\r\n"));
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
                stream.write_all(answer).expect("it is taken");
            }
        });
        address
    }

    #[test]
    fn a_connection_that_was_closed_while_idle_is_opened_again() {
        let mut http = HttpClient::open(closing(), 1).expect("it opens");
        let mut work = Count {
            left: 5,
            latencies: Vec::new(),
        };
        http.run(&mut work, Some(4.0), &AtomicBool::new(false))
            .expect("all are answered");
        assert_eq!(work.latencies.len(), 5);
    }
}
