//! Bounds of an expression.

/// Longest source of an expression, in bytes.
pub const SOURCE_BYTES_MAX: usize = 4_096;

/// Deepest nesting of an expression: operators, calls, brackets and parentheses within each other, in levels.
pub const DEPTH_MAX: usize = 32;

/// Maximum number of nodes of an expression: literals, names, operators and calls.
pub const NODES_MAX: usize = 512;

/// Maximum number of steps of one evaluation.
///
/// A step is a node that is visited, an element that is compared, or a byte of a string that is looked at.
pub const STEPS_MAX: u32 = 20_000;

/// Maximum number of fields of a schema.
pub const FIELDS_MAX: usize = 1_024;

/// Longest path of a field, in bytes.
pub const PATH_BYTES_MAX: usize = 256;
