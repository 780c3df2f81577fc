//! Limits: the most that an account or an owner may pay within a time, kept exactly.
//!
//! A limit is a setting of [`SettingKind::LIMIT`](crate::SettingKind::LIMIT), the only kind whose body the ledger reads. Time is cut into
//! *buckets* of 1/15 of the window, aligned to the epoch; the newest 16 buckets together cover the window that ends now. The oldest of them
//! counts whole, so a payment may be refused up to 1/15 of the window too long, and none ever passes that should not.
//!
//! A payment counts in the bucket in which its money was held or moved, once: neither a capture, void, expiry nor refund changes
//! what was counted. A queued payment counts when it runs. A refused payment does not count.

use arrayvec::ArrayVec;

use crate::{AMOUNT_MAX, AccountId, Context, Currency, OwnerId, PaymentKind, SettingId};

/// Maximum number of limits on one account, and on one owner: a payment meets those of its source and of the owner of its source.
pub const LIMITS_PER_SUBJECT_MAX: usize = 4;

/// Maximum number of limits that a payment meets.
pub const LIMITS_PER_PAYMENT_MAX: usize = 2 * LIMITS_PER_SUBJECT_MAX;

/// Number of buckets that count.
pub const LIMIT_BUCKETS: usize = 16;

/// Shortest window of a limit, nanoseconds: one second.
pub const LIMIT_WINDOW_NS_MIN: u64 = 1_000_000_000;

/// Longest window of a limit, nanoseconds: 366 days.
pub const LIMIT_WINDOW_NS_MAX: u64 = 366 * 86_400 * 1_000_000_000;

/// Kinds of payments that a limit can count. An adjustment is a correction, and a return brings money back: neither is ever limited.
pub const LIMITED_KINDS: [PaymentKind; 4] = [
    PaymentKind::Pay,
    PaymentKind::Transfer,
    PaymentKind::TopUp,
    PaymentKind::Payout,
];

/// Whose payments a limit counts: those that this account pays, or that any account of this owner pays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LimitSubject {
    /// An account.
    Account(AccountId),
    /// An owner.
    Owner(OwnerId),
}

/// What a limit says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitTerms {
    /// Whose payments count.
    pub subject: LimitSubject,
    /// Kinds that count: bit n stands for the payment kind with the number n.
    pub kinds: u8,
    /// Currency whose payments count; none = payments in every currency, whose amounts are not added up.
    pub currency: Option<Currency>,
    /// Length of the window, nanoseconds, [`LIMIT_WINDOW_NS_MIN`] to [`LIMIT_WINDOW_NS_MAX`].
    pub window_ns: u64,
    /// Maximum number of payments in the window.
    pub payments_max: Option<u64>,
    /// Maximum sum of their amounts, minor units; requires a currency.
    pub amount_max: Option<u64>,
}

/// Payments that were counted, and the sum of their amounts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LimitTotals {
    /// Number of payments.
    pub payments: u64,
    /// Sum of their amounts, minor units; 0 if the limit counts every currency, and 2^64-1 if the sum is larger.
    pub amount: u64,
}

/// How a record uses a limit: 32 bytes of the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitUse {
    /// The limit.
    pub limit: SettingId,
    /// Number of the bucket of the record's time.
    pub bucket: u64,
    /// Of an accepted payment: what the bucket holds after it. Of a payment that the limit refused: what the whole window holds without it.
    pub totals: LimitTotals,
}

/// Newest buckets of a limit.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Ring {
    /// Number of the newest bucket.
    newest: u64,
    /// Totals of the buckets, each at its number modulo the length.
    buckets: [LimitTotals; LIMIT_BUCKETS],
}

/// A limit in force, and what it has counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Setting that says it.
    pub id: SettingId,
    /// Position of the record that created the setting.
    pub created_at: u64,
    /// What it says.
    pub terms: LimitTerms,
    /// Time from which payments are counted, nanoseconds since the Unix epoch: when the setting was created, or last began to count something
    /// else.
    pub since: u64,
    /// Position of the record that last changed what is counted.
    pub changed_at: u64,
    /// Made by the first payment.
    ring: Option<Box<Ring>>,
}

/// What a limit has counted: all of it that its setting does not say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitCounts {
    /// Setting that says the limit.
    pub limit: SettingId,
    /// As [`Limit::since`].
    pub since: u64,
    /// As [`Limit::changed_at`].
    pub changed_at: u64,
    /// Numbers and totals of the newest buckets that hold something, ascending.
    pub buckets: ArrayVec<(u64, LimitTotals), LIMIT_BUCKETS>,
}

/// Error: the body of a setting says no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a limit: {0}")]
pub struct NoLimit(pub &'static str);

const ANY: u64 = u64::MAX;
const BODY: usize = 36;

impl LimitTerms {
    /// Makes terms, which count only payments of `kinds`.
    ///
    /// # Errors
    /// If [`LimitTerms`] says that a field cannot be so, if nothing has a maximum, or if no kind that can be limited is counted.
    pub fn new(
        subject: LimitSubject,
        kinds: &[PaymentKind],
        currency: Option<Currency>,
        window_ns: u64,
        payments_max: Option<u64>,
        amount_max: Option<u64>,
    ) -> Result<LimitTerms, NoLimit> {
        let kinds = kinds.iter().fold(0, |mask, kind| mask | 1 << *kind as u8);
        let terms = LimitTerms {
            subject,
            kinds,
            currency,
            window_ns,
            payments_max,
            amount_max,
        };
        terms.check()?;
        Ok(terms)
    }

    fn check(&self) -> Result<(), NoLimit> {
        let all = LIMITED_KINDS
            .iter()
            .fold(0, |mask, kind| mask | 1 << *kind as u8);
        if self.kinds == 0 || self.kinds & !all != 0 {
            return Err(NoLimit("it counts no kind that can be limited"));
        }
        if !(LIMIT_WINDOW_NS_MIN..=LIMIT_WINDOW_NS_MAX).contains(&self.window_ns) {
            return Err(NoLimit("the window is too short or too long"));
        }
        if self.payments_max.is_none() && self.amount_max.is_none() {
            return Err(NoLimit("nothing has a maximum"));
        }
        if self.amount_max.is_some() && self.currency.is_none() {
            return Err(NoLimit("an amount has a currency"));
        }
        let max = self.payments_max.max(self.amount_max);
        if max.is_some_and(|max| max > AMOUNT_MAX) {
            return Err(NoLimit("a maximum is too large"));
        }
        Ok(())
    }

    /// Returns the kinds that count.
    pub fn kinds(&self) -> impl Iterator<Item = PaymentKind> {
        LIMITED_KINDS
            .into_iter()
            .filter(|kind| self.kinds & 1 << *kind as u8 != 0)
    }

    /// Returns the body of the setting: `subject u8 (1 account, 2 owner) · kinds u8 · currency u16 (0 = every) · id, window, payments_max,
    /// amount_max u64 (2^64-1 = none)`, little-endian.
    pub fn to_body(self) -> Vec<u8> {
        let (tag, id) = match self.subject {
            LimitSubject::Account(id) => (1, id.0),
            LimitSubject::Owner(id) => (2, id.0),
        };
        let currency = self.currency.map_or(0, Currency::numeric);
        let (payments, amount) = (self.payments_max, self.amount_max);
        let mut body = vec![tag, self.kinds];
        body.extend_from_slice(&currency.to_le_bytes());
        for word in [
            id,
            self.window_ns,
            payments.unwrap_or(ANY),
            amount.unwrap_or(ANY),
        ] {
            body.extend_from_slice(&word.to_le_bytes());
        }
        body
    }

    /// Reads the body of a setting.
    ///
    /// # Errors
    /// If the bytes are not those of [`LimitTerms::to_body`].
    pub fn from_body(body: &[u8]) -> Result<LimitTerms, NoLimit> {
        let body: &[u8; BODY] = body.try_into().map_err(|_| NoLimit("its length"))?;
        let words = body[4..].as_chunks::<8>().0;
        let word = |at: usize| u64::from_le_bytes(words[at]);
        let optional = |at: usize| Some(word(at)).filter(|value| *value != ANY);
        let subject = match body[0] {
            1 => LimitSubject::Account(AccountId(word(0))),
            2 => LimitSubject::Owner(OwnerId(word(0))),
            _ => return Err(NoLimit("neither an account nor an owner")),
        };
        let currency = match u16::from_le_bytes([body[2], body[3]]) {
            0 => None,
            numeric => {
                Some(Currency::from_numeric(numeric).map_err(|_| NoLimit("an unknown currency"))?)
            }
        };
        let terms = LimitTerms {
            subject,
            kinds: body[1],
            currency,
            window_ns: word(1),
            payments_max: optional(2),
            amount_max: optional(3),
        };
        terms.check()?;
        Ok(terms)
    }

    /// Returns the length of a bucket, nanoseconds.
    pub fn bucket_ns(&self) -> u64 {
        self.window_ns.div_ceil(LIMIT_BUCKETS as u64 - 1)
    }

    /// Returns the number of the bucket of a time.
    pub fn bucket(&self, timestamp: u64) -> u64 {
        timestamp / self.bucket_ns()
    }

    /// Returns whether a payment counts whose source is the limit's subject.
    pub fn counts(&self, kind: PaymentKind, currency: Currency) -> bool {
        self.kinds & 1 << kind as u8 != 0 && self.currency.is_none_or(|counted| counted == currency)
    }

    /// Returns whether the terms count the same as others, whatever their maximums are.
    fn counts_like(&self, other: &LimitTerms) -> bool {
        let maximums = (other.payments_max, other.amount_max);
        let same_maximums = LimitTerms {
            payments_max: maximums.0,
            amount_max: maximums.1,
            ..*self
        };
        same_maximums == *other
    }

    /// Adds a payment of this amount to totals.
    fn add(&self, totals: LimitTotals, amount: u64) -> LimitTotals {
        let amount = if self.currency.is_some() { amount } else { 0 };
        LimitTotals {
            payments: totals.payments + 1,
            amount: totals.amount.saturating_add(amount),
        }
    }

    fn allows(&self, totals: LimitTotals) -> bool {
        self.payments_max.is_none_or(|max| totals.payments <= max)
            && self.amount_max.is_none_or(|max| totals.amount <= max)
    }
}

impl Limit {
    /// Returns a limit that has counted nothing yet.
    pub(crate) fn new(
        id: SettingId,
        created_at: u64,
        terms: LimitTerms,
        changed: Context,
    ) -> Limit {
        Limit {
            id,
            created_at,
            terms,
            since: changed.timestamp,
            changed_at: changed.position,
            ring: None,
        }
    }

    /// Returns this limit with other terms. What was counted stays, if the new terms count the same.
    pub(crate) fn with_terms(&self, terms: LimitTerms, changed: Context) -> Limit {
        if !self.terms.counts_like(&terms) {
            return Limit::new(self.id, self.created_at, terms, changed);
        }
        Limit {
            terms,
            changed_at: changed.position,
            ..self.clone()
        }
    }

    /// Returns what was counted, to be kept beside the setting.
    pub fn counts(&self) -> LimitCounts {
        LimitCounts {
            limit: self.id,
            since: self.since,
            changed_at: self.changed_at,
            buckets: self.buckets().collect(),
        }
    }

    /// Returns this limit with what was kept by [`Limit::counts`].
    pub(crate) fn with_counts(&self, counts: &LimitCounts) -> Limit {
        let mut limit = Limit {
            since: counts.since,
            changed_at: counts.changed_at,
            ring: None,
            ..self.clone()
        };
        for (number, totals) in &counts.buckets {
            limit.put_bucket(*number, *totals);
        }
        limit
    }

    /// Returns what counts at this time. Saturates at 2^64-1.
    pub fn totals(&self, timestamp: u64) -> LimitTotals {
        let newest = self.terms.bucket(timestamp);
        let mut totals = LimitTotals::default();
        for (_, bucket) in self
            .buckets()
            .filter(|(number, _)| (number + LIMIT_BUCKETS as u64) > newest && *number <= newest)
        {
            totals.payments += bucket.payments;
            totals.amount = totals.amount.saturating_add(bucket.amount);
        }
        totals
    }

    /// Returns the numbers and totals of the buckets that hold something.
    pub(crate) fn buckets(&self) -> impl Iterator<Item = (u64, LimitTotals)> {
        self.ring.iter().flat_map(|ring| {
            let first = (ring.newest + 1).saturating_sub(LIMIT_BUCKETS as u64);
            (first..=ring.newest)
                .map(|number| (number, ring.buckets[number as usize % LIMIT_BUCKETS]))
                .filter(|(_, totals)| totals.payments > 0)
        })
    }

    fn bucket(&self, number: u64) -> LimitTotals {
        self.buckets()
            .find(|(other, _)| *other == number)
            .map_or(LimitTotals::default(), |(_, totals)| totals)
    }

    /// Counts a payment: how the record would use the limit, or how much of it is used, if it refuses the payment.
    pub(crate) fn count(&self, amount: u64, timestamp: u64) -> Result<LimitUse, LimitUse> {
        let bucket = self.terms.bucket(timestamp);
        let usage = |totals| LimitUse {
            limit: self.id,
            bucket,
            totals,
        };
        let before = self.totals(timestamp);
        if !self.terms.allows(self.terms.add(before, amount)) {
            return Err(usage(before));
        }
        Ok(usage(self.terms.add(self.bucket(bucket), amount)))
    }

    /// Puts the totals of a bucket.
    pub(crate) fn put_bucket(&mut self, number: u64, totals: LimitTotals) {
        let ring = self.ring.get_or_insert_with(|| {
            Box::new(Ring {
                newest: number,
                buckets: [LimitTotals::default(); LIMIT_BUCKETS],
            })
        });
        assert!(number >= ring.newest, "time never goes back");
        let passed = (number - ring.newest).min(LIMIT_BUCKETS as u64);
        for number in number + 1 - passed..=number {
            ring.buckets[number as usize % LIMIT_BUCKETS] = LimitTotals::default();
        }
        ring.newest = number;
        ring.buckets[number as usize % LIMIT_BUCKETS] = totals;
    }
}
