//! Payments of one request that the ledger decides, as the guard counts them.

use tributary_ledger::{ApiKeyId, Body, Command, Rejection};

use crate::app::Shared;
use crate::guard::{Declined, Guard};

/// Payments that an API key of an owner asked for, in the order of the commands.
pub(crate) struct DecidedPayments<'a> {
    guard: &'a Guard,
    key: ApiKeyId,
    /// None for a command that is no payment.
    payments: Vec<Option<Declined>>,
}

impl<'a> DecidedPayments<'a> {
    /// Returns the payments of commands of one caller; none if they are not counted.
    pub(crate) fn of(shared: &'a Shared, commands: &[Command]) -> Option<DecidedPayments<'a>> {
        let guard = shared.guard.as_ref()?;
        let actor = commands.first()?.actor;
        if !guard.counts_payments_of(actor) {
            return None;
        }
        let payments = commands.iter().map(|command| match &command.body {
            Body::Pay(pay) => Some(Declined {
                payer: pay.source.0,
                amount: pay.amount,
            }),
            _ => None,
        });
        Some(DecidedPayments {
            guard,
            key: actor.api_key,
            payments: payments.collect(),
        })
    }

    /// Counts them by the replies to the commands: the reason of each refusal; none for a command that was not decided now.
    pub(crate) fn count(self, replies: impl Iterator<Item = Option<Option<Rejection>>>) {
        let (mut accepted, mut declined) = (0, Vec::new());
        for (payment, reply) in self.payments.into_iter().zip(replies) {
            match (payment, reply) {
                // Another command of its group is at fault.
                (Some(_), Some(Some(Rejection::GroupAborted))) => {}
                (Some(payment), Some(Some(_reason))) => declined.push(payment),
                (Some(_), Some(None)) => accepted += 1,
                _ => {}
            }
        }
        self.guard.count_decided(self.key, accepted, &declined);
    }
}
