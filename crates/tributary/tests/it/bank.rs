//! 49,102 real bank transactions, and what must come out of them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::support::{
    FIRST_RECORDS, Server, all_pages, json_for, nothing_may_be_skipped, repository, text,
};

const ROWS: u64 = 49_102;
/// 1,229 customers, 13 other banks, cash, cards, two fee accounts and interest.
const ACCOUNTS: u64 = 1_229 + 13 + 5;
/// The bank printed balances rounded to 10 minor units, so each row may add so much of a difference.
const ROUNDING_PER_ROW: i64 = 10;
/// The accounts that have one day each whose rows do not chain: the extract lacks some.
const UNCHAINED: [u32; 28] = [
    2867, 2876, 2880, 2881, 2884, 2894, 2895, 2896, 2902, 2907, 2925, 2926, 2932, 2933, 2938, 2940,
    2951, 2958, 2962, 2970, 2974, 10451, 10738, 10940, 11013, 11021, 11065, 11135,
];

/// What the file says of one customer.
#[derive(Debug, Default, Clone)]
pub(crate) struct Expected {
    /// Exact sum of the amounts.
    pub(crate) sum: i64,
    pub(crate) rows: i64,
    /// The last balance that the bank printed.
    printed: i64,
    unchained: bool,
}

/// The CSV file; none if the tests run where it is not and may skip.
pub(crate) fn csv() -> Option<PathBuf> {
    let path = repository().join("../shared/data/bank-1993.csv");
    if path.is_file() {
        return Some(path);
    }
    assert!(
        !nothing_may_be_skipped(),
        "the bank's data is missing: {}",
        path.display()
    );
    eprintln!("SKIPPED: the bank's data is missing: {}", path.display());
    None
}

pub(crate) fn map() -> PathBuf {
    repository().join("examples/bank-1993.toml")
}

/// Adds up the file by itself, without any code of the product.
pub(crate) fn expected(csv: &Path) -> BTreeMap<u32, Expected> {
    let file = std::fs::read_to_string(csv).expect("reads");
    let mut accounts: BTreeMap<u32, Expected> = BTreeMap::new();
    for line in file.lines().skip(1) {
        let fields: Vec<&str> = line.trim_end().split(',').collect();
        assert_eq!(fields.len(), 10, "{line}");
        let account = accounts
            .entry(fields[1].parse().expect("a number"))
            .or_default();
        let amount: i64 = fields[6].parse().expect("a number");
        let amount = if fields[3] == "credit" {
            amount
        } else {
            -amount
        };
        let printed: i64 = fields[7].parse().expect("a number");
        account.unchained |= (account.printed + amount - printed).abs() > ROUNDING_PER_ROW;
        account.printed = printed;
        account.sum += amount;
        account.rows += 1;
    }
    accounts
}

/// The balances that a server has, customers by number, all others by external id.
fn balances(server: &Server) -> (BTreeMap<u32, i64>, BTreeMap<String, i64>) {
    let (mut customers, mut others) = (BTreeMap::new(), BTreeMap::new());
    for account in all_pages(server, "/v1/accounts") {
        let name = account["external_id"]
            .as_str()
            .expect("an external id")
            .to_owned();
        let posted = account["posted"].as_i64().expect("an integer");
        match account["owner"]
            .as_str()
            .expect("an owner")
            .strip_prefix("customer-")
        {
            Some(number) => {
                assert_eq!(number, name);
                customers.insert(number.parse().expect("a number"), posted);
            }
            None => drop(others.insert(name, posted)),
        }
    }
    (customers, others)
}

/// The first rows of the file, as a file of their own: killing needs no more, unless it is asked for.
pub(crate) fn first_rows(csv: &Path, folder: &Path, rows: usize) -> PathBuf {
    let file = std::fs::read_to_string(csv).expect("reads");
    let head: String = file.split_inclusive('\n').take(1 + rows).collect();
    let path = folder.join("first-rows.csv");
    std::fs::write(&path, head).expect("writes");
    path
}

/// Every balance of a server that holds the whole import, against the file.
pub(crate) fn check_balances(server: &Server, csv: &Path) {
    let expected = expected(csv);
    let (customers, others) = balances(server);
    let sums: BTreeMap<u32, i64> = expected
        .iter()
        .map(|(account, expected)| (*account, expected.sum))
        .collect();
    assert!(
        customers == sums,
        "some closing balance is not the exact sum of its amounts"
    );
    let total: i64 = customers.values().chain(others.values()).sum();
    assert_eq!(total, 0, "all accounts together are zero");
    for (account, expected) in expected.iter().filter(|(_, expected)| !expected.unchained) {
        let off = (customers[account] - expected.printed).abs();
        assert!(
            off <= ROUNDING_PER_ROW * expected.rows,
            "account {account} is {off} off the printed balance"
        );
    }
    let trial = server.get("/v1/trial_balance");
    let credits: i64 = customers
        .values()
        .chain(others.values())
        .filter(|posted| **posted > 0)
        .sum();
    assert_eq!(trial["balanced"], true);
    assert_eq!(trial["currencies"][0]["currency"], "CZK");
    assert_eq!(trial["currencies"][0]["credits"], credits.to_string());
    assert_eq!(trial["currencies"][0]["debits"], credits.to_string());
}

/// Imports the bank into a directory that no server uses.
pub(crate) fn import(csv: &Path, data: &Path, code: i32) -> serde_json::Value {
    json_for(
        code,
        &[
            "import",
            text(csv),
            "--map",
            text(&map()),
            "--data",
            text(data),
            "--json",
        ],
    )
}

#[test]
fn a_bank_of_1993_is_imported_to_the_haler_and_importing_again_changes_nothing() {
    let Some(csv) = csv() else { return };
    let directory = tempfile::tempdir().expect("directory");
    let data = directory.path().join("data");

    let first = import(&csv, &data, 0);
    assert_eq!(first["rows"], ROWS);
    assert_eq!(first["payments_made"], ROWS);
    assert_eq!(first["already_there"], 0);
    assert_eq!(first["refused"], 0);
    assert_eq!(first["accounts_opened"], ACCOUNTS);

    let server = Server::start(&data);
    check_balances(&server, &csv);
    let unchained = expected(&csv)
        .into_iter()
        .filter(|(_, expected)| expected.unchained);
    assert_eq!(
        unchained
            .map(|(account, _)| account)
            .collect::<BTreeSet<_>>(),
        BTreeSet::from(UNCHAINED)
    );
    let head = server.get("/v1/journal/head");
    // Records: the payments, the accounts, and those of the first start of a server.
    assert_eq!(head["position"], ROWS + ACCOUNTS + FIRST_RECORDS);

    let (map, url) = (map(), server.url());
    let arguments = [
        "import",
        text(&csv),
        "--map",
        text(&map),
        "--json",
        "--server",
        &url,
    ];
    let again = json_for(
        0,
        &[&arguments[..], &["--api-key-file", server.key_file()]].concat(),
    );
    assert_eq!(again["payments_made"], 0);
    assert_eq!(again["already_there"], ROWS);
    assert_eq!(again["accounts_opened"], 0);
    assert_eq!(server.get("/v1/journal/head"), head, "nothing was added");
    check_balances(&server, &csv);
    assert!(server.stop().success());

    let verified = json_for(0, &["verify", "--data", text(&data), "--json"]);
    assert_eq!(verified["ok"], true);
    assert_eq!(verified["records"], ROWS + ACCOUNTS + FIRST_RECORDS);
    assert_eq!(verified["head_hash"], head["hash"]);
    crate::books::check_exports(&data, &csv);
}
