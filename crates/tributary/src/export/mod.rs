//! `export`: writes the books in the format of another program.
//!
//! Two passes over the journal: one for the accounts, their names and closing balances, one that writes. Memory
//! is bounded by the number of accounts, and of payments that were changed after their first record. The directory is only read; records that a server adds meanwhile are left out.

mod beancount;
mod entry;
mod hledger;
mod lines;

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::ops::ControlFlow;
use std::path::Path;

use anyhow::Context as _;
use tributary_engine::{IdKind, Ids};
use tributary_journal::{DirDisk, ScanError, ScanOptions, scan};
use tributary_ledger::codec::{Record, RecordRef};
use tributary_ledger::{AccountKind, Body, FORMAT_VERSION, PaymentKind, event_type};

use self::entry::{Accounts, BookAccount, Entry, effective_day, name_accounts};
use crate::cli::{self, Format};
use crate::exit::Exit;

/// Runs `export`.
pub(crate) fn export(arguments: &cli::Export) -> anyhow::Result<Exit> {
    let book = Book::open(&arguments.data)?;
    match &arguments.output {
        None => write_book(
            &book,
            arguments.format,
            &mut BufWriter::new(io::stdout().lock()),
        )?,
        Some(path) => {
            let file =
                File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
            let mut out = BufWriter::new(file);
            write_book(&book, arguments.format, &mut out)?;
            out.into_inner()
                .map_err(io::IntoInnerError::into_error)?
                .sync_all()?;
        }
    }
    Ok(Exit::Done)
}

/// Accounts of a journal at one position.
struct Book {
    disk: DirDisk,
    ids: Ids,
    accounts: Accounts,
    /// Payments that later records posted for: captures, refunds, payments that were queued.
    continued: HashSet<u64>,
    /// Position of the last record of this export.
    last_position: u64,
    last_day: i32,
    title: String,
}

impl Book {
    fn open(dir: &Path) -> anyhow::Result<Self> {
        let disk = DirDisk::new(dir);
        let meta = tributary_journal::read_meta(&disk)
            .with_context(|| format!("cannot read {}", dir.display()))?;
        let epochs: Vec<_> = meta
            .epochs
            .iter()
            .map(|epoch| (epoch.number, epoch.first_position))
            .collect();
        let ids = Ids::new(&meta.id_key, &epochs);
        let mut accounts = Accounts::new();
        let mut continued = HashSet::new();
        let mut last_day = i32::MIN;
        let mut last_position = 0;
        let report = each_record(&disk, u64::MAX, &mut |record, _| {
            last_position = record.ctx.position;
            let day = effective_day(record);
            if let (Body::OpenAccount(_), None) = (&record.command.body, record.outcome.rejection) {
                let account = account_from(record, &ids)?;
                accounts.insert(record.ctx.position, account);
            }
            if let Some(payment) = &record.outcome.payment
                && payment.id.0 != record.ctx.position
            {
                continued.insert(payment.id.0);
            }
            for leg in record.outcome.legs.iter().filter(|leg| leg.amount != 0) {
                let account = accounts
                    .get_mut(&leg.account.0)
                    .context("a posting to an unknown account")?;
                account.posted = leg.posted_after;
                account.first_day = account.first_day.min(day);
                last_day = last_day.max(day);
            }
            Ok(())
        })?;
        name_accounts(&mut accounts);
        // Without a posting nothing but the opening of accounts is asserted.
        let opened = accounts
            .values()
            .map(|account| account.first_day)
            .max()
            .unwrap_or(0);
        let hash = hex::encode(report.head.hash);
        let title = format!("Tributary, {last_position} records, journal hash {hash}");
        Ok(Self {
            disk,
            ids,
            accounts,
            continued,
            last_position,
            last_day: last_day.max(opened),
            title,
        })
    }
}

fn account_from(record: &Record, ids: &Ids) -> anyhow::Result<BookAccount> {
    let Body::OpenAccount(body) = &record.command.body else {
        anyhow::bail!("not the opening of an account");
    };
    Ok(BookAccount {
        id: ids.encode(IdKind::Account, record.ctx.position),
        owner: body.owner.as_str().to_owned(),
        external_id: body.external_id.as_ref().map(|id| id.as_str().to_owned()),
        kind: kind_name(body.kind),
        currency: body.currency.code(),
        exponent: body.currency.exponent(),
        first_day: effective_day(record),
        posted: 0,
        name: String::new(),
    })
}

/// Calls `each` with every decoded record up to `last_position` and the type of its event.
fn each_record(
    disk: &DirDisk,
    last_position: u64,
    each: &mut dyn FnMut(&Record, &str) -> anyhow::Result<()>,
) -> anyhow::Result<tributary_journal::ScanReport> {
    let mut failure = None;
    let result = scan(disk, &ScanOptions::default(), &mut |scanned| {
        if scanned.position > last_position {
            return ControlFlow::Break(());
        }
        let done = RecordRef::parse(scanned.payload, FORMAT_VERSION)
            .and_then(|record| Ok((record.to_record()?, event_type(&record))))
            .map_err(anyhow::Error::from)
            .and_then(|(record, event)| each(&record, event))
            .with_context(|| format!("record {}", scanned.position));
        match done {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                failure = Some(error);
                ControlFlow::Break(())
            }
        }
    });
    if let Some(error) = failure {
        return Err(error);
    }
    match result {
        Ok(report) => Ok(report),
        Err(ScanError::Stopped) => Ok(tributary_journal::ScanReport::default()),
        Err(error) => {
            Err(error).context("the journal cannot be read; run `tributary verify` for details")
        }
    }
}

fn write_book(book: &Book, format: Format, out: &mut dyn Write) -> anyhow::Result<()> {
    match format {
        Format::Hledger => hledger::head(out, &book.title, &book.accounts)?,
        Format::Beancount => beancount::head(out, &book.title, &book.accounts)?,
        Format::Csv => lines::csv_head(out)?,
        Format::Jsonl => {}
    }
    let mut texts = Texts::default();
    each_record(&book.disk, book.last_position, &mut |record, event| {
        if format == Format::Jsonl {
            return lines::json(out, record, event, &book.ids);
        }
        texts.note(record, &book.continued);
        let Some(entry) = to_entry(record, event, &book.ids, &texts) else {
            return Ok(());
        };
        match format {
            Format::Hledger => hledger::entry(out, &book.accounts, &entry)?,
            Format::Beancount => beancount::entry(out, &book.accounts, &entry)?,
            Format::Csv | Format::Jsonl => lines::csv_rows(out, &book.accounts, record, &entry)?,
        }
        Ok(())
    })?;
    match format {
        Format::Hledger => hledger::tail(out, &book.accounts, book.last_day)?,
        Format::Beancount => beancount::tail(out, &book.accounts, book.last_day)?,
        Format::Csv | Format::Jsonl => {}
    }
    out.flush()?;
    Ok(())
}

/// Reference and description of payments, for the records that go on with them.
#[derive(Default)]
struct Texts {
    of_payments: HashMap<u64, (Option<String>, Option<String>)>,
}

impl Texts {
    /// Keeps the texts of a payment that later records go on with.
    fn note(&mut self, record: &Record, continued: &HashSet<u64>) {
        if continued.contains(&record.ctx.position) {
            let texts = own_texts(record);
            if texts != (None, None) {
                self.of_payments.insert(record.ctx.position, texts);
            }
        }
    }
}

/// Reference and description in the record itself.
fn own_texts(record: &Record) -> (Option<String>, Option<String>) {
    let reference = match &record.command.body {
        Body::Pay(pay) => pay.reference.as_ref().map(ToString::to_string),
        _ => None,
    };
    let description = lines::notes(record)["description"]
        .as_str()
        .map(str::to_owned);
    (reference, description)
}

/// Returns the record as an entry of the books; none if no money moved.
fn to_entry(record: &Record, event: &str, ids: &Ids, texts: &Texts) -> Option<Entry> {
    let legs = record.outcome.legs.iter().filter(|leg| leg.amount != 0);
    let postings: Vec<_> = legs.map(|leg| (leg.account.0, leg.amount)).collect();
    if postings.is_empty() {
        return None;
    }
    let payment = record.outcome.payment.as_ref()?;
    let (reference, description) = own_texts(record);
    let first = texts.of_payments.get(&payment.id.0);
    let (first_reference, first_description) = first.cloned().unwrap_or_default();
    Some(Entry {
        day: effective_day(record),
        payment: ids.encode(IdKind::Payment, payment.id.0),
        kind: payment_kind_name(payment.kind),
        event: event.to_owned(),
        description: description.or(first_description),
        reference: reference.or(first_reference),
        postings,
    })
}

fn payment_kind_name(kind: PaymentKind) -> &'static str {
    match kind {
        PaymentKind::Pay => "pay",
        PaymentKind::Transfer => "transfer",
        PaymentKind::TopUp => "top_up",
        PaymentKind::Payout => "payout",
        PaymentKind::Adjustment => "adjustment",
        PaymentKind::PayoutReturn => "payout_return",
    }
}

fn kind_name(kind: AccountKind) -> &'static str {
    match kind {
        AccountKind::Wallet => "wallet",
        AccountKind::Merchant => "merchant",
        AccountKind::External => "external",
        AccountKind::Fee => "fee",
        AccountKind::Suspense => "suspense",
    }
}
