//! Conditions of rules on the texts of fields.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What one field must be.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(
    untagged,
    expecting = "a condition is a text, a list of texts, or a table with `not`, `empty`, `prefix` or `contains`"
)]
#[schema(as = MapCondition)]
pub enum Condition {
    /// This text.
    Is(String),
    /// One of these texts.
    AnyOf(Vec<String>),
    /// A text that passes tests.
    Test(Test),
}

/// Tests of a text; all must pass.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = MapTest)]
pub struct Test {
    /// Texts that it must not be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not: Option<Texts>,
    /// Whether it must be empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub empty: Option<bool>,
    /// Text with which it must begin.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// Text that it must contain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contains: Option<String>,
}

/// A text, or several.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(untagged)]
#[schema(as = MapTexts)]
pub enum Texts {
    /// One.
    One(String),
    /// Several.
    Many(Vec<String>),
}

impl Condition {
    /// Whether the condition holds for the text of a field, which has no white space at its ends.
    pub fn holds(&self, value: &str) -> bool {
        match self {
            Condition::Is(text) => value == text,
            Condition::AnyOf(texts) => texts.iter().any(|text| value == text),
            Condition::Test(test) => test.holds(value),
        }
    }

    /// Whether the condition can hold for some text.
    pub(super) fn can_hold(&self) -> bool {
        match self {
            Condition::Is(text) => is_trimmed(text),
            Condition::AnyOf(texts) => texts.iter().any(|text| is_trimmed(text)),
            Condition::Test(test) => test.can_hold(),
        }
    }

    /// Whether `other` holds for every text for which this condition holds, as far as can be told without trying texts.
    pub(super) fn implies(&self, other: &Condition) -> bool {
        match self {
            Condition::Is(text) => other.holds(text),
            Condition::AnyOf(texts) => texts.iter().all(|text| other.holds(text)),
            Condition::Test(_) => self == other,
        }
    }
}

impl Test {
    fn holds(&self, value: &str) -> bool {
        let not = match &self.not {
            None => false,
            Some(Texts::One(text)) => value == text,
            Some(Texts::Many(texts)) => texts.iter().any(|text| value == text),
        };
        !not && self.empty.is_none_or(|empty| value.is_empty() == empty)
            && self
                .prefix
                .as_ref()
                .is_none_or(|prefix| value.starts_with(prefix))
            && self
                .contains
                .as_ref()
                .is_none_or(|part| value.contains(part))
    }

    fn can_hold(&self) -> bool {
        if self.empty == Some(true) {
            return self.holds("");
        }
        let prefix = self.prefix.as_deref().unwrap_or_default();
        prefix.trim_start().len() == prefix.len()
    }
}

fn is_trimmed(text: &str) -> bool {
    text.trim().len() == text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn condition(json: &str) -> Condition {
        serde_json::from_str(json).expect(json)
    }

    #[test]
    fn a_condition_holds_exactly_for_its_texts() {
        let check = |json: &str, texts: &[&str], others: &[&str]| {
            let condition = condition(json);
            for text in texts {
                assert!(condition.holds(text), "{json}: {text}");
            }
            for text in others {
                assert!(!condition.holds(text), "{json}: {text}");
            }
        };
        check(r#""x""#, &["x"], &["", "X", "xx"]);
        check(r#"["x", "y"]"#, &["x", "y"], &["z", ""]);
        check(r#"{"not": "failed"}"#, &["", "paid"], &["failed"]);
        check(r#"{"not": ["a", "b"]}"#, &["", "c"], &["a", "b"]);
        check(
            r#"{"empty": false, "prefix": "ab"}"#,
            &["ab", "abc"],
            &["", "xab"],
        );
        check(r#"{"contains": "b"}"#, &["b", "abc"], &["", "a"]);
        check(r#"{"empty": true}"#, &[""], &["a"]);
        for json in ["5", "{\"nott\": \"x\"}", "[5]", "null"] {
            let error = serde_json::from_str::<Condition>(json).expect_err(json);
            assert!(error.to_string().contains("a condition is"), "{error}");
        }
    }

    #[test]
    fn a_condition_that_holds_for_no_text_is_found() {
        for json in [
            r#"" x""#,
            "[]",
            r#"["x "]"#,
            r#"{"empty": true, "prefix": "a"}"#,
            r#"{"empty": true, "contains": "a"}"#,
            r#"{"empty": true, "not": ""}"#,
            r#"{"prefix": " a"}"#,
        ] {
            assert!(!condition(json).can_hold(), "{json}");
        }
        for json in [
            r#""""#,
            r#""x y""#,
            r#"["x ", "x"]"#,
            "{}",
            r#"{"empty": true, "not": "a"}"#,
            r#"{"empty": false, "prefix": "a ", "contains": " ", "not": "a"}"#,
        ] {
            assert!(condition(json).can_hold(), "{json}");
        }
    }

    #[test]
    fn a_condition_implies_those_that_hold_for_all_its_texts() {
        let check = |one: &str, other: &str, expected: bool| {
            let implies = condition(one).implies(&condition(other));
            assert_eq!(implies, expected, "{one} / {other}");
        };
        check(r#""x""#, r#"["x", "y"]"#, true);
        check(r#"["x", "y"]"#, r#""x""#, false);
        check(r#"["x", "xy"]"#, r#"{"prefix": "x"}"#, true);
        check(r#""x""#, r#"{"not": "x"}"#, false);
        check(r#"{"prefix": "x"}"#, r#"{"prefix": "x"}"#, true);
        check(r#"{"prefix": "xy"}"#, r#"{"contains": "q"}"#, false);
    }
}
