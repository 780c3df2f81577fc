//! Runs an import: for each chunk of rows, first opens the accounts, then makes the payments, each with its own idempotency key.

use std::collections::HashMap;
use std::io::Write as _;
use std::path::Path;

use anyhow::Context as _;
use indicatif::{ProgressBar, ProgressStyle};
use tributary_api::map::AccountName;

use super::keys::Keys;
use super::map::Map;
use super::movement::{AccountSpec, Plan, RowPayment, owner_and_external_id};
use super::report::{Notice, Refusal, Report, Summary};
use super::rows::{Next, Row, Rows};
use super::wire;
use crate::batch::{self, CommandResult};
use crate::cli;
use crate::client::Client;
use crate::exit::{Exit, usage_error};
use crate::local_server::LocalServer;
use crate::stop::StopSignal;

/// Number of rows per batch: large enough to share the sync of a batch, small enough to show progress.
const CHUNK_ROWS_MAX: usize = 1_000;
/// Error codes of an account that exists but was opened in another way.
const ACCOUNT_EXISTS_CODES: [&str; 2] = ["external_id_in_use", "idempotency_key_reused"];

/// Runs `import`.
pub(crate) fn import(arguments: &cli::Import) -> anyhow::Result<Exit> {
    let map = Map::open(&arguments.map)?;
    let digest = if map.key.is_none() {
        file_digest(&arguments.file)?
    } else {
        String::new()
    };
    Rows::check_structure(&arguments.file, &map.csv)?;
    let mut rows = Rows::open(&arguments.file, &map.csv)?;
    let plan = Plan::new(&map, rows.columns(), &digest)?;
    let mut report = Report::new(arguments.report.as_deref())?;
    let bar = progress_bar(&arguments.file)?;
    let stop = StopSignal::install()?;

    let finished = if arguments.check {
        process_chunks(
            &mut rows,
            &plan,
            &mut report,
            &bar,
            &stop,
            &mut |payments, report| {
                report.summary.payments_made += payments.len() as u64;
                Ok(())
            },
        )?
    } else {
        // Kept until the end: dropping it stops the server in this process.
        let local = arguments
            .data
            .as_deref()
            .map(LocalServer::start)
            .transpose()?;
        let mut client = match &local {
            Some(local) => local.client()?,
            None if arguments.server.server.is_none() => {
                return Err(usage_error("say where to: --server URL, or --data DIR"));
            }
            None => arguments.server.client()?,
        };
        check_server(&mut client)?;
        let mut target = Target {
            client,
            accounts: HashMap::new(),
        };
        let finished = process_chunks(
            &mut rows,
            &plan,
            &mut report,
            &bar,
            &stop,
            &mut |payments, report| target.write(payments, report),
        )?;
        if let Some(local) = local {
            local.stop()?;
        }
        finished
    };
    bar.finish_and_clear();
    let summary = report.end()?;
    print_summary(&summary, arguments)?;
    anyhow::ensure!(
        finished,
        "stopped half-way, as asked; run it again to finish"
    );
    Ok(if summary.refused == 0 {
        Exit::Done
    } else {
        Exit::RowsRefused
    })
}

/// Checks the address and the API key once, so that a wrong one fails at once. Later requests wait for the server.
fn check_server(client: &mut Client) -> anyhow::Result<()> {
    client.get("/v1/journal/head")?.require_success()?;
    Ok(())
}

type WriteChunk<'a> = &'a mut dyn FnMut(Vec<RowPayment>, &mut Report) -> anyhow::Result<()>;

/// Reads the file in chunks and processes each chunk. Returns false if the user stopped the import before the end.
fn process_chunks<R: std::io::Read>(
    rows: &mut Rows<R>,
    plan: &Plan,
    report: &mut Report,
    bar: &ProgressBar,
    stop: &StopSignal,
    write: WriteChunk<'_>,
) -> anyhow::Result<bool> {
    let mut keys = Keys::default();
    loop {
        let mut payments = Vec::new();
        let mut ended = false;
        while payments.len() < CHUNK_ROWS_MAX {
            let Some(next) = rows.next()? else {
                ended = true;
                break;
            };
            report.summary.rows += 1;
            let decided = match next {
                Next::Row(row) => decide(plan, &row, &mut keys),
                Next::BadRow { line, reason } => Err(unreadable(line, reason)),
                Next::Skipped => Ok(None),
            };
            match decided {
                Ok(Some(payment)) => {
                    if payment.movement.description_cut {
                        report.notice(Notice {
                            line: payment.line,
                            key: payment.key.clone(),
                            code: "description_cut",
                            text: "the description was longer than 1,000 bytes, and was cut",
                        })?;
                    }
                    payments.push(payment);
                }
                Ok(None) => report.summary.left_out += 1,
                Err(refusal) => report.refuse(refusal)?,
            }
        }
        if !payments.is_empty() {
            write(payments, report)?;
        }
        bar.set_position(rows.bytes_read());
        bar.set_message(format!(
            "{} rows, {} refused",
            report.summary.rows, report.summary.refused
        ));
        if ended || stop.is_requested() {
            return Ok(ended);
        }
    }
}

fn decide(plan: &Plan, row: &Row, keys: &mut Keys) -> Result<Option<RowPayment>, Refusal> {
    let payment = plan
        .payment(row, keys)
        .map_err(|reason| unreadable(row.line, reason))?;
    let Some(payment) = payment else {
        return Ok(None);
    };
    // The server would take the second row for a repetition of the first one, and answer that it is there already.
    match keys.claim(&payment.key, row.line) {
        Ok(()) => Ok(Some(payment)),
        Err(line) => Err(Refusal {
            line: row.line,
            key: Some(payment.key),
            code: "key_repeated".to_owned(),
            reason: format!(
                "line {line} has the same key: if both rows are payments, `key` in the map must tell them apart, for example with {{occurrence}}"
            ),
        }),
    }
}

fn unreadable(line: u64, reason: String) -> Refusal {
    Refusal {
        line,
        key: None,
        code: "unreadable".to_owned(),
        reason,
    }
}

/// A server, and the accounts that are known to exist.
struct Target {
    client: Client,
    accounts: HashMap<(String, String), Result<String, (String, String)>>,
}

impl Target {
    fn write(&mut self, payments: Vec<RowPayment>, report: &mut Report) -> anyhow::Result<()> {
        self.open_accounts(&payments, report)?;
        let mut commands = Vec::new();
        let mut sent = Vec::new();
        for payment in payments {
            match wire::payment(&payment, &|account| self.account_id(account)) {
                Ok(command) => {
                    commands.push(command);
                    sent.push(payment);
                }
                Err((code, reason)) => {
                    report.refuse(Refusal {
                        line: payment.line,
                        key: Some(payment.key),
                        code,
                        reason,
                    })?;
                }
            }
        }
        let answers = batch::send_commands(&mut self.client, &commands)?;
        for (payment, answer) in sent.into_iter().zip(answers) {
            match answer {
                CommandResult::Done {
                    replayed: false, ..
                } => report.summary.payments_made += 1,
                CommandResult::Done { replayed: true, .. } => report.summary.already_there += 1,
                CommandResult::Refused { code, reason } => {
                    report.refuse(Refusal {
                        line: payment.line,
                        key: Some(payment.key),
                        code,
                        reason,
                    })?;
                }
            }
        }
        Ok(())
    }

    fn account_id(&self, account: &AccountName) -> Result<String, (String, String)> {
        let (owner, external_id) = owner_and_external_id(account);
        let name = (owner.to_owned(), external_id.to_owned());
        self.accounts.get(&name).cloned().unwrap_or_else(|| {
            Err((
                "internal".to_owned(),
                format!("the account {external_id} was not looked up"),
            ))
        })
    }

    /// Opens the accounts that are not known yet.
    fn open_accounts(
        &mut self,
        payments: &[RowPayment],
        report: &mut Report,
    ) -> anyhow::Result<()> {
        let mut wanted: Vec<&AccountSpec> = Vec::new();
        let mut seen = std::collections::HashSet::new();
        for payment in payments {
            for spec in &payment.accounts {
                let name = (spec.owner.clone(), spec.external_id.clone());
                if !self.accounts.contains_key(&name) && seen.insert(name) {
                    wanted.push(spec);
                }
            }
        }
        for wanted in wanted.chunks(CHUNK_ROWS_MAX) {
            let commands: Vec<_> = wanted.iter().map(|spec| wire::open_account(spec)).collect();
            let answers = batch::send_commands(&mut self.client, &commands)?;
            for (spec, answer) in wanted.iter().zip(answers) {
                let known = match answer {
                    CommandResult::Done { id, replayed } => {
                        report.summary.accounts_opened += u64::from(!replayed);
                        Ok(id)
                    }
                    CommandResult::Refused { code, reason }
                        if ACCOUNT_EXISTS_CODES.contains(&code.as_str()) =>
                    {
                        self.find_account(spec, code, reason)?
                    }
                    CommandResult::Refused { code, reason } => {
                        Err((code, format!("account {}: {reason}", spec.external_id)))
                    }
                };
                self.accounts
                    .insert((spec.owner.clone(), spec.external_id.clone()), known);
            }
        }
        Ok(())
    }

    /// Finds an account that was opened outside the import. Its overdraft does not matter.
    fn find_account(
        &mut self,
        spec: &AccountSpec,
        code: String,
        reason: String,
    ) -> anyhow::Result<Result<String, (String, String)>> {
        let answer = self
            .client
            .get_with_retry(&wire::find_account(spec))?
            .require_success()?
            .json()?;
        Ok(wire::found_account(&answer)
            .ok_or((code, format!("account {}: {reason}", spec.external_id))))
    }
}

fn file_digest(path: &Path) -> anyhow::Result<String> {
    let file =
        std::fs::File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let mut hasher = blake3::Hasher::new();
    hasher
        .update_reader(file)
        .with_context(|| format!("cannot read {}", path.display()))?;
    Ok(hasher.finalize().to_hex()[..32].to_owned())
}

fn progress_bar(path: &Path) -> anyhow::Result<ProgressBar> {
    let bytes = std::fs::metadata(path)
        .with_context(|| format!("cannot open {}", path.display()))?
        .len();
    let style = ProgressStyle::with_template("{bar:40} {percent}% {msg} {eta} left")?;
    Ok(ProgressBar::new(bytes).with_style(style))
}

fn print_summary(summary: &Summary, arguments: &cli::Import) -> anyhow::Result<()> {
    let text = if arguments.json {
        format!("{}\n", serde_json::to_string(summary)?)
    } else {
        summary.text(arguments.check)
    };
    drop(std::io::stdout().write_all(text.as_bytes()));
    Ok(())
}
