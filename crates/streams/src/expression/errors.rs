//! Why an expression is refused, and why an evaluation has no result.

use super::limits::STEPS_MAX;

/// Why a source is no expression over a schema.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("at byte {offset}: expected {expected}, found {found}; {advice}")]
pub struct CompileError {
    /// Place in the source, in bytes from 0.
    pub offset: usize,
    /// What would be right there.
    pub expected: String,
    /// What stands there.
    pub found: String,
    /// What to do.
    pub advice: String,
}

impl CompileError {
    pub(super) fn new(
        offset: usize,
        expected: impl Into<String>,
        found: impl Into<String>,
        advice: impl Into<String>,
    ) -> CompileError {
        CompileError {
            offset,
            expected: expected.into(),
            found: found.into(),
            advice: advice.into(),
        }
    }
}

/// Why an evaluation has no result: the problem and its place in the source.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{excerpt}` at byte {offset}: {problem}")]
pub struct EvaluationError {
    /// Place in the source of the part that has no value, in bytes from 0.
    pub offset: usize,
    /// That part, shortened if it is long.
    pub excerpt: String,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What is wrong with a part of an expression during an evaluation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The event has no such field.
    #[error("the field is missing; test it with has() first")]
    MissingField,
    /// The map has no such key.
    #[error("the key is missing in the map; test it with `in` or has() first")]
    MissingKey,
    /// A result is above or below what 64 bits hold.
    #[error("the result does not fit into 64 bits; use smaller numbers")]
    Overflow,
    /// A division by zero, or its remainder.
    #[error("division by zero; test the divisor first")]
    DivisionByZero,
    /// A list has no element at a position.
    #[error("the list has {size} elements and none at {index}; test size() first")]
    IndexOutOfRange {
        /// Position asked for.
        index: i64,
        /// Number of elements.
        size: usize,
    },
    /// A string is no integer.
    #[error("the string is no whole number of 64 bits; correct the value where it is made")]
    NotAnInteger,
    /// A field holds a value of another type than the schema says: a fault of the program, not of the expression.
    #[error("a value has not the type that the schema says; report this as a fault of the program")]
    WrongType,
    /// The evaluation took too many steps.
    #[error("too many steps, at most {STEPS_MAX}; compare shorter lists and strings")]
    TooManySteps,
}
