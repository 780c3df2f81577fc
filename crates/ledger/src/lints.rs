//! Shows that the lints of this crate and the lists in its clippy.toml are in force.
//!
//! `cargo clippy` reports an expectation that nothing meets, and `scripts/test` takes every report for an error.

#[expect(clippy::disallowed_types, reason = "this is what must not be")]
type Clock = std::time::Instant;

#[expect(
    clippy::disallowed_types,
    clippy::float_arithmetic,
    reason = "this is what must not be"
)]
fn halve(amount: f64) -> f64 {
    amount / 2.0
}

fn read_clock() -> Clock {
    Clock::now()
}

#[expect(clippy::disallowed_methods, reason = "this is what must not be")]
fn read_file() -> Option<Vec<u8>> {
    std::fs::read("/nowhere").ok()
}

#[test]
fn what_the_lints_refuse_is_there_to_be_refused() {
    let before = read_clock();
    assert!(read_clock() >= before);
    assert!(halve(3.0) > 1.0);
    assert_eq!(read_file(), None);
}
