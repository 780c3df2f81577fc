//! Moments that a balance is asked for: after an event, at a time, or on a business date.

use tributary_engine::{IdKind, Ids, Reader};
use tributary_ledger::Date;

use crate::caller::Caller;
use crate::code::ErrorCode;
use crate::error::ApiError;
use crate::time::{format_date, format_timestamp, parse_date, parse_timestamp};
use crate::visibility::visible_event;

/// A moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// After the record at this position.
    Record(u64),
    /// After what was recorded at this time or before, nanoseconds since the Unix epoch.
    Time(u64),
    /// With what is effective on this date or before.
    Date(Date),
}

impl Moment {
    /// Reads the parameter `at`: the id of an event that the caller may see, a time, a date, or for a platform key a position.
    ///
    /// # Errors
    /// An event that the caller may not see is answered like one that does not exist.
    pub fn parse(reader: &Reader, caller: &Caller, text: &str) -> Result<Moment, ApiError> {
        let wrong = || {
            let message = "at must be the id of an event, a time such as 2026-01-31T09:30:00Z, or a date such as 2026-01-31.";
            ApiError::invalid("at", message)
        };
        if let Some(date) = parse_date(text) {
            return Ok(Moment::Date(Date(date)));
        }
        if let Some(time) = parse_timestamp(text) {
            return Ok(Moment::Time(time));
        }
        // Only the platform may learn how many events there are.
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        let position = match text.parse() {
            Ok(position) if digits && caller.is_platform() => {
                Some(position).filter(|position| (1..=reader.published()).contains(position))
            }
            _ => visible_event(reader, caller, text)?,
        };
        position.map(Moment::Record).ok_or_else(wrong)
    }

    /// Returns the moment as text.
    pub fn show(&self, ids: &Ids) -> String {
        match self {
            Moment::Record(position) => ids.encode(IdKind::Event, *position),
            Moment::Time(time) => format_timestamp(*time),
            Moment::Date(date) => format_date(date.0),
        }
    }
}

/// Error of a balance for which more records would have to be looked at than one request may.
pub fn too_many_records(message: String) -> ApiError {
    ApiError::new(ErrorCode::TooManyRecords, message).param("at")
}
