//! Rules for risk: conditions over a payment and over features, and what follows where they hold.
//!
//! Pure: what a payment is and what its features are arrives in arguments, and the same arguments have the same finding everywhere.

mod rules;

pub use self::rules::{Effect, Finding, OnError, Rule, RuleSet};

/// Version of the meaning of rule sets, beside that of expressions. It is raised when a set could find something else over the same
/// payment and features.
pub const RULES_VERSION: u32 = 1;

/// Greatest score. The least is 0.
pub const SCORE_MAX: i64 = 1_000;
