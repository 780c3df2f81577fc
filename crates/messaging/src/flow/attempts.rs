//! Attempts: how events are handed out, and how receivers answer.

use super::{Flow, GAVE_BACK, RECEIVER_TEXT_MARK, State};
use crate::delivery::{Delivery, Receipt, ReceiptExpired};
use crate::ended::{AttemptEnd, EndedAttempts, Group};
use crate::image::{ATTEMPTS_KEPT, ERROR_BYTES_MAX};

impl Flow {
    /// Hands out up to `max` events until the running time `deadline`, the oldest first.
    pub fn take(&mut self, max: usize, deadline: u64, now: u64, generation: u64) -> Vec<Delivery> {
        let mut deliveries = Vec::new();
        let in_flight_max = self.policy().in_flight_max as usize;
        let ttl = self.policy().ttl;
        let (mut first, mut waited) = (0, 0);
        let mut places = max.min(in_flight_max.saturating_sub(self.out));
        if self.ready.is_empty() || self.subscription.terms.paused.is_some() {
            places = 0;
        }
        places = self.memory.in_flight.take_up_to(places);
        while self.subscription.terms.paused.is_none()
            && deliveries.len() < places
            && let Some((position, ())) = self.ready.pop_first()
        {
            if ttl > 0 && now >= self.opened(position).letter.time.saturating_add(ttl) {
                self.settle(position, now);
                self.totals.expired += 1;
                continue;
            }
            let open = self.at(position);
            open.letter.attempt += 1;
            open.state = State::Out {
                generation,
                deadline,
                since: now,
            };
            let (attempt, time) = (open.letter.attempt, open.letter.time);
            if attempt == 1 {
                first += 1;
                waited += now.saturating_sub(time);
            }
            if open.named {
                self.changed.push(position);
            }
            self.out += 1;
            self.deadlines.insert((deadline, position), ());
            deliveries.push(Delivery {
                position,
                receipt: Receipt {
                    position,
                    generation,
                },
                attempt,
            });
        }
        self.receiver_waits |= deliveries.len() < max;
        self.totals.handed_out += deliveries.len() as u64;
        self.meter.started(now, first, waited);
        deliveries
    }

    /// Returns when the attempt of a receipt began.
    fn since(&self, receipt: Receipt) -> Result<u64, ReceiptExpired> {
        match self.open.get(&receipt.position).map(|open| open.state) {
            Some(State::Out {
                generation, since, ..
            }) if generation == receipt.generation => Ok(since),
            _ => Err(ReceiptExpired),
        }
    }

    /// Acknowledges deliveries. Each receipt has its own result.
    pub fn ack(&mut self, receipts: &[Receipt], now: u64) -> Vec<Result<(), ReceiptExpired>> {
        let (mut count, mut worked) = (0, 0);
        let results = receipts.iter().map(|&receipt| {
            let since = self.since(receipt)?;
            self.done_with(receipt.position, since, now, &[]);
            count += 1;
            worked += now.saturating_sub(since);
            Ok(())
        });
        let results = results.collect();
        self.totals.acknowledged += count;
        self.meter.done(now, count, worked);
        results
    }

    /// Acknowledges one delivery, with a note for the history. `worked` is the duration of the work in nanoseconds: the delivery may
    /// have waited for its turn after it was handed out.
    pub fn ack_noted(
        &mut self,
        receipt: Receipt,
        worked: u64,
        note: &[u8],
        now: u64,
    ) -> Result<(), ReceiptExpired> {
        let since = self.since(receipt)?;
        self.done_with(receipt.position, since, now, note);
        self.totals.acknowledged += 1;
        self.meter.done(now, 1, worked);
        Ok(())
    }

    fn done_with(&mut self, position: u64, since: u64, now: u64, note: &[u8]) {
        let attempt = self.settle(position, now).letter.attempt;
        self.over(
            position,
            attempt,
            AttemptEnd::Acknowledged,
            since,
            now,
            note,
        );
    }

    /// Records the end of an attempt for the history.
    pub(super) fn over(
        &mut self,
        position: u64,
        attempt: u32,
        end: AttemptEnd,
        since: u64,
        now: u64,
        note: &[u8],
    ) {
        let like = Group {
            subscription: self.id(),
            attempt,
            end,
            began: since,
            ended: now,
            events: 0,
            note: 0,
        };
        self.past.push(like, position, note);
    }

    /// Returns the attempts that ended since they were last taken.
    pub(crate) fn ended_attempts(&mut self) -> &mut EndedAttempts {
        &mut self.past
    }

    /// Fails an attempt. The next one follows after `delay` nanoseconds, or after the delay of the policy.
    pub fn nack(
        &mut self,
        receipt: Receipt,
        delay: Option<u64>,
        error: &str,
        now: u64,
    ) -> Result<(), ReceiptExpired> {
        // Marked, so that no receiver can tell of an exchange that never was; what notes an exchange is not marked.
        let end = error.floor_char_boundary(ERROR_BYTES_MAX);
        let note = [&[RECEIVER_TEXT_MARK], &error.as_bytes()[..end]].concat();
        self.nack_noted(receipt, delay, error, &note, now)
    }

    /// [`Flow::nack`] with a note for the history.
    pub fn nack_noted(
        &mut self,
        receipt: Receipt,
        delay: Option<u64>,
        error: &str,
        note: &[u8],
        now: u64,
    ) -> Result<(), ReceiptExpired> {
        let since = self.since(receipt)?;
        let attempt = self.opened(receipt.position).letter.attempt;
        let delay = delay.unwrap_or_else(|| self.policy().wait(attempt, receipt.position));
        self.over(
            receipt.position,
            attempt,
            AttemptEnd::Refused,
            since,
            now,
            note,
        );
        self.fail(receipt.position, error, now.saturating_add(delay), now);
        Ok(())
    }

    /// Takes deliveries back from a receiver that disconnected. The `sent` ones failed. The receiver never had the `unsent` ones: they
    /// were no attempts, and come again at once.
    pub fn give_back(&mut self, sent: &[Receipt], unsent: &[Receipt], now: u64) {
        for receipt in sent {
            let _if_not_over = self.nack(*receipt, None, GAVE_BACK, now);
        }
        for receipt in unsent {
            if self.since(*receipt).is_err() {
                continue;
            }
            let open = self.at(receipt.position);
            let State::Out { deadline, .. } = open.state else {
                unreachable!("it has a receipt that counts");
            };
            open.letter.attempt -= 1;
            if open.named {
                self.changed.push(receipt.position);
            }
            self.out -= 1;
            self.deadlines.remove(&(deadline, receipt.position));
            self.activate(receipt.position, now);
        }
    }

    /// Extends an attempt to the running time `until`.
    pub fn extend(&mut self, receipt: Receipt, until: u64) -> Result<(), ReceiptExpired> {
        self.since(receipt)?;
        let open = self.at(receipt.position);
        let State::Out { deadline, .. } = &mut open.state else {
            return Err(ReceiptExpired);
        };
        let before = std::mem::replace(deadline, until);
        self.deadlines.remove(&(before, receipt.position));
        self.deadlines.insert((until, receipt.position), ());
        Ok(())
    }

    /// Ends a failed attempt: the event waits for the next one, or is dead.
    pub(super) fn fail(&mut self, position: u64, error: &str, due: u64, now: u64) {
        self.totals.failed += 1;
        let attempts_max = self.policy().attempts_max;
        let attempts_kept = match self.memory.letter_bytes.has_room() {
            true => ATTEMPTS_KEPT,
            false => 1,
        };
        let open = self.at(position);
        let was_named = std::mem::replace(&mut open.named, true);
        let bytes_before = if was_named { open.letter.bytes() } else { 0 };
        open.letter.failed(now, error, attempts_kept);
        open.letter.due = due;
        let (bytes, attempt) = (open.letter.bytes(), open.letter.attempt);
        let State::Out { deadline, .. } = open.state else {
            unreachable!("only what is out fails");
        };
        self.named += usize::from(!was_named);
        self.named_bytes = self.named_bytes + bytes - bytes_before;
        if attempt >= attempts_max {
            return self.mark_dead(position, now);
        }
        self.out -= 1;
        self.deadlines.remove(&(deadline, position));
        self.changed.push(position);
        self.activate(position, now);
    }
}
