//! Formatting of amounts, without floating point.

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
