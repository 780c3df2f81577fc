//! Parsing of amounts, without floating point.

use serde::{Deserialize, Serialize};
use tributary_ledger::{AMOUNT_MAX, Currency};
use utoipa::ToSchema;

/// Notation of amounts.
#[derive(Debug, Clone)]
pub(super) struct Notation {
    /// Whole minor units (`1250`), or a decimal number of the currency (`12.50`).
    pub decimal: bool,
    /// Separator of the fraction.
    pub decimal_mark: char,
    /// Separator of the groups of digits. A blank stands for all blanks that programs write, an apostrophe for both forms.
    pub thousands: Option<char>,
    /// Sizes of the groups.
    pub grouping: Grouping,
    /// Currency signs that may stand before or after a number, each with the code of its currency; the longest first.
    pub symbols: Vec<(String, String)>,
}

/// Sizes of the groups of digits before the decimal mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = MapGrouping)]
pub enum Grouping {
    /// Three digits each: `1,234,567`.
    #[default]
    Thousands,
    /// Three digits, then two each: `12,34,567`.
    Indian,
}

/// Parses an amount. Returns whether it is negative, and its minor units. A minus sign before or after the number, or
/// brackets around the number, make it negative.
///
/// # Errors
/// What is wrong, for people. Also of a number whose digits are not grouped as the notation says: `12,34` is no way to
/// write 1234, and more likely 12.34.
pub(super) fn parse(
    text: &str,
    notation: &Notation,
    currency: Currency,
) -> Result<(bool, u64), String> {
    let (negative, digits) = strip_signs(text, notation, currency)?;
    let (whole, fraction) = match digits.split_once(notation.decimal_mark) {
        Some(_) if !notation.decimal => {
            return Err(format!("`{text}` is not a whole number of minor units"));
        }
        Some((whole, fraction)) => (whole, fraction),
        None => (digits, ""),
    };
    if whole.is_empty() && fraction.is_empty() {
        return Err(format!("`{text}` is not an amount"));
    }
    let whole = ungroup(whole, notation)
        .map_err(|expected| format!("`{text}`: its digits are not grouped as {expected}"))?;
    let exponent = if notation.decimal {
        usize::from(currency.exponent())
    } else {
        0
    };
    // Ignore only trailing zeros beyond the currency's precision: other digits would be lost money.
    let kept = fraction.trim_end_matches('0');
    if kept.len() > exponent {
        return Err(format!(
            "`{text}` has more decimals than its currency ({exponent})"
        ));
    }
    let mut minor: u64 = 0;
    let padding = std::iter::repeat_n('0', exponent - kept.len());
    for c in whole.chars().chain(kept.chars()).chain(padding) {
        let digit = c
            .to_digit(10)
            .ok_or_else(|| format!("`{text}` is not an amount"))?;
        minor = minor
            .checked_mul(10)
            .and_then(|tens| tens.checked_add(u64::from(digit)))
            .filter(|minor| *minor <= AMOUNT_MAX)
            .ok_or_else(|| format!("`{text}` is more than {AMOUNT_MAX} minor units"))?;
    }
    Ok((negative, minor))
}

/// Whether `c` separates groups, where `mark` is the mark of the map.
fn is_mark(mark: char, c: char) -> bool {
    const BLANKS: [char; 4] = [' ', '\u{A0}', '\u{202F}', '\u{2009}'];
    const APOSTROPHES: [char; 2] = ['\'', '\u{2019}'];
    mark == c
        || [&BLANKS[..], &APOSTROPHES[..]]
            .iter()
            .any(|same| same.contains(&mark) && same.contains(&c))
}

/// Removes the marks between the groups of digits. An error says how the digits must be grouped.
fn ungroup(whole: &str, notation: &Notation) -> Result<String, &'static str> {
    let Some(mark) = notation.thousands else {
        return Ok(whole.to_owned());
    };
    let Some(used) = whole.chars().find(|&c| is_mark(mark, c)) else {
        return Ok(whole.to_owned());
    };
    let groups: Vec<&str> = whole.split(used).collect();
    let (expected, middle) = match notation.grouping {
        Grouping::Thousands => ("1,234,567", 3),
        Grouping::Indian => ("12,34,567", 2),
    };
    let (first, rest) = groups.split_first().ok_or(expected)?;
    let (last, between) = rest.split_last().ok_or(expected)?;
    let digits = |group: &str, bytes: std::ops::RangeInclusive<usize>| {
        bytes.contains(&group.len()) && group.bytes().all(|byte| byte.is_ascii_digit())
    };
    // A number that is large enough for groups does not begin with a zero: `0.999` is a fraction with the wrong mark.
    let sound = digits(first, 1..=middle)
        && !first.starts_with('0')
        && digits(last, 3..=3)
        && between.iter().all(|group| digits(group, middle..=middle));
    if sound {
        Ok(groups.concat())
    } else {
        Err(expected)
    }
}

/// Returns whether the amount is negative, and the amount without its sign and its currency.
fn strip_signs<'a>(
    text: &'a str,
    notation: &Notation,
    currency: Currency,
) -> Result<(bool, &'a str), String> {
    let mut rest = text.trim();
    let mut negative = None;
    let mut symbol_seen = false;
    loop {
        if negative.is_none()
            && let Some((sign, inner)) = strip_sign(rest)
        {
            negative = Some(sign);
            rest = inner.trim();
            continue;
        }
        if symbol_seen {
            break;
        }
        let Some((code, inner)) = strip_symbol(rest, notation) else {
            break;
        };
        if code != currency.code() {
            return Err(format!(
                "`{text}` is an amount in {code}, but the row's currency is {}",
                currency.code()
            ));
        }
        symbol_seen = true;
        rest = inner.trim();
    }
    Ok((negative.unwrap_or(false), rest))
}

fn strip_sign(text: &str) -> Option<(bool, &str)> {
    if let Some(inner) = text
        .strip_prefix('(')
        .and_then(|rest| rest.strip_suffix(')'))
    {
        return Some((true, inner));
    }
    for minus in ['-', '\u{2212}'] {
        if let Some(rest) = text
            .strip_prefix(minus)
            .or_else(|| text.strip_suffix(minus))
        {
            return Some((true, rest));
        }
    }
    text.strip_prefix('+').map(|rest| (false, rest))
}

fn strip_symbol<'a, 'b>(text: &'a str, notation: &'b Notation) -> Option<(&'b str, &'a str)> {
    notation.symbols.iter().find_map(|(symbol, code)| {
        let rest = text
            .strip_prefix(symbol.as_str())
            .or_else(|| text.strip_suffix(symbol.as_str()))?;
        Some((code.as_str(), rest))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, notation: &Notation, exponent: u8, expected: Option<(bool, u64)>) {
        let code = ["JPY", "", "EUR", "", "CLF"][usize::from(exponent)];
        let currency = Currency::from_code(code).expect("a currency");
        assert_eq!(currency.exponent(), exponent);
        assert_eq!(
            parse(text, notation, currency).ok(),
            expected,
            "{text} / {exponent}"
        );
    }

    fn decimal_notation(decimal_mark: char, thousands: Option<char>) -> Notation {
        Notation {
            decimal: true,
            decimal_mark,
            thousands,
            grouping: Grouping::Thousands,
            symbols: Vec::new(),
        }
    }

    #[test]
    fn an_amount_is_read_exactly_or_refused() {
        let minor = Notation {
            decimal: false,
            ..decimal_notation('.', None)
        };
        check("0", &minor, 2, Some((false, 0)));
        check("90000", &minor, 2, Some((false, 90_000)));
        check("-5", &minor, 2, Some((true, 5)));
        check("9007199254740991", &minor, 2, Some((false, AMOUNT_MAX)));
        check("9007199254740992", &minor, 2, None);
        check("99999999999999999999999999", &minor, 2, None);
        for wrong in [
            "", " ", "1.5", "1.0", "1e3", "0x10", "--1", "١", "NaN", "+-1", "-+1", "1 2", "(-1)",
            "()",
        ] {
            check(wrong, &minor, 2, None);
        }

        let english = decimal_notation('.', Some(','));
        check("12.5", &english, 2, Some((false, 1_250)));
        check("12.500", &english, 2, Some((false, 1_250)));
        check("12.505", &english, 2, None);
        check("1,234,567.89", &english, 2, Some((false, 123_456_789)));
        check("(1.00)", &english, 2, Some((true, 100)));
        check("1.00-", &english, 2, Some((true, 100)));
        check("\u{2212}1.00", &english, 2, Some((true, 100)));
        check("+.5", &english, 2, Some((false, 50)));
        check("5.", &english, 2, Some((false, 500)));
        check("1200", &english, 0, Some((false, 1_200)));
        check("1.5", &english, 0, None);
        check("1.2345", &english, 4, Some((false, 12_345)));
        check("90071992547409.91", &english, 2, Some((false, AMOUNT_MAX)));
        check("90071992547409.92", &english, 2, None);
        for wrong in [".", "1.2.3", "1.-2", "12.3x", "$5", "1.0,0", "1 000"] {
            check(wrong, &english, 2, None);
        }

        let german = decimal_notation(',', Some('.'));
        check("1.234,50", &german, 2, Some((false, 123_450)));
        check("-0,01", &german, 2, Some((true, 1)));
    }

    #[test]
    fn digits_are_grouped_by_threes_or_the_amount_is_refused() {
        let english = decimal_notation('.', Some(','));
        check("1,234", &english, 2, Some((false, 123_400)));
        check("-999,999,999.01", &english, 2, Some((true, 99_999_999_901)));
        for wrong in [
            "12,34",
            "1,2",
            "1,23",
            "1234,567",
            "1,2345",
            ",123",
            "1,",
            "1,,234",
            "0,999",
            "01,234",
            "1,234,56",
            "1,23,456",
            "1,234.5,6",
        ] {
            check(wrong, &english, 2, None);
        }
        let german = decimal_notation(',', Some('.'));
        check("1.234.567", &german, 2, Some((false, 123_456_700)));
        for wrong in ["0.99", "0.999", "12.34", "1.2"] {
            check(wrong, &german, 2, None);
        }
        let minor = Notation {
            decimal: false,
            ..english.clone()
        };
        check("12,345", &minor, 2, Some((false, 12_345)));
        check("12,34", &minor, 2, None);

        let indian = Notation {
            grouping: Grouping::Indian,
            ..english
        };
        check("12,34,567.50", &indian, 2, Some((false, 123_456_750)));
        check("1,00,00,000", &indian, 2, Some((false, 1_000_000_000)));
        check("1,234", &indian, 2, Some((false, 123_400)));
        for wrong in ["1,234,567", "123,456", "12,345,67", "12,34"] {
            check(wrong, &indian, 2, None);
        }
    }

    #[test]
    fn a_blank_between_groups_may_be_any_that_programs_write() {
        for mark in [' ', '\u{A0}', '\u{202F}', '\u{2009}'] {
            let french = decimal_notation(',', Some(mark));
            for text in [
                "1 234 567,89",
                "1\u{A0}234\u{A0}567,89",
                "1\u{202F}234\u{202F}567,89",
                "1\u{2009}234\u{2009}567,89",
            ] {
                check(text, &french, 2, Some((false, 123_456_789)));
            }
            // One number has one mark.
            for wrong in ["1 234\u{A0}567", "12 34", "1'234", "1,234 5"] {
                check(wrong, &french, 2, None);
            }
        }
        let swiss = decimal_notation('.', Some('\''));
        check("1'234.50", &swiss, 2, Some((false, 123_450)));
        check("1\u{2019}234.50", &swiss, 2, Some((false, 123_450)));
        check("12'34.50", &swiss, 2, None);
    }

    #[test]
    fn a_currency_sign_must_be_that_of_the_row() {
        let symbols = [("US$", "USD"), ("EUR", "EUR"), ("€", "EUR"), ("$", "USD")];
        let notation = Notation {
            symbols: symbols
                .map(|(symbol, code)| (symbol.to_owned(), code.to_owned()))
                .into(),
            ..decimal_notation(',', Some('.'))
        };
        for (text, expected) in [
            ("€ 1.234,50", (false, 123_450)),
            ("1.234,50 €", (false, 123_450)),
            ("1.234,50\u{A0}€", (false, 123_450)),
            ("EUR12", (false, 1_200)),
            ("-€5", (true, 500)),
            ("€-5", (true, 500)),
            ("(€ 5,00)", (true, 500)),
            ("5,00- €", (true, 500)),
            ("5,00 €-", (true, 500)),
        ] {
            check(text, &notation, 2, Some(expected));
        }
        for wrong in ["$5", "US$ 5", "5 $", "€5€", "€$5", "€", "€-", "£5"] {
            check(wrong, &notation, 2, None);
        }
    }
}
