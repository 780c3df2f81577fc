//! Files as banks and payment companies write them: read to the cent, or refused. Nothing becomes another amount silently.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::{Server, all_pages, json_for, repository, run, text};

/// A folder with a file and a map, and a data directory beside them.
struct Scene {
    folder: tempfile::TempDir,
}

impl Scene {
    fn new(file: &[u8], map: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let scene = Self { folder };
        std::fs::write(scene.path("map.toml"), map).expect("writes");
        scene.write(file);
        scene
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, file: &[u8]) {
        std::fs::write(self.path("file.csv"), file).expect("writes");
    }

    /// Imports the file, which must end with this code.
    fn import(&self, code: i32) -> Value {
        let (file, map, data) = (
            self.path("file.csv"),
            self.path("map.toml"),
            self.path("data"),
        );
        let report = self.path("report.csv");
        let arguments = [
            "import",
            text(&file),
            "--map",
            text(&map),
            "--data",
            text(&data),
        ];
        json_for(
            code,
            &[&arguments[..], &["--report", text(&report), "--json"]].concat(),
        )
    }

    /// Imports the file, which must be refused as a whole; gives what it said.
    fn refused(&self) -> String {
        let (file, map, data) = (
            self.path("file.csv"),
            self.path("map.toml"),
            self.path("data"),
        );
        let output = run(&[
            "import",
            text(&file),
            "--map",
            text(&map),
            "--data",
            text(&data),
        ]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(
            !data.exists(),
            "nothing is done with a file that is refused"
        );
        said
    }

    fn server(&self) -> Server {
        Server::start(&self.path("data"))
    }
}

/// A map for files with the columns id, day, amount, fee and text.
fn map(more: &str, amount: &str) -> String {
    format!(
        r#"
name = "file"
key = "{{id}}"
currency = "EUR"
amount = {{ column = "amount", unit = "decimal"{amount} }}
date = {{ column = "day" }}
{more}
[accounts.bank]
external_id = "bank"
kind = "external"
overdraft = "unlimited"
[accounts.shop]
external_id = "shop"
kind = "merchant"
[accounts.fees]
external_id = "fees"
kind = "fee"
[[rules]]
payment = "top_up"
from = "bank"
to = "shop"
description = "{{text}}"
"#
    )
}

const HEAD: &str = "id,day,amount,text\n";

/// The amounts of the payments, by description.
fn amounts(server: &Server) -> Vec<(String, u64)> {
    let payments = all_pages(server, "/v1/payments");
    let mut amounts: Vec<_> = payments
        .iter()
        .map(|payment| {
            let text = payment["description"].as_str().unwrap_or_default();
            (
                text.to_owned(),
                payment["amount"].as_u64().expect("an amount"),
            )
        })
        .collect();
    amounts.sort();
    amounts
}

#[test]
fn digits_in_wrong_groups_are_refused_and_never_read_as_another_amount() {
    for (amount, rows, right) in [
        (
            ", thousands = \",\"",
            ["\"12,34\"", "\"1,2\"", "\"0,999\"", "\"1,234.56\""],
            123_456,
        ),
        (
            ", thousands = \".\", decimal_mark = \",\"",
            ["0.99", "12.34", "0.999", "\"1.234,56\""],
            123_456,
        ),
        (
            ", thousands = \" \", decimal_mark = \",\"",
            [
                "1 2",
                "12\u{A0}34",
                "\"1 234\u{202F}567\"",
                "\"1\u{202F}234,56\"",
            ],
            123_456,
        ),
        (
            ", thousands = \",\", grouping = \"indian\"",
            ["\"123,456\"", "\"1,234,567\"", "\"12,34\"", "\"12,34,567\""],
            123_456_700,
        ),
    ] {
        let rows: Vec<String> = rows
            .iter()
            .enumerate()
            .map(|(at, row)| format!("{at},2026-01-01,{row},r{at}\n"))
            .collect();
        let file = format!("{HEAD}{}", rows.concat());
        let scene = Scene::new(file.as_bytes(), &map("", amount));
        let said = scene.import(3);
        assert_eq!(
            (&said["payments_made"], &said["refused"]),
            (&1.into(), &3.into()),
            "{said}"
        );
        assert_eq!(
            amounts(&scene.server()),
            [("r3".to_owned(), right)],
            "{amount}"
        );
    }
}

#[test]
fn a_quote_that_is_not_closed_refuses_the_file_before_anything_is_imported() {
    let (first, last) = ("1,2026-01-01,1.00,a\n", "4,2026-01-01,4.00,d\n");
    for (middle, line) in [
        // It would swallow what follows.
        ("2,2026-01-01,2.00,\"b\n3,2026-01-01,3.00,c\n", "line 3"),
        // It would swallow one row, up to the next quote.
        ("2,2026-01-01,2.00,\"b\n3,2026-01-01,3.00,\"c\"\n", "line 3"),
    ] {
        let file = format!("{HEAD}{first}{middle}{last}");
        let scene = Scene::new(file.as_bytes(), &map("", ""));
        let said = scene.refused();
        assert!(said.contains(line) && said.contains("quote"), "{said}");
        // A file that has no quoted fields says so in its map.
        std::fs::write(scene.path("map.toml"), map("csv = { quote = \"\" }", "")).expect("writes");
        assert_eq!(scene.import(0)["payments_made"], 4);
        let sum: u64 = amounts(&scene.server())
            .iter()
            .map(|(_, amount)| amount)
            .sum();
        assert_eq!(sum, 1_000);
    }
}

#[test]
fn equal_rows_are_reported_and_with_a_counter_both_are_imported_once() {
    let rows = "x,2026-01-01,2.00,coffee\nx,2026-01-01,2.00,coffee\ny,2026-01-01,3.00,tea\n";
    let scene = Scene::new(format!("{HEAD}{rows}").as_bytes(), &map("", ""));
    for (made, there) in [(2, 0), (0, 2)] {
        let said = scene.import(3);
        let counts = ["payments_made", "already_there", "refused"].map(|name| said[name].as_u64());
        assert_eq!(counts, [Some(made), Some(there), Some(1)], "{said}");
        assert_eq!(said["refusals"][0]["line"], 3);
        assert_eq!(said["refusals"][0]["code"], "key_repeated");
        let report = std::fs::read_to_string(scene.path("report.csv")).expect("reads");
        assert!(report.contains("3,file:x,key_repeated,"), "{report}");
    }

    let counted = map("", "").replace(
        "key = \"{id}\"",
        "key = \"{day}/{amount}/{text}/{occurrence}\"",
    );
    let scene = Scene::new(format!("{HEAD}{rows}").as_bytes(), &counted);
    let said = scene.import(0);
    assert_eq!(
        (&said["payments_made"], &said["already_there"]),
        (&3.into(), &0.into())
    );
    // The next file overlaps, and has a third one.
    let next = format!("{HEAD}{rows}z,2026-01-01,2.00,coffee\n");
    scene.write(next.as_bytes());
    let said = scene.import(0);
    assert_eq!(
        (&said["payments_made"], &said["already_there"]),
        (&1.into(), &3.into())
    );
    let coffee = ("coffee".to_owned(), 200);
    let all = [
        coffee.clone(),
        coffee.clone(),
        coffee,
        ("tea".to_owned(), 300),
    ];
    assert_eq!(amounts(&scene.server()), all);
}

#[test]
fn a_year_of_two_digits_is_refused_where_the_map_says_four() {
    let rows = "1,31.12.26,1.00,a\n2,31.12.2026,2.00,b\n";
    let days = map("", "").replace(
        "column = \"day\"",
        "column = \"day\", format = \"%d.%m.%Y\"",
    );
    let scene = Scene::new(format!("{HEAD}{rows}").as_bytes(), &days);
    let said = scene.import(3);
    let reason = said["refusals"][0]["reason"].as_str().expect("a reason");
    assert!(reason.contains("the year 26"), "{said}");
    assert_eq!(amounts(&scene.server()), [("b".to_owned(), 200)]);
}

#[test]
fn a_file_in_another_encoding_with_a_head_and_a_total_is_imported() {
    let options = "csv = { delimiter = \";\", encoding = \"windows-1252\", skip_lines = 2, skip_prefixes = [\"Summe\"] }";
    let amount =
        ", decimal_mark = \",\", thousands = \".\", symbols = { \"€\" = \"EUR\", \"$\" = \"USD\" }";
    let file = b"Kontoauszug \"M\xFCller\nDE00 1234\nid;day;amount;text\n1;2026-01-01;1.234,50 \x80;B\xFCcher\n\
                 2;2026-01-02;\x80 2,00;Caf\xE9\n3;2026-01-02;$ 2,00;dollars\nSumme;;1.236,50\n";
    let scene = Scene::new(file, &map(options, amount));
    let said = scene.import(3);
    let counts = ["rows", "payments_made", "left_out", "refused"].map(|name| said[name].as_u64());
    assert_eq!(counts, [Some(4), Some(2), Some(1), Some(1)], "{said}");
    assert_eq!(said["refusals"][0]["line"], 6);
    let wanted = [("Bücher".to_owned(), 123_450), ("Café".to_owned(), 200)];
    assert_eq!(amounts(&scene.server()), wanted);
}

#[test]
fn long_and_many_lined_descriptions_are_shortened_with_a_notice() {
    let long = "x".repeat(5_000);
    let file = format!("{HEAD}1,2026-01-01,1.00,\"rent\nof May\"\n2,2026-01-01,2.00,{long}\n");
    let scene = Scene::new(file.as_bytes(), &map("", ""));
    let said = scene.import(0);
    assert_eq!(
        (&said["payments_made"], &said["noticed"]),
        (&2.into(), &1.into()),
        "{said}"
    );
    assert_eq!(said["notices"][0]["line"], 4);
    assert_eq!(said["notices"][0]["code"], "description_cut");
    let report = std::fs::read_to_string(scene.path("report.csv")).expect("reads");
    assert!(report.contains("4,file:2,description_cut,"), "{report}");
    let cut = format!("{}…", "x".repeat(997));
    assert_eq!(
        amounts(&scene.server()),
        [("rent of May".to_owned(), 100), (cut, 200)]
    );
    assert_eq!(
        scene.import(0)["already_there"],
        2,
        "it is cut in the same way again"
    );
}

/// Balance by external id.
fn balances(server: &Server) -> Vec<(String, i64)> {
    let mut balances: Vec<_> = all_pages(server, "/v1/accounts")
        .iter()
        .map(|account| {
            let name = account["external_id"].as_str().expect("a name").to_owned();
            (name, account["posted"].as_i64().expect("an integer"))
        })
        .collect();
    balances.sort();
    balances
}

fn template(name: &str) -> String {
    let path: PathBuf = repository().join("examples").join(name);
    std::fs::read_to_string(path).expect("the template is there")
}

fn check_template(name: &str, file: &str, left_out: u64, expected: &[(&str, i64)]) {
    let scene = Scene::new(file.as_bytes(), &template(name));
    let said = scene.import(0);
    assert_eq!(said["left_out"], left_out, "{said}");
    let expected: Vec<_> = expected
        .iter()
        .map(|(name, posted)| ((*name).to_owned(), *posted))
        .collect();
    assert_eq!(balances(&scene.server()), expected, "{name}");
}

#[test]
fn the_templates_read_the_fees_of_stripe_and_paypal_with_the_right_sign() {
    check_template(
        "stripe-balance.toml",
        "id,Type,Source,Amount,Fee,Net,Currency,Created (UTC),Available On (UTC),Description\n\
         txn_1,charge,ch_1,100.00,3.20,96.80,eur,2026-03-01 10:00,2026-03-08 00:00,Order 1\n\
         txn_2,refund,re_1,-40.00,0.00,-40.00,eur,2026-03-02 11:00,2026-03-02 11:00,Order 1\n\
         txn_3,payout,po_1,-50.00,0.00,-50.00,eur,2026-03-09 00:00,2026-03-09 00:00,STRIPE PAYOUT\n",
        0,
        &[
            ("stripe-balance-EUR", 680),
            ("stripe-bank-EUR", 5_000),
            ("stripe-customers-EUR", -6_000),
            ("stripe-fees-EUR", 320),
        ],
    );
    check_template(
        "paypal-activity.toml",
        "\u{FEFF}\"Date\",\"Time\",\"TimeZone\",\"Name\",\"Type\",\"Status\",\"Currency\",\"Gross\",\"Fee\",\"Net\",\"Transaction ID\"\n\
         \"03/01/2026\",\"10:00:00\",\"CET\",\"Ada\",\"Express Checkout Payment\",\"Completed\",\"EUR\",\"1,000.00\",\"-25.25\",\"974.75\",\"1AB\"\n\
         \"03/01/2026\",\"10:01:00\",\"CET\",\"Bob\",\"Express Checkout Payment\",\"Pending\",\"EUR\",\"7.00\",\"0.00\",\"7.00\",\"2AB\"\n\
         \"03/02/2026\",\"10:00:00\",\"CET\",\"Ada\",\"Payment Refund\",\"Completed\",\"EUR\",\"-100.00\",\"0.00\",\"-100.00\",\"3AB\"\n\
         \"03/03/2026\",\"10:00:00\",\"CET\",\"\",\"General Withdrawal\",\"Completed\",\"EUR\",\"-500.00\",\"0.00\",\"-500.00\",\"4AB\"\n",
        1,
        &[
            ("paypal-balance-EUR", 37_475),
            ("paypal-bank-EUR", 50_000),
            ("paypal-customers-EUR", -90_000),
            ("paypal-fees-EUR", 2_525),
        ],
    );
}

#[test]
fn an_exported_text_is_never_a_formula() {
    let scene = Scene::new(
        format!(
            "{HEAD}1,2026-01-01,1.00,\"=HYPERLINK(\"\"http://x\"\")\"\n2,2026-01-01,2.00,-1+1\n"
        )
        .as_bytes(),
        &map("", ""),
    );
    scene.import(0);
    let (data, books) = (scene.path("data"), scene.path("books.csv"));
    let output = run(&[
        "export",
        "--data",
        text(&data),
        "--format",
        "csv",
        "-o",
        text(&books),
    ]);
    assert!(output.status.success());
    let cells = cells(&books);
    let texts: Vec<&str> = cells
        .iter()
        .map(|row| row["description"].as_str())
        .collect();
    let formula = "'=HYPERLINK(\"http://x\")";
    assert_eq!(texts, [formula, formula, "'-1+1", "'-1+1"]);
    // Numbers stay numbers.
    assert!(cells.iter().any(|row| row["amount"] == "-1.00"));
}

fn cells(path: &Path) -> Vec<std::collections::BTreeMap<String, String>> {
    let mut reader = csv::Reader::from_path(path).expect("opens");
    reader
        .deserialize()
        .map(|row| row.expect("reads"))
        .collect()
}
