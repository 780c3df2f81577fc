//! The `Prefer` header (RFC 7240): how the caller would like to be answered.

use axum::http::{HeaderMap, HeaderName};

/// Says which preference of the caller was followed.
pub(crate) const APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// A preference that is followed where it has a meaning, and passed over elsewhere.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Preference {
    name: &'static str,
    value: &'static str,
    /// Text of the preference, as in the header.
    pub(crate) text: &'static str,
}

/// 202 at once instead of waiting for a payment.
pub(crate) const RESPOND_ASYNC: Preference = Preference {
    name: "respond-async",
    value: "",
    text: "respond-async",
};

/// The ids of what was done instead of the objects.
pub(crate) const RETURN_MINIMAL: Preference = Preference {
    name: "return",
    value: "minimal",
    text: "return=minimal",
};

impl Preference {
    /// Whether the caller has it; parameters after a semicolon mean nothing here.
    pub(crate) fn is_in(self, headers: &HeaderMap) -> bool {
        let values = headers.get_all("prefer").iter();
        let values = values.filter_map(|value| value.to_str().ok());
        let mut preferences = values.flat_map(|value| value.split(','));
        preferences.any(|one| {
            let one = one.split(';').next().unwrap_or_default();
            let (name, value) = one.split_once('=').unwrap_or((one, ""));
            name.trim().eq_ignore_ascii_case(self.name)
                && (value.trim().trim_matches('"')).eq_ignore_ascii_case(self.value)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    #[test]
    fn a_preference_is_found_among_others() {
        for (values, at_once, minimal) in [
            (&["respond-async"][..], true, false),
            (&["Respond-Async"], true, false),
            (&["wait=10, respond-async; x=1"], true, false),
            (&["wait=10", "respond-async"], true, false),
            (&["respond-asynchronously"], false, false),
            (&["wait=respond-async"], false, false),
            (&["return=minimal"], false, true),
            (
                &["wait=10, Return = \"minimal\"; x=1", "respond-async"],
                true,
                true,
            ),
            (&["return=representation", "return"], false, false),
            (&["minimal"], false, false),
            (&[], false, false),
        ] {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append("prefer", HeaderValue::from_static(value));
            }
            assert_eq!(RESPOND_ASYNC.is_in(&headers), at_once, "{values:?}");
            assert_eq!(RETURN_MINIMAL.is_in(&headers), minimal, "{values:?}");
        }
    }
}
