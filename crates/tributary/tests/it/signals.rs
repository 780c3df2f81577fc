//! Signals to a running server: SIGHUP reloads, others than those that stop it end nothing.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::support::{PATIENCE, Server, repository, run_for, signal, text, tributary};

/// Files of a certificate and its key.
fn certificate(name: &str) -> (PathBuf, PathBuf) {
    let folder = repository().join("crates/server/tests/it/tls");
    let file = |part: &str| folder.join(format!("{name}{part}.pem"));
    (file("certificate"), file("key"))
}

/// Runs `backup` into a new directory, trusting only this certificate. Whether that worked.
fn backup_trusting(server: &Server, folder: &Path, trusted: &Path) -> bool {
    let url = server
        .address
        .replace("https://127.0.0.1", "https://localhost");
    let backup = tempfile::tempdir_in(folder).expect("a directory");
    let output = tributary()
        .args([
            "backup",
            text(&backup.path().join("backup")),
            "--server",
            &url,
        ])
        .args(["--api-key-file", server.key_file(), "--ca", text(trusted)])
        .output()
        .expect("the binary runs");
    output.status.success()
}

#[test]
fn sighup_reloads_the_certificate_and_a_wrong_one_changes_nothing() {
    let directory = tempfile::tempdir().expect("directory");
    let path = |name: &str| directory.path().join(name);
    let (first, second) = (certificate(""), certificate("second-"));
    let put = |(certificate, key): &(PathBuf, PathBuf)| {
        fs::copy(certificate, path("certificate.pem")).expect("copies");
        fs::copy(key, path("key.pem")).expect("copies");
    };
    put(&first);
    let (files, data) = ((path("certificate.pem"), path("key.pem")), path("data"));
    let settings = [
        ("TRIBUTARY_TLS_CERTIFICATE", text(&files.0)),
        ("TRIBUTARY_TLS_KEY", text(&files.1)),
        ("TRIBUTARY_LOG_LEVEL", "info"),
    ];
    let server = Server::try_start_with(&data, "127.0.0.1:0", &settings).expect("starts");
    let trusts = |certificate: &Path| backup_trusting(&server, directory.path(), certificate);
    assert!(trusts(&first.0) && !trusts(&second.0));

    // The key of the other certificate: nothing changes, and the log says so.
    fs::copy(&second.1, path("key.pem")).expect("copies");
    signal(server.process(), "HUP");
    server.has_logged("was not reloaded, and nothing was changed");
    server.has_logged("certificate.pem");
    assert!(trusts(&first.0) && !trusts(&second.0));

    put(&second);
    signal(server.process(), "HUP");
    server.has_logged("the configuration was reloaded");
    assert!(!trusts(&first.0) && trusts(&second.0));
    assert!(server.stop().success());
}

#[test]
fn sighup_reads_the_file_again_and_says_what_needs_a_restart() {
    let directory = tempfile::tempdir().expect("directory");
    let file = directory.path().join("tributary.toml");
    let write = |content: &str| fs::write(&file, content).expect("writes");
    write("[limits]\nstreams_max = 5\n");
    let settings = [
        ("TRIBUTARY_CONFIG", text(&file)),
        ("TRIBUTARY_LOG_LEVEL", "info"),
    ];
    let data = directory.path().join("data");
    let server = Server::try_start_with(&data, "127.0.0.1:0", &settings).expect("starts");
    let many = |count: usize| {
        let statuses = (0..count).map(|_| {
            let answer = server.request("GET", "/v1/accounts", None, None);
            answer.expect("it answers").status
        });
        statuses.collect::<Vec<u16>>()
    };
    assert_eq!(many(20), [200; 20]);

    write("[limits]\nstreams_max = many\n");
    signal(server.process(), "HUP");
    server.has_logged("was not reloaded, and nothing was changed");

    write("[limits]\nstreams_max = 7\nrequests_per_second_max = 1\n");
    signal(server.process(), "HUP");
    server.has_logged(
        "changed=[\"limits.requests_per_second_max\"] needs_restart=[\"limits.streams_max\"]",
    );
    let begun = std::time::Instant::now();
    while !many(3).contains(&429) {
        assert!(begun.elapsed() < PATIENCE, "the new limit holds");
    }
    write("");
    signal(server.process(), "HUP");
    server.has_logged("needs_restart=[\"limits.streams_max\"] certificate=false");
}

#[test]
fn other_signals_end_nothing_and_are_logged() {
    let directory = tempfile::tempdir().expect("directory");
    let server = Server::start(&directory.path().join("data"));
    for name in ["USR1", "USR2"] {
        signal(server.process(), name);
        server.has_logged(&format!("SIG{name}"));
    }
    signal(server.process(), "HUP");
    let body = json!({"owner": "ann", "kind": "wallet", "currency": "EUR"});
    server.post("/v1/accounts", "a", &body).ok();
    assert!(server.stop().success());
}

#[test]
fn https_needs_no_file_where_the_system_trusts_the_certificate() {
    let directory = tempfile::tempdir().expect("directory");
    let path = |name: &str| text(&directory.path().join(name)).to_owned();
    let (certificate, key) = certificate("");
    let settings = [
        ("TRIBUTARY_TLS_CERTIFICATE", text(&certificate)),
        ("TRIBUTARY_TLS_KEY", text(&key)),
    ];
    let data = directory.path().join("data");
    let server = Server::try_start_with(&data, "127.0.0.1:0", &settings).expect("starts");
    let url = server
        .address
        .replace("https://127.0.0.1", "https://localhost");
    let arguments = ["--server", &url, "--api-key-file", server.key_file()];
    // What the system trusts, for this process.
    let output = tributary()
        .args(["backup", &path("backup")])
        .args(arguments)
        .env("SSL_CERT_FILE", &certificate)
        .output();
    let output = output.expect("the binary runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    run_for(0, &["verify", "--data", &path("backup")]);

    // The stream of `listen`, too: an event of the past reaches it, although nobody takes it on.
    let nobody = crate::support::DeadAddress::take();
    let mut listen = tributary()
        .args(["listen", "--json", "--start", "beginning", "--events", "#"])
        .args(["--forward-to", &format!("{}/", nobody.url())])
        .args(arguments)
        .env("SSL_CERT_FILE", &certificate)
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("the binary runs");
    let stdout = listen.stdout.take().expect("piped");
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(stdout));
    let second = lines.by_ref().nth(1).expect("a line").expect("reads");
    assert!(second.contains("\"event\":\"evt_"), "{second}");
    listen.kill().expect("it runs");
    listen.wait().expect("it ends");
}
