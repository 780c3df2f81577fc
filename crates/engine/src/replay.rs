//! Records that were decided before, or elsewhere, applied to a set.

use arrayvec::ArrayVec;
use tributary_journal::{FrameRef, Versions, prefetch};
use tributary_ledger::codec::{Corrupt, RecordRef};
use tributary_ledger::{self as ledger, WorkingSet};

use crate::failure::Failure;
use crate::payload;
use crate::versions::NEWEST;
use crate::view::RECORDS_WARMED;

/// Applies the records of a frame from the position `first` on, and forgets what need not be resident.
pub(crate) fn apply_frame(
    frame: &FrameRef<'_>,
    first: u64,
    set: &mut WorkingSet,
) -> Result<(), Failure> {
    require_known(frame.header().versions(), frame.header().first_position)?;
    let damaged = |position, corrupt: Corrupt| payload::damaged(position, corrupt.to_string());
    let mut stored = frame.records().filter(|stored| stored.position() >= first);
    let mut records: ArrayVec<RecordRef<'_>, RECORDS_WARMED> = ArrayVec::new();
    let mut last = 0;
    loop {
        for stored in stored.by_ref().take(RECORDS_WARMED) {
            last = stored.position();
            let record = RecordRef::parse(stored.payload(), ledger::FORMAT_VERSION);
            let record = record.map_err(|corrupt| damaged(last, corrupt))?;
            set.prefetch_record(&record, prefetch);
            records.push(record);
        }
        if records.is_empty() {
            break;
        }
        for record in records.drain(..) {
            let applied = ledger::apply_record(set, &record);
            applied.map_err(|corrupt| damaged(record.context().position, corrupt))?;
        }
    }
    set.evict_through(last);
    Ok(())
}

/// Refuses records that were decided or written by a newer program.
pub(crate) fn require_known(versions: Versions, position: u64) -> Result<(), Failure> {
    match versions.are_known_to(NEWEST) {
        true => Ok(()),
        false => Err(Failure::Newer { position, versions }),
    }
}
