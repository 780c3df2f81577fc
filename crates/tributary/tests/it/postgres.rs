//! The same binary over PostgreSQL (experimental), and the way from there into a directory.

use serde_json::json;

use crate::support::{Server, json_for, nothing_may_be_skipped, run_for, text};

#[test]
fn a_system_in_postgresql_survives_a_kill_and_is_backed_up_into_a_directory() {
    let Ok(admin) = std::env::var("TRIBUTARY_TEST_POSTGRES") else {
        assert!(
            !nothing_may_be_skipped(),
            "TRIBUTARY_TEST_POSTGRES is not set: scripts/services starts a PostgreSQL"
        );
        eprintln!("SKIPPED: TRIBUTARY_TEST_POSTGRES is not set (scripts/services)");
        return;
    };
    let name = format!("tributary_command_{}", std::process::id());
    let mut database = postgres::Client::connect(&admin, postgres::NoTls).expect("connects");
    database
        .batch_execute(&format!("CREATE DATABASE {name}"))
        .expect("a database of its own");
    let url = with_database(&admin, &name);

    let directory = tempfile::tempdir().expect("directory");
    let path = |name: &str| directory.path().join(name);
    // The URL holds a password, so it comes from a file.
    std::fs::write(path("url"), &url).expect("writes");
    let start = || {
        let settings = [("TRIBUTARY_BACKEND_FILE", text(&path("url")).to_owned())];
        let settings: Vec<(&str, &str)> = settings
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        Server::try_start_with(&path("data"), "127.0.0.1:0", &settings).expect("starts")
    };
    let mut server = start();
    let account = json!({ "owner": "ada", "currency": "EUR" });
    let first = server.post("/v1/accounts", "once", &account).ok();
    server.kill();

    let server = start();
    assert_eq!(server.post("/v1/accounts", "once", &account).ok(), first);
    let backup = path("backup");
    let arguments = [
        "backup",
        text(&backup),
        "--server",
        &server.url(),
        "--api-key-file",
        server.key_file(),
    ];
    run_for(0, &arguments);
    let head = server.get("/v1/journal/head");
    let verified = json_for(0, &["verify", "--data", text(&backup), "--json"]);
    assert_eq!(
        (&verified["records"], &verified["head_hash"]),
        (&head["position"], &head["hash"])
    );
    assert!(server.stop().success());
    database
        .batch_execute(&format!("DROP DATABASE {name} WITH (FORCE)"))
        .expect("drops its own database");
}

fn with_database(url: &str, name: &str) -> String {
    let (before, query) = url
        .split_once('?')
        .map_or((url, String::new()), |(url, query)| {
            (url, format!("?{query}"))
        });
    let (server, _) = before.rsplit_once('/').expect("a URL with a database");
    format!("{server}/{name}{query}")
}
