//! `listen`: a server's events, forwarded to a program on this machine as the webhooks that they would be.

use std::ops::ControlFlow;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde_json::json;
use tributary_connect::webhooks::{
    Attempt, Endpoint, EndpointUrl, Job, Rules, Sender, Settings, SigningSecret, SigningSecrets,
};
use tributary_engine::SystemClock;

use crate::cli;
use crate::client::{Client, Refused};
use crate::exit::{Exit, wrong_use};
use crate::terminal::print_line;

/// The first wait before a lost stream is taken up again; each one after it is twice as long.
const WAIT_FIRST: Duration = Duration::from_millis(500);
/// The longest such wait.
const WAIT_MAX: Duration = Duration::from_secs(10);
/// The longest wait for an answer of the receiver. The attempt itself ends sooner.
const ATTEMPT_MAX: Duration = Duration::from_secs(60);
/// The most that may come before the end of an event: far more than an event has.
const EVENT_BYTES_MAX: usize = 4 << 20;

/// Runs `listen`. It ends only by an error, or by a signal: there is nothing to finish.
pub(crate) fn listen(arguments: &cli::Listen) -> anyhow::Result<Exit> {
    let mut forward = Forward::new(arguments)?;
    let mut client = arguments.server.client()?;
    let secret = forward.endpoint.secrets.newest().reveal();
    let (to, events) = (&arguments.forward_to, &arguments.events);
    if arguments.json {
        let told = json!({"forward_to": to, "events": events, "secret": secret});
        print_line(&told.to_string());
    } else {
        print_line(&format!("forwarding {events} to {to}, signed with"));
        print_line(&format!("  {secret}"));
    }
    let mut wait = WAIT_FIRST;
    loop {
        let before = forward.last.clone();
        let ended = follow(&mut client, arguments, &mut forward);
        let error = match ended {
            Ok(()) => anyhow::anyhow!("the server ended the stream"),
            Err(error) => error,
        };
        if !goes_on(&error) {
            return Err(teach(error));
        }
        // The first time there is nothing to go back to: the address is wrong, or no server runs.
        if forward.last.is_none() && !forward.connected {
            return Err(error).context("no events: does the server run, and is --server right?");
        }
        if forward.last != before {
            wait = WAIT_FIRST;
        }
        eprintln!("the stream was lost ({error:#}); trying again in {wait:?}");
        std::thread::sleep(wait);
        wait = (wait * 2).min(WAIT_MAX);
    }
}

/// Whether trying again may help: not if the server refuses what was asked for.
fn goes_on(error: &anyhow::Error) -> bool {
    let refused = error.downcast_ref::<Refused>();
    error.downcast_ref::<NoStream>().is_none()
        && refused.is_none_or(|refused| matches!(refused.status, 429 | 500..))
}

/// Says what to do about an answer that stays the same.
fn teach(error: anyhow::Error) -> anyhow::Error {
    let hint = match error
        .downcast_ref::<Refused>()
        .map(|refused| refused.status)
    {
        Some(401) => "check the API key: --api-key-file FILE, or TRIBUTARY_API_KEY",
        Some(404) => "is --start an event of this server, and does the server know streams?",
        Some(_) => "check --events and --start",
        None => return error,
    };
    wrong_use(format!("{error:#}\n{hint}"))
}

/// What came is not what a stream is made of.
#[derive(Debug)]
struct NoStream(&'static str);

impl std::fmt::Display for NoStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the server sent no stream of events: {}", self.0)
    }
}

impl std::error::Error for NoStream {}

/// Forwards what comes until the stream ends.
fn follow(
    client: &mut Client,
    arguments: &cli::Listen,
    forward: &mut Forward,
) -> anyhow::Result<()> {
    let events = encoded(&arguments.events);
    let from = match &forward.last {
        Some(last) => format!("after={last}"),
        None => format!("start={}", encoded(&arguments.start)),
    };
    let mut parser = Parser::default();
    client.get_in_pieces(
        &format!("/v1/events/stream?events={events}&{from}"),
        &mut |_, piece| {
            forward.connected = true;
            parser.pending.extend_from_slice(piece);
            while let Some(message) = parser.next()? {
                forward.take(message)?;
            }
            Ok(ControlFlow::Continue(()))
        },
    )?;
    Ok(())
}

/// Text as it may stand in a query.
fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'*' | b',' => {
                out.push(char::from(byte));
            }
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

/// What stands between two empty lines of a stream.
#[derive(Debug, Default, PartialEq, Eq)]
struct Message {
    id: Option<String>,
    kind: String,
    data: Option<String>,
}

/// Takes a stream apart.
#[derive(Default)]
struct Parser {
    pending: Vec<u8>,
}

impl Parser {
    /// The next whole message, if it is there.
    fn next(&mut self) -> anyhow::Result<Option<Message>> {
        let Some(end) = self.pending.windows(2).position(|two| two == b"\n\n") else {
            if self.pending.len() > EVENT_BYTES_MAX {
                bail!(NoStream("an event has no end"));
            }
            return Ok(None);
        };
        let bytes: Vec<u8> = self.pending.drain(..end + 2).collect();
        let text = std::str::from_utf8(&bytes).map_err(|_| NoStream("it is not UTF-8"))?;
        let mut message = Message::default();
        for line in text.lines().filter(|line| !line.is_empty()) {
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value).to_owned();
            match field {
                "id" => message.id = Some(value),
                "event" => message.kind = value,
                "data" => message.data = Some(value),
                // Comments, and when to try again.
                _ => {}
            }
        }
        Ok(Some(message))
    }
}

/// Sends events on.
struct Forward {
    sender: Sender,
    done: mpsc::Receiver<Attempt>,
    endpoint: Arc<Endpoint>,
    json: bool,
    /// Whether the server has answered at all.
    connected: bool,
    /// The id after which to go on.
    last: Option<String>,
}

impl Forward {
    fn new(arguments: &cli::Listen) -> anyhow::Result<Self> {
        let wrong = |error: &dyn std::fmt::Display| wrong_use(format!("--forward-to: {error}"));
        let url = EndpointUrl::parse(&arguments.forward_to).map_err(|error| wrong(&error))?;
        let rules = Rules {
            allow_http: true,
            allow_private: true,
            ..Rules::default()
        };
        rules.check(&url).map_err(|error| wrong(&error))?;
        let secret = match &arguments.secret {
            None => SigningSecret::random(),
            Some(text) => SigningSecret::parse(text)
                .map_err(|error| wrong_use(format!("--secret: {error}")))?,
        };
        let (tell, done) = mpsc::channel();
        let settings = Settings {
            rules,
            ..Settings::default()
        };
        let sender = Sender::start(settings, Arc::new(SystemClock), move |_, attempt| {
            let _ending = tell.send(attempt);
        })?;
        Ok(Self {
            sender,
            done,
            endpoint: Arc::new(Endpoint {
                id: "listen".to_owned(),
                url,
                secrets: SigningSecrets::new(secret),
            }),
            json: arguments.json,
            connected: false,
            last: None,
        })
    }

    /// Sends one on, if it is an event, and waits for what comes of it.
    fn take(&mut self, message: Message) -> anyhow::Result<()> {
        if let (Some(id), Some(data)) = (&message.id, message.data) {
            let plain = id
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
            if !plain || !(1..=128).contains(&id.len()) {
                bail!(NoStream("an id is none"));
            }
            let job = Job {
                endpoint: self.endpoint.clone(),
                event_id: id.clone(),
                attempt: 1,
                body: data.into(),
            };
            if self.sender.offer(job).is_err() {
                bail!("the sender of webhooks has stopped");
            }
            let attempt = self.done.recv_timeout(ATTEMPT_MAX);
            let attempt = attempt.context("the sender of webhooks has stopped")?;
            self.tell(id, &message.kind, &attempt);
        }
        self.last = message.id.or(self.last.take());
        Ok(())
    }

    fn tell(&self, id: &str, kind: &str, attempt: &Attempt) {
        let ms = attempt.took.as_micros() as f64 / 1e3;
        if self.json {
            let error = attempt.error.as_ref();
            let told = json!({
                "event": id, "type": kind, "status": attempt.status, "took_ms": ms,
                "error": error.map(|error| error.code()), "detail": error.map(ToString::to_string),
            });
            return print_line(&told.to_string());
        }
        let came = match (attempt.status, &attempt.error) {
            (Some(status), _) => status.to_string(),
            (None, Some(error)) => format!("not delivered: {error}"),
            (None, None) => "no answer".to_owned(),
        };
        print_line(&format!("{kind}  {id}  {came}  {ms:.1} ms"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_taken_apart_however_it_is_cut() {
        let stream =
            b"retry: 1000\nid: evt_1\n\n:\n\nid: evt_2\nevent: a.b\ndata: {\"x\":\"y: z\"}\n\n";
        for size in 1..stream.len() {
            let mut parser = Parser::default();
            let mut found = Vec::new();
            for piece in stream.chunks(size) {
                parser.pending.extend_from_slice(piece);
                while let Some(message) = parser.next().expect("sound") {
                    found.push(message);
                }
            }
            let begun = Message {
                id: Some("evt_1".to_owned()),
                ..Message::default()
            };
            let event = Message {
                id: Some("evt_2".to_owned()),
                kind: "a.b".to_owned(),
                data: Some("{\"x\":\"y: z\"}".to_owned()),
            };
            assert_eq!(found, [begun, Message::default(), event], "{size}");
        }
        let mut parser = Parser {
            pending: vec![b'x'; EVENT_BYTES_MAX + 1],
        };
        assert!(parser.next().is_err());
    }

    #[test]
    fn patterns_and_times_come_through_a_query() {
        assert_eq!(encoded("payment.*,a.#"), "payment.*,a.%23");
        assert_eq!(
            encoded("2026-11-20T00:00:00+01:00"),
            "2026-11-20T00%3A00%3A00%2B01%3A00"
        );
    }
}
