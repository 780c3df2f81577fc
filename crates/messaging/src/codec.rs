//! The bytes of a [`Change`] in the delivery log. Little-endian; texts and lists after their length.
//!
//! The first byte says what it is. Numbers are never used again for something else.

use tributary_ledger::{Currency, OwnerId, SettingId};

use crate::image::{Attempt, Change, Letter};
use crate::settings::{Backoff, Filter, Kind, Order, Pattern, Policy, SubscriptionId, Terms};

const BEGIN: u8 = 1;
const DELETE: u8 = 2;
const PROGRESS: u8 = 3;
const DONE: u8 = 4;
const NAMED: u8 = 5;
const DEAD: u8 = 6;
const REWIND: u8 = 7;
const REMATCH: u8 = 8;
const REPLAYS: u8 = 9;
const WHOLE: u8 = 10;

/// The bytes are not those of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a change in the delivery log can't be read")]
pub(crate) struct Unreadable;

/// Appends the bytes of `change`.
pub(crate) fn encode(change: &Change, out: &mut Vec<u8>) {
    let mut to = Out(out);
    match change {
        Change::Begin {
            generation,
            cluster,
        } => {
            to.u8(BEGIN).u64(*generation);
            to.0.extend_from_slice(cluster);
        }
        Change::Delete(id) => {
            to.u8(DELETE).u64(id.0);
        }
        Change::Progress { id, floor } => {
            to.u8(PROGRESS).u64(id.0).u64(*floor);
        }
        Change::Done { id, positions } => {
            to.u8(DONE).u64(id.0).u32(positions.len());
            for position in positions {
                to.u64(*position);
            }
        }
        Change::Named {
            id,
            position,
            letter,
        } => {
            to.u8(NAMED).u64(id.0).u64(*position);
            put_letter(letter, &mut to);
        }
        Change::Dead {
            id,
            position,
            letter,
        } => {
            to.u8(DEAD).u64(id.0).u64(*position);
            put_letter(letter, &mut to);
        }
        Change::Rewind {
            id,
            to: at,
            all,
            through,
        } => {
            to.u8(REWIND).u64(id.0).u64(*at).u8(u8::from(*all));
            to.u64(*through);
        }
        Change::Rematch { id, through } => {
            to.u8(REMATCH).u64(id.0).u64(*through);
        }
        Change::Replays { id, ranges } => {
            to.u8(REPLAYS).u64(id.0).u32(ranges.len());
            for (first, last) in ranges {
                to.u64(*first).u64(*last);
            }
        }
        Change::Whole => {
            to.u8(WHOLE);
        }
    }
}

struct Out<'a>(&'a mut Vec<u8>);

impl Out<'_> {
    fn u8(&mut self, value: u8) -> &mut Self {
        self.0.push(value);
        self
    }

    fn u32(&mut self, value: usize) -> &mut Self {
        let value = u32::try_from(value).expect("lengths are bounded");
        self.0.extend_from_slice(&value.to_le_bytes());
        self
    }

    fn u64(&mut self, value: u64) -> &mut Self {
        self.0.extend_from_slice(&value.to_le_bytes());
        self
    }

    fn bytes(&mut self, value: &[u8]) -> &mut Self {
        self.u32(value.len());
        self.0.extend_from_slice(value);
        self
    }
}

fn put_letter(letter: &Letter, to: &mut Out<'_>) {
    to.u64(letter.time)
        .u64(letter.object)
        .u32(letter.attempt as usize)
        .u64(letter.due)
        .u32(letter.history.len());
    for attempt in &letter.history {
        to.u64(attempt.at).bytes(attempt.error.as_bytes());
    }
}

/// Appends the bytes of terms and of where a subscription begins.
pub(crate) fn encode_terms(terms: &Terms, start: Option<u64>, out: &mut Vec<u8>) {
    let mut to = Out(out);
    to.u8(u8::from(start.is_some())).u64(start.unwrap_or(0));
    put_terms(terms, &mut to);
}

/// Reads what [`encode_terms`] wrote.
///
/// # Errors
/// If the bytes are not exactly that, or the terms are out of their bounds.
pub(crate) fn decode_terms(bytes: &[u8]) -> Result<(Terms, Option<u64>), Unreadable> {
    let mut from = In(bytes);
    let (given, start) = (from.flag()?, from.u64()?);
    let terms = take_terms(&mut from)?;
    terms.check().map_err(|_| Unreadable)?;
    if !from.0.is_empty() || (!given && start != 0) {
        return Err(Unreadable);
    }
    Ok((terms, given.then_some(start)))
}

fn put_terms(terms: &Terms, to: &mut Out<'_>) {
    let filter = &terms.filter;
    to.u32(filter.patterns.len());
    for pattern in &filter.patterns {
        to.bytes(pattern.as_str().as_bytes());
    }
    let currency = filter.currency.map(|currency| currency.to_string());
    to.bytes(currency.unwrap_or_default().as_bytes());
    to.u8(u8::from(filter.owner.is_some()));
    to.u64(filter.owner.map_or(0, |owner| owner.0));
    match &terms.kind {
        Kind::Pull => to.u8(0),
        Kind::Push { target } => to.u8(1).bytes(target),
        Kind::Sink { binding } => to.u8(2).u64(binding.0),
    };
    put_policy(&terms.policy, to);
    to.u8(u8::from(terms.paused.is_some()));
    to.bytes(terms.paused.as_deref().unwrap_or_default().as_bytes())
        .bytes(terms.name.as_bytes())
        .bytes(terms.metadata.as_bytes());
}

fn put_policy(policy: &Policy, to: &mut Out<'_>) {
    to.u8(match policy.order {
        Order::None => 0,
        Order::Object => 1,
    });
    to.u32(policy.attempts_max as usize).u8(policy.jitter);
    match &policy.backoff {
        Backoff::Exponential { first, factor, max } => {
            to.u8(0).u64(*first).u32(*factor as usize).u64(*max);
        }
        Backoff::List(delays) => {
            to.u8(1).u32(delays.len());
            for delay in delays {
                to.u64(*delay);
            }
        }
    }
    to.u64(policy.visibility)
        .u32(policy.in_flight_max as usize)
        .u64(policy.ttl)
        .u64(policy.delay)
        .u32(policy.workers.unwrap_or(0) as usize);
}

/// Reads a change.
///
/// # Errors
/// If the bytes are not exactly one.
pub(crate) fn decode(bytes: &[u8]) -> Result<Change, Unreadable> {
    let mut from = In(bytes);
    let change = match from.u8()? {
        BEGIN => Change::Begin {
            generation: from.u64()?,
            cluster: from.array()?,
        },
        DELETE => Change::Delete(from.id()?),
        PROGRESS => Change::Progress {
            id: from.id()?,
            floor: from.u64()?,
        },
        DONE => Change::Done {
            id: from.id()?,
            positions: from.list(In::u64)?,
        },
        NAMED => Change::Named {
            id: from.id()?,
            position: from.u64()?,
            letter: take_letter(&mut from)?,
        },
        DEAD => Change::Dead {
            id: from.id()?,
            position: from.u64()?,
            letter: take_letter(&mut from)?,
        },
        REWIND => Change::Rewind {
            id: from.id()?,
            to: from.u64()?,
            all: from.flag()?,
            through: from.u64()?,
        },
        REMATCH => Change::Rematch {
            id: from.id()?,
            through: from.u64()?,
        },
        REPLAYS => Change::Replays {
            id: from.id()?,
            ranges: from.list(|from| Ok((from.u64()?, from.u64()?)))?,
        },
        WHOLE => Change::Whole,
        _ => return Err(Unreadable),
    };
    match from.0 {
        [] => Ok(change),
        _ => Err(Unreadable),
    }
}

struct In<'a>(&'a [u8]);

impl<'a> In<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], Unreadable> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(Unreadable)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Unreadable> {
        self.take(N)?.try_into().map_err(|_| Unreadable)
    }

    fn u8(&mut self) -> Result<u8, Unreadable> {
        Ok(self.take(1)?[0])
    }

    fn flag(&mut self) -> Result<bool, Unreadable> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Unreadable),
        }
    }

    fn u32(&mut self) -> Result<u32, Unreadable> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64, Unreadable> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    fn id(&mut self) -> Result<SubscriptionId, Unreadable> {
        Ok(SubscriptionId(self.u64()?))
    }

    fn bytes(&mut self) -> Result<&'a [u8], Unreadable> {
        let len = self.u32()? as usize;
        self.take(len)
    }

    fn text(&mut self) -> Result<&'a str, Unreadable> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Unreadable)
    }

    fn list<T>(
        &mut self,
        item: impl Fn(&mut Self) -> Result<T, Unreadable>,
    ) -> Result<Vec<T>, Unreadable> {
        let len = self.u32()?;
        (0..len).map(|_| item(self)).collect()
    }
}

fn take_letter(from: &mut In<'_>) -> Result<Letter, Unreadable> {
    Ok(Letter {
        time: from.u64()?,
        object: from.u64()?,
        attempt: from.u32()?,
        due: from.u64()?,
        history: from.list(|from| {
            Ok(Attempt {
                at: from.u64()?,
                error: from.text()?.into(),
            })
        })?,
    })
}

fn take_terms(from: &mut In<'_>) -> Result<Terms, Unreadable> {
    let patterns = from.list(|from| Pattern::new(from.text()?).map_err(|_| Unreadable))?;
    let currency = match from.text()? {
        "" => None,
        code => Some(Currency::from_code(code).map_err(|_| Unreadable)?),
    };
    let owned = from.flag()?;
    let owner = OwnerId(from.u64()?);
    let filter = Filter {
        patterns,
        currency,
        owner: owned.then_some(owner),
    };
    let kind = match from.u8()? {
        0 => Kind::Pull,
        1 => Kind::Push {
            target: from.bytes()?.to_vec(),
        },
        2 => Kind::Sink {
            binding: SettingId(from.u64()?),
        },
        _ => return Err(Unreadable),
    };
    let policy = take_policy(from)?;
    let paused = from.flag()?;
    let why = from.text()?.to_owned();
    Ok(Terms {
        filter,
        kind,
        policy,
        paused: paused.then_some(why),
        name: from.text()?.to_owned(),
        metadata: from.text()?.to_owned(),
    })
}

fn take_policy(from: &mut In<'_>) -> Result<Policy, Unreadable> {
    let order = match from.u8()? {
        0 => Order::None,
        1 => Order::Object,
        _ => return Err(Unreadable),
    };
    let (attempts_max, jitter) = (from.u32()?, from.u8()?);
    let backoff = match from.u8()? {
        0 => Backoff::Exponential {
            first: from.u64()?,
            factor: from.u32()?,
            max: from.u64()?,
        },
        1 => Backoff::List(from.list(In::u64)?),
        _ => return Err(Unreadable),
    };
    Ok(Policy {
        order,
        attempts_max,
        backoff,
        jitter,
        visibility: from.u64()?,
        in_flight_max: from.u32()?,
        ttl: from.u64()?,
        delay: from.u64()?,
        workers: Some(from.u32()?).filter(|workers| *workers > 0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changes() -> Vec<Change> {
        let id = SubscriptionId(u64::MAX - 3);
        let letter = Letter {
            time: 1,
            object: 2,
            attempt: 3,
            due: 4,
            history: vec![Attempt {
                at: 5,
                error: "none".into(),
            }],
        };
        vec![
            Change::Begin {
                generation: 3,
                cluster: [4; 16],
            },
            Change::Delete(id),
            Change::Progress { id, floor: 8 },
            Change::Done {
                id,
                positions: vec![1, 5],
            },
            Change::Named {
                id,
                position: 7,
                letter: letter.clone(),
            },
            Change::Dead {
                id,
                position: 7,
                letter,
            },
            Change::Rewind {
                id,
                to: 4,
                all: true,
                through: 9,
            },
            Change::Rematch { id, through: 9 },
            Change::Replays {
                id,
                ranges: vec![(1, 2)],
            },
            Change::Whole,
        ]
    }

    #[test]
    fn what_is_written_is_read_and_nothing_else() {
        for change in changes() {
            let mut bytes = Vec::new();
            encode(&change, &mut bytes);
            assert_eq!(decode(&bytes), Ok(change));
            for cut in 0..bytes.len() {
                assert_eq!(decode(&bytes[..cut]), Err(Unreadable));
            }
            bytes.push(0);
            assert_eq!(decode(&bytes), Err(Unreadable));
        }
    }
}
