//! The currencies, against an independent table.

use iso_currency::Currency as Iso;
use tributary_ledger::Currency;

#[test]
fn every_currency_is_the_standards_with_its_exponent() {
    // Younger than the independent table.
    let newer = ["XAD"];
    let all: Vec<Currency> = Currency::all().collect();
    assert!(
        all.len() > 150
            && all
                .windows(2)
                .all(|pair| pair[0].numeric() < pair[1].numeric())
    );
    for currency in all {
        assert!(currency.exponent() <= 4);
        assert_eq!(Currency::from_code(currency.code()), Ok(currency));
        assert_eq!(Currency::from_numeric(currency.numeric()), Ok(currency));
        if newer.contains(&currency.code()) {
            continue;
        }
        let iso = Iso::from_code(currency.code()).unwrap_or_else(|| panic!("{currency}"));
        assert_eq!(
            u32::from(iso.numeric()),
            u32::from(currency.numeric()),
            "{currency}"
        );
        assert_eq!(
            iso.exponent().map(u32::from),
            Some(u32::from(currency.exponent())),
            "{currency}"
        );
    }
}

#[test]
fn no_active_currency_is_missing() {
    // Withdrawn from the standard: CUC 2021, HRK 2023, SLL 2024, ZWL 2024, BGN 2026.
    let withdrawn = ["CUC", "HRK", "SLL", "ZWL", "BGN"];
    for numeric in 0..1_000 {
        let Some(iso) = Iso::from_numeric(numeric) else {
            continue;
        };
        let expected = iso.exponent().is_some() && !withdrawn.contains(&iso.code());
        assert_eq!(
            Currency::from_numeric(numeric).is_ok(),
            expected,
            "{}",
            iso.code()
        );
    }
}

#[test]
fn units_without_a_minor_unit_are_refused() {
    for code in ["XAU", "XDR", "XXX", "XTS", "eur", "EU", "EURO", "", "ABC"] {
        assert!(Currency::from_code(code).is_err(), "{code}");
    }
    assert_eq!(Currency::from_code("JPY").unwrap().exponent(), 0);
    assert_eq!(Currency::from_code("KWD").unwrap().exponent(), 3);
    assert_eq!(Currency::from_code("CLF").unwrap().exponent(), 4);
}
