//! Walks over the journal that touch only what they return: all records, one account's, or one owner's.
//!
//! Every leg of a record carries the position of the account's leg before it, and a skip pointer further back, so a walk
//! may begin anywhere. An owner's records are the merge of its accounts' chains.

use std::collections::BinaryHeap;
use std::collections::VecDeque;
use std::ops::ControlFlow;

use tributary_ledger::chain::{self, Link, Until};
use tributary_ledger::codec::{Record, RecordRef};
use tributary_ledger::{AccountId, Date, Leg};

use crate::backend::{JournalReader, ReadCache};
use crate::failure::Failure;
use crate::payload::{damaged, decode_record, parse_record};

/// Legs fetched at a time when a chain is walked towards the present.
const CHUNK_LEGS: u64 = 64;

/// Where an account's chain ends: its newest leg.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ChainEnd {
    pub(crate) account: AccountId,
    /// Position of the newest leg; 0 if there is none.
    pub(crate) last: u64,
    /// Number of legs.
    pub(crate) seq: u64,
}

/// What to walk over.
pub(crate) enum Source {
    /// Every record.
    All,
    /// The records that touch any of these accounts.
    Chains(Vec<ChainEnd>),
}

/// Records within `first..=last`, towards the past or towards the present.
pub(crate) struct Walk<'a> {
    records: Records<'a>,
    first: u64,
    last: u64,
    newest_first: bool,
    state: State,
}

enum State {
    All {
        next: u64,
    },
    Down {
        heads: BinaryHeap<(u64, AccountId)>,
        loose: VecDeque<u64>,
    },
    Up {
        chains: Vec<UpChain>,
        loose: VecDeque<u64>,
    },
}

/// A chain walked towards the present: chunks are fetched newest first and handed out oldest first.
struct UpChain {
    end: ChainEnd,
    next_seq: u64,
    fetched: VecDeque<u64>,
}

/// Reads records that lie near each other, often: what was read for one may hold the next.
pub(super) struct Records<'a> {
    reader: &'a dyn JournalReader,
    near: ReadCache,
}

impl<'a> Records<'a> {
    pub(super) fn new(reader: &'a dyn JournalReader) -> Records<'a> {
        Records {
            reader,
            near: ReadCache::default(),
        }
    }

    /// Shows the record at `position`, which must be durable, to `look`.
    pub(super) fn read<T>(
        &mut self,
        position: u64,
        look: impl FnOnce(&RecordRef<'_>) -> T,
    ) -> Result<T, Failure> {
        let payload = self.reader.read_cached(position, &mut self.near)?;
        let payload = payload.ok_or_else(|| damaged(position, "it is missing".to_owned()))?;
        Ok(look(&parse_record(position, payload)?))
    }

    /// The business date of the record at `position`, and the leg of `account` in it.
    pub(super) fn dated_leg(
        &mut self,
        account: AccountId,
        position: u64,
    ) -> Result<(Date, Leg), Failure> {
        let (date, leg) = self.read(position, |record| {
            (record.effective_at(), record.find_leg(account))
        })?;
        Ok((date, leg.ok_or_else(|| broken(position))?))
    }

    /// The record at `position`; none beyond the head.
    fn record(&mut self, position: u64) -> Result<Option<Record>, Failure> {
        let payload = self.reader.read_cached(position, &mut self.near)?;
        payload
            .map(|payload| decode_record(position, payload))
            .transpose()
    }

    /// The leg of `account` in the record at `position`, where the chain says that there is one.
    fn link(&mut self, account: AccountId, position: u64) -> Result<Link, Failure> {
        let payload = self.reader.read_cached(position, &mut self.near)?;
        let record = parse_record(position, payload.ok_or_else(|| broken(position))?)?;
        Ok(Link {
            position,
            timestamp: record.context().timestamp,
            leg: record.find_leg(account).ok_or_else(|| broken(position))?,
        })
    }

    /// The newest leg of a chain that is not past `until`.
    pub(super) fn seek(&mut self, end: ChainEnd, until: Until) -> Result<Option<Link>, Failure> {
        chain::seek(end.last, until, |position| self.link(end.account, position))
    }
}

fn broken(position: u64) -> Failure {
    Failure::RecordDamaged {
        position,
        what: "the chain of an account leads here, but its leg is missing".into(),
    }
}

/// The leg of `account` in `record`.
pub(crate) fn leg_of(record: &Record, account: AccountId) -> Option<Leg> {
    record
        .outcome
        .legs
        .iter()
        .find(|leg| leg.account == account)
        .copied()
}

impl<'a> Walk<'a> {
    /// A walk over what of `source` lies within `first..=last`. `loose`: positions there that belong to the walk of chains without
    /// being in one, in the order of the walk.
    pub(crate) fn new(
        reader: &'a dyn JournalReader,
        source: Source,
        loose: VecDeque<u64>,
        first: u64,
        last: u64,
        newest_first: bool,
    ) -> Result<Walk<'a>, Failure> {
        let mut records = Records::new(reader);
        let state = match source {
            Source::All => State::All {
                next: if newest_first { last } else { first },
            },
            Source::Chains(ends) if newest_first => {
                let mut heads = BinaryHeap::with_capacity(ends.len());
                for end in ends {
                    // Nothing is read for an account until its turn comes, unless the page begins further back.
                    let newest = if end.last <= last {
                        end.last
                    } else {
                        records
                            .seek(end, Until::Position(last))?
                            .map_or(0, |link| link.position)
                    };
                    if newest >= first.max(1) {
                        heads.push((newest, end.account));
                    }
                }
                State::Down { heads, loose }
            }
            Source::Chains(ends) => {
                let mut chains = Vec::with_capacity(ends.len());
                for end in ends {
                    let before = records.seek(end, Until::Position(first.saturating_sub(1)))?;
                    let next_seq = before.map_or(0, |before| before.leg.seq) + 1;
                    chains.push(UpChain {
                        end,
                        next_seq,
                        fetched: VecDeque::new(),
                    });
                }
                State::Up { chains, loose }
            }
        };
        Ok(Walk {
            records,
            first,
            last,
            newest_first,
            state,
        })
    }

    /// The next record, each once.
    pub(crate) fn next(&mut self) -> Result<Option<Record>, Failure> {
        match &mut self.state {
            State::All { next } => {
                if *next < self.first || *next > self.last || *next == 0 {
                    return Ok(None);
                }
                let position = *next;
                *next = if self.newest_first {
                    position - 1
                } else {
                    position + 1
                };
                self.records.record(position)
            }
            State::Down { heads, loose } => {
                let head = heads.peek().map(|&(position, _)| position);
                let Some(position) = head.max(loose.front().copied()) else {
                    return Ok(None);
                };
                loose.pop_front_if(|next| *next == position);
                let record = self
                    .records
                    .record(position)?
                    .ok_or_else(|| broken(position))?;
                while let Some(&(head, account)) = heads.peek()
                    && head == position
                {
                    heads.pop();
                    let leg = leg_of(&record, account).ok_or_else(|| broken(position))?;
                    if leg.prev >= self.first && leg.prev > 0 {
                        heads.push((leg.prev, account));
                    }
                }
                Ok(Some(record))
            }
            State::Up { chains, loose } => {
                let mut nearest: Option<u64> = loose.front().copied();
                for chain in chains.iter_mut() {
                    chain.fetch(&mut self.records)?;
                    if let Some(&position) = chain.fetched.front() {
                        nearest = Some(nearest.map_or(position, |other| other.min(position)));
                    }
                }
                let Some(position) = nearest.filter(|&position| position <= self.last) else {
                    return Ok(None);
                };
                loose.pop_front_if(|next| *next == position);
                for chain in chains.iter_mut() {
                    if chain.fetched.front() == Some(&position) {
                        chain.fetched.pop_front();
                    }
                }
                self.records.record(position)
            }
        }
    }
}

impl UpChain {
    fn fetch(&mut self, records: &mut Records<'_>) -> Result<(), Failure> {
        if !self.fetched.is_empty() || self.next_seq > self.end.seq {
            return Ok(());
        }
        let until = (self.next_seq + CHUNK_LEGS - 1).min(self.end.seq);
        let newest = records.seek(self.end, Until::Seq(until))?;
        let from = self.next_seq;
        chain::walk(
            newest,
            |position| records.link(self.end.account, position),
            |link| {
                if link.leg.seq < from {
                    return ControlFlow::Break(());
                }
                self.fetched.push_front(link.position);
                ControlFlow::Continue(())
            },
        )?;
        self.next_seq = until + 1;
        Ok(())
    }
}
