//! The accounts of a load: opened and filled before the load, checked after the load.

use std::sync::Arc;

use anyhow::{Context as _, bail, ensure};

use crate::client::Client;
use crate::grpc::GrpcStream;
use crate::payload::{IdBytes, Message, id_text, idempotency_key, parse_results};
use crate::server::Server;

/// Number of commands per batch of the preparation.
const BATCH: usize = 4_096;
/// Maximum sum of all balances, in minor units: the limit of the account that fills them.
const FUNDS: u64 = 9_000_000_000_000_000;
/// Maximum initial balance of an account, in minor units.
const FUNDS_EACH: u64 = 100_000_000_000;
/// Number of accounts whose balances are compared at the end.
const SAMPLES: usize = 200;
/// Maximum amount of a payment, in minor units.
pub(crate) const AMOUNT_MAX: u32 = 1_000;

/// The accounts of a load.
pub(crate) struct Books {
    /// Ids of the accounts.
    pub(crate) accounts: Arc<[IdBytes]>,
    /// Random number in the idempotency keys, which distinguishes this run from others.
    pub(crate) run: u64,
    /// Number of accounts per owner.
    per_owner: u32,
    /// Balance of each account before the load, in minor units.
    funds: u64,
    /// Number of records before the load.
    before: u64,
}

impl Books {
    /// Opens accounts, each with its own owner, and fills them.
    pub(crate) fn prepare(server: &Server, accounts: u32) -> anyhow::Result<Books> {
        Books::prepare_with_owners(server, accounts, 1)
    }

    /// Opens and fills accounts, `per_owner` for each owner.
    pub(crate) fn prepare_with_owners(
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
            let mut stream = GrpcStream::open(server.grpc, &server.token).await?;
            let outside = open_batch(&mut stream, run, 0, &["platform".to_owned()]).await?[0];
            let accounts = open_accounts(&mut stream, run, accounts, per_owner).await?;
            fill_accounts(&mut stream, run, &outside, &accounts, funds).await?;
            stream.finish_sending()?;
            anyhow::Ok(accounts)
        });
        Ok(Books {
            accounts: accounts.context("cannot prepare the accounts")?.into(),
            run,
            per_owner,
            funds,
            before: read_position(&mut server.client()?)?,
        })
    }

    /// Returns the number of records that were added since the preparation.
    pub(crate) fn count_added_records(&self, server: &Server) -> anyhow::Result<u64> {
        Ok(read_position(&mut server.client()?)? - self.before)
    }

    /// Returns the name of an owner. The accounts of consecutive owners are consecutive.
    pub(crate) fn owner(&self, number: u32) -> String {
        owner(self.run, number)
    }

    /// Returns the ids of an owner's accounts as text.
    pub(crate) fn account_ids_of_owner(&self, number: u32) -> Vec<String> {
        let owners = self.accounts.chunks(self.per_owner as usize);
        let of_one = owners.into_iter().nth(number as usize);
        let blocks = of_one.into_iter().flatten();
        blocks.map(|block| id_text("acct", block)).collect()
    }

    /// Returns the ids of all accounts as text.
    pub(crate) fn account_ids(&self) -> Vec<String> {
        let texts = self.accounts.iter();
        texts.map(|block| id_text("acct", block)).collect()
    }

    /// Checks that exactly `records` records were added, that debits equal credits, and that sampled balances changed by
    /// `balances`. The number of records is checked only on a server that was started here: nobody else uses that one.
    pub(crate) fn check(
        &self,
        server: &Server,
        records: Option<u64>,
        balances: Option<&[i64]>,
    ) -> anyhow::Result<()> {
        let mut client = server.client()?;
        if let (Some(records), true) = (records, server.process().is_some()) {
            let added = self.count_added_records(server)?;
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

/// Returns the number of records in the journal.
fn read_position(client: &mut Client) -> anyhow::Result<u64> {
    let head = client.get_json("/v1/journal/head")?;
    head["position"]
        .as_u64()
        .context("the head has no position")
}

/// Creates an async runtime on the calling thread.
pub(crate) fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    Ok(builder.enable_all().build()?)
}

/// Returns an idempotency key of the preparation, which differs from the keys of all payments.
pub(crate) fn preparation_key(run: u64, what: u64, number: u64) -> IdBytes {
    idempotency_key(run.wrapping_add(what), number)
}

fn owner(run: u64, number: u32) -> String {
    format!("bench-{run:016x}-{number}")
}

async fn open_accounts(
    stream: &mut GrpcStream,
    run: u64,
    count: u32,
    per_owner: u32,
) -> anyhow::Result<Vec<IdBytes>> {
    let mut accounts = Vec::with_capacity(count as usize);
    while accounts.len() < count as usize {
        let from = accounts.len();
        let to = (from + BATCH).min(count as usize);
        let owners: Vec<String> = (from..to)
            .map(|number| owner(run, number as u32 / per_owner))
            .collect();
        accounts.extend(open_batch(stream, run, from as u64 + 1, &owners).await?);
    }
    Ok(accounts)
}

async fn open_batch(
    stream: &mut GrpcStream,
    run: u64,
    first: u64,
    owners: &[String],
) -> anyhow::Result<Vec<IdBytes>> {
    let mut message = Message::new(owners.len() * 2);
    for (owner, number) in owners.iter().zip(first..) {
        message.add_account(&preparation_key(run, 1, number), owner);
    }
    stream.send(message.finish()).await?;
    let answer = stream.next_message().await?;
    let mut ids = Vec::with_capacity(owners.len());
    for result in parse_results(&answer) {
        match IdBytes::try_from(result.id) {
            Ok(id) if result.code.is_empty() => ids.push(id),
            _ => bail!("an account could not be opened: {}", result.code),
        }
    }
    ensure!(ids.len() == owners.len(), "an answer is missing");
    Ok(ids)
}

async fn fill_accounts(
    stream: &mut GrpcStream,
    run: u64,
    outside: &IdBytes,
    accounts: &[IdBytes],
    funds: u64,
) -> anyhow::Result<()> {
    for (part, accounts) in accounts.chunks(BATCH).enumerate() {
        let mut message = Message::new(accounts.len() * 2);
        for (at, account) in accounts.iter().enumerate() {
            let number = (part * BATCH + at) as u64;
            message.add_top_up(&preparation_key(run, 2, number), outside, account, funds);
        }
        stream.send(message.finish()).await?;
        let answer = stream.next_message().await?;
        let done = parse_results(&answer).filter(|result| result.code.is_empty());
        ensure!(
            done.count() == accounts.len(),
            "an account could not be filled"
        );
    }
    Ok(())
}
