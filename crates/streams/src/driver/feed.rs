//! Records of a frame as streams take them.

use std::cell::OnceCell;

use tributary_engine::{Failure, FrameRef, Reader, parse_record};
use tributary_ledger::event_type;

use super::fields::{EventFields, OwnerNames};
use super::publish;
use super::runner::Taken;

/// Calls `take` with the frame that holds the record at a position.
///
/// # Errors
/// If the frame can't be read, or as `take`.
pub(super) fn with_frame<T>(
    reader: &Reader,
    position: u64,
    take: impl FnOnce(&FrameRef<'_>) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let damaged = |what: String| Failure::RecordDamaged { position, what };
    let frame = reader.frame(position)?;
    let frame = frame.ok_or_else(|| damaged("its frame is missing".to_owned()))?;
    take(&FrameRef::parse(&frame).map_err(|error| damaged(error.to_string()))?)
}

/// Calls `each` with every record of the frame from `first` to `last`.
///
/// # Errors
/// If a record can't be read, or as `each`.
pub(super) fn take_frame(
    reader: &Reader,
    owners: &OwnerNames,
    frame: &FrameRef<'_>,
    first: u64,
    last: u64,
    mut each: impl FnMut(&Taken<'_>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    for record in frame.records() {
        let at = record.position();
        if at < first || at > last {
            continue;
        }
        let record = parse_record(at, record.payload())?;
        let is_event = !record.operation().is_internal();
        let kind = is_event.then(|| event_type(&record));
        let result = publish::result_of(&record);
        let fields: OnceCell<Option<EventFields<'_>>> = OnceCell::new();
        let make = || {
            let fields = fields.get_or_init(|| {
                let whole = record.to_record().ok()?;
                Some(EventFields::new(reader, owners, kind?, whole))
            });
            fields.as_ref()
        };
        each(&Taken {
            position: at,
            time: i64::try_from(record.context().timestamp).unwrap_or(i64::MAX),
            event_type: kind,
            stream_hops: result.as_ref().and_then(|_| Some(record.origin()?.hops)),
            result,
            fields: &make,
        })?;
    }
    Ok(())
}
