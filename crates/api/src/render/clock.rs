//! The clock, as it looks from outside.

use serde::Serialize;
use tributary_engine::{ClockState, ClockStatus};
use utoipa::ToSchema;
use utoipa::openapi::schema::Object;

use crate::schema::one_of;
use crate::time::format_timestamp;

/// Nanoseconds in a millisecond.
const MILLISECOND: i64 = 1_000_000;

/// Ledger time beside the wall clock of the machine.
#[derive(Serialize, ToSchema)]
#[schema(as = Clock)]
pub struct ClockObject {
    #[schema(pattern = "^clock$")]
    object: &'static str,
    /// Time that the next record gets, and by which holds, queued payments and retries are due.
    #[schema(format = DateTime)]
    ledger_time: String,
    /// Wall clock of the machine.
    #[schema(format = DateTime)]
    wall_time: String,
    /// `in_step`; `wall_ahead`: the wall clock is more than 60 seconds ahead and is not followed yet; `wall_behind`: the wall
    /// clock is behind, and ledger time runs at half speed until it has caught up.
    #[schema(schema_with = clock_states)]
    status: &'static str,
    /// By how much the wall clock is ahead of ledger time, in milliseconds; negative if it is behind.
    lead_ms: i64,
    /// Time by which the clock of a sandbox was moved in all, in milliseconds; else 0. It does not count as a lead.
    #[schema(minimum = 0)]
    advanced_ms: u64,
    /// Time for which the wall clock must stay ahead until it is followed, in milliseconds; null if it is not ahead.
    #[schema(required, minimum = 0)]
    followed_in_ms: Option<u64>,
}

fn clock_states() -> Object {
    one_of(["in_step", "wall_ahead", "wall_behind"])
}

/// Returns the object of a clock.
pub fn clock(status: &ClockStatus) -> ClockObject {
    let (name, followed_in) = match status.state {
        ClockState::InStep => ("in_step", None),
        ClockState::WallAhead { followed_in } => ("wall_ahead", Some(followed_in)),
        ClockState::WallBehind => ("wall_behind", None),
    };
    ClockObject {
        object: "clock",
        ledger_time: format_timestamp(status.ledger),
        wall_time: format_timestamp(status.wall),
        status: name,
        lead_ms: status.lead / MILLISECOND,
        advanced_ms: status.offset / MILLISECOND.unsigned_abs(),
        followed_in_ms: followed_in.map(|nanos| nanos.div_ceil(MILLISECOND.unsigned_abs())),
    }
}
