//! Carrying outcomes into the set.

use crate::{Command, Context, Outcome, WorkingSet};

/// Carries an outcome into the set. Cannot fail: everything was checked by `decide`, or long ago when the record was
/// written. Objects that are at or past this record already are skipped, so records may be applied over a checkpoint
/// that was taken while they were made.
pub fn apply(set: &mut WorkingSet, command: &Command, outcome: &Outcome, ctx: Context) {
    let _ = (set, command, outcome, ctx);
    unimplemented!()
}
