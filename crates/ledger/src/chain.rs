//! An account's legs as a chain that can be walked from the newest, and entered anywhere in O(log n) reads.
//!
//! Legs are numbered from 1. The level of a leg is the largest k ≤ 4 such that 32^k divides its number. Each leg
//! knows the leg before it (`prev`) and the last leg of a higher level than its own (`skip`; of level 4: the last leg
//! of level 4). Walking back, a reader takes `skip` while that is not too far, else `prev`.

use crate::Leg;
use std::ops::ControlFlow;

/// Highest level.
pub const LEVEL_MAX: u32 = 4;

/// Binary logarithm of the number of legs of a level per leg of the next level.
const FAN_OUT_BITS: u32 = 5;

/// Largest number of a leg, which is stored in 48 bits.
pub const SEQ_MAX: u64 = (1 << 48) - 1;

/// End of the chain of an account.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chain {
    last: u64,
    seq: u64,
    /// Position of the last leg of at least level 1; 0 while there are fewer than 32 legs. Inline, since nearly every leg needs it.
    mark: u64,
    /// The same for levels 2, 3 and 4; none while there are fewer than 1,024 legs.
    marks: Option<Box<[u64; HIGHER]>>,
}

/// Levels above the first.
const HIGHER: usize = LEVEL_MAX as usize - 1;

impl Chain {
    /// Returns a chain from its stored parts. `marks` are the positions of the last leg of at least level 1 to 4; 0 = none yet.
    pub fn from_parts(last: u64, seq: u64, marks: [u64; LEVEL_MAX as usize]) -> Self {
        Chain {
            last,
            seq,
            mark: marks[0],
            marks: (marks[1..] != [0; HIGHER]).then(|| Box::new([marks[1], marks[2], marks[3]])),
        }
    }

    /// Returns the position of the newest leg; 0 = none.
    pub fn last(&self) -> u64 {
        self.last
    }

    /// Returns the number of legs.
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// Returns the positions of the last leg of at least level 1 to 4; 0 = none yet.
    pub fn marks(&self) -> [u64; LEVEL_MAX as usize] {
        let [second, third, fourth] = self.marks.as_deref().copied().unwrap_or_default();
        [self.mark, second, third, fourth]
    }

    /// Returns `(seq, prev, skip)` of the next leg.
    pub fn next(&self) -> (u64, u64, u64) {
        let seq = self.seq + 1;
        assert!(seq <= SEQ_MAX, "a chain has fewer than 2^48 legs");
        let skip = match (level(seq) + 1).min(LEVEL_MAX) {
            1 => self.mark,
            higher => {
                let marks = self.marks.as_deref();
                marks.map_or(0, |marks| marks[higher as usize - 2])
            }
        };
        (seq, self.last, skip)
    }

    /// Adds the leg that was recorded at `position`.
    pub fn push(&mut self, position: u64) {
        assert!(
            position > self.last,
            "legs of an account come in the order of positions"
        );
        self.seq += 1;
        self.last = position;
        let level = level(self.seq);
        if level > 0 {
            self.mark = position;
        }
        if level > 1 {
            let marks = self.marks.get_or_insert_default();
            marks[..level as usize - 1].fill(position);
        }
    }
}

/// Returns the level of the leg with this number.
pub fn level(seq: u64) -> u32 {
    (seq.trailing_zeros() / FAN_OUT_BITS).min(LEVEL_MAX)
}

/// A leg that was read, with the position and the time of its record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// Position of the record.
    pub position: u64,
    /// Time of the record, nanoseconds since the Unix epoch.
    pub timestamp: u64,
    /// Leg of the account in the record.
    pub leg: Leg,
}

/// Upper bound for the leg at which a reader enters a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// The leg is at or before this position.
    Position(u64),
    /// The leg is at or before this time, nanoseconds since the Unix epoch.
    Timestamp(u64),
    /// The number of the leg is at most this.
    Seq(u64),
}

impl Until {
    fn admits(self, link: &Link) -> bool {
        match self {
            Until::Position(position) => link.position <= position,
            Until::Timestamp(timestamp) => link.timestamp <= timestamp,
            Until::Seq(seq) => link.leg.seq <= seq,
        }
    }
}

/// Returns the newest leg of a chain within `until`, if there is one. `last` is the position of the newest leg; `read` returns
/// the leg of this account in the record at a position. The leg must exist, because every position comes from a leg.
pub fn seek<E>(
    last: u64,
    until: Until,
    mut read: impl FnMut(u64) -> Result<Link, E>,
) -> Result<Option<Link>, E> {
    let mut at = last;
    let mut known: Option<Link> = None;
    while at != 0 {
        let link = match known.take() {
            Some(link) => link,
            None => read(at)?,
        };
        if until.admits(&link) {
            return Ok(Some(link));
        }
        at = link.leg.prev;
        if link.leg.skip == 0 || link.leg.skip == link.leg.prev {
            continue;
        }
        if let Until::Position(position) = until
            && link.leg.skip <= position
        {
            continue;
        }
        let skipped = read(link.leg.skip)?;
        if !until.admits(&skipped) {
            at = skipped.position;
            known = Some(skipped);
        }
    }
    Ok(None)
}

/// Calls `each` with `from` and the older legs until `each` breaks or the chain ends.
pub fn walk<E>(
    from: Option<Link>,
    mut read: impl FnMut(u64) -> Result<Link, E>,
    mut each: impl FnMut(&Link) -> ControlFlow<()>,
) -> Result<(), E> {
    let mut next = from;
    while let Some(link) = next {
        if each(&link).is_break() {
            return Ok(());
        }
        next = if link.leg.prev == 0 {
            None
        } else {
            Some(read(link.leg.prev)?)
        };
    }
    Ok(())
}
