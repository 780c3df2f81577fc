//! A lean HTTP/1.1 client: one thread, many keep-alive connections, one request at a time on each, no allocation per
//! request. As fast as answers come, or at a fixed rate of arrival, where latency counts from when a request was due.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Registry, Token};

use crate::alarm::Alarm;

/// Room for an answer; grows for larger ones.
const ANSWER_BYTES: usize = 16 << 10;
/// Longest answer.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// Longest wait in which nothing at all happens.
const PATIENCE: Duration = Duration::from_secs(60);

/// What is asked, and what is made of the answers.
pub(crate) trait Work {
    /// Appends the next request, and says of which kind it is; none if there is no more to ask.
    fn next(&mut self, into: &mut Vec<u8>) -> Option<Tag>;

    /// Takes the answer to a request that was sent as `tag`.
    fn answered(&mut self, tag: Tag, answer: Answer<'_>) -> anyhow::Result<()>;
}

/// Which request an answer belongs to.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tag {
    pub(crate) kind: usize,
    pub(crate) number: u64,
}

/// An answer.
pub(crate) struct Answer<'a> {
    pub(crate) status: u16,
    pub(crate) head: &'a [u8],
    pub(crate) body: &'a [u8],
    /// From when the request was due to now.
    pub(crate) latency: Duration,
    pub(crate) now: Instant,
}

struct Connection {
    stream: TcpStream,
    request: Vec<u8>,
    sent: usize,
    answer: Vec<u8>,
    filled: usize,
    /// What is being asked; nothing if it is idle.
    asking: Option<(Tag, Instant)>,
    /// Whether the request was sent again, because the server had closed the connection before it saw it.
    again: bool,
}

/// What came of reading.
enum Received {
    Whole,
    Part,
    /// The server closed the connection before the answer began.
    Closed,
}

/// Open connections to one server.
pub(crate) struct Pool {
    server: SocketAddr,
    poll: Poll,
    events: Events,
    alarm: Alarm,
    connections: Vec<Connection>,
    /// The one that has been idle longest is used first: a server closes those that are idle for long.
    idle: VecDeque<usize>,
}

/// The alarm's token; connections have those from 0 on.
const ALARM: Token = Token(usize::MAX - 1);

impl Pool {
    /// Opens `count` connections.
    pub(crate) fn open(server: SocketAddr, count: u32) -> anyhow::Result<Pool> {
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
                asking: None,
                again: false,
            });
        }
        Ok(Pool {
            server,
            poll,
            events: Events::with_capacity(1_024),
            alarm,
            connections,
            idle: (0..count as usize).collect(),
        })
    }

    /// Asks until there is no more to ask or `stop` is set, and all answers are there. With a rate, requests are due at
    /// equal distances; those that find no idle connection wait, and their waiting counts.
    pub(crate) fn run(
        &mut self,
        work: &mut dyn Work,
        rate: Option<f64>,
        stop: &AtomicBool,
    ) -> anyhow::Result<()> {
        let begun = Instant::now();
        let mut asked = 0u64;
        let mut more = true;
        loop {
            more = more && !stop.load(Ordering::Relaxed);
            let mut now = Instant::now();
            let mut due = now;
            while more && !self.idle.is_empty() {
                if let Some(rate) = rate {
                    due = begun + Duration::from_secs_f64(asked as f64 / rate);
                    if due > now {
                        now = Instant::now();
                    }
                    if due > now {
                        break;
                    }
                } else {
                    due = Instant::now();
                }
                more = self.ask(work, due)?;
                asked += u64::from(more);
            }
            let waiting = self.connections.len() - self.idle.len();
            if !more && waiting == 0 {
                return Ok(());
            }
            let wake_at = (more && !self.idle.is_empty()).then_some(due);
            self.wait(wake_at, waiting)?;
            self.take(work)?;
        }
    }

    /// Sends the next request on an idle connection, if there is one to send.
    fn ask(&mut self, work: &mut dyn Work, due: Instant) -> anyhow::Result<bool> {
        let Some(&index) = self.idle.front() else {
            return Ok(true);
        };
        let connection = &mut self.connections[index];
        connection.request.clear();
        let Some(tag) = work.next(&mut connection.request) else {
            return Ok(false);
        };
        self.idle.pop_front();
        connection.sent = 0;
        connection.filled = 0;
        connection.asking = Some((tag, due));
        connection.again = false;
        connection.send()?;
        Ok(true)
    }

    fn wait(&mut self, wake_at: Option<Instant>, waiting: usize) -> anyhow::Result<()> {
        let timeout = self.alarm.set(wake_at)?.unwrap_or(PATIENCE);
        match self.poll.poll(&mut self.events, Some(timeout)) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
        if self.events.is_empty() && timeout == PATIENCE && waiting > 0 {
            bail!("no answer for {} s", PATIENCE.as_secs());
        }
        Ok(())
    }

    /// Takes what has arrived.
    fn take(&mut self, work: &mut dyn Work) -> anyhow::Result<()> {
        for event in &self.events {
            let index = event.token().0;
            let Some(connection) = self.connections.get_mut(index) else {
                continue;
            };
            if connection.asking.is_none() {
                if event.is_read_closed() {
                    connection.stream = connect(self.server, self.poll.registry(), index)?;
                }
                continue;
            }
            if connection.sent < connection.request.len() {
                connection.send()?;
            }
            let received = connection.receive(work)?;
            let closed = event.is_read_closed() || matches!(received, Received::Closed);
            if closed && !matches!(received, Received::Part) {
                connection.stream = connect(self.server, self.poll.registry(), index)?;
            }
            match received {
                Received::Whole => self.idle.push_back(index),
                Received::Part => {}
                Received::Closed if connection.again => {
                    bail!("the server closes connections instead of answering")
                }
                Received::Closed => {
                    // It closed what had been idle for long. Every write has a key, so this can do nothing twice.
                    connection.again = true;
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
                // Reading will tell.
                Err(error) if is_closed(&error) => return Ok(()),
                Err(error) => return Err(error).context("a request could not be sent"),
            }
        }
        Ok(())
    }

    /// Reads what there is, and hands on the answer when it is whole.
    fn receive(&mut self, work: &mut dyn Work) -> anyhow::Result<Received> {
        loop {
            if self.filled == self.answer.len() {
                if self.filled >= ANSWER_BYTES_MAX {
                    bail!("an answer has more than {ANSWER_BYTES_MAX} bytes");
                }
                self.answer.resize(self.filled * 2, 0);
            }
            match self.stream.read(&mut self.answer[self.filled..]) {
                Ok(0) if self.filled == 0 => return Ok(Received::Closed),
                Ok(0) => bail!("the server closed a connection within an answer"),
                Ok(count) => self.filled += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Received::Part),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) if self.filled == 0 && is_closed(&error) => {
                    return Ok(Received::Closed);
                }
                Err(error) => return Err(error).context("an answer could not be read"),
            }
            let Some((status, head, end)) = whole(&self.answer[..self.filled])? else {
                continue;
            };
            if end != self.filled {
                bail!("the server sent more than one answer");
            }
            let (tag, due) = self.asking.take().context("nothing was asked")?;
            let now = Instant::now();
            let answer = Answer {
                status,
                head: &self.answer[..head],
                body: &self.answer[head..end],
                latency: now.duration_since(due),
                now,
            };
            work.answered(tag, answer)?;
            return Ok(Received::Whole);
        }
    }
}

fn is_closed(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::ConnectionAborted
    )
}

/// The status, where the head ends and where the body ends, if all of the answer is there.
fn whole(bytes: &[u8]) -> anyhow::Result<Option<(u16, usize, usize)>> {
    let Some(head) = memchr::memmem::find(bytes, b"\r\n\r\n") else {
        return Ok(None);
    };
    let head = head + 4;
    let status = bytes
        .get(9..12)
        .and_then(|digits| std::str::from_utf8(digits).ok())
        .and_then(|digits| digits.parse().ok())
        .context("this is not an HTTP answer")?;
    let len = content_length(&bytes[..head]).context("an answer does not tell its length")?;
    let end = head + len;
    Ok((bytes.len() >= end).then_some((status, head, end)))
}

/// The length that the head tells.
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
            assert_eq!(whole(&answer[..cut]).expect("an answer"), None, "{cut}");
        }
        let (status, head, end) = whole(answer).expect("an answer").expect("whole");
        assert_eq!((status, &answer[head..end]), (201, &b"hello"[..]));
        assert!(whole(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
    }

    struct Count {
        left: u32,
        latencies: Vec<Duration>,
    }

    impl Work for Count {
        fn next(&mut self, into: &mut Vec<u8>) -> Option<Tag> {
            self.left = self.left.checked_sub(1)?;
            into.extend_from_slice(b"GET / HTTP/1.1\r\n\r\n");
            Some(Tag::default())
        }

        fn answered(&mut self, _: Tag, answer: Answer<'_>) -> anyhow::Result<()> {
            assert_eq!((answer.status, answer.body), (200, &b"ok"[..]));
            self.latencies.push(answer.latency);
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
        let mut pool = Pool::open(server, 1).expect("it opens");
        let mut work = Count {
            left: 20,
            latencies: Vec::new(),
        };
        pool.run(&mut work, Some(100.0), &AtomicBool::new(false))
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
        let mut pool = Pool::open(closing(), 1).expect("it opens");
        let mut work = Count {
            left: 5,
            latencies: Vec::new(),
        };
        pool.run(&mut work, Some(4.0), &AtomicBool::new(false))
            .expect("all are answered");
        assert_eq!(work.latencies.len(), 5);
    }
}
