//! The accounts of a load: opened and filled before, checked after.

use std::sync::Arc;

use anyhow::{Context as _, bail, ensure};

use crate::client::Client;
use crate::grpc::Batches;
use crate::payload::{Block, Message, id_text, key, results};
use crate::server::Server;

/// Commands of one batch of the preparation.
const BATCH: usize = 4_096;
/// What all accounts hold together at most, in minor units: the account that fills them may go no lower.
const FUNDS: u64 = 9_000_000_000_000_000;
/// What one account holds at most, in minor units.
const FUNDS_EACH: u64 = 100_000_000_000;
/// Accounts whose balances are compared at the end.
const SAMPLES: usize = 200;
/// The largest amount of a payment, in minor units.
pub(crate) const AMOUNT_MAX: u32 = 1_000;

/// Accounts with money in them.
pub(crate) struct Books {
    /// Their ids.
    pub(crate) accounts: Arc<[Block]>,
    /// Distinguishes the keys of this run from those of any other.
    pub(crate) run: u64,
    /// Accounts that belong to one owner.
    per_owner: u32,
    /// In each account before the load.
    funds: u64,
    /// Records before the load.
    before: u64,
}

impl Books {
    /// Opens the accounts, each of an owner of its own, and fills them.
    pub(crate) fn prepare(server: &Server, accounts: u32) -> anyhow::Result<Books> {
        Books::prepare_for(server, accounts, 1)
    }

    /// The same with so many accounts for each owner.
    pub(crate) fn prepare_for(
        server: &Server,
        accounts: u32,
        per_owner: u32,
    ) -> anyhow::Result<Books> {
        let mut seed = [0; 8];
        getrandom::fill(&mut seed)?;
        let run = u64::from_le_bytes(seed);
        let funds = FUNDS_EACH.min(FUNDS / u64::from(accounts));
        let runtime = runtime()?;
        let accounts = runtime.block_on(async {
            let mut batches = Batches::open(server.grpc, &server.token).await?;
            let outside = open(&mut batches, run, 0, &["platform".to_owned()]).await?[0];
            let accounts = open_all(&mut batches, run, accounts, per_owner).await?;
            fill(&mut batches, run, &outside, &accounts, funds).await?;
            batches.end()?;
            anyhow::Ok(accounts)
        });
        Ok(Books {
            accounts: accounts.context("cannot prepare the accounts")?.into(),
            run,
            per_owner,
            funds,
            before: head(&mut server.client()?)?,
        })
    }

    /// Records that were added since.
    pub(crate) fn added(&self, server: &Server) -> anyhow::Result<u64> {
        Ok(head(&mut server.client()?)? - self.before)
    }

    /// An owner: of the accounts that follow those of the owner before.
    pub(crate) fn owner(&self, number: u32) -> String {
        owner(self.run, number)
    }

    /// The ids of its accounts as text.
    pub(crate) fn of_owner(&self, number: u32) -> Vec<String> {
        let owners = self.accounts.chunks(self.per_owner as usize);
        let of_one = owners.into_iter().nth(number as usize);
        let blocks = of_one.into_iter().flatten();
        blocks.map(|block| id_text("acct", block)).collect()
    }

    /// The accounts' ids as text.
    pub(crate) fn texts(&self) -> Vec<String> {
        let texts = self.accounts.iter();
        texts.map(|block| id_text("acct", block)).collect()
    }

    /// Checks that exactly `records` were added since, that debits equal credits, and that balances are what the payments
    /// made of them, where they are known. Only the balances can be checked on a server that others use too.
    pub(crate) fn check(
        &self,
        server: &Server,
        records: Option<u64>,
        balances: Option<&[i64]>,
    ) -> anyhow::Result<()> {
        let mut client = server.client()?;
        if let (Some(records), true) = (records, server.process().is_some()) {
            let added = self.added(server)?;
            ensure!(
                added == records,
                "{records} commands were answered, but {added} records were added"
            );
        }
        let trial = client.get_json("/v1/trial_balance")?;
        ensure!(
            trial["balanced"] == serde_json::Value::Bool(true),
            "the books do not balance: {trial}"
        );
        let Some(balances) = balances else {
            return Ok(());
        };
        let step = self.accounts.len().div_ceil(SAMPLES);
        for at in (0..self.accounts.len()).step_by(step) {
            let id = id_text("acct", &self.accounts[at]);
            let account = client.get_json(&format!("/v1/accounts/{id}"))?;
            let posted = account["posted"].as_i64();
            let expected = self.funds as i64 + balances[at];
            if posted != Some(expected) {
                bail!("account {id} should hold {expected}, but holds {posted:?}");
            }
        }
        Ok(())
    }
}

/// Records in all.
fn head(client: &mut Client) -> anyhow::Result<u64> {
    let head = client.get_json("/v1/journal/head")?;
    head["position"]
        .as_u64()
        .context("the head has no position")
}

/// A runtime for one thread.
pub(crate) fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    Ok(builder.enable_all().build()?)
}

/// Keys of the preparation are of another run than those of the payments.
pub(crate) fn own_key(run: u64, what: u64, number: u64) -> Block {
    key(run.wrapping_add(what), number)
}

fn owner(run: u64, number: u32) -> String {
    format!("bench-{run:016x}-{number}")
}

async fn open_all(
    batches: &mut Batches,
    run: u64,
    count: u32,
    per_owner: u32,
) -> anyhow::Result<Vec<Block>> {
    let mut accounts = Vec::with_capacity(count as usize);
    while accounts.len() < count as usize {
        let from = accounts.len();
        let to = (from + BATCH).min(count as usize);
        let owners: Vec<String> = (from..to)
            .map(|number| owner(run, number as u32 / per_owner))
            .collect();
        accounts.extend(open(batches, run, from as u64 + 1, &owners).await?);
    }
    Ok(accounts)
}

async fn open(
    batches: &mut Batches,
    run: u64,
    first: u64,
    owners: &[String],
) -> anyhow::Result<Vec<Block>> {
    let mut message = Message::new(owners.len() * 2);
    for (owner, number) in owners.iter().zip(first..) {
        message.open(&own_key(run, 1, number), owner);
    }
    batches.send(message.finish()).await?;
    let answer = batches.answer().await?;
    let mut ids = Vec::with_capacity(owners.len());
    for result in results(&answer) {
        match Block::try_from(result.id) {
            Ok(id) if result.code.is_empty() => ids.push(id),
            _ => bail!("an account could not be opened: {}", result.code),
        }
    }
    ensure!(ids.len() == owners.len(), "an answer is missing");
    Ok(ids)
}

async fn fill(
    batches: &mut Batches,
    run: u64,
    outside: &Block,
    accounts: &[Block],
    funds: u64,
) -> anyhow::Result<()> {
    for (part, accounts) in accounts.chunks(BATCH).enumerate() {
        let mut message = Message::new(accounts.len() * 2);
        for (at, account) in accounts.iter().enumerate() {
            let number = (part * BATCH + at) as u64;
            message.top_up(&own_key(run, 2, number), outside, account, funds);
        }
        batches.send(message.finish()).await?;
        let answer = batches.answer().await?;
        let done = results(&answer).filter(|result| result.code.is_empty());
        ensure!(
            done.count() == accounts.len(),
            "an account could not be filled"
        );
    }
    Ok(())
}
