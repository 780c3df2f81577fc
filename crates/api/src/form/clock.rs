//! The bodies of requests about the clock.

use serde::Deserialize;
use tributary_engine::{ClockStatus, FOLLOWED_AT_ONCE_NS};
use tributary_ledger::{AdvanceTime, Body};
use utoipa::ToSchema;

use crate::code::ErrorCode;
use crate::draft::CommandDraft;
use crate::error::ApiError;
use crate::form::value::TimeText;
use crate::time::format_timestamp;

/// Say that the wall clock is right.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ClockConfirm {
    /// The time that it is now, from another clock than this machine's. Up to 60 seconds beside the wall clock count as right.
    wall_time: TimeText,
}

impl ClockConfirm {
    /// Checks that the time is that of the wall clock.
    ///
    /// # Errors
    /// If the wall clock shows another time.
    pub fn check(&self, status: &ClockStatus) -> Result<(), ApiError> {
        if self.wall_time.0.abs_diff(status.wall) <= FOLLOWED_AT_ONCE_NS {
            return Ok(());
        }
        let shown = format_timestamp(status.wall);
        Err(ApiError::invalid(
            "wall_time",
            format!(
                "The wall clock of the server shows {shown}, which is more than 60 seconds beside wall_time. Correct the \
                 machine's clock first."
            ),
        ))
    }
}

/// Maximum number of seconds by which one request moves the clock of a sandbox: 100 years.
const ADVANCE_SECONDS_MAX: u64 = 3_153_600_000;
/// Nanoseconds in a second.
const SECOND: u64 = 1_000_000_000;

/// Move the clock of a sandbox forwards. Give exactly one of the fields.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SandboxClockAdvance {
    /// By so many seconds.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 3_153_600_000u64, nullable = false)]
    advance_seconds: Option<u64>,
    /// To this time, which must be later than the time of the sandbox.
    #[serde(default)]
    #[schema(nullable = false)]
    to: Option<TimeText>,
}

impl SandboxClockAdvance {
    /// Returns the draft of the command.
    ///
    /// # Errors
    /// If not exactly one field is given, or the number of seconds is out of its range.
    pub fn into_draft(self) -> Result<CommandDraft, ApiError> {
        let advance = match (self.advance_seconds, self.to) {
            (Some(seconds @ 1..=ADVANCE_SECONDS_MAX), None) => AdvanceTime::By(seconds * SECOND),
            (Some(_), None) => {
                let message =
                    format!("advance_seconds must be an integer from 1 to {ADVANCE_SECONDS_MAX}.");
                return Err(ApiError::invalid("advance_seconds", message));
            }
            (None, Some(time)) => AdvanceTime::To(time.0),
            (Some(_), Some(_)) => {
                let message = "Give either advance_seconds or to, not both.";
                return Err(ApiError::invalid("to", message));
            }
            (None, None) => {
                return Err(ApiError::new(
                    ErrorCode::ParameterMissing,
                    "Give advance_seconds or to.",
                )
                .param("advance_seconds"));
            }
        };
        Ok(CommandDraft::new(Body::AdvanceTime(advance)))
    }
}
