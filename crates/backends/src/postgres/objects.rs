//! Accounts, owners, payments and API keys as rows: loaded for a batch, saved after it.
//!
//! A row's `image` is the format version as `u16` LE and the ledger's own bytes of the object; no object is ever read back
//! from the plain columns beside it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use ::postgres::Row;
use ::postgres::fallible_iterator::FallibleIterator;
use ::postgres::types::ToSql;
use tributary_engine::{Batch, Failure};
use tributary_ledger::codec::{self, Corrupt, Record};
use tributary_ledger::{
    self as ledger, Account, AccountId, AccountKind, AccountStatus, ApiKey, ApiKeyStatus, Body,
    ExternalId, Keys, Owner, OwnerId, Payment, PaymentId, QueueState, Reference, Residency,
    WorkingSet,
};

use super::session::{Link, failure};
use super::turn::int8;

const SELECT_ACCOUNTS: &str = "SELECT image FROM accounts WHERE id = ANY($1)";
const SELECT_OWNERS: &str = "SELECT image FROM owners WHERE name = ANY($1)";
const SELECT_PAYMENTS: &str = "SELECT image FROM payments WHERE id = ANY($1)";
const SELECT_API_KEYS: &str = "SELECT image FROM api_keys WHERE id = ANY($1)";
const SELECT_REFERENCES: &str = "SELECT known.owner, known.reference, known.payment FROM payment_references AS known \
    JOIN unnest($1::int8[], $2::bytea[]) AS wanted (owner, reference) USING (owner, reference) \
    JOIN payments ON payments.id = known.payment WHERE payments.status <> 'failed'";
const SELECT_EXTERNALS: &str = "SELECT owner, external_id, account FROM external_ids \
    JOIN unnest($1::int8[], $2::bytea[]) AS wanted (owner, external_id) USING (owner, external_id)";

const SELECT_QUEUE: &str = "SELECT image FROM queue";
/// How many payments the queue holds, by who asked for them.
const COUNT_QUEUED: &str =
    "SELECT asked_by, count(*) FROM payments WHERE status = 'queued' GROUP BY asked_by";

const ALL_OWNERS: &str = "SELECT image FROM owners ORDER BY id";
const ALL_API_KEYS: &str = "SELECT image FROM api_keys";
const ALL_ACCOUNTS: &str = "SELECT image FROM accounts ORDER BY id";
const OPEN_PAYMENTS: &str = "SELECT image FROM payments WHERE held > 0 OR status = 'queued'";

const UPSERT_OWNERS: &str = "INSERT INTO owners (id, name, changed_at, image) \
    SELECT * FROM unnest($1::int8[], $2::text[], $3::int8[], $4::bytea[]) \
    ON CONFLICT (id) DO UPDATE SET changed_at = excluded.changed_at, image = excluded.image";
const UPSERT_ACCOUNTS: &str = "INSERT INTO accounts \
    (id, owner, kind, currency, status, posted, held, opened_at, changed_at, image) \
    SELECT * FROM unnest($1::int8[], $2::int8[], $3::text[], $4::text[], $5::text[], $6::int8[], $7::int8[], \
    $8::timestamptz[], $9::int8[], $10::bytea[]) \
    ON CONFLICT (id) DO UPDATE SET status = excluded.status, posted = excluded.posted, held = excluded.held, \
    changed_at = excluded.changed_at, image = excluded.image";
const UPSERT_PAYMENTS: &str = "INSERT INTO payments \
    (id, kind, status, owner, asked_by, source, currency, amount, held, captured, refunded, created_at, changed_at, image) \
    SELECT * FROM unnest($1::int8[], $2::text[], $3::text[], $4::int8[], $5::int8[], $6::int8[], $7::text[], $8::int8[], \
    $9::int8[], $10::int8[], $11::int8[], $12::timestamptz[], $13::int8[], $14::bytea[]) \
    ON CONFLICT (id) DO UPDATE SET status = excluded.status, held = excluded.held, captured = excluded.captured, \
    refunded = excluded.refunded, changed_at = excluded.changed_at, image = excluded.image";
const UPSERT_API_KEYS: &str = "INSERT INTO api_keys (id, owner, status, changed_at, image) \
    SELECT * FROM unnest($1::int8[], $2::int8[], $3::text[], $4::int8[], $5::bytea[]) \
    ON CONFLICT (id) DO UPDATE SET status = excluded.status, changed_at = excluded.changed_at, image = excluded.image";
const UPSERT_QUEUE: &str = "INSERT INTO queue (mode, changed_at, image) VALUES ($1, $2, $3) \
    ON CONFLICT (one) DO UPDATE SET mode = excluded.mode, changed_at = excluded.changed_at, image = excluded.image";
const INSERT_REFERENCES: &str = "INSERT INTO payment_references (owner, reference, payment) \
    SELECT * FROM unnest($1::int8[], $2::bytea[], $3::int8[]) \
    ON CONFLICT (owner, reference) DO UPDATE SET payment = excluded.payment \
    WHERE EXISTS (SELECT FROM payments WHERE id = payment_references.payment AND status = 'failed')";
const INSERT_EXTERNALS: &str = "INSERT INTO external_ids (owner, external_id, account) \
    SELECT * FROM unnest($1::int8[], $2::bytea[], $3::int8[])";

fn account_kind(kind: AccountKind) -> &'static str {
    match kind {
        AccountKind::Wallet => "wallet",
        AccountKind::Merchant => "merchant",
        AccountKind::External => "external",
        AccountKind::Fee => "fee",
        AccountKind::Suspense => "suspense",
    }
}

fn account_status(status: AccountStatus) -> &'static str {
    match status {
        AccountStatus::Open => "open",
        AccountStatus::Frozen => "frozen",
        AccountStatus::Closed => "closed",
    }
}

fn api_key_status(status: ApiKeyStatus) -> &'static str {
    match status {
        ApiKeyStatus::Active => "active",
        ApiKeyStatus::Revoked => "revoked",
    }
}

/// For people only; to the microsecond, as PostgreSQL keeps it.
fn time(nanos: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_nanos(nanos)
}

fn image<T>(object: &T, encode: fn(&T, &mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = ledger::FORMAT_VERSION.to_le_bytes().to_vec();
    encode(object, &mut bytes);
    bytes
}

fn decoded<T>(image: &[u8], decode: fn(&[u8], u16) -> Result<T, Corrupt>) -> Result<T, Failure> {
    let object = match image.split_first_chunk::<2>() {
        Some((version, object)) => decode(object, u16::from_le_bytes(*version)),
        None => Err(Corrupt("the image is too short")),
    };
    object
        .map_err(|corrupt| Failure::Fatal(format!("a row holds what no object can be: {corrupt}")))
}

/// What a batch asks for, as parameters.
pub(super) struct Wanted {
    accounts: Vec<i64>,
    owners: Vec<String>,
    payments: Vec<i64>,
    api_keys: Vec<i64>,
    references: (Vec<i64>, Vec<Vec<u8>>),
    externals: (Vec<i64>, Vec<Vec<u8>>),
    queue: bool,
}

/// A command may name any number; one that no column can hold is not there.
fn ids(ids: impl Iterator<Item = u64>) -> Vec<i64> {
    ids.filter_map(|id| i64::try_from(id).ok()).collect()
}

fn named(owner: OwnerId, name: &[u8]) -> Option<(i64, Vec<u8>)> {
    Some((i64::try_from(owner.0).ok()?, name.to_vec()))
}

impl Wanted {
    pub(super) fn new(keys: &Keys) -> Wanted {
        let references = keys.references.iter();
        let externals = keys.externals.iter();
        Wanted {
            accounts: ids(keys.accounts.iter().map(|id| id.0)),
            owners: keys
                .owners
                .iter()
                .map(|name| name.as_str().to_owned())
                .collect(),
            payments: ids(keys.payments.iter().map(|id| id.0)),
            api_keys: ids(keys.api_keys.iter().map(|id| id.0)),
            references: references
                .filter_map(|(owner, reference)| named(*owner, reference.as_bytes()))
                .unzip(),
            externals: externals
                .filter_map(|(owner, external)| named(*owner, external.as_bytes()))
                .unzip(),
            queue: keys.queue,
        }
    }

    /// One SELECT for each kind of thing that is wanted.
    pub(super) fn select(&self, link: &mut Link) -> Result<Found, Failure> {
        Ok(Found {
            accounts: images(link, SELECT_ACCOUNTS, &self.accounts, codec::decode_account)?,
            owners: images(link, SELECT_OWNERS, &self.owners, codec::decode_owner)?,
            payments: images(link, SELECT_PAYMENTS, &self.payments, codec::decode_payment)?,
            api_keys: images(link, SELECT_API_KEYS, &self.api_keys, codec::decode_api_key)?,
            references: names(link, SELECT_REFERENCES, &self.references)?,
            externals: names(link, SELECT_EXTERNALS, &self.externals)?,
            queue: match self.queue {
                true => Some((queue(link)?, queued(link)?)),
                false => None,
            },
        })
    }
}

fn images<P, T>(
    link: &mut Link,
    sql: &'static str,
    wanted: &Vec<P>,
    decode: fn(&[u8], u16) -> Result<T, Corrupt>,
) -> Result<Vec<T>, Failure>
where
    Vec<P>: ToSql + Sync,
{
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let (client, statement) = link.prepared(sql)?;
    let rows = client.query(&statement, &[wanted]).map_err(failure)?;
    rows.iter().map(|row| decoded(row.get(0), decode)).collect()
}

/// How the queue stands.
fn queue(link: &mut Link) -> Result<QueueState, Failure> {
    let (client, statement) = link.prepared(SELECT_QUEUE)?;
    let row = client.query_opt(&statement, &[]).map_err(failure)?;
    let state = row.map(|row| decoded(row.get(0), codec::decode_queue));
    Ok(state.transpose()?.unwrap_or_default())
}

/// How many payments it holds, by who asked for them.
fn queued(link: &mut Link) -> Result<Vec<(OwnerId, usize)>, Failure> {
    let (client, statement) = link.prepared(COUNT_QUEUED)?;
    let rows = client.query(&statement, &[]).map_err(failure)?;
    let count = |count: i64| usize::try_from(count).expect("a count is not negative");
    let of = |row: &Row| {
        (
            OwnerId(row.get::<_, i64>(0).cast_unsigned()),
            count(row.get(1)),
        )
    };
    Ok(rows.iter().map(of).collect())
}

/// A name in an owner's name space, and the position that it leads to.
type Named = (u64, Vec<u8>, u64);

fn names(
    link: &mut Link,
    sql: &'static str,
    (owners, names): &(Vec<i64>, Vec<Vec<u8>>),
) -> Result<Vec<Named>, Failure> {
    if owners.is_empty() {
        return Ok(Vec::new());
    }
    let (client, statement) = link.prepared(sql)?;
    let rows = client
        .query(&statement, &[owners, names])
        .map_err(failure)?;
    let position = |id: i64| id.cast_unsigned();
    Ok(rows
        .iter()
        .map(|row| (position(row.get(0)), row.get(1), position(row.get(2))))
        .collect())
}

/// What was there.
pub(super) struct Found {
    accounts: Vec<Account>,
    owners: Vec<Owner>,
    payments: Vec<Payment>,
    api_keys: Vec<ApiKey>,
    references: Vec<Named>,
    externals: Vec<Named>,
    queue: Option<(QueueState, Vec<(OwnerId, usize)>)>,
}

impl Found {
    /// Puts all of it into `set`.
    pub(super) fn put_into(self, set: &mut WorkingSet) -> Result<(), Failure> {
        let invalid = |_| Failure::Fatal("a row holds a name that no object can have".into());
        self.accounts
            .into_iter()
            .for_each(|account| set.load_account(account));
        self.owners
            .into_iter()
            .for_each(|owner| set.load_owner(&owner));
        self.payments
            .into_iter()
            .for_each(|payment| set.load_payment(payment));
        self.api_keys
            .into_iter()
            .for_each(|key| set.load_api_key(key));
        for (owner, name, payment) in self.references {
            let reference = Reference::from_bytes(&name).map_err(invalid)?;
            set.load_reference(OwnerId(owner), reference, PaymentId(payment));
        }
        for (owner, name, account) in self.externals {
            let external = ExternalId::from_bytes(&name).map_err(invalid)?;
            set.load_external(OwnerId(owner), external, AccountId(account));
        }
        if let Some((state, payments)) = self.queue {
            set.load_queue(state);
            set.load_queued(payments);
        }
        Ok(())
    }
}

/// The whole state for the engine's view, read inside a turn.
pub(super) fn recover(link: &mut Link) -> Result<WorkingSet, Failure> {
    let mut set = WorkingSet::new(Residency::Accounts);
    // Owners first, because an account names its owner.
    each(link, ALL_OWNERS, codec::decode_owner, |owner| {
        set.load_owner(&owner)
    })?;
    each(link, ALL_API_KEYS, codec::decode_api_key, |key| {
        set.load_api_key(key)
    })?;
    each(link, ALL_ACCOUNTS, codec::decode_account, |account| {
        set.load_account(account)
    })?;
    each(link, OPEN_PAYMENTS, codec::decode_payment, |payment| {
        set.load_payment(payment)
    })?;
    set.load_queue(queue(link)?);
    Ok(set)
}

/// Rows one by one: there may be millions.
fn each<T>(
    link: &mut Link,
    sql: &'static str,
    decode: fn(&[u8], u16) -> Result<T, Corrupt>,
    mut put: impl FnMut(T),
) -> Result<(), Failure> {
    let (client, statement) = link.prepared(sql)?;
    let mut rows = client
        .query_raw(&statement, std::iter::empty::<i64>())
        .map_err(failure)?;
    while let Some(row) = rows.next().map_err(failure)? {
        put(decoded(row.get(0), decode)?);
    }
    Ok(())
}

/// What a batch changes, each object once, as it is after the whole batch.
#[derive(Default)]
pub(super) struct Changes {
    /// Hashes and positions of the index.
    pub(super) keys: (Vec<i64>, Vec<i64>),
    accounts: Vec<Account>,
    owners: BTreeMap<OwnerId, Owner>,
    payments: BTreeMap<PaymentId, Payment>,
    api_keys: BTreeMap<u64, ApiKey>,
    references: BTreeMap<(OwnerId, Reference), PaymentId>,
    externals: Vec<(OwnerId, ExternalId, AccountId)>,
    queue: Option<QueueState>,
}

impl Changes {
    /// `set` is the state after the batch; legs carry only part of their account.
    pub(super) fn new(batch: &Batch, set: &WorkingSet) -> Changes {
        let keys: BTreeSet<(i64, i64)> = batch
            .frame()
            .index_keys()
            .map(|(hash, position)| (hash.cast_signed(), int8(position)))
            .collect();
        let mut changes = Changes {
            keys: keys.into_iter().unzip(),
            ..Changes::default()
        };
        let mut touched = BTreeSet::new();
        for record in &batch.records() {
            let outcome = &record.outcome;
            touched.extend(outcome.legs.iter().map(|leg| leg.account));
            touched.extend(outcome.account.iter().map(|account| account.id));
            changes.note(record);
        }
        changes.accounts = touched
            .into_iter()
            .map(|id| {
                set.account(id)
                    .expect("a touched account is in the set")
                    .clone()
            })
            .collect();
        changes
    }

    fn note(&mut self, record: &Record) {
        let outcome = &record.outcome;
        if let Some(owner) = &outcome.owner {
            self.owners.insert(owner.id, (**owner).clone());
        }
        if let Some(payment) = &outcome.payment {
            self.payments.insert(payment.id, payment.clone());
        }
        if let Some(key) = &outcome.api_key {
            self.api_keys.insert(key.id.0, (**key).clone());
        }
        if !outcome.is_accepted() {
            return;
        }
        if let Body::SetQueue(mode) = record.command.body {
            self.queue = Some(QueueState {
                mode,
                changed_at: record.ctx.position,
            });
        }
        match (&record.command.body, &outcome.payment, &outcome.account) {
            (Body::Pay(pay), Some(payment), _) => self.references.extend(
                pay.reference
                    .clone()
                    .map(|reference| ((payment.owner, reference), payment.id)),
            ),
            (Body::OpenAccount(open), _, Some(account)) => self.externals.extend(
                open.external_id
                    .clone()
                    .map(|external| (account.owner, external, account.id)),
            ),
            _ => {}
        }
    }

    /// One statement for each table that changes.
    pub(super) fn write(&self, link: &mut Link) -> Result<(), Failure> {
        self.write_owners(link)?;
        self.write_accounts(link)?;
        self.write_payments(link)?;
        self.write_api_keys(link)?;
        self.write_queue(link)?;
        self.write_names(link)
    }

    fn write_queue(&self, link: &mut Link) -> Result<(), Failure> {
        let Some(state) = &self.queue else {
            return Ok(());
        };
        let (mode, changed) = (state.mode.name(), int8(state.changed_at));
        let image = image(state, codec::encode_queue);
        run(link, UPSERT_QUEUE, 1, &[&mode, &changed, &image]).map(drop)
    }

    fn write_owners(&self, link: &mut Link) -> Result<(), Failure> {
        let rows = || self.owners.values();
        let ids = column(rows(), |owner| int8(owner.id.0));
        let names = column(rows(), |owner| owner.name.as_str());
        let changed = column(rows(), |owner| int8(owner.changed_at));
        let images = column(rows(), |owner| image(owner, codec::encode_owner));
        run(
            link,
            UPSERT_OWNERS,
            ids.len(),
            &[&ids, &names, &changed, &images],
        )
        .map(drop)
    }

    fn write_accounts(&self, link: &mut Link) -> Result<(), Failure> {
        let rows = || self.accounts.iter();
        let ids = column(rows(), |account| int8(account.id.0));
        let owners = column(rows(), |account| int8(account.owner.0));
        let kinds = column(rows(), |account| account_kind(account.kind));
        let currencies = column(rows(), |account| account.currency.code());
        let statuses = column(rows(), |account| account_status(account.status));
        let posted = column(rows(), |account| account.posted);
        let held = column(rows(), |account| int8(account.held));
        let opened = column(rows(), |account| time(account.opened_at));
        let changed = column(rows(), |account| int8(account.changed_at()));
        let images = column(rows(), |account| image(account, codec::encode_account));
        run(
            link,
            UPSERT_ACCOUNTS,
            ids.len(),
            &[
                &ids,
                &owners,
                &kinds,
                &currencies,
                &statuses,
                &posted,
                &held,
                &opened,
                &changed,
                &images,
            ],
        )
        .map(drop)
    }

    fn write_payments(&self, link: &mut Link) -> Result<(), Failure> {
        let rows = || self.payments.values();
        let ids = column(rows(), |payment| int8(payment.id.0));
        let kinds = column(rows(), |payment| payment.kind.name());
        let statuses = column(rows(), |payment| payment.status.name());
        let owners = column(rows(), |payment| int8(payment.owner.0));
        let asked_by = column(rows(), |payment| int8(payment.actor.owner.0));
        let sources = column(rows(), |payment| amount(payment.source.0));
        let currencies = column(rows(), |payment| payment.currency.code());
        let amounts = column(rows(), |payment| amount(payment.amount));
        let held = column(rows(), |payment| int8(payment.held));
        let captured = column(rows(), |payment| int8(payment.captured));
        let refunded = column(rows(), |payment| int8(payment.refunded));
        let created = column(rows(), |payment| time(payment.created_at));
        let changed = column(rows(), |payment| int8(payment.changed_at));
        let images = column(rows(), |payment| image(payment, codec::encode_payment));
        run(
            link,
            UPSERT_PAYMENTS,
            ids.len(),
            &[
                &ids,
                &kinds,
                &statuses,
                &owners,
                &asked_by,
                &sources,
                &currencies,
                &amounts,
                &held,
                &captured,
                &refunded,
                &created,
                &changed,
                &images,
            ],
        )
        .map(drop)
    }

    fn write_api_keys(&self, link: &mut Link) -> Result<(), Failure> {
        let rows = || self.api_keys.values();
        let ids = column(rows(), |key| int8(key.id.0));
        let owners = column(rows(), |key| int8(key.owner.0));
        let statuses = column(rows(), |key| api_key_status(key.status));
        let changed = column(rows(), |key| int8(key.changed_at));
        let images = column(rows(), |key| image(key, codec::encode_api_key));
        run(
            link,
            UPSERT_API_KEYS,
            ids.len(),
            &[&ids, &owners, &statuses, &changed, &images],
        )
        .map(drop)
    }

    /// Names are taken once, but for the references of queued payments that failed: a second row would be a mistake, and
    /// refuses the batch.
    fn write_names(&self, link: &mut Link) -> Result<(), Failure> {
        let names = || self.references.keys();
        let owners = column(names(), |(owner, _)| int8(owner.0));
        let names = column(names(), |(_, reference)| reference.as_bytes());
        let payments = column(self.references.values(), |payment| int8(payment.0));
        let taken = run(
            link,
            INSERT_REFERENCES,
            owners.len(),
            &[&owners, &names, &payments],
        )?;
        if taken < owners.len() as u64 {
            let why = "a reference is taken that was found free";
            return Err(Failure::Fatal(why.into()));
        }
        let rows = || self.externals.iter();
        let owners = column(rows(), |(owner, _, _)| int8(owner.0));
        let names = column(rows(), |(_, external, _)| external.as_bytes());
        let accounts = column(rows(), |(_, _, account)| int8(account.0));
        run(
            link,
            INSERT_EXTERNALS,
            owners.len(),
            &[&owners, &names, &accounts],
        )
        .map(drop)
    }
}

/// A refused payment may name any number as an amount or an account; one that no column can hold is shown as the largest.
fn amount(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn column<'a, R: 'a, T>(rows: impl Iterator<Item = &'a R>, value: impl Fn(&'a R) -> T) -> Vec<T> {
    rows.map(value).collect()
}

/// Gives the number of rows that it made or changed.
fn run(
    link: &mut Link,
    sql: &'static str,
    rows: usize,
    columns: &[&(dyn ToSql + Sync)],
) -> Result<u64, Failure> {
    if rows == 0 {
        return Ok(0);
    }
    let (client, statement) = link.prepared(sql)?;
    client.execute(&statement, columns).map_err(failure)
}
