//! A disk that is really full: payments are refused with a clear error, reads go on, and it goes on by itself.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{PATIENCE, Server, json_for, text};

/// Too small for a second segment of 256 MiB, beside the first one of 16 MiB.
const SMALL: &str = "size=500m";
/// Large enough for it.
const LARGE: &str = "size=1200m";
/// Commands of a batch; with their texts each takes some 11 KB of the journal.
const BATCH: usize = 128;
/// Batches after which a disk of [`SMALL`] must be full: more than 272 MiB.
const BATCHES_MAX: usize = 240;

/// A file system of its own in memory; unmounted when dropped.
struct SmallDisk(TempDir);

impl SmallDisk {
    /// None where we may not mount.
    fn mount() -> Option<Self> {
        Self::mount_of(SMALL)
    }

    /// One of this size; none where we may not mount.
    fn mount_of(size: &str) -> Option<Self> {
        let folder = TempDir::new().expect("a folder");
        let mounted = mount(&["-t", "tmpfs", "-o", size, "tmpfs"], folder.path());
        mounted.then_some(Self(folder))
    }

    fn grow(&self) {
        let remount = format!("remount,{LARGE}");
        assert!(mount(&["-o", &remount], self.0.path()), "it grows");
    }

    fn data(&self) -> PathBuf {
        self.0.path().join("data")
    }
}

fn mount(arguments: &[&str], folder: &Path) -> bool {
    let output = Command::new("mount").args(arguments).arg(folder).output();
    output.is_ok_and(|output| output.status.success())
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("-l").arg(self.0.path()).status();
        drop(unmounted);
    }
}

struct Shop<'a> {
    server: &'a Server,
    bank: String,
    wallet: String,
}

impl Shop<'_> {
    fn open(server: &Server) -> Shop<'_> {
        let open = |key: &str, body: Value| -> String {
            let account = server.post("/v1/accounts", key, &body).ok();
            account["id"].as_str().expect("an id").to_owned()
        };
        let bank = json!({"owner": "platform", "kind": "external", "currency": "EUR", "overdraft": "unlimited"});
        let wallet = json!({"owner": "ann", "kind": "wallet", "currency": "EUR"});
        Shop {
            bank: open("bank", bank),
            wallet: open("wallet", wallet),
            server,
        }
    }

    /// A batch of top-ups of 1 with long texts. Its status, and what was refused with.
    fn batch(&self, number: usize) -> (u16, Value) {
        let long: serde_json::Map<String, Value> = (0..20)
            .map(|entry| (format!("note-{entry}"), json!("x".repeat(500))))
            .collect();
        let commands: Vec<Value> = (0..BATCH)
            .map(|index| {
                json!({"idempotency_key": format!("{number}-{index}"), "top_up": {
                    "amount": 1, "currency": "EUR", "source": self.bank, "destination": self.wallet,
                    "description": "y".repeat(500), "metadata": long,
                }})
            })
            .collect();
        let answer = self
            .server
            .request("POST", "/v1/batches", None, Some(&json!(commands)))
            .expect("answers");
        (answer.status, answer.json())
    }

    fn posted(&self) -> u64 {
        let account = self.server.get(&format!("/v1/accounts/{}", self.wallet));
        account["posted"].as_u64().expect("a balance")
    }
}

#[test]
fn a_full_disk_refuses_payments_and_goes_on_by_itself() {
    let Some(disk) = SmallDisk::mount() else {
        eprintln!("SKIPPED: a small disk can't be mounted here (it takes root)");
        return;
    };
    let mut server = Server::start(&disk.data());
    let shop = Shop::open(&server);
    let mut done = 0;
    let refused = loop {
        match shop.batch(done) {
            (200, _) => done += 1,
            refused => break refused,
        }
        assert!(done < BATCHES_MAX, "the disk fills up");
    };
    assert_eq!(
        (refused.0, &refused.1["error"]["code"]),
        (503, &json!("storage_full"))
    );
    let (acknowledged, shop_bank) = ((done * BATCH) as u64, shop.bank.clone());
    assert!(acknowledged > 0, "something was done before");
    assert_eq!(
        shop.posted(),
        acknowledged,
        "reads go on and show what was acknowledged"
    );
    let ready = server
        .request("GET", "/health/ready", None, None)
        .expect("answers");
    assert_eq!(ready.status, 503);
    let first = shop.batch(0);
    assert_eq!(
        first.0, 200,
        "a repetition gets its first answer: {}",
        first.1
    );
    let wallet = shop.wallet.clone();

    // A restart does not forget that the disk is full.
    server.kill();
    let mut server = Server::start(&disk.data());
    let ready = server.request("GET", "/health/ready", None, None);
    let ready = ready.expect("answers");
    assert_eq!(
        (ready.status, &ready.json()["error"]["code"]),
        (503, &json!("storage_full"))
    );
    let shop = Shop {
        bank: shop_bank,
        wallet,
        server: &server,
    };
    assert_eq!(shop.batch(0).0, 200, "a repetition gets its first answer");
    assert_eq!(shop.batch(done).0, 503);
    assert_eq!(shop.posted(), acknowledged);

    disk.grow();
    let begun = Instant::now();
    while shop.batch(done).0 != 200 {
        assert!(begun.elapsed() < PATIENCE, "it goes on when space returns");
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(shop.posted(), acknowledged + BATCH as u64);
    let wallet = shop.wallet.clone();

    server.kill();
    let report = json_for(0, &["verify", "--json", "--data", text(&disk.data())]);
    assert!(report.is_object());
    let server = Server::start(&disk.data());
    let account = server.get(&format!("/v1/accounts/{wallet}"));
    assert_eq!(account["posted"], acknowledged + BATCH as u64);
}

#[test]
fn a_first_start_with_too_little_space_says_how_much_is_needed() {
    let Some(disk) = SmallDisk::mount_of("size=304m") else {
        eprintln!("SKIPPED: a small disk can't be mounted here (it takes root)");
        return;
    };
    let said = Server::try_start(&disk.data(), "127.0.0.1:0").err();
    let said = said.expect("it does not start");
    for part in ["304 MiB free", "400 MiB", "--data"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(!disk.data().join("meta").exists(), "no journal was made");
}

/// The disk of the deliveries alone is full, and the process is killed: what was answered as done is so, and nothing else.
#[test]
fn a_nack_on_a_full_disk_is_not_answered_as_done_and_a_killed_server_knows_no_dead_letter() {
    let Some(disk) = SmallDisk::mount_of("size=8m") else {
        eprintln!("SKIPPED: a small disk can't be mounted here (it takes root)");
        return;
    };
    let folder = TempDir::new().expect("a folder");
    let data = folder.path().join("data");
    let server = Server::start(&data);
    let body = json!({"events": ["app.#"], "attempts_max": 1});
    let made = server.post("/v1/subscriptions", "s", &body).ok();
    let path = format!("/v1/subscriptions/{}", made["id"].as_str().expect("an id"));
    assert!(server.stop().success());
    // The deliveries go to a disk of their own.
    let (kept, moved) = (data.join("delivery"), disk.0.path().join("delivery"));
    let copied = Command::new("cp").arg("-a").args([&kept, &moved]).status();
    assert!(copied.expect("cp runs").success());
    std::fs::remove_dir_all(&kept).expect("it was copied");
    std::os::unix::fs::symlink(&moved, &kept).expect("a link");

    let mut server = Server::start(&data);
    let event = json!({"type": "app.order", "data": {}});
    server.post("/v1/events", "e", &event).ok();
    let take = |server: &Server| {
        let body = json!({"max": 1, "wait_seconds": 20});
        let taken = server.post(&format!("{path}/receive"), "x", &body).ok();
        taken["data"][0].clone()
    };
    let dead = |server: &Server| {
        let page = server.get(&format!("{path}/dead_letters"));
        page["data"].as_array().expect("a list").len()
    };
    let delivery = take(&server);
    let ballast = disk.0.path().join("ballast");
    let filled = Command::new("dd")
        .args(["if=/dev/zero", "bs=4096"])
        .arg(format!("of={}", text(&ballast)))
        .output();
    assert!(!filled.expect("dd runs").status.success(), "it is full");
    let nack = json!({"receipts": [delivery["receipt"]], "error": "no"});
    let answer = server.post(&format!("{path}/nack"), "x", &nack);
    // There may be room left in the file for this one: then it is kept.
    let kept = answer.status == 200;
    if !kept {
        assert_eq!(answer.json()["error"]["code"], "messaging_unavailable");
    }
    assert_eq!(dead(&server), usize::from(kept));
    server.kill();
    std::fs::remove_file(&ballast).expect("it is there");
    let server = Server::start(&data);
    assert_eq!(dead(&server), usize::from(kept));
    if !kept {
        assert_eq!(take(&server)["event"]["id"], delivery["event"]["id"]);
    }
}
