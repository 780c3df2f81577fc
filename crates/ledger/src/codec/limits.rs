//! Limits as bytes: how a record uses them, and what they have counted.
//!
//! ```text
//! uses    count u8 · count × (setting, bucket, payments, amount u64)
//! counts  setting, since, changed_at u64 · buckets u8 · buckets × (number, payments, amount u64)
//! ```

use super::bytes::{Corrupt, Input, Put, u64_at};
use crate::{
    LIMIT_BUCKETS, LIMITS_PER_PAYMENT_MAX, LimitCounts, LimitTerms, LimitTotals, LimitUse, Setting,
    SettingId, SettingKind,
};
use arrayvec::ArrayVec;

/// Size of the use of a limit, bytes.
pub(super) const LIMIT_USE: usize = 32;

/// Maximum number of bytes that uses of limits add to a record.
pub const LIMIT_USES_BYTES_MAX: usize = 1 + LIMITS_PER_PAYMENT_MAX * LIMIT_USE;

pub(super) fn put_uses(uses: &[LimitUse], into: &mut Vec<u8>) {
    assert!(
        uses.len() <= LIMITS_PER_PAYMENT_MAX,
        "a payment meets a bounded number of limits"
    );
    into.u8(uses.len() as u8);
    for usage in uses {
        into.u64(usage.limit.0);
        into.u64(usage.bucket);
        put_totals(usage.totals, into);
    }
}

pub(super) fn take_uses<'a>(input: &mut Input<'a>) -> Result<&'a [[u8; LIMIT_USE]], Corrupt> {
    let count = usize::from(input.u8()?);
    if !(1..=LIMITS_PER_PAYMENT_MAX).contains(&count) {
        return Err(Corrupt("a wrong number of limits"));
    }
    Ok(input.take(count * LIMIT_USE)?.as_chunks().0)
}

pub(super) fn read_use(bytes: &[u8; LIMIT_USE]) -> LimitUse {
    LimitUse {
        limit: SettingId(u64_at(bytes, 0)),
        bucket: u64_at(bytes, 8),
        totals: LimitTotals {
            payments: u64_at(bytes, 16),
            amount: u64_at(bytes, 24),
        },
    }
}

pub(super) fn put_counts(counts: &LimitCounts, into: &mut Vec<u8>) {
    into.u64(counts.limit.0);
    into.u64(counts.since);
    into.u64(counts.changed_at);
    into.u8(counts.buckets.len() as u8);
    for (number, totals) in &counts.buckets {
        into.u64(*number);
        put_totals(*totals, into);
    }
}

pub(super) fn take_counts(input: &mut Input<'_>) -> Result<LimitCounts, Corrupt> {
    let (limit, since, changed_at) = (SettingId(input.u64()?), input.u64()?, input.u64()?);
    let mut buckets = ArrayVec::new();
    let count = usize::from(input.u8()?);
    if count > LIMIT_BUCKETS {
        return Err(Corrupt("a limit with too many buckets"));
    }
    for _ in 0..count {
        let number = input.u64()?;
        let totals = LimitTotals {
            payments: input.u64()?,
            amount: input.u64()?,
        };
        let before = buckets.last().map(|(number, _)| *number);
        if before.is_some_and(|before| before >= number) {
            return Err(Corrupt("the buckets of a limit are not in order"));
        }
        buckets.push((number, totals));
    }
    Ok(LimitCounts {
        limit,
        since,
        changed_at,
        buckets,
    })
}

fn put_totals(totals: LimitTotals, into: &mut Vec<u8>) {
    into.u64(totals.payments);
    into.u64(totals.amount);
}

/// Checks the body of a setting that is in force.
pub(super) fn check_setting(setting: &Setting) -> Result<(), Corrupt> {
    let is_limit = setting.kind == SettingKind::LIMIT;
    match is_limit && LimitTerms::from_body(setting.body.as_bytes()).is_err() {
        true => Err(Corrupt("not a limit")),
        false => Ok(()),
    }
}
