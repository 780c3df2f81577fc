//! Decisions.

use crate::{Command, Context, Outcome, Rejection, WorkingSet};

/// Decides a command. Total: every command has an outcome, and nothing changes.
pub fn decide(set: &WorkingSet, command: &Command, ctx: Context) -> Outcome {
    let _ = (set, command, ctx);
    unimplemented!()
}

/// The outcome of a command refused for this reason.
pub fn refuse(set: &WorkingSet, command: &Command, rejection: Rejection, ctx: Context) -> Outcome {
    let _ = (set, command, rejection, ctx);
    unimplemented!()
}

/// Decides and applies a run of commands, all or nothing. The first takes `first.position`, the others the next ones.
/// If one is refused, it keeps its reason, the others get [`Rejection::GroupAborted`], and the set is as if none had been
/// tried but for the mentions of refused payments.
pub fn decide_group(set: &mut WorkingSet, commands: &[Command], first: Context) -> Vec<Outcome> {
    let _ = (set, commands, first);
    unimplemented!()
}
