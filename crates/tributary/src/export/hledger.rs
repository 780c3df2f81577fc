//! Exports the books as an hledger journal. Debits are positive there, so signs are reversed.

use std::io::{self, Write};

use super::entry::{Accounts, Entry, date};
use crate::amount::decimal;

/// Writes the currencies and the accounts, before the transactions.
pub(super) fn head(out: &mut dyn Write, title: &str, accounts: &Accounts) -> io::Result<()> {
    writeln!(out, "; {title}")?;
    writeln!(
        out,
        "; A customer's money is a liability: negative here, positive in Tributary.\n"
    )?;
    let mut currencies: Vec<_> = accounts
        .values()
        .map(|account| (account.currency, account.exponent))
        .collect();
    currencies.sort_unstable();
    currencies.dedup();
    for (currency, exponent) in currencies {
        let zeros = "0".repeat(usize::from(exponent));
        writeln!(out, "commodity 1000.{zeros} {currency}")?;
    }
    writeln!(out)?;
    for account in accounts.values() {
        writeln!(out, "account {}  ; id:{}", account.name, account.id)?;
    }
    writeln!(out)
}

/// Writes a transaction.
pub(super) fn entry(out: &mut dyn Write, accounts: &Accounts, entry: &Entry) -> io::Result<()> {
    let description = entry
        .description
        .as_deref()
        .map_or_else(|| entry.event.clone(), plain);
    writeln!(
        out,
        "{} ({}) {description}  ; event:{}",
        date(entry.day),
        entry.payment,
        entry.event
    )?;
    if let Some(reference) = &entry.reference {
        writeln!(
            out,
            "    ; reference:{}",
            plain(reference).replace(',', " ")
        )?;
    }
    for (account, amount) in &entry.postings {
        let account = &accounts[account];
        let amount = decimal(-i128::from(*amount), account.exponent);
        writeln!(out, "    {}  {amount} {}", account.name, account.currency)?;
    }
    writeln!(out)
}

/// Writes the closing balance of every account, asserted on the last day, after the transactions.
pub(super) fn tail(out: &mut dyn Write, accounts: &Accounts, last_day: i32) -> io::Result<()> {
    if accounts.is_empty() {
        return Ok(());
    }
    writeln!(out, "{} closing balances", date(last_day))?;
    for account in accounts.values() {
        let (zero, currency) = (decimal(0, account.exponent), account.currency);
        let balance = decimal(-i128::from(account.posted), account.exponent);
        writeln!(
            out,
            "    {}  {zero} {currency} = {balance} {currency}",
            account.name
        )?;
    }
    Ok(())
}

/// Removes what hledger reads as syntax: `;` begins a comment, and two blanks end a field.
fn plain(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").replace(';', ",").replace('|', "/")
}
