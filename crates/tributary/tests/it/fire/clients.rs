//! Those who use the cluster while it burns: writers and readers through the load balancer, and receivers of events.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::report::Gap;
use crate::crash::Random;
use crate::http::{self, Answer};
use crate::nodes::cluster::NODES;
use crate::support::PATIENCE;

/// How long a client waits for an answer before it sends the request again.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// Pause before a request is sent again.
const AGAIN_AFTER: Duration = Duration::from_millis(20);
/// Pause of a writer between two writes, so that there is time for everything else on a small machine.
const WRITE_EVERY: Duration = Duration::from_millis(15);
/// Pause of the reader between two reads.
const READ_EVERY: Duration = Duration::from_millis(40);
/// End of holds, which is never reached.
const HOLD_UNTIL: &str = "2100-01-01T00:00:00Z";

/// What a write does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    Pays,
    Holds,
    Captures,
}

/// A write that was acknowledged.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) key: String,
    pub(super) effect: Effect,
    pub(super) wallet: usize,
    pub(super) payment: String,
    pub(super) amount: i64,
    /// The greatest position that anybody had been told before this was sent.
    pub(super) before: u64,
    /// The position that the answer told.
    pub(super) told: u64,
}

/// What a read asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// Everything that was answered before.
    Strict,
    /// Everything up to a position.
    AtLeast,
    /// The balance at a position.
    At,
}

/// A balance that was read.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) asked: Asked,
    pub(super) wallet: usize,
    pub(super) posted: i64,
    /// The position that the read asked for: of a strict one, the greatest that anybody had been told before it was sent.
    pub(super) position: u64,
    /// The position that the answer told.
    pub(super) told: u64,
}

/// An event that came.
#[derive(Debug)]
pub(super) struct Arrived {
    pub(super) event: String,
    pub(super) kind: String,
    pub(super) payment: String,
    pub(super) at: Instant,
}

/// What all clients share.
pub(super) struct Clients {
    pub(super) balancer: String,
    pub(super) nodes: [String; 3],
    pub(super) token: String,
    pub(super) source: String,
    pub(super) wallets: Vec<String>,
    /// The greatest position that anybody was told.
    pub(super) told: AtomicU64,
    pub(super) written: AtomicU64,
    pub(super) gap: Mutex<Gap>,
    /// Writers and readers end.
    pub(super) is_done: AtomicBool,
    /// Receivers end.
    pub(super) all_came: AtomicBool,
}

impl Clients {
    pub(super) fn gap(&self) -> MutexGuard<'_, Gap> {
        self.gap.lock().expect("no holder panics")
    }

    /// Sends a request through the load balancer until it is decided.
    pub(super) fn decide(&self, path: &str, key: &str, body: &Value) -> Answer {
        let begun = Instant::now();
        loop {
            let why = match self.ask("POST", path, Some(key), Some(body)) {
                Ok(answer) if (200..300).contains(&answer.status) => return answer,
                Ok(answer) => {
                    let why = format!(
                        "{} {}",
                        answer.status,
                        String::from_utf8_lossy(&answer.body)
                    );
                    // Nothing was written, or nobody knows yet; 502 is the load balancer's.
                    let may_repeat = [429, 502, 503, 504].contains(&answer.status);
                    assert!(may_repeat, "{path} {key}: {why}");
                    why
                }
                Err(error) => error.to_string(),
            };
            assert!(
                begun.elapsed() < PATIENCE,
                "nobody decides {path} {key}: {why}"
            );
            std::thread::sleep(AGAIN_AFTER);
        }
    }

    fn ask(
        &self,
        method: &str,
        path: &str,
        key: Option<&str>,
        body: Option<&Value>,
    ) -> std::io::Result<Answer> {
        let (to, token) = (&self.balancer, &self.token);
        http::request_within(ANSWER_WITHIN, to, method, path, token, key, body)
    }

    /// Takes in the position that an answer told.
    fn hear(&self, answer: &Answer) -> u64 {
        let position = answer.header("tributary-position");
        let position = position.and_then(|position| position.parse().ok());
        let position = position.expect("every answer tells a position");
        self.told.fetch_max(position, Ordering::AcqRel);
        position
    }

    /// Pays into a wallet of its own, until it is told to end: payment after payment, or a hold and its capture.
    pub(super) fn write(&self, wallet: usize) -> Vec<Written> {
        let mut written = Vec::new();
        for count in 0_i64.. {
            if self.is_done.load(Ordering::Relaxed) {
                break;
            }
            let amount = 1 + count % 97;
            let mut body = json!({ "amount": amount, "currency": "EUR", "source": self.source, "destination": self.wallets[wallet] });
            let mut send = |path: &str, effect: Effect, body: &Value| {
                let key = format!("w{wallet}-{count}-{effect:?}");
                let before = self.told.load(Ordering::Acquire);
                let answer = self.decide(path, &key, body);
                self.gap().accept();
                let (told, object) = (self.hear(&answer), answer.json());
                assert_eq!(object["amount"], amount, "{key}");
                let payment = object["id"].as_str().expect("an id").to_owned();
                written.push(Written {
                    key,
                    effect,
                    wallet,
                    payment: payment.clone(),
                    amount,
                    before,
                    told,
                });
                self.written.fetch_add(1, Ordering::Relaxed);
                std::thread::sleep(WRITE_EVERY);
                payment
            };
            if count % 3 != 2 {
                send("/v1/transfers", Effect::Pays, &body);
                continue;
            }
            body["capture_method"] = json!("manual");
            body["expires_at"] = json!(HOLD_UNTIL);
            let held = send("/v1/payments", Effect::Holds, &body);
            let path = format!("/v1/payments/{held}/capture");
            send(&path, Effect::Captures, &json!({}));
        }
        written
    }

    /// Reads balances at any node, until it is told to end.
    pub(super) fn read(&self) -> Vec<Seen> {
        let (mut random, mut seen) = (Random::number(1), Vec::new());
        while !self.is_done.load(Ordering::Relaxed) {
            std::thread::sleep(READ_EVERY);
            let node = &self.nodes[random.below(NODES.len() as u64) as usize];
            let wallet = random.below(self.wallets.len() as u64) as usize;
            let account = format!("/v1/accounts/{}", self.wallets[wallet]);
            let position = self.told.load(Ordering::Acquire);
            if position == 0 {
                continue;
            }
            let (asked, path) = match random.below(4) {
                0 => (Asked::Strict, format!("{account}?consistency=strict")),
                1 => (Asked::AtLeast, format!("{account}?min_position={position}")),
                2 => {
                    let query = format!("at={position}&min_position={position}");
                    (Asked::At, format!("{account}/balance?{query}"))
                }
                _ => {
                    self.add_up(node);
                    continue;
                }
            };
            // A node may be away, or not know the end of the log.
            let Some(answer) = self.get(node, &path) else {
                continue;
            };
            seen.push(Seen {
                asked,
                wallet,
                posted: answer.json()["posted"].as_i64().expect("an amount"),
                position,
                told: self.hear(&answer),
            });
        }
        seen
    }

    fn get(&self, node: &str, path: &str) -> Option<Answer> {
        let answer =
            http::request_within(ANSWER_WITHIN, node, "GET", path, &self.token, None, None).ok()?;
        let may_fail = [502, 503, 504].contains(&answer.status);
        assert!(
            answer.status == 200 || may_fail,
            "{path}: {} {}",
            answer.status,
            String::from_utf8_lossy(&answer.body)
        );
        (answer.status == 200).then_some(answer)
    }

    /// An answer shows one point of the history, where nothing is lost between two accounts.
    fn add_up(&self, node: &str) {
        let Some(answer) = self.get(node, "/v1/accounts?limit=100") else {
            return;
        };
        self.hear(&answer);
        let accounts = answer.json();
        assert_eq!(accounts["has_more"], false);
        let accounts = accounts["data"].as_array().expect("a list");
        let posted = accounts.iter().map(|account| account["posted"].as_i64());
        assert_eq!(posted.sum::<Option<i64>>(), Some(0), "{accounts:?}");
    }

    /// Receives and acknowledges events, until it is told that all came.
    pub(super) fn receive(&self, subscription: &str, arrived: &Mutex<Vec<Arrived>>) {
        let wanted = json!({ "max": 200, "wait_seconds": 1, "visibility_seconds": 5 });
        let receive = format!("/v1/subscriptions/{subscription}/receive");
        let ack = format!("/v1/subscriptions/{subscription}/ack");
        while !self.all_came.load(Ordering::Relaxed) {
            let taken = self.ask("POST", &receive, None, Some(&wanted));
            let Some(taken) = taken.ok().filter(|taken| taken.status == 200) else {
                std::thread::sleep(AGAIN_AFTER);
                continue;
            };
            let taken = taken.json();
            let taken = taken["data"].as_array().expect("a list");
            if taken.is_empty() {
                continue;
            }
            let events = taken.iter().map(|one| arrive(&one["event"]));
            arrived.lock().expect("no holder panics").extend(events);
            let receipts: Vec<&Value> = taken.iter().map(|one| &one["receipt"]).collect();
            // Where its answer is lost, the events come again.
            let body = json!({ "receipts": receipts });
            let _may_be_lost = self.ask("POST", &ack, None, Some(&body));
        }
    }
}

fn arrive(event: &Value) -> Arrived {
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    Arrived {
        event: text(&event["id"]),
        kind: text(&event["type"]),
        payment: text(&event["data"]["object"]["id"]),
        at: Instant::now(),
    }
}

/// Takes webhooks, on threads that end with the process.
pub(super) fn take_webhooks(listener: TcpListener, arrived: Arc<Mutex<Vec<Arrived>>>) {
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let arrived = arrived.clone();
            std::thread::spawn(move || while take_webhook(&stream, &arrived).is_some() {});
        }
    });
}

/// Reads a request, and answers it. None if the connection has ended.
fn take_webhook(stream: &TcpStream, arrived: &Mutex<Vec<Arrived>>) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let line = line.trim_end().to_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(told) = line.strip_prefix("content-length: ") {
            length = told.parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let event = serde_json::from_slice(&body).expect("an event");
    arrived
        .lock()
        .expect("no holder panics")
        .push(arrive(&event));
    let answer = b"HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n";
    (&*stream).write_all(answer).ok()
}
