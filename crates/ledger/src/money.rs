//! Amounts, currencies and dates.

use crate::currencies::TABLE;
use std::fmt;
use std::sync::LazyLock;

/// Maximum of an amount and of the absolute value of a balance, in minor units: 2^53 − 1, so that JSON readers
/// that store numbers as doubles read every value exactly.
pub const AMOUNT_MAX: u64 = (1 << 53) - 1;

/// Nanoseconds in a UTC day.
pub const DATE_NANOS: u64 = 86_400_000_000_000;

/// A currency of ISO 4217 that has a minor unit; its value is the numeric code.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Currency(u16);

/// Error: the text or number is not an active ISO 4217 currency with a minor unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an active ISO 4217 currency with a minor unit")]
pub struct UnknownCurrency;

impl Currency {
    /// Returns the currency with a three-letter code in capitals.
    pub fn from_code(code: &str) -> Result<Self, UnknownCurrency> {
        let letters = code.as_bytes().try_into();
        let letters = letters.map_err(|_| UnknownCurrency)?;
        let found = BY_CODE.binary_search_by_key(&letters, |(code, _)| *code);
        let (_, numeric) = BY_CODE[found.map_err(|_| UnknownCurrency)?];
        Ok(Currency(numeric))
    }

    /// Returns the currency with a numeric code.
    pub fn from_numeric(numeric: u16) -> Result<Self, UnknownCurrency> {
        row(numeric)
            .map(|row| Currency(row.0))
            .ok_or(UnknownCurrency)
    }

    /// Returns the numeric code.
    pub fn numeric(self) -> u16 {
        self.0
    }

    /// Returns the three-letter code.
    pub fn code(self) -> &'static str {
        self.row().1
    }

    /// Returns the number of decimal places of the minor unit, 0 to 4.
    pub fn exponent(self) -> u8 {
        self.row().2
    }

    /// Returns all currencies, ordered by numeric code.
    pub fn all() -> impl Iterator<Item = Currency> {
        TABLE.iter().map(|row| Currency(row.0))
    }

    fn row(self) -> &'static (u16, &'static str, u8) {
        row(self.0).expect("a Currency is made only from a row of the table")
    }
}

/// Row of each numeric code, plus one; 0 = no currency.
const ROWS: [u8; 1000] = {
    let mut rows = [0; 1000];
    let mut at = 0;
    while at < TABLE.len() {
        rows[TABLE[at].0 as usize] = at as u8 + 1;
        at += 1;
    }
    rows
};

/// The letters of each currency and its numeric code, by the letters.
static BY_CODE: LazyLock<[([u8; 3], u16); TABLE.len()]> = LazyLock::new(|| {
    let mut codes = TABLE.map(|(numeric, code, _)| {
        let letters = code.as_bytes().try_into();
        (letters.expect("a code has three letters"), numeric)
    });
    codes.sort_unstable();
    codes
});

fn row(numeric: u16) -> Option<&'static (u16, &'static str, u8)> {
    let row = ROWS.get(usize::from(numeric))?.checked_sub(1)?;
    Some(&TABLE[usize::from(row)])
}

impl std::str::FromStr for Currency {
    type Err = UnknownCurrency;

    fn from_str(code: &str) -> Result<Self, UnknownCurrency> {
        Currency::from_code(code)
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// A business date: days since 1970-01-01.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Date(pub i32);

impl Date {
    /// Returns the UTC date of a timestamp in nanoseconds since the Unix epoch.
    pub fn from_timestamp(nanos: u64) -> Self {
        Date(i32::try_from(nanos / DATE_NANOS).expect("2^64 nanoseconds are fewer than 2^31 days"))
    }
}
