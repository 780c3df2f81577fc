//! `kill -9` at random moments: every acknowledged write is there afterwards, and none is there twice.
//!
//! `scripts/crash-test` runs the long form.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::bank::{self, check_balances};
use crate::http;
use crate::support::{FIRST_RECORDS, PATIENCE, Server, all_pages, json_for, text, tributary, wait};

/// How often a test kills, unless `TRIBUTARY_TEST_KILLS` says more.
const KILLS: u64 = 5;
/// Rows of the short form.
const ROWS: usize = 8_000;
const WRITERS: u64 = 4;

pub(crate) fn kills_asked_for() -> Option<u64> {
    asked_for("TRIBUTARY_TEST_KILLS")
}

pub(crate) fn kills() -> u64 {
    kills_asked_for().unwrap_or(KILLS)
}

/// What is imported under fire: a part of the bank's file, in the long form all of it.
pub(crate) fn file(folder: &Path) -> Option<PathBuf> {
    let csv = bank::csv()?;
    Some(if kills_asked_for().is_some() {
        csv
    } else {
        bank::first_rows(&csv, folder, ROWS)
    })
}

fn rows(csv: &Path) -> i64 {
    bank::expected(csv)
        .values()
        .map(|expected| expected.rows)
        .sum()
}

/// A number from the environment, for long forms.
pub(crate) fn asked_for(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// A seeded xorshift64*; `TRIBUTARY_TEST_SEED` gives another seed.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new() -> Self {
        Self(asked_for("TRIBUTARY_TEST_SEED").unwrap_or(0x7269_6275_7461_7279))
    }

    /// Another one for each of several.
    pub(crate) fn number(number: u64) -> Self {
        let Self(seed) = Self::new();
        Self((seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15)).max(1))
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % bound
    }

    pub(crate) fn pause(&mut self, from_ms: u64, to_ms: u64) {
        std::thread::sleep(Duration::from_millis(from_ms + self.below(to_ms - from_ms)));
    }
}

pub(crate) fn verify(data: &Path) -> Value {
    let verified = json_for(0, &["verify", "--data", text(data), "--json"]);
    assert_eq!(verified["ok"], true);
    verified
}

#[test]
fn an_import_killed_at_random_moments_is_completed_to_the_same_balances() {
    let directory = tempfile::tempdir().expect("directory");
    let Some(csv) = file(directory.path()) else {
        return;
    };
    let data = directory.path().join("data");
    let mut random = Random::new();
    let mut records = 0;
    for kill in 0..kills() {
        let mut importing = tributary()
            .args([
                "import",
                text(&csv),
                "--map",
                text(&bank::map()),
                "--data",
                text(&data),
                "--json",
            ])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the binary runs");
        // Later lives are longer: first they find again what the ones before them wrote.
        random.pause(30, 1_200 + 100 * kill);
        importing.kill().expect("kills");
        importing.wait().expect("ends");
        if data.join("meta").exists() && kill % 5 == 4 {
            let now = verify(&data)["records"].as_u64().expect("a number");
            assert!(
                now >= records,
                "records were lost: {records} before, {now} now"
            );
            records = now;
        }
    }
    let last = bank::import(&csv, &data, 0);
    let (made, there) = (
        last["payments_made"].as_i64(),
        last["already_there"].as_i64(),
    );
    assert_eq!(
        made.zip(there).map(|(made, there)| made + there),
        Some(rows(&csv))
    );
    verify(&data);
    let server = Server::start(&data);
    check_balances(&server, &csv);
    let payments = |query: &str| all_pages(&server, &format!("/v1/payments?{query}")).len();
    for (account, expected) in bank::expected(&csv).iter().take(5) {
        assert_eq!(
            payments(&format!("owner=customer-{account}")) as i64,
            expected.rows
        );
    }
}

#[test]
fn an_import_goes_on_by_itself_while_its_server_is_killed_and_started_again() {
    let directory = tempfile::tempdir().expect("directory");
    let Some(csv) = file(directory.path()) else {
        return;
    };
    let data = directory.path().join("data");
    let mut random = Random::new();
    let mut server = Server::start(&data);
    let address = server.address.clone();
    let mut importing = import_through(&server, &csv);
    for _ in 0..kills() {
        // Each life of the server is long enough for something to happen in it.
        if !comes_further(&server, &mut importing) {
            break;
        }
        random.pause(1, 700);
        server.kill();
        server = Server::start_at(&data, &address);
    }
    assert!(
        wait(&mut importing).success(),
        "the import must come to its end"
    );
    check_balances(&server, &csv);
    assert!(server.stop().success());
    verify(&data);
}

/// Waits until the server has more records than now. False: the import has come to its end.
fn comes_further(server: &Server, importing: &mut Child) -> bool {
    let position = || server.get("/v1/journal/head")["position"].as_u64();
    let (before, started) = (position(), Instant::now());
    while started.elapsed() < PATIENCE {
        if importing.try_wait().expect("waits").is_some() {
            return false;
        }
        if position() > before {
            return true;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    panic!("the import does not come further");
}

fn import_through(server: &Server, csv: &Path) -> Child {
    tributary()
        .args([
            "import",
            text(csv),
            "--map",
            text(&bank::map()),
            "--server",
            &server.url(),
        ])
        .args(["--api-key-file", server.key_file()])
        .stdout(Stdio::null())
        .spawn()
        .expect("the binary runs")
}

/// What one writer was told.
#[derive(Default)]
struct Told {
    /// Key → (payment, amount) that was acknowledged.
    acknowledged: BTreeMap<String, (String, u64)>,
}

#[test]
fn concurrent_writes_survive_kills_and_none_is_lost_or_doubled() {
    let directory = tempfile::tempdir().expect("directory");
    let data = directory.path().join("data");
    let mut random = Random::new();
    let mut server = Server::start(&data);
    let (address, token) = (server.address.clone(), server.key.clone());
    let open = |server: &Server, name: &str| {
        let body = json!({ "owner": "platform", "currency": "EUR", "kind": "external",
            "external_id": name, "overdraft": "unlimited" });
        server.post("/v1/accounts", name, &body).ok()["id"]
            .as_str()
            .expect("an id")
            .to_owned()
    };
    let source = open(&server, "source");
    let wallets: Vec<String> = (0..WRITERS)
        .map(|writer| open(&server, &format!("wallet-{writer}")))
        .collect();

    let (stop, written) = (AtomicBool::new(false), AtomicU64::new(0));
    let told: Vec<Told> = std::thread::scope(|scope| {
        let writers: Vec<_> = wallets
            .iter()
            .enumerate()
            .map(|(writer, wallet)| {
                let (address, token, source, stop, written) =
                    (&address, &token, &source, &stop, &written);
                scope.spawn(move || {
                    write_until(writer, address, token, source, wallet, stop, written)
                })
            })
            .collect();
        for _ in 0..kills() {
            random.pause(50, 600);
            server.kill();
            server = Server::start_at(&data, &address);
        }
        // The last life of the server is a calm one, in which every writer finishes what it began.
        let goal = written.load(Ordering::Relaxed) + 20;
        while written.load(Ordering::Relaxed) < goal {
            std::thread::sleep(Duration::from_millis(5));
        }
        stop.store(true, Ordering::Relaxed);
        writers
            .into_iter()
            .map(|writer| writer.join().expect("a writer ends"))
            .collect()
    });

    for (told, wallet) in told.iter().zip(&wallets) {
        let payments = all_pages(&server, &format!("/v1/payments?account={wallet}"));
        let there: BTreeSet<&str> = payments
            .iter()
            .map(|payment| payment["id"].as_str().expect("an id"))
            .collect();
        let acknowledged: BTreeSet<&str> = told
            .acknowledged
            .values()
            .map(|(id, _)| id.as_str())
            .collect();
        assert_eq!(
            acknowledged.len(),
            told.acknowledged.len(),
            "two keys got the same payment"
        );
        assert_eq!(there.len(), payments.len());
        assert_eq!(
            there, acknowledged,
            "what is there is what was acknowledged"
        );
        let sum: u64 = told.acknowledged.values().map(|(_, amount)| amount).sum();
        assert_eq!(
            server.get(&format!("/v1/accounts/{wallet}"))["posted"],
            json!(sum)
        );
    }
    let count: usize = told.iter().map(|told| told.acknowledged.len()).sum();
    assert!(server.stop().success());
    // The payments, the accounts, the bank, and nothing else.
    let expected = count as u64 + WRITERS + 1 + FIRST_RECORDS;
    assert_eq!(verify(&data)["records"], json!(expected));
}

/// Writes payment after payment. Whenever it does not know what became of one, it sends the same again.
fn write_until(
    writer: usize,
    address: &str,
    token: &str,
    source: &str,
    wallet: &str,
    stop: &AtomicBool,
    written: &AtomicU64,
) -> Told {
    let mut told = Told::default();
    for count in 0_u64.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let (key, amount) = (format!("w{writer}-{count}"), 1 + count % 97);
        let body =
            json!({ "amount": amount, "currency": "EUR", "source": source, "destination": wallet });
        let payment = loop {
            match http::request(
                address,
                "POST",
                "/v1/transfers",
                token,
                Some(&key),
                Some(&body),
            ) {
                Ok(answer) if answer.status == 201 => break answer.json(),
                Ok(answer) => assert!([429, 503].contains(&answer.status), "{}", answer.json()),
                Err(_) => {}
            }
            std::thread::sleep(Duration::from_millis(2));
        };
        assert_eq!(payment["amount"], json!(amount));
        told.acknowledged.insert(
            key,
            (payment["id"].as_str().expect("an id").to_owned(), amount),
        );
        written.fetch_add(1, Ordering::Relaxed);
    }
    told
}
