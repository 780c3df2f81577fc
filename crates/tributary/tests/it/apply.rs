//! `apply`: settings as a file says, through a running server and at the start of one.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::Value;

use crate::support::{Server, json_for, run, run_for, text, tributary, wait};

const SECRET: &str = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// A folder with a file of settings and a secret.
fn folder(generation: u64, name: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("hooks.secret"), format!("{SECRET}\n")).expect("writes");
    let path = folder.path().join("shop.toml");
    write(&path, generation, name, true);
    (folder, path)
}

fn write(path: &Path, generation: u64, name: &str, both: bool) {
    let mut text = format!(
        "managed_by = \"shop\"\ngeneration = {generation}\n\n[[subscription]]\nslug = \"pulled\"\n\
         events = [\"payment.#\"]\nname = \"{name}\"\n"
    );
    if both {
        text.push_str(
            "\n[[subscription]]\nslug = \"sent\"\nevents = [\"#\"]\n\
             url = \"https://hooks.example/\"\nsecret_file = \"hooks.secret\"\n",
        );
    }
    std::fs::write(path, text).expect("writes");
}

/// `apply` with these options, through the server.
fn arguments<'a>(
    server: &'a Server,
    url: &'a str,
    file: &'a Path,
    more: &[&'a str],
) -> Vec<&'a str> {
    let mut arguments = vec!["apply", text(file), "--server", url];
    arguments.extend(["--api-key-file", server.key_file()]);
    arguments.extend(more);
    arguments
}

fn subscriptions(server: &Server) -> Vec<Value> {
    let list = server.get("/v1/subscriptions");
    list["data"].as_array().expect("a list").clone()
}

fn head(server: &Server) -> Value {
    server.get("/v1/journal/head")["position"].clone()
}

#[test]
fn a_file_is_shown_applied_and_applied_again_without_a_record() {
    let directory = tempfile::tempdir().expect("a directory");
    let (_folder, file) = folder(1, "one");
    let server = Server::start(&directory.path().join("data"));
    let url = server.url();
    let with = |more: &[&'static str]| arguments(&server, &url, &file, more);
    let plan = run_for(0, &with(&["--dry-run"]));
    assert!(plan.contains("create  subscription pulled"), "{plan}");
    assert!(plan.contains("2 to create, 0 to change"), "{plan}");
    assert!(subscriptions(&server).is_empty());
    let done = run_for(0, &with(&[]));
    assert!(
        done.ends_with("done: 2 created, 0 changed, 0 deleted\n"),
        "{done}"
    );
    assert!(!done.contains(SECRET));
    assert_eq!(subscriptions(&server).len(), 2);
    let before = head(&server);
    let again = json_for(0, &with(&["--json"]));
    assert_eq!(again["kept"], 2);
    // A file with a generation is sent again, so that the generation is remembered; it changes nothing.
    let again = run_for(0, &with(&[]));
    assert!(
        again.ends_with("done: 0 created, 0 changed, 0 deleted\n"),
        "{again}"
    );
    assert_eq!(head(&server), before, "nothing is recorded");
    // What the file does not name any more goes only if that is asked for.
    write(&file, 2, "two", false);
    let changed = json_for(0, &with(&["--json"]));
    assert_eq!(
        (&changed["changed"], &changed["deleted"]),
        (&Value::from(1), &Value::from(0))
    );
    let pruned = json_for(0, &with(&["--json", "--prune"]));
    assert_eq!(pruned["deleted"], 1);
    assert_eq!(subscriptions(&server).len(), 1);
    // An older file does nothing.
    write(&file, 1, "one", true);
    let older = run_for(0, &with(&["--prune"]));
    assert!(older.contains("later generation"), "{older}");
    assert_eq!(subscriptions(&server)[0]["name"], "two");
}

#[test]
fn a_wrong_file_is_refused_before_anything_is_done() {
    let directory = tempfile::tempdir().expect("a directory");
    let (_folder, file) = folder(1, "one");
    let server = Server::start(&directory.path().join("data"));
    let url = server.url();
    for (text, said) in [
        (
            "[[subscription]]\nslug = \"a\"\nevents = [\"A\"]",
            "shop.toml: [[subscription]] 1 (a): events",
        ),
        ("[[rail]]\nslug = \"a\"", "shop.toml: [[rail]] 1 (a): kind"),
        (
            "[[subscription]]\nsecret = \"x\"",
            "shop.toml: [[subscription]] 1: secret must not",
        ),
        ("subscription = 1", "[[subscription]]"),
        (
            "[[binder]]\nslug = \"main\"\npassword = \"x\"",
            "shop.toml: [[binder]] 1 (main): password must not",
        ),
        (
            "[[binder]]\nslug = \"main\"\ntype = \"carrier_pigeon\"\nurl = \"loft:1\"",
            "shop.toml: [[binder]] 1 (main): type",
        ),
        (
            "[[binding]]\nslug = \"orders\"\nbinder = \"main\"\ndirection = \"in\"\ndestination = \"orders\"",
            "shop.toml: [[binding]] 1 (orders): acts_as",
        ),
    ] {
        std::fs::write(&file, text).expect("writes");
        let output = run(&arguments(&server, &url, &file, &[]));
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{text}: {error}");
        assert!(error.contains(said), "{text}: {error}");
    }
    // A file that is missing may be there next time.
    std::fs::write(&file, "[[subscription]]\nsecret_file = \"gone\"").expect("writes");
    let output = run(&arguments(&server, &url, &file, &[]));
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(
        error.contains("[[subscription]] 1: cannot read the secret"),
        "{error}"
    );
    assert!(subscriptions(&server).is_empty());
}

/// A client that could connect for a moment would believe that the server runs.
#[test]
fn a_start_with_a_wrong_file_ends_before_the_server_listens() {
    let directory = tempfile::tempdir().expect("a directory");
    let (_folder, file) = folder(1, "one");
    std::fs::write(&file, "[[subscription]]\nslug = \"a\"\nevents = [\"A\"]").expect("writes");
    let data = directory.path().join("data");
    // The server reads its certificate before it listens: if the fault of the file is told, the server had not begun to start.
    let output = tributary()
        .args(["serve", "--data", text(&data), "--apply", text(&file)])
        .env("TRIBUTARY_TLS_CERTIFICATE", "/nowhere.pem")
        .env("TRIBUTARY_TLS_KEY", "/nowhere.pem")
        .output()
        .expect("the binary runs");
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert!(
        error.contains("shop.toml: [[subscription]] 1 (a): "),
        "{error}"
    );
    assert!(!error.contains("nowhere.pem"), "{error}");
}

#[test]
fn an_absent_server_is_waited_for_and_that_is_said() {
    let directory = tempfile::tempdir().expect("a directory");
    let data = directory.path().join("data");
    let (_folder, file) = folder(1, "one");
    let server = Server::start(&data);
    let (url, address) = (server.url(), server.address.clone());
    let key = server.key_file().to_owned();
    assert!(server.stop().success());
    let mut applying = tributary()
        .args([
            "apply",
            text(&file),
            "--server",
            &url,
            "--api-key-file",
            &key,
        ])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    let mut said = String::new();
    let mut errors = BufReader::new(applying.stderr.take().expect("piped"));
    errors.read_line(&mut said).expect("reads");
    assert!(
        said.starts_with("waiting for the server, for 60 s at most:"),
        "{said}"
    );
    assert!(said.contains(&address), "{said}");
    let server = Server::start_at(&data, &address);
    assert!(wait(&mut applying).success());
    assert_eq!(subscriptions(&server).len(), 2);
}

#[test]
fn a_file_without_anything_to_do_says_so() {
    let directory = tempfile::tempdir().expect("a directory");
    let (_folder, file) = folder(1, "one");
    let server = Server::start(&directory.path().join("data"));
    let url = server.url();
    std::fs::write(&file, "[[subscription]]\nslug = \"a\"\nevents = [\"#\"]\n").expect("writes");
    run_for(0, &arguments(&server, &url, &file, &[]));
    let again = run_for(0, &arguments(&server, &url, &file, &[]));
    assert!(
        again.ends_with("1 as they are\nnothing to do: no setting is changed\n"),
        "{again}"
    );
}

#[test]
fn a_start_applies_a_file_each_time_and_skips_an_older_one() {
    let directory = tempfile::tempdir().expect("a directory");
    let data = directory.path().join("data");
    let (_folder, file) = folder(5, "five");
    let start = || Server::start_with_arguments(&data, &["--apply", text(&file), "--prune"]);
    let server = start();
    let mut names: Vec<Value> = subscriptions(&server)
        .iter()
        .map(|one| one["slug"].clone())
        .collect();
    names.sort_by_key(ToString::to_string);
    assert_eq!(names, ["pulled", "sent"]);
    let before = head(&server);
    assert!(server.stop().success());
    let server = start();
    assert_eq!(head(&server), before, "the second start makes no record");
    assert!(server.stop().success());
    write(&file, 6, "six", false);
    let server = start();
    let left = subscriptions(&server);
    assert_eq!(left.len(), 1);
    assert_eq!(left[0]["name"], "six");
    assert!(server.stop().success());
    write(&file, 4, "four", true);
    let server = start();
    assert_eq!(subscriptions(&server)[0]["name"], "six");
    assert!(server.stop().success());
    let verified = json_for(0, &["verify", "--data", text(&data), "--json"]);
    assert_eq!(verified["ok"], true);
}
