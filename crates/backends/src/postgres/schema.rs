//! The tables, and how older ones are brought up to date.

use ::postgres::{Client, Config, Transaction};
use tributary_engine::JournalMeta;

use super::session::{connect, unavailable};
use super::{OpenError, session};

/// Serialises nodes that prepare tables at the same moment; any constant of our own.
const PREPARING_LOCK: i64 = 0x5452_4942_5052_4550;

/// Step n takes the tables from version n to n + 1. A published step never changes.
const MIGRATIONS: &[&str] = &[include_str!("schema_1.sql")];

/// Creates what is missing and runs the steps that the tables lack, all in one transaction. Doing it again changes nothing.
pub(super) fn prepare(config: &Config, schema: &str, fresh: JournalMeta) -> Result<(), OpenError> {
    let (config, schema) = (config.clone(), schema.to_owned());
    // On a thread of its own, because the caller's may belong to an async runtime.
    std::thread::spawn(move || {
        let mut client = connect(&config, &schema, "schema")?;
        session::check_server(&mut client)?;
        prepare_with(&mut client, &schema, &fresh)
    })
    .join()
    .unwrap_or_else(|_| Err(OpenError::Damaged("an assertion failed".into())))
}

fn prepare_with(client: &mut Client, schema: &str, fresh: &JournalMeta) -> Result<(), OpenError> {
    let mut transaction = client.transaction().map_err(unavailable)?;
    transaction
        .execute("SELECT pg_advisory_xact_lock($1)", &[&PREPARING_LOCK])
        .map_err(unavailable)?;
    let exists: bool = transaction
        .query_one(
            "SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = $1)",
            &[&schema],
        )
        .map_err(unavailable)?
        .get(0);
    if !exists {
        transaction
            .batch_execute(&format!("CREATE SCHEMA \"{schema}\""))
            .map_err(unavailable)?;
    }
    migrate(&mut transaction, schema)?;
    create_journal(&mut transaction, fresh)?;
    transaction.commit().map_err(unavailable)
}

fn migrate(transaction: &mut Transaction<'_>, schema: &str) -> Result<(), OpenError> {
    let known = i32::try_from(MIGRATIONS.len()).expect("there are few");
    transaction
        .batch_execute("CREATE TABLE IF NOT EXISTS schema_version (version int4 NOT NULL)")
        .map_err(unavailable)?;
    let found: i32 = transaction
        .query_opt("SELECT version FROM schema_version", &[])
        .map_err(unavailable)?
        .map_or(0, |row| row.get(0));
    if found > known {
        return Err(OpenError::Newer { found, known });
    }
    for step in MIGRATIONS.iter().skip(found.unsigned_abs() as usize) {
        transaction.batch_execute(step).map_err(unavailable)?;
    }
    if found == 0 {
        transaction
            .execute(
                "INSERT INTO schema_version (version) VALUES ($1)",
                &[&known],
            )
            .map_err(unavailable)?;
    } else if found < known {
        transaction
            .execute("UPDATE schema_version SET version = $1", &[&known])
            .map_err(unavailable)?;
    }
    if found < known {
        tracing::info!(
            schema,
            from = found,
            to = known,
            "brought the tables up to date"
        );
    }
    Ok(())
}

/// Gives an empty journal its identity.
fn create_journal(transaction: &mut Transaction<'_>, fresh: &JournalMeta) -> Result<(), OpenError> {
    let created = transaction
        .execute(
            "INSERT INTO meta (cluster_id, id_key) VALUES ($1, $2) ON CONFLICT DO NOTHING",
            &[&fresh.cluster_id.as_slice(), &fresh.id_key.as_slice()],
        )
        .map_err(unavailable)?;
    if created == 0 {
        return Ok(());
    }
    for (epoch, first_position) in &fresh.epochs {
        transaction
            .execute(
                "INSERT INTO epochs (epoch, first_position) VALUES ($1, $2)",
                &[&i64::from(*epoch), &super::turn::int8(*first_position)],
            )
            .map_err(unavailable)?;
    }
    let epoch = i64::from(fresh.epochs.last().map_or(1, |epoch| epoch.0));
    transaction
        .execute(
            "INSERT INTO head (position, hash, timestamp_ns, epoch) VALUES (0, $1, 0, $2)",
            &[&[0_u8; 32].as_slice(), &epoch],
        )
        .map_err(unavailable)?;
    Ok(())
}

/// The journal's identity.
pub(super) fn meta(client: &mut Client) -> Result<JournalMeta, OpenError> {
    let row = client
        .query_one("SELECT cluster_id, id_key FROM meta", &[])
        .map_err(unavailable)?;
    let id = |column: usize| {
        row.get::<_, &[u8]>(column)
            .try_into()
            .map_err(|_| OpenError::Damaged("the journal's ids do not have 16 bytes".into()))
    };
    let epochs = client
        .query(
            "SELECT epoch, first_position FROM epochs ORDER BY epoch",
            &[],
        )
        .map_err(unavailable)?;
    let epochs = epochs.iter().map(|row| {
        let epoch = u32::try_from(row.get::<_, i64>(0));
        let first = u64::try_from(row.get::<_, i64>(1));
        match (epoch, first) {
            (Ok(epoch), Ok(first)) => Ok((epoch, first)),
            _ => Err(OpenError::Damaged("an epoch is out of bounds".into())),
        }
    });
    Ok(JournalMeta {
        cluster_id: id(0)?,
        id_key: id(1)?,
        epochs: epochs.collect::<Result<_, _>>()?,
    })
}
