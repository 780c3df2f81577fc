//! Wrong inputs: refused, named, and nothing changed.

use std::path::Path;

use crate::support::{Server, json_for, run, text, tributary};

const MAP: &str = r#"
name = "shop"
key = "{id}"
currency = "{currency}"
amount = { column = "amount", unit = "decimal" }
date = { column = "day" }
accounts.bank = { external_id = "bank-{currency}", kind = "external", overdraft = "unlimited" }
accounts.customer = { external_id = "{who}", owner = "{who|slug}", kind = "wallet" }
[[rules]]
when = { state = "failed" }
skip = true
[[rules]]
sign = "positive"
payment = "top_up"
from = "bank"
to = "customer"
[[rules]]
sign = "negative"
payment = "payout"
from = "customer"
to = "bank"
"#;

const HEAD: &str = "id,day,who,amount,currency,state\n";

fn refused(code: i32, arguments: &[&str], part: &str) {
    let output = run(arguments);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
    assert!(
        said.contains(part),
        "{arguments:?}: {part} is not in {said}"
    );
}

#[test]
fn wrong_arguments_are_refused_with_code_2_and_a_word_that_helps() {
    let directory = tempfile::tempdir().expect("directory");
    let write = |name: &str, content: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, content).expect("writes");
        text(&path).to_owned()
    };
    let (csv, map) = (write("a.csv", HEAD), write("a.toml", MAP));
    let data = text(&directory.path().join("data")).to_owned();
    refused(2, &["frobnicate"], "frobnicate");
    refused(
        2,
        &["import", &csv, "--map", &map],
        "--server URL, or --data DIR",
    );
    refused(
        2,
        &[
            "import",
            &csv,
            "--map",
            &map,
            "--server",
            "ftp://x",
            "--api-key",
            "k",
        ],
        "http://",
    );
    refused(
        2,
        &[
            "import",
            &csv,
            "--map",
            &map,
            "--server",
            "http://server.invalid",
        ],
        "platform key",
    );
    refused(
        2,
        &[
            "import",
            &csv,
            "--map",
            &write("b.toml", &MAP.replace("kind", "knd")),
            "--data",
            &data,
        ],
        "knd",
    );
    refused(
        2,
        &[
            "import",
            &csv,
            "--map",
            &write("c.toml", &MAP.replace("{id}", "{nr}")),
            "--data",
            &data,
        ],
        "`nr`",
    );
    refused(
        2,
        &[
            "import",
            &write("empty.csv", ""),
            "--map",
            &map,
            "--data",
            &data,
        ],
        "empty",
    );
    refused(
        1,
        &["import", "/nowhere.csv", "--map", &map, "--data", &data],
        "/nowhere.csv",
    );
    refused(
        2,
        &[
            "serve",
            "--config",
            &write("d.toml", "listn = 1"),
            "--data",
            &data,
        ],
        "listn",
    );
    refused(
        2,
        &["verify", "--data", &data, "--anchor", "xyz"],
        "hexadecimal",
    );
    refused(1, &["verify", "--data", &data], "no journal");
    refused(
        1,
        &["export", "--data", &data, "--format", "hledger"],
        "no journal",
    );
    refused(
        2,
        &["export", "--data", &data, "--format", "excel"],
        "hledger",
    );
    refused(
        1,
        &["restore", &data, "--data", &format!("{data}-new")],
        "no journal",
    );
    assert!(
        !Path::new(&data).join("meta").exists(),
        "a refused command makes no data directory"
    );
    let output = tributary()
        .args(["serve", "--data", &data])
        .env("TRIBUTARY_LISTN", "x")
        .output()
        .expect("runs");
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("TRIBUTARY_LISTN"));
}

#[test]
fn every_help_teaches_by_example() {
    for command in [
        "serve", "import", "verify", "export", "backup", "restore", "keys", "plan",
    ] {
        let output = run(&[command, "--help"]);
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success() && said.contains("Example"),
            "{command}: {said}"
        );
        assert!(
            said.contains(&format!("tributary {command} ")),
            "{command}: {said}"
        );
    }
    let said = run(&["streams", "flink-sql", "--help"]);
    let said = String::from_utf8_lossy(&said.stdout);
    assert!(
        said.contains("tributary streams flink-sql volume --topic"),
        "{said}"
    );
    let said = run(&["--help"]);
    assert!(String::from_utf8_lossy(&said.stdout).contains("Exit codes"));
}

#[test]
fn refused_rows_are_reported_with_line_and_reason_and_the_rest_goes_in() {
    let directory = tempfile::tempdir().expect("directory");
    let path = |name: &str| text(&directory.path().join(name)).to_owned();
    let rows = [
        "1,2026-01-01,ada,10.00,EUR,ok",
        "2,2026-01-01,ada,-3.50,EUR,ok",
        "3,2026-01-01,ada,-100,EUR,ok",
        "4,2026-01-01,ada,0.001,EUR,ok",
        "5,2026-13-01,ada,1,EUR,ok",
        "6,2026-01-01,ada,1,XXX,ok",
        "7,2026-01-01,ada,1",
        "8,2026-01-01,ada,1,EUR,failed",
        "9,2026-01-01,ada,5,JPY,ok",
        "1,2026-01-01,ada,11.00,EUR,ok",
        // With what was paid before, the bank is now exactly at the bound.
        "10,2026-01-02,grace,90071992547403.41,EUR,ok",
        "11,2026-01-02,grace,90071992547409.92,EUR,ok",
        "12,2026-01-02,a name that is much too long for an external id of any account here,1,EUR,ok",
    ];
    std::fs::write(path("a.csv"), format!("{HEAD}{}\n", rows.join("\n"))).expect("writes");
    std::fs::write(path("a.toml"), MAP).expect("writes");
    let import = || {
        let (csv, map, data, report) = (
            path("a.csv"),
            path("a.toml"),
            path("data"),
            path("report.csv"),
        );
        json_for(
            3,
            &[
                "import", &csv, "--map", &map, "--data", &data, "--report", &report, "--json",
            ],
        )
    };
    let first = import();
    assert_eq!(
        (&first["rows"], &first["payments_made"]),
        (&13.into(), &3.into()),
        "{first}"
    );
    assert_eq!(
        (&first["left_out"], &first["refused"]),
        (&1.into(), &9.into()),
        "{first}"
    );
    let mut report = csv::Reader::from_path(path("report.csv")).expect("opens");
    let mut found: Vec<(u64, String)> = report
        .deserialize::<(u64, String, String, String)>()
        .map(|row| {
            let (line, _, code, reason) = row.expect("reads");
            assert!(!reason.is_empty());
            (line, code)
        })
        .collect();
    found.sort();
    let found: Vec<(u64, &str)> = found
        .iter()
        .map(|(line, code)| (*line, code.as_str()))
        .collect();
    let expected = [
        (4, "insufficient_funds"),
        (5, "unreadable"),
        (6, "unreadable"),
        (7, "unreadable"),
        (8, "unreadable"),
        // The account has another currency.
        (10, "currency_mismatch"),
        (11, "key_repeated"),
        (13, "unreadable"),
        (14, "parameter_invalid"),
    ];
    assert_eq!(found, expected);

    let again = import();
    assert_eq!(
        (&again["payments_made"], &again["already_there"]),
        (&0.into(), &3.into()),
        "{again}"
    );
    assert_eq!(again["refused"], 9, "what was refused stays refused");
    let server = Server::start(&directory.path().join("data"));
    let list = server.get("/v1/accounts?owner=ada");
    assert_eq!(list["data"][0]["posted"], 650, "{list}");
}

#[test]
fn one_monstrous_row_does_not_stop_an_import() {
    let directory = tempfile::tempdir().expect("directory");
    let path = |name: &str| text(&directory.path().join(name)).to_owned();
    let state = "x".repeat(70_000);
    let rows = [
        "1,2026-01-01,ada,1,EUR,ok",
        &format!("2,2026-01-01,ada,1,EUR,{state}"),
        "3,2026-01-01,ada,1,EUR,ok",
    ];
    std::fs::write(path("a.csv"), format!("{HEAD}{}\n", rows.join("\n"))).expect("writes");
    let map = MAP.replace(
        "to = \"customer\"",
        "to = \"customer\"\nmetadata = { state = \"{state}\" }",
    );
    std::fs::write(path("a.toml"), map).expect("writes");
    let settings = [("TRIBUTARY_LIMITS_BODY_BYTES_MAX", "65536")];
    let data = directory.path().join("data");
    let server = Server::try_start_with(&data, "127.0.0.1:0", &settings).expect("starts");
    let url = format!("http://{}", server.address.trim_start_matches("http://"));
    let (csv, map, key) = (path("a.csv"), path("a.toml"), server.key_file());
    let to = ["--server", &url, "--api-key-file", key, "--json"];
    let said = json_for(3, &[&["import", &csv, "--map", &map], &to[..]].concat());
    assert_eq!(
        (&said["payments_made"], &said["refused"]),
        (&2.into(), &1.into()),
        "{said}"
    );
    assert_eq!(said["refusals"][0]["line"], 3, "{said}");
    assert_eq!(said["refusals"][0]["code"], "body_too_large", "{said}");
}

#[test]
fn what_a_foreign_file_says_does_not_reach_the_terminal_raw() {
    let directory = tempfile::tempdir().expect("directory");
    let path = |name: &str| text(&directory.path().join(name)).to_owned();
    std::fs::write(path("a.toml"), MAP).expect("writes");
    for (name, content) in [
        ("columns.csv", "a\u{1b}[2J,b\n".to_owned()),
        (
            "row.csv",
            format!("{HEAD}1,2026-01-01,a\u{1b}[2Jb,1,EUR,ok\n"),
        ),
    ] {
        std::fs::write(path(name), content).expect("writes");
        let output = run(&[
            "import",
            &path(name),
            "--map",
            &path("a.toml"),
            "--data",
            &path("data"),
        ]);
        assert_ne!(output.status.code(), Some(0), "{name}");
        for said in [&output.stdout, &output.stderr] {
            let said = String::from_utf8_lossy(said);
            assert!(!said.contains('\u{1b}'), "{name}: {said:?}");
        }
    }
}
