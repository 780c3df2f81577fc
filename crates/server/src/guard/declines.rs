//! Amounts that were declined, by payer: who feels for a balance or a limit tries one amount after the other.

/// Time for which an amount is remembered, nanoseconds.
const REMEMBERED: u64 = 600_000_000_000;
/// Maximum number of amounts that are remembered of one API key; the oldest gives way.
pub(super) const AMOUNTS_MAX: usize = 64;

/// A declined payment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Declined {
    /// Account that would have paid.
    pub(crate) payer: u64,
    /// Amount, minor units.
    pub(crate) amount: u64,
}

/// The newest amounts that were declined for one API key, each once for each payer.
#[derive(Debug)]
pub(super) struct Declines {
    /// With the time of each; as many as were put there, and no more.
    amounts: [(Declined, u64); AMOUNTS_MAX],
    len: usize,
    next: usize,
}

impl Declines {
    pub(super) fn new() -> Declines {
        Declines {
            amounts: [Default::default(); AMOUNTS_MAX],
            len: 0,
            next: 0,
        }
    }

    /// Takes a declined payment in. Returns how many different amounts were declined for its payer within 10 minutes, if its own is a
    /// new one: the same amount again is a retry and tells nothing.
    pub(super) fn add(&mut self, declined: Declined, now: u64) -> Option<u32> {
        let known = &self.amounts[..self.len];
        let is_fresh = |at: u64| now < at.saturating_add(REMEMBERED);
        let of_payer = known
            .iter()
            .filter(|(one, at)| one.payer == declined.payer && is_fresh(*at));
        let (mut amounts, mut is_known) = (1, false);
        for (one, _) in of_payer {
            amounts += 1;
            is_known |= one.amount == declined.amount;
        }
        if is_known {
            return None;
        }
        self.amounts[self.next] = (declined, now);
        self.next = (self.next + 1) % AMOUNTS_MAX;
        self.len = AMOUNTS_MAX.min(self.len + 1);
        Some(amounts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(declines: &mut Declines, payer: u64, amount: u64, now: u64) -> Option<u32> {
        declines.add(Declined { payer, amount }, now)
    }

    #[test]
    fn different_amounts_of_one_payer_add_up_and_retries_do_not() {
        let mut declines = Declines::new();
        assert_eq!(add(&mut declines, 1, 100, 0), Some(1));
        assert_eq!(add(&mut declines, 1, 50, 1), Some(2));
        assert_eq!(add(&mut declines, 1, 100, 2), None);
        assert_eq!(add(&mut declines, 2, 75, 3), Some(1));
        assert_eq!(add(&mut declines, 1, 75, 4), Some(3));
    }

    #[test]
    fn amounts_are_forgotten_after_ten_minutes() {
        let mut declines = Declines::new();
        assert_eq!(add(&mut declines, 1, 100, 0), Some(1));
        assert_eq!(add(&mut declines, 1, 50, REMEMBERED - 1), Some(2));
        assert_eq!(add(&mut declines, 1, 25, REMEMBERED), Some(2));
        assert_eq!(add(&mut declines, 1, 100, REMEMBERED), Some(3));
    }

    #[test]
    fn the_oldest_amounts_give_way() {
        let mut declines = Declines::new();
        for amount in 0..1_000 {
            let amounts = add(&mut declines, 1, amount, 0).expect("a new amount");
            assert_eq!(u64::from(amounts), (amount + 1).min(AMOUNTS_MAX as u64 + 1));
        }
        for payer in 2..2 + AMOUNTS_MAX as u64 {
            assert_eq!(add(&mut declines, payer, 1, 0), Some(1));
        }
        assert_eq!(add(&mut declines, 1, 999, 0), Some(1));
    }
}
