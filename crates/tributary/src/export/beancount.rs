//! The books as a beancount ledger. Amounts are debit-positive there, so signs are turned.

use std::io::{self, Write};

use super::entry::{Accounts, Entry, date};
use crate::amount::decimal;

/// 9999-12-31, in days since 1970-01-01.
const DAY_MAX: i32 = 2_932_896;

/// What comes before the transactions: the accounts, each open from its first day.
pub(super) fn head(out: &mut dyn Write, title: &str, accounts: &Accounts) -> io::Result<()> {
    writeln!(out, "; {title}")?;
    writeln!(
        out,
        "; A customer's money is a liability: negative here, positive in Tributary.\n"
    )?;
    writeln!(out, "option \"title\" {}\n", quoted(title))?;
    for account in accounts.values() {
        writeln!(
            out,
            "{} open {} {}",
            date(account.first_day),
            account.name,
            account.currency
        )?;
        writeln!(out, "  id: {}", quoted(&account.id))?;
    }
    writeln!(out)
}

/// One transaction.
pub(super) fn entry(out: &mut dyn Write, accounts: &Accounts, entry: &Entry) -> io::Result<()> {
    let description = entry.description.as_deref().unwrap_or(&entry.event);
    writeln!(out, "{} * {}", date(entry.day), quoted(description))?;
    writeln!(out, "  id: {}", quoted(&entry.payment))?;
    writeln!(out, "  event: {}", quoted(&entry.event))?;
    if let Some(reference) = &entry.reference {
        writeln!(out, "  reference: {}", quoted(reference))?;
    }
    for (account, amount) in &entry.postings {
        let account = &accounts[account];
        let amount = decimal(-i128::from(*amount), account.exponent);
        writeln!(out, "  {}  {amount} {}", account.name, account.currency)?;
    }
    writeln!(out)
}

/// What comes after: the closing balance of every account. A balance is checked as a day begins, so
/// it is asserted for the day after the last. After the end of 9999 beancount knows no day.
pub(super) fn tail(out: &mut dyn Write, accounts: &Accounts, last_day: i32) -> io::Result<()> {
    if last_day >= DAY_MAX {
        return writeln!(
            out,
            "; No closing balances: there is no day after {}.",
            date(last_day)
        );
    }
    let day = date(last_day + 1);
    for account in accounts.values() {
        let balance = decimal(-i128::from(account.posted), account.exponent);
        let zero = decimal(0, account.exponent);
        writeln!(
            out,
            "{day} balance {}  {balance} ~ {zero} {}",
            account.name, account.currency
        )?;
    }
    Ok(())
}

fn quoted(text: &str) -> String {
    let plain: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    format!("\"{}\"", plain.replace('\\', "\\\\").replace('"', "\\\""))
}
