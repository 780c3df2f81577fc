//! `listen`: forwards a server's events to a program on this machine, as signed webhooks.

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
use crate::client::{Client, RefusedRequest, encode_query_value};
use crate::exit::{Exit, usage_error};
use crate::terminal::print_line;

/// First wait before a lost stream is opened again. Each further wait is twice as long.
const RETRY_WAIT_MIN: Duration = Duration::from_millis(500);
/// Maximum wait before a lost stream is opened again.
const RETRY_WAIT_MAX: Duration = Duration::from_secs(10);
/// Maximum wait for the result of an attempt. The attempt itself has a shorter time-out.
const ATTEMPT_WAIT_MAX: Duration = Duration::from_secs(60);
/// Maximum size of an event in the stream, in bytes: far more than any event has.
const EVENT_BYTES_MAX: usize = 4 << 20;

/// Runs `listen`, until an error or a signal.
pub(crate) fn listen(arguments: &cli::Listen) -> anyhow::Result<Exit> {
    let mut forwarder = Forwarder::new(arguments)?;
    let mut client = arguments.server.client()?;
    let secret = forwarder.endpoint.secrets.newest().reveal();
    let (to, events) = (&arguments.forward_to, &arguments.events);
    if arguments.json {
        let line = json!({"forward_to": to, "events": events, "secret": secret});
        print_line(&line.to_string());
    } else {
        print_line(&format!("forwarding {events} to {to}, signed with"));
        print_line(&format!("  {secret}"));
    }
    let mut wait = RETRY_WAIT_MIN;
    loop {
        let before = forwarder.last.clone();
        let ended = forward_stream(&mut client, arguments, &mut forwarder);
        let error = match ended {
            Ok(()) => anyhow::anyhow!("the server ended the stream"),
            Err(error) => error,
        };
        if !is_temporary(&error) {
            return Err(explain_refusal(error));
        }
        // Before the first connection, the address may be wrong or no server may run: do not try again.
        if forwarder.last.is_none() && !forwarder.connected {
            return Err(error).context("no events: does the server run, and is --server right?");
        }
        if forwarder.last != before {
            wait = RETRY_WAIT_MIN;
        }
        eprintln!("the stream was lost ({error:#}); trying again in {wait:?}");
        std::thread::sleep(wait);
        wait = (wait * 2).min(RETRY_WAIT_MAX);
    }
}

/// Returns whether another attempt may succeed.
fn is_temporary(error: &anyhow::Error) -> bool {
    let refused = error.downcast_ref::<RefusedRequest>();
    error.downcast_ref::<InvalidStream>().is_none()
        && refused.is_none_or(|refused| matches!(refused.status, 429 | 500..))
}

/// Adds a hint to a refusal that another attempt would get again.
fn explain_refusal(error: anyhow::Error) -> anyhow::Error {
    let hint = match error
        .downcast_ref::<RefusedRequest>()
        .map(|refused| refused.status)
    {
        Some(401) => "check the API key: --api-key-file FILE, or TRIBUTARY_API_KEY",
        Some(404) => "is --start an event of this server, and does the server know streams?",
        Some(_) => "check --events and --start",
        None => return error,
    };
    usage_error(format!("{error:#}\n{hint}"))
}

/// The server's answer is not a valid stream of events.
#[derive(Debug)]
struct InvalidStream(&'static str);

impl std::fmt::Display for InvalidStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the server sent no stream of events: {}", self.0)
    }
}

impl std::error::Error for InvalidStream {}

/// Forwards events until the stream ends.
fn forward_stream(
    client: &mut Client,
    arguments: &cli::Listen,
    forwarder: &mut Forwarder,
) -> anyhow::Result<()> {
    let events = encode_query_value(&arguments.events);
    let from = match &forwarder.last {
        Some(last) => format!("after={last}"),
        None => format!("start={}", encode_query_value(&arguments.start)),
    };
    let mut parser = StreamParser::default();
    client.get_in_chunks(
        &format!("/v1/events/stream?events={events}&{from}"),
        &mut |_, piece| {
            forwarder.connected = true;
            parser.pending.extend_from_slice(piece);
            while let Some(message) = parser.next()? {
                forwarder.deliver(message)?;
            }
            Ok(ControlFlow::Continue(()))
        },
    )?;
    Ok(())
}

/// One message of a stream of server-sent events.
#[derive(Debug, Default, PartialEq, Eq)]
struct StreamMessage {
    id: Option<String>,
    kind: String,
    data: Option<String>,
}

/// Parses a stream of server-sent events.
#[derive(Default)]
struct StreamParser {
    pending: Vec<u8>,
}

impl StreamParser {
    /// Returns the next complete message, if there is one.
    fn next(&mut self) -> anyhow::Result<Option<StreamMessage>> {
        let Some(end) = self.pending.windows(2).position(|two| two == b"\n\n") else {
            if self.pending.len() > EVENT_BYTES_MAX {
                bail!(InvalidStream("an event has no end"));
            }
            return Ok(None);
        };
        let bytes: Vec<u8> = self.pending.drain(..end + 2).collect();
        let text = std::str::from_utf8(&bytes).map_err(|_| InvalidStream("it is not UTF-8"))?;
        let mut message = StreamMessage::default();
        for line in text.lines().filter(|line| !line.is_empty()) {
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value).to_owned();
            match field {
                "id" => message.id = Some(value),
                "event" => message.kind = value,
                "data" => message.data = Some(value),
                // Comments, and the reconnection time.
                _ => {}
            }
        }
        Ok(Some(message))
    }
}

/// Forwards events to the receiver.
struct Forwarder {
    sender: Sender,
    done: mpsc::Receiver<Attempt>,
    endpoint: Arc<Endpoint>,
    json: bool,
    /// Whether the server has sent anything.
    connected: bool,
    /// Id of the last forwarded event, after which the next stream starts.
    last: Option<String>,
}

impl Forwarder {
    fn new(arguments: &cli::Listen) -> anyhow::Result<Self> {
        let wrong = |error: &dyn std::fmt::Display| usage_error(format!("--forward-to: {error}"));
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
                .map_err(|error| usage_error(format!("--secret: {error}")))?,
        };
        let (attempts, done) = mpsc::channel();
        let settings = Settings {
            rules,
            ..Settings::default()
        };
        let sender = Sender::start(settings, Arc::new(SystemClock), move |_, attempt| {
            let _ending = attempts.send(attempt);
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

    /// Forwards a message that is an event, and waits for the result.
    fn deliver(&mut self, message: StreamMessage) -> anyhow::Result<()> {
        if let (Some(id), Some(data)) = (&message.id, message.data) {
            let plain = id
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
            if !plain || !(1..=128).contains(&id.len()) {
                bail!(InvalidStream("an event has an invalid id"));
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
            let attempt = self.done.recv_timeout(ATTEMPT_WAIT_MAX);
            let attempt = attempt.context("the sender of webhooks has stopped")?;
            self.print_attempt(id, &message.kind, &attempt);
        }
        self.last = message.id.or(self.last.take());
        Ok(())
    }

    fn print_attempt(&self, id: &str, kind: &str, attempt: &Attempt) {
        let ms = attempt.took.as_micros() as f64 / 1e3;
        if self.json {
            let error = attempt.error.as_ref();
            let line = json!({
                "event": id, "type": kind, "status": attempt.status, "took_ms": ms,
                "error": error.map(|error| error.code()), "detail": error.map(ToString::to_string),
            });
            return print_line(&line.to_string());
        }
        let outcome = match (attempt.status, &attempt.error) {
            (Some(status), _) => status.to_string(),
            (None, Some(error)) => format!("not delivered: {error}"),
            (None, None) => "no answer".to_owned(),
        };
        print_line(&format!("{kind}  {id}  {outcome}  {ms:.1} ms"));
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
            let mut parser = StreamParser::default();
            let mut found = Vec::new();
            for piece in stream.chunks(size) {
                parser.pending.extend_from_slice(piece);
                while let Some(message) = parser.next().expect("sound") {
                    found.push(message);
                }
            }
            let begun = StreamMessage {
                id: Some("evt_1".to_owned()),
                ..StreamMessage::default()
            };
            let event = StreamMessage {
                id: Some("evt_2".to_owned()),
                kind: "a.b".to_owned(),
                data: Some("{\"x\":\"y: z\"}".to_owned()),
            };
            assert_eq!(found, [begun, StreamMessage::default(), event], "{size}");
        }
        let mut parser = StreamParser {
            pending: vec![b'x'; EVENT_BYTES_MAX + 1],
        };
        assert!(parser.next().is_err());
    }
}
