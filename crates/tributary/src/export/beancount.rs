//! Exports the books as a beancount ledger. Debits are positive there, so signs are reversed.

use std::io::{self, Write};

use super::entry::{Accounts, Entry, date};
use crate::amount::decimal;

/// 9999-12-31, in days since 1970-01-01.
const DAY_MAX: i32 = 2_932_896;

/// Writes the accounts, each open from its first day, before the transactions.
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

/// Writes a transaction.
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

/// Writes the closing balance of every account, after the transactions. beancount checks a balance at the beginning of a day, so
/// the balance is asserted for the day after the last. beancount has no day after the end of 9999.
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
