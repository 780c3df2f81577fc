//! Backups of a running server, and what is made of them.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Server, all_pages, json_for, run, run_for, signal, text, tributary, wait};

struct Shop {
    server: Server,
    accounts: Vec<Value>,
    count: u64,
}

impl Shop {
    fn open(data: &Path) -> Self {
        let server = Server::start(data);
        let account = |name: &str| {
            let body = json!({ "owner": "platform", "currency": "EUR", "kind": "external",
                "external_id": name, "overdraft": "unlimited" });
            server.post("/v1/accounts", name, &body).ok()["id"].clone()
        };
        let accounts = vec![account("a"), account("b")];
        Self {
            server,
            accounts,
            count: 0,
        }
    }

    fn pay(&mut self, times: u64) -> Value {
        let mut last = Value::Null;
        for _ in 0..times {
            self.count += 1;
            let body = json!({ "amount": self.count, "currency": "EUR",
                "source": self.accounts[0], "destination": self.accounts[1] });
            last = self
                .server
                .post("/v1/transfers", &format!("k{}", self.count), &body)
                .ok();
        }
        last
    }

    fn backup(&self, dir: &Path) -> Value {
        let server = self.server.url();
        let arguments = [
            "backup",
            text(dir),
            "--server",
            &server,
            "--api-key-file",
            self.server.key_file(),
            "--json",
        ];
        let out = run_for(0, &arguments);
        serde_json::from_str(out.lines().last().expect("a line")).expect("JSON")
    }
}

#[test]
fn a_backup_is_continued_verified_and_restored_into_a_new_epoch() {
    let directory = tempfile::tempdir().expect("directory");
    let (data, dir, new) = paths(directory.path());
    let mut shop = Shop::open(&data);
    shop.pay(10);
    assert_eq!(shop.backup(&dir)["position"], 14);
    let last = shop.pay(5);
    assert_eq!(shop.backup(&dir)["position"], 19);
    assert_eq!(
        shop.backup(&dir)["position"],
        19,
        "nothing new, nothing done"
    );
    let head = shop.server.get("/v1/journal/head");
    assert_eq!(
        json_for(0, &["verify", "--data", text(&dir), "--json"])["head_hash"],
        head["hash"]
    );

    // The server goes on and is then lost; what was handed out after the backup is gone.
    let lost = shop.pay(3)["id"].as_str().expect("an id").to_owned();
    let key = shop.server.key.clone();
    shop.server.kill();
    let restored = json_for(0, &["restore", text(&dir), "--data", text(&new), "--json"]);
    assert_eq!(restored["position"], json!(19));
    assert_eq!(restored["hash"], head["hash"]);
    let epoch = restored["epoch"].as_u64().expect("a number");
    // Whoever restores it once more gives out other ids.
    std::thread::sleep(Duration::from_millis(1_100));
    let once_more = directory.path().join("once-more");
    let restored = json_for(
        0,
        &["restore", text(&dir), "--data", text(&once_more), "--json"],
    );
    assert!(restored["epoch"].as_u64().expect("a number") > epoch && epoch > 1);

    // The directory is looked at first: an address in use, here that of another server, hides no fault of the directory.
    let busy = Server::start(&directory.path().join("busy"));
    let served = run(&["serve", "--data", text(&dir), "--listen", &busy.address]);
    assert_eq!(served.status.code(), Some(2), "nobody serves from a backup");
    assert!(String::from_utf8_lossy(&served.stderr).contains("tributary restore"));

    std::fs::copy(
        data.with_extension("platform-key"),
        new.with_extension("platform-key"),
    )
    .expect("copies");
    let server = Server::start(&new);
    assert_eq!(
        server.key, key,
        "the platform key of the lost server opens the new one"
    );
    let id = last["id"].as_str().expect("an id");
    assert_eq!(
        server.get(&format!("/v1/payments/{id}")),
        last,
        "old ids name what they named"
    );
    assert_eq!(
        server
            .request("GET", &format!("/v1/payments/{lost}"), None, None)
            .expect("answers")
            .status,
        404
    );
    let balance: u64 = (1..=15).sum();
    let account = shop.accounts[1].as_str().expect("an id");
    assert_eq!(
        server.get(&format!("/v1/accounts/{account}"))["posted"],
        json!(balance)
    );
    // The same positions are used again, but no id is.
    let mut again = Shop {
        server,
        accounts: shop.accounts.clone(),
        count: 15,
    };
    again.pay(3);
    let ids: Vec<Value> = all_pages(&again.server, "/v1/payments")
        .iter()
        .map(|payment| payment["id"].clone())
        .collect();
    assert_eq!(ids.len(), 18);
    assert!(!ids.contains(&json!(lost)), "an id was issued twice");
    // Its backup can be continued; the old server, were it to come back, can not be mixed into it.
    assert_eq!(again.backup(&dir)["position"], 22);
    let verified = json_for(0, &["verify", "--data", text(&dir), "--json"]);
    assert_eq!(
        verified["head_hash"],
        again.server.get("/v1/journal/head")["hash"]
    );
    let old = Server::start(&data);
    assert_eq!(
        old.get("/v1/journal/head")["position"],
        22,
        "as long, but another history"
    );
    let said = run(&[
        "backup",
        text(&dir),
        "--server",
        &old.url(),
        "--api-key-file",
        old.key_file(),
    ]);
    assert_eq!(said.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&said.stderr).contains("another history"));
    assert!(again.server.stop().success());
    assert_eq!(
        json_for(0, &["verify", "--data", text(&new), "--json"])["records"],
        22
    );
}

#[test]
fn a_followed_server_is_shipped_frame_by_frame_also_over_its_restart() {
    let directory = tempfile::tempdir().expect("directory");
    let (data, dir, _) = paths(directory.path());
    let mut shop = Shop::open(&data);
    shop.pay(3);
    let server = shop.server.url();
    let mut following = tributary()
        .args([
            "backup",
            text(&dir),
            "--server",
            &server,
            "--api-key-file",
            shop.server.key_file(),
            "--follow",
            "--json",
        ])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    let mut lines = BufReader::new(following.stdout.take().expect("piped")).lines();
    let mut reach = |position: u64| {
        for line in lines.by_ref() {
            let told: Value = serde_json::from_str(&line.expect("reads")).expect("JSON");
            if told["position"].as_u64() >= Some(position) {
                assert_eq!(told["lag_records"], 0, "{told}");
                return;
            }
        }
        panic!("it ended before position {position}");
    };
    reach(7);
    shop.pay(4);
    reach(11);
    let address = shop.server.address.clone();
    shop.server.kill();
    shop.server = Server::start_at(&data, &address);
    shop.pay(2);
    reach(13);
    signal(following.id(), "TERM");
    assert!(wait(&mut following).success());
    let head = shop.server.get("/v1/journal/head");
    let verified = json_for(0, &["verify", "--data", text(&dir), "--json"]);
    assert_eq!(
        (&verified["records"], &verified["head_hash"]),
        (&head["position"], &head["hash"])
    );
}

#[test]
fn a_server_that_was_set_back_is_not_followed_as_if_nothing_were_missing() {
    let directory = tempfile::tempdir().expect("directory");
    let (data, dir, new) = paths(directory.path());
    let mut shop = Shop::open(&data);
    shop.pay(3);
    shop.backup(&dir);
    run_for(0, &["restore", text(&dir), "--data", text(&new)]);
    let key = |data: &Path| data.with_extension("platform-key");
    std::fs::copy(key(&data), key(&new)).expect("copies");
    let server = shop.server.url();
    let key_file = shop.server.key_file().to_owned();
    let mut arguments = vec!["backup", text(&dir), "--server", &server];
    arguments.extend(["--api-key-file", &key_file, "--follow", "--json"]);
    let mut following = tributary()
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    shop.pay(4);
    let mut lines = BufReader::new(following.stdout.take().expect("piped")).lines();
    let arrived = |line: std::io::Result<String>| {
        let told: Value = serde_json::from_str(&line.expect("reads")).expect("JSON");
        told["position"].as_u64() >= Some(11)
    };
    assert!(lines.by_ref().any(arrived));
    let address = shop.server.address.clone();
    shop.server.kill();
    shop.server = Server::start_at(&new, &address);
    assert_eq!(shop.server.get("/v1/journal/head")["position"], 7);
    let rest: Vec<String> = lines.map_while(Result::ok).collect();
    assert!(!wait(&mut following).success(), "{rest:?}");
    let mut said = String::new();
    let mut stderr = following.stderr.take().expect("piped");
    std::io::Read::read_to_string(&mut stderr, &mut said).expect("reads");
    assert!(said.contains("older than the backup"), "{said} {rest:?}");
}

#[test]
fn backups_and_restores_that_would_mix_or_lose_something_are_refused() {
    let directory = tempfile::tempdir().expect("directory");
    let (data, dir, new) = paths(directory.path());
    let mut shop = Shop::open(&data);
    shop.pay(4);
    shop.backup(&dir);

    let other = Shop::open(&directory.path().join("other"));
    let url = other.server.url();
    let arguments = [
        "backup",
        text(&dir),
        "--server",
        &url,
        "--api-key-file",
        other.server.key_file(),
    ];
    let said = run(&arguments);
    assert_eq!(said.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&said.stderr).contains("another system"));

    let said = run(&["restore", text(&dir), "--data", text(&data)]);
    assert_eq!(said.status.code(), Some(2), "never over what exists");

    let segment = std::fs::read_dir(dir.join("journal"))
        .expect("reads")
        .map(|entry| entry.expect("reads").path());
    let segment = segment
        .filter(|path| !text(path).contains("spare"))
        .min()
        .expect("a segment");
    let mut bytes = std::fs::read(&segment).expect("reads");
    let frame = bytes
        .windows(4)
        .position(|four| four == b"TRBF")
        .expect("a frame");
    bytes[frame + 140] ^= 1;
    std::fs::write(&segment, &bytes).expect("writes");
    let said = run(&["restore", text(&dir), "--data", text(&new)]);
    assert_eq!(
        said.status.code(),
        Some(4),
        "{}",
        String::from_utf8_lossy(&said.stderr)
    );
    assert!(!new.exists(), "nothing is left that looks restored");
}

fn paths(folder: &Path) -> (PathBuf, PathBuf, PathBuf) {
    (
        folder.join("data"),
        folder.join("backup"),
        folder.join("new"),
    )
}
