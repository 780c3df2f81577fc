//! One turn as SQL: the head row, the key index, the frame.

use std::time::{Duration, SystemTime};

use ::postgres::{Client, Row};
use tributary_engine::{Clock, Failure, FrameRef, Head, JournalMeta};

use super::objects::Changes;
use super::session::{self, Link, describe, failure, unavailable};
use super::{CLOCK_DIFFERENCE_MAX, OpenError, schema};

/// Row locks make turns exclusive; each statement must see what was committed before the lock was got.
const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE";
const LOCK_HEAD: &str = "SELECT position, hash, timestamp_ns, epoch, current_setting('synchronous_commit'), \
    clock_timestamp() FROM head FOR UPDATE";
const FIND: &str =
    "SELECT hash, position FROM keys WHERE hash = ANY($1) ORDER BY hash, position DESC";
const INSERT_FRAME: &str = "INSERT INTO frames (first_position, bytes) VALUES ($1, $2)";
const INSERT_KEYS: &str =
    "INSERT INTO keys (hash, position) SELECT * FROM unnest($1::int8[], $2::int8[])";
const UPDATE_HEAD: &str = "UPDATE head SET position = $1, hash = $2, timestamp_ns = $3, epoch = $4 \
    WHERE position = $5 AND hash = $6";

/// What became of a batch.
pub(super) enum Written {
    Durable,
    /// Certainly not written.
    Refused(Failure),
    /// COMMIT was sent and not answered with success.
    Unknown(String),
}

/// Positions and times are below 2^63 by far; hashes use all their bits.
pub(super) fn int8(number: u64) -> i64 {
    i64::try_from(number).expect("positions, times and amounts are below 2^63")
}

/// The head and the identity of the journal, as they are when it is opened; the newest frame must agree with the head.
pub(super) fn opened(link: &mut Link) -> Result<(Head, JournalMeta), OpenError> {
    let client = link.client()?;
    let row = client
        .query_one("SELECT position, hash, timestamp_ns, epoch FROM head", &[])
        .map_err(unavailable)?;
    let head = head_of(&row).map_err(|failure| OpenError::Damaged(failure.to_string()))?;
    let newest = newest_frame_head(client)?;
    let agree = match newest {
        None => head.position == 0,
        // Only the epoch may be ahead: the next frame's.
        Some(newest) => {
            Head {
                epoch: head.epoch,
                ..newest
            } == head
                && newest.epoch <= head.epoch
        }
    };
    if !agree {
        return Err(OpenError::Damaged(format!(
            "the head is at position {}, and the newest frame ends at {}",
            head.position,
            newest.map_or(0, |newest| newest.position)
        )));
    }
    Ok((head, schema::meta(client)?))
}

fn newest_frame_head(client: &mut Client) -> Result<Option<Head>, OpenError> {
    let row = client
        .query_opt(
            "SELECT bytes FROM frames ORDER BY first_position DESC LIMIT 1",
            &[],
        )
        .map_err(unavailable)?;
    let Some(row) = row else { return Ok(None) };
    let frame = FrameRef::parse(row.get(0)).map_err(|bad| OpenError::Damaged(bad.to_string()))?;
    Ok(Some(frame.head()))
}

fn head_of(row: &Row) -> Result<Head, Failure> {
    let damaged = |_| Failure::Fatal("the head row holds what no head can be".into());
    let unsigned = |column: usize| u64::try_from(row.get::<_, i64>(column)).map_err(damaged);
    Ok(Head {
        position: unsigned(0)?,
        hash: row
            .get::<_, &[u8]>(1)
            .try_into()
            .map_err(|_| Failure::Fatal("the head row's hash does not have 32 bytes".into()))?,
        timestamp: unsigned(2)?,
        epoch: u32::try_from(row.get::<_, i64>(3)).map_err(damaged)?,
    })
}

/// Begins a transaction and locks the head. A connection that died while nobody used it is replaced once.
pub(super) fn begin(link: &mut Link, clock: Option<&dyn Clock>) -> Result<Head, Failure> {
    let first = begin_once(link, clock);
    match first {
        Err(Failure::Unavailable(_)) if link.is_lost() => begin_once(link, clock),
        other => other,
    }
}

fn begin_once(link: &mut Link, clock: Option<&dyn Clock>) -> Result<Head, Failure> {
    link.client()?.batch_execute(BEGIN).map_err(failure)?;
    let head = locked_head(link, clock);
    if head.is_err() {
        link.rollback();
    }
    head
}

fn locked_head(link: &mut Link, clock: Option<&dyn Clock>) -> Result<Head, Failure> {
    let before = clock.map(Clock::now);
    let (client, statement) = link.prepared(LOCK_HEAD)?;
    let row = client.query_one(&statement, &[]).map_err(failure)?;
    session::check_synchronous_commit(row.get(4))?;
    if let (Some(before), Some(clock)) = (before, clock) {
        check_clock(before, row.get(5), clock.now())?;
    }
    head_of(&row)
}

/// The server read its clock somewhere between `before` and `after`, so the wait for the lock counts for neither side.
fn check_clock(before: u64, server: SystemTime, after: u64) -> Result<(), Failure> {
    let server = server
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or(Duration::ZERO);
    let (before, after) = (Duration::from_nanos(before), Duration::from_nanos(after));
    let behind = server.saturating_sub(after);
    let ahead = before.saturating_sub(server);
    let apart = behind.max(ahead);
    if apart > CLOCK_DIFFERENCE_MAX {
        return Err(Failure::Unavailable(format!(
            "this machine's clock and the database's are {} ms apart, more than {} ms: nothing is written until they agree",
            apart.as_millis(),
            CLOCK_DIFFERENCE_MAX.as_millis()
        )));
    }
    Ok(())
}

/// The positions under each of the hashes that has any, newest first.
pub(super) fn find(link: &mut Link, hashes: &[u64]) -> Result<Vec<(u64, u64)>, Failure> {
    let hashes: Vec<i64> = hashes.iter().map(|hash| hash.cast_signed()).collect();
    let (client, statement) = link.prepared(FIND)?;
    let rows = client.query(&statement, &[&hashes]).map_err(failure)?;
    let found = rows.iter().map(|row| {
        (
            row.get::<_, i64>(0).cast_unsigned(),
            row.get::<_, i64>(1).cast_unsigned(),
        )
    });
    Ok(found.collect())
}

/// Writes a batch and commits the turn.
pub(super) fn write(
    link: &mut Link,
    prev: &Head,
    head: &Head,
    frame: &[u8],
    changes: &Changes,
) -> Written {
    if let Err(failure) = write_all(link, prev, head, frame, changes) {
        link.rollback();
        return Written::Refused(failure);
    }
    match link.client_in_turn().and_then(|client| {
        client
            .batch_execute("COMMIT")
            .map_err(|error| Failure::Unavailable(describe(&error)))
    }) {
        Ok(()) => Written::Durable,
        Err(failure) => {
            // Whatever was said, only the head tells: the next turn looks at it over a new connection.
            link.discard();
            Written::Unknown(failure.to_string())
        }
    }
}

fn write_all(
    link: &mut Link,
    prev: &Head,
    head: &Head,
    frame: &[u8],
    changes: &Changes,
) -> Result<(), Failure> {
    let (client, statement) = link.prepared(INSERT_FRAME)?;
    client
        .execute(&statement, &[&int8(prev.position + 1), &frame])
        .map_err(failure)?;
    let (client, statement) = link.prepared(INSERT_KEYS)?;
    let (hashes, positions) = &changes.keys;
    client
        .execute(&statement, &[hashes, positions])
        .map_err(failure)?;
    changes.write(link)?;
    let (client, statement) = link.prepared(UPDATE_HEAD)?;
    let moved = client
        .execute(
            &statement,
            &[
                &int8(head.position),
                &head.hash.as_slice(),
                &int8(head.timestamp),
                &i64::from(head.epoch),
                &int8(prev.position),
                &prev.hash.as_slice(),
            ],
        )
        .map_err(failure)?;
    assert_eq!(moved, 1, "the locked head moves on, once");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_may_differ_by_five_seconds_and_no_more() {
        const S: u64 = 1_000_000_000;
        let server = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000);
        for (before, after, accepted) in [
            (1_000 * S, 1_000 * S, true),
            (995 * S, 995 * S, true),
            (1_005 * S, 1_005 * S, true),
            (995 * S - 1, 995 * S - 1, false),
            (1_005 * S + 1, 1_005 * S + 1, false),
            // A long wait for the lock says nothing about the clocks.
            (980 * S, 1_000 * S, true),
        ] {
            let checked = check_clock(before, server, after);
            assert_eq!(checked.is_ok(), accepted, "{before} {after}");
        }
    }
}
