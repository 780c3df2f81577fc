//! Searches the journal for events of a subscription that is behind, or of a stream.

use std::sync::Arc;

use tributary_engine::{Failure, Reader, parse_record};
use tributary_ledger::AccountId;

use crate::delivery::Matched;
use crate::frames::Frame;
use crate::matcher::Matcher;

/// Approximate number of records searched at once.
const READ_AT_ONCE: u64 = 4_096;

/// Where a subscription, or a stream, begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartAt {
    /// At the first event of the journal.
    Beginning,
    /// At the next event that happens.
    Now,
    /// At the event after this position.
    After(u64),
    /// At the first event that did not happen before this time, nanoseconds since the Unix epoch.
    Time(u64),
}

impl StartAt {
    /// Returns the position after which events are wanted.
    ///
    /// # Errors
    /// If the journal can't be read.
    pub fn position(self, reader: &Reader) -> Result<u64, Failure> {
        let published = reader.published();
        Ok(match self {
            StartAt::Beginning => 0,
            StartAt::Now => published,
            StartAt::After(position) => position.min(published),
            StartAt::Time(time) => {
                // The number of events before that time.
                let (mut before, mut not_before) = (0, published + 1);
                while not_before - before > 1 {
                    let middle = before + (not_before - before) / 2;
                    let record = reader.record(middle)?;
                    match record.is_some_and(|record| record.ctx.timestamp < time) {
                        true => before = middle,
                        false => not_before = middle,
                    }
                }
                before
            }
        })
    }
}

/// Searches `from ..= last` for at most `matches_max` events, and not all at once. Returns the last position that was searched, behind
/// which the caller goes on, and the matches. `last` must be published, and `from` at least 1.
///
/// # Errors
/// If the journal can't be read.
pub fn scan(
    reader: &Reader,
    matcher: &mut Matcher,
    from: u64,
    last: u64,
    matches_max: usize,
) -> Result<(u64, Vec<Matched>), Failure> {
    let read = |position| Frame::read(reader, position).map(Arc::new);
    scan_frames(reader, matcher, from, last, matches_max, &read, &|_| ())
}

/// [`scan`] with frames that `read` returns. Calls `matched` with each frame that holds a match.
///
/// # Errors
/// If the journal can't be read.
pub(crate) fn scan_frames(
    reader: &Reader,
    matcher: &mut Matcher,
    from: u64,
    last: u64,
    matches_max: usize,
    read: &dyn Fn(u64) -> Result<Arc<Frame>, Failure>,
    matched: &dyn Fn(&Arc<Frame>),
) -> Result<(u64, Vec<Matched>), Failure> {
    let owner = |account: AccountId| reader.account_owner(account);
    let end = last.min(from.saturating_add(READ_AT_ONCE));
    let (mut matches, mut through) = (Vec::new(), from - 1);
    while through < end && matches.len() < matches_max {
        let frame = read(through + 1)?;
        let before = matches.len();
        for (position, payload) in frame.payloads_from(through + 1) {
            if position > last || matches.len() >= matches_max {
                break;
            }
            let record = parse_record(position, payload)?;
            matcher.matches(&record, &owner, &mut |_, matched| matches.push(matched));
            through = position;
        }
        if matches.len() > before {
            matched(&frame);
        }
    }
    Ok((through, matches))
}
