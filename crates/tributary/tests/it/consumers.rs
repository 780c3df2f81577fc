//! A group of consumers that crash, at a server that is killed: every event is worked on, its effect is made once, and the
//! effects of one key are made in the order of its events.
//!
//! `scripts/crash-test` runs the long form.

mod stream;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::crash::{Random, asked_for, kills_asked_for, verify};
use crate::http;
use crate::support::{FIRST_RECORDS, PATIENCE, Server, Stop};

/// Events of the short form, unless `TRIBUTARY_TEST_EVENTS` says more.
const EVENTS: u64 = 20_000;
/// How often the short form kills, unless `TRIBUTARY_TEST_KILLS` says more.
const KILLS: u64 = 2;
/// Events published in one request.
const BATCH: u32 = 500;
/// Events taken at once.
const TAKEN_MAX: u32 = 100;
/// A consumer crashes at one batch in so many.
const CRASH_ONE_IN: u64 = 60;
/// What a server may take at most of memory that is no cached file, in bytes.
const ANONYMOUS_MAX: u64 = 512 << 20;
const TYPE: &str = "app.order.moved";

/// An event as a consumer got it.
struct Event {
    id: u128,
    key: String,
    kind: String,
    data: Value,
}

/// The 16 bytes behind an id's text.
fn block(id: &str) -> u128 {
    let alphabet = "0123456789abcdefghjkmnpqrstvwxyz";
    let digits = id.strip_prefix("evt_").expect("the id of an event");
    digits.bytes().fold(0, |number, digit| {
        let digit = alphabet.bytes().position(|known| known == digit);
        number << 5 | digit.expect("a digit of base 32") as u128
    })
}

/// What is published: events by their number, each under one of many keys.
struct Plan {
    /// The key of each event, and the how many-th of its key it is.
    events: Vec<(u32, u32)>,
    keys: u32,
}

impl Plan {
    fn new(events: u64) -> Plan {
        let keys = u32::try_from(events / 100).expect("there are not so many");
        let (mut random, mut next) = (Random::number(0), vec![0; keys as usize]);
        let event = |_| {
            let key = random.below(u64::from(keys)) as u32;
            let next = &mut next[key as usize];
            *next += 1;
            (key, *next - 1)
        };
        Plan {
            events: (0..events).map(event).collect(),
            keys,
        }
    }

    fn key(&self, number: u32) -> String {
        format!("order-{}", self.events[number as usize].0)
    }

    fn data(number: u32) -> Value {
        json!({ "number": number, "text": "x".repeat(50) })
    }

    fn command(&self, number: u32) -> Value {
        let event = json!({ "type": TYPE, "key": self.key(number), "data": Plan::data(number) });
        json!({ "idempotency_key": format!("moved-{number}"), "event": event })
    }
}

/// The consumers' database: the effect of an event and the note that it was made are one transaction.
struct Database {
    /// Event → number.
    effects: HashMap<u128, u32>,
    /// For each key, how many effects it has had.
    of_key: Vec<u32>,
    /// Events that came again after their effect.
    duplicates: u64,
    crashes: u64,
}

/// What all who take part share.
struct Site {
    address: String,
    grpc: String,
    token: String,
    subscription: String,
    plan: Plan,
    database: Mutex<Database>,
    /// Every event has had its effect: nobody crashes any more.
    calm: AtomicBool,
    stop: AtomicBool,
    /// Publishings whose answer got lost.
    repeated: AtomicU64,
}

impl Site {
    fn database(&self) -> MutexGuard<'_, Database> {
        self.database.lock().expect("no holder panics")
    }

    fn made(&self) -> u64 {
        self.database().effects.len() as u64
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn request(&self, path: &str, body: &Value) -> Option<http::Answer> {
        let answer = http::request(&self.address, "POST", path, &self.token, None, Some(body));
        // While the server is down, or comes up.
        answer
            .ok()
            .filter(|answer| ![429, 503].contains(&answer.status))
    }

    /// Makes the effect of an event, unless it is there.
    fn effect(&self, event: &Event) {
        let number = event.data["number"].as_u64().expect("a number");
        let number = u32::try_from(number).expect("a small one");
        assert!(
            (number as usize) < self.plan.events.len(),
            "{number} was never published"
        );
        assert_eq!(event.kind, TYPE);
        assert_eq!(event.key, self.plan.key(number));
        assert_eq!(event.data, Plan::data(number));
        let mut database = self.database();
        if let Some(before) = database.effects.get(&event.id) {
            assert_eq!(*before, number, "one id is of two events");
            database.duplicates += 1;
            return;
        }
        let (key, nth) = self.plan.events[number as usize];
        let of_key = &mut database.of_key[key as usize];
        assert_eq!(
            *of_key, nth,
            "order-{key} is out of order, or an event has two ids"
        );
        *of_key += 1;
        database.effects.insert(event.id, number);
    }

    /// Works on what a consumer got; false if it crashed, before an effect or after one, and knows nothing any more.
    fn work(&self, events: &[Event], random: &mut Random) -> bool {
        let crashes = !self.calm.load(Ordering::Relaxed) && random.below(CRASH_ONE_IN) == 0;
        let effects = match crashes {
            true => random.below(events.len() as u64 + 1) as usize,
            false => events.len(),
        };
        events[..effects]
            .iter()
            .for_each(|event| self.effect(event));
        if crashes {
            self.database().crashes += 1;
            random.pause(1, 50);
        }
        !crashes
    }

    /// Publishes all events in their order; gives the id of each. What became of a request that was not answered is
    /// learned by sending it again.
    fn publish(&self) -> Vec<u128> {
        let events = self.plan.events.len() as u32;
        let ahead = u64::from(events / 20).max(4 * u64::from(BATCH));
        let mut ids = Vec::with_capacity(events as usize);
        while (ids.len() as u32) < events && !self.stopped() {
            let first = ids.len() as u32;
            if u64::from(first) > self.made() + ahead {
                std::thread::sleep(Duration::from_millis(2));
                continue;
            }
            let numbers = first..(first + BATCH).min(events);
            let commands: Value = numbers.map(|number| self.plan.command(number)).collect();
            let Some(answer) = self.request("/v1/batches", &commands) else {
                self.repeated.fetch_add(1, Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(5));
                continue;
            };
            let answer = answer.ok();
            for result in answer["results"].as_array().expect("results") {
                assert_eq!(result["status"], 201, "{result}");
                ids.push(block(result["result"]["id"].as_str().expect("an id")));
            }
        }
        ids
    }

    /// One consumer over REST.
    fn consume(&self, mut random: Random) {
        let path = format!("/v1/subscriptions/{}", self.subscription);
        while !self.stopped() {
            let wanted = json!({ "max": TAKEN_MAX, "wait_seconds": 1 });
            let Some(answer) = self.request(&format!("{path}/receive"), &wanted) else {
                std::thread::sleep(Duration::from_millis(5));
                continue;
            };
            let answer = answer.ok();
            let delivered = answer["data"].as_array().expect("a list");
            let text = |value: &Value| value.as_str().expect("a text").to_owned();
            let event = |delivery: &Value| Event {
                id: block(delivery["event"]["id"].as_str().expect("an id")),
                key: text(&delivery["event"]["key"]),
                kind: text(&delivery["event"]["type"]),
                data: delivery["event"]["data"].clone(),
            };
            let events: Vec<Event> = delivered.iter().map(event).collect();
            if !events.is_empty() && self.work(&events, &mut random) {
                let receipts: Value = delivered.iter().map(|one| one["receipt"].clone()).collect();
                // If the server is not there to hear it, they come again.
                self.request(&format!("{path}/ack"), &json!({ "receipts": receipts }));
            }
        }
    }
}

/// A subscription in order, whose receivers have little time.
fn subscribe(server: &Server) -> String {
    let terms = json!({
        "events": [TYPE], "order": "object", "visibility_seconds": 1, "in_flight_max": 10_000,
        "attempts_max": 1_000, "backoff": { "delays_seconds": [0] },
    });
    let made = server.post("/v1/subscriptions", "consumers", &terms).ok();
    made["id"].as_str().expect("an id").to_owned()
}

/// Waits until `done`; notes the most memory that the server took meanwhile.
fn until(server: &Server, site: &Site, anonymous: &mut u64, done: impl Fn() -> bool) {
    let mut moved = (site.made(), Instant::now());
    while !done() {
        *anonymous = server.anonymous_bytes().max(*anonymous);
        let made = site.made();
        if made > moved.0 {
            moved = (made, Instant::now());
        }
        assert!(
            moved.1.elapsed() < PATIENCE,
            "nothing happens after {made} effects"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn effects_are_made_once_and_in_order_by_crashing_consumers_of_a_killed_server() {
    let begun = Instant::now();
    let directory = tempfile::tempdir().expect("directory");
    let data = directory.path().join("data");
    let events = asked_for("TRIBUTARY_TEST_EVENTS").unwrap_or(EVENTS);
    let kills = kills_asked_for().unwrap_or(KILLS);
    let start = |listen: &str, grpc: &str| {
        let settings = [("TRIBUTARY_GRPC_LISTEN", grpc)];
        let started = Server::try_start_with(&data, listen, &settings);
        started.unwrap_or_else(|output| panic!("the server did not start: {output}"))
    };
    let mut server = start("127.0.0.1:0", "127.0.0.1:0");
    let plan = Plan::new(events);
    let site = Site {
        address: server.address.clone(),
        grpc: server.grpc.clone().expect("it was asked for"),
        token: server.key.clone(),
        subscription: subscribe(&server),
        database: Mutex::new(Database {
            effects: HashMap::new(),
            of_key: vec![0; plan.keys as usize],
            duplicates: 0,
            crashes: 0,
        }),
        plan,
        calm: AtomicBool::new(false),
        stop: AtomicBool::new(false),
        repeated: AtomicU64::new(0),
    };
    let mut anonymous = 0;
    let mut random = Random::number(1);
    let published = std::thread::scope(|scope| {
        let stop = Stop(&site.stop);
        let publisher = scope.spawn(|| site.publish());
        for number in 2..4 {
            let site = &site;
            scope.spawn(move || site.consume(Random::number(number)));
            scope.spawn(move || site.stream(Random::number(number + 2)));
        }
        for kill in 0..kills {
            let at = (events * kill + random.below(events)) / kills;
            until(&server, &site, &mut anonymous, || site.made() >= at);
            random.pause(1, 50);
            server.kill();
            server = start(&site.address, &site.grpc);
        }
        until(&server, &site, &mut anonymous, || site.made() == events);
        site.calm.store(true, Ordering::Relaxed);
        let path = format!("/v1/subscriptions/{}", site.subscription);
        until(&server, &site, &mut anonymous, || {
            let figures = &server.get(&path)["figures"];
            assert_eq!(
                (&figures["dead_letters"], &figures["expired"]),
                (&json!(0), &json!(0))
            );
            ["length", "lag", "in_flight"]
                .iter()
                .all(|name| figures[name] == 0)
        });
        drop(stop);
        publisher.join().expect("the publisher ends")
    });
    let database = site.database();
    assert_eq!(
        (published.len(), database.effects.len()),
        (events as usize, events as usize)
    );
    for (id, number) in published.iter().zip(0..) {
        assert_eq!(database.effects.get(id), Some(&number), "lost, or invented");
    }
    println!(
        "{events} events, {kills} kills, {} crashes of consumers: {} events came again after their effect, {} publishings \
         were sent again, at most {} MiB RssAnon, {:.1} s",
        database.crashes,
        database.duplicates,
        site.repeated.load(Ordering::Relaxed),
        anonymous >> 20,
        begun.elapsed().as_secs_f64(),
    );
    assert!(
        database.crashes > 0 && database.duplicates > 0,
        "nothing was proved"
    );
    assert!(
        (1..ANONYMOUS_MAX).contains(&anonymous),
        "{anonymous} bytes of memory"
    );
    assert!(server.stop().success());
    // The subscription as well.
    assert_eq!(verify(&data)["records"], json!(events + FIRST_RECORDS + 1));
}
