//! Groups of commands that are accepted or refused together.

use super::{decide_one, refuse};
use crate::{Command, Context, Outcome, Rejection, WorkingSet, apply};

/// Decides and applies a group of commands: all are accepted, or all are refused. The first takes
/// `first.position`, the others the next positions.
/// If a command is refused, it keeps its reason and the others get [`Rejection::GroupAborted`]. Then the set is unchanged
/// except for the failed payments and the chains of the accounts that they name.
pub fn decide_group(set: &mut WorkingSet, commands: &[Command], first: Context) -> Vec<Outcome> {
    set.begin_undo();
    let mut outcomes = Vec::with_capacity(commands.len());
    for (command, ctx) in in_order(commands, first) {
        let mut outcome = Outcome::default();
        decide_one(set, command, true, ctx, &mut outcome);
        if let Some(rejection) = outcome.rejection {
            set.undo();
            return abort(set, commands, first, outcomes.len(), rejection, &outcome);
        }
        apply(set, command, &outcome, ctx);
        outcomes.push(outcome);
    }
    set.end_undo();
    outcomes
}

fn in_order(commands: &[Command], first: Context) -> impl Iterator<Item = (&Command, Context)> {
    let context = move |offset| Context {
        position: first.position + offset,
        timestamp: first.timestamp,
    };
    commands.iter().zip((0..).map(context))
}

fn abort(
    set: &mut WorkingSet,
    commands: &[Command],
    first: Context,
    failed: usize,
    reason: Rejection,
    refusal: &Outcome,
) -> Vec<Outcome> {
    let mut outcomes = Vec::with_capacity(commands.len());
    for (at, (command, ctx)) in in_order(commands, first).enumerate() {
        let rejection = if at == failed {
            reason
        } else {
            Rejection::GroupAborted
        };
        let mut outcome = refuse(set, command, rejection, ctx);
        // What the command lacked, it lacked behind the commands before it, which are undone.
        if at == failed {
            outcome.short_of_funds = refusal.short_of_funds;
            outcome.limits.clone_from(&refusal.limits);
        }
        apply(set, command, &outcome, ctx);
        outcomes.push(outcome);
    }
    outcomes
}
