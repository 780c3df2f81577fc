//! Parsing and formatting of amounts, without floating point.

/// Notation of the amounts in a file.
#[derive(Debug, Clone)]
pub(crate) struct Notation {
    /// Whole minor units (`1250`), or a decimal number of the currency (`12.50`).
    pub(crate) decimal: bool,
    /// Separator of the fraction.
    pub(crate) decimal_mark: char,
    /// Separator of thousands, which is ignored.
    pub(crate) thousands: Option<char>,
}

/// Maximum amount, in minor units.
pub(crate) const AMOUNT_MAX: u64 = (1 << 53) - 1;

/// Parses an amount. Returns whether it is negative, and its minor units. A minus sign before or after the number, or
/// brackets around the number, make it negative.
pub(crate) fn parse(text: &str, notation: &Notation, exponent: u8) -> Result<(bool, u64), String> {
    let (negative, digits) = sign(text.trim());
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
    let exponent = if notation.decimal {
        usize::from(exponent)
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
    let group = notation.thousands;
    for c in whole
        .chars()
        .filter(|c| Some(*c) != group)
        .chain(kept.chars())
        .chain(padding)
    {
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

fn sign(text: &str) -> (bool, &str) {
    if let Some(inner) = text
        .strip_prefix('(')
        .and_then(|rest| rest.strip_suffix(')'))
    {
        return (true, inner.trim());
    }
    for minus in ['-', '\u{2212}'] {
        if let Some(rest) = text
            .strip_prefix(minus)
            .or_else(|| text.strip_suffix(minus))
        {
            return (true, rest.trim());
        }
    }
    (false, text.strip_prefix('+').unwrap_or(text).trim_start())
}

/// Formats minor units as an exact decimal: `-1250` with exponent 2 is `-12.50`.
pub(crate) fn decimal(minor: i128, exponent: u8) -> String {
    let exponent = usize::from(exponent);
    let sign = if minor < 0 { "-" } else { "" };
    let digits = format!("{:0width$}", minor.unsigned_abs(), width = exponent + 1);
    let (whole, fraction) = digits.split_at(digits.len() - exponent);
    if exponent == 0 {
        format!("{sign}{whole}")
    } else {
        format!("{sign}{whole}.{fraction}")
    }
}

/// Returns the exponent of a currency by its alphabetic code.
pub(crate) fn exponent_of(code: &str) -> Option<u8> {
    tributary_ledger::Currency::from_code(code)
        .ok()
        .map(|currency| currency.exponent())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, notation: &Notation, exponent: u8, expected: Option<(bool, u64)>) {
        assert_eq!(
            parse(text, notation, exponent).ok(),
            expected,
            "{text} / {exponent}"
        );
    }

    #[test]
    fn an_amount_is_read_exactly_or_refused() {
        let minor = Notation {
            decimal: false,
            decimal_mark: '.',
            thousands: None,
        };
        check("0", &minor, 2, Some((false, 0)));
        check("90000", &minor, 2, Some((false, 90_000)));
        check("-5", &minor, 2, Some((true, 5)));
        check("9007199254740991", &minor, 2, Some((false, AMOUNT_MAX)));
        check("9007199254740992", &minor, 2, None);
        check("99999999999999999999999999", &minor, 2, None);
        for wrong in [
            "", " ", "1.5", "1.0", "1e3", "0x10", "--1", "١", "NaN", "+-1", "1 2",
        ] {
            check(wrong, &minor, 2, None);
        }

        let english = Notation {
            decimal: true,
            decimal_mark: '.',
            thousands: Some(','),
        };
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
        for wrong in [".", "1.2.3", "1.-2", "12.3x", "$5", "1.0,0"] {
            check(wrong, &english, 2, None);
        }

        let german = Notation {
            decimal: true,
            decimal_mark: ',',
            thousands: Some('.'),
        };
        check("1.234,50", &german, 2, Some((false, 123_450)));
        check("-0,01", &german, 2, Some((true, 1)));
    }

    #[test]
    fn minor_units_are_written_as_exact_decimals() {
        let cases: [(i128, u8, &str); 7] = [
            (0, 2, "0.00"),
            (5, 2, "0.05"),
            (-5, 2, "-0.05"),
            (123_456, 2, "1234.56"),
            (7, 0, "7"),
            (-12_345, 4, "-1.2345"),
            (9_007_199_254_740_991, 3, "9007199254740.991"),
        ];
        for (minor, exponent, text) in cases {
            assert_eq!(decimal(minor, exponent), text);
        }
    }
}
