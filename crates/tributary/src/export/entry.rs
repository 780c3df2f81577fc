//! Accounts and entries that all export formats share.

use std::collections::{BTreeMap, HashMap};

use tributary_ledger::Date;
use tributary_ledger::codec::Record;

/// An account in an export.
#[derive(Debug, Clone)]
pub(crate) struct BookAccount {
    /// Id in the API.
    pub(crate) id: String,
    pub(crate) owner: String,
    pub(crate) external_id: Option<String>,
    pub(crate) kind: &'static str,
    pub(crate) currency: &'static str,
    pub(crate) exponent: u8,
    /// Date of the first posting, or of the opening if earlier, days since 1970-01-01.
    pub(crate) first_day: i32,
    /// Closing balance, minor units.
    pub(crate) posted: i64,
    /// Name in accounting programs; see [`name_accounts`].
    pub(crate) name: String,
}

/// All accounts, by the position of the record that opened each.
pub(crate) type Accounts = BTreeMap<u64, BookAccount>;

/// A record that moved money.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// Business date, days since 1970-01-01.
    pub(crate) day: i32,
    /// Id of the payment.
    pub(crate) payment: String,
    /// Kind of the payment, such as `top_up`.
    pub(crate) kind: &'static str,
    /// Type of the event, such as `payment.captured`.
    pub(crate) event: String,
    /// Description of the record, or else of the payment.
    pub(crate) description: Option<String>,
    /// Reference of the payment.
    pub(crate) reference: Option<String>,
    /// (account, amount in minor units; positive = into the account); none is zero.
    pub(crate) postings: Vec<(u64, i64)>,
}

/// Returns the business date of a record, in days since 1970-01-01.
pub(super) fn effective_day(record: &Record) -> i32 {
    record
        .command
        .effective_at
        .unwrap_or_else(|| Date::from_timestamp(record.ctx.timestamp))
        .0
}

/// Formats days since 1970-01-01 as `YYYY-MM-DD`.
pub(crate) fn date(day: i32) -> String {
    let epoch = jiff::civil::date(1970, 1, 1);
    epoch
        .checked_add(jiff::Span::new().days(day))
        .map_or_else(|_| format!("day {day}"), |date| date.to_string())
}

/// Gives every account a unique name that hledger and beancount both accept:
/// `Liabilities:Wallet:Ada:Savings`, from its kind, owner and external id.
pub(crate) fn name_accounts(accounts: &mut Accounts) {
    let mut uses: HashMap<String, usize> = HashMap::new();
    for account in accounts.values_mut() {
        account.name = readable_name(account);
        *uses.entry(account.name.clone()).or_default() += 1;
    }
    for account in accounts.values_mut() {
        // A readable name shared by two accounts, or an account without one, is told apart by its id.
        if uses[&account.name] > 1 || account.external_id.is_none() {
            account.name = format!("{}:{}", account.name, component(&account.id));
        }
    }
    let mut names: Vec<&String> = accounts.values().map(|account| &account.name).collect();
    names.sort_unstable();
    assert!(
        names.windows(2).all(|pair| pair[0] != pair[1]),
        "account names must differ"
    );
}

fn readable_name(account: &BookAccount) -> String {
    let (root, kind) = match account.kind {
        "wallet" => ("Liabilities", "Wallet"),
        "merchant" => ("Liabilities", "Merchant"),
        "external" => ("Assets", "External"),
        "fee" => ("Income", "Fee"),
        _ => ("Liabilities", "Suspense"),
    };
    let mut name = format!("{root}:{kind}:{}", component(&account.owner));
    if let Some(external_id) = &account.external_id {
        name.push(':');
        name.push_str(&component(external_id));
    }
    name
}

/// Replaces all characters but letters and digits by dashes, and begins with a capital or a digit.
fn component(text: &str) -> String {
    let mut name: String = text
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .collect();
    match name.chars().next() {
        Some(first) if first.is_ascii_alphanumeric() => name[..1].make_ascii_uppercase(),
        _ => name.insert(0, 'X'),
    }
    name
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn account(
        id: &str,
        owner: &str,
        external_id: Option<&str>,
        kind: &'static str,
    ) -> BookAccount {
        BookAccount {
            id: id.to_owned(),
            owner: owner.to_owned(),
            external_id: external_id.map(str::to_owned),
            kind,
            currency: "EUR",
            exponent: 2,
            first_day: 0,
            posted: 0,
            name: String::new(),
        }
    }

    #[test]
    fn accounts_that_look_alike_get_different_names() {
        let mut accounts: Accounts = [
            account("acct_1", "ada", Some("main/1"), "wallet"),
            account("acct_2", "ada", Some("main.1"), "wallet"),
            account("acct_3", "ada", None, "wallet"),
            account("acct_4", "-x", Some("ключ"), "fee"),
        ]
        .into_iter()
        .enumerate()
        .map(|(at, account)| (at as u64, account))
        .collect();
        name_accounts(&mut accounts);
        let names: Vec<&str> = accounts
            .values()
            .map(|account| account.name.as_str())
            .collect();
        assert_eq!(
            names,
            [
                "Liabilities:Wallet:Ada:Main-1:Acct-1",
                "Liabilities:Wallet:Ada:Main-1:Acct-2",
                "Liabilities:Wallet:Ada:Acct-3",
                "Income:Fee:X-x:X----",
            ]
        );
    }

    #[test]
    fn days_are_written_as_dates() {
        for (day, text) in [
            (0, "1970-01-01"),
            (-1, "1969-12-31"),
            (8766, "1994-01-01"),
            (20_453, "2025-12-31"),
        ] {
            assert_eq!(date(day), text);
        }
    }
}
