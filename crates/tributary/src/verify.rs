//! `verify`: reads the whole journal, decides every command again, and adds up every balance.
//!
//! The sums are independent of the ledger's own sums, so that an error in either is found.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::ControlFlow;
use std::panic::AssertUnwindSafe;

use anyhow::Context as _;
use hex::FromHex;
use indicatif::ProgressBar;
use serde::Serialize;
use tributary_engine::NEWEST;
use tributary_journal::{DirDisk, ScanError, ScanOptions, ScanRecord, ScanReport, scan};
use tributary_ledger::codec::{self, Record};
use tributary_ledger::{
    Context, Outcome, RULES_VERSION, Rejection, Residency, WorkingSet, apply, decide, decide_group,
};

use crate::cli;
use crate::exit::{Exit, usage_error};
use crate::terminal::print_line;

/// Result of the verification.
#[derive(Debug, Serialize)]
struct Findings {
    ok: bool,
    records: u64,
    frames: u64,
    segments: u64,
    /// Number of bytes of an unfinished write at the end, which are not part of the journal.
    tail_bytes: u64,
    head_hash: String,
    /// Digest of all objects; equal for equal journals.
    state_digest: String,
    accounts: u64,
    payments: u64,
    /// Number of records of older rules, whose outcomes were applied without deciding again.
    records_of_older_rules: u64,
    currencies: Vec<Totals>,
    problem: Option<Problem>,
}

/// The trial balance of one currency, in minor units.
#[derive(Debug, Serialize)]
struct Totals {
    currency: &'static str,
    debit: String,
    credit: String,
    held: String,
}

/// The first error.
#[derive(Debug, Clone, Serialize)]
struct Problem {
    /// Position of the first affected record; 0 if there is none.
    position: u64,
    file: Option<String>,
    offset: Option<u64>,
    what: String,
}

impl Problem {
    fn new(position: u64, what: impl Into<String>) -> Self {
        Self {
            position,
            file: None,
            offset: None,
            what: what.into(),
        }
    }
}

/// Runs `verify`.
pub(crate) fn verify(arguments: &cli::Verify) -> anyhow::Result<Exit> {
    let anchor = match &arguments.anchor {
        None => None,
        Some(text) => {
            let anchor = FromHex::from_hex(text);
            Some(anchor.map_err(|_| usage_error("--anchor must be 64 hexadecimal digits"))?)
        }
    };
    let disk = DirDisk::new(&arguments.data);
    let mut auditor = Auditor::new();
    let bar = ProgressBar::new_spinner();
    let result = scan(&disk, &ScanOptions { anchor }, &mut |record| {
        if record.position.is_multiple_of(1_000) {
            bar.set_message(format!("{} records", record.position));
            bar.tick();
        }
        auditor.record(&record)
    });
    bar.finish_and_clear();
    let (report, damage) = match result {
        Ok(report) => (report, None),
        Err(ScanError::Stopped) => (ScanReport::default(), None),
        Err(ScanError::Damaged(damage)) => {
            let file = Some(damage.file).filter(|file| !file.is_empty());
            let what = damage.what.to_owned();
            let problem = Problem {
                position: damage.position,
                file,
                offset: Some(damage.offset),
                what,
            };
            (ScanReport::default(), Some(problem))
        }
        Err(error @ ScanError::AnchorMissing) => (
            ScanReport::default(),
            Some(Problem::new(0, error.to_string())),
        ),
        Err(error) => {
            return Err(error)
                .with_context(|| format!("cannot verify {}", arguments.data.display()));
        }
    };
    let findings = auditor.finish(&report, damage);
    print_findings(&findings, arguments)?;
    Ok(if findings.ok {
        Exit::Done
    } else {
        Exit::NotVerified
    })
}

/// Independent sums of one account.
#[derive(Debug, Default, Clone, Copy)]
struct Sums {
    posted: i64,
    last: u64,
    legs: u64,
}

struct Auditor {
    set: WorkingSet,
    sums: HashMap<u64, Sums>,
    /// Digests of (owner, idempotency key) of all records.
    keys: HashSet<[u8; 16]>,
    /// Records of a linked group whose last record has not been read yet.
    group: Vec<Record>,
    group_rules: u16,
    records: u64,
    older_rules: u64,
    encoded: Vec<u8>,
    problem: Option<Problem>,
}

impl Auditor {
    fn new() -> Self {
        Self {
            set: WorkingSet::new(Residency::Everything),
            sums: HashMap::new(),
            keys: HashSet::new(),
            group: Vec::new(),
            group_rules: RULES_VERSION,
            records: 0,
            older_rules: 0,
            encoded: Vec::new(),
            problem: None,
        }
    }

    fn record(&mut self, scanned: &ScanRecord<'_>) -> ControlFlow<()> {
        match self.check(scanned) {
            Ok(()) => ControlFlow::Continue(()),
            Err(problem) => {
                self.problem = Some(problem);
                ControlFlow::Break(())
            }
        }
    }

    fn check(&mut self, scanned: &ScanRecord<'_>) -> Result<(), Problem> {
        let position = scanned.position;
        let wrong = |what: &str| Problem::new(position, what);
        let versions = scanned.versions;
        if versions.rules == 0 || !versions.are_known_to(NEWEST) {
            return Err(wrong(
                "it is of a format or of rules that this version does not know",
            ));
        }
        let record = codec::decode(scanned.payload, versions.format)
            .map_err(|error| Problem::new(position, error.to_string()))?;
        if record.ctx
            != (Context {
                position,
                timestamp: scanned.timestamp,
            })
        {
            return Err(wrong(
                "the record has another position or time than its frame",
            ));
        }
        // The text that the digest covers is not on record of what the actor may not do.
        let refused = record.outcome.rejection;
        let whole = !refused.is_some_and(Rejection::concerns_actor);
        if whole && record.digest != record.command.digest() {
            return Err(wrong(
                "the digest of the command is not that of the command",
            ));
        }
        self.encoded.clear();
        codec::encode(
            &record.command,
            &record.digest,
            &record.outcome,
            record.ctx,
            versions.format,
            &mut self.encoded,
        );
        if self.encoded != scanned.payload {
            return Err(wrong("the record written again has other bytes"));
        }
        if !self.keys.insert(key_digest(&record)) {
            return Err(wrong("the idempotency key was used before"));
        }
        self.add_up(&record)?;
        self.records += 1;
        if self.group.is_empty() {
            self.group_rules = versions.rules;
        }
        let ends = !record.command.linked;
        self.group.push(record);
        if ends { self.decide_again() } else { Ok(()) }
    }

    /// Adds the record's legs to the sums, and compares the sums with the record.
    fn add_up(&mut self, record: &Record) -> Result<(), Problem> {
        let position = record.ctx.position;
        let mut per_currency: BTreeMap<&str, i128> = BTreeMap::new();
        for leg in &record.outcome.legs {
            *per_currency.entry(leg.currency.code()).or_default() += i128::from(leg.amount);
            let sums = self.sums.entry(leg.account.0).or_default();
            if leg.prev != sums.last || leg.seq != sums.legs + 1 {
                return Err(Problem::new(
                    position,
                    format!("the chain of account {} is broken", leg.account.0),
                ));
            }
            sums.posted = sums.posted.checked_add(leg.amount).ok_or_else(|| {
                Problem::new(position, format!("account {} overflows", leg.account.0))
            })?;
            sums.last = position;
            sums.legs += 1;
            if sums.posted != leg.posted_after {
                let what = format!(
                    "account {} adds up to {}, but the record says {}",
                    leg.account.0, sums.posted, leg.posted_after
                );
                return Err(Problem::new(position, what));
            }
        }
        match per_currency.into_iter().find(|(_, sum)| *sum != 0) {
            None => Ok(()),
            Some((currency, sum)) => Err(Problem::new(
                position,
                format!("the postings in {currency} sum to {sum}, not to zero"),
            )),
        }
    }

    /// Decides the complete group again and compares. A panic inside the rules becomes an error of the journal.
    fn decide_again(&mut self) -> Result<(), Problem> {
        let group = std::mem::take(&mut self.group);
        let Some(first) = group.first() else {
            return Ok(());
        };
        let first = first.ctx;
        if self.group_rules != RULES_VERSION {
            self.older_rules += group.len() as u64;
            return catch_panic(first.position, || {
                for record in &group {
                    apply(&mut self.set, &record.command, &record.outcome, record.ctx);
                }
            });
        }
        let set = &mut self.set;
        let mut outcomes: Vec<Outcome> = Vec::new();
        catch_panic(first.position, || {
            if let [record] = group.as_slice() {
                let outcome = decide(set, &record.command, record.ctx);
                apply(set, &record.command, &outcome, record.ctx);
                outcomes.push(outcome);
            } else {
                let commands: Vec<_> = group.iter().map(|record| record.command.clone()).collect();
                outcomes = decide_group(set, &commands, first);
            }
        })?;
        for (record, outcome) in group.iter().zip(&outcomes) {
            if record.outcome != *outcome {
                let what = format!(
                    "decided again, the outcome is another: recorded {}, now {}",
                    describe_outcome(&record.outcome),
                    describe_outcome(outcome)
                );
                return Err(Problem::new(record.ctx.position, what));
            }
        }
        Ok(())
    }

    fn finish(mut self, report: &ScanReport, damage: Option<Problem>) -> Findings {
        if self.problem.is_none() {
            self.problem = damage;
        }
        if self.problem.is_none() {
            self.problem = match self.group.first() {
                None => self.compare_balances().err(),
                Some(first) => Some(Problem::new(first.ctx.position, "a group has no end")),
            };
        }
        let totals = self.set.totals();
        Findings {
            ok: self.problem.is_none(),
            records: self.records,
            frames: report.frames,
            segments: report.segments,
            tail_bytes: report.tail_bytes,
            head_hash: hex::encode(report.head.hash),
            state_digest: hex::encode(self.set.digest()),
            accounts: self.set.account_count() as u64,
            payments: self.set.payment_count() as u64,
            records_of_older_rules: self.older_rules,
            currencies: totals
                .iter()
                .map(|(currency, totals)| Totals {
                    currency: currency.code(),
                    debit: totals.debit.to_string(),
                    credit: totals.credit.to_string(),
                    held: totals.held.to_string(),
                })
                .collect(),
            problem: self.problem,
        }
    }

    /// Compares the ledger's balances with the sums, and its holds with the open payments; checks the trial balance.
    fn compare_balances(&self) -> Result<(), Problem> {
        let mut held: HashMap<u64, u64> = HashMap::new();
        for payment in self.set.payments() {
            *held.entry(payment.source.0).or_default() += payment.held;
        }
        let mut trial: BTreeMap<&str, i128> = BTreeMap::new();
        for account in self.set.accounts() {
            let sums = self.sums.get(&account.id.0).copied().unwrap_or_default();
            if account.posted != sums.posted {
                let what = format!(
                    "account {} has {} and adds up to {}",
                    account.id.0, account.posted, sums.posted
                );
                return Err(Problem::new(account.changed_at(), what));
            }
            let holds = held.remove(&account.id.0).unwrap_or_default();
            if account.held != holds {
                let what = format!(
                    "account {} holds {} for payments that hold {holds}",
                    account.id.0, account.held
                );
                return Err(Problem::new(account.changed_at(), what));
            }
            *trial.entry(account.currency.code()).or_default() += i128::from(sums.posted);
        }
        if self
            .sums
            .keys()
            .any(|id| self.set.account(tributary_ledger::AccountId(*id)).is_none())
        {
            return Err(Problem::new(
                0,
                "there are postings to an account that does not exist",
            ));
        }
        match trial.into_iter().find(|(_, sum)| *sum != 0) {
            None => Ok(()),
            Some((currency, sum)) => Err(Problem::new(
                0,
                format!("all accounts in {currency} sum to {sum}, not to zero"),
            )),
        }
    }
}

fn key_digest(record: &Record) -> [u8; 16] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&record.command.actor.owner.0.to_le_bytes());
    hasher.update(record.command.key.as_bytes());
    let mut digest = [0; 16];
    digest.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    digest
}

fn catch_panic(position: u64, work: impl FnOnce()) -> Result<(), Problem> {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let result = std::panic::catch_unwind(AssertUnwindSafe(work));
    std::panic::set_hook(hook);
    result.map_err(|panic| {
        let what = panic.downcast_ref::<String>().cloned();
        let what = what.or_else(|| panic.downcast_ref::<&str>().map(|&text| text.to_owned()));
        Problem::new(
            position,
            format!(
                "an invariant of the rules does not hold: {}",
                what.unwrap_or_default()
            ),
        )
    })
}

fn describe_outcome(outcome: &Outcome) -> String {
    match outcome.rejection {
        Some(rejection) => format!("refused ({})", rejection.code()),
        None => format!("accepted, {} legs", outcome.legs.len()),
    }
}

fn print_findings(findings: &Findings, arguments: &cli::Verify) -> anyhow::Result<()> {
    if arguments.json {
        print_line(&serde_json::to_string(findings)?);
        return Ok(());
    }
    if let Some(problem) = &findings.problem {
        print_line(&format!("DAMAGED: {}", problem.what));
        if let Some(file) = &problem.file {
            print_line(&format!(
                "  file      {file}, byte {}",
                problem.offset.unwrap_or_default()
            ));
        }
        if problem.position > 0 {
            print_line(&format!("  position  {}", problem.position));
        }
        print_line(&format!("{} records before it are whole", findings.records));
        return Ok(());
    }
    print_line(&format!(
        "whole: {} records in {} frames",
        findings.records, findings.frames
    ));
    print_line(&format!(
        "  {} accounts, {} payments, every decision and balance agrees",
        findings.accounts, findings.payments
    ));
    for totals in &findings.currencies {
        let (currency, debit, credit) = (totals.currency, &totals.debit, &totals.credit);
        print_line(&format!(
            "  {currency}: debit {debit} = credit {credit} minor units"
        ));
    }
    if findings.records_of_older_rules > 0 {
        let count = findings.records_of_older_rules;
        print_line(&format!(
            "  {count} records are of older rules: checked and added up, but not decided again"
        ));
    }
    if findings.tail_bytes > 0 {
        print_line(&format!(
            "  {} bytes of an unfinished write follow; they are no part of the journal",
            findings.tail_bytes
        ));
    }
    print_line(&format!(
        "  hash {}  (keep it elsewhere, for --anchor)",
        findings.head_hash
    ));
    Ok(())
}
