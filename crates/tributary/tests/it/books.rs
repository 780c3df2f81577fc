//! The exported books, judged by hledger and beancount.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::{Server, all_pages, run_for, text, tool};

/// Runs a checker, which must accept; gives its output.
fn accepted(program: &Path, arguments: &[&str]) -> String {
    let output = Command::new(program)
        .args(arguments)
        .env("LC_ALL", "C.UTF-8")
        .output()
        .expect("it runs");
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(
        output.status.success(),
        "{} {arguments:?}\n{out}\n{err}",
        program.display()
    );
    out.into_owned()
}

/// Exports a directory in every format; hledger and beancount must accept, and their balances must be the server's.
pub(crate) fn check_exports(data: &Path, _csv: &Path) {
    let folder = data.parent().expect("a folder");
    let before = listing(data);
    let export = |format: &str| {
        let path = folder.join(format!("books.{format}"));
        run_for(
            0,
            &[
                "export",
                "--data",
                text(data),
                "--format",
                format,
                "-o",
                text(&path),
            ],
        );
        path
    };
    let (hledger, beancount, jsonl, csv) = (
        export("hledger"),
        export("beancount"),
        export("jsonl"),
        export("csv"),
    );
    assert_eq!(listing(data), before, "an export only reads");

    let server = Server::start(data);
    let balances = server_balances(&server);
    assert_eq!(sums_of_jsonl(&jsonl), balances);
    assert_eq!(sums_of_csv(&csv), balances);
    if let Some(program) = tool("hledger") {
        accepted(&program, &["-f", text(&hledger), "check", "--strict"]);
        let out = accepted(
            &program,
            &[
                "-f",
                text(&hledger),
                "balance",
                "--flat",
                "--no-total",
                "-E",
                "-O",
                "csv",
            ],
        );
        let mut found: Vec<String> = out.lines().skip(1).map(hledger_amount).collect();
        let mut expected: Vec<String> = balances
            .values()
            .map(|(posted, currency)| turned(*posted, currency))
            .collect();
        found.sort_unstable();
        expected.sort_unstable();
        assert!(
            found == expected,
            "hledger adds up to other balances than the server"
        );
    }
    if let Some(program) = tool("bean-check") {
        // The closing balance of every account is asserted in the file, so acceptance is agreement.
        let asserted = std::fs::read_to_string(&beancount).expect("reads");
        let asserted = asserted
            .lines()
            .filter(|line| line.contains(" balance "))
            .count();
        assert_eq!(asserted, balances.len());
        accepted(&program, &[text(&beancount)]);
        must_not_pass(&program, &beancount, folder);
    }
    drop(server);
}

/// One unit more in one assertion, and beancount must see it: the check checks.
fn must_not_pass(program: &Path, beancount: &Path, folder: &Path) {
    let books = std::fs::read_to_string(beancount).expect("reads");
    let line = books
        .lines()
        .rfind(|line| line.contains(" balance "))
        .expect("there are assertions");
    let (before, after) = line.split_once(" ~").expect("an exact assertion");
    let last = before
        .chars()
        .last()
        .and_then(|digit| digit.to_digit(10))
        .expect("a digit");
    let off = format!(
        "{}{} ~{after}",
        &before[..before.len() - 1],
        (last + 1) % 10
    );
    let wrong = folder.join("wrong.beancount");
    std::fs::write(&wrong, books.replace(line, &off)).expect("writes");
    let output = Command::new(program).arg(&wrong).output().expect("it runs");
    assert!(
        !output.status.success(),
        "beancount did not see a wrong balance: {off}"
    );
}

fn listing(data: &Path) -> Vec<(std::path::PathBuf, u64, std::time::SystemTime)> {
    let mut files = Vec::new();
    let mut folders = vec![data.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("reads") {
            let entry = entry.expect("reads");
            let metadata = entry.metadata().expect("reads");
            if metadata.is_dir() {
                folders.push(entry.path());
            } else {
                files.push((
                    entry.path(),
                    metadata.len(),
                    metadata.modified().expect("has a time"),
                ));
            }
        }
    }
    files.sort();
    files
}

/// Account id → (balance in minor units, currency).
fn server_balances(server: &Server) -> BTreeMap<String, (i64, String)> {
    let accounts = all_pages(server, "/v1/accounts");
    let balance = |account: &Value| {
        let text = |name: &str| account[name].as_str().expect("a text").to_owned();
        (
            text("id"),
            (
                account["posted"].as_i64().expect("an integer"),
                text("currency"),
            ),
        )
    };
    accounts.iter().map(balance).collect()
}

fn sums_of_jsonl(path: &Path) -> BTreeMap<String, (i64, String)> {
    let mut sums: BTreeMap<String, (i64, String)> = BTreeMap::new();
    for line in std::fs::read_to_string(path).expect("reads").lines() {
        let record: Value = serde_json::from_str(line).expect("JSON");
        for posting in record["postings"].as_array().expect("a list") {
            let id = posting["account"].as_str().expect("an id").to_owned();
            let currency = posting["currency"].as_str().expect("a currency").to_owned();
            let sum = sums.entry(id).or_insert((0, currency));
            sum.0 += posting["amount"].as_i64().expect("an integer");
            assert_eq!(posting["balance"], json!(sum.0), "{line}");
        }
    }
    sums
}

fn sums_of_csv(path: &Path) -> BTreeMap<String, (i64, String)> {
    let mut reader = csv::Reader::from_path(path).expect("opens");
    let mut sums: BTreeMap<String, (i64, String)> = BTreeMap::new();
    for row in reader.deserialize::<BTreeMap<String, String>>() {
        let row = row.expect("reads");
        let sum = sums
            .entry(row["account"].clone())
            .or_insert((0, row["currency"].clone()));
        let minor: i64 = row["amount_minor"].parse().expect("an integer");
        sum.0 += minor;
        assert_eq!(row["amount"], decimal(minor, exponent(&row["currency"])));
        assert_eq!(row["balance_minor"], sum.0.to_string());
    }
    sums
}

/// `"account","-12.00 CZK"` → `-12.00 CZK`.
fn hledger_amount(line: &str) -> String {
    let amount = line
        .rsplit("\",\"")
        .next()
        .expect("two columns")
        .trim_end_matches('"');
    if amount == "0" {
        "0".to_owned()
    } else {
        amount.to_owned()
    }
}

/// What hledger shows for a balance: debit-positive, and zero without a currency.
fn turned(posted: i64, currency: &str) -> String {
    if posted == 0 {
        "0".to_owned()
    } else {
        format!("{} {currency}", decimal(-posted, exponent(currency)))
    }
}

fn exponent(currency: &str) -> u32 {
    match currency {
        "JPY" => 0,
        "KWD" => 3,
        _ => 2,
    }
}

fn decimal(minor: i64, exponent: u32) -> String {
    let sign = if minor < 0 { "-" } else { "" };
    let (minor, unit) = (minor.unsigned_abs(), 10_u64.pow(exponent));
    if exponent == 0 {
        return format!("{sign}{minor}");
    }
    format!(
        "{sign}{}.{:0width$}",
        minor / unit,
        minor % unit,
        width = exponent as usize
    )
}

#[test]
fn books_in_several_currencies_with_awkward_names_are_accepted() {
    let directory = tempfile::tempdir().expect("directory");
    let data = directory.path().join("data");
    let server = Server::start(&data);
    let mut key = 0;
    let mut post = |path: &str, body: Value| {
        key += 1;
        server.post(path, &format!("k{key}"), &body).ok()
    };
    for (currency, amount) in [("EUR", 1_239), ("JPY", 19), ("KWD", 1_000_009)] {
        let mut open = |owner: &str, external_id: &str, kind: &str| {
            let body = json!({ "owner": owner, "currency": currency, "kind": kind,
                "external_id": external_id, "overdraft": "unlimited" });
            post("/v1/accounts", body)["id"]
                .as_str()
                .expect("an id")
                .to_owned()
        };
        let names = [
            &format!("a b/{currency}"),
            &format!("a.b/{currency}"),
            &format!("ключ;{currency}"),
        ];
        let bank = open("platform", names[0], "external");
        let wallet = open("-odd.owner@x", names[1], "wallet");
        let shop = open("-odd.owner@x", names[2], "merchant");
        let pay = json!({ "amount": amount, "currency": currency, "source": bank, "destination": wallet,
            "description": "a; \"quoted\" | \\ odd  one", "reference": format!("r,{currency}; x: y"),
            "effective_at": "1999-12-31" });
        post("/v1/top_ups", pay);
        let pay = json!({ "amount": amount / 2, "currency": currency, "source": wallet, "destination": shop,
            "effective_at": "1998-01-01" });
        post("/v1/transfers", pay);
    }
    assert!(server.stop().success());
    check_exports(&data, Path::new(""));
}

#[test]
fn a_line_of_the_csv_says_what_it_was_with_whom_and_why() {
    let directory = tempfile::tempdir().expect("directory");
    let data = directory.path().join("data");
    let server = Server::start(&data);
    let open = |name: &str, kind: &str| {
        let body =
            json!({ "owner": name, "currency": "EUR", "kind": kind, "overdraft": "unlimited" });
        let opened = server.post("/v1/accounts", name, &body).ok();
        opened["id"].as_str().expect("an id").to_owned()
    };
    let (ann, shop, farm) = (
        open("ann", "wallet"),
        open("shop", "merchant"),
        open("farm", "merchant"),
    );
    let order = json!({ "amount": 100, "currency": "EUR", "source": ann, "reference": "order-1", "description": "apples",
        "capture_method": "manual", "expires_at": "2500-01-01T00:00:00Z",
        "splits": [{ "account": shop, "amount": 70 }, { "account": farm, "amount": 30 }] });
    let order = server.post("/v1/payments", "order", &order).ok();
    let id = order["id"].as_str().expect("an id");
    server
        .post(&format!("/v1/payments/{id}/capture"), "capture", &json!({}))
        .ok();
    let refund = json!({ "payment": id, "amount": 100, "description": "rotten" });
    server.post("/v1/refunds", "refund", &refund).ok();
    assert!(server.stop().success());
    let path = directory.path().join("books.csv");
    run_for(
        0,
        &[
            "export",
            "--data",
            text(&data),
            "--format",
            "csv",
            "-o",
            text(&path),
        ],
    );
    let mut reader = csv::Reader::from_path(&path).expect("opens");
    let columns = [
        "event",
        "kind",
        "owner",
        "amount",
        "counterparties",
        "counterparty_owners",
        "reference",
        "description",
    ];
    let rows: Vec<Vec<String>> = reader
        .deserialize::<BTreeMap<String, String>>()
        .map(|row| {
            let row = row.expect("reads");
            columns.map(|column| row[column].clone()).to_vec()
        })
        .collect();
    let two = format!("{shop} {farm}");
    let captured = ["payment.captured", "pay"];
    let given_back = ["payment.refunded", "pay"];
    let expected = [
        [
            &captured[..],
            &["ann", "-1.00", &two, "shop farm", "order-1", "apples"],
        ]
        .concat(),
        [
            &captured[..],
            &["shop", "0.70", &ann, "ann", "order-1", "apples"],
        ]
        .concat(),
        [
            &captured[..],
            &["farm", "0.30", &ann, "ann", "order-1", "apples"],
        ]
        .concat(),
        [
            &given_back[..],
            &["ann", "1.00", &two, "shop farm", "order-1", "rotten"],
        ]
        .concat(),
        [
            &given_back[..],
            &["shop", "-0.70", &ann, "ann", "order-1", "rotten"],
        ]
        .concat(),
        [
            &given_back[..],
            &["farm", "-0.30", &ann, "ann", "order-1", "rotten"],
        ]
        .concat(),
    ];
    assert_eq!(rows, expected);
}

#[test]
fn a_payment_on_the_first_or_last_of_all_days_does_not_spoil_the_books() {
    let directory = tempfile::tempdir().expect("directory");
    let data = directory.path().join("data");
    let server = Server::start(&data);
    let open = |name: &str| {
        let body = json!({ "owner": name, "currency": "EUR", "overdraft": "unlimited" });
        let opened = server.post("/v1/accounts", name, &body).ok();
        opened["id"].as_str().expect("an id").to_owned()
    };
    let (from, to) = (open("from"), open("to"));
    for day in ["0001-01-01", "9999-12-31"] {
        let body = json!({ "amount": 100, "currency": "EUR", "source": from, "destination": to,
            "effective_at": day });
        server.post("/v1/transfers", day, &body).ok();
    }
    assert!(server.stop().success());
    for (format, program, arguments) in [
        ("beancount", "bean-check", &[][..]),
        ("hledger", "hledger", &["check", "--strict", "-f"][..]),
    ] {
        let path = directory.path().join(format);
        let export = ["export", "--data", text(&data), "--format", format, "-o"];
        run_for(0, &[&export[..], &[text(&path)]].concat());
        let books = std::fs::read_to_string(&path).expect("reads");
        let dated = |line: &&str| line.starts_with(|c: char| c.is_ascii_alphanumeric());
        for line in books.lines().filter(dated) {
            assert!(!line.starts_with("day "), "{format}: {line}");
        }
        if let Some(program) = tool(program) {
            accepted(&program, &[arguments, &[text(&path)]].concat());
        }
    }
}
