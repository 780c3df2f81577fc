//! Torn and flipped bytes: an unfinished write is cut and said; damage to what was acknowledged is found, located and
//! never cut.

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tributary_engine::NEWEST;
use tributary_journal::{
    DirDisk, Disk, FrameBuilder, OpenError, Options, ScanOptions, Versions, read_meta, scan,
};
use tributary_ledger::codec::{self, Record};
use tributary_ledger::{Body, FORMAT_VERSION, RULES_VERSION};

use crate::support::{FIRST_RECORDS, Server, json_for, run_for, text};

const HEADER: usize = 128;
const PAYMENTS: u64 = 12;

/// A data directory with some payments, one frame each, after a clean stop.
fn books(folder: &Path) -> PathBuf {
    let data = folder.join("data");
    let server = Server::start(&data);
    let mut accounts = Vec::new();
    for name in ["a", "b"] {
        let body = json!({ "owner": "platform", "currency": "EUR", "kind": "external",
            "external_id": name, "overdraft": "unlimited" });
        accounts.push(server.post("/v1/accounts", name, &body).ok()["id"].clone());
    }
    for count in 1..=PAYMENTS {
        let body = json!({ "amount": count, "currency": "EUR", "source": accounts[0], "destination": accounts[1] });
        server
            .post("/v1/transfers", &format!("k{count}"), &body)
            .ok();
    }
    assert!(server.stop().success());
    data
}

/// The one segment and where its frames lie: (offset, length).
fn frames(data: &Path) -> (PathBuf, Vec<u8>, Vec<(usize, usize)>) {
    let folder = data.join("journal");
    let mut segments: Vec<PathBuf> = fs::read_dir(&folder)
        .expect("reads")
        .map(|entry| entry.expect("reads").path())
        .collect();
    segments.retain(|path| {
        !path
            .file_name()
            .is_some_and(|name| text(Path::new(name)).starts_with("spare"))
    });
    assert_eq!(segments.len(), 1, "{segments:?}");
    let bytes = fs::read(&segments[0]).expect("reads");
    let is_frame = |at: &usize| bytes[*at..].starts_with(b"TRBF");
    let found = (0..bytes.len() - HEADER)
        .step_by(512)
        .filter(is_frame)
        .map(|at| {
            let body = u32::from_le_bytes(bytes[at + 32..at + 36].try_into().expect("four bytes"));
            (at, HEADER + body as usize)
        });
    let found: Vec<_> = found.collect();
    assert!(found.len() as u64 > PAYMENTS);
    (segments.remove(0), bytes, found)
}

fn flip(segment: &Path, offset: usize, bytes: &[u8]) {
    use std::os::unix::fs::FileExt;
    let file = fs::OpenOptions::new()
        .write(true)
        .open(segment)
        .expect("opens");
    file.write_all_at(&[bytes[offset] ^ 0x10], offset as u64)
        .expect("writes");
}

fn mend(segment: &Path, offset: usize, bytes: &[u8]) {
    use std::os::unix::fs::FileExt;
    let file = fs::OpenOptions::new()
        .write(true)
        .open(segment)
        .expect("opens");
    file.write_all_at(&[bytes[offset]], offset as u64)
        .expect("writes");
}

#[test]
fn any_flipped_byte_of_any_frame_is_found_and_located() {
    let directory = tempfile::tempdir().expect("directory");
    let data = books(directory.path());
    let (segment, bytes, frames) = frames(&data);
    for (number, (at, length)) in frames.iter().enumerate() {
        // Another byte in each frame: header fields, hashes, record headers, payloads.
        for step in 0..4 {
            let offset = at + (number * 37 + step * 53) % length;
            flip(&segment, offset, &bytes);
            let found = json_for(4, &["verify", "--data", text(&data), "--json"]);
            assert_eq!(found["ok"], false);
            let problem = &found["problem"];
            let file = problem["file"].as_str().unwrap_or_default();
            assert!(
                text(&segment).ends_with(file) && !file.is_empty(),
                "{problem}"
            );
            let place = problem["offset"].as_u64().expect("an offset") as usize;
            assert!(
                (*at..=offset.max(*at)).contains(&place),
                "byte {offset} of frame at {at}: {problem}"
            );
            assert_eq!(
                found["records"].as_u64(),
                Some(number as u64),
                "all records before it are whole"
            );
            mend(&segment, offset, &bytes);
        }
    }
    assert_eq!(
        json_for(0, &["verify", "--data", text(&data), "--json"])["ok"],
        true
    );
}

#[test]
fn a_server_never_starts_over_damage_nor_cuts_it() {
    let directory = tempfile::tempdir().expect("directory");
    let data = books(directory.path());
    let (segment, bytes, frames) = frames(&data);
    // The first, one in the middle, and the very last, which the clean stop has marked as durable.
    for at in [0, frames.len() / 2, frames.len() - 1] {
        let offset = frames[at].0 + HEADER + 20;
        flip(&segment, offset, &bytes);
        let damaged = fs::read(&segment).expect("reads");
        let said = Server::try_start(&data, "127.0.0.1:0")
            .err()
            .expect("must not start");
        assert!(
            said.contains("exit status: 1") && said.contains("damaged"),
            "{said}"
        );
        assert!(
            fs::read(&segment).expect("reads") == damaged,
            "nothing may be changed"
        );
        mend(&segment, offset, &bytes);
    }
    let server = Server::start(&data);
    assert_eq!(
        server.get("/v1/journal/head")["position"],
        json!(PAYMENTS + 2 + FIRST_RECORDS)
    );
}

#[test]
fn an_unfinished_write_is_cut_and_said() {
    use std::os::unix::fs::FileExt;
    let directory = tempfile::tempdir().expect("directory");
    let data = books(directory.path());
    // One write more, of which the disk got only the first half before the power went; the mark of what is durable
    // is still the one before it.
    let mark = fs::read(data.join("synced")).expect("reads");
    let mut server = Server::start(&data);
    server
        .post(
            "/v1/accounts",
            "more",
            &json!({ "owner": "more", "currency": "EUR" }),
        )
        .ok();
    server.kill();
    fs::write(data.join("synced"), mark).expect("writes");
    let (segment, _, frames) = frames(&data);
    let (last, length) = frames[frames.len() - 1];
    let half = length / 2;
    let file = fs::OpenOptions::new()
        .write(true)
        .open(&segment)
        .expect("opens");
    file.write_all_at(&vec![0; length - half], (last + half) as u64)
        .expect("writes");

    let verified = json_for(0, &["verify", "--data", text(&data), "--json"]);
    assert_eq!(verified["records"], json!(PAYMENTS + 2 + FIRST_RECORDS));
    assert!(
        verified["tail_bytes"].as_u64().expect("a number") > 0,
        "{verified}"
    );

    let server = Server::start(&data);
    assert_eq!(
        server.get("/v1/journal/head")["position"],
        json!(PAYMENTS + 2 + FIRST_RECORDS)
    );
    server.has_logged("cut an unfinished write");
    assert!(server.stop().success());
    assert_eq!(
        json_for(0, &["verify", "--data", text(&data), "--json"])["tail_bytes"],
        0
    );
}

#[test]
fn an_anchor_proves_that_history_was_not_rewritten() {
    let directory = tempfile::tempdir().expect("directory");
    let data = books(directory.path());
    let verify = |code: i32, anchor: &str| {
        run_for(code, &["verify", "--data", text(&data), "--anchor", anchor])
    };
    let hash = json_for(0, &["verify", "--data", text(&data), "--json"])["head_hash"].clone();
    verify(0, hash.as_str().expect("a text"));
    verify(4, &"0f".repeat(32));
    verify(2, "0f");
    // Later frames do not hide an earlier anchor.
    let server = Server::start(&data);
    let body = json!({ "owner": "late", "currency": "EUR" });
    server.post("/v1/accounts", "late", &body).ok();
    assert!(server.stop().success());
    verify(0, hash.as_str().expect("a text"));
}

/// The same journal written anew, its whole chain too, one record in a frame. `change` may make another record of the last
/// one, and says whether it is there at all.
fn rewritten(data: &Path, rules: u16, change: impl Fn(&mut Record) -> bool) -> tempfile::TempDir {
    let mut records = Vec::new();
    let from = DirDisk::new(data);
    scan(&from, &ScanOptions::default(), &mut |record| {
        records.push(codec::decode(record.payload, FORMAT_VERSION).expect("it is whole"));
        ControlFlow::Continue(())
    })
    .expect("it is whole");
    let mut last = records.pop().expect("there are some");
    if change(&mut last) {
        records.push(last);
    }
    let folder = tempfile::tempdir().expect("directory");
    let to: Arc<dyn Disk> = Arc::new(DirDisk::new(folder.path()));
    let options = Options {
        segment_bytes: 1024 * 1024,
        reserve_bytes: 0,
        shared_log: None,
    };
    let meta = read_meta(&from).expect("it is whole");
    tributary_journal::create(&to, &options, &meta).expect("it is new");
    // A program that another test starts holds every lock of this process for the moment between its fork and its exec.
    let (mut writer, ..) = loop {
        match tributary_journal::open(to.clone(), options.clone(), Arc::new(|_, _| {})) {
            Err(OpenError::Locked) => std::thread::sleep(Duration::from_millis(10)),
            opened => break opened.expect("it opens"),
        }
    };
    for record in records {
        let versions = Versions { rules, ..NEWEST };
        let mut frame = FrameBuilder::new(record.ctx.position, record.ctx.timestamp, versions);
        let (command, outcome) = (&record.command, &record.outcome);
        frame
            .push(|into| {
                codec::encode(
                    command,
                    &record.digest,
                    outcome,
                    record.ctx,
                    versions.format,
                    into,
                )
            })
            .expect("it fits");
        writer.append(&mut frame).expect("there is room");
    }
    writer.close().expect("it closes");
    folder
}

/// Moves so much more than the record says.
fn move_more(record: &mut Record, more: i64) {
    for (leg, more) in record.outcome.legs.iter_mut().zip([-more, more]) {
        leg.amount += more;
        leg.posted_after += more;
    }
}

#[test]
fn a_history_rewritten_with_its_chain_is_found_where_it_breaks_the_rules_and_else_by_the_anchor() {
    let directory = tempfile::tempdir().expect("directory");
    let data = books(directory.path());
    let verify = |code: i32, data: &Path, more: &[&str]| {
        let mut arguments = vec!["verify", "--data", text(data)];
        arguments.extend(more);
        run_for(code, &arguments)
    };

    let same = rewritten(&data, RULES_VERSION, |_| true);
    let kept = json_for(0, &["verify", "--data", text(same.path()), "--json"]);
    let anchor = kept["head_hash"].as_str().expect("a text");

    let sums_to_zero = |record: &mut Record| {
        move_more(record, 1);
        true
    };
    let said = verify(4, rewritten(&data, RULES_VERSION, sums_to_zero).path(), &[]);
    assert!(said.contains("decided again"), "{said}");
    for rules in [0, RULES_VERSION + 1] {
        let said = verify(4, rewritten(&data, rules, sums_to_zero).path(), &[]);
        assert!(said.contains("does not know"), "{said}");
    }
    let linked = |record: &mut Record| {
        record.command.linked = true;
        record.digest = record.command.digest();
        true
    };
    let said = verify(4, rewritten(&data, RULES_VERSION, linked).path(), &[]);
    assert!(said.contains("no end"), "{said}");

    // Another past that the rules allow can only be told from the true one by who kept a hash.
    let another_past = |record: &mut Record| {
        move_more(record, 1);
        if let Body::Pay(pay) = &mut record.command.body {
            pay.amount += 1;
        }
        record.digest = record.command.digest();
        true
    };
    let forged = rewritten(&data, RULES_VERSION, another_past);
    let cut = rewritten(&data, RULES_VERSION, |_| false);
    for forged in [forged, cut] {
        verify(0, forged.path(), &[]);
        let said = verify(4, forged.path(), &["--anchor", anchor]);
        assert!(said.contains("anchor"), "{said}");
    }
}
