//! Limits: the model keeps no counts, and adds up all payments since a limit began to count whenever it needs a sum.

use tributary_ledger::{Body, Command, PaymentKind, PutSetting};

use super::{Entry, Model};

/// Number of the kind of settings that are limits.
pub(super) const LIMIT: u16 = 7;

/// How a record uses a limit, or against which limit and sums it was refused: limit, bucket, payments, amount.
pub type LimitUse = (u64, u64, u64, u64);

/// What the body of a limit says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Terms {
    /// Whether `subject` is an owner; it is an account otherwise.
    pub(super) of_owner: bool,
    pub(super) subject: u64,
    kinds: u8,
    pub(super) currency: u16,
    window: u64,
    payments_max: Option<u64>,
    amount_max: Option<u64>,
}

/// A payment that holds or moves its money.
#[derive(Clone, Copy)]
struct Moved {
    kind: PaymentKind,
    source: u64,
    currency: u16,
    amount: u64,
}

impl Terms {
    /// Reads the body of a limit; none if it says none.
    pub(super) fn read(body: &[u8]) -> Option<Terms> {
        if body.len() != 36 {
            return None;
        }
        let number = |from: usize, len: usize| {
            let bytes = body[from..from + len].iter().rev();
            bytes.fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte))
        };
        let maximum = |from: usize| Some(number(from, 8)).filter(|max| *max < u64::MAX);
        let terms = Terms {
            of_owner: body[0] == 2,
            subject: number(4, 8),
            kinds: body[1],
            currency: number(2, 2) as u16,
            window: number(12, 8),
            payments_max: maximum(20),
            amount_max: maximum(28),
        };
        let second = 1_000_000_000;
        let maximums = [terms.payments_max, terms.amount_max];
        let fits = [1, 2].contains(&body[0])
            && (1..=15).contains(&(terms.kinds >> 1))
            && terms.kinds & 1 == 0
            && (second..=31_622_400 * second).contains(&terms.window)
            && maximums != [None, None]
            && (terms.amount_max.is_none() || terms.currency > 0)
            && maximums.into_iter().flatten().all(|max| max < 1 << 53)
            && (terms.currency == 0
                || tributary_ledger::Currency::from_numeric(terms.currency).is_ok());
        fits.then_some(terms)
    }

    /// Returns whether the terms count what others count.
    fn counts_like(&self, other: &Terms) -> bool {
        let counted = |terms: &Terms| {
            (
                (terms.of_owner, terms.subject),
                (terms.kinds, terms.currency, terms.window),
            )
        };
        counted(self) == counted(other)
    }

    fn bucket(&self, time: u64) -> u64 {
        // A fifteenth of the window, rounded up.
        time / self.window.div_ceil(15)
    }
}

impl Model {
    /// Returns since which position the limit that this put makes or changes counts.
    pub(super) fn counted_since(&self, put: &PutSetting, position: u64) -> u64 {
        let before = self.state.settings.get(&put.id.0);
        let terms = Terms::read(put.body.as_bytes());
        match before {
            Some(before)
                if before.kind == LIMIT
                    && Terms::read(&before.body)
                        .zip(terms)
                        .is_some_and(|(one, other)| one.counts_like(&other)) =>
            {
                before.counted_since
            }
            _ => position,
        }
    }

    /// Returns how the command would use limits at this time, if it holds or moves the money of a payment: the new sums of the buckets, or
    /// the limit that it would exceed with the sums of its window.
    pub(super) fn count_limits(
        &self,
        command: &Command,
        now: u64,
    ) -> Result<Vec<LimitUse>, LimitUse> {
        let mut uses = Vec::new();
        let Some(payment) = self.moved(&command.body) else {
            return Ok(uses);
        };
        for (id, since, terms) in self.limits_on(payment.source) {
            if !counts(&terms, payment) {
                continue;
            }
            let bucket = terms.bucket(now);
            let (payments, amount) = self.sum(&terms, since, |at| at + 15 >= bucket);
            let added = u128::from(payment.amount);
            let added = if terms.currency > 0 { added } else { 0 };
            let too_many = terms.payments_max.is_some_and(|max| payments + 1 > max);
            let too_much = terms
                .amount_max
                .is_some_and(|max| amount + added > u128::from(max));
            let bounded = |amount: u128| u64::try_from(amount).unwrap_or(u64::MAX);
            if too_many || too_much {
                return Err((id, bucket, payments, bounded(amount)));
            }
            let (payments, amount) = self.sum(&terms, since, |at| at == bucket);
            uses.push((id, bucket, payments + 1, bounded(amount + added)));
        }
        Ok(uses)
    }

    /// Returns what each limit counts at this time, and since which position: limit, since, payments, amount.
    pub fn limits(&self, now: u64) -> Vec<LimitUse> {
        let settings = self.state.settings.iter();
        let limits = settings.filter(|(_, found)| found.kind == LIMIT);
        let counted = limits.map(|(id, found)| {
            let terms = Terms::read(&found.body).expect("a limit was checked");
            let bucket = terms.bucket(now);
            let (payments, amount) = self.sum(&terms, found.counted_since, |at| at + 15 >= bucket);
            let amount = u64::try_from(amount).unwrap_or(u64::MAX);
            (*id, found.counted_since, payments, amount)
        });
        counted.collect()
    }

    /// Returns the number of limits on what the terms limit, without this one.
    pub(super) fn limits_beside(&self, id: u64, terms: &Terms) -> usize {
        let settings = self.state.settings.iter();
        let others = settings.filter(|(other, found)| {
            **other != id
                && found.kind == LIMIT
                && Terms::read(&found.body).is_some_and(|other| {
                    (other.of_owner, other.subject) == (terms.of_owner, terms.subject)
                })
        });
        others.count()
    }

    /// Limits of an account and then those of its owner, oldest first: id, position since which it counts, terms.
    fn limits_on(&self, source: u64) -> Vec<(u64, u64, Terms)> {
        let owner = self.state.accounts[&source].owner;
        let mut found = Vec::new();
        for subject in [(false, source), (true, owner)] {
            let settings = self.state.settings.iter();
            let limits = settings.filter(|(_, found)| found.kind == LIMIT);
            let mut theirs: Vec<_> = limits
                .map(|(id, found)| (found.revisions[0], *id, found))
                .map(|(created, id, found)| (created, id, found.counted_since, &found.body))
                .filter_map(|(created, id, since, body)| {
                    Some((created, id, since, Terms::read(body)?))
                })
                .filter(|(.., terms)| (terms.of_owner, terms.subject) == subject)
                .collect();
            theirs.sort_by_key(|(created, id, ..)| (*created, *id));
            found.extend(
                theirs
                    .into_iter()
                    .map(|(_, id, since, terms)| (id, since, terms)),
            );
        }
        found
    }

    /// Returns the number and the sum of the payments that the terms counted after a position, in buckets of which `within` holds.
    fn sum(&self, terms: &Terms, since: u64, within: impl Fn(u64) -> bool) -> (u64, u128) {
        let after = &self.entries[since as usize..];
        let (mut payments, mut amount) = (0, 0);
        for entry in after
            .iter()
            .filter(|entry| within(terms.bucket(entry.timestamp)))
        {
            let Some(moved) = self.moved_by(entry) else {
                continue;
            };
            let subject = match terms.of_owner {
                true => self.state.accounts[&moved.source].owner,
                false => moved.source,
            };
            if subject == terms.subject && counts(terms, moved) {
                payments += 1;
                amount += u128::from(moved.amount);
            }
        }
        (payments, if terms.currency > 0 { amount } else { 0 })
    }

    fn moved_by(&self, entry: &Entry) -> Option<Moved> {
        let accepted = entry.rejection.is_none();
        accepted.then(|| self.moved(&entry.command.body)).flatten()
    }

    /// Returns the payment whose money the command holds or moves for the first time.
    fn moved(&self, body: &Body) -> Option<Moved> {
        match body {
            Body::Pay(pay) if pay.queue.is_none() => Some(Moved {
                kind: pay.kind,
                source: pay.source.0,
                currency: pay.currency.numeric(),
                amount: pay.amount,
            }),
            Body::Run(id) => {
                let payment = &self.state.payments[&id.0];
                Some(Moved {
                    kind: payment.kind,
                    source: payment.source,
                    currency: payment.currency,
                    amount: u64::try_from(payment.amount).expect("it was checked"),
                })
            }
            _ => None,
        }
    }
}

fn counts(terms: &Terms, payment: Moved) -> bool {
    // 1 pay, 2 transfer, 3 top up, 4 payout; 5 and 6 are never counted.
    terms.kinds >> payment.kind as u8 & 1 == 1
        && (terms.currency == 0 || terms.currency == payment.currency)
}
