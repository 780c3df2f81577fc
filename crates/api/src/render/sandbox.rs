//! The clock of a sandbox.

use serde::Serialize;
use tributary_ledger::AdvanceTime;
use tributary_ledger::codec::Record;
use utoipa::ToSchema;

use crate::time::format_timestamp;

/// Nanoseconds in a millisecond.
const MILLISECOND: u64 = 1_000_000;

/// A move of the clock of a sandbox.
#[derive(Serialize, ToSchema)]
#[schema(as = SandboxClock)]
pub struct SandboxClockObject {
    #[schema(pattern = "^sandbox_clock$")]
    object: &'static str,
    /// Ledger time before the move.
    #[schema(format = DateTime)]
    from: String,
    /// Ledger time after the move. Time goes on from there.
    #[schema(format = DateTime)]
    to: String,
    /// Time by which the clock was moved, in milliseconds.
    #[schema(minimum = 0)]
    advanced_ms: u64,
}

/// Returns the move of the clock that an accepted record made.
pub(crate) fn sandbox_clock(record: &Record, advance: AdvanceTime) -> SandboxClockObject {
    let from = record.ctx.timestamp;
    let nanos = advance.nanos(from);
    SandboxClockObject {
        object: "sandbox_clock",
        from: format_timestamp(from),
        to: format_timestamp(from.saturating_add(nanos)),
        advanced_ms: nanos / MILLISECOND,
    }
}
