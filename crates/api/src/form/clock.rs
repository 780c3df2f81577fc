//! The bodies of requests about the clock.

use serde::Deserialize;
use tributary_engine::{ClockStatus, FOLLOWED_AT_ONCE_NS};
use utoipa::ToSchema;

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
