//! A connection to NATS: one task reads it, another writes it.
//!
//! What is said to the server is appended to a buffer, which the writing task empties; so nothing that is dropped leaves half a command
//! behind. What the server answers goes to whoever asked, by the number at the end of the subject that the answer is sent to.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use serde_json::json;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::{Notify, oneshot};
use tokio::task::AbortHandle;

use super::server::URL;
use super::wire::{self, Incoming, Info, Op};
use crate::dial::server_url::ServerUrl;
use crate::dial::{self, ByteStream};
use crate::port::{Binder, Trouble, TroubleKind};

/// Maximum time for anything else that the server answers.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// How often the server is asked for a sign of life. A connection without one until the next time is given up.
const PING_EVERY: Duration = Duration::from_secs(15);
/// Bytes that are read at once.
const READ_BYTES: usize = 32 * 1024;

/// Number of the subscription that answers come to.
const ANSWERS: u64 = 1;
/// Number of the subscription that messages of a source come to.
pub(super) const DELIVERIES: u64 = 2;

/// A connection. Dropped, it is cut at once.
pub(super) struct Link {
    shared: Arc<Shared>,
    /// Where answers come to, without the number of the question.
    inbox: String,
    /// Maximum size of a message with its headers, in bytes.
    max_payload: usize,
    tasks: [AbortHandle; 2],
}

/// What the tasks of a connection and its users share.
struct Shared {
    place: String,
    state: Mutex<State>,
    /// There is something to write.
    to_write: Notify,
    /// A message came to the source, or the connection ended, or something was refused.
    news: Notify,
    next_question: AtomicU64,
}

#[derive(Default)]
struct State {
    out: BytesMut,
    questions: HashMap<u64, Question>,
    /// Who waits for the server to have read everything so far. The server answers in order.
    pongs: VecDeque<Option<oneshot::Sender<()>>>,
    deliveries: VecDeque<Incoming>,
    /// Maximum number of deliveries that nobody has taken.
    deliveries_max: usize,
    /// When a delivery came last.
    delivered: Option<Instant>,
    end: Option<Trouble>,
}

/// Something that was asked and not answered.
struct Question {
    subject: String,
    answer: oneshot::Sender<Result<Incoming, Trouble>>,
}

/// An answer that will come. Dropped, nobody waits for it.
pub(super) struct Answer {
    shared: Arc<Shared>,
    number: u64,
    asked: Instant,
    answer: oneshot::Receiver<Result<Incoming, Trouble>>,
}

impl Link {
    /// Connects and logs in.
    pub(super) async fn open(binder: &Binder) -> Result<Link, Trouble> {
        let server = URL.read(&binder.url)?;
        let place = server.place("NATS");
        dial::open_in_time(&place, Link::log_in(binder, &server, &place)).await
    }

    async fn log_in(binder: &Binder, server: &ServerUrl, place: &str) -> Result<Link, Trouble> {
        let unreachable = |why: &dyn std::fmt::Display| dial::unreachable(place, why);
        let (mut stream, info) = connect(server, binder.trusted_roots.as_deref())
            .await
            .map_err(|error| unreachable(&error))?;
        if !info.headers {
            let text = format!("{place} is too old: it knows no headers. Use NATS 2.9 or later");
            return Err(Trouble::new(TroubleKind::Refused, text));
        }
        let hello = format!("CONNECT {}\r\nPING\r\n", hello(binder, server.is_tls));
        let written = stream.write_all(hello.as_bytes()).await;
        written.map_err(|error| unreachable(&error))?;
        let mut buffer = BytesMut::new();
        loop {
            match read_op(&mut stream, &mut buffer).await {
                Ok(Op::Pong) => break,
                Ok(Op::Error(said)) => return Err(describe_end(place, &said)),
                Ok(_) => {}
                Err(error) => return Err(unreachable(&error)),
            }
        }
        let mut random = [0; 12];
        getrandom::fill(&mut random).map_err(|error| unreachable(&error))?;
        let inbox = format!("_INBOX.{}", hex::encode(random));
        let shared = Arc::new(Shared {
            place: place.to_owned(),
            state: Mutex::default(),
            to_write: Notify::new(),
            news: Notify::new(),
            next_question: AtomicU64::new(0),
        });
        let (reading, writing) = tokio::io::split(stream);
        let tasks = [
            tokio::spawn(shared.clone().read(reading, buffer)).abort_handle(),
            tokio::spawn(shared.clone().write(writing)).abort_handle(),
        ];
        let link = Link {
            shared,
            inbox,
            max_payload: info.max_payload,
            tasks,
        };
        link.say(&format!("SUB {}.* {ANSWERS}\r\n", link.inbox));
        Ok(link)
    }

    /// Where it leads to, for texts.
    pub(super) fn place(&self) -> &str {
        &self.shared.place
    }

    /// Maximum size of a message with its headers, in bytes.
    pub(super) fn max_payload(&self) -> usize {
        self.max_payload
    }

    /// Fails if the connection has ended.
    pub(super) fn check(&self) -> Result<(), Trouble> {
        match &self.shared.state().end {
            Some(trouble) => Err(trouble.clone()),
            None => Ok(()),
        }
    }

    fn say(&self, line: &str) {
        self.shared.state().out.extend_from_slice(line.as_bytes());
        self.shared.to_write.notify_one();
    }

    /// Publishes a message that nobody answers. The subjects have been checked.
    pub(super) fn publish(&self, subject: &str, reply: Option<&str>, body: &[u8]) {
        wire::publish(&mut self.shared.state().out, subject, reply, &[], body);
        self.shared.to_write.notify_one();
    }

    /// Publishes a message, and returns what will be its answer. The subject has been checked.
    pub(super) fn ask(
        &self,
        subject: &str,
        headers: &[u8],
        body: &[u8],
    ) -> Result<Answer, Trouble> {
        let number = self.shared.next_question.fetch_add(1, Ordering::Relaxed);
        let (answer, answered) = oneshot::channel();
        let reply = format!("{}.{number}", self.inbox);
        let mut state = self.shared.state();
        if let Some(trouble) = &state.end {
            return Err(trouble.clone());
        }
        let question = Question {
            subject: subject.to_owned(),
            answer,
        };
        state.questions.insert(number, question);
        wire::publish(&mut state.out, subject, Some(&reply), headers, body);
        drop(state);
        self.shared.to_write.notify_one();
        Ok(Answer {
            shared: self.shared.clone(),
            number,
            asked: Instant::now(),
            answer: answered,
        })
    }

    /// Waits until the server has read everything so far.
    pub(super) async fn flush(&self) -> Result<(), Trouble> {
        let flushed = self.ping()?;
        match tokio::time::timeout(ANSWER_TIMEOUT, flushed).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(self.shared.ended()),
            Err(_) => Err(self.shared.late()),
        }
    }

    fn ping(&self) -> Result<oneshot::Receiver<()>, Trouble> {
        let (done, flushed) = oneshot::channel();
        let mut state = self.shared.state();
        if let Some(trouble) = &state.end {
            return Err(trouble.clone());
        }
        state.ping(Some(done));
        self.shared.to_write.notify_one();
        Ok(flushed)
    }

    /// Begins to take deliveries in, at most so many that nobody has received. Returns where they must be sent to, without the word
    /// after the last dot.
    pub(super) fn take_deliveries(&self, deliveries_max: usize) -> String {
        let inbox = format!("{}D", self.inbox);
        self.shared.state().deliveries_max = deliveries_max;
        self.say(&format!("SUB {inbox}.* {DELIVERIES}\r\n"));
        inbox
    }

    /// Takes no more deliveries in, and returns those that nobody has received.
    pub(super) async fn stop_deliveries(&self) -> Result<VecDeque<Incoming>, Trouble> {
        self.say(&format!("UNSUB {DELIVERIES}\r\n"));
        self.flush().await?;
        Ok(std::mem::take(&mut self.shared.state().deliveries))
    }

    /// Returns the next delivery if one has come and `wanted` says yes to it.
    pub(super) fn next_delivery(&self, wanted: impl FnOnce(&Incoming) -> bool) -> Option<Incoming> {
        let mut state = self.shared.state();
        match state.deliveries.front() {
            Some(next) if wanted(next) => state.deliveries.pop_front(),
            _ => None,
        }
    }

    /// Calls `look` with every delivery that nobody has received.
    pub(super) fn look_at_deliveries(&self, look: impl FnMut(&Incoming)) {
        self.shared.state().deliveries.iter().for_each(look);
    }

    /// Returns when a delivery came last.
    pub(super) fn last_delivery(&self) -> Option<Instant> {
        self.shared.state().delivered
    }

    /// Waits until there may be something new: a delivery, a refusal, the end. What came since the last call counts.
    pub(super) async fn news(&self) {
        self.shared.news.notified().await;
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl Answer {
    /// Waits for the answer. Fails if it was returned before.
    pub(super) async fn wait(&mut self) -> Result<Incoming, Trouble> {
        if self.answer.is_terminated() {
            return Err(self.shared.ended());
        }
        let left = ANSWER_TIMEOUT.saturating_sub(self.asked.elapsed());
        match tokio::time::timeout(left, &mut self.answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(self.shared.ended()),
            Err(_) => Err(self.shared.late()),
        }
    }

    /// Returns the answer if it has come. Fails if it was returned before.
    pub(super) fn poll(&mut self) -> Option<Result<Incoming, Trouble>> {
        match self.answer.try_recv() {
            Ok(answer) => Some(answer),
            Err(oneshot::error::TryRecvError::Closed) => Some(Err(self.shared.ended())),
            Err(oneshot::error::TryRecvError::Empty) if self.asked.elapsed() > ANSWER_TIMEOUT => {
                Some(Err(self.shared.late()))
            }
            Err(oneshot::error::TryRecvError::Empty) => None,
        }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.shared.state().questions.remove(&self.number);
    }
}

impl State {
    fn ping(&mut self, done: Option<oneshot::Sender<()>>) {
        self.pongs.push_back(done);
        self.out.extend_from_slice(b"PING\r\n");
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ended(&self) -> Trouble {
        let end = self.state().end.clone();
        end.unwrap_or_else(|| self.lost(&"it is closed"))
    }

    fn lost(&self, why: &dyn std::fmt::Display) -> Trouble {
        let text = format!("the connection to {} is lost: {why}", self.place);
        Trouble::new(TroubleKind::Unreachable, text)
    }

    fn late(&self) -> Trouble {
        let seconds = ANSWER_TIMEOUT.as_secs();
        let text = format!("{} did not answer within {seconds} s", self.place);
        Trouble::new(TroubleKind::Unreachable, text)
    }

    /// Ends the connection for everybody who waits for something. The first reason stands.
    fn end(&self, trouble: Trouble) {
        let mut state = self.state();
        let trouble = state.end.get_or_insert(trouble).clone();
        state.pongs.clear();
        for (_, question) in state.questions.drain() {
            // Whoever gave up waiting does not listen.
            let _ = question.answer.send(Err(trouble.clone()));
        }
        drop(state);
        self.news.notify_one();
        self.to_write.notify_one();
    }

    /// Reads until the connection ends.
    async fn read(
        self: Arc<Self>,
        mut stream: ReadHalf<Box<dyn ByteStream>>,
        mut buffer: BytesMut,
    ) {
        let mut heard = Instant::now();
        let mut asked = heard;
        let mut ping = tokio::time::interval(PING_EVERY);
        let end = loop {
            match wire::parse(&mut buffer) {
                Ok(Some(op)) => match self.take(op) {
                    Ok(()) => continue,
                    Err(trouble) => break trouble,
                },
                Ok(None) => {}
                Err(garbled) => break self.lost(&garbled),
            }
            buffer.reserve(READ_BYTES);
            tokio::select! {
                read = stream.read_buf(&mut buffer) => match read {
                    Ok(0) => break self.lost(&"NATS closed it"),
                    Ok(_) => heard = Instant::now(),
                    Err(error) => break self.lost(&error),
                },
                _ = ping.tick() => {
                    if heard < asked {
                        break self.lost(&"NATS gives no sign of life");
                    }
                    asked = Instant::now();
                    self.state().ping(None);
                    self.to_write.notify_one();
                }
            }
        };
        self.end(end);
    }

    /// Takes what the server says.
    fn take(&self, op: Op) -> Result<(), Trouble> {
        match op {
            Op::Info(_) | Op::Nothing => {}
            Op::Ping => {
                self.state().out.extend_from_slice(b"PONG\r\n");
                self.to_write.notify_one();
            }
            Op::Pong => {
                if let Some(Some(done)) = self.state().pongs.pop_front() {
                    let _ = done.send(());
                }
            }
            Op::Message(message) if message.subscription == ANSWERS => {
                let number = message.subject.rsplit('.').next();
                let number = number.and_then(|number| number.parse().ok());
                let question =
                    number.and_then(|number: u64| self.state().questions.remove(&number));
                if let Some(question) = question {
                    let _ = question.answer.send(Ok(message));
                }
            }
            Op::Message(message) => {
                let mut state = self.state();
                if state.deliveries.len() >= state.deliveries_max {
                    return Err(self.lost(&"it sent more messages than it was asked for"));
                }
                state.delivered = Some(Instant::now());
                state.deliveries.push_back(message);
                drop(state);
                self.news.notify_one();
            }
            Op::Error(said) => self.take_error(&said)?,
        }
        Ok(())
    }

    /// Takes an error in: that a user may not publish to a subject is the answer to what was published there; the rest ends the
    /// connection.
    fn take_error(&self, said: &str) -> Result<(), Trouble> {
        let lower = said.to_ascii_lowercase();
        if !lower.starts_with("permissions violation") {
            return Err(describe_end(&self.place, said));
        }
        let text = format!(
            "{} refuses the user: {said}; give the user this permission",
            self.place
        );
        let trouble = Trouble::new(TroubleKind::CredentialsRefused, text);
        if !lower.starts_with("permissions violation for publish") {
            return Err(trouble);
        }
        let subject = said.split('"').nth(1).unwrap_or_default();
        let mut state = self.state();
        let refused = |_: &u64, question: &mut Question| question.subject == subject;
        let refused: Vec<Question> = state
            .questions
            .extract_if(refused)
            .map(|(_, one)| one)
            .collect();
        drop(state);
        for question in refused {
            let _ = question.answer.send(Err(trouble.clone()));
        }
        self.news.notify_one();
        Ok(())
    }

    /// Writes until the connection ends.
    async fn write(self: Arc<Self>, mut stream: WriteHalf<Box<dyn ByteStream>>) {
        loop {
            let (out, is_over) = {
                let mut state = self.state();
                (state.out.split(), state.end.is_some())
            };
            if is_over {
                return;
            }
            if out.is_empty() {
                self.to_write.notified().await;
                continue;
            }
            let writing = async {
                stream.write_all(&out).await?;
                stream.flush().await
            };
            match tokio::time::timeout(ANSWER_TIMEOUT, writing).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return self.end(self.lost(&error)),
                Err(_) => return self.end(self.late()),
            }
        }
    }
}

/// Connects, with TLS if the url says so, and returns what the server says about itself.
async fn connect(
    server: &ServerUrl,
    trusted_roots: Option<&str>,
) -> Result<(Box<dyn ByteStream>, Info), String> {
    let mut stream = dial::connect(server).await?;
    let mut buffer = BytesMut::new();
    // A server says its INFO in the clear, and turns to TLS after that.
    let info = match read_op(&mut stream, &mut buffer).await? {
        Op::Info(info) => info,
        Op::Error(said) => return Err(said),
        _ => return Err("it did not begin with INFO".to_owned()),
    };
    if !server.is_tls {
        return match info.tls_required {
            true => Err("it wants TLS: let url begin with tls://".to_owned()),
            false => Ok((Box::new(stream), info)),
        };
    }
    if !info.tls_required && !info.tls_available {
        return Err("it has no TLS: configure it, or let url begin with nats://".to_owned());
    }
    if !buffer.is_empty() {
        return Err("it said more than INFO before TLS".to_owned());
    }
    let stream = dial::secure(stream, server, trusted_roots, &[]).await?;
    Ok((stream, info))
}

/// Reads what the server says next, before there are tasks for that.
async fn read_op(
    stream: &mut (impl AsyncRead + Unpin),
    buffer: &mut BytesMut,
) -> Result<Op, String> {
    loop {
        if let Some(op) = wire::parse(buffer).map_err(|garbled| garbled.to_string())? {
            return Ok(op);
        }
        match stream.read_buf(buffer).await {
            Ok(0) => return Err("NATS closed the connection".to_owned()),
            Ok(_) => {}
            Err(error) => return Err(error.to_string()),
        }
    }
}

/// What is said to the server about the client.
fn hello(binder: &Binder, is_tls: bool) -> serde_json::Value {
    let mut hello = json!({
        "verbose": false, "pedantic": false, "tls_required": is_tls, "protocol": 1, "echo": true,
        "headers": true, "no_responders": true, "lang": "rust", "version": env!("CARGO_PKG_VERSION"),
        "name": format!("tributary: {}", binder.slug),
    });
    match (&binder.username, &binder.password) {
        (Some(user), password) => {
            hello["user"] = json!(user);
            hello["pass"] = json!(password.as_ref().map_or("", |password| password.expose()));
        }
        (None, Some(token)) => hello["auth_token"] = json!(token.expose()),
        (None, None) => {}
    }
    hello
}

/// Says why the server ends a connection.
fn describe_end(place: &str, said: &str) -> Trouble {
    let lower = said.to_ascii_lowercase();
    let is_about_user = ["authorization", "authentication", "revoked", "expired"];
    if is_about_user.iter().any(|word| lower.contains(word)) {
        let text = format!("{place} refuses the user: {said}; check username and password");
        return Trouble::new(TroubleKind::CredentialsRefused, text);
    }
    let text = format!("{place} ends the connection: {said}");
    Trouble::new(TroubleKind::Unreachable, text)
}
