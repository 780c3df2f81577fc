//! Signals of abuse, and the answers of the server that are some.

use std::collections::BTreeMap;

/// Number of kinds of signals.
pub(crate) const SIGNALS: usize = Signal::ALL.len();

/// Numbers of signals, by [`Signal`].
pub(crate) type Counts = [u32; SIGNALS];

/// A kind of request that went wrong, of which many are abuse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    /// There is no valid API key.
    BadKey,
    /// The request is not as the API takes it.
    Malformed,
    /// The ledger declined a payment, less one for each payment that it accepted.
    Declined,
    /// A payer's payments were declined with many different amounts.
    Probing,
    /// The object that the request names is not there, or not the caller's to see.
    Enumeration,
    /// The body did not arrive in time.
    TimedOut,
}

impl Signal {
    /// All of them, in the order of their numbers.
    pub(crate) const ALL: [Signal; 6] = [
        Signal::BadKey,
        Signal::Malformed,
        Signal::Declined,
        Signal::Probing,
        Signal::Enumeration,
        Signal::TimedOut,
    ];

    /// Name of the signal in events, metrics and answers.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Signal::BadKey => "bad_key",
            Signal::Malformed => "malformed",
            Signal::Declined => "declined",
            Signal::Probing => "probing",
            Signal::Enumeration => "enumeration",
            Signal::TimedOut => "timed_out",
        }
    }

    /// Returns the signal that an answer of REST is, by its HTTP status and the code of its error.
    pub(crate) fn from_rest(status: u16, code: &str) -> Option<Signal> {
        match status {
            401 => Some(Signal::BadKey),
            404 if code == "resource_not_found" => Some(Signal::Enumeration),
            400 | 404 | 405 | 413 | 415 | 422 | 431 => Some(Signal::Malformed),
            408 => Some(Signal::TimedOut),
            _ => None,
        }
    }

    /// Returns the signal that an answer of gRPC is, by the number of its status and the stable code beside it.
    pub(crate) fn from_grpc(status: &[u8], code: &[u8]) -> Option<Signal> {
        match status {
            b"16" => Some(Signal::BadKey),
            b"5" => Some(Signal::Enumeration),
            b"3" | b"12" => Some(Signal::Malformed),
            b"4" if code == b"request_timeout" => Some(Signal::TimedOut),
            _ => None,
        }
    }
}

/// Returns the signals that there were, by name.
pub(crate) fn named(counts: &Counts) -> BTreeMap<&'static str, u32> {
    let all = Signal::ALL.into_iter().zip(counts);
    let there = all.filter(|(_, count)| **count > 0);
    there
        .map(|(signal, count)| (signal.name(), *count))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_of_signals_are_their_places() {
        for (place, signal) in Signal::ALL.into_iter().enumerate() {
            assert_eq!(signal as usize, place, "{}", signal.name());
        }
    }

    #[test]
    fn answers_that_are_nobodys_fault_are_no_signals() {
        for (status, code) in [
            (200, ""),
            (402, "insufficient_funds"),
            (403, "forbidden"),
            (409, "account_frozen"),
            (421, "not_leader"),
            (429, "temporarily_blocked"),
            (500, "internal_error"),
            (503, "overloaded"),
            (504, "outcome_unknown"),
        ] {
            assert_eq!(Signal::from_rest(status, code), None, "{code}");
        }
        for (status, code) in [("0", ""), ("4", "outcome_unknown"), ("8", "overloaded")] {
            let signal = Signal::from_grpc(status.as_bytes(), code.as_bytes());
            assert_eq!(signal, None, "{status} {code}");
        }
    }

    #[test]
    fn what_is_not_there_is_told_from_a_path_that_leads_nowhere() {
        let of = Signal::from_rest;
        assert_eq!(of(404, "resource_not_found"), Some(Signal::Enumeration));
        assert_eq!(of(404, "route_not_found"), Some(Signal::Malformed));
        assert_eq!(of(401, "api_key_missing"), Some(Signal::BadKey));
        assert_eq!(of(408, "request_timeout"), Some(Signal::TimedOut));
    }
}
