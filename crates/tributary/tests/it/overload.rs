//! More payments to be queued than may be: the queue holds its bound, callers are told when to come again, and each payment that was
//! accepted comes to one end, which is told. Urgent payers overtake, and who is too late hears of it. A queue that was paused is
//! paused after `kill -9` too.
//!
//! `scripts/crash-test` runs the long form.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::crash::{Random, kills, verify};
use crate::http;
use crate::support::{PATIENCE, Server};

const QUEUE: &str = "/v1/queues/payment_order";
const QUEUE_LENGTH_MAX: u64 = 300;
const WRITERS: usize = 4;
/// What each writer asks for at once: together more than the queue takes.
const ORDERS_AT_ONCE: usize = 100;
/// Longest time after which an order that can be too late is too late, in milliseconds.
const EXPIRES_AFTER_MS_MAX: u64 = 800;
/// The types of events that end a queued payment here.
const ENDS: [&str; 3] = ["payment.captured", "payment.failed", "payment.voided"];

/// What all who call need to know.
struct Scene {
    address: String,
    token: String,
    shop: String,
    /// One for each writer, each without limit.
    payers: Vec<String>,
    /// Has nothing.
    poor: String,
    /// Pays what is urgent.
    urgent: String,
    subscription: String,
}

/// What callers were told.
#[derive(Default)]
struct Told {
    accepted: Mutex<BTreeSet<String>>,
    /// By payment: the types of events that said how it ended.
    ends: Mutex<BTreeMap<String, BTreeSet<String>>>,
    refused: AtomicU64,
    writers_stop: AtomicBool,
    receiver_stops: AtomicBool,
}

/// What the journal says of a payment.
#[derive(Default)]
struct Story {
    queued_at: usize,
    ended_at: Option<usize>,
    kind: String,
    /// Why it failed; empty if it did not.
    code: String,
    amount: u64,
}

fn start(data: &std::path::Path, address: &str) -> Server {
    let bound = QUEUE_LENGTH_MAX.to_string();
    let settings = [("TRIBUTARY_LIMITS_QUEUE_LENGTH_MAX", bound.as_str())];
    let started = Server::try_start_with(data, address, &settings);
    started.unwrap_or_else(|output| panic!("the server did not start: {output}"))
}

fn scene(server: &Server) -> Scene {
    let id = |answer: http::Answer| answer.ok()["id"].as_str().expect("an id").to_owned();
    let open = |name: &str, kind: &str, overdraft: Value| {
        let body = json!({"owner": "platform", "currency": "EUR", "kind": kind, "external_id": name,
            "overdraft": overdraft});
        id(server.post("/v1/accounts", name, &body))
    };
    let rich = |name: &str| open(name, "external", json!("unlimited"));
    let body = json!({"events": ENDS, "in_flight_max": 10_000});
    Scene {
        address: server.address.clone(),
        token: server.key.clone(),
        shop: open("shop", "merchant", json!(0)),
        payers: (0..WRITERS).map(|n| rich(&format!("payer-{n}"))).collect(),
        poor: open("poor", "wallet", json!(0)),
        urgent: rich("urgent"),
        subscription: id(server.post("/v1/subscriptions", "ends", &body)),
    }
}

impl Scene {
    fn request(
        &self,
        path: &str,
        key: Option<&str>,
        body: &Value,
    ) -> std::io::Result<http::Answer> {
        http::request(&self.address, "POST", path, &self.token, key, Some(body))
    }
}

/// So many milliseconds from now, by RFC 3339.
fn in_ms(ms: u64) -> String {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970");
    let at = since + Duration::from_millis(ms);
    let (days, rest) = (at.as_secs() / 86_400, at.as_secs() % 86_400);
    // Years that begin in March end with the leap day; day 719468 is the first of March of the year 0.
    let (era, day) = ((days + 719_468) / 146_097, (days + 719_468) % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let (day, month) = (day - (153 * month + 2) / 5 + 1, (month + 2) % 12 + 1);
    let year = 400 * era + year + u64::from(month <= 2);
    let (hour, minute, second) = (rest / 3_600, rest / 60 % 60, rest % 60);
    let ms = at.subsec_millis();
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
}

/// One order of a writer: some come to be too late, and some can't be paid.
fn order(scene: &Scene, writer: usize, count: u64) -> Value {
    let source = match count % 10 {
        7 => &scene.poor,
        _ => &scene.payers[writer],
    };
    let queue = match count % 4 {
        0 => json!({"expires_at": in_ms(300 + count % (EXPIRES_AFTER_MS_MAX - 300))}),
        _ => json!({}),
    };
    json!({"idempotency_key": format!("w{writer}-{count}"),
        "transfer": {"amount": 1 + count % 97, "currency": "EUR", "source": source,
            "destination": scene.shop, "queue": queue}})
}

/// Asks for order after order. What was refused is asked for again under its key, and so is all of which it does not know what
/// became of it.
fn write_until_stopped(scene: &Scene, writer: usize, told: &Told) {
    let mut orders: Vec<Value> = Vec::new();
    let mut made = 0;
    loop {
        let stops = told.writers_stop.load(Ordering::Relaxed);
        while !stops && orders.len() < ORDERS_AT_ONCE {
            orders.push(order(scene, writer, made));
            made += 1;
        }
        if orders.is_empty() {
            return;
        }
        if let Ok(answer) = scene.request("/v1/batches", None, &json!(orders)) {
            if answer.status == 200 {
                let answer = answer.json();
                let results = answer["results"].as_array().expect("results");
                assert_eq!(results.len(), orders.len());
                let mut results = results.iter();
                orders.retain(|_| {
                    let refused = settle(results.next().expect("one for each"), told);
                    refused && !stops
                });
            } else {
                assert!([429, 503].contains(&answer.status), "{}", answer.json());
            }
        }
        std::thread::sleep(Duration::from_millis(20 + 10 * writer as u64));
    }
}

/// Takes note of what became of an order; whether it is to be asked for again.
fn settle(result: &Value, told: &Told) -> bool {
    match result["status"].as_u64() {
        Some(202) => {
            let id = result["result"]["id"].as_str().expect("an id").to_owned();
            told.accepted.lock().expect("no holder panics").insert(id);
        }
        // It came again too late.
        Some(402) => assert_eq!(result["error"]["code"], "queue_expired", "{result}"),
        Some(429) => {
            assert_eq!(result["error"]["code"], "queue_full", "{result}");
            told.refused.fetch_add(1, Ordering::Relaxed);
            return true;
        }
        _ => panic!("{result}"),
    }
    false
}

/// Receives how payments ended, over all deaths of the server.
fn receive_until_stopped(scene: &Scene, told: &Told) {
    let path = format!("/v1/subscriptions/{}", scene.subscription);
    while !told.receiver_stops.load(Ordering::Relaxed) {
        let wanted = json!({"max": 1_000, "wait_seconds": 1});
        let answer = scene.request(&format!("{path}/receive"), None, &wanted);
        let Some(answer) = answer.ok().filter(|answer| answer.status == 200) else {
            std::thread::sleep(Duration::from_millis(20));
            continue;
        };
        let answer = answer.json();
        let mut receipts = Vec::new();
        for delivery in answer["data"].as_array().expect("deliveries") {
            let event = &delivery["event"];
            let id = event["data"]["object"]["id"].as_str().expect("an id");
            let kind = event["type"].as_str().expect("a type").to_owned();
            let mut ends = told.ends.lock().expect("no holder panics");
            ends.entry(id.to_owned()).or_default().insert(kind);
            receipts.push(delivery["receipt"].clone());
        }
        if !receipts.is_empty() {
            // What this does not reach comes again.
            let _lost = scene.request(&format!("{path}/ack"), None, &json!({"receipts": receipts}));
        }
    }
}

/// What `of` says until it is `wanted`; the queue never holds more than it may.
fn until(server: &Server, of: &str, wanted: u64) {
    let begun = Instant::now();
    loop {
        let queue = server.get(QUEUE);
        assert!(
            queue["length"].as_u64() <= Some(QUEUE_LENGTH_MAX),
            "{queue}"
        );
        if queue[of] == wanted {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "{of} is not {wanted}: {queue}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Asks for an urgent payment until there is room for it, which is made by taking others back.
fn urgent(server: &Server, scene: &Scene, key: &str) -> String {
    let body = json!({"amount": 5, "currency": "EUR", "source": scene.urgent, "destination": scene.shop,
        "queue": {"priority": 9}});
    let begun = Instant::now();
    loop {
        let answer = server.post("/v1/transfers", key, &body);
        if answer.status == 202 {
            return answer.json()["id"].as_str().expect("an id").to_owned();
        }
        assert_eq!(answer.status, 429, "{}", answer.json());
        assert!(answer.head.contains("retry-after: 1"), "{}", answer.head);
        assert!(begun.elapsed() < PATIENCE, "there was never room");
        let waiting = server.get("/v1/payments?status=queued&limit=1");
        if let Some(id) = waiting["data"][0]["id"].as_str() {
            let void = server.post(&format!("/v1/payments/{id}/void"), id, &json!({}));
            // It may have been too late in between.
            assert!([200, 402].contains(&void.status), "{}", void.json());
        }
    }
}

/// What the journal says of every payment that was queued, and the greatest number of them that were there at once.
fn stories(server: &Server) -> (BTreeMap<String, Story>, u64) {
    let mut told: Vec<(String, String, String, u64)> = Vec::new();
    let mut after = String::new();
    loop {
        let page = server.get(&format!("/v1/events?limit=100{after}"));
        for event in page["data"].as_array().expect("a list") {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let data = &event["data"];
            let amount = data["object"]["amount"].as_u64().unwrap_or_default();
            let code = text(&data["failure"]["code"]);
            told.push((
                text(&event["type"]),
                text(&data["object"]["id"]),
                code,
                amount,
            ));
        }
        if page["has_more"] != true {
            break;
        }
        let cursor = page["next_cursor"].as_str().expect("a cursor");
        after = format!("&starting_after={cursor}");
    }
    let mut stories: BTreeMap<String, Story> = BTreeMap::new();
    let (mut there, mut most) = (0_u64, 0);
    for (at, (kind, id, code, amount)) in told.into_iter().rev().enumerate() {
        if kind == "payment.queued" {
            there += 1;
            most = most.max(there);
            let (queued_at, before) = (at, stories.contains_key(&id));
            assert!(!before, "{id} was accepted twice");
            let story = Story {
                queued_at,
                amount,
                ..Story::default()
            };
            stories.insert(id, story);
        } else if ENDS.contains(&kind.as_str())
            && let Some(story) = stories.get_mut(&id)
        {
            there -= 1;
            assert_eq!(story.ended_at.replace(at), None, "{id} ended twice");
            (story.kind, story.code) = (kind, code);
        }
    }
    (stories, most)
}

#[test]
fn queued_payments_end_once_each_under_overload_pauses_and_kills() {
    let directory = tempfile::tempdir().expect("directory");
    let data = directory.path().join("data");
    let mut random = Random::new();
    let mut server = start(&data, "127.0.0.1:0");
    let scene = scene(&server);
    let told = Told::default();
    let mut urgent_ones = BTreeSet::new();
    std::thread::scope(|scope| {
        let receiver = scope.spawn(|| receive_until_stopped(&scene, &told));
        let (scene, told) = (&scene, &told);
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| scope.spawn(move || write_until_stopped(scene, writer, told)))
            .collect();
        for round in 0..kills() {
            random.pause(50, 300);
            if round % 2 == 0 {
                server.kill();
                server = start(&data, &scene.address);
                random.pause(50, 300);
            }
            let set = |server: &Server, to: &str| {
                server
                    .post(
                        &format!("{QUEUE}/{to}"),
                        &format!("{to}-{round}"),
                        &json!({}),
                    )
                    .ok()
            };
            set(&server, "pause");
            until(&server, "length", QUEUE_LENGTH_MAX);
            if round % 2 == 1 {
                server.kill();
                server = start(&data, &scene.address);
                assert_eq!(server.get(QUEUE)["status"], "paused");
            }
            urgent_ones.insert(urgent(&server, scene, &format!("urgent-{round}")));
            if round == 0 {
                // Else a fast server runs all of them in time.
                std::thread::sleep(Duration::from_millis(EXPIRES_AFTER_MS_MAX));
            }
            set(&server, "resume");
        }
        told.writers_stop.store(true, Ordering::Relaxed);
        for writer in writers {
            writer.join().expect("a writer ends");
        }
        server
            .post(&format!("{QUEUE}/drain"), "drain", &json!({}))
            .ok();
        let late = json!({"amount": 1, "currency": "EUR", "source": scene.urgent,
            "destination": scene.shop, "queue": {}});
        let late = server.post("/v1/transfers", "late", &late);
        assert_eq!(late.status, 503);
        assert_eq!(late.json()["error"]["code"], "queue_draining");
        assert!(late.head.contains("retry-after: 5"), "{}", late.head);
        until(&server, "length", 0);
        let accepted = told.accepted.lock().expect("no holder panics").clone();
        let begun = Instant::now();
        let untold = || {
            let ends = told.ends.lock().expect("no holder panics");
            let all = accepted.iter().chain(&urgent_ones);
            all.filter(|id| !ends.contains_key(*id)).count()
        };
        while untold() > 0 {
            assert!(
                begun.elapsed() < PATIENCE,
                "{} were never told of",
                untold()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        told.receiver_stops.store(true, Ordering::Relaxed);
        receiver.join().expect("the receiver ends");
    });

    let (stories, most) = stories(&server);
    assert!(most <= QUEUE_LENGTH_MAX, "{most} were in the queue");
    let mut accepted = told.accepted.into_inner().expect("no holder panics");
    accepted.extend(urgent_ones.iter().cloned());
    assert!(
        accepted.iter().eq(stories.keys()),
        "what was accepted is what is there"
    );
    let ends = told.ends.into_inner().expect("no holder panics");
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    let mut sum = 0;
    for (id, story) in &stories {
        assert!(story.ended_at.is_some(), "{id} never ended");
        let told = ends[id].iter().collect::<Vec<_>>();
        assert_eq!(told, [&story.kind], "{id} was told to have ended otherwise");
        let how = match story.code.as_str() {
            "" => &story.kind,
            code => code,
        };
        *counts.entry(how).or_default() += 1;
        if story.kind == "payment.captured" {
            sum += story.amount;
        }
    }
    let shop = server.get(&format!("/v1/accounts/{}", scene.shop));
    assert_eq!(shop["posted"], json!(sum));
    let mut overtaken = 0;
    for id in &urgent_ones {
        let urgent = &stories[id];
        // They waited with it, were not too late and not taken back.
        let waited = stories.values().filter(|other| {
            other.queued_at < urgent.queued_at
                && other.ended_at > Some(urgent.queued_at)
                && other.code != "queue_expired"
                && other.kind != "payment.voided"
        });
        for other in waited {
            assert!(
                other.ended_at > urgent.ended_at,
                "{id} was not the first to run"
            );
            overtaken += 1;
        }
    }
    assert!(overtaken > 0, "there was nobody to overtake");
    let refused = told.refused.into_inner();
    assert!(refused > 0, "nobody was refused");
    for how in ["payment.captured", "queue_expired", "insufficient_funds"] {
        assert!(counts.contains_key(how), "none was {how}: {counts:?}");
    }
    assert!(server.stop().success());
    let records = verify(&data)["records"].clone();
    println!(
        "accepted {}, ended as {counts:?}; refused {refused}; at most {most} at once; {} urgent overtook {overtaken}; {} kills; {records} records",
        stories.len(),
        urgent_ones.len(),
        kills()
    );
}
